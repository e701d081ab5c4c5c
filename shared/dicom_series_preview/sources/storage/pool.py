"""A pool of threads for many requests at once: the storage layer starts no others."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, TypeVar

from dicom_series_preview.base.errors import StorageError, StorageUnavailableError
from dicom_series_preview.sources.storage.base import Fetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dicom_series_preview.sources.storage.base import ByteRange
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.throttle import Throttle

_A = TypeVar("_A")
_B = TypeVar("_B")


class FetchPool:
    """Sends a storage's requests in threads, at most as many at once as the throttle allows.

    Whoever waits for a thread leaves at the deadline, whatever blocks the thread. The thread learns of it,
    and ends as soon as it can.

    Args:
        throttle: Limits the requests in flight.
        url: The storage's root, for errors.
    """

    def __init__(self, throttle: Throttle, url: str) -> None:
        self._throttle = throttle
        self._url = url
        self._executor = ThreadPoolExecutor(throttle.most, thread_name_prefix="storage")

    def run(self, function: Callable[[Deadline], _B], deadline: Deadline, patience_s: float = math.inf) -> _B:
        """Call a function in a thread and return its result.

        Args:
            function: Gets a part of the deadline.
            deadline: The end of the wait.
            patience_s: The longest silence to accept.

        Raises:
            StorageUnavailableError: The time is up, and the storage has kept silent.
            LimitError: The time is up, and the storage has answered.
            AbandonedError: Nobody waits any more.
        """
        part = deadline.part()
        try:
            part.check()
            return self.result(self.begin(function, part), part, patience_s)
        finally:
            part.abandon()

    def begin(self, function: Callable[[Deadline], _B], deadline: Deadline) -> Future[_B]:
        """Call a function in a thread; `result` waits for it."""
        return self._executor.submit(function, deadline)

    def result(self, future: Future[_B], deadline: Deadline, patience_s: float = math.inf) -> _B:
        """Return the result of a function that was begun; raises like `run`."""
        finished: SimpleQueue[Future[_B] | None] = SimpleQueue()
        part = deadline.part(lambda: finished.put(None))
        future.add_done_callback(finished.put)
        try:
            return self._next(finished, part, patience_s).result()
        finally:
            future.cancel()

    def each(
        self, function: Callable[[_A, Deadline], _B], items: Iterable[_A], deadline: Deadline
    ) -> Iterator[_B]:
        """Call a function for all items, many at once; yield results as they arrive.

        `items` is read as `Storage.fetch` reads its ranges. Raises like `run`.
        """
        wanted = iter(items)
        finished: SimpleQueue[Future[_B] | None] = SimpleQueue()
        part = deadline.part(lambda: finished.put(None))
        running: set[Future[_B]] = set()
        try:
            while True:
                part.check()
                # Yield results first: they can decide the next request.
                callers = self._throttle.callers
                while len(running) < callers:
                    try:
                        item = next(wanted)
                    except StopIteration:
                        break
                    future = self._executor.submit(function, item, part)
                    running.add(future)
                    future.add_done_callback(finished.put)
                if not running:
                    return
                done = self._next(finished, part)
                running.remove(done)
                yield done.result()
        finally:
            part.abandon()
            for future in running:
                future.cancel()

    def fetch(
        self,
        ranges: Iterable[ByteRange],
        read: Callable[[ByteRange, Deadline], Fetched],
        deadline: Deadline,
    ) -> Iterator[Fetched]:
        """Fetch as `Storage.fetch`.

        Args:
            ranges: The ranges.
            read: Reads one range or raises a StorageError.
            deadline: The end of the wait.
        """

        def read_or_error(item: ByteRange, part: Deadline) -> Fetched:
            try:
                return read(item, part)
            except StorageError as error:
                return Fetched(item, b"", 0, "", error)

        return self.each(read_or_error, ranges, deadline)

    def _next(
        self, finished: SimpleQueue[Future[_B] | None], part: Deadline, patience_s: float = math.inf
    ) -> Future[_B]:
        """Return the next finished future, within the time; a None in the queue means that nobody waits."""
        since = part.now
        while True:
            try:
                done = finished.get(timeout=min(part.left_s, patience_s, TIMEOUT_MAX))
            except Empty:
                done = None
                if not part.is_over:
                    if part.silent_s(since) < patience_s:
                        continue
                    problem = f"gave nothing for {patience_s:g} s"
                    raise StorageUnavailableError(self._url, problem) from None
            if done is None or part.is_over:
                raise part.late(self._url, since)
            part.heard()
            return done
