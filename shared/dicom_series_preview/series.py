"""A series' name -> its index: the one place that owns caching and freshness."""

from __future__ import annotations

import json
import logging
import math
import time
import uuid
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview.discreet import digest_of
from dicom_series_preview.errors import (
    IndexBusyError,
    LimitError,
    NoImageError,
    ObjectChangedError,
    ObjectNotFoundError,
    SeriesNotFoundError,
    StorageError,
    counted,
)
from dicom_series_preview.gate import open_gate
from dicom_series_preview.index import (
    DamagedIndexError,
    HeaderReader,
    Index,
    Provenance,
    Record,
    Skipped,
    build,
    fingerprint,
    is_passed_over,
    origin,
)
from dicom_series_preview.names import index_path
from dicom_series_preview.settings import index_bytes
from dicom_series_preview.storage import Deadline, InHand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dicom_series_preview.gate import Passage
    from dicom_series_preview.headers import FrameLocation
    from dicom_series_preview.names import SeriesName
    from dicom_series_preview.settings import Limits
    from dicom_series_preview.storage import ObjectInfo, Storage

_LOGGER = logging.getLogger(__name__)

# Longer than an index takes that one HTTP request waits for; a dead builder's claim lasts no longer.
LEASE_S = 60
RETRY_AFTER_S = 5
_CONFLICTS = 4
# What a request has beyond its deadline to give back its claim.
_GIVE_BACK_S = 1.0


@dataclass(frozen=True, slots=True)
class IndexCache:
    """Where the indices of one root are kept.

    Attributes:
        storage: The cache's root.
        folder: The folder below it that holds the files, or empty; no other root's lie in it.
        former_folder: Where an earlier version may have left them, or empty. They are not read any more.
        root: The root's URL, by which those are told.
    """

    storage: Storage
    folder: str = "indices"
    former_folder: str = ""
    root: str = ""

    def within(self, deadline: Deadline) -> IndexCache:
        """The cache for one request; see `Storage.within`."""
        return replace(self, storage=self.storage.within(deadline))

    def path(self, series: str) -> str:
        """The path of a series' index below the cache's root."""
        return index_path(series, self.folder)

    def served_path(self, series: str) -> str:
        """The path of the copy of a large index that is handed out, which tells no storage root's URL."""
        return f"{self.path(series).removesuffix('.parquet')}.served.parquet"

    def load(self, series: str, root: str) -> Kept:
        """What is kept of a series.

        Raises:
            StorageError: The cache cannot be read.
        """
        try:
            fetched = self.storage.get(self.path(series))
        except ObjectNotFoundError:
            return Kept(None, "")
        try:
            index = Index.from_parquet(fetched.data)
        except DamagedIndexError as error:
            _LOGGER.warning("the index of series %s is built anew: %s", digest_of(series), error)
            return Kept(None, fetched.version)
        provenance = index.provenance
        if provenance.root != root or provenance.series != series:
            _LOGGER.info("the cached index of series %s is of another root or name", digest_of(series))
            return Kept(None, fetched.version)
        return Kept(index, fetched.version)

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
        self.storage.delete(self.path(series))
        self.storage.delete(self.served_path(series))

    @contextmanager
    def claim(self, series: str, root: str, now: float) -> Iterator[None]:
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
        path = f"{self.path(series)}.lock"
        lease = json.dumps({"until": now + LEASE_S, "holder": uuid.uuid4().hex}).encode()
        try:
            self.storage.put(path, lease, if_version="")
        except ObjectChangedError:
            self._take_over(path, lease, series, root, now)
        try:
            yield
        finally:
            self._give_back(path)

    def _take_over(self, path: str, lease: bytes, series: str, root: str, now: float) -> None:
        """Take a claim whose lease has run out: its holder has died."""
        try:
            held = self.storage.get(path)
        except ObjectNotFoundError:
            # Given back this very moment.
            raise IndexBusyError(series, root, 1) from None
        if held.data == lease:
            return  # It was written, and the answer that said so was lost.
        left_s = _lease_end(held.data) - now
        # One that seems to last much longer than a lease is of a wrong clock, and must not keep everyone out
        # for good; by a little it does whenever clocks differ, or its holder came a moment after us.
        if 0 < left_s <= 2 * LEASE_S:
            raise IndexBusyError(series, root, max(1, min(RETRY_AFTER_S, math.ceil(left_s))))
        try:
            self.storage.put(path, lease, if_version=held.version)
        except ObjectChangedError:
            if self.storage.get(path).data != lease:
                raise IndexBusyError(series, root, RETRY_AFTER_S) from None

    def _give_back(self, path: str) -> None:
        try:
            # Also after the time is up, or who asked has left: others would wait for the lease.
            self.storage.within(Deadline(_GIVE_BACK_S)).delete(path)
        except (StorageError, LimitError) as error:
            # What was done under it is done; others wait until it runs out.
            _LOGGER.warning("a claim stays until it runs out: %s", type(error).__name__)


def _lease_end(claim: bytes) -> float:
    """Until when a claim holds, in seconds since 1970; 0 where it does not tell."""
    try:
        return float(json.loads(claim)["until"])
    except (ValueError, KeyError, TypeError):
        return 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What a cache holds of a series.

    Attributes:
        index: The index, or None where there is none that belongs to the root and can be read.
        version: The file's version, empty where there is none.
    """

    index: Index | None
    version: str


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
        in_hand: What came with those headers and holds frames.
        kept_version: The version of the index where it is kept, empty where it is not.
    """

    name: str
    storage: Storage
    index: Index = field(repr=False)
    source: str
    matches: int = 1
    headers_read: int = 0
    in_hand: InHand = field(default_factory=InHand, repr=False)
    kept_version: str = ""


@dataclass(frozen=True, slots=True)
class SeriesOpener:
    """Resolves names, and gets or builds indices.

    Attributes:
        storage: The root that the series lie in.
        cache: Where indices are kept, or None.
        limits: What is refused.
        progress: Called with headers read and headers to read.
        single_flight: Let only one of several that ask at once build an index; the others are told to wait.
        clock: Seconds since 1970.
        next_frames: How many frames the caller reads next, at most; small objects are then read whole.
        gate: What making an index passes through, with the bytes that it may take.
    """

    storage: Storage
    cache: IndexCache | None
    limits: Limits
    progress: Callable[[int, int], None] = lambda _done, _total: None
    single_flight: bool = False
    clock: Callable[[], float] = time.time
    next_frames: int = 0
    gate: Passage = open_gate

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
        attempts = 0
        while True:
            try:
                return replace(self._looked_up(candidates, name, limit, refresh=refresh), matches=matches)
            except ObjectChangedError:
                # Someone else has written the index since it was looked at: look again.
                attempts += 1
                if attempts > _CONFLICTS:
                    raise

    def _looked_up(
        self, candidates: Sequence[str], name: SeriesName, limit: int | None, *, refresh: bool
    ) -> OpenedSeries:
        """The series as it is listed now, with an index that fits."""
        series, listing = self._listing(candidates, name)
        wish = _Wish(series, listing, fingerprint(listing), limit, refresh)
        return self._fresh(wish, self._kept(series)) or self._made(wish)

    def _kept(self, series: str) -> Kept:
        return self.cache.load(series, self.storage.url) if self.cache is not None else Kept(None, "")

    def _fresh(self, wish: _Wish, kept: Kept) -> OpenedSeries | None:
        """The kept index, where it has what is asked for as it is now."""
        index = kept.index
        if index is None or wish.refresh or not _is_enough(index, wish.limit):
            return None
        provenance = index.provenance
        if provenance.fingerprint != wish.fingerprint or any(item.transient for item in provenance.skipped):
            return None
        return OpenedSeries(wish.series, self.storage, index, "cache", kept_version=kept.version)

    def _made(self, wish: _Wish) -> OpenedSeries:
        """Build or update the index, and keep it.

        Raises:
            ObjectChangedError: Another one has been kept meanwhile.
        """
        with self.gate(index_bytes([info.size for info in wish.listing])):
            return self._made_inside(wish)

    def _made_inside(self, wish: _Wish) -> OpenedSeries:
        if self.cache is None:
            return self._build(wish, None)
        claim = (
            self.cache.claim(wish.series, self.storage.url, self.clock())
            if self.single_flight
            else nullcontext()
        )
        with claim:
            kept = self._kept(wish.series)
            opened = self._fresh(wish, kept)
            if opened is not None:
                return opened
            earlier = None if wish.refresh else kept.index
            opened = self._build(wish, earlier)
            version = self.cache.save(wish.series, opened.index, kept.version)
        return replace(opened, kept_version=version)

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

    def _listing(self, candidates: Sequence[str], name: SeriesName) -> tuple[str, list[ObjectInfo]]:
        for candidate in candidates:
            listing = self.storage.list_objects(candidate, self.limits.instances)
            if listing:
                return candidate, listing
        raise SeriesNotFoundError(name.text, self.storage.url, "no such series, or nothing in it")

    def _build(self, wish: _Wish, cached: Index | None) -> OpenedSeries:
        """Build the index; objects that an earlier index knows as they are now are not read again."""
        series, listing = wish.series, wish.listing
        if len(listing) > self.limits.instances:
            limit = counted(self.limits.instances, "object")
            raise LimitError("series", f"{series} has more than {limit}, the limit")
        folder = f"{series}/"
        named = [info for info in listing if is_passed_over(info.path)]
        chosen = [info for info in listing if not is_passed_over(info.path)][: wish.limit]
        kept, known_skipped = _still_true(cached, chosen, folder)
        known = {record.name for record in kept} | {skipped.name for skipped in known_skipped}
        to_read = [info for info in chosen if info.path.removeprefix(folder) not in known]
        records = list(kept)
        skipped = [
            Skipped(
                info.path.removeprefix(folder),
                "passed over: its name is no instance's",
                info.size,
                info.version,
            )
            for info in named
        ]
        skipped += known_skipped
        done = 0
        self.progress(0, len(to_read))

        def count() -> None:
            nonlocal done
            done += 1
            self.progress(done, len(to_read))

        # An update is about objects that are rarely the ones shown.
        next_frames = 0 if cached is not None else self.next_frames
        reader = HeaderReader(self.storage, series, self.limits, count, next_frames)
        rows = sum(max(1, record.number_of_frames) for record in records)
        for result in reader.read(to_read):
            if isinstance(result, Skipped):
                skipped.append(result)
                continue
            records.append(result)
            rows += max(1, result.number_of_frames)
            if rows > self.limits.rows:
                limit = counted(self.limits.rows, "frame")
                raise LimitError("series", f"{series} has more than {limit}, the limit of an index")
        if not records and reader.withheld is not None and all(item.transient for item in skipped):
            # Nothing is known of the series: it may well hold images.
            raise reader.withheld
        if not records:
            raise NoImageError(series, self.storage.url, _nothing_reason(skipped))
        # Answers come in any order; the index must not depend on it.
        records.sort(key=lambda record: record.name)
        skipped.sort(key=lambda item: item.name)
        whole = len(chosen) + len(named) == len(listing)
        provenance = Provenance(
            series=series,
            root=self.storage.url,
            fingerprint=wish.fingerprint,
            listed=len(listing),
            limit=None if whole else wish.limit,
            skipped=tuple(skipped),
        )
        source = "built" if cached is None else "updated"
        index = Index(build(records, provenance))
        return OpenedSeries(
            series, self.storage, index, source, headers_read=len(to_read), in_hand=reader.in_hand
        )


@dataclass(frozen=True, slots=True)
class _Wish:
    """An index that is asked for: of which series, as listed, how much of it, and whether from scratch."""

    series: str
    listing: list[ObjectInfo]
    fingerprint: str
    limit: int | None
    refresh: bool


def _is_enough(index: Index, limit: int | None) -> bool:
    """Whether an index has what was asked for: one of a limited build only answers the same limit."""
    built_with = index.provenance.limit
    return built_with is None or built_with == limit


def _still_true(
    cached: Index | None, listing: Sequence[ObjectInfo], folder: str
) -> tuple[list[Record], list[Skipped]]:
    """What an earlier index says of objects that are still as they were."""
    if cached is None:
        return [], []
    now = {info.path.removeprefix(folder): info for info in listing}

    def unchanged(name: str, size: int | None, version: str) -> bool:
        info = now.get(name)
        # A listing that gives no versions cannot vouch for an object.
        return (
            info is not None and bool(info.version) and (info.version, info.size or size) == (version, size)
        )

    records = [r for r in cached.records() if unchanged(r.name, r.size, r.version)]
    skipped = [
        s for s in cached.provenance.skipped if not s.transient and unchanged(s.name, s.size, s.version)
    ]
    return records, skipped


def _nothing_reason(skipped: Sequence[Skipped]) -> str:
    """Why a series has nothing, with the first of its objects as the example."""
    first = skipped[0]
    if len(skipped) == 1:
        return f"its one object is no readable DICOM instance: {first.reason}"
    text = f"none of its {len(skipped)} objects is a readable DICOM instance"
    same = all(item.reason == first.reason for item in skipped)
    return f"{text}: {first.reason}" if same else f"{text}; {first.name}: {first.reason}"
