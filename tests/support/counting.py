"""A proxy between the product and a server that counts what really goes over the line."""

import http.client
import http.server
import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from servers import ServerInThreads, send

_OF_ONE_CONNECTION = ("Connection", "Transfer-Encoding", "Server", "Date")


@dataclass(frozen=True)
class Seen:
    """A request that went over the line.

    Attributes:
        method: Its method.
        target: Path and query.
        start: First byte asked for, or None without a Range header.
        length: Bytes asked for, or None where the range is open or there is none.
    """

    method: str
    target: str
    start: int | None
    length: int | None

    @property
    def kind(self) -> str:
        """`LIST`, `GET`, or whatever else the method is."""
        return "LIST" if self.method == "GET" and "list-type=2" in self.target else self.method


class CountingProxy(ServerInThreads):
    """A second address of a server; notes each request that is sent to it.

    Args:
        upstream: The server's own address.

    Attributes:
        seen: The requests since the last `clear`.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._upstream = urlsplit(upstream).netloc

    def clear(self) -> None:
        """Forget what was seen."""
        self.seen.clear()

    def kinds(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(request.kind for request in self.seen)

    def gets(self) -> list[Seen]:
        """The requests for objects."""
        return [request for request in self.seen if request.kind == "GET"]

    def _note(self, method: str, target: str, wanted: str) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        start = int(found[1]) if found else None
        length = int(found[2]) - int(found[1]) + 1 if found and found[2] else None
        self.seen.append(Seen(method, target, start, length))

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        """The server's answer."""
        self._note(handler.command, handler.path, handler.headers.get("Range", ""))
        with closing(http.client.HTTPConnection(self._upstream)) as there:
            there.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                there.putheader(name, value)
            there.endheaders(body or None)
            answer = there.getresponse()
            data = answer.read()
        headers = {name.title(): value for name, value in answer.getheaders()}
        headers = {name: value for name, value in headers.items() if name not in _OF_ONE_CONNECTION}
        if handler.command != "HEAD" and answer.status not in (204, 304):
            headers["Content-Length"] = str(len(data))
        send(handler, answer.status, headers, data)
