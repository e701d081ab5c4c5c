"""Split bytes into raw elements: heads, lengths and items (PS3.5 7), without reading values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from dicom_series_preview.base.errors import HeaderError

ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
MAX_NESTING = 64
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
# True is little endian: group and number of a tag; those, a VR and its 16-bit length.
TAG = {True: struct.Struct("<HH").unpack_from, False: struct.Struct(">HH").unpack_from}
_SHORT_HEAD = {True: struct.Struct("<HH2sH").unpack_from, False: struct.Struct(">HH2sH").unpack_from}
_LENGTH = {True: struct.Struct("<I").unpack_from, False: struct.Struct(">I").unpack_from}


class RawElement(NamedTuple):
    """An element's bytes as they lie in the object; a named tuple, as every element makes one.

    Attributes:
        tag: Group and element number as one integer.
        vr: The VR as stored, or empty in implicit VR.
        value: The value's bytes; of undefined length, without the delimiter at its end.
        explicit: Its data set is in explicit VR.
        little: Its data set is little endian.
        start: Offset of its first byte.
        behind: Offset behind its last byte, its delimiter included.
    """

    tag: int
    vr: str
    value: bytes
    explicit: bool
    little: bool
    start: int
    behind: int


class NeedMoreError(Exception):
    """The walk has run out of bytes; never leaves this module."""

    def __init__(self, at_least: int) -> None:
        self.at_least = at_least


@dataclass(slots=True)
class Buffer:
    """The bytes read so far, and the object's size.

    Attributes:
        data: The bytes.
        size: The object's size, or None where unknown.
    """

    data: bytes
    size: int | None

    def need(self, end: int, at: int, what: str) -> None:
        """Check that bytes up to `end` are there; raise what is missing."""
        if end <= len(self.data):
            return
        if self.size is not None and end > self.size:
            raise HeaderError(
                f"cut off: {what} at byte {at} reaches to byte {end}, and the object ends at byte {self.size}"
            )
        raise NeedMoreError(end)

    def at_end(self, position: int) -> bool:
        """Return True where the object ends here; up to 7 zeros are no element but padding."""
        if self.size is None or position + 8 <= self.size:
            return False
        if len(self.data) < self.size:
            raise NeedMoreError(self.size)
        if self.data[position:].strip(b"\0"):
            raise HeaderError(
                f"cut off: an element begins at byte {position}, and the object ends at byte {self.size}"
            )
        return True


def looks_explicit(data: bytes, position: int) -> bool:
    """Return True where the element here has a VR; real objects do not always match their declaration."""
    return data[position + 4 : position + 6] in _VRS


def read_tag(data: bytes, position: int, *, little: bool) -> int:
    """Read the tag at a position."""
    group, number = TAG[little](data, position)
    return int(group) << 16 | int(number)


def read_length(data: bytes, position: int, *, little: bool) -> int:
    """Read the 32-bit length at a position."""
    length: int = _LENGTH[little](data, position)[0]
    return length


def element_head(buffer: Buffer, position: int, *, explicit: bool, little: bool) -> tuple[str, int, int]:
    """Read a head: VR (empty in implicit VR), length, and offset of the value."""
    data = buffer.data
    if explicit:
        _, _, vr, length = _SHORT_HEAD[little](data, position)
        if vr in _SHORT_VR_NAMES:
            return _SHORT_VR_NAMES[vr], length, position + 8
        if vr in _LONG_VRS or (vr.isalpha() and vr.isupper()):
            # VRs added to the standard later have the long form (PS3.5 6.2.2).
            buffer.need(position + 12, position, "an element")
            return _LONG_VR_NAMES.get(vr, "UN"), read_length(data, position + 8, little=little), position + 12
    return "", read_length(data, position + 4, little=little), position + 8


def read_element(buffer: Buffer, position: int, *, explicit: bool, little: bool) -> tuple[RawElement, int]:
    """Read the element here, and the offset behind it."""
    data = buffer.data
    group, number, stored, length = _SHORT_HEAD[little](data, position)
    tag, vr = group << 16 | number, _SHORT_VR_NAMES.get(stored) if explicit else None
    if vr is not None:
        start = position + 8
    else:
        vr, length, start = element_head(buffer, position, explicit=explicit, little=little)
    if length == UNDEFINED:
        # UN of undefined length is implicit VR inside (PS3.5 6.2.2); the items show their own.
        end, behind = skip_items(buffer, start, little=little)
    else:
        end = behind = start + length
        if end > len(data):
            buffer.need(end, position, f"element {tag_text(tag)}")
    return RawElement(tag, vr, data[start:end], explicit, little, position, behind), behind


def tag_text(tag: int) -> str:
    """Write a tag as people do: (0028,0010)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def skip_items(buffer: Buffer, position: int, *, little: bool, depth: int = 0) -> tuple[int, int]:
    """Walk the items of an undefined length; return the delimiter's offset, and the one behind it."""
    if depth > MAX_NESTING:
        raise HeaderError(f"broken: sequences nested deeper than {MAX_NESTING} at byte {position}")
    there = len(buffer.data)
    while True:
        if position + 8 > there:
            buffer.need(position + 8, position, "an item")
        tag = read_tag(buffer.data, position, little=little)
        if tag == SEQUENCE_DELIMITER:
            return position, position + 8
        if tag != ITEM:
            _not_an_item(tag, position)
        length = read_length(buffer.data, position + 4, little=little)
        position += 8
        if length == UNDEFINED:
            position = skip_item(buffer, position, little=little, depth=depth)
        else:
            buffer.need(position + length, position - 8, "an item")
            position += length


def _not_an_item(tag: int, position: int) -> NoReturn:
    raise HeaderError(f"broken: {tag_text(tag)} at byte {position} stands where an item must")


def skip_item(buffer: Buffer, position: int, *, little: bool, depth: int) -> int:
    """Walk one item of undefined length; return the offset behind its delimiter."""
    data, there = buffer.data, len(buffer.data)
    head, explicit = _SHORT_HEAD[little], None
    while True:
        if position + 8 > there:
            buffer.need(position + 8, position, "an element")
        group, number, vr, length = head(data, position)
        tag = group << 16 | number
        if tag == ITEM_DELIMITER:
            return position + 8
        if tag == SEQUENCE_DELIMITER:
            # An unclosed item in a closed sequence: the sequence's end serves both.
            return position
        if explicit is None:
            explicit = looks_explicit(data, position)
        start = position + 8
        if not (explicit and vr in _SHORT_VRS):
            _, length, start = element_head(buffer, position, explicit=explicit, little=little)
        if length == UNDEFINED:
            _, position = skip_items(buffer, start, little=little, depth=depth + 1)
            continue
        if start + length > there:
            buffer.need(start + length, position, f"element {tag_text(tag)}")
        position = start + length


def item_at(value: bytes, position: int, *, little: bool) -> tuple[int, int | None] | None:
    """Find the item that begins here in a sequence's value; None behind the last item.

    Returns:
        The offset of its content, and its end, or None where a delimiter ends it.

    Raises:
        HeaderError: There is no item here, or it is cut off.
    """
    # Up to 7 bytes behind the last item are too few for another.
    if position + 8 > len(value):
        return None
    tag = read_tag(value, position, little=little)
    if tag == SEQUENCE_DELIMITER:
        return None
    if tag != ITEM:
        _not_an_item(tag, position)
    length = read_length(value, position + 4, little=little)
    start = position + 8
    if length == UNDEFINED:
        return start, None
    Buffer(value, len(value)).need(start + length, position, "an item")
    return start, start + length


def read_item(
    value: bytes, position: int, end: int | None, *, little: bool
) -> tuple[dict[int, RawElement], int]:
    """Read the elements of an item, and the offset behind it.

    Args:
        value: The sequence's value.
        position: The offset of the item's content.
        end: The content's end, or None where a delimiter ends it.
        little: The data set is little endian.

    Raises:
        HeaderError: The item is broken or cut off.
    """
    buffer = Buffer(value, len(value))
    item: dict[int, RawElement] = {}
    explicit = None
    while end is None or position + 8 <= end:
        if position + 8 > len(value):
            buffer.need(position + 8, position, "an element")
        tag = read_tag(value, position, little=little)
        if tag == ITEM_DELIMITER:
            return item, position + 8
        if tag == SEQUENCE_DELIMITER:
            return item, position
        if explicit is None:
            explicit = looks_explicit(value, position)
        item[tag], position = read_element(buffer, position, explicit=explicit, little=little)
    return item, end if end is not None else position


def swapped_words(raw: bytes) -> bytes:
    """Swap big endian 16-bit words to little endian."""
    even = raw[: len(raw) & ~1]
    return struct.pack(f"<{len(even) // 2}H", *struct.unpack(f">{len(even) // 2}H", even))
