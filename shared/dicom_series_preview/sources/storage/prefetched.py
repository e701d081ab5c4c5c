"""Bytes that arrived with the headers, for the frames inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.base import Fetched

if TYPE_CHECKING:
    from dicom_series_preview.sources.storage.base import ByteRange

PREFETCHED_BYTES = 32 * 2**20


class Prefetched:
    """First bytes of objects, or all of them, so that nothing inside them is fetched again.

    Args:
        limit_bytes: The most bytes in all; what does not fit is dropped.
    """

    def __init__(self, limit_bytes: int = PREFETCHED_BYTES) -> None:
        self._left = limit_bytes
        self._kept: dict[str, tuple[bytes, int, str]] = {}

    def keep(self, path: str, data: bytes, object_size: int, version: str) -> None:
        """Keep an object's first bytes, once.

        Args:
            path: The object.
            data: Its first bytes, or all of them.
            object_size: Its size in bytes.
            version: The object's version.
        """
        if len(data) <= self._left and path not in self._kept:
            self._left -= len(data)
            self._kept[path] = data, object_size, version

    def keep_all(self, others: Prefetched) -> None:
        """Keep what others have, too, as far as there is room."""
        for path, kept in others._kept.items():
            self.keep(path, *kept)

    def fetch(self, wanted: ByteRange) -> Fetched | None:
        """Return the storage's answer; None where only the storage has it."""
        kept = self._kept.get(wanted.path)
        if kept is None:
            return None
        data, object_size, version = kept
        end = object_size if wanted.end is None else min(wanted.end, object_size)
        if version != wanted.version or end > len(data):
            return None
        return Fetched(wanted, data[wanted.start : end], object_size, version)
