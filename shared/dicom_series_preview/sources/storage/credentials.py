"""AWS credentials that change while a process runs: from a profile, a container or an instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.credentials import RefreshableCredentials
from botocore.exceptions import NoCredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from boto3 import Session
    from obstore.store import S3Credential

# botocore renews credentials ten minutes before they expire: they are good for longer than this.
_TRUSTED = timedelta(minutes=5)


class SessionCredentials:
    """The credentials that boto3 finds, read again every five minutes; obstore calls it.

    botocore renews credentials that expire. Keys in a profile's file do not say when they expire, and tools
    for temporary sign-in write new ones there: so we read the file again.

    Args:
        session: boto3's session, which has found credentials.
        reopen: Makes a new session, which reads the files again.
    """

    def __init__(self, session: Session, reopen: Callable[[], Session]) -> None:
        self._session = session
        self._reopen = reopen

    @property
    def region_name(self) -> str | None:
        """The region that the profile names."""
        return self._session.region_name

    def __call__(self) -> S3Credential:
        """Return the current credentials.

        Raises:
            BotoCoreError: The credentials are gone, or cannot be renewed.
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
