"""Open the place of indices and catalogue: the user's cache folder, or a bucket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.local import cache_storage
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.open import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage


def catalogue_storage(
    place: str | None, settings: Settings, environment: Mapping[str, str], *, create: bool = True
) -> Storage:
    """Open the place that holds indices and catalogue.

    Args:
        place: An `s3://` URL; anything else is the settings' cache folder.
        settings: The cache folder, its size, and concurrency.
        environment: The AWS variables.
        create: Create the folder if missing: whoever only reads does not.

    Raises:
        OutputError: The folder cannot be created.
        RequestError: The URL is none.
    """
    if place is not None and "://" in place:
        return open_storage(place, settings, environment)
    return cache_storage(settings, optional=False, create=create)


def folder_below(root: Storage, kept: Storage) -> str | None:
    """Return the folder of a place below a root; None where it lies elsewhere."""
    if isinstance(root, LocalStorage) and isinstance(kept, LocalStorage):
        inside = os.path.realpath(kept.root), os.path.realpath(root.root)
        return os.path.relpath(*inside).replace(os.sep, "/") if _is_below(*inside) else None
    start = f"{root.url}/"
    return kept.url.removeprefix(start) if kept.url.startswith(start) else None


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def catalogue_cache(kept: Storage, root: Storage) -> IndexCache:
    """Return the cache of a root's indices in that place."""
    return IndexCache(kept, index_folder(root.identity))
