"""A gate for work that takes time and memory: it lets through as much at once as fits."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Passage: TypeAlias = Callable[[int], AbstractContextManager[None]]
"""Takes the bytes that the work may need; the work runs inside the context."""


def open_gate(_wanted: int) -> AbstractContextManager[None]:
    """Let everything through: the passage of a process that does one thing at a time."""
    return nullcontext()


class OccupiedError(Exception):
    """The gate has no room now.

    It is no error of the product: the gate's owner waits, and runs the work again.

    Attributes:
        wanted: The bytes that do not fit.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        super().__init__(f"no room for {wanted} bytes")


@dataclass(slots=True)
class Permit:
    """Room behind a gate.

    Attributes:
        wanted: In bytes.
        granted: Done once there is room.
    """

    wanted: int
    granted: Future[None]


class Gate:
    """Room for a number of bytes and a number of jobs at once; a job larger than the room runs alone.

    Work never waits here, so that no thread is spent on waiting: without room, `passage` raises. The caller
    then asks for room, waits in its own way, and runs the work again inside `held`. The gate gives room in
    the order of asking. It limits the work, not the waiting callers: the caller limits those.

    Args:
        capacity: In bytes.
        most: The most jobs at once.
    """

    def __init__(self, capacity: int, most: int) -> None:
        self._capacity = capacity
        self._most = most
        self._lock = threading.Lock()
        self._taken: list[Permit] = []
        self._waiting: deque[Permit] = deque()
        self._mine: ContextVar[Permit | None] = ContextVar("permit", default=None)

    @classmethod
    def for_machine(cls, capacity: int = 2**30) -> Gate:
        """Build the gate of one root: two jobs at once for each processor, for some of them wait."""
        return cls(capacity, 2 * (os.cpu_count() or 1))

    @contextmanager
    def passage(self, wanted: int) -> Iterator[None]:
        """Do work that takes this many bytes, inside room that is already held, if any.

        Raises:
            OccupiedError: The gate has no room.
        """
        mine = self._mine.get()
        if mine is None:
            permit = Permit(wanted, Future())
            with self._lock:
                if self._waiting or not self._fits(wanted):
                    raise OccupiedError(wanted)
                self._taken.append(permit)
            try:
                yield
            finally:
                self.give_back(permit)
            return
        with self._lock:
            more = wanted - mine.wanted
            if more > 0:
                if len(self._taken) > 1 and self._bytes() + more > self._capacity:
                    raise OccupiedError(wanted)
                mine.wanted = wanted
        yield

    def ask(self, wanted: int) -> Permit:
        """Ask for room: it is there when `granted` is done; give it back in any case."""
        permit = Permit(wanted, Future())
        with self._lock:
            self._waiting.append(permit)
        self._admit()
        return permit

    def give_back(self, permit: Permit) -> None:
        """Give room back, whether it was granted or only asked for."""
        with self._lock:
            for place in (self._taken, self._waiting):
                if permit in place:
                    place.remove(permit)
        self._admit()

    @contextmanager
    def held(self, permit: Permit) -> Iterator[None]:
        """Work inside granted room: whatever passes the gate in this context uses it."""
        token = self._mine.set(permit)
        try:
            yield
        finally:
            self._mine.reset(token)

    def _admit(self) -> None:
        admitted = []
        with self._lock:
            while self._waiting and self._fits(self._waiting[0].wanted):
                self._taken.append(self._waiting.popleft())
                admitted.append(self._taken[-1])
        for permit in admitted:
            if permit.granted.set_running_or_notify_cancel():
                permit.granted.set_result(None)

    def _fits(self, wanted: int) -> bool:
        if not self._taken:
            return True
        return len(self._taken) < self._most and self._bytes() + wanted <= self._capacity

    def _bytes(self) -> int:
        return sum(permit.wanted for permit in self._taken)
