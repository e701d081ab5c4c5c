"""Extract a word's stored value, by its bits and sign (PS3.5 8.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.words import Words


def container_bits(bits: int) -> int:
    """Return the bits of the smallest integer dtype that holds `bits` bits, 8..64.

    Raises:
        DecodeError: No dtype holds so many.
    """
    for size in (8, 16, 32, 64):
        if bits <= size:
            return size
    raise DecodeError(f"samples of {bits} bits cannot be shown")


def stored_bits(pixels: PixelDescription) -> tuple[int, int]:
    """Return BitsStored and the number of bits below the stored value, with impossible ones corrected.

    A BitsStored outside 1..BitsAllocated counts as BitsAllocated; a HighBit that leaves no room for
    BitsStored, or lies beyond the word, counts as BitsStored - 1, the only value that PS3.5 8.1.1 still
    allows.
    """
    stored = pixels.bits_stored
    if not 1 <= stored <= pixels.bits_allocated:
        return pixels.bits_allocated, 0
    if not stored <= pixels.high_bit + 1 <= pixels.bits_allocated:
        return stored, 0
    return stored, pixels.high_bit + 1 - stored


def stored_values(words: Words, pixels: PixelDescription) -> tuple[NDArray[Any], str]:
    """Extract the stored values from a codec's words.

    Bits above HighBit are masked, lower ones shifted out, and the sign is at HighBit. In four exceptions the
    codestream overrides the header (PS3.5 8.2.4): signed grey values stay signed where the header says
    unsigned; lossy values pass unchanged where the signs agree, because one that overshoots BitsStored must
    not wrap round; an unsigned codestream with fewer bits than BitsStored has no sign bit; one with more bits
    keeps them if its values need them and they hold no overlays. And a padding word stays whole where
    PixelPaddingValue exceeds BitsStored: masked, it would be another value.

    An unsigned codestream with BitsStored bits under a signed header holds the bits of signed values: most
    codecs have no sign, and JPEG 2000 encoders can also write such streams.

    Returns:
        The values in the description's dtype, or in another where only that holds them; and a remark where
        the codestream's sign or bits contradict the header's, or an empty text.
    """
    if words.dtype.kind == "f":
        return words.samples, ""
    header_signed = pixels.pixel_representation == 1
    codestream_signed = words.dtype.kind == "i"
    if codestream_signed and not header_signed and pixels.is_monochrome:
        return words.samples, _of_signed(words, stored_bits(pixels)[0])
    size = container_bits(max(pixels.bits_allocated, words.precision))
    target = np.dtype(f"{'i' if header_signed else 'u'}{size // 8}")
    stored, below = stored_bits(pixels)
    remark = ""
    if words.precision < stored:
        is_scaled = words.is_described and pixels.samples_per_pixel == 3
        remark = _fewer(words, stored) if is_scaled else ""
        stored, below, sign_extends = words.precision, 0, codestream_signed and header_signed
    else:
        sign_extends = header_signed
        below = below if words.precision >= stored + below else 0
    if not words.lossless and header_signed == codestream_signed:
        values = words.samples.astype(target, copy=False)
        return values, _beyond(words, stored) if _needs_more(values, stored) else remark
    # Widening a signed word repeats its sign bit; the shifts and the mask below remove it again.
    kept = words.samples.astype(f"i{size // 8}" if codestream_signed else f"u{size // 8}", copy=False)
    unsigned = kept.view(f"u{size // 8}")
    values = _field(unsigned, stored, below, signed=sign_extends).view(target)
    if pixels.padding_words and not below and not pixels.overlay_bits and stored < 8 * target.itemsize:
        lowest, highest = pixels.padding_words
        signed_words = unsigned.view(target)
        is_padding = (signed_words >= lowest) & (signed_words <= highest)
        values[is_padding] = signed_words[is_padding]
    if below or pixels.overlay_bits or not _holds_more(unsigned, values, stored):
        return values, remark
    if words.is_described:
        values = _field(unsigned, words.precision, 0, signed=sign_extends).view(target)
    return values, _beyond(words, stored)


def _of_signed(words: Words, stored: int) -> str:
    """Return the remark on signed values under an unsigned header."""
    lowest, highest = int(words.samples.min()), int(words.samples.max())
    if lowest >= 0:
        return _beyond(words, stored) if highest >> stored else ""
    needs_more = max(highest, -lowest - 1) >> (stored - 1)
    bits = (f" of {words.precision} bits", f" ones of {stored}") if needs_more else ("", "")
    found = f"its codestream has signed samples{bits[0]}, and its header says unsigned{bits[1]}"
    return f"{found}: its values are shown as the codestream has them"


def _fewer(words: Words, stored: int) -> str:
    """Return the remark on colours with fewer bits than BitsStored."""
    found = f"its codestream has {words.precision} bits a sample, and BitsStored is {stored}"
    return f"{found}: its colours are scaled by the codestream's bits"


def _beyond(words: Words, stored: int) -> str:
    """Return the remark on values that need more bits than BitsStored."""
    if not words.is_described:
        return f"its pixels have bits beyond BitsStored, which is {stored}: those bits are left out"
    found = f"its codestream has {words.precision} bits a sample, and BitsStored is {stored}"
    return f"{found}: its values are shown as the codestream has them"


def _needs_more(values: NDArray[Any], stored: int) -> bool:
    """Return True where integers exceed `stored` bits in the sign of their dtype."""
    if stored == values.dtype.itemsize * 8:
        return False
    most = 1 << (stored - 1 if values.dtype.kind == "i" else stored)
    return int(values.max()) >= most or (values.dtype.kind == "i" and int(values.min()) < -most)


def _holds_more(words: NDArray[Any], values: NDArray[Any], stored: int) -> bool:
    """Return True where unsigned words have bits above the lowest `stored` that do not repeat the sign."""
    if stored == words.dtype.itemsize * 8 or int(words.max()) >> stored == 0:
        return False
    return bool(((words >> words.dtype.type(stored) != 0) & (words != values.view(words.dtype))).any())


def _field(samples: NDArray[Any], stored: int, below: int, *, signed: bool) -> NDArray[Any]:
    """Return the `stored` bits above the lowest `below` bits of unsigned words, sign-extended if `signed`."""
    size = samples.dtype.itemsize * 8
    if stored == size:
        return samples
    if signed:
        aligned = np.left_shift(samples, size - stored - below)
        return np.asarray(np.right_shift(aligned.view(f"i{size // 8}"), size - stored))
    if below:
        samples = np.right_shift(samples, below)
    return np.asarray(np.bitwise_and(samples, samples.dtype.type((1 << stored) - 1)))
