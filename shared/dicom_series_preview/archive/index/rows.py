"""Build the rows of each slice from records, and find what varies between rows."""

from __future__ import annotations

from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.records import FrameElements, Record
from dicom_series_preview.archive.slide_tiles import Place, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dicom_series_preview.sources.headers.elements import Element


@dataclass(frozen=True, slots=True)
class Row:
    """A future row of the index.

    Attributes:
        record: The number of its record.
        frame_number: Its frame's number, 0 without an image.
        elements: The elements that apply to it.
        place: The frame's place in a level of a slide; None for any other frame.
    """

    record: int
    frame_number: int
    elements: Mapping[int, Element]
    place: Place | None = None


def slices_of(records: Sequence[Record]) -> list[list[Row]]:
    """Return the rows of each slice, in no order of slices: one, or all tiles of a slide's level in order."""
    levels: dict[tuple[object, ...], list[Row]] = {}
    slices: list[list[Row]] = []
    for number, record in enumerate(records):
        if not record.number_of_frames:
            slices.append([Row(number, 0, record.frames()[0])])
            continue
        frames = record.frames()
        places = places_of(record, frames)
        for i, elements in enumerate(frames):
            place = places[i] if places else None
            level = (*place.level, place.rows, place.columns) if place is not None else None
            members = [] if level is None else levels.setdefault(level, [])
            if not members:
                slices.append(members)
            members.append(Row(number, i + 1, elements, place))
    for members in levels.values():
        # Records are in the order of names; a concatenation has its own.
        members.sort(key=lambda row: row.place.number if row.place is not None else 0)
    return slices


@dataclass(frozen=True, slots=True)
class Rows:
    """Future slices.

    Attributes:
        rows: The slices.
        varying: By tag, the elements that can differ between them, None for a missing one.
    """

    rows: Sequence[Row]
    varying: Mapping[int, Sequence[Element | None]]

    @classmethod
    def of(cls, rows: Sequence[Row], varying: AbstractSet[int]) -> Rows:
        """Collect slices and their elements.

        Args:
            rows: The slices.
            varying: The tags of the needed elements that are not one object for all slices.
        """
        return cls(rows, by_tag_of([row.elements for row in rows], varying))

    def values(self, tag: int, convert: Callable[[Element | None], Any]) -> list[Any]:
        """Convert one element of every slice; convert an element that slices share once."""
        elements = self.varying.get(tag)
        if elements is None:
            return [convert(self.rows[0].elements.get(tag))] * len(self.rows) if self.rows else []
        keys = list(map(id, elements))
        distinct = dict(zip(keys, elements, strict=True))
        if len(distinct) == len(elements):
            return list(map(convert, elements))
        known = {key: convert(element) for key, element in distinct.items()}
        return [known[key] for key in keys]


def by_tag_of(
    headers: Sequence[Mapping[int, Element]], tags: AbstractSet[int]
) -> dict[int, Sequence[Element | None]]:
    """Return each header's element, by tag; it reads header by header, as each lies elsewhere in memory."""
    ordered = sorted(tags)
    cells = [list(map(elements.get, ordered)) for elements in headers]
    return dict(zip(ordered, zip(*cells, strict=True), strict=True)) if cells else {}


def varying_tags(rows: Sequence[Row]) -> set[int]:
    """Return the tags of elements that are not one and the same `Element` for all slices.

    Equal elements can make different cells: 0.0 equals -0.0.
    """
    own: set[int] = set()
    shared: list[Mapping[int, Element]] = []
    for row in rows:
        elements = row.elements
        if isinstance(elements, FrameElements):
            own.update(elements.own)
            elements = elements.shared
        if not shared or elements is not shared[-1]:
            shared.append(elements)
    same = dict(shared[0]) if shared else {}
    tags, values = list(same), list(same.values())
    for elements in shared[1:]:
        others = list(map(elements.get, tags))
        if not all(map(is_, others, values)):
            known = zip(tags, values, others, strict=True)
            same = {tag: element for tag, element, other in known if other is element}
            tags, values = list(same), list(same.values())
    return own | (set[int]().union(*shared) - same.keys())
