"""How far the tiles of a slide's level may be reduced while they are decoded.

Frames that are slices are decoded whole: in threads that takes less time than finding out what a reduced
frame loses (docs/decisions/0007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dicom_series_preview.pixels.codecs.frame import has_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.codecs.decoded import Decoded

Area: TypeAlias = tuple[float, float, float, float]
"""Left, upper, right and lower edge of a part of a picture, in its pixels."""

# Pixels of a reduced frame for each of the tile, in both directions.
_LEAST_PIXELS = 4


def level_reduction(item: Slice, size: tuple[int, int]) -> int:
    """The reduction to have for the frames of a slice that is put together.

    With 4 reduced pixels and more for each of the tile, in both directions, a real slide is off by 0.7 grey
    levels (RMS), and white noise by less than 2.

    Args:
        item: The slice.
        size: Width and height it is shown in.
    """
    # Padding would be averaged into the picture, and a modality LUT gives neighbouring values any meaning.
    contrast = item.contrast
    if (
        not has_means(item.pixels)
        or contrast.pixel_padding_value is not None
        or contrast.modality_lut is not None
    ):
        return 1
    shrink = min(item.pixels.columns / size[0], item.pixels.rows / size[1])
    return max(n for n in (1, 2, 4, 8) if n == 1 or max(_LEAST_PIXELS, n) * n <= shrink)


def area_of(decoded: Decoded, item: Slice) -> Area | None:
    """The part of the decoded samples that the frame covers; None for all of them, at full resolution."""
    if decoded.reduction == 1:
        return None
    start = decoded.offset
    return (
        start,
        start,
        start + item.pixels.columns / decoded.reduction,
        start + item.pixels.rows / decoded.reduction,
    )


def halve(samples: NDArray[Any]) -> NDArray[Any]:
    """Means of 2 x 2 samples of up to 16 bits; a last row or column stands alone."""
    around = [(0, side % 2) for side in samples.shape[:2]]
    if any(after for _, after in around):
        samples = np.pad(samples, [*around, (0, 0)][: samples.ndim], mode="edge")
    pairs = np.add(samples[::2], samples[1::2], dtype=np.float32)
    means = pairs[:, ::2] + pairs[:, 1::2]
    means *= 0.25
    return np.asarray(np.rint(means, out=means).astype(samples.dtype))
