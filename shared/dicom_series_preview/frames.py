"""Slices -> the bytes of their frames: plans the ranges, fetches one batch, hands out each frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview.errors import (
    CredentialsError,
    DecodeError,
    HeaderError,
    ObjectChangedError,
    ObjectError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.headers import (
    NATIVE_TRANSFER_SYNTAXES,
    Incomplete,
    data_set_of,
    fragments,
    locate_frames,
    scan,
)
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import ByteRange, InHand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dicom_series_preview.headers import FrameLocation
    from dicom_series_preview.index import Slice
    from dicom_series_preview.storage import Fetched, Storage

# A deflated object is not inflated any further for a frame than a frame may be long.
_LIMIT_BYTES = Limits().frame_bytes


@dataclass(frozen=True, slots=True)
class FrameBytes:
    """One frame's bytes, ready to be decoded.

    Attributes:
        slice: The slice it is.
        data: Native: the frame's bytes. Encapsulated: its codestream, fragments joined.
        bit_offset: Native 1-bit pixels: the bit of the first byte that the frame begins at.
        error: Why there are no bytes, or None.
    """

    slice: Slice
    data: bytes = field(repr=False)
    bit_offset: int = 0
    error: ObjectError | StorageError | None = None


def fetch_frames(
    storage: Storage,
    series: str,
    slices: Sequence[Slice],
    in_hand: InHand | None = None,
    located: Callable[[str, Sequence[FrameLocation]], None] = lambda _name, _locations: None,
) -> Iterator[FrameBytes]:
    """Fetch the frames of some slices, each with one request; yields them as they come.

    Frames whose place only their whole object tells share one request for that object. What came with the
    headers is not asked for.

    Args:
        storage: The root the series lies in.
        series: The series' folder below it.
        slices: What to fetch, none twice.
        in_hand: What came with the headers, or None.
        located: Called with an object's name and where its frames lie, when only the whole object told; each
            can then be fetched alone.

    Raises:
        ObjectChangedError: An object is not the version that the index describes any more.
        StorageUnavailableError: The storage fails beyond every retry.
        CredentialsError: The credentials are refused, or no longer accepted.
    """
    waiting: dict[ByteRange, list[Slice]] = {}
    for item in slices:
        waiting.setdefault(_range(series, item), []).append(item)
    again: dict[ByteRange, list[Slice]] = {}
    for fetched in _fetch(storage, waiting, in_hand or InHand()):
        for frame in _frames(fetched, waiting[fetched.range], located):
            if isinstance(frame, FrameBytes):
                yield frame
            else:
                again.setdefault(replace(fetched.range, start=0, end=None), []).append(frame)
    for fetched in storage.fetch(again):
        yield from (
            frame
            for frame in _frames(fetched, again[fetched.range], located)
            if isinstance(frame, FrameBytes)
        )


def _fetch(storage: Storage, ranges: Iterable[ByteRange], in_hand: InHand) -> Iterator[Fetched]:
    """What is in hand, then what the storage has."""
    missing = []
    for wanted in ranges:
        fetched = in_hand.fetch(wanted)
        if fetched is None:
            missing.append(wanted)
        else:
            yield fetched
    yield from storage.fetch(missing)


def _range(series: str, item: Slice) -> ByteRange:
    path = f"{series}/{item.file_name}"
    if item.location is None:
        return ByteRange(path, 0, None, item.object_version)
    start = item.location.offset
    return ByteRange(path, start, start + item.location.length, item.object_version)


def _frames(
    fetched: Fetched, slices: Sequence[Slice], located: Callable[[str, Sequence[FrameLocation]], None]
) -> Iterator[FrameBytes | Slice]:
    """The frames in what came; a slice where its offset table is wrong: the whole object is needed."""
    error = fetched.error
    if isinstance(error, (ObjectChangedError, StorageUnavailableError, CredentialsError)):
        raise error
    if error is not None:
        yield from (FrameBytes(item, b"", error=error) for item in slices)
        return
    is_whole = fetched.range.start == 0 and fetched.range.end is None
    whole = _Whole(fetched.data)
    for item in slices:
        try:
            if is_whole:
                yield whole.frame(item)
            elif item.pixels.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
                yield FrameBytes(item, fetched.data, _bit_offset(item))
            else:
                yield FrameBytes(item, fragments(fetched.data, one_of_many=_is_one_of_many(item)))
        except ObjectError as reason:
            yield item if _is_one_of_many(item) and not is_whole else FrameBytes(item, b"", error=reason)
    if whole.is_located:
        located(slices[0].file_name, whole.locations)


def _is_one_of_many(item: Slice) -> bool:
    return item.pixels.number_of_frames > 1


def _bit_offset(item: Slice) -> int:
    """Where in its first byte a frame of 1-bit pixels begins (PS3.5 8.1.1)."""
    return (item.frame_number - 1) * item.pixels.native_frame_bits % 8


@dataclass(slots=True)
class _Whole:
    """A whole object: deflated, or encapsulated without an offset table that holds.

    Attributes:
        data: Its bytes.
        locations: Where the frames of an encapsulated object lie; found once, for the first frame.
    """

    data: bytes
    locations: tuple[FrameLocation, ...] = ()

    def frame(self, item: Slice) -> FrameBytes:
        """One of its frames."""
        if not self.locations:
            scanned = scan(self.data, len(self.data))
            if isinstance(scanned, Incomplete) or scanned.pixels is None:
                raise DecodeError("the object has no pixels any more")
            pixels = scanned.pixels
            if (pixels.length is not None) != (scanned.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES):
                raise DecodeError(
                    "broken: its transfer syntax and its pixels disagree about being encapsulated"
                )
            if pixels.length is not None:
                return self._native(item, pixels.offset, deflated=scanned.deflated)
            self.locations = locate_frames(self.data, pixels, item.pixels.number_of_frames)
        location = self.locations[item.frame_number - 1]
        end = location.offset + location.length
        if end > len(self.data):
            raise HeaderError("cut off: the object ends inside the frame")
        return FrameBytes(item, fragments(self.data[location.offset : end]))

    @property
    def is_located(self) -> bool:
        """Whether the locations hold for fetching each frame alone."""
        return bool(self.locations) and self.locations[-1].offset + self.locations[-1].length <= len(
            self.data
        )

    def _native(self, item: Slice, offset: int, *, deflated: bool) -> FrameBytes:
        bits = item.pixels.native_frame_bits
        first = (item.frame_number - 1) * bits
        start, end = offset + first // 8, offset + (first + bits + 7) // 8
        end = min(end, start + _LIMIT_BYTES)
        part = data_set_of(self.data, start, end) if deflated else self.data[start:end]
        return FrameBytes(item, part, first % 8)
