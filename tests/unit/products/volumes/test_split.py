"""What a series may be split by."""

import pytest

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.volumes.parts import _tag


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "PatientBirthDate", "OperatorsName"])
def test_no_name_of_an_output_says_who_someone_is(keyword):
    """A part's value stands in the name of its output, so elements that identify people are refused."""
    with pytest.raises(RequestError, match="says who someone is"):
        _tag(keyword)


def test_other_elements_are_taken_and_unknown_ones_are_not():
    """Any other element of the dictionary can tell parts apart."""
    assert _tag("SliceThickness") == 0x00180050
    with pytest.raises(RequestError, match="no keyword"):
        _tag("SliceThicknes")
