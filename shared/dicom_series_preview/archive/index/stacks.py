"""The stacks of a series: their descriptions, and their slices' positions and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.index.arrow import coordinates, floats
from dicom_series_preview.archive.index.damage import damage_told
from dicom_series_preview.archive.index.slices import primary_position
from dicom_series_preview.base.errors import counted
from dicom_series_preview.base.geometry import plane_of
from dicom_series_preview.base.selection import SortedStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa

    from dicom_series_preview.sources.headers.elements import Item

WHOLE_SLIDE_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"

_SOP_CLASS_UID, _SERIES_DESCRIPTION = 0x00080016, 0x0008103E
_POSITION_COLUMNS = ("PrimaryAxis", "PrimaryPosition", "InstanceNumber")
_LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "TOPOGRAM")


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack of a series, described by its first slice.

    Attributes:
        stack: Its number.
        series_instance_uid: SeriesInstanceUID (0020,000E), or empty.
        modality: Modality (0008,0060), or empty.
        image_type: The words of ImageType (0008,0008), then those of the frame's FrameType.
        plane: `axial`, `coronal`, `sagittal` or `oblique`; empty where the slices have no orientation.
        axis: `X`, `Y`, `Z` or `I`.
        first_position: Coordinate of the first slice on the axis in mm, InstanceNumber on `I`, or None.
        last_position: The same of the last slice.
        rows: Rows of its images.
        columns: Columns of its images.
        slices: The number of slices.
        localizer: It is for orientation: a localizer, or a slide's label or overview.
        description: SeriesDescription (0008,103E), free text that can hold names, or empty.
    """

    stack: int
    series_instance_uid: str
    modality: str
    image_type: tuple[str, ...]
    plane: str
    axis: str
    first_position: float | None
    last_position: float | None
    rows: int
    columns: int
    slices: int
    localizer: bool
    description: str


def described_stacks(
    table: pa.Table, stacks: Mapping[int, np.ndarray[Any, np.dtype[np.int64]]], constants: Item
) -> list[Stack]:
    """Describe stacks, in the order of their numbers.

    Args:
        table: The index's table.
        stacks: The rows of a stack's slices in display order, by number.
        constants: The elements that all objects have with the same value.
    """
    # Once: the table rebuilds its list of names at each call.
    columns = dict(zip(table.column_names, table.columns, strict=True))

    def cell(name: str, row: int) -> Any:  # noqa: ANN401 - one of Arrow's values
        return columns[name][row].as_py() if name in columns else None

    return [_stack(number, rows.tolist(), cell, constants) for number, rows in stacks.items()]


def _stack(number: int, rows: Sequence[int], cell: Callable[[str, int], Any], constants: Item) -> Stack:
    """Describe a stack.

    Args:
        number: Its number.
        rows: The rows of its slices.
        cell: Returns a column's value in a row, None without such a column.
        constants: The elements without columns.
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
        first_position=primary_position({name: cell(name, first) for name in _POSITION_COLUMNS}),
        last_position=primary_position({name: cell(name, last) for name in _POSITION_COLUMNS}),
        rows=cell("SliceRows", first) or cell("Rows", first),
        columns=cell("SliceColumns", first) or cell("Columns", first),
        slices=len(rows),
        localizer=names_a_localizer(image_type) or aside,
        description=text(_SERIES_DESCRIPTION, "SeriesDescription"),
    )


def sorted_stack(table: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]]) -> SortedStack:
    """Return the positions and times of a stack's slices.

    Args:
        table: The index's table.
        rows: The slices' rows, in display order.
    """
    return SortedStack(
        positions=_positions(table, rows),
        locations=np.nan_to_num(floats(table["Location"])[rows], nan=-1).astype(np.int64),
        times=(floats(table["Time"])[rows],),
        instance_numbers=floats(table["InstanceNumber"])[rows],
    )


def _positions(
    table: pa.Table, rows: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return each slice's coordinate on its stack's axis in mm, in full precision; NaN where it has none.

    A slide's focal planes, which have a location and no axis, are as far apart as their numbers.
    """
    axis = table["PrimaryAxis"][int(rows[0])].as_py()
    if axis == "I":
        planes: np.ndarray[Any, np.dtype[np.float64]] = floats(table["Location"])[rows]
        return planes
    with damage_told("PrimaryAxis"):
        number = "XYZ".index(axis)
    positions: np.ndarray[Any, np.dtype[np.float64]] = coordinates(table["ImagePositionPatient"], number)
    positions = positions[rows]
    # SliceLocation sorts a stack without positions, and PrimaryPosition then holds it.
    if np.isnan(positions).all():
        positions = floats(table["PrimaryPosition"])[rows]
    return positions


def names_a_localizer(words: Iterable[object]) -> bool:
    """Return True where ImageType names a localizer."""
    return any(str(word).upper() in _LOCALIZER_WORDS for word in words)


def names_an_aside(sop_class_uid: str, image_type: Sequence[object]) -> bool:
    """Return True where SOPClassUID and ImageType name a slide's label or overview (PS3.3 C.8.12.4.1.1)."""
    return sop_class_uid == WHOLE_SLIDE_IMAGE and ("LABEL" in image_type or "OVERVIEW" in image_type)


def told(stacks: int, series_instance_uids: int, patient_ids: int) -> str:
    """Describe a folder: its stacks, and series and patients if there are several."""
    parts = [counted(stacks, "stack")]
    if series_instance_uids > 1:
        parts.append(f"{series_instance_uids} series")
    if patient_ids > 1:
        parts.append(counted(patient_ids, "patient"))
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else parts[0]
