"""The query for an index: a series as listed now, and its possible instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_series_preview.sources.storage.base import ObjectInfo

_PASSED_OVER_NAMES = frozenset(("dicomdir", ".ds_store", "thumbs.db", "desktop.ini", "_last_checkpoint"))
_PASSED_OVER_ENDINGS = (
    *(".json", ".xml", ".txt", ".csv", ".tsv", ".parquet", ".zip", ".nii", ".nii.gz"),
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".svg"),
)


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A request for an index.

    Attributes:
        series: The series' folder below its root.
        listing: Its objects, as listed now.
        fingerprint: The digest of the listing.
        limit: The most objects to read, or None.
        refresh: Read every header again.
    """

    series: str
    listing: list[ObjectInfo]
    fingerprint: str
    limit: int | None
    refresh: bool

    @property
    def chosen(self) -> list[ObjectInfo]:
        """The objects that the index should describe: their names allow them to be instances."""
        return [info for info in self.listing if not is_passed_over(info.path)][: self.limit]

    @property
    def instances(self) -> set[tuple[str, str]]:
        """Their names and versions."""
        folder = f"{self.series}/"
        return {(info.path.removeprefix(folder), info.version) for info in self.chosen}


def is_passed_over(path: str) -> bool:
    """Return True where the name alone rules out an instance; when in doubt the content decides."""
    name = path.rpartition("/")[2].lower()
    return name in _PASSED_OVER_NAMES or name.endswith(_PASSED_OVER_ENDINGS)
