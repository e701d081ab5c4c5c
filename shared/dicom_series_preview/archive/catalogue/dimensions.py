"""Find the dimensions of a stack: which elements tell apart the slices that lie at one location."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.catalogue.axes import AXES, Axis
from dicom_series_preview.archive.catalogue.elements import Elements
from dicom_series_preview.archive.index.damage import damage_told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.index import Index

    IntArray = NDArray[np.int64]

# A number or a clock is a dimension if it varies at this share of the locations, or more; at fewer, some
# locations have slices too many. An element with a meaning is one wherever it varies, if this share of the
# locations has one value.
_LOCATIONS = 0.5
# The axes of two times that a series can run over at once.
_IN_TIME = frozenset(("trigger time", "time", "acquisition"))
# Between two points in time lies a gap so many times as long as any within one.
_APART = 1.5


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of a stack beside its locations.

    Attributes:
        axis: The axis that it runs along; without a unit, and of kind `rank`, where its values are ranks.
        values: Its values in ascending order; None, the last, stands for slices without one. 1, 2, 3 ... of
            an axis that only ranks.
        coordinates: Each slice's value, as a place in `values`, in display order; -1 for a slice without a
            location.
        lacking: For each value, the locations that have no slice with it, in display order, from 0.
    """

    axis: Axis
    values: tuple[Any, ...]
    coordinates: tuple[int, ...]
    lacking: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Apart:
    """What tells apart slices that share a location.

    Attributes:
        dimensions: The dimensions.
        others: Elements that tell apart slices with one place on each dimension, but are no dimension, as
            they do so at too few locations.
    """

    dimensions: tuple[Dimension, ...] = ()
    others: tuple[str, ...] = ()


def dimensions_of(index: Index, number: int) -> tuple[Dimension, ...]:
    """Return the dimensions of a stack; see `told_apart`."""
    return told_apart(index, number).dimensions


def told_apart(index: Index, number: int) -> Apart:
    """Find what tells apart the slices of a stack that share a location.

    An element is a dimension if it tells slices apart that the dimensions before it do not. Elements with a
    meaning come first, wherever they vary, if half of the locations have one value; one with an order does
    the rest, if it varies at half of the locations.

    Args:
        index: The series' index.
        number: The stack.

    Returns:
        No dimensions where no two slices share a location, or no element tells them apart.

    Raises:
        KeyError: There is no such stack.
        DamagedIndexError: The index has elements that none can have.
    """
    rows, all_locations = index.stacks[number], index.sorted_stack(number).locations
    placed = np.flatnonzero(all_locations >= 0)
    locations = np.unique(all_locations[placed], return_inverse=True)[1].astype(np.int64)
    if not len(placed) or _count(locations) == len(locations):
        return Apart()
    with damage_told("the elements of its slices"):
        found, others = _Search(Elements(index, rows[placed].tolist()), locations).found()
    dimensions = (
        Dimension(one.axis, one.values, _spread(one.places, placed, len(rows)), _lacking(one, locations))
        for one in found
    )
    return Apart(tuple(dimensions), others)


@dataclass(frozen=True, slots=True)
class _Found:
    """A dimension of the slices that have a location: its values, and each slice's place in them."""

    axis: Axis
    values: tuple[Any, ...]
    places: IntArray


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for dimensions: the slices' elements, and the number of each slice's location."""

    elements: Elements
    locations: IntArray

    def found(self) -> tuple[list[_Found], tuple[str, ...]]:
        """Return the dimensions, those with a meaning first, and what else tells slices apart."""
        found, groups = [], self.locations
        for axis in AXES:
            if axis.kind == "value" and _count(groups) < len(groups):
                one = self._along(axis, groups)
                if one is not None and self._splits(groups, one):
                    found.append(one)
                    groups = _together(groups, one.places)
        if _count(groups) == len(groups):
            return found, ()
        ranked = [self._along(axis, groups) for axis in AXES if axis.kind != "value"]
        orders = [one for one in ranked if one is not None and self._splits(groups, one)]
        chosen = self._two_numbers(orders, groups) or self._most_telling(orders, groups)
        for one in chosen:
            groups = _together(groups, one.places)
        found += chosen
        return found, self._others(groups) if _count(groups) < len(groups) else ()

    def _along(self, axis: Axis, groups: IntArray) -> _Found | None:
        """Return the dimension along an axis; None where it tells nothing, or does not order all slices."""
        values = self.elements.values(axis.element)
        if values is None or (axis.kind != "value" and None in values):
            return None
        known, places = _ordered(values)
        if len(known) < 2:
            return None
        if axis.kind == "value":
            return _Found(axis, _named(known), places)
        ranks = _ranks(groups, places)
        count = int(ranks.max()) + 1
        if axis.kind == "number" and len(known) == count:
            return _Found(axis, known, places)
        ranks = _aligned(groups, known, places, ranks)
        # A rank has no unit.
        ranked = replace(axis, kind="rank", unit="")
        return _Found(ranked, tuple(range(1, count + 1)), ranks) if count > 1 else None

    def _splits(self, groups: IntArray, one: _Found) -> bool:
        """Return True where places on an axis tell slices apart at enough locations."""
        before, after = (self._groups_at_locations(each) for each in (groups, _together(groups, one.places)))
        share = np.mean(after > before)
        if share >= _LOCATIONS or not share or not one.axis.has_meaning:
            return bool(share >= _LOCATIONS)
        # Values that differ from location to location would make pictures of few slices.
        present = len(before) - np.array([len(each) for each in _lacking(one, self.locations)])
        return bool(present.max() >= _LOCATIONS * len(before))

    def _most_telling(self, orders: Sequence[_Found], groups: IntArray) -> list[_Found]:
        return [max(orders, key=lambda one: _count(_together(groups, one.places)))] if orders else []

    def _two_numbers(self, orders: Sequence[_Found], groups: IntArray) -> list[_Found]:
        """Return two orders that tell all slices apart as a whole grid, such as gates of frames in time."""
        for one in orders:
            within = _together(groups, one.places)
            if one.axis.kind != "number" or not one.axis.has_meaning or _count(within) == len(within):
                continue
            for axis in AXES:
                is_other = axis.kind != "value" and axis.name in _IN_TIME - {one.axis.name}
                other = self._along(axis, within) if is_other else None
                if other is None or _count(_together(within, other.places)) < len(within):
                    continue
                if len(one.values) * len(other.values) * _count(groups) == len(groups):
                    return [one, other]
        return []

    def _others(self, groups: IntArray) -> tuple[str, ...]:
        """Return the elements that tell slices of a group apart."""
        found: dict[str, None] = {}
        for axis in AXES:
            values = self.elements.values(axis.element)
            if values is not None and _count(_together(groups, _ordered(values)[1])) > _count(groups):
                found[axis.keyword] = None
        return tuple(found)

    def _groups_at_locations(self, groups: IntArray) -> IntArray:
        """Return how many groups each location has."""
        first = np.unique(groups, return_index=True)[1]
        return np.bincount(self.locations[first], minlength=_count(self.locations)).astype(np.int64)


def _count(groups: IntArray) -> int:
    """Return the number of groups, which are numbered from 0."""
    return int(groups.max()) + 1


def _together(groups: IntArray, places: IntArray) -> IntArray:
    """Return the groups of slices that share a group and a place."""
    pairs = groups * (int(places.max()) + 1) + places
    together: IntArray = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    return together


def _ordered(values: Sequence[Any]) -> tuple[tuple[Any, ...], IntArray]:
    """Return the different values in ascending order, None last, and the place of each slice's."""
    different = set(values)
    known = (*sorted(different - {None}), *({None} & different))
    place_of = {value: place for place, value in enumerate(known)}
    return known, np.array([place_of[value] for value in values], np.int64)


def _ranks(groups: IntArray, places: IntArray) -> IntArray:
    """Return the rank, from 0, of each slice's place among the different ones of its group."""
    order = np.lexsort((places, groups))
    is_new_group = np.diff(groups[order], prepend=-1) > 0
    is_new = is_new_group | (np.diff(places[order], prepend=-1) != 0)
    running = np.cumsum(is_new)
    first_of_group = np.maximum.accumulate(np.where(is_new_group, running, 0))
    ranks = np.empty(len(groups), np.int64)
    ranks[order] = running - first_of_group
    return ranks


def _aligned(groups: IntArray, known: Sequence[float], places: IntArray, ranks: IntArray) -> IntArray:
    """Return ranks that are those of all groups together, where their values show which belong together.

    A group that lacks its first value would have ranks of its own: others' second would be its first. The
    values of all groups fall into as many points in time as the largest group has ranks, if the gaps between
    points are the widest by far, and no group has two values in one point; else the ranks stay.
    """
    count = int(ranks.max()) + 1
    in_each = np.unique(np.stack([groups, ranks]), axis=1).shape[1]
    gaps = np.diff(np.array(known, np.float64))
    if count < 2 or in_each == count * _count(groups) or len(gaps) < count:
        return ranks
    widest = np.argsort(gaps, kind="stable")[::-1]
    between, within = widest[: count - 1], widest[count - 1 :]
    if not gaps[between].min() > _APART * gaps[within].max():
        return ranks
    point_of = np.zeros(len(known), np.int64)
    point_of[between + 1] = 1
    points = np.cumsum(point_of)[places]
    values_in_each = np.unique(np.stack([groups, places]), axis=1).shape[1]
    points_in_each = np.unique(np.stack([groups, points]), axis=1).shape[1]
    return points if values_in_each == points_in_each else ranks


def _named(values: tuple[Any, ...]) -> tuple[Any, ...]:
    r"""Return values as people name them: code strings by the words that only some have, like `M\ND`."""
    words = [value for value in values if isinstance(value, tuple) and isinstance(value[0], str)]
    if not words:
        return values
    common = set(words[0]).intersection(*words[1:])
    short = ["\\".join(word for word in one if word not in common) for one in words]
    if not all(short) or len(set(short)) < len(short):
        short = ["\\".join(one) for one in words]
    return (*short, *values[len(words) :])


def _lacking(one: _Found, locations: IntArray) -> tuple[tuple[int, ...], ...]:
    """Return the locations without a slice at each place of a dimension."""
    has = np.zeros((len(one.values), _count(locations)), np.bool_)
    has[one.places, locations] = True
    return tuple(tuple(np.flatnonzero(~row).tolist()) for row in has)


def _spread(places: IntArray, placed: NDArray[np.intp], count: int) -> tuple[int, ...]:
    """Return the places of slices that have a location among all slices, -1 for the others."""
    coordinates = np.full(count, -1, np.int64)
    coordinates[placed] = places
    return tuple(coordinates.tolist())
