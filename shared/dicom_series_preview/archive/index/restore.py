"""Restore the records that an index was built from."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview.archive.index.cells import elements_of, items_of
from dicom_series_preview.archive.index.records import PER_FRAME_FUNCTIONAL_GROUPS, Duplicate, Record
from dicom_series_preview.archive.index.schema import MOSAIC_COLUMNS
from dicom_series_preview.sources.headers.elements import Element, Item
from dicom_series_preview.sources.headers.locations import FrameLocation
from dicom_series_preview.sources.headers.siemens import Mosaic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FRAME_COLUMNS = ("FrameNumber", "FrameOffset", "FrameLength")
_GROUPS_COLUMN = "PerFrameFunctionalGroupsSequence"


def records_of(
    table: pa.Table, constants: Item, duplicates: Sequence[Duplicate], names: Sequence[str] | None
) -> list[Record]:
    """Restore the records that an index was built from.

    Args:
        table: The index's table.
        constants: The elements that all objects have with the same value.
        duplicates: The objects without a row.
        names: Only these objects; None for all, with duplicates.
    """
    rows_of: dict[str, list[int]] = {}
    wanted = None if names is None else set(names)
    for row, name in enumerate(table["FileName"].to_pylist()):
        if wanted is None or name in wanted:
            rows_of.setdefault(name, []).append(row)
    records = _of_rows(table, constants, rows_of) if rows_of else []
    if names is not None or not duplicates:
        return records
    by_name = {record.name: record for record in records}
    return records + [replace(by_name[one.of], name=one.name, version=one.version) for one in duplicates]


def _of_rows(table: pa.Table, constants: Item, rows_of: Mapping[str, Sequence[int]]) -> list[Record]:
    """Restore the records of objects from their rows."""
    firsts = [rows[0] for rows in rows_of.values()]
    part = table.take(pa.array(firsts, pa.int64()))
    elements = elements_of(part, constants)
    of_frames = table.select(
        [name for name in (*_FRAME_COLUMNS, _GROUPS_COLUMN) if name in table.column_names]
    ).take(pa.array([row for rows in rows_of.values() for row in rows], pa.int64()))
    frames = iter(of_frames.to_pylist())
    records = []
    for i, (name, rows) in enumerate(rows_of.items()):
        by_frame = sorted(islice(frames, len(rows)), key=lambda cells: cells["FrameNumber"] or 0)
        texts = [text for cells in by_frame if (text := cells.get(_GROUPS_COLUMN)) is not None]
        if texts and PER_FRAME_FUNCTIONAL_GROUPS not in elements[i]:
            items = tuple(item for text in texts for item in items_of(_GROUPS_COLUMN, text))
            elements[i][PER_FRAME_FUNCTIONAL_GROUPS] = Element(PER_FRAME_FUNCTIONAL_GROUPS, "SQ", items)
        records.append(_record(name, part, i, elements[i], by_frame))
    return records


def _record(
    name: str, part: pa.Table, row: int, elements: Item, by_frame: Sequence[Mapping[str, Any]]
) -> Record:
    """Restore the record of one object.

    Args:
        name: Its path below the series' folder.
        part: The objects' first rows.
        row: Its row there.
        elements: Its header.
        by_frame: The cells of `_FRAME_COLUMNS` of each of its frames.
    """
    has_image = by_frame[0]["FrameNumber"] is not None
    located = has_image and by_frame[0]["FrameOffset"] is not None
    places = [FrameLocation(cells["FrameOffset"], cells["FrameLength"]) for cells in by_frame if located]
    return Record(
        name=name,
        size=part["ObjectSize"][row].as_py(),
        version=part["ObjectVersion"][row].as_py(),
        transfer_syntax_uid=part["TransferSyntaxUID"][row].as_py(),
        pixel_keyword=part["PixelKeyword"][row].as_py() or "",
        pixel_vr=part["PixelVR"][row].as_py() or "",
        elements=dict(sorted(elements.items())),
        number_of_frames=len(by_frame) if has_image else 0,
        locations=tuple(places),
        mosaic=_mosaic(part, row),
        pixel_surplus=part["PixelSurplus"][row].as_py(),
    )


def _mosaic(part: pa.Table, row: int) -> Mosaic | None:
    if MOSAIC_COLUMNS[0].name not in part.column_names:
        return None
    images, normal = (part[column.name][row].as_py() for column in MOSAIC_COLUMNS)
    return None if images is None else Mosaic(images, tuple(normal) if normal is not None else None)
