"""The dictionary beside pydicom's own functions."""

import subprocess
import sys

import pytest
from pydicom import datadict
from pydicom._private_dict import private_dictionaries

from dicom_series_preview.sources.headers import dictionary
from dicom_series_preview.sources.headers.dictionary import keyword, tag_of
from dicom_series_preview.sources.headers.elements import private_creator

# Each repeating group or element at its ends and within, what is just beside it, and what nothing has.
DIGITS = "0", "1", "2", "E", "F"
REPEATED = [
    int(pattern.replace("x", digit), 16) for pattern in datadict.RepeatersDictionary for digit in DIGITS
]
UNKNOWN = [0x00080000, 0x00091001, 0x00190010, 0x60013000, 0x70000010, 0xFFFFFFFF]


def answer(function, *arguments):
    """What a function gives, or that it does not know."""
    try:
        return function(*arguments)
    except KeyError:
        return KeyError


def test_public_elements_are_pydicoms():
    """Every public element, those of repeating groups among them, has the VR, name and keyword of pydicom."""
    tags = [*datadict.DicomDictionary, *REPEATED, *UNKNOWN]
    assert len(tags) > 5000
    for tag in tags:
        assert answer(dictionary.dictionary_vr, tag) == answer(datadict.dictionary_VR, tag)
        assert answer(dictionary.dictionary_name, tag) == answer(datadict.dictionary_description, tag)
        word = datadict.keyword_for_tag(tag) or f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
        assert dictionary.keyword(tag) == word


def test_keywords_are_pydicoms():
    """Every keyword has the tag of pydicom."""
    for word, tag in datadict.keyword_dict.items():
        assert dictionary.tag_of(word) == tag


def test_private_elements_are_pydicoms():
    """Every private element has the VR and the name of pydicom, in any block and group it may be in."""
    creators = 0
    for creator, elements in private_dictionaries.items():
        creators += 1
        for digits in elements:
            for tag in (int(digits.replace("x", digit), 16) for digit in DIGITS):
                vr, name = dictionary.private_vr, dictionary.private_name
                assert answer(vr, tag, creator) == answer(datadict.private_dictionary_VR, tag, creator)
                expected = answer(datadict.private_dictionary_description, tag, creator)
                assert answer(name, tag, creator) == expected
    assert creators > 300
    for tag, creator in ((0x0019FFFF, "SIEMENS MR HEADER"), (0x00191008, "nobody"), (0x00191008, "")):
        with pytest.raises(KeyError):
            dictionary.private_vr(tag, creator)


@pytest.mark.parametrize("first", ["", "import pydicom; "])
def test_the_tables_are_read_without_pydicom(first):
    """A look-up loads nothing of pydicom but its tables, and shares them with pydicom where it is loaded."""
    code = (
        f"{first}import sys; from dicom_series_preview.sources.headers.dictionary import *; "
        "from dicom_series_preview.sources.headers.dictionary import _public; "
        "assert dictionary_vr(0x00280010) == 'US' and private_vr(0x00191008, 'SIEMENS MR HEADER') == 'CS'; "
        "loaded = sys.modules.get('pydicom'); "
        "print(loaded is not None and _public() is loaded.datadict.DicomDictionary)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(bool(first))


def test_keywords():
    """A tag has the dictionary's keyword, else its numbers; private elements have creators."""
    assert keyword(0x00280010) == "Rows"
    assert keyword(0x00091001) == "0009,1001"
    assert tag_of("Rows") == 0x00280010
    with pytest.raises(KeyError):
        tag_of("NoSuchKeyword")
    assert private_creator(0x00191008, {0x00190010: b"SIEMENS MR HEADER "}) == "SIEMENS MR HEADER"
    assert private_creator(0x00191008, {}) == ""
    assert private_creator(0x00190010, {0x00190010: b"X"}) == ""
    assert private_creator(0x00181008, {0x00180010: b"X"}) == ""
