import struct

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.scan import Incomplete, scan
from indexing import complete

ITEM_DELIMITER = b"\xfe\xff\x0d\xe0\0\0\0\0"


@pytest.mark.parametrize(
    "stray",
    [
        make.SEQUENCE_DELIMITER,
        ITEM_DELIMITER + make.SEQUENCE_DELIMITER,
        make.item(make.element(0x00081150, "UI", b"1.2.3\0")),
        make.ITEM
        + b"\xff" * 4
        + make.element(0x00081150, "UI", b"1.2.3\0")
        + ITEM_DELIMITER
        + make.SEQUENCE_DELIMITER,
    ],
)
def test_items_that_stand_in_no_sequence_are_passed(stray):
    """A writer that leaves a sequence's head out loses that sequence, and no element behind it."""
    before, behind = make.element(0x00185020, "LO", b"ABCD"), make.element(0x0020000D, "UI", b"1.2.840\0")
    data = make.preamble() + before + stray + behind
    found = complete(data, len(data))
    assert {0x00185020, 0x0020000D} <= found.elements.keys()
    assert 0x00081150 not in found.elements
    cut = make.preamble() + before + stray
    with pytest.raises(HeaderError):
        complete(cut, len(cut))


OPEN_ITEM = make.ITEM + b"\xff" * 4 + make.element(0x00189036, "CS", b"ABCD") + ITEM_DELIMITER


def with_sequence(items, length, tag=0x2005140F):
    """An object whose sequence says that it is so long."""
    before = make.element(0x00080018, "UI", b"1.2\0")
    behind = make.element(0x2005141A, "LO", b"") + make.element(0x7FE00010, "OW", bytes(range(48)))
    return make.preamble() + before + make.element(tag, "SQ", items, length) + behind


@pytest.mark.parametrize("missing", [4, 8])
@pytest.mark.parametrize("items", [OPEN_ITEM, make.item(b"") + OPEN_ITEM])
def test_a_sequence_that_counts_itself_too_short_ends_where_its_items_do(items, missing):
    """Where a sequence's length leaves the walk inside it, its items tell where it ends, at every cut."""
    source = with_sequence(items, None)
    whole = complete(source, len(source))
    data = with_sequence(items, len(items) - missing)
    assert complete(data, len(data)).elements == whole.elements
    assert complete(data, len(data)).pixels == whole.pixels
    for cut in range(132, len(data) - 48):
        scanned = scan(data[:cut], len(data))
        assert isinstance(scanned, Incomplete), cut
        assert cut < scanned.at_least <= len(data) - 48


@pytest.mark.parametrize(
    "data",
    [
        with_sequence(b"no items" + bytes(8), 8),
        with_sequence(OPEN_ITEM[:-8] + bytes(8), len(OPEN_ITEM) - 8),
        with_sequence(OPEN_ITEM, len(OPEN_ITEM) - 4, tag=0x30050010),
        with_sequence(make.ITEM + struct.pack("<I", 5000) + bytes(8), 8),
    ],
    ids=["no items", "an open item", "a tag that cannot follow", "an item beyond the object"],
)
def test_items_that_tell_no_end_mend_nothing(data):
    """Where the items do not lead to an element that may follow, the object is broken where the walk was."""
    with pytest.raises(HeaderError, match=r"stand where an element must|is no element of a data set"):
        scan(data, len(data))


@pytest.mark.real_data
def test_a_real_sequence_that_counts_itself_too_short(real_data):
    """A real object whose private sequence is 4 bytes too short is read as pydicom reads it once mended."""
    data = (real_data / "single" / "odd" / "GH626.dcm").read_bytes()
    short = b"\x05\x20\x0f\x14" + struct.pack("<I", 256)
    assert data.count(short) == 1
    truth = pydicom.dcmread(DicomBytesIO(data.replace(short, short[:4] + struct.pack("<I", 260))))
    scanned = complete(data, len(data))
    assert set(scanned.elements) == {e.tag for e in (*truth.file_meta, *truth)} - {0x7FE00010}
    start, end = scanned.pixels.offset, scanned.pixels.offset + scanned.pixels.length
    assert data[start:end] == truth.PixelData
    assert end == len(data)
