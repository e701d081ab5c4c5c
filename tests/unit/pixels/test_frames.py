import struct
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Record
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    CredentialsError,
    DecodeError,
    HeaderError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import FetchOptions, _fetch, fetch_frames
from dicom_series_preview.sources.headers.overlay_data import overlay_data
from dicom_series_preview.sources.storage.base import ByteRange
from dicom_series_preview.sources.storage.in_flight import InFlight
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.prefetched import Prefetched
from doubles import CountingStorage, FailingStorage, WatchedStorage, Wrapper
from indexing import readable_records

SERIES = "s"
JPEG_FRAMES = [[b"\xff\xd8\xffone!!"[:8]], [b"\xff\xd8\xfftwo22", b"more"], [b"\xff\xd8\xffthree"]]
CODESTREAMS = [b"".join(frame) for frame in JPEG_FRAMES]


class Held:
    """Objects in a counted storage, and their slices by file name and frame."""

    def __init__(self, objects, *, overlays=False):
        self.memory = MemoryStorage({f"{SERIES}/{name}": data for name, data in objects.items()})
        self.storage = CountingStorage(self.memory)
        index = SeriesIndexer(self.memory, None, Limits()).open(SeriesName(SERIES)).index
        rows = np.flatnonzero(index.table["FrameNumber"].is_valid().to_numpy())
        slices = index.slices(rows.tolist(), overlays=overlays)
        self.slices = sorted(slices, key=lambda s: (s.file_name, s.frame_number))

    def fetch(self, slices=None, storage=None, options=None):
        """Frames in the order of the slices."""
        wanted = self.slices if slices is None else slices
        got = {f.slice.row: f for f in fetch_frames(storage or self.storage, SERIES, wanted, options)}
        assert got.keys() == {s.row for s in wanted}
        return [got[s.row] for s in wanted]

    def data(self):
        """Each frame's bytes; none may have failed."""
        frames = self.fetch()
        assert [f.error for f in frames] == [None] * len(frames)
        return [f.data for f in frames]


def one(source, syntax=make.EXPLICIT):
    """An object of a data set."""
    return Held({"a": make.encode(source, syntax)})


def compressed(table=None, frames=JPEG_FRAMES, **elements):
    """A JPEG object."""
    pixels = make.encapsulate(frames, table)
    return make.encode(
        make.image(**{"NumberOfFrames": len(frames), "PixelData": pixels, **elements}), make.JPEG
    )


# --- native


@pytest.mark.parametrize("syntax", make.NATIVE)
def test_native_frames_are_one_range_each(syntax):
    """A native frame is one request of just its bytes."""
    held = one(make.image(NumberOfFrames=3, PixelData=bytes(range(144))), syntax)
    assert held.data() == [bytes(range(i, i + 48)) for i in (0, 48, 96)]
    assert len(held.storage.ranges) == 3
    assert held.storage.received == 144


def one_bit(frames, rows=3, columns=5):
    """Frames of 1-bit pixels, packed one behind the other."""
    bits = np.concatenate([frame.ravel() for frame in frames])
    packed = np.packbits(bits, bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    return make.image(
        Rows=rows,
        Columns=columns,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        NumberOfFrames=len(frames),
        PixelData=packed,
    )


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.DEFLATED])
def test_one_bit_frames_say_where_they_begin(syntax):
    """A frame of 1-bit pixels begins at a bit of its first byte, which is told."""
    random = np.random.default_rng(1)
    frames = [random.integers(0, 2, (3, 5), dtype=np.uint8) for _ in range(9)]
    held = one(one_bit(frames), syntax)
    for fetched, frame in zip(held.fetch(), frames, strict=True):
        bits = np.unpackbits(np.frombuffer(fetched.data, np.uint8), bitorder="little")
        found = bits[fetched.bit_offset : fetched.bit_offset + 15].reshape(3, 5)
        assert (found == frame).all()
        assert len(fetched.data) <= 3


def test_native_pixels_that_are_cut_off_are_no_more_than_there_is():
    """Of pixels that are cut off come the bytes there are, for the decoder to refuse."""
    data = make.encode(make.image(NumberOfFrames=2, PixelData=bytes(range(96))))[:-10]
    assert [len(f.data) for f in Held({"a": data}).fetch()] == [48, 38]


def test_deflated_frames_share_one_request():
    """Frames of a deflated object come from one request for the whole of it."""
    held = one(make.image(NumberOfFrames=3, PixelData=bytes(range(144))), make.DEFLATED)
    assert held.data() == [bytes(range(i, i + 48)) for i in (0, 48, 96)]
    assert [(r.start, r.end) for r in held.storage.ranges] == [(0, None)]


# --- encapsulated


def test_encapsulated_frames_are_one_range_each():
    """With a true offset table each frame is one request, its fragments joined."""
    data = compressed()
    held = Held({"a": data})
    assert held.data() == CODESTREAMS
    assert len(held.storage.ranges) == 3
    assert all(r.end is not None and r.start > 0 for r in held.storage.ranges)
    pixels = pydicom.dcmread(DicomBytesIO(data)).PixelData
    assert held.data() == list(generate_frames(pixels, number_of_frames=3))


@pytest.mark.parametrize("table", [(), None, (0, 7), (12345,)])
def test_a_single_frame_is_one_range(table):
    """A single encapsulated frame is one request from its first fragment on, whatever its table says."""
    held = Held({"a": compressed(table, [JPEG_FRAMES[1]], NumberOfFrames=None)})
    assert held.data() == [CODESTREAMS[1]]
    assert len(held.storage.ranges) == 1
    assert held.storage.ranges[0].start > 0


def test_frames_without_a_table_share_one_request():
    """Without an offset table all frames come from one request for the whole object."""
    held = Held({"a": compressed(())})
    assert held.data() == CODESTREAMS
    assert [(r.start, r.end) for r in held.storage.ranges] == [(0, None)]


@pytest.mark.parametrize("table", [(), (0, 20, 44)], ids=["none", "wrong"])
def test_what_the_whole_object_told_is_enough_for_each_frame(table):
    """When frames came from a whole object, all its frames are located, and each can be fetched alone."""
    whole = compressed((), SOPInstanceUID="1.3")
    objects = {"a": compressed(table), "b": compressed(SOPInstanceUID="1.2")}
    held = Held({**objects, "c": whole[: whole.index(b"three") + 2]})
    found = {}
    frames = list(
        fetch_frames(held.storage, SERIES, held.slices[1:], FetchOptions(located=found.__setitem__))
    )
    assert len(frames) == 8
    # What has a table needs no help, and of what is cut off the last frame lies nowhere.
    assert found.keys() == {"a"}
    held.storage.reset()
    alone = [
        replace(item, location=location) for item, location in zip(held.slices[:3], found["a"], strict=True)
    ]
    assert [frame.data for frame in held.fetch(alone)] == CODESTREAMS
    assert sorted((r.start, r.end) for r in held.storage.ranges) == [
        (at.offset, at.offset + at.length) for at in found["a"]
    ]


@pytest.mark.parametrize(
    "table",
    [(0, 20, 44), (0, 12, 30), (0, 17, 18), (0, 2**31, 2**32 - 1), (0, 16, 60)],
    ids=["late", "early", "in a value", "far beyond", "the last"],
)
def test_a_wrong_table_costs_one_more_request_and_no_frame(table):
    """Where the offset table is wrong the frames come from the whole object, asked for once."""
    held = Held({"a": compressed(table)})
    assert held.data() == CODESTREAMS
    assert len([r for r in held.storage.ranges if r.end is None]) == 1
    assert len(held.storage.ranges) <= 4


def extended(places, lengths, **elements):
    """A JPEG object with an extended offset table."""
    frames = [[CODESTREAMS[0]], [CODESTREAMS[1]], [CODESTREAMS[2]]]
    return compressed(
        (),
        frames,
        ExtendedOffsetTable=struct.pack("<3Q", *places),
        ExtendedOffsetTableLengths=struct.pack("<3Q", *lengths),
        **elements,
    )


def extended_truth():
    """Where the frames of `extended` lie."""
    return make.offsets([make.item(stream) for stream in CODESTREAMS]), [len(s) for s in CODESTREAMS]


def test_the_extended_offset_table_is_used():
    """With an extended offset table each frame is one request."""
    held = Held({"a": extended(*extended_truth())})
    assert held.data() == CODESTREAMS
    assert all(r.end is not None for r in held.storage.ranges)


@pytest.mark.parametrize(
    "wrong",
    [([3, 3, 3], [9, 9, 9]), ([2**40] * 3, [9] * 3), ([0, 17, 40], [1, 1, 1])],
    ids=["not at items", "beyond the object", "too short"],
)
def test_a_wrong_extended_table_costs_no_frame(wrong):
    """Where the extended offset table is wrong each frame comes once, from the whole object."""
    held = Held({"a": extended(*wrong)})
    assert held.data() == CODESTREAMS


def test_each_frame_comes_once():
    """No frame comes twice, though frames share requests and requests are made again."""
    held = Held({"a": extended([3, 3, 3], [9, 9, 9]), "b": compressed(()), "c": compressed()})
    rows = [f.slice.row for f in fetch_frames(held.storage, SERIES, held.slices)]
    assert sorted(rows) == sorted(s.row for s in held.slices)
    assert len(rows) == 9


def test_some_frames_cost_some_ranges():
    """Only what was asked for is fetched."""
    held = Held({str(i): compressed(SOPInstanceUID=f"1.{i}") for i in range(3)})
    wanted = [held.slices[1], held.slices[8]]
    assert [f.data for f in held.fetch(wanted)] == [CODESTREAMS[1], CODESTREAMS[2]]
    assert len(held.storage.ranges) == 2
    assert held.fetch([]) == []


# --- joined

JOINED = FetchOptions(joined_bytes=10_000)


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.BIG_ENDIAN])
def test_frames_that_follow_each_other_share_a_request_where_asked_to(syntax):
    """Joined, the frames of an object are one request of just their bytes, in whatever order."""
    held = one(make.image(NumberOfFrames=3, PixelData=bytes(range(144))), syntax)
    alone = held.data()
    asked = len(held.storage.ranges)
    assert [f.data for f in held.fetch(held.slices[::-1], options=JOINED)] == alone[::-1]
    assert len(held.storage.ranges) == asked + 1


def test_codestreams_that_follow_each_other_share_a_request():
    """Joined, each encapsulated frame is its own codestream and no byte of the next."""
    held = Held({"a": compressed()})
    assert [f.data for f in held.fetch(options=JOINED)] == CODESTREAMS
    assert len(held.storage.ranges) == 1


def test_joined_requests_have_a_largest_size():
    """A request grows no larger than is allowed; frames with others between them are not joined."""
    held = one(make.image(NumberOfFrames=3, PixelData=bytes(range(144))))
    held.fetch(options=FetchOptions(joined_bytes=96))
    assert sorted(r.end - r.start for r in held.storage.ranges) == [48, 96]
    held.storage.ranges.clear()
    held.fetch([held.slices[0], held.slices[2]], options=JOINED)
    assert sorted(r.end - r.start for r in held.storage.ranges) == [48, 48]


def test_one_bit_frames_that_share_a_byte_are_not_joined():
    """A frame that begins in another's last byte keeps a request of its own."""
    frames = [np.eye(3, 5, dtype=np.uint8)] * 4
    held = one(one_bit(frames))
    for fetched in held.fetch(options=JOINED):
        bits = np.unpackbits(np.frombuffer(fetched.data, np.uint8), bitorder="little")
        assert (bits[fetched.bit_offset : fetched.bit_offset + 15].reshape(3, 5) == frames[0]).all()


def test_joined_frames_of_a_wrong_table_are_found():
    """Where the table is wrong, joined frames come from the whole object, as those that are alone do."""
    held = Held({"a": compressed((0, 20, 44))})
    assert [f.data for f in held.fetch(options=JOINED)] == CODESTREAMS


def test_joined_frames_that_are_cut_off_fail_alone():
    """Of an object that ends too early, frames that are there are right; the last has what there is."""
    data = make.encode(make.image(NumberOfFrames=2, PixelData=bytes(range(96))))[:-10]
    assert [len(f.data) for f in Held({"a": data}).fetch(options=JOINED)] == [48, 38]


# --- overlays


def with_overlay(source, **elements):
    """A data set with a plane of 10 x 10 bits."""
    return make.overlay(source, np.ones((10, 10), bool), **elements)


def headers_of(held):
    """What each frame has of its object's header; all of them must be readable, and the frames be there."""
    frames = held.fetch()
    assert [f.error for f in frames] == [None] * len(frames)
    return [overlay_data(f.header, f.slice.object_size) for f in frames]


BITS = {0x6000: np.packbits(np.ones(100, bool), bitorder="little").tobytes() + b"\0"}


@pytest.mark.parametrize("syntax", [make.IMPLICIT, make.EXPLICIT, make.DEFLATED])
def test_header_comes_with_a_single_frame(syntax):
    """A frame whose overlay is wanted comes with its header, in one request from the first byte on."""
    held = Held({"a": make.encode(with_overlay(make.image()), syntax)}, overlays=True)
    assert held.data() == [make.PIXELS]
    assert [r.start for r in held.storage.ranges] == [0]
    assert headers_of(held) == [BITS]


def test_header_comes_with_a_single_codestream():
    """So it does with a compressed frame."""
    source = with_overlay(make.image(PixelData=make.encapsulate([JPEG_FRAMES[1]])))
    held = Held({"a": make.encode(source, make.JPEG)}, overlays=True)
    assert held.data() == [CODESTREAMS[1]]
    assert [r.start for r in held.storage.ranges] == [0]
    assert headers_of(held) == [BITS]


def test_frames_share_the_request_for_their_header():
    """Of an object with several frames the header is one request more, and no byte of it comes twice."""
    native = with_overlay(make.image(NumberOfFrames=3, PixelData=bytes(range(144))))
    encapsulated = with_overlay(make.image(NumberOfFrames=3, PixelData=make.encapsulate(JPEG_FRAMES, None)))
    for source, syntax, frames in (
        (native, make.EXPLICIT, [bytes(range(i, i + 48)) for i in (0, 48, 96)]),
        (encapsulated, make.JPEG, CODESTREAMS),
    ):
        data = make.encode(source, syntax)
        held = Held({"a": data}, overlays=True)
        assert held.data() == frames
        assert sorted(r.start for r in held.storage.ranges)[:2] == [0, held.slices[0].location.offset]
        assert held.storage.received <= len(data)
        assert headers_of(held) == [BITS] * 3


@pytest.mark.parametrize("table", [(), (0, 20, 44)], ids=["none", "wrong"])
def test_whole_objects_bring_their_header(table):
    """Frames that come from their whole object find the header in it."""
    source = with_overlay(make.image(NumberOfFrames=3, PixelData=make.encapsulate(JPEG_FRAMES, table)))
    held = Held({"a": make.encode(source, make.JPEG)}, overlays=True)
    assert held.data() == CODESTREAMS
    assert headers_of(held) == [BITS] * 3


def test_frames_without_overlays_come_alone():
    """No header is asked for where there is no overlay, none was asked for, or it lies in the pixel data."""
    embedded = {"OverlayBitsAllocated": 16, "OverlayBitPosition": 12, "OverlayData": None}
    for source, overlays in (
        (make.image(), True),
        (with_overlay(make.image()), False),
        (with_overlay(make.image(), **embedded), True),
    ):
        held = Held({"a": make.encode(source)}, overlays=overlays)
        assert held.data() == [make.PIXELS]
        assert held.storage.received == 48


def test_a_header_that_is_withheld_is_its_frames_error():
    """Where the storage gives no header, the object's frames fail with its reason, and no others."""
    several = make.encode(with_overlay(make.image(NumberOfFrames=2, PixelData=bytes(96))))
    held = Held({"a": several, "b": make.encode(make.image(2))}, overlays=True)

    class Withholding(Wrapper):
        def fetch(self, ranges):
            for fetched in super().fetch(ranges):
                error = AccessDeniedError("memory://x/a") if fetched.range.start == 0 else None
                yield replace(fetched, data=b"" if error else fetched.data, error=error)

    errors = [type(frame.error) for frame in held.fetch(storage=Withholding(held.memory))]
    assert errors == [AccessDeniedError, AccessDeniedError, type(None)]


# --- what is broken


def cut_at(data, mark, extra):
    """The object up to a few bytes behind a mark."""
    return data[: data.index(mark) + len(mark) + extra]


@pytest.mark.parametrize("table", [None, ()], ids=["table", "no table"])
def test_a_frame_that_is_cut_off_is_an_error_and_the_others_are_frames(table):
    """The frame an encapsulated object breaks off in is a named error, never a part of a codestream."""
    held = Held({"a": cut_at(compressed(table), b"\xff\xd8\xffth", 0)})
    frames = held.fetch()
    assert [f.data for f in frames] == [*CODESTREAMS[:2], b""]
    assert isinstance(frames[2].error, HeaderError)
    assert "cut off" in str(frames[2].error)
    assert frames[0].error is frames[1].error is None


def test_a_single_frame_that_is_cut_off_is_an_error():
    """A single frame that is cut off is a named error."""
    frame = Held({"a": compressed((), [JPEG_FRAMES[2]])[:-30]}).fetch()[0]
    assert isinstance(frame.error, HeaderError)
    assert frame.data == b""


def test_fragments_in_a_native_object_are_an_error():
    """Fragments never pass for native pixels in an object that declares no compression."""
    data = make.encode(make.image(PixelData=make.encapsulate([[bytes(40)]])), make.JPEG)
    false = data.replace(make.JPEG.encode(), make.EXPLICIT.encode() + b"\0" * 3)
    assert len(false) == len(data)
    frame = Held({"a": false}).fetch()[0]
    assert isinstance(frame.error, DecodeError)
    assert "encapsulated" in str(frame.error)


@pytest.mark.parametrize("frames", [1, 2])
def test_native_pixels_of_a_compressed_syntax(frames):
    """Native pixels of the length that the header describes are native; of any other they are an error."""
    for length in (48 * frames, 48 * frames + 2, 48 * frames - 2):
        data = make.encode(make.image(NumberOfFrames=frames, PixelData=bytes(range(length))), make.EXPLICIT)
        false = data.replace(make.EXPLICIT.encode() + b"\0", make.RLE.encode() + b"\0", 1)
        assert len(false) == len(data)
        fetched = Held({"a": false}).fetch()
        if length == 48 * frames:
            assert b"".join(frame.data for frame in fetched) == bytes(range(length))
            assert {frame.slice.pixels.transfer_syntax_uid for frame in fetched} == {make.EXPLICIT}
        else:
            assert all(frame.error is not None and frame.data == b"" for frame in fetched)


# --- the storage


@pytest.mark.parametrize(
    "made",
    [
        compressed,
        lambda **uid: compressed((), **uid),
        lambda **uid: make.encode(make.image(**uid)),
    ],
)
def test_another_version_of_an_object_is_an_error(made):
    """Frames come from the version that the index describes, or the whole request fails."""
    held = Held({"a": made(SOPInstanceUID="1.1"), "b": made(SOPInstanceUID="1.2")})
    held.memory.put(f"{SERIES}/b", made(SOPInstanceUID="1.2"))
    with pytest.raises(ObjectChangedError):
        held.fetch()
    assert [f.error for f in held.fetch(held.slices[:1])] == [None]
    assert {r.version for r in held.storage.ranges} >= {held.slices[0].object_version}


@pytest.mark.parametrize(
    "error",
    [
        ObjectNotFoundError("memory://x/b"),
        AccessDeniedError("memory://x/b"),
        StorageError("memory://x/b", "cannot be addressed"),
    ],
)
def test_an_object_that_the_storage_withholds_is_an_error_frame(error):
    """A missing or denied object is its own frames' error, and no other's."""
    held = Held({name: make.encode(make.image(i)) for i, name in enumerate("abc")})
    frames = held.fetch(storage=FailingStorage(held.memory, {f"{SERIES}/b": error}))
    assert [f.error for f in frames] == [None, error, None]
    assert frames[1].data == b""


def test_a_missing_object_is_an_error_frame():
    """An object that is gone is an error frame with its reason."""
    held = Held({"a": make.encode(make.image(1)), "b": compressed(())})
    gone = MemoryStorage({})
    frames = held.fetch(storage=gone)
    assert all(isinstance(f.error, ObjectNotFoundError) for f in frames)
    assert len(frames) == 4


@pytest.mark.parametrize("kind", [StorageUnavailableError, CredentialsError])
def test_a_storage_that_fails_is_raised(kind):
    """A storage that fails beyond every retry, or for want of credentials, fails the request."""
    held = Held({"a": make.encode(make.image(1))})
    error = kind("memory://x", "throttled")
    with pytest.raises(kind):
        held.fetch(storage=FailingStorage(held.memory, {f"{SERIES}/a": error}))


def test_without_versions_nothing_is_pinned():
    """A slice without a version asks for whatever the object is now."""
    held = Held({"a": make.encode(make.image(1))})
    held.memory.put(f"{SERIES}/a", make.encode(make.image(1)))
    bare = [replace(s, object_version="") for s in held.slices]
    assert [f.error for f in held.fetch(bare)] == [None]


# --- real objects


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # pydicom's, of real files
@pytest.mark.parametrize("part", range(2))
def test_real_frames_are_pydicoms(real_data, part):
    """Frames of real objects, native and encapsulated, are the bytes that pydicom takes for them."""
    records, _ = readable_records(real_data / "single")
    compared = 0
    for record in [r for r in records if r.number_of_frames][part::2]:
        path = real_data / "single" / record.name
        storage = CountingStorage(MemoryStorage({f"{SERIES}/{record.name}": path.read_bytes()}))
        version = storage.list_objects(SERIES)[0].version
        table = build([replace(record, version=version)], Provenance(SERIES, "memory://objects", "f", 1))
        index = Index(table)
        rows = index.table["FrameNumber"].to_pylist()
        slices = index.frames(range(len(rows)))[:: max(1, len(rows) // 5)]
        frames = {f.slice.frame_number: f for f in fetch_frames(storage, SERIES, slices)}
        assert len(frames) == len(slices), path
        dataset = pydicom.dcmread(path, force=True)
        if path.name == "GH626.dcm":
            # Behind its sequence that counts itself too short pydicom finds no pixels.
            assert record.pixel_keyword not in dataset
            continue
        compared += compare(record, dataset, frames, path)
        assert len(storage.ranges) <= len(slices) + 1, path
    assert compared > 60


def compare(record: Record, dataset, frames, path) -> int:
    """Compare one object's frames with pydicom's bytes, and count them."""
    pixels = dataset[record.pixel_keyword].value
    count = record.number_of_frames
    if dataset[record.pixel_keyword].is_undefined_length:
        try:
            expected = list(generate_frames(pixels, number_of_frames=count))
        except ValueError:
            expected = [b"".join(generate_fragments(pixels))]
        for number, frame in frames.items():
            if frame.error is None:
                assert frame.data == expected[number - 1], (path, number)
        return sum(frame.error is None for frame in frames.values())
    bits = next(iter(frames.values())).slice.pixels.native_layout().frame_bits
    for number, frame in frames.items():
        first = (number - 1) * bits
        expected = pixels[first // 8 : (first + bits + 7) // 8]
        assert (frame.data, frame.bit_offset) == (expected, first % 8), (path, number)
    return len(frames)


# --- memory


@pytest.mark.parametrize(("room", "most"), [(240, 240), (150, 144), (48, 48), (1, 48)])
def test_no_more_is_under_way_than_there_is_room_for(room, most):
    """Ranges wait for their turn where the memory for them is full, and one is always under way."""
    watched = WatchedStorage(MemoryStorage({"a": bytes(480)}))
    ranges = {ByteRange("a", start, start + 48): 48 for start in range(0, 480, 48)}
    fetched = list(_fetch(watched, ranges, Prefetched(), InFlight(room)))
    assert {done.range for done in fetched} == ranges.keys()
    assert watched.most == most
    assert watched.under_way == 0


def test_large_frames_are_not_all_under_way_at_once():
    """Of frames larger than a MiB fewer are fetched at once."""
    side = 4096
    slices = [make.image(i, Rows=side, Columns=side, PixelData=bytes(2 * side**2)) for i in range(4)]
    held = Held({str(number): make.encode(one) for number, one in enumerate(slices)})
    watched = WatchedStorage(held.memory)
    assert [frame.error for frame in fetch_frames(watched, SERIES, held.slices)] == [None] * 4
    assert watched.most == 2 * 2 * side**2


def test_a_caller_may_have_less_room():
    """A caller that lacks memory has fewer bytes under way."""
    held = Held({"a": make.encode(make.image(NumberOfFrames=10, PixelData=bytes(480)))})
    watched = WatchedStorage(held.memory)
    frames = fetch_frames(watched, SERIES, held.slices, FetchOptions(in_flight_bytes=100))
    assert [frame.error for frame in frames] == [None] * 10
    assert watched.most == 96
