"""Measure one slice's modality values on a sample of the same size for images of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.pixels.quality.thresholds import modality_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.pixels.quality.thresholds import Thresholds

SAMPLE = 9_973
"""The most values that are looked at, evenly spread: the largest prime below 10,000.

With a prime number of them, none of an image's columns has more than its share. Of 2048 x 2500 pixels, every
512th would come from four columns.
"""
_AIR_HU = -900.0
_MR_BACKGROUND = 0.001
_LEAST_FOREGROUND = 0.05
_FRAME = 0.1
_AT_END = 0.01


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was measured of one slice, in modality units; None where numbers are too large for it.

    Attributes:
        values: The number of values looked at: those of the foreground in the sample.
        percentile_low: The lower percentile.
        percentile_high: The upper percentile.
        dynamic_range: The distance between them.
        mean: The mean.
        std: The standard deviation.
        unique_ratio: The number of distinct values, as a share of the values.
        low_ratio: The share of values not above the lower percentile by more than 1 % of the range.
        high_ratio: The same at the upper percentile.
        border: The mean of the image's outer tenth less the mean of the rest; None where one has no value.
    """

    values: int
    percentile_low: float | None
    percentile_high: float | None
    dynamic_range: float | None
    mean: float | None
    std: float | None
    unique_ratio: float
    low_ratio: float
    high_ratio: float
    border: float | None


def measure(
    values: NDArray[Any], padding: NDArray[np.bool_] | None, modality: str, thresholds: Thresholds
) -> Metrics | None:
    """Measure a slice.

    Args:
        values: Modality values, (rows, columns), integers or floats. They stay as they are.
        padding: True where a value shows nothing, (rows, columns); or None.
        modality: See `foreground`.
        thresholds: Say which percentiles.

    Returns:
        None where no finite value shows anything.
    """
    if not values.size:
        return None
    sample = _finite(_sampled(values.reshape(-1) if padding is None else values[~padding]))
    if not sample.size and values.dtype.kind == "f":
        kept = np.isfinite(values) if padding is None else np.isfinite(values) & ~padding
        sample = _finite(_sampled(values[kept]))
    if not sample.size:
        return None
    with np.errstate(all="ignore"):  # overflow gives infinity, which is no metric
        shown = np.sort(foreground(sample, modality))
        low, high = np.percentile(shown, (thresholds.percentile_low, thresholds.percentile_high)).tolist()
        ends = np.array((low + _AT_END * (high - low), high - _AT_END * (high - low)))
        return Metrics(
            values=shown.size,
            percentile_low=_number(low),
            percentile_high=_number(high),
            dynamic_range=_number(high - low),
            mean=_number(shown.mean()),
            std=_number(shown.std()),
            unique_ratio=(int(np.count_nonzero(np.diff(shown))) + 1) / shown.size,
            low_ratio=int(np.searchsorted(shown, ends[0], side="right")) / shown.size,
            high_ratio=1 - int(np.searchsorted(shown, ends[1], side="left")) / shown.size,
            border=_border(values, padding),
        )


def foreground(sample: NDArray[np.float64], modality: str) -> NDArray[np.float64]:
    """Return the values that show something: not the air around a body, nor what MR has no signal from.

    Args:
        sample: Values, in one dimension, at least one.
        modality: `CT`: above -900 HU. `MR`: above a thousandth of the largest. Any other: all.

    Returns:
        All values where these are not more than 5 % of them.
    """
    name = modality_name(modality)
    if name == "CT":
        shown = sample[sample > _AIR_HU]
    elif name == "MR":
        shown = sample[sample > _MR_BACKGROUND * sample.max()]
    else:
        return sample
    return shown if shown.size > _LEAST_FOREGROUND * sample.size else sample


def _places(count: int) -> NDArray[np.intp]:
    """Return the places of the sample among so many values: all, or as many as `SAMPLE`, evenly spread."""
    if count <= SAMPLE:
        return np.arange(count)
    return (2 * np.arange(SAMPLE) + 1) * count // (2 * SAMPLE)


def _sampled(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sample of values in one dimension."""
    with np.errstate(all="ignore"):
        return values[_places(values.size)].astype(np.float64)


def _finite(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    return sample[np.isfinite(sample)]


def _border(values: NDArray[Any], padding: NDArray[np.bool_] | None) -> float | None:
    """Return the mean of the outer tenth of an image, on each side, less the mean of the rest, or None."""
    rows, columns = values.shape
    row, column = np.divmod(_places(values.size), columns)
    sample = values[row, column].astype(np.float64)
    kept = np.isfinite(sample)
    if padding is not None:
        kept &= ~padding[row, column]
    # Of the middles of pixels, so that the frame is as wide on all sides.
    is_inside = np.ones(kept.shape, np.bool_)
    for place, length in ((row, rows), (column, columns)):
        middle = (place + 0.5) / length
        is_inside &= (middle > _FRAME) & (middle < 1 - _FRAME)
    frame, rest = sample[kept & ~is_inside], sample[kept & is_inside]
    return _number(frame.mean() - rest.mean()) if frame.size and rest.size else None


def _number(value: float) -> float | None:
    """Return a number of Python; None where it is not finite, which JSON cannot tell."""
    return float(value) if math.isfinite(value) else None
