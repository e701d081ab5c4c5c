"""Convert stored values to modality values, and find padding (PS3.3 C.11.1, C.7.5.1.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.lookup_tables import table_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import Contrast, LookupTable


def modality_values(samples: NDArray[Any], contrast: Contrast) -> NDArray[Any]:
    """Apply the modality LUT, or else slope and intercept.

    Args:
        samples: Stored values, any shape.
        contrast: The instance's contrast for the frame.

    Returns:
        Float64 after a slope or an intercept: float32 has 24 bits, too few for 32-bit dose grids and for
        intercepts much larger than the slope. The table's uint16 after a modality LUT. The samples themselves
        if slope is 1 and intercept 0.

    Raises:
        DecodeError: The modality LUT is cut off.
    """
    if contrast.modality_lut is not None:
        return look_up(samples, contrast.modality_lut)
    if contrast.rescale_slope == 1.0 and contrast.rescale_intercept == 0.0:
        return samples
    values = samples.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # overflow gives infinity, which is clipped
        values *= contrast.rescale_slope
        values += contrast.rescale_intercept
    return values


def look_up(values: NDArray[Any], table: LookupTable) -> NDArray[np.uint16]:
    """Map values by a lookup table (C.11.1.1, C.11.2.1.1).

    Values below and above the table take the first and the last entry, fractions the nearest one, and NaN the
    first.

    Raises:
        DecodeError: The table is cut off.
    """
    entries = table_entries(table)
    first = table.first_value
    if values.dtype.kind == "f":
        values = np.floor(np.nan_to_num(np.clip(values, first, first + len(entries) - 1), nan=first) + 0.5)
    elif first > 0x7FFF and values.dtype.kind == "i" and values.dtype.itemsize <= 2:
        # The codestream says that the values are signed, but the header's word was read as unsigned.
        first -= 0x10000
    index = np.clip(values.astype(np.int64) - first, 0, len(entries) - 1)
    return entries[index]


def padding_range(dtype: np.dtype[Any], contrast: Contrast) -> tuple[float, float] | None:
    """Return the lowest and highest stored value that is padding, or None without declared padding.

    PixelPaddingRangeLimit can lie on either side of PixelPaddingValue (C.7.5.1.1.2). Integers that do not fit
    the samples' sign are bits read with the other sign, from headers of unknown VR: 63536 is -2000 in int16.
    """
    value, limit = contrast.pixel_padding_value, contrast.pixel_padding_range_limit
    if value is None:
        return None
    if limit is None:
        limit = value
    if dtype.kind != "f":
        value, limit = _as_stored(value, dtype), _as_stored(limit, dtype)
    return min(value, limit), max(value, limit)


def padding_mask(samples: NDArray[Any], contrast: Contrast) -> NDArray[np.bool_] | None:
    """Return True for samples that show nothing: declared padding and, in float images, NaN.

    Args:
        samples: Stored values, any shape.
        contrast: The instance's contrast for the frame.

    Returns:
        The samples' shape, or None without padding.
    """
    mask: NDArray[np.bool_] | None = None
    limits = padding_range(samples.dtype, contrast)
    if limits is not None:
        low, high = limits
        mask = samples == low if low == high else (samples >= low) & (samples <= high)
    if samples.dtype.kind == "f":
        missing = np.isnan(samples)
        mask = missing if mask is None else mask | missing
    return mask if mask is not None and mask.any() else None


def _as_stored(value: float, dtype: np.dtype[Any]) -> float:
    """Return an integer, reread with the sign of the samples."""
    info = np.iinfo(dtype)
    if info.min <= value <= info.max or not float(value).is_integer():
        return value
    wrapped = int(value) % (1 << info.bits)
    return wrapped - (1 << info.bits) if wrapped > info.max else wrapped
