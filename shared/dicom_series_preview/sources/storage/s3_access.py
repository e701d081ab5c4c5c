"""The access to a bucket: its address, its region, and the credentials that sign."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.sources.storage.s3_credentials import boto3_session, environment_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from obstore.store import S3Config

    from dicom_series_preview.sources.storage.credentials import SessionCredentials

logger = logging.getLogger(__name__)

PUBLIC_BUCKETS = {"idc-open-data": "us-east-1"}
"""Public buckets that never change, with their region."""

DMI_VENDOR = Path("/sys/class/dmi/id/sys_vendor")
_DEFAULT_REGION = "us-east-1"
_REGION = re.compile("[A-Za-z0-9-]+")
# The domain of each AWS partition but the first, by the prefix of its regions' names.
_DOMAIN = "amazonaws.com"
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}
_NOT_IN_URLS = re.compile(r"[^\x21-\x7e]|[<>\"\\^`{|}?#]")


@dataclass(frozen=True, slots=True)
class S3Access:
    """The access to a bucket.

    Attributes:
        bucket: Its name.
        region: Its region.
        address: S3's address, for all requests.
        endpoint: The address of an S3-compatible server, or None for AWS.
        anonymous: Requests are not signed.
        ca_bundle: A file of certificate authorities, or None for the usual ones.
        credentials: obstore's options for keys, or for a role that it fetches itself.
        session: boto3's source of credentials: a profile, a container's or an instance's role.
        environment: The proxy variables.
    """

    bucket: str
    region: str
    address: str
    endpoint: str | None = None
    anonymous: bool = True
    ca_bundle: str | None = None
    credentials: S3Config | None = field(default=None, repr=False)
    session: SessionCredentials | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def resolve_access(
    bucket: str,
    environment: Mapping[str, str],
    find_region: Callable[[str, str], str | None],
    dmi_vendor: Path = DMI_VENDOR,
    *,
    signed: bool = True,
) -> S3Access:
    """Decide how to reach a bucket, from the environment alone.

    Args:
        bucket: Its name.
        environment: The AWS variables.
        find_region: Asks AWS for the region of a bucket, at an address; not called for a public bucket, or
            where there is an endpoint.
        dmi_vendor: The file that identifies an EC2 instance.
        signed: Use credentials if there are any. A public bucket of another account refuses a role without
            permission, but allows anonymous reads.

    Raises:
        RequestError: A variable's value is invalid.
        StorageError: Named credentials are missing or incomplete.
    """
    credentials: S3Config | None = None
    session: SessionCredentials | None = None
    if signed and bucket not in PUBLIC_BUCKETS:
        credentials = environment_credentials(bucket, environment)
        session = None if credentials else boto3_session(bucket, environment, dmi_vendor)
    endpoint = _endpoint(environment)
    configured = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    configured = configured or (session.region_name if session else None) or _DEFAULT_REGION
    known = configured if endpoint else PUBLIC_BUCKETS.get(bucket)
    # The region's own address works even where a network allows only its region's S3.
    region = known or find_region(bucket, aws_address(configured, environment)) or configured
    _check_region(region)
    return S3Access(
        bucket=bucket,
        region=region,
        address=(endpoint or aws_address(region, environment)).rstrip("/"),
        endpoint=endpoint,
        anonymous=credentials is None and session is None,
        ca_bundle=environment.get("AWS_CA_BUNDLE") or None,
        credentials=credentials,
        session=session,
        environment=environment,
    )


def aws_address(region: str, environment: Mapping[str, str]) -> str:
    """Return the address of AWS's S3 in a region.

    Args:
        region: Decides the partition, too: China's regions and secret ones have their own domains.
        environment: `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT`.

    Raises:
        RequestError: The region's name is invalid, or a variable is neither true nor false.
    """
    _check_region(region)
    service = "s3-fips" if _is_on(environment, "AWS_USE_FIPS_ENDPOINT") else "s3"
    stack = "dualstack." if _is_on(environment, "AWS_USE_DUALSTACK_ENDPOINT") else ""
    domain = next((_DOMAINS[start] for start in _DOMAINS if region.startswith(start)), _DOMAIN)
    return f"https://{service}.{stack}{region}.{domain}"


def _check_region(region: str) -> None:
    """Refuse a text that does not fit into an address or a signature.

    Raises:
        RequestError: The text is no region.
    """
    if not _REGION.fullmatch(region):
        raise RequestError("AWS_REGION", f"{region!r} is no region; give one such as {_DEFAULT_REGION}")


def _is_on(environment: Mapping[str, str], variable: str) -> bool:
    """Return True where a variable says true; a typo must not switch FIPS off.

    Raises:
        RequestError: The variable says neither true nor false.
    """
    value = environment.get(variable, "").strip().lower()
    if value not in {"", "true", "false"}:
        raise RequestError(variable, f"{environment[variable]!r} is neither true nor false")
    return value == "true"


def _endpoint(environment: Mapping[str, str]) -> str | None:
    """Return the address of an S3-compatible server, or None for AWS; obstore panics at an invalid URL.

    Raises:
        RequestError: A variable's URL is invalid.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        endpoint = environment.get(variable)
        if endpoint:
            _check_url(variable, endpoint, ("http", "https"))
            return endpoint
    return None


def _check_url(variable: str, url: str, schemes: Sequence[str]) -> None:
    """Refuse a text that is no URL of a host.

    Raises:
        RequestError: The text is no such URL.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or _NOT_IN_URLS.search(url):
        shown = re.sub("//[^/@]*@", "//", url)
        raise RequestError(variable, f"{shown!r} is no URL; give one such as {schemes[0]}://localhost:9000")


def bucket_region(
    bucket: str, address: str, environment: Mapping[str, str], timeout_s: float = 5.0
) -> str | None:
    """Ask S3, unsigned, for the region of a bucket; None where the answer does not say.

    Redirects (301) and refusals (400, 403) say it too.
    """
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - 50 ms that a known region does not need

    from dicom_series_preview.sources.storage.connections import connection_pool  # noqa: PLC0415 - likewise

    asked = f"{address}/{bucket}"
    with connection_pool(address, environment, 1) as pool:
        try:
            answer = pool.request("HEAD", asked, retries=False, redirect=False, timeout=timeout_s)
        except HTTPError as error:
            logger.debug("a bucket's region cannot be asked for: %s", type(error).__name__)
            return None
    return answer.headers.get("x-amz-bucket-region")
