"""Claims: each gives one builder the sole right to build an index, while its lease lasts."""

from __future__ import annotations

import json
import logging
import math
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import (
    IndexBusyError,
    LimitError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger(__name__)

# Longer than a build that one HTTP request waits for; a longer build renews its claim. A dead builder's claim
# lasts no longer than this.
LEASE_S = 60
RETRY_AFTER_S = 5
# A request's time, after its deadline, to give back its claim.
_GIVE_BACK_S = 1.0


@dataclass(slots=True)
class Claim:
    """The sole right to build a series' index.

    Attributes:
        storage: The cache's root.
        path: The claim's path.
        holder: Identifies its holder.
        until: The lease's end, in seconds since 1970.
        version: The written claim's version; empty if someone else has taken it over.
    """

    storage: Storage
    path: str
    holder: str
    until: float
    version: str = ""

    @property
    def lease(self) -> bytes:
        """The bytes of the written claim."""
        return json.dumps({"until": self.until, "holder": self.holder}).encode()

    def renew(self, now: float) -> None:
        """Extend the claim by another lease, once half of this one is over.

        Raises:
            ObjectChangedError: The lease ran out, and someone else has taken over the claim.
            StorageError: The claim cannot be written.
        """
        if self.until - now > LEASE_S / 2:
            return
        version, self.until, self.version = self.version, now + LEASE_S, ""
        self.version = self.storage.put(self.path, self.lease, if_version=version)

    def give_back(self) -> None:
        """Release the claim."""
        if not self.version:
            return
        try:
            # Also after the deadline, or when the caller has left: others would wait for the lease.
            self.storage.within(Deadline(_GIVE_BACK_S)).delete(self.path)
        except (StorageError, LimitError) as error:
            # The work under it is done; others wait until it expires.
            _LOGGER.warning("a claim stays until it runs out: %s", type(error).__name__)


@contextmanager
def claimed(storage: Storage, path: str, series: str, root: str, now: float) -> Iterator[Claim]:
    """Claim the sole right to build a series' index, for as long as the lease lasts.

    A claim only saves work: the conditional write keeps two builders apart.

    Args:
        storage: Stores the claims.
        path: This claim's path.
        series: The series, for the error.
        root: Its root, for the error.
        now: Seconds since 1970.

    Raises:
        IndexBusyError: Someone else holds the claim.
        StorageError: The claim cannot be written.
    """
    claim = Claim(storage, path, uuid.uuid4().hex, now + LEASE_S)
    try:
        claim.version = storage.put(path, claim.lease, if_version="")
    except ObjectChangedError:
        retry_after_s = _take_over(claim, now)
        if retry_after_s:
            raise IndexBusyError(series, root, retry_after_s) from None
    try:
        yield claim
    finally:
        claim.give_back()


def is_claimed(storage: Storage, path: str, now: float) -> bool:
    """Return True where someone holds a claim.

    Raises:
        StorageError: The claims cannot be read.
    """
    try:
        held = storage.get(path)
    except ObjectNotFoundError:
        return False
    return _holds(held.data, now)


def _take_over(claim: Claim, now: float) -> int:
    """Take a claim whose lease has expired: its holder has died.

    Returns:
        0, or, where someone else holds it, the seconds to wait before asking again.
    """
    try:
        held = claim.storage.get(claim.path)
    except ObjectNotFoundError:
        return 1  # It was released this very moment.
    if held.data == claim.lease:
        claim.version = held.version
        return 0  # Our write succeeded; its answer was lost.
    if _holds(held.data, now):
        left_s = math.ceil(_lease_end(held.data) - now)
        return max(1, min(RETRY_AFTER_S, left_s))
    try:
        claim.version = claim.storage.put(claim.path, claim.lease, if_version=held.version)
    except ObjectChangedError:
        written = claim.storage.get(claim.path)
        if written.data != claim.lease:
            return RETRY_AFTER_S
        claim.version = written.version
    return 0


def _holds(claim: bytes, now: float) -> bool:
    """Return True where a claim still keeps others out.

    A claim that seems to last much longer than a lease comes from a wrong clock, and must not keep everyone
    out for good. Small clock differences, or a holder a moment after us, are normal.
    """
    return 0 < _lease_end(claim) - now <= 2 * LEASE_S


def _lease_end(claim: bytes) -> float:
    """Return the end of a claim's lease in seconds since 1970; 0 if the claim does not say."""
    try:
        return float(json.loads(claim)["until"])
    except (ValueError, KeyError, TypeError):
        return 0.0
