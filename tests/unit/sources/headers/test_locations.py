import struct

import pydicom
import pytest
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError, ObjectError
from dicom_series_preview.sources.headers.fragments import codestream_of
from dicom_series_preview.sources.headers.locations import locate_frames
from encapsulated import EVEN, JOINED, encapsulated, even, native_frames
from indexing import header_of


def located(data):
    """Each frame's codestream, from the range that the header names."""
    return [codestream_of(part).data for part in native_frames(data)]


def test_a_true_basic_offset_table_locates_every_frame():
    """Each frame of an encapsulated object is one range where the basic offset table holds."""
    data = encapsulated()
    assert located(data) == JOINED
    pixels = pydicom.dcmread(DicomBytesIO(data)).PixelData
    assert located(data) == list(generate_frames(pixels, number_of_frames=3))


@pytest.mark.parametrize(
    "table",
    [
        (),
        (0, 20),
        (0, 20, 10),
        (4, 20, 50),
        (0, 0, 0),
        (0, 2**32 - 50, 20),
    ],
    ids=["empty", "too short", "not ascending", "not from 0", "zeros", "overflown"],
)
def test_an_offset_table_that_does_not_hold_locates_nothing(table):
    """With an empty, wrong or overflown basic offset table only the whole object tells where frames lie."""
    header = header_of(encapsulated(table))
    assert header.number_of_frames == 3
    assert header.locations == ()


def test_the_extended_offset_table_wins():
    """The extended offset table, of 64 bits, locates frames where the basic one is empty."""
    parts = [
        b"".join(make.item(fragment) for fragment in frame) for frame in even([[b"a"], [b"bcd"], [b"ef"]])
    ]
    places = make.offsets(parts)
    data = encapsulated(
        (),
        even([[b"a"], [b"bcd"], [b"ef"]]),
        ExtendedOffsetTable=struct.pack("<3Q", *places),
        ExtendedOffsetTableLengths=struct.pack("<3Q", *(len(part) - 8 for part in parts)),
    )
    assert located(data) == [b"a\0", b"bcd\0", b"ef"]


def test_an_extended_offset_table_of_another_length_is_none():
    """An extended offset table that is not one entry a frame locates nothing."""
    data = encapsulated((), ExtendedOffsetTable=bytes(16), ExtendedOffsetTableLengths=bytes(16))
    assert header_of(data).locations == ()


@pytest.mark.parametrize("table", [(), (0,), (0, 20), (99,)])
def test_one_frame_is_all_there_is(table):
    """A single frame lies from the first fragment on, whatever the offset table says."""
    data = encapsulated(table, [EVEN[1]], NumberOfFrames=None)
    assert located(data) == [JOINED[1]]


def test_offset_tables_that_point_beyond_the_object_locate_nothing():
    """A frame that a table puts beyond the object's end is looked for in the whole object."""
    data = encapsulated((0, 20, 10**6))
    assert header_of(data).locations == ()
    for offset, length in ((2**63, 8), (0, 2**64 - 1), (10**6, 8)):
        table = struct.pack("<3Q", 0, 20, offset)
        lengths = struct.pack("<3Q", 8, 8, length)
        data = encapsulated((), ExtendedOffsetTable=table, ExtendedOffsetTableLengths=lengths)
        assert header_of(data).locations == ()


def test_a_deflated_object_locates_nothing():
    """Frames of a deflated object lie where only the whole object tells."""
    header = header_of(make.encode(make.image(), make.DEFLATED))
    assert (header.number_of_frames, header.locations) == (1, ())


def split(data, count):
    """All frames of an object without an offset table."""
    located = locate_frames(data, header_of(data).pixels, count)
    return [codestream_of(data[at.offset : at.offset + at.length], one_of_many=True).data for at in located]


def test_frames_without_a_table_are_told_by_fragment_or_by_codestream():
    """Without a table a frame is a fragment, or what lies between two beginnings of codestreams."""
    assert split(encapsulated(()), 3) == JOINED
    one_each = even([[b"ab"], [b"cd"], [b"efg"]])
    assert split(encapsulated((), one_each), 3) == [b"ab", b"cd", b"efg\0"]


@pytest.mark.parametrize("frames", [[[b"ab"], [b"cd", b"ef"]], [[b"abcd"]]])
def test_frames_that_cannot_be_told_apart_are_refused(frames):
    """Fragments of unknown meaning are a named reason, not frames in another order."""
    with pytest.raises(HeaderError, match="no offset table"):
        split(encapsulated((), frames), 2)


def test_the_frame_that_an_object_breaks_off_in_reaches_beyond_it():
    """Of an object that is cut off the frames lie where they did, so that the last one is known to be cut."""
    data = encapsulated(())
    cut = data[: data.index(b"three3") + 2]
    whole, broken = (locate_frames(some, header_of(data).pixels, 3) for some in (data, cut))
    assert broken == whole
    assert broken[-1].offset + broken[-1].length > len(cut)


# Behind its sequence that counts itself too short pydicom and the manifest's decoders find no pixels.
MENDED = "GH626.dcm"


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # pydicom's, of real files
def test_real_frames_lie_where_pydicom_finds_them(real_data):
    """Ranges of native and encapsulated frames of real objects hold what pydicom takes for the frames."""
    native = compressed = 0
    for path in sorted((real_data / "single").rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            header = header_of(data)
        except ObjectError:
            continue
        if not header.locations or path.name == MENDED:
            continue
        pixels = pydicom.dcmread(path, force=True)[header.pixels.keyword].value
        ranges = [data[at.offset : at.offset + at.length] for at in header.locations]
        if header.pixels.length is not None:
            assert data[header.pixels.offset : header.pixels.offset + header.pixels.length] == pixels, path
            assert pixels.startswith(ranges[0]), path
            assert ranges[-1] in pixels, path
            native += 1
        else:
            try:
                expected = list(generate_frames(pixels, number_of_frames=header.number_of_frames))
            except ValueError:
                expected = [b"".join(generate_fragments(pixels))]
            assert [codestream_of(part).data for part in ranges] == expected, path
            compressed += 1
    assert native > 40
    assert compressed > 40
