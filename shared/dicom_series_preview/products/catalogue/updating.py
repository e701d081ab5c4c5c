"""Set up the update of a root's catalogue, for every door that offers it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.place import catalogue_cache
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.archive.catalogue.update import Updater
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.room import Room
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import RequestError, SeriesNotFoundError
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.roots import parse_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.names import SeriesName
    from dicom_series_preview.base.settings import Limits, Settings
    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.sources.storage.deadline import Deadline


def open_updater(
    root: Storage,
    kept: Storage,
    limits: Limits,
    environment: Mapping[str, str],
    running: Deadline,
) -> Updater:
    """Set up the update of a root.

    Args:
        root: The root.
        kept: The place of indices and catalogue.
        limits: The bounds of work.
        environment: The variables of the catalogue's columns.
        running: Abandoned once nobody waits any more.

    Raises:
        RequestError: A variable is wrong.
    """
    indexer = SeriesIndexer(root, catalogue_cache(kept, root), limits, gate=Room(running).passage)
    places = SeriesPlaces(kept, places_folder(root.identity))
    return Updater(indexer, CatalogueTable(kept, Shape.from_environment(environment)), places)


def _below(root: Storage, place: str, name: str) -> str:
    """Return the folder below a root of a series that was named with a root of its own.

    Raises:
        RequestError: It lies elsewhere.
    """
    start, whole = f"{root.url}/", f"{parse_root(place, {}).url}/{name}"
    if isinstance(root, LocalStorage):
        start, whole = f"{root.root}/", f"{parse_root(place, {}).place}/{name}"
    if not whole.startswith(start):
        raise RequestError("series", f"{name} does not lie below {root.url}; give its root with `root`")
    return whole.removeprefix(start)


def reindexer(
    kept: Storage, settings: Settings, environment: Mapping[str, str]
) -> Callable[[str, str], Index]:
    """Return a function that makes the index of a series anew, given its root's URL and its folder.

    Args:
        kept: The place of indices, which gets it where it can be written.
        settings: How roots are opened.
        environment: The variables of credentials.
    """

    def made(url: str, series: str) -> Index:
        root = open_storage(url, settings, environment)
        listing = root.list_objects(series)
        if not listing:
            raise SeriesNotFoundError(series, root.url, "nothing is there now")
        cache = replace(catalogue_cache(kept, root), optional=True)
        return SeriesIndexer(root, cache, settings.limits).open_listed(series, listing).index

    return made


def folders_of(names: Sequence[SeriesName], root: Storage) -> list[str]:
    """Return the folders that names mean, of a prefix all matches.

    Args:
        names: The names; without any, the whole root is meant.
        root: The root.

    Raises:
        SeriesNotFoundError: No series begins with a prefix.
        RequestError: A name leads to another root, or a root that is too large is meant.
    """
    found: list[str] = []
    for name in names:
        text = name.text if name.root is None else _below(root, name.root, name.text)
        folders = root.list_folders(text) if name.is_prefix else [text]
        if not folders:
            raise SeriesNotFoundError(f"{name.text}*", root.url, "no series begins so")
        found += folders
    if root.immutable and not found:
        raise RequestError("root", f"{root.url} holds too much to list it whole; name series, such as '389*'")
    return list(dict.fromkeys(found))
