import csv
import struct
import zlib

import pytest

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError, NotDicomError, ObjectError
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.header import Header, parse
from dicom_series_preview.sources.headers.scan import Incomplete
from encapsulated import EVEN, encapsulated, native_frames
from indexing import header_of

# --- what a header is


def test_a_header_comes_with_the_first_bytes():
    """A header is known from the bytes before the pixels, and says how many they were."""
    data = make.encode(make.image())
    header = header_of(data)
    assert parse(data[: header.length], len(data), Converter()) == header
    assert header.length == len(data) - 48
    assert header.object_size == len(data)
    assert parse(data[: header.length - 1], len(data), Converter()) == Incomplete(header.length)


def test_an_unknown_size_is_that_of_the_bytes_there_are():
    """Without a size from the storage the bytes there are tell it."""
    data = make.encode(make.image())
    header = parse(data, None, Converter())
    assert isinstance(header, Header)
    assert header.object_size == len(data)


def test_a_dicomdir_is_no_instance():
    """A DICOMDIR is named as what it is, whatever its file name."""
    directory = make.element(0x00020002, "UI", b"1.2.840.10008.1.3.10")
    with pytest.raises(NotDicomError, match="DICOMDIR"):
        header_of(make.preamble() + directory + make.element(0x00041130, "CS", b"SET "))


@pytest.mark.parametrize("without", [{"PixelData": None}, {"Rows": None}, {"Columns": 0}])
def test_objects_without_an_image_have_no_frames(without):
    """Objects without pixels, or without rows and columns, are indexed as having none."""
    header = header_of(make.encode(make.image(**without)))
    assert header.number_of_frames == 0
    assert header.locations == ()


# --- native pixels


@pytest.mark.parametrize("syntax", make.NATIVE)
def test_native_frames_follow_each_other(syntax):
    """A native frame's place follows from its number and its size."""
    data = make.encode(make.image(NumberOfFrames=3, PixelData=bytes(range(144))), syntax)
    assert native_frames(data) == [bytes(range(i, i + 48)) for i in (0, 48, 96)]


def test_one_bit_frames_begin_inside_a_byte():
    """Frames of 1-bit pixels follow each other bit by bit: each is located with every byte it touches."""
    source = make.image(
        Rows=3, Columns=5, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=4, PixelData=bytes(8)
    )
    at = header_of(make.encode(source)).pixels.offset
    places = header_of(make.encode(source)).locations
    assert [(p.offset - at, p.length) for p in places] == [(0, 2), (1, 3), (3, 3), (5, 3)]


@pytest.mark.parametrize(
    ("elements", "size"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "BitsAllocated": 8}, 72),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "BitsAllocated": 8}, 72),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "BitsAllocated": 8}, 48),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_PARTIAL_422", "BitsAllocated": 8}, 48),
        ({"BitsAllocated": 12}, 36),
        ({"BitsAllocated": 32}, 96),
        ({"BitsAllocated": None}, 48),
        ({"SamplesPerPixel": None}, 48),
    ],
)
def test_native_frame_sizes(elements, size):
    """A native frame's size follows from samples, bits, and shared chroma."""
    source = make.image(NumberOfFrames=2, **{"PixelData": bytes(2 * size), **elements})
    places = header_of(make.encode(source)).locations
    assert [place.length for place in places] == [size, size]
    assert places[1].offset - places[0].offset == size


@pytest.mark.parametrize(("name", "size"), [("FloatPixelData", 96), ("DoubleFloatPixelData", 192)])
def test_float_frames_need_no_bits_allocated(name, size):
    """Float and double pixels have 32 and 64 bits where the header does not say."""
    source = make.image(PixelData=None, BitsAllocated=None, NumberOfFrames=2)
    setattr(source, name, bytes(2 * size))
    assert [place.length for place in header_of(make.encode(source)).locations] == [size, size]


@pytest.mark.parametrize(
    ("declared", "frames_there", "expected"),
    [
        (None, 1, 1),
        (None, 3, 3),
        (None, 2.5, 1),
        (2, 3, 2),
        (3, 3, 3),
        (10, 2, 2),
        (10, 2.5, 3),
        (10, 0, 1),
    ],
)
def test_number_of_native_frames(declared, frames_there, expected):
    """NumberOfFrames counts, or the length where it is missing; no frame without a byte is made up."""
    source = make.image(PixelData=bytes(int(48 * frames_there)))
    if declared is not None:
        make.add(source, 0x00280008, "IS", declared)
    assert header_of(make.encode(source)).number_of_frames == expected


def test_a_number_of_frames_that_is_none_is_missing():
    """A NumberOfFrames that is no number is a missing one: the length tells."""
    data = make.encode(make.image(NumberOfFrames=77, PixelData=bytes(144)))
    broken = data.replace(b"IS\x02\x0077", b"IS\x02\x001A")
    assert broken != data
    assert header_of(broken).number_of_frames == 3


def test_a_single_frame_costs_no_offset_table():
    """The header of a single encapsulated frame is complete without its offset table's entries."""
    data = encapsulated([0] * 500, [EVEN[0]])
    header = header_of(data)
    assert header.length == header.pixels.offset + 8
    assert parse(data[: header.length], len(data), Converter()) == header


def test_no_more_encapsulated_frames_than_bytes():
    """A NumberOfFrames that the object cannot hold is no reason to make up frames."""
    data = encapsulated(NumberOfFrames=2_000_000_000)
    assert header_of(data).number_of_frames <= len(data) // 8


def test_no_more_native_frames_than_bytes():
    """A value's length is a claim: an object of a kilobyte has no two thousand million frames of one bit."""
    source = make.image(Rows=1, Columns=1, BitsAllocated=1, NumberOfFrames=2**31 - 1)
    for syntax in (make.EXPLICIT, make.DEFLATED):
        whole = make.encode(source, make.EXPLICIT)
        data = whole[:-52] + struct.pack("<I", 2**32 - 16) + whole[-48:]
        if syntax == make.DEFLATED:
            stream = zlib.compressobj(wbits=-15)
            data_set = make.without_meta(data)
            data = make.preamble(make.DEFLATED) + stream.compress(data_set) + stream.flush()
        assert header_of(data).number_of_frames == 48 * 8


def test_more_frames_than_any_image_has_are_refused():
    """Half a million frames is the limit: each becomes a row of the index."""
    source = make.image(Rows=1, Columns=1, BitsAllocated=8, NumberOfFrames=500_001, PixelData=bytes(500_002))
    with pytest.raises(HeaderError, match="500001 frames, more than the limit"):
        header_of(make.encode(source))


def test_encapsulated_pixels_of_a_native_syntax_are_not_taken_for_native():
    """Fragments in an object that declares no compression are no pixels: no range passes for a frame."""
    pixels = make.element(
        0x7FE00010, "OB", make.encapsulate([[b"\xff\xd8\xff\xe0"]]) + make.SEQUENCE_DELIMITER
    )
    source = make.encode(make.image(PixelData=None), make.EXPLICIT)
    data = source + pixels[:8] + b"\xff\xff\xff\xff" + pixels[12:]
    header = header_of(data)
    assert header.pixels.length is None
    assert (header.number_of_frames, header.locations) == (1, ())


# Behind its sequence that counts itself too short pydicom and the manifest's decoders find no pixels.
MENDED = "GH626.dcm"


@pytest.mark.real_data
def test_real_headers_count_the_frames_of_the_manifest(real_data):
    """Every readable real object has as many frames as the collection's manifest counts."""
    with (real_data / "manifest.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file) if row["name"].startswith("single/")}
    different = {}
    for name, row in rows.items():
        try:
            header = header_of((real_data / name).read_bytes())
        except ObjectError:
            continue
        if header.number_of_frames != int(row["n_frames"] or 0):
            different[name] = header.number_of_frames, row["n_frames"], row["notes"]
    assert different.pop(f"single/odd/{MENDED}")[:2] == (1, "0")
    assert different == {}
