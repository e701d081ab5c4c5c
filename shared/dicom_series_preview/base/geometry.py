"""Geometry of slices: sorts them into stacks, and each stack into display order; arrays in, arrays out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SAME_LOCATION_MM = 0.01
SAME_ORIENTATION = 1e-3
FARTHEST_MM = 1e9
"""No patient lies farther from an origin, and sums of such numbers stay exact to 0.01 mm."""
MOST_UNEQUAL = 1000
"""No image has pixels whose sides differ by this factor; line scans reach a hundred."""
# How far cosines may be from those of two perpendicular unit vectors: lost digits cost less.
_UNIT = 0.1

# DICOM's axes run to the patient's left, back and head (PS3.3 C.7.6.2.1.1). Display runs from right to left,
# from posterior to anterior and from superior to inferior: along x, against y and z.
_AXES = "XYZ"
_DISPLAY_DIRECTION = (1.0, -1.0, -1.0)
# Acquisition, content and creation time order slices of one InstanceNumber. Frames of one instance share
# those: trigger time and temporal position order them.
_ACQUISITION_TIME = 2
_ORDER_OF_TIMES = (_ACQUISITION_TIME, 3, 4, 0, 1)


# The ends of each axis that positive and negative direction cosines point to (C.7.6.1.1.1), for bipeds.
_ENDS = (("L", "R"), ("P", "A"), ("H", "F"))
_NAMES = {"L": "left", "R": "right", "P": "back", "A": "front", "H": "head", "F": "feet"}
_END = {letter: (axis, end) for axis, ends in enumerate(_ENDS) for end, letter in enumerate(ends)}
_DIRECTION = re.compile("[LRAPHF]{1,3}")
_OPPOSITE = dict(zip("LRPAHF", "RLAPFH", strict=True))
# Directions closer than 5 degrees to a plane of the axes have no letter for the third axis.
_LEAST_COSINE = 0.087
# By the axis of their normal: the plane's name, and where rows and columns usually lead. Sagittal slices are
# viewed from either side.
_USUAL = {"X": ("sagittal", "", "F"), "Y": ("coronal", "L", "F"), "Z": ("axial", "L", "P")}
# How far cosines may be from right angles, and their lengths from 1: files keep few digits.
_LEAST_EXACT = 0.01
# Beyond 37 degrees from the axes no direction is usual.
_STRAIGHT = 0.8


@dataclass(frozen=True, slots=True)
class Slices:
    """The known facts about n slices before sorting; NaN where one is missing.

    Attributes:
        series_instance_uid: (n,) SeriesInstanceUID of each.
        size: (n, 3) int: rows, columns, samples per pixel; 0 rows in an object without an image.
        localizer: (n,) bool: ImageType holds LOCALIZER, SCOUT or TOPOGRAM, or the slice is `aside`.
        aside: (n,) bool: the label or the overview of a slide.
        orientation: (n, 6) ImageOrientationPatient: row cosines, then column cosines.
        position: (n, 3) ImagePositionPatient, mm, as `places` returns it.
        slice_location: (n,) SliceLocation, mm; likewise.
        acquisition_number: (n,) AcquisitionNumber.
        instance_number: (n,) InstanceNumber.
        times: (n, 5) TriggerTime, TemporalPositionIdentifier, AcquisitionTime, ContentTime and
            InstanceCreationTime, each in any unit.
        file_name: (n,) the objects' names.
        frame_number: (n,) 1-based frame numbers, 0 in an object without an image.
        focal_plane: (n,) the sort key of a slide level's focal planes, from the glass up; NaN for any other
            slice.
    """

    series_instance_uid: Sequence[str]
    size: IntArray
    localizer: NDArray[np.bool_]
    aside: NDArray[np.bool_]
    orientation: FloatArray
    position: FloatArray
    slice_location: FloatArray
    acquisition_number: FloatArray
    instance_number: FloatArray
    times: FloatArray
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
        time: The first of the times that varies within the stack; NaN where none does.
        notes: Remarks on the order, for the report.
    """

    order: IntArray
    stack: IntArray
    location: IntArray
    axis: Sequence[str]
    primary_position: FloatArray
    time: FloatArray
    notes: tuple[str, ...]


def places(millimetres: FloatArray) -> FloatArray:
    """Return coordinates, (n, ...), all NaN where one is not finite or farther than `FARTHEST_MM`."""
    near = np.abs(millimetres) <= FARTHEST_MM
    is_one = near.all(axis=tuple(range(1, near.ndim)), keepdims=True)
    return np.where(is_one, millimetres, np.nan)


def span_planes(cosines: FloatArray) -> NDArray[np.bool_]:
    """Return True for cosines of an image plane (PS3.3 C.7.6.2.1.1): two unit vectors, about perpendicular.

    Args:
        cosines: (n, 6) ImageOrientationPatient: row cosines, then column cosines.
    """
    is_bounded = (np.abs(cosines) <= 1 + _UNIT).all(axis=1, keepdims=True)
    rows, columns = np.split(np.where(is_bounded, cosines, 0), 2, axis=1)
    off = [
        np.linalg.norm(rows, axis=1) - 1,
        np.linalg.norm(columns, axis=1) - 1,
        (rows * columns).sum(axis=1),
    ]
    return np.asarray((np.abs(off) <= _UNIT).all(axis=0))


def arrange(slices: Slices) -> Arrangement:
    """Sort slices into stacks, and each stack into display order."""
    count = len(slices.file_name)
    names = _ranks(slices.file_name)
    stacks = _stacks(slices, names)
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
        piled = _sort_stack(slices, names, members)
        order.append(piled.order)
        stack_numbers[members] = number
        location[piled.order] = piled.location
        axis[members] = piled.axis
        primary[members] = piled.primary
        time[members] = _varying_time(slices.times[members])
        if piled.without_position:
            verbs = ("has", "comes") if piled.without_position == 1 else ("have", "come")
            notes.append(
                f"stack {number}: {piled.without_position} of {len(members)} slices {verbs[0]} no position "
                f"and {verbs[1]} after those that have one"
            )
    order.append(imageless[np.lexsort((slices.frame_number[imageless], names[imageless]))])
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


def _ranks(names: Sequence[str]) -> IntArray:
    """Return the rank of each name in lexical order; equal names share one."""
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _stacks(slices: Slices, names: IntArray) -> list[IntArray]:
    """Return the slices of each stack, the main one first.

    Stack 0 is the largest that is no localizer; among equal ones the first acquired. Levels of a slide run
    from the smallest up, however many slices they have.
    """
    keys: dict[tuple[object, ...], list[int]] = {}
    # By name, so that a stack's reference slice does not depend on the order of the input.
    for i in np.lexsort((slices.frame_number, names)).tolist():
        if slices.size[i, 0]:
            is_level = not np.isnan(slices.focal_plane[i])
            kind = (bool(slices.localizer[i]), bool(slices.aside[i]), is_level)
            key = (slices.series_instance_uid[i], *slices.size[i].tolist(), *kind)
            keys.setdefault(key, []).append(i)
    stacks = [part for members in keys.values() for part in _by_orientation(slices, np.array(members))]

    def rank(members: IntArray) -> tuple[bool, int, int, float, float, float, int]:
        is_level = not np.isnan(slices.focal_plane[members[0]])
        rows, columns = slices.size[members[0], :2].tolist()
        return (
            bool(slices.localizer[members[0]]),
            rows * columns if is_level else 0,
            -len(members),
            _least(slices.times[members, _ACQUISITION_TIME]),
            _least(slices.acquisition_number[members]),
            _least(slices.instance_number[members]),
            int(names[members].min()),
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


def _sort_stack(slices: Slices, names: IntArray, members: IntArray) -> _Pile:
    along, axis, primary = _coordinates(slices, members)
    placed = ~np.isnan(along)
    location = np.full(len(members), -1, dtype=np.int64)
    location[placed] = _locations(along[placed])
    # Slices without a position come last; the keys below order them, and slices at one location.
    leading = np.where(placed, location, np.iinfo(np.int64).max)
    numbers = _missing_last(slices.instance_number[members])
    times = [_missing_last(slices.times[members, column]) for column in _ORDER_OF_TIMES]
    # lexsort takes its main key last.
    order = np.lexsort((slices.frame_number[members], names[members], *reversed(times), numbers, leading))
    return _Pile(
        order=members[order],
        location=location[order],
        axis=axis,
        primary=primary,
        without_position=int((~placed).sum()) if placed.any() else 0,
    )


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
        # A slide has no place in a patient; its focal planes are closer together than locations can be.
        planes = np.unique(slices.focal_plane[members], return_inverse=True)[1]
        return planes.astype(np.float64), "I", slices.instance_number[members]
    positions = slices.position[members]
    placed = ~np.isnan(positions).any(axis=1)
    if placed.any():
        normal = normal_of(slices.orientation[members[0]])
        if normal is None:
            spread = np.ptp(positions[placed], axis=0)
            # No spread: take axial, the usual case.
            index = int(np.argmax(spread)) if spread.max() > SAME_LOCATION_MM else 2
            along = _DISPLAY_DIRECTION[index] * positions[:, index]
        else:
            index = int(np.argmax(np.abs(normal)))
            along = _DISPLAY_DIRECTION[index] * np.sign(normal[index]) * (positions @ normal)
        along[~placed] = np.nan
        return along, _AXES[index], positions[:, index]
    slice_locations = slices.slice_location[members]
    if not np.isnan(slice_locations).all():
        # Without an orientation, assume transverse slices.
        normal = normal_of(slices.orientation[members[0]])
        index = int(np.argmax(np.abs(normal))) if normal is not None else 2
        return _DISPLAY_DIRECTION[index] * slice_locations, _AXES[index], slice_locations
    return np.full(len(members), np.nan), "I", slices.instance_number[members]


def normal_of(orientation: FloatArray) -> FloatArray | None:
    """Return an image plane's unit normal, (3,) (PS3.3 C.7.6.2.1.1); None where the cosines span no plane.

    Args:
        orientation: (6,) ImageOrientationPatient: row cosines, then column cosines.
    """
    if not span_planes(orientation[np.newaxis]).all():
        return None
    normal: FloatArray = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


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


def plane_of(cosines: Sequence[float]) -> str:
    """Name the plane of an image: `axial`, `coronal` or `sagittal` up to 37 degrees off, else `oblique`.

    Args:
        cosines: ImageOrientationPatient: row cosines, then column cosines.

    Returns:
        Empty where the cosines span no plane.
    """
    normal = normal_of(np.asarray(cosines, np.float64))
    if normal is None:
        return ""
    closest = int(np.argmax(np.abs(normal)))
    return _USUAL[_AXES[closest]][0] if abs(normal[closest]) >= _STRAIGHT else "oblique"


def patient_orientation(cosines: Sequence[float]) -> str:
    r"""Say where rows and columns lead, as PatientOrientation does (0020,0020; PS3.3 C.7.6.1.1.1).

    Args:
        cosines: ImageOrientationPatient: row cosines, then column cosines.

    Returns:
        For instance `L\P`, the usual axial slice: rows lead to the patient's left, columns to the back.
        Oblique directions have several letters, the closest axis first. Empty where the cosines span no
        plane, or are not at right angles.
    """
    directions = _directions(cosines)
    return "\\".join(map(_letters, directions)) if directions else ""


def orientation_fault(cosines: Sequence[float]) -> str:
    """Say what is wrong with ImageOrientationPatient, and the consequence; empty where nothing is.

    Args:
        cosines: Row cosines, then column cosines, which are orthogonal and of unit length (PS3.3
            C.7.6.2.1.1).
    """
    orientation = np.asarray(cosines, np.float64)
    if normal_of(orientation) is None:
        return "is no pair of perpendicular unit vectors: it is not used"
    if _directions(cosines) is None:
        return "has rows and columns that are not at right angles: directions are not told by it"
    if np.abs(_lengths(orientation) - 1).max() > _LEAST_EXACT:
        return "is not of unit length: only its directions are used"
    return ""


def possible_orientation(written: str) -> str:
    r"""Return PatientOrientation as written, or empty where no rows and columns can lead so.

    They are at right angles: no direction leads to both ends of an axis, and two that mainly follow the same
    axis differ in their other letters, like `LA\RA`.

    Args:
        written: For instance `L\P`.
    """
    row, _, column = written.partition("\\")
    if not (_DIRECTION.fullmatch(row) and _DIRECTION.fullmatch(column)):
        return ""
    rows, columns = ({_END[letter][0]: _END[letter][1] for letter in letters} for letters in (row, column))
    if len(rows) < len(row) or len(columns) < len(column):
        return ""
    agreements = {rows[axis] == columns[axis] for axis in rows.keys() & columns.keys()}
    is_parallel = _END[row[0]][0] == _END[column[0]][0] and len(agreements) == 1
    return "" if is_parallel else written


def opposite(letters: str) -> str:
    """Return the letters of the opposite direction: `RP` for `LA`."""
    return "".join(_OPPOSITE[letter] for letter in letters)


def unusual_orientation(cosines: Sequence[float]) -> str:
    """Say how a slice lies that is upside down, mirrored or turned; empty where it lies as usual.

    Args:
        cosines: ImageOrientationPatient: row cosines, then column cosines.
    """
    normal, directions = normal_of(np.asarray(cosines, np.float64)), _directions(cosines)
    if normal is None or directions is None:
        return ""
    if any(np.abs(direction).max() < _STRAIGHT for direction in directions):
        return ""
    row, column = (_letters(direction)[0] for direction in directions)
    plane, usual_row, usual_column = _USUAL[_AXES[int(np.argmax(np.abs(normal)))]]
    if column == usual_column and row == (usual_row or row):
        return ""
    found, usual = _edges(row, column), _edges(usual_row, usual_column)
    return f"{plane} slices are shown as stored, with the patient's {found}, not with the {usual}"


def _directions(cosines: Sequence[float]) -> tuple[FloatArray, FloatArray] | None:
    """Return the unit directions of rows and columns; None where they span no plane or no right angle."""
    orientation = np.asarray(cosines, np.float64)
    if normal_of(orientation) is None:
        return None
    row, column = orientation.reshape(2, 3) / _lengths(orientation)[:, np.newaxis]
    return (row, column) if abs(float(row @ column)) <= _LEAST_EXACT else None


def _lengths(orientation: FloatArray) -> FloatArray:
    """Return the lengths of row and column cosines."""
    lengths: FloatArray = np.linalg.norm(orientation.reshape(2, 3), axis=1)
    return lengths


def _letters(direction: FloatArray) -> str:
    """Return the letters of the axes that a direction follows, the closest first."""
    ranked = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    leading = [axis for axis in ranked if abs(direction[axis]) >= _LEAST_COSINE]
    return "".join(_ENDS[axis][int(direction[axis] < 0)] for axis in leading)


def _edges(row: str, column: str) -> str:
    """Name the left and upper edges of a picture whose rows and columns lead so."""
    left = f"{_NAMES[_OPPOSITE[row]]} on the left and " if row else ""
    return f"{left}{_NAMES[_OPPOSITE[column]]} on top"
