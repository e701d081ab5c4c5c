import zlib

import pytest

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.scan import scan


def deflated(data_set: bytes) -> bytes:
    """A deflated object of a data set's bytes."""
    stream = zlib.compressobj(wbits=-15)
    return make.preamble(make.DEFLATED) + stream.compress(data_set) + stream.flush()


def test_a_deflated_object_that_swells_is_refused():
    """A deflated data set that inflates beyond the limit is refused before it has."""
    data = deflated(make.without_meta(make.encode(make.image(PixelData=bytes(10**6)))))
    with pytest.raises(HeaderError, match="inflates to more than 1000 bytes"):
        scan(data, len(data), Limits(inflated_bytes=1000))
