"""The local cache's files: which of them are ours, how much room they take, and which go first.

A user may keep other things in the folder. So only what its name and its content show to be ours is counted
and removed, and no link is followed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from dicom_series_preview.base.errors import ObjectNotFoundError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from io import FileIO
    from pathlib import Path

    from dicom_series_preview.sources.storage.base import Fetched

_LOGGER = logging.getLogger(__name__)

Kind = Literal["index", "picture", "claim", "leftover"]

FOLDERS = ("indices", "renders")
# By kind, the paths below the cache folder, as `Renders.path` and `IndexCache.path` make them. What a file
# holds has to be ours as well: a user may have names like these.
_PATHS: dict[Kind, re.Pattern[str]] = {
    "index": re.compile(r"indices/.*_index\.parquet", re.DOTALL),
    "picture": re.compile(r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.(?:webp|jpg|png)"),
    "claim": re.compile(r"indices/.*_index\.parquet\.lock", re.DOTALL),
    "leftover": re.compile(
        r"(?:indices/(?:.*/)?|renders/[0-9a-f]{32}/)\.dicom-series-preview-[0-9a-f]{32}\.part", re.DOTALL
    ),
}
_STARTS = {
    ".webp": re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL),
    ".jpg": re.compile(rb"\xff\xd8\xff.{13}", re.DOTALL),
    ".png": re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", re.DOTALL),
}
_START_BYTES = 16
_SEAL = b"\0preview"
_HOLDER = re.compile(r"[0-9a-f]{32}")
# Every pixel as it is, with room for what is not one.
_BYTES_A_PIXEL = 4
_FOOTER_BYTES = 64 * 2**20
_CLAIM_BYTES = 4096
# Who has held a claim or written a file for so long has died.
_DEAD_AFTER_S: dict[Kind, int] = {"claim": 3600, "leftover": 24 * 3600}
_BLOCK_BYTES = 4096
_LEDGER = ".dicom-series-preview-cache"
# So many files are counted at each write, without a ledger, in less time than the write itself takes.
_FEW = 100
# A share of the room is made free at once, so that all files are looked at once for many that are written.
_SHARE_LEFT = 0.9
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file of the cache.

    Attributes:
        path: Its path below the cache folder, `/` between parts.
        kind: What it is: an index, a picture, a claim to build an index, or what a killed writer has left.
        size: Bytes.
        used_ns: When it was written or used last, in nanoseconds since 1970.
    """

    path: str
    kind: Kind
    size: int
    used_ns: int

    @property
    def room(self) -> int:
        """The bytes that it takes on a disk."""
        return _blocks(self.size) * _BLOCK_BYTES

    def is_dead(self, now_ns: int) -> bool:
        """Whether it is a claim or a half-written file of a process that is no more."""
        after_s = _DEAD_AFTER_S.get(self.kind)
        return after_s is not None and self.used_ns < now_ns - after_s * 10**9


@dataclass(frozen=True, slots=True)
class Stays:
    """Which files of a cache stay when it is pruned.

    Attributes:
        most_bytes: The room that they may take.
        left_bytes: Where they take more, the room that they take afterwards.
        since_ns: Only those used since then, in nanoseconds since 1970.
        spared: The path of one that stays whatever room it takes.
    """

    most_bytes: int
    left_bytes: int
    since_ns: int = 0
    spared: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed from a cache, and what stays.

    Attributes:
        removed: Files that are gone.
        freed: Their bytes on the disk.
        left: Files that stay.
        room: Their bytes on the disk.
    """

    removed: int
    freed: int
    left: int
    room: int


class CacheFolder(LocalStorage):
    """A cache folder that does not outgrow its room: the files that were used longest ago go first.

    When a file was used is its access time, set by us: a file's modification time is its version, which other
    processes compare before they write. Where there are more than a few, files are not looked through when
    one is written: a ledger beside them holds a byte for each block that was, and only when that says that
    there is no more room they are counted anew. No link is followed out of the folder.

    Args:
        root: The folder's absolute path.
        concurrency: Files read at once.
        most_bytes: The room.
        clock: Nanoseconds since 1970.
        picture_pixels: The largest picture; a file that is larger than one can be is not read as one.
    """

    _NO_WAY_OUT = "a link leads out of the cache folder"

    def __init__(
        self,
        root: Path,
        concurrency: int,
        most_bytes: int,
        clock: Callable[[], int] = time.time_ns,
        picture_pixels: int = Limits().output_pixels,
    ) -> None:
        super().__init__(root, concurrency, follow_links=False)
        self._folder = root
        self._most_bytes = most_bytes
        self._clock = clock
        self._picture_bytes = _BYTES_A_PIXEL * picture_pixels + _BLOCK_BYTES

    def get(self, path: str) -> Fetched:
        """`Storage.get`, noted as a use of the file. One that is too large for a picture is none."""
        if _PATHS["picture"].fullmatch(path) and _size(self._path(path)) > self._picture_bytes:
            raise ObjectNotFoundError(path, "too large for a picture")
        fetched = super().get(path)
        # Of a cache that is not ours to write, or a file that has gone meanwhile, no use is noted.
        with suppress(OSError), _opened(self._path(path)) as file:
            _set_used(file, self._path(path), self._clock())
        return _opened_up(fetched)

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """`Storage.put`; where there is no more room, some is made."""
        self._check_inside(self._path(path).parent)
        data += _sealed(attributes or {})
        version = super().put(path, data, if_version=if_version)
        # Claims do not stay.
        if not _PATHS["claim"].fullmatch(path):
            self._note_written(path, len(data))
        return version

    def _note_written(self, path: str, size: int) -> None:
        try:
            written = _append(self._folder, _blocks(size))
            if written is not None and written * _BLOCK_BYTES <= self._most_bytes:
                return
            rule = Stays(self._most_bytes, int(self._most_bytes * _SHARE_LEFT), spared=path)
            pruned = prune(self._folder, rule, self._clock())
            if written is None and pruned.left > _FEW:
                (self._folder / _LEDGER).touch()
                _append(self._folder, pruned.room // _BLOCK_BYTES)
            if pruned.removed:
                _LOGGER.info("%d files of the cache that were used longest ago are gone", pruned.removed)
        except BlockingIOError:
            pass  # someone makes room already
        except OSError as error:
            # The file is there, and that is what was asked for.
            _LOGGER.info("the cache's room cannot be looked after: %s", error.strerror)


def cache_files(folder: Path) -> Iterator[CacheFile]:
    """All files of a cache, in no order; what is not ours is left out.

    Args:
        folder: The cache folder.
    """
    pending = [name for name in FOLDERS if not (folder / name).is_symlink()]
    while pending:
        below = pending.pop()
        with suppress(OSError), os.scandir(folder / below) as entries:  # what has gone, or is closed to us
            for entry in entries:
                path = f"{below}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                kind = next((kind for kind, paths in _PATHS.items() if paths.fullmatch(path)), None)
                if kind is None or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    file = CacheFile(path, kind, status.st_size, _used_ns(status))
                    if _is_ours(folder, file):
                        yield file


def prune(folder: Path, rule: Stays, now_ns: int) -> Pruned:
    """Make room in a cache; several processes may do so at once.

    What dead processes have left goes in any case. Claims and files that are being written stay, and so does
    what is used meanwhile.

    Args:
        folder: The cache folder.
        rule: What stays.
        now_ns: Nanoseconds since 1970.

    Raises:
        BlockingIOError: Another process, or thread, is at it.
        OSError: The cache folder cannot be written to.
    """
    with _held_ledger(folder) as ledger:
        before = ledger.seek(0, os.SEEK_END) if ledger else 0
        files = list(cache_files(folder))
        room = sum(file.room for file in files)
        wanted = rule.left_bytes if room > rule.most_bytes else room
        removed = freed = 0
        for file in sorted(files, key=lambda file: file.used_ns):
            if file.kind in _DEAD_AFTER_S:
                is_due = file.is_dead(now_ns)
            else:
                is_due = room - freed > wanted or file.used_ns < rule.since_ns
            if is_due and file.path != rule.spared and _remove(folder, file):
                removed += 1
                freed += file.room
        if ledger:
            written_meanwhile = ledger.seek(0, os.SEEK_END) - before
            ledger.truncate((room - freed) // _BLOCK_BYTES + written_meanwhile)
    return Pruned(removed, freed, len(files) - removed, room - freed)


@contextmanager
def unnoted(path: Path) -> Iterator[FileIO]:
    """A file of the cache to read, without that counting as a use.

    Raises:
        OSError: It cannot be read.
    """
    with _opened(path) as file:
        status = os.fstat(file.fileno())
        try:
            yield file
        finally:
            with suppress(OSError):
                _set_used(file, path, status.st_atime_ns)


def _sealed(attributes: Mapping[str, str]) -> bytes:
    """What follows an object's bytes in its file; nothing where it has no attributes but its type."""
    kept = {name: value for name, value in attributes.items() if name != "Content-Type"}
    if not kept:
        return b""
    text = json.dumps(kept).encode()
    return text + len(text).to_bytes(4, "big") + _SEAL


def _opened_up(fetched: Fetched) -> Fetched:
    """An object without what follows its bytes in its file."""
    end = len(fetched.data) - len(_SEAL) - 4
    if end < 0 or not fetched.data.endswith(_SEAL):
        return fetched
    start = end - int.from_bytes(fetched.data[end : end + 4], "big")
    try:
        attributes = json.loads(fetched.data[max(0, start) : end])
    except (ValueError, RecursionError):
        return fetched
    # Anyone may have written the file; `_sealed` writes text by name, and nothing else.
    if not isinstance(attributes, dict) or not all(isinstance(text, str) for text in attributes.values()):
        return fetched
    return replace(fetched, data=fetched.data[:start], attributes=attributes)


def _is_ours(folder: Path, file: CacheFile) -> bool:
    """Whether what is named as ours is so; in doubt it is not."""
    path = folder / file.path
    if file.kind == "claim":
        return file.size <= _CLAIM_BYTES and _is_claim(path)
    if file.kind == "index":
        return _is_index(path)
    return file.kind == "leftover" or _is_picture(path)


def _is_picture(path: Path) -> bool:
    """Whether a file begins as a picture of its name's format does."""
    try:
        with unnoted(path) as file:
            return _STARTS[path.suffix].fullmatch(file.read(_START_BYTES)) is not None
    except OSError:
        return False


def _is_claim(path: Path) -> bool:
    """Whether a file is what `Claim.lease` writes."""
    try:
        with unnoted(path) as file:
            document = json.loads(file.read(_CLAIM_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(document, dict)
        and set(document) == {"until", "holder"}
        and type(document["until"]) in (int, float)
        and isinstance(document["holder"], str)
        and _HOLDER.fullmatch(document["holder"]) is not None
    )


def _is_index(path: Path) -> bool:
    """Whether a file is Parquet that says of which series it is, of this schema or of another of ours."""
    from dicom_series_preview.archive.index.file import origin  # noqa: PLC0415 - loads numpy and pyarrow

    try:
        with unnoted(path) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 8))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != b"PAR1" or not 0 < length <= min(end - 8, _FOOTER_BYTES):
                return False
            file.seek(0)
            return origin(file) is not None
    except OSError:
        return False


def _remove(folder: Path, file: CacheFile) -> bool:
    """Remove a file that has not been used since it was looked at, and the folders that are empty then."""
    path = folder / file.path
    try:
        if _used_ns(path.lstat()) != file.used_ns:
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


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    descriptor = os.open(path, os.O_RDONLY | _NO_LINK | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file


def _set_used(file: FileIO, path: Path, used_ns: int) -> None:
    """Set the access time of a file that is open, and nothing else: another file may have its name by now."""
    changed = os.fstat(file.fileno()).st_mtime_ns
    os.utime(file.fileno() if os.utime in os.supports_fd else path, ns=(used_ns, changed))


def _size(path: Path) -> int:
    """A file's bytes; 0 of what cannot be looked at, which says so when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _used_ns(status: os.stat_result) -> int:
    return max(status.st_atime_ns, status.st_mtime_ns)


def _blocks(size: int) -> int:
    return max(1, -(-size // _BLOCK_BYTES))


def _append(folder: Path, blocks: int) -> int | None:
    """Note in the ledger that blocks were written, and return how many it holds; None where there is none.

    Raises:
        OSError: The ledger cannot be written to.
    """
    try:
        descriptor = os.open(folder / _LEDGER, os.O_WRONLY | os.O_APPEND | _NO_LINK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "ab", buffering=0) as ledger:
        ledger.write(bytes(blocks))
        return os.fstat(ledger.fileno()).st_size


@contextmanager
def _held_ledger(folder: Path) -> Iterator[FileIO | None]:
    """The ledger, where there is one, held against all others that would look the files through.

    Raises:
        BlockingIOError: One of them holds it.
        OSError: It cannot be written.
    """
    try:
        descriptor = os.open(folder / _LEDGER, os.O_RDWR | _NO_LINK)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(descriptor, "r+b", buffering=0) as ledger:
        try:
            if fcntl:
                fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:  # a file system without locks: two that are at it only do the same twice
            _LOGGER.debug("the cache cannot be locked: %s", error.strerror)
        yield ledger
