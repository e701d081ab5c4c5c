"""RGB by arithmetic of its own: the equations of PS3.3 C.7.6.3.1.2 in exact fractions."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from conformance.rules import proves
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.colour import to_rgb
from dicom_series_preview.pixels.decoded import Decoded

KR, KG, KB = Fraction(299, 1000), Fraction(587, 1000), Fraction(114, 1000)


def _rgb(y: Fraction, cb: Fraction, cr: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    red, blue = y + 2 * (1 - KR) * cr, y + 2 * (1 - KB) * cb
    return red, (y - KR * red - KB * blue) / KG, blue


@proves(9, "YBR_FULL and YBR_PARTIAL are the inverse of their equations", "PS3.3 C.7.6.3.1.2")
@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_PARTIAL"])
def test_ybr_is_the_inverse_of_its_equations(photometric):
    """Each colour is the exact one, clipped and rounded, but for ties within the tables' 1/65536."""
    levels = (0, 1, 16, 63, 128, 200, 235, 254, 255)
    samples = np.array(list(product(levels, repeat=3)), np.uint8).reshape(-1, 9, 3)
    pixels = PixelDescription(
        "", *samples.shape[:2], 3, photometric, bits_allocated=8, bits_stored=8, high_bit=7
    )
    shown = to_rgb(Decoded(samples, photometric), pixels)
    for ybr, rgb in zip(samples.reshape(-1, 3).tolist(), shown.reshape(-1, 3).tolist(), strict=True):
        y, cb, cr = (Fraction(value) for value in ybr)
        if photometric == "YBR_FULL":
            exact = _rgb(y, cb - 128, cr - 128)
        else:
            exact = _rgb((y - 16) * 255 / 219, (cb - 128) * 255 / 224, (cr - 128) * 255 / 224)
        for level, value in zip(rgb, exact, strict=True):
            assert abs(level - min(max(value, Fraction(0)), Fraction(255))) <= Fraction(1, 2) + Fraction(
                3, 65536
            )


@proves(9, "YBR_FULL without chroma is grey", "PS3.3 C.7.6.3.1.2")
@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_grey_stays_grey(value):
    """Without chroma, YBR_FULL is the same level in all channels."""
    samples = np.array([[[value, 128, 128]]], np.uint8)
    pixels = PixelDescription("", 1, 1, 3, "YBR_FULL", bits_allocated=8, bits_stored=8, high_bit=7)
    assert to_rgb(Decoded(samples, "YBR_FULL"), pixels).tolist() == [[[value] * 3]]
