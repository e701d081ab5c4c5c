"""Many requests at once: the only threads that the storage layer starts, and where waiting for them ends."""

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
    """Asks a storage in threads, for no more at once than it bears, for all callers together.

    Whoever waits for a thread leaves when the deadline is over, whatever the thread is stuck in. The thread
    is told, and ends as soon as it can.

    Args:
        throttle: How many requests that is.
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
            deadline: Until when it is waited for.
            patience_s: How long nothing may be heard meanwhile.

        Raises:
            StorageUnavailableError: The time is up, and the storage has kept silent.
            LimitError: The time is up, and it has not.
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
        """Return the result of a function that was begun; raises as `run`."""
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
        """Call a function for all items, many at once; results as they come.

        `items` is read as `Storage.fetch` reads its ranges. Raises as `run`.
        """
        wanted = iter(items)
        finished: SimpleQueue[Future[_B] | None] = SimpleQueue()
        part = deadline.part(lambda: finished.put(None))
        running: set[Future[_B]] = set()
        try:
            while True:
                part.check()
                # What has come is given first: it may decide what is asked for next.
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
        """`Storage.fetch`.

        Args:
            ranges: What to read.
            read: Reads one range or raises a StorageError.
            deadline: Until when it is waited for.
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
        """The next one that is done, unless the time is up before; None tells that nobody waits any more."""
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
