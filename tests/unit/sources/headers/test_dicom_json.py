import json
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import make_dicom as make
from dicom_series_preview.sources.headers.dicom_json import (
    element_from_json,
    element_to_json,
    from_json,
    to_json,
)
from dicom_series_preview.sources.headers.dictionary import tag_of
from dicom_series_preview.sources.headers.elements import Element
from indexing import elements_of

SYNTAXES = pytest.mark.parametrize("syntax", [*make.NATIVE, make.DEFLATED])


@SYNTAXES
def test_json_gives_every_value_back(syntax):
    """Elements survive DICOM JSON, which is JSON without extensions."""
    elements = elements_of(make.every_vr(), syntax)
    text = json.dumps(to_json(elements), allow_nan=False)
    assert from_json(json.loads(text)) == elements


ANY_TEXT = st.text(
    st.characters(exclude_characters="\\\0=", exclude_categories=("Cs", "Cc")), max_size=12
).map(str.strip)
ANY_ELEMENT = st.one_of(
    st.builds(
        Element,
        st.just(0x00081030),
        st.sampled_from(["LO", "SH", "CS", "UI", "PN", "DA"]),
        st.lists(st.one_of(st.none(), ANY_TEXT.filter(bool)), max_size=3).map(tuple),
    ),
    st.builds(
        Element,
        st.just(0x00280010),
        st.sampled_from(["IS", "US", "SL", "UV"]),
        st.lists(st.integers(-(2**63), 2**64 - 1), max_size=3).map(tuple),
    ),
    st.builds(
        Element,
        st.just(0x00281050),
        st.sampled_from(["DS", "FD"]),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
    ),
)


@given(st.lists(ANY_ELEMENT, max_size=3))
@settings(deadline=None)
def test_any_value_survives_json(elements):
    """What DICOM JSON says of an element is the element."""
    for element in elements:
        document = json.loads(json.dumps(element_to_json(element), allow_nan=False))
        assert element_from_json(element.tag, document) == element
        nested = Element(0x00081140, "SQ", ({element.tag: element}, {}))
        assert element_from_json(nested.tag, json.loads(json.dumps(element_to_json(nested)))) == nested


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_survive_it(number):
    """NaN and infinity of an FL or FD stand in JSON as text, and come back as numbers."""
    element = Element(tag_of("DopplerCorrectionAngle"), "FD", (number,))
    document = json.loads(json.dumps(element_to_json(element), allow_nan=False))
    assert struct.pack("d", element_from_json(element.tag, document).first) == struct.pack("d", number)
