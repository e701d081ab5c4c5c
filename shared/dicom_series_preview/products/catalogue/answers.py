"""Write rows of the catalogue as JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# A spreadsheet takes a cell that begins so for a formula, which can fetch and run what it names.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_values(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows as JSON values, keys as the columns: dates and times in ISO 8601, no NaN."""
    return [{name: _value(cell) for name, cell in row.items()} for row in rows.to_pylist()]


def _value(cell: Any) -> Any:  # noqa: ANN401 - of any column
    if isinstance(cell, dt.datetime):
        return cell.isoformat().replace("+00:00", "Z")
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    return [_value(part) for part in cell] if isinstance(cell, list) else cell


def as_csv(rows: pa.Table) -> bytes:
    r"""Return rows as CSV (RFC 4180) in UTF-8, with a header line.

    Lists are written as DICOM does, with a backslash between values. A text that a spreadsheet would take
    for a formula gets a quote before it.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(rows.column_names)
    for row in as_values(rows):
        writer.writerow([_cell(value) for value in row.values()])
    return file.getvalue().encode()


def _cell(value: Any) -> str:  # noqa: ANN401 - a JSON value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return _safe("\\".join(str("" if part is None else part) for part in value))
    return _safe(value) if isinstance(value, str) else repr(value)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_parquet(rows: pa.Table) -> bytes:
    """Return rows as a Parquet file, with the columns' own types."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()
