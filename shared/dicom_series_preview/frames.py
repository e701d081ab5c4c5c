"""Slices -> the bytes of their frames: plans the ranges, fetches one batch, hands out each frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview.errors import (
    AccessDeniedError,
    DecodeError,
    ObjectError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.headers import (
    DEFLATED_LITTLE_ENDIAN,
    Incomplete,
    data_set_of,
    fragments,
    native_frame_bits,
    scan,
    split_frames,
)
from dicom_series_preview.storage import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_series_preview.headers import PixelDescription
    from dicom_series_preview.index import Slice
    from dicom_series_preview.storage import Fetched, Storage

_NATIVE = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED_LITTLE_ENDIAN)
)


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


def fetch_frames(storage: Storage, series: str, slices: Sequence[Slice]) -> Iterator[FrameBytes]:
    """Fetch the frames of some slices, each with one request; yields them as they come.

    Frames whose place only their whole object tells share one request for that object.

    Args:
        storage: The root the series lies in.
        series: The series' folder below it.
        slices: What to fetch, none twice.

    Raises:
        ObjectChangedError: An object is not the version that the index describes any more.
        StorageUnavailableError: The storage fails beyond every retry.
    """
    waiting: dict[ByteRange, list[Slice]] = {}
    for item in slices:
        waiting.setdefault(_range(series, item), []).append(item)
    again: dict[ByteRange, list[Slice]] = {}
    for fetched in storage.fetch(waiting):
        for frame in _frames(fetched, waiting[fetched.range]):
            if frame is None:
                whole = replace(fetched.range, start=0, end=None)
                again.setdefault(whole, []).extend(waiting[fetched.range])
            else:
                yield frame
    for fetched in storage.fetch(again):
        yield from (frame for frame in _frames(fetched, again[fetched.range]) if frame is not None)


def _range(series: str, item: Slice) -> ByteRange:
    path = f"{series}/{item.file_name}"
    if item.location is None:
        return ByteRange(path, 0, None, item.object_version)
    start = item.location.offset
    return ByteRange(path, start, start + item.location.length, item.object_version)


def _frames(fetched: Fetched, slices: Sequence[Slice]) -> Iterator[FrameBytes | None]:
    """The frames in what came; None where the offset table was wrong and the whole object is needed."""
    error = fetched.error
    if isinstance(error, (AccessDeniedError, ObjectNotFoundError)):
        yield from (FrameBytes(item, b"", error=error) for item in slices)
        return
    if error is not None:
        raise error
    is_whole = fetched.range.start == 0 and fetched.range.end is None
    for item in slices:
        try:
            if is_whole:
                yield _from_whole(fetched.data, item)
            elif item.pixels.transfer_syntax_uid in _NATIVE:
                yield FrameBytes(item, fetched.data, _bit_offset(item))
            elif item.pixels.number_of_frames > 1 and not fetched.data.startswith(b"\xfe\xff\x00\xe0"):
                yield None
            else:
                yield FrameBytes(item, fragments(fetched.data))
        except ObjectError as reason:
            yield FrameBytes(item, b"", error=reason)


def _bit_offset(item: Slice) -> int:
    """Where in its first byte a frame of 1-bit pixels begins (PS3.5 8.1.1)."""
    return (item.frame_number - 1) * _frame_bits(item.pixels) % 8


def _frame_bits(pixels: PixelDescription) -> int:
    return native_frame_bits(
        pixels.rows * pixels.columns,
        pixels.samples_per_pixel,
        pixels.bits_allocated,
        pixels.photometric_interpretation,
    )


def _from_whole(data: bytes, item: Slice) -> FrameBytes:
    """A frame out of its whole object: deflated, or encapsulated without an offset table that holds."""
    scanned = scan(data, len(data))
    if isinstance(scanned, Incomplete) or scanned.pixels is None:
        raise DecodeError("the object has no pixels any more")
    pixels = scanned.pixels
    if pixels.length is not None:
        content = data_set_of(data) if scanned.deflated else data
        bits = _frame_bits(item.pixels)
        first = (item.frame_number - 1) * bits
        start, end = pixels.offset + first // 8, pixels.offset + (first + bits + 7) // 8
        return FrameBytes(item, content[start:end], first % 8)
    return FrameBytes(item, split_frames(data, pixels, item.pixels.number_of_frames)[item.frame_number - 1])
