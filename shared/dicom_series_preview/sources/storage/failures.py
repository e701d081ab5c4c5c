"""Convert obstore's errors to ours; where obstore has no type, its text gives the status and S3's code."""

from __future__ import annotations

import re
from dataclasses import dataclass

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from dicom_series_preview.base.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.sources.storage.transient import ThrottledError, TransientError

OBSTORE_ERRORS = (BaseError, FileNotFoundError, ValueError)

_DEBUG = "Debug source:"
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_BROKEN_LINE = re.compile(r"HTTP error: ")
_KIND = re.compile(r"kind: (Connect|Timeout)\b")
_KINDS = {"Connect": "no connection", "Timeout": "timed out"}
_NOISE = re.compile(
    r"<.*"  # the server's answer
    r"|\bhttps?://\S+"  # addresses can hold signatures
    r"|\b(at|for) (path|location) .*?(?=: |$)|\"[^\"]*\""  # the object's key: the error says which it is
    r"|^The operation lacked .* credential provider: "
    r"|^Generic \w+ error: |Error performing (list request: Error performing )?"
    r"|, max_retries: \d+, retry_timeout: \w+"
)
_THROTTLED_STATUSES = {429, 503}
_THROTTLED_CODES = {
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
}
_PASSING_CODES = {"InternalError", "RequestTimeout"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_CLOCK = "RequestTimeTooSkewed"
_ARCHIVED = "InvalidObjectState"


@dataclass(frozen=True, slots=True)
class Failure:
    """A request's failure, read from an obstore error.

    Attributes:
        status: The answer's status; 0 where there was no answer.
        code: S3's error code, or empty.
        broken: Why no whole answer came: no connection, too late, cut off; else empty.
    """

    status: int
    code: str
    broken: str = ""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Parse an error's text."""
        text, _, debug = str(error).partition(_DEBUG)
        status, code = _STATUS.search(text), _CODE.search(text)
        broken = ""
        if status is None and _BROKEN_LINE.search(text):
            kind = _KIND.search(debug)
            broken = _KINDS[kind[1]] if kind else "the connection broke"
        return cls(int(status[1]) if status else 0, code[1] if code else "", broken)

    @property
    def problem(self) -> str:
        """The failure in a few words."""
        return self.broken or f"status {self.status} {self.code}".strip()

    def passing(self) -> TransientError | None:
        """Return the error that makes the request retry; None where another try does not help."""
        if self.status in _THROTTLED_STATUSES or self.code in _THROTTLED_CODES:
            return ThrottledError(self.problem)
        if self.broken or self.status == 408 or self.status >= 500 or self.code in _PASSING_CODES:
            return TransientError(self.problem)
        return None


def error_code(answer: str) -> str:
    """Return S3's error code in an answer; empty where there is none."""
    found = _CODE.search(answer)
    return found[1] if found else ""


def s3_error(url: str, status: int, code: str) -> StorageError:
    """Return our error for one of S3's statuses, by its code.

    Args:
        url: The object or root.
        status: The answer's status.
        code: S3's name for the error; may be empty.
    """
    if code in _EXPIRED:
        return CredentialsError(
            url, f"the AWS credentials have expired ({code}); get new ones, for instance with `aws sso login`"
        )
    if code == _CLOCK:
        return CredentialsError(
            url, f"this computer's clock is wrong by more than S3 accepts, 15 minutes ({code}); set it"
        )
    if code in _UNKNOWN_KEYS:
        return CredentialsError(
            url,
            f"access denied, the AWS keys are not accepted ({code}); check the credentials in the "
            "environment or the profile",
        )
    if code == _ARCHIVED:
        return AccessDeniedError(
            url, f"lies archived in S3 Glacier ({code}); restore it first, and try again then"
        )
    if code == "NoSuchBucket":
        return ObjectNotFoundError(url, "there is no such bucket")
    if status == 404:
        return ObjectNotFoundError(url)
    if status in {401, 403} or code == "AccessDenied":
        return AccessDeniedError(
            url,
            f"access denied ({code or status}); check the credentials and permissions (a bucket whose "
            "requesters pay is not read)",
        )
    failure = Failure(status, code)
    kind = StorageError if failure.passing() is None else StorageUnavailableError
    return kind(url, failure.problem)


def storage_error(url: str, error: Exception) -> StorageError:
    """Convert an obstore error to ours.

    Args:
        url: The object or root.
        error: One of OBSTORE_ERRORS.
    """
    if isinstance(error, PreconditionError):
        return ObjectChangedError(url)
    if isinstance(error, AlreadyExistsError):
        return ObjectChangedError(url, "exists already")
    failure = Failure.of(error)
    if isinstance(error, FileNotFoundError):
        return s3_error(url, 404, failure.code)
    if isinstance(error, ValueError):
        return StorageError(url, f"cannot be addressed: {cause(error)}")
    if isinstance(error, GenericError | PermissionDeniedError | UnauthenticatedError) and failure.status:
        return s3_error(url, failure.status, failure.code)
    if isinstance(error, UnauthenticatedError):
        return CredentialsError(url, f"the AWS credentials cannot be had: {cause(error)}")
    if isinstance(error, GenericError):
        return StorageUnavailableError(url, failure.broken or cause(error))
    return StorageError(url, cause(error))


def cause(error: Exception) -> str:
    """Describe an obstore error in one short line for people: no address, server's answer or debug dump."""
    line = _NOISE.sub("", str(error).partition("\n")[0])
    return re.sub(r"\s+", " ", line).strip(" :-")[:200]
