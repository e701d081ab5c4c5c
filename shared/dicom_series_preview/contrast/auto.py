"""The automatic window: percentiles of the modality values of all slices shown."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.contrast.modality import modality_values, padding_mask, padding_range
from dicom_series_preview.headers.image import Contrast, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW, _HIGH = 2.0, 98.0


class AutoWindow:
    """Collects the values of slices, one at a time, and gives their pooled window.

    Integers of up to 16 bits are counted by stored value: however many pixels are added, no more is kept than
    each rescale's distinct values. Other samples are kept as they are. Padding, NaN and infinities are left
    out.
    """

    def __init__(self) -> None:
        self._histograms: dict[Contrast, _Histogram] = {}
        self._values: list[NDArray[np.float64]] = []
        self._pooled: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None

    def add(self, samples: NDArray[Any], contrast: Contrast) -> None:
        """Add one slice's stored values.

        Raises:
            DecodeError: The slice's modality LUT is cut off.
        """
        self._pooled = None
        if samples.dtype.kind != "f" and samples.dtype.itemsize <= 2:
            rescale = Contrast(contrast.rescale_slope, contrast.rescale_intercept, contrast.modality_lut)
            histogram = self._histograms.setdefault(rescale, _Histogram())
            histogram.add(samples, padding_range(samples.dtype, contrast))
            return
        mask = padding_mask(samples, contrast)
        kept = samples if mask is None else samples[~mask]
        values = modality_values(kept.reshape(-1), contrast).astype(np.float64)
        self._values.append(values[np.isfinite(values)])

    def percentiles(self, *percents: float) -> tuple[float, ...] | None:
        """Percentiles of everything added, as `numpy.percentile` gives them for the values put end to end.

        Returns:
            One value for each percent, or None where nothing but padding was added.
        """
        if self._pooled is None:
            self._pooled = self._pool()
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

    def _pool(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """All modality values in ascending order, and how many there are up to and with each."""
        values = list(self._values)
        counts = [np.ones(part.size, np.int64) for part in values]
        for rescale, histogram in self._histograms.items():
            modality = modality_values(histogram.stored, rescale).astype(np.float64)
            finite = np.isfinite(modality)
            values.append(modality[finite])
            counts.append(histogram.counts[finite])
        if not values:
            return np.empty(0), np.empty(0, np.int64)
        pooled = np.concatenate(values)
        order = np.argsort(pooled)
        return pooled[order], np.cumsum(np.concatenate(counts)[order])


class _Histogram:
    """How often each stored value of up to 16 bits, of either sign, occurs.

    Attributes:
        stored: The values that occur, ascending.
        counts: How often each occurs.
    """

    _LOWEST, _SIZE = -(1 << 15), (1 << 15) + (1 << 16)

    def __init__(self) -> None:
        self.stored: NDArray[np.int64] = np.empty(0, np.int64)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, samples: NDArray[Any], padding: tuple[float, float] | None) -> None:
        """Count samples, save those in the range of padding."""
        index = np.subtract(samples, self._LOWEST, dtype=np.intp).reshape(-1)
        counts = np.bincount(index, minlength=self._SIZE)
        if padding is not None:
            low, high = (int(np.clip(limit - self._LOWEST, -1, self._SIZE)) for limit in padding)
            counts[max(low, 0) : high + 1] = 0
        counts[self.stored - self._LOWEST] += self.counts
        occurring = np.flatnonzero(counts)
        self.stored, self.counts = occurring + self._LOWEST, counts[occurring]


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
