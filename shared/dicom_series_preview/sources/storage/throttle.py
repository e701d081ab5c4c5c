"""Limits the requests under way: half as many when a storage throttles, more where it bears them."""

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
"""Slots at first, where the settings say nothing."""

# A server that bears no more than one request would else be asked for two at every other try.
_LEAST_GROWTH = 16


class Throttle:
    """Slots for requests, shared by all who use one storage: as TCP finds out what a line bears.

    Until a request is refused, each answer makes one more slot, while half of the slots at least have been
    taken. A refusal halves them. Answers to requests that were sent before the last cut tell nothing of the
    number since, so that a burst of refusals halves once. From then on, as many answers as there are slots,
    and at least 16, make one more.

    Args:
        first: Slots at first.
        most: Slots are never more; as many as at first where not given.
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
        """Slots as the settings say; where they say nothing, `CONCURRENCY` at first and up to `most`."""
        given = settings.concurrency
        return cls(given or CONCURRENCY, given or most)

    @property
    def limit(self) -> int:
        """Slots as of now, at least 1."""
        return int(self._limit)

    @property
    def callers(self) -> int:
        """The most that may want a slot: where a storage throttles some pause, and leave theirs to others."""
        return max(self.first, self.limit)

    @contextmanager
    def slot(self, deadline: Deadline) -> Iterator[None]:
        """Wait for a slot and hold it; a ThrottledError that leaves the context halves the slots.

        Args:
            deadline: Until when the result is waited for.

        Raises:
            TransientError: It is over.
        """
        with self._changed:
            while self._held >= self.limit and not deadline.is_over:
                self._changed.wait(min(deadline.left_s, threading.TIMEOUT_MAX))
            if deadline.is_over:
                self._changed.notify()  # the slot is another's
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
        """Slots that one answer makes."""
        if self._cuts:
            return 1 / max(self._limit, _LEAST_GROWTH)
        return 1.0 if self._limit < 2 * self._most_held else 0.0
