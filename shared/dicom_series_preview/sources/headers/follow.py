"""Read data sets that are laid out as an earlier one, without a walk.

The headers of a series are laid out alike: the same elements in the same order, most of them with the same
bytes. A layout is learned from one data set and followed in the next: it compares the bytes that never
varied in one piece, and takes out only what varies. Every byte is either equal to a byte that was walked at
this very place of the walk, or is read by the walk's own rule, so that a layout that is followed to its end
finds what the walk would have found. What is laid out otherwise, or is not all there, must be walked.

Only `convert` uses this module: without it every result is the same, and takes longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.pixel_element import NUMBER_OF_FRAMES
from dicom_series_preview.sources.headers.scan import (
    DATA_SET_START,
    MEDIA_STORAGE_SOP_CLASS,
    PREFIX,
    PREFIX_START,
    TRANSFER_SYNTAX_UID,
    Scan,
    walk_data_set,
)
from dicom_series_preview.sources.headers.values import (
    OUTERMOST,
    PIXEL_REPRESENTATION,
    SPECIFIC_CHARACTER_SET,
    Context,
    creator_of,
)
from dicom_series_preview.sources.headers.walk import (
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    NeedMoreError,
    RawElement,
    looks_explicit,
    skip_items,
)

if TYPE_CHECKING:
    from dicom_series_preview.sources.headers.elements import Element, Item

# Of a series of several kinds of objects, so many layouts are remembered.
_MOST_LAYOUTS = 4
_ITEM_DELIMITER = {True: b"\xfe\xff\x0d\xe0", False: b"\xff\xfe\xe0\x0d"}
# A layout is of one value of these, and of private creators.
_DECISIVE = frozenset(
    (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION, TRANSFER_SYNTAX_UID, MEDIA_STORAGE_SOP_CLASS)
)
# So many are remembered of a value that takes turns.
_MOST_KNOWN = 32
# Of longer values one.
_SHORT_BYTES = 256


@dataclass(slots=True)
class Part:
    """One element of a layout.

    Attributes:
        element: As it was when the layout was learned.
        creator: The creator of its private block as stored, or empty.
        image: All its bytes then.
        head: The first of them: its tag and, in explicit VR, its VR. Another object has the same.
        length_at: How far behind the head its length begins.
        value_at: How far behind the head its value begins.
        order: The byte order.
        decides: What it holds decides what other elements mean: it must not vary.
        known: Short values, and what they became.
        latest: The latest longer one.
    """

    element: RawElement
    creator: bytes
    image: bytes
    head: bytes
    length_at: int
    value_at: int
    order: Literal["little", "big"]
    decides: bool
    known: dict[bytes, Element] = field(default_factory=dict)
    latest: tuple[bytes, Element] | None = None

    def remember(self, value: bytes, element: Element) -> None:
        """Remember the element of a value."""
        if len(value) > _SHORT_BYTES:
            self.latest = value, element
            return
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        self.known[value] = element

    def find(self, value: bytes) -> Element | None:
        """The element of a value, or None where the value is not known."""
        if len(value) <= _SHORT_BYTES:
            return self.known.get(value)
        return self.latest[1] if self.latest is not None and self.latest[0] == value else None

    def like(self, value: bytes) -> RawElement:
        """Such an element with another value."""
        like = self.element
        return RawElement(like.tag, like.vr, value, like.explicit, like.little, like.start, like.behind)

    def read(self, data: bytes, behind_head: int) -> tuple[bytes, int] | None:
        """The value of such an element, and the offset behind it; None where the walk must tell."""
        start = behind_head + self.value_at
        length = int.from_bytes(data[behind_head + self.length_at : start], self.order)
        end = start + length
        if not self.element.explicit and looks_explicit(data, behind_head - 4):
            return None
        if length == UNDEFINED:
            found = _items_end(data, start, little=self.element.little)
            return None if found is None else (data[start : found[0]], found[1])
        return (data[start:end], end) if end <= len(data) else None


class _Step(NamedTuple):
    """Whole elements that never varied, and the head of one that does, as bytes; and that one."""

    common: bytes
    size: int
    length_at: int
    value_at: int
    order: Literal["little", "big"]
    part: Part


class Followed(NamedTuple):
    """A data set that is laid out as an earlier one.

    Attributes:
        item: The elements that are equal; of the others, those of the earlier one.
        values: The bytes of those that vary.
        behind: The offset behind it.
        context: What the meaning of its bytes depends on.
    """

    item: Item
    values: list[tuple[Part, bytes]]
    behind: int
    context: Context


class _Raw(Mapping[int, RawElement]):
    """The elements of such a data set as bytes; their offsets are those of the earlier one."""

    def __init__(self, like: dict[int, RawElement], values: list[tuple[Part, bytes]]) -> None:
        self._like, self._values = like, values

    def __getitem__(self, tag: int) -> RawElement:
        if tag in self._like:
            for part, value in self._values:
                if part.element.tag == tag:
                    return part.like(value)
        return self._like[tag]

    def __contains__(self, tag: object) -> bool:
        return tag in self._like

    def get(self, tag: int, default: Any = None) -> Any:  # noqa: ANN401 - as a mapping's
        return self[tag] if tag in self._like else default

    def __iter__(self) -> Iterator[int]:
        return iter(self._like)

    def __len__(self) -> int:
        return len(self._like)


@dataclass(slots=True)
class _Layout:
    """The layout of a data set, as learned from one.

    Attributes:
        outer: What the meaning of its bytes depended on, outside of it.
        raw: Its elements.
        item: What they became.
        image: The bytes of the first to the last of them; empty once it has been followed.
        scanned: Of a root data set what the walk found.
        context: What the meaning of its elements depends on.
        parts: Its elements; none before it has been followed, and where it cannot be.
        varying: The tags of the elements that have varied.
        steps: Up to the last element that varies.
        tail: The bytes behind it.
    """

    outer: Context
    raw: dict[int, RawElement]
    item: Item
    image: bytes
    scanned: Scan | None = None
    context: Context = OUTERMOST
    parts: tuple[Part, ...] = ()
    varying: set[int] = field(default_factory=set)
    steps: tuple[_Step, ...] = ()
    tail: bytes = b""

    @property
    def little(self) -> bool:
        """The data set is little endian."""
        return next(iter(self.raw.values())).little

    def follow(self, data: bytes, position: int) -> Followed | None:
        """Follow the layout in the bytes of another data set, or of the beginning of one.

        Args:
            data: The bytes.
            position: Where the data set begins.

        Returns:
            None where it is laid out otherwise, or where the bytes end.
        """
        if self.image:
            self._prepare()
        if not self.parts:
            return None
        item, values, at = dict(self.item) if self.steps else self.item, [], position
        for common, size, length_at, value_at, order, part in self.steps:
            if not data.startswith(common, at):
                return self._follow_parts(data, position)
            start = at + size + value_at
            length = int.from_bytes(data[at + size + length_at : start], order)
            end = start + length
            if length <= _SHORT_BYTES and end <= len(data):
                values.append((part, data[start:end]))
                at = end
                continue
            read = part.read(data, at + size)
            if read is None:
                return None
            values.append((part, read[0]))
            at = read[1]
        if not data.startswith(self.tail, at):
            return self._follow_parts(data, position)
        return Followed(item, values, at + len(self.tail), self.context)

    def _follow_parts(self, data: bytes, position: int) -> Followed | None:
        """The same one element after the other, to learn which vary besides those known to."""
        values: list[tuple[Part, bytes]] = []
        at, varying = position, set(self.varying)
        for part in self.parts:
            if data.startswith(part.image, at):
                at += len(part.image)
                continue
            if part.decides or not data.startswith(part.head, at):
                return None
            read = part.read(data, at + len(part.head))
            if read is None:
                return None
            values.append((part, read[0]))
            varying.add(part.element.tag)
            at = read[1]
        self.varying = varying
        self._join()
        return Followed(dict(self.item), values, at, self.context)

    def _prepare(self) -> None:
        """Take the data set apart that the layout is learned from."""
        base = position = next(iter(self.raw.values())).start
        parts = []
        for tag, element in self.raw.items():
            # Not one that stands twice, nor one without a VR where all have one.
            if element.start != position or (element.explicit and not element.vr):
                break
            position = element.behind
            part = self._part(element, self.image[element.start - base : position - base])
            part.remember(element.value, self.item[tag])
            parts.append(part)
        is_whole = len(parts) == len(self.raw)
        self.parts = tuple(parts) if is_whole else ()
        self.context = self.outer.inside(self.raw)
        self.image = b""
        self._join()

    def _part(self, element: RawElement, image: bytes) -> Part:
        head, length_at, value_at = image[:4], 0, 4
        if element.explicit:
            head = image[:6]
            length_at, value_at = (0, 2) if element.vr in SHORT_VRS else (2, 6)
        order: Literal["little", "big"] = "little" if element.little else "big"
        is_creator = element.tag >> 16 & 1 == 1 and 0x10 <= element.tag & 0xFFFF <= 0xFF
        decides = is_creator or element.tag in _DECISIVE
        return Part(
            element, creator_of(element.tag, self.raw), image, head, length_at, value_at, order, decides
        )

    def _join(self) -> None:
        """Join what never varied."""
        steps: list[_Step] = []
        common: list[bytes] = []
        for part in self.parts:
            if part.element.tag in self.varying:
                head = b"".join((*common, part.head))
                steps.append(_Step(head, len(head), part.length_at, part.value_at, part.order, part))
                common = []
            else:
                common.append(part.image)
        self.steps, self.tail = tuple(steps), b"".join(common)


@dataclass(slots=True)
class Layouts:
    """The layouts of the data sets at one place of a series' headers: the root, or a sequence's items.

    Attributes:
        known: The layouts, the latest first.
    """

    known: list[_Layout] = field(default_factory=list)

    def learn(
        self,
        outer: Context,
        raw: dict[int, RawElement],
        item: Item,
        data: bytes,
        scanned: Scan | None = None,
    ) -> None:
        """Remember how a data set is laid out that was walked.

        Args:
            outer: What the meaning of its bytes depends on, outside of it.
            raw: Its elements as bytes.
            item: Its elements.
            data: The bytes that were walked.
            scanned: What the walk of a root data set found.
        """
        if raw:
            image = data[next(iter(raw.values())).start : next(reversed(raw.values())).behind]
            self.known = [_Layout(outer, raw, item, image, scanned), *self.known[: _MOST_LAYOUTS - 1]]

    def follow_object(self, data: bytes, size: int | None) -> tuple[Scan, Followed] | None:
        """An object that is laid out as an earlier one.

        Args:
            data: See `scan`.
            size: See `scan`.

        Returns:
            What the walk would have found, and the root data set; None where no earlier object is laid out
            so, or the header is not all there.
        """
        if not data.startswith(PREFIX, PREFIX_START) or (size is not None and len(data) > size):
            return None
        for layout in self.known:
            followed = layout.follow(data, DATA_SET_START)
            if followed is None:
                continue
            scanned = _scan_on(Buffer(data, size), followed, layout)
            if scanned is not None:
                if layout is not self.known[0]:
                    self._put_first(layout)
                return scanned, followed
        return None

    def follow_item(
        self, element: RawElement, start: int, end: int | None, outer: Context
    ) -> tuple[Followed, int] | None:
        """An item that is laid out as an earlier one, and the offset behind it; None where none is.

        Args:
            element: The sequence.
            start: Where the item's content begins in its value.
            end: Where it ends there, or None where a delimiter tells.
            outer: What the meaning of its bytes depends on, outside of it.
        """
        value, little = element.value, element.little
        for layout in self.known:
            if layout.little != little or (layout.outer is not outer and layout.outer != outer):
                continue
            followed = layout.follow(value, start)
            if followed is None:
                continue
            behind = followed.behind
            if end is None and value.startswith(_ITEM_DELIMITER[little], behind) and behind + 8 <= len(value):
                if layout is not self.known[0]:
                    self._put_first(layout)
                return followed, behind + 8
            if end == behind:
                if layout is not self.known[0]:
                    self._put_first(layout)
                return followed, behind
        return None

    def _put_first(self, layout: _Layout) -> None:
        self.known = [layout, *(other for other in self.known if other is not layout)]


def _items_end(data: bytes, position: int, *, little: bool) -> tuple[int, int] | None:
    """Find the delimiter behind items of undefined length: its offset, and the one behind it.

    None where the items are broken, or not all there.
    """
    try:
        return skip_items(Buffer(data, None), position, little=little)
    except (NeedMoreError, HeaderError):
        return None


def _scan_on(buffer: Buffer, followed: Followed, layout: _Layout) -> Scan | None:
    """The scan of an object that was followed up to its pixels.

    Returns:
        None where the object goes on in another way, is broken, or is not all there yet: `scan` tells.
    """
    like = layout.scanned
    if like is None:
        return None
    explicit, little = like.explicit, like.little
    elements = _Raw(layout.raw, followed.values)
    # The walk asks for this one, and whether there is any.
    first = next(iter(elements))
    found = {first: elements[first]}
    if NUMBER_OF_FRAMES in elements:
        found[NUMBER_OF_FRAMES] = elements[NUMBER_OF_FRAMES]
    known = len(found)
    try:
        pixels, length = walk_data_set(buffer, followed.behind, found, explicit=explicit, little=little)
    except (NeedMoreError, HeaderError):
        return None
    if len(found) != known or (pixels is None) != (like.pixels is None):
        return None
    return Scan(
        like.transfer_syntax_uid, elements, pixels, length, explicit=explicit, little=little, end=buffer.size
    )
