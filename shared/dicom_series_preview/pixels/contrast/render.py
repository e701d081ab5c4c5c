"""Render one frame's stored values to display values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.pixels.contrast.modality import modality_values, padding_mask
from dicom_series_preview.pixels.contrast.voi import linear, linear_exact, sigmoid, voi_lut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import Contrast, PixelDescription
    from dicom_series_preview.pixels.contrast.resolve import Applied
    from dicom_series_preview.pixels.decoded import Decoded

# Samples to look up at once: their indices are 8 times as large.
_BLOCK = 1 << 18
_WINDOWS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


def render(
    decoded: Decoded, pixels: PixelDescription, contrast: Contrast, applied: Applied
) -> NDArray[np.uint8]:
    """Render one grey frame to display values.

    Integers go through a table from the lowest to the highest stored value, if that is less work; the result
    is the same either way.

    Args:
        decoded: The frame, shape (rows, columns).
        pixels: The frame's layout.
        contrast: Its instance's own contrast.
        applied: The result of `resolve` for it.

    Returns:
        Shape (rows, columns), 0..255; padding, and NaN in float images, are 0 in every photometric
        interpretation.

    Raises:
        DecodeError: A lookup table is cut off.
    """
    samples = decoded.samples
    inverted = is_inverted(pixels, contrast)
    if samples.dtype.kind == "f" or samples.dtype.itemsize > 4:
        return _render(samples, contrast, applied, inverted=inverted)
    low, high = int(samples.min()), int(samples.max())
    if high - low >= samples.size:
        return _render(samples, contrast, applied, inverted=inverted)
    table = _render(np.arange(low, high + 1).astype(samples.dtype), contrast, applied, inverted=inverted)
    shown = np.empty(samples.shape, np.uint8)
    rows = max(1, _BLOCK // samples.shape[1])
    for row in range(0, len(samples), rows):
        index = np.subtract(samples[row : row + rows], low, dtype=np.intp)
        # Every index lies in the table; any mode but "raise" saves a copy.
        np.take(table, index, out=shown[row : row + rows], mode="wrap")
    return shown


def is_inverted(pixels: PixelDescription, contrast: Contrast) -> bool:
    """Return True where low values are shown bright.

    MONOCHROME1 means this, after the VOI transformation (PS3.3 C.7.6.3.1.2). PresentationLUTShape INVERSE in
    an image repeats it: it "shall be used if Photometric Interpretation is MONOCHROME1", and IDENTITY if it
    is MONOCHROME2 (DX Image Module, C.8.11.3). So with MONOCHROME1 it is no second inversion; with
    MONOCHROME2 it inverts; and IDENTITY with MONOCHROME1, a contradiction, does not override the attribute
    that every image must have.
    """
    return (
        pixels.photometric_interpretation == "MONOCHROME1"
        or contrast.presentation_lut_shape.upper() == "INVERSE"
    )


def _render(
    samples: NDArray[Any], contrast: Contrast, applied: Applied, *, inverted: bool
) -> NDArray[np.uint8]:
    if applied.function == "NONE":
        return np.zeros(samples.shape, np.uint8)
    values = modality_values(samples, contrast)
    if applied.lut is not None:
        shown = voi_lut(values, applied.lut)
    else:
        shown = _WINDOWS[applied.function](values, applied.center, applied.width)
    if inverted:
        np.subtract(255, shown, out=shown)
    mask = padding_mask(samples, contrast)
    if mask is not None:
        shown[mask] = 0
    return shown
