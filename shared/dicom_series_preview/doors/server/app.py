"""The local server: the same routes as behind API Gateway, with nothing of AWS running."""

from __future__ import annotations

import asyncio
import ctypes
import socket
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import uvicorn
from aws_lambda_powertools.event_handler.http_resolver import HttpResolverLocal

from dicom_series_preview.base.discreet import texts_withheld
from dicom_series_preview.base.errors import AbandonedError, OutputError
from dicom_series_preview.base.gate import Gate
from dicom_series_preview.doors.server.access_log import AccessLog
from dicom_series_preview.doors.server.connections import Connections, protocol
from dicom_series_preview.doors.server.guard import Guard
from dicom_series_preview.doors.server.lanes import WAIT_S, Lane
from dicom_series_preview.doors.server.targets import Targets
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.web.http.api import DEFAULT_ROOT_ALIAS
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.problems import problem_response
from dicom_series_preview.web.http.routes import FRONT, RESOURCES, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.doors.server.asgi import Application, Message, Receive, Send
    from dicom_series_preview.web.http.api import PreviewApi
    from dicom_series_preview.web.http.messages import HttpResponse


# What is in the middle of a picture may end it in this time, when the server stops.
_STOP_S = 0.7
_DEADLINE: ContextVar[Deadline] = ContextVar("deadline")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: What the server is called, besides the loopback's names and the address a connection came to.
        token: What every caller has to send, or None.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)


def application(
    api: PreviewApi, access: Access | None = None, running: Deadline | None = None
) -> Application:
    """An ASGI application that serves the API.

    Args:
        api: What is served.
        access: Who may ask; everyone where nothing says who.
        running: Abandoned when the server stops: all that is under way then ends.
    """
    app = HttpResolverLocal()
    server = running or Deadline()
    lanes = {
        alias: Lane(api.gates.get(alias) or Gate.for_machine(), wait_s=min(WAIT_S, api.limit_s))
        for alias in api.services
    }

    def read(series: str) -> HttpRequest:
        event = app.current_event
        return HttpRequest(
            series=series,
            query=event.multi_value_query_string_parameters,
            headers={name.lower(): value for name, value in event.headers.items()},
            deadline=_DEADLINE.get(),
        )

    async def run(request: HttpRequest, answer: Callable[[], HttpResponse]) -> HttpResponse:
        alias = request.query.get("root", (DEFAULT_ROOT_ALIAS,))[0]
        # Of a root that is not there the answer says so, at once.
        return await lanes[alias].run(answer) if alias in lanes else answer()

    register(app, api, (*RESOURCES, FRONT), read, run)

    async def served(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        request = {**scope, "headers": [(name, _as_utf8(value)) for name, value in scope["headers"]]}
        answer = _Answer(send, has_body=scope["method"] != "HEAD")
        if not answer.has_body:
            request["method"] = "GET"
        if scope.get("raw_path"):
            # A series' name may hold an encoded slash, which the decoded path would take for one of its own.
            request["path"] = scope["raw_path"].decode("ascii")
        deadline = server.begin()
        _DEADLINE.set(deadline)
        leaving = asyncio.create_task(_abandon_when_left(deadline, receive))

        try:
            with texts_withheld():
                await app(request, _no_body, answer.take)
        except asyncio.CancelledError:
            if not answer.begun:
                await _send(problem_response(AbandonedError()), send)
        finally:
            leaving.cancel()

    return served if access is None else Guard(served, access.hosts, access.token)


async def _send(response: HttpResponse, send: Send) -> None:
    """Send an answer past the resolver."""
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


class _Answer:
    """An answer on its way to the client, with its length.

    Args:
        send: Takes it.
        has_body: Whether its body is sent: one to HEAD tells no more than how long it is.

    Attributes:
        begun: Some of it has been sent.
    """

    def __init__(self, send: Send, *, has_body: bool) -> None:
        self.has_body = has_body
        self.begun = False
        self._send = send
        self._start: Message = {}

    async def take(self, message: Message) -> None:
        """Take its start, then its body, as the resolver sends them."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        body = message["body"]
        if body:
            self._start["headers"].append((b"content-length", str(len(body)).encode()))
        self.begun = True
        await self._send(self._start)
        await self._send({**message, "body": body if self.has_body else b""})


async def _abandon_when_left(deadline: Deadline, receive: Receive) -> None:
    """Abandon a request whose client leaves before it is answered."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    if message["type"] == "http.request":
        message = await receive()
    if message["type"] == "http.disconnect":
        deadline.abandon()


class _Server(uvicorn.Server):
    """A server that, when it stops, abandons what is under way."""

    def __init__(self, config: uvicorn.Config, running: Deadline) -> None:
        super().__init__(config)
        self._running = running

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: requests are answered that they were given up, even where a thread is still busy."""
        self._running.abandon()
        asyncio.get_running_loop().call_later(_STOP_S, self._leave_threads)
        await super().shutdown(sockets)

    def _leave_threads(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()


async def _no_body() -> dict[str, Any]:
    """A request's body as the routes want it: none reads one."""
    return {"type": "http.request", "body": b"", "more_body": False}


def _as_utf8(value: bytes) -> bytes:
    """A header's value, which may be any bytes, as the resolver can read it."""
    return value.decode("latin-1").encode()


# mallopt(3): blocks from this size on are mapped one by one, and never kept.
_M_MMAP_THRESHOLD, _MAPPED_BYTES = -3, 2**20
# Connections that wait to be accepted; each round of them may come on top of those that are open.
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: A name or address.
        port: The port; 0 for any that is free.
    """

    host: str
    port: int


def serve(
    api: PreviewApi,
    address: Address,
    access: Access,
    *,
    started: Callable[[int], None],
    verbose: bool = False,
) -> None:
    """Serve until interrupted; the server has shut down in order when it passes the interrupt on.

    Args:
        api: What is served.
        address: Where to listen; its host is one that the server may be called.
        access: Who may ask.
        started: Called with the port once it is listened on.
        verbose: Log what is done.

    Raises:
        OutputError: The address cannot be listened on.
        KeyboardInterrupt: It was interrupted.
    """
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OutputError(
            f"{address.host}:{address.port}", "the address cannot be listened on; is something else there?"
        ) from error
    _give_memory_back()
    running = Deadline()
    app = application(api, replace(access, hosts=(address.host, *access.hosts)), running)
    config = uvicorn.Config(
        Targets(AccessLog(app)),
        http=protocol(Connections()),
        ws="none",
        backlog=_BACKLOG,
        log_level="info" if verbose else "warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with listener:
        started(listener.getsockname()[1])
        _Server(config, running).run(sockets=[listener])


def _give_memory_back() -> None:
    """Have glibc return what a picture took as soon as it is freed.

    Else each thread that has painted one keeps hundreds of megabytes for its next, and six take 2 GB in turn.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library has no such call
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
