"""AWS credentials that change while a process runs: a profile's, a container's or an instance's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.credentials import RefreshableCredentials
from botocore.exceptions import NoCredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from boto3 import Session
    from obstore.store import S3Credential

# botocore renews what expires ten minutes before it does: what it gives is good for longer than this.
_TRUSTED = timedelta(minutes=5)


class SessionCredentials:
    """The credentials that boto3 finds, asked for again every five minutes; obstore calls it.

    What expires is renewed by botocore. Keys that a profile's file holds do not say when they expire, and
    tools that sign in for a while write new ones there: the file is read again.

    Args:
        session: boto3's session; it has found credentials.
        reopen: Makes another one like it, which reads the files again.
    """

    def __init__(self, session: Session, reopen: Callable[[], Session]) -> None:
        self._session = session
        self._reopen = reopen

    @property
    def region_name(self) -> str | None:
        """The region that the profile names."""
        return self._session.region_name

    def __call__(self) -> S3Credential:
        """The credentials as of now.

        Raises:
            BotoCoreError: There are none any more, or they cannot be renewed.
        """
        found = self._session.get_credentials()
        if not isinstance(found, RefreshableCredentials):
            self._session = self._reopen()
            found = self._session.get_credentials()
        keys = found.get_frozen_credentials() if found else None
        if keys is None or not keys.access_key or not keys.secret_key:
            raise NoCredentialsError
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + _TRUSTED,
        }
