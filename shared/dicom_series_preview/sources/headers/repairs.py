"""Repairs of sequences with wrong or missing heads: they find where the walk goes on."""

from __future__ import annotations

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.pixel_element import LAST_PIXEL_TAG
from dicom_series_preview.sources.headers.walk import (
    ITEM,
    ITEM_DELIMITER,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Buffer,
    RawElement,
    read_length,
    read_tag,
    skip_item,
)

DELIMITERS = frozenset((ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER))


def with_all_items(buffer: Buffer, element: RawElement, behind: int) -> tuple[RawElement, int]:
    """Return the element with all its items, and the offset behind it, where its declared length is wrong.

    Some writers count a sequence's length a few bytes short, so that the walk would go on inside it. We trust
    the items only where they end at an element that can follow; else the element stays as it is.
    """
    start = position = behind - len(element.value)
    try:
        while _tag_at(buffer, position, little=element.little) == ITEM:
            length = read_length(buffer.data, position + 4, little=element.little)
            position += 8
            if length == UNDEFINED:
                position = skip_item(buffer, position, little=element.little, depth=0)
            else:
                buffer.need(position + length, position, "an item")
                position += length
        following = _tag_at(buffer, position, little=element.little)
    except HeaderError:
        return element, behind
    if position == start or not element.tag < following <= LAST_PIXEL_TAG:
        return element, behind
    return element._replace(value=buffer.data[start:position], behind=position), position


def behind_stray_items(buffer: Buffer, position: int, last_tag: int, *, little: bool) -> int:
    """Return the offset behind items and delimiters without a sequence: some writers omit its head.

    It is `position` unless an element follows there that can follow the last one.
    """
    behind = position
    try:
        while (tag := _tag_at(buffer, behind, little=little)) in DELIMITERS:
            length = read_length(buffer.data, behind + 4, little=little)
            behind += 8
            if tag == ITEM and length == UNDEFINED:
                behind = skip_item(buffer, behind, little=little, depth=0)
            elif tag == ITEM:
                buffer.need(behind + length, behind, "an item")
                behind += length
    except HeaderError:
        return position
    return behind if last_tag < tag <= LAST_PIXEL_TAG else position


def _tag_at(buffer: Buffer, position: int, *, little: bool) -> int:
    buffer.need(position + 8, position, "an element")
    return read_tag(buffer.data, position, little=little)
