"""Slices -> tiles: frame by frame is fetched, decoded, painted and dropped, so that memory stays bounded.

What a contrast has to know of all slices before it can show one (the statistics of an automatic window) is
gathered in a pass of its own. Frames wait for the second pass within a budget; those beyond it are fetched
again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING, TypeAlias

from dicom_series_preview.contrast import COLOUR, Applied, AutoWindow, padding_mask, render, resolve
from dicom_series_preview.decode import Decoded, decode_frame, decoded_bytes, is_colour, to_rgb
from dicom_series_preview.errors import DecodeError, ObjectError, StorageError
from dicom_series_preview.frames import FrameBytes, fetch_frames, frame_length
from dicom_series_preview.layout import Tile, resize
from dicom_series_preview.service.reduced import (
    Attempt,
    Trial,
    Verdict,
    area_of,
    judge,
    reduce_once_more,
    trial_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dicom_series_preview.contrast import ContrastSpec
    from dicom_series_preview.index import Slice
    from dicom_series_preview.service.preview import Plan
    from dicom_series_preview.storage import Storage

# What frames may take that wait for the statistics of all, and for the verdict on the first.
_WAITING_BYTES, _HELD_BYTES = 128 * 2**20, 32 * 2**20


@dataclass(frozen=True, slots=True)
class Cell:
    """One slice under one contrast.

    Attributes:
        tile: What is shown, or None where there is an error.
        applied: The contrast that is applied, or None where there is an error.
        error: Why it cannot be shown, or None.
        reduction: What rows and columns of the frame were divided by in decoding.
    """

    tile: Tile | None
    applied: Applied | None
    error: ObjectError | StorageError | None = None
    reduction: int = 1


Cells: TypeAlias = tuple[Cell, ...]
"""One slice under each of a picture's contrasts."""


@dataclass(frozen=True, slots=True)
class _DecodedFrame:
    """A frame that waits to be painted."""

    slice: Slice
    decoded: Decoded = field(repr=False)


_Frame: TypeAlias = FrameBytes | _DecodedFrame


def paint(
    storage: Storage, plan: Plan, limit_bytes: int, waiting_bytes: int = _WAITING_BYTES
) -> dict[int, Cells]:
    """Fetch and paint the slices of a picture.

    Args:
        storage: The root the series lies in.
        plan: The slices and what they are shown with.
        limit_bytes: The largest frame, in decoded bytes.
        waiting_bytes: What frames may take that wait for the statistics of all.

    Returns:
        The cells of each slice, by row of the index. They depend on the slices alone, and not on the order in
        which the storage answers.

    Raises:
        ObjectChangedError: An object is not the version that was planned any more.
        StorageUnavailableError: The storage fails beyond every retry.
    """
    return dict(_Painter(storage, plan, limit_bytes).cells(waiting_bytes))


class _Painter:
    """Paints the slices of one picture."""

    def __init__(self, storage: Storage, plan: Plan, limit_bytes: int) -> None:
        self._storage = storage
        self._plan = plan
        self._limit_bytes = limit_bytes
        self._pooled = AutoWindow()
        self._reduced: dict[int, Verdict] = {}

    def cells(self, waiting_bytes: int) -> Iterator[tuple[int, Cells]]:
        """Yield each slice's row in the index and its cells."""
        pooled = self._plan.pooled
        rows = {item.row for item in pooled}
        yield from self._paint_reduced([item for item in self._plan.slices if item.row not in rows])
        waiting = self._gather(pooled, waiting_bytes)
        yield from self._paint(waiting)
        rows -= {frame.slice.row for frame in waiting}
        waiting.clear()
        yield from self._paint(self._fetch(item for item in pooled if item.row in rows))

    def _fetch(self, slices: Iterable[Slice]) -> Iterator[FrameBytes]:
        return fetch_frames(self._storage, self._plan.opened.name, list(slices))

    def _paint(self, frames: Iterable[_Frame]) -> Iterator[tuple[int, Cells]]:
        for frame in frames:
            yield frame.slice.row, self._cells_of(frame)

    def _paint_reduced(self, slices: list[Slice]) -> Iterator[tuple[int, Cells]]:
        """Paint slices that do not depend on each other, at reduced resolution where a trial passes it."""
        trial = trial_of(slices, self._plan.size)
        if trial is None:
            yield from self._paint(self._fetch(slices))
            return
        first, rest = _with_probe(trial.probe, slices)
        frames = chain(self._fetch(first), self._fetch(rest))
        yield from self._paint(self._tried(trial, frames))

    def _tried(self, trial: Trial, frames: Iterable[FrameBytes]) -> Iterator[_Frame]:
        """The frames, held back until the probe has come and its verdict is known."""
        held: list[FrameBytes] | None = []
        for frame in frames:
            if frame.slice.row == trial.probe.row:
                yield self._try(trial, frame)
                yield from held or ()
                held = None
            elif held is None:
                yield frame
            else:
                held.append(frame)

    def _try(self, trial: Trial, frame: FrameBytes) -> _Frame:
        """Decode the probe both ways, for the verdict; the whole frame, or what stands in its way."""
        try:
            whole = _DecodedFrame(frame.slice, self._decode(frame))
        except (ObjectError, StorageError) as error:
            return FrameBytes(frame.slice, b"", error=error)
        cells = self._cells(frame.slice, whole.decoded)
        if all(cell.tile is not None for cell in cells):
            verdict = judge(trial.reductions, _tiles(cells), lambda wanted: self._attempt(frame, wanted)[1])
            if verdict is not None:
                self._reduced = dict.fromkeys(trial.rows, verdict)
        return whole

    def _attempt(self, frame: FrameBytes, reduction: int) -> tuple[Cells, Attempt]:
        """A frame's cells at reduced resolution, and what tells whether they can be trusted."""
        decoded = self._decode(frame, reduction)
        cells = self._cells(frame.slice, decoded)
        if decoded.reduction == 1:
            return cells, Attempt(1, (), ())
        once_more = self._cells(frame.slice, reduce_once_more(decoded))
        return cells, Attempt(decoded.reduction, _tiles(cells), _tiles(once_more))

    def _gather(self, slices: list[Slice], room: int) -> list[_Frame]:
        """Pool the values of slices.

        Returns:
            The frames that are kept, and those that failed. Where not all can be kept decoded, each is in its
            smaller form.
        """
        kept: list[_Frame] = []
        for_all = sum(decoded_bytes(item.pixels) for item in slices) <= room
        for frame in self._fetch(slices):
            try:
                decoded = self._decode(frame)
            except (ObjectError, StorageError) as error:
                kept.append(FrameBytes(frame.slice, b"", error=error))
                continue
            # A broken lookup table has no values to pool; rendering the slice says so.
            with suppress(DecodeError):
                self._pooled.add(decoded.samples, frame.slice.contrast)
            smaller = for_all or decoded.samples.nbytes <= len(frame.data)
            size = decoded.samples.nbytes if smaller else len(frame.data)
            if size <= room:
                room -= size
                kept.append(_DecodedFrame(frame.slice, decoded) if smaller else frame)
        return kept

    def _decode(self, frame: FrameBytes, reduction: int = 1) -> Decoded:
        """A frame's stored values; raises what stands in their way."""
        if frame.error is not None:
            raise frame.error
        return decode_frame(
            frame.data,
            frame.slice.pixels,
            bit_offset=frame.bit_offset,
            limit_bytes=self._limit_bytes,
            reduction=reduction,
        )

    def _cells_of(self, frame: _Frame) -> Cells:
        """A frame's cells, from a reduced frame where that is as good as the whole one."""
        item = frame.slice
        if isinstance(frame, _DecodedFrame):
            return self._cells(item, frame.decoded)
        try:
            verdict = self._reduced.get(item.row)
            if verdict is not None:
                cells, attempt = self._attempt(frame, verdict.reduction)
                if attempt.reduction == 1 or verdict.holds(attempt):
                    return cells
            return self._cells(item, self._decode(frame))
        except (ObjectError, StorageError) as error:
            return tuple(Cell(None, None, error) for _ in self._plan.shape.contrasts)

    def _cells(self, item: Slice, decoded: Decoded) -> Cells:
        return tuple(self._cell(item, decoded, spec) for spec in self._plan.shape.contrasts)

    def _cell(self, item: Slice, decoded: Decoded, spec: ContrastSpec) -> Cell:
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
        tile = resize(shown, self._plan.size(item), padding, area_of(decoded, item))
        return Cell(tile, applied, reduction=decoded.reduction)


def _tiles(cells: Cells) -> list[Tile]:
    """The tiles of a slice that can be shown."""
    return [cell.tile for cell in cells if cell.tile is not None]


def _with_probe(probe: Slice, slices: list[Slice]) -> tuple[list[Slice], list[Slice]]:
    """What to ask for first: the probe, and as much as may wait for it; and the rest."""
    others = [item for item in slices if item.row != probe.row]
    lengths = accumulate(frame_length(item) for item in others)
    fitting = sum(length <= _HELD_BYTES for length in lengths)
    return [probe, *others[:fitting]], others[fitting:]
