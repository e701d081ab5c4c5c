"""Slices -> tiles: frame by frame is fetched, decoded, painted and dropped, so that memory stays bounded.

What a contrast has to know of all slices before it can show one (the statistics of an automatic window) is
gathered in a pass of its own. Frames wait for the second pass within a budget; those beyond it are fetched
again.

Frames whose codec lets other threads run are decoded and painted several at once (docs/decisions/0011).
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from dicom_series_preview.base.errors import DecodeError, ObjectError, StorageError
from dicom_series_preview.base.image import Contrast
from dicom_series_preview.pixels.assemble import Gaps, Wanted, assemble, unended
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.codecs.frame import decode_frame, decoded_bytes
from dicom_series_preview.pixels.codecs.registry import is_parallel
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.modality import modality_values, padding_mask
from dicom_series_preview.pixels.contrast.render import render
from dicom_series_preview.pixels.contrast.resolve import COLOUR, Applied, resolve
from dicom_series_preview.pixels.frames import FrameBytes, fetch_frames
from dicom_series_preview.pixels.reduced import area_of, level_reduction
from dicom_series_preview.products.pictures.layout import Tile, draw_overlay, failed_tile, resize
from dicom_series_preview.products.pictures.overlays import Overlay, overlay_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.read import Slice
    from dicom_series_preview.pixels.codecs.decoded import Decoded
    from dicom_series_preview.pixels.contrast.spec import ContrastSpec
    from dicom_series_preview.pixels.frames import FetchOptions
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.sources.storage.base import Storage

_WHITE = 255
# What frames may take that wait for the statistics of all.
_WAITING_BYTES = 128 * 2**20
# Frames that are decoded at once, and what each of them may have decoded: larger ones go one by one.
_WORKERS, _PARALLEL_BYTES = min(4, os.cpu_count() or 1), 16 * 2**20


@dataclass(frozen=True, slots=True)
class Cell:
    """One slice under one contrast.

    Attributes:
        tile: What is shown, or None where there is an error.
        applied: The contrast that is applied, or None where there is an error.
        ends: Of a grey slice under a view of its file's own: its pixels, and how many of them are shown at
            the dark and at the bright end.
        error: Why it cannot be shown, or None.
    """

    tile: Tile | None
    applied: Applied | None
    error: ObjectError | StorageError | None = None
    ends: tuple[int, int, int] = (0, 0, 0)


Cells: TypeAlias = tuple[Cell, ...]
"""One slice under each of a picture's contrasts."""


@dataclass(frozen=True, slots=True)
class Painted:
    """A slice's cells, and what a viewer should know of it.

    Attributes:
        cells: The slice under each of the picture's contrasts.
        remarks: What a viewer should know of its codestreams, and of its gaps.
        failed_frames: How many frames of such a slice cannot be shown.
        overlay_warnings: Which overlay planes are left out, and why.
    """

    cells: Cells
    remarks: tuple[str, ...] = ()
    failed_frames: int = 0
    overlay_warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _DecodedFrame:
    """A slice's stored values, what is missing of them, drawn over them, and to be known of them."""

    slice: Slice
    decoded: Decoded = field(repr=False)
    overlay: Overlay = field(default_factory=Overlay, repr=False)
    gaps: Gaps | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()


_Frame: TypeAlias = FrameBytes | _DecodedFrame
_Result = TypeVar("_Result")


def paint(
    storage: Storage,
    plan: Plan,
    options: FetchOptions,
    waiting_bytes: int = _WAITING_BYTES,
    workers: int = _WORKERS,
) -> dict[int, Painted]:
    """Fetch and paint the slices of a picture.

    Args:
        storage: The root the series lies in.
        plan: The slices and what they are shown with.
        options: See `fetch_frames`; its limits also hold for decoding.
        waiting_bytes: What frames may take that wait for the statistics of all.
        workers: Threads that decode and paint.

    Returns:
        The slices by row of the index. They depend on the slices alone, and not on the order in which the
        storage answers.

    Raises:
        ObjectChangedError: An object is not the version that was planned any more.
        StorageUnavailableError: The storage fails beyond every retry.
        CredentialsError: The credentials are refused, or no longer accepted.
        LimitError: It takes longer than the request may.
    """

    def fetch(slices: Sequence[Slice]) -> Iterator[FrameBytes]:
        for fetched in fetch_frames(storage, plan.opened.name, slices, options):
            plan.watch.check()
            yield fetched

    return dict(_Painter(fetch, plan, options.limits.frame_bytes, workers).painted(waiting_bytes))


def values(storage: Storage, plan: Plan, options: FetchOptions) -> NDArray[Any]:
    """Fetch the first slice of a picture, whole: its modality values, (rows, columns); RGB of colour.

    Raises:
        PreviewError: As `paint`; or it cannot be decoded.
    """
    item = plan.slices[0]
    if item.contrast.content.is_labelmap:
        # Whatever colours labels have, they are for pictures.
        grey = replace(item.pixels, photometric_interpretation="MONOCHROME2", palette=None)
        item = replace(item, pixels=grey, contrast=Contrast())
    whole = replace(plan, slices=[item], tile=(item.pixels.columns, item.pixels.rows))

    def fetch(slices: Sequence[Slice]) -> Iterator[FrameBytes]:
        yield from fetch_frames(storage, plan.opened.name, slices, options)

    return _Painter(fetch, whole, options.limits.frame_bytes, 1).values()


class _Painter:
    """Paints the slices of one picture."""

    def __init__(
        self,
        fetch: Callable[[Sequence[Slice]], Iterator[FrameBytes]],
        plan: Plan,
        limit_bytes: int,
        workers: int,
    ) -> None:
        self._fetch = fetch
        self._plan = plan
        self._limit_bytes = limit_bytes
        self._workers = workers
        self._pooled = AutoWindow()

    def painted(self, waiting_bytes: int) -> Iterator[tuple[int, Painted]]:
        """Yield each slice's row in the index, and what it looks like."""
        pooled = self._plan.pooled
        rows = {item.row for item in pooled}
        yield from self._paint(self._frames([item for item in self._plan.slices if item.row not in rows]))
        waiting = self._gather(pooled, waiting_bytes)
        yield from self._paint(waiting)
        rows -= {frame.slice.row for frame in waiting}
        waiting.clear()
        yield from self._paint(self._frames([item for item in pooled if item.row in rows]))

    def values(self) -> NDArray[Any]:
        """The modality values of the one slice, or its colours."""
        (frame,) = self._frames(self._plan.slices)
        whole = self._decoded(frame)
        if is_colour(whole.slice.pixels):
            return to_rgb(whole.decoded, whole.slice.pixels)
        return modality_values(whole.decoded.samples, whole.slice.contrast)

    def _frames(self, slices: Sequence[Slice]) -> Iterator[_Frame]:
        """The frames of slices, and slices that are put together of frames."""
        yield from self._fetch([item for item in slices if not item.part_rows])
        index = self._plan.index
        wanted = [
            Wanted(item, index.parts(item), level_reduction(item, self._plan.size(item)))
            for item in slices
            if item.part_rows
        ]
        for made in assemble(self._fetch, wanted, self._limit_bytes):
            if made.decoded is None:
                yield FrameBytes(made.slice, b"", error=made.error)
            else:
                yield _DecodedFrame(made.slice, made.decoded, gaps=made.gaps, remarks=made.remarks)

    def _gather(self, slices: Sequence[Slice], room: int) -> list[_Frame]:
        """Pool the values of slices.

        Returns:
            The frames that are kept, and those that failed. Where not all can be kept decoded, each is in its
            smaller form.
        """
        kept: list[_Frame] = []
        for_all = sum(decoded_bytes(item.pixels) for item in slices) <= room
        for frame, whole in self._mapped(self._decoded_or_failed, self._frames(slices)):
            if isinstance(whole, FrameBytes):
                kept.append(whole)
                continue
            samples = whole.decoded.samples
            # A broken lookup table has no values to pool; rendering the slice says so.
            with suppress(DecodeError):
                self._pooled.add(whole.gaps.known(samples) if whole.gaps else samples, whole.slice.contrast)
            is_smaller = isinstance(frame, FrameBytes) and len(frame.data) < samples.nbytes
            keep = frame if is_smaller and not for_all else whole
            size = len(keep.data) if isinstance(keep, FrameBytes) else samples.nbytes
            if size <= room:
                room -= size
                kept.append(keep)
        return kept

    def _paint(self, frames: Iterable[_Frame]) -> Iterator[tuple[int, Painted]]:
        for frame, painted in self._mapped(self._painted, frames):
            yield frame.slice.row, painted

    def _mapped(
        self, function: Callable[[_Frame], _Result], frames: Iterable[_Frame]
    ) -> Iterator[tuple[_Frame, _Result]]:
        """Call a function for each frame, in as many threads as there are workers where that takes less time.

        One frame more waits for whichever worker is ready first; no others do. Frames that are not for
        threads overtake those that are.
        """
        with ThreadPoolExecutor(self._workers, thread_name_prefix="paint") as pool:
            running: deque[tuple[_Frame, Future[_Result]]] = deque()
            for frame in frames:
                if not self._is_parallel(frame):
                    yield frame, function(frame)
                    continue
                running.append((frame, pool.submit(function, frame)))
                if len(running) > self._workers:
                    first, future = running.popleft()
                    yield first, future.result()
            while running:
                first, future = running.popleft()
                yield first, future.result()

    def _is_parallel(self, frame: _Frame) -> bool:
        """Whether a frame is for threads: it is decoded whole, by a codec that lets others run."""
        return (
            self._workers > 1
            and isinstance(frame, FrameBytes)
            and frame.error is None
            and is_parallel(frame.slice.pixels)
            and decoded_bytes(frame.slice.pixels) <= _PARALLEL_BYTES
        )

    def _painted(self, frame: _Frame) -> Painted:
        """A slice's cells, and what is to be known of them."""
        try:
            whole = self._decoded(frame)
        except (ObjectError, StorageError) as error:
            return Painted(tuple(Cell(None, None, error) for _ in self._plan.shape.contrasts))
        cells, opacity, gaps = self._cells(whole), whole.overlay.opacity, whole.gaps
        if opacity is not None:
            cells = tuple(_drawn(cell, opacity) for cell in cells)
        of_gaps = gaps.warnings(frame.slice.file_name) if gaps else ()
        return Painted(
            cells, (*whole.remarks, *of_gaps), len(gaps.failed) if gaps else 0, whole.overlay.warnings
        )

    def _decoded(self, frame: _Frame) -> _DecodedFrame:
        """A whole frame and its overlay; raises what stands in the way."""
        if isinstance(frame, _DecodedFrame):
            return frame
        decoded, item = self._decode(frame), frame.slice
        if not decoded.lossless and item.contrast.pixel_padding_value is not None:
            # Some of the padding has become another value, and some of the image this one (C.7.5.1.1.2).
            item = replace(item, contrast=replace(item.contrast, pixel_padding_value=None))
        remarks = (*frame.remarks, *decoded.remarks, *unended(item, decoded))
        return _DecodedFrame(item, decoded, self._overlay(frame), remarks=remarks)

    def _decoded_or_failed(self, frame: _Frame) -> _DecodedFrame | FrameBytes:
        """A whole frame, or what stands in its way."""
        try:
            return self._decoded(frame)
        except (ObjectError, StorageError) as error:
            return FrameBytes(frame.slice, b"", error=error)

    def _decode(self, frame: FrameBytes) -> Decoded:
        if frame.error is not None:
            raise frame.error
        return decode_frame(
            frame.data,
            frame.slice.pixels,
            bit_offset=frame.bit_offset,
            limit_bytes=self._limit_bytes,
        )

    def _overlay(self, frame: FrameBytes) -> Overlay:
        return overlay_of(frame, self._plan.size(frame.slice), self._limit_bytes)

    def _cells(self, frame: _DecodedFrame) -> Cells:
        """A slice's cells, without its overlay."""
        return tuple(self._cell(frame, spec) for spec in self._plan.shape.contrasts)

    def _cell(self, frame: _DecodedFrame, spec: ContrastSpec) -> Cell:
        self._plan.watch.check()
        item, decoded = frame.slice, frame.decoded
        try:
            if is_colour(item.pixels):
                applied, padding = COLOUR, None
                shown = to_rgb(decoded, item.pixels)
            else:
                applied = resolve(spec, item.contrast, self._pooled)
                padding = padding_mask(decoded.samples, item.contrast)
                shown = render(decoded, item.pixels, item.contrast, applied)
        except DecodeError as error:
            return Cell(None, None, error)
        ends = _ends(shown, padding) if applied.kind == "embedded" else (0, 0, 0)
        if frame.gaps is not None:
            shown = _marked(shown, frame.gaps)
        tile = resize(shown, self._plan.size(item), padding, area_of(decoded, item))
        return Cell(tile, applied, ends=ends)


def _ends(shown: NDArray[np.uint8], padding: NDArray[np.bool_] | None) -> tuple[int, int, int]:
    """The pixels that are no padding, and how many of them are black and white."""
    padded = 0 if padding is None else int(np.count_nonzero(padding))
    black = shown.size - int(np.count_nonzero(shown)) - padded
    return shown.size - padded, black, int(np.count_nonzero(shown == _WHITE))


def _marked(shown: NDArray[np.uint8], gaps: Gaps) -> NDArray[np.uint8]:
    """A slice with background where nothing is, and with failures crossed out."""
    marked = shown.copy()
    marked[gaps.absent] = gaps.background
    for box in gaps.failed:
        absent = gaps.absent[box]
        rows, columns = absent.shape
        cross = failed_tile(columns, rows)[absent]
        marked[box][absent] = cross if shown.ndim == 2 else cross[:, np.newaxis]
    return marked


def _drawn(cell: Cell, opacity: NDArray[np.float32]) -> Cell:
    """A cell with an overlay."""
    return cell if cell.tile is None else replace(cell, tile=draw_overlay(cell.tile, opacity))
