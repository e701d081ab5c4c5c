"""Arrange slices: sort them into stacks, and each stack into display order. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.geometry import AXES, normal_of, span_planes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SAME_LOCATION_MM = 0.01
SAME_ORIENTATION = 1e-3

# Display runs from right to left, from posterior to anterior and from superior to inferior: along x, against
# y and z.
_DISPLAY_DIRECTION = (1.0, -1.0, -1.0)
# Acquisition, content and creation time order slices of one InstanceNumber; then the frames of one instance,
# which share those, by trigger time and temporal position.
_ACQUISITION_TIME = 2
_CLOCKS = slice(_ACQUISITION_TIME, 5)
_ORDER_OF_TIMES = (_ACQUISITION_TIME, 3, 4, 0, 1)
_SECONDS_A_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Slices:
    """The known facts about n slices before sorting; NaN where one is missing.

    Attributes:
        series_instance_uid: (n,) SeriesInstanceUID of each.
        sop_instance_uid: (n,) SOPInstanceUID of each; empty where it is missing.
        size: (n, 3) int: rows, columns, samples per pixel; 0 rows in an object without an image.
        localizer: (n,) bool: ImageType holds LOCALIZER, SCOUT or TOPOGRAM, or the slice is `aside`.
        aside: (n,) bool: the label or the overview of a slide.
        orientation: (n, 6) ImageOrientationPatient: row cosines, then column cosines.
        position: (n, 3) ImagePositionPatient, mm, as `places` returns it.
        slice_location: (n,) SliceLocation, mm; likewise.
        acquisition_number: (n,) AcquisitionNumber.
        instance_number: (n,) InstanceNumber.
        times: (n, 5) TriggerTime, TemporalPositionIdentifier, AcquisitionTime, ContentTime and
            InstanceCreationTime: the first two in any unit, clocks in seconds since midnight.
        days: (n, 3) the day of each clock, AcquisitionTime first, counted from any day.
        file_name: (n,) the objects' names.
        frame_number: (n,) 1-based frame numbers, 0 in an object without an image.
        focal_plane: (n,) the sort key of a slide level's focal planes, from the glass up; NaN for any other
            slice.
    """

    series_instance_uid: Sequence[str]
    sop_instance_uid: Sequence[str]
    size: IntArray
    localizer: NDArray[np.bool_]
    aside: NDArray[np.bool_]
    orientation: FloatArray
    position: FloatArray
    slice_location: FloatArray
    acquisition_number: FloatArray
    instance_number: FloatArray
    times: FloatArray
    days: FloatArray
    file_name: Sequence[str]
    frame_number: IntArray
    focal_plane: FloatArray


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Slices sorted into stacks. All arrays are (n,) in display order, stack after stack.

    Attributes:
        order: Index of each among the input slices.
        stack: Number of its stack, -1 for an object without an image.
        location: Index of its location in its stack, from first to last; -1 where it has none.
        axis: `X`, `Y`, `Z`, or `I` where there is no position.
        primary_position: Coordinate on that axis in mm, or InstanceNumber on `I`; NaN where missing.
        time: The first of the times that varies within the stack; NaN where none does. A clock runs on
            from the stack's first day where the day of each slice is known.
        notes: Remarks on the order, for the report.
    """

    order: IntArray
    stack: IntArray
    location: IntArray
    axis: Sequence[str]
    primary_position: FloatArray
    time: FloatArray
    notes: tuple[str, ...]


def arrange(slices: Slices) -> Arrangement:
    """Sort slices into stacks, and each stack into display order."""
    count = len(slices.file_name)
    uids = ranks(slices.sop_instance_uid, uid_key).tolist()
    # An object's name is the last to tell: copies of a series may have other names.
    identities = ranks(list(zip(uids, slices.file_name, strict=True)))
    stacks = _stacks(slices, identities)
    imageless = np.flatnonzero(slices.size[:, 0] == 0)
    order: list[IntArray] = []
    stack_numbers = np.full(count, -1, dtype=np.int64)
    location = np.full(count, -1, dtype=np.int64)
    axis = np.full(count, "I", dtype="<U1")
    primary = slices.instance_number.copy()
    time = np.full(count, np.nan)
    notes: list[str] = []
    # A slide's label shows the patient's name: if there is nothing else, there is no main stack.
    first = 1 if stacks and slices.aside[stacks[0][0]] else 0
    for number, members in enumerate(stacks, first):
        piled = _sort_stack(slices, identities, members)
        order.append(piled.order)
        stack_numbers[members] = number
        location[piled.order] = piled.location
        axis[members] = piled.axis
        primary[members] = piled.primary
        time[members] = _varying_time(_moments(slices, members))
        if piled.without_position:
            verbs = ("has", "comes") if piled.without_position == 1 else ("have", "come")
            notes.append(
                f"stack {number}: {piled.without_position} of {len(members)} slices {verbs[0]} no position "
                f"and {verbs[1]} after those that have one"
            )
    order.append(imageless[np.lexsort((slices.frame_number[imageless], identities[imageless]))])
    flat = np.concatenate(order) if order else np.empty(0, dtype=np.int64)
    return Arrangement(
        order=flat,
        stack=stack_numbers[flat],
        location=location[flat],
        axis=axis[flat].tolist(),
        primary_position=primary[flat],
        time=time[flat],
        notes=tuple(notes),
    )


def uid_key(uid: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts UIDs by the numbers of their components."""
    return tuple((len(component), component) for component in uid.split("."))


def ranks(values: Sequence[Any], key: Callable[[Any], Any] | None = None) -> IntArray:
    """Return the rank of each value in ascending order, by a key if there is one; equal values share one."""
    place_of = {value: place for place, value in enumerate(sorted(set(values), key=key))}
    return np.array([place_of[value] for value in values], np.int64)


def _stacks(slices: Slices, identities: IntArray) -> list[IntArray]:
    """Return the slices of each stack, the main one first.

    Stack 0 is the largest that is no localizer; among equal ones the first acquired. Levels of a slide run
    from the smallest up, however many slices they have.
    """
    keys: dict[tuple[object, ...], list[int]] = {}
    # By identity, so that a stack's reference slice does not depend on the order of the input.
    for i in np.lexsort((slices.frame_number, identities)).tolist():
        if slices.size[i, 0]:
            is_level = not np.isnan(slices.focal_plane[i])
            kind = (bool(slices.localizer[i]), bool(slices.aside[i]), is_level)
            key = (slices.series_instance_uid[i], *slices.size[i].tolist(), *kind)
            keys.setdefault(key, []).append(i)
    stacks = [part for members in keys.values() for part in _by_orientation(slices, np.array(members))]
    acquired = _moments(slices, np.arange(len(identities)))[:, _ACQUISITION_TIME]

    def rank(members: IntArray) -> tuple[bool, int, int, float, float, float, int]:
        is_level = not np.isnan(slices.focal_plane[members[0]])
        rows, columns = slices.size[members[0], :2].tolist()
        return (
            bool(slices.localizer[members[0]]),
            rows * columns if is_level else 0,
            -len(members),
            _least(acquired[members]),
            _least(slices.acquisition_number[members]),
            _least(slices.instance_number[members]),
            int(identities[members].min()),
        )

    return sorted(stacks, key=rank)


def _least(values: FloatArray) -> float:
    """Return the smallest value that is not NaN, or infinity."""
    known = values[~np.isnan(values)]
    return float(known.min()) if known.size else float("inf")


def _by_orientation(slices: Slices, members: IntArray) -> list[IntArray]:
    """Split slices into groups of one orientation; those without a usable one form their own group.

    Each group holds the slices like the first one that has no group yet. Only slices with similar sums of
    cosines are compared: these are few where each slice has its own orientation (radial acquisitions).
    """
    cosines = slices.orientation[members]
    is_known = span_planes(cosines)
    sums = np.where(is_known, np.where(is_known[:, np.newaxis], cosines, 0).sum(axis=1), np.nan)
    order = np.argsort(sums, kind="stable")
    ascending = sums[order]
    margin = SAME_ORIENTATION * (cosines.shape[1] + 1)
    ungrouped = np.ones(len(members), dtype=bool)
    groups = []
    for i in range(len(members)):
        if not ungrouped[i]:
            continue
        if not is_known[i]:
            alike = np.flatnonzero(~is_known)
        else:
            near = order[slice(*np.searchsorted(ascending, (sums[i] - margin, sums[i] + margin)))]
            near = near[ungrouped[near]]
            alike = np.sort(near[(np.abs(cosines[near] - cosines[i]) <= SAME_ORIENTATION).all(axis=1)])
        ungrouped[alike] = False
        groups.append(members[alike])
    return groups


@dataclass(frozen=True, slots=True)
class _Pile:
    """One sorted stack: `order` and `location` in display order, `primary` in the order of its members."""

    order: IntArray
    location: IntArray
    axis: str
    primary: FloatArray
    without_position: int


def _sort_stack(slices: Slices, identities: IntArray, members: IntArray) -> _Pile:
    along, axis, primary = _coordinates(slices, members)
    placed = ~np.isnan(along)
    location = np.full(len(members), -1, dtype=np.int64)
    location[placed] = _locations(along[placed])
    # Slices without a position come last; the keys below order them, and slices at one location.
    leading = np.where(placed, location, np.iinfo(np.int64).max)
    numbers = _missing_last(slices.instance_number[members])
    moments = _moments(slices, members)
    times = [_missing_last(moments[:, column]) for column in _ORDER_OF_TIMES]
    # lexsort takes its main key last.
    order = np.lexsort(
        (slices.frame_number[members], identities[members], *reversed(times), numbers, leading)
    )
    return _Pile(
        order=members[order],
        location=location[order],
        axis=axis,
        primary=primary,
        without_position=int((~placed).sum()) if placed.any() else 0,
    )


def _moments(slices: Slices, members: IntArray) -> FloatArray:
    """Return the times of some slices, (n, 5), clocks in seconds since midnight of the first day.

    Where the day of a slice with a time is unknown, that clock counts for all without its days.
    """
    times = slices.times[members]
    clocks, days = times[:, _CLOCKS], slices.days[members]
    is_known = ~np.isnan(clocks)
    is_dated = ~(is_known & np.isnan(days)).any(axis=0)
    first = np.where(is_known, days, np.inf).min(axis=0, initial=np.inf)
    later = np.where(is_known & is_dated, days - np.where(np.isfinite(first), first, 0.0), 0.0)
    times[:, _CLOCKS] = clocks + later * _SECONDS_A_DAY
    return times


def _varying_time(times: FloatArray) -> FloatArray:
    """Return the first column that varies, all NaN where none does."""
    for column in times.T:
        known = column[~np.isnan(column)]
        if known.size and known.min() < known.max():
            varying: FloatArray = column
            return varying
    return np.full(len(times), np.nan)


def _missing_last(values: FloatArray) -> FloatArray:
    return np.where(np.isnan(values), np.inf, values)


def _coordinates(slices: Slices, members: IntArray) -> tuple[FloatArray, str, FloatArray]:
    """Return each member's distance along display order, the axis, and the coordinate on it.

    The distance is NaN where a slice has no place; smaller ones come first.
    """
    if not np.isnan(slices.focal_plane[members[0]]):
        # A slide has no place in a patient; its focal planes are nearer to each other than locations can be.
        planes = np.unique(slices.focal_plane[members], return_inverse=True)[1]
        return planes.astype(np.float64), "I", slices.instance_number[members]
    positions = slices.position[members]
    placed = ~np.isnan(positions).any(axis=1)
    if placed.any():
        normal = normal_of(slices.orientation[members[0]])
        if normal is None:
            spread = np.ptp(positions[placed], axis=0)
            # Nothing spreads: axial is the usual case, and the axis names nothing then.
            index = int(np.argmax(spread)) if spread.max() > SAME_LOCATION_MM else 2
            along = _DISPLAY_DIRECTION[index] * positions[:, index]
        else:
            index = int(np.argmax(np.abs(normal)))
            along = _DISPLAY_DIRECTION[index] * np.sign(normal[index]) * (positions @ normal)
        along[~placed] = np.nan
        return along, AXES[index], positions[:, index]
    slice_locations = slices.slice_location[members]
    if not np.isnan(slice_locations).all():
        # Of transverse slices, the usual case, where no orientation tells.
        normal = normal_of(slices.orientation[members[0]])
        index = int(np.argmax(np.abs(normal))) if normal is not None else 2
        return _DISPLAY_DIRECTION[index] * slice_locations, AXES[index], slice_locations
    return np.full(len(members), np.nan), "I", slices.instance_number[members]


def _locations(along: FloatArray) -> IntArray:
    """Return the index of each coordinate's location, ascending; those within 0.01 mm share one."""
    order = np.argsort(along, kind="stable")
    ascending = along[order]
    location = np.empty(len(along), dtype=np.int64)
    start, number = np.nan, -1
    for rank, value in zip(order.tolist(), ascending.tolist(), strict=True):
        if not value - start < SAME_LOCATION_MM:
            start, number = value, number + 1
        location[rank] = number
    return location
