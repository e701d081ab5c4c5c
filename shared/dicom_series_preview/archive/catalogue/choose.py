"""Choose the slices of a stack by their places along its dimensions, one place on each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.archive.catalogue.axes import AXES
from dicom_series_preview.base.errors import RequestError, quoted
from dicom_series_preview.base.settings import plain_digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.catalogue.at import At
    from dicom_series_preview.archive.catalogue.axes import Axis
    from dicom_series_preview.archive.catalogue.dimensions import Dimension

    IntArray = NDArray[np.int64]

# A value may be written with fewer digits than the header has: the nearest within 1 %, or 0.05 of its unit.
_SHARE, _STEP = 0.01, 0.05
_NONE = "none"
_SHORT = {"b": "b-value", "te": "echo time", "ti": "inversion time", "phase": "cardiac phase"}
_MOST_TOLD = 16


@dataclass(frozen=True, slots=True)
class Place:
    """The one value that is shown of a dimension.

    Attributes:
        dimension: The dimension.
        number: The value's place among the dimension's, from 0.
        among: The places of the values that could be shown, given the places on dimensions before.
        asked: It was asked for; else it is the first of those.
    """

    dimension: Dimension
    number: int
    among: tuple[int, ...]
    asked: bool

    @property
    def text(self) -> str:
        """The place as one asks for it, such as `echo time=20`."""
        return f"{self.dimension.axis.name}={label(self.dimension, self.number)}"

    @property
    def which(self) -> str:
        """Which of the values it is, in words, such as `the first of 3`; empty if there is no other."""
        number, count = self.among.index(self.number) + 1, len(self.among)
        which = "the first" if number == 1 else f"number {number}"
        return f"{which} of {count}" if count > 1 else ""

    @property
    def another(self) -> str:
        """The next place on the dimension, as one asks for it."""
        other = self.among[(self.among.index(self.number) + 1) % len(self.among)]
        return f"{self.dimension.axis.name}={label(self.dimension, other)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The slices at one place on each dimension but, at a single location, one.

    Attributes:
        slices: The chosen slices' places in the stack, in display order.
        places: The place on each dimension that is not run through.
        along: The dimension that the slices of a single location run along; None where they run over the
            locations.
    """

    slices: IntArray
    places: tuple[Place, ...]
    along: Dimension | None


def choose(locations: IntArray, dimensions: Sequence[Dimension], wanted: Sequence[At]) -> Choice:
    """Choose the slices at one place on each dimension: as asked, else at the first.

    The first place is that of the lowest value which as many locations have as any. Slices of a single
    location run along one dimension that was not asked for: along the one with an order, else the longest.
    Slices without a location are always chosen.

    Args:
        locations: Each slice's location, -1 for a slice without.
        dimensions: The stack's dimensions.
        wanted: The places asked for.

    Raises:
        RequestError: There is no such dimension, value or slice; the error lists those that there are.
    """
    asked = _asked(dimensions, wanted)
    if not dimensions:
        return Choice(np.arange(len(locations)), (), None)
    chosen = np.ones(len(locations), np.bool_)
    for number, place in asked.items():
        chosen &= _at(dimensions[number], place)
    places = {
        number: Place(dimensions[number], place, tuple(range(_length(dimensions[number]))), asked=True)
        for number, place in asked.items()
    }
    if not (chosen & (locations >= 0)).any():
        names = " and ".join(place.text for place in places.values())
        raise RequestError("at", f"no slice has {names}; leave one out, or choose another")
    free = [number for number in range(len(dimensions)) if number not in asked]
    along = _running(dimensions, free) if np.ptp(locations[locations >= 0]) == 0 else None
    for number in free:
        if number != along:
            places[number] = _first(dimensions[number], chosen, locations)
            chosen &= _at(dimensions[number], places[number].number)
    return Choice(
        slices=np.flatnonzero(chosen).astype(np.int64),
        places=tuple(places[number] for number in sorted(places)),
        along=None if along is None else dimensions[along],
    )


def label(dimension: Dimension, number: int) -> str:
    """Return a value of a dimension as people write it; a direction by its number, from 1."""
    value = dimension.values[number]
    if value is None:
        return _NONE
    if isinstance(value, tuple):
        return str(number + 1)
    return value if isinstance(value, str) else f"{value:.6g}"


def values_told(dimension: Dimension) -> str:
    """Return the values of a dimension in words, such as `20, 40, 60 ms`; the middle of many is left out."""
    values, axis = dimension.values, dimension.axis
    labels = [label(dimension, number) for number in range(len(values))]
    known = [value for value in values if value is not None]
    is_numbered = all(isinstance(value, (int, tuple)) for value in known)
    if is_numbered and len(known) > 2:
        labels = [f"{labels[0]} to {labels[len(known) - 1]}", *labels[len(known) :]]
    elif len(labels) > _MOST_TOLD:
        labels = [*labels[: _MOST_TOLD // 2], "...", *labels[-_MOST_TOLD // 2 :]]
    return _with_unit(", ".join(labels), axis)


def _with_unit(text: str, axis: Axis) -> str:
    return f"{text} {axis.unit}" if axis.unit and text != _NONE else text


def _asked(dimensions: Sequence[Dimension], wanted: Sequence[At]) -> dict[int, int]:
    """Return the places asked for, by the dimension's number."""
    asked: dict[int, int] = {}
    for at in wanted:
        number = _dimension(dimensions, at)
        if number in asked:
            raise RequestError("at", f"gives {dimensions[number].axis.name} twice")
        asked[number] = _place(dimensions[number], at)
    return asked


def _dimension(dimensions: Sequence[Dimension], at: At) -> int:
    """Return the number of the dimension that a place lies on.

    Raises:
        RequestError: The stack has no such dimension.
    """
    name = _plain(_SHORT.get(at.axis.casefold(), at.axis))
    names = [_names(one.axis) for one in dimensions]
    for number, one in enumerate(dimensions):
        if name in (_plain(one.axis.keyword), _plain(one.axis.name)):
            return number
    for number, known in enumerate(names):
        if name in known:
            return number
    if not dimensions:
        raise RequestError("at", f"{quoted(str(at))}: the stack has no dimension beside its slices")
    there = "; ".join(f"{one.axis.name} ({values_told(one)})" for one in dimensions)
    raise RequestError("at", f"{quoted(at.axis)} is no dimension of the stack; it has {there}")


def _names(axis: Axis) -> set[str]:
    """Return all names of an axis: those of each element that can tell it; `time` for any order."""
    names = {_plain(one.keyword) for one in AXES if one.name == axis.name}
    return names if axis.kind == "value" else {*names, "time"}


def _plain(name: str) -> str:
    """Return a name without case, spaces and signs."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _place(dimension: Dimension, at: At) -> int:
    """Return the place of the value that is asked for.

    Raises:
        RequestError: No value is near, or several fit.
    """
    values = dimension.values
    if at.value.casefold() == _NONE and None in values:
        return values.index(None)
    known = [value for value in values if value is not None]
    if isinstance(known[0], str):
        place = _of_words(known, at.value)
    else:
        numbers = [number + 1 if isinstance(value, tuple) else value for number, value in enumerate(known)]
        place = _nearest(numbers, at.value)
    if place is None:
        problem = f"{dimension.axis.name} has no {quoted(at.value)}; it has {values_told(dimension)}"
        raise RequestError("at", problem)
    return place


def _of_words(values: Sequence[str], text: str) -> int | None:
    """Return the place of the value with exactly some words, else of the only one that has them all."""
    words = set(text.casefold().replace(",", "\\").split("\\"))
    each = [set(value.casefold().split("\\")) for value in values]
    fitting = [number for number, one in enumerate(each) if one == words]
    fitting = fitting or [number for number, one in enumerate(each) if words <= one]
    return fitting[0] if len(fitting) == 1 else None


def _nearest(values: Sequence[float], text: str) -> int | None:
    """Return the place of the value nearest to a number; None where it is no number, or none is near."""
    try:
        number = float(plain_digits(text))
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    place = min(range(len(values)), key=lambda i: abs(values[i] - number))
    # Ranks and other whole numbers that follow each other are not rounded.
    near = max(_STEP, _SHARE * abs(values[place])) if isinstance(values[place], float) else _STEP
    return place if abs(values[place] - number) <= near else None


def _at(dimension: Dimension, place: int) -> NDArray[np.bool_]:
    """Return True for slices at a place, and for those that have none."""
    coordinates = np.array(dimension.coordinates, np.int64)
    is_there: NDArray[np.bool_] = (coordinates == place) | (coordinates < 0)
    return is_there


def _running(dimensions: Sequence[Dimension], free: Sequence[int]) -> int | None:
    """Return the number of the dimension that slices of one location run along."""

    def rank(number: int) -> tuple[bool, int]:
        return dimensions[number].axis.kind != "value", _length(dimensions[number])

    return max(free, key=rank) if free else None


def _length(dimension: Dimension) -> int:
    return len(dimension.values)


def _first(dimension: Dimension, chosen: NDArray[np.bool_], locations: IntArray) -> Place:
    """Return the first place on a dimension that as many locations of the chosen slices have as any."""
    coordinates = np.array(dimension.coordinates, np.int64)
    placed = chosen & (locations >= 0)
    pairs = {*zip(coordinates[placed].tolist(), locations[placed].tolist(), strict=True)}
    counts = np.bincount([place for place, _ in pairs], minlength=_length(dimension))
    among = tuple(np.flatnonzero(counts).tolist())
    return Place(dimension, int(np.argmax(counts)), among, asked=False)
