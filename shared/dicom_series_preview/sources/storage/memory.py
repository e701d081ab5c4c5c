"""A storage in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore
from obstore.store import MemoryStore

from dicom_series_preview.sources.storage.base import ObjectInfo
from dicom_series_preview.sources.storage.listing import PAGE_OBJECTS, inside, objects_of
from dicom_series_preview.sources.storage.objectstore import ObjectStoreStorage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from dicom_series_preview.sources.storage.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Mapping


class MemoryStorage(ObjectStoreStorage):
    """Objects in memory, for claims and tests.

    Args:
        objects: The first objects' bytes by path.
        url: Its URL.
        concurrency: Ranges read at once.
        immutable: The value of `immutable`.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        *,
        url: str = "memory://objects",
        concurrency: int = 8,
        immutable: bool = False,
    ) -> None:
        store = MemoryStore()
        super().__init__(
            store=store, url=url, prefix="", throttle=Throttle(concurrency), retry=RetryPolicy(0, 0.0)
        )
        self._immutable = immutable
        for path, data in (objects or {}).items():
            obstore.put(store, path, data)

    @property
    def immutable(self) -> bool:
        """The constructor's argument."""
        return self._immutable

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """See `Storage.list_objects`."""
        self._meter.count(lists=1)
        start = f"{self._key(folder)}/" if folder else ""
        listed = obstore.list(self._store, prefix=folder or None, chunk_size=PAGE_OBJECTS)
        pages = (
            [
                ObjectInfo(
                    inside(self._url, meta["path"], start),
                    meta["size"],
                    meta["e_tag"] or "",
                    meta["last_modified"].timestamp(),
                )
                for meta in page
            ]
            for page in listed
        )
        return objects_of(self._url, pages, most)

    def list_folders(self, prefix: str) -> list[str]:
        """See `Storage.list_folders`."""
        self._meter.count(lists=1)
        folders = obstore.list_with_delimiter(self._store, prefix.rpartition("/")[0] or None)[
            "common_prefixes"
        ]
        return sorted(folder for folder in folders if folder.startswith(prefix))
