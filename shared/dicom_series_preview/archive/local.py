"""Open the local places that keep indices: the user's cache folder, or one folder."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.base.errors import OutputError
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.throttle import CONCURRENCY

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage


def open_cache(settings: Settings, root: Storage, *, optional: bool = True) -> IndexCache:
    """Open the local cache as the place for a root's indices; it is made where it is missing.

    Args:
        settings: The cache folder, its size, and concurrency.
        root: The root.
        optional: Where it cannot be made, read or written, indices are made without it.

    Raises:
        OutputError: It cannot be made.
    """
    kept = cache_storage(settings, optional=optional)
    return IndexCache(kept, index_folder(root.identity), optional=optional)


def open_output(folder: Path, settings: Settings) -> IndexCache:
    """Open a local folder as the place for an index right in it; it is made where it is missing.

    Raises:
        OutputError: It cannot be made.
    """
    return IndexCache(LocalStorage(_made(folder), settings.concurrency or CONCURRENCY), "")


def cache_storage(settings: Settings, *, optional: bool = True) -> CacheFolder:
    """The cache folder, made where it is missing; an optional one that cannot be made tells when written."""
    concurrency = settings.concurrency or CONCURRENCY
    with suppress(OutputError) if optional else nullcontext():
        _made(settings.cache_dir)
    pixels = settings.limits.output_pixels
    return CacheFolder(settings.cache_dir, concurrency, settings.cache_bytes, picture_pixels=pixels)


def _made(folder: Path) -> Path:
    """A folder, that is there now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(str(folder), f"the index's folder cannot be made: {error.strerror}") from error
    return folder
