"""Pages of S3 listings (ListObjectsV2), read one by one, so that every listing is bounded.

obstore's own listing reads answers of any length, and page after page until it finds an object.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus
from xml.etree.ElementTree import ParseError, XMLParser

from dicom_series_preview.base.errors import LimitError, StorageError
from dicom_series_preview.sources.storage.base import told_size
from dicom_series_preview.sources.storage.failures import Failure, error_code, s3_error
from dicom_series_preview.sources.storage.http_client import HttpClient, Request
from dicom_series_preview.sources.storage.s3_signature import Keys, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from urllib3 import BaseHTTPResponse

    from dicom_series_preview.sources.storage.base import Meter
    from dicom_series_preview.sources.storage.deadline import Deadline


# A page has a thousand keys of a thousand bytes, and each byte can be written as three.
MAX_PAGE_BYTES = 16 * 2**20
# After many deletions, S3 can send many pages with few keys or none. This many with fewer than a few keys
# each count as a listing without end.
POOR_PAGES, _FEW_KEYS = 1000, 10
# S3's answers declare nothing; a declaration could hold entities that grow. A zero byte appears only in
# UTF-16 XML, where we would miss a declaration.
_NOT_TRUSTED = re.compile(rb"<!(?:DOCTYPE|ENTITY)|\0")
# A thousand objects have some twenty thousand tags.
_MOST_TAGS = 200_000
_CUT_ERROR_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Key:
    """An object of a listing.

    Attributes:
        name: Its key.
        size: Bytes.
        etag: Its ETag, or empty.
        modified_s: When it was written, in seconds since 1970, or None.
    """

    name: str
    size: int
    etag: str
    modified_s: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing.

    Attributes:
        keys: The objects on it.
        folders: Its common prefixes.
        following: The token for the next page; None on the last.
    """

    keys: list[Key]
    folders: list[str]
    following: str | None


@dataclass(frozen=True, slots=True)
class Lister:
    """Lists a bucket.

    Attributes:
        client: Sends the requests, with retries.
        address: The bucket's address, without a slash at its end.
        region: Its region.
        keys: Returns the keys that sign a request now, or None.
        most_pages: The most pages of a listing: ten million folders.
    """

    client: HttpClient
    address: str
    region: str
    keys: Callable[[], Keys | None]
    most_pages: int = 10_000

    def pages(self, url: str, meter: Meter, query: Mapping[str, str], deadline: Deadline) -> Iterator[Page]:
        """Yield the pages of one listing.

        Args:
            url: The listed folder, for errors.
            meter: Counts the requests.
            query: The parameters of ListObjectsV2.
            deadline: The end of the wait for the pages.

        Raises:
            StorageError: A page cannot be fetched or parsed, or the listing does not end.
            LimitError: There are too many pages.
        """
        before, asked = Page([], [], None), {"encoding-type": "url", "list-type": "2", **query}
        entries, told = 0, set[bytes]()
        for number in count(1):
            page = self._page(url, meter, asked, deadline)
            deadline.heard()
            found = len(page.keys) + len(page.folders)
            entries += found
            token = hashlib.sha256((page.following or "").encode()).digest()
            if token in told or (found and (page.keys, page.folders) == (before.keys, before.folders)):
                raise StorageError(url, "the server repeats a page of its listing; it cannot be listed")
            yield page
            if page.following is None:
                return
            if number >= POOR_PAGES and entries < _FEW_KEYS * number:
                raise StorageError(url, f"the server's listing has no end: {entries} keys on {number} pages")
            if number >= self.most_pages:
                raise LimitError("series", f"its listing has more than {self.most_pages} pages")
            told.add(token)
            before, asked = page, {**asked, "continuation-token": page.following}

    def _page(self, url: str, meter: Meter, query: Mapping[str, str], deadline: Deadline) -> Page:
        keys = self.keys()
        # Encode it as S3 signs it.
        text = "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))
        headers = {} if keys is None else signature(keys, self.region, self.address, text, datetime.now(UTC))
        request = Request(
            "GET", f"{self.address}?{text}", headers, None, lambda: meter.count(lists=1), url, is_s3=True
        )
        return self.client.run(request, deadline, lambda response, _: self._read(response, url, deadline))

    def _read(self, response: BaseHTTPResponse, url: str, deadline: Deadline) -> Page:
        most = MAX_PAGE_BYTES if response.status == 200 else _CUT_ERROR_BYTES
        body = b"".join(self.client.pieces(response, deadline, most + 1))
        if response.status != 200:
            code = error_code(body.decode("utf-8", "replace"))
            raise Failure(response.status, code).passing() or s3_error(url, response.status, code)
        if len(body) > most:
            raise StorageError(url, f"a page of the listing has more than {most} bytes; it cannot be listed")
        return parse_listing(body, url)


def _check_bytes(body: bytes, url: str) -> None:
    """Refuse a body that would take far more memory than its bytes.

    Raises:
        StorageError: The body has too many tags, or a declaration.
    """
    # An element takes a hundred times its bytes.
    if max(body.count(b"<"), body.count(b"=")) > _MOST_TAGS:
        raise StorageError(url, f"the server's listing has a page of more than {_MOST_TAGS} tags")
    if _NOT_TRUSTED.search(body):
        raise StorageError(url, "the server's listing is no XML that can be trusted")


def parse_listing(body: bytes, url: str) -> Page:
    """Parse a page of ListObjectsV2.

    Args:
        body: The XML.
        url: The listed folder, for errors.

    Raises:
        StorageError: The body is no such page, or lacks the next page's token.
        TransientError: The body is an error, and another try can help.
    """
    _check_bytes(body, url)
    parser = XMLParser()  # noqa: S314 - see above; defusedxml's is written in Python, and takes five times as long
    try:
        # S3 writes UTF-8. In another encoding `<!` has different bytes.
        parser.feed(body.decode("utf-8"))
        root: Element = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        raise StorageError(url, "the server's listing cannot be read: it is no XML") from error
    space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    if root.tag == f"{space}Error":
        # S3 answers 200 and begins to send before it notices an error.
        code = root.findtext(f"{space}Code", "")
        raise Failure(200, code).passing() or s3_error(url, 200, code)
    if root.tag != f"{space}ListBucketResult":
        raise StorageError(url, "the server's listing cannot be read: it is none")
    is_encoded = root.findtext(f"{space}EncodingType", "") == "url"

    def plain(text: str) -> str:
        return unquote_plus(text) if is_encoded else text

    keys = []
    for entry in root.iterfind(f"{space}Contents"):
        name, size = entry.findtext(f"{space}Key", ""), told_size(entry.findtext(f"{space}Size", ""))
        if not name or size is None:
            raise StorageError(url, "the server's listing cannot be read: an object has no key or no size")
        modified_s = _seconds(entry.findtext(f"{space}LastModified", ""))
        keys.append(Key(plain(name), size, entry.findtext(f"{space}ETag", ""), modified_s))
    prefixes = root.iterfind(f"{space}CommonPrefixes/{space}Prefix")
    folders = [plain(prefix.text) for prefix in prefixes if prefix.text]
    following = None
    if root.findtext(f"{space}IsTruncated", "").lower() == "true":
        following = root.findtext(f"{space}NextContinuationToken", "")
        if not following:
            raise StorageError(url, "the server does not tell the listing's next page")
    return Page(keys, folders, following)


def _seconds(text: str) -> float | None:
    """Return a time as S3 writes it in seconds since 1970; None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
