"""The catalogue as one door shows it: it follows the table's versions, and answers searches."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.archive.catalogue.snapshot import FileCache, SnapshotReader
from dicom_series_preview.base.errors import CatalogueError, ExpiredCursorError, NoCatalogueError
from dicom_series_preview.products.catalogue.columns import ColumnCache, ShownTable
from dicom_series_preview.products.catalogue.pages import Page, Place, page_of, place_of
from dicom_series_preview.products.catalogue.search import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.archive.catalogue.snapshot import Snapshot
    from dicom_series_preview.base.settings import Identifiers
    from dicom_series_preview.products.catalogue.search import Search
    from dicom_series_preview.sources.storage.base import Storage

# A version is found from the one before by one request, as long as neither the log nor the table goes:
# after so long the newest is looked up anew.
_TRUSTED_S = 300.0
# A million rows take some 600 MB. With less room, columns are decoded for each request.
_KEPT_BYTES = 640 * 2**20
_KEPT_FILES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Result:
    """What a search has found.

    Attributes:
        page: The rows.
        next: The cursor of the next page, or None.
    """

    page: Page
    next: str | None


class CatalogueView:
    """The catalogue as one door shows it, for all its requests.

    Args:
        storage: The cache's storage, which holds the table.
        roots: The URLs of the served roots, by alias.
        identifiers: How patients' identifiers are shown.
        clock: A monotonic clock, in seconds.
        most_bytes: How much of the decoded table to keep in memory.
    """

    def __init__(
        self,
        storage: Storage,
        roots: Mapping[str, str],
        identifiers: Identifiers,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = _KEPT_BYTES,
    ) -> None:
        self.storage = storage
        # Of two aliases of one root, its rows show the first.
        self._shown = {url: alias for alias, url in reversed(list(roots.items()))}
        self._aliases = {alias: self._shown[url] for alias, url in roots.items()}
        self.identifiers = identifiers
        self._clock = clock
        self._files = FileCache(min(_KEPT_FILES, most_bytes // 2))
        self._columns = ColumnCache(most_bytes)
        self._lock = threading.Lock()
        self._known: tuple[Snapshot, float] | None = None

    def newest(self, storage: Storage) -> ShownTable:
        """Return the newest version.

        Args:
            storage: `storage`, for one request.

        Raises:
            NoCatalogueError: There is no table.
            CatalogueError: It is broken.
            StorageError: It cannot be read.
        """
        now = self._clock()
        with self._lock:
            known = self._known
        reader = SnapshotReader(storage, self._files)
        if known is not None and now - known[1] < _TRUSTED_S:
            snapshot, since = reader.snapshot(known[0]), known[1]
        else:
            snapshot, since = reader.snapshot(), now
        with self._lock:
            self._known = (snapshot, since)
        return self._table(reader, snapshot)

    def _table(self, reader: SnapshotReader, snapshot: Snapshot) -> ShownTable:
        return ShownTable.opened(reader, snapshot, self._shown, self.identifiers, self._columns)

    def shelf(self, table: ShownTable) -> Shelf:
        """Return what there is to search in a version."""
        return Shelf(table.schema, self._aliases, self.identifiers.mode)

    def find(self, table: ShownTable, search: Search, most_bytes: int) -> Result:
        """Return a page of a search; of the version of its first page.

        Args:
            table: The newest version.
            search: The search.
            most_bytes: The most bytes of text that the page may have.

        Raises:
            RequestError: The cursor is none.
            LimitError: The page has more text.
            ExpiredCursorError: The version of the first page is there no more.
            CatalogueError: The table is broken.
            StorageError: It cannot be read.
        """
        place = place_of(search.cursor, search.identity) if search.cursor else None
        if place is None or place.files == files_of(table.snapshot):
            try:
                return self._result(table, search, most_bytes, None if place is None else place.row)
            except CatalogueError:
                # The table may have been made anew: the next request does not go on from this version.
                with self._lock:
                    self._known = None
                raise
        older = self._older(table, place.version, place.files)
        try:
            return self._result(older, search, most_bytes, place.row)
        except CatalogueError as error:  # its files are gone, though its log is not
            raise ExpiredCursorError(table.reader.url) from error

    def _result(self, table: ShownTable, search: Search, most_bytes: int, after: int | None) -> Result:
        page, snapshot = page_of(table, search, most_bytes, after), table.snapshot
        if page.last is None:
            return Result(page, None)
        return Result(page, Place(snapshot.version, page.last, files_of(snapshot)).cursor(search.identity))

    def _older(self, newest: ShownTable, version: int, files: str) -> ShownTable:
        try:
            snapshot = newest.reader.version(version)
        except NoCatalogueError as error:
            raise ExpiredCursorError(newest.reader.url) from error
        if files_of(snapshot) != files:
            raise ExpiredCursorError(newest.reader.url)
        return self._table(newest.reader, snapshot)


def files_of(snapshot: Snapshot) -> str:
    """Return a digest of a version's files, which no other version has."""
    return hashlib.sha256("\n".join(sorted(snapshot.files)).encode()).hexdigest()[:16]
