"""Read Zarr from a SQLite file: a table of keys and values, as zarr 2 wrote it and zarr-sqlite does."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from zarr.core.buffer import Buffer, BufferPrototype


class SqliteStore(Store):
    """A Zarr store in a SQLite file, for reading.

    Args:
        path: The file.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, path: Path) -> None:
        super().__init__(read_only=True)
        self._path = path
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqliteStore) and other._path == self._path

    __hash__ = None  # type: ignore[assignment]

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value or a part of it; None without such a key."""
        with self._lock:
            row = self._database.execute("SELECT v FROM zarr WHERE k = ?", (key,)).fetchone()
        if row is None:
            return None
        value = row[0]
        if isinstance(byte_range, RangeByteRequest):
            value = value[byte_range.start : byte_range.end]
        elif isinstance(byte_range, OffsetByteRequest):
            value = value[byte_range.offset :]
        elif isinstance(byte_range, SuffixByteRequest):
            value = value[-byte_range.suffix :]
        return prototype.buffer.from_bytes(value)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several values or parts."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return True where there is such a key."""
        with self._lock:
            return self._database.execute("SELECT 1 FROM zarr WHERE k = ?", (key,)).fetchone() is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: the store is read-only."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Refuse: the store is read-only."""
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        with self._lock:
            keys = [key for (key,) in self._database.execute("SELECT k FROM zarr ORDER BY k")]
        for key in keys:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin so."""
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names right below a folder, each once."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        seen: dict[str, None] = {}
        async for key in self.list_prefix(start):
            seen.setdefault(key[len(start) :].partition("/")[0])
        for name in seen:
            yield name

    def close(self) -> None:
        """Close the file."""
        self._database.close()
        super().close()
