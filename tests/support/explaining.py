"""Explanations of folders and of data sets."""

from pathlib import Path

from pydicom import Dataset

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.explain.explanation import Explanation, explain
from dicom_series_preview.products.explain.lines import lines_of
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from indexing import series


def explained(folder: Path) -> Explanation:
    """The explanation of a folder."""
    return _explained(LocalStorage(folder.parent, 4), folder.name)


def explained_objects(objects: dict[str, bytes]) -> Explanation:
    """The explanation of a series of objects, by name."""
    return _explained(MemoryStorage({f"S/{name}": data for name, data in objects.items()}), "S")


def lines(*sources: Dataset) -> list[str]:
    """What is said of a series of data sets."""
    return list(lines_of(explained_objects(series(*sources))))


def _explained(storage: Storage, name: str) -> Explanation:
    return explain(SeriesIndexer(storage, None, Limits()).open(SeriesName.parse(name)))
