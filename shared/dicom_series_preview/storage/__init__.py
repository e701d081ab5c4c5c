"""Storage roots: S3, a web server, a local folder, memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_series_preview.storage.base import ByteRange, Fetched, ObjectInfo, Storage, Usage, is_path, total
from dicom_series_preview.storage.deadline import Deadline
from dicom_series_preview.storage.hand import IN_HAND_BYTES, InHand
from dicom_series_preview.storage.local import LocalStorage, listed_name
from dicom_series_preview.storage.objectstore import MemoryStorage
from dicom_series_preview.storage.one_file import OneFile
from dicom_series_preview.storage.places import HERE, file_below, is_windows, path_of_file_url
from dicom_series_preview.storage.retry import RetryPolicy
from dicom_series_preview.storage.room import Room
from dicom_series_preview.storage.roots import is_full_name, parse_root, split_root
from dicom_series_preview.storage.s3 import S3Storage, bucket_region, resolve_access
from dicom_series_preview.storage.throttle import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.settings import Settings

__all__ = [
    "CONCURRENCY",
    "HERE",
    "IN_HAND_BYTES",
    "ByteRange",
    "Deadline",
    "Fetched",
    "InHand",
    "LocalStorage",
    "MemoryStorage",
    "ObjectInfo",
    "OneFile",
    "RetryPolicy",
    "Room",
    "Storage",
    "Usage",
    "file_below",
    "is_full_name",
    "is_path",
    "is_windows",
    "listed_name",
    "open_storage",
    "parse_root",
    "path_of_file_url",
    "split_root",
    "total",
]


def open_storage(
    root: str,
    settings: Settings,
    environment: Mapping[str, str],
    *,
    allow_cross_host_redirects: bool = True,
    retry: RetryPolicy | None = None,
) -> Storage:
    """Open a storage root. Nothing is asked for yet, save an S3 bucket's region where it is not known.

    Args:
        root: `s3://bucket[/prefix]`, `http(s)://host[:port][/path]`, `file:///path`, or a local path.
        settings: Concurrency, retries and timeouts.
        environment: The AWS and proxy variables, and the home folder.
        allow_cross_host_redirects: Whether a web server may send us to another one; the serverless doors say
            no.
        retry: Replaces the settings' retries, for tests.

    Raises:
        RequestError: The root is not one of these.
        StorageError: Its credentials are not there.
    """
    place = parse_root(root, environment)
    policy = retry or RetryPolicy.from_settings(settings)
    if place.kind == "local":
        return LocalStorage(
            Path(place.place), settings.concurrency or CONCURRENCY, follow_links=settings.follow_links
        )
    if place.kind == "http":
        # It imports urllib3 (50 ms), which the other storages do without.
        from dicom_series_preview.storage.http import open_http  # noqa: PLC0415

        return open_http(
            place.url, settings, environment, policy, allow_cross_host_redirects=allow_cross_host_redirects
        )
    limit_s = settings.limits.seconds

    def find_region(bucket: str, address: str) -> str | None:
        return settings.region or bucket_region(bucket, address, environment, min(5.0, limit_s))

    access = resolve_access(place.place, environment, find_region, signed=settings.signed)
    # obstore's time-outs are a store's, not a request's: none is longer than any request may take.
    longest_s = max(0.001, min(settings.request_timeout_s, limit_s))
    return S3Storage(
        access,
        place.prefix,
        dataclasses.replace(settings, max_retries=policy.max_retries, request_timeout_s=longest_s),
        policy,
    )
