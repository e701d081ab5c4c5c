import csv
import datetime as dt
import io
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.rows import table_of
from dicom_series_preview.products.catalogue.answers import as_csv, as_parquet, as_values

SCHEMA = Shape().stored_schema
MOMENT = dt.datetime(2026, 3, 12, 10, 0, 0, 5, tzinfo=dt.UTC)
ROW = {
    "Series": "a,b",
    "StudyDate": dt.date(2026, 1, 31),
    "StudyTime": "10:00:00.000000",
    "CataloguedAt": MOMENT,
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "PixelSpacing": [0.7, 0.5],
    "Tilt_deg": math.nan,
    "SpacingRegular": True,
    "Slices": 40,
}
HOSTILE = (
    *(
        '"',
        "a\nb",
        "a\r\nb",
        "\r",
        ",",
        ";",
        "'",
        "\\",
        "\0",
        "\x1b[31m",
        "\u2028",
        "\u202e",
        "\ufeff",
        " x ",
    ),
    *(
        "</script><script>alert(1)</script>",
        "&lt;",
        "x" * 10_240,
        "\U0001f600",
        "a\tb",
        "\x7f",
        "null",
        "NaN",
    ),
)
FORMULAS = ("=1+1", "+C axial", "-5", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://127.0.0.1","x")')


def read_csv(data: bytes) -> list[dict[str, str]]:
    """The rows that a reader of CSV finds."""
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_values() -> None:
    """Dates and times are ISO 8601, lists are lists, and what JSON cannot say is null."""
    (values,) = as_values(table_of([ROW], SCHEMA))
    assert values == dict.fromkeys(SCHEMA.names) | {
        **ROW,
        "StudyDate": "2026-01-31",
        "CataloguedAt": "2026-03-12T10:00:00.000005Z",
        "Tilt_deg": None,
    }


def test_csv() -> None:
    """A header line, then a line a row; a missing value is empty, several are joined as in DICOM."""
    (row,) = read_csv(as_csv(table_of([ROW], SCHEMA)))
    assert list(row) == SCHEMA.names
    assert {name: text for name, text in row.items() if text} == {
        "Series": "a,b",
        "StudyDate": "2026-01-31",
        "StudyTime": "10:00:00.000000",
        "CataloguedAt": "2026-03-12T10:00:00.000005Z",
        "ImageType": "ORIGINAL\\PRIMARY",
        "PixelSpacing": "0.7\\0.5",
        "SpacingRegular": "true",
        "Slices": "40",
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(text: str) -> None:
    """Whatever a header holds, each form gives it back as it was, and the rows around it too."""
    rows = [{"Series": "before"}, {"Series": text, "ImageType": [text]}, {"Series": "after"}]
    table = table_of(rows, SCHEMA)
    expected = ["before", text, "after"]
    assert [row["Series"] for row in json.loads(json.dumps(as_values(table)))] == expected
    plain = [
        row["Series"].removeprefix("'") if text == "\r" else row["Series"] for row in read_csv(as_csv(table))
    ]
    assert plain == expected
    assert pq.read_table(io.BytesIO(as_parquet(table))).equals(table)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_formula(text: str) -> None:
    """A text that a spreadsheet would run has a quote before it in CSV, in a list too, and nowhere else."""
    table = table_of([{"Series": text, "ImageType": [text, "x"], "Tilt_deg": -5.0}], SCHEMA)
    (row,) = read_csv(as_csv(table))
    assert (row["Series"], row["ImageType"]) == (f"'{text}", f"'{text}\\x")
    assert row["Tilt_deg"] == "-5.0"
    assert as_values(table)[0]["Series"] == text


def test_parquet_has_types() -> None:
    """Parquet has the table's own types, also of a page without rows."""
    for table in (table_of([ROW], SCHEMA), SCHEMA.empty_table()):
        got = pq.read_table(io.BytesIO(as_parquet(table)))
        assert got.schema.types == SCHEMA.types
        assert isinstance(got, pa.Table)
