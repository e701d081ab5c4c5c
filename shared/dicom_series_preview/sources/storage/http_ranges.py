"""Ranges of a web server's objects: served as such, or cut from the whole where a server ignores Range."""

from __future__ import annotations

import logging
import math
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError, StorageError
from dicom_series_preview.sources.storage.base import Fetched, told_size
from dicom_series_preview.sources.storage.http_client import NOT_THERE, PLAIN, Request, refusal
from dicom_series_preview.sources.storage.pages import PAGE_VERSION, is_plain
from dicom_series_preview.sources.storage.transient import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from urllib3 import BaseHTTPResponse

    from dicom_series_preview.sources.storage.base import ByteRange, Meter
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.http_client import HttpClient

logger = logging.getLogger(__name__)

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})")


class RangeReader:
    """Reads ranges from one server.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._warned = False

    def read(self, wanted: ByteRange, url: str, meter: Meter, deadline: Deadline) -> Fetched:
        """Read one range.

        Args:
            wanted: The range.
            url: Its object's URL.
            meter: Counts the requests and the bytes.
            deadline: The end of the wait for the bytes.

        Raises:
            StorageError: The range cannot be read, or the object has another version.
        """
        headers = dict(PLAIN)
        if wanted.start or wanted.end is not None:
            # HTTP has no empty range: read one byte to learn the object's size.
            last = "" if wanted.end is None else max(wanted.end, wanted.start + 1) - 1
            headers["Range"] = f"bytes={wanted.start}-{last}"
        if wanted.version.startswith('"') and is_plain(wanted.version):
            headers["If-Match"] = wanted.version

        def consume(response: BaseHTTPResponse, _final_url: str) -> Fetched:
            def pieces(most: float) -> Iterator[bytes]:
                for piece in self._client.pieces(response, deadline, most):
                    meter.count(received=len(piece))
                    yield piece

            return _Answer(wanted, url, response, pieces, self._warn_once).receive()

        return self._client.run(
            Request("GET", url, headers, None, lambda: meter.count(gets=1)), deadline, consume
        )

    def _warn_once(self) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            logger.warning("the web server ignores Range; whole objects are transferred")


@dataclass(frozen=True, slots=True)
class _Answer:
    """A server's answer to the request for a range.

    Attributes:
        wanted: The range.
        url: Its object's URL, for errors.
        response: The answer, its body unread.
        pieces: Yields the body as it arrives, up to so many bytes.
        ignores_range: Called where the server sends more than the range.
    """

    wanted: ByteRange
    url: str
    response: BaseHTTPResponse
    pieces: Callable[[float], Iterator[bytes]]
    ignores_range: Callable[[], None]

    def receive(self) -> Fetched:
        """Read the answer.

        Raises:
            StorageError: The answer is an error, or does not match the request.
            TransientError: The answer ended early; another try can help.
        """
        wanted, response, url = self.wanted, self.response, self.url
        status = response.status
        if status in NOT_THERE:
            raise ObjectNotFoundError(url)
        if status == 412:
            raise ObjectChangedError(url)
        if status == 416:
            return self._past_end()
        if status not in {200, 206}:
            raise refusal(url, status)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise StorageError(url, "the server compresses what it was asked to send as it is")
        version = self._version
        if wanted.version and version and _opaque(version) != _opaque(wanted.version):
            raise ObjectChangedError(url)
        data, size = self._part() if status == 206 else self._whole()
        if wanted.end is not None:
            data = data[: max(wanted.end - wanted.start, 0)]
        return Fetched(wanted, data, size, version)

    def _part(self) -> tuple[bytes, int]:
        """Return the range's bytes, and the object's size."""
        wanted, url = self.wanted, self.url
        found = _CONTENT_RANGE.fullmatch(self.response.headers.get("Content-Range", "").strip())
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
        return self._body(0, end - wanted.start), size

    def _whole(self) -> tuple[bytes, int]:
        """Return the range, cut from a whole object: the server ignores Range, or the range is the whole."""
        wanted, headers = self.wanted, self.response.headers
        chunked = "Transfer-Encoding" in headers  # then a length is void (RFC 9112 6.3)
        length = "" if chunked else headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            size = told_size(length)
            if size is None:
                raise StorageError(self.url, "the server tells a size that nothing can have")
            end = size if wanted.end is None else min(wanted.end, size)
            if wanted.start or end < size:
                self.ignores_range()
            return self._body(wanted.start, end), size
        # Without a length, only reading to the end shows the size.
        if wanted.start or wanted.end is not None:
            self.ignores_range()
        last = math.inf if wanted.end is None else wanted.end
        return _kept(wanted.start, last, self.pieces(math.inf))

    def _body(self, start: int, end: int) -> bytes:
        """Return the body's bytes from `start` to `end`; drop what comes before, leave the rest."""
        if start >= end:
            return b""
        data, length = _kept(start, end, self.pieces(end))
        if length < end:
            raise TransientError("the answer was cut short")
        return data

    def _past_end(self) -> Fetched:
        """Return the empty answer for a range past the object's end."""
        wanted, url = self.wanted, self.url
        found = _UNSATISFIED.fullmatch(self.response.headers.get("Content-Range", "").strip())
        if not found and wanted.start:
            raise StorageError(
                url, f"there are no bytes at {wanted.start}, and the server does not tell the size"
            )
        # Only an empty object has no part from byte 0 on.
        size = int(found[1]) if found else 0
        if size > wanted.start:
            raise StorageError(url, "the server refuses a range that the object has")
        return Fetched(wanted, b"", size, self._version)

    @property
    def _version(self) -> str:
        """The answer's version, of the same kind as the requested version."""
        asked, headers = self.wanted.version, self.response.headers
        if asked.startswith(PAGE_VERSION):
            return asked
        etag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return date if asked and not asked.startswith(('"', 'W/"')) else etag or date


def _kept(start: int, end: float, pieces: Iterable[bytes]) -> tuple[bytes, int]:
    """Return the bytes from `start` to `end` of a body in pieces, and how many bytes arrived."""
    kept: list[bytes] = []
    position = 0
    for piece in pieces:
        if start < position + len(piece) and position < end:
            kept.append(piece[max(start - position, 0) : int(min(end - position, len(piece)))])
        position += len(piece)
    return kept[0] if len(kept) == 1 else b"".join(kept), position


def _opaque(version: str) -> str:
    return version.removeprefix("W/")
