"""Convert stored values of colour images to 8-bit RGB (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.bits import stored_bits
from dicom_series_preview.pixels.codecs.palette import apply_palette

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.decoded import Decoded

_RETIRED = frozenset(("HSV", "ARGB", "CMYK"))
# JPEG 2000 decoders return RGB for these; no other pixels can have them.
_OF_JPEG_2000 = frozenset(("YBR_RCT", "YBR_ICT"))


def is_colour(pixels: PixelDescription) -> bool:
    """Return True for an image in colour, to which no window applies.

    A supplemental palette (C.7.6.19) goes with MONOCHROME2, and a window applies to its grey values.
    """
    return pixels.samples_per_pixel == 3 or pixels.photometric_interpretation == "PALETTE COLOR"


def to_rgb(decoded: Decoded, pixels: PixelDescription) -> NDArray[np.uint8]:
    """Convert the stored values of a colour image to RGB.

    Args:
        decoded: The result of `decode_frame` for `pixels`.
        pixels: The frame's layout.

    Returns:
        Shape (rows, columns, 3), 0..255.

    Raises:
        DecodeError: The colours are unknown: no palette, or a photometric interpretation that is retired or
            impossible for such pixels.
    """
    samples, photometric = decoded.samples, decoded.photometric_interpretation
    if pixels.samples_per_pixel == 1:
        if pixels.palette is None or photometric != "PALETTE COLOR" or samples.dtype.kind == "f":
            raise DecodeError("the image has no palette of colours")
        return apply_palette(samples, pixels.palette)
    if photometric in _RETIRED:
        raise DecodeError(f"the retired photometric interpretation {photometric} cannot be shown")
    if photometric == "YBR_PARTIAL_420":
        raise DecodeError("YBR_PARTIAL_420 is of video alone, and cannot be shown")
    if photometric in _OF_JPEG_2000:
        raise DecodeError(f"pixels that are not compressed as JPEG 2000 cannot be {photometric}")
    scaled = _to_eight_bits(samples, decoded.bits or stored_bits(pixels)[0])
    if not photometric.startswith("YBR"):
        return scaled
    return _ybr_to_rgb(scaled, full_range=not photometric.startswith("YBR_PARTIAL"))


def _to_eight_bits(samples: NDArray[Any], stored: int) -> NDArray[np.uint8]:
    """Scale the whole range of BitsStored to 0..255, rounding half up."""
    if samples.dtype == np.uint8 and stored == 8:
        return samples
    if samples.dtype.kind == "f":
        raise DecodeError("colour in floating point cannot be shown")
    # Colour samples are unsigned (C.7.6.3.1.2); if a header says otherwise, use their bits.
    unsigned = samples.view(f"u{samples.dtype.itemsize}")
    scaled = np.minimum(unsigned, (1 << stored) - 1) * (255.0 / ((1 << stored) - 1))
    return np.asarray(np.floor(scaled + 0.5), np.uint8)


@cache
def _chroma_tables(*, full_range: bool) -> tuple[NDArray[np.int32], ...]:
    """Return each byte's share of R, G and B, in 1/65536: Y, Cr in R, Cb in G, Cr in G, Cb in B."""
    byte = np.arange(256.0)
    # The inverse of the equations of C.7.6.3.1.2 (ITU-R BT.601); YBR_PARTIAL runs over 16..235 and 16..240.
    scale_y, scale_c, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    chroma = (byte - 128) * scale_c
    shares = (
        (byte - black) * scale_y + 0.5,
        1.402 * chroma,
        -0.114 * 1.772 / 0.587 * chroma,
        -0.299 * 1.402 / 0.587 * chroma,
        1.772 * chroma,
    )
    return tuple(np.rint(share * 65536).astype(np.int32) for share in shares)


def _ybr_to_rgb(samples: NDArray[np.uint8], *, full_range: bool) -> NDArray[np.uint8]:
    luma, red_cr, green_cb, green_cr, blue_cb = _chroma_tables(full_range=full_range)
    y, cb, cr = luma[samples[..., 0]], samples[..., 1], samples[..., 2]
    result = np.empty(samples.shape, np.uint8)
    for channel, value in enumerate((y + red_cr[cr], y + green_cb[cb] + green_cr[cr], y + blue_cb[cb])):
        result[..., channel] = np.clip(value >> 16, 0, 255)
    return result
