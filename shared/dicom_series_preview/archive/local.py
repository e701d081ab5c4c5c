"""Open the local stores of indices: the user's cache folder, or one folder."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import OutputError
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.throttle import CONCURRENCY

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage


def open_cache(settings: Settings, root: Storage, *, optional: bool = True) -> IndexCache:
    """Open the local cache for a root's indices; create it if missing.

    Args:
        settings: The cache folder, its size, and concurrency.
        root: The root.
        optional: Where the cache cannot be created, read or written, indices are made without it.

    Raises:
        OutputError: The folder cannot be created.
    """
    kept = cache_storage(settings, optional=optional)
    return IndexCache(kept, index_folder(root.identity), optional=optional)


def open_places(settings: Settings, root: Storage) -> SeriesPlaces:
    """Open the places of a root's series in the local cache; without the cache folder there are none."""
    concurrency = settings.concurrency or CONCURRENCY
    kept = CacheFolder(settings.cache_dir, concurrency, settings.cache_bytes)
    return SeriesPlaces(kept, places_folder(root.identity), optional=True)


def open_output(folder: Path, settings: Settings) -> IndexCache:
    """Open a local folder for an index right in it; create it if missing.

    Raises:
        OutputError: The folder cannot be created.
    """
    return IndexCache(LocalStorage(_created(folder), settings.concurrency or CONCURRENCY), "")


def cache_storage(settings: Settings, *, optional: bool = True, create: bool = True) -> CacheFolder:
    """Open the cache folder; create it if missing; an optional one reports its failure on writing."""
    concurrency = settings.concurrency or CONCURRENCY
    if create:
        with suppress(OutputError) if optional else nullcontext():
            _created(settings.cache_dir)
    pixels = settings.limits.output_pixels
    return CacheFolder(settings.cache_dir, concurrency, settings.cache_bytes, picture_pixels=pixels)


def _created(folder: Path) -> Path:
    """Create a folder if missing, and return it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), f"the index's folder cannot be made: {error.strerror}") from error
    return folder
