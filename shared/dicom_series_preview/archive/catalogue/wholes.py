"""Measure series that lie in several folders on the indices of all of them, for the rows of each.

What adds up stays that of a row's folder: objects, frames, bytes. All else is the same in each row, as if the
series lay in one folder. Indices are read one after the other, and only what they hold of a few series at a
time is kept.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.columns import RULES
from dicom_series_preview.archive.catalogue.rows import Place, rows_of, settled_fingerprint
from dicom_series_preview.archive.catalogue.snapshot import SnapshotReader
from dicom_series_preview.archive.catalogue.split import Amendment, unfit_series
from dicom_series_preview.archive.index.held import indices_of
from dicom_series_preview.archive.one_series import index_only, outermost
from dicom_series_preview.archive.uids import MOST_FOLDERS
from dicom_series_preview.base.discreet import told
from dicom_series_preview.base.errors import (
    AbandonedError,
    LimitError,
    NoCatalogueError,
    PreviewError,
    counted,
)
from dicom_series_preview.base.gate import open_gate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from dicom_series_preview.archive.cache import CachedIndex
    from dicom_series_preview.archive.catalogue.snapshot import Filter, Snapshot
    from dicom_series_preview.archive.catalogue.split import Part, SeriesKey, SplitSeries
    from dicom_series_preview.archive.catalogue.table import CatalogueTable
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.base.gate import Passage

_LOGGER = logging.getLogger(__name__)

_FRAMES_TOGETHER = 100_000
# A commit rewrites the files that it touches: few large ones cost less than many small ones.
_COMMIT_ROWS = 1000


@dataclass(slots=True)
class JoinSummary:
    """What was done for series whose rows did not fit.

    Attributes:
        rows: Rows that describe the whole series now, or their folder's part again.
        commits: Commits of the table.
        waiting: Series that another look can measure: an index was not the one that its row was made of.
        late: Series that there was no time for.
        failed: The kind of error, by series.
    """

    rows: int = 0
    commits: int = 0
    waiting: set[SeriesKey] = field(default_factory=set)
    late: set[SeriesKey] = field(default_factory=set)
    failed: dict[SeriesKey, str] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many series are left to another look."""
        return len(self.waiting) + len(self.late) + len(self.failed)


@dataclass(frozen=True, slots=True)
class Joiner:
    """Measures series that lie in several folders, and writes what it finds into their rows.

    Attributes:
        table: The catalogue's table.
        load: Returns the index of a root's folder.
        most_rows: The most frames of an index.
        gate: Admits the making of an index, given the bytes that it may take.
        is_time: Returns False once nothing more shall be begun.
        most_folders: The most folders of a series; one of more has no index as a whole.
        frames_together: Series of the same folders are measured together, up to so many frames: each index is
            then read once.
    """

    table: CatalogueTable
    load: Callable[[str, str], CachedIndex]
    most_rows: int
    gate: Passage = open_gate
    is_time: Callable[[], bool] = lambda: True
    most_folders: int = MOST_FOLDERS
    frames_together: int = _FRAMES_TOGETHER

    def run(self, where: Callable[[Snapshot], Filter]) -> JoinSummary:
        """Make the rows fit.

        What is measured stays so after an interrupt.

        Args:
            where: Which rows of a version to look at; at least one that does not fit of each series.

        Raises:
            CatalogueBusyError: Others kept writing.
            CatalogueError: The table cannot be read or written.
            StorageError: The table cannot be read.
            AbandonedError: Nobody waits for it any more.
        """
        summary = JoinSummary()
        reader = SnapshotReader(self.table.storage, self.table.kept)
        try:
            snapshot = reader.snapshot()
        except NoCatalogueError:
            return summary
        made: list[Amendment] = []
        try:
            for some in unfit_series(reader, where(snapshot), snapshot):
                for group in self._groups(some):
                    if not self.is_time():
                        summary.late |= {one.key for one in group}
                        continue
                    made += self._measured(group, summary)
                    if sum(len(one.series.parts) for one in made) >= _COMMIT_ROWS:
                        together, made = made, []
                        self._commit(together, summary)
        finally:
            self._commit(made, summary)
        return summary

    def _commit(self, made: Sequence[Amendment], summary: JoinSummary) -> None:
        """Write what was measured."""
        change = self.table.amend(made)
        summary.rows += change.changed
        summary.commits += bool(change.changed)

    def _groups(self, some: Sequence[SplitSeries]) -> Iterator[list[SplitSeries]]:
        """Yield series of the same folders together, as far as they are no more than fit into memory."""
        alike: dict[tuple[str, ...], list[SplitSeries]] = defaultdict(list)
        for one in some:
            alike[(one.root, *(part.series for part in one.parts))].append(one)
        for group in alike.values():
            together: list[SplitSeries] = []
            frames = 0
            for one in group:
                more = sum(part.size for part in one.parts)
                if together and frames + more > self.frames_together:
                    yield together
                    together, frames = [], 0
                together.append(one)
                frames += more
            yield together

    def _measured(self, group: Sequence[SplitSeries], summary: JoinSummary) -> list[Amendment]:
        """Measure series of the same folders; the summary says of which that cannot be done now."""
        made = []
        try:
            held = self._held([one for one in group if not self._too_much(one)])
        except AbandonedError:
            raise
        except Exception as failure:  # noqa: BLE001 - the rows of other folders must be made
            summary.failed |= dict.fromkeys((one.key for one in group), _told(failure))
            return []
        for one in group:
            try:
                amendment = self._amendment(one, held)
            except AbandonedError:
                raise
            except Exception as failure:  # noqa: BLE001 - one series must not stop the others
                summary.failed[one.key] = _told(failure)
                continue
            if amendment is None:
                summary.waiting.add(one.key)
            else:
                made.append(amendment)
        return made

    def _amendment(self, one: SplitSeries, held: Mapping[str, _Held]) -> Amendment | None:
        """Return what to write of a series; None where an index is not the one that a row was made of."""
        why = self._too_much(one)
        if not why:
            try:
                return self._of_whole(one, held)
            except LimitError as error:
                why = error.problem
        return self._of_parts(one, f"the whole series is not measured: {why}")

    def _too_much(self, one: SplitSeries) -> str:
        """Say why a series cannot have an index as a whole; empty where it can."""
        if len(one.parts) > self.most_folders:
            return f"it lies in more than {counted(self.most_folders, 'folder')}, the limit"
        if sum(part.size for part in one.parts) > self.most_rows:
            return f"it has more than {counted(self.most_rows, 'frame')}, the limit of an index"
        return ""

    def _of_whole(self, one: SplitSeries, held: Mapping[str, _Held]) -> Amendment | None:
        """Measure a series on the indices of all its folders; None where one is not that of its row.

        Raises:
            LimitError: It has more frames in all than an index may have.
        """
        folders = _outermost(one)
        parts = [part for part in one.parts if part.series in folders]
        if not all(part.series in held and held[part.series].is_of(part, one.uid) for part in parts):
            return None
        indices = {part.series: held[part.series].indices[one.uid] for part in parts}
        index = index_only(one.uid, indices, self.most_rows, self.gate)
        if index is None:
            return None
        cells = self._cells(index, one.parts[0])
        return Amendment(one, "", {part.series: cells for part in one.parts}, RULES)

    def _of_parts(self, one: SplitSeries, why: str) -> Amendment | None:
        """Let each row of a series describe its folder's part again, as it did at first."""
        cells = {}
        for part in one.parts:
            if part.is_own:
                continue
            held = self._loaded(one.root, part.series, {one.uid})
            if held is None or not held.is_of(part, one.uid):
                return None
            cells[part.series] = self._cells(held.indices[one.uid], part)
        return Amendment(one, why, cells, RULES)

    def _cells(self, index: Index, part: Part) -> dict[str, Any]:
        """Return the cells that describe the one series of an index."""
        shape = self.table.shape
        (row,) = rows_of(index, Place("", part.series, "", "", "", None, part.catalogued), shape)
        return {name: row.get(name) for name in shape.of_whole}

    def _held(self, group: Sequence[SplitSeries]) -> dict[str, _Held]:
        """Return what the folders of series hold of them, one index after the other."""
        if not group:
            return {}
        uids = {one.uid for one in group}
        loaded = {folder: self._loaded(group[0].root, folder, uids) for folder in _outermost(group[0])}
        return {folder: held for folder, held in loaded.items() if held is not None}

    def _loaded(self, root: str, folder: str, uids: Collection[str]) -> _Held | None:
        """Return what a folder holds of series; None where it has no whole index now."""
        kept = self.load(root, folder)
        if kept.index is None or kept.index.provenance.limit is not None:
            return None
        return _Held(settled_fingerprint(kept.index), kept.version, indices_of(kept.index, uids))


@dataclass(frozen=True, slots=True)
class _Held:
    """What a folder holds of some series.

    Attributes:
        fingerprint: The digest of its listing; empty while an object is withheld.
        version: The version of its index.
        indices: What it holds of each series, by SeriesInstanceUID.
    """

    fingerprint: str
    version: str
    indices: Mapping[str, Index]

    def is_of(self, part: Part, uid: str) -> bool:
        """True where a row was made of this index, or of one of the same listing."""
        alike = (
            self.fingerprint == part.fingerprint if part.fingerprint else self.version == part.index_version
        )
        return alike and uid in self.indices


def _outermost(one: SplitSeries) -> list[str]:
    """Return the folders of a series that lie in none of the others."""
    return outermost([part.series for part in one.parts])


def _told(error: Exception) -> str:
    """Log that a series was not measured, and return the kind of the error."""
    if isinstance(error, PreviewError):
        _LOGGER.warning("a series in several folders is not measured: %s", type(error).__name__)
    else:
        # Our bug. The log says where; its text can hold header values, so nobody gets it.
        _LOGGER.error("a series in several folders is not measured: %s", told(error))
    return type(error).__name__
