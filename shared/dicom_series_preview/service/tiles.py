"""Slices -> tiles: frame by frame is fetched, decoded, painted and dropped, so that memory stays bounded.

What a contrast has to know of all slices before it can show one (the statistics of an automatic window) is
gathered in a pass of its own. Frames wait for the second pass within a budget; those beyond it are fetched
again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from dicom_series_preview.contrast import COLOUR, Applied, AutoWindow, padding_mask, render, resolve
from dicom_series_preview.decode import Decoded, decoded_bytes, is_colour, to_rgb
from dicom_series_preview.errors import DecodeError, ObjectError, StorageError
from dicom_series_preview.frames import FrameBytes, fetch_frames
from dicom_series_preview.layout import Tile, resize
from dicom_series_preview.service.reduced import area_of, decode_for_tile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dicom_series_preview.contrast import ContrastSpec
    from dicom_series_preview.index import Slice
    from dicom_series_preview.service.preview import Plan
    from dicom_series_preview.storage import Storage

_WAITING_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class Cell:
    """One slice under one contrast: a tile and the contrast applied, or why there is none."""

    tile: Tile | None
    applied: Applied | None
    error: ObjectError | StorageError | None = None


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
        self._reductions = plan.reductions()
        self._pooled = AutoWindow()

    def cells(self, waiting_bytes: int) -> Iterator[tuple[int, Cells]]:
        """Yield each slice's row in the index and its cells."""
        pooled = self._plan.pooled
        rows = {item.row for item in pooled}
        yield from self._paint(self._fetch(item for item in self._plan.slices if item.row not in rows))
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
                decoded = self._decoded(frame)
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

    def _decoded(self, frame: _Frame) -> Decoded:
        """A frame's stored values; raises what stands in their way."""
        if isinstance(frame, _DecodedFrame):
            return frame.decoded
        if frame.error is not None:
            raise frame.error
        item, plan = frame.slice, self._plan
        return decode_for_tile(
            frame, plan.size(item), plan.shape.contrasts, self._reductions[item.row], self._limit_bytes
        )

    def _cells_of(self, frame: _Frame) -> Cells:
        specs = self._plan.shape.contrasts
        try:
            decoded = self._decoded(frame)
        except (ObjectError, StorageError) as error:
            return tuple(Cell(None, None, error) for _ in specs)
        return tuple(self._cell(frame.slice, decoded, spec) for spec in specs)

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
        return Cell(resize(shown, self._plan.size(item), padding, area_of(decoded, item)), applied)
