from dataclasses import replace

import numpy as np
import pytest

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import LookupTable, Palette, PixelDescription
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.decoded import Decoded

PALETTE = PixelDescription("", 1, 4, 1, "PALETTE COLOR", bits_allocated=8, bits_stored=8, high_bit=7)
RGB = PixelDescription("", 1, 4, 3, "RGB", bits_allocated=8, bits_stored=8, high_bit=7)


def _table(entries: list[int], first: int = 0, bits: int = 16, *, packed: bool = False) -> LookupTable:
    return LookupTable(len(entries), first, bits, np.array(entries, "<u1" if packed else "<u2").tobytes())


def _words(words: list[int], entries: int) -> LookupTable:
    return LookupTable(entries, 0, 16, np.array(words, "<u2").tobytes())


def _look(indices: list[int], red: LookupTable, dtype=np.uint8, *, segmented: bool = False) -> list[int]:
    zero = LookupTable(red.entries, red.first_value, red.bits, bytes(2 * red.entries))
    if segmented:
        zero = red
    pixels = replace(PALETTE, palette=Palette(red, zero, zero, segmented))
    rgb = to_rgb(Decoded(np.array([indices], dtype), "PALETTE COLOR"), pixels)
    assert rgb.dtype == np.uint8
    assert rgb.shape == (1, len(indices), 3)
    return rgb[0, :, 0].tolist()


def test_colour_is_known_by_samples_and_palette():
    """Three samples or PALETTE COLOR are colour; a supplemental palette beside MONOCHROME2 keeps grey."""
    table = _table([0])
    assert is_colour(RGB)
    assert is_colour(PALETTE)
    assert not is_colour(PixelDescription("", 1, 1, palette=Palette(table, table, table)))


def test_palette_of_16_bit_entries_keeps_their_high_bits():
    """16-bit entries show their high-order 8 bits, whether the writer scaled by 256 or by 257."""
    assert _look([0, 1, 2, 3], _table([0, 255 << 8, 255 * 257, 128 << 8])) == [0, 255, 255, 128]


def test_palette_of_8_bit_entries_packed_or_not():
    """8-bit entries lie one a byte, or one a word."""
    assert _look([0, 1, 2, 3], _table([9, 8, 7, 255], bits=8, packed=True)) == [9, 8, 7, 255]
    assert _look([0, 1, 2, 3], _table([9, 8, 7, 255], bits=8)) == [9, 8, 7, 255]


def test_palette_that_declares_16_bits_and_writes_8():
    """Entries that are never beyond 255 are 8-bit ones, whatever the descriptor says."""
    assert _look([0, 1, 2, 3], _table([9, 8, 7, 255])) == [9, 8, 7, 255]


def test_palette_clamps_below_and_beyond_its_entries():
    """Values before the first mapped one, which may be negative, take the first entry; later the last."""
    table = _table([10 << 8, 20 << 8, 30 << 8], first=-1)
    assert _look([-128, -1, 0, 1, 2, 127], table, np.int8) == [10, 10, 20, 30, 30, 30]
    assert _look([0, 4, 5, 255], _table([10 << 8, 20 << 8], first=4)) == [10, 10, 20, 20]


def test_segmented_palette_is_expanded():
    """Discrete, linear and indirect segments give the entries that PS3.3 C.7.9.2 says."""
    # discrete 0 and 1000; linear of 3 up to 4000; indirect: 1 segment from byte 0 again
    words = [0, 2, 0, 1000, 1, 3, 4000, 2, 1, 0, 0]
    expected = [value >> 8 for value in (0, 1000, 2000, 3000, 4000, 0, 1000)]
    assert _look(list(range(7)), _words(words, 7), segmented=True) == expected


def test_segmented_palette_of_8_bits():
    """8-bit segments have 8-bit opcodes, counts and values, and a four-byte offset."""
    data = bytes([0, 1, 10, 1, 2, 30, 2, 1, 3, 0, 0, 0, 0])
    table = LookupTable(5, 0, 8, data)
    # the indirect segment repeats the linear one, from the entry that stands last
    assert _look(list(range(5)), table, segmented=True) == [10, 20, 30, 30, 30]


@pytest.mark.parametrize(
    "words", [[1, 3, 4000], [7, 1, 0], [0, 2, 5, 6], [0, 1, 5, 2, 1, 6, 0], [0, 1, 5, 2, 1], [0, 0] * 50, []]
)
def test_broken_segments_are_refused(words):
    """Segments that are unknown, nested, cut off or too few are refused, and never loop."""
    with pytest.raises(DecodeError, match="segmented palette"):
        _look([0], _words(words, 9), segmented=True)


def test_a_palette_that_is_cut_off_or_missing_is_refused():
    """Without all of its tables, a palette image has no colours."""
    with pytest.raises(DecodeError, match="4 entries expected, 3 bytes found"):
        _look([0], LookupTable(4, 0, 8, b"abc"))
    with pytest.raises(DecodeError, match="no palette"):
        to_rgb(Decoded(np.zeros((1, 4), np.uint8), "PALETTE COLOR"), PALETTE)


@pytest.mark.parametrize(
    ("bits", "dtype", "values", "expected"),
    [
        (8, "u1", [0, 1, 255], [0, 1, 255]),
        (16, "u2", [0, 128, 129, 65535], [0, 0, 1, 255]),  # 128.5 is the half
        (12, "u2", [0, 8, 9, 4095, 5000], [0, 0, 1, 255, 255]),  # 8.03 is the half; beyond is clipped
        (32, "u4", [0, 2**32 - 1], [0, 255]),
    ],
)
def test_wide_rgb_is_scaled_by_bits_stored(bits, dtype, values, expected):
    """RGB of more than 8 bits is scaled by its whole range and rounded, not cut."""
    samples = np.repeat(np.array(values, dtype), 3).reshape(1, -1, 3)
    pixels = replace(RGB, bits_allocated=samples.itemsize * 8, bits_stored=bits, high_bit=bits - 1)
    assert to_rgb(Decoded(samples, "RGB"), pixels)[0, :, 1].tolist() == expected


@pytest.mark.parametrize("photometric", ["HSV", "ARGB", "CMYK"])
def test_retired_colour_models_are_refused(photometric):
    """A retired photometric interpretation is refused rather than shown in wrong colours."""
    with pytest.raises(DecodeError, match=photometric):
        to_rgb(Decoded(np.zeros((1, 4, 3), np.uint8), photometric), RGB)
