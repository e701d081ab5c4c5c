import datetime as dt
import hmac

import pyarrow as pa
import pytest

from dicom_series_preview.archive.catalogue.columns import COLUMNS, Shape
from dicom_series_preview.archive.catalogue.rows import table_of
from dicom_series_preview.base.settings import IDENTIFIER_MODES
from dicom_series_preview.products.catalogue.identifiers import is_shown, shown

KEY = b"a key that is long enough"
ROWS = [
    {"PatientID": "A", "PatientName": "Muster^Max", "AccessionNumber": "7", "StudyID": "7", "Modality": "CT"},
    {"PatientID": "A", "PatientBirthDate": dt.date(1947, 2, 28), "SeriesDescription": "Thorax"},
    {"PatientID": None, "StudyDate": dt.date(2026, 1, 31)},
]
TABLE = table_of(ROWS, Shape().schema)


def test_what_is_dropped() -> None:
    """Without identifiers, the patient's and the request's numbers, name and birthday are gone."""
    table = shown(TABLE, "drop")
    hidden = ["PatientID", "PatientName", "PatientBirthDate", "StudyID", "AccessionNumber"]
    assert [name for name in TABLE.column_names if name not in table.column_names] == hidden
    assert table == TABLE.drop_columns(hidden)


def test_what_is_hashed() -> None:
    """Equal identifiers have equal hashes: 16 hex digits of HMAC-SHA-256; a missing one stays missing."""
    table = shown(TABLE, "hash", KEY)
    expected = hmac.new(KEY, b"A", "sha256").hexdigest()[:16]
    assert table["PatientID"].to_pylist() == [expected, expected, None]
    assert table["AccessionNumber"][0] == table["StudyID"][0]
    assert {"PatientName", "PatientBirthDate"} & set(table.column_names) == set()
    assert table["PatientID"].type == pa.utf8()
    assert shown(TABLE, "hash", b"another key, as long")["PatientID"][0].as_py() != expected


def test_what_stays() -> None:
    """Dates, descriptions and UIDs stay in every mode, and everything does in `keep`."""
    for mode in IDENTIFIER_MODES:
        table = shown(TABLE, mode, KEY)
        for name in ("StudyDate", "SeriesDescription", "StudyInstanceUID", "PatientSex", "PatientAge"):
            assert table[name] == TABLE[name]
    assert shown(TABLE, "keep") == TABLE


@pytest.mark.parametrize("mode", ["drop", "hash"])
@pytest.mark.parametrize(
    ("column", "is_there"),
    [
        *(("EchoTime", True), ("ScanningSequence", True), ("SequenceName", True), ("AcquisitionDate", True)),
        *(("FrameOfReferenceUID", True), ("PatientWeight", True), ("EchoNumbers", True)),
        *(("OperatorsName", False), ("ReferringPhysicianName", False), ("OtherPatientIDs", False)),
        *(("PatientBirthTime", False), ("ImageComments", False), ("PatientComments", False)),
        *(("InstitutionAddress", False), ("DeviceSerialNumber", False), ("GPSLatitude", False)),
        *(("RequestedProcedureID", False), ("AdmittingDate", False), ("ClinicalTrialSubjectID", False)),
        *(("0019,100c", False), ("OtherPatientNames", False), ("PersonName", False), ("TextValue", False)),
    ],
)
def test_columns_that_a_site_adds(mode: str, column: str, is_there: bool) -> None:  # noqa: FBT001
    """Added columns of PS3.15's identifying elements are gone, and all text that may hold a name."""
    assert is_shown(column, mode) is is_there
    assert is_shown(column, "keep")


def test_every_own_column_is_decided() -> None:
    """No column of the product's own is hidden by the rule for those that a site adds."""
    hidden = {column.name for column in COLUMNS if not is_shown(column.name, "hash")}
    assert hidden == {"PatientName", "PatientBirthDate"}


def test_a_table_with_some_columns() -> None:
    """Any of the columns will do, in chunks or none, also dictionary-encoded."""
    part = pa.table(
        {"PatientID": pa.chunked_array([["A"], ["B", "A"]]).dictionary_encode(), "Slices": [1, 2, 3]}
    )
    one, two, again = shown(part, "hash", KEY)["PatientID"].to_pylist()
    assert one == again != two
    assert shown(part.slice(0, 0), "hash", KEY).num_rows == 0
    assert shown(part, "drop").column_names == ["Slices"]
