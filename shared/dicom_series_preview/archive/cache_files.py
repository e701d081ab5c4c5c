"""The local cache's files: which of them are ours, and their last use.

A user can keep other things in the folder. So we count and remove only files whose name and content show that
they are ours, and follow no link.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO
    from pathlib import Path

Kind = Literal["index", "picture", "claim", "place", "leftover"]
# Folders of what is made again when it is asked for.
MADE_AGAIN = ("indices", "renders")
FOLDERS = (*MADE_AGAIN, "uids")
# By kind, the paths below the cache folder, as `Renders.path`, `IndexCache.path` and `SeriesPlaces` make
# them. A user can have such names too, so the content has to be ours as well.
PATHS: dict[Kind, re.Pattern[str]] = {
    "index": re.compile(r"indices/.*_index\.parquet", re.DOTALL),
    "picture": re.compile(r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.(?:webp|jpg|png)"),
    "claim": re.compile(r"indices/.*_index\.parquet\.lock", re.DOTALL),
    "place": re.compile(r"uids/[0-9a-f]{32}/[0-9.]{1,64}/[0-9a-z._=~-]{1,200}"),
    "leftover": re.compile(
        r"(?:indices/(?:.*/)?|renders/[0-9a-f]{32}/|uids/[0-9a-f]{32}/[0-9.]{1,64}/)"
        r"\.dicom-series-preview-[0-9a-f]{32}\.part",
        re.DOTALL,
    ),
}
_STARTS = {
    ".webp": re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL),
    ".jpg": re.compile(rb"\xff\xd8\xff.{13}", re.DOTALL),
    ".png": re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", re.DOTALL),
}
_START_BYTES = 16
_HOLDER = re.compile(r"[0-9a-f]{32}")
_FOOTER_BYTES = 64 * 2**20
_CLAIM_BYTES = 4096
_PLACE_BYTES = 4096
# A process that has held a claim or written a file for so long has died.
DEAD_AFTER_S: dict[Kind, int] = {"claim": 3600, "leftover": 24 * 3600}
BLOCK_BYTES = 4096
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A file of the cache.

    Attributes:
        path: Its path below the cache folder, `/` between parts.
        kind: An index, a picture, a claim to build an index, a place of a SeriesInstanceUID, or a killed
            writer's leftover.
        size: Bytes.
        used_ns: The time of its last write or use, in nanoseconds since 1970.
    """

    path: str
    kind: Kind
    size: int
    used_ns: int

    @property
    def room(self) -> int:
        """The bytes that it takes on a disk."""
        return blocks_of(self.size) * BLOCK_BYTES

    def is_dead(self, now_ns: int) -> bool:
        """Return True for a claim or a half-written file of a process that has died."""
        after_s = DEAD_AFTER_S.get(self.kind)
        return after_s is not None and self.used_ns < now_ns - after_s * 10**9


def cache_files(folder: Path, folders: Sequence[str] = FOLDERS) -> Iterator[CacheFile]:
    """Yield all of our files in a cache, in no order.

    Args:
        folder: The cache folder.
        folders: The folders in it to look at.
    """
    pending = [name for name in folders if not (folder / name).is_symlink()]
    while pending:
        below = pending.pop()
        with suppress(OSError), os.scandir(folder / below) as entries:  # it is gone, or closed to us
            for entry in entries:
                path = f"{below}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    continue
                kind = next((kind for kind, paths in PATHS.items() if paths.fullmatch(path)), None)
                if kind is None or not entry.is_file(follow_symlinks=False):
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    file = CacheFile(path, kind, status.st_size, used_ns(status))
                    if _is_ours(folder, file):
                        yield file


@contextmanager
def unnoted(path: Path) -> Iterator[FileIO]:
    """Open a cache file to read, without counting a use.

    Raises:
        OSError: The file cannot be read.
    """
    with opened(path) as file:
        status = os.fstat(file.fileno())
        try:
            yield file
        finally:
            with suppress(OSError):
                set_used(file, path, status.st_atime_ns)


def _is_ours(folder: Path, file: CacheFile) -> bool:
    """Return True where a file with one of our names is ours; when in doubt it is not."""
    path = folder / file.path
    if file.kind == "claim":
        return file.size <= _CLAIM_BYTES and _is_claim(path)
    if file.kind == "index":
        return _is_index(path)
    if file.kind == "place":
        return file.size <= _PLACE_BYTES and _is_place(path)
    return file.kind == "leftover" or _is_picture(path)


def _is_place(path: Path) -> bool:
    """Return True for a file that `SeriesPlaces.add` writes: its name is made of its content."""
    from dicom_series_preview.archive.uids import place_name  # noqa: PLC0415 - few commands look at places

    try:
        with unnoted(path) as file:
            series = file.read(_PLACE_BYTES).decode(errors="surrogatepass")
    except (OSError, UnicodeError):
        return False
    return place_name(series) == path.name


def _is_picture(path: Path) -> bool:
    """Return True where a file begins as its name's format does."""
    try:
        with unnoted(path) as file:
            return _STARTS[path.suffix].fullmatch(file.read(_START_BYTES)) is not None
    except OSError:
        return False


def _is_claim(path: Path) -> bool:
    """Return True for a file that `Claim.lease` writes."""
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
    """Return True for Parquet that names its series, in this schema or another of ours."""
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


@contextmanager
def opened(path: Path) -> Iterator[FileIO]:
    """Open a cache file to read; follow no link.

    Raises:
        OSError: The file cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | NO_LINK | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file


def set_used(file: FileIO, path: Path, used_ns: int) -> None:
    """Set only the access time of an open file: by now, another file can have its name."""
    changed = os.fstat(file.fileno()).st_mtime_ns
    os.utime(file.fileno() if os.utime in os.supports_fd else path, ns=(used_ns, changed))


def used_ns(status: os.stat_result) -> int:
    """Return the time of a file's last write or use, in nanoseconds since 1970."""
    return max(status.st_atime_ns, status.st_mtime_ns)


def blocks_of(size: int) -> int:
    """Return how many blocks a number of bytes takes on a disk."""
    return max(1, -(-size // BLOCK_BYTES))
