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

_A = TypeVar("_A")
_B = TypeVar("_B")


class FetchPool:
    """Reads ranges in threads, no more at once than the storage's concurrency, for all callers together.

    Args:
        concurrency: Requests in flight at once.
        read: Reads one range or raises a StorageError. It may stop retrying once its event is set.
    """

    def __init__(self, concurrency: int, read: Callable[[ByteRange, threading.Event], Fetched]) -> None:
        self._concurrency = concurrency
        self._read = read
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="storage")

    def map(self, function: Callable[[_A], _B], items: Iterable[_A]) -> Iterator[_B]:
        """Call `function` for all items at once; results in the items' order."""
        return self._executor.map(function, items)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """`Storage.fetch`."""
        wanted = iter(ranges)
        abandoned = threading.Event()
        finished: SimpleQueue[Future[Fetched]] = SimpleQueue()
        running: set[Future[Fetched]] = set()
        try:
            while True:
                while len(running) < self._concurrency and (item := next(wanted, None)) is not None:
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
