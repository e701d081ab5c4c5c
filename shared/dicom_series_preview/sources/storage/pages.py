"""Parse a web server's folder listings: WebDAV's multistatus, and directory pages for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from dicom_series_preview.base.errors import StorageError
from dicom_series_preview.sources.storage.base import told_size
from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeVar
    from xml.etree.ElementTree import Element

    _T = TypeVar("_T")

PROPFIND_BODY = (
    b'<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>'
    b"<D:resourcetype/><D:getcontentlength/><D:getetag/><D:getlastmodified/></D:prop></D:propfind>"
)
PAGE_VERSION = "page "
"""Begins a version from a directory page: date and size as shown, comparable with no header."""

_DAV = "{DAV:}"
# Check the time after each piece, or after so many entries.
_PIECE, _ENTRIES = 2**16, 256
# The longest tag, and the longest script or style sheet, whose end we wait for: the parser scans again from
# its start.
_MAX_TAG, _MAX_SCRIPT = 2**16, 2**22
# The longest unended tag to look for at the page's end: that takes time by its length's square.
_MAX_CUT_TAG = 2**11
_MAX_BESIDE = 2**12
# nginx `20-Nov-2026 06:55  1234`; Apache `2026-11-20 06:55  1.2K`.
_DATE_AND_SIZE = re.compile(
    r"(\d{2}-[A-Z][a-z]{2}-\d{4} \d{2}:\d{2}|\d{4}-\d{2}-\d{2} \d{2}:\d{2})\s+([\d.]+[KMGT]?)"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a listing.

    Attributes:
        path: Its path below the folder, percent-decoded, no slashes at its ends.
        is_folder: It is a folder.
        size: Bytes, or None where the listing has none.
        version: ETag, else modification date, else what a page shows; or empty.
    """

    path: str
    is_folder: bool
    size: int | None = None
    version: str = ""


def parse_multistatus(body: bytes, folder_url: str, deadline: Deadline | None = None) -> list[Entry]:
    """Parse a WebDAV answer (RFC 4918) to PROPFIND with depth 1, without the folder itself.

    Args:
        body: The XML.
        folder_url: The folder's URL with its trailing slash, the base of `href`s.
        deadline: The end of the wait for the entries.

    Raises:
        StorageError: The body is no multistatus document.
        LimitError: The time is up.
    """
    deadline = deadline or Deadline()
    parser = DefusedXMLParser()
    try:
        for start in range(0, len(body), _PIECE):
            deadline.check()
            parser.feed(body[start : start + _PIECE])
        tree: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise StorageError(folder_url, "the WebDAV answer is no XML that can be trusted") from error
    entries = []
    for response in _in_time(tree.findall(f"{_DAV}response"), deadline):
        path = _below(response.findtext(f"{_DAV}href", "").strip(), folder_url, same_host=False)
        if path:
            entries.append(_dav_entry(path, response))
    return entries


def parse_page(html: str, folder_url: str, deadline: Deadline | None = None) -> list[Entry]:
    """Parse a directory page (nginx, Apache, `python -m http.server`): its links that lead down.

    Args:
        html: The page.
        folder_url: Its URL with the trailing slash.
        deadline: The end of the wait for the entries.

    Raises:
        StorageError: The page cannot be read.
        LimitError: The time is up.
    """
    deadline = deadline or Deadline()
    parser = _Links()
    try:
        for start in range(0, len(html), _PIECE):
            deadline.check()
            parser.feed(html[start : start + _PIECE])
            if len(parser.rawdata) > (_MAX_SCRIPT if parser.cdata_elem else _MAX_TAG):
                raise StorageError(folder_url, "the directory page holds a tag that does not end")
        # Some Python versions leave what follows a long script until the end.
        if parser.cdata_elem or len(parser.rawdata) <= _MAX_CUT_TAG:
            parser.close()
    except AssertionError as error:  # html.parser raises it at some broken declarations
        raise StorageError(folder_url, "the directory page cannot be read") from error
    entries: dict[str, Entry] = {}
    for href, pieces in _in_time(parser.links, deadline):
        beside = " ".join(pieces)
        path = _below(href.strip(), folder_url, same_host=True)
        if not path:
            continue
        is_folder = path.endswith("/")
        found = None if is_folder else _DATE_AND_SIZE.search(" ".join(beside.split()))
        version = f"{PAGE_VERSION}{found[1]} {found[2]}" if found else ""
        entries.setdefault(path, Entry(path.rstrip("/"), is_folder, None, version))
    return list(entries.values())


def _in_time(things: Iterable[_T], deadline: Deadline) -> Iterator[_T]:
    """Yield the things until the deadline."""
    for number, thing in enumerate(things):
        if number % _ENTRIES == 0:
            deadline.check()
        yield thing


def quoted_etag(etag: str) -> str:
    """Quote an entity tag as HTTP does: some WebDAV servers list it without quotes."""
    return etag if not etag or etag.startswith(('"', 'W/"')) else f'"{etag}"'


def is_plain(text: str) -> bool:
    """Return True where a server's text can go back in a header: printable ASCII."""
    return text.isascii() and text.isprintable()


def _dav_entry(path: str, response: Element) -> Entry:
    properties: dict[str, str] = {}
    is_folder = path.endswith("/")
    for status in response.findall(f"{_DAV}propstat"):
        if " 200" not in status.findtext(f"{_DAV}status", " 200"):
            continue
        is_folder = is_folder or status.find(f"{_DAV}prop/{_DAV}resourcetype/{_DAV}collection") is not None
        for name in ("getcontentlength", "getetag", "getlastmodified"):
            properties[name] = status.findtext(f"{_DAV}prop/{_DAV}{name}", properties.get(name, "")).strip()
    length = properties.get("getcontentlength", "")
    etag, date = properties.get("getetag", ""), properties.get("getlastmodified", "")
    version = quoted_etag(etag if is_plain(etag) else "") or (date if is_plain(date) else "")
    size = told_size(length)
    return Entry(path.rstrip("/"), is_folder, None if is_folder else size, "" if is_folder else version)


def _below(href: str, folder_url: str, *, same_host: bool) -> str:
    """Return a link's path below the folder, percent-decoded; empty where it leads elsewhere.

    WebDAV servers behind a proxy call themselves by their inner host, so there only the path counts.
    """
    try:
        target = urlsplit(urljoin(folder_url, href))
    except ValueError:
        return ""
    folder = urlsplit(folder_url)
    if target.query or target.fragment or target.scheme not in {"http", "https"}:
        return ""
    if same_host and (target.scheme, target.netloc) != (folder.scheme, folder.netloc):
        return ""
    above, path = unquote(folder.path), unquote(target.path)
    if not path.startswith(above):
        return ""
    below = path[len(above) :]
    if "\0" in below or any(part in {"", ".", ".."} for part in below.removesuffix("/").split("/")):
        return ""
    return below


class _Links(HTMLParser):
    """Collects each link's `href` and text, which ends at the next link or row."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, list[str]]] = []
        self._beside = False
        self._left = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"a", "tr", "hr"}:
            self._beside = False
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.links.append((href, []))
            self._left = _MAX_BESIDE

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._beside = bool(self.links)

    def handle_data(self, data: str) -> None:
        if self._beside and self._left > 0:
            self.links[-1][1].append(data[: self._left])
            self._left -= len(data)
