"""Atomic writes: a file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY_NAME = re.compile(r"\.dicom-series-preview-[0-9a-f]{32}\.part")
"""The name of a file that is to take another's place; listings leave such files out."""
# No write takes that long: an older file was left by a killed process.
_LEFT_OVER_S = 24 * 3600

_PLAIN_WORDS = {
    errno.ENOENT: "there is no such folder",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than is allowed here",
    errno.EISDIR: "is a folder, not a file",
}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all.

    A symbolic link stays, and its target is written. A new file's permissions follow the umask; a replaced
    file keeps its own.

    Raises:
        OutputError: The file cannot be written; nothing is left behind, and an older file is unchanged.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _replaceable_mode(target)
        with written_beside(target, data) as temporary:
            if mode is not None and mode != stat.S_IMODE(temporary.stat().st_mode):
                temporary.chmod(mode)
            temporary.replace(target)
    except OSError as error:
        raise OutputError(str(path), told_of(error)) from error


def told_of(error: OSError) -> str:
    """Say in plain words why something cannot be written."""
    return _PLAIN_WORDS.get(error.errno or 0) or (error.strerror or "cannot be written").lower()


@contextmanager
def written_beside(target: Path, data: bytes) -> Iterator[Path]:
    """Write a new file with a random name in a file's folder, for the caller to move to the file's place.

    Such files that killed processes left are removed once they are a day old.

    Yields:
        The new file, whole and on disk. It is removed at the end unless the caller has moved it.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
    """
    _remove_left_overs(target.parent)
    temporary = target.with_name(f".dicom-series-preview-{uuid.uuid4().hex}.part")
    # The kernel applies the umask; reading it to apply it ourselves would change it for other threads.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left_overs(folder: Path) -> None:
    with suppress(OSError), os.scandir(folder) as entries:  # the write itself reports what is wrong
        oldest = time.time() - _LEFT_OVER_S
        for entry in entries:
            if TEMPORARY_NAME.fullmatch(entry.name) and entry.stat().st_mtime < oldest:
                os.unlink(entry.path)  # noqa: PTH108 - scandir gives text


def _replaceable_mode(target: Path) -> int | None:
    """Return the permissions of the file to replace, None where there is none yet."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        # Replacing a device or a pipe by a file would harm more than this file.
        raise OSError(errno.EINVAL, "is a device or a pipe, not a file")
    return stat.S_IMODE(status.st_mode)
