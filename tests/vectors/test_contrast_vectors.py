"""Display values by arithmetic of their own: exact fractions, and 50 decimal digits for the sigmoid."""

from fractions import Fraction

import numpy as np
import pytest

from conformance.formulas import FORMULAS, HALF, linear, rounded
from conformance.rules import proves
from dicom_series_preview.base.image import Contrast, LookupTable, PixelDescription
from dicom_series_preview.pixels.contrast.render import render
from dicom_series_preview.pixels.contrast.resolve import Applied
from dicom_series_preview.pixels.decoded import Decoded

UINT8, INT8 = np.arange(256, dtype=np.uint8), np.arange(-128, 128, dtype=np.int8)
INT16 = np.concatenate([np.arange(-2100, 3100, 7), [-32768, 32767]]).astype(np.int16)
UINT16 = np.concatenate([np.arange(0, 4096, 5), [65535]]).astype(np.uint16)
INT32 = np.concatenate([np.arange(-500, 500), [-(2**31), 2**31 - 1]]).astype(np.int32)
UINT32 = np.array([0, 1, 127, 128, 2**24 + 1, 2**31, 2**32 - 1], np.uint32)


def _shown(stored, contrast: Contrast, applied: Applied, photometric: str = "MONOCHROME2") -> list[int]:
    """What is rendered of each stored value, one by one and by table (repeated, so that it pays)."""
    pixels = PixelDescription("", 1, len(stored), photometric_interpretation=photometric)
    row = stored.reshape(1, -1)
    shown = render(Decoded(row, photometric), pixels, contrast, applied)[0].tolist()
    assert (
        render(Decoded(np.repeat(row, 20, axis=0), photometric), pixels, contrast, applied)[7].tolist()
        == shown
    )
    return shown


@proves(
    1,
    "LINEAR, LINEAR_EXACT and SIGMOID on signed and unsigned 8, 16 and 32 bits, rounded half up",
    "PS3.3 C.11.2.1.2, C.11.2.1.3",
)
@pytest.mark.parametrize("function", FORMULAS)
@pytest.mark.parametrize("stored", [UINT8, INT8, INT16, UINT16, INT32, UINT32], ids=lambda a: a.dtype.name)
@pytest.mark.parametrize(
    ("width", "center"),
    [
        (400, 40),
        (1500, -500),
        (256, 128),
        (255, 127),
        (2, 1),
        (1, 0),
        (1, 100),
        (4096, 2048),
        (80, 40),
        (3, -2),
    ],
)
def test_every_function_on_every_type(function, stored, width, center):
    """Each display value is its function's formula, rounded half up."""
    shown = _shown(stored, Contrast(), Applied("embedded", function, center, width))
    expected = [FORMULAS[function](Fraction(int(x)), Fraction(center), Fraction(width)) for x in stored]
    assert shown == expected


RESCALED = (
    (1.0, -1024.0, 400, 40),
    (-1.0, 4095.0, 1500, 1000),  # negative slope
    (0.5, -0.25, 300, 33.5),
    (2.0**-27, 0.0, 2.0**-18, 2.0**-19),  # about 1e-8, and exact
    (4.0, 1e6, 2000, 1003000),
)


# LINEAR is defined for widths from 1 on.
@proves(1, "Windows apply to modality values, whatever the sign and size of the slope", "PS3.3 C.11.2.1.2")
@pytest.mark.parametrize(
    ("function", "slope", "intercept", "width", "center"),
    [(name, *case) for name in FORMULAS for case in RESCALED if name != "LINEAR" or case[2] >= 1],
)
def test_slope_and_intercept_come_first(function, slope, intercept, width, center):
    """Windows apply to modality values, whatever the slope's sign and size."""
    contrast = Contrast(rescale_slope=slope, rescale_intercept=intercept)
    shown = _shown(UINT16, contrast, Applied("embedded", function, center, width))
    expected = [
        FORMULAS[function](
            Fraction(int(x)) * Fraction(slope) + Fraction(intercept), Fraction(center), Fraction(width)
        )
        for x in UINT16
    ]
    assert shown == expected


@proves(2, "A slope of 1e-8 keeps its precision", "PS3.3 C.11.1.1.2")
def test_a_slope_of_1e_8():
    """A slope that no binary fraction holds is exact but for values within 1e-9 of a rounding boundary."""
    contrast = Contrast(rescale_slope=1e-8)
    shown = _shown(UINT16, contrast, Applied("auto", "LINEAR_EXACT", 2e-5, 4e-5))
    for x, level in zip(UINT16.tolist(), shown, strict=True):
        exact = ((Fraction(x) * Fraction(1, 10**8) - Fraction(2, 10**5)) / Fraction(4, 10**5) + HALF) * 255
        exact = min(max(exact, Fraction(0)), Fraction(255))
        assert abs(level - exact) <= HALF + Fraction(1, 10**9)


@proves(6, "MONOCHROME1 is 255 less the display value; padding stays dark", "PS3.3 C.7.6.3.1.2, C.7.5.1.1.2")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", FORMULAS)
def test_monochrome1_with_padding(function, photometric):
    """MONOCHROME1 is 255 less the display value; padding, of stored values, is 0 in both."""
    contrast = Contrast(rescale_intercept=-1024.0, pixel_padding_value=63536, pixel_padding_range_limit=-1500)
    shown = _shown(INT16, contrast, Applied("embedded", function, 40.0, 400.0), photometric)
    for x, level in zip(INT16.tolist(), shown, strict=True):
        value = FORMULAS[function](Fraction(x - 1024), Fraction(40), Fraction(400))
        if -2000 <= x <= -1500:
            assert level == 0
        else:
            assert level == (255 - value if photometric == "MONOCHROME1" else value)


@proves(
    2,
    "Entries of a VOI LUT of 8 to 16 bits are scaled to 0..255; its ends hold beyond it",
    "PS3.3 C.11.2.1.1",
)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("first", [-5, 0, 1000])
@pytest.mark.parametrize("stored", [INT16, UINT16, UINT8], ids=lambda a: a.dtype.name)
def test_voi_luts(bits, first, stored):
    """A VOI LUT's entries, of 0..2^bits - 1, are scaled to 0..255; the ends hold beyond it."""
    entries = [(i * 37) % (1 << bits) for i in range(300)]
    entries[7] = (1 << bits) - 1
    lut = LookupTable(300, first, bits, np.array(entries, "<u2").tobytes())
    shown = _shown(stored, Contrast(rescale_intercept=100.0), Applied("embedded", "LUT", lut=lut))
    expected = [
        rounded(Fraction(255 * entries[min(max(int(x) + 100 - first, 0), 299)], (1 << bits) - 1))
        for x in stored
    ]
    assert shown == expected


@proves(2, "Each of 65536 entries of a VOI LUT counts", "PS3.3 C.11.2.1.1")
def test_a_voi_lut_of_65536_entries():
    """A descriptor's 0 entries are 65536, and each of them counts."""
    entries = np.arange(65535, -1, -1).astype("<u2")
    lut = LookupTable(65536, 0, 16, entries.tobytes())
    stored = np.arange(0, 65536, 97).astype(np.uint16)
    expected = [rounded(Fraction(255 * (65535 - int(x)), 65535)) for x in stored]
    assert _shown(stored, Contrast(), Applied("embedded", "LUT", lut=lut)) == expected


@proves(2, "8-bit entries lie one a byte or one a word", "PS3.3 C.11.2.1.1")
def test_a_voi_lut_of_8_bit_entries_may_be_packed():
    """8-bit entries lie one a byte or one a word."""
    entries = list(range(255, -1, -1))
    packed, spread = bytes(entries), np.array(entries, "<u2").tobytes()
    for data in (packed, spread):
        lut = LookupTable(256, 0, 8, data)
        assert _shown(UINT8, Contrast(), Applied("embedded", "LUT", lut=lut)) == entries


@proves(2, "A window applies to what the modality LUT gives, slope and intercept aside", "PS3.3 C.11.1.1")
def test_a_modality_lut_feeds_the_window():
    """A window applies to what the modality LUT gives; slope and intercept beside it are ignored."""
    entries = [(i * i) % 60000 for i in range(500)]
    table = LookupTable(500, -100, 16, np.array(entries, "<u2").tobytes())
    stored = np.arange(-120, 420, dtype=np.int16)
    shown = _shown(stored, Contrast(3.0, 9.0, table), Applied("embedded", "LINEAR", 30000.0, 50000.0))
    expected = [
        linear(Fraction(entries[min(max(int(x) + 100, 0), 499)]), Fraction(30000), Fraction(50000))
        for x in stored
    ]
    assert shown == expected


@proves(1, "LINEAR, LINEAR_EXACT and SIGMOID on float and double pixels", "PS3.3 C.11.2.1.2, C.11.2.1.3")
@pytest.mark.parametrize("function", FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_images(function, dtype):
    """Float pixels have the display value of their exact binary value."""
    stored = (np.arange(-400, 400) / 256).astype(dtype)
    width, center = (2.0, 0.5) if function == "LINEAR" else (0.75, 0.5)
    shown = _shown(stored, Contrast(), Applied("embedded", function, center, width))
    expected = [FORMULAS[function](Fraction(float(x)), Fraction(center), Fraction(width)) for x in stored]
    assert shown == expected
