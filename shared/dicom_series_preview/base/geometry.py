"""Geometry of images in the patient: positions, normals, and the directions of rows and columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

FARTHEST_MM = 1e9
"""No patient lies farther from an origin; and sums of such numbers keep a hundredth of a millimetre."""
MOST_UNEQUAL = 1000
"""No image has pixels whose one side is so many times the other; scans of a line come to a hundred."""
AXES = "XYZ"
"""The names of DICOM's axes, which run to the patient's left, back and head (PS3.3 C.7.6.2.1.1)."""
# How far cosines may be from those of two perpendicular unit vectors: digits that were lost are less.
_UNIT = 0.1


# The end of each axis that a positive and that a negative direction cosine point to (C.7.6.1.1.1), bipeds'.
_ENDS = (("L", "R"), ("P", "A"), ("H", "F"))
_NAMES = {"L": "left", "R": "right", "P": "back", "A": "front", "H": "head", "F": "feet"}
_END = {letter: (axis, end) for axis, ends in enumerate(_ENDS) for end, letter in enumerate(ends)}
_DIRECTION = re.compile("[LRAPHF]{1,3}")
_OPPOSITE = dict(zip("LRPAHF", "RLAPFH", strict=True))
# Directions closer than 5 degrees to a plane of the axes have no letter for the third axis.
_LEAST_COSINE = 0.087
# By the axis of their normal: the plane's name, and where rows and columns usually lead. Sagittal slices are
# looked at from either side.
_USUAL = {"X": ("sagittal", "", "F"), "Y": ("coronal", "L", "F"), "Z": ("axial", "L", "P")}
# How far cosines may be from right angles, and their lengths from 1: files round them to few digits.
_LEAST_EXACT = 0.01
# Beyond 37 degrees from the axes nothing is usual.
_STRAIGHT = 0.8


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


def normal_of(orientation: FloatArray) -> FloatArray | None:
    """Return an image plane's unit normal, (3,) (PS3.3 C.7.6.2.1.1); None where the cosines span no plane.

    Args:
        orientation: (6,) ImageOrientationPatient: row cosines, then column cosines.
    """
    if not span_planes(orientation[np.newaxis]).all():
        return None
    normal: FloatArray = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


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
    return _USUAL[AXES[closest]][0] if abs(normal[closest]) >= _STRAIGHT else "oblique"


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
    plane, usual_row, usual_column = _USUAL[AXES[int(np.argmax(np.abs(normal)))]]
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
