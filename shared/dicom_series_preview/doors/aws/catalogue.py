"""Fold the indices that S3 tells of into the catalogue's table: one commit for each batch of messages.

Where series of these indices lie in several folders, or did, another commit makes their rows fit each other.

A message only says which index to look at; its rows are made of what is there now. So messages may arrive
twice, late, or in any order. An index is read after the time that its rows bear, and the table keeps the
later of two. What cannot be done now is queued again as our own message, a `Look`.
`docs/decisions/0028-the-catalogue-follows-the-indices.md` says what happens if a function dies.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.compute as pc

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.catalogue.columns import key_of
from dicom_series_preview.archive.catalogue.rows import Place, problem_row, rows_of, settled_fingerprint
from dicom_series_preview.archive.catalogue.snapshot import Filter, SnapshotReader
from dicom_series_preview.archive.catalogue.split import looked_at
from dicom_series_preview.archive.catalogue.wholes import Joiner, JoinSummary
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.archive.open import nothing_reason
from dicom_series_preview.archive.uids import SeriesPlaces, is_uid, places_folder
from dicom_series_preview.base.discreet import told
from dicom_series_preview.base.errors import (
    CatalogueBusyError,
    NoCatalogueError,
    ObjectNotFoundError,
    PreviewError,
)
from dicom_series_preview.doors.aws.looks import Look, looks_of, roots_by_folder
from dicom_series_preview.doors.aws.message_batches import BatchSummary, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from dicom_series_preview.archive.cache import CachedIndex
    from dicom_series_preview.archive.catalogue.columns import Key
    from dicom_series_preview.archive.catalogue.split import SeriesKey
    from dicom_series_preview.archive.catalogue.table import CatalogueTable
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

# Indices to read at once, one of which is parsed, and how many are read before we look at the clock.
_AT_ONCE = 8
_PART = 32
_PLACES_AT_ONCE = 16
# A folder of many series has a row for each; so many are made of one batch before the rest is postponed.
MOST_ROWS = 20_000
# The time reserved for the commit, its tries and what follows it; at most half of a function's time.
RESERVE_S = 120.0
# The delay before another look where others kept writing the table.
LATER_S = 15
# Longer than another function can take to commit a row that it has made before: SQS's longest delay.
SWEEP_S = 900
_FOREIGN = "its index is of another root or name"
_EMPTY = "its index has no instances"


class LookQueue(Protocol):
    """The queue that looks are sent to."""

    def send(self, messages: Sequence[tuple[Look, int]], /) -> Collection[Look]:
        """Send looks, each to arrive after some seconds; return those that could not be sent."""


@dataclass(slots=True)
class FoldSummary(BatchSummary):
    """The result of a batch of messages.

    Attributes:
        indices: Indices read.
        gone: Indices that are not there.
        problems: Series without a usable index, whose rows say why.
        added: New rows.
        changed: Rows with newer contents.
        removed: Rows that are gone.
        joined: Rows that describe a series in several folders anew.
        tries: How often the commit was tried.
        postponed: Indices to look at later: time was up, there were too many rows, or others kept writing.
        failed: Indices that could not be read, but might be another time.
        unfinished: Series whose first index is being built.
        ignored: Objects that are no index of this deployment.
    """

    indices: int = 0
    gone: int = 0
    problems: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    joined: int = 0
    tries: int = 0
    postponed: int = 0
    failed: int = 0
    unfinished: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at an index found.

    Attributes:
        look: The look.
        root: The URL of the series' root.
        moment: A time before it was read.
        outcome: The summary's field that counts it.
        rows: Its rows.
        error: The kind of the error, or empty.
    """

    look: Look
    root: str
    moment: dt.datetime
    outcome: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def series(self) -> tuple[str, str]:
        """The root and the folder, as the table has them."""
        return self.root, self.look.series

    @property
    def uids(self) -> set[SeriesKey]:
        """The series that its rows are of, with their root."""
        return {(self.root, row["SeriesInstanceUID"]) for row in self.rows}

    @property
    def is_certain(self) -> bool:
        """True where it says which rows the series has."""
        return self.outcome in {"indices", "problems", "gone"}


def fold(
    messages: Mapping[str, str],
    deployment: Deployment,
    table: CatalogueTable,
    time_left_s: Callable[[], float],
    queue: LookQueue,
) -> FoldSummary:
    """Write the rows of every index that the messages tell of, in one commit.

    Args:
        messages: The messages' bodies, by identifier.
        deployment: Has the roots and indices.
        table: The catalogue's table.
        time_left_s: Returns the seconds left for this.
        queue: Gets the indices to look at later.

    Returns:
        The summary; it names the messages for which a retry can help.
    """
    summary = FoldSummary()
    asked = joined(messages, lambda body: looks_of(body, deployment))
    looks, messages_of = asked.works, asked.messages_of
    summary.ignored, summary.failed_messages = asked.ignored, asked.failed
    reserve_s = min(RESERVE_S, time_left_s() / 2)
    folding = _Fold(deployment, table, _roots(looks, deployment, table))
    seen, later = folding.read(list(looks.values()), lambda: time_left_s() - reserve_s)
    for one in seen:
        setattr(summary, one.outcome, getattr(summary, one.outcome) + 1)
        if one.error:
            summary.failures[one.error] += 1
        if one.outcome == "failed":
            summary.failed_messages |= messages_of[one.look.place]
    again = [(look, 0) for look in later]
    certain = [one for one in seen if one.is_certain]
    try:
        again += [(look, SWEEP_S) for look in folding.write(certain, summary)]
        whole = folding.join(certain, lambda: time_left_s() > reserve_s / 2)
        summary.joined = whole.rows
        summary.failures.update(whole.failed.values())
        for one in certain:
            if one.uids & whole.failed.keys():
                summary.failed_messages |= messages_of[one.look.place]
        late = _late(certain, whole)
        later += late
        again += [(look, 0) for look in late]
    except CatalogueBusyError:
        again += [(one.look, LATER_S) for one in certain]
        later += [one.look for one in certain]
    except PreviewError as error:
        _LOGGER.warning("the catalogue cannot be written: %s", type(error).__name__)
        summary.failures[type(error).__name__] += 1
        for one in certain:
            summary.failed_messages |= messages_of[one.look.place]
    summary.postponed = len(later)
    for look in queue.send(again) if again else ():
        summary.failed_messages |= messages_of[look.place]
    return summary


def _late(certain: Sequence[Seen], whole: JoinSummary) -> list[Look]:
    """Return the looks to repeat for series in several folders that there was no time for."""
    if not whole.late:
        return []
    # What none of them tells of is looked at with any of them.
    return [one.look for one in certain if one.uids & whole.late] or [certain[0].look]


def _roots(
    looks: Mapping[tuple[str, str], Look], deployment: Deployment, table: CatalogueTable
) -> dict[str, str]:
    """Return the roots' URLs by the folders of their indices.

    A root that has left the deployment still has rows, which go when its indices are removed by hand: the
    table says which root they are of.
    """
    roots = dict(roots_by_folder(deployment))
    unknown = {look.folder for look in looks.values()} - roots.keys()
    if unknown:
        reader = SnapshotReader(table.storage, table.kept)
        folder = pc.replace_substring_regex(pc.field("IndexPath"), r"^(indices/[0-9a-f]{32})/.*$", r"\1")
        where = Filter(folder.isin(sorted(unknown)), ("IndexPath",))
        try:
            found = reader.read(["Root", "IndexPath"], where).to_pylist()
        except NoCatalogueError:
            found = []
        roots |= {"/".join(row["IndexPath"].split("/")[:2]): row["Root"] for row in found}
    return roots


@dataclass(frozen=True, slots=True)
class _Fold:
    """Reads indices, and writes their rows.

    Attributes:
        deployment: Has the indices.
        table: The catalogue's table.
        roots: The roots' URLs by the folders of their indices.
        most_rows: Once there are so many, the rest is left for later.
        parsing: Held by whoever parses an index: a large one takes much of a function's memory.
    """

    deployment: Deployment
    table: CatalogueTable
    roots: Mapping[str, str]
    most_rows: int = MOST_ROWS
    parsing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def data(self) -> Storage:
        """The storage of indices and of the table."""
        return self.deployment.storage(self.deployment.data)

    def read(self, looks: Sequence[Look], left_s: Callable[[], float]) -> tuple[list[Seen], list[Look]]:
        """Look at indices as far as time and memory allow; return also those that are left."""
        seen: list[Seen] = []
        rows, waiting = 0, deque(looks)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="index") as pool:
            while waiting and left_s() > 0 and rows < self.most_rows:
                part = [waiting.popleft() for _ in range(min(_PART, len(waiting)))]
                found = list(pool.map(self._look, part))
                rows += sum(len(one.rows) for one in found)
                seen += found
        return seen, list(waiting)

    def _look(self, look: Look) -> Seen:
        """Look at one index; never raise."""
        moment = dt.datetime.now(dt.UTC)
        if look.folder not in self.roots:
            return Seen(look, "", moment, "ignored")
        root = self.roots[look.folder]
        try:
            return self._seen(look, root, moment)
        except PreviewError as error:
            _LOGGER.warning("an index cannot be read: %s", type(error).__name__)
            return Seen(look, root, moment, "failed", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - one index must not fail the others
            # Our bug. The log says where; its text can hold header values, so nobody gets it.
            _LOGGER.error("rows could not be made: %s", told(error))  # noqa: TRY400
            return Seen(look, root, moment, "failed", error=type(error).__name__)

    def _seen(self, look: Look, root: str, moment: dt.datetime) -> Seen:
        cache = IndexCache(self.data, look.folder)
        path, most = cache.path(look.series), self.deployment.settings.limits.rows
        try:
            fetched = self.data.get(path)
        except ObjectNotFoundError:
            place = Place(root, look.series, "", "", "", None, moment)
            return self._without_index(look, place, cache.load_partial(look.series, root, most))
        place = Place(root, look.series, "", path, fetched.version, None, moment)
        with self.parsing:
            kept = cache.parsed(fetched, look.series, root, most)
            rows = [] if kept.index is None else self._rows(kept.index, place)
        if rows:
            return Seen(look, root, moment, "indices", rows)
        problem = f"its index is damaged: {kept.damage}" if kept.damage else _FOREIGN
        problem = problem if kept.index is None else _EMPTY
        return Seen(look, root, moment, "problems", [problem_row(place, problem, objects=0)])

    def _rows(self, index: Index, place: Place) -> list[dict[str, Any]]:
        """Make the rows of an index."""
        return rows_of(index, replace(place, fingerprint=settled_fingerprint(index)), self.table.shape)

    @staticmethod
    def _without_index(look: Look, place: Place, partial: CachedIndex) -> Seen:
        """Tell why a series has no index, as far as a partial one says so."""
        if partial.index is None:
            return Seen(look, place.root, place.catalogued, "gone")
        problem = _problem(partial.index)
        if not problem:
            return Seen(look, place.root, place.catalogued, "unfinished")
        provenance = partial.index.provenance
        row = problem_row(
            replace(place, fingerprint=provenance.fingerprint),
            problem,
            objects=provenance.listed,
            skipped=len([item for item in provenance.skipped if item.name]),
        )
        return Seen(look, place.root, place.catalogued, "problems", [row])

    def write(self, seen: Sequence[Seen], summary: FoldSummary) -> list[Look]:
        """Write the rows of series in one commit, and note where their UIDs lie.

        Returns:
            The looks to repeat: another function may still write a row that it made before, and no row is
            left that it could be compared with.

        Raises:
            CatalogueBusyError: Others kept writing.
            CatalogueError: The table cannot be written.
            StorageError: It cannot be read, or a place cannot be written.
        """
        if not seen:
            return []
        rows = [row for one in seen for row in one.rows]
        series = {one.series: one.moment for one in seen}
        gone: list[Key] = []

        def going(keys: Sequence[Key]) -> None:
            # A place without a row would stay for good, so it goes before the row, and comes after it.
            gone.extend(keys)
            _note_places(self.data, keys, are_there=False)

        change = self.table.merge(rows, series, going=going)
        _note_places(self.data, [key_of(row) for row in rows], are_there=True)
        summary.added, summary.changed, summary.removed = change.added, change.changed, change.removed
        summary.tries = change.tries
        fewer = {key[:2] for key in gone}
        return [
            replace(one.look, swept=True)
            for one in seen
            if not one.look.swept and (one.outcome == "gone" or one.series in fewer)
        ]

    def join(self, seen: Sequence[Seen], is_time: Callable[[], bool]) -> JoinSummary:
        """Let rows of series in several folders describe the whole series, by the indices that are there.

        Raises:
            CatalogueBusyError: Others kept writing.
            CatalogueError: The table cannot be read or written.
            StorageError: The table cannot be read.
        """
        if not seen:
            return JoinSummary()
        most = self.deployment.settings.limits.rows

        def load(root: str, series: str) -> CachedIndex:
            return IndexCache(self.data, index_folder(root)).load(series, root, most)

        roots = {one.root for one in seen}
        uids = {uid for one in seen for _, uid in one.uids}
        return Joiner(self.table, load, most, is_time=is_time).run(
            lambda snapshot: looked_at(snapshot, roots, uids)
        )


def _note_places(data: Storage, keys: Sequence[Key], *, are_there: bool) -> None:
    """Note in which folders SeriesInstanceUIDs lie, or no longer lie.

    Raises:
        StorageError: A place cannot be written.
    """

    def note(key: Key) -> None:
        root, series, uid = key
        places = SeriesPlaces(data, places_folder(root))
        (places.add if are_there else places.remove)(uid, series)

    with ThreadPoolExecutor(_PLACES_AT_ONCE, thread_name_prefix="place") as pool:
        list(pool.map(note, (key for key in keys if is_uid(key[2]))))


def _problem(partial: Index) -> str:
    """Return why a series has no index; empty where it is being built."""
    skipped = partial.provenance.skipped
    reasons = [item.reason for item in skipped if not item.name]
    if reasons:
        return reasons[0]
    return nothing_reason(skipped) if partial.provenance.fingerprint and skipped else ""
