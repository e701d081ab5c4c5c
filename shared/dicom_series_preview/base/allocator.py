"""Tell glibc how to keep memory that was freed. Another C library keeps it in its own way."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# The parameters of mallopt, by their numbers in malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MAPPED_BYTES = 2**20
_ARENAS = 2


def return_large_blocks() -> None:
    """Map blocks of 1 MiB and more one by one: they are returned when freed.

    Otherwise each thread that has painted a picture keeps hundreds of megabytes for its next, and six of them
    take 2 GB. To map a block anew takes a processor's time, so this is for processes that live long.
    """
    _mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def share_arenas() -> None:
    """Let all threads take from two arenas, before they start.

    Otherwise each keeps one of its own: storage clients and zarr have 50 threads, and a conversion takes 50
    MB more.
    """
    _mallopt(_M_ARENA_MAX, _ARENAS)


def _mallopt(parameter: int, value: int) -> None:
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(parameter, value)


def return_unused() -> None:
    """Return what reading an index has freed: 25 MB of 3,000 slices, before a volume needs as much."""
    import pyarrow as pa  # noqa: PLC0415 - who has something to return has loaded it

    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
