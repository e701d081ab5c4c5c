"""Decode one frame's bytes to stored values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.codecs.bits import container_bits, stored_values
from dicom_series_preview.pixels.codecs.registry import find_codec
from dicom_series_preview.pixels.codecs.words import reduced_shape
from dicom_series_preview.pixels.decoded import Decoded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.words import Words

_LIMIT_BYTES = Limits().frame_bytes
# The samples of a pixel, by photometric interpretation; those with four cannot be shown.
_SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(
        ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL", "YBR_PARTIAL_422", "YBR_PARTIAL_420"), 3
    ),
    **dict.fromkeys(("YBR_ICT", "YBR_RCT", "XYB", "HSV"), 3),
    **dict.fromkeys(("ARGB", "CMYK"), 4),
}


def decode_frame(
    data: bytes | memoryview,
    pixels: PixelDescription,
    *,
    bit_offset: int = 0,
    limit_bytes: int = _LIMIT_BYTES,
    reduction: int = 1,
) -> Decoded:
    """Decode exactly one frame.

    Args:
        data: The frame's bytes: for native syntaxes its slice of the pixel data (more can follow), for
            encapsulated ones the codestream, fragments joined.
        pixels: The frame's layout.
        bit_offset: Bits of `data` before the frame's first sample, 0..15: a native frame can begin inside a
            byte, or inside a byte-swapped word.
        limit_bytes: The largest frame, in decoded bytes.
        reduction: 1, or a wish for 2, 4 or 8: rows and columns divided by that, if the codec decodes such
            frames with less work and each sample is still a weighted mean of stored values.

    Returns:
        The stored values, before rescale, window, palette and colour conversion, with their actual reduction.

    Raises:
        UnsupportedTransferSyntaxError: No decoder reads the transfer syntax.
        DecodeError: The bytes are cut off or broken, contradict the description, or exceed the limit or the
            memory.
    """
    try:
        words = decode_words(
            data, pixels, bit_offset=bit_offset, limit_bytes=limit_bytes, reduction=reduction
        )
        samples, remark = stored_values(words, pixels)
    except MemoryError as error:
        size = f"{pixels.rows} x {pixels.columns}"
        raise DecodeError(f"there is not enough memory to decode a frame of {size}") from error
    _check_samples(samples, pixels, words.reduction)
    return Decoded(
        samples,
        words.photometric_interpretation,
        words.reduction,
        words.offset,
        lossless=words.lossless,
        is_ended=words.is_ended,
        bits=words.precision if remark and words.is_described else 0,
        remarks=(remark,) if remark else (),
    )


def decode_words(
    data: bytes | memoryview,
    pixels: PixelDescription,
    *,
    bit_offset: int = 0,
    limit_bytes: int = _LIMIT_BYTES,
    reduction: int = 1,
) -> Words:
    """Decode exactly one frame to its codec's words, unused bits included; see `decode_frame`."""
    codec = find_codec(pixels.transfer_syntax_uid)
    _check_description(pixels, limit_bytes)
    if codec.decode_native is not None:
        return codec.decode_native(data, pixels, bit_offset)
    if codec.decode is None or not len(data):
        raise DecodeError("the frame is empty")
    if reduction > 1 and codec.decode_reduced is not None and has_means(pixels):
        return codec.decode_reduced(data, pixels, reduction)
    return codec.decode(data, pixels)


def has_means(pixels: PixelDescription) -> bool:
    """Return True where a mean of stored values has a meaning: not for palette indices or 1-bit samples."""
    return (
        pixels.bits_allocated > 1
        and pixels.palette is None
        and "PALETTE" not in (pixels.photometric_interpretation)
    )


def decoded_bytes(pixels: PixelDescription) -> int:
    """Return the size of a frame's stored values, even if `decode_frame` refuses the description."""
    bits = container_bits(min(pixels.bits_allocated, 64))
    return pixels.rows * pixels.columns * pixels.samples_per_pixel * bits // 8


def _check_description(pixels: PixelDescription, limit_bytes: int) -> None:
    """Refuse a description that cannot be an image, or is too large, before anything is allocated."""
    if pixels.rows < 1 or pixels.columns < 1:
        raise DecodeError(f"{pixels.rows} rows and {pixels.columns} columns are no image")
    if pixels.samples_per_pixel not in (1, 3):
        raise DecodeError(f"{pixels.samples_per_pixel} samples a pixel cannot be shown")
    _check_photometric_interpretation(pixels)
    if not 1 <= pixels.bits_allocated <= 64:
        raise DecodeError(f"{pixels.bits_allocated} bits allocated is no layout of pixels")
    decoded = decoded_bytes(pixels)
    if decoded > limit_bytes:
        raise DecodeError(f"the frame has {decoded:,} bytes, more than the limit of {limit_bytes:,}")


def _check_photometric_interpretation(pixels: PixelDescription) -> None:
    """Refuse one that is unknown, or contradicts the samples of a pixel (PS3.3 C.7.6.3.1.2).

    Nobody can say which of the two is right, so either picture could be wrong.
    """
    found = pixels.photometric_interpretation
    if found not in _SAMPLES:
        raise DecodeError("the photometric interpretation is none that DICOM defines")
    if pixels.samples_per_pixel != _SAMPLES[found]:
        samples = f"{pixels.samples_per_pixel} sample{'s' * (pixels.samples_per_pixel > 1)} a pixel"
        raise DecodeError(f"{samples} and the photometric interpretation {found} contradict each other")


def _check_samples(samples: NDArray[Any], pixels: PixelDescription, reduction: int) -> None:
    """Check a codec's result, so that no later step meets a surprise."""
    shape = reduced_shape(pixels, reduction)
    kinds = "iu" if pixels.pixel_keyword == "PixelData" else "f"
    if samples.shape != shape or samples.dtype.kind not in kinds or not samples.dtype.isnative:
        raise DecodeError("the decoder gave samples of another shape or type than the header describes")
