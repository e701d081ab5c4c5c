import struct

import pytest

import make_dicom as make
from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.dictionary import tag_of
from indexing import elements_of, header_of, value_of


def test_a_sequence_item_may_have_its_own_character_set():
    """An item's SpecificCharacterSet holds for the item, the root's for the others."""
    own = make.element(0x00080005, "CS", b"ISO_IR 192") + make.element(0x00080104, "LO", "ä".encode())
    inherits = make.element(0x00080104, "LO", b"\xe4 ")
    items = value_of(
        0x00081140, "SQ", make.item(own) + make.item(inherits), make.element(0x00080005, "CS", b"ISO_IR 100")
    )
    assert [item[0x00080104].value for item in items] == [("ä",), ("ä",)]


# --- one converter for a series


def test_equal_bytes_are_one_element():
    """What two objects of a series have in common is converted once, and found by identity."""
    converter = Converter()
    first = elements_of(make.image(1), converter=converter)
    second = elements_of(make.image(2), converter=converter)
    assert first[tag_of("PixelSpacing")] is second[tag_of("PixelSpacing")]
    assert first[tag_of("InstanceNumber")] != second[tag_of("InstanceNumber")]


def test_equal_bytes_in_other_character_sets_are_other_text():
    """The same bytes mean what the object's own character set says, whatever came before."""
    converter = Converter()
    names = []
    for charset in (b"ISO_IR 100", b"ISO_IR 144") * 2:
        data = (
            make.preamble()
            + make.element(0x00080005, "CS", charset)
            + make.element(0x00080016, "UI", b"1.2\0")
        )
        data += make.element(0x00081030, "LO", b"\xe4 ")
        names.append(header_of(data, converter).elements[0x00081030].first)
    assert names == ["ä", "\u0444"] * 2


def test_equal_bytes_of_a_signed_image_are_other_numbers():
    """A value that is signed where the pixels are follows its own object's PixelRepresentation."""
    converter = Converter()
    found = []
    for signed in (0, 1, 0):
        source = make.image(PixelRepresentation=signed)
        make.add(source, 0x00280106, "SS" if signed else "US", -2000 if signed else 63536)
        element = elements_of(source, make.IMPLICIT, converter)[0x00280106]
        found.append((element.vr, element.first))
    assert found == [("US", 63536), ("SS", -2000), ("US", 63536)]


def test_equal_private_tags_of_other_creators_are_other_elements():
    """A private element of an object in implicit VR is what its own block's creator says."""
    converter = Converter()
    found = []
    for creator, vr in (("GEMS_ACQU_01", "DS"), ("SIEMENS MED DISPLAY", "CS")):
        source = make.image()
        source.private_block(0x0019, creator, create=True)
        make.add(source, 0x0019100F, "UN", b"12")
        found.append(elements_of(source, make.IMPLICIT, converter)[0x0019100F].vr)
        assert found[-1] in {vr, "UN"}
    assert found[0] == "DS"
    assert found[0] != found[1]


# --- VRs that the bytes do not tell


def test_items_inherit_the_sign_of_the_pixels():
    """In implicit VR a nested value is signed where the enclosing data set's pixels are."""
    nested = make.add(make.dataset(), 0x00409216, "SS", -5)
    source = make.image(PixelRepresentation=1, RealWorldValueMappingSequence=[nested])
    element = elements_of(source, make.IMPLICIT)[tag_of("RealWorldValueMappingSequence")].first[0x00409216]
    assert (element.vr, element.value) == ("SS", (-5,))


def test_nesting_beyond_reason_is_an_error():
    """Sequences of defined length nested beyond reason are a named reason too."""
    content = b""
    for _ in range(200):
        content = make.element(0x00081140, "SQ", make.item(content))
    data = make.preamble() + make.element(0x00080016, "UI", b"1.2\0") + content
    with pytest.raises(HeaderError, match="nested"):
        header_of(data)


def test_a_broken_sequence_is_an_error():
    """A sequence whose item reaches beyond it is a named reason."""
    data = make.preamble() + make.element(0x00081140, "SQ", make.ITEM + struct.pack("<I", 400))
    with pytest.raises(HeaderError, match="cut off"):
        header_of(data)


def test_a_broken_private_sequence_costs_itself_only():
    """A maker's own sequence that is broken is kept as bytes, beside all else; so it is inside an item."""
    broken = make.element(0x2005140F, "SQ", make.ITEM + struct.pack("<I", 400))
    around = make.element(0x00081140, "SQ", make.item(broken))
    data = make.preamble() + around + make.element(0x00081155, "UI", b"1.2\0") + broken
    elements = header_of(data).elements
    assert elements[0x00081155].value == ("1.2",)
    for element in (elements[0x2005140F], elements[0x00081140].first[0x2005140F]):
        assert (element.vr, element.value.data) == ("UN", make.ITEM + struct.pack("<I", 400))
