"""S3: whose credentials, which region, and listings by page."""

from __future__ import annotations

import configparser
import logging
import re
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from dicom_series_preview.base.errors import CredentialsError, RequestError, StorageError
from dicom_series_preview.sources.storage.base import Meter, ObjectInfo, check_path
from dicom_series_preview.sources.storage.objectstore import (
    ObjectStoreStorage,
    add_page,
    enough,
    inside,
    without_markers,
)
from dicom_series_preview.sources.storage.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from boto3 import Session
    from obstore.store import ClientConfig, S3Config

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.credentials import SessionCredentials
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.s3_pages import Keys, Lister

logger = logging.getLogger(__name__)

PUBLIC_BUCKETS = {"idc-open-data": "us-east-1"}
"""Buckets that anyone may read and nobody changes, with their region."""

CONCURRENCY = 256
"""The most requests at once, for a bucket that answers them all, where the settings say nothing."""

DMI_VENDOR = Path("/sys/class/dmi/id/sys_vendor")
_DEFAULT_REGION = "us-east-1"
_REGION = re.compile("[A-Za-z0-9-]+")
# By how the names of its regions begin, the domain of each partition that is not AWS's first one.
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
_ROLE_VARIABLES = {
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "container_credentials_relative_uri",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "container_credentials_full_uri",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "container_authorization_token_file",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "web_identity_token_file",
    "AWS_ROLE_ARN": "role_arn",
    "AWS_ROLE_SESSION_NAME": "role_session_name",
}
# A whole object may be large and a line slow: what stalls is cut off, what still moves is not.
_TRANSFER_FACTOR = 10


@dataclass(frozen=True, slots=True)
class S3Access:
    """How a bucket is reached.

    Attributes:
        bucket: Its name.
        region: Its region.
        address: Where S3 is, for all that is asked of it.
        endpoint: The address of an S3-compatible server, or None for AWS.
        anonymous: Requests are not signed.
        ca_bundle: A file of certificate authorities, or None for the usual ones.
        credentials: obstore's options for keys or for a role it fetches itself.
        session: Where boto3 finds the credentials: a profile, a container's or an instance's role.
        environment: What names a proxy.
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
    """Decide how a bucket is reached, from the environment alone.

    Args:
        bucket: Its name.
        environment: The AWS variables.
        find_region: Asks AWS, at the address that is given beside a bucket, where the bucket lies; not called
            for a public bucket, or where there is an endpoint.
        dmi_vendor: The file that tells an EC2 instance.
        signed: Whether credentials are used where there are any. A public bucket of another account refuses
            those of a role that may not read it, and reads without.

    Raises:
        RequestError: A variable holds what it cannot.
        StorageError: Credentials are named that are not there, or by halves.
    """
    credentials: S3Config | None = None
    session: SessionCredentials | None = None
    if signed and bucket not in PUBLIC_BUCKETS:
        credentials = _environment_credentials(bucket, environment)
        session = None if credentials else _boto3_session(bucket, environment, dmi_vendor)
    endpoint = _endpoint(environment)
    configured = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    configured = configured or (session.region_name if session else None) or _DEFAULT_REGION
    known = configured if endpoint else PUBLIC_BUCKETS.get(bucket)
    # The region's own address is there also where a network lets nothing out but to its region's S3.
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
    """Where AWS's S3 is, in a region.

    Args:
        region: Tells the partition, too: China's regions and secret ones have domains of their own.
        environment: `AWS_USE_FIPS_ENDPOINT` and `AWS_USE_DUALSTACK_ENDPOINT`.

    Raises:
        RequestError: There can be no such region, or a variable is neither true nor false.
    """
    _check_region(region)
    service = "s3-fips" if _is_on(environment, "AWS_USE_FIPS_ENDPOINT") else "s3"
    stack = "dualstack." if _is_on(environment, "AWS_USE_DUALSTACK_ENDPOINT") else ""
    domain = next((_DOMAINS[start] for start in _DOMAINS if region.startswith(start)), _DOMAIN)
    return f"https://{service}.{stack}{region}.{domain}"


def _check_region(region: str) -> None:
    """Refuse what would be no part of an address or a signature.

    Raises:
        RequestError: It is no region.
    """
    if not _REGION.fullmatch(region):
        raise RequestError("AWS_REGION", f"{region!r} is no region; give one such as {_DEFAULT_REGION}")


def _is_on(environment: Mapping[str, str], variable: str) -> bool:
    """Whether a variable says true; where it demands FIPS, no other word may pass for no.

    Raises:
        RequestError: It says neither that nor false.
    """
    value = environment.get(variable, "").strip().lower()
    if value not in {"", "true", "false"}:
        raise RequestError(variable, f"{environment[variable]!r} is neither true nor false")
    return value == "true"


def _endpoint(environment: Mapping[str, str]) -> str | None:
    """The address of an S3-compatible server, or None for AWS. obstore panics at one that is no URL.

    Raises:
        RequestError: A variable holds none.
    """
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        endpoint = environment.get(variable)
        if endpoint:
            _check_url(variable, endpoint, ("http", "https"))
            return endpoint
    return None


def _check_url(variable: str, url: str, schemes: Sequence[str]) -> None:
    """Refuse what is no URL of a host.

    Raises:
        RequestError: It is none.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or _NOT_IN_URLS.search(url):
        shown = re.sub("//[^/@]*@", "//", url)
        raise RequestError(variable, f"{shown!r} is no URL; give one such as {schemes[0]}://localhost:9000")


def _check_header(variable: str, value: str) -> None:
    """Refuse what cannot stand in a request's header; obstore panics at it.

    Raises:
        RequestError: It cannot. The value, a secret, is not told.
    """
    if not (value.isascii() and value.isprintable()):
        raise RequestError(variable, "has a line break or another character that no key has")


def bucket_region(
    bucket: str, address: str, environment: Mapping[str, str], timeout_s: float = 5.0
) -> str | None:
    """Ask S3, unsigned and at an address of it, in which region a bucket lies; None where it does not tell.

    Redirects (301) and refusals (400, 403) tell it as well as an answer does.
    """
    # urllib3 takes 50 ms to import, and a bucket whose region is known does without.
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    from dicom_series_preview.sources.storage.connections import connection_pool  # noqa: PLC0415

    asked = f"{address}/{bucket}"
    with connection_pool(address, environment, 1) as pool:
        try:
            answer = pool.request("HEAD", asked, retries=False, redirect=False, timeout=timeout_s)
        except HTTPError as error:
            logger.debug("a bucket's region cannot be asked for: %s", type(error).__name__)
            return None
    return answer.headers.get("x-amz-bucket-region")


class S3Storage(ObjectStoreStorage):
    """A bucket, or a prefix of one.

    Args:
        access: How it is reached.
        prefix: The root's place in the bucket; no slashes at its ends.
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
        # When a page has failed for good, or has no end.
        self._patience_s = settings.retry_timeout_s + settings.request_timeout_s
        self._ahead: dict[str, tuple[Future[list[ObjectInfo]], Meter]] = {}
        self._lister = cache(partial(_lister, access, settings, retry, self._throttle))

    @property
    def identity(self) -> str:
        """The URL, and the server's where it is not AWS; a public bucket's mirrors are that bucket."""
        endpoint = self._access.endpoint
        return self.url if endpoint is None or self.immutable else f"{self.url} at {endpoint.rstrip('/')}"

    @property
    def immutable(self) -> bool:
        """Whether this is one of PUBLIC_BUCKETS."""
        return self._access.bucket in PUBLIC_BUCKETS

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """`Storage.list_objects`."""
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
        """`Storage.list_ahead`."""
        meter = Meter()
        listing = self._pool.begin(lambda part: self._listed(folder, most, meter, part), self._deadline)
        self._ahead[folder] = listing, meter

    def _listed(self, folder: str, most: int | None, meter: Meter, deadline: Deadline) -> list[ObjectInfo]:
        """The objects below a folder, by pages."""
        if folder:
            check_path(self._url, folder)
        start = f"{self._prefix}/" if self._prefix else ""
        below = f"{start}{folder}/" if folder else start
        url = self._object_url(folder) if folder else self._url
        found: dict[str, ObjectInfo] = {}
        listed = (
            [
                # A key with a slash at its end is a folder's marker, and that of this one is no object.
                ObjectInfo(inside(url, key.name, below)[len(start) :].removesuffix("/"), key.size, key.etag)
                for key in page.keys
                if key.name != below
            ]
            for page in self._lister().pages(url, meter, {"prefix": below}, deadline)
        )
        for page in enough(listed, most):
            add_page(url, found, page, most)
        return sorted(without_markers(list(found.values())), key=lambda info: info.path)

    def list_folders(self, prefix: str) -> list[str]:
        """`Storage.list_folders`."""
        start = f"{self._prefix}/" if self._prefix else ""

        def names(deadline: Deadline) -> list[str]:
            query = {"prefix": start + prefix, "delimiter": "/"}
            pages = self._lister().pages(self._url, self._meter, query, deadline)
            return [inside(self._url, common, start + prefix) for page in pages for common in page.folders]

        return sorted(name[len(start) : -1] for name in self._pool.run(names, self._deadline))

    def link(self, path: str, expires_s: int) -> str | None:
        """A presigned URL; None where there are no credentials to sign with."""
        if self._access.anonymous:
            return None
        store = cast("S3Store", self._store)
        return str(obstore.sign(store, "GET", self._key(path), timedelta(seconds=expires_s)))


def _sentence(error: Exception) -> str:
    """One short line about an error of boto3's: no address."""
    line = re.sub(r":? ?\"?\bhttps?://[^\s\"]+\"?", "", str(error).partition("\n")[0])
    return line.partition("?")[0][:200]


def _environment_credentials(bucket: str, environment: Mapping[str, str]) -> S3Config | None:
    """Obstore's credential options; empty where the environment holds none that it can use."""
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            _check_header(variable, environment.get(variable, ""))
        keys: S3Config = {"access_key_id": key, "secret_access_key": secret}
        if token := environment.get("AWS_SESSION_TOKEN"):
            keys["session_token"] = token
        return keys
    if key or secret:
        missing = "AWS_SECRET_ACCESS_KEY" if key else "AWS_ACCESS_KEY_ID"
        raise StorageError(
            f"s3://{bucket}", f"the environment holds half of the credentials: {missing} is missing"
        )
    role = {option: environment[name] for name, option in _ROLE_VARIABLES.items() if environment.get(name)}
    # A full address without a token file (Lambda SnapStart) is left to boto3: obstore wants the file.
    usable = (
        {"web_identity_token_file", "role_arn"} <= role.keys()
        or "container_credentials_relative_uri" in role
        or {"container_credentials_full_uri", "container_authorization_token_file"} <= role.keys()
    )
    return cast("S3Config", role) if usable else None


def _boto3_session(
    bucket: str, environment: Mapping[str, str], dmi_vendor: Path
) -> SessionCredentials | None:
    """What boto3 finds where a profile, a container's or an instance's role gives credentials, else None."""
    home = Path(environment.get("HOME") or Path.home())
    credentials_file = _aws_file(environment, "AWS_SHARED_CREDENTIALS_FILE", home / ".aws" / "credentials")
    config_file = _aws_file(environment, "AWS_CONFIG_FILE", home / ".aws" / "config")
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    named = profile or _has_default_profile(credentials_file, config_file)
    if not (
        named or environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or _on_ec2(environment, dmi_vendor)
    ):
        return None
    # boto3 takes 160 ms to import: only those pay who need it.
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    from dicom_series_preview.sources.storage.credentials import SessionCredentials  # noqa: PLC0415

    reopen = partial(_session, profile, credentials_file, config_file)
    try:
        session = reopen()
        found = session.get_credentials()
    except BotoCoreError as error:
        raise StorageError(f"s3://{bucket}", f"AWS credentials: {_sentence(error)}") from error
    if found is None and profile:
        raise StorageError(f"s3://{bucket}", f"the AWS profile {profile} holds no credentials")
    return SessionCredentials(session, reopen) if found else None


def _session(profile: str | None, credentials_file: Path, config_file: Path) -> Session:
    import boto3  # noqa: PLC0415  see above
    from botocore.session import Session as BotocoreSession  # noqa: PLC0415

    core = BotocoreSession(profile=profile)
    core.set_config_variable("credentials_file", str(credentials_file))
    core.set_config_variable("config_file", str(config_file))
    return boto3.Session(botocore_session=core)


def _aws_file(environment: Mapping[str, str], variable: str, usual: Path) -> Path:
    named = environment.get(variable)
    return Path(named).expanduser() if named else usual


def _has_default_profile(*files: Path) -> bool:
    """Whether a file gives the default profile more than a region and an output format."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(files, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return True  # boto3 says better what is wrong with it
    return parser.has_section("default") and bool(set(parser.options("default")) - {"region", "output"})


def _on_ec2(environment: Mapping[str, str], dmi_vendor: Path) -> bool:
    """Whether this is an EC2 instance: anywhere else, asking for its role costs seconds of waiting."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    try:
        return dmi_vendor.read_text(encoding="ascii", errors="replace").strip() == "Amazon EC2"
    except OSError:
        return False


def _lister(access: S3Access, settings: Settings, retry: RetryPolicy, throttle: Throttle) -> Lister:
    """What lists a bucket."""
    # urllib3 takes 35 ms to import, and a picture of a public bucket needs no listing.
    from dicom_series_preview.sources.storage.connections import connection_pool  # noqa: PLC0415
    from dicom_series_preview.sources.storage.http_client import HttpClient, Trust  # noqa: PLC0415
    from dicom_series_preview.sources.storage.s3_pages import Lister  # noqa: PLC0415

    address = access.address
    pool = connection_pool(address, access.environment, throttle.most, access.ca_bundle)
    trust = Trust(address, None, allow_cross_host_redirects=False)  # a signature goes with each request
    client = HttpClient(pool, retry, throttle, settings.request_timeout_s, trust)
    return Lister(client, f"{address}/{quote(access.bucket)}", access.region, _signing(access))


def _signing(access: S3Access) -> Callable[[], Keys | None]:
    """What signs a listing, asked for each time."""
    from dicom_series_preview.sources.storage.s3_pages import Keys  # noqa: PLC0415 - see above

    given: Mapping[str, Any] = access.credentials or {}
    if access.anonymous:
        return lambda: None
    if "access_key_id" in given:
        keys = Keys(given["access_key_id"], given["secret_access_key"], given.get("session_token", ""))
        return lambda: keys
    session = access.session or _role_session()

    def now() -> Keys:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - it is imported now

        try:
            found = session()
        except BotoCoreError as error:
            raise CredentialsError(
                f"s3://{access.bucket}", f"the AWS credentials cannot be had: {_sentence(error)}"
            ) from error
        return Keys(found["access_key_id"], found["secret_access_key"], found.get("token") or "")

    return now


def _role_session() -> SessionCredentials:
    """The credentials of a role that obstore fetches itself for all but listings."""
    import boto3  # noqa: PLC0415 - 160 ms that only such a role pays for

    from dicom_series_preview.sources.storage.credentials import SessionCredentials  # noqa: PLC0415

    return SessionCredentials(boto3.Session(), boto3.Session)


def _store(url: str, access: S3Access, settings: Settings) -> S3Store:
    config: S3Config = {
        "region": access.region,
        "skip_signature": access.anonymous,
        "endpoint": access.address,
        "virtual_hosted_style_request": False,
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
        raise StorageError(url, f"cannot be opened: {_sentence(error)}") from error


def _client_options(access: S3Access, settings: Settings) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": access.address.lower().startswith("http://"),
        "connect_timeout": timedelta(seconds=min(settings.request_timeout_s, 10)),
        "read_timeout": timedelta(seconds=settings.request_timeout_s),
        "timeout": timedelta(seconds=settings.request_timeout_s * _TRANSFER_FACTOR),
    }
    if access.ca_bundle:
        options["root_certificate"] = Path(access.ca_bundle).read_bytes()
    return options
