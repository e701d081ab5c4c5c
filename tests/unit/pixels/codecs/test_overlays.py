import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.pixels.codecs.overlays import embedded_overlay, own_overlay
from dicom_series_preview.pixels.codecs.words import Words
from dicom_series_preview.sources.headers.overlays import OverlayPlane

ROWS, COLUMNS = 7, 9
PIXELS = PixelDescription("1.2.840.10008.1.2.1", ROWS, COLUMNS, bits_stored=12, high_bit=11)
RANDOM = np.random.default_rng(2)


def packed(bits):
    """Bits as OverlayData holds them."""
    return np.packbits(bits, bitorder="little").tobytes()


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    origin=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
)
def test_a_plane_lies_where_its_origin_says(shape, origin):
    """A pixel is marked where the plane has a bit for it; what lies outside the image is left out."""
    bits = RANDOM.random(shape) < 0.5
    found = own_overlay(OverlayPlane(0x6000, *shape, origin=origin), 0, packed(bits), PIXELS)
    expected = np.zeros((ROWS, COLUMNS), bool)
    for row, column in np.argwhere(bits):
        y, x = row + origin[0] - 1, column + origin[1] - 1
        if 0 <= y < ROWS and 0 <= x < COLUMNS:
            expected[y, x] = True
    assert (found == expected).all()


def test_frames_follow_each_other_without_padding():
    """A frame of a plane begins at the bit behind the one before."""
    bits = RANDOM.random((5, 3, 3)) < 0.5
    plane = OverlayPlane(0x6000, 3, 3, frames=5)
    for number in range(5):
        found = own_overlay(plane, number, packed(bits), PIXELS)
        assert (found[:3, :3] == bits[number]).all()
        assert not found[3:].any()
        assert not found[:, 3:].any()


def test_data_that_are_cut_off_are_refused():
    """A frame whose bits are not all there is not shown; those before it are."""
    bits = np.ones((2, 8, 8), bool)
    plane = OverlayPlane(0x6000, 8, 8, frames=2)
    assert own_overlay(plane, 0, packed(bits)[:-1], PIXELS)[:, :8].all()
    with pytest.raises(DecodeError, match="cut off: 16 bytes expected, 15 found"):
        own_overlay(plane, 1, packed(bits)[:-1], PIXELS)


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (-8, -8)])
def test_a_plane_without_size_is_refused(size):
    """A plane needs rows and columns."""
    with pytest.raises(DecodeError, match="no rows or no columns"):
        own_overlay(OverlayPlane(0x6000, *size), 0, b"\xff" * 8, PIXELS)


def words(samples, *, precision=16, lossless=True):
    """Words as a codec gives them."""
    return Words(samples, precision, lossless=lossless, photometric_interpretation="MONOCHROME2")


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@pytest.mark.parametrize("position", [12, 13, 14, 15])
def test_a_plane_in_the_pixel_data_is_its_bit(kind, position):
    """Of a plane among the unused bits, each pixel's word holds its own, whatever the others hold."""
    bits = RANDOM.random((ROWS, COLUMNS)) < 0.5
    others = RANDOM.integers(0, 1 << 16, (ROWS, COLUMNS)) & ~(1 << position)
    samples = (others | bits * (1 << position)).astype(np.uint16).view(kind)
    plane = OverlayPlane(0x6000, ROWS, COLUMNS, bit_position=position)
    assert (embedded_overlay(plane, words(samples), PIXELS) == bits).all()


@pytest.mark.parametrize(
    ("position", "changes", "reason"),
    [
        (0, {}, "no unused one"),
        (11, {}, "no unused one"),
        (16, {}, "no unused one"),
        (-1, {}, "no unused one"),
        (13, {"lossless": False}, "compressed without"),
        (13, {"precision": 12}, "compressed without"),
    ],
)
def test_bits_that_are_no_overlays_are_refused(position, changes, reason):
    """The image's own bits are none, nor are those that compression has changed or left out."""
    plane = OverlayPlane(0x6000, ROWS, COLUMNS, bit_position=position)
    samples = np.zeros((ROWS, COLUMNS), np.uint16)
    with pytest.raises(DecodeError, match=reason):
        embedded_overlay(plane, words(samples, **changes), PIXELS)


@pytest.mark.parametrize("samples", [np.zeros((7, 9, 3), np.uint16), np.zeros((7, 9), np.float32)])
def test_colour_and_floats_have_no_unused_bits(samples):
    """Planes are in words that are one whole number a pixel."""
    plane = OverlayPlane(0x6000, ROWS, COLUMNS, bit_position=13)
    with pytest.raises(DecodeError, match="one whole number a pixel"):
        embedded_overlay(plane, words(samples), PIXELS)


SHORTS = st.integers(-(2**15), 2**16)


@given(
    size=st.tuples(SHORTS, SHORTS),
    origin=st.tuples(SHORTS, SHORTS),
    number=st.integers(0, 2**31),
    position=SHORTS,
    data=st.binary(max_size=64),
)
def test_no_values_crash(size, origin, number, position, data):
    """Whatever a header says of a plane, it is a mask of the image's shape or refused."""
    own = OverlayPlane(0x6000, *size, origin=origin)
    embedded = OverlayPlane(0x6000, *size, origin=origin, bit_position=position)
    zeros = words(np.zeros((ROWS, COLUMNS), np.uint16))
    for read in (
        lambda: own_overlay(own, number, data, PIXELS),
        lambda: embedded_overlay(embedded, zeros, PIXELS),
    ):
        try:
            found = read()
        except DecodeError:
            continue
        assert (found.shape, found.dtype) == ((ROWS, COLUMNS), bool)
