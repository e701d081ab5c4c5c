import csv
import datetime as dt
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.products.catalogue.output import FORMATS, as_csv, as_json, as_json_lines, as_parquet

TEXTS = [
    "plain",
    "",
    None,
    'a "b", c',
    "two\nlines\r\n",
    "=1+1",
    "tab\t\x07\x1b[31m",
    "ü 日本 \u2028",
    "\\",
    "'",
]
TABLE = pa.table(
    {
        "Text": TEXTS,
        "Number": pa.array([0.1 + 0.2, float("nan"), float("inf"), None, -0.0, 1e300, 5e-324, 1.0, 2.0, 3.0]),
        "Long": pa.array([2**62, -(2**63), None, *range(7)], pa.int64()),
        "Yes": pa.array([True, False, None, *[True] * 7]),
        "Day": pa.array([dt.date(2026, 2, 28), None, *[dt.date(1, 1, 1)] * 8]),
        "Time": pa.array([dt.time(10, 15, 30, 500_000), None, *[dt.time()] * 8], pa.time64("us")),
        "Moment": pa.array(
            [dt.datetime(2026, 2, 28, 10, 15, tzinfo=dt.UTC), *[None] * 9], pa.timestamp("us", "UTC")
        ),
        "Texts": pa.array([["A", "B"], [], None, [None, "x"], *[["a,b"]] * 6], pa.list_(pa.utf8())),
        "Numbers": pa.array([[0.5, 0.25], None, *[[1.0]] * 8], pa.list_(pa.float64())),
        "Nothing": pa.nulls(10, pa.utf8()),
    }
)
ODD = pa.table(
    {
        "Bytes": [b"\xff\x00", None],
        "Decimal": pa.array([Decimal("1.50"), None]),
        "Struct": [{"a": dt.date(2026, 1, 1)}, None],
        "Null": pa.nulls(2),
    }
)


def test_parquet_comes_back_as_it_was() -> None:
    """A Parquet file has the same columns, types and cells, also without a row."""
    for table in (TABLE, TABLE.slice(0, 0), ODD):
        back = pq.read_table(io.BytesIO(as_parquet(table)))
        assert back.schema.equals(table.schema)
        assert str(back.to_pylist()) == str(table.to_pylist())


def test_json_is_a_list_of_objects() -> None:
    """JSON has the columns as keys, ISO 8601 times, and null for what is no number."""
    rows = json.loads(as_json(TABLE))
    assert [list(one) for one in rows] == [TABLE.column_names] * 10
    assert [one["Text"] for one in rows] == TEXTS
    assert [one["Number"] for one in rows][:3] == [0.1 + 0.2, None, None]
    assert rows[1]["Long"] == -(2**63)
    first = {name: rows[0][name] for name in ("Day", "Time", "Moment", "Texts", "Numbers", "Nothing")}
    assert first == {
        "Day": "2026-02-28",
        "Time": "10:15:30.500000",
        "Moment": "2026-02-28T10:15:00+00:00",
        "Texts": ["A", "B"],
        "Numbers": [0.5, 0.25],
        "Nothing": None,
    }
    assert json.loads(as_json(TABLE.slice(0, 0))) == []
    assert b"NaN" not in as_json(TABLE)


def test_json_lines_are_one_object_each() -> None:
    """Each line of JSON lines is a row, whatever line ends its text has."""
    lines = as_json_lines(TABLE).decode().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == json.loads(as_json(TABLE))


def test_csv_is_read_back_by_others() -> None:
    """Quotes, commas and line ends in text come back from CSV, and nothing changes text."""
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE).decode(), newline="")))
    assert list(rows[0]) == TABLE.column_names
    assert [one["Text"] for one in rows] == [text or "" for text in TEXTS]
    assert float(rows[0]["Number"]) == 0.1 + 0.2
    assert (rows[0]["Texts"], rows[0]["Numbers"], rows[3]["Texts"]) == ("A\\B", "0.5\\0.25", "\\x")
    assert (rows[0]["Day"], rows[0]["Time"]) == ("2026-02-28", "10:15:30.500000")
    assert dt.datetime.fromisoformat(rows[0]["Moment"]) == TABLE["Moment"][0].as_py()
    assert as_csv(TABLE.slice(0, 0)).decode().strip().split(",") == [
        f'"{name}"' for name in TABLE.column_names
    ]


def test_odd_types_of_answers_are_written() -> None:
    """An answer in SQL can have types that the catalogue has not; each format writes them."""
    assert all(write(ODD) for write in FORMATS.values())
    (first, _) = json.loads(as_json(ODD))
    assert first == {"Bytes": "ff00", "Decimal": "1.50", "Struct": {"a": "2026-01-01"}, "Null": None}
    rows = list(csv.reader(io.StringIO(as_csv(ODD).decode())))
    assert rows[1][:2] == ["ff00", "1.50"]
