"""Files on a disk: their versions and names, and reads and writes of whole files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dicom_series_preview.base.errors import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.base.files import TEMPORARY_NAME, written_beside

NOT_THERE = (FileNotFoundError, NotADirectoryError)
"""The errors for a missing file."""

_PASSING = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENETDOWN,
}


def file_version(status: os.stat_result) -> str:
    """Return a file's version: its modification time and size."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def cannot_be_there(error: OSError) -> bool:
    """Return True for an error that says that there is no such file, or that no file can have the name."""
    return isinstance(error, NOT_THERE) or error.errno == errno.ENAMETOOLONG


def listed_name(name: str) -> str:
    r"""Return a name as listings write it: bytes that are not UTF-8 as `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_exactly(descriptor: int, start: int, end: int) -> bytes:
    """Read the bytes from `start` to `end`, fewer only where the file ends; a system read stops at 2 GiB."""
    parts = []
    os.lseek(descriptor, start, os.SEEK_SET)
    while start < end and (part := os.read(descriptor, min(end - start, 2**30))):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_file(target: Path, data: bytes, if_version: str | None) -> str:
    """Write a file whole or not at all, through a temporary one beside it, and return its version.

    Args:
        target: Its path; its folder is made if missing.
        data: Its bytes.
        if_version: As in `Storage.put`.

    Raises:
        ObjectChangedError: The file has another version than `if_version`.
        OSError: The file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(target, data) as temporary:
        _make_version_new(temporary, target)
        version = file_version(temporary.stat())
        _install(temporary, target, if_version)
    return version


def _make_version_new(temporary: Path, target: Path) -> None:
    """Give the file a new version: file clocks tick in ms, and a tick can hold two writes of one size."""
    try:
        old = target.stat()
    except FileNotFoundError:
        return
    new = temporary.stat()
    if file_version(old) == file_version(new):
        os.utime(temporary, ns=(new.st_atime_ns, new.st_mtime_ns + 1_000_000))


def _install(temporary: Path, target: Path, if_version: str | None) -> None:
    if if_version == "":
        try:
            os.link(temporary, target)
        except FileExistsError as error:
            raise ObjectChangedError(str(target), "exists already") from error
        except OSError as error:
            # Each file system without hard links refuses them in its own way. There the check and the move
            # are two steps; if nothing can be written, the move says why.
            if target.exists():
                raise ObjectChangedError(str(target), "exists already") from error
            temporary.replace(target)
        return
    if if_version is not None and (not target.exists() or file_version(target.stat()) != if_version):
        raise ObjectChangedError(str(target), "changed since it was read")
    temporary.replace(target)


def file_error(path: Path, error: OSError) -> StorageError:
    """Convert an error of the file system to ours.

    Args:
        path: The file or folder, where the error names none.
        error: The file system's.
    """
    place = str(error.filename) if isinstance(error.filename, str) else str(path)
    place = listed_name(place)
    if TEMPORARY_NAME.fullmatch(Path(place).name):
        place = str(path)
    problem = error.strerror or type(error).__name__
    if isinstance(error, PermissionError):
        return AccessDeniedError(place, f"{problem}; check the file's and its folders' permissions")
    if isinstance(error, NOT_THERE):
        return ObjectNotFoundError(place)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(place, f"cannot be written: {problem}; free some space")
    if error.errno in _PASSING:
        return StorageUnavailableError(place, problem)
    return StorageError(place, problem)
