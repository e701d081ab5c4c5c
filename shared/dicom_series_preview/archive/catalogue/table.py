"""Write the catalogue's table: a Delta Lake table, one commit for each piece of work."""

from __future__ import annotations

import datetime as dt
import logging
import os
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError

from dicom_series_preview.archive.catalogue.columns import KEY, PATIENT, Key, Shape, key_of
from dicom_series_preview.archive.catalogue.rows import table_of
from dicom_series_preview.archive.catalogue.snapshot import (
    FOLDER,
    FileCache,
    Filter,
    Snapshot,
    SnapshotReader,
    remove_table,
)
from dicom_series_preview.archive.catalogue.split import parts_of
from dicom_series_preview.base.errors import (
    CatalogueBusyError,
    CatalogueError,
    NoCatalogueError,
    PreviewError,
)
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.native import native_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deltalake.table import TableMerger

    from dicom_series_preview.archive.catalogue.split import Amendment
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)
# A checkpoint at each commit, so that a reader replays none; the log of a day, for readers of other engines.
_CONFIGURATION = {
    "delta.checkpointInterval": "1",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
# A reader fetches each file: with more than these, a writer joins them.
_MOST_FILES = 4
_FILE_BYTES = 256 * 2**20
_TRIES = 25
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_RETENTION_H = 24
# The library's words for what the disk or the bucket has answered, wrapped in errors of its own.
_OF_STORAGE = re.compile(r"\(os error \d+\)|Generic \w+ error")
_GONE, _WINS, _DESCRIBES = "Gone", "Wins", "Describes"
# A row of a time later than this many seconds from now was written by a clock that is wrong.
_AHEAD_S = 60
# Rows with these alike were made of the same index.
_COMPARED = ("Fingerprint", "IndexVersion", "Problem")


@dataclass(frozen=True, slots=True)
class Change:
    """The outcome of a commit.

    Attributes:
        added: New rows.
        changed: Rows with newer contents.
        removed: Rows that are gone.
        passed: Series whose rows are of a later time than what was to be written.
        tries: How often the commit was tried: others may have come first.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    passed: int = 0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class CatalogueTable:
    """Writes the table below a cache.

    Attributes:
        storage: The cache's storage.
        shape: The site's columns.
        pause: Waits for some seconds before another try.
        kept: Files of it that were read already.
        tries: How often to try a commit that others are writing at the same time.
        now: The time.
    """

    storage: Storage
    shape: Shape = field(default_factory=Shape)
    pause: Callable[[float], None] = time.sleep
    kept: FileCache = field(default_factory=FileCache)
    tries: int = _TRIES
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)

    @property
    def url(self) -> str:
        """The table's URL."""
        return f"{self.storage.url}/{FOLDER}"

    def merge(
        self,
        rows: Sequence[Mapping[str, Any]],
        series: Mapping[tuple[str, str], dt.datetime],
        *,
        anew: bool = False,
        going: Callable[[Sequence[Key]], None] = lambda _keys: None,
    ) -> Change:
        """Write the rows of some series in one commit; no commit where nothing is new.

        Of each row, the one with the later `CataloguedAt` stays; and nothing is written of a series of which
        the table has a row that was made after the series was looked at here.

        Args:
            rows: Their rows.
            series: The root and folder of all of them, and when each was looked at; a row of theirs that is
                not among `rows` goes.
            anew: Write also rows of indices that the table has already.
            going: Called before each try of a commit that removes rows, with their keys.

        Raises:
            CatalogueBusyError: Others kept writing.
            CatalogueError: The table cannot be written.
            StorageError: The credentials are gone.
        """
        if not series:
            return Change()

        def once(snapshot: Snapshot, table: DeltaTable) -> Change:
            there = self._existing(snapshot, series)
            source, change = _compared(rows, series, there, anew=anew, now=self.now())
            if any(row[_GONE] for row in source):
                going([key_of(row) for row in source if row[_GONE]])
            if source:
                self._commit(snapshot, table, source)
            return change

        return self._tried(once)

    def amend(self, amendments: Sequence[Amendment]) -> Change:
        """Write into the rows of series what was found of them as a whole, in one commit.

        A series is passed over if its rows are not those any more that it was measured for.

        Raises:
            CatalogueBusyError: Others kept writing.
            CatalogueError: The table cannot be written.
            StorageError: The credentials are gone.
        """
        if not amendments:
            return Change()

        def once(snapshot: Snapshot, table: DeltaTable) -> Change:
            there = parts_of(self._reader, [one.series.key for one in amendments], snapshot)
            fitting = [one for one in amendments if there.get(one.series.key) == one.series.parts]
            source = [
                {**row, _DESCRIBES: row["Series"] in one.cells} for one in fitting for row in one.rows()
            ]
            if source:
                self._commit_cells(table, source)
            return Change(changed=len(source), passed=len(amendments) - len(fitting))

        return self._tried(once)

    def _tried(self, once: Callable[[Snapshot, DeltaTable], Change]) -> Change:
        """Do work that ends in a commit, anew as long as others are first.

        Raises:
            CatalogueBusyError: Others kept writing.
            CatalogueError: The table cannot be written.
            StorageError: The credentials are gone.
        """
        for attempt in range(1, self.tries + 1):
            try:
                return replace(once(*self._open()), tries=attempt)
            except CommitFailedError:
                # Someone else was first: read again what is there now.
                self.pause(random.uniform(0, min(_LONGEST_PAUSE_S, _PAUSE_S * 2**attempt)))
            except PreviewError:
                raise
            except Exception as error:
                # The library raises Python's own errors, and bare `Exception`, besides those that it names.
                raise self._failed(error) from error
        raise CatalogueBusyError(self.url, f"others kept writing the catalogue for {self.tries} tries")

    def clear(self) -> None:
        """Remove the whole table, of all roots.

        Raises:
            StorageError: It cannot be removed.
        """
        remove_table(self.storage)

    def forget_patients(self) -> None:
        """Write the table anew without the columns that say who it is; old files and their log go.

        Raises:
            CatalogueError: The table cannot be written.
            StorageError: It cannot be read or removed.
        """
        with suppress(NoCatalogueError):
            rows = self._reader.read().to_pylist()
            plain = [{name: cell for name, cell in row.items() if name not in PATIENT} for row in rows]
            self.clear()
            self.merge(plain, {(row["Root"], row["Series"]): row["CataloguedAt"] for row in plain})

    def maintain(self) -> None:
        """Join small files, and remove files and log entries that no version of the last day needs.

        Raises:
            CatalogueError: The table cannot be written.
            StorageError: The credentials are gone.
        """
        try:
            _, table = self._open()
            table.optimize.compact(target_size=_FILE_BYTES)
            table.vacuum(_RETENTION_H, dry_run=False, enforce_retention_duration=False)
            table.cleanup_metadata()
        except CommitFailedError:
            _LOGGER.info("others write the catalogue; its files are joined another time")
        except PreviewError:
            raise
        except Exception as error:
            raise self._failed(error) from error

    def _commit(self, snapshot: Snapshot, table: DeltaTable, source: Sequence[Mapping[str, Any]]) -> None:
        """Write rows, and remove those that are gone, unless the table's are newer."""
        # A column that the site no longer adds has no value in new rows.
        left = [one for one in snapshot.columns if one.name not in self.shape.stored_schema.names]
        schema = pa.schema([*self.shape.stored_schema, *left])
        names = schema.names
        newer = f"(s.{_WINS} OR s.CataloguedAt >= t.CataloguedAt)"
        cells = {name: f"s.{name}" for name in names}
        (
            _merger(table, source, schema, (_GONE, _WINS))
            .when_matched_delete(f"s.{_GONE} AND {newer}")
            .when_matched_update(cells, f"NOT s.{_GONE} AND {newer}")
            .when_not_matched_insert(cells, f"NOT s.{_GONE}")
            .execute()
        )
        self._join_files(table)

    def _commit_cells(self, table: DeltaTable, source: Sequence[Mapping[str, Any]]) -> None:
        """Write some cells into rows that are there, unless the table's are newer."""
        told = ("Folders", "PartOnly", "Rules")
        stored = self.shape.stored_schema
        schema = pa.schema(
            [stored.field(name) for name in (*KEY, "CataloguedAt", *told, *self.shape.of_whole)]
        )
        same = "s.CataloguedAt = t.CataloguedAt"
        (
            _merger(table, source, schema, (_DESCRIBES,))
            .when_matched_update(
                {name: f"s.{name}" for name in (*told, *self.shape.of_whole)}, f"s.{_DESCRIBES} AND {same}"
            )
            .when_matched_update({name: f"s.{name}" for name in told}, f"NOT s.{_DESCRIBES} AND {same}")
            .execute()
        )
        self._join_files(table)

    def _existing(
        self, snapshot: Snapshot, series: Mapping[tuple[str, str], dt.datetime]
    ) -> list[dict[str, Any]]:
        """Return what a version of the table knows of series."""
        folders = pc.field("Series").isin(sorted({folder for _, folder in series}))
        where = Filter(folders, ("Series",))
        found = self._reader.read([*KEY, *_COMPARED, "CataloguedAt", "Rules"], where, snapshot).to_pylist()
        return [row for row in found if (row["Root"], row["Series"]) in series]

    @property
    def _reader(self) -> SnapshotReader:
        return SnapshotReader(self.storage, self.kept)

    def _open(self) -> tuple[Snapshot, DeltaTable]:
        """Open the table at its newest version; create it if nothing is there.

        Raises:
            CommitFailedError: Someone else has written it meanwhile.
            CatalogueError: It is broken.
        """
        place, options = native_place(self.storage, FOLDER)
        self._check_writable()
        try:
            # This tells a broken table from none, and says how to mend it.
            snapshot = self._reader.snapshot()
        except NoCatalogueError:
            self._create(place, options)
            snapshot = self._reader.snapshot()
        table = DeltaTable(place, storage_options=options)
        if table.version() != snapshot.version:
            raise CommitFailedError("someone else has written since")
        return snapshot, table

    def _check_writable(self) -> None:
        """Refuse a folder that cannot be written, before the library panics at it.

        Raises:
            CatalogueError: The folder, or the file system, is read-only.
        """
        if not isinstance(self.storage, LocalStorage):
            return
        folder = self.storage.root / FOLDER
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CatalogueError(
                self.url, "the catalogue cannot be written: the folder is read-only; choose another one"
            )

    def _create(self, place: str, options: dict[str, str]) -> None:
        """Create the table.

        Raises:
            CommitFailedError: Someone else has created it meanwhile.
        """
        try:
            DeltaTable.create(
                place,
                self.shape.stored_schema.remove_metadata(),
                mode="ignore",
                name="series",
                description="One row a DICOM series",
                configuration=_CONFIGURATION,
                storage_options=options,
            )
        except Exception as error:
            try:
                self._reader.snapshot()
            except NoCatalogueError:
                raise error from None
            raise CommitFailedError("someone else has created the table") from error

    def _join_files(self, table: DeltaTable) -> None:
        if len(table.file_uris()) <= _MOST_FILES:
            return
        try:
            table.optimize.compact(target_size=_FILE_BYTES)
        except CommitFailedError:
            _LOGGER.info("others write the catalogue; its files are joined another time")

    def _failed(self, error: Exception) -> CatalogueError:
        line = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("\n")[0].strip()[:300]
        # A full disk, a refused request: nothing that making the table anew would mend.
        is_storage = isinstance(error, OSError) or _OF_STORAGE.search(str(error))
        hint = "" if is_storage else "; `update --rebuild` makes it anew"
        return CatalogueError(self.url, f"the catalogue cannot be written: {line}{hint}")


def _merger(
    table: DeltaTable, source: Sequence[Mapping[str, Any]], schema: pa.Schema, flags: Sequence[str]
) -> TableMerger:
    """Begin a merge of rows by their keys.

    Args:
        table: The table.
        source: The rows.
        schema: Their columns.
        flags: Further ones, which are true or false and no part of the table.
    """
    is_wider = not set(schema.names) <= {one.name for one in table.schema().fields}
    for name in flags:
        schema = schema.append(pa.field(name, pa.bool_()))
    return table.merge(
        table_of((_stored(row) for row in source), schema),
        " AND ".join(f"t.{name} = s.{name}" for name in KEY),
        source_alias="s",
        target_alias="t",
        # Without it the library takes other writers' new rows for none of its concern: they were doubled.
        streamed_exec=True,
        # Half the bytes of the library's own choice: readers fetch files whole.
        writer_properties=WriterProperties(compression="ZSTD"),
        merge_schema=is_wider,
    )


def _compared(
    rows: Sequence[Mapping[str, Any]],
    series: Mapping[tuple[str, str], dt.datetime],
    there: Sequence[Mapping[str, Any]],
    *,
    anew: bool,
    now: dt.datetime,
) -> tuple[list[dict[str, Any]], Change]:
    """Return the rows to merge, and what that will change."""
    before = {key_of(row): row for row in there}
    ahead = now + dt.timedelta(seconds=_AHEAD_S)
    # Nothing can be newer than what a wrong clock wrote: it gives way, as all does where rows are made anew.
    wins = {key_of(row) for row in there if anew or row["CataloguedAt"] > ahead}
    # Whoever made the later row knew which UIDs the series has now; a row of another one would stay for good.
    passed = {
        (row["Root"], row["Series"])
        for key, row in before.items()
        if key not in wins and row["CataloguedAt"] > series[row["Root"], row["Series"]]
    }
    source: list[dict[str, Any]] = []
    added = changed = 0
    for row in rows:
        if (row["Root"], row["Series"]) in passed:
            continue
        key = key_of(row)
        known = before.pop(key, None)
        if known is None:
            added += 1
        elif key not in wins and _is_same(known, row):
            continue
        else:
            changed += 1
        source.append({**row, _GONE: False, _WINS: key in wins})
    gone = [row for row in before.values() if (row["Root"], row["Series"]) not in passed]
    for row in gone:
        key = key_of(row)
        moment = series[row["Root"], row["Series"]]
        cells = dict(zip(KEY, key, strict=True))
        source.append({**cells, "CataloguedAt": moment, _GONE: True, _WINS: key in wins})
    return source, Change(added, changed, len(gone), len(passed))


def _is_same(known: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """True where a row was made of the same index, by the same rules or later ones."""
    is_older = (known.get("Rules") or 0) < (row.get("Rules") or 0)
    return not is_older and all(known[name] == row.get(name) for name in _COMPARED)


def _stored(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the table's files have it."""
    return {
        name: value.isoformat("microseconds") if isinstance(value, dt.time) else value
        for name, value in row.items()
    }
