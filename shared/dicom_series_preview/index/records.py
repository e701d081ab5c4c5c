"""What an index is built from: one record an object, read from a header or given back by an earlier index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.headers import PER_FRAME_FUNCTIONAL_GROUPS, SHARED_FUNCTIONAL_GROUPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.headers import Element, FrameLocation, Header, Item, Mosaic
    from dicom_series_preview.storage import ObjectInfo


# The VOI step (windows, their function, VOI LUTs; PS3.3 C.7.6.16.2.10) and the modality step (slope,
# intercept, type, modality LUT; C.7.6.16.2.9): what makes a level whole, and what then comes from nowhere
# else. A frame's own window does not take its function from the root.
_STEPS = (
    (({0x00281050, 0x00281051}, {0x00283010}), (0x00281050, 0x00281051, 0x00281055, 0x00281056, 0x00283010)),
    (({0x00281052, 0x00281053}, {0x00283000}), (0x00281052, 0x00281053, 0x00281054, 0x00283000)),
)


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a series.

    Attributes:
        name: Its path below the series' folder.
        size: Bytes.
        version: ETag or modification time, as the storage tells it.
        transfer_syntax_uid: As declared, or as found.
        pixel_keyword: Which pixel data element it has, or empty.
        pixel_vr: That element's VR, or empty where it is not written.
        elements: Its header by tag.
        number_of_frames: Frames that can be shown, 0 in an object without an image.
        locations: Where the frames' data lie, or empty where only the whole object tells.
        mosaic: What a Siemens mosaic says of the slices in it; None of any other object.
    """

    name: str
    size: int
    version: str
    transfer_syntax_uid: str
    pixel_keyword: str
    pixel_vr: str
    elements: Item = field(repr=False)
    number_of_frames: int
    locations: tuple[FrameLocation, ...] = field(repr=False)
    mosaic: Mosaic | None = None

    @classmethod
    def of(cls, name: str, version: str, header: Header) -> Record:
        """The record of an object whose header was read."""
        return cls(
            name=name,
            size=header.object_size,
            version=version,
            transfer_syntax_uid=header.transfer_syntax_uid,
            pixel_keyword=header.pixels.keyword if header.pixels else "",
            pixel_vr=header.pixels.vr if header.pixels else "",
            elements=header.elements,
            number_of_frames=header.number_of_frames,
            locations=header.locations,
            mosaic=header.mosaic,
        )

    def frame_elements(self, frame_number: int) -> Mapping[int, Element]:
        """The elements that hold for a frame: its own functional groups, the shared ones, then the root's.

        Args:
            frame_number: 1-based (PS3.3 C.7.6.16).
        """
        merged: Item | None = None
        for tag, number in ((SHARED_FUNCTIONAL_GROUPS, 0), (PER_FRAME_FUNCTIONAL_GROUPS, frame_number - 1)):
            groups = sequence_items(self.elements.get(tag))
            if 0 <= number < len(groups):
                merged = dict(self.elements) if merged is None else merged
                _overlay(merged, _macros(groups[number]))
        return self.elements if merged is None else merged


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object that is not in the index, and why.

    Attributes:
        name: Its path below the series' folder.
        reason: Why, in one line.
        size: Bytes, or None where the storage did not tell.
        version: Its version, so that it is not read again before it changes.
        transient: The storage withheld it: the same object may be had another time.
    """

    name: str
    reason: str
    size: int | None = None
    version: str = ""
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an index says of itself.

    Attributes:
        series: The series as addressed.
        root: The storage root's URL.
        fingerprint: Digest of the listing that the index was built from.
        listed: Objects in that listing.
        limit: The build's limit, or None for a whole index.
        skipped: The objects that are not in it.
        notes: What a reader should know of the order.
    """

    series: str
    root: str
    fingerprint: str
    listed: int
    limit: int | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


def fingerprint(listing: list[ObjectInfo]) -> str:
    """A digest of a listing's names, sizes and versions."""
    digest = hashlib.sha256()
    for info in listing:
        digest.update(f"{info.path}\0{info.size}\0{info.version}\n".encode())
    return digest.hexdigest()


def sequence_items(element: Element | None) -> tuple[Item, ...]:
    """The items of a sequence, none where it is missing."""
    return element.value if element is not None and element.vr == "SQ" else ()  # type: ignore[return-value]


def _overlay(merged: Item, closer: Item) -> None:
    """Let a closer level's elements hold; a step that it has whole takes nothing from farther ones."""
    for whole, step in _STEPS:
        if any(tags <= closer.keys() for tags in whole):
            for tag in step:
                merged.pop(tag, None)
    merged.update(closer)


def _macros(groups: Item) -> Item:
    """The elements of a functional groups item's macros, each the first item of its sequence."""
    merged: Item = {}
    for tag, macro in groups.items():
        inner = sequence_items(macro)
        if not tag >> 16 & 1 and inner:
            merged.update({t: e for t, e in inner[0].items() if not t >> 16 & 1})
    return merged
