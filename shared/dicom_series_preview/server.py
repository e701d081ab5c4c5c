"""The local server: the same routes as behind API Gateway, with nothing of AWS running."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn
from aws_lambda_powertools.event_handler.http_resolver import HttpResolverLocal

from dicom_series_preview.discreet import texts_withheld
from dicom_series_preview.errors import OutputError
from dicom_series_preview.http import HttpRequest
from dicom_series_preview.http.routes import RESOURCES, register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from dicom_series_preview.http import PreviewApi

    Asgi = Callable[
        [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]],
        Awaitable[None],
    ]


def application(api: PreviewApi) -> Asgi:
    """An ASGI application that serves the API."""
    app = HttpResolverLocal()

    def read(series: str) -> HttpRequest:
        event = app.current_event
        return HttpRequest(
            series=series,
            query=event.multi_value_query_string_parameters,
            headers={name.lower(): value for name, value in event.headers.items()},
        )

    register(app, api, RESOURCES, read, in_threads=True)

    async def served(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        request = {**scope, "headers": [(name, _as_utf8(value)) for name, value in scope["headers"]]}
        if scope.get("raw_path"):
            # A series' name may hold an encoded slash, which the decoded path would take for one of its own.
            request["path"] = scope["raw_path"].decode("ascii")
        with texts_withheld():
            await app(request, _no_body, send)

    return served


async def _no_body() -> dict[str, Any]:
    """A request's body as the routes want it: none reads one."""
    return {"type": "http.request", "body": b"", "more_body": False}


def _as_utf8(value: bytes) -> bytes:
    """A header's value, which may be any bytes, as the resolver can read it."""
    return value.decode("latin-1").encode()


def serve(
    api: PreviewApi, host: str, port: int, *, started: Callable[[int], None], verbose: bool = False
) -> None:
    """Serve until interrupted.

    Args:
        api: What is served.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        started: Called with the port once it is listened on.
        verbose: Log what is done.

    Raises:
        OutputError: The address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OutputError(
            f"{host}:{port}", "the address cannot be listened on; is something else there?"
        ) from error
    config = uvicorn.Config(
        application(api),
        log_level="info" if verbose else "warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with listener:
        started(listener.getsockname()[1])
        # The server has shut down in order when it passes the interrupt on.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
