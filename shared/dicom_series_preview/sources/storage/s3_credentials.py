"""AWS credentials from the environment, a profile, or a role."""

from __future__ import annotations

import os.path
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dicom_series_preview.base.errors import RequestError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from boto3 import Session
    from obstore.store import S3Config

    from dicom_series_preview.sources.storage.credentials import SessionCredentials


_ROLE_VARIABLES = {
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "container_credentials_relative_uri",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "container_credentials_full_uri",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "container_authorization_token_file",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "web_identity_token_file",
    "AWS_ROLE_ARN": "role_arn",
    "AWS_ROLE_SESSION_NAME": "role_session_name",
}


def _check_header(variable: str, value: str) -> None:
    """Refuse a value that cannot stand in a request's header; obstore panics at it.

    Raises:
        RequestError: The value is invalid; as a secret, it is not quoted.
    """
    if not (value.isascii() and value.isprintable()):
        raise RequestError(variable, "has a line break or another character that no key has")


def one_line(error: Exception) -> str:
    """Describe an error of boto3 or obstore in one short line, without an address."""
    line = re.sub(r":? ?\"?\bhttps?://[^\s\"]+\"?", "", str(error).partition("\n")[0])
    return line.partition("?")[0][:200]


def environment_credentials(bucket: str, environment: Mapping[str, str]) -> S3Config | None:
    """Return obstore's credential options; None where the environment has none that it can use."""
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
    # Leave a full address without a token file (Lambda SnapStart) to boto3: obstore needs the file.
    usable = (
        {"web_identity_token_file", "role_arn"} <= role.keys()
        or "container_credentials_relative_uri" in role
        or {"container_credentials_full_uri", "container_authorization_token_file"} <= role.keys()
    )
    return cast("S3Config", role) if usable else None


def boto3_session(bucket: str, environment: Mapping[str, str], dmi_vendor: Path) -> SessionCredentials | None:
    """Return boto3's credentials from a profile, a container's or an instance's role, or None."""
    home = Path(environment.get("HOME") or Path.home())
    credentials_file = _aws_file(environment, "AWS_SHARED_CREDENTIALS_FILE", home / ".aws" / "credentials")
    config_file = _aws_file(environment, "AWS_CONFIG_FILE", home / ".aws" / "config")
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    named = profile or _has_default_profile(credentials_file, config_file)
    if not (
        named or environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or _on_ec2(environment, dmi_vendor)
    ):
        return None
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - 160 ms, for those who need boto3 alone

    from dicom_series_preview.sources.storage.credentials import SessionCredentials  # noqa: PLC0415 - as above

    reopen = partial(_session, profile, credentials_file, config_file)
    try:
        session = reopen()
        found = session.get_credentials()
    except BotoCoreError as error:
        raise StorageError(f"s3://{bucket}", f"AWS credentials: {one_line(error)}") from error
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
    """Return True where a file gives the default profile more than a region and an output format."""
    there = [*filter(os.path.exists, files)]  # Path.exists raises in a folder without permission
    if not there:
        return False
    import configparser  # noqa: PLC0415 - most users have no such file

    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(there, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return True  # boto3 reports better what is wrong with it
    return parser.has_section("default") and bool(set(parser.options("default")) - {"region", "output"})


def _on_ec2(environment: Mapping[str, str], dmi_vendor: Path) -> bool:
    """Return True on an EC2 instance: elsewhere, asking for its role takes seconds."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    try:
        return dmi_vendor.read_text(encoding="ascii", errors="replace").strip() == "Amazon EC2"
    except OSError:
        return False
