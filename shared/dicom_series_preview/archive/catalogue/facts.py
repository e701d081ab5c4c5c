"""The facts of a stack, in numbers: dimensions, plane, spacing, gaps, duplicates, tilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.catalogue.dimensions import Dimension, told_apart
from dicom_series_preview.archive.catalogue.spacing import Gap, Run, gaps_of, is_regular, runs_of, spacing_of
from dicom_series_preview.archive.index.arrow import coordinates
from dicom_series_preview.base.geometry import normal_of, plane_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.index import Index


@dataclass(frozen=True, slots=True)
class StackFacts:
    """What the headers of a stack's slices say of its dimensions and geometry.

    Attributes:
        stack: The stack's number.
        slices: Its slices.
        locations: The locations that they lie at; 0 where no slice has one (ultrasound, radiographs).
        without_location: Slices without a location.
        dimensions: What tells apart slices of one location.
        duplicates: Slices beyond the first at one location with the same values in all dimensions.
        duplicated: The locations with such slices, in display order, from 0.
        duplicates_differ_in: Elements that tell such slices apart, but at too few locations for a dimension.
        absent: Slices that are not there although their location is, and their values in all dimensions are
            at another location.
        plane: `axial`, `coronal`, `sagittal` or `oblique`; empty without an orientation.
        obliquity_deg: The angle between the slices' normal and the nearest axis of the patient, or None.
        tilt_deg: The angle between the normal and the line through the slices' corners, or None: 0 of a stack
            whose slices lie straight above each other, else a gantry's tilt or a drift.
        spacing_mm: The median step between locations along the normal (of an even number, the lower
            middle one), or None.
        is_regular: No step differs from the median by more than 1 %; None with fewer than two steps.
        runs: The steps from location to location: each spacing, from where to where.
        gaps: The steps in which slices are missing.
        extent_mm: From the first location to the last along the normal, or None.
    """

    stack: int
    slices: int
    locations: int
    without_location: int
    dimensions: tuple[Dimension, ...]
    duplicates: int
    duplicated: tuple[int, ...]
    duplicates_differ_in: tuple[str, ...]
    absent: int
    plane: str
    obliquity_deg: float | None
    tilt_deg: float | None
    spacing_mm: float | None
    is_regular: bool | None
    runs: tuple[Run, ...]
    gaps: tuple[Gap, ...]
    extent_mm: float | None

    @property
    def shape(self) -> str:
        """The dimensions in words, such as `slice x b-value`; `image` where no slice has a location."""
        first = "slice" if self.locations else "image"
        return " x ".join([first, *dict.fromkeys(one.axis.name for one in self.dimensions)])

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
    rows, stack = index.stacks[number], index.sorted_stack(number)
    placed = np.flatnonzero(stack.locations >= 0)
    places, first = np.unique(stack.locations[placed], return_index=True)
    apart = told_apart(index, number)
    dimensions = apart.dimensions
    cosines = index.table["ImageOrientationPatient"][int(rows[0])].as_py()
    normal = normal_of(np.array(cosines, float)) if cosines and None not in cosines else None
    corners = _corners(index, rows[placed[first]])
    is_placed_in_mm = index.table["PrimaryAxis"][int(rows[0])].as_py() != "I"
    positions = stack.positions[placed[first]] if is_placed_in_mm else np.empty(0)
    along = _along(positions, corners, normal)
    steps = np.abs(np.diff(along))
    runs = runs_of(steps)
    keys = _keys(stack.locations[placed], dimensions, placed)
    duplicates = _repeated(keys)
    return StackFacts(
        stack=number,
        slices=len(rows),
        locations=len(places),
        without_location=len(rows) - len(placed),
        dimensions=dimensions,
        duplicates=len(duplicates),
        duplicated=tuple(np.searchsorted(places, sorted(set(duplicates))).tolist()),
        duplicates_differ_in=apart.others,
        absent=len(places) * len({key[1:] for key in keys}) - len(set(keys)),
        plane="" if normal is None else plane_of(cosines),
        obliquity_deg=None if normal is None else _degrees(float(np.max(np.abs(normal)))),
        tilt_deg=None if normal is None else _tilt(corners, normal),
        spacing_mm=spacing_of(steps),
        is_regular=is_regular(steps),
        runs=runs,
        gaps=gaps_of(runs),
        extent_mm=float(abs(along[-1] - along[0])) if len(along) else None,
    )


def facts_document(index: Index, number: int) -> dict[str, Any]:
    """Return the facts of a stack as JSON values, units in the names.

    Args:
        index: The series' index.
        number: The stack.

    Raises:
        KeyError: There is no such stack.
    """
    return with_names(facts_of(index, number))


def with_names(facts: StackFacts) -> dict[str, Any]:
    """Return the facts of a stack as JSON values; see `facts_document`."""
    return {
        "stack": facts.stack,
        "shape": facts.shape,
        "slices": facts.slices,
        "locations": facts.locations,
        "without_location": facts.without_location,
        "dimensions": [
            {
                "name": one.axis.name,
                "element": one.axis.keyword,
                "unit": one.axis.unit,
                "values": list(one.values),
                "is_rank": one.axis.kind == "rank",
                "lacking_locations": [list(locations) for locations in one.lacking],
            }
            for one in facts.dimensions
        ],
        "duplicates": facts.duplicates,
        "duplicated_locations": list(facts.duplicated),
        "duplicates_differ_in": list(facts.duplicates_differ_in),
        "absent": facts.absent,
        "plane": facts.plane,
        "obliquity_deg": _rounded(facts.obliquity_deg),
        "tilt_deg": _rounded(facts.tilt_deg),
        "spacing_mm": _rounded(facts.spacing_mm),
        "is_regular": facts.is_regular,
        "spacings": [
            {
                "from_location": run.first,
                "to_location": run.last,
                "spacing_mm": _rounded(run.spacing_mm),
                "steps": run.steps,
            }
            for run in facts.runs
        ],
        "gaps": [
            {"after_location": gap.after, "step_mm": _rounded(gap.step_mm), "missing": gap.missing}
            for gap in facts.gaps
        ],
        "missing": facts.missing,
        "extent_mm": _rounded(facts.extent_mm),
    }


def _rounded(number: float | None) -> float | None:
    """Return a number without the digits that only arithmetic makes."""
    return None if number is None else round(number, 4) + 0.0


def _corners(index: Index, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the ImagePositionPatient of rows, (n, 3), NaN where one has none."""
    column = index.table["ImagePositionPatient"]
    return np.stack([coordinates(column, axis)[rows] for axis in range(3)], axis=1)


def _along(
    positions: NDArray[np.float64], corners: NDArray[np.float64], normal: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return each location's coordinate along the normal in mm; none where they are unknown.

    Without an orientation it is the coordinate on the stack's axis, without positions SliceLocation.
    """
    if normal is not None and np.isfinite(corners).all():
        along: NDArray[np.float64] = corners @ normal
        return along
    return positions if np.isfinite(positions).all() else np.empty(0)


def _degrees(cosine: float) -> float:
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _tilt(corners: NDArray[np.float64], normal: NDArray[np.float64]) -> float | None:
    """Return the angle between a normal and the line from the first corner to the last, or None."""
    if len(corners) < 2 or not np.isfinite(corners).all():
        return None
    line = corners[-1] - corners[0]
    length = float(np.linalg.norm(line))
    return _degrees(abs(float(line @ normal)) / length) if length else None


def _keys(
    locations: NDArray[np.int64], dimensions: tuple[Dimension, ...], placed: NDArray[np.intp]
) -> list[tuple[int, ...]]:
    """Return the location and the coordinates of each slice that has a location."""
    axes = [np.array(one.coordinates)[placed].tolist() for one in dimensions]
    return list(zip(locations.tolist(), *axes, strict=True))


def _repeated(keys: list[tuple[int, ...]]) -> list[int]:
    """Return the location of each slice whose key another had before."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for key in keys:
        if key in seen:
            found.append(key[0])
        seen.add(key)
    return found
