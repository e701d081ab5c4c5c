"""Convert raw elements to elements, and share the work that a series' objects have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.elements import BULK_VRS, Bulk, Element, Item
from dicom_series_preview.sources.headers.follow import Followed, Layouts
from dicom_series_preview.sources.headers.scan import PREFIX, PREFIX_START, Scan
from dicom_series_preview.sources.headers.values import OUTERMOST, Context, creator_of, value_of, vr_of
from dicom_series_preview.sources.headers.walk import (
    MAX_NESTING,
    RawElement,
    item_at,
    read_item,
    tag_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_META = 0x00020000


@dataclass(slots=True)
class Converter:
    """Converts the headers of a series' objects, and remembers what they have in common.

    Equal bytes give the very same `Element`, so that identity finds what is constant over a series.

    Attributes:
        root: The memory of the root data sets.
    """

    root: _Place = field(default_factory=lambda: _Place(0))

    def convert(self, scanned: Scan, data: bytes) -> Item:
        """Convert the elements of an object that was walked.

        Args:
            scanned: The walk's result.
            data: The bytes that were walked.

        Raises:
            HeaderError: A sequence is broken.
        """
        item = self.root.convert(scanned.elements, OUTERMOST)
        is_plain = data.startswith(PREFIX, PREFIX_START) and not scanned.deflated
        raw = dict(scanned.elements)
        # File meta information alone does not show how a data set would go on.
        if is_plain and next(reversed(raw), _META) >> 16 != _META >> 16:
            self.root.layouts.learn(OUTERMOST, raw, item, data, scanned)
        return item

    def repeat(self, data: bytes, size: int | None) -> tuple[Scan, Item] | None:
        """Convert an object with the layout of an earlier one, without a walk.

        Args:
            data: See `scan`.
            size: See `scan`.

        Returns:
            The walk's result, as it would be, and the elements; None where no earlier object has this layout,
            or the header is incomplete.

        Raises:
            HeaderError: A sequence is broken.
        """
        found = self.root.layouts.follow_object(data, size)
        return None if found is None else (found[0], self.root.fill(found[1]))


@dataclass(slots=True)
class _Place:
    """The memory of the data sets at one place in a series' headers: the root, or a sequence's items.

    Attributes:
        depth: The number of sequences around them.
        latest: By context, then by tag, VR as stored, byte order and private creator: the latest bytes and
            their element.
        layouts: Their layouts.
        inside: The items of the sequences in them, by the sequences' tags.
    """

    depth: int
    latest: dict[Context, dict[tuple[int, str, bool, bytes], tuple[bytes, Element]]] = field(
        default_factory=dict
    )
    layouts: Layouts = field(default_factory=Layouts)
    inside: dict[int, _Place] = field(default_factory=dict)

    def convert(self, raw: Mapping[int, RawElement], outer: Context) -> Item:
        """Convert the elements of a data set that was walked."""
        context = outer.inside(raw)
        latest = self.latest.setdefault(context, {})
        converted: Item = {}
        for tag, element in raw.items():
            creator = creator_of(tag, raw)
            key = (tag, element.vr, element.little, creator)
            known = latest.get(key)
            if known is None or known[0] != element.value:
                known = latest[key] = element.value, self._element(element, creator, context)
            converted[tag] = known[1]
        return converted

    def _element(self, element: RawElement, creator: bytes, context: Context) -> Element:
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
                # A broken private sequence stays bytes: pictures do not need it.
                vr = "UN"
        value = value_of(element, vr, context.charset)
        return Element(element.tag, "UN" if isinstance(value, Bulk) and vr not in BULK_VRS else vr, value)

    def items(self, element: RawElement, outer: Context) -> tuple[Item, ...]:
        """Convert the items of a sequence.

        Raises:
            HeaderError: The sequence is broken, or nested too deep.
        """
        if self.depth > MAX_NESTING + 1:
            raise HeaderError(
                f"broken: sequences nested deeper than {MAX_NESTING} in {tag_text(element.tag)}"
            )
        value, little = element.value, element.little
        items, position = [], 0
        while (extent := item_at(value, position, little=little)) is not None:
            start, end = extent
            followed = self.layouts.follow_item(element, start, end, outer)
            if followed is None:
                raw, position = read_item(value, start, end, little=little)
                item = self.convert(raw, outer)
                self.layouts.learn(outer, raw, item, value)
            else:
                item, position = self.fill(followed[0]), followed[1]
            items.append(item)
        return tuple(items)

    def fill(self, followed: Followed) -> Item:
        """Convert what is not known yet in a data set that was followed to its end."""
        item = followed.item
        for part, value in followed.values:
            element = part.find(value)
            if element is None:
                element = self._element(part.like(value), part.creator, followed.context)
                part.remember(value, element)
            item[element.tag] = element
        return item
