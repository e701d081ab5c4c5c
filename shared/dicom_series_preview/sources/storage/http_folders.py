"""List a web server's folders: by WebDAV where the server offers it, else by directory pages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dicom_series_preview.base.errors import StorageError
from dicom_series_preview.sources.storage.http_client import NOT_THERE, PLAIN, Request, refusal
from dicom_series_preview.sources.storage.pages import PROPFIND_BODY, parse_multistatus, parse_page
from dicom_series_preview.sources.storage.walk import NO_LISTING, Listed

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from dicom_series_preview.sources.storage.base import Meter
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.http_client import HttpClient

_MAX_LISTING_BYTES = 64 * 2**20


class FolderLister:
    """Lists folders of one server, and learns from its answers whether it speaks WebDAV.

    Args:
        client: Sends the requests.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        # None until the first answer.
        self._speaks_webdav: bool | None = None

    def list(self, url: str, meter: Meter, deadline: Deadline) -> Listed | None:
        """List one folder; None where it does not exist.

        Args:
            url: The folder's URL with its trailing slash.
            meter: Counts the requests.
            deadline: The end of the wait for the listing.

        Raises:
            StorageError: The folder cannot be listed.
        """
        if self._speaks_webdav is not False:
            listed = self._propfind(url, meter, deadline)
            if listed is not None:
                self._speaks_webdav = True
                return listed
            if self._speaks_webdav:
                return None
        listed = self._page(url, meter, deadline)
        if listed is not None:
            self._speaks_webdav = False
        return listed

    def _propfind(self, url: str, meter: Meter, deadline: Deadline) -> Listed | None:
        """List a folder by WebDAV; None where the server does not speak it, or has no such folder."""
        headers = {"Depth": "1", "Content-Type": "application/xml; charset=utf-8", **PLAIN}

        def consume(response: BaseHTTPResponse, final_url: str) -> Listed | None:
            if response.status == 401:
                raise refusal(url, response.status)
            if response.status != 207:
                if self._speaks_webdav and response.status not in NOT_THERE:
                    raise refusal(url, response.status)
                return None
            _refuse_elsewhere(url, final_url)
            body = self._listing_body(response, url, deadline)
            return Listed.of(parse_multistatus(body, _with_slash(final_url), deadline), body)

        request = Request("PROPFIND", url, headers, PROPFIND_BODY, lambda: meter.count(lists=1))
        return self._client.run(request, deadline, consume)

    def _page(self, url: str, meter: Meter, deadline: Deadline) -> Listed | None:
        """List a folder by its directory page; None where it does not exist."""

        def consume(response: BaseHTTPResponse, final_url: str) -> Listed | None:
            if response.status in NOT_THERE:
                return None
            if response.status != 200:
                raise refusal(url, response.status)
            _refuse_elsewhere(url, final_url)
            if "html" not in response.headers.get("Content-Type", ""):
                raise StorageError(url, "the server offers neither WebDAV nor a directory page")
            body = self._listing_body(response, url, deadline)
            page = body.decode("utf-8", "replace")
            return Listed.of(parse_page(page, _with_slash(final_url), deadline), body)

        request = Request("GET", url, PLAIN, None, lambda: meter.count(lists=1))
        return self._client.run(request, deadline, consume)

    def _listing_body(self, response: BaseHTTPResponse, url: str, deadline: Deadline) -> bytes:
        body = bytearray()
        for piece in self._client.pieces(response, deadline):
            body += piece
            if len(body) > _MAX_LISTING_BYTES:
                raise StorageError(url, f"the folder's listing is longer than {_MAX_LISTING_BYTES} bytes")
        return bytes(body)


def _refuse_elsewhere(asked: str, final: str) -> None:
    """Refuse a page of another place than the folder: a start page, or a sign-in page.

    A moved folder keeps its name, letter case aside.

    Raises:
        StorageError: The redirect ended elsewhere.
    """
    here, there = (unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] for url in (asked, final))
    if here.casefold() != there.casefold():
        raise StorageError(asked, f"the server sends on to another page: {NO_LISTING}")


def _with_slash(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"
