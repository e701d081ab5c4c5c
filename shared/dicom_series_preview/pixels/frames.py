"""Fetch the bytes of slices: plan the ranges, fetch one batch, yield each frame on arrival."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import (
    CredentialsError,
    DecodeError,
    ObjectChangedError,
    ObjectError,
    StorageUnavailableError,
)
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.extract import frame_from_range, is_one_of_many
from dicom_series_preview.pixels.slices import FrameBytes
from dicom_series_preview.sources.storage.base import ByteRange, path_below
from dicom_series_preview.sources.storage.in_flight import IN_FLIGHT_BYTES, InFlight
from dicom_series_preview.sources.storage.prefetched import Prefetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.storage.base import Fetched, Storage

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Options for fetching frames.

    Attributes:
        prefetched: The bytes that arrived with the headers.
        located: Called with an object's name and its frames' places, if only the whole object showed them;
            each can then be fetched alone.
        limits: The longest frame, and the most bytes of an inflated object.
        joined_bytes: Frames that follow each other in an object share requests of up to so many bytes; 0:
            each frame has its own.
        in_flight_bytes: Bytes requested and not yet taken, at most, unless one range has more.
    """

    prefetched: Prefetched = field(default_factory=Prefetched)
    located: Callable[[str, Sequence[FrameLocation]], None] = lambda _name, _locations: None
    limits: Limits = _LIMITS
    joined_bytes: int = 0
    in_flight_bytes: int = IN_FLIGHT_BYTES


def fetch_frames(
    storage: Storage, series: str, slices: Sequence[Slice], options: FetchOptions | None = None
) -> Iterator[FrameBytes]:
    """Fetch the frames of slices, each with one request unless they are joined; yield them on arrival.

    Frames whose place only the whole object shows share one request for that object. If a slice has overlays
    in its header, the request for its frame begins at the object's first byte; the frames of an object with
    several share one more request, for the bytes before the first of them. Prefetched bytes are not
    requested. In flight is one range, or as many as fit the memory for them.

    Args:
        storage: The series' root.
        series: The series' folder below it.
        slices: The slices, each once.
        options: The options.

    Raises:
        ObjectChangedError: An object has changed since it was indexed.
        StorageUnavailableError: The storage fails beyond every retry.
        CredentialsError: The credentials are refused, or no longer accepted.
    """
    options = options or FetchOptions()
    limit = options.limits.frame_bytes
    header_ranges = {wanted: item.header_length for wanted, item in _header_ranges(series, slices)}
    headers = {fetched.range.path: fetched for fetched in _fetch(storage, header_ranges, options.prefetched)}
    waiting: dict[ByteRange, list[Slice]] = {}
    joined = _joined(series, slices, min(options.joined_bytes, limit))
    for item in slices:
        length = 0 if item.location is None else item.location.length
        if length > limit:
            too_long = f"the frame has {length:,} bytes, more than the limit of {limit:,}"
            yield FrameBytes(item, b"", error=DecodeError(too_long))
            continue
        own = _range(series, item)
        waiting.setdefault(joined.get(own, own), []).append(item)
    again: dict[ByteRange, list[Slice]] = {}
    lengths = {wanted: _length(wanted, items[0]) for wanted, items in waiting.items()}
    for fetched in _fetch(storage, lengths, options.prefetched, InFlight(options.in_flight_bytes)):
        head = headers.get(fetched.range.path, fetched)
        for frame in _frames(fetched, waiting[fetched.range], head, options):
            if isinstance(frame, FrameBytes):
                yield frame
            else:
                again.setdefault(replace(fetched.range, start=0, end=None), []).append(frame)
    lengths = {wanted: _length(wanted, items[0]) for wanted, items in again.items()}
    for fetched in _fetch(storage, lengths, Prefetched()):
        frames = _frames(fetched, again[fetched.range], fetched, options)
        yield from (frame for frame in frames if isinstance(frame, FrameBytes))


def request_count(slices: Sequence[Slice], joined_bytes: int = 0) -> int:
    """Return how many requests `fetch_frames` takes for slices where offset tables are right."""
    joined = _joined("", slices, joined_bytes)
    own = {_range("", item) for item in slices}
    return len({joined.get(one, one) for one in own})


def _joined(series: str, slices: Sequence[Slice], most: int) -> dict[ByteRange, ByteRange]:
    """Return the longer range that each frame's is a part of, of frames that follow each other."""
    alone = [item for item in slices if item.location is not None and is_one_of_many(item)] if most else []
    runs: list[list[ByteRange]] = []
    for wanted in sorted({_range(series, item) for item in alone if not item.overlays}, key=_place):
        if runs and _follows(runs[-1][-1], wanted) and (wanted.end or 0) - runs[-1][0].start <= most:
            runs[-1].append(wanted)
        else:
            runs.append([wanted])
    return {one: replace(run[0], end=run[-1].end) for run in runs for one in run}


def _place(wanted: ByteRange) -> tuple[str, int]:
    return wanted.path, wanted.start


def _follows(before: ByteRange, wanted: ByteRange) -> bool:
    return (before.path, before.version, before.end) == (wanted.path, wanted.version, wanted.start)


def _fetch(
    storage: Storage, lengths: dict[ByteRange, int], prefetched: Prefetched, in_flight: InFlight | None = None
) -> Iterator[Fetched]:
    """Yield prefetched answers, then the storage's, with limited bytes in flight."""
    missing = {}
    for wanted, length in lengths.items():
        fetched = prefetched.fetch(wanted)
        if fetched is None:
            missing[wanted] = length
        else:
            yield fetched
    ranges = _Ranges(missing, in_flight or InFlight())
    for fetched in storage.fetch(ranges) if missing else ():
        yield fetched
        ranges.taken(fetched.range)


class _Ranges:
    """Yields ranges while there is room for their bytes, and goes on when some were taken."""

    def __init__(self, lengths: dict[ByteRange, int], in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._lengths = lengths
        self._left = deque(lengths)

    def __iter__(self) -> Iterator[ByteRange]:
        return self

    def __next__(self) -> ByteRange:
        if not (self._left and self._in_flight.take(self._lengths[self._left[0]])):
            raise StopIteration
        return self._left.popleft()

    def taken(self, done: ByteRange) -> None:
        """Make room: the bytes of a range are no longer held here."""
        self._in_flight.give_back(self._lengths[done])


def _length(wanted: ByteRange, item: Slice) -> int:
    return (item.object_size if wanted.end is None else wanted.end) - wanted.start


def _header_ranges(series: str, slices: Sequence[Slice]) -> Iterator[tuple[ByteRange, Slice]]:
    """Yield the ranges before the pixels of objects with overlays there, and several frames."""
    for item in {item.file_name: item for item in slices}.values():
        if item.location is not None and _needs_header(item) and is_one_of_many(item):
            path = path_below(series, item.file_name)
            yield ByteRange(path, 0, item.header_length, item.object_version), item


def _needs_header(item: Slice) -> bool:
    return any(plane.bit_position is None for plane in item.overlays)


def _range(series: str, item: Slice) -> ByteRange:
    path = path_below(series, item.file_name)
    if item.location is None:
        return ByteRange(path, 0, None, item.object_version)
    start = item.location.offset
    with_header = _needs_header(item) and not is_one_of_many(item)
    return ByteRange(path, 0 if with_header else start, start + item.location.length, item.object_version)


def _frames(
    fetched: Fetched, slices: Sequence[Slice], head: Fetched, options: FetchOptions
) -> Iterator[FrameBytes | Slice]:
    """Yield the frames in an answer; or a slice with a wrong offset table, which needs the whole object.

    Args:
        fetched: The answer.
        slices: The slices that it is for.
        head: The answer with the object's header, if any.
        options: See `fetch_frames`.
    """
    error = fetched.error or head.error
    if isinstance(error, (ObjectChangedError, StorageUnavailableError, CredentialsError)):
        raise error
    if error is not None:
        yield from (FrameBytes(item, b"", error=error) for item in slices)
        return
    if fetched.range.start == 0 and fetched.range.end is None:
        yield from _frames_of_whole(fetched, slices, head, options)
        return
    for item in slices:
        try:
            yield _with_header(frame_from_range(fetched, item), head)
        except ObjectError as reason:
            yield item if is_one_of_many(item) else FrameBytes(item, b"", error=reason)


def _frames_of_whole(
    fetched: Fetched, slices: Sequence[Slice], head: Fetched, options: FetchOptions
) -> Iterator[FrameBytes]:
    """Yield the frames in a whole object."""
    from dicom_series_preview.pixels.whole_object import WholeObject  # noqa: PLC0415 - loads what reads headers

    whole = WholeObject(fetched.data, options.limits)
    for item in slices:
        try:
            yield _with_header(whole.frame(item), head)
        except ObjectError as reason:
            yield FrameBytes(item, b"", error=reason)
    if whole.is_located:
        options.located(slices[0].file_name, whole.locations)


def _with_header(frame: FrameBytes, head: Fetched) -> FrameBytes:
    """Give a frame its object's header, where overlays lie in it."""
    return replace(frame, header=head.data) if _needs_header(frame.slice) else frame
