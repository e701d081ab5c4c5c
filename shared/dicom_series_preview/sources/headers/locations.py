"""The places of an object's frames, found by their size, an offset table, or their fragments."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.codestreams import begins_an_image
from dicom_series_preview.sources.headers.transfer_syntaxes import NATIVE_TRANSFER_SYNTAXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.base.image import NativeLayout
    from dicom_series_preview.sources.headers.pixel_element import PixelElement
    from dicom_series_preview.sources.headers.scan import Scan
    from dicom_series_preview.sources.headers.walk import RawElement

_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002


@dataclass(frozen=True, slots=True)
class FrameLocation:
    """The place of one frame's data in its object.

    Attributes:
        offset: First byte; of encapsulated data the frame's first fragment item.
        length: Bytes; of encapsulated data they can include the items' heads and what follows the last one.
    """

    offset: int
    length: int


def locate(
    scanned: Scan, pixels: PixelElement, layout: NativeLayout, frames: int, object_size: int
) -> tuple[FrameLocation, ...]:
    """Locate each frame's data; empty where only the whole object shows it.

    Args:
        scanned: The header's structure.
        pixels: The place of the pixels.
        layout: The layout of native frames.
        frames: The number of frames.
        object_size: The object's size in bytes.
    """
    if pixels.length is not None:
        spans = (layout.span(number) for number in range(frames))
        return tuple(FrameLocation(pixels.offset + start, end - start) for start, end, _ in spans)
    if scanned.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
        return ()
    first = pixels.first_fragment
    if frames == 1:
        return (FrameLocation(first, max(0, object_size - first)),)
    extended = _extended_offset_table(scanned.elements, pixels, frames, object_size)
    if extended:
        return extended
    table = pixels.offset_table
    increasing = all(a < b for a, b in pairwise(table))
    if len(table) != frames or table[0] != 0 or not increasing or first + table[-1] >= object_size:
        return ()
    ends = [*(first + offset for offset in table[1:]), object_size]
    return tuple(
        FrameLocation(first + offset, end - first - offset) for offset, end in zip(table, ends, strict=True)
    )


def _extended_offset_table(
    raw: Mapping[int, RawElement], pixels: PixelElement, frames: int, object_size: int
) -> tuple[FrameLocation, ...]:
    """Read the extended offset table (PS3.3 C.7.6.3.1.8): a fragment a frame, 64-bit offsets and lengths."""
    offsets, lengths = raw.get(_EXTENDED_OFFSETS), raw.get(_EXTENDED_LENGTHS)
    if offsets is None or lengths is None or len(offsets.value) != 8 * frames:
        return ()
    if len(lengths.value) != len(offsets.value):
        return ()
    pairs = zip(
        struct.unpack(f"<{frames}Q", offsets.value), struct.unpack(f"<{frames}Q", lengths.value), strict=True
    )
    located = tuple(FrameLocation(pixels.first_fragment + offset, length + 8) for offset, length in pairs)
    beyond = any(location.offset + location.length > object_size for location in located)
    return () if beyond else located


def locate_frames(data: bytes, pixels: PixelElement, frames: int) -> tuple[FrameLocation, ...]:
    """Locate all frames of an encapsulated object whose offset table is missing or wrong.

    The frame where the object breaks off reaches beyond its end. Where every fragment is an image of its own,
    each counts as a frame, whatever the object declares.

    Args:
        data: The whole object.
        pixels: The place of its pixels.
        frames: The number of frames.

    Raises:
        HeaderError: The fragments cannot be split into frames.
    """
    items = []
    position = pixels.first_fragment
    while data[position : position + 4] == b"\xfe\xff\x00\xe0" and position + 8 <= len(data):
        items.append(position)
        position += 8 + struct.unpack_from("<I", data, position + 4)[0]
    starts = items
    if len(items) != frames:
        starts = [item for item in items if begins_an_image(data[item + 8 : item + 12])]
        if not starts or starts[0] != items[0] or len(starts) not in (frames, len(items)):
            raise HeaderError(
                f"broken: {len(items)} fragments for {frames} frames, and no offset table that holds"
            )
    return tuple(FrameLocation(a, b - a) for a, b in pairwise([*starts, position]))
