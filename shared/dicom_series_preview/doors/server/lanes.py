"""Threads for each storage root, so that a slow root does not delay others."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dicom_series_preview.base.gate import OccupiedError
from dicom_series_preview.web.http.problems import BUSY, plain_response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from dicom_series_preview.base.gate import Gate, Permit
    from dicom_series_preview.web.http.messages import HttpResponse

# Most threads wait for the storage; the gate limits heavy work.
_THREADS = 32
# Each takes a connection of the server, which has 512 for all roots.
_MOST_UNDER_WAY = 400
WAIT_S = 120.0


class Lane:
    """The requests of one root.

    A request first runs as far as it is cheap: cached answers are sent whatever else is going on. If it
    reaches heavy work and there is no room, it waits without a thread or memory, and starts again when it is
    its turn.

    Args:
        gate: Admits heavy work.
        threads: The most requests to work on at once.
        most: The most requests; others are refused.
        wait_s: The longest wait for a turn; then the request is refused.
    """

    def __init__(
        self, gate: Gate, *, threads: int = _THREADS, most: int = _MOST_UNDER_WAY, wait_s: float = WAIT_S
    ) -> None:
        self._gate = gate
        self._free = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="serve")
        self._most = most
        self._wait_s = wait_s
        self._under_way = 0

    async def run(self, answer: Callable[[], HttpResponse]) -> HttpResponse:
        """Return the answer, or a problem if there are too many requests or the wait is too long."""
        if self._under_way >= self._most:
            return plain_response(BUSY)
        self._under_way += 1
        try:
            return await self._run(answer, asyncio.get_running_loop().time() + self._wait_s)
        finally:
            self._under_way -= 1

    async def _run(self, answer: Callable[[], HttpResponse], until: float) -> HttpResponse:
        permit: Permit | None = None
        try:
            while True:
                if not await _in_time(self._free.acquire(), until):
                    return plain_response(BUSY)
                try:
                    return await self._in_thread(answer, permit)
                except OccupiedError as occupied:
                    wanted = occupied.wanted
                finally:
                    self._free.release()
                if permit is not None:
                    self._gate.give_back(permit)
                permit = self._gate.ask(wanted)
                if not await _in_time(asyncio.wrap_future(permit.granted), until):
                    return plain_response(BUSY)
        finally:
            if permit is not None:
                self._gate.give_back(permit)

    async def _in_thread(self, answer: Callable[[], HttpResponse], permit: Permit | None) -> HttpResponse:
        def work() -> HttpResponse:
            if permit is None:
                return answer()
            with self._gate.held(permit):
                return answer()

        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, work)


async def _in_time(awaited: asyncio.Future[None] | Coroutine[Any, Any, bool], until: float) -> bool:
    """Wait for something; return True if it arrived in time."""
    try:
        async with asyncio.timeout_at(until):
            await awaited
    except TimeoutError:
        return False
    return True
