"""Build the columns that every index has, and those of frames that are parts of slices."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview.archive.index.fixed_cells import cells_of_rows
from dicom_series_preview.archive.index.remarks import NUMBERS, number_remark, object_remarks
from dicom_series_preview.archive.index.schema import (
    FIXED_COLUMNS,
    FIXED_TAGS,
    MOSAIC_COLUMNS,
    PART_COLUMNS,
    Column,
)
from dicom_series_preview.sources.headers.dicom_json import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.records import Provenance, Record
    from dicom_series_preview.archive.index.rows import Row, Rows
    from dicom_series_preview.base.arrangement import Arrangement

# The palette's descriptors, data and segmented data, each for red, green and blue.
_PALETTE_TAGS = tuple(first + colour for first in (0x00281101, 0x00281201, 0x00281221) for colour in range(3))
COLUMN_TAGS = FIXED_TAGS.union(_PALETTE_TAGS, NUMBERS)
"""The elements that the fixed columns need."""


def fixed_columns(
    records: Sequence[Record],
    rows: Rows,
    arrangement: Arrangement,
    slice_of_row: NDArray[np.int64],
    provenance: Provenance,
) -> list[tuple[pa.Field, pa.Array]]:
    """Build the columns that every index has, and those of frames that are no slices, if any."""
    count = len(rows.rows)
    of_row = [records[row.record] for row in rows.rows]
    locations = [
        record.locations[row.frame_number - 1] if row.frame_number and record.locations else None
        for row, record in zip(rows.rows, of_row, strict=True)
    ]
    own: dict[str, Sequence[Any]] = {
        "Index": range(count),
        "FileName": [record.name for record in of_row],
        "SeriesUID": [provenance.series] * count,
        "StorageRoot": [provenance.root] * count,
        "PrimaryPosition": _known(arrangement.primary_position[slice_of_row]),
        "PrimaryAxis": [arrangement.axis[i] for i in slice_of_row.tolist()],
        "FrameNumber": [row.frame_number or None for row in rows.rows],
        "Stack": _counted(arrangement.stack[slice_of_row]),
        "Location": _counted(arrangement.location[slice_of_row]),
        "Time": _known(arrangement.time[slice_of_row]),
        "ObjectSize": [record.size for record in of_row],
        "ObjectVersion": [record.version for record in of_row],
        "TransferSyntaxUID": [record.transfer_syntax_uid for record in of_row],
        "PixelKeyword": [record.pixel_keyword or None for record in of_row],
        "PixelVR": [record.pixel_vr or None for record in of_row],
        "PixelSurplus": [record.pixel_surplus for record in of_row],
        "Remarks": _remarks(records, rows),
        "FrameOffset": [location and location.offset for location in locations],
        "FrameLength": [location and location.length for location in locations],
        "Palette": _palettes(rows),
    }
    columns: list[tuple[Column, Sequence[Any]]] = [
        (column, own[column.name] if column.name in own else cells_of_rows(rows, column))
        for column in FIXED_COLUMNS
    ]
    columns += (*_parts(rows.rows, slice_of_row), *_mosaics(records, rows.rows))
    return [(column.field(), pa.array(values, column.type)) for column, values in columns]


def _parts(rows: Sequence[Row], slice_of_row: NDArray[np.int64]) -> Iterator[tuple[Column, list[Any]]]:
    """Yield the columns that assign frames to slices, if any frame is a part."""
    if any(row.place for row in rows):
        numbers = slice_of_row.tolist()
        cells = [
            (
                numbers[i],
                row.place.rows,
                row.place.columns,
                row.place.top,
                row.place.left,
                row.place.background,
            )
            if row.place
            else (None,) * len(PART_COLUMNS)
            for i, row in enumerate(rows)
        ]
        yield from zip(PART_COLUMNS, map(list, zip(*cells, strict=True)), strict=True)


def _mosaics(records: Sequence[Record], rows: Sequence[Row]) -> Iterator[tuple[Column, list[Any]]]:
    """Yield the columns about the slices in mosaics, if there are mosaics."""
    mosaics = [records[row.record].mosaic for row in rows]
    if any(mosaics):
        cells = [(mosaic.images, mosaic.normal) if mosaic else (None, None) for mosaic in mosaics]
        yield from zip(MOSAIC_COLUMNS, map(list, zip(*cells, strict=True)), strict=True)


def _known(numbers: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers.tolist()]


def _counted(numbers: NDArray[np.int64]) -> list[int | None]:
    return [None if number < 0 else number for number in numbers.tolist()]


def _remarks(records: Sequence[Record], rows: Rows) -> list[tuple[str, ...] | None]:
    """Return the remarks on each slice."""
    of_objects = list(map(object_remarks, records))
    of_slices = zip(*(rows.values(tag, partial(number_remark, tag)) for tag in NUMBERS), strict=True)
    found = (
        (*of_objects[row.record], *filter(None, texts))
        for row, texts in zip(rows.rows, of_slices, strict=True)
    )
    return [remarks or None for remarks in found]


def _palettes(rows: Rows) -> list[str | None]:
    """Return each slice's palette; one that slices share is converted once."""
    texts: dict[tuple[int, ...], str | None] = {}
    palettes = []
    for elements in zip(*(rows.values(tag, lambda element: element) for tag in _PALETTE_TAGS), strict=True):
        key = tuple(map(id, elements))
        if key not in texts:
            known = zip(_PALETTE_TAGS, elements, strict=True)
            tables = {tag: element for tag, element in known if element is not None}
            texts[key] = json.dumps(to_json(tables)) if tables else None
        palettes.append(texts[key])
    return palettes
