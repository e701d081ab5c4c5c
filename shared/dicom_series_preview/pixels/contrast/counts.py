"""Count values in bounded memory, and read percentiles off the counts."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Number = TypeVar("_Number", np.int64, np.float64)

BLOCK = 1 << 18
"""Values to count at once, so that temporary arrays stay small."""


class Histogram:
    """The counts of stored values of up to 16 bits.

    Attributes:
        stored: The values that occur, ascending.
        counts: How often each occurs.
    """

    def __init__(self) -> None:
        self.stored: NDArray[np.int64] = np.empty(0, np.int64)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, samples: NDArray[Any], padding: tuple[float, float] | None) -> None:
        """Count samples, in one dimension, except those in the range of padding."""
        lowest, size = int(samples.min()), int(samples.max()) - int(samples.min()) + 1
        counts = np.zeros(size, np.int64)
        for start in range(0, samples.size, BLOCK):
            index = np.subtract(samples[start : start + BLOCK], lowest, dtype=np.intp)
            counts += np.bincount(index, minlength=size)
        occurring = np.flatnonzero(counts)
        stored, counts = occurring + lowest, counts[occurring]
        if padding is not None:
            kept = (stored < padding[0]) | (stored > padding[1])
            stored, counts = stored[kept], counts[kept]
        stored, counts = np.concatenate((self.stored, stored)), np.concatenate((self.counts, counts))
        order = np.argsort(stored, kind="stable")
        self.stored, self.counts = _distinct(stored[order], counts[order])


class Counts:
    """The counts of any number of float64 values, in bounded memory.

    Up to n distinct values the counts are exact. Beyond, every value is cut to a multiple of 2^e, towards
    zero, with the smallest e that leaves at most n of them. A percentile is then less than 2^e off, and 2^e
    is less than 2 / (n - 2) of the range of all values, as more than n multiples of 2^(e-1) lie in it: for n
    = 2^19, a thousandth of a grey level if the range were the window.

    Cutting to 2^e and then to 2^(e+1) equals cutting to 2^(e+1) at once, and more values never leave fewer
    multiples: so e, and with it the result, depends on the values and not on their order.

    Args:
        distinct: n.
    """

    def __init__(self, distinct: int) -> None:
        self._distinct = distinct
        self._parts: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
        self._waiting = 0
        self._exponent: int | None = None

    def add(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        """Add finite values and how often each occurs."""
        self._parts.append((values, counts))
        self._waiting += values.size
        if self._waiting > self._distinct:
            self._merge()

    def merged(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the distinct values in ascending order, and how often each occurs."""
        self._merge()
        return self._parts[0]

    def _merge(self) -> None:
        values = np.concatenate([part[0] for part in self._parts] or [np.empty(0)])
        counts = np.concatenate([part[1] for part in self._parts] or [np.empty(0, np.int64)])
        self._parts, self._waiting = [], 0
        order = np.argsort(values, kind="stable")  # merges runs that are already sorted
        values, counts = _distinct(self._cut(values[order], self._exponent), counts[order])
        if values.size > self._distinct:
            lowest = -1074 if self._exponent is None else self._exponent + 1
            candidates = range(lowest, 1024)
            at = bisect_left(candidates, -self._distinct, key=lambda e: -_number(self._cut(values, e)))
            self._exponent = candidates[at]
            values, counts = _distinct(self._cut(values, self._exponent), counts)
        self._parts = [(values, counts)]

    @staticmethod
    def _cut(values: NDArray[np.float64], exponent: int | None) -> NDArray[np.float64]:
        """Cut values to multiples of a power of two, towards zero; those beyond 2^53 of it already are."""
        if exponent is None:
            return values
        with np.errstate(over="ignore"):
            multiples = np.ldexp(values, -exponent)
        return np.where(np.abs(multiples) < 2**53, np.ldexp(np.trunc(multiples), exponent), values)


def _number(ascending: NDArray[Any]) -> int:
    """Count the distinct values."""
    return int(np.count_nonzero(ascending[1:] != ascending[:-1])) + 1


def _distinct(
    ascending: NDArray[_Number], counts: NDArray[np.int64]
) -> tuple[NDArray[_Number], NDArray[np.int64]]:
    """Return each value once, and its total count."""
    if not ascending.size:
        return ascending, counts
    first = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))
    return ascending[first], np.add.reduceat(counts, first)


def percentile(values: NDArray[np.float64], ends: NDArray[np.int64], percent: float) -> float:
    """Return a percentile of counted values, bit for bit as numpy's `linear` method.

    Args:
        values: Ascending values.
        ends: The cumulative counts, each value included.
        percent: 0..100.
    """
    position = (int(ends[-1]) - 1) * (percent / 100)
    below = math.floor(position)
    first, second = (
        float(values[np.searchsorted(ends, min(rank, int(ends[-1]) - 1), side="right")])
        for rank in (below, below + 1)
    )
    fraction = position - below
    if fraction >= 0.5:
        return second - (second - first) * (1 - fraction)
    return first + (second - first) * fraction
