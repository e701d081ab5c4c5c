"""The table -> slices to show, stacks to choose from, and headers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.archive.index.build import CONSTANTS_KEY, PROVENANCE_KEY
from dicom_series_preview.archive.index.cells import (
    DamagedIndexError,
    check_cells,
    check_provenance,
    damage_told,
    items_of,
)
from dicom_series_preview.archive.index.elements import (
    LONGEST_CONSTANT_BYTES,
    cells_of,
    constant_columns,
    element_of_cell,
    is_hash,
    tag_of_field,
    vr_of_field,
)
from dicom_series_preview.archive.index.labels import coloured_labels
from dicom_series_preview.archive.index.records import (
    PER_FRAME_FUNCTIONAL_GROUPS,
    Duplicate,
    Provenance,
    Record,
    Skipped,
)
from dicom_series_preview.archive.index.remarks import contradictions
from dicom_series_preview.archive.index.schema import (
    BY_NAME,
    FIXED_COLUMNS,
    MOSAIC_COLUMNS,
    OTHER_ELEMENTS,
    PART_COLUMNS,
    SCHEMA_VERSION,
    column_name,
)
from dicom_series_preview.archive.index.stacks import Stack, names_a_localizer, told
from dicom_series_preview.archive.slide_tiles import names_an_aside
from dicom_series_preview.base.geometry import places, plane_of
from dicom_series_preview.base.image import Content, Contrast, LookupTable, Palette, PixelDescription, Window
from dicom_series_preview.base.selection import SortedStack
from dicom_series_preview.sources.headers.dicom_json import element_from_json, from_json
from dicom_series_preview.sources.headers.elements import BULK_VRS, Bulk, Element, all_values
from dicom_series_preview.sources.headers.locations import FrameLocation
from dicom_series_preview.sources.headers.overlays import (
    OverlayPlane,
    is_overlay_bit_position,
    is_overlay_tag,
    overlay_planes,
)
from dicom_series_preview.sources.headers.siemens import Mosaic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom import Dataset

    from dicom_series_preview.sources.headers.elements import Item

# How many of a file's columns are not of constants.
_OWN_COLUMNS_KEY = b"dicom_series_preview.own_columns"
# Of the columns that numbers are read from; Arrow's own `to_pandas_dtype` needs pandas before Arrow 26.
_DTYPES = {pa.int32(): np.int32, pa.float32(): np.float32, pa.float64(): np.float64}


def origin(file: bytes | BinaryIO) -> tuple[str, str] | None:
    """The root's URL and the series that an index file says it is of, whatever its schema's version.

    Args:
        file: The file, or its bytes.

    Returns:
        None where it is no index, or a damaged one.
    """
    source = pa.BufferReader(file) if isinstance(file, bytes) else file
    try:
        document = json.loads((pq.read_metadata(source).metadata or {}).get(PROVENANCE_KEY, b"{}"))
        return str(document["root"]), str(document["series"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice as what it takes to show it: a frame, or a picture of its own that frames lie on.

    Attributes:
        row: Its row in the index: its frame's, or its first frame's.
        file_name: The object's path below the series' folder.
        object_size: Bytes.
        object_version: The version that the index describes.
        sop_instance_uid: SOPInstanceUID (0008,0018), or empty.
        instance_number: InstanceNumber (0020,0013), or None.
        frame_number: 1-based.
        stack: The stack it belongs to.
        primary_axis: `X`, `Y`, `Z` or `I`.
        primary_position: Coordinate on the primary axis in mm (InstanceNumber on `I`), or None.
        location: Where the frame's data lie, or None where only the whole object tells.
        pixels: How its stored values are laid out; of a slice that frames lie on, its own rows and columns.
        contrast: What they mean.
        pixel_spacing_mm: Row and column spacing that hold for showing it, or None where none is usable.
        pixel_aspect_ratio: Vertical and horizontal size of a pixel, or None where that is not usable.
        image_orientation_patient: Row cosines, then column cosines, or None.
        remarks: What contradicts itself in its header, or is no number there.
        part_rows: Rows of the frames that lie on it, `Index.parts` has them; none where it is a frame.
        background: The level, 0..255, of where no frame lies on it.
        overlays: The object's overlay planes, where they were asked for.
        header_length: Bytes before its first frame, where it has such planes and a location.
    """

    row: int
    file_name: str
    object_size: int
    object_version: str
    sop_instance_uid: str
    instance_number: int | None
    frame_number: int
    stack: int
    primary_axis: str
    primary_position: float | None
    location: FrameLocation | None
    pixels: PixelDescription
    contrast: Contrast = field(repr=False)
    pixel_spacing_mm: tuple[float, float] | None
    pixel_aspect_ratio: tuple[int, int] | None
    image_orientation_patient: tuple[float, ...] | None
    overlays: tuple[OverlayPlane, ...] = ()
    header_length: int = 0
    remarks: tuple[str, ...] = ()
    part_rows: range = range(0)
    background: int = 0

    @property
    def name(self) -> str:
        """What a message calls it: its object, and its frame where that has several."""
        number = f", frame {self.frame_number}" if self.pixels.number_of_frames > 1 else ""
        return f"{self.file_name}{number}"

    @property
    def pixel_shape(self) -> tuple[float, float]:
        """Height and width of a pixel, in mm or only relative to each other; (1, 1) where nothing tells."""
        return self.pixel_spacing_mm or self.pixel_aspect_ratio or (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Part:
    """A frame that lies on a slice; what of it lies beyond the slice's edges is cut off.

    Attributes:
        frame: The frame.
        top: Row of the slice, from 0, at which the frame's first row lies; below 0 where the slice begins
            inside of it.
        left: The same of its columns.
    """

    frame: Slice
    top: int
    left: int


@dataclass(frozen=True)
class Index:
    """The index of a series.

    Attributes:
        table: One row a frame, in display order, stack after stack; the frames of one slice are neighbours.
    """

    table: pa.Table

    @classmethod
    def from_parquet(cls, data: bytes, most_rows: int | None = None) -> Index:
        """Read an index file.

        Raises:
            DamagedIndexError: The file is none, of another schema version, or has more rows than `most_rows`;
                such a one is not read into memory.
        """
        try:
            # Without Arrow's threads: one that still holds `data` when Python ends aborts the process, which
            # every other `get-index` did. A table of this size gains nothing from them.
            file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
            if most_rows is not None and file.metadata.num_rows > most_rows:
                raise DamagedIndexError(f"{file.metadata.num_rows} rows, more than the limit of {most_rows}")
            metadata = file.metadata.metadata or {}
            # What all objects have with the same value is in the metadata; its columns are for others.
            own = int(metadata[_OWN_COLUMNS_KEY]) if _OWN_COLUMNS_KEY in metadata else None
            table = file.read(file.schema_arrow.names[:own], use_threads=False)
            document = json.loads(metadata.get(PROVENANCE_KEY, b"{}"))
        except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DamagedIndexError(f"no readable Parquet file: {reason}") from error
        if not isinstance(document, dict):
            raise DamagedIndexError("without metadata of its own")
        if document.get("schema_version") != SCHEMA_VERSION:
            raise DamagedIndexError(f"schema version {document.get('schema_version')}, not {SCHEMA_VERSION}")
        types = dict(zip(table.schema.names, table.schema.types, strict=True))
        for column in (*FIXED_COLUMNS, *PART_COLUMNS, *MOSAIC_COLUMNS, OTHER_ELEMENTS):
            is_there = column.name in types or column.name in BY_NAME
            if is_there and types.get(column.name) != column.type:
                raise DamagedIndexError(f"without the column {column.name}, or with one of another type")
        stacks, frames = _floats(table["Stack"]), _floats(table["FrameNumber"])
        if (stacks < 0).any() or (np.isnan(stacks) != np.isnan(frames)).any():
            raise DamagedIndexError("its column Stack holds what no slice has")
        index = cls(table)
        # Pages have checksums; the metadata of the file and of its columns have none, and are read now.
        with damage_told("its metadata"):
            _ = index.provenance, _elements(table.slice(0, 1), index.constants)
        return index

    def to_parquet(self) -> bytes:
        """The index as a Parquet file; docs/decisions/0023 says what is compressed in it, and why."""
        own = self.table.num_columns
        metadata = {**self.table.schema.metadata, _OWN_COLUMNS_KEY: str(own)}
        sink = pa.BufferOutputStream()
        pq.write_table(
            self.whole.replace_schema_metadata(metadata),
            sink,
            **_encoding(self.whole, own, self.constants),
            store_schema=True,
            write_page_checksum=True,
        )
        return bytes(sink.getvalue())

    @cached_property
    def whole(self) -> pa.Table:
        """The table with a column more for each public element that all objects have with the same value.

        Files have these, so that the column is there in every index and never empty because its value does
        not vary.
        """
        columns = constant_columns(self.constants, self.table.num_rows)
        fields = [*self.table.schema, *(field for field, _ in columns)]
        schema = pa.schema(fields, metadata=self.table.schema.metadata)
        return pa.table([*self.table.columns, *(values for _, values in columns)], schema=schema)

    @cached_property
    def provenance(self) -> Provenance:
        """What the index says of itself.

        Raises:
            DamagedIndexError: It is not of the types that an index writes.
        """
        document = json.loads(self.table.schema.metadata[PROVENANCE_KEY])
        found = Provenance(
            series=document["series"],
            root=document["root"],
            fingerprint=document["fingerprint"],
            listed=document["listed"],
            limit=document["limit"],
            skipped=tuple(Skipped(**skipped) for skipped in document["skipped"]),
            notes=tuple(document["notes"]),
            duplicates=tuple(Duplicate(**one) for one in document["duplicates"]),
            series_instance_uids=document["series_instance_uids"],
            patient_ids=document["patient_ids"],
            warnings=tuple(document["warnings"]),
        )
        check_provenance(found)
        return found

    @cached_property
    def constants(self) -> Item:
        """The elements that every object has with the same value."""
        return from_json(json.loads(self.table.schema.metadata[CONSTANTS_KEY]))

    @cached_property
    def stacks(self) -> dict[int, np.ndarray[Any, np.dtype[np.int64]]]:
        """By stack number, the rows of its slices in display order; of a slice of many frames the first."""
        numbers = _floats(self.table["Stack"])
        if self._has_parts:
            slices = _floats(self.table["Slice"])
            numbers[1:][slices[1:] == slices[:-1]] = np.nan
        # Rows in no stack come last. Not np.unique, which imports numpy.ma: 9 ms of every preview.
        order = np.argsort(np.where(numbers >= 0, numbers, np.inf), kind="stable")
        order = order[: np.count_nonzero(numbers >= 0)]
        parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        return {int(numbers[rows[0]]): rows for rows in parts if len(rows)}

    @property
    def slice_count(self) -> int:
        """Slices in all stacks."""
        return sum(len(rows) for rows in self.stacks.values())

    def object_count(self, number: int) -> int:
        """How many objects the slices of a stack are of.

        Raises:
            KeyError: There is no such stack.
        """
        return len(set(self.table["FileName"].take(pa.array(self.stacks[number])).to_pylist()))

    def described_stacks(self) -> list[Stack]:
        """What tells the stacks apart, in the order of their numbers."""
        # Once: the table makes its list of names anew each time that it is asked.
        columns = dict(zip(self.table.column_names, self.table.columns, strict=True))

        def cell(name: str, row: int) -> Any:  # noqa: ANN401 - one of Arrow's values
            return columns[name][row].as_py() if name in columns else None

        return [_stack(number, rows.tolist(), cell, self.constants) for number, rows in self.stacks.items()]

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

    def slices(self, rows: Sequence[int], *, overlays: bool = False) -> list[Slice]:
        """Rows as slices to show.

        Args:
            rows: Rows of slices with an image, as `stacks` has them.
            overlays: Say which overlay planes their objects have.
        """
        frames = self.frames(rows)
        if overlays or self._may_hold_overlay_bits:
            frames = self._with_overlays(frames, shown=overlays)
        return [self._put_together(item) for item in frames] if self._has_parts else frames

    def frames(self, rows: Sequence[int]) -> list[Slice]:
        """Rows as the frames that they are, on whatever slices those lie.

        Raises:
            DamagedIndexError: A row holds what no slice has.
        """
        names, columns = self._fixed.column_names, self._fixed.columns
        return [
            _slice(row, {name: column[row].as_py() for name, column in zip(names, columns, strict=True)})
            for row in (int(row) for row in rows)
        ]

    def parts(self, item: Slice) -> list[Part]:
        """The frames that lie on a slice, those that it does not show left out; none where it is a frame."""
        rows = item.part_rows
        names = ("FileName", "Index", "FrameNumber", "FrameOffset", "FrameLength", "FrameTop", "FrameLeft")
        columns = self.table.slice(rows.start, len(rows)).select(names).to_pydict() if rows else {}
        first_of: dict[str, Slice] = {}
        parts = []
        for i, row in enumerate(rows):
            name, index_row, number, offset, length, top, left = (columns[column][i] for column in names)
            # An object's frames differ in their place alone.
            first = first_of.get(name) or first_of.setdefault(name, self.frames([row])[0])
            location = None if offset is None else FrameLocation(offset, length)
            frame = replace(first, row=index_row, frame_number=number, location=location)
            if (
                -frame.pixels.rows < top < item.pixels.rows
                and -frame.pixels.columns < left < item.pixels.columns
            ):
                parts.append(Part(frame, top, left))
        return parts

    @cached_property
    def _has_parts(self) -> bool:
        return PART_COLUMNS[0].name in self.table.column_names

    @cached_property
    def _fixed(self) -> pa.Table:
        return self.table.select([column.name for column in FIXED_COLUMNS])

    def _put_together(self, item: Slice) -> Slice:
        """A row's slice: the one that its frame lies on, where it lies on one."""
        number, rows, columns, _, _, background = (
            self.table[column.name][item.row].as_py() for column in PART_COLUMNS
        )
        if number is None:
            return item
        count = int(np.count_nonzero(_floats(self.table["Slice"]) == number))
        pixels = replace(item.pixels, rows=rows, columns=columns)
        part_rows = range(item.row, item.row + count)
        return replace(item, pixels=pixels, part_rows=part_rows, background=background or 0)

    @cached_property
    def _may_hold_overlay_bits(self) -> bool:
        """Whether an object may have an overlay plane among its pixels' unused bits."""
        return any(is_overlay_bit_position(tag_of_field(column)) for column in self.table.schema) or any(
            is_overlay_bit_position(tag) and element.first for tag, element in self.constants.items()
        )

    def _with_overlays(self, slices: list[Slice], *, shown: bool) -> list[Slice]:
        columns = [column.name for column in self.table.schema if is_overlay_tag(tag_of_field(column))]
        constants = {tag: element for tag, element in self.constants.items() if is_overlay_tag(tag)}
        if not columns and not constants:
            return slices
        columns += [name for name in ("FileName", OTHER_ELEMENTS.name) if name in self.table.column_names]
        # By object, its first row, which has what no column gives back, and where its first frame begins.
        firsts: dict[str, tuple[int, int]] = {}
        wanted = {item.file_name for item in slices}
        cells = zip(self.table["FileName"].to_pylist(), self.table["FrameOffset"].to_pylist(), strict=True)
        for row, (name, offset) in enumerate(cells):
            if name in wanted:
                first, start = firsts.get(name, (row, offset))
                firsts[name] = first, min(start or 0, offset or 0)
        part = self.table.select(columns).take(pa.array([row for row, _ in firsts.values()], pa.int64()))
        planes = dict(zip(firsts, map(overlay_planes, _elements(part, constants)), strict=True))
        return [
            _overlaid(item, planes[item.file_name], firsts[item.file_name][1], shown=shown) for item in slices
        ]

    def patient_orientation(self, item: Slice) -> str:
        r"""PatientOrientation (0020,0020) of a slice's object as it is written, as in `L\P`, or empty."""
        return "\\".join(self._texts(_PATIENT_ORIENTATION, item))

    def is_of_a_quadruped(self, item: Slice) -> bool:
        """The directions of a slice's object are those of an animal (0010,2210)."""
        return self._texts(_ANATOMICAL_ORIENTATION_TYPE, item) == ["QUADRUPED"]

    def is_whole_mosaic(self, item: Slice) -> bool:
        """A slice is a Siemens mosaic of many that is not taken apart."""
        name = MOSAIC_COLUMNS[0].name
        if item.part_rows or name not in self.table.column_names:
            return False
        return self.table[name][item.row].as_py() not in (None, 1)

    def _texts(self, tag: int, item: Slice) -> list[str]:
        """The texts of an element of a slice's object."""
        constant = self.constants.get(tag)
        if constant is not None:
            values: Sequence[Any] = all_values(constant)
        elif (name := column_name(tag, "")) in self.table.column_names:
            cell = self.table[name][item.row].as_py()
            values = cell if isinstance(cell, list) else [cell]
        else:
            values = ()
        return [str(value or "").strip() for value in values]

    def with_locations(self, found: Mapping[str, Sequence[FrameLocation]]) -> Index:
        """The same index, with the places of frames that it did not know.

        Args:
            found: By the object's path below the series' folder, where its frames lie, in their order.
        """
        cells = self.table.select(["FileName", "FrameNumber", "FrameOffset", "FrameLength"]).to_pydict()
        for row, (name, number) in enumerate(zip(cells["FileName"], cells["FrameNumber"], strict=True)):
            if name in found and number is not None:
                location = found[name][number - 1]
                cells["FrameOffset"][row], cells["FrameLength"][row] = location.offset, location.length
        table = self.table
        for column in ("FrameOffset", "FrameLength"):
            at = table.schema.get_field_index(column)
            table = table.set_column(at, table.schema.field(at), pa.array(cells[column], pa.int64()))
        return Index(table)

    def with_root(self, name: str) -> Index:
        """The same index, which tells its storage root by another name than its URL.

        Args:
            name: What it says instead.
        """
        table, column = self.table, BY_NAME["StorageRoot"]
        at = table.schema.get_field_index(column.name)
        table = table.set_column(at, column.field(), pa.array([name] * table.num_rows, column.type))
        metadata = dict(table.schema.metadata)
        document = {**json.loads(metadata[PROVENANCE_KEY]), "root": name}
        text = json.dumps(document, ensure_ascii=False)
        return Index(table.replace_schema_metadata({**metadata, PROVENANCE_KEY: text}))

    @property
    def contents(self) -> str:
        """What the folder holds, in words: its stacks, and series and patients where there are several."""
        provenance = self.provenance
        return told(len(self.stacks), provenance.series_instance_uids, provenance.patient_ids)

    def header(self, row: int) -> Dataset:
        """The header of the object that a row belongs to, binary values aside, as the object holds it.

        Args:
            row: A row of the index.
        """
        from dicom_series_preview.sources.headers.dataset import to_dataset  # noqa: PLC0415 - loads pydicom

        name = self.table["FileName"][row].as_py()
        record = next(record for record in self.records([name]) if record.name == name)
        return to_dataset(record.elements)

    def records(self, names: Sequence[str] | None = None) -> list[Record]:
        """What the index was built from, to build it anew without reading a header.

        Args:
            names: Only these objects; None for all, duplicates among them.
        """
        records = self._records(names)
        duplicates = self.provenance.duplicates if names is None else ()
        by_name = {record.name: record for record in records} if duplicates else {}
        return records + [replace(by_name[one.of], name=one.name, version=one.version) for one in duplicates]

    def _records(self, names: Sequence[str] | None) -> list[Record]:
        """The records of the objects that have rows."""
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
        of_frames = self.table.select(
            [name for name in (*_FRAME_COLUMNS, _GROUPS_COLUMN) if name in self.table.column_names]
        ).take(pa.array([row for rows in rows_of.values() for row in rows], pa.int64()))
        frames = iter(of_frames.to_pylist())
        records = []
        for i, (name, rows) in enumerate(rows_of.items()):
            by_frame = sorted(islice(frames, len(rows)), key=lambda cells: cells["FrameNumber"] or 0)
            texts = [text for cells in by_frame if (text := cells.get(_GROUPS_COLUMN)) is not None]
            if texts and PER_FRAME_FUNCTIONAL_GROUPS not in elements[i]:
                items = tuple(item for text in texts for item in items_of(_GROUPS_COLUMN, text))
                elements[i][PER_FRAME_FUNCTIONAL_GROUPS] = Element(PER_FRAME_FUNCTIONAL_GROUPS, "SQ", items)
            has_image = by_frame[0]["FrameNumber"] is not None
            located = has_image and by_frame[0]["FrameOffset"] is not None
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
                        FrameLocation(cells["FrameOffset"], cells["FrameLength"]) for cells in by_frame
                    )
                    if located
                    else (),
                    mosaic=_mosaic(part, i),
                    pixel_surplus=part["PixelSurplus"][i].as_py(),
                )
            )
        return records


_SOP_CLASS_UID, _SERIES_DESCRIPTION = 0x00080016, 0x0008103E


def _stack(number: int, rows: Sequence[int], cell: Callable[[str, int], Any], constants: Item) -> Stack:
    """What tells a stack from others.

    Args:
        number: Its number.
        rows: The rows of its slices.
        cell: A column's value in a row, None where there is no such column.
        constants: The elements that are no columns.
    """
    first, last = rows[0], rows[-1]

    def text(tag: int, keyword: str) -> str:
        constant = constants.get(tag)
        value = cell(keyword, first) if constant is None else constant.first
        return value.partition("\\")[0].strip() if isinstance(value, str) else ""

    own_type = cell("ImageType", first) or ()
    image_type = tuple(word for word in (*own_type, *(cell("FrameType", first) or ())) if word)
    aside = names_an_aside(text(_SOP_CLASS_UID, "SOPClassUID"), own_type)
    cosines = cell("ImageOrientationPatient", first)
    return Stack(
        stack=number,
        series_instance_uid=cell("SeriesInstanceUID", first) or "",
        modality=cell("Modality", first) or "",
        image_type=image_type,
        plane=plane_of(cosines) if cosines else "",
        axis=cell("PrimaryAxis", first),
        first_position=_primary_position({name: cell(name, first) for name in _POSITION_COLUMNS}),
        last_position=_primary_position({name: cell(name, last) for name in _POSITION_COLUMNS}),
        rows=cell("SliceRows", first) or cell("Rows", first),
        columns=cell("SliceColumns", first) or cell("Columns", first),
        slices=len(rows),
        localizer=names_a_localizer(image_type) or aside,
        description=text(_SERIES_DESCRIPTION, "SeriesDescription"),
    )


_POSITION_COLUMNS = ("PrimaryAxis", "PrimaryPosition", "InstanceNumber")
_FRAME_COLUMNS = ("FrameNumber", "FrameOffset", "FrameLength")
_GROUPS_COLUMN = "PerFrameFunctionalGroupsSequence"


def _mosaic(part: pa.Table, row: int) -> Mosaic | None:
    if MOSAIC_COLUMNS[0].name not in part.column_names:
        return None
    images, normal = (part[column.name][row].as_py() for column in MOSAIC_COLUMNS)
    return None if images is None else Mosaic(images, tuple(normal) if normal is not None else None)


def _positions(
    table: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each slice's coordinate on its stack's axis in mm, in full precision; NaN where it has none.

    Focal planes of a slide, which have a location and no axis, are as far from each other as their numbers.
    """
    axis = table["PrimaryAxis"][int(rows[0])].as_py()
    if axis == "I":
        planes: np.ndarray[Any, np.dtype[np.float64]] = _floats(table["Location"])[rows]
        return planes
    with damage_told("PrimaryAxis"):
        number = "XYZ".index(axis)
    positions: np.ndarray[Any, np.dtype[np.float64]] = _coordinates(table["ImagePositionPatient"], number)
    positions = positions[rows]
    # A stack without any position is sorted by SliceLocation, which PrimaryPosition then holds.
    if np.isnan(positions).all():
        positions = _floats(table["PrimaryPosition"])[rows]
    return positions


def _coordinates(column: pa.ChunkedArray, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One coordinate of a column of positions, NaN where it has none."""
    parts = []
    for chunk in column.chunks:
        starts, values = _buffer(chunk.offsets), _floats(chunk.values)
        # Where there is none, its list is empty; no position is of another length.
        has_one = np.diff(starts) == 3
        coordinates = np.full(len(chunk), np.nan)
        coordinates[has_one] = places(values[starts[:-1][has_one, np.newaxis] + np.arange(3)])[:, number]
        parts.append(coordinates)
    return np.concatenate([np.empty(0), *parts])


def _floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column of numbers, NaN where it has none.

    Arrow's own functions on columns (take, cast, fill_null) would do, but their first use takes 30 ms; its
    `to_numpy` imports pandas where that is installed, which takes 400.
    """
    parts = []
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        values = _buffer(chunk).astype(np.float64)
        validity = chunk.buffers()[0]
        if validity is not None:
            bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
            values[bits[chunk.offset : chunk.offset + len(chunk)] == 0] = np.nan
        parts.append(values)
    return np.concatenate([np.empty(0), *parts])


def _buffer(array: pa.Array) -> np.ndarray[Any, np.dtype[Any]]:
    """The numbers of an array as they lie in memory; anything where it has none."""
    kind = _DTYPES[array.type]
    if not len(array):
        return np.empty(0, kind)
    return np.frombuffer(array.buffers()[-1], kind)[array.offset : array.offset + len(array)]


def _encoding(table: pa.Table, own: int, constants: Item) -> dict[str, Any]:
    """How Parquet writes a table: what varies with zstd and as it is, the rest as a dictionary of one value.

    Where that is short zstd would cost more than it spares; in a list it spares what tells lists apart.

    Args:
        table: The table.
        own: How many of its columns are not of constants.
        constants: The elements that all objects have with the same value.
    """
    compressed: list[str] = []
    same: list[str] = []
    varying: list[str] = []
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if number < own and column.null_count == len(column):
            continue
        is_list = pa.types.is_list(column.type)
        path = f"{name}.list.element" if is_list else name
        is_same = number >= own or (
            name in BY_NAME
            and BY_NAME[name].tag in constants
            and column.nbytes <= LONGEST_CONSTANT_BYTES * len(column)
        )
        (same if is_same else varying).append(path)
        if is_list or not is_same:
            compressed.append(path)
    codecs = dict.fromkeys(compressed, "zstd")
    return {"compression": codecs, "use_dictionary": same, "write_statistics": varying}


def _elements(part: pa.Table, constants: Item) -> list[Item]:
    """The elements of the objects whose first rows these are."""
    elements = [dict(constants) for _ in range(part.num_rows)]
    for number, schema_field in enumerate(part.schema):
        tag = tag_of_field(schema_field)
        if not tag or tag in constants or tag == PER_FRAME_FUNCTIONAL_GROUPS or is_hash(schema_field):
            continue
        vr = vr_of_field(schema_field)
        cells = cells_of(schema_field, part[schema_field.name])
        if vr in BULK_VRS:
            hashes = part.column(number + 1).to_pylist()
            cells = [None if s is None else Bulk(s, h) for s, h in zip(cells, hashes, strict=True)]
        for item, cell in zip(elements, cells, strict=True):
            element = element_of_cell(tag, vr, cell)
            if element is not None:
                item[tag] = element
    if OTHER_ELEMENTS.name in part.column_names:
        for item, text in zip(elements, part[OTHER_ELEMENTS.name].to_pylist(), strict=True):
            with damage_told(OTHER_ELEMENTS.name):
                for key, body in json.loads(text or "{}").items():
                    if body is None:
                        item.pop(int(key, 16), None)
                    else:
                        item[int(key, 16)] = element_from_json(int(key, 16), body)
    return elements


def _overlaid(item: Slice, planes: tuple[OverlayPlane, ...], header_length: int, *, shown: bool) -> Slice:
    """A slice that knows its object's overlay planes, or only which bits of its pixels are theirs."""
    positions = {plane.bit_position for plane in planes}
    bits = sum(1 << at for at in positions if at is not None and 0 <= at < item.pixels.bits_allocated)
    if bits:
        item = replace(item, pixels=replace(item.pixels, overlay_bits=bits))
    return replace(item, overlays=planes, header_length=header_length) if planes and shown else item


def _slice(row: int, cells: dict[str, Any]) -> Slice:
    check_cells(cells)
    located = cells["FrameOffset"] is not None
    pixels = _pixels(cells)
    contrast = _contrast(cells, pixels)
    padding_words = _padding_words(contrast, pixels)
    if padding_words is not None:
        pixels = replace(pixels, padding_words=padding_words)
    return Slice(
        row=row,
        file_name=cells["FileName"],
        object_size=cells["ObjectSize"],
        object_version=cells["ObjectVersion"] or "",
        sop_instance_uid=cells["SOPInstanceUID"] or "",
        instance_number=cells["InstanceNumber"],
        frame_number=cells["FrameNumber"],
        stack=cells["Stack"],
        primary_axis=cells["PrimaryAxis"],
        primary_position=_primary_position(cells),
        location=FrameLocation(cells["FrameOffset"], cells["FrameLength"]) if located else None,
        pixels=pixels,
        contrast=contrast,
        pixel_spacing_mm=_spacing(cells),
        pixel_aspect_ratio=_pair(cells["PixelAspectRatio"]),
        image_orientation_patient=tuple(cosines) if (cosines := cells["ImageOrientationPatient"]) else None,
        remarks=(*(cells["Remarks"] or ()), *contradictions(cells, pixels, contrast)),
    )


def _primary_position(cells: Mapping[str, Any]) -> float | None:
    """PrimaryPosition, which is of single precision: that of an InstanceNumber is in its own column whole."""
    position = cells["InstanceNumber"] if cells["PrimaryAxis"] == "I" else cells["PrimaryPosition"]
    return None if position is None or not math.isfinite(position) else position


def _pixels(cells: dict[str, Any]) -> PixelDescription:
    pixels = _layout(cells)
    if not cells["Palette"]:
        if not (_is_labelmap(cells) and pixels.is_monochrome):
            return pixels
        return coloured_labels(pixels, _padding(cells, "Value", pixels))
    inputs = _Inputs(*_stored_range(pixels), pixels.transfer_syntax_uid != _IMPLICIT_VR)
    return replace(pixels, palette=_palette(cells["Palette"], inputs))


def _layout(cells: dict[str, Any]) -> PixelDescription:
    allocated = cells["BitsAllocated"] or _IMPLIED_BITS.get(cells["PixelKeyword"], 16)
    stored = cells["BitsStored"] or allocated
    high_bit = cells["HighBit"]
    samples = cells["SamplesPerPixel"] or 1
    photometric = (cells["PhotometricInterpretation"] or "").strip().upper()
    return PixelDescription(
        transfer_syntax_uid=cells["TransferSyntaxUID"],
        rows=cells["Rows"],
        columns=cells["Columns"],
        samples_per_pixel=samples,
        photometric_interpretation=photometric or ("MONOCHROME2" if samples == 1 else "RGB"),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        pixel_representation=cells["PixelRepresentation"] or 0,
        planar_configuration=cells["PlanarConfiguration"] or 0,
        number_of_frames=max(cells["NumberOfFrames"] or 1, 1),
        pixel_keyword=cells["PixelKeyword"],
        pixel_vr=cells["PixelVR"] or "",
    )


def _is_labelmap(cells: dict[str, Any]) -> bool:
    return cells["SegmentationType"] == "LABELMAP" and (cells["SamplesPerPixel"] or 1) == 1


_IMPLICIT_VR = "1.2.840.10008.1.2"
_IMPLIED_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


def _contrast(cells: dict[str, Any], pixels: PixelDescription) -> Contrast:
    # One of 0 would make all pixels the same: it is said, and not used, as others do.
    slope = cells["RescaleSlope"] or 1.0
    intercept = 0.0 if cells["RescaleIntercept"] is None else cells["RescaleIntercept"]
    stored = _stored_range(pixels)
    explicit = pixels.transfer_syntax_uid != _IMPLICIT_VR
    modality = _tables(cells, "ModalityLUTSequence", _Inputs(*stored, explicit))
    ends = [end * slope + intercept for end in stored]
    # A modality LUT's output is unsigned.
    voi_inputs = _Inputs(0, _LARGEST_WORD, explicit) if modality else _Inputs(min(ends), max(ends), explicit)
    names = cells["WindowCenterWidthExplanation"] or []
    pairs = zip(cells["WindowCenter"] or [], cells["WindowWidth"] or [], strict=False)
    return Contrast(
        rescale_slope=slope,
        rescale_intercept=intercept,
        modality_lut=modality[0] if modality else None,
        windows=tuple(
            Window(center, width, (names[i] or "") if i < len(names) else "")
            for i, (center, width) in enumerate(pairs)
            if center is not None and width is not None
        ),
        voi_luts=_tables(cells, "VOILUTSequence", voi_inputs),
        voi_lut_function=(cells["VOILUTFunction"] or "").strip().upper() or "LINEAR",
        # Some of the padding has become another value, and some of the image this one (C.7.5.1.1.2).
        pixel_padding_value=None
        if cells["LossyImageCompression"] == "01"
        else _padding(cells, "Value", pixels),
        pixel_padding_range_limit=_padding(cells, "RangeLimit", pixels),
        presentation_lut_shape=(cells["PresentationLUTShape"] or "").strip(),
        content=_content(cells, pixels),
    )


_CODE_MEANING = 0x00080104
_PATIENT_ORIENTATION, _ANATOMICAL_ORIENTATION_TYPE = 0x00200020, 0x00102210


def _content(cells: dict[str, Any], pixels: PixelDescription) -> Content:
    regions = items_of("AnatomicRegionSequence", cells["AnatomicRegionSequence"])
    region = regions[0].get(_CODE_MEANING) if regions else None
    return Content(
        modality=(cells["Modality"] or "").strip(),
        image_type=tuple(word for word in (*(cells["ImageType"] or ()), *(cells["FrameType"] or ())) if word),
        body_part=(cells["BodyPartExamined"] or str(region.first if region else None or "")).strip(),
        rescale_type=(cells["RescaleType"] or "").strip(),
        is_rescaled=cells["RescaleIntercept"] is not None,
        stored_range=_stored_range(pixels) if pixels.pixel_keyword == "PixelData" else None,
        full_fraction=cells["MaximumFractionalValue"] if cells["SegmentationType"] == "FRACTIONAL" else None,
        is_labelmap=_is_labelmap(cells),
    )


def _stored_range(pixels: PixelDescription) -> tuple[int, int]:
    """The lowest and highest value of so many bits, no more than any decoder gives."""
    values = 1 << min(max(pixels.bits_stored, 0), 64)
    lowest = -(values >> 1) if pixels.pixel_representation == 1 else 0
    return lowest, lowest + values - 1


def _padding(cells: dict[str, Any], end: str, pixels: PixelDescription) -> float | None:
    """One end of the padding's range: of float pixels it is an element of its own (PS3.3 C.7.6.24)."""
    kind = pixels.pixel_keyword.removesuffix("PixelData")
    value = cells[f"{kind}PixelPadding{end}"]
    return _stored(value, pixels) if not kind else value


def _padding_words(contrast: Contrast, pixels: PixelDescription) -> tuple[int, int] | None:
    """The range of padding, where stored values have too few bits for it."""
    value, limit = contrast.pixel_padding_value, contrast.pixel_padding_range_limit
    if value is None or pixels.pixel_keyword != "PixelData":
        return None
    ends = int(value), int(value if limit is None else limit)
    lowest, highest = _stored_range(pixels)
    return None if lowest <= min(ends) and max(ends) <= highest else (min(ends), max(ends))


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


_LARGEST_WORD = 0xFFFF


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The values that a lookup table is asked for, which tell the sign of its first one.

    Attributes:
        lowest: The lowest value that there can be.
        highest: The highest.
        explicit: VRs are the writer's own.
    """

    lowest: float
    highest: float
    explicit: bool

    def first_value(self, word: int, vr: str) -> int:
        """The first value that a table maps, from the 16 bits of its descriptor (PS3.3 C.11.2.1.1).

        Of its two readings the one that is among the inputs; of both or none, what the VR says where the
        writer has chosen it, else the signed one where there are negative inputs.
        """
        unsigned, signed = word, word - 65536 if word >= 32768 else word
        is_signed = self.lowest < 0
        among = [self.lowest <= value <= self.highest for value in (unsigned, signed)]
        if among[0] != among[1]:
            is_signed = among[1]
        elif self.explicit:
            is_signed = vr == "SS" or (is_signed and not any(among))
        return signed if is_signed else unsigned


_LUT_DESCRIPTOR, _LUT_EXPLANATION, _LUT_DATA = 0x00283002, 0x00283003, 0x00283006
# Green's and blue's follow.
_RED_DESCRIPTOR, _RED_DATA, _RED_SEGMENTED = 0x00281101, 0x00281201, 0x00281221


def _tables(cells: dict[str, Any], name: str, inputs: _Inputs) -> tuple[LookupTable, ...]:
    """The lookup tables of a modality or VOI LUT sequence, those left out that hold none."""
    tables = []
    for elements in items_of(name, cells[name]):
        explanation = elements.get(_LUT_EXPLANATION)
        table = _table(elements.get(_LUT_DESCRIPTOR), elements.get(_LUT_DATA), inputs)
        if table is not None:
            name = str(explanation.first or "") if explanation else ""
            tables.append(LookupTable(table.entries, table.first_value, table.bits, table.data, name))
    return tuple(tables)


def _table(descriptor: Element | None, data: Element | None, inputs: _Inputs) -> LookupTable | None:
    """A lookup table (PS3.3 C.11.1.1.1) from its descriptor (entries, first value, bits) and its data."""
    described = all_values(descriptor)
    if descriptor is None or data is None or len(described) != 3:
        return None
    entries, first, bits = (int(value) for value in described)
    raw = data.value.data if isinstance(data.value, Bulk) else None
    if isinstance(data.value, tuple):
        raw = b"".join((int(v) & 0xFFFF).to_bytes(2, "little") for v in data.value)  # type: ignore[arg-type]
    if raw is None:
        return None
    entries = entries % 65536 or 65536
    return LookupTable(entries, inputs.first_value(first % 65536, descriptor.vr), bits, raw)


def _palette(text: str, inputs: _Inputs) -> Palette | None:
    """The palette colour tables (PS3.3 C.7.6.3.1.5); None unless all three are there."""
    (elements,) = items_of("Palette", f"[{text}]")
    segmented = _RED_SEGMENTED in elements
    tables = []
    for colour in range(3):
        data = (_RED_SEGMENTED if segmented else _RED_DATA) + colour
        table = _table(elements.get(_RED_DESCRIPTOR + colour), elements.get(data), inputs)
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
    r"""Vertical and horizontal size of a pixel (row \ column spacing, PS3.3 10.7.1.3), or None."""
    if values is None or len(values) != 2 or not all(v is not None and 0 < v < float("inf") for v in values):
        return None
    return values[0], values[1]


__all__ = ["BY_NAME", "DamagedIndexError", "Index", "Slice"]
