"""Write a table of series as JSON, JSON lines, CSV or Parquet."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
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
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        # JSON has neither NaN nor infinity.
        return None
    return value


def as_json(table: pa.Table) -> bytes:
    """Write a list of objects whose keys are the columns."""
    rows = [json.dumps(row, ensure_ascii=False, default=str) for row in _plain_rows(table)]
    return ("[" + ",\n ".join(rows) + "]\n").encode()


def as_json_lines(table: pa.Table) -> bytes:
    """Write an object a line."""
    lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in _plain_rows(table))
    return "".join(lines).encode()


def as_csv(table: pa.Table) -> bytes:
    r"""Write RFC 4180's CSV with a heading; lists are joined by `\`, as DICOM does.

    A null is empty, and empty text is `""`. Text stays as it is: tell a spreadsheet that takes `=1+1` for a
    formula that the column is text.
    """
    columns = [
        column
        if _is_plain(column.type)
        else pa.array([_joined(value) for value in column.to_pylist()], pa.utf8())
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


def _is_plain(kind: pa.DataType) -> bool:
    """True for a type that Arrow writes as CSV."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(is_number or pa.types.is_string(kind) or pa.types.is_temporal(kind))


def _joined(value: Any) -> str | None:  # noqa: ANN401 - a cell
    if isinstance(value, list):
        return "\\".join("" if one is None else str(plain(one)) for one in value)
    return None if value is None else str(plain(value))
