"""Serve the API on a port of this machine until interrupted."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import uvicorn

from dicom_series_preview.base.allocator import return_large_blocks
from dicom_series_preview.base.errors import OutputError, RequestError
from dicom_series_preview.doors.server.access_log import AccessLog
from dicom_series_preview.doors.server.application import application
from dicom_series_preview.doors.server.connections import Connections, protocol
from dicom_series_preview.doors.server.guard import Guard, host_name, is_loopback
from dicom_series_preview.doors.server.targets import Targets
from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.web.http.api import PreviewApi

_LOGGER = logging.getLogger(__name__)
# The time to finish pictures in progress when the server stops.
_STOP_S = 0.7
# Connections waiting to be accepted; each round of them can add to the open ones.
_BACKLOG = 128


def serve(
    api: PreviewApi,
    address: tuple[str, int],
    *,
    started: Callable[[int, bool], None],
    hosts: Sequence[str] = (),
    token: str | None = None,
) -> None:
    """Serve until interrupted; shut down in order, then pass on the interrupt.

    It logs as much as the package does.

    Args:
        api: The API to serve.
        address: The address to listen on: a name or address, which is also a host name of the server, and a
            port; 0 for any free one.
        started: Called once it listens, with the port, and True where other users than this machine's are
            served without authentication.
        hosts: Other host names and addresses of the server.
        token: The token that every caller must send, or None.

    Raises:
        RequestError: One of `hosts` is no name or address.
        OutputError: The server cannot listen on the address.
        KeyboardInterrupt: The server was interrupted.
    """
    host, port = address
    called = (host, *map(_plain_host, hosts))
    listener = _listener(host, port)
    return_large_blocks()
    running = Deadline()
    config = uvicorn.Config(
        Targets(AccessLog(Guard(application(api, running), called, token))),
        http=protocol(Connections()),
        ws="none",
        backlog=_BACKLOG,
        log_level=_LOGGER.getEffectiveLevel(),
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=64 * 1024,
    )
    with listener:
        started(listener.getsockname()[1], is_open(host, token))
        _Server(config, running).run(sockets=[listener])


def is_open(host: str, token: str | None) -> bool:
    """Return True where other users than this machine's are served without authentication."""
    return token is None and not is_loopback(host)


def _plain_host(text: str) -> str:
    """Return a name or address without brackets.

    Raises:
        RequestError: The text is no name or address.
    """
    bare = text.strip("[]")
    if host_name(f"[{bare}]" if ":" in bare else bare) is None:
        raise RequestError("allow_host", f"{text!r} is no name or address; give it without port and path")
    return bare


def _listener(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        OutputError: The server cannot listen on it.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OutputError(
            f"{host}:{port}", "the address cannot be listened on; is something else there?"
        ) from error


class _Server(uvicorn.Server):
    """A server that abandons all work under way when it stops."""

    def __init__(self, config: uvicorn.Config, running: Deadline) -> None:
        super().__init__(config)
        self._running = running

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: answer all requests as given up, even if a thread is still busy."""
        self._running.abandon()
        asyncio.get_running_loop().call_later(_STOP_S, self._leave_threads)
        await super().shutdown(sockets)

    def _leave_threads(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()
