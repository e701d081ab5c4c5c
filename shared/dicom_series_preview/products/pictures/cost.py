"""Measure the cost of one request: storage requests, bytes, and time by phase."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one request in storage requests, bytes and time.

    Attributes:
        list_requests: Listing requests.
        get_requests: Requests for objects' bytes.
        bytes: Bytes of objects received.
        milliseconds: By phase: `index` (listing, headers, index), `pixels` (frames fetched and decoded),
            `render` (contrast, resize, grid), `encode`, and `total`.
    """

    list_requests: int
    get_requests: int
    bytes: int
    milliseconds: dict[str, float]


class Stopwatch:
    """Adds up milliseconds by phase, and a storage's requests meanwhile; no phase begins after the deadline.

    Args:
        storage: The storage whose requests are counted from now on.
        deadline: The end of the wait for the result.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._storage = storage
        self._deadline = deadline or Deadline()
        self._clock = clock
        self._before = storage.usage
        self._start = clock()
        self._milliseconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time inside to a phase; raise as `check` does."""
        self.check()
        start = self._clock()
        try:
            yield
        finally:
            spent = (self._clock() - start) * 1000
            self._milliseconds[name] = self._milliseconds.get(name, 0.0) + spent

    def check(self) -> None:
        """Raise as `Deadline.check` does."""
        self._deadline.check()

    def cost(self) -> Cost:
        """Return the cost so far."""
        before, after = self._before, self._storage.usage
        total = (self._clock() - self._start) * 1000
        return Cost(
            list_requests=after.lists - before.lists,
            get_requests=after.gets - before.gets,
            bytes=after.bytes - before.bytes,
            milliseconds={name: round(ms, 1) for name, ms in {**self._milliseconds, "total": total}.items()},
        )
