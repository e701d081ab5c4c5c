"""Answer SQL over the catalogue: the table `series`, and `slices`, the indices of its series."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import DeltaError

from dicom_series_preview.archive.catalogue.snapshot import plain_text
from dicom_series_preview.base.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# DataFusion also writes files and opens others; a question does neither.
_QUESTION = re.compile(
    r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:SELECT|WITH|VALUES|\()", re.IGNORECASE | re.DOTALL
)
# Text and quoted names stay as they are.
_WORDS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|[A-Za-z_]\w*", re.DOTALL)
_BARE = re.compile(r"[A-Za-z_]\w*")
_NOISE = re.compile(r"^(?:\w+ error: |External error: |Error during planning: )+")


class Engine:
    """Answers questions in SQL.

    Args:
        tables: Tables by name, in memory or on a disk.
        folder: A scratch folder that outlives the engine.
    """

    def __init__(self, tables: Mapping[str, pa.Table | DeltaTable], folder: str) -> None:
        self._builder = QueryBuilder()
        self._names: dict[str, str] = {}
        for name, table in tables.items():
            if isinstance(table, DeltaTable):
                registered = table
            else:
                write_deltalake(f"{folder}/{name}", table)
                registered = DeltaTable(f"{folder}/{name}")
            self._builder.register(name, registered)
            for word in (*names_of(registered), name):
                self._names.setdefault(word.lower(), word)
                self._names[word] = word
        # Names are DICOM's keywords, in capital and small letters.
        self._run("SET datafusion.sql_parser.enable_ident_normalization = false")

    def ask(self, question: str) -> pa.Table:
        """Answer a question.

        Args:
            question: A SELECT in DataFusion's SQL; columns may be written in any case.

        Raises:
            RequestError: It is no SELECT, or DataFusion cannot answer it.
        """
        if not _QUESTION.match(question):
            raise RequestError("sql", "is no question; begin with SELECT or WITH")
        try:
            return self._run(self._spelled(question))
        except DeltaError as error:
            raise RequestError("sql", _told(error)) from error

    def _spelled(self, question: str) -> str:
        """Return a question with the columns' own capitals."""

        def spelled(found: re.Match[str]) -> str:
            word = found[0]
            if not _BARE.fullmatch(word):
                return word
            return self._names.get(word) or self._names.get(word.lower(), word)

        return _WORDS.sub(spelled, question)

    def _run(self, question: str) -> pa.Table:
        answer = self._builder.execute(question).read_all()
        return plain_text(pa.table(answer))


@contextmanager
def engine(tables: Mapping[str, pa.Table | DeltaTable]) -> Iterator[Engine]:
    """Open an engine over tables.

    Args:
        tables: Tables by name.
    """
    with tempfile.TemporaryDirectory(prefix="dicom-series-preview-") as folder:
        yield Engine(tables, folder)


def names_of(table: DeltaTable) -> list[str]:
    """Return the names of a table's columns."""
    return [field.name for field in table.schema().fields]


def selected(
    columns: Sequence[str] | None, where: str | None, sort: Sequence[tuple[str, bool]], limit: int | None
) -> str:
    """Write the question for a list of series.

    Args:
        columns: The columns, None for all.
        where: A condition in SQL, or None.
        sort: Columns to sort by, and whether each descends.
        limit: The most rows, or None.
    """
    parts = ["SELECT", ", ".join(map(quoted, columns)) if columns else "*", "FROM series"]
    if where:
        parts += ["WHERE (", where, "\n)"]
    if sort:
        order = (f"{quoted(name)} {'DESC' if falling else 'ASC'} NULLS LAST" for name, falling in sort)
        parts += ["ORDER BY", ", ".join(order)]
    if limit is not None:
        parts += ["LIMIT", str(limit)]
    return " ".join(parts)


def quoted(name: str) -> str:
    """Quote a column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _told(error: Any) -> str:  # noqa: ANN401 - one of deltalake's
    """Return DataFusion's complaint in one line."""
    line = _NOISE.sub("", str(error).partition("\n")[0])
    return f"cannot be answered: {line[:300]}"
