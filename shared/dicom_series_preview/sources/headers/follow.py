"""Read data sets with the layout of an earlier one, without a walk.

The headers of a series share a layout: the same elements in the same order, most with the same bytes. We
learn a layout from one data set and follow it in the next: we compare the bytes that never varied in one
piece, and extract only what varies. Every byte either equals a byte that was walked at this very place, or is
read by the walk's own rule, so a layout followed to its end finds what the walk would find. A data set with
another layout, or an incomplete one, must be walked.

Only `convert` uses this module: without it every result is the same, but slower.
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

# The most layouts to remember, for a series with several kinds of objects.
_MOST_LAYOUTS = 4
_ITEM_DELIMITER = {True: b"\xfe\xff\x0d\xe0", False: b"\xff\xfe\xe0\x0d"}
# A layout has one value of each of these, and of private creators.
_DECISIVE = frozenset(
    (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION, TRANSFER_SYNTAX_UID, MEDIA_STORAGE_SOP_CLASS)
)
# The most values to remember of an element that alternates.
_MOST_KNOWN = 32
# Of longer values, one is remembered.
_SHORT_BYTES = 256


@dataclass(slots=True)
class Part:
    """One element of a layout.

    Attributes:
        element: The element that the layout was learned from.
        creator: The creator of its private block as stored, or empty.
        image: All its bytes.
        head: The first of them: its tag and, in explicit VR, its VR. Every object has the same.
        length_at: Offset of its length, from the end of the head.
        value_at: Offset of its value, from the end of the head.
        order: The byte order.
        decides: Its value decides the meaning of other elements, so it must not vary.
        known: Short values, and their elements.
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
        """Return the element of a value, or None where the value is not known."""
        if len(value) <= _SHORT_BYTES:
            return self.known.get(value)
        return self.latest[1] if self.latest is not None and self.latest[0] == value else None

    def like(self, value: bytes) -> RawElement:
        """Build a raw element like this one with another value."""
        like = self.element
        return RawElement(like.tag, like.vr, value, like.explicit, like.little, like.start, like.behind)

    def read(self, data: bytes, behind_head: int) -> tuple[bytes, int] | None:
        """Read the value of such an element, and the offset behind it; None where only the walk can tell."""
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
    """Elements that never varied, and the head of one that does, as bytes; and that element."""

    common: bytes
    size: int
    length_at: int
    value_at: int
    order: Literal["little", "big"]
    part: Part


class Followed(NamedTuple):
    """A data set with the layout of an earlier one.

    Attributes:
        item: The elements; those that vary are the earlier data set's.
        values: The bytes of the elements that vary.
        behind: The offset behind the data set.
        context: The context that gives its bytes their meaning.
    """

    item: Item
    values: list[tuple[Part, bytes]]
    behind: int
    context: Context


class _Raw(Mapping[int, RawElement]):
    """The raw elements of such a data set, with the offsets of the earlier one."""

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
    """The layout of a data set, learned from one.

    Attributes:
        outer: The context around it.
        raw: Its elements.
        item: The same, converted.
        image: The bytes from the first to the last; empty once it has been followed.
        scanned: For a root data set, the walk's result.
        context: The context of its elements.
        parts: Its elements; none before it is followed, or where it cannot be.
        varying: The tags of the elements that have varied.
        steps: The steps up to the last element that varies.
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
        """True where the data set is little endian."""
        return next(iter(self.raw.values())).little

    def follow(self, data: bytes, position: int) -> Followed | None:
        """Follow the layout in the bytes of another data set, or of its beginning.

        Args:
            data: The bytes.
            position: The data set's offset.

        Returns:
            None where the layout differs, or where the bytes end.
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
        """Follow element by element, to learn which ones vary besides those known to."""
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
        """Take apart the data set that the layout is learned from."""
        base = position = next(iter(self.raw.values())).start
        parts = []
        for tag, element in self.raw.items():
            # Neither a repeated element, nor one without a VR where all have one.
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
        """Join the bytes that never varied."""
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
    """The layouts of the data sets at one place in a series' headers: the root, or a sequence's items.

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
        """Remember the layout of a data set that was walked.

        Args:
            outer: The context around it.
            raw: Its elements as bytes.
            item: Its elements.
            data: The bytes that were walked.
            scanned: The result of walking a root data set.
        """
        if raw:
            image = data[next(iter(raw.values())).start : next(reversed(raw.values())).behind]
            self.known = [_Layout(outer, raw, item, image, scanned), *self.known[: _MOST_LAYOUTS - 1]]

    def follow_object(self, data: bytes, size: int | None) -> tuple[Scan, Followed] | None:
        """Read an object with the layout of an earlier one.

        Args:
            data: See `scan`.
            size: See `scan`.

        Returns:
            The walk's result, as it would be, and the root data set; None where no earlier object has this
            layout, or the header is incomplete.
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
        """Read an item with the layout of an earlier one; return it and the offset behind it, or None.

        Args:
            element: The sequence.
            start: The offset of the item's content in its value.
            end: The content's end, or None where a delimiter ends it.
            outer: The context around it.
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

    None where the items are broken or incomplete.
    """
    try:
        return skip_items(Buffer(data, None), position, little=little)
    except (NeedMoreError, HeaderError):
        return None


def _scan_on(buffer: Buffer, followed: Followed, layout: _Layout) -> Scan | None:
    """Finish the scan of an object that was followed up to its pixels.

    Returns:
        None where the rest of the object differs, is broken or is incomplete: then `scan` decides.
    """
    like = layout.scanned
    if like is None:
        return None
    explicit, little = like.explicit, like.little
    elements = _Raw(layout.raw, followed.values)
    # The walk needs only the first, and whether there is any.
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
