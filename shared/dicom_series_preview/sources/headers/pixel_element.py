"""The pixel data element: the place of its value, and its basic offset table (PS3.5 A.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dicom_series_preview.sources.headers.walk import (
    ITEM,
    UNDEFINED,
    Buffer,
    RawElement,
    element_head,
    read_length,
    read_tag,
)

PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
NUMBER_OF_FRAMES = 0x00280008
FIRST_PIXEL_TAG, LAST_PIXEL_TAG = 0x7FE00008, 0x7FE00010


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The place of an object's pixels.

    Attributes:
        keyword: `PixelData`, `FloatPixelData` or `DoubleFloatPixelData`.
        offset: Byte offset of the value; of a deflated object, in the inflated data set.
        length: Length of the value in bytes, or None where undefined: the value is encapsulated (PS3.5 A.4).
        offset_table: Encapsulated: the basic offset table, empty where the object has none.
        first_fragment: Encapsulated: byte offset of the item that follows the basic offset table.
        vr: Native: its VR, or empty in implicit VR.
    """

    keyword: str
    offset: int
    length: int | None
    offset_table: tuple[int, ...] = ()
    first_fragment: int = 0
    vr: str = ""


def read_pixels(
    buffer: Buffer, position: int, *, explicit: bool, little: bool, elements: dict[int, RawElement]
) -> tuple[PixelElement, int]:
    """Read the pixel data element: the place of its value, and its basic offset table (PS3.5 A.4)."""
    keyword = PIXEL_KEYWORDS[read_tag(buffer.data, position, little=little)]
    vr, length, start = element_head(buffer, position, explicit=explicit, little=little)
    if length != UNDEFINED:
        return PixelElement(keyword, start, length, vr=vr), start
    if buffer.size is not None and start + 8 > buffer.size:
        return PixelElement(keyword, start, None, (), start), start
    buffer.need(start + 8, start, "the basic offset table")
    tag = read_tag(buffer.data, start, little=little)
    table_length = read_length(buffer.data, start + 4, little=little)
    if tag != ITEM or table_length == UNDEFINED:
        return PixelElement(keyword, start, None, (), start), start + 8
    first_fragment = start + 8 + table_length
    if not table_length or not _is_multi_frame(elements):
        return PixelElement(keyword, start, None, (), first_fragment), start + 8
    if buffer.size is not None and first_fragment > buffer.size:
        return PixelElement(keyword, start, None, (), start), start + 8
    buffer.need(first_fragment, start, "the basic offset table")
    table = struct.unpack_from(f"<{table_length // 4}I", buffer.data, start + 8)
    return PixelElement(keyword, start, None, table, first_fragment), first_fragment


def _is_multi_frame(elements: dict[int, RawElement]) -> bool:
    element = elements.get(NUMBER_OF_FRAMES)
    return element is not None and element.value.strip(b"\0 ") not in (b"", b"1")
