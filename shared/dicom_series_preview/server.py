"""The local server: the same routes as behind API Gateway, with nothing of AWS running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import uvicorn
from aws_lambda_powertools.event_handler.http_resolver import HttpResolverLocal

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

    async def encoded(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        # A series' name may hold an encoded slash, which the decoded path would take for one of its own.
        if scope["type"] == "http" and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("ascii")
        await app(scope, receive, send)

    return encoded


def serve(api: PreviewApi, host: str, port: int, *, verbose: bool = False) -> None:
    """Serve until interrupted.

    Raises:
        OutputError: The address cannot be listened on.
    """
    config = uvicorn.Config(
        application(api),
        host=host,
        port=port,
        log_level="info" if verbose else "warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = uvicorn.Server(config)
    try:
        server.run()
    except SystemExit as stop:
        raise OutputError(
            f"{host}:{port}", "the address cannot be listened on; is something else there?"
        ) from stop
