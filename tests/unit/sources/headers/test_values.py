import base64
import json
import struct
import warnings
from typing import Any

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.base.errors import ObjectError
from dicom_series_preview.sources.headers.dataset import to_dataset
from dicom_series_preview.sources.headers.dicom_json import from_json, to_json
from dicom_series_preview.sources.headers.elements import BULK_VRS, Bulk
from indexing import elements_of, header_of, value_of

SYNTAXES = pytest.mark.parametrize("syntax", [*make.NATIVE, make.DEFLATED])


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """DICOM JSON without what may differ: private and binary elements, group lengths, empty parts."""
    kept = {}
    for key, body in document.items():
        is_private = int(key[:4], 16) & 1
        if is_private or key.endswith("0000") or str(body["vr"]) in BULK_VRS:
            continue
        values = body.get("Value", [])
        if body["vr"] == "SQ":
            values = [comparable(item) for item in values]
        else:
            values = [
                None if v in ("", None, {}) else v.rstrip(" ") if isinstance(v, str) else v for v in values
            ]
        kept[key] = (str(body["vr"]), values)
    return kept


def pydicoms(data: bytes) -> dict[str, Any]:
    """What pydicom makes of an object, as DICOM JSON."""
    read = pydicom.dcmread(DicomBytesIO(data), force=True, stop_before_pixels=True)
    document: dict[str, Any] = {}
    for part in (read.file_meta, read):
        document.update(part.to_json_dict(bulk_data_threshold=2**30, suppress_invalid_tags=True))
    return document


@SYNTAXES
def test_every_vr_reads_as_pydicom_reads_it(syntax):
    """Every element's DICOM JSON is pydicom's, in every native transfer syntax."""
    data = make.encode(make.every_vr(), syntax)
    mine = to_json(header_of(data).elements)
    assert comparable(mine) == comparable(pydicoms(data))
    assert len(mine) > 50


@pytest.mark.parametrize(
    ("vr", "raw", "value"),
    [
        ("DS", b"1.5\\2 ", (1.5, 2.0)),
        ("DS", b" 1.5 \\ -2e-3", (1.5, -0.002)),
        ("DS", b"1.#QNAN ", ("1.#QNAN",)),
        ("DS", b"1.5\\nan", (1.5, "nan")),
        ("DS", b"1e999 ", ("1e999",)),
        ("DS", b"1,5 ", ("1,5",)),
        ("DS", b"\\1", (None, 1.0)),
        ("DS", b"  ", ()),
        ("IS", b"1.0 ", (1,)),
        ("IS", b"+7\\-3 ", (7, -3)),
        ("IS", b"1.5 ", ("1.5",)),
        ("IS", b"1A", ("1A",)),
        ("IS", b"9" * 20, ("9" * 20,)),
        ("IS", b"9" * 400, ("9" * 400,)),
        ("IS", b"1e400 ", ("1e400",)),
        ("IS", b"1e30", ("1e30",)),
        ("IS", b"\\5\\", (None, 5, None)),
        ("US", b"\1\0\2\0", (1, 2)),
        ("US", b"", ()),
        ("CS", b"A \\B\0", ("A", "B")),
        ("CS", b"A\\\\B ", ("A", None, "B")),
        ("AE", b"  TITLE ", ("TITLE",)),
        ("LT", b"a\\b ", ("a\\b",)),
        ("UI", b"1.2.3\0", ("1.2.3",)),
    ],
)
def test_real_spellings_of_values(vr, raw, value):
    """Numbers read as real files write them; what is no number stays the text it is."""
    assert value_of(0x00091001, vr, raw) == value


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("", "Schädel".encode("latin-1"), "Schädel"),
        ("ISO_IR 100", "Schädel".encode("latin-1"), "Schädel"),
        ("ISO_IR 192", "Schädel".encode(), "Schädel"),
        ("GB18030", "王小东".encode("gb18030"), "王小东"),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=山田"),
        ("\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3", "Hong=洪"),
        ("ISO_IR 144", "Жщ".encode("iso8859-5"), "Жщ"),
        ("ISO-IR 100", "ä".encode("latin-1"), "ä"),
        ("no such set", "ä".encode("latin-1"), "ä"),
        ("ISO_IR\0 100", "ä".encode("latin-1"), "ä"),
    ],
)
def test_character_sets(charset, raw, text):
    """Text reads in its character set, declared, misspelt or undeclared."""
    raw += b" " * (len(raw) % 2)
    declared = charset.encode() + b" " * (len(charset) % 2)
    assert value_of(0x00100010, "PN", raw, make.element(0x00080005, "CS", declared)) == (text,)


def test_bytes_that_the_character_set_lacks_lose_nothing_else():
    """Bad bytes of a text become replacement characters; its row stays."""
    value = value_of(0x00081030, "LO", b"a\xff\xfeb", make.element(0x00080005, "CS", b"ISO_IR 192"))
    assert len(value) == 1
    assert value[0][0] == "a"
    assert value[0][-1] == "b"
    assert "\ufffd" in value[0]


def test_un_is_read_by_the_dictionary():
    """An element stored as UN whose VR the dictionary knows is read as what it is."""
    assert value_of(0x00280010, "UN", b"\2\1") == (258,)
    content = make.item(make.implicit_element(0x00080100, b"CODE"))
    items = value_of(0x00081140, "UN", content)
    assert items[0][0x00080100].value == ("CODE",)


def test_a_private_sequence_that_is_none_is_bulk():
    """What a private dictionary calls a sequence and is none costs nobody the object."""
    creator = make.element(0x00710010, "LO", b"AGFA-AG_HPState ")
    assert pydicom.datadict.private_dictionary_VR(0x00711018, "AGFA-AG_HPState") == "SQ"
    value = value_of(0x00711018, "UN", b"no items", creator)
    assert isinstance(value, Bulk)
    assert value.data == b"no items"


@pytest.mark.parametrize("syntax", make.NATIVE)
def test_bulk_is_known_by_size_and_hash(syntax):
    """Binary values are known by size and SHA-256; short ones and lookup tables stay."""
    source = make.image(PixelData=None)
    block = source.private_block(0x0029, "MAKER", create=True)
    block.add_new(1, "OB", bytes(5000))
    block.add_new(2, "OB", b"short!")
    make.add(
        source, 0x00281201, "OW", struct.pack("<" if syntax != make.BIG_ENDIAN else ">", *()) + bytes(4096)
    )
    elements = elements_of(source, syntax)
    long, short, table = elements[0x00291001].value, elements[0x00291002].value, elements[0x00281201].value
    assert (long.size, long.data) == (5000, None)
    assert (short.size, short.data) == (6, b"short!")
    assert (table.size, table.data) == (4096, bytes(4096))
    document = to_json(elements)
    assert document["00291001"]["BulkDataURI"].endswith("?size=5000")
    assert base64.b64decode(document["00291002"]["InlineBinary"]) == b"short!"
    assert from_json(json.loads(json.dumps(document))) == elements
    given_back = to_dataset(elements)
    assert 0x00291001 not in given_back
    assert given_back[0x00291002].value == b"short!"


def test_lookup_tables_in_big_endian_come_as_little_endian_words():
    """A lookup table's words are little endian whatever the object's byte order."""
    source = make.image(PixelData=None)
    make.add(source, 0x00281201, "OW", struct.pack(">4H", 1, 2, 300, 4000))
    value = elements_of(source, make.BIG_ENDIAN)[0x00281201].value
    assert struct.unpack("<4H", value.data) == (1, 2, 300, 4000)


# pydicom's JSON lacks what it cannot convert: bad UIDs and the like.
NOT_IN_PYDICOMS_JSON = {
    ("badVR.dcm", "00280008"),
    ("badVR.dcm", "300C0002"),
    ("rtdose.dcm", "300C0002"),
    ("GH342.dcm", "00400275"),
    ("bad_sequence.dcm", "00080018"),
    ("bad_sequence.dcm", "0020000D"),
    ("bad_sequence.dcm", "0020000E"),
    ("bad_sequence.dcm", "00200010"),
    ("multiframe_camelyon_challenge_image.dcm", "00200052"),
}


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["single", "malformed", "series"])
def test_every_element_of_real_headers_is_pydicoms(real_data, folder):
    """Every element of every real header has the DICOM JSON that pydicom gives it."""
    compared = 0
    for path in sorted((real_data / folder).rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            mine = comparable(to_json(header_of(data).elements))
        except ObjectError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of real files
            theirs = comparable(pydicoms(data))
        lacking = {key for key in mine.keys() - theirs.keys() if (path.name, key) in NOT_IN_PYDICOMS_JSON}
        assert mine.keys() - lacking == theirs.keys(), path
        for key, body in theirs.items():
            assert mine[key] == body, (path, key)
        compared += len(theirs)
    assert compared > {"single": 9_000, "malformed": 900, "series": 45_000}[folder]
