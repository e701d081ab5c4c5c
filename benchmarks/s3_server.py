"""An S3 server in its own process: generated series, injected latency, shared bandwidth, counts.

It answers a reader's requests, without signatures: ListObjectsV2 with prefix, delimiter and pages of 1,000,
GET with Range and If-Match, HEAD; on connections that stay open. Every answer waits for the line's latency.
With a bandwidth, bodies pass one after the other over one line, and each arrives with its last byte.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from kinds import Facts, Line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from generated import Series, Stored
    from kinds import Kind

PAGE_OBJECTS = 1000
_DATE = "Wed, 01 Jan 2025 00:00:00 GMT"
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)", re.IGNORECASE)
_IF_MATCH = re.compile(rb"\r\nif-match: *([^\r]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class S3:
    """A running server.

    Attributes:
        url: Its address.
    """

    url: str
    _pipe: Connection

    def _ask(self, *message: object) -> object:
        self._pipe.send(message)
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def load(self, kind: Kind) -> Facts:
        """Serve a series, in place of the one before."""
        facts = self._ask("load", kind)
        assert isinstance(facts, Facts)
        return facts

    def set_line(self, line: Line) -> None:
        """Change the line, while no request is in flight."""
        self._ask("line", line)

    def counts(self) -> Counter[str]:
        """Return requests by kind, the `refused` ones, and `bytes` of objects, since the last call."""
        counts = self._ask("counts")
        assert isinstance(counts, Counter)
        return counts


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server on 127.0.0.1."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # the pipe ends with the process
    try:
        yield S3(ours.recv(), ours)
    finally:
        ours.send(("stop",))
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _run(pipe: Connection) -> None:
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    store = _Store()
    server = await loop.create_server(lambda: _Connection(store, loop), "127.0.0.1", 0, backlog=4096)
    stopped = loop.create_future()

    def told() -> None:
        try:
            name, *arguments = pipe.recv()
        except EOFError:  # the parent process is gone
            name, arguments = "stop", []
        if name == "stop":
            loop.remove_reader(pipe.fileno())
            stopped.set_result(None)
            return
        try:
            answer = store.told(name, *arguments)
        except Exception as error:  # noqa: BLE001 - the caller raises it again
            answer = error
        pipe.send(answer)

    loop.add_reader(pipe.fileno(), told)
    pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await stopped
    server.close()


class _Store:
    """The served series, its line, and the counts of requests."""

    def __init__(self) -> None:
        self.line = Line()
        self.counts: Counter[str] = Counter()
        self.series: Series | None = None
        self._pages: dict[tuple[str, str, str], bytes] = {}
        self._free_at = 0.0

    def told(self, name: str, *arguments: object) -> object:
        """Do what the other process requests."""
        if name == "line":
            (self.line,) = arguments
            return None
        if name == "counts":
            counts, self.counts = self.counts, Counter()
            return counts
        return self._load(*arguments)

    def _load(self, kind: Kind) -> Facts:
        # The parent's memory must stay below its children's, because their peak begins with its own.
        from generated import generate  # noqa: PLC0415 - loads numpy and pydicom, for this process only

        series = self.series = generate(kind)
        self._pages.clear()
        total = sum(stored.size for stored in series.objects.values())
        return Facts(kind.name, series.header_bytes, series.frames, total)

    def arrival_s(self, now: float, length: int) -> float:
        """Return the time at which an answer of some bytes has reached the client."""
        begins = now + self.line.latency_s
        if self.line.bytes_per_s is None:
            return begins
        self._free_at = max(begins, self._free_at) + length / self.line.bytes_per_s
        return self._free_at

    def find(self, path: str) -> Stored | None:
        """Return the object of a path `/bucket/folder/name`; every bucket holds the one series."""
        _, _, key = path.removeprefix("/").partition("/")
        folder, _, name = key.partition("/")
        if self.series is None or folder != self.series.kind.name:
            return None
        return self.series.objects.get(name)

    def page(self, query: str) -> bytes:
        """Return one page of a listing."""
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        prefix, delimiter = fields.get("prefix", ""), fields.get("delimiter", "")
        after = fields.get("continuation-token") or fields.get("start-after", "")
        asked = prefix, delimiter, after
        if asked not in self._pages:
            self._pages[asked] = self._listed(prefix, delimiter, after).encode()
        return self._pages[asked]

    def _listed(self, prefix: str, delimiter: str, after: str) -> str:
        series = self.series
        folder = f"{series.kind.name}/" if series else ""
        common, entries = "", []
        if series and delimiter and folder.startswith(prefix) and delimiter in folder[len(prefix) :]:
            common = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        elif series and folder.startswith(prefix[: len(folder)]):
            entries = [
                (folder + name, stored)
                for name, stored in series.objects.items()
                if (folder + name).startswith(prefix) and folder + name > after
            ]
        shown = entries[:PAGE_OBJECTS]
        more = len(entries) > len(shown)
        token = f"<NextContinuationToken>{shown[-1][0]}</NextContinuationToken>" if more else ""
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(stored.etag)}</ETag><Size>{stored.size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key, stored in shown
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(shown)}</KeyCount><MaxKeys>{PAGE_OBJECTS}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}{common}</ListBucketResult>"
        )


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, store: _Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        # Write in one go or, if the client is slow, later; the loop must not ask us to pause.
        transport.set_write_buffer_limits(high=2**40)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[: end + 2], self._received[end + 4 :]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        method, target, _ = head[: head.index(b"\r\n")].decode("ascii").split(" ")
        parts = urlsplit(target)
        if method == "GET" and "list-type=2" in parts.query:
            page = self._store.page(parts.query)
            self._store.counts["LIST"] += 1
            return self._send("200 OK", {"content-type": "application/xml"}, [page])
        self._store.counts[method] += 1
        stored = self._store.find(unquote(parts.path))
        if method not in ("GET", "HEAD"):
            return self._refuse("501 Not Implemented", "NotImplemented")
        if stored is None:
            return self._refuse("404 Not Found", "NoSuchKey")
        wanted = _IF_MATCH.search(head)
        if wanted and wanted[1].decode() != stored.etag:
            return self._refuse("412 Precondition Failed", "PreconditionFailed")
        return self._send_object(method, stored, _RANGE.search(head))

    def _send_object(self, method: str, stored: Stored, asked: re.Match[bytes] | None) -> None:
        start, end = 0, stored.size
        headers = {
            "etag": stored.etag,
            "last-modified": _DATE,
            "accept-ranges": "bytes",
            "content-type": "application/dicom",
        }
        if asked:
            start = int(asked[1])
            end = min(end, int(asked[2]) + 1) if asked[2] else end
            if start >= stored.size:
                return self._refuse("416 Range Not Satisfiable", "InvalidRange")
            headers["content-range"] = f"bytes {start}-{end - 1}/{stored.size}"
        if method == "HEAD":
            headers["content-length"] = str(end - start)
            return self._send("200 OK", headers, [])
        self._store.counts["bytes"] += end - start
        return self._send("206 Partial Content" if asked else "200 OK", headers, stored.cut(start, end))

    def _refuse(self, status: str, code: str) -> None:
        self._store.counts["refused"] += 1
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._send(status, {"content-type": "application/xml"}, [body])

    def _send(self, status: str, headers: dict[str, str], body: list[bytes | memoryview]) -> None:
        length = sum(map(len, body))
        headers = {"content-length": str(length)} | headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        answer = [f"HTTP/1.1 {status}\r\n{lines}\r\n".encode(), *body]
        now = self._loop.time()
        arrival = self._store.arrival_s(now, length)
        if arrival <= now:
            self._write(answer)
        else:
            self._loop.call_at(arrival, self._write, answer)

    def _write(self, answer: list[bytes | memoryview]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        # Few system calls, no copy of long parts.
        short = b"".join(part for part in answer if len(part) <= PAGE_OBJECTS * 8)
        if sum(map(len, answer)) == len(short):
            self._transport.write(short)
            return
        for part in answer:
            self._transport.write(part)
