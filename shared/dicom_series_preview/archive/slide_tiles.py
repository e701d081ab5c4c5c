"""Where the frames of whole slide images lie in their levels (PS3.3 C.8.12, C.7.6.17.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.records import sequence_items
from dicom_series_preview.archive.index.stacks import WHOLE_SLIDE_IMAGE, names_an_aside
from dicom_series_preview.sources.headers.elements import all_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.index.records import Record
    from dicom_series_preview.sources.headers.elements import Element

_SOP_CLASS_UID, _IMAGE_TYPE = 0x00080016, 0x00080008
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_MATRIX_COLUMNS, _MATRIX_ROWS, _FOCAL_PLANES = 0x00480006, 0x00480007, 0x00480303
_ORGANIZATION, _CONCATENATION_UID, _FRAME_OFFSET = 0x00209311, 0x00209161, 0x00209228
_COLUMN_POSITION, _ROW_POSITION, _Z_OFFSET = 0x0048021E, 0x0048021F, 0x0040074A
# Of a segmentation, which may be tiled as well, its segments are what optical paths are of a slide.
_OPTICAL_PATH, _SEGMENT_NUMBER = 0x00480106, 0x0062000B
_LARGEST = 2**31 - 1
_SAMPLES_PER_PIXEL, _BITS_STORED, _PIXEL_PADDING_VALUE = 0x00280002, 0x00280101, 0x00280120
_OPTICAL_PATHS, _ILLUMINATION, _CODE_VALUE = 0x00480105, 0x00220016, 0x00080100
# Transmission and brightfield (PS3.16 CID 8123): where there is nothing, there is light.
_THROUGH_THE_SLIDE = frozenset(("111741", "111744"))


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a frame in a level of a slide.

    Attributes:
        level: Identifies the slice in the series: instance or concatenation, focal plane and optical path.
        rows: Rows of the level's total pixel matrix.
        columns: Its columns.
        top: The matrix's row, from 0, of the frame's first row; it can lie beyond the matrix.
        left: The same for columns.
        focal_plane: Number of the focal plane from 0; for TILED_SPARSE its distance from the glass in
            micrometres.
        number: The frame's number in its concatenation, from 0.
        background: The level, 0..255, of areas without a frame, in colour; None for grey, where it is black.
    """

    level: tuple[object, ...]
    rows: int
    columns: int
    top: int
    left: int
    focal_plane: float
    number: int
    background: int | None = None


def places_of(record: Record, frames: Sequence[Mapping[int, Element]]) -> list[Place]:
    """Return the places of an object's frames; none where they are no tiles, or have no place.

    Args:
        record: The object.
        frames: The elements that apply to each of its frames.
    """
    root = record.elements
    if not (len(frames) > 1 or (frames and is_slide(root))):
        return []
    rows, columns = _whole(root, _MATRIX_ROWS), _whole(root, _MATRIX_COLUMNS)
    if not (0 < rows <= _LARGEST and 0 < columns <= _LARGEST):
        return []
    concatenation = root.get(_CONCATENATION_UID)
    instance = str(concatenation.first) if concatenation and concatenation.first else record.name
    offset, matrix = _whole(root, _FRAME_OFFSET), (rows, columns)
    organization = _first(root, _ORGANIZATION)
    placed = [_has(frame, _ROW_POSITION) and _has(frame, _COLUMN_POSITION) for frame in frames]
    # Older objects do not declare their organization; their frames have positions or are all there.
    if organization == "TILED_FULL" or not (any(placed) or organization == "TILED_SPARSE"):
        places = [_implied(root, offset + i, matrix, instance) for i in range(len(frames))]
    elif all(placed):
        places = [_said(frame, offset + i, matrix, instance) for i, frame in enumerate(frames)]
    else:
        return []
    background = _background(root)
    return places if background is None else [replace(place, background=background) for place in places]


def _background(root: Mapping[int, Element]) -> int | None:
    """Return the level where a colour image has no frame: its padding, white in brightfield, else black."""
    if _whole(root, _SAMPLES_PER_PIXEL) != 3:
        return None
    padding, stored = _first(root, _PIXEL_PADDING_VALUE), _whole(root, _BITS_STORED) or 8
    if isinstance(padding, int):
        largest = (1 << stored) - 1
        return round(255 * min(max(padding, 0), largest) / largest)
    codes = [
        str(_first(code, _CODE_VALUE))
        for path in _items(root, _OPTICAL_PATHS)
        for code in _items(path, _ILLUMINATION)
    ]
    return 0 if codes and not _THROUGH_THE_SLIDE.issuperset(codes) else 255


def _items(elements: Mapping[int, Element], tag: int) -> tuple[Mapping[int, Element], ...]:
    return sequence_items(elements.get(tag))


def _said(frame: Mapping[int, Element], number: int, matrix: tuple[int, int], instance: object) -> Place:
    """Place a frame by its Plane Position (Slide): where its first pixel lies, from 1 (PS3.3 C.8.12.6.1)."""
    top, left = (
        min(max(_whole(frame, tag) - 1, -_LARGEST), _LARGEST) for tag in (_ROW_POSITION, _COLUMN_POSITION)
    )
    z = _first(frame, _Z_OFFSET)
    channel = _first(frame, _OPTICAL_PATH), _first(frame, _SEGMENT_NUMBER)
    plane = float(z) if isinstance(z, (int, float)) else 0.0
    return Place((instance, plane, *channel), *matrix, top, left, plane, number)


def _implied(root: Mapping[int, Element], number: int, matrix: tuple[int, int], instance: object) -> Place:
    """Place a frame of TILED_FULL: row by row, then by focal plane, then by optical path."""
    rows, columns = max(_whole(root, _ROWS), 1), max(_whole(root, _COLUMNS), 1)
    across, down = -(-matrix[1] // columns), -(-matrix[0] // rows)
    plane_number, tile = divmod(number, across * down)
    path, plane = divmod(plane_number, max(_whole(root, _FOCAL_PLANES), 1))
    row, column = divmod(tile, across)
    return Place((instance, plane, path), *matrix, row * rows, column * columns, float(plane), number)


def is_slide(elements: Mapping[int, Element]) -> bool:
    """Return True for a VL Whole Slide Microscopy Image."""
    return str(_first(elements, _SOP_CLASS_UID)) == WHOLE_SLIDE_IMAGE


def is_aside(elements: Mapping[int, Element]) -> bool:
    """Return True where an object shows a slide's label or overview (PS3.3 C.8.12.4.1.1)."""
    return names_an_aside(str(_first(elements, _SOP_CLASS_UID)), all_values(elements.get(_IMAGE_TYPE)))


def _first(elements: Mapping[int, Element], tag: int) -> Any:  # noqa: ANN401 - the type follows from the VR
    element = elements.get(tag)
    return None if element is None else element.first


def _has(elements: Mapping[int, Element], tag: int) -> bool:
    return isinstance(_first(elements, tag), int)


def _whole(elements: Mapping[int, Element], tag: int) -> int:
    value = _first(elements, tag)
    return value if isinstance(value, int) else 0
