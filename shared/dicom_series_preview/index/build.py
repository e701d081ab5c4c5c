"""Records -> the table.

What is the same in every object stands once, in the metadata. What varies becomes a typed column. What no
column can give back exactly goes into `OtherElements`, found by reading every column back: that the index
alone gives back every header holds by construction.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview._version import __version__
from dicom_series_preview.geometry import Arrangement, Slices, arrange
from dicom_series_preview.headers import (
    BULK_VRS,
    INTEGER_VRS,
    LOOKUP_TABLE_DATA,
    PER_FRAME_FUNCTIONAL_GROUPS,
    REAL_VRS,
    Bulk,
    Element,
    element_to_json,
    private_creator,
    tag_key,
    to_json,
)
from dicom_series_preview.index.levels import Place, is_aside, places_of
from dicom_series_preview.index.records import Provenance, Record, sequence_items
from dicom_series_preview.index.schema import (
    BY_NAME,
    FIXED_COLUMNS,
    MOSAIC_COLUMNS,
    OTHER_ELEMENTS,
    PART_COLUMNS,
    SCHEMA_VERSION,
    Column,
    arrow_number_type,
    column_name,
    element_description,
    field_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.headers import Item

PROVENANCE_KEY = b"dicom_series_preview"
CONSTANTS_KEY = b"dicom_series_preview.constant_elements"

# Tags in numbers: asking the dictionary would import it wherever an index is only read.
_IMAGE_TYPE, _FRAME_TYPE = 0x00080008, 0x00089007
_ACQUISITION_NUMBER = 0x00200012
_LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "TOPOGRAM")
# The palette's descriptors and data, then its segmented data, each of red, green and blue.
_PALETTE_TAGS = tuple(first + colour for first in (0x00281101, 0x00281201, 0x00281221) for colour in range(3))

# Candidates for each of the times that order slices: the element of single images, then the one of frames.
_TIMES = (
    (0x00181060, 0x00209153),  # TriggerTime, NominalCardiacTriggerDelayTime
    (0x00200100, 0x00209128),  # TemporalPositionIdentifier, TemporalPositionIndex
    (0x00189074, 0x00080032, 0x0008002A),  # FrameAcquisitionDateTime, AcquisitionTime, AcquisitionDateTime
    (0x00080033,),  # ContentTime
    (0x00080013,),  # InstanceCreationTime
)


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be.

    Attributes:
        record: Number of its record.
        frame_number: Its frame, 0 without an image.
        elements: What holds for it.
        place: Where the frame lies in a level of a slide; None of any other frame.
    """

    record: int
    frame_number: int
    elements: Mapping[int, Element]
    place: Place | None = None


def slices_of(records: Sequence[Record]) -> list[list[Row]]:
    """The rows of each slice, the slices in no order: one, or all tiles of a slide's level in their order."""
    levels: dict[tuple[object, ...], list[Row]] = {}
    slices: list[list[Row]] = []
    for number, record in enumerate(records):
        if not record.number_of_frames:
            slices.append([Row(number, 0, record.frame_elements(0))])
            continue
        frames = [record.frame_elements(i + 1) for i in range(record.number_of_frames)]
        places = places_of(record, frames)
        for i, elements in enumerate(frames):
            place = places[i] if places else None
            level = (*place.level, place.rows, place.columns) if place is not None else None
            members = [] if level is None else levels.setdefault(level, [])
            if not members:
                slices.append(members)
            members.append(Row(number, i + 1, elements, place))
    for members in levels.values():
        # The parts of a concatenation come in the order of their names.
        members.sort(key=lambda row: row.place.number if row.place is not None else 0)
    return slices


def build(records: Sequence[Record], provenance: Provenance) -> pa.Table:
    """Build the index.

    Args:
        records: One an object, in any order.
        provenance: What the index says of itself; its notes are those of the order.
    """
    slices = slices_of(records)
    arrangement = arrange(arrangeable(records, slices))
    rows = [row for i in arrangement.order for row in slices[i]]
    slice_of_row = np.repeat(np.arange(len(slices)), [len(slices[i]) for i in arrangement.order])
    constants = _constants([record.elements for record in records])
    fields, arrays = _fixed(records, rows, arrangement, slice_of_row, provenance)
    for column, values in (*_parts(rows, slice_of_row), *_mosaics(records, rows)):
        fields.append(column.field())
        arrays.append(pa.array(values, column.type))
    varying = sorted(set().union(*(record.elements.keys() for record in records)) - constants.keys())
    # Lists, not arrays, from here on: of an array pyarrow asks whether it is masked, which imports numpy.ma.
    record_of_row = [row.record for row in rows]
    taken = pa.array(record_of_row, pa.int64())
    remainders: list[dict[str, Any]] = [{} for _ in records]
    for tag in varying:
        if tag == PER_FRAME_FUNCTIONAL_GROUPS:
            fields.append(_element_field(tag, "SQ", pa.utf8(), ""))
            arrays.append(_per_frame_groups(records, rows))
            _add_ill_matched_groups(records, remainders)
            continue
        elements = [record.elements.get(tag) for record in records]
        for field, values in _element_columns(tag, elements, records):
            fields.append(field)
            arrays.append(values.take(taken))
        _add_lookup_tables(tag, elements, remainders)
    fields = _named_apart(fields)
    first_rows = np.unique(record_of_row, return_index=True)[1].tolist()
    _add_remainders(
        list(zip(fields, arrays, strict=True)),
        records,
        pa.array(first_rows, pa.int64()),
        constants,
        remainders,
    )
    if any(remainders):
        # Once an object, not with each of its frames: the text may be long, the frames many.
        texts: list[str | None] = [None] * len(rows)
        for row, remainder in zip(first_rows, remainders, strict=True):
            texts[row] = json.dumps(remainder, ensure_ascii=False, sort_keys=True) if remainder else None
        fields.append(OTHER_ELEMENTS.field())
        arrays.append(pa.array(texts, pa.utf8()))
    notes = (*provenance.notes, *arrangement.notes)
    metadata = {
        PROVENANCE_KEY: json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "product_version": __version__,
                **asdict(provenance),
                "notes": notes,
            },
            ensure_ascii=False,
        ),
        CONSTANTS_KEY: json.dumps(to_json(constants), ensure_ascii=False),
    }
    return pa.table(arrays, schema=pa.schema(fields, metadata=metadata))


def _named_apart(fields: Sequence[pa.Field]) -> list[pa.Field]:
    """The fields; of those with one name all but the first get their tag behind it.

    Overlay planes share their keywords, and a private creator may reserve several blocks of a group.
    """
    named: dict[str, pa.Field] = {}
    for field in fields:
        name = field.name
        if name in named:
            name = f"{name}_{tag_key(tag_of_field(field))}"
        named[name] = field.with_name(name)
    return list(named.values())


def _constants(headers: Sequence[Item]) -> Item:
    """The elements that every object has with one value; equal bytes are one `Element`, `is` decides."""
    if not headers:
        return {}
    constants = dict(headers[0])
    constants.pop(PER_FRAME_FUNCTIONAL_GROUPS, None)
    for header in headers[1:]:
        for tag, element in list(constants.items()):
            other = header.get(tag)
            if other is not element and other != element:
                del constants[tag]
    return constants


def arrangeable(records: Sequence[Record], slices: Sequence[Sequence[Row]]) -> Slices:
    """What sorting needs of slices, as arrays; of a slice of many frames its first frame tells it."""
    rows = [members[0] for members in slices]
    count = len(rows)
    size = np.zeros((count, 3), dtype=np.int64)
    position, orientation = np.full((count, 3), np.nan), np.full((count, 6), np.nan)
    slice_location, instance_number = np.full(count, np.nan), np.full(count, np.nan)
    focal_plane = np.full(count, np.nan)
    acquisition_number = np.full(count, np.nan)
    times = np.full((count, len(_TIMES)), np.nan)
    columns = {name: BY_NAME[name] for name in _GEOMETRY_COLUMNS}
    for i, row in enumerate(rows):
        cells = {name: _cell(column, row.elements.get(column.tag)) for name, column in columns.items()}
        if row.frame_number:
            size[i] = cells["Rows"] or 0, cells["Columns"] or 0, cells["SamplesPerPixel"] or 1
        if row.place is not None:
            size[i, :2], focal_plane[i] = (row.place.rows, row.place.columns), row.place.focal_plane
        position[i] = cells["ImagePositionPatient"] or np.nan
        orientation[i] = cells["ImageOrientationPatient"] or np.nan
        slice_location[i] = _or_nan(cells["SliceLocation"])
        instance_number[i] = _or_nan(cells["InstanceNumber"])
        acquisition_number[i] = _first_number(row.elements, (_ACQUISITION_NUMBER,))
        times[i] = [_first_number(row.elements, candidates) for candidates in _TIMES]
    return Slices(
        series_instance_uid=[_text(row.elements.get(0x0020000E)) for row in rows],
        size=size,
        localizer=np.array(
            [_is_localizer(row.elements) or is_aside(row.elements) for row in rows], dtype=bool
        ),
        aside=np.array([is_aside(row.elements) for row in rows], dtype=bool),
        orientation=orientation,
        position=position,
        slice_location=slice_location,
        acquisition_number=acquisition_number,
        instance_number=instance_number,
        times=times,
        file_name=[records[row.record].name for row in rows],
        frame_number=np.array([row.frame_number for row in rows], dtype=np.int64),
        focal_plane=focal_plane,
    )


_GEOMETRY_COLUMNS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceLocation",
    "InstanceNumber",
)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _text(element: Element | None) -> str:
    return str(element.first) if element is not None and element.first is not None else ""


def _is_localizer(elements: Mapping[int, Element]) -> bool:
    for tag in (_IMAGE_TYPE, _FRAME_TYPE):
        element = elements.get(tag)
        words = () if element is None or isinstance(element.value, Bulk) else element.value
        if any(str(word).upper() in _LOCALIZER_WORDS for word in words):
            return True
    return False


def _first_number(elements: Mapping[int, Element], candidates: tuple[int, ...]) -> float:
    """The first candidate that is there, as a number: TM and DT in seconds, others as they are."""
    for tag in candidates:
        element = elements.get(tag)
        value = element.first if element is not None else None
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str) and element is not None:
            seconds = _seconds(value, element.vr)
            if not math.isnan(seconds):
                return seconds
    return math.nan


def _seconds(text: str, vr: str) -> float:
    """A TM or DT in seconds (PS3.5 6.2); the days of a DT are counted in months of 31, which keeps order."""
    digits, _, fraction = text.partition("&")[0].partition("+")[0].partition("-")[0].partition(".")
    digits = digits.replace(":", "").strip()
    if not (digits.isascii() and digits.isdigit()):
        return math.nan
    days = 0
    if vr == "DT":
        date, digits = digits[:8].ljust(8, "0"), digits[8:]
        days = (int(date[:4]) * 12 + int(date[4:6])) * 31 + int(date[6:])
    time = digits.ljust(6, "0")
    seconds = int(time[:2]) * 3600 + int(time[2:4]) * 60 + int(time[4:6])
    return days * 86400.0 + seconds + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)


def _cell(column: Column, element: Element | None) -> Any:  # noqa: ANN401 - one of Arrow's values
    """An element's value as a cell of a fixed column; None where it does not fit."""
    if element is None or isinstance(element.value, Bulk) or not element.value:
        return None
    kind = column.type
    if element.vr == "SQ":
        return (
            json.dumps(element_to_json(element)["Value"], ensure_ascii=False) if kind == pa.utf8() else None
        )
    if pa.types.is_list(kind):
        return _list_cell(column, element)
    value = element.value[0]
    if kind == pa.utf8():
        return value if isinstance(value, str) else None
    if not isinstance(value, (int, float)):
        return None
    return _whole(value, kind) if pa.types.is_integer(kind) else float(value)


def _whole(value: float, kind: pa.DataType) -> int | None:
    """A whole number of an Arrow type; None where it is none, or too large."""
    bits = kind.bit_width - 1
    return int(value) if -(2**bits) <= value < 2**bits and value == int(value) else None


_LIST_LENGTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}


def _list_cell(column: Column, element: Element) -> list[Any] | None:
    values: list[Any] = list(element.value)  # type: ignore[arg-type]
    if column.type.value_type == pa.utf8():
        return [value if isinstance(value, str) else None for value in values]
    # One window of several may be empty; half a position is none.
    may_be_empty = column.name not in _LIST_LENGTHS
    if not all(isinstance(value, (int, float)) or (may_be_empty and value is None) for value in values):
        return None
    if len(values) != _LIST_LENGTHS.get(column.name, len(values)):
        return None
    kind = column.type.value_type
    whole = pa.types.is_integer(kind)
    return [value if value is None else _whole(value, kind) if whole else float(value) for value in values]


def _fixed(
    records: Sequence[Record],
    rows: Sequence[Row],
    arrangement: Arrangement,
    slice_of_row: NDArray[np.int64],
    provenance: Provenance,
) -> tuple[list[pa.Field], list[pa.Array]]:
    """The columns that every index has."""
    order = slice_of_row.tolist()
    own: dict[str, Callable[[int, Row, Record], Any]] = {
        "Index": lambda i, _row, _record: i,
        "FileName": lambda _i, _row, record: record.name,
        "SeriesUID": lambda _i, _row, _record: provenance.series,
        "StorageRoot": lambda _i, _row, _record: provenance.root,
        "PrimaryPosition": lambda i, _row, _record: _known(arrangement.primary_position[order[i]]),
        "PrimaryAxis": lambda i, _row, _record: arrangement.axis[order[i]],
        "FrameNumber": lambda _i, row, _record: row.frame_number or None,
        "Stack": lambda i, _row, _record: _counted(arrangement.stack[order[i]]),
        "Location": lambda i, _row, _record: _counted(arrangement.location[order[i]]),
        "Time": lambda i, _row, _record: _known(arrangement.time[order[i]]),
        "ObjectSize": lambda _i, _row, record: record.size,
        "ObjectVersion": lambda _i, _row, record: record.version,
        "TransferSyntaxUID": lambda _i, _row, record: record.transfer_syntax_uid,
        "PixelKeyword": lambda _i, _row, record: record.pixel_keyword or None,
        "PixelVR": lambda _i, _row, record: record.pixel_vr or None,
        "FrameOffset": lambda _i, row, record: _location(row, record, "offset"),
        "FrameLength": lambda _i, row, record: _location(row, record, "length"),
        "Palette": lambda _i, row, _record: _palette(row.elements),
    }
    fields, arrays = [], []
    for column in FIXED_COLUMNS:
        of_row = own.get(column.name)
        if of_row is not None:
            values = [of_row(i, row, records[row.record]) for i, row in enumerate(rows)]
        else:
            values = _effective(column, rows)
        fields.append(column.field())
        arrays.append(pa.array(values, column.type))
    return fields, arrays


def _parts(rows: Sequence[Row], slice_of_row: NDArray[np.int64]) -> Iterator[tuple[Column, list[Any]]]:
    """The columns that tell which slice a frame is a part of, where there is such a frame."""
    if any(row.place for row in rows):
        numbers = slice_of_row.tolist()
        cells = [
            (numbers[i], row.place.rows, row.place.columns, row.place.top, row.place.left)
            if row.place
            else (None,) * len(PART_COLUMNS)
            for i, row in enumerate(rows)
        ]
        yield from zip(PART_COLUMNS, map(list, zip(*cells, strict=True)), strict=True)


def _mosaics(records: Sequence[Record], rows: Sequence[Row]) -> Iterator[tuple[Column, list[Any]]]:
    """The columns that tell of the slices in mosaics, where there is one."""
    mosaics = [records[row.record].mosaic for row in rows]
    if any(mosaics):
        cells = [(mosaic.images, mosaic.normal) if mosaic else (None, None) for mosaic in mosaics]
        yield from zip(MOSAIC_COLUMNS, map(list, zip(*cells, strict=True)), strict=True)


def _effective(column: Column, rows: Sequence[Row]) -> list[Any]:
    """A fixed element column; an element that rows share is converted once."""
    cells: dict[int, Any] = {}
    values = []
    for row in rows:
        element = row.elements.get(column.tag)
        if id(element) not in cells:
            cells[id(element)] = _cell(column, element)
        values.append(cells[id(element)])
    return values


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _counted(value: int) -> int | None:
    return None if value < 0 else int(value)


def _location(row: Row, record: Record, part: str) -> int | None:
    if not row.frame_number or not record.locations:
        return None
    return int(getattr(record.locations[row.frame_number - 1], part))


def _palette(elements: Mapping[int, Element]) -> str | None:
    tables = {tag: elements[tag] for tag in _PALETTE_TAGS if tag in elements}
    return json.dumps(to_json(tables)) if tables else None


def _per_frame_groups(records: Sequence[Record], rows: Sequence[Row]) -> pa.Array:
    """Each frame's own item, so that the table grows with the frames and not with their square."""
    texts = []
    for row in rows:
        items = sequence_items(records[row.record].elements.get(PER_FRAME_FUNCTIONAL_GROUPS))
        number = row.frame_number - 1
        has_item = 0 <= number < len(items)
        texts.append(json.dumps([to_json(items[number])], ensure_ascii=False) if has_item else None)
    return pa.array(texts, pa.utf8())


def _add_ill_matched_groups(records: Sequence[Record], remainders: Sequence[dict[str, Any]]) -> None:
    """Per-frame groups of another number than there are frames: no row gives them back as they are."""
    for record, remainder in zip(records, remainders, strict=True):
        element = record.elements.get(PER_FRAME_FUNCTIONAL_GROUPS)
        items = len(sequence_items(element))
        if element is not None and (not items or items > record.number_of_frames):
            remainder[tag_key(PER_FRAME_FUNCTIONAL_GROUPS)] = element_to_json(element)


def _element_field(tag: int, vr: str, kind: pa.DataType, creator: str, suffix: str = "") -> pa.Field:
    name = column_name(tag, {tag & 0xFFFF0000 | (tag & 0xFF00) >> 8: creator.encode()} if creator else {})
    metadata = field_metadata(tag, vr, element_description(tag, creator))
    return pa.field(name + suffix, kind, metadata=metadata)


def _element_columns(
    tag: int, elements: Sequence[Element | None], records: Sequence[Record]
) -> list[tuple[pa.Field, pa.Array]]:
    """The column of a varying element, two of a binary one, none of one that has a fixed column."""
    if tag in _FIXED_TAGS:
        return []
    kinds = [
        None if element is None else (element.vr, _creator(tag, record))
        for element, record in zip(elements, records, strict=True)
    ]
    # The column is of the kind that most objects have, in whatever order they come.
    counts = Counter(kind for kind in kinds if kind is not None)
    vr, creator = max(counts, key=lambda kind: (counts[kind], kind))
    fitting = [
        element if kind == (vr, creator) else None for element, kind in zip(elements, kinds, strict=True)
    ]
    if vr in BULK_VRS:
        bulks = [element.value if element else None for element in fitting]
        sizes = [bulk.size if isinstance(bulk, Bulk) else None for bulk in bulks]
        hashes = [bulk.sha256 if isinstance(bulk, Bulk) else None for bulk in bulks]
        return [
            (_element_field(tag, vr, pa.int32(), creator, "_Size"), pa.array(sizes, pa.int32())),
            (_element_field(tag, vr, pa.utf8(), creator, "_Hash"), pa.array(hashes, pa.utf8())),
        ]
    if vr == "SQ":
        values: list[Any] = [_sequence_text(element) for element in fitting]
        return [(_element_field(tag, vr, pa.utf8(), creator), pa.array(values, pa.utf8()))]
    multiple = any(element is not None and len(element.value) > 1 for element in fitting)  # type: ignore[arg-type]
    values = [_values(element, multiple=multiple, numeric=_is_numeric(vr)) for element in fitting]
    if not _is_numeric(vr):
        kind = pa.utf8()
    else:
        kind = arrow_number_type([v for value in values for v in (value if multiple and value else (value,))])
    return [
        (
            _element_field(tag, vr, pa.list_(kind) if multiple else kind, creator),
            pa.array(values, pa.list_(kind) if multiple else kind),
        )
    ]


_FIXED_TAGS = frozenset(column.tag for column in FIXED_COLUMNS if column.tag)


def _creator(tag: int, record: Record) -> str:
    """The creator of a private element's block in one object, or empty."""
    if not tag >> 16 & 1:
        return ""
    block = tag & 0xFFFF0000 | (tag & 0xFF00) >> 8
    return private_creator(tag, {block: _text(record.elements.get(block)).encode("ascii", "replace")})


def _is_numeric(vr: str) -> bool:
    return vr in INTEGER_VRS or vr in REAL_VRS


def _sequence_text(element: Element | None) -> str | None:
    if element is None or not element.value:
        return None
    return json.dumps(element_to_json(element)["Value"], ensure_ascii=False)


def _values(element: Element | None, *, multiple: bool, numeric: bool) -> Any:  # noqa: ANN401 - Arrow's values
    """An element's cell: one value or a list; None where it has none or one that is no number."""
    if element is None or not element.value:
        return None
    if numeric and any(isinstance(value, str) for value in element.value):  # type: ignore[union-attr]
        return None
    return list(element.value) if multiple else element.value[0]  # type: ignore[arg-type,index]


def _add_lookup_tables(
    tag: int, elements: Sequence[Element | None], remainders: Sequence[dict[str, Any]]
) -> None:
    """Lookup tables that vary are needed for pictures: their bytes stay."""
    if tag in LOOKUP_TABLE_DATA:
        for element, remainder in zip(elements, remainders, strict=True):
            if element is not None:
                remainder[tag_key(tag)] = element_to_json(element)


def _add_remainders(
    columns: Sequence[tuple[pa.Field, pa.Array]],
    records: Sequence[Record],
    first_row: pa.Array,
    constants: Item,
    remainders: Sequence[dict[str, Any]],
) -> None:
    """Read every element column back, and keep apart what it does not give back as it was."""
    for field, array in columns:
        tag = tag_of_field(field)
        vr = field.metadata[b"vr"].decode()
        if not tag or tag in constants or tag == PER_FRAME_FUNCTIONAL_GROUPS or is_hash(field):
            continue
        cells = array.take(first_row).to_pylist()
        for record, cell, remainder in zip(records, cells, remainders, strict=True):
            element = record.elements.get(tag)
            if not _gives_back(element, tag, vr, cell):
                remainder[tag_key(tag)] = None if element is None else element_to_json(element)


def _gives_back(element: Element | None, tag: int, vr: str, cell: Any) -> bool:  # noqa: ANN401 - Arrow's values
    """Whether a cell stands for exactly this element, or for its absence."""
    if element is None:
        return cell is None
    if element.vr != vr:
        return False
    if vr in BULK_VRS:
        return cell is not None
    if vr == "SQ":
        return cell is not None and _sequence_text(element) == cell
    return element_of_cell(tag, vr, cell) == element


def tag_of_field(field: pa.Field) -> int:
    """The tag of the element that a column holds, or 0."""
    return int((field.metadata or {}).get(b"tag", b"").replace(b",", b"") or b"0", 16)


def is_hash(field: pa.Field) -> bool:
    """Whether a column holds the hashes that belong to the sizes of a binary element."""
    return (field.metadata or {}).get(b"vr", b"").decode() in BULK_VRS and pa.types.is_string(field.type)


def element_of_cell(tag: int, vr: str, cell: Any) -> Element | None:  # noqa: ANN401 - one of Arrow's values
    """The element that a cell stands for; None for an empty one."""
    if cell is None:
        return None
    return Element(tag, vr, tuple(cell) if isinstance(cell, list) else (cell,))
