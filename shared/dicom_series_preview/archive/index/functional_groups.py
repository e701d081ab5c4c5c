"""Each frame's own functional groups as a column (PS3.3 C.7.6.16)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview.archive.index.declared import column_name, element_description
from dicom_series_preview.archive.index.records import PER_FRAME_FUNCTIONAL_GROUPS, Record, sequence_items
from dicom_series_preview.archive.index.schema import field_metadata
from dicom_series_preview.sources.headers.dicom_json import element_to_json
from dicom_series_preview.sources.headers.elements import Element, Item, tag_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_series_preview.archive.index.rows import Row


def per_frame_field() -> pa.Field:
    """The field of the column that holds each frame's own functional groups."""
    tag = PER_FRAME_FUNCTIONAL_GROUPS
    return pa.field(
        column_name(tag, ""), pa.utf8(), metadata=field_metadata(tag, "SQ", element_description(tag, ""))
    )


def per_frame_groups(records: Sequence[Record], rows: Sequence[Row]) -> pa.Array:
    """Each frame's own item, so that the table grows with the frames and not with their square."""
    texts, macros = [], dict[int, tuple[Element, str]]()
    for row in rows:
        items = sequence_items(records[row.record].elements.get(PER_FRAME_FUNCTIONAL_GROUPS))
        number = row.frame_number - 1
        has_item = 0 <= number < len(items)
        texts.append(f"[{_item_text(items[number], macros)}]" if has_item else None)
    return pa.array(texts, pa.utf8())


def _item_text(item: Item, known: dict[int, tuple[Element, str]]) -> str:
    """An item as DICOM JSON text; an element that the one before had too is not written anew.

    Args:
        item: The item.
        known: By tag, the latest element and its text.
    """
    parts = []
    for tag, element in sorted(item.items()):
        latest = known.get(tag)
        if latest is None or latest[0] is not element:
            latest = known[tag] = element, json.dumps(element_to_json(element), ensure_ascii=False)
        parts.append(f'"{tag_key(tag)}": {latest[1]}')
    return f"{{{', '.join(parts)}}}"


def add_ill_matched_groups(records: Sequence[Record], remainders: Sequence[dict[str, Any]]) -> None:
    """Per-frame groups of another number than there are frames: no row gives them back as they are."""
    for record, remainder in zip(records, remainders, strict=True):
        element = record.elements.get(PER_FRAME_FUNCTIONAL_GROUPS)
        items = len(sequence_items(element))
        if element is not None and (not items or items > record.number_of_frames):
            remainder[tag_key(PER_FRAME_FUNCTIONAL_GROUPS)] = element_to_json(element)
