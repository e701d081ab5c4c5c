"""A server on 127.0.0.1 that speaks enough S3 and WebDAV to be read and written, and fails as a test says.

Objects lie by path in one dictionary. S3 sees the first part of a path as the bucket (path-style addresses);
a web client sees folders. A plan looks at each request and gives the fault that spoils its answer, or None.
A fault decides whether what was asked for is done: a write that is refused is not, one whose answer gets lost
is.
"""

import contextlib
import hashlib
import http.server
import itertools
import os
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from servers import ServerInThreads

_KEY = re.compile("<Key>(.*?)</Key>")
_DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        kind: `LIST` (ListObjectsV2, PROPFIND or a page), `GET`, `PUT` or `DELETE`; `PROPFIND` where it is not
            spoken.
        path: The object's path, or the folder's that is listed.
        later: The range does not begin with the object: it is of its pixels, or goes on where one was cut.
        token: Of a listing, where its page begins; empty for the first page.
        times: How often the same was asked before.
    """

    kind: str
    path: str
    later: bool = False
    token: str = ""
    times: int = 0


@dataclass(frozen=True)
class Reply:
    """What is sent.

    Attributes:
        status: The status.
        headers: Its headers, without a length.
        body: Its body.
        whole: Of a part, the whole object.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bytes = b""


class Connection:
    """One request's connection, on which a fault does what it likes."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler, released: threading.Event) -> None:
        self._handler = handler
        self.released = released

    def head(self, reply: Reply, **headers: str) -> None:
        """Send the status and the headers."""
        self._handler.send_response(reply.status)
        for name, value in {**reply.headers, **headers}.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def send(self, reply: Reply) -> None:
        """Send all of an answer."""
        self.head(reply, **{"Content-Length": str(len(reply.body))})
        self.write(reply.body)

    def begin(self, reply: Reply) -> None:
        """Send half of an answer's body."""
        self.head(reply, **{"Content-Length": str(len(reply.body))})
        self.write(reply.body[: len(reply.body) // 2])

    def write(self, data: bytes) -> None:
        """Send some of a body."""
        self._handler.wfile.write(data)

    def close(self) -> None:
        """End the connection in order."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Break the connection: the client's next read or write fails."""
        self._handler.wfile.flush()
        self.close()
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Closed by its descriptor: the handler would shut the connection down in order first.
        os.close(self._handler.connection.detach())


Answer = Callable[[], Reply]
Fault = Callable[[Connection, Answer], None]
Plan = Callable[[Asked], Fault | None]


# --- faults


def refused(status: int, code: str = "", retry_after: str | None = None) -> Fault:
    """Another status, with S3's error document."""
    body = f"<Error><Code>{code}</Code><Message>of no interest</Message></Error>".encode() if code else b""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda connection, _answer: connection.send(Reply(status, headers, body))


def cut_short(connection: Connection, answer: Answer) -> None:
    """Less of the body than Content-Length promises."""
    connection.begin(answer())
    connection.close()


def cut_chunks(connection: Connection, answer: Answer) -> None:
    """A chunked body without its end."""
    reply = answer()
    connection.head(reply, **{"Transfer-Encoding": "chunked"})
    half = reply.body[: len(reply.body) // 2]
    connection.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")
    connection.close()


def reset_at_once(connection: Connection, answer: Answer) -> None:
    """A reset in place of an answer."""
    answer()
    connection.reset()


def reset_after_headers(connection: Connection, answer: Answer) -> None:
    """A reset where the body should begin."""
    reply = answer()
    connection.head(reply, **{"Content-Length": str(len(reply.body))})
    connection.reset()


def reset_in_body(connection: Connection, answer: Answer) -> None:
    """A reset in the middle of the body."""
    connection.begin(answer())
    connection.reset()


def silent(connection: Connection, _answer: Answer) -> None:
    """No word until the server stops."""
    connection.released.wait()
    connection.close()


def silent_in_body(connection: Connection, answer: Answer) -> None:
    """No more than half of the body until the server stops."""
    connection.begin(answer())
    connection.released.wait()
    connection.close()


def other_range(connection: Connection, answer: Answer) -> None:
    """A Content-Range that is not the one asked for."""
    reply = answer()
    headers = {"Content-Range": _content_range(1, len(reply.body), len(reply.whole))}
    connection.send(replace(reply, headers={**reply.headers, **headers}))


def shorter_range(connection: Connection, answer: Answer) -> None:
    """A part of the range that was asked for, and headers that say so."""
    reply = answer()
    start = int(reply.headers["Content-Range"].removeprefix("bytes ").partition("-")[0])
    body = reply.body[: len(reply.body) // 2]
    headers = {"Content-Range": _content_range(start, len(body), len(reply.whole))}
    connection.send(replace(reply, headers={**reply.headers, **headers}, body=body))


def no_such_range(connection: Connection, answer: Answer) -> None:
    """416 for a range that the object has."""
    reply = answer()
    connection.send(Reply(416, {"Content-Range": f"bytes */{len(reply.whole)}"}))


def whole_object(connection: Connection, answer: Answer) -> None:
    """The whole object where a part was asked for."""
    reply = answer()
    headers = {name: value for name, value in reply.headers.items() if name != "Content-Range"}
    connection.send(Reply(200, headers, reply.whole))


def same_page(*links: str) -> Fault:
    """A page for people in place of any answer: a start page, one to sign in, a single-page application."""
    body = "".join(f'<a href="{link}">{link}</a>' for link in links)
    reply = Reply(200, {"Content-Type": "text/html"}, f"<html><body>{body}</body></html>".encode())
    return lambda connection, _answer: connection.send(reply)


def page_with_a_nonce(*links: str) -> Fault:
    """A page that is another one each time: one of its files has a new name."""
    numbers = itertools.count()

    def fault(connection: Connection, answer: Answer) -> None:
        same_page(*links, f"app.{next(numbers)}.js")(connection, answer)

    return fault


def page_of_new_names(folders: int) -> Fault:
    """A page of folders whose names were never there before."""
    numbers = itertools.count()

    def fault(connection: Connection, answer: Answer) -> None:
        same_page(*(f"{next(numbers)}/" for _ in range(folders)))(connection, answer)

    return fault


def moved(location: str) -> Fault:
    """A redirect."""
    return lambda connection, _answer: connection.send(Reply(302, {"Location": location}))


def folders_everywhere(*names: str) -> Fault:
    """A WebDAV answer that there are these folders, whatever is asked."""
    responses = "".join(
        f"<D:response><D:href>{name}/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>"
        "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        for name in names
    )
    reply = replace(_xml(f'<D:multistatus xmlns:D="DAV:">{responses}</D:multistatus>'), status=207)
    return lambda connection, _answer: connection.send(reply)


def pages_without_end(keys: Callable[[], list[str]], size: int = 10) -> Fault:
    """A page of S3's listing after which there is always another, with these keys of objects of a size."""
    tokens = itertools.count()

    def fault(connection: Connection, _answer: Answer) -> None:
        entries = "".join(
            f'<Contents><Key>{key}</Key><Size>{size}</Size><ETag>"e"</ETag>'
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys()
        )
        connection.send(
            _xml(
                f"<ListBucketResult><IsTruncated>true</IsTruncated>{entries}"
                f"<NextContinuationToken>t{next(tokens)}</NextContinuationToken></ListBucketResult>"
            )
        )

    return fault


# --- plans


def first_times(count: int, fault: Fault, wanted: Callable[[Asked], bool]) -> Plan:
    """Spoil the first answers to each request that is wanted."""
    return lambda asked: fault if wanted(asked) and asked.times < count else None


def always(fault: Fault, wanted: Callable[[Asked], bool]) -> Plan:
    """Spoil every answer to the requests that are wanted."""
    return lambda asked: fault if wanted(asked) else None


def at_random(rng: random.Random, faults: list[tuple[float, Fault]]) -> Plan:
    """Spoil each answer with a fault's own probability; no more than one at once."""
    lock = threading.Lock()

    def plan(_asked: Asked) -> Fault | None:
        with lock:
            drawn = rng.random()
        for probability, fault in faults:
            if drawn < probability:
                return fault
            drawn -= probability
        return None

    return plan


class Busy:
    """A plan: what comes while the server is busy is refused.

    Args:
        slots: How many requests are served at once.
        hold_s: How long each takes, so that requests meet.

    Attributes:
        refused: How many requests were answered with 503.
    """

    def __init__(self, slots: int, hold_s: float = 0.002) -> None:
        self.refused = 0
        self._slots = slots
        self._hold_s = hold_s
        self._lock = threading.Lock()
        self._under_way = 0

    def __call__(self, _asked: Asked) -> Fault:
        """Refuse the request or hold it, as many as are under way."""
        return self._answer

    def _answer(self, connection: Connection, answer: Answer) -> None:
        with self._lock:
            self._under_way += 1
            is_served = self._under_way <= self._slots
            self.refused += not is_served
        time.sleep(self._hold_s)
        reply = answer() if is_served else Reply(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        with self._lock:
            self._under_way -= 1
        connection.send(reply)


# --- the server


class FaultyServer(ServerInThreads):
    """The server; a context manager.

    Args:
        page_objects: How many objects a page of S3's listing has.
        webdav: Folders are listed by PROPFIND, and not by pages for people only.

    Attributes:
        objects: By path, their bytes. Tests change them at will.
        plan: Which answers are spoilt.
        asked: Every request.
    """

    def __init__(self, page_objects: int = 1000, *, webdav: bool = True) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.plan: Plan = lambda _asked: None
        self.asked: list[Asked] = []
        self._page_objects = page_objects
        self._webdav = webdav
        self._seen: Counter[Asked] = Counter()
        self._lock = threading.Lock()
        self._released = threading.Event()

    def __exit__(self, *reason: object) -> None:
        self._released.set()
        super().__exit__(*reason)

    @property
    def environment(self) -> dict[str, str]:
        """What lets a client take it for S3."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }

    def begin(self, plan: Plan) -> None:
        """Follow a plan from here on, and forget what was asked."""
        with self._lock:
            self.plan = plan
            self.asked.clear()
            self._seen.clear()

    def tries(self) -> Counter[Asked]:
        """How often each request was made."""
        with self._lock:
            return self._seen.copy()

    def settle(self) -> None:
        """Return when nobody asks any more: when nothing has come for a while that is long on one machine."""
        for _ in range(60):
            seen = len(self.asked)
            time.sleep(1.0)
            if len(self.asked) == seen:
                return
        raise AssertionError("requests go on and on")

    # Answers

    def _note(self, asked: Asked) -> Asked:
        with self._lock:
            noted = replace(asked, times=self._seen[asked])
            self._seen[asked] += 1
            self.asked.append(noted)
            return noted

    def _answer(self, connection: Connection, asked: Asked, produce: Callable[[], Reply]) -> None:
        noted = self._note(asked)
        fault = self.plan(noted)
        with contextlib.suppress(ConnectionError):
            if fault is None:
                connection.send(produce())
            else:
                fault(connection, produce)

    def _list_s3(self, folder: str, query: dict[str, list[str]]) -> Reply:
        """One page of ListObjectsV2."""
        bucket, _, below = folder.partition("/")
        token, delimiter = _token(query), query.get("delimiter", [""])[0]
        keys = sorted(path.partition("/")[2] for path in self.objects if path.startswith(f"{bucket}/"))
        keys = [key for key in keys if key.startswith(below) and key > token]
        if delimiter:
            rests = [key[len(below) :] for key in keys]
            names = sorted({f"{below}{rest.partition('/')[0]}/" for rest in rests if "/" in rest})
            folders = "".join(
                f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in names
            )
            return _xml(f"<ListBucketResult><IsTruncated>false</IsTruncated>{folders}</ListBucketResult>")
        page = keys[: min(self._page_objects, int(query.get("max-keys", ["1000"])[0]))]
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{escape(etag(data))}</ETag>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
            for data in [self.objects[f"{bucket}/{key}"]]
        )
        more = len(page) < len(keys)
        end = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more and page else ""
        return _xml(
            f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{entries}{end}</ListBucketResult>"
        )

    def _list_dav(self, folder: str) -> Reply:
        """A multistatus of depth 1."""
        found = [folder, *_children(self.objects, folder)]
        if len(found) == 1:
            return Reply(404)
        responses = "".join(
            f"<D:response><D:href>/{quote(path)}</D:href><D:propstat><D:prop>{self._properties(path)}</D:prop>"
            "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
            for path in found
        )
        return replace(_xml(f'<D:multistatus xmlns:D="DAV:">{responses}</D:multistatus>'), status=207)

    def _list_page(self, folder: str) -> Reply:
        """A directory page."""
        children = _children(self.objects, folder)
        if not children:
            return Reply(404)
        names = [path.rpartition("/")[2] + ("" if path in self.objects else "/") for path in children]
        links = "".join(f'<a href="{quote(name)}">{escape(name)}</a>' for name in names)
        return Reply(200, {"Content-Type": "text/html"}, f"<html><body>{links}</body></html>".encode())

    def _properties(self, path: str) -> str:
        data = self.objects.get(path)
        if data is None:
            return "<D:resourcetype><D:collection/></D:resourcetype>"
        return (
            f"<D:resourcetype/><D:getcontentlength>{len(data)}</D:getcontentlength>"
            f"<D:getetag>{escape(etag(data))}</D:getetag>"
        )

    def _get(self, path: str, headers: dict[str, str]) -> Reply:
        data = self.objects.get(path)
        if data is None:
            return Reply(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        described = {"ETag": etag(data), "Last-Modified": _DATE, "Content-Type": "application/octet-stream"}
        if headers.get("if-match", etag(data)) != etag(data):
            return Reply(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
        wanted = headers.get("range")
        if wanted is None:
            return Reply(200, described, data, data)
        start, end = _range(wanted, len(data))
        if start >= len(data):
            return Reply(416, {"Content-Range": f"bytes */{len(data)}"})
        described["Content-Range"] = _content_range(start, end - start, len(data))
        return Reply(206, described, data[start:end], data)

    def _put(self, path: str, data: bytes, headers: dict[str, str]) -> Reply:
        with self._lock:
            there = self.objects.get(path)
            expected = headers.get("if-match")
            if ("if-none-match" in headers and there is not None) or (
                expected is not None and (there is None or etag(there) != expected)
            ):
                return Reply(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
            self.objects[path] = data
        return Reply(200, {"ETag": etag(data)})

    def _delete(self, bucket: str, key: str) -> Reply:
        self.objects.pop(f"{bucket}/{key}", None)
        return _xml(f"<DeleteResult><Deleted><Key>{escape(key)}</Key></Deleted></DeleteResult>")

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        """The object, the listing or what a write comes to, unless the plan spoils it."""
        parts = urlsplit(handler.path)
        path, query = unquote(parts.path).lstrip("/"), parse_qs(parts.query)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked, produce = self._route(handler.command, path, query, headers, body)
        self._answer(Connection(handler, self._released), asked, produce)

    def _route(
        self, method: str, path: str, query: dict[str, list[str]], headers: dict[str, str], body: bytes
    ) -> tuple[Asked, Callable[[], Reply]]:
        if method == "PUT":
            return Asked("PUT", path), lambda: self._put(path, body, headers)
        if method == "POST":
            bucket, key = path.rstrip("/"), unescape(_KEY.search(body.decode())[1])
            return Asked("DELETE", f"{bucket}/{key}"), lambda: self._delete(bucket, key)
        if method == "PROPFIND":
            folder = path.rstrip("/")
            if not self._webdav:
                return Asked("PROPFIND", folder), lambda: Reply(405)
            return Asked("LIST", folder), lambda: self._list_dav(folder)
        if method == "GET" and path.endswith("/") and not query:
            return Asked("LIST", path.rstrip("/")), lambda: self._list_page(path.rstrip("/"))
        if method != "GET":
            return Asked(method, path), lambda: Reply(501)
        if "list-type" in query:
            folder = f"{path.rstrip('/')}/{query.get('prefix', [''])[0]}".rstrip("/")
            token = _token(query)
            prefix = f"{path.rstrip('/')}/{query.get('prefix', [''])[0]}"
            return Asked("LIST", folder, token=token), lambda: self._list_s3(prefix, query)
        wanted = headers.get("range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        return Asked("GET", path, later=start > 0), lambda: self._get(path, headers)


def etag(data: bytes) -> str:
    """An object's version."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _token(query: dict[str, list[str]]) -> str:
    """The last key that the client has: our tokens are keys too."""
    return query.get("continuation-token", query.get("start-after", [""]))[0]


def _xml(text: str) -> Reply:
    return Reply(200, {"Content-Type": "application/xml"}, f'<?xml version="1.0"?>{text}'.encode())


def _content_range(start: int, length: int, size: int) -> str:
    return f"bytes {start}-{start + length - 1}/{size}"


def _range(text: str, size: int) -> tuple[int, int]:
    first, _, last = text.removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1, size) if last else size


def _children(objects: dict[str, bytes], folder: str) -> list[str]:
    start = f"{folder}/" if folder else ""
    below = {start + path[len(start) :].partition("/")[0] for path in objects if path.startswith(start)}
    return sorted(below)


def everything(_asked: Asked) -> bool:
    """Whatever is asked."""
    return True


def at_once(abandoned: threading.Event, _seconds: float) -> bool:
    """No pause."""
    return abandoned.is_set()
