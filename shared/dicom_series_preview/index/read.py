"""The table -> slices to show, stacks to choose from, and headers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.errors import PreviewError
from dicom_series_preview.headers import (
    BULK_VRS,
    PER_FRAME_FUNCTIONAL_GROUPS,
    Bulk,
    Contrast,
    Element,
    FrameLocation,
    LookupTable,
    Palette,
    PixelDescription,
    Window,
    element_from_json,
    from_json,
    to_dataset,
)
from dicom_series_preview.index.build import (
    CONSTANTS_KEY,
    PROVENANCE_KEY,
    element_of_cell,
    is_hash,
    tag_of_field,
)
from dicom_series_preview.index.records import Provenance, Record, Skipped
from dicom_series_preview.index.schema import BY_NAME, FIXED_COLUMNS, OTHER_ELEMENTS, SCHEMA_VERSION
from dicom_series_preview.selection import SortedStack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from dicom_series_preview.headers import Item


class DamagedIndexError(PreviewError):
    """A file is no index of this schema."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One row of the index as what it takes to show it.

    Attributes:
        row: Its row in the index.
        file_name: The object's path below the series' folder.
        object_size: Bytes.
        object_version: The version that the index describes.
        sop_instance_uid: SOPInstanceUID (0008,0018), or empty.
        frame_number: 1-based.
        stack: The stack it belongs to.
        primary_axis: `X`, `Y`, `Z` or `I`.
        primary_position: Coordinate on the primary axis in mm (InstanceNumber on `I`), or None.
        location: Where the frame's data lie, or None where only the whole object tells.
        pixels: How its stored values are laid out.
        contrast: What they mean.
        pixel_spacing_mm: Row and column spacing that hold for showing it, or None.
        pixel_aspect_ratio: Vertical and horizontal size of a pixel, or None.
    """

    row: int
    file_name: str
    object_size: int
    object_version: str
    sop_instance_uid: str
    frame_number: int
    stack: int
    primary_axis: str
    primary_position: float | None
    location: FrameLocation | None
    pixels: PixelDescription
    contrast: Contrast = field(repr=False)
    pixel_spacing_mm: tuple[float, float] | None
    pixel_aspect_ratio: tuple[int, int] | None


@dataclass(frozen=True)
class Index:
    """The index of a series.

    Attributes:
        table: One row a slice, in display order, stack after stack.
    """

    table: pa.Table

    @classmethod
    def from_parquet(cls, data: bytes) -> Index:
        """Read an index file.

        Raises:
            DamagedIndexError: The file is none, or of another schema version.
        """
        try:
            # Without Arrow's threads: one that still holds `data` when Python ends aborts the process, which
            # every other `get-index` did. A table of this size gains nothing from them.
            file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
            table = file.read(use_threads=False)
            document = json.loads((table.schema.metadata or {}).get(PROVENANCE_KEY, b"{}"))
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DamagedIndexError(f"no readable Parquet file: {reason}") from error
        if document.get("schema_version") != SCHEMA_VERSION:
            raise DamagedIndexError(f"schema version {document.get('schema_version')}, not {SCHEMA_VERSION}")
        missing = [column.name for column in FIXED_COLUMNS if column.name not in table.column_names]
        if missing:
            raise DamagedIndexError(f"without the column {missing[0]}")
        return cls(table)

    def to_parquet(self) -> bytes:
        """The index as a Parquet file, zstd-compressed."""
        sink = pa.BufferOutputStream()
        pq.write_table(self.table, sink, compression="zstd", store_schema=True, write_page_checksum=True)
        return bytes(sink.getvalue())

    @cached_property
    def provenance(self) -> Provenance:
        """What the index says of itself."""
        document = json.loads(self.table.schema.metadata[PROVENANCE_KEY])
        return Provenance(
            series=document["series"],
            root=document["root"],
            fingerprint=document["fingerprint"],
            listed=document["listed"],
            limit=document["limit"],
            skipped=tuple(Skipped(**skipped) for skipped in document["skipped"]),
            notes=tuple(document["notes"]),
        )

    @cached_property
    def constants(self) -> Item:
        """The elements that every object has with the same value."""
        return from_json(json.loads(self.table.schema.metadata[CONSTANTS_KEY]))

    @cached_property
    def stacks(self) -> dict[int, np.ndarray[Any, np.dtype[np.int64]]]:
        """By stack number, the rows of its slices in display order."""
        numbers = _floats(self.table["Stack"])
        # Not np.unique, which imports numpy.ma: 9 ms of every preview.
        return {int(n): np.flatnonzero(numbers == n) for n in sorted({n for n in numbers.tolist() if n >= 0})}

    def sorted_stack(self, number: int) -> SortedStack:
        """One stack's positions and times, in display order.

        Raises:
            KeyError: There is no such stack.
        """
        rows = self.stacks[number]
        return SortedStack(
            positions=_positions(self.table, rows),
            locations=np.nan_to_num(_floats(self.table["Location"])[rows], nan=-1).astype(np.int64),
            times=(_floats(self.table["Time"])[rows],),
            instance_numbers=_floats(self.table["InstanceNumber"])[rows],
        )

    def slices(self, rows: Sequence[int]) -> list[Slice]:
        """Rows as slices to show.

        Args:
            rows: Rows of slices with an image.
        """
        fixed = self.table.select([column.name for column in FIXED_COLUMNS])
        return [_slice(row, fixed.slice(row, 1).to_pylist()[0]) for row in rows]

    def header(self, row: int) -> Dataset:
        """The header of the object that a row belongs to, binary values aside, as the object holds it.

        Args:
            row: A row of the index.
        """
        name = self.table["FileName"][row].as_py()
        record = next(record for record in self.records([name]) if record.name == name)
        return to_dataset(record.elements)

    def records(self, names: Sequence[str] | None = None) -> list[Record]:
        """What the index was built from, to build it anew without reading a header.

        Args:
            names: Only these objects; None for all.
        """
        rows_of: dict[str, list[int]] = {}
        wanted = None if names is None else set(names)
        for row, name in enumerate(self.table["FileName"].to_pylist()):
            if wanted is None or name in wanted:
                rows_of.setdefault(name, []).append(row)
        if not rows_of:
            return []
        firsts = [rows[0] for rows in rows_of.values()]
        part = self.table.take(pa.array(firsts, pa.int64()))
        elements = _elements(part, self.constants)
        frames = self.table.select(["FrameNumber", "FrameOffset", "FrameLength"]).to_pydict()
        groups = self._per_frame_groups()
        records = []
        for i, (name, rows) in enumerate(rows_of.items()):
            by_frame = sorted(rows, key=lambda row: frames["FrameNumber"][row] or 0)
            if groups is not None:
                texts = [groups[row] for row in by_frame if groups[row] is not None]
                if texts and PER_FRAME_FUNCTIONAL_GROUPS not in elements[i]:
                    items = tuple(from_json(item) for text in texts for item in json.loads(text or "[]"))
                    elements[i][PER_FRAME_FUNCTIONAL_GROUPS] = Element(
                        PER_FRAME_FUNCTIONAL_GROUPS, "SQ", items
                    )
            has_image = frames["FrameNumber"][by_frame[0]] is not None
            located = has_image and frames["FrameOffset"][by_frame[0]] is not None
            records.append(
                Record(
                    name=name,
                    size=part["ObjectSize"][i].as_py(),
                    version=part["ObjectVersion"][i].as_py(),
                    transfer_syntax_uid=part["TransferSyntaxUID"][i].as_py(),
                    pixel_keyword=part["PixelKeyword"][i].as_py() or "",
                    pixel_vr=part["PixelVR"][i].as_py() or "",
                    elements=dict(sorted(elements[i].items())),
                    number_of_frames=len(rows) if has_image else 0,
                    locations=tuple(
                        FrameLocation(frames["FrameOffset"][row], frames["FrameLength"][row])
                        for row in by_frame
                    )
                    if located
                    else (),
                )
            )
        return records

    def _per_frame_groups(self) -> list[str | None] | None:
        name = "PerFrameFunctionalGroupsSequence"
        return self.table[name].to_pylist() if name in self.table.column_names else None


def _positions(
    table: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each slice's coordinate on its stack's axis in mm, in full precision; NaN where it has none."""
    axis = table["PrimaryAxis"][int(rows[0])].as_py()
    if axis == "I":
        return np.full(len(rows), np.nan)
    number = "XYZ".index(axis)
    exact = [np.nan if p is None else p[number] for p in table["ImagePositionPatient"].to_pylist()]
    positions: np.ndarray[Any, np.dtype[np.float64]] = np.array(exact, dtype=np.float64)[rows]
    # A stack without any position is sorted by SliceLocation, which PrimaryPosition then holds.
    if np.isnan(positions).all():
        positions = _floats(table["PrimaryPosition"])[rows]
    return positions


def _floats(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column of numbers, NaN where it has none.

    Arrow's own functions on columns (take, cast, fill_null) would do, but their first use takes 30 ms.
    """
    values: np.ndarray[Any, np.dtype[np.float64]] = column.to_numpy().astype(np.float64)
    return values


def _elements(part: pa.Table, constants: Item) -> list[Item]:
    """The elements of the objects whose first rows these are."""
    elements = [dict(constants) for _ in range(part.num_rows)]
    for number, schema_field in enumerate(part.schema):
        tag = tag_of_field(schema_field)
        if not tag or tag in constants or tag == PER_FRAME_FUNCTIONAL_GROUPS or is_hash(schema_field):
            continue
        vr = schema_field.metadata[b"vr"].decode()
        cells = part[schema_field.name].to_pylist()
        if vr in BULK_VRS:
            hashes = part.column(number + 1).to_pylist()
            cells = [None if s is None else Bulk(s, h) for s, h in zip(cells, hashes, strict=True)]
        for item, cell in zip(elements, cells, strict=True):
            element = _element(tag, vr, cell)
            if element is not None:
                item[tag] = element
    if OTHER_ELEMENTS.name in part.column_names:
        for item, text in zip(elements, part[OTHER_ELEMENTS.name].to_pylist(), strict=True):
            for key, body in json.loads(text or "{}").items():
                if body is None:
                    item.pop(int(key, 16), None)
                else:
                    item[int(key, 16)] = element_from_json(int(key, 16), body)
    return elements


def _element(tag: int, vr: str, cell: Any) -> Element | None:  # noqa: ANN401 - one of Arrow's values
    if isinstance(cell, Bulk):
        return Element(tag, vr, cell)
    if vr == "SQ" and cell is not None:
        return element_from_json(tag, {"vr": "SQ", "Value": json.loads(cell)})
    return element_of_cell(tag, vr, cell)


def _slice(row: int, cells: dict[str, Any]) -> Slice:
    located = cells["FrameOffset"] is not None
    pixels = _pixels(cells)
    return Slice(
        row=row,
        file_name=cells["FileName"],
        object_size=cells["ObjectSize"],
        object_version=cells["ObjectVersion"] or "",
        sop_instance_uid=cells["SOPInstanceUID"] or "",
        frame_number=cells["FrameNumber"],
        stack=cells["Stack"],
        primary_axis=cells["PrimaryAxis"],
        primary_position=cells["PrimaryPosition"],
        location=FrameLocation(cells["FrameOffset"], cells["FrameLength"]) if located else None,
        pixels=pixels,
        contrast=_contrast(cells, pixels),
        pixel_spacing_mm=_spacing(cells),
        pixel_aspect_ratio=_pair(cells["PixelAspectRatio"]),
    )


def _pixels(cells: dict[str, Any]) -> PixelDescription:
    allocated = cells["BitsAllocated"] or _IMPLIED_BITS.get(cells["PixelKeyword"], 16)
    stored = cells["BitsStored"] or allocated
    high_bit = cells["HighBit"]
    return PixelDescription(
        transfer_syntax_uid=cells["TransferSyntaxUID"],
        rows=cells["Rows"],
        columns=cells["Columns"],
        samples_per_pixel=cells["SamplesPerPixel"] or 1,
        photometric_interpretation=(cells["PhotometricInterpretation"] or "").strip() or "MONOCHROME2",
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        pixel_representation=cells["PixelRepresentation"] or 0,
        planar_configuration=cells["PlanarConfiguration"] or 0,
        number_of_frames=cells["NumberOfFrames"] or 1,
        pixel_keyword=cells["PixelKeyword"],
        pixel_vr=cells["PixelVR"] or "",
        palette=_palette(cells["Palette"], signed=bool(cells["PixelRepresentation"])),
    )


_IMPLIED_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


def _contrast(cells: dict[str, Any], pixels: PixelDescription) -> Contrast:
    signed = pixels.pixel_representation == 1
    intercept = cells["RescaleIntercept"]
    modality = _tables(cells["ModalityLUTSequence"], signed=signed)
    # A modality LUT's output is unsigned; else the VOI's input is signed where its values can be negative.
    voi_signed = not modality and (signed or (intercept or 0) < 0)
    names = cells["WindowCenterWidthExplanation"] or []
    pairs = zip(cells["WindowCenter"] or [], cells["WindowWidth"] or [], strict=False)
    return Contrast(
        rescale_slope=1.0 if cells["RescaleSlope"] is None else cells["RescaleSlope"],
        rescale_intercept=0.0 if intercept is None else intercept,
        modality_lut=modality[0] if modality else None,
        windows=tuple(
            Window(center, width, (names[i] or "") if i < len(names) else "")
            for i, (center, width) in enumerate(pairs)
            if center is not None and width is not None
        ),
        voi_luts=_tables(cells["VOILUTSequence"], signed=voi_signed),
        voi_lut_function=(cells["VOILUTFunction"] or "").strip() or "LINEAR",
        pixel_padding_value=_padding(cells, "Value", pixels),
        pixel_padding_range_limit=_padding(cells, "RangeLimit", pixels),
        presentation_lut_shape=(cells["PresentationLUTShape"] or "").strip(),
    )


def _padding(cells: dict[str, Any], end: str, pixels: PixelDescription) -> float | None:
    """One end of the padding's range: of float pixels it is an element of its own (PS3.3 C.7.6.24)."""
    kind = pixels.pixel_keyword.removesuffix("PixelData")
    value = cells[f"{kind}PixelPadding{end}"]
    return _stored(value, pixels) if not kind else value


def _stored(value: int | None, pixels: PixelDescription) -> int | None:
    """A stored value in the sign of the pixels: files write a negative padding value as unsigned too."""
    if value is None:
        return None
    bits = 1 << pixels.bits_allocated
    if pixels.pixel_representation == 1 and value >= bits >> 1:
        return value - bits
    if pixels.pixel_representation == 0 and value < 0:
        return value + bits
    return value


_LUT_DESCRIPTOR, _LUT_EXPLANATION, _LUT_DATA = 0x00283002, 0x00283003, 0x00283006
# Green's and blue's follow.
_RED_DESCRIPTOR, _RED_DATA, _RED_SEGMENTED = 0x00281101, 0x00281201, 0x00281221


def _tables(text: str | None, *, signed: bool) -> tuple[LookupTable, ...]:
    """The lookup tables of a modality or VOI LUT sequence, those left out that hold none."""
    tables = []
    for item in json.loads(text or "[]"):
        elements = from_json(item)
        explanation = elements.get(_LUT_EXPLANATION)
        table = _table(elements.get(_LUT_DESCRIPTOR), elements.get(_LUT_DATA), signed=signed)
        if table is not None:
            name = str(explanation.first or "") if explanation else ""
            tables.append(LookupTable(table.entries, table.first_value, table.bits, table.data, name))
    return tuple(tables)


def _table(descriptor: Element | None, data: Element | None, *, signed: bool) -> LookupTable | None:
    """A lookup table (PS3.3 C.11.1.1.1) from its descriptor (entries, first value, bits) and its data."""
    if descriptor is None or data is None or isinstance(descriptor.value, Bulk) or len(descriptor.value) != 3:
        return None
    entries, first, bits = (int(value) for value in descriptor.value)  # type: ignore[arg-type]
    raw = data.value.data if isinstance(data.value, Bulk) else None
    if isinstance(data.value, tuple):
        raw = b"".join((int(v) & 0xFFFF).to_bytes(2, "little") for v in data.value)  # type: ignore[arg-type]
    if raw is None:
        return None
    entries = entries % 65536 or 65536
    first = (first + 32768) % 65536 - 32768 if signed else first % 65536
    return LookupTable(entries, first, bits, raw)


def _palette(text: str | None, *, signed: bool) -> Palette | None:
    """The palette colour tables (PS3.3 C.7.6.3.1.5); None unless all three are there."""
    if not text:
        return None
    elements = from_json(json.loads(text))
    segmented = _RED_SEGMENTED in elements
    tables = []
    for colour in range(3):
        data = (_RED_SEGMENTED if segmented else _RED_DATA) + colour
        table = _table(elements.get(_RED_DESCRIPTOR + colour), elements.get(data), signed=signed)
        if table is None:
            return None
        tables.append(table)
    red, green, blue = tables
    return Palette(red, green, blue, segmented=segmented)


def _spacing(cells: dict[str, Any]) -> tuple[float, float] | None:
    """Row and column spacing in mm that a picture is shown with, the first of the three that is usable."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = _pair(cells[name])
        if pair is not None:
            return pair
    return None


def _pair(values: list[Any] | None) -> tuple[Any, Any] | None:
    if values is None or len(values) != 2 or not all(v is not None and 0 < v < float("inf") for v in values):
        return None
    return values[0], values[1]


__all__ = ["BY_NAME", "DamagedIndexError", "Index", "Slice"]
