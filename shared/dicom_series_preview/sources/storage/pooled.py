"""The part that all storages with threads share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.base import ByteRange, Fetched, Meter, Usage
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.pool import FetchPool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from dicom_series_preview.sources.storage.throttle import Throttle


class PooledStorage(ABC):
    """A storage root that reads ranges in threads and counts its requests.

    A subclass defines how it reads one range, lists and writes. By default its URL identifies it, its objects
    can change, listings are not begun ahead, and it makes no links.

    Args:
        url: The root's URL.
        throttle: Limits the requests in flight.
    """

    def __init__(self, url: str, throttle: Throttle) -> None:
        self._url = url
        self._throttle = throttle
        self._meter = Meter()
        self._pool = FetchPool(throttle, url)
        self._deadline = Deadline()

    def within(self, deadline: Deadline) -> Self:
        """See `Storage.within`."""
        same = copy(self)
        same._deadline, same._meter = deadline, Meter(self._meter)  # noqa: SLF001 - its own kind
        return same

    @property
    def url(self) -> str:
        """The root's URL."""
        return self._url

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    @property
    def immutable(self) -> bool:
        """False: objects can change."""
        return False

    @property
    def usage(self) -> Usage:
        """Totals since this storage was opened; a copy that stays as it is."""
        return self._meter.read()

    def list_ahead(self, folder: str, most: int | None = None) -> None:  # noqa: B027 - doing nothing suits most
        """Do nothing: the listing begins in `list_objects`."""

    def get(self, path: str) -> Fetched:
        """See `Storage.get`."""
        return self._pool.run(lambda part: self._read(ByteRange(path), part), self._deadline)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """See `Storage.fetch`."""
        return self._pool.fetch(ranges, self._read, self._deadline)

    def link(self, path: str, expires_s: int) -> str | None:  # noqa: ARG002
        """Return None: this storage makes no links."""
        return None

    @abstractmethod
    def _read(self, wanted: ByteRange, deadline: Deadline) -> Fetched:
        """Read one range.

        Raises:
            StorageError: The range cannot be read.
        """
