"""Take the Siemens mosaics in a series' index apart into their slices.

A mosaic is one frame with a grid of slices, row by row from the upper left. Its ImagePositionPatient is that
of an image as large as the whole grid, with the first slice at its centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.metadata import saying
from dicom_series_preview.archive.index.rows import Row, slices_of
from dicom_series_preview.archive.index.schema import FIXED_COLUMNS, MOSAIC_COLUMNS, PART_COLUMNS
from dicom_series_preview.archive.index.sorting import arrangeable
from dicom_series_preview.base.arrangement import Arrangement, Slices, arrange
from dicom_series_preview.base.geometry import FARTHEST_MM, normal_of, places
from dicom_series_preview.sources.headers.elements import all_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.records import Record
    from dicom_series_preview.sources.headers.elements import Element
    from dicom_series_preview.sources.headers.siemens import Mosaic

_SPACING_BETWEEN_SLICES, _SLICE_THICKNESS, _PIXEL_SPACING = 0x00180088, 0x00180050, 0x00280030


@dataclass(frozen=True, slots=True)
class _Grid:
    """The way to take a slice of the series apart.

    Attributes:
        images: The number of slices inside: 1 if it is no mosaic.
        side: The grid's side, in slices.
        size: Rows and columns of each.
        first: From the mosaic's ImagePositionPatient to the first slice's, in mm; NaN if unknown.
        step: From each slice to the next, in mm; NaN if unknown.
    """

    images: int
    side: int
    size: tuple[int, int]
    first: NDArray[np.float64]
    step: NDArray[np.float64]


class _UnclearError(Exception):
    """A mosaic cannot be taken apart; never leaves this module."""


def untiled(index: Index) -> tuple[Index, tuple[str, ...]]:
    """Take a series' mosaics apart.

    Returns:
        An index with a row for each slice of a mosaic, sorted again. Its column `Index` has the rows of the
        original index; elements other than ImagePositionPatient are the whole mosaics'. And the warnings for
        viewers about mosaics that stay whole, with the reasons.
    """
    if MOSAIC_COLUMNS[0].name not in index.table.column_names:
        return index, ("untile has no effect: the series has no mosaic",)
    records = index.records(index.table["FileName"].to_pylist())
    slices = slices_of(records)
    whole = arrangeable(records, slices)
    grids, warnings = _grids(records, slices, whole)
    # For each new slice, the slice around it, and its number there.
    source = np.repeat(np.arange(len(slices)), [grid.images for grid in grids])
    number = np.concatenate([np.arange(grid.images) for grid in grids])
    taken_apart = _taken_apart(whole, grids, source, number)
    apart = _Apart(grids, source, number, taken_apart, arrange(taken_apart))
    return Index(_table(index, _rows_of(index, records, slices), apart)), warnings


def _grids(
    records: Sequence[Record], slices: Sequence[Sequence[Row]], whole: Slices
) -> tuple[list[_Grid], tuple[str, ...]]:
    """Return the grid of each slice, and a warning about mosaics that stay whole or have no positions."""
    grids: list[_Grid] = []
    reasons: dict[str, list[str]] = {}
    for i, members in enumerate(slices):
        record = records[members[0].record]
        rows, columns = (int(length) for length in whole.size[i, :2])
        grid = _Grid(1, 1, (rows, columns), np.zeros(3), np.zeros(3))
        if record.mosaic is not None:
            try:
                grid = _grid(record.mosaic, grid.size)
            except _UnclearError as error:
                reasons.setdefault(f"stays a whole mosaic: {error}", []).append(record.name)
            else:
                first, step = _steps(record.mosaic, members[0].elements, whole.orientation[i], grid)
                grid = replace(grid, first=first, step=step)
                if np.isnan(grid.first + grid.step + whole.position[i]).any():
                    reason = "has slices without positions: the mosaic does not tell where they lie"
                    reasons.setdefault(reason, []).append(record.name)
        grids.append(grid)
    return grids, tuple(
        f"{names[0]} {reason}" + (f" (and {len(names) - 1} others)" if len(names) > 1 else "")
        for reason, names in reasons.items()
    )


def _grid(mosaic: Mosaic, size: tuple[int, int]) -> _Grid:
    """Return the grid of a mosaic's slices.

    Raises:
        _UnclearError: The grid is unclear.
    """
    if not mosaic.images:
        raise _UnclearError("it does not say how many slices it has")
    side = math.isqrt(mosaic.images - 1) + 1
    if size[0] % side or size[1] % side:
        raise _UnclearError(f"{size[0]} x {size[1]} pixels are no grid of {side} x {side} slices")
    unknown = np.full(3, np.nan)
    return _Grid(mosaic.images, side, (size[0] // side, size[1] // side), unknown, unknown)


def _steps(
    mosaic: Mosaic, elements: Mapping[int, Element], orientation: NDArray[np.float64], grid: _Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions of a mosaic's slices: `first` and `step` of its grid."""
    row, column = orientation[:3], orientation[3:]
    normal = normal_of(orientation)
    if normal is None:
        normal = np.full(3, np.nan)
    if mosaic.normal is not None and normal @ mosaic.normal < 0:
        normal = -normal
    between = _lengths(elements, _SPACING_BETWEEN_SLICES, 1) or _lengths(elements, _SLICE_THICKNESS, 1)
    # Row spacing, down the columns, comes first (PS3.3 10.7.1.3).
    vertical, horizontal = _lengths(elements, _PIXEL_SPACING, 2) or (math.nan, math.nan)
    rows, columns = ((grid.side - 1) * length / 2 for length in grid.size)
    first = row * (columns * horizontal) + column * (rows * vertical)
    return first, normal * (between[0] if between else math.nan)


def _lengths(elements: Mapping[int, Element], tag: int, count: int) -> tuple[float, ...]:
    """Return an element's lengths in mm; none if their number is wrong, or one is not plausible."""
    values = all_values(elements.get(tag))
    lengths = tuple(
        float(value) for value in values if isinstance(value, (int, float)) and 0 < value <= FARTHEST_MM
    )
    return lengths if len(lengths) == len(values) == count else ()


def _taken_apart(
    whole: Slices, grids: Sequence[_Grid], source: NDArray[np.int64], number: NDArray[np.int64]
) -> Slices:
    """Return the sorting facts for the slices of all mosaics, each with its own position and size."""
    repeated: dict[str, Any] = {}
    for field in fields(whole):
        values = getattr(whole, field.name)
        repeated[field.name] = (
            values[source] if isinstance(values, np.ndarray) else [values[i] for i in source.tolist()]
        )
    apart = np.array([grid.images > 1 for grid in grids])[source]
    first = np.array([grid.first for grid in grids])[source]
    step = np.array([grid.step for grid in grids])[source]
    repeated["position"] = places(repeated["position"] + first + number[:, np.newaxis] * step)
    repeated["size"][:, :2] = np.array([grid.size for grid in grids])[source]
    # The mosaic's own location fits none of its slices; without positions they keep their order.
    repeated["slice_location"][apart] = np.nan
    repeated["frame_number"] = np.where(apart, number + 1, repeated["frame_number"])
    return Slices(**repeated)


@dataclass(frozen=True, slots=True)
class _Apart:
    """The new slices.

    Attributes:
        grids: The grid of each slice of the series.
        source: The slice of the series around each.
        number: Its number there, from 0.
        slices: Their facts for sorting.
        arrangement: Their order.
    """

    grids: Sequence[_Grid]
    source: NDArray[np.int64]
    number: NDArray[np.int64]
    slices: Slices
    arrangement: Arrangement


def _rows_of(
    index: Index, records: Sequence[Record], slices: Sequence[Sequence[Row]]
) -> list[NDArray[np.int64]]:
    """Return the index rows of each slice."""
    names, frames = index.table["FileName"].to_pylist(), index.table["FrameNumber"].to_pylist()
    row_of = {(name, frame or 0): i for i, (name, frame) in enumerate(zip(names, frames, strict=True))}
    return [
        np.array([row_of[records[row.record].name, row.frame_number] for row in members])
        for members in slices
    ]


def _table(index: Index, rows_of: Sequence[NDArray[np.int64]], apart: _Apart) -> pa.Table:
    """Return the index's rows for the new slices, with their own places."""
    arrangement, order = apart.arrangement, apart.arrangement.order
    rows = [rows_of[i] for i in apart.source[order].tolist()]
    # The slice of each new row: its place in display order.
    place = np.repeat(np.arange(len(order)), [len(part) for part in rows])
    table = index.table.take(pa.array(np.concatenate(rows)))
    positions = apart.slices.position[order][place]
    placed = np.logical_not(np.isnan(positions).any(axis=1), dtype=np.bool_)
    replaced: dict[str, list[Any]] = {
        "Stack": _column(arrangement.stack[place], arrangement.stack[place] >= 0),
        "Location": _column(arrangement.location[place], arrangement.location[place] >= 0),
        "Time": _column(arrangement.time[place], ~np.isnan(arrangement.time[place])),
        "PrimaryPosition": _column(
            arrangement.primary_position[place], ~np.isnan(arrangement.primary_position[place])
        ),
        "PrimaryAxis": [arrangement.axis[i] for i in place.tolist()],
        "ImagePositionPatient": _column(positions, placed),
        **_parts(table, apart, place),
    }
    for column in (*FIXED_COLUMNS, *PART_COLUMNS):
        if column.name in replaced:
            values = pa.array(replaced[column.name], column.type)
            at = table.schema.get_field_index(column.name)
            if at < 0:
                table = table.append_column(column.field(), values)
            else:
                table = table.set_column(at, table.schema.field(at), values)
    return saying(table, notes=arrangement.notes)


def _column(values: NDArray[Any], known: NDArray[np.bool_]) -> list[Any]:
    return [
        value if is_known else None for value, is_known in zip(values.tolist(), known.tolist(), strict=True)
    ]


def _parts(table: pa.Table, apart: _Apart, place: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Return the columns that say which slice a row's frame lies on, and where."""
    kept = {
        column.name: table[column.name].to_pylist()
        if column.name in table.column_names
        else [None] * table.num_rows
        for column in PART_COLUMNS
    }
    slices = apart.arrangement.order[place].tolist()
    for row, (number, at) in enumerate(zip(slices, place.tolist(), strict=True)):
        grid = apart.grids[apart.source[number]]
        if kept["Slice"][row] is not None:
            kept["Slice"][row] = at
        elif grid.images > 1:
            down, across = divmod(int(apart.number[number]), grid.side)
            # The mosaic's corner lies above and left of every slice but the first.
            cells = (at, *grid.size, -down * grid.size[0], -across * grid.size[1], None)
            for column, cell in zip(PART_COLUMNS, cells, strict=True):
                kept[column.name][row] = cell
    return kept
