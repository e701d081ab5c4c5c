"""The automatic window: percentiles of the modality values of all shown slices."""

from __future__ import annotations

import math
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.image import Contrast, Window
from dicom_series_preview.pixels.contrast.counts import BLOCK, Counts, Histogram, percentile
from dicom_series_preview.pixels.contrast.modality import modality_values, padding_mask, padding_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW, _HIGH = 2.0, 98.0
# The most distinct values to count, which limits the memory.
_DISTINCT = 1 << 19


class AutoWindow:
    """Collects the values of slices, one at a time, and returns their pooled window.

    Integers of up to 16 bits are counted by stored value, other samples by modality value, so that the memory
    depends on the distinct values, not on the pixels. Up to `distinct` values the result is exact; for more,
    see `Counts`. The order of slices does not matter. Padding, NaN and infinities are left out. One thread
    may add; afterwards, several may read.

    Args:
        distinct: The most distinct values to count.
    """

    def __init__(self, distinct: int = _DISTINCT) -> None:
        self._distinct = distinct
        self._histograms: dict[Contrast, Histogram] = {}
        self._values = Counts(distinct)
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
            histogram = self._histograms.setdefault(rescale, Histogram())
            histogram.add(flat, padding_range(samples.dtype, contrast))
            if sum(each.stored.size for each in self._histograms.values()) > self._distinct:
                self._fold()
            return
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK]
            mask = padding_mask(block, contrast)
            kept = block if mask is None else block[~mask]
            values = modality_values(kept, contrast).astype(np.float64)
            self._values.add(*np.unique(values[np.isfinite(values)], return_counts=True))

    def percentiles(self, *percents: float) -> tuple[float, ...] | None:
        """Return percentiles of all values added, equal to `numpy.percentile` of all of them.

        Returns:
            One value for each percent, or None if only padding was added.
        """
        with self._lock:
            if self._pooled is None:
                self._fold()
                values, counts = self._values.merged()
                self._pooled = values, np.cumsum(counts)
            values, ends = self._pooled
        if not values.size:
            return None
        return tuple(percentile(values, ends, percent) for percent in percents)

    def window(self) -> Window | None:
        """Return the window from the 2nd to the 98th percentile; None if only padding was added.

        Equal percentiles fall back to the minimum and maximum; a single value is shown as black.
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
        """Merge the counts of stored values into the counts of modality values."""
        for rescale, histogram in self._histograms.items():
            modality = modality_values(histogram.stored, rescale).astype(np.float64)
            finite = np.isfinite(modality)
            self._values.add(modality[finite], histogram.counts[finite])
        self._histograms.clear()
