"""A local folder, by plain file I/O.

obstore's LocalStore would be one class for all, but it fails a whole listing over one file name that holds a
control character or bytes that are no UTF-8, and hides names that end in `#` and digits.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from copy import copy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.base.files import TEMPORARY_NAME, written_beside
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, Meter, ObjectInfo, Usage, check_path
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.paths import file_below
from dicom_series_preview.sources.storage.pool import FetchPool
from dicom_series_preview.sources.storage.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Self

_NOT_THERE = (FileNotFoundError, NotADirectoryError)
_PASSING = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENETDOWN,
}
_ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


class LocalStorage:
    r"""A local folder as a storage root.

    Versions are made of modification time and size. Links are followed, though never into a folder that
    holds them. A name whose bytes are no UTF-8 is listed with `\xNN` in their place, and read by that name.

    Args:
        root: The folder's absolute path.
        concurrency: Files read at once.
        follow_links: Whether links may lead out of the root; where not, what they lead to is refused.
    """

    # What is said of a link that leads out.
    _NO_WAY_OUT = "a link leads out of the root; serve --follow-links allows it"

    def __init__(self, root: Path, concurrency: int, *, follow_links: bool = True) -> None:
        self._root = root
        self._bounds = None if follow_links else os.path.realpath(root)
        self._meter = Meter()
        self._pool = FetchPool(Throttle(concurrency), root.as_uri())
        self._deadline = Deadline()

    def within(self, deadline: Deadline) -> Self:
        """`Storage.within`. What is written is written: it takes no time that could be waited for."""
        same = copy(self)
        same._deadline, same._meter = deadline, Meter(self._meter)  # noqa: SLF001 - its own kind
        return same

    @property
    def url(self) -> str:
        """The folder as a `file://` URL."""
        return self._root.as_uri()

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    @property
    def immutable(self) -> bool:
        """Never: files change."""
        return False

    @property
    def usage(self) -> Usage:
        """Totals since this storage was opened; a copy."""
        return self._meter.read()

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """`Storage.list_objects`. A dangling link is listed without a size, so that reading it reports it."""
        return self._pool.run(lambda part: self._listed(folder, most, part), self._deadline)

    def _listed(self, folder: str, most: int | None, deadline: Deadline) -> list[ObjectInfo]:
        path = self._path(folder) if folder else self._root
        self._check_inside(path)
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
            walk = self._walk(path, folder, {os.path.realpath(path)}, deadline) if is_folder else iter(())
            found = list(islice(walk, None if most is None else most + 1))
        except OSError as error:
            if _cannot_be_there(error):
                self._check_root()
                if not os.path.exists(path):  # noqa: PTH110 - of too long a name, Path.exists raises
                    return []
            raise _storage_error(path, error) from error
        if not is_folder:
            self._check_root()
        return sorted(found, key=lambda info: info.path)

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """Nothing: a folder is listed in no time."""

    def list_folders(self, prefix: str) -> list[str]:
        """`Storage.list_folders`."""
        self._check_root()
        self._meter.count(lists=1)
        parent = prefix.rpartition("/")[0]
        path = self._path(parent) if parent else self._root
        below = f"{parent}/" if parent else ""
        self._check_inside(path)
        try:
            with os.scandir(path) as entries:
                names = [below + listed_name(entry.name) for entry in entries if _is_folder(entry)]
        except OSError as error:
            if _cannot_be_there(error):
                return []
            raise _storage_error(path, error) from error
        return sorted(name for name in names if name.startswith(prefix))

    def get(self, path: str) -> Fetched:
        """`Storage.get`."""
        return self._pool.run(lambda part: self._read(ByteRange(path), part), self._deadline)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """`Storage.fetch`."""
        return self._pool.fetch(ranges, self._read, self._deadline)

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> str:
        """`Storage.put`, by way of a temporary file beside the target. Attributes are not kept.

        That nothing is there yet (an empty `if_version`) is checked by the file system, safely between
        processes, where it has hard links. Otherwise, and for another `if_version`, that is checked just
        before the file is replaced: two processes that do so within the same instant can both succeed, and
        the later one stays.
        """
        target = self._path(path)
        self._meter.count(puts=1)
        try:
            with suppress(FileNotFoundError):  # someone has removed the folder while it was empty
                return _write(target, data, if_version)
            return _write(target, data, if_version)
        except OSError as error:
            raise _storage_error(target, error) from error

    def delete(self, path: str) -> None:
        """`Storage.delete`."""
        target = self._path(path)
        self._meter.count(puts=1)
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise _storage_error(target, error) from error

    def link(self, path: str, expires_s: int) -> str | None:  # noqa: ARG002
        """None: a file has no URL that others could use."""
        return None

    def _path(self, path: str) -> Path:
        check_path(self.url, path)
        plain = file_below(self._root, path)
        raw = os.fsencode(plain)
        # On Windows every name is Unicode, and a backslash stands between names.
        if os.name == "posix" and _ESCAPED_BYTE.search(raw) and not os.path.lexists(plain):
            return Path(os.fsdecode(_ESCAPED_BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), raw)))
        return plain

    def _check_inside(self, path: Path) -> None:
        """Refuse what a link has led out of the root to."""
        if self._leads_out(path):
            raise AccessDeniedError(str(path), self._NO_WAY_OUT)

    def _leads_out(self, path: str | Path) -> bool:
        if self._bounds is None:
            return False
        return not Path(os.path.realpath(path)).is_relative_to(self._bounds)

    def _check_root(self) -> None:
        try:
            # Path.is_dir takes every error for no from Python 3.14 on.
            found = stat.S_ISDIR(self._root.stat().st_mode)
        except _NOT_THERE:
            found = False
        except OSError as error:
            raise _storage_error(self._root, error) from error
        if not found:
            raise ObjectNotFoundError(str(self._root), "there is no such folder")

    def _walk(self, path: Path, folder: str, above: set[str], deadline: Deadline) -> Iterator[ObjectInfo]:
        """All files below `path`; `above` are the folders on the way down, into which no link is followed.

        They are told by their real paths: Windows gives no numbers of files in listings, nor do all network
        file systems.
        """
        self._meter.count(lists=1)
        with os.scandir(path) as entries:
            for entry in entries:
                deadline.check()
                deadline.heard()
                name = f"{folder}/{listed_name(entry.name)}" if folder else listed_name(entry.name)
                try:
                    status = entry.stat()
                except OSError as error:
                    if entry.is_symlink():
                        yield ObjectInfo(name, None, "")  # reading it reports it
                    elif not isinstance(error, _NOT_THERE):
                        raise
                    continue  # a file that went away while it was listed is not there
                if entry.is_symlink() and self._leads_out(entry.path):
                    yield ObjectInfo(name, None, "")  # reading it reports it
                elif stat.S_ISDIR(status.st_mode):
                    real = os.path.realpath(entry.path)
                    if real not in above:
                        yield from self._walk(Path(entry.path), name, above | {real}, deadline)
                elif stat.S_ISREG(status.st_mode) and not TEMPORARY_NAME.fullmatch(entry.name):
                    yield ObjectInfo(name, status.st_size, file_version(status))

    def _read(self, wanted: ByteRange, _deadline: Deadline) -> Fetched:
        path = self._path(wanted.path)
        self._meter.count(gets=1)
        self._check_inside(path)
        try:
            # A pipe or device would block when opened, so its kind is asked first.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ObjectNotFoundError(str(path), "not a file")
            with path.open("rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                if wanted.version not in {"", file_version(before)}:
                    raise ObjectChangedError(str(path))
                end = before.st_size if wanted.end is None else min(wanted.end, before.st_size)
                data = _read_exactly(file.fileno(), wanted.start, end)
                after = os.fstat(file.fileno())
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise _storage_error(path, error) from error
        self._meter.count(received=len(data))
        if len(data) != max(end - wanted.start, 0) or file_version(after) != file_version(before):
            raise ObjectChangedError(str(path), "changed while it was read")
        return Fetched(wanted, data, before.st_size, file_version(before))


def file_version(status: os.stat_result) -> str:
    """What tells a file from itself at other times."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one.

    One link must not hide all others: one that leads round in a circle, or nowhere, is none; one of which
    that may not be known is taken for one, and using it says so.
    """
    try:
        return entry.is_dir()
    except PermissionError:
        return True
    except OSError:
        return False


def _cannot_be_there(error: OSError) -> bool:
    """Whether an error says that there is no such file, or that none can have such a name."""
    return isinstance(error, _NOT_THERE) or error.errno == errno.ENAMETOOLONG


def listed_name(name: str) -> str:
    r"""A name as listings have it: bytes that are no UTF-8 as `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_exactly(descriptor: int, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`, fewer only where the file ends. One read gives at most 2 GiB."""
    parts = []
    os.lseek(descriptor, start, os.SEEK_SET)
    while start < end and (part := os.read(descriptor, min(end - start, 2**30))):
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(target: Path, data: bytes, if_version: str | None) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(target, data) as temporary:
        _make_version_new(temporary, target)
        version = file_version(temporary.stat())
        _install(temporary, target, if_version)
    return version


def _make_version_new(temporary: Path, target: Path) -> None:
    """File clocks tick in milliseconds: two writes of one size within a tick still become two versions."""
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
            # Each file system without hard links refuses them in its own words. There the check and the move
            # are two steps; and where nothing can be written, the move says why.
            if target.exists():
                raise ObjectChangedError(str(target), "exists already") from error
            temporary.replace(target)
        return
    if if_version is not None and (not target.exists() or file_version(target.stat()) != if_version):
        raise ObjectChangedError(str(target), "changed since it was read")
    temporary.replace(target)


def _storage_error(path: Path, error: OSError) -> StorageError:
    place = str(error.filename) if isinstance(error.filename, str) else str(path)
    place = listed_name(place)
    if TEMPORARY_NAME.fullmatch(Path(place).name):
        place = str(path)
    problem = error.strerror or type(error).__name__
    if isinstance(error, PermissionError):
        return AccessDeniedError(place, f"{problem}; check the file's and its folders' permissions")
    if isinstance(error, _NOT_THERE):
        return ObjectNotFoundError(place)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(place, f"cannot be written: {problem}; free some space")
    if error.errno in _PASSING:
        return StorageUnavailableError(place, problem)
    return StorageError(place, problem)
