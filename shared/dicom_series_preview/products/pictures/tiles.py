"""Paint slices to tiles: each under each contrast as soon as it is decoded, then dropped.

If a contrast needs the statistics of all slices (an automatic window), they are pooled first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dicom_series_preview.base.errors import DecodeError, ObjectError, StorageError
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.modality import padding_mask
from dicom_series_preview.pixels.contrast.render import render
from dicom_series_preview.pixels.contrast.resolve import COLOUR, Applied, resolve
from dicom_series_preview.pixels.pooled import WAITING_BYTES, pool
from dicom_series_preview.pixels.reduced import area_of, level_reduction
from dicom_series_preview.pixels.slices import DecodedSlice, FailedSlice, Gaps
from dicom_series_preview.pixels.stream import WORKERS, SliceReader, decode_each, read_slices
from dicom_series_preview.products.pictures.layout import draw_overlay, failed_tile, overlay_opacity, resize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.contrast.spec import ContrastSpec
    from dicom_series_preview.pixels.frames import FetchOptions
    from dicom_series_preview.pixels.stream import Arrived
    from dicom_series_preview.products.pictures.layout import Tile
    from dicom_series_preview.products.pictures.plan import Plan
    from dicom_series_preview.sources.storage.base import Storage

_WHITE = 255


@dataclass(frozen=True, slots=True)
class Cell:
    """One slice under one contrast.

    Attributes:
        tile: The picture, or None after an error.
        applied: The applied contrast, or None after an error.
        ends: For a grey slice under its file's own view: the number of its pixels, and of those at the dark
            and at the bright end.
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
    """A slice's cells, with remarks and warnings.

    Attributes:
        cells: The slice under each of the picture's contrasts.
        remarks: Remarks on its codestreams and gaps, for viewers.
        failed_frames: The number of an assembled slice's frames that cannot be shown.
        overlay_warnings: The overlay planes left out, and why.
    """

    cells: Cells
    remarks: tuple[str, ...] = ()
    failed_frames: int = 0
    overlay_warnings: tuple[str, ...] = ()


def paint(
    storage: Storage,
    plan: Plan,
    options: FetchOptions,
    waiting_bytes: int = WAITING_BYTES,
    workers: int = WORKERS,
) -> dict[int, Painted]:
    """Fetch and paint the slices of a picture.

    Args:
        storage: The series' root.
        plan: The slices and their options.
        options: See `fetch_frames`; its limits also apply to decoding.
        waiting_bytes: The bytes for slices that wait for the statistics of all.
        workers: Threads that decode and paint.

    Returns:
        The slices by row of the index. The order of the storage's answers does not affect them.

    Raises:
        ObjectChangedError: An object has changed since it was planned.
        StorageUnavailableError: The storage fails beyond every retry.
        CredentialsError: The credentials are refused, or no longer accepted.
        LimitError: The request's time is up.
    """

    def reduction(item: Slice) -> int:
        return level_reduction(item, plan.size(item))

    reader = SliceReader(storage, plan.opened.name, plan.index, options, plan.watch.check, reduction, workers)
    pooled = plan.pooled
    rows = {item.row for item in pooled}
    others = [item for item in plan.slices if item.row not in rows]
    painted = _by_row(read_slices(reader, others, partial(_painted, plan, AutoWindow())))
    if not pooled:
        return painted
    statistics, waiting = pool(reader, pooled, waiting_bytes)
    work = partial(_painted, plan, statistics)
    painted |= _by_row(decode_each(reader, waiting, work))
    waiting.clear()
    return painted | _by_row(read_slices(reader, [item for item in pooled if item.row not in painted], work))


def _by_row(painted: Iterable[tuple[Arrived, Painted]]) -> dict[int, Painted]:
    return {arrived.slice.row: one for arrived, one in painted}


def _painted(plan: Plan, statistics: AutoWindow, found: DecodedSlice | FailedSlice) -> Painted:
    """Paint a slice under each contrast, with its remarks."""
    specs = plan.shape.contrasts
    if isinstance(found, FailedSlice):
        return Painted(tuple(Cell(None, None, found.error) for _ in specs))
    cells = tuple(_cell(plan, statistics, found, spec) for spec in specs)
    item, gaps = found.slice, found.gaps
    if found.overlay.packed is not None:
        mask = found.overlay.mask(item.pixels.rows, item.pixels.columns)
        opacity = overlay_opacity(mask, plan.size(item))
        cells = tuple(_drawn(cell, opacity) for cell in cells)
    of_gaps = gaps.warnings(item.file_name) if gaps else ()
    failed_frames = len(gaps.failed) if gaps else 0
    return Painted(cells, (*found.remarks, *of_gaps), failed_frames, found.overlay.warnings)


def _cell(plan: Plan, statistics: AutoWindow, found: DecodedSlice, spec: ContrastSpec) -> Cell:
    """Paint a slice under one contrast, without its overlay."""
    plan.watch.check()
    item, decoded = found.slice, found.decoded
    try:
        if is_colour(item.pixels):
            applied, padding = COLOUR, None
            shown = to_rgb(decoded, item.pixels)
        else:
            applied = resolve(spec, item.contrast, statistics)
            padding = padding_mask(decoded.samples, item.contrast)
            shown = render(decoded, item.pixels, item.contrast, applied)
    except DecodeError as error:
        return Cell(None, None, error)
    ends = _ends(shown, padding) if applied.kind == "embedded" else (0, 0, 0)
    if found.gaps is not None:
        shown = _marked(shown, found.gaps)
    tile = resize(shown, plan.size(item), padding, area_of(decoded, item))
    return Cell(tile, applied, ends=ends)


def _ends(shown: NDArray[np.uint8], padding: NDArray[np.bool_] | None) -> tuple[int, int, int]:
    """Count the pixels that are not padding, and how many of them are black and white."""
    padded = 0 if padding is None else int(np.count_nonzero(padding))
    black = shown.size - int(np.count_nonzero(shown)) - padded
    return shown.size - padded, black, int(np.count_nonzero(shown == _WHITE))


def _marked(shown: NDArray[np.uint8], gaps: Gaps) -> NDArray[np.uint8]:
    """Return a slice with background where it has no frame, and with failures crossed out."""
    marked = shown.copy()
    marked[gaps.absent] = gaps.background
    for box in gaps.failed:
        absent = gaps.absent[box]
        rows, columns = absent.shape
        cross = failed_tile(columns, rows)[absent]
        marked[box][absent] = cross if shown.ndim == 2 else cross[:, np.newaxis]
    return marked


def _drawn(cell: Cell, opacity: NDArray[np.float32]) -> Cell:
    """Return a cell with an overlay."""
    return cell if cell.tile is None else replace(cell, tile=draw_overlay(cell.tile, opacity))
