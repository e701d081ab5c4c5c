"""Ask the catalogue: for series by columns, condition and order, or in SQL."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.catalogue.columns import KEY, typed
from dicom_series_preview.archive.catalogue.snapshot import FOLDER, Filter, SnapshotReader
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.base.errors import LimitError, ObjectNotFoundError, RequestError
from dicom_series_preview.products.catalogue.sql import InPlace, engine, selected, tables_in
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.native import native_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_series_preview.sources.storage.base import Storage

# Indices in memory at once for `slices`.
_MOST_INDICES = 2000
_ORDER = (
    ("StudyDate", True),
    ("StudyInstanceUID", False),
    ("SeriesNumber", False),
    *((name, False) for name in KEY),
)


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """Which series to list, and how.

    Attributes:
        root: The root's URL; None for all.
        where: A condition in SQL, or None.
        columns: The columns; None for all.
        sort: Columns to sort by, and whether each descends; none for the newest study first.
        limit: The most rows, or None.
    """

    root: str | None = None
    where: str | None = None
    columns: tuple[str, ...] | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None

    @classmethod
    def from_strings(
        cls, root: str | None, where: str | None, columns: str | None, sort: str | None, limit: int | None
    ) -> SeriesQuery:
        """Read a query's parts as typed: names separated by commas, to sort by also `-NAME` and `NAME desc`.

        Raises:
            RequestError: The limit is negative.
        """
        if limit is not None and limit < 0:
            raise RequestError("limit", f"must be 0 or more, not {limit}")
        names = tuple(name.strip() for name in (columns or "").split(",") if name.strip())
        keys = tuple(_sort_key(key) for key in (sort or "").split(",") if key.strip())
        return cls(root, where, names or None, keys, limit)


def _sort_key(text: str) -> tuple[str, bool]:
    name, _, way = text.strip().partition(" ")
    if name.startswith("-"):
        return name[1:], True
    if way.strip().lower() not in {"", "asc", "desc"}:
        raise RequestError("sort", f"{text.strip()!r}: after a column stands asc or desc")
    return name, way.strip().lower() == "desc"


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks the catalogue below a cache.

    Attributes:
        storage: The cache's storage.
        reader: Reads the table.
    """

    storage: Storage
    reader: SnapshotReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", SnapshotReader(self.storage))

    def series(self, query: SeriesQuery) -> pa.Table:
        """List series.

        Raises:
            RequestError: A column is unknown, or the condition is wrong.
            NoCatalogueError: There is no catalogue yet.
            CatalogueError: It cannot be read.
        """
        table = self._rows(query.root)
        names = table.column_names
        columns = [_named(name, names, "columns") for name in query.columns] if query.columns else None
        sort = [(_named(name, names, "sort"), falling) for name, falling in query.sort]
        sort += [(name, falling) for name, falling in _ORDER if name not in dict(sort)]
        with engine({"series": table}) as sql:
            return typed(sql.ask(selected(columns, query.where, sort, query.limit)))

    def sql(self, question: str, root: str | None = None, where: str | None = None) -> pa.Table:
        """Answer a question in SQL over `series`, and `slices` where the question names it.

        Args:
            question: A SELECT.
            root: The root's URL; None for all.
            where: Which series `slices` holds the indices of: a condition in SQL; None for all.

        Raises:
            RequestError: The question is wrong.
            LimitError: `slices` would hold too many indices.
            NoCatalogueError: There is no catalogue yet.
            CatalogueError: It cannot be read.
        """
        tables = {"series": self._rows(root)}
        if "slices" in tables_in(question):
            tables["slices"] = self._slices(root, where)
        with engine(tables) as sql:
            return sql.ask(question)

    def _rows(self, root: str | None) -> pa.Table | InPlace:
        """The rows of a root, or of all: in memory, or where they lie if that is a disk."""
        if root is None and isinstance(self.storage, LocalStorage):
            # A broken table is told by the same words everywhere.
            snapshot = self.reader.snapshot()
            return InPlace(native_place(self.storage, FOLDER)[0], snapshot.columns.names)
        where = None if root is None else Filter(pc.field("Root") == root, ("Root",))
        return self.reader.read(None, where)

    def _slices(self, root: str | None, where: str | None) -> pa.Table:
        """Join the indices of series; of one that is no longer there nothing."""
        found = self.series(SeriesQuery(root, where, ("Root", "Series", "IndexPath")))
        paths = sorted({path for path in found["IndexPath"].to_pylist() if path})
        if len(paths) > _MOST_INDICES:
            raise LimitError(
                "where", f"leaves {len(paths)} indices, and `slices` holds at most {_MOST_INDICES}; narrow it"
            )
        tables = [table for path in paths if (table := self._index(path)) is not None]
        if not tables:
            raise RequestError("where", "leaves no series with an index; run update first")
        return pa.concat_tables(tables, promote_options="permissive")

    def _index(self, path: str) -> pa.Table | None:
        try:
            return Index.from_parquet(self.storage.get(path).data).whole.replace_schema_metadata(None)
        except (ObjectNotFoundError, DamagedIndexError):
            return None


def _named(name: str, columns: Sequence[str], parameter: str) -> str:
    """Return a column's name as it is.

    Raises:
        RequestError: There is no such column.
    """
    names = {column.lower(): column for column in columns}
    if name.lower() in names:
        return names[name.lower()]
    near = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"; did you mean {names[near[0]]}?" if near else f"; there are {', '.join(columns)}"
    raise RequestError(parameter, f"{name!r} is no column of the catalogue{hint}")
