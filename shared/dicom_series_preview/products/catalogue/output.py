"""Write a table of series as JSON, JSON lines, CSV or Parquet."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def plain(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell as JSON has it: dates and times as ISO 8601 text, bytes as hexadecimal digits."""
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - NaN
        return None
    return value


def as_json(table: pa.Table) -> bytes:
    """Write a list of objects whose keys are the columns."""
    rows = [json.dumps(row, ensure_ascii=False, default=str) for row in _plain_rows(table)]
    return ("[" + ",\n ".join(rows) + "]\n").encode(errors="surrogatepass")


def as_json_lines(table: pa.Table) -> bytes:
    """Write an object a line."""
    lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in _plain_rows(table))
    return "".join(lines).encode(errors="surrogatepass")


def as_csv(table: pa.Table) -> bytes:
    r"""Write RFC 4180's CSV with a heading; lists are joined by `\`, as DICOM does."""
    columns = [
        pa.array([_joined(value) for value in column.to_pylist()], pa.utf8())
        if pa.types.is_nested(column.type)
        else column
        for column in table.columns
    ]
    out = io.BytesIO()
    pyarrow.csv.write_csv(pa.table(columns, names=table.column_names), out)
    return out.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    """Write a Parquet file."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


FORMATS: Mapping[str, Callable[[pa.Table], bytes]] = {
    ".json": as_json,
    ".jsonl": as_json_lines,
    ".csv": as_csv,
    ".parquet": as_parquet,
}
"""The writers, by file extension."""


def _plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


def _joined(value: Any) -> str | None:  # noqa: ANN401 - a cell
    if isinstance(value, list):
        return "\\".join("" if one is None else str(plain(one)) for one in value)
    return None if value is None else str(plain(value))
