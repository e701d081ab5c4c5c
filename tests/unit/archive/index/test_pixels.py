import pytest

import make_dicom as make
from indexing import only


@pytest.mark.parametrize(("name", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_float_images_need_no_bits_allocated(name, bits):
    """Float and double images have 32 and 64 bits where the header does not say."""
    source = make.image(PixelData=None, BitsAllocated=None, BitsStored=None, HighBit=None)
    setattr(source, name, bytes(24 * bits // 8))
    shown = only(source)
    assert (shown.pixels.pixel_keyword, shown.pixels.bits_allocated) == (name, bits)
    assert shown.location.length == 24 * bits // 8
