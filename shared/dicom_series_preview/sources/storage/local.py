"""A local folder, read and written by plain file I/O.

obstore's LocalStore would do, but one file name with a control character or bytes that are not UTF-8 fails
its whole listing, and it hides names that end in `#` and digits.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.base.files import TEMPORARY_NAME
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, ObjectInfo, check_path
from dicom_series_preview.sources.storage.disk import (
    NOT_THERE,
    cannot_be_there,
    file_error,
    file_version,
    listed_name,
    read_exactly,
    write_file,
)
from dicom_series_preview.sources.storage.paths import file_below
from dicom_series_preview.sources.storage.pooled import PooledStorage
from dicom_series_preview.sources.storage.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dicom_series_preview.sources.storage.deadline import Deadline


_ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


class LocalStorage(PooledStorage):
    r"""A local folder as a storage root.

    A version is modification time and size. Links are followed, but never into a folder that holds them. A
    name with bytes that are not UTF-8 is listed, and read, with `\xNN` in their place.

    Args:
        root: The folder's absolute path.
        concurrency: Files read at once.
        follow_links: Links may lead out of the root; if not, their targets outside are refused.
    """

    _NO_WAY_OUT = "a link leads out of the root; serve --follow-links allows it"

    def __init__(self, root: Path, concurrency: int, *, follow_links: bool = True) -> None:
        super().__init__(root.as_uri(), Throttle(concurrency))
        self._root = root
        self._bounds = None if follow_links else os.path.realpath(root)

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """List as `Storage.list_objects`; a dangling link has no size, so that reading it reports it."""
        return self._pool.run(lambda part: self._listed(folder, most, part), self._deadline)

    def _listed(self, folder: str, most: int | None, deadline: Deadline) -> list[ObjectInfo]:
        path = self._path(folder) if folder else self._root
        self._check_inside(path)
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
            walk = self._walk(path, folder, {os.path.realpath(path)}, deadline) if is_folder else iter(())
            found = list(islice(walk, None if most is None else most + 1))
        except OSError as error:
            if cannot_be_there(error):
                self._check_root()
                if not os.path.exists(path):  # noqa: PTH110 - of too long a name, Path.exists raises
                    return []
            raise file_error(path, error) from error
        if not is_folder:
            self._check_root()
        return sorted(found, key=lambda info: info.path)

    def list_folders(self, prefix: str) -> list[str]:
        """See `Storage.list_folders`."""
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
            if cannot_be_there(error):
                return []
            raise file_error(path, error) from error
        return sorted(name for name in names if name.startswith(prefix))

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> str:
        """Write as `Storage.put`, through a temporary file beside the target; attributes are lost.

        For an empty `if_version`, a file system with hard links checks that the file is new, safely between
        processes. Without hard links, and for another `if_version`, the check runs just before the file is
        replaced: two processes can both succeed within the same instant, and the later file stays.
        """
        target = self._path(path)
        self._meter.count(puts=1)
        try:
            with suppress(FileNotFoundError):  # someone has removed the empty folder
                return write_file(target, data, if_version)
            return write_file(target, data, if_version)
        except OSError as error:
            raise file_error(target, error) from error

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        target = self._path(path)
        self._meter.count(puts=1)
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise file_error(target, error) from error

    def _path(self, path: str) -> Path:
        check_path(self.url, path)
        plain = file_below(self._root, path)
        raw = os.fsencode(plain)
        # On Windows every name is Unicode, and a backslash separates names.
        if os.name == "posix" and _ESCAPED_BYTE.search(raw) and not os.path.lexists(plain):
            return Path(os.fsdecode(_ESCAPED_BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), raw)))
        return plain

    def _check_inside(self, path: Path) -> None:
        """Refuse a path that a link has led out of the root."""
        if self._leads_out(path):
            raise AccessDeniedError(str(path), self._NO_WAY_OUT)

    def _leads_out(self, path: str | Path) -> bool:
        if self._bounds is None:
            return False
        return not Path(os.path.realpath(path)).is_relative_to(self._bounds)

    def _check_root(self) -> None:
        try:
            # From Python 3.14 on, Path.is_dir takes every error for a no.
            found = stat.S_ISDIR(self._root.stat().st_mode)
        except NOT_THERE:
            found = False
        except OSError as error:
            raise file_error(self._root, error) from error
        if not found:
            raise ObjectNotFoundError(str(self._root), "there is no such folder")

    def _walk(self, path: Path, folder: str, above: set[str], deadline: Deadline) -> Iterator[ObjectInfo]:
        """Yield all files below `path`; no link is followed into `above`, the folders on the way down.

        Real paths identify them: on Windows and on some network file systems listings have no file numbers.
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
                    elif not isinstance(error, NOT_THERE):
                        raise
                    continue  # the file disappeared during the listing
                if entry.is_symlink() and self._leads_out(entry.path):
                    yield ObjectInfo(name, None, "")  # reading it reports it
                elif stat.S_ISDIR(status.st_mode):
                    real = os.path.realpath(entry.path)
                    if real not in above:
                        yield from self._walk(Path(entry.path), name, above | {real}, deadline)
                elif stat.S_ISREG(status.st_mode) and not TEMPORARY_NAME.fullmatch(entry.name):
                    yield ObjectInfo(name, status.st_size, file_version(status), status.st_mtime_ns / 1e9)

    def _read(self, wanted: ByteRange, _deadline: Deadline) -> Fetched:
        path = self._path(wanted.path)
        self._meter.count(gets=1)
        self._check_inside(path)
        try:
            # Opening a pipe or device would block, so check the kind first.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ObjectNotFoundError(str(path), "not a file")
            with path.open("rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                if wanted.version not in {"", file_version(before)}:
                    raise ObjectChangedError(str(path))
                end = before.st_size if wanted.end is None else min(wanted.end, before.st_size)
                data = read_exactly(file.fileno(), wanted.start, end)
                after = os.fstat(file.fileno())
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise file_error(path, error) from error
        self._meter.count(received=len(data))
        if len(data) != max(end - wanted.start, 0) or file_version(after) != file_version(before):
            raise ObjectChangedError(str(path), "changed while it was read")
        return Fetched(wanted, data, before.st_size, file_version(before))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True where an entry is a folder, or a link to one.

    One bad link must not hide all others: a circular or dangling one is no folder; one that we may not
    inspect counts as a folder, and its use reports the error.
    """
    try:
        return entry.is_dir()
    except PermissionError:
        return True
    except OSError:
        return False
