"""Made catalogues: rows that tests name, and the table that holds them."""

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import planted
import synthetic
from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.archive.catalogue.update import Updater
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.settings import Identifiers, Limits
from dicom_series_preview.products.catalogue.columns import ShownTable
from dicom_series_preview.products.catalogue.search import Search, search_of
from dicom_series_preview.products.catalogue.view import CatalogueView, Result
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.memory import MemoryStorage

ROOT = "s3://the-clinics-bucket/of-patients"
NOW = dt.datetime(2026, 3, 12, 10, tzinfo=dt.UTC)
MOST_BYTES = 2**26
KEY = b"a key that is long enough"
DROP, HASH, KEEP = Identifiers("drop"), Identifiers("hash", KEY), Identifiers("keep")


def row(number: int, **cells: Any) -> dict[str, Any]:
    """A row of a series, `series-NUMBER`, with the patient planted in it."""
    return {
        "Root": ROOT,
        "Series": f"series-{number:04}",
        "SeriesInstanceUID": f"1.2.840.99.1.{number}",
        "StudyInstanceUID": f"1.2.840.99.{number // 3}",
        "PatientID": planted.PATIENT["PatientID"],
        "PatientName": planted.PATIENT["PatientName"],
        "PatientBirthDate": dt.date(1947, 2, 28),
        "AccessionNumber": planted.PATIENT["AccessionNumber"],
        "StudyDate": dt.date(2026, 1, 1) + dt.timedelta(number),
        "Modality": "CT",
        "SeriesNumber": number,
        "CataloguedAt": NOW,
        **cells,
    }


def storage_of(folder: Path) -> LocalStorage:
    """The cache in a folder."""
    return LocalStorage(folder, 8)


def write(folder: Path, rows: Iterable[Mapping[str, Any]], shape: Shape | None = None) -> None:
    """Put rows into the table of a folder, in one commit."""
    listed = list(rows)
    series = {(one["Root"], one["Series"]): one["CataloguedAt"] for one in listed}
    CatalogueTable(storage_of(folder), shape or Shape()).merge(listed, series)


def remove(folder: Path, *series: str) -> None:
    """Take the rows of series out of it, in one commit."""
    later = NOW + dt.timedelta(days=1)
    CatalogueTable(storage_of(folder)).merge([], {(ROOT, name): later for name in series})


def catalogue(root: str, cache: Storage, *series: synthetic.Synthetic, identity: str = "") -> None:
    """Catalogue series as an update of their root does, and a series of a root that nobody serves.

    Args:
        root: The root's URL.
        cache: Where the table lies.
        *series: What lies in the root.
        identity: The root's identity, where it is not its URL.
    """
    objects = {f"{one.name}/{name}": data for one in series for name, data in one.objects.items()}
    indexer = SeriesIndexer(MemoryStorage(objects, url=root), None, Limits())
    updater = Updater(indexer, CatalogueTable(cache), SeriesPlaces(cache, places_folder(identity or root)))
    updater.run(updater.plan())
    other = row(1, Root="s3://planted-bucket/other", StudyInstanceUID=f"{synthetic.UID_ROOT}.1")
    CatalogueTable(cache).merge([other], {(other["Root"], other["Series"]): other["CataloguedAt"]})


def view_of(
    storage: Storage, identifiers: Identifiers = KEEP, roots: Mapping[str, str] | None = None, **rest: Any
) -> CatalogueView:
    """The catalogue as a door shows it."""
    return CatalogueView(storage, roots or {"default": ROOT}, identifiers, **rest)


def searched(view: CatalogueView, table: ShownTable, query: str = "") -> Search:
    """The search of a query."""
    return search_of(parse_qs(query, keep_blank_values=True), view.shelf(table))


def found(view: CatalogueView, query: str = "") -> Result:
    """What a query finds in the newest version."""
    table = view.newest(view.storage)
    return view.find(table, searched(view, table, query), MOST_BYTES)


def names(result: Result) -> list[str]:
    """The folders of the series that were found, in order."""
    return result.page.rows["Series"].to_pylist()
