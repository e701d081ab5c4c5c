import csv
import struct
from collections.abc import Iterable
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError, NotDicomError, ObjectError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.scan import Incomplete, Scan, data_set_of, scan
from indexing import complete

PIXEL_TAG_BYTES = b"\xe0\x7f\x10\x00OW\0\0\x10\0\0\0"


def sequences():
    """Nested sequences, an empty one, and an empty item."""
    inner = make.dataset(CodeValue="1", PurposeOfReferenceCodeSequence=[make.dataset(CodeMeaning="inner")])
    return {"ReferencedImageSequence": [inner, make.dataset()], "ReferencedStudySequence": []}


def with_private(source):
    """A private block that holds what looks like pixel data and like items."""
    block = source.private_block(0x0029, "LOOKALIKE", create=True)
    block.add_new(0x10, "OB", PIXEL_TAG_BYTES * 5 + make.item(b"xx") + make.SEQUENCE_DELIMITER)
    block.add_new(0x11, "UN", PIXEL_TAG_BYTES)
    return source


def many_kinds():
    """A header with text, numbers, sequences and private data."""
    return with_private(make.image(WindowCenter=[40.0, 300.0], WindowWidth=[400.0, 1500.0], **sequences()))


def multi_frame(table):
    """An encapsulated object of three frames, the second in two fragments."""
    pixels = make.encapsulate([[b"one1"], [b"two2", b"2222"], [b"three3"]], table)
    return make.encode(make.image(NumberOfFrames=3, PixelData=pixels), make.JPEG)


GENERATED = {
    "implicit": make.encode(many_kinds(), make.IMPLICIT),
    "explicit": make.encode(many_kinds(), make.EXPLICIT),
    "big endian": make.encode(many_kinds(), make.BIG_ENDIAN),
    "deflated": make.encode(many_kinds(), make.DEFLATED),
    "undefined lengths": make.encode(make.undefined_lengths(many_kinds()), make.EXPLICIT),
    "undefined lengths, implicit": make.encode(make.undefined_lengths(many_kinds()), make.IMPLICIT),
    "undefined lengths, big endian": make.encode(make.undefined_lengths(many_kinds()), make.BIG_ENDIAN),
    "no preamble": make.without_preamble(make.encode(many_kinds())),
    "no meta": make.without_meta(make.encode(many_kinds())),
    "no meta, implicit": make.without_meta(make.encode(many_kinds(), make.IMPLICIT)),
    "no meta, big endian": make.without_meta(make.encode(many_kinds(), make.BIG_ENDIAN)),
    "no pixels": make.encode(make.report(**sequences())),
    "encapsulated": make.encode(make.image(PixelData=make.encapsulate([[b"frame!"]])), make.JPEG),
    "true offset table": multi_frame(None),
    "empty offset table": multi_frame(()),
    "UN sequence": make.preamble()
    + make.element(0x00080016, "UI", b"1.2\0")
    + make.element(
        0x00090010,
        "UN",
        make.item(make.implicit_element(0x00080100, b"CODE")) + make.SEQUENCE_DELIMITER,
        -1 % 2**32,
    )
    + make.element(0x7FE00010, "OW", b"12"),
}
OBJECTS = pytest.mark.parametrize("data", GENERATED.values(), ids=GENERATED.keys())


def needed(data: bytes, whole: Scan) -> int:
    """The bytes that a reader must have seen to know that the header is complete."""
    if whole.pixels is None or whole.deflated:
        return len(data)
    if whole.pixels.length is None:
        return whole.length if whole.pixels.offset_table else whole.pixels.offset + 8
    return whole.pixels.offset


def assert_cuts_are_told(data: bytes, cuts: Iterable[int]) -> None:
    """No part of a header passes for the whole, neither while more can be had nor where the object ends."""
    whole = complete(data, len(data))
    for number, cut in enumerate(cuts):
        part = data[:cut]
        answer = scan(part, len(data))
        assert isinstance(answer, Incomplete), cut
        assert cut < answer.at_least <= len(data), cut
        if cut < whole.length and number % 3 == 0:
            unsized = scan(part, None)
            assert isinstance(unsized, Incomplete), cut
            assert unsized.at_least > cut, cut
        try:
            ended = scan(part, cut)
        except (HeaderError, NotDicomError):
            continue
        assert isinstance(ended, Scan), cut
        # Between two elements an object may end: fewer of them, each as it is, and no pixels made up.
        assert ended.elements.items() <= whole.elements.items(), cut
        assert ended.pixels is None or ended.elements == whole.elements, cut


def assert_steps_arrive(data: bytes, size: int | None, start: int = 0) -> None:
    """Fetching no more than what is asked for, again and again, ends with the whole object's answer."""
    whole = complete(data, len(data))
    have = start
    for _ in range(len(whole.elements) * 40 + 40):
        answer = scan(data[:have], size)
        if isinstance(answer, Scan):
            assert answer == whole
            return
        if answer.at_least > len(data):
            # Only where the object's size is not known can more be asked for than there is.
            assert size is None
            assert complete(data, len(data)) == whole
            return
        have = answer.at_least
    pytest.fail("the walk does not end")


@OBJECTS
def test_every_cut_is_told_from_a_complete_header(data):
    """A header is complete only at a pixel data element, beyond it, or at the object's end."""
    assert_cuts_are_told(data, range(needed(data, complete(data, len(data)))))


@OBJECTS
def test_what_follows_the_header_changes_nothing(data):
    """A complete header reads the same however many bytes of the pixels came with it."""
    whole = complete(data, len(data))
    for end in range(needed(data, whole), len(data) + 1):
        assert complete(data[:end], len(data)) == whole


@OBJECTS
@pytest.mark.parametrize("start", [0, 1, 200])
@pytest.mark.parametrize("sized", [True, False])
def test_the_least_bytes_asked_for_lead_to_the_header(data, start, sized):
    """Fetching just the bytes that are asked for ends with the answer of the whole object."""
    assert_steps_arrive(data, len(data) if sized else None, start)


@pytest.mark.parametrize("syntax", make.NATIVE)
def test_the_walk_finds_what_pydicom_finds(syntax):
    """Tags, VRs, pixel offset and transfer syntax are those that pydicom reads."""
    data = make.encode(many_kinds(), syntax)
    found = complete(data, len(data))
    read = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    pixels = read.get_item("PixelData")
    assert found.transfer_syntax_uid == syntax
    assert {t for t in found.elements if t >> 16 > 2} == {e.tag for e in read if e.tag != 0x7FE00010}
    assert found.pixels is not None
    assert data[found.pixels.offset : found.pixels.offset + 48] == read.PixelData
    assert found.pixels.length == pixels.length == 48
    assert found.length == found.pixels.offset


def test_lookalikes_are_data():
    """Private bytes that look like a pixel data element are the value they lie in."""
    data = GENERATED["explicit"]
    found = complete(data, len(data))
    assert found.elements[0x00291010].value.count(PIXEL_TAG_BYTES) == 5
    assert found.pixels is not None
    assert data[found.pixels.offset :] == make.PIXELS


@pytest.mark.parametrize("name", ["FloatPixelData", "DoubleFloatPixelData"])
def test_float_pixels_end_the_header_too(name):
    """Each of the three pixel data elements ends the header."""
    source = make.image(PixelData=None, BitsAllocated=64)
    setattr(source, name, bytes(64))
    data = make.encode(source)
    found = complete(data, len(data))
    assert found.pixels is not None
    assert found.pixels.keyword == name
    assert found.length == len(data) - 64


def test_a_tag_beyond_the_pixels_ends_the_header():
    """Trailing padding behind an object without pixels belongs to no header and needs no bytes."""
    head = make.encode(make.report())
    data = head + make.element(0xFFFCFFFC, "OB", bytes(500))
    found = complete(data[: len(head) + 8], len(data))
    assert found.pixels is None
    assert found.length == len(head)
    assert isinstance(scan(data[: len(head) + 7], len(data)), Incomplete)


@pytest.mark.parametrize("tag", [0xFFFF0000, 0xFFFFFFFF])
def test_an_element_of_a_forbidden_group_is_broken(tag):
    """No data set has a group FFFF (PS3.5 7.1): where it stands, a length before it was wrong."""
    head = make.encode(make.report())
    data = head + make.element(tag, "OB", bytes(8))
    with pytest.raises(HeaderError, match=f"broken: .* at byte {len(head)} is no element of a data set"):
        scan(data, len(data))


@pytest.mark.parametrize("stray", [b"\0", bytes(7), bytes(500)])
def test_zeros_behind_the_last_element_are_padding(stray):
    """Zeros behind the last element are padding."""
    head = make.encode(make.report())
    assert complete(head + stray, len(head + stray)).elements == complete(head, len(head)).elements


def test_an_object_that_ends_inside_an_element_head_is_cut_off():
    """An element whose head is cut off by the object's end makes no complete header."""
    data = make.encode(make.report()) + b"\x40\x00\x43"
    with pytest.raises(HeaderError, match="cut off"):
        scan(data, len(data))


def test_a_value_beyond_the_object_is_refused_without_fetching_it():
    """A length that the object cannot hold is an error at once, and not a reason to fetch more."""
    data = make.preamble() + make.element(0x00080016, "UI", b"1.2", 60_000)
    with pytest.raises(HeaderError, match=r"\(0008,0016\).*cut off|cut off.*\(0008,0016\)"):
        scan(data[: len(data) - 3], len(data))


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.IMPLICIT])
def test_nesting_without_end_is_an_error(syntax):
    """Sequences nested beyond reason are a named reason, not a crash."""
    explicit = syntax == make.EXPLICIT
    open_sequence = (
        (
            make.element(0x00081140, "SQ", b"", 2**32 - 1)
            if explicit
            else make.implicit_element(0x00081140, b"", 2**32 - 1)
        )
        + make.ITEM
        + b"\xff\xff\xff\xff"
    )
    data = make.preamble(syntax) + open_sequence * 5000
    with pytest.raises(HeaderError, match="nested"):
        scan(data, len(data))


@pytest.mark.parametrize(
    ("declared", "actual"),
    [
        (make.IMPLICIT, make.EXPLICIT),
        (make.EXPLICIT, make.IMPLICIT),
        (make.BIG_ENDIAN, make.EXPLICIT),
        (make.EXPLICIT, make.BIG_ENDIAN),
        (None, make.IMPLICIT),
        (None, make.EXPLICIT),
        (None, make.BIG_ENDIAN),
    ],
)
def test_the_data_set_tells_its_encoding_better_than_the_declaration(declared, actual):
    """A native object that is another than it declares is read, and known, as what it is."""
    data = make.preamble(declared) + make.without_meta(make.encode(many_kinds(), actual))
    found = complete(data, len(data))
    true = make.encode(many_kinds(), actual)
    expected = complete(true, len(true)).elements
    assert found.transfer_syntax_uid == actual
    # Where they lie differs: the file meta information is shorter.
    assert {t: e._replace(start=0, behind=0) for t, e in found.elements.items() if t >> 16 > 2} == {
        t: e._replace(start=0, behind=0) for t, e in expected.items() if t >> 16 > 2
    }


def test_meta_information_in_implicit_vr_is_read():
    """File meta information in implicit VR, which the standard does not allow, is read."""
    meta = make.implicit_element(0x00020010, make.EXPLICIT.encode() + b"\0")
    data = bytes(128) + b"DICM" + meta + make.without_meta(make.encode(make.image()))
    assert complete(data, len(data)).transfer_syntax_uid == make.EXPLICIT


def test_a_vr_of_the_future_has_the_long_form():
    """An unknown VR has a 32-bit length, as the standard promises, and is read over."""
    data = (
        make.preamble()
        + make.element(0x00080016, "UI", b"1.2\0")
        + struct.pack("<HH2sHI", 0x0008, 0x0017, b"ZZ", 0, 4)
        + b"abcd"
        + make.element(0x00080018, "UI", b"1.3\0")
    )
    found = complete(data, len(data))
    assert (found.elements[0x00080017].vr, found.elements[0x00080017].value) == ("UN", b"abcd")
    assert found.elements[0x00080018].value == b"1.3\0"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (bytes(128) + b"DICM", "no data set"),
        (make.preamble(), "no data set"),
        (b"\x1f\x8b" + bytes(500), "gzip"),
        (b"PK\x03\x04" + bytes(500), "zip"),
        (b"\x89PNG\r\n" + bytes(500), "PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(500), "JPEG"),
        (b"%PDF-1.7" + bytes(500), "PDF"),
        (b"PAR1" + bytes(500), "Parquet"),
        (b"<html><body>AccessDenied</body></html>\n" * 9, "text"),
        (b"short", "text"),
        (bytes(5000), "no DICM prefix"),
        (b"\x08\x00\x05\x00\x10\x00\x00\x00" + bytes(16), "not DICOM"),
    ],
)
def test_what_is_no_dicom_is_named(data, reason):
    """The content decides what is DICOM, and names what is not."""
    with pytest.raises(NotDicomError, match=reason):
        scan(data, len(data))


def test_a_deflated_object_is_needed_whole():
    """Deflated objects are fetched whole, and their pixels' offset counts in the inflated data set."""
    data = GENERATED["deflated"]
    assert scan(data[:400], len(data)) == Incomplete(len(data))
    found = complete(data, len(data))
    assert found.deflated
    assert found.length == len(data)
    assert found.pixels is not None
    assert data_set_of(data)[found.pixels.offset :] == make.PIXELS


@pytest.mark.parametrize("damage", [lambda d: d[:-20], lambda d: d[:-40] + b"\xff" * 40])
def test_a_broken_deflated_object_is_named(damage):
    """A deflated data set that is cut off or broken is a named reason."""
    data = damage(GENERATED["deflated"])
    with pytest.raises(HeaderError, match="deflated"):
        scan(data, len(data))


def test_something_else_where_an_item_must_be_is_broken():
    """An undefined length that does not hold items is a named reason, with its byte."""
    data = make.preamble() + make.element(0x00081140, "SQ", b"\x08\x00\x18\x00" + bytes(20), 2**32 - 1)
    with pytest.raises(HeaderError, match=r"\(0008,0018\) at byte \d+ stands where an item must"):
        scan(data, len(data))


def test_an_item_may_be_closed_by_the_end_of_its_sequence():
    """An item without its delimiter ends where its sequence does."""
    content = make.ITEM + b"\xff" * 4 + make.element(0x00080100, "SH", b"CODE") + make.SEQUENCE_DELIMITER
    data = (
        make.preamble()
        + make.element(0x00081140, "SQ", content, 2**32 - 1)
        + make.element(0x00081155, "UI", b"1.2\0")
    )
    assert complete(data, len(data)).elements[0x00081155].value == b"1.2\0"


@given(
    name=st.sampled_from(sorted(GENERATED)),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=4),
    cut=st.integers(0, 3000),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_crash_the_walk(name, changes, cut):
    """Whatever bytes come, the answer is a header, a need, or a named reason."""
    data = bytearray(GENERATED[name])
    for at, replacement in changes:
        at %= len(data)  # noqa: PLW2901
        data[at : at + len(replacement)] = replacement
    part = bytes(data[:cut])
    try:
        answer = scan(part, len(data), Limits(inflated_bytes=2**20))
    except ObjectError:
        return
    if isinstance(answer, Incomplete):
        assert len(part) < answer.at_least <= len(data)


def boundaries(path: Path, length: int) -> list[int]:
    """The cuts to try in a real header of this length.

    All of a short one; of a long one all that are next to an element's first byte, and every 97th.
    """
    if length <= 400:
        return list(range(length))
    cuts = set(range(0, length, 97))
    read = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    for part in (read.file_meta, read):
        for tag in list(part.keys()):
            raw = part.get_item(tag)
            start = (
                raw.value_tell if isinstance(raw, pydicom.dataelem.RawDataElement) else raw.file_tell
            ) - 8
            cuts.update((start - 1, start, start + 1))
    return sorted(cut for cut in cuts if 0 <= cut < length)


def representatives(real_data: Path) -> list[Path]:
    """One real object of each kind: transfer syntaxes, modalities, long headers, broken ones."""
    folders = [folder for part in ("single", "series") for folder in sorted((real_data / part).iterdir())]
    chosen = [min((p for p in folder.iterdir() if p.is_file()), key=lambda p: p.name) for folder in folders]
    named = ("no_preamble.dcm", "54-implicit-file-meta-info.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm")
    named += ("badVR.dcm", "ExplVR_LitEndNoMeta.dcm", "MR_small_padded.dcm", "trailing_garbage.dcm")
    return chosen + [real_data / "malformed" / name for name in named]


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # pydicom's, of real files
@pytest.mark.parametrize("part", range(2))
def test_every_cut_of_real_headers_is_told(real_data, part):
    """A header is complete only at a pixel data element, beyond it, or at the object's end."""
    seen = []
    for path in representatives(real_data)[part::2]:
        data = path.read_bytes()
        whole = complete(data, len(data))
        cuts = boundaries(path, needed(data, whole))
        if whole.deflated:
            cuts = cuts[::50]
        # The same image in other transfer syntaxes has the same header up to its pixels: its end is enough.
        tags = {(tag, e.vr, e.little) for tag, e in whole.elements.items() if tag >> 16 > 2}
        is_like_another = any(len(tags & other) > 0.85 * len(tags) for other in seen)
        assert_cuts_are_told(data, cuts[-40:] if is_like_another else cuts)
        seen.append(tags)
        assert_steps_arrive(data, len(data), whole.length // 2)


@pytest.mark.real_data
def test_real_headers_take_no_more_than_their_bytes(real_data):
    """The bytes before the pixels are enough to know a header, plus the offset table of encapsulated ones."""
    with (real_data / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"].startswith("single/")]
    counted = 0
    for row in rows:
        if row["header_bytes_before_pixel_value_max"].isdigit():
            data = (real_data / row["name"]).read_bytes()
            known = int(row["header_bytes_before_pixel_value_max"])
            found = complete(data, len(data))
            assert found.pixels is not None, row["name"]
            assert found.pixels.offset == known, row["name"]
            assert needed(data, found) <= known + 8 + 4 * len(found.pixels.offset_table), row["name"]
            counted += 1
    assert counted > 100
