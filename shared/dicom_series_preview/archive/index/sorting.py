"""Collect the facts about slices that sorting needs, as arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.archive.index.fixed_cells import cells_of_rows
from dicom_series_preview.archive.index.rows import Row, Rows, varying_tags
from dicom_series_preview.archive.index.schema import BY_NAME, FIXED_TAGS
from dicom_series_preview.archive.index.stacks import WHOLE_SLIDE_IMAGE, names_a_localizer
from dicom_series_preview.archive.slide_tiles import is_aside
from dicom_series_preview.base.arrangement import Slices
from dicom_series_preview.base.geometry import places
from dicom_series_preview.sources.headers.clock import day_of, seconds_of
from dicom_series_preview.sources.headers.elements import Element, all_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.records import Record

_IMAGE_TYPE, _FRAME_TYPE, _SOP_CLASS_UID = 0x00080008, 0x00089007, 0x00080016
_ACQUISITION_NUMBER, _SERIES_INSTANCE_UID = 0x00200012, 0x0020000E
_SOP_INSTANCE_UID = 0x00080018
# Candidates for each of the numbers that order slices: a single image's element, then a frame's.
_NUMBERS = (
    (0x00181060, 0x00209153),  # TriggerTime, NominalCardiacTriggerDelayTime
    (0x00200100, 0x00209128),  # TemporalPositionIdentifier, TemporalPositionIndex
)
_FRAME_ACQUISITION_DATE_TIME, _ACQUISITION_DATE_TIME = 0x00189074, 0x0008002A
# Candidates for each of the clocks that order slices, the best first: the element with the time of day, and
# those that may have its day.
_CLOCKS = (
    (
        (_FRAME_ACQUISITION_DATE_TIME, (_FRAME_ACQUISITION_DATE_TIME,)),
        (0x00080032, (0x00080022, _ACQUISITION_DATE_TIME)),  # AcquisitionTime, AcquisitionDate
        (_ACQUISITION_DATE_TIME, (_ACQUISITION_DATE_TIME,)),
    ),
    ((0x00080033, (0x00080023,)),),  # ContentTime, ContentDate
    ((0x00080013, (0x00080012,)),),  # InstanceCreationTime, InstanceCreationDate
)
_LARGEST_NUMBER = 1e15
_ASKED_FOR = FIXED_TAGS.union(
    (_SOP_INSTANCE_UID, _IMAGE_TYPE, _FRAME_TYPE, _SOP_CLASS_UID, _ACQUISITION_NUMBER, _SERIES_INSTANCE_UID),
    *_NUMBERS,
    *((time, *days) for clock in _CLOCKS for time, days in clock),
)
"""The elements that sorting needs."""


def arrangeable(records: Sequence[Record], slices: Sequence[Sequence[Row]]) -> Slices:
    """Collect the facts about slices for sorting, as arrays; a slice of many frames goes by its first."""
    rows = [members[0] for members in slices]
    return arrangeable_of(records, rows, varying_tags(rows))


def arrangeable_of(records: Sequence[Record], firsts: Sequence[Row], varying: AbstractSet[int]) -> Slices:
    """Collect the facts about slices for sorting.

    Args:
        records: The objects.
        firsts: The first row of each slice.
        varying: The tags of elements that are not one object for all slices.
    """
    rows = Rows.of(firsts, varying & _ASKED_FOR)
    lengths = (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1))
    size = np.array(
        [[cell or default for cell in cells_of_rows(rows, BY_NAME[name])] for name, default in lengths]
    ).T
    size[[row.frame_number == 0 for row in rows.rows]] = 0
    focal_plane = np.full(len(rows.rows), np.nan)
    for i, row in enumerate(rows.rows):
        if row.place is not None:
            size[i, :2], focal_plane[i] = (row.place.rows, row.place.columns), row.place.focal_plane
    aside = _asides(rows)
    numbers = [_first_numbers(rows, candidates) for candidates in _NUMBERS]
    clocks = [_clock(rows, candidates) for candidates in _CLOCKS]
    kinds = [np.array(rows.values(tag, _names_a_localizer), bool) for tag in (_IMAGE_TYPE, _FRAME_TYPE)]
    return Slices(
        sop_instance_uid=rows.values(_SOP_INSTANCE_UID, _text),
        series_instance_uid=rows.values(_SERIES_INSTANCE_UID, _text),
        size=size,
        localizer=np.any([*kinds, aside], axis=0),
        aside=aside,
        orientation=_vectors(rows, "ImageOrientationPatient", 6),
        position=places(_vectors(rows, "ImagePositionPatient", 3)),
        slice_location=places(_reals(cells_of_rows(rows, BY_NAME["SliceLocation"]))),
        acquisition_number=_first_numbers(rows, (_ACQUISITION_NUMBER,)),
        instance_number=_reals(cells_of_rows(rows, BY_NAME["InstanceNumber"])),
        times=np.array([*numbers, *(seconds for seconds, _ in clocks)]).T,
        days=np.array([days for _, days in clocks]).T,
        file_name=[records[row.record].name for row in rows.rows],
        frame_number=np.array([row.frame_number for row in rows.rows], dtype=np.int64),
        focal_plane=focal_plane,
    )


def _asides(rows: Rows) -> NDArray[np.bool_]:
    """Return True for slices that show the label or the overview of a slide."""
    slides = rows.values(_SOP_CLASS_UID, lambda element: _text(element) == WHOLE_SLIDE_IMAGE)
    known = zip(slides, rows.rows, strict=True)
    return np.array([slide and is_aside(row.elements) for slide, row in known], dtype=bool)


def _reals(cells: Sequence[float | None]) -> NDArray[np.float64]:
    """Convert numbers to an array, NaN where there is none."""
    return np.array(cells, dtype=np.float64)


def _vectors(rows: Rows, name: str, length: int) -> NDArray[np.float64]:
    """Return a column of lists as an (n, length) array, NaN where there is none."""
    missing = [math.nan] * length
    cells = [missing if cell is None else cell for cell in cells_of_rows(rows, BY_NAME[name])]
    return np.array(cells, dtype=np.float64).reshape(-1, length)


def _text(element: Element | None) -> str:
    return str(element.first) if element is not None and element.first is not None else ""


def _names_a_localizer(element: Element | None) -> bool:
    return names_a_localizer(all_values(element))


def _first_numbers(rows: Rows, candidates: Sequence[int]) -> NDArray[np.float64]:
    """Return each slice's first number among some elements; NaN where none is a number."""
    return _first_of(rows, candidates, _as_number)


def _clock(
    rows: Rows, candidates: Sequence[tuple[int, Sequence[int]]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each slice's seconds since midnight, and its day; NaN where it has none."""
    seconds = days = np.full(len(rows.rows), np.nan)
    for time, dates in reversed(candidates):
        found = _first_of(rows, (time,), _as_seconds)
        is_known = ~np.isnan(found)
        seconds = np.where(is_known, found, seconds)
        days = np.where(is_known, _first_of(rows, dates, _as_day), days)
    return seconds, days


def _first_of(
    rows: Rows, candidates: Sequence[int], convert: Callable[[Element | None], float]
) -> NDArray[np.float64]:
    """Return each slice's first number that an element converts to; NaN where none does."""
    numbers = np.full(len(rows.rows), np.nan)
    for tag in reversed(candidates):
        found = _reals(rows.values(tag, convert))
        numbers = np.where(np.isnan(found), numbers, found)
    return numbers


def _as_number(element: Element | None) -> float:
    """Return an element's number; NaN where it has none, or one so large that differences fail."""
    value = element.first if element is not None else None
    return float(value) if isinstance(value, (int, float)) and abs(value) <= _LARGEST_NUMBER else math.nan


def _as_seconds(element: Element | None) -> float:
    value = element.first if element is not None else None
    return seconds_of(value, element.vr) if element is not None and isinstance(value, str) else math.nan


def _as_day(element: Element | None) -> float:
    value = element.first if element is not None else None
    return day_of(value) if isinstance(value, str) else math.nan
