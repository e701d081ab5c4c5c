"""Answer one question in SQL, in a process of its own: by files in, and by a file out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from pyarrow import feather

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
    feather.write_feather(answer, str(folder / ANSWER), compression="uncompressed")


def _apart(names: list[str]) -> list[str]:
    """Return columns' names with a number after those that stand there already, as in a join."""
    made: list[str] = []
    for name in names:
        count, one = 2, name
        while one in made:
            count, one = count + 1, f"{name}_{count}"
        made.append(one)
    return made
