"""HTTP requests with this product's own rules about redirects and retries."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin

import urllib3
from urllib3 import exceptions
from urllib3.util import Url, parse_url

from dicom_series_preview.base.errors import AccessDeniedError, StorageError
from dicom_series_preview.base.settings import HTTP_TOKENS_VARIABLE
from dicom_series_preview.sources.storage.retry import TRANSFER_FACTOR
from dicom_series_preview.sources.storage.transient import ThrottledError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.throttle import Throttle

_T = TypeVar("_T")

NOT_THERE = {404, 410}
"""The statuses for something missing."""
PLAIN = {"Accept-Encoding": "identity"}
"""Asks for bodies as they are stored: compression would change the offsets."""

_RETRIED = {408, 429, 500, 502, 503, 504}
_THROTTLED = {429, 503}
_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_PIECE_BYTES = 2**20
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: GET or PROPFIND.
        url: Percent-encoded.
        headers: Its headers.
        body: Its body.
        count: Called on each try.
        shown: Its name in errors; by default its URL.
        is_s3: Its answers explain a failure better than their status: `consume` gets them all.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    count: Callable[[], None]
    shown: str = ""
    is_s3: bool = False

    @property
    def name(self) -> str:
        """The name of the requested thing in errors."""
        return self.shown or self.url


@dataclass(frozen=True, slots=True)
class Trust:
    """The trust in a root's server: the credentials that it gets, and its allowed redirects.

    Attributes:
        url: The root's.
        authorization: The `Authorization` header, for the host of `url` and no other, or None.
        allow_cross_host_redirects: The server may redirect to another host.
    """

    url: str
    authorization: str | None = field(repr=False)
    allow_cross_host_redirects: bool

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that authenticate us to the server of a URL."""
        if self.authorization is None or not _is_same(_server(self.url), _server(url)):
            return {}
        return {"Authorization": self.authorization}


class HttpClient:
    """Sends requests, follows redirects itself, and retries where another try can help.

    Args:
        pool: The connections.
        retry: The rules of retries.
        throttle: Gives each try a slot.
        timeout_s: The longest that a server may be silent; a body may take ten times as long.
        trust: Who gets our credentials, and whose redirects are followed.
    """

    def __init__(
        self,
        pool: PoolManager,
        retry: RetryPolicy,
        throttle: Throttle,
        timeout_s: float,
        trust: Trust,
    ) -> None:
        self._pool = pool
        self._retry = retry
        self._throttle = throttle
        self._timeout_s = timeout_s
        self._transfer_s = timeout_s * TRANSFER_FACTOR
        self._trust = trust

    def run(self, request: Request, deadline: Deadline, consume: Callable[[BaseHTTPResponse, str], _T]) -> _T:
        """Send a request until it is answered, and return `consume`'s result for the answer.

        Args:
            request: The request.
            deadline: The end of the wait for the result and for any server.
            consume: Gets the answer, if its status is neither a redirect nor retried, with its body unread,
                and its URL. May raise TransientError.

        Raises:
            StorageUnavailableError: Every try failed.
            StorageError: The request cannot be sent, or a redirect is not followed.
        """
        return self._retry.run(
            request.name, deadline, lambda: self._attempt(request, deadline, consume), self._throttle
        )

    def pieces(
        self, response: BaseHTTPResponse, deadline: Deadline, most: float = math.inf
    ) -> Iterator[bytes]:
        """Yield an answer's body as it arrives, up to `most` bytes.

        Raises:
            TransientError: The body takes too long.
        """
        end = self._retry.clock() + self._transfer_s
        while most > 0 and (piece := response.read1(int(min(_PIECE_BYTES, most)))):
            yield piece
            most -= len(piece)
            deadline.heard()
            if most > 0 and (deadline.is_over or self._retry.clock() > end):
                raise TransientError(f"the answer takes longer than {self._transfer_s:g} s")

    def _attempt(
        self, request: Request, deadline: Deadline, consume: Callable[[BaseHTTPResponse, str], _T]
    ) -> _T:
        request.count()
        try:
            response, url = self._follow(request, deadline)
            try:
                if response.status in _RETRIED and not request.is_s3:
                    raise _trouble(response)
                return consume(response, url)
            finally:
                # A body read to its end has given its connection back; else this closes it.
                response.close()
                response.release_conn()
        except exceptions.SSLError as error:
            raise StorageError(request.name, f"no trusted TLS connection: {_first_line(error)}") from error
        except exceptions.LocationValueError as error:
            raise StorageError(request.name, "not a URL that can be asked for") from error
        except exceptions.HTTPError as error:
            raise TransientError(_cause(error)) from error

    def _follow(self, request: Request, deadline: Deadline) -> tuple[BaseHTTPResponse, str]:
        url = request.url
        for _ in range(_MAX_REDIRECTS + 1):
            timeout_s = min(self._timeout_s, deadline.left_s)
            if timeout_s <= 0:
                raise TransientError("the time is up")
            response = self._pool.request(
                request.method,
                url,
                headers={**request.headers, **self._trust.headers(url)},
                body=request.body,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=min(timeout_s, 10.0), read=timeout_s),
            )
            if response.status not in _REDIRECTS or request.is_s3:
                return response, url
            location = response.headers.get("Location", "")
            response.close()
            response.release_conn()
            url = self._redirected(request.name, url, location)
        raise StorageError(request.name, f"redirected more than {_MAX_REDIRECTS} times")

    def _redirected(self, asked: str, url: str, location: str) -> str:
        try:
            target = urljoin(url, location).partition("#")[0]
            here, there = _server(url), _server(target)
        except (ValueError, exceptions.LocationValueError) as error:
            raise StorageError(asked, "redirected to what is no URL") from error
        is_same_host = _is_same(here, there)
        if not location or there.scheme not in _DEFAULT_PORTS:
            raise StorageError(asked, "redirected to nowhere")
        if here.scheme == "https" and there.scheme == "http":
            raise StorageError(asked, "redirected from https to http, which is not followed")
        if not is_same_host and not self._trust.allow_cross_host_redirects:
            raise StorageError(asked, "redirected to another host, which is not followed")
        return target


def refusal(url: str, status: int) -> StorageError:
    """Return the error for a status that another try does not change."""
    if status == 401:
        where = f"the host's password in ~/.netrc, or its token in {HTTP_TOKENS_VARIABLE}"
        return AccessDeniedError(url, f"access denied (status 401); check {where}")
    if status in {403, 407}:
        return AccessDeniedError(url, f"access denied (status {status})")
    return StorageError(url, f"the server answered with status {status}")


def _trouble(response: BaseHTTPResponse) -> TransientError:
    """Return the error for a status that another try can change."""
    kind = ThrottledError if response.status in _THROTTLED else TransientError
    pause_s = _retry_after_s(response)
    asked = "" if pause_s is None else f", and asks for a pause of {max(pause_s, 0):.0f} s"
    return kind(f"status {response.status}{asked}", pause_s)


def _server(url: str) -> Url:
    """Return scheme, host and port of a URL as urllib3 parses it, which connects to them.

    Other parsers find another host where a backslash stands before an `@`.
    """
    parts = parse_url(url)
    scheme, host = (parts.scheme or "").lower(), (parts.host or "").lower()
    return Url(scheme=scheme, host=host, port=parts.port or _DEFAULT_PORTS.get(scheme))


def _is_same(here: Url, there: Url) -> bool:
    """Return True where two servers are one; its https port stands for its http port."""
    if not here.host or here.host != there.host:
        return False
    upgraded = (here.scheme, there.scheme, here.port, there.port) == ("http", "https", 80, 443)
    return here.port == there.port or upgraded


def _retry_after_s(response: BaseHTTPResponse) -> float | None:
    """Return the pause that a server asks for (RFC 9110 10.2.3): seconds or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()


def _cause(error: exceptions.HTTPError) -> str:
    if isinstance(error, exceptions.NameResolutionError):
        return "the host name is not known"
    if isinstance(error, exceptions.NewConnectionError):
        return "no connection"
    if isinstance(error, exceptions.TimeoutError):
        return "timed out"
    inner = error.args[-1] if error.args else None  # urllib3 wraps what broke the connection
    if isinstance(error, exceptions.IncompleteRead) or isinstance(inner, exceptions.IncompleteRead):
        return "the answer was cut short"
    if isinstance(error, exceptions.ProxyError):
        return "the proxy cannot be used"
    return "the connection broke"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
