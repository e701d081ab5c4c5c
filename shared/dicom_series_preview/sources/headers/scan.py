"""Where the elements of a DICOM object lie: its structure, walked byte by byte, no value interpreted.

A header is complete only when the walk has reached a pixel data element, a tag beyond it, or the object's
end. Anything else answers `Incomplete` with the least number of bytes that lets the walk go on, so that a
value that was cut off can never pass for a value.
"""

from __future__ import annotations

import struct
import sys
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from dicom_series_preview.base.errors import HeaderError, NotDicomError
from dicom_series_preview.base.image import GE_PRIVATE_BIG_ENDIAN
from dicom_series_preview.base.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_UNCOMPRESSED = frozenset((IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN))
# Of these the pixels are native: not encapsulated in fragments (PS3.5 A.1-A.3, A.5).
NATIVE_TRANSFER_SYNTAXES = _UNCOMPRESSED | {DEFLATED_LITTLE_ENDIAN, GE_PRIVATE_BIG_ENDIAN}

PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
NUMBER_OF_FRAMES = 0x00280008
TRANSFER_SYNTAX_UID = 0x00020010

_FIRST_PIXEL_TAG, _LAST_PIXEL_TAG = 0x7FE00008, 0x7FE00010
_ITEM = 0xFFFEE000
_ITEM_DELIMITER = 0xFFFEE00D
_SEQUENCE_DELIMITER = 0xFFFEE0DD
_DELIMITERS = frozenset((_ITEM, _ITEM_DELIMITER, _SEQUENCE_DELIMITER))
UNDEFINED = 0xFFFFFFFF
# Delimiters of items that are not open, and the group that PS3.5 7.1 forbids.
_ILLEGAL_GROUPS = frozenset((0xFFFE, 0xFFFF))
PREFIX, PREFIX_START, DATA_SET_START = b"DICM", 128, 132
_FIRST_INFLATED, _DEFLATED_AT_ONCE, _INFLATED_AT_ONCE = 2**16, 2**16, 2**20
MAX_NESTING = 64
_LIMITS = Limits()

# PS3.5 Table 7.1-1: these have two reserved bytes and a 32-bit length in explicit VR.
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(),
)
_VRS = _LONG_VRS | _SHORT_VRS
SHORT_VRS = frozenset(vr.decode() for vr in _SHORT_VRS)
_LONG_VR_NAMES = {vr: vr.decode() for vr in _LONG_VRS}
_SHORT_VR_NAMES = {vr: vr.decode() for vr in _SHORT_VRS}
# By whether the bytes are little endian: group and number of a tag; those, a VR and its 16-bit length.
_TAG = {True: struct.Struct("<HH").unpack_from, False: struct.Struct(">HH").unpack_from}
_SHORT_HEAD = {True: struct.Struct("<HH2sH").unpack_from, False: struct.Struct(">HH2sH").unpack_from}
_LENGTH = {True: struct.Struct("<I").unpack_from, False: struct.Struct(">I").unpack_from}


class RawElement(NamedTuple):
    """An element's bytes as they lie in the object: the one value here that is made for every element.

    Attributes:
        tag: Group and element number as one integer.
        vr: The VR as stored, or empty in implicit VR.
        value: The value's bytes; of an undefined length without the delimiter at its end.
        explicit: The data set that holds it is in explicit VR.
        little: The data set that holds it is little endian.
        start: Offset of its first byte in what was walked.
        behind: Offset behind its last byte, that of a delimiter included.
    """

    tag: int
    vr: str
    value: bytes
    explicit: bool
    little: bool
    start: int
    behind: int


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where an object's pixels lie.

    Attributes:
        keyword: `PixelData`, `FloatPixelData` or `DoubleFloatPixelData`.
        offset: Byte offset of the value. In a deflated object it counts in the inflated data set.
        length: Length of the value in bytes, or None where it is undefined: the value is encapsulated
            (PS3.5 A.4).
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


@dataclass(frozen=True, slots=True)
class Scan:
    """The structure of a complete header.

    Attributes:
        transfer_syntax_uid: As declared, or as found where the object declares none or is another native one
            than it declares.
        elements: Every element before the pixels, file meta information (group 0002) included.
        pixels: Where the pixels lie, or None in an object without.
        length: How many bytes of the object it took; what the next object of the series is likely to need.
        deflated: The data set was deflated.
        explicit: It is in explicit VR.
        little: It is little endian.
        end: Where the data set ends, counted as the pixels' offset is: of a deflated one when inflated. None
            where that is not known.
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
        at_least: The smallest number of bytes, from the object's first, with which the walk gets further.
    """

    at_least: int


class _NeedMoreError(Exception):
    """The walk has left the bytes there are; never leaves this module."""

    def __init__(self, at_least: int) -> None:
        self.at_least = at_least


def scan(data: bytes, size: int | None, limits: Limits = _LIMITS) -> Scan | Incomplete:
    """Walk an object's first bytes.

    Args:
        data: The object's first bytes, or all of them.
        size: The object's size in bytes; None where it is not known yet.
        limits: How far a deflated data set is inflated.

    Returns:
        The header's structure, or how many bytes it takes to get on.

    Raises:
        NotDicomError: The bytes are no DICOM object.
        HeaderError: They are one, but broken or cut off; the reason says at which byte.
    """
    try:
        return _scan(Buffer(data, size), limits)
    except _NeedMoreError as need:
        return Incomplete(need.at_least)


@dataclass(slots=True)
class Buffer:
    """The bytes at hand, and the knowledge of where the object ends.

    Attributes:
        data: The bytes.
        size: The object's size, or None where it is unknown.
    """

    data: bytes
    size: int | None

    def need(self, end: int, at: int, what: str) -> None:
        """Make sure that bytes up to `end` are there, or say which way they are not."""
        if end <= len(self.data):
            return
        if self.size is not None and end > self.size:
            raise HeaderError(
                f"cut off: {what} at byte {at} reaches to byte {end}, and the object ends at byte {self.size}"
            )
        raise _NeedMoreError(end)

    def at_end(self, position: int) -> bool:
        """Whether the object ends here; up to 7 zeros cannot be an element and are padding."""
        if self.size is None or position + 8 <= self.size:
            return False
        if len(self.data) < self.size:
            raise _NeedMoreError(self.size)
        if self.data[position:].strip(b"\0"):
            raise HeaderError(
                f"cut off: an element begins at byte {position}, and the object ends at byte {self.size}"
            )
        return True


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
    pixels, length = _walk_data_set(buffer, position, elements, explicit=explicit, little=little)
    if start == 0 and pixels is None and not ({0x00080016, 0x00080018} & elements.keys()):
        raise NotDicomError("not DICOM: neither a DICM prefix nor an SOP class")
    if not declared or declared in _UNCOMPRESSED:
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
    """The offset of the first element: behind the preamble, or 0 where there is none."""
    data = buffer.data
    if buffer.size == 0:
        raise NotDicomError("empty object")
    if len(data) < DATA_SET_START and (buffer.size is None or buffer.size > len(data)):
        raise _NeedMoreError(min(DATA_SET_START, buffer.size or DATA_SET_START))
    if data.startswith(PREFIX, PREFIX_START):
        return DATA_SET_START
    if not _plausible_start(data):
        raise NotDicomError(_what_it_is(data))
    return 0


def _plausible_start(data: bytes) -> bool:
    """Whether a data set without preamble may begin here: group 0002 or 0008, then a VR or a sane length."""
    if len(data) < 8:
        return False
    little_group, big_group = struct.unpack_from("<H", data)[0], struct.unpack_from(">H", data)[0]
    if little_group not in (0x0002, 0x0008) and big_group not in (0x0002, 0x0008):
        return False
    return looks_explicit(data, 0) or int(struct.unpack_from("<I", data, 4)[0]) < 2**16


def _what_it_is(data: bytes) -> str:
    """Name what is not DICOM, for the report."""
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


def looks_explicit(data: bytes, position: int) -> bool:
    """Whether the element here carries a VR; declared and actual encoding differ in real objects."""
    return data[position + 4 : position + 6] in _VRS


def _is_little(buffer: Buffer, position: int, declared: str) -> bool:
    """The byte order of the data set: group 0008, which comes first, tells better than the declaration."""
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
        element, position = _read_element(buffer, position, explicit=explicit, little=True)
        elements[element.tag] = element
    return position


def _scan_deflated(buffer: Buffer, position: int, elements: dict[int, RawElement], limits: Limits) -> Scan:
    """Inflate the data set (PS3.5 A.5) as far as its header goes, and walk it; it takes the whole object.

    No more of it is kept: a few bytes can inflate to a thousand times as many.
    """
    deflated = memoryview(_whole(buffer))[position:]
    length = sum(len(chunk) for chunk in _inflate(deflated, limits.inflated_bytes))
    wanted = _FIRST_INFLATED
    while True:
        inflated = inflated_part(deflated, 0, min(wanted, length))
        found = dict(elements)
        try:
            pixels = _walk_inflated(Buffer(inflated, length), found)
        except _NeedMoreError as need:
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
    pixels, _ = _walk_data_set(buffer, 0, elements, explicit=explicit, little=True)
    return pixels


def _whole(buffer: Buffer) -> bytes:
    """All of the object's bytes."""
    if buffer.size is None or len(buffer.data) < buffer.size:
        raise _NeedMoreError(buffer.size or 2 * len(buffer.data))
    return buffer.data


def _inflate(data: bytes | memoryview, limit: int) -> Iterator[bytes]:
    """Inflate a raw deflate stream (PS3.5 A.5), a part at a time.

    Raises:
        HeaderError: It is broken, cut off, or inflates to more than `limit` bytes.
    """
    stream, total = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
    for at in range(0, len(data), _DEFLATED_AT_ONCE):
        rest = bytes(data[at : at + _DEFLATED_AT_ONCE])
        is_full = True
        while is_full and not stream.eof:
            try:
                chunk = stream.decompress(rest, _INFLATED_AT_ONCE)
            except zlib.error as error:
                raise HeaderError(f"the deflated data set is broken: {error}") from error
            rest, total = stream.unconsumed_tail, total + len(chunk)
            # A chunk that is full may have left something behind, of the input or inside zlib.
            is_full = len(chunk) == _INFLATED_AT_ONCE
            if total > limit:
                raise HeaderError(f"its deflated data set inflates to more than {limit} bytes")
            yield chunk
        if stream.eof:
            return
    raise HeaderError("cut off: the deflated data set has no end")


def inflated_part(data: bytes | memoryview, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of what a raw deflate stream inflates to; fewer where it ends before.

    Raises:
        HeaderError: It is broken, or cut off before `end`.
    """
    kept, position = bytearray(), 0
    for chunk in _inflate(data, sys.maxsize):
        kept += chunk[max(0, start - position) : max(0, end - position)]
        position += len(chunk)
        if position >= end:
            break
    return bytes(kept)


def data_set_of(data: bytes, start: int = 0, end: int = 2**31) -> bytes:
    """A part of the inflated data set of a whole deflated object, in which `PixelElement.offset` counts.

    Raises:
        HeaderError: The object is not what its index says.
    """
    buffer = Buffer(data, len(data))
    elements: dict[int, RawElement] = {}
    try:
        position = _walk_meta(buffer, _data_set_start(buffer), elements)
    except _NeedMoreError as need:
        raise HeaderError(f"cut off: {len(data)} bytes, at least {need.at_least} are needed") from need
    return inflated_part(memoryview(data)[position:], start, end)


def _walk_data_set(
    buffer: Buffer, position: int, elements: dict[int, RawElement], *, explicit: bool, little: bool
) -> tuple[PixelElement | None, int]:
    """Walk the root data set up to the pixels; returns them, and the bytes it took."""
    data, words = buffer.data, _TAG[little]
    element: RawElement | None = None
    while not buffer.at_end(position):
        if position + 8 > len(data):
            buffer.need(position + 8, position, "an element")
        group, number = words(data, position)
        tag = group << 16 | number
        if element is not None and (tag == 0 or tag >> 16 in _ILLEGAL_GROUPS):
            element, position = _with_all_items(buffer, element, position)
            elements[element.tag] = element
            tag = _tag(data, position, little=little)
            if tag in _DELIMITERS:
                position = _behind_stray_items(buffer, position, element.tag, little=little)
                tag = _tag(data, position, little=little)
        if tag >= _FIRST_PIXEL_TAG:
            if tag in PIXEL_KEYWORDS:
                return _read_pixels(buffer, position, explicit=explicit, little=little, elements=elements)
            if tag >> 16 in _ILLEGAL_GROUPS:
                raise HeaderError(f"broken: {tag_text(tag)} at byte {position} is no element of a data set")
            if tag > _LAST_PIXEL_TAG:
                break
        if tag == 0 and elements:
            _check_padding(buffer, position)
            break
        element, position = _read_element(buffer, position, explicit=explicit, little=little)
        elements[tag] = element
    return None, position


def _with_all_items(buffer: Buffer, element: RawElement, behind: int) -> tuple[RawElement, int]:
    """The element, and the offset behind it, by its items where its length is another than they have.

    Some writers count a sequence's length a few bytes short, so that the walk goes on inside it. Its items
    are believed only where they end at an element that may follow it; else the element stays as it is.
    """
    start = position = behind - len(element.value)
    try:
        while _tag_at(buffer, position, little=element.little) == _ITEM:
            length = _length(buffer.data, position + 4, little=element.little)
            position += 8
            if length == UNDEFINED:
                position = _skip_item(buffer, position, little=element.little, depth=0)
            else:
                buffer.need(position + length, position, "an item")
                position += length
        following = _tag_at(buffer, position, little=element.little)
    except HeaderError:
        return element, behind
    if position == start or not element.tag < following <= _LAST_PIXEL_TAG:
        return element, behind
    return element._replace(value=buffer.data[start:position], behind=position), position


def _behind_stray_items(buffer: Buffer, position: int, last_tag: int, *, little: bool) -> int:
    """The offset behind items and delimiters that stand in no sequence: some writers leave its head out.

    It is `position` unless an element follows there that may follow the last one.
    """
    behind = position
    try:
        while (tag := _tag_at(buffer, behind, little=little)) in _DELIMITERS:
            length = _length(buffer.data, behind + 4, little=little)
            behind += 8
            if tag == _ITEM and length == UNDEFINED:
                behind = _skip_item(buffer, behind, little=little, depth=0)
            elif tag == _ITEM:
                buffer.need(behind + length, behind, "an item")
                behind += length
    except HeaderError:
        return position
    return behind if last_tag < tag <= _LAST_PIXEL_TAG else position


def _tag_at(buffer: Buffer, position: int, *, little: bool) -> int:
    buffer.need(position + 8, position, "an element")
    return _tag(buffer.data, position, little=little)


def _check_padding(buffer: Buffer, position: int) -> None:
    """Zeros may follow the last element up to the object's end; anything behind them was its middle."""
    if any(_whole(buffer)[position:]):
        raise HeaderError(f"broken: zeros at byte {position} stand where an element must")


def _tag(data: bytes, position: int, *, little: bool) -> int:
    group, number = _TAG[little](data, position)
    return int(group) << 16 | int(number)


def _length(data: bytes, position: int, *, little: bool) -> int:
    length: int = _LENGTH[little](data, position)[0]
    return length


def _element_head(buffer: Buffer, position: int, *, explicit: bool, little: bool) -> tuple[str, int, int]:
    """VR (empty in implicit VR), length, and offset of the value."""
    data = buffer.data
    if explicit:
        _, _, vr, length = _SHORT_HEAD[little](data, position)
        if vr in _SHORT_VR_NAMES:
            return _SHORT_VR_NAMES[vr], length, position + 8
        if vr in _LONG_VRS or (vr.isalpha() and vr.isupper()):
            # A VR that the standard has added since has the long form (PS3.5 6.2.2).
            buffer.need(position + 12, position, "an element")
            return _LONG_VR_NAMES.get(vr, "UN"), _length(data, position + 8, little=little), position + 12
    return "", _length(data, position + 4, little=little), position + 8


def _read_element(buffer: Buffer, position: int, *, explicit: bool, little: bool) -> tuple[RawElement, int]:
    """The element here, and the offset behind it."""
    data = buffer.data
    group, number, stored, length = _SHORT_HEAD[little](data, position)
    tag, vr = group << 16 | number, _SHORT_VR_NAMES.get(stored) if explicit else None
    if vr is not None:
        start = position + 8
    else:
        vr, length, start = _element_head(buffer, position, explicit=explicit, little=little)
    if length == UNDEFINED:
        # UN of undefined length is implicit VR inside (PS3.5 6.2.2); the items say for themselves.
        end, behind = _skip_items(buffer, start, little=little)
    else:
        end = behind = start + length
        if end > len(data):
            buffer.need(end, position, f"element {tag_text(tag)}")
    return RawElement(tag, vr, data[start:end], explicit, little, position, behind), behind


def tag_text(tag: int) -> str:
    """A tag as people write it: (0028,0010)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _skip_items(buffer: Buffer, position: int, *, little: bool, depth: int = 0) -> tuple[int, int]:
    """Walk the items of an undefined length: offset of the delimiter, and the offset behind it."""
    if depth > MAX_NESTING:
        raise HeaderError(f"broken: sequences nested deeper than {MAX_NESTING} at byte {position}")
    there = len(buffer.data)
    while True:
        if position + 8 > there:
            buffer.need(position + 8, position, "an item")
        tag = _tag(buffer.data, position, little=little)
        if tag == _SEQUENCE_DELIMITER:
            return position, position + 8
        if tag != _ITEM:
            _not_an_item(tag, position)
        length = _length(buffer.data, position + 4, little=little)
        position += 8
        if length == UNDEFINED:
            position = _skip_item(buffer, position, little=little, depth=depth)
        else:
            buffer.need(position + length, position - 8, "an item")
            position += length


def _not_an_item(tag: int, position: int) -> NoReturn:
    raise HeaderError(f"broken: {tag_text(tag)} at byte {position} stands where an item must")


def _skip_item(buffer: Buffer, position: int, *, little: bool, depth: int) -> int:
    """Walk one item of undefined length; returns the offset behind its delimiter."""
    data, there = buffer.data, len(buffer.data)
    head, explicit = _SHORT_HEAD[little], None
    while True:
        if position + 8 > there:
            buffer.need(position + 8, position, "an element")
        group, number, vr, length = head(data, position)
        tag = group << 16 | number
        if tag == _ITEM_DELIMITER:
            return position + 8
        if tag == _SEQUENCE_DELIMITER:
            # An item that is not closed before its sequence is: the sequence's end serves both.
            return position
        if explicit is None:
            explicit = looks_explicit(data, position)
        start = position + 8
        if not (explicit and vr in _SHORT_VRS):
            _, length, start = _element_head(buffer, position, explicit=explicit, little=little)
        if length == UNDEFINED:
            _, position = _skip_items(buffer, start, little=little, depth=depth + 1)
            continue
        if start + length > there:
            buffer.need(start + length, position, f"element {tag_text(tag)}")
        position = start + length


def item_at(value: bytes, position: int, *, little: bool) -> tuple[int, int | None] | None:
    """Where an item of a sequence's value begins and, unless a delimiter tells, ends; None behind the last.

    Raises:
        HeaderError: What is here is no item, or is cut off.
    """
    # Up to 7 bytes behind the last item cannot be one.
    if position + 8 > len(value):
        return None
    tag = _tag(value, position, little=little)
    if tag == _SEQUENCE_DELIMITER:
        return None
    if tag != _ITEM:
        _not_an_item(tag, position)
    length = _length(value, position + 4, little=little)
    start = position + 8
    if length == UNDEFINED:
        return start, None
    Buffer(value, len(value)).need(start + length, position, "an item")
    return start, start + length


def read_item(
    value: bytes, position: int, end: int | None, *, little: bool
) -> tuple[dict[int, RawElement], int]:
    """The elements of an item, and the offset behind it.

    Args:
        value: The sequence's.
        position: Where the item's content begins.
        end: Where it ends, or None where a delimiter tells.
        little: The data set is little endian.

    Raises:
        HeaderError: It is broken or cut off.
    """
    buffer = Buffer(value, len(value))
    item: dict[int, RawElement] = {}
    explicit = None
    while end is None or position + 8 <= end:
        if position + 8 > len(value):
            buffer.need(position + 8, position, "an element")
        tag = _tag(value, position, little=little)
        if tag == _ITEM_DELIMITER:
            return item, position + 8
        if tag == _SEQUENCE_DELIMITER:
            return item, position
        if explicit is None:
            explicit = looks_explicit(value, position)
        item[tag], position = _read_element(buffer, position, explicit=explicit, little=little)
    return item, end if end is not None else position


def items_end(data: bytes, position: int, *, little: bool) -> tuple[int, int] | None:
    """Of the items of an undefined length the delimiter's offset, and the one behind it.

    None where they are broken, or not all there.
    """
    try:
        return _skip_items(Buffer(data, None), position, little=little)
    except (_NeedMoreError, HeaderError):
        return None


def scan_on(buffer: Buffer, position: int, like: Scan, elements: Mapping[int, RawElement]) -> Scan | None:
    """The scan of an object whose elements up to its pixels are known.

    Args:
        buffer: The object.
        position: The offset behind the last of those elements.
        like: The scan of an object that is laid out alike.
        elements: The elements of this one.

    Returns:
        None where the object goes on in another way, is broken, or is not all there yet: `scan` tells.
    """
    explicit, little = like.explicit, like.little
    # The walk asks for this one, and whether there is any.
    first = next(iter(elements))
    found = {first: elements[first]}
    if NUMBER_OF_FRAMES in elements:
        found[NUMBER_OF_FRAMES] = elements[NUMBER_OF_FRAMES]
    known = len(found)
    try:
        pixels, length = _walk_data_set(buffer, position, found, explicit=explicit, little=little)
    except (_NeedMoreError, HeaderError):
        return None
    if len(found) != known or (pixels is None) != (like.pixels is None):
        return None
    return Scan(
        like.transfer_syntax_uid, elements, pixels, length, explicit=explicit, little=little, end=buffer.size
    )


def _read_pixels(
    buffer: Buffer, position: int, *, explicit: bool, little: bool, elements: dict[int, RawElement]
) -> tuple[PixelElement, int]:
    """The pixel data element: where its value lies, and its basic offset table (PS3.5 A.4)."""
    keyword = PIXEL_KEYWORDS[_tag(buffer.data, position, little=little)]
    vr, length, start = _element_head(buffer, position, explicit=explicit, little=little)
    if length != UNDEFINED:
        return PixelElement(keyword, start, length, vr=vr), start
    if buffer.size is not None and start + 8 > buffer.size:
        return PixelElement(keyword, start, None, (), start), start
    buffer.need(start + 8, start, "the basic offset table")
    tag = _tag(buffer.data, start, little=little)
    table_length = _length(buffer.data, start + 4, little=little)
    if tag != _ITEM or table_length == UNDEFINED:
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
