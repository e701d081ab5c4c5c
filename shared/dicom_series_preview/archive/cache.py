"""The cache of indices: where they lie, which of them belong to a root, and who builds one."""

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

    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.sources.storage.deadline import Deadline

_LOGGER = logging.getLogger(__name__)

# What `index_path`, `_partial_path` and `_claim_path` make of a series.
_KEPT = re.compile(r"(.+)_index\.parquet(?:\.partial|\.lock)?")
# The caches that a warning has told of.
_WARNED: set[str] = set()


@contextmanager
def excused(cache: Storage, *, optional: bool) -> Iterator[None]:
    """Excuse an optional cache that cannot be read or written: warn once, and go on behind the block.

    Raises:
        ObjectChangedError: Someone else has written the object: the cache works.
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
    """Log that the kept index of a series is damaged, and another one is built."""
    _LOGGER.warning("the index of series %s is built anew: %s", digest_of(series), reason)


@dataclass(frozen=True, slots=True)
class CachedIndex:
    """The contents of a cache for one series.

    Attributes:
        index: The index, or None where there is none that belongs to the root and can be read.
        version: The file's version, empty where there is none.
        unreadable: What is there can be neither read nor replaced.
        damage: Why what is there is no index, or empty.
    """

    index: Index | None
    version: str
    unreadable: bool = False
    damage: str = ""

    def forgets(self, instances: AbstractSet[tuple[str, str]]) -> bool:
        """Return True where a new index in its place forgets an instance that this one knows.

        An index that cannot be read may know any instance.

        Args:
            instances: The instances that an index in its place knows: names and versions.
        """
        return bool(self.version) if self.index is None else not _objects(self.index) <= instances


@dataclass(frozen=True, slots=True)
class IndexCache:
    """The place that keeps the indices of one root.

    Attributes:
        storage: The cache's root.
        folder: The folder below it that holds the files, or empty; no other root's lie in it.
        former_folder: Where an earlier version may have left them, or empty. They are not read any more.
        root: The root's URL, by which those are told.
        optional: Where it cannot be read or written, indices are made without it.
        claims: Where it is written who builds which index: the storage that all builders have in common, and
            that dies with them; or None for the cache's.
    """

    storage: Storage
    folder: str = "indices"
    former_folder: str = ""
    root: str = ""
    optional: bool = False
    claims: Storage | None = None

    def within(self, deadline: Deadline) -> IndexCache:
        """The cache for one request; see `Storage.within`."""
        claims = None if self.claims is None else self.claims.within(deadline)
        return replace(self, storage=self.storage.within(deadline), claims=claims)

    def path(self, series: str) -> str:
        """The path of a series' index below the cache's root."""
        return index_path(series, self.folder)

    def load(self, series: str, root: str, most_rows: int | None = None) -> CachedIndex:
        """Load the index of a series; none where it has more rows than `most_rows`.

        Raises:
            StorageError: The cache cannot be read.
        """
        return self._load(self.path(series), series, root, most_rows)

    def _load(self, path: str, series: str, root: str, most_rows: int | None) -> CachedIndex:
        try:
            fetched = self.storage.get(path)
        except ObjectNotFoundError:
            return CachedIndex(None, "")
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
        """Write an index, and return its version; it appears whole or not at all.

        Args:
            series: The series.
            index: Its index.
            if_version: The version that was there when it was made, empty where there was none.

        Raises:
            ObjectChangedError: Someone else has written another one since.
            StorageError: The cache cannot be written.
        """
        return self.storage.put(self.path(series), index.to_parquet(), if_version=if_version)

    def forget(self, series: str) -> None:
        """Remove everything about a series, and what an earlier version of the product left of it.

        Raises:
            StorageError: The cache cannot be written.
        """
        if self.former_folder:
            former = index_path(series, self.former_folder)
            with suppress(ObjectNotFoundError):
                # What lies there may be another root's by now; a damaged one is of use to none.
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
        """List the folders below a series that have something in the cache, or a claim.

        Raises:
            StorageError: The cache cannot be listed.
        """
        start = f"{self.folder}/" if self.folder else ""
        listed = [info.path.removeprefix(start) for info in self.storage.list_objects(f"{start}{series}")]
        return sorted({found[1] for path in listed if (found := _KEPT.fullmatch(path)) is not None})

    def is_kept(self, series: str) -> bool:
        """Return True where the cache has anything of a series, or someone builds its index.

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
        """Load what was read of a series that has no whole index; none with more rows than `most_rows`.

        Raises:
            StorageError: The cache cannot be read.
        """
        kept = self._load(self._partial_path(series), series, root, most_rows)
        if kept.damage:
            log_damage(series, kept.damage)
        return kept

    def save_partial(self, series: str, index: Index) -> None:
        """Write what was read of a series. It lies beside the index, and is never served as one.

        Raises:
            StorageError: The cache cannot be written.
        """
        self.storage.put(self._partial_path(series), index.to_parquet())

    def forget_partial(self, series: str) -> None:
        """Remove what was read of a series beside its whole index.

        Raises:
            StorageError: The cache cannot be written.
        """
        self.storage.delete(self._partial_path(series))

    def _partial_path(self, series: str) -> str:
        return f"{self.path(series)}.partial"

    def claim(self, series: str, root: str, now: float) -> AbstractContextManager[Claim]:
        """Be the only one to build a series' index, for as long as the lease lasts.

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
    """The names and versions of the instances that an index knows."""
    columns = index.table.select(["FileName", "ObjectVersion"]).to_pydict()
    return set(zip(columns["FileName"], columns["ObjectVersion"], strict=True))
