"""The VOI functions, from modality values to display values, 0..255 (PS3.3 C.11.2.1).

Every function computes in float64 and rounds half up, floor(y + 0.5), at its very end. It multiplies by 255
before dividing by the width: for integer values, centers and widths the result is then exact, halves
included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.lookup_tables import table_entries
from dicom_series_preview.pixels.contrast.modality import look_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import LookupTable

_MOST_BITS = 16


def linear(values: NDArray[Any], center: float, width: float) -> NDArray[np.uint8]:
    """Apply LINEAR (C.11.2.1.2.1): ((x - (c - 0.5)) / (w - 1) + 0.5), clipped; width 1 is a step at c - 0.5.

    Args:
        values: Modality values, any shape.
        center: WindowCenter.
        width: WindowWidth, >= 1.
    """
    if width == 1:
        return _step(values, center - 0.5)
    return _ramp(values, center - 0.5, width - 1)


def linear_exact(values: NDArray[Any], center: float, width: float) -> NDArray[np.uint8]:
    """Apply LINEAR_EXACT (C.11.2.1.3.2): ((x - c) / w + 0.5), clipped.

    Args:
        values: Modality values, any shape.
        center: WindowCenter.
        width: WindowWidth, > 0.
    """
    return _ramp(values, center, width)


def sigmoid(values: NDArray[Any], center: float, width: float) -> NDArray[np.uint8]:
    """Apply SIGMOID (C.11.2.1.3.1): 1 / (1 + exp(-4 (x - c) / w)).

    Args:
        values: Modality values, any shape.
        center: WindowCenter.
        width: WindowWidth, > 0.
    """
    with np.errstate(over="ignore"):  # exp overflows to infinity, whose reciprocal is the right 0
        levels = 255.0 / (1.0 + np.exp(-4.0 * (values.astype(np.float64) - center) / width))
    return _round(levels)


def voi_lut(values: NDArray[Any], table: LookupTable) -> NDArray[np.uint8]:
    """Apply a VOI LUT (C.11.2.1.1), scaling its range of 0..2^bits - 1 to 0..255.

    If an entry does not fit the descriptor's bits, or the declared number is impossible, the bits of the
    largest entry count.

    Raises:
        DecodeError: The table is cut off.
    """
    declared = table.bits if table.bits <= _MOST_BITS else 1
    bits = max(declared, int(table_entries(table).max()).bit_length(), 1)
    return _round(look_up(values, table) * 255.0 / ((1 << bits) - 1))


def _ramp(values: NDArray[Any], center: float, width: float) -> NDArray[np.uint8]:
    with np.errstate(over="ignore", invalid="ignore"):  # float images can hold infinities, which are clipped
        levels = np.subtract(values, center, dtype=np.float64)
        levels *= 255.0
        levels /= width
        levels += 127.5
    return _round(levels)


def _step(values: NDArray[Any], threshold: float) -> NDArray[np.uint8]:
    return np.where(values > threshold, np.uint8(255), np.uint8(0))


def _round(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Round half up and clip; NaN, which only float images have, becomes 0."""
    levels = np.floor(levels + 0.5)
    np.clip(levels, 0.0, 255.0, out=levels)
    np.nan_to_num(levels, copy=False, nan=0.0)
    return levels.astype(np.uint8)
