"""The choice of slices: turns positions and counts into a stack's indices, here and nowhere else.

A normalised position runs from 0, the first slice, to 1, the last, on one scale per stack:

1. space, where slices lie at several locations;
2. time, else instance number, where several slices share the only location;
3. the index otherwise.

Slices that the scale cannot place (without a position or a time that others have) have no normalised
position: only a slice offset, the whole range or a count over all slices reaches them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]

# Normalised positions closer than this are equal. It absorbs the rounding of decimal strings (1e-4 mm over
# 300 mm is 3e-7), lets a position printed with six decimals name its slice, and stays below half a step of
# 200,000 slices and below 0.01 mm in anything shorter than 10 m.
TOLERANCE = 1e-6

# Two locations (0.01 mm apart on the normal) are at least 0.01 / sqrt(3) mm apart on the axis closest to the
# normal, unless slices are also shifted in their plane. A smaller extent is no scale.
_SMALLEST_EXTENT_MM = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class SortedStack:
    """The facts about a stack's n slices, at least one, that choosing needs, in display order.

    Attributes:
        positions: float64 (n,), mm: the coordinate on the primary axis. NaN where a slice has none; these
            come last.
        locations: int64 (n,): number of the slice's location along the slice normal; positions within 0.01 mm
            share one. -1 where a slice has none.
        times: float64 (n,) each, in order of precedence: TriggerTime, TemporalPositionIdentifier,
            AcquisitionTime, ContentTime, InstanceCreationTime, each in its own unit that grows evenly
            (ms, a count, or seconds since midnight of the first day; never HHMMSS read as a number). NaN
            where missing.
        instance_numbers: float64 (n,): InstanceNumber (0020,0013). NaN where missing.

    Raises:
        ValueError: The arrays are empty or differ in length.
    """

    positions: FloatArray
    locations: IntArray
    times: tuple[FloatArray, ...]
    instance_numbers: FloatArray

    def __post_init__(self) -> None:
        shapes = {
            array.shape for array in (self.positions, self.locations, *self.times, self.instance_numbers)
        }
        if len(shapes) != 1 or self.positions.ndim != 1 or not self.positions.size:
            raise ValueError(f"a stack has at least one slice, and a value for each: {sorted(shapes)}")

    def __len__(self) -> int:
        return int(self.positions.size)

    @property
    def shares_locations(self) -> bool:
        """Several slices lie at one location."""
        return bool(np.any((np.diff(self.locations) == 0) & (self.locations[1:] >= 0)))

    def only(self, slices: IntArray) -> SortedStack:
        """Return some slices of the stack as a stack.

        Args:
            slices: int64 (k,), at least one, ascending.
        """
        times = tuple(values[slices] for values in self.times)
        return SortedStack(
            self.positions[slices], self.locations[slices], times, self.instance_numbers[slices]
        )


def normalised_positions(stack: SortedStack) -> FloatArray:
    """Return each slice's position on the stack's scale, 0 for the first and 1 for the last.

    Slices at one location share the coordinate of their first. Where slices are also shifted in their plane,
    a coordinate can lie beyond the first and last slice's, and so outside 0..1.

    Returns:
        float64 (n,), NaN where the scale does not place a slice.
    """
    located = (stack.locations >= 0) & np.isfinite(stack.positions)
    if np.count_nonzero(located) < 2:
        # A single position among slices without any is no scale: use the index.
        return _evenly(len(stack))
    members = np.flatnonzero(located)
    normalised = np.full(len(stack), np.nan)
    normalised[members] = _scale(stack, members)
    return normalised


def at_position(stack: SortedStack, position: float, slice_offset: int = 0) -> int:
    """Return the index of the slice nearest to a normalised position, moved by an offset.

    Ties (within `TOLERANCE`) and shared locations go to the lower index.

    Args:
        stack: The stack.
        position: 0 (first slice) to 1 (last slice).
        slice_offset: Slices to move on in display order; negative moves back.

    Raises:
        RequestError: The position is outside 0..1, or the offset leads past an end.
    """
    _require_normalised("position", position)
    index = _nearest(np.abs(normalised_positions(stack) - position))
    lowest, highest = -index, len(stack) - 1 - index
    if not lowest <= slice_offset <= highest:
        raise RequestError(
            "slice_offset",
            f"{slice_offset} leads past the end of the stack; from position {position:g} (slice {index} of "
            f"0..{len(stack) - 1}) it can be {lowest} to {highest}",
        )
    return index + slice_offset


def in_range(stack: SortedStack, start: float = 0.0, end: float = 1.0) -> IntArray:
    """Return the indices of slices whose normalised position lies in [start, end], widened by `TOLERANCE`.

    The whole range, 0 to 1, has every slice, with or without a position.

    Args:
        stack: The stack.
        start: 0 to 1.
        end: 0 to 1, not below start.

    Returns:
        int64 (k,), ascending, at least one.

    Raises:
        RequestError: A bound is outside 0..1, start is greater than `end`, or no slice lies in between.
    """
    _require_normalised("start", start)
    _require_normalised("end", end)
    if start > end:
        raise RequestError("start", f"{start:g} is greater than `end`, {end:g}")
    if start == 0 and end == 1:
        return np.arange(len(stack), dtype=np.int64)
    normalised = normalised_positions(stack)
    distance = np.maximum(start - normalised, normalised - end)
    chosen = np.flatnonzero(distance <= TOLERANCE).astype(np.int64)
    if not chosen.size:
        nearest = _nearest(distance)
        raise RequestError(
            "start",
            f"no slice lies from {start:g} to {end:g}; the nearest is slice {nearest} of "
            f"0..{len(stack) - 1}, at {normalised[nearest]:.6f}",
        )
    return chosen


def spread(count: int, tiles: int) -> list[int]:
    """Choose the slices out of `count` that fill `tiles` tiles evenly, first and last included.

    Tile i shows round(i * (count - 1) / (tiles - 1)); a half rounds up, in integers throughout, so that
    neither floats nor banker's rounding decide. Steps are at least 1, so no slice appears twice. One tile
    shows the middle, the lower of two, as position 0.5 does.

    Returns:
        Ascending indices, min(count, tiles) of them.

    Raises:
        ValueError: The count is negative, or there is no tile.
    """
    if count < 0 or tiles < 1:
        raise ValueError(f"cannot spread {count} slices over {tiles} tiles")
    if count <= tiles:
        return list(range(count))
    if tiles == 1:
        return [(count - 1) // 2]
    steps = tiles - 1
    return [(2 * tile * (count - 1) + steps) // (2 * steps) for tile in range(tiles)]


def numbers_told(numbers: Sequence[int], most: int) -> str:
    """Write ascending numbers, those that follow each other as `3 to 6`.

    Args:
        numbers: The numbers.
        most: How many runs to write; `...` stands for the rest.
    """
    runs: list[list[int]] = []
    for number in numbers:
        if not runs or number != runs[-1][1] + 1:
            runs.append([number, number])
        runs[-1][1] = number
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in runs]
    return ", ".join(texts[:most]) + (" ..." if len(texts) > most else "")


def _scale(stack: SortedStack, members: npt.NDArray[np.intp]) -> FloatArray:
    """Return the normalised positions of members that all have one, on the first scale that applies."""
    _, first, location = np.unique(stack.locations[members], return_index=True, return_inverse=True)
    if first.size > 1:
        coordinates = stack.positions[members][first][location]
        if abs(coordinates[-1] - coordinates[0]) < _SMALLEST_EXTENT_MM:
            return _evenly(members.size)
        return _between(coordinates, coordinates[0], coordinates[-1])
    for values in (*stack.times, stack.instance_numbers):
        known = values[members]
        finite = known[np.isfinite(known)]
        if finite.size and finite.min() < finite.max():
            return _between(known, finite.min(), finite.max())
    return _evenly(members.size)


def _between(values: FloatArray, first: np.float64, last: np.float64) -> FloatArray:
    """Scale values from first (0) to last (1); NaN for those that are not finite."""
    return np.where(np.isfinite(values), (values - first) / (last - first), np.nan)


def _evenly(count: int) -> FloatArray:
    return np.arange(count, dtype=np.float64) / max(count - 1, 1)


def _nearest(distance: FloatArray) -> int:
    """Return the lowest index with the smallest distance, within the tolerance."""
    return int(np.flatnonzero(distance <= np.nanmin(distance) + TOLERANCE)[0])


def _require_normalised(parameter: str, value: float) -> None:
    if math.isnan(value) or not 0 <= value <= 1:
        raise RequestError(parameter, f"must be a number from 0 to 1, not {value:g}")
