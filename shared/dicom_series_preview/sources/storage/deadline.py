"""Deadlines: one clock per request says how long anyone waits for its answer."""

from __future__ import annotations

import math
import threading
import time
import weakref
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import AbandonedError, LimitError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.base.errors import PreviewError

# A storage that sent nothing for so long, or for this share of the time, has kept silent.
_SILENT_S, _SILENT_SHARE = 5.0, 0.25


class Deadline:
    """The time until which someone waits for an answer; waiters who leave sooner abandon it.

    Deadlines form a tree. Work for a request gets a part of the request's deadline, and a server's requests
    get parts of the server's. A part ends no later than the whole, and is abandoned with it.

    Args:
        limit_s: Seconds from now until the end.
        clock: A monotonic clock, in seconds.

    Attributes:
        limit_s: As given.
        abandoned: Set when nobody waits any more.
    """

    def __init__(self, limit_s: float = math.inf, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self.abandoned = threading.Event()
        self._clock = clock
        self._began, self._heard = clock(), -math.inf
        self._whole: Deadline | None = None
        self._below: weakref.WeakSet[Deadline] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._on_abandon: Callable[[], object] = lambda: None

    def part(self, told: Callable[[], object] = lambda: None) -> Deadline:
        """Return a part of this deadline: it ends with it, and can be abandoned before.

        Args:
            told: Called when the part is abandoned, perhaps by another thread, and perhaps more than once.
        """
        return self._with(self._began, self.limit_s, told, self)

    def limited(self, limit_s: float) -> Deadline:
        """Return a part that ends so many seconds after this one began."""
        return self._with(self._began, min(self.limit_s, limit_s), lambda: None, self)

    def begin(self) -> Deadline:
        """Return a part that begins now, for a request that has just arrived."""
        return self._with(self._clock(), self.left_s, lambda: None, None)

    def abandon(self) -> None:
        """Abandon this deadline and all its parts: nobody waits any more.

        All are marked before the first callback: a callback can end what another waits for.
        """
        for deadline in self._marked():
            deadline._on_abandon()  # noqa: SLF001 - its own kind

    def _marked(self) -> list[Deadline]:
        """Mark this deadline and all its parts as abandoned, and return them."""
        with self._lock:
            self.abandoned.set()
            parts = list(self._below)
        return [self, *(below for part in parts for below in part._marked())]  # noqa: SLF001 - its own kind

    @property
    def left_s(self) -> float:
        """Seconds until the end, at least 0."""
        return max(0.0, self._began + self.limit_s - self._clock())

    @property
    def is_over(self) -> bool:
        """True where the time is up, or nobody waits any more."""
        return self.abandoned.is_set() or self.left_s <= 0

    @property
    def now(self) -> float:
        """The deadline's clock."""
        return self._clock()

    def heard(self) -> None:
        """Note that the storage has answered some request of this work."""
        self._heard = self._clock()
        if self._whole is not None:
            self._whole.heard()

    def silent_s(self, since: float) -> float:
        """Return how many seconds, since a moment by `now`, the storage has kept silent."""
        own = self._clock() - max(since, self._heard)
        return own if self._whole is None else min(own, self._whole.silent_s(since))

    def check(self) -> None:
        """Raise if the deadline is over.

        Raises:
            LimitError: The time is up.
            AbandonedError: Nobody waits any more.
        """
        if self.is_over:
            raise self._too_long()

    def late(self, url: str, since: float) -> PreviewError:
        """Return the error for time that ended while waiting for a storage.

        Args:
            url: The storage's root.
            since: When the wait began, by `now`.

        Returns:
            The storage's error where it has kept silent; the limit's where it has kept answering.
        """
        if self.abandoned.is_set() or self.silent_s(since) < min(_SILENT_S, _SILENT_SHARE * self.limit_s):
            return self._too_long()
        return StorageUnavailableError(
            url, f"did not answer within the {self.limit_s:g} s that a request may take"
        )

    def _too_long(self) -> PreviewError:
        if self.abandoned.is_set():
            return AbandonedError()
        return LimitError("series", f"takes longer than the limit of {self.limit_s:g} s")

    def _with(
        self, began: float, limit_s: float, told: Callable[[], object], whole: Deadline | None
    ) -> Deadline:
        part = Deadline(limit_s, clock=self._clock)
        part._began, part._whole, part._on_abandon = began, whole, told
        with self._lock:
            self._below.add(part)
            late = self.abandoned.is_set()
        if late:
            part.abandon()
        return part
