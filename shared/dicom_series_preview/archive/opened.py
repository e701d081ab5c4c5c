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


# So many folders are named in a warning.
_LISTED = 3


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
        asked_uid: The SeriesInstanceUID by which it was found; empty where a folder has the name.
        gone: The folders that are known to have held it, and hold it no more.
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
    asked_uid: str = ""
    gone: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that its objects lie in."""
        return tuple(part.name for part in self.parts) or (self.name,)

    @property
    def title(self) -> str:
        """What it is called: its folder, or its UID where it lies in several."""
        return self.name if len(self.folders) == 1 else self.uid

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for whoever sees anything of it."""
        return (*self.index.provenance.warnings, *self.gone_told)

    @property
    def gone_told(self) -> tuple[str, ...]:
        """A warning of the folders that hold it no more, where there are any."""
        if not self.gone:
            return ()
        all_told, more = len(self.gone) + len(self.folders), len(self.gone) - _LISTED
        names = ", ".join([*self.gone[:_LISTED], *([f"and {more} more"] if more > 0 else [])])
        which = f"{len(self.gone)} of the {all_told} folders known to hold this series, {names}"
        verb = "holds" if len(self.gone) == 1 else "hold"
        problem = f"{which}, {verb} it no more: slices may be missing"
        return (f"{problem}; dicom-series-preview update looks where they are now",)


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
