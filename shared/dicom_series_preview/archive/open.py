"""A series' name -> its index: the one place that owns caching and freshness."""

from __future__ import annotations

import json
import logging
import math
import re
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.collect import HeaderReader, is_passed_over
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.file import origin
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Record, Skipped, fingerprint
from dicom_series_preview.archive.names import index_path
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    IndexBusyError,
    LimitError,
    NoImageError,
    ObjectChangedError,
    ObjectNotFoundError,
    SeriesNotFoundError,
    StorageError,
    counted,
)
from dicom_series_preview.base.gate import open_gate
from dicom_series_preview.base.settings import index_bytes
from dicom_series_preview.sources.headers.transfer_syntaxes import DEFLATED_LITTLE_ENDIAN
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.prefetched import Prefetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dicom_series_preview.archive.names import SeriesName
    from dicom_series_preview.base.gate import Passage
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.storage.base import ObjectInfo, Storage

_LOGGER = logging.getLogger(__name__)

# Longer than an index takes that one HTTP request waits for; who builds longer renews it. A dead builder's
# claim lasts no longer.
LEASE_S = 60
RETRY_AFTER_S = 5
# The pauses, in seconds, of a request that waits for an index which another one builds: 3 s in all. After
# that it is to be asked for again.
BUSY_PAUSES_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5)
_CONFLICTS = 4
# What `index_path`, `_partial_path` and `_claim_path` make of a series.
_KEPT = re.compile(r"(.+)_index\.parquet(?:\.partial|\.lock)?")
# What a request has beyond its deadline to give back its claim.
_GIVE_BACK_S = 1.0


# The caches that a warning has told of.
_WARNED: set[str] = set()


@contextmanager
def excused(cache: Storage, *, optional: bool) -> Iterator[None]:
    """Where a cache is optional and cannot be read or written, warn of it once, and go on behind the block.

    Raises:
        ObjectChangedError: Someone else has written it: that is no trouble of the cache's.
        StorageError: It cannot be read or written, and is not optional.
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
class IndexCache:
    """Where the indices of one root are kept.

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
        """What is kept of a series; nothing where it has more rows than `most_rows`.

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
        """Keep an index, and return its version; it appears whole or not at all.

        Args:
            series: The series.
            index: Its index.
            if_version: The version that was there when it was made, empty where there was none.

        Raises:
            ObjectChangedError: Someone else has written another one since.
            StorageError: It cannot be written.
        """
        return self.storage.put(self.path(series), index.to_parquet(), if_version=if_version)

    def forget(self, series: str) -> None:
        """Keep nothing of a series any more, nor what an earlier version of the product has kept of it.

        Raises:
            StorageError: It cannot be removed.
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
        """Keep no index of a series any more.

        Raises:
            StorageError: It cannot be removed.
        """
        self.storage.delete(self.path(series))

    def kept_below(self, series: str) -> list[str]:
        """The folders below a series of which something is kept, or whose index someone builds.

        Raises:
            StorageError: The cache cannot be listed.
        """
        start = f"{self.folder}/" if self.folder else ""
        listed = [info.path.removeprefix(start) for info in self.storage.list_objects(f"{start}{series}")]
        return sorted({found[1] for path in listed if (found := _KEPT.fullmatch(path)) is not None})

    def is_kept(self, series: str) -> bool:
        """Whether anything is kept of a series, or someone builds its index.

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
        """What has been read of a series that has no whole index; none where it has more than `most_rows`.

        Raises:
            StorageError: The cache cannot be read.
        """
        kept = self._load(self._partial_path(series), series, root, most_rows)
        if kept.damage:
            log_damage(series, kept.damage)
        return kept

    def save_partial(self, series: str, index: Index) -> None:
        """Keep what has been read of a series. It lies beside the index, and is never served as one.

        Raises:
            StorageError: It cannot be written.
        """
        self.storage.put(self._partial_path(series), index.to_parquet())

    def forget_partial(self, series: str) -> None:
        """Keep only the whole index of a series.

        Raises:
            StorageError: The rest cannot be removed.
        """
        self.storage.delete(self._partial_path(series))

    def _partial_path(self, series: str) -> str:
        return f"{self.path(series)}.partial"

    @contextmanager
    def claim(self, series: str, root: str, now: float) -> Iterator[Claim]:
        """Be the only one to build a series' index, for as long as the lease lasts.

        A claim only saves work: two builders are kept apart by the conditional write.

        Args:
            series: The series.
            root: Its root, for the error.
            now: Seconds since 1970.

        Raises:
            IndexBusyError: Someone else holds the claim.
            StorageError: The cache cannot be written.
        """
        claim = Claim(self._claims, self._claim_path(series), uuid.uuid4().hex, now + LEASE_S)
        try:
            claim.version = claim.storage.put(claim.path, claim.lease, if_version="")
        except ObjectChangedError:
            self._take_over(claim, series, root, now)
        try:
            yield claim
        finally:
            claim.give_back()

    def is_claimed(self, series: str, now: float) -> bool:
        """Whether someone builds a series' index.

        Raises:
            StorageError: The claims cannot be read.
        """
        try:
            held = self._claims.get(self._claim_path(series))
        except ObjectNotFoundError:
            return False
        return _holds(held.data, now)

    @property
    def _claims(self) -> Storage:
        return self.storage if self.claims is None else self.claims

    def _claim_path(self, series: str) -> str:
        return f"{self.path(series)}.lock"

    def _take_over(self, claim: Claim, series: str, root: str, now: float) -> None:
        """Take a claim whose lease has run out: its holder has died."""
        try:
            held = claim.storage.get(claim.path)
        except ObjectNotFoundError:
            # Given back this very moment.
            raise IndexBusyError(series, root, 1) from None
        if held.data == claim.lease:
            claim.version = held.version
            return  # It was written, and the answer that said so was lost.
        if _holds(held.data, now):
            left_s = math.ceil(_lease_end(held.data) - now)
            raise IndexBusyError(series, root, max(1, min(RETRY_AFTER_S, left_s)))
        try:
            claim.version = claim.storage.put(claim.path, claim.lease, if_version=held.version)
        except ObjectChangedError:
            written = claim.storage.get(claim.path)
            if written.data != claim.lease:
                raise IndexBusyError(series, root, RETRY_AFTER_S) from None
            claim.version = written.version


@dataclass(slots=True)
class Claim:
    """The right to be the only one who builds a series' index.

    Attributes:
        storage: The cache's root.
        path: Where it is written.
        holder: Tells it from all others.
        until: When its lease ends, in seconds since 1970.
        version: The version of what is written; empty where someone else has taken it over.
    """

    storage: Storage
    path: str
    holder: str
    until: float
    version: str = ""

    @property
    def lease(self) -> bytes:
        """What is written."""
        return json.dumps({"until": self.until, "holder": self.holder}).encode()

    def renew(self, now: float) -> None:
        """Hold it for another lease, once half of this one is over.

        Raises:
            ObjectChangedError: It had run out, and someone else has taken it over.
            StorageError: It cannot be written.
        """
        if self.until - now > LEASE_S / 2:
            return
        version, self.until, self.version = self.version, now + LEASE_S, ""
        self.version = self.storage.put(self.path, self.lease, if_version=version)

    def give_back(self) -> None:
        """Let others have it."""
        if not self.version:
            return
        try:
            # Also after the time is up, or who asked has left: others would wait for the lease.
            self.storage.within(Deadline(_GIVE_BACK_S)).delete(self.path)
        except (StorageError, LimitError) as error:
            # What was done under it is done; others wait until it runs out.
            _LOGGER.warning("a claim stays until it runs out: %s", type(error).__name__)


def _holds(claim: bytes, now: float) -> bool:
    """Whether a claim still keeps others out.

    One that seems to last much longer than a lease is of a wrong clock, and must not keep everyone out for
    good; by a little it does whenever clocks differ, or its holder came a moment after us.
    """
    return 0 < _lease_end(claim) - now <= 2 * LEASE_S


def _lease_end(claim: bytes) -> float:
    """Until when a claim holds, in seconds since 1970; 0 where it does not tell."""
    try:
        return float(json.loads(claim)["until"])
    except (ValueError, KeyError, TypeError):
        return 0.0


@dataclass(frozen=True, slots=True)
class CachedIndex:
    """What a cache holds of a series.

    Attributes:
        index: The index, or None where there is none that belongs to the root and can be read.
        version: The file's version, empty where there is none.
        unreadable: What is there cannot be read, nor taken the place of.
        damage: Why what is there is no index, or empty.
    """

    index: Index | None
    version: str
    unreadable: bool = False
    damage: str = ""

    def forgets(self, query: IndexQuery) -> bool:
        """Whether an index in its place forgets an instance that is gone, is another one, or is left out.

        What cannot be read may know of any.
        """
        return bool(self.version) if self.index is None else not _objects(self.index) <= query.instances


@dataclass(frozen=True, slots=True)
class OpenedSeries:
    """A series with an index that is as fresh as its listing.

    Attributes:
        name: Its folder below the root.
        storage: Where it lies.
        index: Its index.
        source: `cache`, `updated` (some headers were read) or `built` (all were).
        matches: How many series the prefix matched; 1 where it was no prefix.
        headers_read: Objects whose header was read now.
        prefetched: What came with those headers and holds frames.
        kept_version: The version of the index where it is kept, empty where it is not.
    """

    name: str
    storage: Storage
    index: Index = field(repr=False)
    source: str
    matches: int = 1
    headers_read: int = 0
    prefetched: Prefetched = field(default_factory=Prefetched, repr=False)
    kept_version: str = ""


@dataclass(frozen=True, slots=True)
class SeriesIndexer:
    """Resolves names, and gets or builds indices.

    Attributes:
        storage: The root that the series lie in.
        cache: Where indices are kept, or None.
        limits: What is refused.
        progress: Called with headers read and headers to read.
        single_flight: Let only one of several that ask at once build an index; the others wait for it
            a while, and are then told to come back.
        clock: Seconds since 1970.
        next_frames: How many frames the caller reads next, at most; small objects are then read whole.
        gate: What making an index passes through, with the bytes that it may take.
        pause: Waits for some seconds while another one builds; False where there is no time for that.
        vanished: Called with a series before its index forgets an object, or gives way where it cannot be
            read, or where the series is gone and something is kept of it; None where nobody has to know.
        damaged: Called with a series and the reason when its kept index is damaged and another one is built.
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
        """A series and its index.

        Args:
            name: The series.
            limit: Read no more than this many of its objects.
            refresh: List the series even where its root is immutable, and read every header anew.

        Raises:
            SeriesNotFoundError: There is no such series.
            NoImageError: None of its objects is DICOM.
            IndexBusyError: Someone else is building its index.
            ObjectChangedError: Others have written its index again and again.
            StorageError: The storage or the cache fails.
        """
        matches = 1
        candidates = name.candidates()
        if name.is_prefix:
            folder, matches = self._first_match(name)
            candidates = [folder]
        if self.storage.immutable and not refresh:
            for candidate in candidates:
                kept = self._kept(candidate)
                if kept.index is not None and _is_enough(kept.index, limit):
                    return OpenedSeries(
                        candidate, self.storage, kept.index, "cache", matches, kept_version=kept.version
                    )
        attempts, pauses = 0, iter(BUSY_PAUSES_S)
        while True:
            try:
                return replace(self._looked_up(candidates, name, limit, refresh=refresh), matches=matches)
            except ObjectChangedError:
                # Someone else has written the index since it was looked at: look again.
                attempts += 1
                if attempts > _CONFLICTS:
                    raise
            except IndexBusyError as busy:
                # Nothing is held meanwhile that who builds it may need.
                if not self._is_done(busy.series, pauses):
                    raise

    def _is_done(self, series: str, pauses: Iterator[float]) -> bool:
        """Wait for another one to end building an index; whether it has, in so many pauses."""
        for seconds in pauses:
            if not self.pause(seconds):
                return False
            if self.cache is None or not self.cache.is_claimed(series, self.clock()):
                return True
        return False

    def _looked_up(
        self, candidates: Sequence[str], name: SeriesName, limit: int | None, *, refresh: bool
    ) -> OpenedSeries:
        """The series as it is listed now, with an index that fits."""
        for candidate in candidates:
            # Before the listing: what is saved in the end is of a later one than what it takes the place of.
            kept = self._kept(candidate)
            query = self._query(candidate, limit, refresh=refresh)
            if query is not None:
                return self._fresh(query, kept) or self._made(query, kept)
            self._tell_gone(candidate, kept)
        raise SeriesNotFoundError(name.text, self.storage.url, "no such series, or nothing in it")

    def _tell_gone(self, series: str, kept: CachedIndex) -> None:
        """Say that nothing is in a series any more of which something is kept."""
        if self.vanished is None or self.cache is None:
            return
        if kept.version or self.cache.load_partial(series, self.storage.url).version:
            self.vanished(series)

    def _kept(self, series: str) -> CachedIndex:
        if self.cache is None:
            return CachedIndex(None, "")
        with excused(self.cache.storage, optional=self.cache.optional):
            return self.cache.load(series, self.storage.url, self.limits.rows)
        return CachedIndex(None, "", unreadable=True)

    def _fresh(self, query: IndexQuery, kept: CachedIndex) -> OpenedSeries | None:
        """The kept index, where it has what is asked for as it is now."""
        index = kept.index
        if index is None or query.refresh or not _is_enough(index, query.limit):
            return None
        provenance = index.provenance
        if provenance.fingerprint != query.fingerprint or any(item.transient for item in provenance.skipped):
            return None
        return OpenedSeries(query.series, self.storage, index, "cache", kept_version=kept.version)

    def _made(self, query: IndexQuery, known: CachedIndex) -> OpenedSeries:
        """Build or update the index, and keep it.

        Args:
            query: What is asked for.
            known: What was kept before it was listed.

        Raises:
            ObjectChangedError: Another one has been kept meanwhile.
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
            kept = self._kept(query.series)
            opened = self._fresh(query, kept)
            if opened is not None:
                return opened
            if kept.version != known.version:
                # It may be of a later listing than ours.
                url = f"{self.storage.url}/{query.series}"
                raise ObjectChangedError(url, "indexed by someone else since it was listed")
            if self.vanished is not None and kept.forgets(query):
                # Before the index forgets them: who comes after a crash must find them here.
                self.vanished(query.series)
            opened = self._build(query, None if query.refresh else kept.index)
            version = self._saved(opened, kept, self.cache)
        return replace(opened, kept_version=version)

    @contextmanager
    def _claim(self, series: str, cache: IndexCache) -> Iterator[bool]:
        """Be the only one to build an index, where that is asked for; False where no claim can be written."""
        with ExitStack() as stack:
            claimed = not self.single_flight
            if not claimed:
                with excused(cache.storage, optional=cache.optional):
                    stack.enter_context(cache.claim(series, self.storage.url, self.clock()))
                    claimed = True
            yield claimed

    def _saved(self, opened: OpenedSeries, kept: CachedIndex, cache: IndexCache) -> str:
        """The version of an index that is kept now; empty where it cannot be, and need not."""
        if kept.unreadable:
            return ""
        with excused(cache.storage, optional=cache.optional):
            return cache.save(opened.name, opened.index, kept.version)
        return ""

    def keep_locations(self, opened: OpenedSeries, found: Mapping[str, Sequence[FrameLocation]]) -> None:
        """Keep where frames lie that only their whole object told, so that each is fetched alone from now on.

        It spares bytes and nothing else: where the index has changed meanwhile, or cannot be written, that is
        noted and left.

        Args:
            opened: The series as it was opened.
            found: By the object's path below the series' folder, where its frames lie.
        """
        if self.cache is None or not opened.kept_version or not found:
            return
        try:
            self.cache.save(opened.name, opened.index.with_locations(found), opened.kept_version)
        except StorageError as error:
            kind = type(error).__name__
            _LOGGER.info("the places of series %s's frames are not kept: %s", digest_of(opened.name), kind)

    def _first_match(self, name: SeriesName) -> tuple[str, int]:
        """The first series in lexical order that begins with the prefix, and how many do."""
        for prefix in name.candidates():
            folders = self.storage.list_folders(prefix)
            if folders:
                _LOGGER.info("the prefix matches %d series", len(folders))
                return folders[0], len(folders)
        raise SeriesNotFoundError(f"{name.text}*", self.storage.url, "no series begins so")

    def _query(self, series: str, limit: int | None, *, refresh: bool) -> IndexQuery | None:
        """A series as it is listed now; None where nothing is in it."""
        listing = self.storage.list_objects(series, self.limits.instances)
        return IndexQuery(series, listing, fingerprint(listing), limit, refresh) if listing else None

    def _build(self, query: IndexQuery, cached: Index | None) -> OpenedSeries:
        """Build the index; objects that an earlier index knows as they are now are not read again."""
        read = self._read(query, [] if cached is None else [cached], lambda _objects: False)
        if not read.records and read.withheld is not None and all(item.transient for item in read.skipped):
            # Nothing is known of the series: it may well hold images.
            raise read.withheld
        if not read.records:
            raise NoImageError(query.series, self.storage.url, _nothing_reason(read.skipped))
        source = "built" if cached is None else "updated"
        index = self._index(query, read)
        return OpenedSeries(
            query.series, self.storage, index, source, headers_read=read.headers, prefetched=read.prefetched
        )

    def _read(self, query: IndexQuery, earlier: Sequence[Index], stop: Callable[[int], bool]) -> _Read:
        """What a series' objects say; one that an earlier index knows as it is now is not read again.

        Args:
            query: What is asked for.
            earlier: What is known of its objects already.
            stop: Asked after each object, with how many are known: whether no more are to be read now.
        """
        series, listing = query.series, query.listing
        if len(listing) > self.limits.instances:
            limit = counted(self.limits.instances, "object")
            raise LimitError("series", f"{series} has more than {limit}, the limit")
        folder = f"{series}/"
        named = [info for info in listing if is_passed_over(info.path)]
        chosen = query.chosen
        records, skipped = _still_true(earlier, chosen, folder)
        known = {record.name for record in records} | {item.name for item in skipped}
        unread = {info.path.removeprefix(folder): info for info in chosen}
        unread = {name: info for name, info in unread.items() if name not in known}
        skipped += [_passed_over(info, folder, "passed over: its name is no instance's") for info in named]
        total = len(unread)
        _LOGGER.info("of %d objects that are listed the headers of %d are read", len(listing), total)
        self.progress(0, total)
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            self.progress(done, total)

        # An update is about objects that are rarely the ones shown.
        next_frames = 0 if earlier else self.next_frames
        reader = HeaderReader(self.storage, series, self.limits, count, next_frames)
        if all(record.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN for record in records):
            # Of such an object the whole is read, and of its neighbours then as well.
            reader.learned.lengths.extend(record.size for record in records)
        rows = 0

        def count_rows(record: Record) -> None:
            nonlocal rows
            rows += max(1, record.number_of_frames)
            if rows > self.limits.rows:
                limit = counted(self.limits.rows, "frame")
                raise LimitError("series", f"{series} has more than {limit}, the limit of an index")

        for record in records:
            count_rows(record)
        for result in reader.read(list(unread.values())) if not stop(len(known)) else ():
            if isinstance(result, Record):
                records.append(result)
                count_rows(result)
            else:
                skipped.append(result)
            del unread[result.name]
            if unread and stop(len(records) + len(skipped)):
                break
        return _Read(
            # Answers come in any order; the index must not depend on it.
            sorted(records, key=lambda record: record.name),
            skipped,
            list(unread.values()),
            total - len(unread),
            reader,
        )

    def _index(self, query: IndexQuery, read: _Read, *, whole: bool = True) -> Index:
        """The index of what was read; one that is not whole is of no listing."""
        limited = query.limit is not None and len(read.records) + len(read.skipped) < len(query.listing)
        provenance = Provenance(
            series=query.series,
            root=self.storage.url,
            fingerprint=query.fingerprint if whole else "",
            listed=len(query.listing),
            limit=query.limit if limited else None,
            skipped=tuple(sorted(read.skipped, key=lambda item: item.name)),
        )
        return Index(build(read.records, provenance))

    def update(self, series: str, options: UpdateOptions) -> Updated:
        """Bring the index of a series to what is there now, as the only one who does so.

        What has been read is kept, whatever comes of it, so that no header is read twice.

        Args:
            series: Its folder below the root.
            options: How far to go.

        Raises:
            IndexBusyError: Someone else is building the index, or has written it meanwhile.
            LimitError: The series has too many objects.
            StorageError: The storage or the cache fails; another try may mend that.
        """
        if self.cache is None:
            raise IndexBusyError(series, self.storage.url, RETRY_AFTER_S)
        try:
            with self.cache.claim(series, self.storage.url, self.clock()) as claim:
                return self._updated(series, options, self.cache, claim)
        except ObjectChangedError as error:
            raise IndexBusyError(series, self.storage.url, RETRY_AFTER_S) from error

    def _updated(self, series: str, options: UpdateOptions, cache: IndexCache, claim: Claim) -> Updated:
        """Read what is new, under a claim."""
        kept = self._kept(series)
        if kept.damage:
            self.damaged(series, kept.damage)
        partial = cache.load_partial(series, self.storage.url, self.limits.rows)
        known = bool(kept.version or partial.version)
        query = self._query(series, None, refresh=False) if known or options.reads else None
        forgets = query is not None and (kept.forgets(query) or partial.forgets(query))
        if query is None or (not options.reads and forgets):
            options.vanished(known=known)
            cache.forget(series)
            return Updated.REMOVED
        if not options.reads:
            return Updated.UNCHANGED
        if self._fresh(query, kept) is not None:
            if partial.version:
                cache.forget_partial(series)
            return Updated.UNCHANGED
        if forgets:
            # Before the index forgets them: who tries again after a crash must find them here.
            options.vanished(known=True)
        try:
            outcome = self._made_in_time(query, (kept, partial), options, cache, claim)
        except LimitError:
            if forgets:
                # No index will take the place of the one that knows them.
                cache.forget(series)
            raise
        if outcome is Updated.DENIED and forgets:
            cache.forget(series)
        return outcome

    def _made_in_time(
        self,
        query: IndexQuery,
        earlier: tuple[CachedIndex, CachedIndex],
        options: UpdateOptions,
        cache: IndexCache,
        claim: Claim,
    ) -> Updated:
        """Read what is new as far as the time goes, and keep it."""
        kept, partial = earlier
        if not (kept.version or partial.version):
            options.first()
        known = [one.index for one in earlier if one.index is not None]
        read = self._read_in_time(query, known, options, claim)
        outcome = self._kept_anew(query, read, kept.version, partial.index, cache)
        if outcome is Updated.UPDATED and partial.version:
            cache.forget_partial(query.series)
        return outcome

    def _kept_anew(
        self, query: IndexQuery, read: _Read, version: str, partial: Index | None, cache: IndexCache
    ) -> Updated:
        """Keep what has been read for an update.

        Raises:
            ObjectChangedError: Someone else has written the index; what has been read is kept beside it.
        """
        if read.unread:
            cache.save_partial(query.series, self._index(query, read, whole=False))
            return Updated.UNFINISHED
        if not read.records:
            return self._without_image(query, read, partial)
        index = self._index(query, read)
        try:
            cache.save(query.series, index, version)
        except ObjectChangedError:
            cache.save_partial(query.series, index)
            raise
        return Updated.UPDATED

    def _read_in_time(
        self, query: IndexQuery, earlier: Sequence[Index], options: UpdateOptions, claim: Claim
    ) -> _Read:
        """What a series' objects say, as far as the time goes."""

        def stop(objects: int) -> bool:
            claim.renew(self.clock())
            return options.stop(objects)

        read = self._read(query, earlier, stop)
        if options.gives_up:
            folder = f"{query.series}/"
            read.skipped += [_passed_over(info, folder, options.gives_up) for info in read.unread]
            read.unread.clear()
        claim.renew(self.clock())
        return read

    def _without_image(self, query: IndexQuery, read: _Read, partial: Index | None) -> Updated:
        """Keep why nothing in a series can be shown, and no index, which would tell of what is not there."""
        if all(item.transient for item in read.skipped) and read.withheld is not None:
            if isinstance(read.withheld, AccessDeniedError):
                return Updated.DENIED
            raise read.withheld
        if self.cache is not None:
            if partial is None or partial.provenance.fingerprint != query.fingerprint:
                self.cache.save_partial(query.series, self._index(query, read))
            self.cache.forget_index(query.series)
        return Updated.WITHOUT_IMAGE


class Updated(Enum):
    """What an update has come to."""

    UPDATED = auto()
    """The index was built, or brought up to date."""
    UNCHANGED = auto()
    """It was up to date, or nothing was to be read."""
    UNFINISHED = auto()
    """There is more to read; what has been read is kept."""
    REMOVED = auto()
    """The series is gone, and its index with it; or the index alone, where nothing was to be read."""
    WITHOUT_IMAGE = auto()
    """None of its objects is a readable DICOM instance; why is kept, and no index."""
    DENIED = auto()
    """None of its objects may be read."""


class Vanished(Protocol):
    """See `UpdateOptions.vanished`."""

    def __call__(self, *, known: bool) -> None:
        """Do what there is to do before an index forgets."""


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """How far an update goes.

    Attributes:
        stop: Asked after each object, with how many are known: whether no more are to be read now.
        vanished: Called before the index forgets an object that is gone, or is another one than it was, and
            before one that cannot be read gives way, for it may have known such an object; with
            `known=False` where the series is gone, and nothing is kept of it.
        first: Called before anything is read of a series of which nothing is kept.
        gives_up: The reason to note of each object that was not read in time, so that it is not tried again
            before it changes; empty to leave it to another update.
        reads: False where nothing is to be read: an index that knows what is gone is forgotten, any other
            stays as it is.
    """

    stop: Callable[[int], bool]
    vanished: Vanished
    first: Callable[[], None] = lambda: None
    gives_up: str = ""
    reads: bool = True


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """An index that is asked for: of which series, as listed, how much of it, and whether from scratch."""

    series: str
    listing: list[ObjectInfo]
    fingerprint: str
    limit: int | None
    refresh: bool

    @property
    def chosen(self) -> list[ObjectInfo]:
        """What the index is to be of: by their names the objects may be instances."""
        return [info for info in self.listing if not is_passed_over(info.path)][: self.limit]

    @property
    def instances(self) -> set[tuple[str, str]]:
        """Their names and versions."""
        folder = f"{self.series}/"
        return {(info.path.removeprefix(folder), info.version) for info in self.chosen}


@dataclass(slots=True)
class _Read:
    """What is known of a series' objects.

    Attributes:
        records: The instances, by name.
        skipped: The objects that are none, or could not be read.
        unread: The objects that were not read, because time was up.
        headers: How many were read now.
        reader: What read them.
    """

    records: list[Record]
    skipped: list[Skipped]
    unread: list[ObjectInfo]
    headers: int
    reader: HeaderReader

    @property
    def prefetched(self) -> Prefetched:
        """What came with the headers and holds frames."""
        return self.reader.prefetched

    @property
    def withheld(self) -> StorageError | None:
        """The first error by which the storage withheld an object."""
        return self.reader.withheld


def _is_enough(index: Index, limit: int | None) -> bool:
    """Whether an index has what was asked for: one of a limited build only answers the same limit."""
    built_with = index.provenance.limit
    return built_with is None or built_with == limit


def _still_true(
    earlier: Sequence[Index], listing: Sequence[ObjectInfo], folder: str
) -> tuple[list[Record], list[Skipped]]:
    """What earlier indices say of objects that are still as they were."""
    now = {info.path.removeprefix(folder): info for info in listing}

    def unchanged(known: Record | Skipped) -> bool:
        info = now.get(known.name)
        # A listing that gives no versions cannot vouch for an object.
        return (
            info is not None
            and bool(info.version)
            and (info.version, info.size or known.size) == (known.version, known.size)
        )

    records = {r.name: r for index in earlier for r in _records(index) if unchanged(r)}
    skipped = {
        s.name: s for index in earlier for s in index.provenance.skipped if not s.transient and unchanged(s)
    }
    return list(records.values()), [s for s in skipped.values() if s.name not in records]


def _records(index: Index) -> list[Record]:
    """What an earlier index was built from; nothing where it is damaged."""
    try:
        return index.records()
    except DamagedIndexError as error:
        log_damage(index.provenance.series, str(error))
        return []


def _objects(index: Index) -> set[tuple[str, str]]:
    """The instances that an index knows: names and versions."""
    columns = index.table.select(["FileName", "ObjectVersion"]).to_pydict()
    return set(zip(columns["FileName"], columns["ObjectVersion"], strict=True))


def _passed_over(info: ObjectInfo, folder: str, reason: str) -> Skipped:
    """An object that was not read."""
    return Skipped(info.path.removeprefix(folder), reason, info.size, info.version)


def _nothing_reason(skipped: Sequence[Skipped]) -> str:
    """Why a series has nothing, with the first of its objects as the example."""
    first = skipped[0]
    if len(skipped) == 1:
        return f"its one object is no readable DICOM instance: {first.reason}"
    text = f"none of its {len(skipped)} objects is a readable DICOM instance"
    same = all(item.reason == first.reason for item in skipped)
    return f"{text}: {first.reason}" if same else f"{text}; {first.name}: {first.reason}"
