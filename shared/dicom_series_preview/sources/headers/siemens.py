"""What a Siemens mosaic says of the slices in it: their number, and which way they go.

A mosaic is one image of a grid of slices (ImageType holds MOSAIC). The standard knows nothing of it. Siemens
says how many slices there are in a private element, and in a header of its own inside one, the CSA header,
which also tells the direction from slice to slice.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.sources.headers.elements import all_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.sources.headers.elements import Item
    from dicom_series_preview.sources.headers.walk import RawElement

_IMAGE_TYPE, _NUMBER_OF_FRAMES = 0x00080008, 0x00280008
_MR_HEADER, _IMAGES_IN_MOSAIC = b"SIEMENS MR HEADER", 0x0A
_CSA_HEADER, _CSA_IMAGE_HEADER = b"SIEMENS CSA HEADER", 0x10
# Real headers have about a hundred tags; a number beyond this is not one.
_MOST_TAGS, _MOST_ITEMS = 4096, 65536
_CSA2 = b"SV10"
_TAG_HEAD, _ITEM_HEAD = struct.Struct("<64si8xi4x"), struct.Struct("<4i")


@dataclass(frozen=True, slots=True)
class Mosaic:
    """What a mosaic says of the slices in it.

    Attributes:
        images: How many there are; 0 where it does not say.
        normal: SliceNormalVector, the direction from each slice to the next in patient coordinates, or None.
    """

    images: int
    normal: tuple[float, float, float] | None


def mosaic_of(elements: Item, raw: Mapping[int, RawElement]) -> Mosaic | None:
    """What a header says of the mosaic that its image is; None where it is none.

    Args:
        elements: The header by value.
        raw: The same as bytes: the CSA header is too long to be kept as a value.
    """
    image_type, frames = elements.get(_IMAGE_TYPE), elements.get(_NUMBER_OF_FRAMES)
    if "MOSAIC" not in all_values(image_type) or (frames is not None and frames.first not in (None, 1)):
        return None
    csa = csa_values(_private(raw, 0x0029, _CSA_HEADER, _CSA_IMAGE_HEADER))
    images = _unsigned_short(_private(raw, 0x0019, _MR_HEADER, _IMAGES_IN_MOSAIC))
    return Mosaic(images or _count(csa.get("NumberOfImagesInMosaic", ())), _normal(csa))


def _private(raw: Mapping[int, RawElement], group: int, creator: bytes, number: int) -> bytes:
    """The bytes of an element in the block that a creator has reserved (PS3.5 7.8.1), or none."""
    for block in range(0x10, 0x100):
        reserved = raw.get(group << 16 | block)
        if reserved is not None and reserved.value.strip(b"\0 ") == creator:
            element = raw.get(group << 16 | block << 8 | number)
            if element is not None:
                # A short is turned to little endian; the CSA header is bytes and always is.
                return element.value if element.little or len(element.value) != 2 else element.value[::-1]
    return b""


def _unsigned_short(value: bytes) -> int:
    return int.from_bytes(value, "little") if len(value) == 2 else 0


def _count(values: tuple[str, ...]) -> int:
    text = values[0] if values else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _normal(csa: Mapping[str, tuple[str, ...]]) -> tuple[float, float, float] | None:
    try:
        x, y, z = (float(text) for text in csa.get("SliceNormalVector", ()))
    except ValueError:
        return None
    length = math.hypot(x, y, z)
    return (x / length, y / length, z / length) if 0 < length < math.inf else None


def csa_values(data: bytes) -> dict[str, tuple[str, ...]]:
    """The values of a CSA header by name, of either version; none at all where it is broken.

    Args:
        data: The header's bytes: tags, and behind each its items, each with its length.
    """
    values = {}
    try:
        is_second = data.startswith(_CSA2)
        position = len(_CSA2) + 4 if is_second else 0
        count: int = struct.unpack_from("<I", data, position)[0]
        position += 8
        excess = None if is_second else _tag(data, position)[2]
        for _ in range(count if count <= _MOST_TAGS else 0):
            name, multiplicity, items = _tag(data, position)
            texts, position = _items(data, position + _TAG_HEAD.size, items, excess)
            values[name] = tuple(texts[:multiplicity] if multiplicity > 0 else texts)
    except (struct.error, ValueError):
        return {}
    return values


def _tag(data: bytes, position: int) -> tuple[str, int, int]:
    """A tag's name, how many values it has (0: as many as items), and how many items follow it."""
    name, multiplicity, items = _TAG_HEAD.unpack_from(data, position)
    if not 0 <= items <= _MOST_ITEMS:
        raise ValueError(items)
    return name.partition(b"\0")[0].decode("ascii"), multiplicity, items


def _items(data: bytes, position: int, count: int, excess: int | None) -> tuple[list[str], int]:
    """A tag's items as text, the empty ones left out, and the offset behind them.

    Version 1 writes their lengths too large, by the number of items that the header's first tag has.
    """
    texts = []
    for _ in range(count):
        heads = _ITEM_HEAD.unpack_from(data, position)
        length = heads[1] if excess is None else heads[0] - excess
        position += _ITEM_HEAD.size
        if not 0 <= length <= len(data) - position:
            raise ValueError(length)
        text = data[position : position + length].partition(b"\0")[0].decode("latin-1").strip()
        if text:
            texts.append(text)
        position += -(-length // 4) * 4
    return texts, position
