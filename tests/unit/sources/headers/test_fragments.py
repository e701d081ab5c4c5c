import pytest

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.fragments import codestream_of


def test_fragments_are_joined_up_to_what_follows():
    """A codestream is its fragments without their heads; what follows the last one is not part of it."""
    data = make.item(b"ab") + make.item(b"") + make.item(b"cd") + make.SEQUENCE_DELIMITER + bytes(100)
    assert codestream_of(data).data == b"abcd"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "without a fragment"),
        (make.ITEM, "without a fragment"),
        (make.item(b"abcd")[:-1], "4 bytes, and 3 of them"),
        (make.item(b"ab") + make.item(b"cd")[:-1], "cut off"),
        (b"\xff\xd8\xff\xe0abcdefgh", "no item"),
        (make.SEQUENCE_DELIMITER, "no item"),
    ],
)
def test_fragments_that_are_not_whole_are_refused(data, reason):
    """A frame that is cut off, or is none, is a named reason."""
    with pytest.raises(HeaderError, match=reason):
        codestream_of(data)


def test_a_range_that_reaches_into_the_next_frame_is_refused():
    """A frame among others is one codestream; of a single one's images the first is shown, and said."""
    data = make.item(b"\xff\xd8\xffone!") + make.item(b"\xff\xd8\xfftwo!")
    with pytest.raises(HeaderError, match="several frames"):
        codestream_of(data, one_of_many=True)
    alone = codestream_of(data)
    assert alone.data == b"\xff\xd8\xffone!"
    assert alone.remark == "it holds 2 images and declares 1 frame: the first is shown"
