"""Bring the catalogue of a root up to date: list it, index what is new or changed, and write the rows."""

from __future__ import annotations

import datetime as dt
import logging
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.cache import CachedIndex
from dicom_series_preview.archive.catalogue.columns import PATIENT, RULES
from dicom_series_preview.archive.catalogue.discover import Discovered, discover
from dicom_series_preview.archive.catalogue.place import folder_below
from dicom_series_preview.archive.catalogue.rows import Place, problem_row, rows_of, settled_fingerprint
from dicom_series_preview.archive.catalogue.snapshot import Filter, SnapshotReader
from dicom_series_preview.archive.catalogue.split import FITTING, unfit
from dicom_series_preview.archive.catalogue.wholes import Joiner
from dicom_series_preview.archive.index.records import fingerprint
from dicom_series_preview.archive.uids import is_uid
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import (
    AbandonedError,
    CatalogueError,
    NoCatalogueError,
    PreviewError,
    RequestError,
    SeriesNotFoundError,
    StorageError,
)
from dicom_series_preview.sources.storage.base import is_path
from dicom_series_preview.sources.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from dicom_series_preview.archive.catalogue.columns import Key
    from dicom_series_preview.archive.catalogue.table import CatalogueTable
    from dicom_series_preview.archive.open import SeriesIndexer
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.archive.uids import SeriesPlaces
    from dicom_series_preview.sources.storage.base import ObjectInfo

_LOGGER = logging.getLogger(__name__)

# Series at once: while one waits for the storage, others are read.
_AT_ONCE = 8
# A commit rewrites the files that it touches: few large ones cost less than many small ones.
_COMMIT_SERIES = 1000
_COMMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class UpdatePlan:
    """What an update has to do.

    Attributes:
        new: The objects of series without a row, by folder.
        changed: The objects of series whose listing is not that of their row.
        unchanged: How many series are as their rows say.
        gone: The folders of rows without a series.
        nameless: Folders of series whose names are no text, or lead elsewhere: no row can have them.
        loose: Objects right in the root, which belong to no series.
        anew: Rows are also written of indices that the table has already: its columns have changed.
        known_uids: The SeriesInstanceUIDs of the rows that there are, by folder.
        problems: Why there is still no index, by folder, of series that are as their rows say.
        names_patients: Rows say who it is, and no longer should.
        listed: When the root was listed: what was written since is newer.
        unfit: How many series in several folders have rows that do not fit each other.
    """

    new: Mapping[str, list[ObjectInfo]] = field(repr=False)
    changed: Mapping[str, list[ObjectInfo]] = field(repr=False)
    unchanged: int
    gone: tuple[str, ...]
    loose: int
    nameless: tuple[str, ...] = ()
    anew: bool = False
    known_uids: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    problems: Mapping[str, str] = field(default_factory=dict, repr=False)
    names_patients: bool = False
    listed: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    unfit: int = 0

    @property
    def objects(self) -> int:
        """The objects of new and changed series: at most so many headers are read."""
        return sum(map(len, (*self.new.values(), *self.changed.values())))


@dataclass(slots=True)
class UpdateSummary:
    """What an update did.

    Attributes:
        new: Series that have rows now.
        changed: Series whose rows have changed.
        unchanged: Series that are as they were.
        gone: Series whose rows are gone.
        failed: Why there is no index, by folder; the row says it, too.
        loose: Objects right in the root, which belong to no series.
        headers: Headers read.
        commits: Commits of the table.
        passed: Series of which someone else has written later rows meanwhile.
        unjoined: Series in several folders that could not be measured as a whole this time.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    loose: int = 0
    headers: int = 0
    commits: int = 0
    passed: int = 0
    unjoined: int = 0


@dataclass(frozen=True, slots=True)
class Updater:
    """Updates the catalogue of one root.

    Attributes:
        indexer: Opens series of the root.
        table: The catalogue's table.
        places: Where the SeriesInstanceUIDs are noted; None to note none.
        progress: Called with the series done and in all.
        now: The time.
        clock: A monotonic clock, in seconds.
    """

    indexer: SeriesIndexer
    table: CatalogueTable
    places: SeriesPlaces | None = None
    progress: Callable[[int, int], None] = lambda _done, _total: None
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    clock: Callable[[], float] = time.monotonic

    def plan(self, named: Sequence[str] = (), *, rebuild: bool = False) -> UpdatePlan:
        """List the root, and compare it with the catalogue.

        Args:
            named: Only these folders, of series or of series' folders; all without any.
            rebuild: Every row is made anew, and the root may be empty.

        Raises:
            CatalogueError: The table is broken, or the root is empty though the catalogue has series of it.
            StorageError: The root cannot be listed.
        """
        listed = self.now()
        found = self._named(named) if named else discover(self._listed())
        nameless = tuple(series for series in found.series if not _is_name(series))
        found = Discovered(
            {series: listing for series, listing in found.series.items() if series not in nameless},
            found.loose,
        )
        table = self._known(rebuild=rebuild)
        known = table.series
        if named:
            _check_tops(named, known)
            known = {series: rows for series, rows in known.items() if _is_below(series, named)}
            for name in named:
                if not any(_is_below(series, [name]) for series in (*found.series, *nameless, *known)):
                    raise SeriesNotFoundError(name, self.indexer.storage.url)
        elif known and not found.series and not rebuild:
            raise CatalogueError(
                self.table.url,
                f"it has series of {self.indexer.storage.url}, where nothing is now; "
                "mount it, or give `--rebuild` to forget them",
            )
        new = {series: listing for series, listing in found.series.items() if series not in known}
        changed = {
            series: listing
            for series, listing in found.series.items()
            if series in known and (table.anew or not known[series].is_of(listing))
        }
        gone = tuple(sorted(known.keys() - found.series.keys()))
        same = found.series.keys() - new.keys() - changed.keys()
        problems = {series: known[series].problem for series in sorted(same) if known[series].problem}
        return UpdatePlan(
            new,
            changed,
            len(same) - len(problems),
            gone,
            len(found.loose),
            nameless,
            table.anew,
            {series: frozenset(rows.uids) for series, rows in known.items()},
            problems,
            table.names_patients,
            listed,
            table.unfit,
        )

    def _listed(self) -> list[ObjectInfo]:
        """List the root; what lies in the cache, if that lies in the root, is no series."""
        listing = self.indexer.storage.list_objects("")
        own = folder_below(self.indexer.storage, self.table.storage)
        return listing if own is None else [info for info in listing if not info.path.startswith(f"{own}/")]

    def _named(self, named: Sequence[str]) -> Discovered:
        """List folders of series, or of series' folders."""
        storage = self.indexer.storage
        found: dict[str, list[ObjectInfo]] = {}
        for name in named:
            found |= discover(storage.list_objects(name)).series
        return Discovered(found, ())

    def _known(self, *, rebuild: bool) -> _Table:
        """Return what the table says of the root's series."""
        reader, shape = SnapshotReader(self.table.storage, self.table.kept), self.table.shape
        try:
            snapshot = reader.snapshot()
            names = snapshot.columns.names
            patient = [] if shape.has_patients else [name for name in PATIENT if name in names]
            columns = [*FITTING, "Series", "Fingerprint", "Problem", "Rules", *patient]
            rows = reader.read(columns, self._own_rows, snapshot)
        except NoCatalogueError:
            return _Table()
        except CatalogueError:
            if not rebuild:
                raise
            self.table.clear()
            _LOGGER.warning("the catalogue was damaged and is made anew; update its other roots, too")
            return _Table()
        anew = rebuild or any(column.name not in names for column in shape.columns)
        names_patients = any(rows[name].null_count < rows.num_rows for name in patient)
        known: dict[str, _Known] = {}
        rules = rows["Rules"] if "Rules" in names else pa.nulls(rows.num_rows)
        cells = (rows[name].to_pylist() for name in ("Series", "Fingerprint", "SeriesInstanceUID", "Problem"))
        for series, print_, uid, problem, rule in zip(*cells, rules.to_pylist(), strict=True):
            one = known.setdefault(series, _Known())
            one.fingerprints.add(print_)
            one.uids.add(uid)
            one.problem = problem or one.problem
            # A row that says why there is no index was made by none.
            one.is_outdated |= not problem and (rule or 0) < RULES
        return _Table(known, anew, names_patients, len(unfit(rows)))

    @property
    def _own_rows(self) -> Filter:
        """The root's rows."""
        return Filter(pc.field("Root") == self.indexer.storage.url, ("Root",))

    def run(self, plan: UpdatePlan) -> UpdateSummary:
        """Do what is planned; what is done stays done after an interrupt.

        Raises:
            CatalogueError: The table cannot be written.
            AbandonedError: Nobody waits for it any more.
        """
        summary = UpdateSummary(unchanged=plan.unchanged, loose=plan.loose)
        summary.failed |= dict.fromkeys(plan.nameless, "its folder's name is no text that can name a series")
        summary.failed |= plan.problems
        self._restore_places(plan.known_uids)
        if plan.names_patients:
            self.table.forget_patients()
        batch = _Batch(self, summary, plan)
        try:
            for done in self._done(plan):
                batch.add(done)
            batch.remove(self._gone(plan))
        finally:
            batch.commit()
        if plan.unfit or summary.commits:
            self._join(summary)
        if summary.commits and isinstance(self.table.storage, LocalStorage):
            self.table.maintain()
        return summary

    def _gone(self, plan: UpdatePlan) -> list[str]:
        """Return the folders whose rows go: they are empty, or a series around them has what is in them."""
        tops = {*plan.new, *plan.known_uids}.difference(plan.gone)
        return [
            series
            for series in plan.gone
            if not tops.isdisjoint(_above(series)) or not self.indexer.storage.list_objects(series, 1)
        ]

    def _join(self, summary: UpdateSummary) -> None:
        """Let the rows of series in several folders describe the whole series.

        Raises:
            CatalogueError: The table cannot be written.
            AbandonedError: Nobody waits for it any more.
        """

        def load(_root: str, series: str) -> CachedIndex:
            return self._index(series, summary)

        joiner = Joiner(self.table, load, self.indexer.limits.rows, self.indexer.gate)
        joined = joiner.run(lambda _snapshot: self._own_rows)
        summary.commits += joined.commits
        summary.unjoined = joined.left

    def _index(self, series: str, summary: UpdateSummary) -> CachedIndex:
        """Load the index of a series, or make it anew where it is gone."""
        kept = self.indexer.kept(series)
        listing = self.indexer.storage.list_objects(series) if kept.index is None else []
        if not listing:
            return kept
        opened = self.indexer.open_listed(series, listing)
        summary.headers += opened.headers_read
        return CachedIndex(opened.index, opened.kept_version)

    def _done(self, plan: UpdatePlan) -> Iterator[_Done]:
        """Yield the series of a plan as each is done."""
        work = [*plan.new.items(), *plan.changed.items()]
        todo, count = iter(work), 0
        self.progress(0, len(work))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="catalogue") as pool:
            running: set[Future[_Done]] = set()
            try:
                while True:
                    for series, listing in islice(todo, 2 * _AT_ONCE - len(running)):
                        running.add(pool.submit(self._rows, series, listing, plan.listed))
                    if not running:
                        return
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        count += 1
                        self.progress(count, len(work))
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()

    def _rows(self, series: str, listing: list[ObjectInfo], moment: dt.datetime) -> _Done:
        """Make the rows of a series, listed at a moment; one that says why where there is no index."""
        place = Place(self.indexer.storage.url, series, "", "", "", _newest(listing), moment)
        try:
            return self._done_of(self.indexer.open_listed(series, listing), place)
        except AbandonedError:
            raise
        except PreviewError as error:
            # What the storage withheld is tried again; anything else once it has changed.
            digest = "" if isinstance(error, StorageError) else fingerprint(listing)
            problem = getattr(error, "problem", str(error))
            _LOGGER.info("series %s has no index: %s", digest_of(series), type(error).__name__)
        except Exception as error:  # noqa: BLE001 - see below
            # A fault of this program at one series must not stop the others; its text could quote a header.
            digest, problem = "", f"an error of this program: {type(error).__name__}"
            _LOGGER.warning("series %s has no row: %s", digest_of(series), type(error).__name__)
        row = problem_row(replace(place, fingerprint=digest), problem, objects=len(listing))
        return _Done(series, [row], problem=problem)

    def _restore_places(self, known: Mapping[str, Collection[str]]) -> None:
        """Note all places again where none is left: someone has removed them."""
        if self.places is None or not known or not self.places.is_empty():
            return
        for series, uids in known.items():
            for uid in uids:
                self.note_place(uid, series)

    def note_place(self, uid: str, series: str, *, is_there: bool = True) -> None:
        """Note that a UID lies in a folder, or no longer does; a row is true without it."""
        if self.places is None or not is_uid(uid):
            return
        try:
            (self.places.add if is_there else self.places.remove)(uid, series)
        except StorageError as error:
            _LOGGER.warning("the place of a SeriesInstanceUID is not noted: %s", type(error).__name__)

    def _done_of(self, opened: OpenedSeries, place: Place) -> _Done:
        cache = self.indexer.cache
        path = cache.path(opened.name) if cache is not None and opened.kept_version else ""
        place = replace(
            place,
            fingerprint=settled_fingerprint(opened.index),
            index_path=path,
            index_version=opened.kept_version,
        )
        rows = rows_of(opened.index, place, self.table.shape)
        # Before the rows: a place without a row leads to the folder, which tells.
        for row in rows:
            self.note_place(row["SeriesInstanceUID"], opened.name)
        return _Done(opened.name, rows, headers=opened.headers_read)


def _newest(listing: Sequence[ObjectInfo]) -> dt.datetime | None:
    """Return when the newest object was written; None where no time is known, or none that can be."""
    times = [info.modified_s for info in listing if info.modified_s is not None]
    try:
        return dt.datetime.fromtimestamp(max(times), dt.UTC) if times else None
    except (OverflowError, OSError, ValueError):
        return None


def _check_tops(named: Sequence[str], known: Collection[str]) -> None:
    """Refuse a folder inside a series that is catalogued: it would be found twice.

    Raises:
        RequestError: A folder lies in a series.
    """
    for name in named:
        top = next((series for series in known if name.startswith(f"{series}/")), None)
        if top is not None:
            raise RequestError("series", f"{name} lies in the series {top}; name that one")


def _is_name(series: str) -> bool:
    """True for text that the table can hold, and that leads to a folder below the root."""
    try:
        series.encode()
    except UnicodeEncodeError:
        return False
    return is_path(series)


def _above(series: str) -> Iterator[str]:
    """Yield the folders that a folder lies in."""
    while series := series.rpartition("/")[0]:
        yield series


def _is_below(series: str, named: Sequence[str]) -> bool:
    """True for one of these folders, and for one in them."""
    return any(series == name or series.startswith(f"{name}/") for name in named)


@dataclass(frozen=True, slots=True)
class _Done:
    """A series that is done.

    Attributes:
        series: Its folder.
        rows: Its rows.
        headers: Headers read.
        problem: Why it has no index, or empty.
    """

    series: str
    rows: list[dict[str, Any]]
    headers: int = 0
    problem: str = ""


@dataclass(slots=True)
class _Known:
    """What the rows of a series say.

    Attributes:
        fingerprints: The digests of its listing.
        uids: Its SeriesInstanceUIDs.
        problem: Why it has no index, or empty.
        is_outdated: A row was made by older rules.
    """

    fingerprints: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    problem: str = ""
    is_outdated: bool = False

    def is_of(self, listing: list[ObjectInfo]) -> bool:
        """True where the rows say what today's rules make of a listing."""
        return self.fingerprints == {fingerprint(listing)} and not self.is_outdated


@dataclass(frozen=True, slots=True)
class _Table:
    """What the table says of a root's series.

    Attributes:
        series: What the rows of each say, by folder.
        anew: All rows must be made anew.
        names_patients: Rows say who it is, and no longer should.
        unfit: How many series in several folders have rows that do not fit each other.
    """

    series: Mapping[str, _Known] = field(default_factory=dict)
    anew: bool = False
    names_patients: bool = False
    unfit: int = 0


class _Batch:
    """Rows that wait for a commit.

    Args:
        updater: The update.
        summary: Counts what is done.
        plan: What there is to do.
    """

    def __init__(self, updater: Updater, summary: UpdateSummary, plan: UpdatePlan) -> None:
        self._updater = updater
        self._summary = summary
        self._plan = plan
        self._rows: list[dict[str, Any]] = []
        self._series: list[str] = []
        self._since = updater.clock()

    def add(self, done: _Done) -> None:
        """Add the rows of a series; commit if there are many, or they have waited long."""
        self._rows += done.rows
        self._series.append(done.series)
        self._summary.headers += done.headers
        if done.problem:
            self._summary.failed[done.series] = done.problem
        elif done.series in self._plan.new:
            self._summary.new += 1
        else:
            self._summary.changed += 1
        if len(self._series) >= _COMMIT_SERIES or self._updater.clock() - self._since >= _COMMIT_S:
            self.commit()

    def remove(self, series: Sequence[str]) -> None:
        """Remove the rows of series."""
        self._series += series
        self._summary.gone += len(series)

    def commit(self) -> None:
        """Write what has been added."""
        root, moment = self._updater.indexer.storage.url, self._plan.listed
        rows, series = self._rows, {(root, name): moment for name in self._series}
        self._rows, self._series = [], []
        if series:
            removed: dict[Key, None] = {}
            change = self._updater.table.merge(
                rows, series, anew=self._plan.anew, going=lambda keys: removed.update(dict.fromkeys(keys))
            )
            self._summary.commits += bool(change.added or change.changed or change.removed)
            self._summary.passed += change.passed
            for _, name, uid in removed:
                self._updater.note_place(uid, name, is_there=False)
        self._since = self._updater.clock()
