"""An opened series: its name, its storage, and an index as fresh as its listing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.prefetched import Prefetched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class OpenedSeries:
    """A series with an index that is as fresh as its listing.

    Attributes:
        name: Its folder below the root; where it lies in several, the one around them, empty for the root.
        storage: Its storage.
        index: Its index.
        source: `cache`, `updated` (some headers were read) or `built` (all were).
        matches: The number of series that the prefix matched; 1 without a prefix.
        headers_read: The number of headers read now.
        prefetched: The bytes of frames that arrived with those headers.
        kept_version: The cached index's version, empty if it is not cached.
        uid: The one SeriesInstanceUID that it is of what its folders hold; empty where it is all.
        parts: These folders, as they were opened; none where it is all of its folder.
    """

    name: str
    storage: Storage
    index: Index = field(repr=False)
    source: str
    matches: int = 1
    headers_read: int = 0
    prefetched: Prefetched = field(default_factory=Prefetched, repr=False)
    kept_version: str = ""
    uid: str = ""
    parts: tuple[OpenedSeries, ...] = field(default=(), repr=False)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that its objects lie in."""
        return tuple(part.name for part in self.parts) or (self.name,)

    @property
    def title(self) -> str:
        """What it is called: its folder, or its UID where it lies in several."""
        return self.name if len(self.folders) == 1 else self.uid


def located_in(
    opened: OpenedSeries, found: Mapping[str, Sequence[FrameLocation]]
) -> Iterator[tuple[OpenedSeries, dict[str, Sequence[FrameLocation]]]]:
    """Yield the folders of a series, each with the places of frames that were found in it."""
    for part in opened.parts:
        start = name_below(opened.name, part.name)
        own = {name.removeprefix(start): places for name, places in found.items() if name.startswith(start)}
        yield part, own


def name_below(parent: str, folder: str) -> str:
    """Return what the names of a folder's objects begin with, below a folder around it."""
    if folder == parent:
        return ""
    return f"{folder.removeprefix(f'{parent}/') if parent else folder}/"
