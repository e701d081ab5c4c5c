"""The automatic window: percentiles of the modality values of all slices shown."""

from __future__ import annotations

import math
import sys
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dicom_series_preview.base.image import Contrast, Window
from dicom_series_preview.pixels.contrast.modality import modality_values, padding_mask, padding_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Number = TypeVar("_Number", np.int64, np.float64)

_LOW, _HIGH = 2.0, 98.0
# Distinct values that are told apart, and values that are counted at once: what bounds the memory.
_DISTINCT = 1 << 19
_BLOCK = 1 << 18


class AutoWindow:
    """Collects the values of slices, one at a time, and gives their pooled window.

    Integers of up to 16 bits are counted by stored value, other samples by modality value, so that however
    many pixels are added, no more is kept than a number of distinct values. So many of them are exact; of
    more, see `_Counts`. The order in which slices are added changes nothing. Padding, NaN and infinities are
    left out. One thread may add; once it has, several may ask.

    Args:
        distinct: How many values are told apart.
    """

    def __init__(self, distinct: int = _DISTINCT) -> None:
        self._distinct = distinct
        self._histograms: dict[Contrast, _Histogram] = {}
        self._values = _Counts(distinct)
        self._pooled: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None
        self._lock = threading.Lock()

    def add(self, samples: NDArray[Any], contrast: Contrast) -> None:
        """Add one slice's stored values.

        Raises:
            DecodeError: The slice's modality LUT is cut off.
        """
        self._pooled = None
        flat = samples.reshape(-1)
        if samples.dtype.kind != "f" and samples.dtype.itemsize <= 2:
            rescale = Contrast(contrast.rescale_slope, contrast.rescale_intercept, contrast.modality_lut)
            histogram = self._histograms.setdefault(rescale, _Histogram())
            histogram.add(flat, padding_range(samples.dtype, contrast))
            if sum(each.stored.size for each in self._histograms.values()) > self._distinct:
                self._fold()
            return
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            mask = padding_mask(block, contrast)
            kept = block if mask is None else block[~mask]
            values = modality_values(kept, contrast).astype(np.float64)
            self._values.add(*np.unique(values[np.isfinite(values)], return_counts=True))

    def percentiles(self, *percents: float) -> tuple[float, ...] | None:
        """Percentiles of everything added, as `numpy.percentile` gives them for the values put end to end.

        Returns:
            One value for each percent, or None where nothing but padding was added.
        """
        with self._lock:
            if self._pooled is None:
                self._fold()
                values, counts = self._values.merged()
                self._pooled = values, np.cumsum(counts)
            values, ends = self._pooled
        if not values.size:
            return None
        return tuple(_percentile(values, ends, percent) for percent in percents)

    def window(self) -> Window | None:
        """The window from the 2nd to the 98th percentile, or None where nothing but padding was added.

        Equal percentiles fall back to the minimum and maximum; one value alone is shown as black.
        """
        found = self.percentiles(_LOW, _HIGH, 0.0, 100.0)
        if found is None:
            return None
        low, high, minimum, maximum = found
        if low == high:
            low, high = minimum, maximum
        width = min(high - low, sys.float_info.max)
        if width == 0:
            width = max(1.0, 4 * math.ulp(low))
        return Window(low + width / 2, width)

    def _fold(self) -> None:
        """Count stored values as what they mean."""
        for rescale, histogram in self._histograms.items():
            modality = modality_values(histogram.stored, rescale).astype(np.float64)
            finite = np.isfinite(modality)
            self._values.add(modality[finite], histogram.counts[finite])
        self._histograms.clear()


class _Histogram:
    """How often each stored value of up to 16 bits occurs.

    Attributes:
        stored: The values that occur, ascending.
        counts: How often each occurs.
    """

    def __init__(self) -> None:
        self.stored: NDArray[np.int64] = np.empty(0, np.int64)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, samples: NDArray[Any], padding: tuple[float, float] | None) -> None:
        """Count samples, in one dimension, save those in the range of padding."""
        lowest, size = int(samples.min()), int(samples.max()) - int(samples.min()) + 1
        counts = np.zeros(size, np.int64)
        for start in range(0, samples.size, _BLOCK):
            index = np.subtract(samples[start : start + _BLOCK], lowest, dtype=np.intp)
            counts += np.bincount(index, minlength=size)
        occurring = np.flatnonzero(counts)
        stored, counts = occurring + lowest, counts[occurring]
        if padding is not None:
            kept = (stored < padding[0]) | (stored > padding[1])
            stored, counts = stored[kept], counts[kept]
        stored, counts = np.concatenate((self.stored, stored)), np.concatenate((self.counts, counts))
        order = np.argsort(stored, kind="stable")
        self.stored, self.counts = _distinct(stored[order], counts[order])


class _Counts:
    """How often each of any number of float64 values occurs, in bounded memory.

    While no more than n values are distinct, exactly. Of more, every value is cut to a multiple of 2^e,
    towards zero, with the smallest e that leaves no more than n of them. A percentile then is less than 2^e
    off, and 2^e is less than 2 / (n - 2) of the range of all values, as more than n multiples of 2^(e-1) lie
    in it: of 2^19, a thousandth of a grey level if the range were the window.

    What is cut to 2^e and then to 2^(e+1) is what is cut to 2^(e+1) at once, and more values never leave
    fewer multiples: so e, and with it the result, depends on the values and not on the order they come in.

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
        """The distinct values in ascending order, and how often each occurs."""
        self._merge()
        return self._parts[0]

    def _merge(self) -> None:
        values = np.concatenate([part[0] for part in self._parts] or [np.empty(0)])
        counts = np.concatenate([part[1] for part in self._parts] or [np.empty(0, np.int64)])
        self._parts, self._waiting = [], 0
        order = np.argsort(values, kind="stable")  # which merges runs that are sorted already
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
        """Cut values to multiples of a power of two, towards zero; those beyond 2^53 of it all are."""
        if exponent is None:
            return values
        with np.errstate(over="ignore"):
            multiples = np.ldexp(values, -exponent)
        return np.where(np.abs(multiples) < 2**53, np.ldexp(np.trunc(multiples), exponent), values)


def _number(ascending: NDArray[Any]) -> int:
    """The number of distinct values."""
    return int(np.count_nonzero(ascending[1:] != ascending[:-1])) + 1


def _distinct(
    ascending: NDArray[_Number], counts: NDArray[np.int64]
) -> tuple[NDArray[_Number], NDArray[np.int64]]:
    """Each value once, and how often it occurs in all."""
    if not ascending.size:
        return ascending, counts
    first = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))
    return ascending[first], np.add.reduceat(counts, first)


def _percentile(values: NDArray[np.float64], ends: NDArray[np.int64], percent: float) -> float:
    """A percentile of counted values, step by step as numpy's `linear` method, so that not a bit differs.

    Args:
        values: Ascending values.
        ends: How many values there are up to and with each.
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
