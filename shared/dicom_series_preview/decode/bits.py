"""Which bits of a word are the stored value (PS3.5 8.1.1), and its sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.decode.values import Words
    from dicom_series_preview.headers.image import PixelDescription


def container_bits(bits: int) -> int:
    """Bits of the smallest integer dtype that holds `bits` bits, 8..64.

    Raises:
        DecodeError: None holds so many.
    """
    for size in (8, 16, 32, 64):
        if bits <= size:
            return size
    raise DecodeError(f"samples of {bits} bits cannot be shown")


def stored_bits(pixels: PixelDescription) -> tuple[int, int]:
    """BitsStored and the number of bits below the stored value, made sense of.

    A BitsStored outside 1..BitsAllocated says nothing, and is taken for BitsAllocated; a HighBit that leaves
    no room for BitsStored, or lies beyond the word, is taken for BitsStored - 1, the only value that PS3.5
    8.1.1 still allows.
    """
    stored = pixels.bits_stored
    if not 1 <= stored <= pixels.bits_allocated:
        return pixels.bits_allocated, 0
    if not stored <= pixels.high_bit + 1 <= pixels.bits_allocated:
        return stored, 0
    return stored, pixels.high_bit + 1 - stored


def stored_values(words: Words, pixels: PixelDescription) -> NDArray[Any]:
    """Take the stored values out of a codec's words.

    Bits above HighBit are masked, lower ones shifted out, and the sign is at HighBit. Three exceptions, in
    which a codestream knows better than the header (PS3.5 8.2.4): signed grey values stay signed where the
    header says unsigned; lossy values pass as they are where the signs agree, because one that overshoots
    BitsStored must not wrap round; an unsigned codestream of fewer bits than BitsStored holds no sign bit.

    An unsigned codestream of BitsStored bits under a signed header holds the bits of signed values: most
    codecs have no sign of their own, and JPEG 2000 encoders that are not told of it write such streams too.

    Returns:
        The values in the dtype that the description says; in another one where only that holds the values.
    """
    if words.dtype.kind == "f":
        return words.samples
    header_signed = pixels.pixel_representation == 1
    codestream_signed = words.dtype.kind == "i"
    if codestream_signed and not header_signed and pixels.is_monochrome:
        return words.samples
    size = container_bits(max(pixels.bits_allocated, words.precision))
    target = np.dtype(f"{'i' if header_signed else 'u'}{size // 8}")
    stored, below = stored_bits(pixels)
    if words.precision < stored:
        stored, below, sign_extends = words.precision, 0, codestream_signed and header_signed
    else:
        sign_extends = header_signed
        below = below if words.precision >= stored + below else 0
    if not words.lossless and header_signed == codestream_signed:
        return words.samples.astype(target, copy=False)
    # Widening a signed word repeats its sign bit, which the shifts and the mask below take away again.
    unsigned = words.samples.astype(f"i{size // 8}" if codestream_signed else f"u{size // 8}", copy=False)
    return _field(unsigned.view(f"u{size // 8}"), stored, below, signed=sign_extends).view(target)


def _field(samples: NDArray[Any], stored: int, below: int, *, signed: bool) -> NDArray[Any]:
    """The `stored` bits above the lowest `below` bits of unsigned words, two's complement where signed."""
    size = samples.dtype.itemsize * 8
    if stored == size:
        return samples
    if signed:
        aligned = np.left_shift(samples, size - stored - below)
        return np.asarray(np.right_shift(aligned.view(f"i{size // 8}"), size - stored))
    if below:
        samples = np.right_shift(samples, below)
    return np.asarray(np.bitwise_and(samples, samples.dtype.type((1 << stored) - 1)))
