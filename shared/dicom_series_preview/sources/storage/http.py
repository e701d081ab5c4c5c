"""A folder on a web server as a storage root.

obstore's HTTPStore can neither read directory pages nor use a server that ignores Range, and it hides
redirects.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from dicom_series_preview.base.errors import ObjectNotFoundError, StorageError
from dicom_series_preview.sources.storage.base import check_path
from dicom_series_preview.sources.storage.connections import connection_pool
from dicom_series_preview.sources.storage.http_client import HttpClient, Trust
from dicom_series_preview.sources.storage.http_folders import FolderLister
from dicom_series_preview.sources.storage.http_ranges import RangeReader
from dicom_series_preview.sources.storage.passwords import authorization_for
from dicom_series_preview.sources.storage.pooled import PooledStorage
from dicom_series_preview.sources.storage.throttle import Throttle
from dicom_series_preview.sources.storage.walk import SAME_PAGE, FolderWalk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import ByteRange, Fetched, ObjectInfo
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.walk import Listed


class HttpStorage(PooledStorage):
    """A web server's folder as a storage root, which is read-only.

    A version is the object's ETag, else its Last-Modified. A listing can give another kind than the server's
    answers (a date, or what a directory page shows): the answer to a range with the listing's version then
    has that kind, so the two compare.

    Args:
        url: The folder's URL, percent-encoded, without a trailing slash.
        client: Sends the requests.
        throttle: Limits the requests in flight.
        most_folders: The most folders that a listing may enter.
    """

    def __init__(self, url: str, client: HttpClient, throttle: Throttle, most_folders: int) -> None:
        super().__init__(url, throttle)
        self._most_folders = most_folders
        self._lister = FolderLister(client)
        self._reader = RangeReader(client)

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """List as `Storage.list_objects`, with one request per folder, many at once."""
        if folder:
            check_path(self._url, folder)
        walk = FolderWalk(self._folder_url(folder), folder, self._most_folders, most)
        for above, listed in self._pool.each(self._listed, walk.folders(), self._deadline):
            walk.take(above, listed)
            made_up = walk.questionable()
            if made_up is not None:
                walk.judge(self._list_impossible(made_up))
        return sorted(walk.found.values(), key=lambda info: info.path)

    def list_folders(self, prefix: str) -> list[str]:
        """See `Storage.list_folders`."""
        parent = prefix.rpartition("/")[0]
        listed = self._pool.run(lambda part: self._list(parent, part), self._deadline)
        if listed is None:
            if parent:
                return []
            raise ObjectNotFoundError(self._url, "there is no such folder")
        has_folders = any(entry.is_folder for entry in listed.entries)
        if not has_folders and listed.is_like(self._list_impossible(parent)):
            raise StorageError(self._folder_url(parent), SAME_PAGE)
        names = {
            f"{parent}/{entry.path}" if parent else entry.path
            for entry in listed.entries
            if entry.is_folder and "/" not in entry.path
        }
        return sorted(name for name in names if name.startswith(prefix))

    def put(
        self,
        path: str,
        data: bytes,  # noqa: ARG002
        *,
        if_version: str | None = None,  # noqa: ARG002
        attributes: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> str:
        """Refuse the write.

        Raises:
            StorageError: Always.
        """
        raise StorageError(self._object_url(path), "a web server's folder cannot be written")

    def delete(self, path: str) -> None:
        """Refuse the removal.

        Raises:
            StorageError: Always.
        """
        raise StorageError(self._object_url(path), "a web server's folder cannot be written")

    def _object_url(self, path: str) -> str:
        check_path(self._url, path)
        return f"{self._url}/{quote(path)}"

    def _folder_url(self, folder: str) -> str:
        return f"{self._url}/{quote(folder)}/" if folder else f"{self._url}/"

    def _listed(self, folder: str, deadline: Deadline) -> tuple[str, Listed | None]:
        return folder, self._list(folder, deadline)

    def _list_impossible(self, parent: str) -> Listed | None:
        """List a folder that cannot exist; None where the server says that it does not."""
        name = f"no-such-folder-{secrets.token_hex(8)}"
        folder = f"{parent}/{name}" if parent else name
        try:
            return self._pool.run(lambda part: self._list(folder, part), self._deadline)
        except StorageError:
            return None

    def _list(self, folder: str, deadline: Deadline) -> Listed | None:
        """List one folder; None where it does not exist."""
        return self._lister.list(self._folder_url(folder), self._meter, deadline)

    def _read(self, wanted: ByteRange, deadline: Deadline) -> Fetched:
        return self._reader.read(wanted, self._object_url(wanted.path), self._meter, deadline)


def open_http(
    url: str,
    settings: Settings,
    environment: Mapping[str, str],
    retry: RetryPolicy,
    *,
    allow_cross_host_redirects: bool,
) -> HttpStorage:
    """Open a web server's folder, without a request; see `open_storage`."""
    throttle = Throttle.from_settings(settings)
    pool = connection_pool(url, environment, throttle.most)
    trust = Trust(url, authorization_for(url, environment), allow_cross_host_redirects)
    client = HttpClient(pool, retry, throttle, settings.request_timeout_s, trust)
    return HttpStorage(url, client, throttle, settings.limits.folders)
