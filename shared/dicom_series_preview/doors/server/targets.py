"""Request targets in absolute form, with the server's address, as clients send them to a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from dicom_series_preview.doors.server.asgi import Application, Message, Receive, Send

_SCHEMES = (b"http", b"https")


class Targets:
    """Accepts targets in absolute form too (RFC 9112 3.2.2): their host overrides Host.

    Args:
        app: Answers the requests; it sees only paths.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer an ASGI request."""
        scheme, found, rest = (scope.get("raw_path") or b"").partition(b"://")
        if found and scheme.lower() in _SCHEMES:
            host, _, path = rest.partition(b"/")
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope = {
                **scope,
                "raw_path": b"/" + path,
                "path": unquote(f"/{path.decode('ascii')}"),
                "headers": [(b"host", host), *others],
            }
        await self._app(scope, receive, send)
