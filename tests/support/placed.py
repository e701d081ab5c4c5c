"""Archives in which the places of each series are known, and the layouts that archives come in."""

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

from pydicom import dcmread

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.held import held_series
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.uids import SeriesPlaces, is_uid, places_folder
from dicom_series_preview.base.errors import NoImageError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import IndexRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService, Rendered
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import CountingStorage


def note_places(service: PreviewService, folders: Iterable[str]) -> None:
    """Index folders, and note which series each holds."""
    assert service.places is not None
    for folder in folders:
        with suppress(NoImageError):
            for one in held_series(service.index(IndexRequest(SeriesName(folder))).index):
                if is_uid(one.series_instance_uid):
                    service.places.add(one.series_instance_uid, folder)


def folders_of(objects: Iterable[str]) -> list[str]:
    """The folders right above some objects."""
    return sorted({path.rpartition("/")[0] for path in objects})


@dataclass
class Placed:
    """A service over objects in memory that knows the place of each series.

    Attributes:
        objects: What lies in the root.
        limits: What is refused.
        folders: The series' folders; by default those right above objects.
        known: The places are noted.
    """

    objects: dict[str, bytes]
    limits: Limits = field(default_factory=Limits)
    folders: list[str] | None = None
    known: bool = True

    def __post_init__(self) -> None:
        self.memory = MemoryStorage(self.objects)
        self.storage = CountingStorage(self.memory)
        self.kept = CountingStorage(MemoryStorage(url="memory://kept"))
        self.places = SeriesPlaces(self.kept, places_folder(self.storage.identity))
        self.service = PreviewService(self.storage, IndexCache(self.kept), self.limits, places=self.places)
        if self.known:
            note_places(self.service, self.folders or folders_of(self.objects))

    def reset(self) -> None:
        """Count from nothing."""
        self.storage.reset()
        self.kept.reset()

    def mosaic(self, series: str, **options: str) -> Rendered:
        """The mosaic of a series, without loss."""
        given = {name: [value] for name, value in options.items()}
        return self.service.render(MosaicRequest.from_strings(series, "a.png", given))

    def index(self, series: str, limit: int | None = None) -> Any:
        """An opened series."""
        return self.service.index(IndexRequest(SeriesName.parse(series), limit))


@dataclass(frozen=True)
class Layouts:
    """The same objects in three layouts, by path.

    Attributes:
        separate: Each series in a folder of its own.
        flat: All in one folder, in no order.
        nested: By study, half of each series here and half there, and below one another.
        series: The objects' SeriesInstanceUIDs, each with its number of objects.
    """

    separate: Mapping[str, bytes]
    flat: Mapping[str, bytes]
    nested: Mapping[str, bytes]
    series: Mapping[str, int]

    @classmethod
    def of(cls, files: Iterable[Path], shuffled: int | None = None) -> Self:
        """Lay out DICOM files; a number shuffles those of the flat folder."""
        by_series: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for path in files:
            with warnings.catch_warnings(action="ignore"):  # of UIDs that are none
                header = dcmread(path, stop_before_pixels=True, force=True)
                uid = str(header.get("SeriesInstanceUID") or "").strip()
                study = str(header.get("StudyInstanceUID") or "none")
            by_series[uid].append((study, path.read_bytes()))
        separate, nested = {}, {}
        for number, members in enumerate(by_series.values()):
            for i, (study, data) in enumerate(members):
                half = "a" if 2 * i < len(members) else "b"
                separate[f"s{number}/{i:05}.dcm"] = data
                # As siblings, in folders that have nothing in common, and one inside the other.
                inside = "" if half == "a" else "/more"
                ways = f"{study}/{number}/{half}", f"{half}/{study}-{number}", f"c/{number}{inside}"
                nested[f"{ways[number % 3]}/{i:05}"] = data
        held = [data for members in by_series.values() for _, data in members]
        if shuffled is not None:
            Random(shuffled).shuffle(held)
        flat = {f"CD/IM{i:05}": data for i, data in enumerate(held, 1)}
        return cls(separate, flat, nested, {uid: len(members) for uid, members in by_series.items()})
