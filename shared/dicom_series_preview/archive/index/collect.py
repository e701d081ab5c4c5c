"""Read every object's header in a listing, in waves of range requests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.archive.index.asking import LearnedRange, Pace, is_read_whole
from dicom_series_preview.archive.index.records import Record, Skipped
from dicom_series_preview.base.errors import (
    CredentialsError,
    HeaderError,
    ObjectChangedError,
    ObjectError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.header import Header, parse
from dicom_series_preview.sources.headers.scan import Incomplete
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, ObjectInfo, Storage
from dicom_series_preview.sources.storage.in_flight import InFlight
from dicom_series_preview.sources.storage.prefetched import Prefetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_series_preview.base.settings import Limits

_SCOUTS = 2
_RESTARTS = 2


@dataclass(slots=True)
class _Pending:
    """An object whose header is incomplete.

    Attributes:
        info: The object.
        data: Its first bytes.
        version: Their version; before there are any, the listing's.
        at_least: The parser's last demand, in bytes.
        restarts: How often it was restarted because the object changed.
    """

    info: ObjectInfo
    data: bytes = b""
    version: str = ""
    at_least: int = 0
    restarts: int = 0


@dataclass(slots=True)
class HeaderReader:
    """Reads the headers of a series' objects.

    Attributes:
        storage: Their storage.
        folder: The series' folder; names in records are relative to it.
        limits: The longest header, and the most frames of an object.
        progress: Called after each object.
        next_frames: The number of frames that are read next, or 0: `prefetched` keeps their bytes.
        prefetched: The bytes of frames that arrived with the headers.
        learned: The size of first requests.
        withheld: The first error by which the storage withheld an object.
        in_flight: Headers in flight.
        pace: Limits how many.
    """

    storage: Storage
    folder: str
    limits: Limits
    progress: Callable[[], None] = lambda: None
    next_frames: int = 0
    prefetched: Prefetched = field(default_factory=Prefetched)
    learned: LearnedRange = field(default_factory=LearnedRange)
    withheld: StorageError | None = None
    converter: Converter = field(default_factory=Converter)
    in_flight: InFlight = field(default_factory=InFlight)
    pace: Pace = field(default_factory=Pace)
    _whole: bool = False

    def read(self, objects: Sequence[ObjectInfo]) -> Iterator[Record | Skipped]:
        """Read every object's header; yield each on arrival, in no order.

        Raises:
            StorageUnavailableError: The storage fails beyond every retry; an index without the lost objects
                would pass for a whole one.
            CredentialsError: The credentials are refused, or no longer accepted.
        """
        self._whole = is_read_whole([info.size for info in objects], self.next_frames)
        fresh = deque(_Pending(info, version=info.version) for info in objects)
        held: list[_Pending] = []
        while fresh or held:
            if not self.learned.lengths:
                # The length of these headers is unknown: let a few find out, and spare the others a guess.
                held.sort(key=lambda item: len(item.data), reverse=True)
                wave, held = deque(held[:_SCOUTS]), held[_SCOUTS:]
            else:
                wave, held = deque(held), []
            asked: dict[str, _Pending] = {}
            for fetched in self.storage.fetch(self._ranges(wave, held, fresh, asked)):
                self.in_flight.give_back(_length(fetched.range))
                self.pace.under_way -= 1
                item = asked[fetched.range.path]
                begun = self.pace.clock()
                result = self._take(item, fetched)
                if result is None:
                    held.append(item)
                else:
                    self.pace.latest_s.append(self.pace.clock() - begun)
                    item.data = b""
                    self.progress()
                    yield result
            held += wave

    def _ranges(
        self,
        wave: deque[_Pending],
        held: Sequence[_Pending],
        fresh: deque[_Pending],
        asked: dict[str, _Pending],
    ) -> Iterator[ByteRange]:
        """Yield the ranges to request: of unfinished objects, then of new ones while the first guess is good.

        It ends early without room, and is asked again when some arrive.
        """
        scouts = bool(wave)
        while wave or (fresh and (self.learned.lengths or not (scouts or held))):
            queue = wave or fresh
            wanted = self._range(queue[0])
            if not self.pace.has_room() or not self.in_flight.take(_length(wanted)):
                return
            self.pace.under_way += 1
            asked[wanted.path] = queue.popleft()
            yield wanted

    def _range(self, item: _Pending) -> ByteRange:
        learned = self.learned
        end = learned.next_end(len(item.data), item.at_least) if item.data else learned.first_range()
        if item.info.size is not None:
            end = item.info.size if self._whole else min(end, item.info.size)
        return ByteRange(item.info.path, len(item.data), end, item.version)

    def _take(self, item: _Pending, fetched: Fetched) -> Record | Skipped | None:
        """Add an answer to its object: return its record, why there is none, or None to read on."""
        if isinstance(fetched.error, ObjectChangedError) and item.restarts < _RESTARTS:
            item.data, item.version, item.at_least = b"", "", 0
            item.restarts += 1
            return None
        if fetched.error is not None:
            reason = _storage_reason(fetched.error)
            self.withheld = self.withheld or fetched.error
            return self._skipped(item, reason, transient=True)
        if item.data and not fetched.data:
            return self._skipped(item, f"cut off: no more than {len(item.data)} bytes can be had")
        item.data += fetched.data
        item.version = fetched.version or item.version
        try:
            parsed = parse(item.data, fetched.object_size, self.converter, self.limits)
            needed = parsed.at_least if isinstance(parsed, Incomplete) else parsed.length
            if needed > self.limits.header_bytes:
                limit = self.limits.header_bytes
                raise HeaderError(f"its header is longer than the limit of {limit} bytes")
            if isinstance(parsed, Incomplete):
                item.at_least = needed
                return None
        except ObjectError as error:
            return self._skipped(item, error.reason)
        return self._record(item, parsed)

    def _record(self, item: _Pending, header: Header) -> Record:
        self.learned.lengths.append(header.length)
        first = header.locations[0] if header.locations else None
        needed = first.offset + first.length if first else header.object_size
        if self.next_frames and header.number_of_frames and len(item.data) >= min(needed, header.object_size):
            self.prefetched.keep(item.info.path, item.data, header.object_size, item.version)
        return Record.of(self._name(item), item.version, header)

    def _skipped(self, item: _Pending, reason: str, *, transient: bool = False) -> Skipped:
        return Skipped(self._name(item), reason, item.info.size, item.info.version, transient)

    def _name(self, item: _Pending) -> str:
        return item.info.path.removeprefix(f"{self.folder}/")


def _length(wanted: ByteRange) -> int:
    return (wanted.end or 0) - wanted.start


def _storage_reason(error: StorageError) -> str:
    """Return why the storage withholds one object; raise an error that concerns the storage as a whole."""
    if isinstance(error, (StorageUnavailableError, CredentialsError)):
        raise error
    return error.problem
