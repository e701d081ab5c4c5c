import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.header import parse
from dicom_series_preview.sources.headers.overlays import OverlayPlane, overlay_planes

RANDOM = np.random.default_rng(1)
BITS = RANDOM.random((4, 6)) < 0.5
TEN_BY_TEN = RANDOM.random((10, 10)) < 0.5


def planes_of(source, syntax=make.EXPLICIT):
    """The overlay planes of a data set, as its header tells them."""
    data = make.encode(source, syntax)
    return overlay_planes(parse(data, len(data), Converter()).elements)


@pytest.mark.parametrize("syntax", [*make.NATIVE, make.DEFLATED])
def test_planes_say_what_they_are(syntax):
    """Size, origin and frames come from the plane's group, in every native encoding."""
    source = make.overlay(make.image(), BITS, OverlayOrigin=[-63, 99])
    several = np.stack([TEN_BY_TEN] * 3)
    make.overlay(source, several, 0x601E, OverlayType="R", ImageFrameOrigin=2)
    assert planes_of(source, syntax) == (
        OverlayPlane(0x6000, 4, 6, origin=(-63, 99)),
        OverlayPlane(0x601E, 10, 10, frames=3, first_frame=2),
    )


def test_planes_in_the_pixel_data_say_their_bit():
    """A plane without data whose bits are allocated as the pixels' lies in them; it is for every frame."""
    source = make.image()
    embedded = {"OverlayBitsAllocated": 16, "OverlayData": None, "NumberOfFramesInOverlay": 1}
    make.overlay(source, BITS, OverlayBitPosition=13, **embedded)
    assert planes_of(source) == (OverlayPlane(0x6000, 4, 6, bit_position=13),)


def test_data_wins_over_a_wrong_number_of_bits():
    """A plane that has data lies there, whatever it says of bits."""
    source = make.overlay(make.image(), BITS, OverlayBitsAllocated=16, OverlayBitPosition=12)
    assert [plane.bit_position for plane in planes_of(source)] == [None]


@pytest.mark.parametrize("elements", [{"OverlayData": None}, {"OverlayData": b""}])
def test_a_group_that_holds_no_bits_is_no_plane(elements):
    """A group of one bit without data, as many writers leave behind, is none."""
    assert planes_of(make.overlay(make.image(), BITS, **elements)) == ()


@pytest.mark.parametrize("group", [0x6001, 0x6020, 0x60FE])
def test_other_groups_are_no_planes(group):
    """Planes have the even groups 6000 to 601E."""
    assert planes_of(make.overlay(make.image(), BITS, group)) == ()


@pytest.mark.parametrize("origin", [None, [7], [1, 2, 3]])
def test_an_origin_that_is_none_is_the_first_pixel(origin):
    """Without a pair of numbers a plane begins where the image does."""
    source = make.overlay(make.image(), BITS, OverlayOrigin=origin)
    assert planes_of(source)[0].origin == (1, 1)


def test_frames_of_planes():
    """Overlay frames are for the image's from ImageFrameOrigin on; without a number, one is for all."""
    plane = OverlayPlane(0x6000, 4, 6, frames=2, first_frame=3)
    assert [plane.frame_for(number) for number in range(1, 7)] == [None, None, 0, 1, None, None]
    everywhere = OverlayPlane(0x6000, 4, 6)
    assert [everywhere.frame_for(number) for number in (1, 9)] == [0, 0]
