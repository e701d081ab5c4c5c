"""A proxy between the product and a server that counts what really goes over the line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)", re.IGNORECASE)


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


@dataclass
class CountingProxy:
    """What the proxy saw, and where it listens.

    Attributes:
        url: Its address.
        seen: The requests since the last `clear`.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what was seen."""
        self.seen.clear()

    def kinds(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(request.kind for request in self.seen)

    def gets(self) -> list[Seen]:
        """The requests for objects."""
        return [request for request in self.seen if request.kind == "GET"]


@contextmanager
def counting_proxy(upstream: str) -> Iterator[CountingProxy]:
    """Count every request to `upstream` that is sent to the proxy instead."""
    target = urlsplit(upstream)
    proxy = CountingProxy()
    loop = asyncio.new_event_loop()
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        there, back = await asyncio.open_connection(target.hostname, target.port)
        answers = asyncio.ensure_future(_copy(there, writer))
        try:
            await _requests(reader, back, proxy)
        finally:
            back.close()
            answers.cancel()
            writer.close()
            connections.discard(asyncio.current_task())

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(handle, "127.0.0.1", 0)

    server = loop.run_until_complete(serve())
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:

        async def stop() -> None:
            server.close()
            open_ones = list(connections)
            for task in open_ones:
                task.cancel()
            await asyncio.gather(*open_ones, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _requests(reader: asyncio.StreamReader, back: asyncio.StreamWriter, proxy: CountingProxy) -> None:
    """Pass requests on, one after the other, and keep what they ask for."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")[:2]
            found = _RANGE.search(head)
            start = int(found[1]) if found else None
            length = int(found[2]) - int(found[1]) + 1 if found and found[2] else None
            proxy.seen.append(Seen(method, path, start, length))
            body = _CONTENT_LENGTH.search(head)
            back.write(head + (await reader.readexactly(int(body[1])) if body else b""))
            await back.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
