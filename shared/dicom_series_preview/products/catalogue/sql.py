"""Answer SQL over the catalogue: the table `series`, and `slices`, the indices of its series.

DataFusion answers in a process of its own: while it works, no other thread of its process runs, and Ctrl-C
reaches none.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.catalogue.complaints import is_of_the_question, told

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence


QUESTION = "question.sql"
ANSWER = "answer.arrow"
COMPLAINT = "complaint.txt"
TABLES = "tables.json"
"""The files by which an engine's process is asked and answers, in its scratch folder beside the tables."""

# It finds this package where this process has found it. PyArrow would load pandas to ask what a list is.
_ENGINE = """
import sys
sys.path[:] = sys.argv[2:]
class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden)
from dicom_series_preview.products.catalogue.engine import main
main(sys.argv[1])
"""
# DataFusion also writes files and opens others; a question does neither.
_QUESTION = re.compile(
    r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:SELECT|WITH|VALUES|\()", re.IGNORECASE | re.DOTALL
)
# Text and quoted names stay as they are.
_WORDS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|[A-Za-z_]\w*", re.DOTALL)
_BARE = re.compile(r"[A-Za-z_]\w*")
# After one of the first two stands a table, after the others none.
_TABLES_FOLLOW = frozenset(("FROM", "JOIN"))
_CLAUSES = _TABLES_FOLLOW | {"SELECT", "WHERE", "ON", "USING", "GROUP", "HAVING", "ORDER", "LIMIT", "QUALIFY"}


@dataclass(frozen=True, slots=True)
class InPlace:
    """A Delta Lake table on a disk, which is read where it lies.

    Attributes:
        folder: Its folder.
        column_names: Its columns.
    """

    folder: str
    column_names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Engine:
    """Answers questions in SQL.

    Attributes:
        folder: A scratch folder with the tables.
        columns: The columns of each table, by its name.
        hidden: Columns that are not shown, to say so of them.
        check: Called where the tables can be the cause that there is no answer; it raises what is wrong.
    """

    folder: Path
    columns: Mapping[str, Sequence[str]]
    hidden: Collection[str] = ()
    check: Callable[[], object] = lambda: None

    def ask(self, question: str, where: str | None = None) -> pa.Table:
        """Answer a question.

        Args:
            question: A SELECT in DataFusion's SQL; columns may be written in any case.
            where: The condition in it, if the caller has written only that: it is what can be wrong.

        Raises:
            RequestError: It is no SELECT, or DataFusion cannot answer it.
        """
        if not _QUESTION.match(question):
            raise RequestError("sql", "is no question; begin with SELECT or WITH")
        (self.folder / QUESTION).write_text(self._spelled(question), encoding="utf-8")
        command = [sys.executable, "-P", "-c", _ENGINE, str(self.folder), *sys.path]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - this program
            try:
                status = process.wait()
            finally:
                process.kill()
        complaint = self.folder / COMPLAINT
        parameter, written = ("sql", question) if where is None else ("where", where)
        if complaint.exists():
            text = complaint.read_text(encoding="utf-8")
            if not is_of_the_question(text):
                self.check()
            columns = (name for names in self.columns.values() for name in names)
            lines = written.count("\n") + 1
            raise RequestError(parameter, told(text, written, columns, self.hidden, lines))
        if status:
            self.check()
            problem = "cannot be answered: the engine ended early; it may lack memory"
            raise RequestError(parameter, problem)
        with pa.OSFile(str(self.folder / ANSWER)) as file:
            return pa.ipc.open_file(file).read_all()

    def _spelled(self, question: str) -> str:
        """Return a question with the columns' own capitals."""
        columns: dict[str, str] = {}
        for word in (word for names in self.columns.values() for word in names):
            columns.setdefault(word.lower(), word)
            columns[word] = word
        written, end = [], 0
        for start, word, is_table in _names(question):
            written.append(question[end:start])
            end = start + len(word)
            if is_table and word.lower() in self.columns:
                written.append(word.lower())
            else:
                written.append(columns.get(word) or columns.get(word.lower(), word))
        return "".join((*written, question[end:]))


def tables_in(question: str) -> set[str]:
    """Return the names that stand for tables in a question, in small letters."""
    return {word.lower() for _, word, is_table in _names(question) if is_table}


def _names(question: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each bare word of a question with its place, and whether it stands where a table does."""
    clause = ""
    for found in _WORDS.finditer(question):
        word = found[0]
        if not _BARE.fullmatch(word):
            continue
        if word.upper() in _CLAUSES:
            clause = word.upper()
        follows = question[found.end() : found.end() + 1]
        yield found.start(), word, follows == "." or clause in _TABLES_FOLLOW


@contextmanager
def engine(
    tables: Mapping[str, pa.Table | InPlace],
    hidden: Collection[str] = (),
    check: Callable[[], object] = lambda: None,
) -> Iterator[Engine]:
    """Open an engine over tables.

    Args:
        tables: Tables by name, in memory or on a disk.
        hidden: Columns that are not shown.
        check: Called where the tables can be the cause that there is no answer; it raises what is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="dicom-series-preview-") as scratch:
        folder = Path(scratch)
        places = {
            name: table.folder if isinstance(table, InPlace) else None for name, table in tables.items()
        }
        (folder / TABLES).write_text(json.dumps(places), encoding="utf-8")
        for name, table in tables.items():
            if not isinstance(table, InPlace):
                pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        yield Engine(folder, {name: table.column_names for name, table in tables.items()}, hidden, check)


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
