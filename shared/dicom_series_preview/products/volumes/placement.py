"""The place of a volume in the patient: its affine, proved against every frame's own corners.

Array indices are (column, row, slice); coordinates are millimetres in RAS, DICOM's patient coordinates
(PS3.3 C.7.6.2.1.1) with x and y negated. Nothing is resampled: the step from slice to slice may be sheared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.archive.catalogue.spacing import gaps_of, runs_of
from dicom_series_preview.base.errors import counted
from dicom_series_preview.base.geometry import AXES
from dicom_series_preview.products.volumes.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

# A frame may lie so far from the volume's grid, or this share of the step between slices.
_FARTHEST_MM, _FARTHEST_SHARE = 0.1, 0.05
ROUNDED_MM = 0.01
"""Beyond this a warning tells how far."""
SHEARED_DEG = 0.1
"""Beyond this the step leaves the normal by more than rounding: a gantry's tilt."""
# Cosines whose length is off by more than their digits are not used as lengths.
_LEAST_EXACT = 0.01
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ENDS = ("RL", "AP", "SI")


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """The place of a volume.

    Attributes:
        affine: float64 (4, 4): takes (column, row, slice) to RAS millimetres.
        deviation_mm: The largest distance between a frame's corner and the affine's.
        tilt_deg: The angle between the step from slice to slice and the slices' normal.
    """

    affine: FloatArray
    deviation_mm: float
    tilt_deg: float

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The lengths of the affine's columns: between columns, rows, slices."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def is_sheared(self) -> bool:
        """True where the slices do not lie straight above each other."""
        return self.tilt_deg > SHEARED_DEG

    @property
    def letters(self) -> str:
        """Where columns, rows and slices lead in the patient, such as `LPS`."""
        return letters_of(self.affine)


@dataclass(frozen=True, slots=True, eq=False)
class FramePlanes:
    """The planes of the frames of a grid.

    Attributes:
        positions: float64 (t, z, 3), mm: ImagePositionPatient.
        orientations: float64 (t, z, 6): ImageOrientationPatient.
        spacings: float64 (t, z, 2), mm: PixelSpacing, between rows and between columns.
        rows: Rows of each frame.
        columns: Columns of each frame.
        names: (z,) The first volume's frames, for messages.
    """

    positions: FloatArray
    orientations: FloatArray
    spacings: FloatArray
    rows: int
    columns: int
    names: Sequence[str]


def placed(planes: FramePlanes, thickness_mm: float | None = None) -> Placement | Refusal:
    """Find the affine of a grid of frames, and prove it: the corners of every frame must lie on it.

    The step is the line from the first location to the last, whatever SliceThickness and
    SpacingBetweenSlices say.

    Args:
        planes: The frames' planes, in display order.
        thickness_mm: The step of a grid with one location.
    """
    affine = _affine(planes, thickness_mm)
    deviation = float(_deviations(planes, affine).max())
    step = float(np.linalg.norm(affine[:3, 2]))
    if not deviation <= min(_FARTHEST_MM, _FARTHEST_SHARE * step):
        return _refused(planes, affine, deviation)
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    cosine = abs(float(normal @ affine[:3, 2])) / (float(np.linalg.norm(normal)) * step)
    return Placement(_LPS_TO_RAS @ affine, deviation, float(np.degrees(np.arccos(min(1.0, cosine)))))


def deviations_mm(planes: FramePlanes, placement: Placement) -> FloatArray:
    """Return (t, z), mm: how far the farthest corner of each frame lies from where the affine has it."""
    return _deviations(planes, _LPS_TO_RAS @ placement.affine)


def letters_of(affine: FloatArray) -> str:
    """Return where each index of an affine leads: a letter of RL, AP and SI each, the closest axes."""
    axes, signs = closest_axes(affine)
    return "".join(_ENDS[axis][int(sign < 0)] for axis, sign in zip(axes, signs, strict=True))


def closest_axes(affine: FloatArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the patient's axis (0 right-left, 1, 2) that each index follows most, and its sign.

    The axes are those of the closest rotation, so that a shear decides nothing; each axis is taken once.

    Args:
        affine: (4, 4), to RAS millimetres.
    """
    matrix = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, sizes, right = np.linalg.svd(matrix)
    # A direction of no size would be noise.
    has_size = sizes > sizes.max() * len(sizes) * np.finfo(np.float64).eps
    rotation = left[:, has_size] @ right[has_size]
    axes, signs = [0, 0, 0], [1, 1, 1]
    left_over = np.abs(rotation)
    for column in np.argsort(-(rotation**2).max(axis=0), kind="stable").tolist():
        axis = int(np.argmax(left_over[:, column]))
        axes[column], signs[column] = axis, -1 if rotation[axis, column] < 0 else 1
        left_over[axis] = -1
    return tuple(axes), tuple(signs)


def _affine(planes: FramePlanes, thickness_mm: float | None) -> FloatArray:
    """Return the LPS affine of the first volume."""
    cosines = planes.orientations[0, 0].reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1, keepdims=True)
    if np.abs(lengths - 1).max() > _LEAST_EXACT:
        cosines = cosines / lengths
    row_spacing, column_spacing = planes.spacings[0, 0]
    first, last = planes.positions[0, 0], planes.positions[0, -1]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = cosines[0] * column_spacing, cosines[1] * row_spacing
    steps = planes.positions.shape[1] - 1
    if steps:
        affine[:3, 2] = (last - first) / steps
    else:
        normal = np.cross(cosines[0], cosines[1])
        affine[:3, 2] = normal / np.linalg.norm(normal) * (thickness_mm or 1.0)
    affine[:3, 3] = first
    return affine


def _deviations(planes: FramePlanes, affine: FloatArray) -> FloatArray:
    """Return (t, z), mm: how far the farthest corner of each frame lies from the affine's."""
    cosines = planes.orientations.reshape(*planes.orientations.shape[:2], 2, 3)
    lengths = np.linalg.norm(cosines, axis=3, keepdims=True)
    cosines = np.where(np.abs(lengths - 1) > _LEAST_EXACT, cosines / lengths, cosines)
    along_row = cosines[:, :, 0] * planes.spacings[:, :, 1:] * (planes.columns - 1)
    along_column = cosines[:, :, 1] * planes.spacings[:, :, :1] * (planes.rows - 1)
    slices = np.arange(planes.positions.shape[1])[:, np.newaxis]
    origin = affine[:3, 3] + slices * affine[:3, 2]
    row, column = affine[:3, 0] * (planes.columns - 1), affine[:3, 1] * (planes.rows - 1)
    base = planes.positions - origin
    off = [base + i * (along_row - row) + j * (along_column - column) for i in (0, 1) for j in (0, 1)]
    distances: FloatArray = np.linalg.norm(np.stack(off), axis=3).max(axis=0)
    return distances


def _refused(planes: FramePlanes, affine: FloatArray, deviation: float) -> Refusal:
    """Say why frames lie on no grid."""
    reach = max(planes.rows, planes.columns)
    if float(np.abs(planes.spacings - planes.spacings[0, 0]).max()) * reach > _FARTHEST_MM:
        pairs = np.unique(planes.spacings.reshape(-1, 2).round(6), axis=0)
        told = " and ".join(f"{one[0]:g} x {one[1]:g}" for one in pairs[:3].tolist())
        return Refusal("mixed_spacing", f"its frames have pixels of different sizes: {told} mm")
    turned = np.abs(planes.orientations - planes.orientations[0, 0]).max() * reach
    turned *= float(planes.spacings[0, 0].max())
    if turned > _FARTHEST_MM:
        return Refusal(
            "orientation_varies", "its slices are turned against each other: they are not parallel"
        )
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    along = planes.positions[0] @ (normal / np.linalg.norm(normal))
    return uneven(np.abs(np.diff(along)), planes.positions[0], planes.names, deviation)


def uneven(steps: FloatArray, positions: FloatArray, names: Sequence[str], deviation: float) -> Refusal:
    """Say how the steps between slices differ: which slices are missing, or which spacings there are.

    Args:
        steps: (z - 1,), mm, along the normal.
        positions: (z, 3), mm.
        names: (z,) What the slices are called.
        deviation: mm: how far a slice lies from where it would have to.
    """
    runs = runs_of(steps)
    gaps = gaps_of(runs)
    in_gaps = {gap.after for gap in gaps}
    usual = {round(run.spacing_mm, 3) for run in runs if not in_gaps.issuperset(range(run.first, run.last))}
    if gaps and len(usual) <= 1:
        missing, gap = sum(one.missing for one in gaps), gaps[0]
        axis = int(np.argmax(np.abs(positions[-1] - positions[0])))
        where = positions[gap.after, axis]
        more = f" (and in {counted(len(gaps) - 1, 'other gap')})" if len(gaps) > 1 else ""
        which = f"{missing} of {len(names) + missing} slices {'is' if missing == 1 else 'are'} missing"
        return Refusal(
            "missing_slices",
            f"{which}: after {names[gap.after]}, at {AXES[axis].lower()} = {where:g} mm{more}",
        )
    if len(runs) <= 3:
        told = ", then ".join(f"{counted(run.steps, 'step')} of {run.spacing_mm:.4g} mm" for run in runs)
        return Refusal("nonuniform_spacing", f"its slices are not evenly spaced: {told}")
    low, high = float(steps.min()), float(steps.max())
    told = f"steps of {low:.4g} to {high:.4g} mm, a slice {deviation:.3g} mm off an even grid"
    return Refusal("nonuniform_spacing", f"its slices are not evenly spaced: {told}")
