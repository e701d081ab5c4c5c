"""Encode pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin, WebPImagePlugin  # noqa: F401 - else the first use imports all forty

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.pictures.formats import ImageFormat

if TYPE_CHECKING:
    import numpy.typing as npt

# Chosen by bytes at equal SSIM, as measured by benchmarks/encoders.py (docs/decisions/0022). 5 needs 1 % less
# than 4 for a tenth more time, 6 another 1 to 2 % less for twice the time, 2 a tenth more.
_WEBP_METHOD = 5

# Chroma at full resolution from this quality on; below it, nobody sees that it has half in both directions.
_JPEG_FULL_CHROMA_QUALITY = 90
_JPEG_FULL_CHROMA = 0
_JPEG_HALVED_CHROMA = 2

# Up to this quality, the picture gets its own Huffman tables. Pillow allows such a file one byte per pixel,
# and fails where that is too little ("Suspension not allowed here"): the worst picture takes 0.85 at 80, and
# more than 1 from 89 on.
_JPEG_OPTIMISED_QUALITY = 80
# libjpeg then holds the whole picture as coefficients, two bytes a pixel and more; a larger picture is
# streamed.
_JPEG_OPTIMISED_PIXELS = 1 << 24
# zlib's level: from 1 to 6 a mosaic shrinks by a tenth in the same time, to 9 by 1 % for six times that.
_PNG_LEVEL = 6
# Several scans save 3 % of a mosaic's bytes; in a small picture their headers cost more.
_JPEG_PROGRESSIVE_PIXELS = 1 << 16


def encode(image: npt.NDArray[np.uint8], image_format: ImageFormat, quality: int) -> bytes:
    """Encode a picture to bytes with only pixels; the same picture, format and quality give the same bytes.

    Grey stays grey: JPEG and PNG get one channel. WebP has no grey; its chroma is neutral, and decoders'
    rounding leaves green at most one level below red and blue.

    Args:
        image: uint8 (H, W) grey or (H, W, 3) RGB.
        image_format: The format.
        quality: 0 (smallest) to 100 (best); without effect in a lossless format.

    Raises:
        RequestError: The quality is out of range.
        LimitError: The format cannot hold a picture of this size.
        ValueError: The array is no picture.
    """
    if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality <= 100:
        raise RequestError("quality", f"must be a whole number from 0 to 100, not {quality!r}")
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or image.shape[2:] not in ((), (3,))
        or not image.size
    ):
        raise ValueError(f"a picture is uint8 (H, W) or (H, W, 3), not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    image_format.check_size(width, height, max_pixels=width * height)
    stream = io.BytesIO()
    picture = Image.fromarray(image)
    if image_format is ImageFormat.WEBP:
        picture.save(stream, "WEBP", quality=quality, method=_WEBP_METHOD)
    elif image_format is ImageFormat.PNG:
        picture.save(stream, "PNG", compress_level=_PNG_LEVEL)
    else:
        picture.save(stream, "JPEG", quality=quality, **_jpeg_options(quality, width * height))
    return stream.getvalue()


def _jpeg_options(quality: int, pixels: int) -> dict[str, int | bool]:
    full = quality >= _JPEG_FULL_CHROMA_QUALITY
    optimised = quality <= _JPEG_OPTIMISED_QUALITY and pixels <= _JPEG_OPTIMISED_PIXELS
    return {
        "subsampling": _JPEG_FULL_CHROMA if full else _JPEG_HALVED_CHROMA,
        "optimize": optimised,
        "progressive": optimised and pixels >= _JPEG_PROGRESSIVE_PIXELS,
    }
