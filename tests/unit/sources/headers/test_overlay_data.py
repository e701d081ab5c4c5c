import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.overlay_data import overlay_data

RANDOM = np.random.default_rng(1)
TEN_BY_TEN = RANDOM.random((10, 10)) < 0.5


@pytest.mark.parametrize("syntax", [*make.NATIVE, make.DEFLATED])
def test_data_are_the_same_in_every_encoding(syntax):
    """The bits' bytes are in the image's order, however the object stores words."""
    packed = np.packbits(TEN_BY_TEN, bitorder="little").tobytes() + b"\0"
    stored = make.swapped(packed) if syntax == make.BIG_ENDIAN else packed
    data = make.encode(make.overlay(make.image(), TEN_BY_TEN, OverlayData=stored), syntax)
    assert overlay_data(data, len(data)) == {0x6000: packed}


def test_bytes_are_not_words():
    """An OB in a big endian object has its bytes in order."""
    source = make.image()
    make.add(source, 0x60003000, "OB", b"abcd")
    data = make.encode(source, make.BIG_ENDIAN)
    assert overlay_data(data, len(data)) == {0x6000: b"abcd"}


def test_a_header_that_is_not_whole_is_refused():
    """Bytes that end before the pixels are no header to read planes from."""
    data = make.encode(make.overlay(make.image(), TEN_BY_TEN))
    with pytest.raises(HeaderError, match="cut off: 200 bytes"):
        overlay_data(data[:200], len(data))
