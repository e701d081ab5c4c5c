"""Walk a DICOM object's structure byte by byte to find its elements, without reading their values.

A header is complete only when the walk has reached a pixel data element, a tag beyond it, or the object's
end. Anything else is `Incomplete`, with the least number of bytes that lets the walk go on, so that a cut-off
value can never pass for a whole one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import HeaderError, NotDicomError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.inflate import inflate, inflated_part
from dicom_series_preview.sources.headers.pixel_element import (
    FIRST_PIXEL_TAG,
    LAST_PIXEL_TAG,
    PIXEL_KEYWORDS,
    PixelElement,
    read_pixels,
)
from dicom_series_preview.sources.headers.repairs import DELIMITERS, behind_stray_items, with_all_items
from dicom_series_preview.sources.headers.transfer_syntaxes import (
    DEFLATED_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    UNCOMPRESSED,
)
from dicom_series_preview.sources.headers.walk import (
    TAG,
    Buffer,
    NeedMoreError,
    RawElement,
    looks_explicit,
    read_element,
    read_tag,
    tag_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSFER_SYNTAX_UID, MEDIA_STORAGE_SOP_CLASS = 0x00020010, 0x00020002
# The group of items and delimiters, which is no element's, and the one that PS3.5 7.1 forbids.
_ILLEGAL_GROUPS = frozenset((0xFFFE, 0xFFFF))
PREFIX, PREFIX_START, DATA_SET_START = b"DICM", 128, 132
_FIRST_INFLATED = 2**16
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Scan:
    """The structure of a complete header.

    Attributes:
        transfer_syntax_uid: As declared; as found, where the object declares none or another native one.
        elements: Every element before the pixels, file meta information (group 0002) included.
        pixels: The place of the pixels, or None without any.
        length: The header's bytes of the object; the next object of the series is likely to need as many.
        deflated: The data set was deflated.
        explicit: The data set is in explicit VR.
        little: The data set is little endian.
        end: The data set's end, counted like the pixels' offset: in the inflated data of a deflated one. None
            where unknown.
    """

    transfer_syntax_uid: str
    elements: Mapping[int, RawElement] = field(repr=False)
    pixels: PixelElement | None
    length: int
    deflated: bool = False
    explicit: bool = True
    little: bool = True
    end: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Incomplete:
    """More bytes are needed.

    Attributes:
        at_least: The least number of bytes, from the object's first, that lets the walk go on.
    """

    at_least: int


def scan(data: bytes, size: int | None, limits: Limits = _LIMITS) -> Scan | Incomplete:
    """Walk an object's first bytes.

    Args:
        data: The object's first bytes, or all of them.
        size: The object's size in bytes; None if not known yet.
        limits: The most bytes of an inflated data set.

    Returns:
        The header's structure, or how many bytes it takes to go on.

    Raises:
        NotDicomError: The bytes are no DICOM object.
        HeaderError: The object is broken or cut off; the reason says at which byte.
    """
    try:
        return _scan(Buffer(data, size), limits)
    except NeedMoreError as need:
        return Incomplete(need.at_least)


def _scan(buffer: Buffer, limits: Limits) -> Scan:
    start = _data_set_start(buffer)
    elements: dict[int, RawElement] = {}
    position = _walk_meta(buffer, start, elements)
    declared = _transfer_syntax(elements)
    if declared == DEFLATED_LITTLE_ENDIAN:
        return _scan_deflated(buffer, position, elements, limits)
    if buffer.at_end(position):
        if not elements or start == DATA_SET_START:
            raise NotDicomError("a DICOM prefix with no data set behind it")
        return Scan(declared or EXPLICIT_LITTLE_ENDIAN, elements, None, position)
    buffer.need(position + 8, position, "the first element")
    little = _is_little(buffer, position, declared)
    explicit = looks_explicit(buffer.data, position)
    pixels, length = walk_data_set(buffer, position, elements, explicit=explicit, little=little)
    if start == 0 and pixels is None and not ({0x00080016, 0x00080018} & elements.keys()):
        raise NotDicomError("not DICOM: neither a DICM prefix nor an SOP class")
    if not declared or declared in UNCOMPRESSED:
        declared = _found_syntax(explicit=explicit, little=little)
    return Scan(declared, elements, pixels, length, explicit=explicit, little=little, end=buffer.size)


def _found_syntax(*, explicit: bool, little: bool) -> str:
    if not little:
        return EXPLICIT_BIG_ENDIAN
    return EXPLICIT_LITTLE_ENDIAN if explicit else IMPLICIT_LITTLE_ENDIAN


def _transfer_syntax(elements: dict[int, RawElement]) -> str:
    element = elements.get(TRANSFER_SYNTAX_UID)
    return element.value.decode("ascii", "replace").strip("\0 ") if element else ""


def _data_set_start(buffer: Buffer) -> int:
    """Return the offset of the first element: behind the preamble, or 0 where there is none."""
    data = buffer.data
    if buffer.size == 0:
        raise NotDicomError("empty object")
    if len(data) < DATA_SET_START and (buffer.size is None or buffer.size > len(data)):
        raise NeedMoreError(min(DATA_SET_START, buffer.size or DATA_SET_START))
    if data.startswith(PREFIX, PREFIX_START):
        return DATA_SET_START
    if not _plausible_start(data):
        raise NotDicomError(_what_it_is(data))
    return 0


def _plausible_start(data: bytes) -> bool:
    """Return True where a data set can begin without preamble: group 0002 or 0008, a VR or sane length."""
    if len(data) < 8:
        return False
    little_group, big_group = struct.unpack_from("<H", data)[0], struct.unpack_from(">H", data)[0]
    if little_group not in (0x0002, 0x0008) and big_group not in (0x0002, 0x0008):
        return False
    return looks_explicit(data, 0) or int(struct.unpack_from("<I", data, 4)[0]) < 2**16


def _what_it_is(data: bytes) -> str:
    """Name a file that is not DICOM, for the report."""
    for magic, name in (
        (b"\x1f\x8b", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"\x89PNG", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"%PDF", "PDF"),
        (b"PAR1", "Parquet"),
    ):
        if data.startswith(magic):
            return f"not DICOM: {name}"
    head = data[:64]
    if all(32 <= byte < 127 or byte in (9, 10, 13) for byte in head):
        return "not DICOM: text"
    return "not DICOM: no DICM prefix, and no data set without one"


def _is_little(buffer: Buffer, position: int, declared: str) -> bool:
    """Return the byte order of the data set; its first group, 0008, shows it better than the declaration."""
    group = buffer.data[position : position + 2]
    if group in (b"\x08\x00", b"\x00\x08"):
        return group == b"\x08\x00"
    return declared != EXPLICIT_BIG_ENDIAN


def _walk_meta(buffer: Buffer, position: int, elements: dict[int, RawElement]) -> int:
    """Walk group 0002: always little endian, explicit VR by the standard, implicit in some real objects."""
    explicit = True
    first = True
    while not buffer.at_end(position):
        buffer.need(position + 8, position, "an element")
        if buffer.data[position : position + 2] != b"\x02\x00":
            break
        if first:
            explicit, first = looks_explicit(buffer.data, position), False
        element, position = read_element(buffer, position, explicit=explicit, little=True)
        elements[element.tag] = element
    return position


def _scan_deflated(buffer: Buffer, position: int, elements: dict[int, RawElement], limits: Limits) -> Scan:
    """Inflate the data set (PS3.5 A.5) as far as its header goes, and walk it; needs the whole object.

    It keeps no more: a few bytes can inflate to a thousand times as many.
    """
    deflated = memoryview(_whole(buffer))[position:]
    length = sum(len(chunk) for chunk in inflate(deflated, limits.inflated_bytes))
    wanted = _FIRST_INFLATED
    while True:
        inflated = inflated_part(deflated, 0, min(wanted, length))
        found = dict(elements)
        try:
            pixels = _walk_inflated(Buffer(inflated, length), found)
        except NeedMoreError as need:
            if need.at_least > limits.header_bytes:
                raise HeaderError(
                    f"its deflated header inflates to more than {limits.header_bytes} bytes"
                ) from None
            wanted = max(need.at_least, 2 * wanted)
            continue
        return Scan(DEFLATED_LITTLE_ENDIAN, found, pixels, len(buffer.data), deflated=True, end=length)


def _walk_inflated(buffer: Buffer, elements: dict[int, RawElement]) -> PixelElement | None:
    buffer.need(8, 0, "the first element")
    explicit = looks_explicit(buffer.data, 0)
    pixels, _ = walk_data_set(buffer, 0, elements, explicit=explicit, little=True)
    return pixels


def _whole(buffer: Buffer) -> bytes:
    """Return all of the object's bytes."""
    if buffer.size is None or len(buffer.data) < buffer.size:
        raise NeedMoreError(buffer.size or 2 * len(buffer.data))
    return buffer.data


def data_set_of(data: bytes, start: int = 0, end: int = 2**31) -> bytes:
    """Return a part of a deflated object's inflated data set, where `PixelElement.offset` counts.

    Raises:
        HeaderError: The object contradicts its index.
    """
    buffer = Buffer(data, len(data))
    elements: dict[int, RawElement] = {}
    try:
        position = _walk_meta(buffer, _data_set_start(buffer), elements)
    except NeedMoreError as need:
        raise HeaderError(f"cut off: {len(data)} bytes, at least {need.at_least} are needed") from need
    return inflated_part(memoryview(data)[position:], start, end)


def walk_data_set(
    buffer: Buffer, position: int, elements: dict[int, RawElement], *, explicit: bool, little: bool
) -> tuple[PixelElement | None, int]:
    """Walk the root data set up to the pixels; return them, and the bytes it took."""
    data, words = buffer.data, TAG[little]
    element: RawElement | None = None
    while not buffer.at_end(position):
        if position + 8 > len(data):
            buffer.need(position + 8, position, "an element")
        group, number = words(data, position)
        tag = group << 16 | number
        if element is not None and (tag == 0 or tag >> 16 in _ILLEGAL_GROUPS):
            element, position = with_all_items(buffer, element, position)
            elements[element.tag] = element
            tag = read_tag(data, position, little=little)
            if tag in DELIMITERS:
                position = behind_stray_items(buffer, position, element.tag, little=little)
                tag = read_tag(data, position, little=little)
        if tag >= FIRST_PIXEL_TAG:
            if tag in PIXEL_KEYWORDS:
                return read_pixels(buffer, position, explicit=explicit, little=little, elements=elements)
            if tag >> 16 in _ILLEGAL_GROUPS:
                raise HeaderError(f"broken: {tag_text(tag)} at byte {position} is no element of a data set")
            if tag > LAST_PIXEL_TAG:
                break
        if tag == 0 and elements:
            _check_padding(buffer, position)
            break
        element, position = read_element(buffer, position, explicit=explicit, little=little)
        elements[tag] = element
    return None, position


def _check_padding(buffer: Buffer, position: int) -> None:
    """Allow zeros between the last element and the object's end; refuse if anything follows them."""
    if any(_whole(buffer)[position:]):
        raise HeaderError(f"broken: zeros at byte {position} stand where an element must")
