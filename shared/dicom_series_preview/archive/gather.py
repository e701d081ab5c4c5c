"""Read a series' objects and build its index; reads only headers that no earlier index knows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import log_damage
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.collect import HeaderReader
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Record, Skipped
from dicom_series_preview.archive.query import is_passed_over
from dicom_series_preview.base.errors import LimitError, StorageError, counted
from dicom_series_preview.sources.headers.transfer_syntaxes import DEFLATED_LITTLE_ENDIAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.archive.query import IndexQuery
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.sources.storage.base import ObjectInfo, Storage
    from dicom_series_preview.sources.storage.prefetched import Prefetched

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class Read:
    """The outcome of reading a series' objects.

    Attributes:
        records: The instances, by name.
        skipped: The objects that are no instances, or could not be read.
        unread: The objects that were not read, for lack of time.
        headers: The number of headers read now.
        reader: Has read them.
    """

    records: list[Record]
    skipped: list[Skipped]
    unread: list[ObjectInfo]
    headers: int
    reader: HeaderReader

    @property
    def prefetched(self) -> Prefetched:
        """The bytes of frames that arrived with the headers."""
        return self.reader.prefetched

    @property
    def withheld(self) -> StorageError | None:
        """The first error by which the storage withheld an object."""
        return self.reader.withheld


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Reads the headers of series, and makes their indices.

    Attributes:
        storage: The root that the series lie in.
        limits: The bounds of work.
        progress: Called with the headers read and in all.
        next_frames: The most frames that are read next; small objects are then read whole.
    """

    storage: Storage
    limits: Limits
    progress: Callable[[int, int], None]
    next_frames: int = 0

    def read(self, query: IndexQuery, earlier: Sequence[Index], stop: Callable[[int], bool]) -> Read:
        """Read a series' objects, except those unchanged since an earlier index.

        Args:
            query: The query.
            earlier: The earlier indices.
            stop: Called after each object with the number known; True to read no more now.

        Raises:
            LimitError: The series has too many objects or frames.
            StorageError: The storage fails as a whole.
        """
        series, listing = query.series, query.listing
        if len(listing) > self.limits.instances:
            limit = counted(self.limits.instances, "object")
            raise LimitError("series", f"{series} has more than {limit}, the limit")
        folder = f"{series}/"
        records, skipped = _unchanged(earlier, query.chosen, folder)
        known = {record.name for record in records} | {item.name for item in skipped}
        unread = {info.path.removeprefix(folder): info for info in query.chosen}
        unread = {name: info for name, info in unread.items() if name not in known}
        reason = "passed over: its name is no instance's"
        skipped += [left_out(info, folder, reason) for info in listing if is_passed_over(info.path)]
        total = len(unread)
        _LOGGER.info("of %d objects that are listed the headers of %d are read", len(listing), total)
        # An update rarely reads the objects that are shown.
        reader = self._reader(series, total, 0 if earlier else self.next_frames)
        if all(record.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN for record in records):
            # A deflated object is read whole, so read its neighbours whole.
            reader.learned.lengths.extend(record.size for record in records)
        rows = _RowCount(series, self.limits.rows)
        for record in records:
            rows.add(record)
        for result in reader.read(list(unread.values())) if not stop(len(known)) else ():
            if isinstance(result, Record):
                records.append(result)
                rows.add(result)
            else:
                skipped.append(result)
            del unread[result.name]
            if unread and stop(len(records) + len(skipped)):
                break
        # Answers arrive in any order; the index must not depend on it.
        records.sort(key=lambda record: record.name)
        return Read(records, skipped, list(unread.values()), total - len(unread), reader)

    def _reader(self, series: str, total: int, next_frames: int) -> HeaderReader:
        """Build the reader of headers, which reports the progress."""
        self.progress(0, total)
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            self.progress(done, total)

        return HeaderReader(self.storage, series, self.limits, count, next_frames)

    def index(self, query: IndexQuery, read: Read, *, whole: bool = True) -> Index:
        """Build the index of what was read; a partial one belongs to no listing."""
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


@dataclass(slots=True)
class _RowCount:
    """A running count of an index's rows.

    Attributes:
        series: The series.
        most: The most rows allowed.
        rows: The rows so far.
    """

    series: str
    most: int
    rows: int = 0

    def add(self, record: Record) -> None:
        """Count the rows of an object.

        Raises:
            LimitError: There are too many rows.
        """
        self.rows += max(1, record.number_of_frames)
        if self.rows > self.most:
            limit = counted(self.most, "frame")
            raise LimitError("series", f"{self.series} has more than {limit}, the limit of an index")


def left_out(info: ObjectInfo, folder: str, reason: str) -> Skipped:
    """Describe an object that was not read."""
    return Skipped(info.path.removeprefix(folder), reason, info.size, info.version)


def _unchanged(
    earlier: Sequence[Index], listing: Sequence[ObjectInfo], folder: str
) -> tuple[list[Record], list[Skipped]]:
    """Return what earlier indices say about unchanged objects."""
    now = {info.path.removeprefix(folder): info for info in listing}

    def unchanged(known: Record | Skipped) -> bool:
        info = now.get(known.name)
        # A listing without versions cannot show that an object is unchanged.
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
    """Return the records of an earlier index; none if it is damaged."""
    try:
        return index.records()
    except DamagedIndexError as error:
        log_damage(index.provenance.series, str(error))
        return []
