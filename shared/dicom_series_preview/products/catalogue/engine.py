"""Answer one question in SQL, in a process of its own: by files in, and by a file out."""

from __future__ import annotations

import json
from datetime import MAXYEAR, MINYEAR
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder

from dicom_series_preview.archive.catalogue.snapshot import plain_text
from dicom_series_preview.products.catalogue.sql import ANSWER, COMPLAINT, QUESTION, TABLES


def main(name: str) -> None:
    """Answer the question in a scratch folder.

    Args:
        name: The folder. It gets the answer, or a complaint where DataFusion cannot answer.
    """
    folder = Path(name)
    question = (folder / QUESTION).read_text(encoding="utf-8")
    builder = QueryBuilder()
    for table, place in json.loads((folder / TABLES).read_text(encoding="utf-8")).items():
        if place is None:
            location = str(folder / f"{table}.parquet").replace("'", "''")
            builder.execute(
                f"CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{location}'"
            ).read_all()
        else:
            builder.register(table, DeltaTable(place))
    # Names are DICOM's keywords, in capital and small letters.
    builder.execute("SET datafusion.sql_parser.enable_ident_normalization = false").read_all()
    try:
        answer = pa.table(builder.execute(question).read_all())
    except Exception as error:  # noqa: BLE001 - the library's own, and bare ones
        (folder / COMPLAINT).write_text(str(error), encoding="utf-8")
        return
    answer = plain_text(answer.rename_columns(_apart(answer.column_names)))
    columns = [_of_python(column) for column in answer.columns]
    answer = pa.table(columns, names=answer.column_names)
    with pa.OSFile(str(folder / ANSWER), "wb") as file, pa.ipc.new_file(file, answer.schema) as writer:
        writer.write_table(answer)


def _of_python(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column that Python can hold: times to the microsecond, intervals and far dates as text."""
    kind = column.type
    if pa.types.is_interval(kind) or pa.types.is_duration(kind):
        return pa.chunked_array([pa.array([_text(value) for value in column], pa.utf8())])
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_temporal(kind) and not pa.types.is_time(kind):
        years = pc.min_max(pc.year(column)).as_py()
        if years["min"] is not None and not MINYEAR <= years["min"] <= years["max"] <= MAXYEAR:
            return column.cast(pa.utf8())
    return column


def _text(value: pa.Scalar) -> str | None:
    if not value.is_valid:
        return None
    if pa.types.is_duration(value.type):
        return f"{value.value} {value.type.unit}"
    months, days, nanoseconds = value.as_py()
    return f"{months} months {days} days {nanoseconds / 1e9:g} s"


def _apart(names: list[str]) -> list[str]:
    """Return columns' names with a number after those that stand there already, as in a join."""
    made: list[str] = []
    for name in names:
        count, one = 2, name
        while one in made:
            count, one = count + 1, f"{name}_{count}"
        made.append(one)
    return made
