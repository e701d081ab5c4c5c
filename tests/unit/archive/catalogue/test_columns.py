import datetime as dt

import pyarrow as pa
import pytest
from pydicom.datadict import tag_for_keyword

from dicom_series_preview.archive.catalogue.columns import COLUMNS, KEY, OF_SERIES, PATIENT, Shape, typed
from dicom_series_preview.base.errors import RequestError


def test_columns_are_named_as_dicom_names_them() -> None:
    """A column with the value of an element has its keyword and its tag."""
    assert all(column.tag == tag_for_keyword(column.name) for column in OF_SERIES)
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert {*KEY, *PATIENT} <= set(names)
    assert all(column.description for column in COLUMNS)


@pytest.mark.parametrize(
    ("named", "name", "kind"),
    [
        ("EchoTime", "EchoTime", pa.float64()),
        ("00180081", "EchoTime", pa.float64()),
        ("(0018,0081)", "EchoTime", pa.float64()),
        ("ImageOrientationPatient", "ImageOrientationPatient", pa.list_(pa.float64())),
        ("ReferringPhysicianName", "ReferringPhysicianName", pa.utf8()),
        ("OtherPatientNames", "OtherPatientNames", pa.utf8()),
        ("AcquisitionDate", "AcquisitionDate", pa.date32()),
        ("AcquisitionTime", "AcquisitionTime", pa.time64("us")),
        ("ScanOptions", "ScanOptions", pa.utf8()),
        ("NumberOfTemporalPositions", "NumberOfTemporalPositions", pa.int32()),
        ("FileOffsetInContainer", "FileOffsetInContainer", pa.int64()),
    ],
)
def test_a_site_adds_columns_by_keyword_or_tag(named: str, name: str, kind: pa.DataType) -> None:
    """An added column has the element's keyword and type; one of numbers that can be several is a list."""
    (column,) = Shape.from_settings(named, "").added
    assert (column.name, column.type) == (name, kind)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("EchoTine", "'EchoTine' is no DICOM keyword or tag"),
        ("EchoTime, 00180081", "EchoTime is a column already"),
        ("Modality", "Modality is a column already"),
        ("(0019,100C)", "is a private element"),
        ("0043,1039", "is a private element"),
        ("PixelData", "is bulk data"),
        ("ReferencedImageSequence", "is a sequence"),
        ("00189999", "is no element of the DICOM dictionary"),
    ],
)
def test_what_no_column_can_hold_is_refused(named: str, said: str) -> None:
    """An unknown, private, doubled, nested or bulky element is refused in one line that says why."""
    with pytest.raises(RequestError, match="CATALOGUE_COLUMNS") as raised:
        Shape.from_settings(named, "")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_patients_are_told_or_not() -> None:
    """CATALOGUE_PATIENT is true or false, and true where it is not set."""
    assert [Shape.from_settings("", text).has_patients for text in ("", "true", "False")] == [
        True,
        True,
        False,
    ]
    with pytest.raises(RequestError, match="neither true nor false"):
        Shape.from_settings("", "no")


def test_times_of_day_are_text_in_files_alone() -> None:
    """Delta Lake has no times of day: files have ISO 8601 text, readers get times, added columns too."""
    shape = Shape.from_settings("AcquisitionTime", "")
    assert not any(pa.types.is_time(one.type) for one in shape.stored_schema)
    cells = {"StudyTime": ["10:15:30.500000", None], "AcquisitionTime": ["10:15:00", None], "x": ["a", "b"]}
    text = pa.table(cells)
    assert typed(text).to_pydict() == {
        "StudyTime": [dt.time(10, 15, 30, 500_000), None],
        "AcquisitionTime": [dt.time(10, 15), None],
        "x": ["a", "b"],
    }
