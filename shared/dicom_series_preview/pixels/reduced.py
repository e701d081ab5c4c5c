"""The rule for decoding at reduced resolution: when, how far, and what its samples mean.

A frame is decoded reduced only if it is a part of an assembled slice (a slide's level with thousands of
tiles), in colour, and shown so small that every pixel of the tile has at least 4 x 4 reduced pixels: by 2
from 1/8 of its size on, by 4 from 1/16, by 8 from 1/64. Every other frame is decoded whole.
docs/decisions/0007 says why.

The codecs do what they can: a frame without smaller forms is decoded whole, and halved here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.codecs.frame import has_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Part, Slice
    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.decoded import Decoded

Area: TypeAlias = tuple[float, float, float, float]
"""Left, upper, right and lower edge of a part of a picture, in its pixels."""

# Reduced pixels per pixel of the tile, in both directions.
_LEAST_PIXELS = 4


def level_reduction(item: Slice, size: tuple[int, int]) -> int:
    """Return the reduction for the frames of an assembled slice: 1, 2, 4 or 8.

    Args:
        item: The slice.
        size: Width and height of the shown slice.
    """
    contrast = item.contrast
    # Grey goes through a window, which would clip after the mean instead of before. Padding would be averaged
    # into the picture, and a modality LUT gives neighbouring values unrelated meanings.
    is_mean = is_colour(item.pixels) and has_means(item.pixels)
    if not is_mean or contrast.pixel_padding_value is not None or contrast.modality_lut is not None:
        return 1
    shrink = min(item.pixels.columns / size[0], item.pixels.rows / size[1])
    return max(n for n in (1, 2, 4, 8) if n == 1 or max(_LEAST_PIXELS, n) * n <= shrink)


def aligned_reduction(parts: Sequence[Part], reduction: int) -> int:
    """Return the largest reduction, up to this one, at which no frame begins inside a sample."""
    starts = {abs(start) for part in parts for start in (part.top, part.left)}
    while reduction > 1 and any(start % reduction for start in starts):
        reduction //= 2
    return reduction


def frame_reduction(pixels: PixelDescription, ends: tuple[int, int], reduction: int) -> int:
    """Return the reduction for one frame: 1 if it is cut off inside a sample.

    Args:
        pixels: The frame's layout.
        ends: The ends of its visible rows and columns.
        reduction: The slice's reduction.
    """
    pairs = zip(ends, (pixels.rows, pixels.columns), strict=True)
    return reduction if all(end == length or not end % reduction for end, length in pairs) else 1


def reduced_length(length: int, reduction: int) -> int:
    """Return the number of samples that a number of pixels becomes."""
    return -(-length // reduction)


def halved(samples: NDArray[Any], times: int) -> NDArray[Any]:
    """Finish a reduction by repeatedly taking means of 2 x 2 samples of up to 16 bits.

    Args:
        samples: (rows, columns), or (rows, columns, 3); a last row or column stands alone.
        times: 1, 2, 4 or 8: the divisor of rows and columns.
    """
    while times > 1:
        samples, times = _halve(samples), times // 2
    return samples


def area_of(decoded: Decoded, item: Slice) -> Area | None:
    """Return the part of the decoded samples that the slice covers; None for all, at full resolution."""
    if decoded.reduction == 1:
        return None
    start = decoded.offset
    return (
        start,
        start,
        start + item.pixels.columns / decoded.reduction,
        start + item.pixels.rows / decoded.reduction,
    )


def _halve(samples: NDArray[Any]) -> NDArray[Any]:
    around = [(0, side % 2) for side in samples.shape[:2]]
    if any(after for _, after in around):
        samples = np.pad(samples, [*around, (0, 0)][: samples.ndim], mode="edge")
    pairs = np.add(samples[::2], samples[1::2], dtype=np.float32)
    means = pairs[:, ::2] + pairs[:, 1::2]
    means *= 0.25
    return np.asarray(np.rint(means, out=means).astype(samples.dtype))
