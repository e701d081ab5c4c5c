"""A folder on a web server: WebDAV where it is offered, else directory pages; ranges where they are served.

obstore's HTTPStore can neither read directory pages nor use a server that ignores Range, and hides redirects.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
import threading
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError, StorageError
from dicom_series_preview.sources.storage.base import (
    ByteRange,
    Fetched,
    Meter,
    ObjectInfo,
    Usage,
    check_path,
    told_size,
)
from dicom_series_preview.sources.storage.connections import connection_pool
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.http_client import HttpClient, Request, Trust, refusal
from dicom_series_preview.sources.storage.pages import (
    PAGE_VERSION,
    PROPFIND_BODY,
    is_plain,
    parse_multistatus,
    parse_page,
)
from dicom_series_preview.sources.storage.passwords import authorization_for
from dicom_series_preview.sources.storage.pool import FetchPool
from dicom_series_preview.sources.storage.throttle import Throttle
from dicom_series_preview.sources.storage.transient import TransientError
from dicom_series_preview.sources.storage.walk import NO_LISTING, SAME_PAGE, FolderWalk, Listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Self

    from urllib3 import BaseHTTPResponse

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.retry import RetryPolicy

logger = logging.getLogger(__name__)

_MAX_LISTING_BYTES = 64 * 2**20
_NOT_THERE = {404, 410}
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})")
# Bodies must come as they are stored: a compressed one has other offsets.
_PLAIN = {"Accept-Encoding": "identity"}


@dataclass(slots=True)
class _Server:
    """What was learned of a server, for all who ask it.

    Attributes:
        speaks_webdav: Whether it lists folders by WebDAV; None where it has not been asked.
        warned: It ignores ranges, and that has been said.
    """

    speaks_webdav: bool | None = None
    warned: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class HttpStorage:
    """A web server's folder as a storage root. It cannot be written.

    A version is the object's ETag, else its Last-Modified. Where a listing gives another kind than the
    server's answers (a date; or what a directory page shows), a range that carries the listing's version is
    answered with that kind of version, so the two compare.

    Args:
        url: The folder's URL, percent-encoded, without a trailing slash.
        client: Sends the requests.
        throttle: How many requests may be in flight at once.
        most_folders: How many folders a listing may go into.
    """

    def __init__(self, url: str, client: HttpClient, throttle: Throttle, most_folders: int) -> None:
        self._url = url
        self._client = client
        self._most_folders = most_folders
        self._meter = Meter()
        self._pool = FetchPool(throttle, url)
        self._deadline = Deadline()
        self._server = _Server()

    def within(self, deadline: Deadline) -> Self:
        """`Storage.within`."""
        same = copy(self)
        same._deadline, same._meter = deadline, Meter(self._meter)  # noqa: SLF001 - its own kind
        return same

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
        """`Storage.list_objects`; one request for each folder, many at once."""
        if folder:
            check_path(self._url, folder)
        walk = FolderWalk(self._folder_url(folder), folder, self._most_folders, most)
        for above, listed in self._pool.each(self._listed, walk.folders(), self._deadline):
            walk.take(above, listed)
            made_up = walk.questionable()
            if made_up is not None:
                walk.judge(self._made_up(made_up))
        return sorted(walk.found.values(), key=lambda info: info.path)

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """Nothing: which requests a listing takes is only known when they are answered."""

    def list_folders(self, prefix: str) -> list[str]:
        """`Storage.list_folders`."""
        parent = prefix.rpartition("/")[0]
        listed = self._pool.run(lambda part: self._list(parent, part), self._deadline)
        if listed is None:
            if parent:
                return []
            raise ObjectNotFoundError(self._url, "there is no such folder")
        has_folders = any(entry.is_folder for entry in listed.entries)
        if not has_folders and listed.is_like(self._made_up(parent)):
            raise StorageError(self._folder_url(parent), SAME_PAGE)
        names = {
            f"{parent}/{entry.path}" if parent else entry.path
            for entry in listed.entries
            if entry.is_folder and "/" not in entry.path
        }
        return sorted(name for name in names if name.startswith(prefix))

    def get(self, path: str) -> Fetched:
        """`Storage.get`."""
        return self._pool.run(lambda part: self._read(ByteRange(path), part), self._deadline)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """`Storage.fetch`."""
        return self._pool.fetch(ranges, self._read, self._deadline)

    def put(
        self,
        path: str,
        data: bytes,  # noqa: ARG002
        *,
        if_version: str | None = None,  # noqa: ARG002
        attributes: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> str:
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

    def _listed(self, folder: str, deadline: Deadline) -> tuple[str, Listed | None]:
        return folder, self._list(folder, deadline)

    def _made_up(self, parent: str) -> Listed | None:
        """What the server says of a folder that nobody can have made; None where there is none."""
        name = f"no-such-folder-{secrets.token_hex(8)}"
        folder = f"{parent}/{name}" if parent else name
        try:
            return self._pool.run(lambda part: self._list(folder, part), self._deadline)
        except StorageError:
            return None

    def _list(self, folder: str, deadline: Deadline) -> Listed | None:
        """What one folder holds; None where there is no such folder."""
        url = self._folder_url(folder)
        if self._server.speaks_webdav is not False:
            listed = self._propfind(url, deadline)
            if listed is not None:
                self._server.speaks_webdav = True
                return listed
            if self._server.speaks_webdav:
                return None
        listed = self._page(url, deadline)
        if listed is not None:
            self._server.speaks_webdav = False
        return listed

    def _propfind(self, url: str, deadline: Deadline) -> Listed | None:
        """What a folder holds by WebDAV; None where it is not spoken, or there is no such folder."""
        headers = {"Depth": "1", "Content-Type": "application/xml; charset=utf-8", **_PLAIN}

        def consume(response: BaseHTTPResponse, final_url: str) -> Listed | None:
            if response.status == 401:
                raise refusal(url, response.status)
            if response.status != 207:
                if self._server.speaks_webdav and response.status not in _NOT_THERE:
                    raise refusal(url, response.status)
                return None
            _refuse_elsewhere(url, final_url)
            body = self._listing_body(response, url, deadline)
            return Listed.of(parse_multistatus(body, _with_slash(final_url), deadline), body)

        request = Request("PROPFIND", url, headers, PROPFIND_BODY, lambda: self._meter.count(lists=1))
        return self._client.run(request, deadline, consume)

    def _page(self, url: str, deadline: Deadline) -> Listed | None:
        """What a folder holds by its directory page; None where there is no such folder."""

        def consume(response: BaseHTTPResponse, final_url: str) -> Listed | None:
            if response.status in _NOT_THERE:
                return None
            if response.status != 200:
                raise refusal(url, response.status)
            _refuse_elsewhere(url, final_url)
            if "html" not in response.headers.get("Content-Type", ""):
                raise StorageError(url, "the server offers neither WebDAV nor a directory page")
            body = self._listing_body(response, url, deadline)
            page = body.decode("utf-8", "replace")
            return Listed.of(parse_page(page, _with_slash(final_url), deadline), body)

        request = Request("GET", url, _PLAIN, None, lambda: self._meter.count(lists=1))
        return self._client.run(request, deadline, consume)

    def _listing_body(self, response: BaseHTTPResponse, url: str, deadline: Deadline) -> bytes:
        body = bytearray()
        for piece in self._client.pieces(response, deadline):
            body += piece
            if len(body) > _MAX_LISTING_BYTES:
                raise StorageError(url, f"the folder's listing is longer than {_MAX_LISTING_BYTES} bytes")
        return bytes(body)

    # Reading

    def _read(self, wanted: ByteRange, deadline: Deadline) -> Fetched:
        url = self._object_url(wanted.path)
        headers = dict(_PLAIN)
        if wanted.start or wanted.end is not None:
            # A range of no bytes cannot be asked for: one byte is read for the object's size.
            last = "" if wanted.end is None else max(wanted.end, wanted.start + 1) - 1
            headers["Range"] = f"bytes={wanted.start}-{last}"
        if wanted.version.startswith('"') and is_plain(wanted.version):
            headers["If-Match"] = wanted.version

        def consume(response: BaseHTTPResponse, _final_url: str) -> Fetched:
            return self._receive(wanted, response, url, deadline)

        request = Request("GET", url, headers, None, lambda: self._meter.count(gets=1))
        return self._client.run(request, deadline, consume)

    def _receive(
        self, wanted: ByteRange, response: BaseHTTPResponse, url: str, deadline: Deadline
    ) -> Fetched:
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
        receive = self._part if status == 206 else self._whole
        data, size = receive(wanted, response, url, deadline)
        if wanted.end is not None:
            data = data[: max(wanted.end - wanted.start, 0)]
        return Fetched(wanted, data, size, version)

    def _part(
        self, wanted: ByteRange, response: BaseHTTPResponse, url: str, deadline: Deadline
    ) -> tuple[bytes, int]:
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
        return self._body(response, 0, end - wanted.start, deadline), size

    def _whole(
        self, wanted: ByteRange, response: BaseHTTPResponse, url: str, deadline: Deadline
    ) -> tuple[bytes, int]:
        """The range, out of a whole object: the server ignores Range, or the range is the whole."""
        chunked = "Transfer-Encoding" in response.headers  # then a length counts for nothing (RFC 9112 6.3)
        length = "" if chunked else response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            size = told_size(length)
            if size is None:
                raise StorageError(url, "the server tells a size that nothing can have")
            end = size if wanted.end is None else min(wanted.end, size)
            if wanted.start or end < size:
                self._warn_once()
            return self._body(response, wanted.start, end, deadline), size
        # Without a length, the object has to be read to its end to know where that is.
        if wanted.start or wanted.end is not None:
            self._warn_once()
        last = math.inf if wanted.end is None else wanted.end
        return self._kept(wanted.start, last, self._client.pieces(response, deadline))

    def _body(self, response: BaseHTTPResponse, start: int, end: int, deadline: Deadline) -> bytes:
        """The body's bytes from `start` to `end`; what comes before is read and dropped, the rest left."""
        if start >= end:
            return b""
        data, length = self._kept(start, end, self._client.pieces(response, deadline, end))
        if length < end:
            raise TransientError("the answer was cut short")
        return data

    def _kept(self, start: int, end: float, pieces: Iterable[bytes]) -> tuple[bytes, int]:
        """The bytes from `start` to `end` of a body that comes in pieces, and how many came."""
        kept: list[bytes] = []
        position = 0
        for piece in pieces:
            self._meter.count(received=len(piece))
            if start < position + len(piece) and position < end:
                kept.append(piece[max(start - position, 0) : int(min(end - position, len(piece)))])
            position += len(piece)
        return kept[0] if len(kept) == 1 else b"".join(kept), position

    def _warn_once(self) -> None:
        with self._server.lock:
            first, self._server.warned = not self._server.warned, True
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
    trust = Trust(url, authorization_for(url, environment), allow_cross_host_redirects)
    client = HttpClient(pool, retry, throttle, settings.request_timeout_s, trust)
    return HttpStorage(url, client, throttle, settings.limits.folders)


def _refuse_elsewhere(asked: str, final: str) -> None:
    """Refuse what another place than the folder shows: a start page, or one to sign in.

    A folder that has moved keeps its name, letter case aside.

    Raises:
        StorageError: The redirect ended elsewhere.
    """
    here, there = (unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] for url in (asked, final))
    if here.casefold() != there.casefold():
        raise StorageError(asked, f"the server sends on to another page: {NO_LISTING}")


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
