"""Convert the cells of an index back to elements."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.index.damage import damage_told
from dicom_series_preview.archive.index.records import PER_FRAME_FUNCTIONAL_GROUPS
from dicom_series_preview.archive.index.schema import OTHER_ELEMENTS
from dicom_series_preview.sources.headers.dicom_json import element_from_json, from_json
from dicom_series_preview.sources.headers.elements import (
    BULK_VRS,
    INTEGER_VRS,
    ONE_TEXT_VRS,
    REAL_VRS,
    Bulk,
    Element,
    Item,
)


def elements_of(part: pa.Table, constants: Item) -> list[Item]:
    """Return the elements of the objects whose first rows these are."""
    elements = [dict(constants) for _ in range(part.num_rows)]
    for number, schema_field in enumerate(part.schema):
        tag = tag_of_field(schema_field)
        if not tag or tag in constants or tag == PER_FRAME_FUNCTIONAL_GROUPS or is_hash(schema_field):
            continue
        vr = vr_of_field(schema_field)
        cells = cells_of(schema_field, part[schema_field.name])
        if vr in BULK_VRS:
            hashes = part.column(number + 1).to_pylist()
            cells = [None if s is None else Bulk(s, h) for s, h in zip(cells, hashes, strict=True)]
        for item, cell in zip(elements, cells, strict=True):
            element = element_of_cell(tag, vr, cell)
            if element is not None:
                item[tag] = element
    if OTHER_ELEMENTS.name in part.column_names:
        for item, text in zip(elements, part[OTHER_ELEMENTS.name].to_pylist(), strict=True):
            with damage_told(OTHER_ELEMENTS.name):
                for key, body in json.loads(text or "{}").items():
                    if body is None:
                        item.pop(int(key, 16), None)
                    else:
                        item[int(key, 16)] = element_from_json(int(key, 16), body)
    return elements


def items_of(name: str, text: str | None) -> list[Item]:
    """Parse the sequence items that a cell holds as DICOM JSON.

    Raises:
        DamagedIndexError: The items cannot be read.
    """
    with damage_told(name):
        return [from_json(item) for item in json.loads(text or "[]")]


def _of_text(text: str | None, vr: str) -> str | float | None:
    """Parse a text as its VR's number; return the text itself where it is none."""
    if text is None:
        return None
    try:
        if vr in INTEGER_VRS:
            return int(text)
        return float(np.float32(text) if vr == "FL" else text)
    except ValueError:
        return text


def tag_of_field(field: pa.Field) -> int:
    """Return the tag of the element that a column holds, or 0."""
    return int((field.metadata or {}).get(b"tag", b"").replace(b",", b"") or b"0", 16)


def vr_of_field(field: pa.Field) -> str:
    """Return the VR of the elements that a column restores."""
    vr: bytes = field.metadata[b"vr"]
    return vr.decode()


def is_hash(field: pa.Field) -> bool:
    """Return True for a column with the hashes beside a binary element's sizes."""
    return (field.metadata or {}).get(b"vr", b"").decode() in BULK_VRS and pa.types.is_string(field.type)


def cells_of(field: pa.Field, values: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column's cells as values of its VR: numbers even if stored as text, whole ones as int."""
    cells: list[Any] = values.to_pylist()
    vr = vr_of_field(field)
    if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
        if vr == "SQ":
            return [cell and f"[{', '.join(cell)}]" for cell in cells]
        if vr in INTEGER_VRS or vr in REAL_VRS:
            return [cell and [_of_text(part, vr) for part in cell] for cell in cells]
        return cells
    if vr not in INTEGER_VRS:
        return cells
    if pa.types.is_floating(field.type):
        return [None if cell is None else int(cell) for cell in cells]
    if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
        return [cell and [None if part is None else int(part) for part in cell] for cell in cells]
    return cells


def element_of_cell(tag: int, vr: str, cell: Any) -> Element | None:  # noqa: ANN401 - one of Arrow's values
    """Return the element of a cell; None for an empty one."""
    if cell is None:
        return None
    if isinstance(cell, Bulk):
        return Element(tag, vr, cell)
    if vr == "SQ":
        return Element(tag, vr, tuple(items_of("a sequence", cell)))
    if isinstance(cell, list):
        return Element(tag, vr, tuple(cell))
    if isinstance(cell, str) and "\\" in cell and vr not in ONE_TEXT_VRS:
        return Element(tag, vr, tuple(part or None for part in cell.split("\\")))
    return Element(tag, vr, (cell,))
