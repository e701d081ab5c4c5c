"""Records, the input of an index: one per object, from its header or from an earlier index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.offsets import placed_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.sources.headers.elements import Element, Item
    from dicom_series_preview.sources.headers.header import Header
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.headers.siemens import Mosaic
    from dicom_series_preview.sources.storage.base import ObjectInfo

SHARED_FUNCTIONAL_GROUPS, PER_FRAME_FUNCTIONAL_GROUPS = 0x52009229, 0x52009230
# The VOI step (windows, their function, VOI LUTs; PS3.3 C.7.6.16.2.10) and the modality step (slope,
# intercept, type, modality LUT; C.7.6.16.2.9): the elements that make a level complete, and those that it
# then takes from nowhere else. A frame's own window does not take its function from the root.
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
        version: The storage's ETag or modification time.
        transfer_syntax_uid: As declared, or as found.
        pixel_keyword: Its pixel data element, or empty.
        pixel_vr: That element's VR, or empty where not written.
        elements: Its header by tag.
        number_of_frames: Frames that can be shown, 0 in an object without an image.
        locations: The places of the frames' data, or empty where only the whole object shows them.
        mosaic: A Siemens mosaic's facts about its slices; None for any other object.
        pixel_surplus: Bytes of native pixels beyond those that the elements describe, negative where some are
            missing; None for encapsulated pixels, and without an image.
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
    pixel_surplus: int | None = None

    @classmethod
    def of(cls, name: str, version: str, header: Header) -> Record:
        """Build the record of an object from its header."""
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
            pixel_surplus=header.pixel_surplus,
        )

    def text(self, tag: int) -> str:
        """Return the first value of one of its elements as stripped text; empty without one."""
        element = self.elements.get(tag)
        value = element.first if element is not None else None
        return str(value).strip() if value is not None else ""

    def frames(self) -> list[Mapping[int, Element]]:
        """Return the elements that apply to each frame; the object's own where it has no image.

        A frame's own functional groups come first, then the shared ones, then the root (PS3.3 C.7.6.16).
        Offsets can place the frames of objects without such groups.
        """
        shared = sequence_items(self.elements.get(SHARED_FUNCTIONAL_GROUPS))
        own = sequence_items(self.elements.get(PER_FRAME_FUNCTIONAL_GROUPS)) if self.number_of_frames else ()
        base = self.elements
        if shared:
            base = {tag: element for tag, element in _closer(base, shared[0]).items() if element is not None}
        count = max(1, self.number_of_frames)
        if not own:
            placed = placed_frames(base, count)
            return [FrameElements(base, dict(place)) for place in placed] or [base] * count
        frames: list[Mapping[int, Element]] = [FrameElements(base, _closer({}, item)) for item in own[:count]]
        return frames + [base] * (count - len(frames))


class FrameElements(Mapping[int, "Element"]):
    """The elements that apply to one frame.

    Attributes:
        shared: The elements for all frames of the object.
        own: This frame's elements instead; None where the frame has none.
    """

    __slots__ = ("own", "shared")

    def __init__(self, shared: Item, own: dict[int, Element | None]) -> None:
        self.shared, self.own = shared, own

    def get(self, tag: int, default: Any = None) -> Any:  # noqa: ANN401 - as a mapping's
        """Return one element, or the default where there is none."""
        element = self.own.get(tag, self)
        if element is self:
            return self.shared.get(tag, default)
        return default if element is None else element

    def __getitem__(self, tag: int) -> Element:
        element = self.get(tag)
        if element is None:
            raise KeyError(tag)
        found: Element = element
        return found

    def __contains__(self, tag: object) -> bool:
        return self.get(tag) is not None  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        return (tag for tag in {**self.shared, **self.own} if tag in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object that is not in the index, with the reason.

    Attributes:
        name: Its path below the series' folder.
        reason: Why, in one line.
        size: Bytes, or None where unknown.
        version: Its version, so that it is not read again before it changes.
        transient: The storage failed this time, and may not another time.
    """

    name: str
    reason: str
    size: int | None = None
    version: str = ""
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An object without its own row: it is identical to one that has.

    Attributes:
        name: Its path below the series' folder.
        of: The path of the first such object by name.
        version: Its version, so that it is not read again before it changes.
    """

    name: str
    of: str
    version: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """An index's facts about itself; building it adds `notes` and those that follow.

    Attributes:
        series: The series as addressed.
        root: The storage root's URL.
        fingerprint: Digest of the listing that the index was built from.
        listed: Objects in that listing.
        limit: The build's limit, or None for a whole index.
        skipped: The objects that are not in it.
        notes: Remarks on the order.
        duplicates: The objects identical to others, which are shown instead.
        series_instance_uids: The number of different SeriesInstanceUIDs.
        patient_ids: The number of different PatientIDs.
        warnings: Warnings for viewers of any of its pictures.
    """

    series: str
    root: str
    fingerprint: str
    listed: int
    limit: int | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    series_instance_uids: int = 0
    patient_ids: int = 0
    warnings: tuple[str, ...] = ()


def fingerprint(listing: list[ObjectInfo]) -> str:
    """Return a digest of a listing's names, sizes and versions."""
    digest = hashlib.sha256()
    for info in listing:
        digest.update(f"{info.path}\0{info.size}\0{info.version}\n".encode())
    return digest.hexdigest()


def sequence_items(element: Element | None) -> tuple[Item, ...]:
    """Return the items of a sequence, none where it is missing."""
    return element.value if element is not None and element.vr == "SQ" else ()  # type: ignore[return-value]


def _closer(farther: Item, groups: Item) -> dict[int, Element | None]:
    """Return the elements of a level and of one closer to the frame.

    A step that the closer level has completely takes nothing from farther ones: None hides theirs.
    """
    closer = _macros(groups)
    hidden = [tag for whole, step in _STEPS if any(tags <= closer.keys() for tags in whole) for tag in step]
    return {**farther, **dict.fromkeys(hidden), **closer}


def _macros(groups: Item) -> Item:
    """Return the elements of a functional groups item's macros, each the first item of its sequence."""
    merged: Item = {}
    for tag, macro in groups.items():
        inner = sequence_items(macro)
        if not tag >> 16 & 1 and inner:
            merged.update({t: e for t, e in inner[0].items() if not t >> 16 & 1})
    return merged
