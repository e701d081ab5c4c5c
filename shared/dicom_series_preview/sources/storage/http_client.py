"""HTTP requests with our own rules about redirects and retries."""

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
"""The statuses that say that there is no such thing."""
PLAIN = {"Accept-Encoding": "identity"}
"""Asks for bodies as they are stored: a compressed one has other offsets."""

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
        count: Called at each try.
        shown: What errors call what is asked for; by default its URL.
        is_s3: Its answers say more of what went wrong than their status: `consume` gets them all.
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
        """The name that errors give to what is asked for."""
        return self.shown or self.url


@dataclass(frozen=True, slots=True)
class Trust:
    """The trust in a root's server: what it is told, and where it may send us.

    Attributes:
        url: The root's.
        authorization: The `Authorization` header for the host of `url`, or None. No other host gets it.
        allow_cross_host_redirects: Whether the server may send us to another one.
    """

    url: str
    authorization: str | None = field(repr=False)
    allow_cross_host_redirects: bool

    def headers(self, url: str) -> dict[str, str]:
        """The headers that tell the server of a URL who we are."""
        if self.authorization is None or not _is_same(_server(self.url), _server(url)):
            return {}
        return {"Authorization": self.authorization}


class HttpClient:
    """Sends requests; follows redirects by hand; tries again where another try may help.

    Args:
        pool: The connections.
        retry: When to try again.
        throttle: Where each try takes a slot.
        timeout_s: The longest a server may be silent; ten times as long may a body take.
        trust: Who is told who we are, and whose redirects are followed.
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
        """Send a request until it is answered, and return what `consume` makes of the answer.

        Args:
            request: What to send.
            deadline: Until when the result is waited for; no server is listened to for longer.
            consume: Gets the answer, of any status that is neither a redirect nor retried, its body unread,
                and the URL it came from. May raise TransientError.

        Raises:
            StorageUnavailableError: Every try failed.
            StorageError: It cannot be sent, or a redirect is not followed.
        """
        return self._retry.run(
            request.name, deadline, lambda: self._attempt(request, deadline, consume), self._throttle
        )

    def pieces(
        self, response: BaseHTTPResponse, deadline: Deadline, most: float = math.inf
    ) -> Iterator[bytes]:
        """An answer's body as it comes, up to so many bytes of it.

        Raises:
            TransientError: It takes too long.
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
                # A body read to its end has given its connection back; any other connection is closed.
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
    """The error for a status that another try does not change."""
    if status == 401:
        where = f"the host's password in ~/.netrc, or its token in {HTTP_TOKENS_VARIABLE}"
        return AccessDeniedError(url, f"access denied (status 401); check {where}")
    if status in {403, 407}:
        return AccessDeniedError(url, f"access denied (status {status})")
    return StorageError(url, f"the server answered with status {status}")


def _trouble(response: BaseHTTPResponse) -> TransientError:
    """The error for a status that another try may change."""
    kind = ThrottledError if response.status in _THROTTLED else TransientError
    pause_s = _retry_after_s(response)
    asked = "" if pause_s is None else f", and asks for a pause of {max(pause_s, 0):.0f} s"
    return kind(f"status {response.status}{asked}", pause_s)


def _server(url: str) -> Url:
    """Scheme, host and port of a URL, as urllib3 takes it apart, which connects to them.

    Other parsers take another part for the host where there is a backslash before an `@`.
    """
    parts = parse_url(url)
    scheme, host = (parts.scheme or "").lower(), (parts.host or "").lower()
    return Url(scheme=scheme, host=host, port=parts.port or _DEFAULT_PORTS.get(scheme))


def _is_same(here: Url, there: Url) -> bool:
    """True where two servers are one; its https port stands for its http port."""
    if not here.host or here.host != there.host:
        return False
    upgraded = (here.scheme, there.scheme, here.port, there.port) == ("http", "https", 80, 443)
    return here.port == there.port or upgraded


def _retry_after_s(response: BaseHTTPResponse) -> float | None:
    """The pause a server asks for (RFC 9110 10.2.3): seconds or a date."""
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
