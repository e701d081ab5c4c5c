"""A folder on a web server: WebDAV where it is offered, else directory pages; ranges where they are served.

obstore's HTTPStore can neither read directory pages nor use a server that ignores Range, and hides redirects.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

from dicom_series_preview.errors import ObjectChangedError, ObjectNotFoundError, StorageError
from dicom_series_preview.storage.base import ByteRange, Fetched, Meter, ObjectInfo, Usage, check_path
from dicom_series_preview.storage.connections import connection_pool
from dicom_series_preview.storage.http_client import HttpClient, Request, refusal
from dicom_series_preview.storage.pages import (
    PAGE_VERSION,
    PROPFIND_BODY,
    Entry,
    parse_multistatus,
    parse_page,
)
from dicom_series_preview.storage.pool import FetchPool
from dicom_series_preview.storage.retry import TransientError
from dicom_series_preview.storage.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse

    from dicom_series_preview.settings import Settings
    from dicom_series_preview.storage.retry import RetryPolicy

logger = logging.getLogger(__name__)

_MAX_DEPTH = 16
_MAX_LISTING_BYTES = 64 * 2**20
_NOT_THERE = {404, 410}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)")
# Bodies must come as they are stored: a compressed one has other offsets.
_PLAIN = {"Accept-Encoding": "identity"}


class HttpStorage:
    """A web server's folder as a storage root. It cannot be written.

    A version is the object's ETag, else its Last-Modified. Where a listing gives another kind than the
    server's answers (a date; or what a directory page shows), a range that carries the listing's version is
    answered with that kind of version, so the two compare.

    Args:
        url: The folder's URL, percent-encoded, without a trailing slash.
        client: Sends the requests.
        throttle: How many requests may be in flight at once.
    """

    def __init__(self, url: str, client: HttpClient, throttle: Throttle) -> None:
        self._url = url
        self._client = client
        self._meter = Meter()
        self._pool = FetchPool(throttle, self._read)
        self._lock = threading.Lock()
        self._speaks_webdav: bool | None = None
        self._warned = False

    @property
    def url(self) -> str:
        """The root's URL."""
        return self._url

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    @property
    def immutable(self) -> bool:
        """Never: a web server does not promise it."""
        return False

    @property
    def usage(self) -> Usage:
        """Totals since this storage was opened; a copy."""
        return self._meter.read()

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """`Storage.list_objects`; one request for each folder, those of one depth at once."""
        if folder:
            check_path(self._url, folder)
        found: dict[str, ObjectInfo] = {}
        seen = {folder}
        level = [folder]
        for _ in range(_MAX_DEPTH):
            deeper: list[str] = []
            for above, entries in zip(level, self._pool.map(self._list, level), strict=True):
                for entry in entries or ():
                    path = f"{above}/{entry.path}" if above else entry.path
                    if not entry.is_folder:
                        found[path] = ObjectInfo(path, entry.size, entry.version)
                    elif path not in seen:
                        seen.add(path)
                        deeper.append(path)
            if not deeper or (most is not None and len(found) > most):
                return sorted(found.values(), key=lambda info: info.path)
            level = deeper
        raise StorageError(
            self._folder_url(folder), f"folders lie more than {_MAX_DEPTH} deep, or in a circle"
        )

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """Nothing: which requests a listing takes is only known when they are answered."""

    def list_folders(self, prefix: str) -> list[str]:
        """`Storage.list_folders`."""
        parent = prefix.rpartition("/")[0]
        entries = self._list(parent)
        if entries is None:
            if parent:
                return []
            raise ObjectNotFoundError(self._url, "there is no such folder")
        depth = prefix.count("/")
        names = {entry.path for entry in entries if entry.is_folder and entry.path.count("/") == depth}
        return sorted(name for name in names if name.startswith(prefix))

    def get(self, path: str) -> Fetched:
        """`Storage.get`."""
        return self._read(ByteRange(path), threading.Event())

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """`Storage.fetch`."""
        return self._pool.fetch(ranges)

    def put(self, path: str, data: bytes, *, if_version: str | None = None) -> str:  # noqa: ARG002
        """Refused.

        Raises:
            StorageError: Always.
        """
        raise StorageError(self._object_url(path), "a web server's folder cannot be written")

    def delete(self, path: str) -> None:
        """Refused.

        Raises:
            StorageError: Always.
        """
        raise StorageError(self._object_url(path), "a web server's folder cannot be written")

    def link(self, path: str, expires_s: int) -> str | None:  # noqa: ARG002
        """None: whether others may read the server is not ours to know."""
        return None

    def _object_url(self, path: str) -> str:
        check_path(self._url, path)
        return f"{self._url}/{quote(path)}"

    def _folder_url(self, folder: str) -> str:
        return f"{self._url}/{quote(folder)}/" if folder else f"{self._url}/"

    # Listing

    def _list(self, folder: str) -> list[Entry] | None:
        """One folder's entries; None where there is no such folder."""
        url = self._folder_url(folder)
        if self._speaks_webdav is not False:
            entries = self._propfind(url)
            if entries is not None:
                self._speaks_webdav = True
                return entries
            if self._speaks_webdav:
                return None
        entries = self._page(url)
        if entries is not None:
            self._speaks_webdav = False
        return entries

    def _propfind(self, url: str) -> list[Entry] | None:
        """The folder's entries by WebDAV; None where it is not spoken, or there is no such folder."""
        headers = {"Depth": "1", "Content-Type": "application/xml; charset=utf-8", **_PLAIN}

        def consume(response: BaseHTTPResponse, final_url: str) -> list[Entry] | None:
            if response.status == 401:
                raise refusal(url, response.status)
            if response.status != 207:
                if self._speaks_webdav and response.status not in _NOT_THERE:
                    raise refusal(url, response.status)
                return None
            return parse_multistatus(self._listing_body(response, url), _with_slash(final_url))

        request = Request("PROPFIND", url, headers, PROPFIND_BODY, lambda: self._meter.count(lists=1))
        return self._client.run(request, threading.Event(), consume)

    def _page(self, url: str) -> list[Entry] | None:
        """The folder's entries by its directory page; None where there is no such folder."""

        def consume(response: BaseHTTPResponse, final_url: str) -> list[Entry] | None:
            if response.status in _NOT_THERE:
                return None
            if response.status != 200:
                raise refusal(url, response.status)
            if "html" not in response.headers.get("Content-Type", ""):
                raise StorageError(url, "the server offers neither WebDAV nor a directory page")
            body = self._listing_body(response, url)
            return parse_page(body.decode("utf-8", "replace"), _with_slash(final_url))

        request = Request("GET", url, _PLAIN, None, lambda: self._meter.count(lists=1))
        return self._client.run(request, threading.Event(), consume)

    def _listing_body(self, response: BaseHTTPResponse, url: str) -> bytes:
        body = bytearray()
        for piece in self._client.pieces(response):
            body += piece
            if len(body) > _MAX_LISTING_BYTES:
                raise StorageError(url, f"the folder's listing is longer than {_MAX_LISTING_BYTES} bytes")
        return bytes(body)

    # Reading

    def _read(self, wanted: ByteRange, abandoned: threading.Event) -> Fetched:
        url = self._object_url(wanted.path)
        headers = dict(_PLAIN)
        if wanted.start or wanted.end is not None:
            # A range of no bytes cannot be asked for: one byte is read for the object's size.
            last = "" if wanted.end is None else max(wanted.end, wanted.start + 1) - 1
            headers["Range"] = f"bytes={wanted.start}-{last}"
        if wanted.version.startswith('"'):
            headers["If-Match"] = wanted.version

        def consume(response: BaseHTTPResponse, _final_url: str) -> Fetched:
            return self._receive(wanted, response, url)

        request = Request("GET", url, headers, None, lambda: self._meter.count(gets=1))
        return self._client.run(request, abandoned, consume)

    def _receive(self, wanted: ByteRange, response: BaseHTTPResponse, url: str) -> Fetched:
        status = response.status
        if status in _NOT_THERE:
            raise ObjectNotFoundError(url)
        if status == 412:
            raise ObjectChangedError(url)
        if status == 416:
            return _past_end(wanted, response, url)
        if status not in {200, 206}:
            raise refusal(url, status)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise StorageError(url, "the server compresses what it was asked to send as it is")
        version = _version(wanted, response.headers)
        if wanted.version and version and _opaque(version) != _opaque(wanted.version):
            raise ObjectChangedError(url)
        data, size = self._part(wanted, response, url) if status == 206 else self._whole(wanted, response)
        if wanted.end is not None:
            data = data[: max(wanted.end - wanted.start, 0)]
        return Fetched(wanted, data, size, version)

    def _part(self, wanted: ByteRange, response: BaseHTTPResponse, url: str) -> tuple[bytes, int]:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if not found or int(found[1]) != wanted.start or int(found[2]) < wanted.start:
            raise StorageError(url, "the server sent other bytes than it was asked for")
        end = int(found[2]) + 1
        asked_end = None if wanted.end is None else max(wanted.end, wanted.start + 1)
        if asked_end is not None and end > asked_end:
            raise StorageError(url, "the server sent other bytes than it was asked for")
        if found[3] != "*":
            size = int(found[3])
        elif asked_end is not None and end < asked_end:
            size = end  # the range was cut at the object's end
        else:
            raise StorageError(url, "the server does not tell the object's size")
        if end > size:
            raise StorageError(url, "the server sent other bytes than it was asked for")
        if end < (size if asked_end is None else min(asked_end, size)):
            raise TransientError("the server sent a part of the range")
        return self._body(response, 0, end - wanted.start), size

    def _whole(self, wanted: ByteRange, response: BaseHTTPResponse) -> tuple[bytes, int]:
        """The range, out of a whole object: the server ignores Range, or the range is the whole."""
        chunked = "Transfer-Encoding" in response.headers  # then a length counts for nothing (RFC 9112 6.3)
        length = "" if chunked else response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            size = int(length)
            end = size if wanted.end is None else min(wanted.end, size)
            if wanted.start or end < size:
                self._warn_once()
            return self._body(response, wanted.start, end), size
        # Without a length, the object has to be read to its end to know where that is.
        if wanted.start or wanted.end is not None:
            self._warn_once()
        return self._kept(response, wanted.start, math.inf if wanted.end is None else wanted.end, math.inf)

    def _body(self, response: BaseHTTPResponse, start: int, end: int) -> bytes:
        """The body's bytes from `start` to `end`; what comes before is read and dropped, the rest left."""
        if start >= end:
            return b""
        data, length = self._kept(response, start, end, end)
        if length < end:
            raise TransientError("the answer was cut short")
        return data

    def _kept(self, response: BaseHTTPResponse, start: int, end: float, most: float) -> tuple[bytes, int]:
        """The body's bytes from `start` to `end`, and how many were read; `most` of them at most."""
        kept: list[bytes] = []
        position = 0
        for piece in self._client.pieces(response, most):
            self._meter.count(received=len(piece))
            if start < position + len(piece) and position < end:
                kept.append(piece[max(start - position, 0) : int(min(end - position, len(piece)))])
            position += len(piece)
        return kept[0] if len(kept) == 1 else b"".join(kept), position

    def _warn_once(self) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            logger.warning("the web server ignores Range; whole objects are transferred")


def open_http(
    url: str,
    settings: Settings,
    environment: Mapping[str, str],
    retry: RetryPolicy,
    *,
    allow_cross_host_redirects: bool,
) -> HttpStorage:
    """Open a web server's folder; see `open_storage`. Nothing is asked for yet."""
    throttle = Throttle.from_settings(settings)
    pool = connection_pool(url, environment, throttle.most)
    client = HttpClient(
        pool,
        retry,
        throttle,
        settings.request_timeout_s,
        allow_cross_host_redirects=allow_cross_host_redirects,
    )
    return HttpStorage(url, client, throttle)


def _past_end(wanted: ByteRange, response: BaseHTTPResponse, url: str) -> Fetched:
    found = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", "").strip())
    if not found and wanted.start:
        raise StorageError(
            url, f"there are no bytes at {wanted.start}, and the server does not tell the size"
        )
    # Only of an empty object is there no part from byte 0 on.
    size = int(found[1]) if found else 0
    if size > wanted.start:
        raise StorageError(url, "the server refuses a range that the object has")
    return Fetched(wanted, b"", size, _version(wanted, response.headers))


def _version(wanted: ByteRange, headers: Mapping[str, str]) -> str:
    """The answer's version, of the same kind as the version asked for."""
    asked = wanted.version
    if asked.startswith(PAGE_VERSION):
        return asked
    etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    return date if asked and not asked.startswith(('"', 'W/"')) else etag or date


def _opaque(version: str) -> str:
    return version.removeprefix("W/")


def _with_slash(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"
