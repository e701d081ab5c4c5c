import warnings

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

import make_dicom as make
from dicom_series_preview.base.errors import ObjectError
from dicom_series_preview.sources.headers.dataset import to_dataset
from dicom_series_preview.sources.headers.elements import BULK_VRS
from indexing import header_of

SYNTAXES = pytest.mark.parametrize("syntax", [*make.NATIVE, make.DEFLATED])


@SYNTAXES
def test_data_sets_given_back_are_pydicoms(syntax):
    """`to_dataset` gives the data set that pydicom reads, file meta information apart."""
    data = make.encode(make.every_vr(), syntax)
    given_back = to_dataset(header_of(data).elements)
    read = pydicom.dcmread(DicomBytesIO(data))
    assert given_back == read
    assert given_back.file_meta.TransferSyntaxUID == syntax


@pytest.mark.real_data
def test_real_headers_are_given_back_as_pydicoms_data_sets(real_data):
    """`to_dataset` gives the public elements of real headers as pydicom reads them, binary values aside."""
    for path in sorted((real_data / "single").rglob("*.dcm"))[::5]:
        data = path.read_bytes()
        try:
            mine = to_dataset(header_of(data).elements)
        except ObjectError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of real files
            theirs = pydicom.dcmread(DicomBytesIO(data), force=True, stop_before_pixels=True)
            for element in mine:
                if element.VR != "SQ" and element.VR not in BULK_VRS and not element.tag.is_private:
                    assert element.VR == theirs[element.tag].VR or element.tag.element == 0, (path, element)
                    expected = theirs[element.tag]
                    same = element == expected or str(element.value).split() == str(expected.value).split()
                    assert same, (path, element, expected)
