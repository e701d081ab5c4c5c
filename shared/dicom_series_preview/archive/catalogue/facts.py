"""The geometry of a stack, in numbers: plane, spacing, gaps, duplicates, tilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.catalogue.dimensions import Dimension, dimensions_of
from dicom_series_preview.archive.index.arrow import coordinates
from dicom_series_preview.base.geometry import normal_of, plane_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.index import Index

# Spacings within this share of their median are regular.
_REGULAR = 0.01
# A step of so many median spacings is a gap: slices are missing in it.
_GAP = 1.5


@dataclass(frozen=True, slots=True)
class Gap:
    """A step between two locations in which slices are missing.

    Attributes:
        after: The slice before it, in display order among the locations, from 0.
        step_mm: The step, along the normal.
        missing: How many slices fit into it.
    """

    after: int
    step_mm: float
    missing: int


@dataclass(frozen=True, slots=True)
class StackFacts:
    """What the headers of a stack's slices say of its geometry.

    Attributes:
        stack: The stack's number.
        slices: Its slices.
        locations: The locations that they lie at.
        dimensions: What tells apart slices of one location.
        duplicates: Slices beyond the first at one location with the same values in all dimensions.
        plane: `axial`, `coronal`, `sagittal` or `oblique`; empty without an orientation.
        obliquity_deg: The angle between the slices' normal and the nearest axis of the patient, or None.
        tilt_deg: The angle between the normal and the line through the slices' corners, or None: 0 of a stack
            whose slices lie straight above each other, else a gantry's tilt or a drift.
        spacing_mm: The median step between locations along the normal, or None.
        is_regular: No step differs from the median by more than 1 %; None with fewer than two steps.
        gaps: The steps in which slices are missing.
        extent_mm: From the first location to the last along the normal, or None.
    """

    stack: int
    slices: int
    locations: int
    dimensions: tuple[Dimension, ...]
    duplicates: int
    plane: str
    obliquity_deg: float | None
    tilt_deg: float | None
    spacing_mm: float | None
    is_regular: bool | None
    gaps: tuple[Gap, ...]
    extent_mm: float | None

    @property
    def shape(self) -> str:
        """The dimensions in words, such as `slice x b-value`."""
        return " x ".join(["slice", *dict.fromkeys(one.axis.name for one in self.dimensions)])

    @property
    def missing(self) -> int:
        """Slices that are missing in gaps."""
        return sum(gap.missing for gap in self.gaps)


def facts_of(index: Index, number: int) -> StackFacts:
    """Measure a stack.

    Args:
        index: The series' index.
        number: The stack.

    Raises:
        KeyError: There is no such stack.
    """
    rows = index.stacks[number]
    places = index.sorted_stack(number).locations
    dimensions = dimensions_of(index, number)
    keys = set(zip(places.tolist(), *(one.coordinates for one in dimensions), strict=True))
    first = [int(rows[i]) for i in np.unique(places, return_index=True)[1]]
    cosines = index.table["ImageOrientationPatient"][int(rows[0])].as_py()
    normal = normal_of(np.array(cosines, float)) if cosines and None not in cosines else None
    corners = np.stack([coordinates(index.table["ImagePositionPatient"], i) for i in range(3)], axis=1)[first]
    known = normal is not None and len(first) > 0 and bool(np.isfinite(corners).all())
    along = corners @ normal if normal is not None and known else np.empty(0)
    steps = np.abs(np.diff(along))
    spacing = float(np.median(steps)) if len(steps) else None
    return StackFacts(
        stack=number,
        slices=len(rows),
        locations=len(first),
        dimensions=dimensions,
        duplicates=len(rows) - len(keys),
        plane="" if normal is None else plane_of(cosines),
        obliquity_deg=None if normal is None else _degrees(float(np.max(np.abs(normal)))),
        tilt_deg=_tilt(corners, normal) if normal is not None and known else None,
        spacing_mm=spacing,
        is_regular=_is_regular(steps, spacing),
        gaps=_gaps(steps, spacing),
        extent_mm=float(abs(along[-1] - along[0])) if known else None,
    )


def _degrees(cosine: float) -> float:
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _tilt(corners: NDArray[Any], normal: NDArray[Any]) -> float | None:
    """The angle between a normal and the line from the first corner to the last; None of one location."""
    line = corners[-1] - corners[0]
    length = float(np.linalg.norm(line))
    return _degrees(abs(float(line @ normal)) / length) if length else None


def _is_regular(steps: NDArray[Any], spacing: float | None) -> bool | None:
    if spacing is None or len(steps) < 2:
        return None
    return bool(np.all(np.abs(steps - spacing) <= _REGULAR * spacing))


def _gaps(steps: NDArray[Any], spacing: float | None) -> tuple[Gap, ...]:
    if not spacing:
        return ()
    missing = [(i, float(step), round(float(step) / spacing) - 1) for i, step in enumerate(steps)]
    return tuple(Gap(i, step, count) for i, step, count in missing if step > _GAP * spacing and count)
