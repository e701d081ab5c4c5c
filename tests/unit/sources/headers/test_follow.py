import struct

import numpy as np
import pytest

import make_dicom as make
from counting_calls import calls
from dicom_series_preview.base.errors import ObjectError
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.dictionary import tag_of
from dicom_series_preview.sources.headers.header import Header, parse
from dicom_series_preview.sources.headers.scan import Incomplete
from indexing import header_of

SYNTAXES = pytest.mark.parametrize("syntax", make.NATIVE)


def slices(count, syntax=make.EXPLICIT, **elements):
    """Slices of one series, with what varies in length, in sequences and in private elements."""
    made = []
    for i in range(count):
        source = make.image(
            i + 1,
            AcquisitionTime=f"1200{i % 60:02}.{'1' * (1 + i % 5)}",
            WindowCenter=[40.0, 300.0],
            WindowWidth=[400.0, 1500.0],
            ReferencedImageSequence=[
                make.dataset(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=f"1.2.{10**j}")
                for j in range(1 + i % 3)
            ],
            **elements,
        )
        source.private_block(0x0029, "MAKER", create=True).add_new(0x10, "OB", bytes([i % 251]) * (300 + i))
        made.append(make.encode(make.undefined_lengths(source) if i % 4 == 3 else source, syntax))
    return made


def outcome(data, size, converter):
    """What becomes of an object's first bytes."""
    try:
        return parse(data, size, converter)
    except ObjectError as error:
        return repr(error)


def assert_alike(objects):
    """Objects are read one after the other as each is read alone."""
    converter = Converter()
    for data in objects:
        assert outcome(data, len(data), converter) == outcome(data, len(data), Converter())


@SYNTAXES
def test_headers_are_the_same_behind_others(syntax):
    """A header is what it is, whatever headers of its series were read before it."""
    assert_alike(slices(40, syntax))


@SYNTAXES
def test_a_cut_header_is_never_taken_for_whole(syntax):
    """Of a header that is laid out as earlier ones, a part is told from the whole at every byte."""
    objects = slices(6, syntax)
    converter = Converter()
    whole = [header_of(data, converter) for data in objects][-1]
    data = objects[-1]
    for cut in range(whole.length):
        for size in (len(data), cut, None):
            part = outcome(data[:cut], size, converter)
            assert part == outcome(data[:cut], size, Converter()), (cut, size)
            assert size == cut or isinstance(part, (Incomplete, str)), cut
    assert outcome(data[: whole.length], len(data), converter) == whole


def test_every_byte_counts():
    """A header that differs from earlier ones in one byte, whichever, is read as what it is alone."""
    first, second, data = slices(3)
    length = header_of(data).length
    converter = Converter()
    for position in range(128, length):
        for change in (0x01, 0x20, 0xFF):
            changed = data[:position] + bytes([data[position] ^ change]) + data[position + 1 :]
            for each in (first, second, changed):
                behind, alone = (outcome(each, len(each), one) for one in (converter, Converter()))
                assert repr(behind) == repr(alone), (position, change)
                if isinstance(behind, Header):
                    assert repr(behind.elements) == repr(alone.elements), (position, change)


def test_an_implicit_length_that_reads_like_a_vr_is_read_alike():
    """In implicit VR the first element's length may be the letters of a VR: the walk decides by them."""

    def data(length):
        first = make.implicit_element(0x00080008, b"A" * length)
        return make.preamble(make.IMPLICIT) + first + make.implicit_element(0x00080016, b"1.2\0")

    like_a_vr = struct.unpack("<H", b"CS")[0]
    assert_alike([data(length) for length in (4, 6, like_a_vr, 8, like_a_vr)])


def test_elements_that_decide_are_never_passed_over():
    """Character set, sign, private creators and transfer syntax are those of each object itself."""
    objects = []
    for charset, signed, creator in (
        ("ISO_IR 100", 0, "A"),
        ("ISO_IR 144", 1, "A"),
        ("ISO_IR 100", 0, "B"),
    ) * 3:
        source = make.image(1, SpecificCharacterSet=charset, PixelRepresentation=signed)
        make.add(source, 0x00081030, "LO", "\u00e4" if charset.endswith("100") else "\u0444")
        make.add(source, 0x00280106, "SS" if signed else "US", 5)
        source.private_block(0x0029, creator, create=True).add_new(0x10, "LO", "x")
        objects += [make.encode(source, syntax) for syntax in make.NATIVE]
    assert_alike(objects)


def test_the_number_of_frames_is_each_objects_own():
    """An offset table is read where the object itself has several frames."""
    objects = []
    for frames in (3, 3, 1, 2, 3):
        pixels = make.encapsulate([[b"frame!"]] * frames, None)
        objects.append(make.encode(make.image(NumberOfFrames=frames, PixelData=pixels), make.JPEG))
    assert_alike(objects)
    converter = Converter()
    assert [len(header_of(data, converter).locations) for data in objects] == [3, 3, 1, 2, 3]


def test_items_are_laid_out_like_those_before():
    """Items of one sequence that vary in elements, lengths and emptiness are read as each is alone."""
    items = [
        make.dataset(CodeValue="1", CodeMeaning="x" * n) if n % 3 else make.dataset(CodeMeaning="")
        for n in range(12)
    ]
    nested = make.image(1, ProcedureCodeSequence=[make.dataset(), *items, make.dataset()])
    objects = [make.encode(nested), make.encode(make.undefined_lengths(nested)), make.encode(nested)]
    assert_alike(objects)
    found = header_of(objects[0]).elements[tag_of("ProcedureCodeSequence")].value
    assert [len(item) for item in found] == [0, *(2 if n % 3 else 1 for n in range(12)), 0]


def test_a_header_like_the_one_before_is_not_walked():
    """Of 300 slices one header is walked, and of the others only what differs is converted."""
    objects = [make.encode(make.image(i + 1)) for i in range(300)]
    converter = Converter()
    counted = calls(lambda: [header_of(data, converter) for data in objects])
    assert counted["scan"] == 1
    # MediaStorageSOPInstanceUID, SOPInstanceUID, InstanceNumber and ImagePositionPatient differ, which the
    # length of group 0002 may.
    elements = len(header_of(objects[0]).elements)
    assert elements + 4 * 299 <= counted["value_of"] <= elements + 5 * 299
    assert counted.total() <= 220 * 300


def test_kinds_of_objects_that_take_turns_are_walked_once_each():
    """Localizers, reports and images of several kinds among each other cost one walk a kind."""
    kinds = [
        make.image,
        lambda i: make.image(i, KVP=120.0),
        lambda i: make.image(i, KVP=120.0, PatientName="A^B"),
        make.report,
    ]
    objects = [make.encode(kinds[i % 4](i + 1)) for i in range(80)]
    converter = Converter()
    assert calls(lambda: [header_of(data, converter) for data in objects])["scan"] == 4


def test_what_is_remembered_is_bounded():
    """Values and layouts that never come again are forgotten: a long series costs no more memory."""
    random = np.random.default_rng(1)
    converter = Converter()
    for i in range(200):
        keywords = random.permutation(["StudyID", "PatientID", "Manufacturer"])[: i % 4]
        some = {str(keyword): "x" for keyword in keywords}
        header_of(make.encode(make.image(i + 1, StudyDescription=f"{i}" * 20, **some)), converter)
    assert len(converter.root.layouts.known) <= 4
    assert all(len(part.known) <= 32 for layout in converter.root.layouts.known for part in layout.parts)


@pytest.mark.real_data
def test_real_headers_are_the_same_behind_others(real_data):
    """Real headers are what they are alone, in their series and among all others."""
    everything = Converter()
    for series in sorted((real_data / "series").iterdir()):
        converter = Converter()
        for path in sorted(path for path in series.rglob("*") if path.is_file()):
            data = path.read_bytes()
            alone = outcome(data, len(data), Converter())
            assert outcome(data, len(data), converter) == alone, path
            assert outcome(data, len(data), everything) == alone, path


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ct-chest-lidc-philips", "pt-wholebody-cps", "mr-fmri-ge-4d"])
def test_real_headers_are_seldom_walked(real_data, name):
    """Of a real series a handful of headers is walked, whatever its length."""
    objects = [
        path.read_bytes() for path in sorted((real_data / "series" / name).iterdir()) if path.is_file()
    ]
    converter = Converter()
    counted = calls(lambda: [outcome(data, len(data), converter) for data in objects])
    assert len(objects) >= 60
    assert counted["scan"] <= 4
