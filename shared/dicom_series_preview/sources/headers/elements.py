"""Elements with their values.

The value model is DICOM's own: text, numbers, tags, bulk (by size and hash), and items.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE_TEXT_VRS = frozenset(("LT", "ST", "UT", "UR"))
INTEGER_VRS = frozenset(("IS", "US", "SS", "UL", "SL", "UV", "SV"))
REAL_VRS = frozenset(("DS", "FL", "FD"))
BULK_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


@dataclass(frozen=True, slots=True)
class Bulk:
    """A binary value: size and hash, and the bytes only where it is short or a lookup table.

    Attributes:
        size: Bytes.
        sha256: Hexadecimal digest of the bytes as stored.
        data: The bytes, or None.
    """

    size: int
    sha256: str
    data: bytes | None = field(default=None, repr=False, compare=False)


Item: TypeAlias = "dict[int, Element]"
Value: TypeAlias = "tuple[str | int | float | None, ...] | tuple[Item, ...] | Bulk"


@dataclass(frozen=True, slots=True)
class Element:
    """An element with its value.

    Attributes:
        tag: Group and element number as one integer.
        vr: The VR (PS3.5 6.2); of ambiguous ones the one that applies.
        value: Text, numbers or items as a tuple, empty where there is no value and None where one of several
            is empty; or `Bulk`. A DS or IS that is no number stays text.
    """

    tag: int
    vr: str
    value: Value

    @property
    def first(self) -> Any:  # noqa: ANN401 - the type follows from the VR
        """The first value, or None."""
        if isinstance(self.value, Bulk) or not self.value:
            return None
        return self.value[0]


def all_values(element: Element | None) -> tuple[Any, ...]:
    """Return the values of an element, which may be missing; none of a binary one."""
    return () if element is None or isinstance(element.value, Bulk) else element.value


def creator_tag(tag: int) -> int:
    """Return the tag of the element that names the creator of a private element's block (PS3.5 7.8.1)."""
    return tag & 0xFFFF0000 | (tag & 0xFF00) >> 8


def is_in_block(tag: int) -> bool:
    """Return True for a private element in a block that a creator can reserve (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and tag & 0xFFFF >= 0x1000


def private_creator(tag: int, group: Mapping[int, bytes]) -> str:
    """Return the creator of a private element's block (PS3.5 7.8.1), or empty."""
    if not is_in_block(tag):
        return ""
    value = group.get(creator_tag(tag))
    return value.decode("ascii", "replace").strip("\0 ") if value else ""


def tag_key(tag: int) -> str:
    """Write a tag as DICOM JSON's key: 00280010."""
    return f"{tag:08X}"
