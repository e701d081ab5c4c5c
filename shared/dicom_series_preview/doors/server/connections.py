"""Time limits for connections: half a request, or an answer not taken, does not hold a place."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

_REQUEST_S = 10.0
_ANSWER_S = 60.0
MOST_CONNECTIONS = 512
"""The most connections of one server."""
# Leaves the other half for storages, files and threads.
_SHARE_OF_FILES = 2


def most_connections() -> int:
    """Return the most connections: half of this process's file limit, and at most 512."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource  # noqa: PLC0415 - not on Windows

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        MOST_CONNECTIONS
        if files == resource.RLIM_INFINITY
        else max(8, min(MOST_CONNECTIONS, files // _SHARE_OF_FILES))
    )


class Connections:
    """The connections of one server; idle ones make room for new ones.

    Args:
        most: The limit; one more ends the connection that has waited longest.
        request_s: The time limit for receiving a whole request, and for an idle connection.
        answer_s: The time limit for a client to take the answer.
    """

    def __init__(
        self, most: int | None = None, *, request_s: float = _REQUEST_S, answer_s: float = _ANSWER_S
    ) -> None:
        self.request_s = request_s
        self.answer_s = answer_s
        self._most = most_connections() if most is None else most
        self._open: set[TimedProtocol] = set()
        # In the order of their waiting.
        self._waiting: dict[TimedProtocol, None] = {}

    @property
    def total(self) -> int:
        """The number of connections."""
        return len(self._open)

    def opened(self, connection: TimedProtocol) -> None:
        """Add a connection; if there are too many, end the one that has waited longest."""
        self._open.add(connection)
        if len(self._open) > self._most:
            oldest = next(iter(self._waiting), connection)
            oldest.end()

    def waits(self, connection: TimedProtocol) -> None:
        """Note that a connection waits for a request."""
        self._waiting.setdefault(connection)

    def works(self, connection: TimedProtocol) -> None:
        """Note that a connection's request has arrived."""
        self._waiting.pop(connection, None)

    def closed(self, connection: TimedProtocol) -> None:
        """Remove a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with a limit on every wait; uvicorn's own limits only the wait after an answer.

    A whole request must arrive within a time that further bytes do not extend, and the client must take the
    answer within another.
    """

    shared: Connections

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **options)
        self._request_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register a new connection."""
        super().connection_made(transport)
        self._wait_or_work()
        self.shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove a closed connection."""
        self._stop()
        self.shared.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle some bytes of a request."""
        super().data_received(data)
        self._wait_or_work()

    def on_response_complete(self) -> None:
        """Handle the end of an answer, now in the transport; another request can already be there."""
        super().on_response_complete()
        self._wait_or_work()

    def pause_writing(self) -> None:
        """Limit the time of a client that reads more slowly than we send."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self.shared.answer_s, self.end)

    def resume_writing(self) -> None:
        """End that limit: the client has read nearly all."""
        super().resume_writing()
        self._stop_answer_timer()

    def end(self) -> None:
        """Close at once, and drop unsent data."""
        self._stop()
        self.shared.closed(self)
        self.transport.abort()

    def _wait_or_work(self) -> None:
        """Wait for a request or continue to wait; stop waiting if it is there."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_request_timer()
            self.shared.works(self)
        elif self._request_timer is None:
            # The end of an answer can still be unsent.
            unsent = self.transport.get_write_buffer_size()
            limit_s = self.shared.answer_s if unsent else self.shared.request_s
            self._request_timer = self.loop.call_later(limit_s, self.end)
            self.shared.waits(self)

    def _stop(self) -> None:
        self._stop_request_timer()
        self._stop_answer_timer()

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_answer_timer(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None


def protocol(connections: Connections) -> type[TimedProtocol]:
    """Build the protocol class of a server's connections."""
    return type("Protocol", (TimedProtocol,), {"shared": connections})
