"""Retries: how often, how long, and with what pauses."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from dicom_series_preview.base.errors import StorageUnavailableError
from dicom_series_preview.sources.storage.transient import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.throttle import Throttle

_T = TypeVar("_T")

TRANSFER_FACTOR = 10
"""A large answer on a slow line may take this many times the longest silence."""


def full_jitter(longest_s: float) -> float:
    """Return a pause of up to `longest_s`, so that clients that failed together do not return together."""
    return random.uniform(0, longest_s)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The rules that say when to try again, and when to give up.

    Attributes:
        max_retries: Tries after the first.
        timeout_s: No retry starts later than this after the first try.
        first_delay_s: The upper bound of the first pause; each further one doubles it.
        longest_delay_s: The longest pause of ours. A server's own pause is kept; if it does not fit the time,
            the request fails at once.
        wait: Pauses for some seconds, or until the event is set; True if it was set. Tests pass their own.
        clock: A monotonic clock, in seconds.
        jitter: Draws a pause from its upper bound.
    """

    max_retries: int
    timeout_s: float
    first_delay_s: float = 0.2
    longest_delay_s: float = 15.0
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float], float] = full_jitter

    @classmethod
    def from_settings(cls, settings: Settings) -> RetryPolicy:
        """Build the policy that the settings describe."""
        return cls(settings.max_retries, settings.retry_timeout_s)

    def delay_s(self, retry: int, retry_after_s: float | None) -> float:
        """Return the pause before retry number `retry`, counted from 0."""
        if retry_after_s is not None:
            return max(retry_after_s, 0.0)
        return self.jitter(min(self.first_delay_s * 2**retry, self.longest_delay_s))

    def run(self, url: str, deadline: Deadline, attempt: Callable[[], _T], throttle: Throttle) -> _T:
        """Call `attempt` until it returns a result, or fails for good.

        Args:
            url: The object or root, for the error.
            deadline: The end of the wait for the result: no pause reaches beyond it.
            attempt: Raises TransientError where another try can help.
            throttle: Gives each try a slot; pauses leave it to others.

        Raises:
            StorageUnavailableError: The last allowed try failed too.
        """
        started = math.inf
        for retry in count():
            try:
                with throttle.slot(deadline):
                    # The wait for the first slot does not count.
                    started = min(started, self.clock())
                    result = attempt()
                    # Now, not when the waiting caller gets to it.
                    deadline.heard()
                    return result
            except TransientError as error:
                delay = self.delay_s(retry, error.retry_after_s)
                late = self.clock() + delay > started + self.timeout_s or delay >= deadline.left_s
                if retry >= self.max_retries or late or self.wait(deadline.abandoned, delay):
                    tries = "1 try" if retry == 0 else f"{retry + 1} tries"
                    raise StorageUnavailableError(url, f"{error.problem}; gave up after {tries}") from error
        raise AssertionError("unreachable: the loop returns or raises")
