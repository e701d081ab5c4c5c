"""How many requests may be under way: half as many when a storage throttles, then slowly more again."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicom_series_preview.storage.retry import ThrottledError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A server that bears no more than one request would else be asked for two at every other try.
_LEAST_GROWTH = 16


class Throttle:
    """Places for requests, shared by all who use one storage (additive increase, multiplicative decrease).

    Answers to requests that were sent before the last cut tell nothing of the number since, so that a burst
    of refusals halves once. After as many answers as there are places, and at least 16, there is one more.

    Args:
        most: Places at first, and never more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._held = 0
        self._cuts = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Places as of now, at least 1."""
        return int(self._limit)

    @contextmanager
    def place(self, abandoned: threading.Event) -> Iterator[None]:
        """Wait for a place and hold it; a ThrottledError that leaves the context halves the places.

        Args:
            abandoned: Set when nobody waits for the result any more.

        Raises:
            TransientError: Nobody does.
        """
        with self._changed:
            while self._held >= self.limit:
                self._changed.wait()
            if abandoned.is_set():
                self._changed.notify()  # the place is another's
                raise TransientError("nobody waits for it any more")
            self._held += 1
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
                    growth = 1 / max(self._limit, _LEAST_GROWTH)
                    self._limit = min(self._most, self._limit + growth)
                self._changed.notify(2)
