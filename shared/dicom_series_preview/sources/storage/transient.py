"""Failures of one try that another try can mend."""

from __future__ import annotations


class TransientError(Exception):
    """One try failed in a way that another may not; it never leaves the storage room.

    Attributes:
        problem: What happened, in a few words.
        retry_after_s: The pause that the server asked for, or None.
    """

    def __init__(self, problem: str, retry_after_s: float | None = None) -> None:
        self.problem = problem
        self.retry_after_s = retry_after_s
        super().__init__(problem)


class ThrottledError(TransientError):
    """A server refused because of too many requests: 429, or 503 (S3's Slow Down)."""
