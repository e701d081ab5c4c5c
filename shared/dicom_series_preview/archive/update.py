"""Update a series' index to what is there now, as far as the time allows, for events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from dicom_series_preview.archive.claims import RETRY_AFTER_S
from dicom_series_preview.archive.gather import Gatherer, Read, left_out
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Skipped
from dicom_series_preview.base.errors import AccessDeniedError, IndexBusyError, LimitError, ObjectChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.archive.cache import CachedIndex, IndexCache
    from dicom_series_preview.archive.claims import Claim
    from dicom_series_preview.archive.open import SeriesIndexer
    from dicom_series_preview.archive.query import IndexQuery


_DENIED = "the storage denies access to each of its objects"


class Updated(Enum):
    """The result of an update."""

    UPDATED = auto()
    """The index was built or updated."""
    UNCHANGED = auto()
    """The index was up to date, or reading was off."""
    UNFINISHED = auto()
    """There is more to read; the headers read so far are kept."""
    REMOVED = auto()
    """The series is gone, and its index with it; or only the index, if reading was off."""
    WITHOUT_IMAGE = auto()
    """No object is a readable DICOM instance; the reasons are kept, and no index."""
    DENIED = auto()
    """The storage denies every object; the reason is kept, and no index."""


class Vanished(Protocol):
    """See `UpdateOptions.vanished`."""

    def __call__(self, *, known: bool) -> None:
        """Act before an index forgets."""


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """Options that say how far an update goes.

    Attributes:
        stop: Called after each object with the number known; True to read no more now.
        vanished: Called before the index forgets an object that is gone or replaced, and before an unreadable
            index is replaced, as it could have known such an object; with `known=False` where the series is
            gone, and the cache has nothing of it.
        first: Called before the first read of a series that the cache does not know.
        gives_up: The reason to note for each object not read in time, so that it is not tried again before it
            changes; empty to leave it to another update.
        reads: False to read nothing: an index that knows a missing object is removed, any other stays.
    """

    stop: Callable[[int], bool]
    vanished: Vanished
    first: Callable[[], None] = lambda: None
    gives_up: str = ""
    reads: bool = True


def update(indexer: SeriesIndexer, series: str, options: UpdateOptions) -> Updated:
    """Update the index of a series to what is there now, under a claim.

    It keeps every header read, even if the update fails later, so that none is read twice.

    Args:
        indexer: Opens series of its root.
        series: Its folder below the root.
        options: The limits of the update.

    Raises:
        IndexBusyError: Someone else is building the index, or has written it meanwhile.
        LimitError: The series has too many objects.
        StorageError: The storage or the cache fails; another try can succeed.
    """
    cache, root = indexer.cache, indexer.storage.url
    if cache is None:
        raise IndexBusyError(series, root, RETRY_AFTER_S)
    try:
        with cache.claim(series, root, indexer.clock()) as claim:
            return _Update(indexer, cache, options, claim).run(series)
    except ObjectChangedError as error:
        raise IndexBusyError(series, root, RETRY_AFTER_S) from error


@dataclass(frozen=True, slots=True)
class _Update:
    """One update, under a claim.

    Attributes:
        indexer: Opens series of the root.
        cache: The cache of indices.
        options: The limits of the update.
        claim: The claim.
    """

    indexer: SeriesIndexer
    cache: IndexCache
    options: UpdateOptions
    claim: Claim

    def run(self, series: str) -> Updated:
        """Update the index of a series."""
        try:
            outcome = self._updated(series)
        except LimitError as limit:
            self._keep_reason(series, limit.problem)
            raise
        if outcome is Updated.DENIED:
            self._keep_reason(series, _DENIED)
        return outcome

    def _keep_reason(self, series: str, reason: str) -> None:
        """Keep why a series has no index, as what was skipped: the folder itself."""
        if not self.options.reads:
            return
        skipped = (Skipped("", reason, transient=True),)
        provenance = Provenance(series, self.indexer.storage.url, "", listed=0, skipped=skipped)
        self.cache.save_partial(series, Index(build([], provenance)))

    def _updated(self, series: str) -> Updated:
        indexer, cache, options = self.indexer, self.cache, self.options
        kept = indexer.kept(series)
        if kept.damage:
            indexer.damaged(series, kept.damage)
        partial = cache.load_partial(series, indexer.storage.url, indexer.limits.rows)
        known = bool(kept.version or partial.version)
        query = indexer.query(series) if known or options.reads else None
        forgets = query is not None and any(one.forgets(query.instances) for one in (kept, partial))
        if query is None or (not options.reads and forgets):
            options.vanished(known=known)
            cache.forget(series)
            return Updated.REMOVED
        if not options.reads:
            return Updated.UNCHANGED
        if indexer.fresh(query, kept) is not None:
            if partial.version:
                cache.forget_partial(series)
            return Updated.UNCHANGED
        if forgets:
            # Before the index forgets them: a retry after a crash must find them here.
            options.vanished(known=True)
        try:
            outcome = self._build_in_time(query, kept, partial)
        except LimitError:
            if forgets:
                # No index will replace the one that knows them.
                cache.forget(series)
            raise
        if outcome is Updated.DENIED and forgets:
            cache.forget(series)
        return outcome

    @property
    def _gatherer(self) -> Gatherer:
        indexer = self.indexer
        return Gatherer(indexer.storage, indexer.limits, indexer.progress, indexer.next_frames)

    def _build_in_time(self, query: IndexQuery, kept: CachedIndex, partial: CachedIndex) -> Updated:
        """Read the new objects as far as the time allows, and save the result."""
        if not (kept.version or partial.version):
            self.options.first()
        known = [one.index for one in (kept, partial) if one.index is not None]
        read = self._read_in_time(query, known)
        outcome = self._save_read(query, read, kept.version, partial.index)
        if outcome is Updated.UPDATED and partial.version:
            self.cache.forget_partial(query.series)
        return outcome

    def _read_in_time(self, query: IndexQuery, earlier: Sequence[Index]) -> Read:
        """Read a series' objects as far as the time allows."""

        def stop(objects: int) -> bool:
            self.claim.renew(self.indexer.clock())
            return self.options.stop(objects)

        read = self._gatherer.read(query, earlier, stop)
        if self.options.gives_up:
            folder = f"{query.series}/"
            read.skipped += [left_out(info, folder, self.options.gives_up) for info in read.unread]
            read.unread.clear()
        self.claim.renew(self.indexer.clock())
        return read

    def _save_read(self, query: IndexQuery, read: Read, version: str, partial: Index | None) -> Updated:
        """Save what has been read.

        Raises:
            ObjectChangedError: Someone else has written the index; what was read is saved beside it.
        """
        if read.unread:
            self.cache.save_partial(query.series, self._gatherer.index(query, read, whole=False))
            return Updated.UNFINISHED
        if not read.records:
            return self._without_image(query, read, partial)
        index = self._gatherer.index(query, read)
        try:
            self.cache.save(query.series, index, version)
        except ObjectChangedError:
            self.cache.save_partial(query.series, index)
            raise
        return Updated.UPDATED

    def _without_image(self, query: IndexQuery, read: Read, partial: Index | None) -> Updated:
        """Save the reasons why nothing in a series can be shown, and remove its index."""
        if all(item.transient for item in read.skipped) and read.withheld is not None:
            if isinstance(read.withheld, AccessDeniedError):
                return Updated.DENIED
            raise read.withheld
        if partial is None or partial.provenance.fingerprint != query.fingerprint:
            self.cache.save_partial(query.series, self._gatherer.index(query, read))
        self.cache.forget_index(query.series)
        return Updated.WITHOUT_IMAGE
