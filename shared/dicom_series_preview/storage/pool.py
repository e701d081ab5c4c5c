"""Many ranges at once: the one place of the storage layer that knows threads."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from dicom_series_preview.errors import StorageError
from dicom_series_preview.storage.base import Fetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dicom_series_preview.storage.base import ByteRange
    from dicom_series_preview.storage.throttle import Throttle

_A = TypeVar("_A")
_B = TypeVar("_B")


class FetchPool:
    """Reads ranges in threads, no more at once than the storage bears, for all callers together.

    Args:
        throttle: How many requests that is.
        read: Reads one range or raises a StorageError. It may stop retrying once its event is set.
    """

    def __init__(self, throttle: Throttle, read: Callable[[ByteRange, threading.Event], Fetched]) -> None:
        self._throttle = throttle
        self._read = read
        self._executor = ThreadPoolExecutor(throttle.most, thread_name_prefix="storage")

    def map(self, function: Callable[[_A], _B], items: Iterable[_A]) -> Iterator[_B]:
        """Call `function` for all items at once; results in the items' order."""
        return self._executor.map(function, items)

    def begin(self, function: Callable[[], _B]) -> Future[_B]:
        """Call `function` in a thread."""
        return self._executor.submit(function)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """`Storage.fetch`."""
        wanted = iter(ranges)
        abandoned = threading.Event()
        finished: SimpleQueue[Future[Fetched]] = SimpleQueue()
        running: set[Future[Fetched]] = set()
        try:
            while True:
                # What has come is given first: it may decide what is asked for next.
                callers = self._throttle.callers
                while len(running) < callers and (item := next(wanted, None)) is not None:
                    future = self._executor.submit(self._read_or_error, item, abandoned)
                    running.add(future)
                    future.add_done_callback(finished.put)
                if not running:
                    return
                done = finished.get()
                running.remove(done)
                yield done.result()
        finally:
            abandoned.set()
            for future in running:
                future.cancel()

    def _read_or_error(self, item: ByteRange, abandoned: threading.Event) -> Fetched:
        try:
            return self._read(item, abandoned)
        except StorageError as error:
            return Fetched(item, b"", 0, "", error)
