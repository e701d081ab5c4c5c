"""Build the column of each frame's own functional groups (PS3.3 C.7.6.16)."""

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
    """Return the field of the column with each frame's own functional groups."""
    tag = PER_FRAME_FUNCTIONAL_GROUPS
    return pa.field(
        column_name(tag, ""), pa.utf8(), metadata=field_metadata(tag, "SQ", element_description(tag, ""))
    )


def per_frame_groups(records: Sequence[Record], rows: Sequence[Row]) -> pa.Array:
    """Return each frame's own item, so that the table grows linearly with the frames."""
    texts, macros = [], dict[int, tuple[Element, str]]()
    for row in rows:
        items = sequence_items(records[row.record].elements.get(PER_FRAME_FUNCTIONAL_GROUPS))
        number = row.frame_number - 1
        has_item = 0 <= number < len(items)
        texts.append(f"[{_item_text(items[number], macros)}]" if has_item else None)
    return pa.array(texts, pa.utf8())


def _item_text(item: Item, known: dict[int, tuple[Element, str]]) -> str:
    """Write an item as DICOM JSON text; reuse the text of an element that the item before shares.

    Args:
        item: The item.
        known: The latest element and its text, by tag.
    """
    parts = []
    for tag, element in sorted(item.items()):
        latest = known.get(tag)
        if latest is None or latest[0] is not element:
            latest = known[tag] = element, json.dumps(element_to_json(element), ensure_ascii=False)
        parts.append(f'"{tag_key(tag)}": {latest[1]}')
    return f"{{{', '.join(parts)}}}"


def add_ill_matched_groups(records: Sequence[Record], remainders: Sequence[dict[str, Any]]) -> None:
    """Keep per-frame groups that do not match the number of frames: no row restores them."""
    for record, remainder in zip(records, remainders, strict=True):
        element = record.elements.get(PER_FRAME_FUNCTIONAL_GROUPS)
        items = len(sequence_items(element))
        if element is not None and (not items or items > record.number_of_frames):
            remainder[tag_key(PER_FRAME_FUNCTIONAL_GROUPS)] = element_to_json(element)
