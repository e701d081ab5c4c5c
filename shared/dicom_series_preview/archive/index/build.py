"""Records -> the table.

What is the same in every object stands once, in the metadata. What varies becomes a typed column. What no
column can give back exactly goes into `OtherElements`, found by reading every column back: that the index
alone gives back every header holds by construction.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import partial
from operator import eq, is_
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.index.duplicates import told_apart
from dicom_series_preview.archive.index.elements import (
    add_bytes,
    by_creator,
    columns_of,
    keep_apart,
    keep_moved,
    named_apart,
    tag_of_field,
)
from dicom_series_preview.archive.index.records import (
    PER_FRAME_FUNCTIONAL_GROUPS,
    FrameElements,
    Provenance,
    Record,
    sequence_items,
)
from dicom_series_preview.archive.index.remarks import NUMBERS, number_remark, object_remarks
from dicom_series_preview.archive.index.schema import (
    BY_NAME,
    FIXED_COLUMNS,
    FIXED_TAGS,
    MOSAIC_COLUMNS,
    OTHER_ELEMENTS,
    PART_COLUMNS,
    SCHEMA_VERSION,
    Column,
    column_name,
    element_description,
    field_metadata,
)
from dicom_series_preview.archive.index.stacks import names_a_localizer
from dicom_series_preview.archive.slide_tiles import WHOLE_SLIDE_IMAGE, Place, is_aside, places_of
from dicom_series_preview.base.geometry import Arrangement, Slices, arrange, places
from dicom_series_preview.sources.headers.dicom_json import element_to_json, to_json
from dicom_series_preview.sources.headers.elements import (
    Bulk,
    Element,
    all_values,
    creator_tag,
    is_in_block,
    tag_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from dicom_series_preview.sources.headers.elements import Item

PROVENANCE_KEY = b"dicom_series_preview"
CONSTANTS_KEY = b"dicom_series_preview.constant_elements"

# Tags in numbers: asking the dictionary would import it wherever an index is only read.
_IMAGE_TYPE, _FRAME_TYPE, _SOP_CLASS_UID = 0x00080008, 0x00089007, 0x00080016
_ACQUISITION_NUMBER, _SERIES_INSTANCE_UID = 0x00200012, 0x0020000E
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

# More than the seconds of all years that a DT can have.
_LARGEST_TIME = 1e15

_ASKED_FOR = FIXED_TAGS.union(
    (_IMAGE_TYPE, _FRAME_TYPE, _SOP_CLASS_UID, _ACQUISITION_NUMBER, _SERIES_INSTANCE_UID),
    _PALETTE_TAGS,
    NUMBERS,
    *_TIMES,
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
            slices.append([Row(number, 0, record.frames()[0])])
            continue
        frames = record.frames()
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Slices to be.

    Attributes:
        rows: The slices.
        varying: By tag the elements that may differ between them, or the None that stands for them.
    """

    rows: Sequence[Row]
    varying: Mapping[int, Sequence[Element | None]]

    @classmethod
    def of(cls, rows: Sequence[Row], varying: AbstractSet[int]) -> _Rows:
        """Slices, and the tags of the elements of which one and the same may not hold for all of them."""
        return cls(rows, _columns([row.elements for row in rows], _ASKED_FOR & varying))

    def values(self, tag: int, convert: Callable[[Element | None], Any]) -> list[Any]:
        """Of each slice what an element, or none, becomes; one that slices share is converted once."""
        elements = self.varying.get(tag)
        if elements is None:
            return [convert(self.rows[0].elements.get(tag))] * len(self.rows) if self.rows else []
        keys = list(map(id, elements))
        distinct = dict(zip(keys, elements, strict=True))
        if len(distinct) == len(elements):
            return list(map(convert, elements))
        known = {key: convert(element) for key, element in distinct.items()}
        return [known[key] for key in keys]

    def cells(self, column: Column) -> list[Any]:
        """A fixed column."""
        return self.values(column.tag, partial(_cell, _converter(column)))


def _columns(
    headers: Sequence[Mapping[int, Element]], tags: AbstractSet[int]
) -> dict[int, Sequence[Element | None]]:
    """By tag the element of each header; a header at a time, as each lies elsewhere in memory."""
    ordered = sorted(tags)
    cells = [list(map(elements.get, ordered)) for elements in headers]
    return dict(zip(ordered, zip(*cells, strict=True), strict=True)) if cells else {}


def build(records: Sequence[Record], provenance: Provenance) -> pa.Table:
    """Build the index.

    Args:
        records: One an object, in any order.
        provenance: What the index says of itself; what building it finds is put into it.
    """
    records, provenance = told_apart(records, provenance)
    slices = slices_of(records)
    varying = _varying([row for members in slices for row in members])
    arrangement = arrange(_arrangeable(records, _Rows.of([members[0] for members in slices], varying)))
    order = arrangement.order.tolist()
    rows = [row for i in order for row in slices[i]]
    slice_of_row = np.repeat(np.arange(len(slices)), [len(slices[i]) for i in order])
    columns = _fixed(records, _Rows.of(rows, varying), arrangement, slice_of_row, provenance)
    constants = _constants([record.elements for record in records])
    columns += _of_elements(records, rows, constants, columns)
    metadata = {
        PROVENANCE_KEY: json.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "product_version": __version__,
                **asdict(provenance),
                "notes": (*provenance.notes, *arrangement.notes),
            },
            ensure_ascii=False,
        ),
        CONSTANTS_KEY: json.dumps(to_json(constants), ensure_ascii=False),
    }
    fields = named_apart([field for field, _ in columns])
    return pa.table([values for _, values in columns], schema=pa.schema(fields, metadata=metadata))


def _of_elements(
    records: Sequence[Record],
    rows: Sequence[Row],
    constants: Item,
    fixed: Sequence[tuple[pa.Field, pa.Array]],
) -> list[tuple[pa.Field, pa.Array]]:
    """The columns of elements that vary and have no fixed one, and of what no column gives back."""
    columns: list[tuple[pa.Field, pa.Array]] = []
    first_rows: dict[int, int] = {}
    for i, row in enumerate(rows):
        first_rows.setdefault(row.record, i)
    # In the order of their first rows: where each object has one, nothing has to be taken apart or moved.
    ordered = [records[number] for number in first_rows]
    remainders: list[dict[str, Any]] = [{} for _ in ordered]
    place = {number: i for i, number in enumerate(first_rows)}
    places = [place[row.record] for row in rows]
    varying = set[int]().union(*(record.elements for record in records)) - constants.keys()
    headers = [record.elements for record in ordered]
    by_tag = _columns(headers, varying)
    for tag, creator, elements in by_creator(by_tag, headers):
        if tag == PER_FRAME_FUNCTIONAL_GROUPS:
            columns.append((_per_frame_field(), _per_frame_groups(records, rows)))
            _add_ill_matched_groups(ordered, remainders)
            continue
        for field, values in columns_of(tag, elements, creator):
            columns.append((field, _taken(values, places)))
            keep_apart(field, values, elements, remainders)
        add_bytes(elements, remainders)
        if creator:
            keep_moved(tag, elements, headers, remainders)
    for field, values in fixed:
        tag = tag_of_field(field)
        if tag and tag not in constants:
            # What only functional groups have, a frame's or those of all of them, is no object's own.
            elements = by_tag.get(tag, (None,) * len(ordered))
            keep_apart(field, _taken(values, list(first_rows.values())), elements, remainders)
    if any(remainders):
        # Once an object, not with each of its frames: the text may be long, the frames many.
        texts: list[str | None] = [None] * len(rows)
        for i, remainder in zip(first_rows.values(), remainders, strict=True):
            texts[i] = json.dumps(remainder, ensure_ascii=False, sort_keys=True) if remainder else None
        columns.append((OTHER_ELEMENTS.field(), pa.array(texts, pa.utf8())))
    return columns


def _taken(values: pa.Array, places: Sequence[int]) -> pa.Array:
    """The values at these places; as they are where that is all of them: the first `take` loads for 30 ms."""
    if len(values) == len(places) and all(map(eq, places, range(len(places)))):
        return values
    # A list, not an array: of an array pyarrow asks whether it is masked, which imports numpy.ma.
    return values.take(pa.array(places, pa.int64()))


def _varying(rows: Sequence[Row]) -> set[int]:
    """The tags of the elements of which one and the same `Element` does not hold for all slices.

    Equal elements need not be equal cells: 0.0 is -0.0.
    """
    own: set[int] = set()
    shared: list[Mapping[int, Element]] = []
    for row in rows:
        elements = row.elements
        if isinstance(elements, FrameElements):
            own.update(elements.own)
            elements = elements.shared
        if not shared or elements is not shared[-1]:
            shared.append(elements)
    same = dict(shared[0]) if shared else {}
    tags, values = list(same), list(same.values())
    for elements in shared[1:]:
        others = list(map(elements.get, tags))
        if not all(map(is_, others, values)):
            known = zip(tags, values, others, strict=True)
            same = {tag: element for tag, element, other in known if other is element}
            tags, values = list(same), list(same.values())
    return own | (set[int]().union(*shared) - same.keys())


def _constants(headers: Sequence[Item]) -> Item:
    """The elements that every object has with one value; of a private block, if it has one creator too."""
    if not headers:
        return {}
    constants = dict(headers[0])
    constants.pop(PER_FRAME_FUNCTIONAL_GROUPS, None)
    tags, elements = list(constants), list(constants.values())
    for header in headers[1:]:
        others = list(map(header.get, tags))
        if others != elements:
            known = zip(tags, elements, others, strict=True)
            constants = {tag: element for tag, element, other in known if other == element}
            tags, elements = list(constants), list(constants.values())
    blocks = {creator_tag(tag) for tag in constants if is_in_block(tag)} - constants.keys()
    several = {block for block in blocks if any(block in header for header in headers)}
    if not several:
        return constants
    return {tag: e for tag, e in constants.items() if not (is_in_block(tag) and creator_tag(tag) in several)}


def arrangeable(records: Sequence[Record], slices: Sequence[Sequence[Row]]) -> Slices:
    """What sorting needs of slices, as arrays; of a slice of many frames its first frame tells it."""
    rows = [members[0] for members in slices]
    return _arrangeable(records, _Rows.of(rows, _varying(rows)))


def _arrangeable(records: Sequence[Record], rows: _Rows) -> Slices:
    lengths = (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1))
    size = np.array([[cell or default for cell in rows.cells(BY_NAME[name])] for name, default in lengths]).T
    size[[row.frame_number == 0 for row in rows.rows]] = 0
    focal_plane = np.full(len(rows.rows), np.nan)
    for i, row in enumerate(rows.rows):
        if row.place is not None:
            size[i, :2], focal_plane[i] = (row.place.rows, row.place.columns), row.place.focal_plane
    aside = _asides(rows)
    kinds = [np.array(rows.values(tag, _names_a_localizer), bool) for tag in (_IMAGE_TYPE, _FRAME_TYPE)]
    return Slices(
        series_instance_uid=rows.values(_SERIES_INSTANCE_UID, _text),
        size=size,
        localizer=np.any([*kinds, aside], axis=0),
        aside=aside,
        orientation=_vectors(rows, "ImageOrientationPatient", 6),
        position=places(_vectors(rows, "ImagePositionPatient", 3)),
        slice_location=places(_reals(rows.cells(BY_NAME["SliceLocation"]))),
        acquisition_number=_first_numbers(rows, (_ACQUISITION_NUMBER,)),
        instance_number=_reals(rows.cells(BY_NAME["InstanceNumber"])),
        times=np.array([_first_numbers(rows, candidates) for candidates in _TIMES]).T,
        file_name=[records[row.record].name for row in rows.rows],
        frame_number=np.array([row.frame_number for row in rows.rows], dtype=np.int64),
        focal_plane=focal_plane,
    )


def _asides(rows: _Rows) -> NDArray[np.bool_]:
    """Which slices show the label or the overview of a slide."""
    slides = rows.values(_SOP_CLASS_UID, lambda element: _text(element) == WHOLE_SLIDE_IMAGE)
    known = zip(slides, rows.rows, strict=True)
    return np.array([slide and is_aside(row.elements) for slide, row in known], dtype=bool)


def _reals(cells: Sequence[float | None]) -> NDArray[np.float64]:
    """Numbers as an array, NaN where there is none."""
    return np.array(cells, dtype=np.float64)


def _vectors(rows: _Rows, name: str, length: int) -> NDArray[np.float64]:
    """A column of lists as an (n, length) array, NaN where there is none."""
    missing = [math.nan] * length
    cells = [missing if cell is None else cell for cell in rows.cells(BY_NAME[name])]
    return np.array(cells, dtype=np.float64).reshape(-1, length)


def _text(element: Element | None) -> str:
    return str(element.first) if element is not None and element.first is not None else ""


def _names_a_localizer(element: Element | None) -> bool:
    return names_a_localizer(all_values(element))


def _first_numbers(rows: _Rows, candidates: Sequence[int]) -> NDArray[np.float64]:
    """Of each slice the first of some elements that is a number, NaN where none is."""
    numbers = np.full(len(rows.rows), np.nan)
    for tag in reversed(candidates):
        found = rows.values(tag, _as_number)
        is_number = np.array([number is not None for number in found], dtype=bool)
        numbers = np.where(is_number, _reals(found), numbers)
    return numbers


def _as_number(element: Element | None) -> float | None:
    """The value of an element as a number: TM and DT in seconds, others as they are."""
    value = element.first if element is not None else None
    if isinstance(value, (int, float)):
        # Neither NaN, nor more than a difference of two can hold.
        return float(value) if abs(value) <= _LARGEST_TIME else None
    seconds = _seconds(value, element.vr) if element is not None and isinstance(value, str) else math.nan
    return None if math.isnan(seconds) else seconds


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


def _cell(convert: Callable[[Sequence[Any]], Any], element: Element | None) -> Any:  # noqa: ANN401
    """An element's value as a cell of a fixed column; None where it does not fit."""
    if element is None or isinstance(element.value, Bulk) or not element.value:
        return None
    if element.vr != "SQ":
        return convert(element.value)
    text = convert is _text_cell
    return json.dumps(element_to_json(element)["Value"], ensure_ascii=False) if text else None


def _converter(column: Column) -> Callable[[Sequence[Any]], Any]:
    """What makes a fixed column's cells of values, at least one; None of those that do not fit."""
    kind = column.type
    if pa.types.is_list(kind):
        length = _LIST_LENGTHS.get(column.name)
        return (
            _texts_cell if kind.value_type == pa.utf8() else partial(_numbers_cell, kind.value_type, length)
        )
    if kind == pa.utf8():
        return _text_cell
    return partial(_whole_cell, kind) if pa.types.is_integer(kind) else _real_cell


def _text_cell(values: Sequence[Any]) -> str | None:
    return values[0] if isinstance(values[0], str) else None


def _texts_cell(values: Sequence[Any]) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in values]


def _real_cell(values: Sequence[Any]) -> float | None:
    return float(values[0]) if isinstance(values[0], (int, float)) else None


def _whole_cell(kind: pa.DataType, values: Sequence[Any]) -> int | None:
    return _whole(values[0], kind) if isinstance(values[0], (int, float)) else None


def _whole(value: float, kind: pa.DataType) -> int | None:
    """A whole number of an Arrow type; None where it is none, or too large."""
    bits = kind.bit_width - 1
    return int(value) if -(2**bits) <= value < 2**bits and value == int(value) else None


_LIST_LENGTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}


def _numbers_cell(kind: pa.DataType, length: int | None, values: Sequence[Any]) -> list[float | None] | None:
    """Numbers of an Arrow type, as many as `length` says; it may be any number of them, and some be empty."""
    types = set(map(type, values))
    # One window of several may be empty; half a position is none.
    if not types <= ({int, float} if length else {int, float, NoneType}) or len(values) != (
        length or len(values)
    ):
        return None
    if pa.types.is_integer(kind):
        return [None if value is None else _whole(value, kind) for value in values]
    return list(values) if types == {float} else [None if value is None else float(value) for value in values]


def _fixed(
    records: Sequence[Record],
    rows: _Rows,
    arrangement: Arrangement,
    slice_of_row: NDArray[np.int64],
    provenance: Provenance,
) -> list[tuple[pa.Field, pa.Array]]:
    """The columns that every index has, and those of frames that are no slices where there are such."""
    count = len(rows.rows)
    of_row = [records[row.record] for row in rows.rows]
    locations = [
        record.locations[row.frame_number - 1] if row.frame_number and record.locations else None
        for row, record in zip(rows.rows, of_row, strict=True)
    ]
    own: dict[str, Sequence[Any]] = {
        "Index": range(count),
        "FileName": [record.name for record in of_row],
        "SeriesUID": [provenance.series] * count,
        "StorageRoot": [provenance.root] * count,
        "PrimaryPosition": _known(arrangement.primary_position[slice_of_row]),
        "PrimaryAxis": [arrangement.axis[i] for i in slice_of_row.tolist()],
        "FrameNumber": [row.frame_number or None for row in rows.rows],
        "Stack": _counted(arrangement.stack[slice_of_row]),
        "Location": _counted(arrangement.location[slice_of_row]),
        "Time": _known(arrangement.time[slice_of_row]),
        "ObjectSize": [record.size for record in of_row],
        "ObjectVersion": [record.version for record in of_row],
        "TransferSyntaxUID": [record.transfer_syntax_uid for record in of_row],
        "PixelKeyword": [record.pixel_keyword or None for record in of_row],
        "PixelVR": [record.pixel_vr or None for record in of_row],
        "PixelSurplus": [record.pixel_surplus for record in of_row],
        "Remarks": _remarks(records, rows),
        "FrameOffset": [location and location.offset for location in locations],
        "FrameLength": [location and location.length for location in locations],
        "Palette": _palettes(rows),
    }
    columns: list[tuple[Column, Sequence[Any]]] = [
        (column, own[column.name] if column.name in own else rows.cells(column)) for column in FIXED_COLUMNS
    ]
    columns += (*_parts(rows.rows, slice_of_row), *_mosaics(records, rows.rows))
    return [(column.field(), pa.array(values, column.type)) for column, values in columns]


def _parts(rows: Sequence[Row], slice_of_row: NDArray[np.int64]) -> Iterator[tuple[Column, list[Any]]]:
    """The columns that tell which slice a frame is a part of, where there is such a frame."""
    if any(row.place for row in rows):
        numbers = slice_of_row.tolist()
        cells = [
            (
                numbers[i],
                row.place.rows,
                row.place.columns,
                row.place.top,
                row.place.left,
                row.place.background,
            )
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


def _known(numbers: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers.tolist()]


def _counted(numbers: NDArray[np.int64]) -> list[int | None]:
    return [None if number < 0 else number for number in numbers.tolist()]


def _remarks(records: Sequence[Record], rows: _Rows) -> list[tuple[str, ...] | None]:
    """The remarks on each slice."""
    of_objects = list(map(object_remarks, records))
    of_slices = zip(*(rows.values(tag, partial(number_remark, tag)) for tag in NUMBERS), strict=True)
    found = (
        (*of_objects[row.record], *filter(None, texts))
        for row, texts in zip(rows.rows, of_slices, strict=True)
    )
    return [remarks or None for remarks in found]


def _palettes(rows: _Rows) -> list[str | None]:
    """The palette of each slice; one that slices share is converted once."""
    texts: dict[tuple[int, ...], str | None] = {}
    palettes = []
    for elements in zip(*(rows.values(tag, lambda element: element) for tag in _PALETTE_TAGS), strict=True):
        key = tuple(map(id, elements))
        if key not in texts:
            known = zip(_PALETTE_TAGS, elements, strict=True)
            tables = {tag: element for tag, element in known if element is not None}
            texts[key] = json.dumps(to_json(tables)) if tables else None
        palettes.append(texts[key])
    return palettes


def _per_frame_field() -> pa.Field:
    tag = PER_FRAME_FUNCTIONAL_GROUPS
    return pa.field(
        column_name(tag, ""), pa.utf8(), metadata=field_metadata(tag, "SQ", element_description(tag, ""))
    )


def _per_frame_groups(records: Sequence[Record], rows: Sequence[Row]) -> pa.Array:
    """Each frame's own item, so that the table grows with the frames and not with their square."""
    texts, macros = [], dict[int, tuple[Element, str]]()
    for row in rows:
        items = sequence_items(records[row.record].elements.get(PER_FRAME_FUNCTIONAL_GROUPS))
        number = row.frame_number - 1
        has_item = 0 <= number < len(items)
        texts.append(f"[{_item_text(items[number], macros)}]" if has_item else None)
    return pa.array(texts, pa.utf8())


def _item_text(item: Item, known: dict[int, tuple[Element, str]]) -> str:
    """An item as DICOM JSON text; an element that the one before had too is not written anew.

    Args:
        item: The item.
        known: By tag, the latest element and its text.
    """
    parts = []
    for tag, element in sorted(item.items()):
        latest = known.get(tag)
        if latest is None or latest[0] is not element:
            latest = known[tag] = element, json.dumps(element_to_json(element), ensure_ascii=False)
        parts.append(f'"{tag_key(tag)}": {latest[1]}')
    return f"{{{', '.join(parts)}}}"


def _add_ill_matched_groups(records: Sequence[Record], remainders: Sequence[dict[str, Any]]) -> None:
    """Per-frame groups of another number than there are frames: no row gives them back as they are."""
    for record, remainder in zip(records, remainders, strict=True):
        element = record.elements.get(PER_FRAME_FUNCTIONAL_GROUPS)
        items = len(sequence_items(element))
        if element is not None and (not items or items > record.number_of_frames):
            remainder[tag_key(PER_FRAME_FUNCTIONAL_GROUPS)] = element_to_json(element)
