"""Stream a series' slices, fetched and decoded to stored values, in the order of arrival.

Memory holds a few frames at a time, however many slices there are. If a codec lets other threads run, several
frames are decoded at once (docs/decisions/0011).
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from dicom_series_preview.base.errors import ObjectError, StorageError
from dicom_series_preview.pixels.assemble import assemble
from dicom_series_preview.pixels.canvas import Wanted
from dicom_series_preview.pixels.codecs.frame import decode_frame, decoded_bytes
from dicom_series_preview.pixels.codecs.registry import is_parallel
from dicom_series_preview.pixels.frames import fetch_frames
from dicom_series_preview.pixels.overlays import overlay_of
from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice, FrameBytes, unended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.frames import FetchOptions
    from dicom_series_preview.sources.storage.base import Storage

WORKERS = min(4, os.cpu_count() or 1)
"""Frames to decode at once."""
# The largest frame to decode beside others, in decoded bytes: several larger ones could be too much.
_PARALLEL_BYTES = 16 * 2**20

Arrived: TypeAlias = FrameBytes | DecodedSlice | FailedSlice
"""A slice that has arrived: to be decoded, or assembled from decoded frames."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class SliceReader:
    """The values needed to read slices of one series.

    Attributes:
        storage: The series' root.
        series: The series' folder below it.
        index: Its index, which knows the parts of assembled slices.
        options: See `fetch_frames`; the limits also apply to decoding.
        check: Called for each frame on arrival; raises to end the stream, such as LimitError.
        reduction: Returns the reduction allowed for the frames of an assembled slice.
        workers: Threads that decode; with one, the caller's thread decodes.
    """

    storage: Storage
    series: str
    index: Index
    options: FetchOptions
    check: Callable[[], None] = lambda: None
    reduction: Callable[[Slice], int] = lambda _item: 1
    workers: int = WORKERS


def read_slices(
    reader: SliceReader, slices: Sequence[Slice], work: Callable[[DecodedSlice | FailedSlice], _Result]
) -> Iterator[tuple[Arrived, _Result]]:
    """Fetch slices, decode each, and do some work on it; yield the results in any order.

    Args:
        reader: Reads the slices.
        slices: The slices, each once.
        work: Called with each slice, in the thread that has decoded it, while others are decoded; only its
            result is kept.

    Yields:
        Each slice as it arrived, and the work's result for it.

    Raises:
        ObjectChangedError: An object has changed since it was indexed.
        StorageUnavailableError: The storage fails beyond every retry.
        CredentialsError: The credentials are refused, or no longer accepted.
    """
    yield from decode_each(reader, arriving(reader, slices), work)


def arriving(reader: SliceReader, slices: Sequence[Slice]) -> Iterator[Arrived]:
    """Fetch slices and yield them on arrival; assembled ones are already decoded."""

    def fetch(items: Sequence[Slice]) -> Iterator[FrameBytes]:
        for fetched in fetch_frames(reader.storage, reader.series, items, reader.options):
            reader.check()
            yield fetched

    yield from fetch([item for item in slices if not item.part_rows])
    wanted = [
        Wanted(item, reader.index.parts(item), reader.reduction(item)) for item in slices if item.part_rows
    ]
    yield from assemble(fetch, wanted, reader.options.limits.frame_bytes)


def decode_each(
    reader: SliceReader, arrived: Iterable[Arrived], work: Callable[[DecodedSlice | FailedSlice], _Result]
) -> Iterator[tuple[Arrived, _Result]]:
    """Decode slices that have arrived, and do some work on each; see `read_slices`.

    At most one slice more than there are threads waits. Slices that are not for threads overtake those that
    are.
    """
    limit_bytes = reader.options.limits.frame_bytes
    with ThreadPoolExecutor(reader.workers, thread_name_prefix="decode") as pool:
        running: deque[tuple[Arrived, Future[_Result]]] = deque()
        for one in arrived:
            if reader.workers == 1 or not _is_for_threads(one):
                yield one, work(_decoded(one, limit_bytes))
                continue
            running.append((one, pool.submit(_worked, one, limit_bytes, work)))
            if len(running) > reader.workers:
                first, future = running.popleft()
                yield first, future.result()
        while running:
            first, future = running.popleft()
            yield first, future.result()


def _is_for_threads(one: Arrived) -> bool:
    """Return True where a slice's codec lets other threads run, and the slice is small enough for several."""
    return (
        isinstance(one, FrameBytes)
        and one.error is None
        and is_parallel(one.slice.pixels)
        and decoded_bytes(one.slice.pixels) <= _PARALLEL_BYTES
    )


def _worked(one: Arrived, limit_bytes: int, work: Callable[[DecodedSlice | FailedSlice], _Result]) -> _Result:
    return work(_decoded(one, limit_bytes))


def _decoded(one: Arrived, limit_bytes: int) -> DecodedSlice | FailedSlice:
    """Decode a slice with its overlay, unless that is done."""
    if not isinstance(one, FrameBytes):
        return one
    item = one.slice
    if one.error is not None:
        return FailedSlice(item, one.error)
    try:
        decoded = decode_frame(one.data, item.pixels, bit_offset=one.bit_offset, limit_bytes=limit_bytes)
        overlay = overlay_of(one, limit_bytes)
    except (ObjectError, StorageError) as error:
        return FailedSlice(item, error)
    if not decoded.lossless and item.contrast.pixel_padding_value is not None:
        # Lossy compression turns some padding into other values, and some of the image into this one
        # (C.7.5.1.1.2).
        item = replace(item, contrast=replace(item.contrast, pixel_padding_value=None))
    remarks = (*one.remarks, *decoded.remarks, *unended(item, decoded))
    return DecodedSlice(item, decoded, overlay, remarks=remarks)
