"""A limit on the bytes in flight."""

from __future__ import annotations

IN_FLIGHT_BYTES = 64 * 2**20
"""Bytes in flight at most, unless one range has more."""


class InFlight:
    """Room for bytes requested and not yet taken: 64 ranges of up to 1 MiB, fewer of larger ones.

    Args:
        most: Bytes; a single longer range is allowed.
    """

    def __init__(self, most: int = IN_FLIGHT_BYTES) -> None:
        self._most = most
        self._under_way = 0

    def take(self, length: int) -> bool:
        """Take room for this many bytes; return False if there is not enough."""
        if self._under_way and self._under_way + length > self._most:
            return False
        self._under_way += length
        return True

    def give_back(self, length: int) -> None:
        """Give back the room of bytes that were taken."""
        self._under_way -= length
