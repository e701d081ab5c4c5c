"""A limit on the requests in flight: half as many when a storage throttles, more when it keeps up."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.transient import ThrottledError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.deadline import Deadline

CONCURRENCY = 64
"""The first number of slots, unless set."""

# Otherwise a server that allows one request would get two at every other try.
_LEAST_GROWTH = 16


class Throttle:
    """Slots for requests, shared by all users of one storage, adjusted like TCP's window.

    Until a refusal, each answer adds a slot, while at least half of the slots are taken. A refusal halves
    them. Answers to requests from before the last cut do not count, so that a burst of refusals halves once.
    After a cut, as many answers as there are slots, and at least 16, add one.

    Args:
        first: Slots at first.
        most: The most slots; by default as many as at first.
    """

    def __init__(self, first: int, most: int | None = None) -> None:
        self.first = first
        self.most = first if most is None else most
        self._limit = float(first)
        self._held = 0
        self._most_held = 0
        self._cuts = 0
        self._changed = threading.Condition()

    @classmethod
    def from_settings(cls, settings: Settings, most: int = CONCURRENCY) -> Throttle:
        """Build slots as the settings say; else `CONCURRENCY` at first and up to `most`."""
        given = settings.concurrency
        return cls(given or CONCURRENCY, given or most)

    @property
    def limit(self) -> int:
        """The current number of slots, at least 1."""
        return int(self._limit)

    @property
    def callers(self) -> int:
        """The most callers that can want a slot: while a storage throttles, some pause and leave theirs."""
        return max(self.first, self.limit)

    @contextmanager
    def slot(self, deadline: Deadline) -> Iterator[None]:
        """Wait for a slot and hold it; a ThrottledError that leaves the context halves the slots.

        Args:
            deadline: The end of the wait for the result.

        Raises:
            TransientError: The deadline is over.
        """
        with self._changed:
            while self._held >= self.limit and not deadline.is_over:
                self._changed.wait(min(deadline.left_s, threading.TIMEOUT_MAX))
            if deadline.is_over:
                self._changed.notify()  # the slot is free
                raise TransientError("nobody waits for it any more")
            self._held += 1
            self._most_held = max(self._most_held, self._held)
            cuts = self._cuts
        answered = throttled = False
        try:
            yield
            answered = True
        except ThrottledError:
            throttled = True
            raise
        finally:
            with self._changed:
                self._held -= 1
                if throttled and cuts == self._cuts:
                    self._cuts += 1
                    self._limit = max(1.0, self._limit / 2)
                elif answered:
                    self._limit = min(self.most, self._limit + self._growth())
                self._changed.notify(2)

    def _growth(self) -> float:
        """Return the slots that one answer adds."""
        if self._cuts:
            return 1 / max(self._limit, _LEAST_GROWTH)
        return 1.0 if self._limit < 2 * self._most_held else 0.0
