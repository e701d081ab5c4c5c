"""Open a storage root: S3, a web server or a local folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from dicom_series_preview.sources.storage.roots import parse_root
from dicom_series_preview.sources.storage.throttle import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.sources.storage.roots import Root
    from dicom_series_preview.sources.storage.s3 import S3Storage


def open_storage(
    root: str,
    settings: Settings,
    environment: Mapping[str, str],
    *,
    allow_cross_host_redirects: bool = True,
    retry: RetryPolicy | None = None,
) -> Storage:
    """Open a storage root, without a request, except for an S3 bucket's region where it is unknown.

    Args:
        root: `s3://bucket[/prefix]`, `http(s)://host[:port][/path]`, `file:///path`, or a local path.
        settings: Concurrency, retries and timeouts.
        environment: The AWS and proxy variables, and the home folder.
        allow_cross_host_redirects: A web server may redirect to another host; the serverless doors forbid it.
        retry: Replaces the settings' retries, for tests.

    Raises:
        RequestError: The root has another form.
        StorageError: Its credentials are missing.
    """
    place = parse_root(root, environment)
    policy = retry or RetryPolicy.from_settings(settings)
    if place.kind == "local":
        return LocalStorage(
            Path(place.place), settings.concurrency or CONCURRENCY, follow_links=settings.follow_links
        )
    if place.kind == "http":
        # It imports urllib3 (50 ms), which the other storages do without.
        from dicom_series_preview.sources.storage.http import open_http  # noqa: PLC0415

        return open_http(
            place.url, settings, environment, policy, allow_cross_host_redirects=allow_cross_host_redirects
        )
    return _open_s3(place, settings, environment, policy)


def _open_s3(
    place: Root, settings: Settings, environment: Mapping[str, str], policy: RetryPolicy
) -> S3Storage:
    """Open a bucket, or a prefix of one."""
    # They load obstore, which the other storages do without.
    from dicom_series_preview.sources.storage.s3 import S3Storage  # noqa: PLC0415
    from dicom_series_preview.sources.storage.s3_access import bucket_region, resolve_access  # noqa: PLC0415

    limit_s = settings.limits.seconds

    def find_region(bucket: str, address: str) -> str | None:
        return settings.region or bucket_region(bucket, address, environment, min(5.0, limit_s))

    access = resolve_access(place.place, environment, find_region, signed=settings.signed)
    # obstore's time-outs belong to a store, not a request: keep them within the longest request.
    longest_s = max(0.001, min(settings.request_timeout_s, limit_s))
    return S3Storage(
        access,
        place.prefix,
        dataclasses.replace(settings, max_retries=policy.max_retries, request_timeout_s=longest_s),
        policy,
    )
