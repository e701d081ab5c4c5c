"""Prune the local cache: the least recently used files go first."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from dicom_series_preview.archive.cache_files import (
    BLOCK_BYTES,
    DEAD_AFTER_S,
    FOLDERS,
    MADE_AGAIN,
    NO_LINK,
    CacheFile,
    cache_files,
    used_ns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

_LOGGER = logging.getLogger(__name__)

LEDGER = ".dicom-series-preview-cache"


@dataclass(frozen=True, slots=True)
class Stays:
    """The rule for files that survive pruning.

    Attributes:
        most_bytes: The room that they may take, in bytes.
        left_bytes: If they take more, the room that they may take afterwards.
        since_ns: Only files used since then survive, in nanoseconds since 1970.
        spared: The path of a file that survives in any case.
        places: The places of series survive, which only a look at the whole archive gives back. They take
            none of the room.
    """

    most_bytes: int
    left_bytes: int
    since_ns: int = 0
    spared: str = ""
    places: bool = True


@dataclass(frozen=True, slots=True)
class Pruned:
    """The result of pruning a cache.

    Attributes:
        removed: The number of removed files.
        freed: Their bytes on the disk.
        left: The number of remaining files.
        room: Their bytes on the disk.
    """

    removed: int
    freed: int
    left: int
    room: int


def prune(folder: Path, rule: Stays, now_ns: int) -> Pruned:
    """Prune a cache; several processes may do so at once.

    Leftovers of dead processes always go. Claims and files being written stay, and so do files used
    meanwhile.

    Args:
        folder: The cache folder.
        rule: The files that survive.
        now_ns: Nanoseconds since 1970.

    Raises:
        BlockingIOError: Another process or thread is pruning it.
        OSError: The cache folder cannot be written.
    """
    with _held_ledger(folder) as ledger:
        before = ledger.seek(0, os.SEEK_END) if ledger else 0
        files = list(cache_files(folder, MADE_AGAIN if rule.places else FOLDERS))
        room = sum(file.room for file in files)
        wanted = rule.left_bytes if room > rule.most_bytes else room
        removed = freed = 0
        for file in sorted(files, key=lambda file: file.used_ns):
            if file.kind in DEAD_AFTER_S:
                is_due = file.is_dead(now_ns)
            else:
                is_due = room - freed > wanted or file.used_ns < rule.since_ns
            if is_due and file.path != rule.spared and _remove(folder, file):
                removed += 1
                freed += file.room
        if ledger:
            written_meanwhile = ledger.seek(0, os.SEEK_END) - before
            ledger.truncate((room - freed) // BLOCK_BYTES + written_meanwhile)
    return Pruned(removed, freed, len(files) - removed, room - freed)


def _remove(folder: Path, file: CacheFile) -> bool:
    """Remove a file not used since its inspection, and the folders that are empty then."""
    path = folder / file.path
    try:
        if used_ns(path.lstat()) != file.used_ns:
            return False
        path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # someone has it open (Windows), or it is another user's
    with suppress(OSError):
        for above in path.parents:
            if above == folder:
                break
            above.rmdir()
    return True


def note_blocks(folder: Path, blocks: int) -> int | None:
    """Add written blocks to the ledger, and return its total; None without a ledger.

    Raises:
        OSError: The ledger cannot be written.
    """
    try:
        descriptor = os.open(folder / LEDGER, os.O_WRONLY | os.O_APPEND | NO_LINK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "ab", buffering=0) as ledger:
        ledger.write(bytes(blocks))
        return os.fstat(ledger.fileno()).st_size


@contextmanager
def _held_ledger(folder: Path) -> Iterator[FileIO | None]:
    """Open the ledger, if there is one, and lock it against others who would prune the cache.

    Raises:
        BlockingIOError: Someone else has locked it.
        OSError: The ledger cannot be written.
    """
    try:
        descriptor = os.open(folder / LEDGER, os.O_RDWR | NO_LINK)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(descriptor, "r+b", buffering=0) as ledger:
        try:
            if fcntl:
                fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # a file system without locks: two prunings only repeat the work
            _LOGGER.debug("the cache cannot be locked: %s", error.strerror)
        yield ledger
