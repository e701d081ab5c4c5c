"""The cache of indices: it finds, checks and writes a root's indices, and knows who builds one."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicom_series_preview.archive.claims import Claim, claimed, is_claimed
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.file import origin
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import index_path
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager

    from dicom_series_preview.sources.storage.base import Fetched, Storage
    from dicom_series_preview.sources.storage.deadline import Deadline

_LOGGER = logging.getLogger(__name__)

# The paths that `index_path`, `_partial_path` and `_claim_path` make.
_KEPT = re.compile(r"(.+)_index\.parquet(?:\.partial|\.lock)?")
# The caches that a warning has named.
_WARNED: set[str] = set()


@contextmanager
def excused(cache: Storage, *, optional: bool) -> Iterator[None]:
    """Excuse an optional cache that cannot be read or written: warn once, and continue after the block.

    Raises:
        ObjectChangedError: Someone else has written the object, so the cache works.
        StorageError: The cache cannot be read or written, and is not optional.
    """
    try:
        yield
    except ObjectChangedError:
        raise
    except StorageError as error:
        if not optional:
            raise
        level = logging.DEBUG if cache.url in _WARNED else logging.WARNING
        _WARNED.add(cache.url)
        _LOGGER.log(level, "the cache cannot be used, and nothing is kept: %s", error.problem)


def log_damage(series: str, reason: str) -> None:
    """Log that the cached index of a series is damaged and will be rebuilt."""
    _LOGGER.warning("the index of series %s is built anew: %s", digest_of(series), reason)


@dataclass(frozen=True, slots=True)
class CachedIndex:
    """The contents of a cache for one series.

    Attributes:
        index: The root's own readable index, or None.
        version: The file's version, empty without a file.
        unreadable: The file can be neither read nor replaced.
        damage: Why the file is no index, or empty.
    """

    index: Index | None
    version: str
    unreadable: bool = False
    damage: str = ""

    def forgets(self, instances: AbstractSet[tuple[str, str]]) -> bool:
        """Return True where a new index in its place would forget an instance that this one knows.

        An unreadable index could know any instance.

        Args:
            instances: The new index's instances: names and versions.
        """
        return bool(self.version) if self.index is None else not _objects(self.index) <= instances


@dataclass(frozen=True, slots=True)
class IndexCache:
    """The store of one root's indices.

    Attributes:
        storage: The cache's root.
        folder: The folder below it with this root's files and no others, or empty.
        former_folder: The folder of an earlier version's files, or empty. They are no longer read.
        root: The root's URL, which identifies those.
        optional: Where the cache cannot be read or written, indices are made without it.
        claims: Stores who builds which index: a storage that all builders share and that dies with them; or
            None for the cache's.
    """

    storage: Storage
    folder: str = "indices"
    former_folder: str = ""
    root: str = ""
    optional: bool = False
    claims: Storage | None = None

    def within(self, deadline: Deadline) -> IndexCache:
        """Return the cache for one request; see `Storage.within`."""
        claims = None if self.claims is None else self.claims.within(deadline)
        return replace(self, storage=self.storage.within(deadline), claims=claims)

    def path(self, series: str) -> str:
        """Return the path of a series' index below the cache's root."""
        return index_path(series, self.folder)

    def load(self, series: str, root: str, most_rows: int | None = None) -> CachedIndex:
        """Load the index of a series; none if it has more rows than `most_rows`.

        Raises:
            StorageError: The cache cannot be read.
        """
        return self._load(self.path(series), series, root, most_rows)

    def _load(self, path: str, series: str, root: str, most_rows: int | None) -> CachedIndex:
        try:
            return self.parsed(self.storage.get(path), series, root, most_rows)
        except ObjectNotFoundError:
            return CachedIndex(None, "")

    @staticmethod
    def parsed(fetched: Fetched, series: str, root: str, most_rows: int | None = None) -> CachedIndex:
        """Return what the file of a series' index holds.

        Args:
            fetched: The file, whole.
            series: The series.
            root: Its root.
            most_rows: No index is returned that has more rows.
        """
        try:
            index = Index.from_parquet(fetched.data, most_rows)
        except DamagedIndexError as error:
            return CachedIndex(None, fetched.version, damage=str(error))
        provenance = index.provenance
        if provenance.root != root or provenance.series != series:
            _LOGGER.info("the cached index of series %s is of another root or name", digest_of(series))
            return CachedIndex(None, fetched.version)
        return CachedIndex(index, fetched.version)

    def save(self, series: str, index: Index, if_version: str) -> str:
        """Write an index whole or not at all, and return its version.

        Args:
            series: The series.
            index: Its index.
            if_version: The file's version when the index was made, empty without a file.

        Raises:
            ObjectChangedError: Someone else has written another index since.
            StorageError: The cache cannot be written.
        """
        return self.storage.put(self.path(series), index.to_parquet(), if_version=if_version)

    def forget(self, series: str) -> None:
        """Remove everything about a series, including what an earlier version of the product left.

        Raises:
            StorageError: The cache cannot be written.
        """
        if self.former_folder:
            former = index_path(series, self.former_folder)
            with suppress(ObjectNotFoundError):
                # The file may be another root's by now; a damaged one is useless.
                if origin(self.storage.get(former).data) in {(self.root, series), None}:
                    self.storage.delete(former)
        self.forget_index(series)
        self.forget_partial(series)

    def forget_index(self, series: str) -> None:
        """Remove the index of a series.

        Raises:
            StorageError: The cache cannot be written.
        """
        self.storage.delete(self.path(series))

    def kept_below(self, series: str) -> list[str]:
        """List the folders below a series that have anything in the cache, or a claim.

        Raises:
            StorageError: The cache cannot be listed.
        """
        start = f"{self.folder}/" if self.folder else ""
        listed = [info.path.removeprefix(start) for info in self.storage.list_objects(f"{start}{series}")]
        return sorted({found[1] for path in listed if (found := _KEPT.fullmatch(path)) is not None})

    def is_kept(self, series: str) -> bool:
        """Return True where the cache has anything about a series, or someone builds its index.

        Raises:
            StorageError: The cache cannot be read.
        """
        kept = (self.storage, self.path(series)), (self.storage, self._partial_path(series))
        for storage, path in ((self._claims, self._claim_path(series)), *kept):
            with suppress(ObjectNotFoundError):
                storage.get(path)
                return True
        return False

    def load_partial(self, series: str, root: str, most_rows: int | None = None) -> CachedIndex:
        """Load the partial index of a series; none if it has more rows than `most_rows`.

        Raises:
            StorageError: The cache cannot be read.
        """
        kept = self._load(self._partial_path(series), series, root, most_rows)
        if kept.damage:
            log_damage(series, kept.damage)
        return kept

    def save_partial(self, series: str, index: Index) -> None:
        """Write a partial index; it lies beside the whole one, and is never served.

        Raises:
            StorageError: The cache cannot be written.
        """
        self.storage.put(self._partial_path(series), index.to_parquet())

    def forget_partial(self, series: str) -> None:
        """Remove a series' partial index.

        Raises:
            StorageError: The cache cannot be written.
        """
        self.storage.delete(self._partial_path(series))

    def _partial_path(self, series: str) -> str:
        return f"{self.path(series)}.partial"

    def claim(self, series: str, root: str, now: float) -> AbstractContextManager[Claim]:
        """Claim the sole right to build a series' index, for as long as the lease lasts.

        Args:
            series: The series.
            root: Its root, for the error.
            now: Seconds since 1970.

        Raises:
            IndexBusyError: Someone else holds the claim.
            StorageError: The cache cannot be written.
        """
        return claimed(self._claims, self._claim_path(series), series, root, now)

    def is_claimed(self, series: str, now: float) -> bool:
        """Return True where someone builds a series' index.

        Raises:
            StorageError: The claims cannot be read.
        """
        return is_claimed(self._claims, self._claim_path(series), now)

    @property
    def _claims(self) -> Storage:
        return self.storage if self.claims is None else self.claims

    def _claim_path(self, series: str) -> str:
        return f"{self.path(series)}.lock"


def _objects(index: Index) -> set[tuple[str, str]]:
    """Return the names and versions of an index's instances."""
    columns = index.table.select(["FileName", "ObjectVersion"]).to_pydict()
    return set(zip(columns["FileName"], columns["ObjectVersion"], strict=True))
