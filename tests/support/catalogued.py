"""Archives on a disk with catalogues of them, for tests of what reads and writes the table."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import make_dicom as make
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.snapshot import SnapshotReader
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.archive.catalogue.update import Updater, UpdateSummary
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.local import LocalStorage

ROOT = "file:///archive"
EARLY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def at(minute: int) -> dt.datetime:
    """A moment, so many minutes after the first."""
    return EARLY + dt.timedelta(minutes=minute)


def row(series: str = "s", uid: str = "1.2", minute: int = 0, **cells: Any) -> dict[str, Any]:
    """A row of the table, made at a minute."""
    return {
        "Root": ROOT,
        "Series": series,
        "SeriesInstanceUID": uid,
        "Fingerprint": f"f{minute}",
        "CataloguedAt": at(minute),
        **cells,
    }


def looked_at(*series: str, minute: int = 0) -> dict[tuple[str, str], dt.datetime]:
    """Series, and when each was looked at."""
    return {(ROOT, name): at(minute) for name in series}


@dataclass
class Catalogued:
    """A root, a cache, and the catalogue in it.

    Attributes:
        root: The root's storage.
        kept: The cache's storage.
        shape: The site's columns.
    """

    root: Storage
    kept: Storage
    shape: Shape = field(default_factory=Shape)

    @classmethod
    def on_disk(cls, folder: Path, shape: Shape | None = None) -> "Catalogued":
        """Make two folders, `root` and `cache`."""
        for name in ("root", "cache"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return cls(LocalStorage(folder / "root", 4), LocalStorage(folder / "cache", 4), shape or Shape())

    @property
    def table(self) -> CatalogueTable:
        """A writer that remembers nothing."""
        return CatalogueTable(self.kept, self.shape, pause=lambda _: None)

    @property
    def reader(self) -> SnapshotReader:
        """A reader that remembers nothing."""
        return SnapshotReader(self.kept)

    @property
    def updater(self) -> Updater:
        """Updates the catalogue of the root."""
        cache = IndexCache(self.kept, index_folder(self.root.identity))
        return Updater(SeriesIndexer(self.root, cache, Limits()), self.table)

    def update(self, *named: str, rebuild: bool = False) -> UpdateSummary:
        """Bring the catalogue up to date."""
        updater = self.updater
        return updater.run(updater.plan(named, rebuild=rebuild))

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        """The rows, sorted by key."""
        rows = self.reader.read(columns or None).to_pylist()
        return sorted(rows, key=lambda one: [str(one.get(name)) for name in ("Series", "SeriesInstanceUID")])

    def put(self, path: str, data: bytes | None = None, **elements: Any) -> None:
        """Write an object of the root; an image with these elements where no bytes are given."""
        if data is None:
            uid = f"1.2.3.{sum(path.encode())}.{len(path)}"
            data = make.encode(make.image(**{"SOPInstanceUID": uid, **elements}))
        self.root.put(path, data)
