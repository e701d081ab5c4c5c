"""Connections that end: a client that sends half a request, or takes no answer, does not keep its place."""

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
# What storages, files and threads may have open beside.
_SHARE_OF_FILES = 2


def most_connections() -> int:
    """The most connections: half of the files that this process may open, and 512 at most."""
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
    """The connections of one server, of which those that wait for a request make room for new ones.

    Args:
        most: How many there may be; a new one more ends the one that has waited longest.
        request_s: How long a whole request may take to come, and an idle connection may stay.
        answer_s: How long a client may take to take the answer.
    """

    def __init__(
        self, most: int | None = None, *, request_s: float = _REQUEST_S, answer_s: float = _ANSWER_S
    ) -> None:
        self.request_s = request_s
        self.answer_s = answer_s
        self._most = most_connections() if most is None else most
        self._open: set[TimedProtocol] = set()
        # In the order in which they began to wait.
        self._waiting: dict[TimedProtocol, None] = {}

    @property
    def total(self) -> int:
        """Their number."""
        return len(self._open)

    def opened(self, connection: TimedProtocol) -> None:
        """A connection has come; where there are too many, the one that has waited longest ends."""
        self._open.add(connection)
        if len(self._open) > self._most:
            oldest = next(iter(self._waiting), connection)
            oldest.end()

    def waits(self, connection: TimedProtocol) -> None:
        """A connection waits for a request."""
        self._waiting.setdefault(connection)

    def works(self, connection: TimedProtocol) -> None:
        """Its request has come."""
        self._waiting.pop(connection, None)

    def closed(self, connection: TimedProtocol) -> None:
        """A connection has gone."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with an end to all waiting; uvicorn's own has one only between an answer and what follows.

    A request has to come whole within a time that no further byte of it prolongs, and an answer has to be
    taken within another.
    """

    shared: Connections

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **options)
        self._request_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._wait_or_work()
        self.shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._stop()
        self.shared.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request have come."""
        super().data_received(data)
        self._wait_or_work()

    def on_response_complete(self) -> None:
        """The answer has been handed to the transport; another request may be there already."""
        super().on_response_complete()
        self._wait_or_work()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self.shared.answer_s, self.end)

    def resume_writing(self) -> None:
        """It has taken nearly all."""
        super().resume_writing()
        self._stop_answer_timer()

    def end(self) -> None:
        """Close at once; what has not been sent is dropped."""
        self._stop()
        self.shared.closed(self)
        self.transport.abort()

    def _wait_or_work(self) -> None:
        """Begin to wait for a request, or go on doing so; or wait no more, for it is there."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_request_timer()
            self.shared.works(self)
        elif self._request_timer is None:
            # The end of an answer may still have to be sent.
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
    """The protocol of a server's connections."""
    return type("Protocol", (TimedProtocol,), {"shared": connections})
