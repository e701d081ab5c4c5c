"""Slices -> the bytes of their frames: plans the ranges, fetches one batch, hands out each frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview.errors import (
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
    scan,
    split_frames,
)
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_series_preview.headers import PixelElement, Scan
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
        header: The object's first bytes, at least up to its pixels, where overlays lie in them; else empty.
        error: Why there are no bytes, or None.
    """

    slice: Slice
    data: bytes = field(repr=False)
    bit_offset: int = 0
    header: bytes = field(default=b"", repr=False)
    error: ObjectError | StorageError | None = None


def fetch_frames(storage: Storage, series: str, slices: Sequence[Slice]) -> Iterator[FrameBytes]:
    """Fetch the frames of some slices, each with one request; yields them as they come.

    Frames whose place only their whole object tells share one request for that object. Where a slice has
    overlays in its header, the request for its frame begins at the object's first byte; the frames of an
    object with several share one more request, for what comes before the first of them.

    Args:
        storage: The root the series lies in.
        series: The series' folder below it.
        slices: What to fetch, none twice.

    Raises:
        ObjectChangedError: An object is not the version that the index describes any more.
        StorageUnavailableError: The storage fails beyond every retry.
    """
    headers = {fetched.range.path: fetched for fetched in storage.fetch(_header_ranges(series, slices))}
    waiting: dict[ByteRange, list[Slice]] = {}
    for item in slices:
        waiting.setdefault(_range(series, item), []).append(item)
    again: dict[ByteRange, list[Slice]] = {}
    for fetched in storage.fetch(waiting):
        for frame in _frames(fetched, waiting[fetched.range], headers.get(fetched.range.path, fetched)):
            if isinstance(frame, FrameBytes):
                yield frame
            else:
                again.setdefault(replace(fetched.range, start=0, end=None), []).append(frame)
    for fetched in storage.fetch(again):
        yield from (
            frame
            for frame in _frames(fetched, again[fetched.range], fetched)
            if isinstance(frame, FrameBytes)
        )


def _header_ranges(series: str, slices: Sequence[Slice]) -> Iterator[ByteRange]:
    """What comes before the pixels in objects with overlays there and frames that lie apart from it."""
    for item in {item.file_name: item for item in slices}.values():
        if item.location is not None and _needs_header(item) and _is_one_of_many(item):
            yield ByteRange(f"{series}/{item.file_name}", 0, item.header_length, item.object_version)


def _needs_header(item: Slice) -> bool:
    return any(plane.bit_position is None for plane in item.overlays)


def _range(series: str, item: Slice) -> ByteRange:
    path = f"{series}/{item.file_name}"
    if item.location is None:
        return ByteRange(path, 0, None, item.object_version)
    start = item.location.offset
    with_header = _needs_header(item) and not _is_one_of_many(item)
    return ByteRange(path, 0 if with_header else start, start + item.location.length, item.object_version)


def _frames(fetched: Fetched, slices: Sequence[Slice], head: Fetched) -> Iterator[FrameBytes | Slice]:
    """The frames in what came; a slice where its offset table is wrong: the whole object is needed.

    Args:
        fetched: What came.
        slices: What it was fetched for.
        head: What holds the object's header, if anything does.
    """
    error = fetched.error or head.error
    if isinstance(error, (ObjectChangedError, StorageUnavailableError)):
        raise error
    if error is not None:
        yield from (FrameBytes(item, b"", error=error) for item in slices)
        return
    is_whole = fetched.range.start == 0 and fetched.range.end is None
    whole = _Whole(fetched.data)
    for item in slices:
        try:
            frame = whole.frame(item) if is_whole else _from_part(fetched, item)
            yield replace(frame, header=head.data) if _needs_header(item) else frame
        except ObjectError as reason:
            yield item if _is_one_of_many(item) and not is_whole else FrameBytes(item, b"", error=reason)


def _from_part(fetched: Fetched, item: Slice) -> FrameBytes:
    """A frame out of a range that ends with it, and may begin before it."""
    before = item.location.offset - fetched.range.start if item.location is not None else 0
    data = fetched.data[before:] if before else fetched.data
    if item.pixels.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
        return FrameBytes(item, data, _bit_offset(item))
    return FrameBytes(item, fragments(data, one_of_many=_is_one_of_many(item)))


def _is_one_of_many(item: Slice) -> bool:
    return item.pixels.number_of_frames > 1


def _bit_offset(item: Slice) -> int:
    """Where in its first byte a frame of 1-bit pixels begins (PS3.5 8.1.1)."""
    return (item.frame_number - 1) * item.pixels.native_frame_bits % 8


@dataclass(slots=True)
class _Whole:
    """A whole object that frames are taken out of: deflated, or encapsulated without a true offset table.

    Attributes:
        data: The object.
        scanned: Its header, once it has been read.
        codestreams: Those of its frames, once one has been asked for.
    """

    data: bytes
    scanned: Scan | None = None
    codestreams: list[bytes] = field(default_factory=list)

    def frame(self, item: Slice) -> FrameBytes:
        """One of its frames.

        Raises:
            ObjectError: It is not there.
        """
        pixels, scanned = self._pixels()
        if (pixels.length is not None) != (scanned.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES):
            raise DecodeError("broken: its transfer syntax and its pixels disagree about being encapsulated")
        if pixels.length is not None:
            bits = item.pixels.native_frame_bits
            first = (item.frame_number - 1) * bits
            start, end = pixels.offset + first // 8, pixels.offset + (first + bits + 7) // 8
            end = min(end, start + _LIMIT_BYTES)
            part = data_set_of(self.data, start, end) if scanned.deflated else self.data[start:end]
            return FrameBytes(item, part, first % 8)
        if not self.codestreams:
            self.codestreams = split_frames(self.data, pixels, item.pixels.number_of_frames)
        codestream = self.codestreams[item.frame_number - 1]
        if not codestream:
            raise HeaderError("cut off: the object ends inside the frame")
        return FrameBytes(item, codestream)

    def _pixels(self) -> tuple[PixelElement, Scan]:
        scanned = self.scanned or scan(self.data, len(self.data))
        if isinstance(scanned, Incomplete) or scanned.pixels is None:
            raise DecodeError("the object has no pixels any more")
        self.scanned = scanned
        return scanned.pixels, scanned
