"""Raw elements -> elements, and no work twice that the objects of a series have in common.

Their headers are laid out alike: the same elements in the same order, most of them with the same bytes. A
`_Layout` is learned from one data set and followed in the next: bytes that never varied are compared in one
piece, and only what varies is taken out and converted. Every byte is either equal to bytes that were walked
at this very place of the walk, or read by the walk's own rule, so that what is followed to its end is what
the walk would have found. What is laid out otherwise, or is not all there, is walked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.scan import (
    DATA_SET_START,
    MAX_NESTING,
    PREFIX,
    PREFIX_START,
    SHORT_VRS,
    TRANSFER_SYNTAX_UID,
    UNDEFINED,
    Buffer,
    RawElement,
    Scan,
    item_at,
    items_end,
    looks_explicit,
    read_item,
    scan_on,
    tag_text,
)
from dicom_series_preview.sources.headers.values import (
    BULK_VRS,
    Bulk,
    Element,
    Item,
    creator_tag,
    value_of,
    vr_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
MEDIA_STORAGE_SOP_CLASS, _META = 0x00020002, 0x00020000

# A layout is of one value of these, and of private creators.
_DECISIVE = frozenset(
    (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION, TRANSFER_SYNTAX_UID, MEDIA_STORAGE_SOP_CLASS)
)
_ITEM_DELIMITER = {True: b"\xfe\xff\x0d\xe0", False: b"\xff\xfe\xe0\x0d"}
# Of a series of several kinds of objects, and of a value that takes turns, so many are remembered.
_MOST_LAYOUTS, _MOST_KNOWN = 4, 32
# Of longer values one.
_SHORT_BYTES = 256


@dataclass(slots=True)
class Converter:
    """Converts the headers of a series' objects, and remembers what they have in common.

    Equal bytes give the very same `Element`, so that what is constant over a series is found by identity.

    Attributes:
        root: What is remembered of the root data sets.
    """

    root: _Place = field(default_factory=lambda: _Place(0))

    def convert(self, scanned: Scan, data: bytes) -> Item:
        """The elements of an object that was walked.

        Args:
            scanned: What the walk found.
            data: The bytes that were walked.

        Raises:
            HeaderError: A sequence is broken.
        """
        item = self.root.convert(scanned.elements, _OUTERMOST)
        is_plain = data.startswith(PREFIX, PREFIX_START) and not scanned.deflated
        raw = dict(scanned.elements)
        # Of a file meta information alone nothing tells how a data set would go on.
        if is_plain and next(reversed(raw), _META) >> 16 != _META >> 16:
            self.root.learn(_OUTERMOST, raw, item, data, scanned)
        return item

    def repeat(self, data: bytes, size: int | None) -> tuple[Scan, Item] | None:
        """The elements of an object that is laid out as an earlier one, without a walk.

        Args:
            data: See `scan`.
            size: See `scan`.

        Returns:
            What the walk would have found, and the elements; None where no earlier object is laid out so, or
            the header is not all there.

        Raises:
            HeaderError: A sequence is broken.
        """
        if not data.startswith(PREFIX, PREFIX_START) or (size is not None and len(data) > size):
            return None
        for layout in self.root.layouts:
            followed = layout.follow(data, DATA_SET_START)
            if followed is None or layout.scanned is None:
                continue
            raw = _Raw(layout.raw, followed.values)
            scanned = scan_on(Buffer(data, size), followed.behind, layout.scanned, raw)
            if scanned is not None:
                return scanned, self.root.fill(layout, followed)
        return None


@dataclass(frozen=True, slots=True)
class _Context:
    """What the meaning of a data set's bytes hangs on besides themselves.

    Attributes:
        charset: SpecificCharacterSet (0008,0005) as stored.
        signed: PixelRepresentation (0028,0103) is not 0; items inherit both.
    """

    charset: bytes = b""
    signed: bool = False

    def inside(self, raw: Mapping[int, RawElement]) -> _Context:
        """The same within a data set, which may have its own."""
        charset, representation = raw.get(SPECIFIC_CHARACTER_SET), raw.get(PIXEL_REPRESENTATION)
        if charset is None and representation is None:
            return self
        return _Context(
            charset.value if charset else self.charset,
            representation.value.strip(b"\0") != b"" if representation else self.signed,
        )


_OUTERMOST = _Context()


@dataclass(slots=True)
class _Place:
    """What is remembered of the data sets at one place of a series' headers: the root, or a sequence's items.

    Attributes:
        depth: In how many sequences they lie.
        latest: By what their meaning hangs on, then by tag, VR as stored, byte order and private creator: the
            latest bytes and what they became.
        layouts: How they are laid out, the latest first.
        inside: The items of the sequences in them, by the sequences' tags.
    """

    depth: int
    latest: dict[_Context, dict[tuple[int, str, bool, bytes], tuple[bytes, Element]]] = field(
        default_factory=dict
    )
    layouts: list[_Layout] = field(default_factory=list)
    inside: dict[int, _Place] = field(default_factory=dict)

    def convert(self, raw: Mapping[int, RawElement], outer: _Context) -> Item:
        """The elements of a data set that was walked."""
        context = outer.inside(raw)
        latest = self.latest.setdefault(context, {})
        converted: Item = {}
        for tag, element in raw.items():
            creator = _creator(tag, raw)
            key = (tag, element.vr, element.little, creator)
            known = latest.get(key)
            if known is None or known[0] != element.value:
                known = latest[key] = element.value, self._element(element, creator, context)
            converted[tag] = known[1]
        return converted

    def _element(self, element: RawElement, creator: bytes, context: _Context) -> Element:
        vr = vr_of(element, creator, signed=context.signed)
        if vr == "SQ":
            place = self.inside.get(element.tag)
            if place is None:
                place = self.inside[element.tag] = _Place(self.depth + 1)
            try:
                return Element(element.tag, vr, place.items(element, context))
            except HeaderError:
                if not element.tag >> 16 & 1:
                    raise
                # Of a maker's own sequence that is broken the bytes are kept; pictures need nothing of it.
                vr = "UN"
        value = value_of(element, vr, context.charset)
        return Element(element.tag, "UN" if isinstance(value, Bulk) and vr not in BULK_VRS else vr, value)

    def items(self, element: RawElement, outer: _Context) -> tuple[Item, ...]:
        """The items of a sequence.

        Raises:
            HeaderError: It is broken, or nested beyond reason.
        """
        if self.depth > MAX_NESTING + 1:
            raise HeaderError(
                f"broken: sequences nested deeper than {MAX_NESTING} in {tag_text(element.tag)}"
            )
        value, little = element.value, element.little
        items, position = [], 0
        while (extent := item_at(value, position, little=little)) is not None:
            start, end = extent
            repeated = self._repeat(element, start, end, outer)
            if repeated is None:
                raw, position = read_item(value, start, end, little=little)
                item = self.convert(raw, outer)
                self.learn(outer, raw, item, value)
            else:
                item, position = repeated
            items.append(item)
        return tuple(items)

    def _repeat(
        self, element: RawElement, start: int, end: int | None, outer: _Context
    ) -> tuple[Item, int] | None:
        """An item that is laid out as an earlier one, and the offset behind it."""
        value, little = element.value, element.little
        for layout in self.layouts:
            if layout.little != little or (layout.outer is not outer and layout.outer != outer):
                continue
            followed = layout.follow(value, start)
            if followed is None:
                continue
            behind = followed.behind
            if end is None and value.startswith(_ITEM_DELIMITER[little], behind) and behind + 8 <= len(value):
                return self.fill(layout, followed), behind + 8
            if end == behind:
                return self.fill(layout, followed), behind
        return None

    def learn(
        self,
        outer: _Context,
        raw: dict[int, RawElement],
        item: Item,
        data: bytes,
        scanned: Scan | None = None,
    ) -> None:
        """Remember how a data set is laid out that was walked in some bytes."""
        if raw:
            image = data[next(iter(raw.values())).start : next(reversed(raw.values())).behind]
            self.layouts = [_Layout(outer, raw, item, image, scanned), *self.layouts[: _MOST_LAYOUTS - 1]]

    def fill(self, layout: _Layout, followed: _Followed) -> Item:
        """Convert what is not known yet of a data set that was followed to its end."""
        if self.layouts[0] is not layout:
            self.layouts = [layout, *(other for other in self.layouts if other is not layout)]
        item = followed.item
        for part, value in followed.values:
            element = part.find(value)
            if element is None:
                element = self._element(part.like(value), part.creator, layout.context)
                part.remember(value, element)
            item[element.tag] = element
        return item


def _creator(tag: int, raw: Mapping[int, RawElement]) -> bytes:
    """The creator of a private element's block as stored, or empty."""
    block = raw.get(creator_tag(tag)) if tag >> 16 & 1 else None
    return block.value if block is not None else b""


@dataclass(slots=True)
class _Part:
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
        """Keep what a value became."""
        if len(value) > _SHORT_BYTES:
            self.latest = value, element
            return
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        self.known[value] = element

    def find(self, value: bytes) -> Element | None:
        """What a value became, or None where it is not known."""
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
            found = items_end(data, start, little=self.element.little)
            return None if found is None else (data[start : found[0]], found[1])
        return (data[start:end], end) if end <= len(data) else None


class _Step(NamedTuple):
    """Whole elements that never varied, and the head of one that does, as bytes; and that one."""

    common: bytes
    size: int
    length_at: int
    value_at: int
    order: Literal["little", "big"]
    part: _Part


class _Followed(NamedTuple):
    """A data set that is laid out as an earlier one: what is equal, what is not, and the offset behind it."""

    item: Item
    values: list[tuple[_Part, bytes]]
    behind: int


class _Raw(Mapping[int, RawElement]):
    """The elements of such a data set as bytes; their offsets are those of the earlier one."""

    def __init__(self, like: dict[int, RawElement], values: list[tuple[_Part, bytes]]) -> None:
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
    """How a data set is laid out, as learned from one.

    Attributes:
        outer: What its meaning hung on outside.
        raw: Its elements.
        item: What they became.
        image: The bytes of the first to the last of them; empty once it has been followed.
        scanned: Of a root data set what the walk found.
        context: What its elements' meaning hangs on.
        parts: Its elements; none before it has been followed, and where it cannot be.
        varying: The tags of the elements that have varied.
        steps: Up to the last element that varies.
        tail: The bytes behind it.
    """

    outer: _Context
    raw: dict[int, RawElement]
    item: Item
    image: bytes
    scanned: Scan | None = None
    context: _Context = _OUTERMOST
    parts: tuple[_Part, ...] = ()
    varying: set[int] = field(default_factory=set)
    steps: tuple[_Step, ...] = ()
    tail: bytes = b""

    @property
    def little(self) -> bool:
        """The data set is little endian."""
        return next(iter(self.raw.values())).little

    def follow(self, data: bytes, position: int) -> _Followed | None:
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
        return _Followed(item, values, at + len(self.tail))

    def _follow_parts(self, data: bytes, position: int) -> _Followed | None:
        """The same one element after the other, to learn which vary besides those known to."""
        values: list[tuple[_Part, bytes]] = []
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
        return _Followed(dict(self.item), values, at)

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

    def _part(self, element: RawElement, image: bytes) -> _Part:
        head, length_at, value_at = image[:4], 0, 4
        if element.explicit:
            head = image[:6]
            length_at, value_at = (0, 2) if element.vr in SHORT_VRS else (2, 6)
        order: Literal["little", "big"] = "little" if element.little else "big"
        is_creator = element.tag >> 16 & 1 == 1 and 0x10 <= element.tag & 0xFFFF <= 0xFF
        decides = is_creator or element.tag in _DECISIVE
        return _Part(
            element, _creator(element.tag, self.raw), image, head, length_at, value_at, order, decides
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
