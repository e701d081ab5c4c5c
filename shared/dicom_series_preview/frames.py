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
    scan,
    split_frames,
)
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_series_preview.index import Slice
    from dicom_series_preview.storage import Fetched, Storage

_LIMITS = Limits()


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
    storage: Storage, series: str, slices: Sequence[Slice], limits: Limits = _LIMITS
) -> Iterator[FrameBytes]:
    """Fetch the frames of some slices, each with one request; yields them as they come.

    Frames whose place only their whole object tells share one request for that object.

    Args:
        storage: The root the series lies in.
        series: The series' folder below it.
        slices: What to fetch, none twice.
        limits: How long a frame may be, and how far a deflated object is inflated.

    Raises:
        ObjectChangedError: An object is not the version that the index describes any more.
        StorageUnavailableError: The storage fails beyond every retry.
        CredentialsError: The credentials are refused, or no longer accepted.
    """
    waiting: dict[ByteRange, list[Slice]] = {}
    for item in slices:
        length = 0 if item.location is None else item.location.length
        if length > limits.frame_bytes:
            too_long = f"the frame takes {length:,} bytes, more than the limit of {limits.frame_bytes:,}"
            yield FrameBytes(item, b"", error=DecodeError(too_long))
            continue
        waiting.setdefault(_range(series, item), []).append(item)
    again: dict[ByteRange, list[Slice]] = {}
    for fetched in storage.fetch(waiting):
        for frame in _frames(fetched, waiting[fetched.range], limits):
            if isinstance(frame, FrameBytes):
                yield frame
            else:
                again.setdefault(replace(fetched.range, start=0, end=None), []).append(frame)
    for fetched in storage.fetch(again):
        frames = _frames(fetched, again[fetched.range], limits)
        yield from (frame for frame in frames if isinstance(frame, FrameBytes))


def _range(series: str, item: Slice) -> ByteRange:
    path = f"{series}/{item.file_name}"
    if item.location is None:
        return ByteRange(path, 0, None, item.object_version)
    start = item.location.offset
    return ByteRange(path, start, start + item.location.length, item.object_version)


def _frames(fetched: Fetched, slices: Sequence[Slice], limits: Limits) -> Iterator[FrameBytes | Slice]:
    """The frames in what came; a slice where its offset table is wrong: the whole object is needed."""
    error = fetched.error
    if isinstance(error, (ObjectChangedError, StorageUnavailableError, CredentialsError)):
        raise error
    if error is not None:
        yield from (FrameBytes(item, b"", error=error) for item in slices)
        return
    is_whole = fetched.range.start == 0 and fetched.range.end is None
    for item in slices:
        try:
            if is_whole:
                yield _from_whole(fetched.data, item, limits)
            elif item.pixels.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
                yield FrameBytes(item, fetched.data, _bit_offset(item))
            else:
                yield FrameBytes(item, fragments(fetched.data, one_of_many=_is_one_of_many(item)))
        except ObjectError as reason:
            yield item if _is_one_of_many(item) and not is_whole else FrameBytes(item, b"", error=reason)


def _is_one_of_many(item: Slice) -> bool:
    return item.pixels.number_of_frames > 1


def _bit_offset(item: Slice) -> int:
    """Where in its first byte a frame of 1-bit pixels begins (PS3.5 8.1.1)."""
    return (item.frame_number - 1) * item.pixels.native_frame_bits % 8


def _from_whole(data: bytes, item: Slice, limits: Limits) -> FrameBytes:
    """A frame out of its whole object: deflated, or encapsulated without an offset table that holds."""
    scanned = scan(data, len(data), limits)
    if isinstance(scanned, Incomplete) or scanned.pixels is None:
        raise DecodeError("the object has no pixels any more")
    pixels = scanned.pixels
    if (pixels.length is not None) != (scanned.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES):
        raise DecodeError("broken: its transfer syntax and its pixels disagree about being encapsulated")
    if pixels.length is not None:
        bits = item.pixels.native_frame_bits
        first = (item.frame_number - 1) * bits
        start, end = pixels.offset + first // 8, pixels.offset + (first + bits + 7) // 8
        # A deflated object is not inflated any further for a frame than a frame may be long.
        end = min(end, start + limits.frame_bytes)
        part = data_set_of(data, start, end) if scanned.deflated else data[start:end]
        return FrameBytes(item, part, first % 8)
    codestream = split_frames(data, pixels, item.pixels.number_of_frames)[item.frame_number - 1]
    if not codestream:
        raise HeaderError("cut off: the object ends inside the frame")
    return FrameBytes(item, codestream)
