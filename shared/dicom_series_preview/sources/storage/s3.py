"""An S3 bucket, or a prefix of one, as a storage root."""

from __future__ import annotations

from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from dicom_series_preview.base.errors import RequestError, StorageError
from dicom_series_preview.sources.storage.base import Meter, ObjectInfo, check_path
from dicom_series_preview.sources.storage.listing import inside, objects_of
from dicom_series_preview.sources.storage.objectstore import ObjectStoreStorage
from dicom_series_preview.sources.storage.retry import TRANSFER_FACTOR
from dicom_series_preview.sources.storage.s3_access import PUBLIC_BUCKETS
from dicom_series_preview.sources.storage.s3_credentials import one_line
from dicom_series_preview.sources.storage.throttle import Throttle

if TYPE_CHECKING:
    from concurrent.futures import Future

    from obstore.store import ClientConfig, S3Config

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.s3_access import S3Access
    from dicom_series_preview.sources.storage.s3_pages import Lister


CONCURRENCY = 256
"""The most requests at once, for a bucket that answers them all, unless set."""


class S3Storage(ObjectStoreStorage):
    """An S3 bucket, or a prefix of one.

    Args:
        access: The access to the bucket.
        prefix: The root's path in the bucket, without slashes at its ends.
        settings: Concurrency, retries and timeouts.
        retry: The pauses between retries.
    """

    def __init__(self, access: S3Access, prefix: str, settings: Settings, retry: RetryPolicy) -> None:
        url = "s3://" + "/".join(filter(None, (access.bucket, prefix)))
        super().__init__(
            store=_store(url, access, settings),
            url=url,
            prefix=prefix,
            throttle=Throttle.from_settings(settings, CONCURRENCY),
            retry=retry,
        )
        self._access = access
        self._settings = settings
        # By then a page has failed for good, or has no end.
        self._patience_s = settings.retry_timeout_s + settings.request_timeout_s
        self._ahead: dict[str, tuple[Future[list[ObjectInfo]], Meter]] = {}
        self._lister = cache(partial(_build_lister, access, settings, retry, self._throttle))

    @property
    def access(self) -> S3Access:
        """The access to the bucket."""
        return self._access

    @property
    def identity(self) -> str:
        """The URL, and the server's where it is not AWS; mirrors of a public bucket count as that bucket."""
        endpoint = self._access.endpoint
        return self.url if endpoint is None or self.immutable else f"{self.url} at {endpoint.rstrip('/')}"

    @property
    def immutable(self) -> bool:
        """True for PUBLIC_BUCKETS."""
        return self._access.bucket in PUBLIC_BUCKETS

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """See `Storage.list_objects`."""
        begun = self._ahead.pop(folder, None)
        if begun is None:
            return self._pool.run(
                lambda part: self._listed(folder, most, self._meter, part), self._deadline, self._patience_s
            )
        listing, meter = begun
        try:
            return self._pool.result(listing, self._deadline, self._patience_s)
        finally:
            self._meter.add(meter)

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """See `Storage.list_ahead`."""
        meter = Meter()
        listing = self._pool.begin(lambda part: self._listed(folder, most, meter, part), self._deadline)
        self._ahead[folder] = listing, meter

    def _listed(self, folder: str, most: int | None, meter: Meter, deadline: Deadline) -> list[ObjectInfo]:
        """List the objects below a folder, by pages."""
        if folder:
            check_path(self._url, folder)
        start = f"{self._prefix}/" if self._prefix else ""
        below = f"{start}{folder}/" if folder else start
        url = self._object_url(folder) if folder else self._url
        pages = (
            [
                # A key with a slash at its end is a folder marker; this folder's own is no object.
                ObjectInfo(
                    inside(url, key.name, below)[len(start) :].removesuffix("/"),
                    key.size,
                    key.etag,
                    key.modified_s,
                )
                for key in page.keys
                if key.name != below
            ]
            for page in self._lister().pages(url, meter, {"prefix": below}, deadline)
        )
        return objects_of(url, pages, most)

    def list_folders(self, prefix: str) -> list[str]:
        """See `Storage.list_folders`."""
        start = f"{self._prefix}/" if self._prefix else ""

        def names(deadline: Deadline) -> list[str]:
            query = {"prefix": start + prefix, "delimiter": "/"}
            pages = self._lister().pages(self._url, self._meter, query, deadline)
            return [inside(self._url, common, start + prefix) for page in pages for common in page.folders]

        return sorted(name[len(start) : -1] for name in self._pool.run(names, self._deadline))

    def link(self, path: str, expires_s: int) -> str | None:
        """Return a presigned URL; None where there are no credentials to sign with."""
        if self._access.anonymous:
            return None
        store = cast("S3Store", self._store)
        return str(obstore.sign(store, "GET", self._key(path), timedelta(seconds=expires_s)))


def _build_lister(access: S3Access, settings: Settings, retry: RetryPolicy, throttle: Throttle) -> Lister:
    # A picture of a public bucket needs no listing.
    from dicom_series_preview.sources.storage.s3_lister import open_lister  # noqa: PLC0415 - loads urllib3: 35 ms

    return open_lister(access, settings, retry, throttle)


def _store(url: str, access: S3Access, settings: Settings) -> S3Store:
    config: S3Config = {
        "region": access.region,
        "skip_signature": access.anonymous,
        "endpoint": access.address,
        "virtual_hosted_style_request": False,
        # A write carries its digest: S3 refuses bytes that were damaged on the way.
        "checksum_algorithm": "SHA256",
        **(access.credentials or {}),
    }
    try:
        return S3Store(
            access.bucket,
            config=config,
            client_options=_client_options(access, settings),
            retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
            credential_provider=access.session,
        )
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, ValueError) and access.ca_bundle:
            problem = f"{access.ca_bundle} holds no certificate in PEM form"
            raise RequestError("AWS_CA_BUNDLE", problem) from error
        raise StorageError(url, f"cannot be opened: {one_line(error)}") from error


def _client_options(access: S3Access, settings: Settings) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": access.address.lower().startswith("http://"),
        "connect_timeout": timedelta(seconds=min(settings.request_timeout_s, 10)),
        "read_timeout": timedelta(seconds=settings.request_timeout_s),
        "timeout": timedelta(seconds=settings.request_timeout_s * TRANSFER_FACTOR),
    }
    if access.ca_bundle:
        options["root_certificate"] = Path(access.ca_bundle).read_bytes()
    return options
