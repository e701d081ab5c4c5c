"""Hand a storage to a library that reads and writes by itself: its URL, and the options of its access."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.sources.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.sources.storage.s3_access import S3Access


def native_place(storage: Storage, path: str) -> tuple[str, dict[str, str]]:
    """Return the URL or path of a folder below a storage, and the options of Rust's object_store for it.

    Keys that expire are today's: ask again for each piece of work.

    Args:
        storage: A local folder or a bucket.
        path: The folder below it.

    Raises:
        RequestError: The storage is neither a local folder nor a bucket.
        StorageError: The credentials are gone.
    """
    if isinstance(storage, LocalStorage):
        return str(storage.root / path), {}
    access = getattr(storage, "access", None)
    if access is None:
        raise RequestError(
            "cache_dir", f"{storage.url} is neither a local folder nor s3://; only those hold a catalogue"
        )
    return f"{storage.url}/{path}", _s3_options(access)


def _s3_options(access: S3Access) -> dict[str, str]:
    options = {
        "aws_region": access.region,
        "aws_endpoint": access.address if access.endpoint else "",
        "aws_allow_http": "true" if access.address.startswith("http://") else "",
        "aws_conditional_put": "etag",
        "aws_skip_signature": "true" if access.anonymous else "",
        **_keys(access),
    }
    return {name: value for name, value in options.items() if value}


def _keys(access: S3Access) -> dict[str, str]:
    given: Mapping[str, object] = dict(access.credentials or {})
    if access.session is not None:
        found = access.session()
        given = {
            "access_key_id": found["access_key_id"],
            "secret_access_key": found["secret_access_key"],
            "session_token": found.get("token") or "",
        }
    return {f"aws_{name.removeprefix('aws_')}": str(value) for name, value in given.items()}
