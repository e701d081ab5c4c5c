"""The access log: a line for each answer, with its resource, series digest and cost."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.web.http.routes import CATALOGUE, RESOURCES, VOLUMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.doors.server.asgi import Application, Message, Receive, Send

_LOGGER = logging.getLogger(__name__)
_TOLD = ("preview-index", "preview-render", "preview-requests", "preview-bytes")
_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"}
_PAGES = {
    "": "the front page",
    "health": "health",
    "openapi.json": "openapi.json",
    CATALOGUE: "the catalogue",
}


class AccessLog:
    """Logs each answer, at the level that -v shows.

    A line has neither the query nor the name of a series nor the client.

    Args:
        app: Answers the requests.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, app: Application, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._clock = clock

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer an ASGI request."""
        if scope["type"] != "http" or not _LOGGER.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        began, status, size, told = self._clock(), 0, 0, ""

        async def note(message: Message) -> None:
            nonlocal status, size, told
            if message["type"] == "http.response.start":
                status = message["status"]
                told = _cost_of(message.get("headers", ()))
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            ms = (self._clock() - began) * 1000
            what = f"{_method(scope)} {_resource_of(scope)}"
            _LOGGER.info("%s: %s, %d bytes, %.0f ms%s", what, status or "left", size, ms, told)


def _method(scope: Message) -> str:
    """Return the method, if it is a known one: a client can send any word."""
    method = str(scope["method"])
    return method if method in _METHODS else "another method"


def _resource_of(scope: Message) -> str:
    """Return the requested resource, its series as a digest; nothing from a path without a resource."""
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    parts = path.partition("?")[0].strip("/").split("/")
    if parts[0] == "studies" and len(parts) == 2:
        return "a study"
    if parts[0] == CATALOGUE and len(parts) == 2:
        return f"series {digest_of(unquote(parts[1]))}"
    if len(parts) == 3 and parts[0] == "series" and parts[2] in (*RESOURCES, VOLUMES):
        return f"{parts[2]} of series {digest_of(unquote(parts[1]))}"
    return _PAGES.get(parts[0], "no resource") if len(parts) == 1 else "no resource"


def _cost_of(headers: Any) -> str:  # noqa: ANN401 - ASGI's
    """Return the cost from the answer's own headers."""
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    return "".join(f", {name.removeprefix('preview-')} {found[name]}" for name in _TOLD if name in found)
