"""The files of a cache folder, for tests of what goes from it and when."""

import hashlib
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import make_dicom
from dicom_series_preview.archive.cache_files import cache_files
from indexing import index_of

# Later than any file of these tests is written.
NOW = 4_000_000_000 * 10**9


def picture(number: int) -> str:
    """The path of a picture."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()[:40]
    return f"renders/{digest[:32]}/{digest}.webp"


def drawn(size: int = 16) -> bytes:
    """What begins as a picture does."""
    return b"RIFF\x08\x00\x00\x00WEBPVP8 ".ljust(size, b"\0")


def index() -> bytes:
    """An index."""
    return index_of({"1.dcm": make_dicom.encode(make_dicom.image(1))}).to_parquet()


def paths(folder: Path) -> set[str]:
    """The files of a cache that are ours."""
    return {file.path for file in cache_files(folder)}


def aged(path: Path, used_ns: int) -> None:
    """Let a file have been written and used at a time."""
    os.utime(path, ns=(used_ns, used_ns))


def ticking(start: int = NOW) -> Callable[[], int]:
    """A clock that is a second later each time it is looked at."""
    seconds = count()
    return lambda: start + next(seconds) * 10**9


HOUR, DAY = 3600 * 10**9, 86400 * 10**9
