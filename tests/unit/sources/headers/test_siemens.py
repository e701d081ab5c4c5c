import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import make_dicom
from dicom_series_preview.sources.headers.siemens import Mosaic, csa_values
from indexing import header_of

TAGS = {
    "EchoLinePosition": ["32"],
    "NumberOfImagesInMosaic": ["9"],
    "SliceNormalVector": ["0.00000000", "-0.6", "0.8"],
    "Empty": [],
}
SLICES = np.zeros((9, 2, 2), np.uint16)


@pytest.mark.parametrize("version", [1, 2])
def test_values_of_either_version(version):
    """Both versions of the CSA header give each tag's values; empty items are none."""
    assert csa_values(make_dicom.csa_header(TAGS, version=version)) == {
        name: tuple(values) for name, values in TAGS.items()
    }


def test_multiplicity_ends_the_values():
    """Items beyond a tag's multiplicity are no values of it."""
    data = bytearray(make_dicom.csa_header({"A": ["1", "2", "3"]}))
    struct.pack_into("<i", data, 16 + 64, 2)
    assert csa_values(bytes(data)) == {"A": ("1", "2")}


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_broken_bytes_are_as_if_absent(noise, at, second):
    """Whatever the bytes are, values come out or none do."""
    whole = make_dicom.csa_header(TAGS, version=2 if second else 1)
    for data in (noise, whole[:at], whole[:at] + noise + whole[at + len(noise) :]):
        assert isinstance(csa_values(data), dict)
    assert csa_values(whole[:at]) == {}


def mosaic_of(source, syntax=make_dicom.EXPLICIT):
    return header_of(make_dicom.encode(source, syntax)).mosaic


@pytest.mark.parametrize("syntax", make_dicom.NATIVE)
def test_private_element_comes_first(syntax):
    """The private element tells the number of slices in every byte order, the CSA header the normal."""
    csa = make_dicom.csa_header({**TAGS, "NumberOfImagesInMosaic": ["4"]})
    assert mosaic_of(make_dicom.mosaic(SLICES, csa=csa), syntax) == Mosaic(9, (0.0, -0.6, 0.8))


def test_csa_header_where_there_is_no_private_element():
    """Without (0019,100A) the CSA header tells the number; another creator's element is no such element."""
    source = make_dicom.mosaic(SLICES, csa=make_dicom.csa_header(TAGS))
    source[0x00190010].value = "ANOTHER MR HEADER"
    assert mosaic_of(source) == Mosaic(9, (0.0, -0.6, 0.8))


def test_mosaic_that_says_nothing():
    """A mosaic without both, or with broken bytes, has no number and no normal, and is a mosaic still."""
    source = make_dicom.mosaic(SLICES, csa=b"SV10 and then nothing that is any of it")
    del source[0x0019100A]
    assert mosaic_of(source) == Mosaic(0, None)
    del source[0x00290010], source[0x00291010]
    assert mosaic_of(source) == Mosaic(0, None)


@pytest.mark.parametrize("elements", [{"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"NumberOfFrames": 4}])
def test_what_is_no_mosaic(elements):
    """An image whose type does not say MOSAIC is none, nor is one of several frames."""
    assert mosaic_of(make_dicom.mosaic(SLICES, **elements)) is None
