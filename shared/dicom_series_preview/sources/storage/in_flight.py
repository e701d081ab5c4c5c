"""A bound for the bytes that may be under way."""

from __future__ import annotations

_MOST_BYTES = 64 * 2**20


class InFlight:
    """For bytes that were asked for and not yet taken: 64 ranges of up to 1 MiB, fewer of larger ones.

    Args:
        most: Bytes; one range more than that, where it is longer.
    """

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most = most
        self._under_way = 0

    def take(self, length: int) -> bool:
        """Take room for so many bytes; False where there is none."""
        if self._under_way and self._under_way + length > self._most:
            return False
        self._under_way += length
        return True

    def give_back(self, length: int) -> None:
        """So many bytes were taken, and are under way no more."""
        self._under_way -= length
