"""Build the lister of a bucket: its connections, and the keys that sign each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dicom_series_preview.base.errors import CredentialsError
from dicom_series_preview.sources.storage.connections import connection_pool
from dicom_series_preview.sources.storage.http_client import HttpClient, Trust
from dicom_series_preview.sources.storage.s3_credentials import one_line
from dicom_series_preview.sources.storage.s3_pages import Lister
from dicom_series_preview.sources.storage.s3_signature import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.credentials import SessionCredentials
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.s3_access import S3Access
    from dicom_series_preview.sources.storage.throttle import Throttle


def open_lister(access: S3Access, settings: Settings, retry: RetryPolicy, throttle: Throttle) -> Lister:
    """Build the lister of a bucket.

    Args:
        access: The access to the bucket.
        settings: The time-outs.
        retry: The rules of retries.
        throttle: Gives each request a slot.
    """
    address = access.address
    pool = connection_pool(address, access.environment, throttle.most, access.ca_bundle)
    trust = Trust(address, None, allow_cross_host_redirects=False)  # a signature goes with each request
    client = HttpClient(pool, retry, throttle, settings.request_timeout_s, trust)
    return Lister(client, f"{address}/{quote(access.bucket)}", access.region, _signing(access))


def _signing(access: S3Access) -> Callable[[], Keys | None]:
    """Return a function that returns the keys for the next page, or None for anonymous access."""
    given: Mapping[str, Any] = access.credentials or {}
    if access.anonymous:
        return lambda: None
    if "access_key_id" in given:
        keys = Keys(given["access_key_id"], given["secret_access_key"], given.get("session_token", ""))
        return lambda: keys
    session = access.session or _role_session()

    def now() -> Keys:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - the session has imported it

        try:
            found = session()
        except BotoCoreError as error:
            raise CredentialsError(
                f"s3://{access.bucket}", f"the AWS credentials cannot be had: {one_line(error)}"
            ) from error
        return Keys(found["access_key_id"], found["secret_access_key"], found.get("token") or "")

    return now


def _role_session() -> SessionCredentials:
    """Return boto3's credentials for a role that obstore otherwise fetches itself."""
    import boto3  # noqa: PLC0415 - 160 ms that only such a role pays for

    from dicom_series_preview.sources.storage.credentials import SessionCredentials  # noqa: PLC0415 - loads botocore

    return SessionCredentials(boto3.Session(), boto3.Session)
