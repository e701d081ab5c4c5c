"""Open a series by name: find its index in the cache, or build one as fresh as the listing."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import CachedIndex, excused, log_damage
from dicom_series_preview.archive.index.records import fingerprint
from dicom_series_preview.archive.opened import OpenedSeries, located_in
from dicom_series_preview.archive.query import IndexQuery
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import (
    IndexBusyError,
    NoImageError,
    ObjectChangedError,
    SeriesNotFoundError,
    StorageError,
)
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.base.settings import index_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dicom_series_preview.archive.cache import IndexCache
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.records import Skipped
    from dicom_series_preview.archive.names import SeriesName
    from dicom_series_preview.base.gate import Passage
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.storage.base import ObjectInfo, Storage

_LOGGER = logging.getLogger(__name__)

# The pauses, in seconds, of a request that waits for another's build of the index: 3 s in all. After that the
# caller has to ask again.
BUSY_PAUSES_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5)
_CONFLICTS = 4


@dataclass(frozen=True, slots=True)
class SeriesIndexer:
    """Resolves names, and loads or builds indices.

    Attributes:
        storage: The root that the series lie in.
        cache: The cache of indices, or None.
        limits: The bounds of work.
        progress: Called with the headers read and in all.
        single_flight: Of several concurrent callers, only one builds an index; the others wait a while, and
            then have to come back.
        clock: Seconds since 1970.
        next_frames: The most frames that the caller reads next; small objects are then read whole.
        gate: Admits the making of an index, given the bytes that it may take.
        pause: Waits for some seconds while another builds; False if there is no time.
        vanished: Called with a series before its index forgets an object or, unreadable, is replaced, and
            where the series is gone but the cache has something of it; or None.
        damaged: Called with a series and the reason when its cached index is damaged and rebuilt.
    """

    storage: Storage
    cache: IndexCache | None
    limits: Limits
    progress: Callable[[int, int], None] = lambda _done, _total: None
    single_flight: bool = False
    clock: Callable[[], float] = time.time
    next_frames: int = 0
    gate: Passage = open_gate
    pause: Callable[[float], bool] = lambda _seconds: False
    vanished: Callable[[str], None] | None = None
    damaged: Callable[[str, str], None] = log_damage

    def open(self, name: SeriesName, *, limit: int | None = None, refresh: bool = False) -> OpenedSeries:
        """Open a series with its index.

        Args:
            name: The series.
            limit: The most objects to read, or None.
            refresh: List the series even if its root is immutable, and read every header again.

        Raises:
            SeriesNotFoundError: The series does not exist.
            NoImageError: None of its objects is DICOM.
            IndexBusyError: Someone else is building its index.
            ObjectChangedError: Others keep rewriting its index.
            StorageError: The storage or the cache fails.
        """
        matches = 1
        candidates = name.candidates()
        if name.is_prefix:
            folder, matches = self._first_match(name)
            candidates = [folder]
        if self.storage.immutable and not refresh:
            for candidate in candidates:
                kept = self.kept(candidate)
                if kept.index is not None and _is_enough(kept.index, limit):
                    return OpenedSeries(
                        candidate, self.storage, kept.index, "cache", matches, kept_version=kept.version
                    )
        attempts, pauses = 0, iter(BUSY_PAUSES_S)
        while True:
            try:
                return replace(self._look_up(candidates, name, limit, refresh=refresh), matches=matches)
            except ObjectChangedError:
                # Someone else has written the index since we loaded it: try again.
                attempts += 1
                if attempts > _CONFLICTS:
                    raise
            except IndexBusyError as busy:
                # While waiting we hold nothing that the builder needs.
                if not self._is_done(busy.series, pauses):
                    raise

    def open_listed(self, series: str, listing: list[ObjectInfo]) -> OpenedSeries:
        """Open a series that a listing of its root has shown, without listing it again.

        Args:
            series: Its folder below the root.
            listing: Its objects, sorted by path.

        Raises:
            NoImageError: None of its objects is DICOM.
            IndexBusyError: Someone else is building its index.
            ObjectChangedError: Others keep rewriting its index.
            StorageError: The storage or the cache fails.
        """
        query = IndexQuery(series, listing, fingerprint(listing), limit=None, refresh=False)
        for attempt in range(1, _CONFLICTS + 1):
            kept = self.kept(series)
            try:
                return self.fresh(query, kept) or self._build_and_save(query, kept)
            except ObjectChangedError:
                if attempt == _CONFLICTS:
                    raise
        raise AssertionError("unreachable")

    def _is_done(self, series: str, pauses: Iterator[float]) -> bool:
        """Wait until someone else has built an index; return False if the pauses end first."""
        for seconds in pauses:
            if not self.pause(seconds):
                return False
            if self.cache is None or not self.cache.is_claimed(series, self.clock()):
                return True
        return False

    def _look_up(
        self, candidates: Sequence[str], name: SeriesName, limit: int | None, *, refresh: bool
    ) -> OpenedSeries:
        """Return the series as listed now, with a matching index."""
        for candidate in candidates:
            # Before the listing: then the saved index is newer than the one that it replaces.
            kept = self.kept(candidate)
            query = self.query(candidate, limit, refresh=refresh)
            if query is not None:
                return self.fresh(query, kept) or self._build_and_save(query, kept)
            self._report_gone(candidate, kept)
        raise SeriesNotFoundError(name.text, self.storage.url, "no such series, or nothing in it")

    def _report_gone(self, series: str, kept: CachedIndex) -> None:
        """Call `vanished` for a series that is now empty, if the cache still has something of it."""
        if self.vanished is None or self.cache is None:
            return
        if kept.version or self.cache.load_partial(series, self.storage.url).version:
            self.vanished(series)

    def kept(self, series: str) -> CachedIndex:
        """Load a series' cached index; an unreadable optional cache has none.

        Raises:
            StorageError: The cache cannot be read, and is not optional.
        """
        if self.cache is None:
            return CachedIndex(None, "")
        with excused(self.cache.storage, optional=self.cache.optional):
            return self.cache.load(series, self.storage.url, self.limits.rows)
        return CachedIndex(None, "", unreadable=True)

    def fresh(self, query: IndexQuery, kept: CachedIndex) -> OpenedSeries | None:
        """Return the cached index if it is up to date and complete for the query, else None."""
        index = kept.index
        if index is None or query.refresh or not _is_enough(index, query.limit):
            return None
        provenance = index.provenance
        if provenance.fingerprint != query.fingerprint or any(item.transient for item in provenance.skipped):
            return None
        return OpenedSeries(query.series, self.storage, index, "cache", kept_version=kept.version)

    def _build_and_save(self, query: IndexQuery, known: CachedIndex) -> OpenedSeries:
        """Build or update the index, and cache it.

        Args:
            query: The query.
            known: The cache's content before the listing.

        Raises:
            ObjectChangedError: Someone else has cached another index meanwhile.
        """
        if known.damage:
            self.damaged(query.series, known.damage)
        with self.gate(index_bytes([info.size for info in query.listing])):
            return self._made_inside(query, known)

    def _made_inside(self, query: IndexQuery, known: CachedIndex) -> OpenedSeries:
        if self.cache is None or known.unreadable:
            return self._build(query, None)
        with self._claim(query.series, self.cache) as claimed:
            if not claimed:
                return self._build(query, None if query.refresh else known.index)
            kept = self.kept(query.series)
            opened = self.fresh(query, kept)
            if opened is not None:
                return opened
            if kept.version != known.version:
                # It may be from a later listing than ours.
                url = f"{self.storage.url}/{query.series}"
                raise ObjectChangedError(url, "indexed by someone else since it was listed")
            if self.vanished is not None and kept.forgets(query.instances):
                # Before the index forgets them: after a crash, they must still be here.
                self.vanished(query.series)
            opened = self._build(query, None if query.refresh else kept.index)
            version = self._save(opened, kept, self.cache)
        return replace(opened, kept_version=version)

    @contextmanager
    def _claim(self, series: str, cache: IndexCache) -> Iterator[bool]:
        """Claim the build of an index if `single_flight` demands it; False without a claim."""
        with ExitStack() as stack:
            claimed = not self.single_flight
            if not claimed:
                with excused(cache.storage, optional=cache.optional):
                    stack.enter_context(cache.claim(series, self.storage.url, self.clock()))
                    claimed = True
            yield claimed

    def _save(self, opened: OpenedSeries, kept: CachedIndex, cache: IndexCache) -> str:
        """Cache an index and return its version; empty where an optional cache cannot be written."""
        if kept.unreadable:
            return ""
        with excused(cache.storage, optional=cache.optional):
            return cache.save(opened.name, opened.index, kept.version)
        return ""

    def keep_locations(self, opened: OpenedSeries, found: Mapping[str, Sequence[FrameLocation]]) -> None:
        """Save the places of frames that only their whole object showed: later each frame is fetched alone.

        This only saves bytes: if the index has changed meanwhile, or cannot be written, a log line says so.

        Args:
            opened: The series as it was opened.
            found: The places of an object's frames, by its path below the series' folder.
        """
        for part, own in located_in(opened, found):
            self.keep_locations(part, own)
        if self.cache is None or not opened.kept_version or not found:
            return
        try:
            self.cache.save(opened.name, opened.index.with_locations(found), opened.kept_version)
        except StorageError as error:
            kind = type(error).__name__
            _LOGGER.info("the places of series %s's frames are not kept: %s", digest_of(opened.name), kind)

    def _first_match(self, name: SeriesName) -> tuple[str, int]:
        """Return the first series in lexical order with the prefix, and the number of matches."""
        for prefix in name.candidates():
            folders = self.storage.list_folders(prefix)
            if folders:
                _LOGGER.info("the prefix matches %d series", len(folders))
                return folders[0], len(folders)
        raise SeriesNotFoundError(f"{name.text}*", self.storage.url, "no series begins so")

    def query(self, series: str, limit: int | None = None, *, refresh: bool = False) -> IndexQuery | None:
        """List a series; None where it is empty."""
        listing = self.storage.list_objects(series, self.limits.instances)
        return IndexQuery(series, listing, fingerprint(listing), limit, refresh) if listing else None

    def _build(self, query: IndexQuery, cached: Index | None) -> OpenedSeries:
        """Build the index; read no object again that an earlier index knows unchanged."""
        from dicom_series_preview.archive.gather import Gatherer  # noqa: PLC0415 - a fresh index needs none: 40 ms

        gatherer = Gatherer(self.storage, self.limits, self.progress, self.next_frames)
        read = gatherer.read(query, [] if cached is None else [cached], lambda _objects: False)
        if not read.records and read.withheld is not None and all(item.transient for item in read.skipped):
            # Nothing is known about the series: it may well hold images.
            raise read.withheld
        if not read.records:
            raise NoImageError(query.series, self.storage.url, nothing_reason(read.skipped))
        source = "built" if cached is None else "updated"
        index = gatherer.index(query, read)
        return OpenedSeries(
            query.series, self.storage, index, source, headers_read=read.headers, prefetched=read.prefetched
        )


def _is_enough(index: Index, limit: int | None) -> bool:
    """Return True where an index suffices: a limited one only answers the same limit."""
    built_with = index.provenance.limit
    return built_with is None or built_with == limit


def nothing_reason(skipped: Sequence[Skipped]) -> str:
    """Return why a series has nothing to show, with its first object as the example."""
    first = skipped[0]
    if len(skipped) == 1:
        return f"its one object is no readable DICOM instance: {first.reason}"
    text = f"none of its {len(skipped)} objects is a readable DICOM instance"
    same = all(item.reason == first.reason for item in skipped)
    return f"{text}: {first.reason}" if same else f"{text}; {first.name}: {first.reason}"
