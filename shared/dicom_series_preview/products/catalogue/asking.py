"""Ask the catalogue: for series by columns, condition and order, or in SQL."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.catalogue.columns import KEY, typed
from dicom_series_preview.archive.catalogue.rows import series_uids
from dicom_series_preview.archive.catalogue.snapshot import FOLDER, Filter, SnapshotReader
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.base.errors import (
    CatalogueError,
    LimitError,
    NoCatalogueError,
    ObjectNotFoundError,
    PreviewError,
    RequestError,
    SeriesNotFoundError,
)
from dicom_series_preview.base.settings import Identifiers
from dicom_series_preview.products.catalogue.complaints import hidden_column
from dicom_series_preview.products.catalogue.identifiers import shown
from dicom_series_preview.products.catalogue.sql import InPlace, engine, selected, tables_in
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.native import native_place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from dicom_series_preview.sources.storage.base import Storage

# Indices in memory at once for `slices`.
_MOST_INDICES = 2000
_MOST_NAMED = 5
_AS_THEY_ARE = Identifiers()
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
        cls,
        root: str | None,
        where: str | None,
        columns: str | Sequence[str] | None,
        sort: str | Sequence[str] | None,
        limit: int | None,
    ) -> SeriesQuery:
        """Read a query's parts: names in a sequence, or in one text separated by commas.

        A name to sort by is also `-NAME` or `NAME desc`.

        Raises:
            RequestError: The limit is negative.
            TypeError: Columns or order are neither.
        """
        if limit is not None and limit < 0:
            raise RequestError("limit", f"must be 0 or more, not {limit}")
        names = _names(columns, "columns")
        keys = tuple(_sort_key(key) for key in _names(sort, "sort"))
        return cls(root, where, names or None, keys, limit)


def _names(given: str | Sequence[str] | None, parameter: str) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else () if given is None else given
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise TypeError(f"{parameter} is a text with commas, or a list of texts, not {given!r}")
    return tuple(name for part in parts if (name := part.strip()))


def _sort_key(text: str) -> tuple[str, bool]:
    name, _, way = text.strip().partition(" ")
    if name.startswith("-"):
        return name[1:], True
    if way.strip().lower() not in {"", "asc", "desc"}:
        raise RequestError("sort", f"{text.strip()!r}: after a column stands asc or desc")
    return name, way.strip().lower() == "desc"


def _nobody(_line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks the catalogue below a cache.

    Attributes:
        storage: The cache's storage.
        identifiers: How patients' identifiers are shown.
        reindex: Makes the index of a series anew, given its root's URL and its folder; or None.
        tell: Called with a line about what an answer lacks, or what was made anew for it.
        reader: Reads the table.
    """

    storage: Storage
    identifiers: Identifiers = _AS_THEY_ARE
    reindex: Callable[[str, str], Index] | None = None
    tell: Callable[[str], None] = _nobody
    reader: SnapshotReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", SnapshotReader(self.storage))

    def series(self, query: SeriesQuery) -> pa.Table:
        """List series.

        Raises:
            RequestError: A column is unknown, the condition is wrong, or the catalogue has other roots only.
            NoCatalogueError: There is no catalogue yet.
            CatalogueError: It cannot be read.
        """
        table, hidden = self._rows(query.root)
        names = table.column_names
        columns = None
        if query.columns:
            columns = [_named(name, names, hidden, "columns") for name in query.columns]
        sort = [(_named(name, names, hidden, "sort"), falling) for name, falling in query.sort]
        sort += [(name, falling) for name, falling in _ORDER if name not in dict(sort) and name in names]
        with engine({"series": table}, hidden, self._check(table)) as sql:
            return typed(sql.ask(selected(columns, query.where, sort, query.limit), query.where or ""))

    def sql(self, question: str, root: str | None = None, where: str | None = None) -> pa.Table:
        """Answer a question in SQL over `series`, and `slices` where the question names it.

        Args:
            question: A SELECT.
            root: The root's URL; None for all.
            where: Which series `slices` holds the rows of: a condition in SQL; None for all.

        Raises:
            RequestError: The question is wrong, or the catalogue has other roots only.
            LimitError: `slices` would hold too many indices.
            NoCatalogueError: There is no catalogue yet.
            CatalogueError: It cannot be read.
        """
        table, hidden = self._rows(root)
        tables = {"series": table}
        if "slices" in tables_in(question):
            tables["slices"], unseen = self._slices(root, where)
            hidden |= unseen
        with engine(tables, hidden, self._check(table)) as sql:
            return sql.ask(question)

    def _rows(self, root: str | None) -> tuple[pa.Table | InPlace, set[str]]:
        """Return the rows of a root, or of all, and the columns that are not shown.

        Without anything to hide, the rows of all stay where they lie if that is a disk.
        """
        in_place = root is None and self.identifiers.mode == "keep"
        where = None if root is None else Filter(pc.field("Root") == root, ("Root",))
        try:
            if in_place and isinstance(self.storage, LocalStorage):
                # A broken table is told by the same words everywhere.
                names = self.reader.snapshot().columns.names
                return InPlace(native_place(self.storage, FOLDER)[0], names), set()
            table = self.reader.read(None, where)
        except ObjectNotFoundError as error:  # the cache folder itself is not there
            raise NoCatalogueError(self.reader.url) from error
        if root is not None and not table.num_rows:
            self._check_root(root)
        seen = shown(table, self.identifiers.mode, self.identifiers.key)
        return seen, set(table.column_names) - set(seen.column_names)

    def _check_root(self, root: str) -> None:
        """Raise an error where the catalogue has series of other roots only."""
        roots = self.reader.read(["Root"])["Root"].unique().to_pylist()
        if roots and root not in roots:
            raise RequestError(
                "root", f"the catalogue has no series of {root}; it has those of {_listed(sorted(roots))}"
            )

    def _check(self, table: pa.Table | InPlace) -> Callable[[], object]:
        """Return what raises an error where files that DataFusion has read are damaged."""
        return self.reader.read if isinstance(table, InPlace) else lambda: None

    def _slices(self, root: str | None, where: str | None) -> tuple[pa.Table, set[str]]:
        """Join the rows that the indices of the selected series have of them.

        Returns:
            The rows, and the columns that are not shown.
        """
        named = ("Root", "Series", "SeriesInstanceUID", "IndexPath", "Problem")
        found = self.series(SeriesQuery(root, where, named)).to_pylist()
        folders: dict[tuple[str, str], _Folder] = {}
        for row in found:
            if not row["Problem"]:
                folder = folders.setdefault((row["Root"], row["Series"]), _Folder(row["IndexPath"] or ""))
                folder.uids.add(row["SeriesInstanceUID"])
        if len(folders) > _MOST_INDICES:
            raise LimitError(
                "where",
                f"leaves {len(folders)} indices, and `slices` holds at most {_MOST_INDICES}; narrow it",
            )
        if not folders:
            raise RequestError("sql" if where is None else "where", _without_index(len(found), where))
        tables, hidden = [], set()
        for table in self._tables(folders):
            seen = shown(table, self.identifiers.mode, self.identifiers.key, frames=True)
            hidden |= set(table.column_names) - set(seen.column_names)
            tables.append(seen)
        return pa.concat_tables(tables, promote_options="permissive"), hidden

    def _tables(self, folders: Mapping[tuple[str, str], _Folder]) -> list[pa.Table]:
        """Read the indices of folders; make those anew that the cache has lost, and tell of it.

        Raises:
            CatalogueError: None is left, and none can be made.
        """
        tables, anew, lost = [], [], []
        for (root, series), folder in folders.items():
            index = self._index(folder.path)
            if index is None:
                try:
                    index = self._reindexed(root, series)
                except PreviewError as error:
                    lost.append(f"{series} ({getattr(error, 'problem', str(error))})")
                    continue
                anew.append(series)
            tables.append(folder.rows_of(index))
        if anew:
            self.tell(
                f"the cache had lost the indices of {len(anew)} series, which were made anew: {_listed(anew)}"
            )
        if lost:
            line = (
                f"the cache has lost the indices of {len(lost)} series, "
                f"which cannot be made anew: {_listed(lost)}"
            )
            if not tables:
                raise CatalogueError(self.reader.url, line)
            self.tell(f"`slices` lacks {len(lost)} series: {line}")
        return tables

    def _index(self, path: str) -> Index | None:
        """Load an index; None where the cache has it no more."""
        if not path:
            return None
        try:
            return Index.from_parquet(self.storage.get(path).data)
        except (ObjectNotFoundError, DamagedIndexError):
            return None

    def _reindexed(self, root: str, series: str) -> Index:
        if self.reindex is None:
            raise SeriesNotFoundError(series, root, "its root is not at hand")
        return self.reindex(root, series)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder of selected series.

    Attributes:
        path: Its index below the cache, or empty.
        uids: Their SeriesInstanceUIDs.
    """

    path: str
    uids: set[str] = field(default_factory=set)

    def rows_of(self, index: Index) -> pa.Table:
        """Return the rows of the selected series in the folder's index."""
        table = index.whole.replace_schema_metadata(None)
        return table.filter(pa.array([uid in self.uids for uid in series_uids(index)], pa.bool_()))


def _without_index(found: int, where: str | None) -> str:
    """Say why `slices` would be empty."""
    if not found:
        return "asks for `slices`, and there are no series" if where is None else "selects no series"
    return f"selects {found} series, and none of them has an index; their column Problem says why"


def _listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f", and {more} more" if more > 0 else "")


def _named(name: str, columns: Sequence[str], hidden: Collection[str], parameter: str) -> str:
    """Return a column's name as it is.

    Raises:
        RequestError: There is no such column, or it is not shown.
    """
    unseen = {column.lower(): column for column in hidden}
    if name.lower() in unseen:
        raise RequestError(parameter, hidden_column(unseen[name.lower()]))
    names = {column.lower(): column for column in columns}
    if name.lower() in names:
        return names[name.lower()]
    near = difflib.get_close_matches(name.lower(), names, 1)
    hint = f"; did you mean {names[near[0]]}?" if near else f"; there are {', '.join(columns)}"
    raise RequestError(parameter, f"{name!r} is no column of the catalogue{hint}")
