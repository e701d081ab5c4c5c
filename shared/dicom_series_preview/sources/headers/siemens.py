"""The facts that a Siemens mosaic gives about its slices: their number and direction.

A mosaic is one image with a grid of slices (ImageType holds MOSAIC). It is not part of the standard. Siemens
writes the number of slices in a private element and in its own CSA header, inside another, which also has the
direction from slice to slice.
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
# Real headers have about a hundred tags; a greater number is damage.
_MOST_TAGS, _MOST_ITEMS = 4096, 65536
_CSA2 = b"SV10"
_TAG_HEAD, _ITEM_HEAD = struct.Struct("<64si8xi4x"), struct.Struct("<4i")


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A mosaic's facts about its slices.

    Attributes:
        images: The number of slices; 0 where it is not given.
        normal: SliceNormalVector, the direction from each slice to the next in patient coordinates, or None.
    """

    images: int
    normal: tuple[float, float, float] | None


def mosaic_of(elements: Item, raw: Mapping[int, RawElement]) -> Mosaic | None:
    """Read a mosaic's facts from a header; None where the image is no mosaic.

    Args:
        elements: The header's values.
        raw: Its bytes: values do not keep the long CSA header.
    """
    image_type, frames = elements.get(_IMAGE_TYPE), elements.get(_NUMBER_OF_FRAMES)
    if "MOSAIC" not in all_values(image_type) or (frames is not None and frames.first not in (None, 1)):
        return None
    csa = csa_values(_private(raw, 0x0029, _CSA_HEADER, _CSA_IMAGE_HEADER))
    images = _unsigned_short(_private(raw, 0x0019, _MR_HEADER, _IMAGES_IN_MOSAIC))
    return Mosaic(images or _count(csa.get("NumberOfImagesInMosaic", ())), _normal(csa))


def _private(raw: Mapping[int, RawElement], group: int, creator: bytes, number: int) -> bytes:
    """Return the bytes of an element in a creator's reserved block (PS3.5 7.8.1), or none."""
    for block in range(0x10, 0x100):
        reserved = raw.get(group << 16 | block)
        if reserved is not None and reserved.value.strip(b"\0 ") == creator:
            element = raw.get(group << 16 | block << 8 | number)
            if element is not None:
                # Turn a short to little endian; the CSA header always is.
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
    """Return the values of a CSA header by name, of either version; none at all where it is broken.

    Args:
        data: The header's bytes: tags, each followed by its items with their lengths.
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
    """Read a tag's name, its number of values (0: as many as items), and its number of items."""
    name, multiplicity, items = _TAG_HEAD.unpack_from(data, position)
    if not 0 <= items <= _MOST_ITEMS:
        raise ValueError(items)
    return name.partition(b"\0")[0].decode("ascii"), multiplicity, items


def _items(data: bytes, position: int, count: int, excess: int | None) -> tuple[list[str], int]:
    """Read a tag's items as text, without the empty ones, and the offset behind them.

    Version 1 writes their lengths too large, by the number of items in the header's first tag.
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
