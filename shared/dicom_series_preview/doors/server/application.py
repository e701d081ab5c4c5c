"""The ASGI application: the routes of API Gateway, with each request in its root's lane."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler.http_resolver import HttpResolverLocal

from dicom_series_preview.archive.names import DEFAULT_ROOT_ALIAS
from dicom_series_preview.base.discreet import texts_withheld
from dicom_series_preview.base.errors import AbandonedError
from dicom_series_preview.base.gate import Gate
from dicom_series_preview.doors.server.asgi import send_whole
from dicom_series_preview.doors.server.lanes import WAIT_S, Lane
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.web.http.api import SEARCHES
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.web.http.problems import problem_response
from dicom_series_preview.web.http.routes import CATALOGUE, FRONT, RESOURCES, register

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.doors.server.asgi import Application, Message, Receive, Send
    from dicom_series_preview.web.http.api import PreviewApi
    from dicom_series_preview.web.http.messages import HttpResponse

_DEADLINE: ContextVar[Deadline] = ContextVar("deadline")


def application(api: PreviewApi, running: Deadline | None = None) -> Application:
    """Build an ASGI application that serves the API to everyone.

    Args:
        api: The API to serve.
        running: Abandoned when the server stops: then all work under way ends.
    """
    app = HttpResolverLocal()
    server = running or Deadline()
    # Searches of the catalogue wait for no root.
    lanes = {
        alias: Lane(api.gates.get(alias) or Gate.for_machine(), wait_s=min(WAIT_S, api.limit_s))
        for alias in (*api.services, SEARCHES)
    }
    register(app, api, (*RESOURCES, CATALOGUE, FRONT), partial(_request, app), partial(_in_lane, lanes))

    async def served(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        answer = _Answer(send, has_body=scope["method"] != "HEAD")
        deadline = server.begin()
        _DEADLINE.set(deadline)
        leaving = asyncio.create_task(_abandon_when_left(deadline, receive))
        try:
            with texts_withheld():
                await app(_for_resolver(scope), _no_body, answer.take)
        except asyncio.CancelledError:
            if not answer.begun:
                await send_whole(problem_response(AbandonedError()), send)
        finally:
            leaving.cancel()

    return served


def _request(app: HttpResolverLocal, series: str) -> HttpRequest:
    """Build the request from the resolver's current event."""
    event = app.current_event
    return HttpRequest(
        series=series,
        query=event.multi_value_query_string_parameters,
        headers={name.lower(): value for name, value in event.headers.items()},
        deadline=_DEADLINE.get(),
    )


async def _in_lane(
    lanes: Mapping[str, Lane], request: HttpRequest, answer: Callable[[], HttpResponse]
) -> HttpResponse:
    """Produce an answer in the lane of the requested root, or of the catalogue."""
    alias = request.query.get("root", (DEFAULT_ROOT_ALIAS,))[0]
    if request.of_catalogue:
        alias = SEARCHES
    # An unknown root is reported at once.
    return await lanes[alias].run(answer) if alias in lanes else answer()


def _for_resolver(scope: Message) -> Message:
    """Convert a request's scope for the resolver: GET for HEAD, and headers in UTF-8."""
    request = {**scope, "headers": [(name, _as_utf8(value)) for name, value in scope["headers"]]}
    if scope["method"] == "HEAD":
        request["method"] = "GET"
    if scope.get("raw_path"):
        # A series' name can hold an encoded slash, which would separate parts of the decoded path.
        request["path"] = scope["raw_path"].decode("ascii")
    return request


class _Answer:
    """An answer on its way to the client, with its length.

    Args:
        send: Sends it.
        has_body: False to send only its length, for HEAD.

    Attributes:
        begun: A part of it has been sent.
    """

    def __init__(self, send: Send, *, has_body: bool) -> None:
        self.has_body = has_body
        self.begun = False
        self._send = send
        self._start: Message = {}

    async def take(self, message: Message) -> None:
        """Take its start, then its body, from the resolver."""
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
    """Abandon a request whose client disconnects before the answer."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    if message["type"] == "http.request":
        message = await receive()
    if message["type"] == "http.disconnect":
        deadline.abandon()


async def _no_body() -> dict[str, Any]:
    """Return an empty request body: no route reads one."""
    return {"type": "http.request", "body": b"", "more_body": False}


def _as_utf8(value: bytes) -> bytes:
    """Convert a header's value, which can be any bytes, for the resolver."""
    return value.decode("latin-1").encode()
