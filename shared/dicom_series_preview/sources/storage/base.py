"""The storage seam: a small protocol, and the values that pass through it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from dicom_series_preview.base.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.sources.storage.deadline import Deadline


_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        path: The object's path below the root, `/` between parts, no leading `/`.
        size: Bytes, or None where the listing does not tell (some HTTP directory pages).
        version: What changes when the object does (ETag, or modification time and size); empty where the
            listing does not tell.
    """

    path: str
    size: int | None
    version: str


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of one object.

    Attributes:
        path: The object's path below the root.
        start: First byte. Past the object's end it gives no bytes, and the object's size.
        end: One past the last byte, or None for the object's end. A range that reaches past the object's end
            gives what there is.
        version: The version the object must still have, or empty for any.
    """

    path: str
    start: int = 0
    end: int | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer for a range: bytes, or the error that stood in their way.

    Attributes:
        range: What was asked for.
        data: The bytes; empty when there is an error.
        object_size: The whole object's size in bytes; 0 when there is an error.
        version: The version of the object that the bytes are of; comparable with `ObjectInfo.version` of the
            same storage wherever the listing gave one.
        error: Why there are no bytes, or None.
        attributes: What was kept with an object that was fetched whole.
    """

    range: ByteRange
    data: bytes = field(repr=False)
    object_size: int
    version: str
    error: StorageError | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Usage:
    """Running totals of one storage: what previews are billed by.

    Attributes:
        lists: Listing requests (pages, not calls).
        gets: Requests for an object's bytes, every try counted.
        puts: Writes.
        bytes: Bytes of objects received.
    """

    lists: int = 0
    gets: int = 0
    puts: int = 0
    bytes: int = 0


class Storage(Protocol):
    """A storage root. Paths are relative to it. Safe to use from several threads.

    Whatever waits for it raises LimitError or StorageUnavailableError once its deadline is over, and
    AbandonedError once nobody waits any more; see `within`.
    """

    @property
    def url(self) -> str:
        """The root's URL without credentials and without a trailing slash."""

    @property
    def identity(self) -> str:
        """A text that no other root has: its URL, and its server where the URL does not tell.

        It stays the same from one version of the product to the next: indices lie below a digest of it.
        """

    @property
    def immutable(self) -> bool:
        """Objects below this root never change, so what was read once stays true."""

    @property
    def usage(self) -> Usage:
        """Totals since this storage was opened, as of now; a copy that counts no further."""

    def within(self, deadline: Deadline) -> Storage:
        """The same storage for one request: until its deadline, with totals of its own.

        Connections, slots and what was learned of the server are shared.
        """

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """All objects below `folder`, at any depth, sorted by path; empty when there is no such folder.

        Args:
            folder: Where.
            most: Where there are more of them than this, some of them, yet more than this, will do.

        Raises:
            StorageError: The folder cannot be listed.
        """

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """Begin to list a folder, where that takes a while: `list_objects` then waits for the rest of it.

        Its requests count, and its errors are raised, when it is asked for.
        """

    def list_folders(self, prefix: str) -> list[str]:
        """The folders whose paths start with `prefix`, no deeper than its last part, sorted.

        Raises:
            StorageError: The folder cannot be listed.
        """

    def get(self, path: str) -> Fetched:
        """One whole object.

        Raises:
            StorageError: The object cannot be read.
        """

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Fetch ranges at once, under the storage's concurrency limit, and yield each as it comes.

        `ranges` is read lazily: the next one is taken when a slot is free, so that a generator can let what
        has come decide what is asked for next. An iterator that has ended is asked once more after each
        result, so a work queue that was empty for a moment may go on. An object that fails yields a `Fetched`
        with its error; only what concerns the root as a whole is raised. Closing the iterator abandons what
        is under way.
        """

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Write one object, whole or not at all, and return its version.

        Args:
            path: Where.
            data: What.
            if_version: Write only over this version; empty: only where nothing is; None: in any case.
            attributes: What `get` gives back with it, where the storage keeps such things: `Content-Type`,
                which a link's answer has, and others by names of small letters and hyphens.

        Raises:
            ObjectChangedError: `if_version` does not hold.
            StorageError: It cannot be written.
        """

    def delete(self, path: str) -> None:
        """Remove one object; one that is not there is no error.

        Raises:
            StorageError: It cannot be removed.
        """

    def link(self, path: str, expires_s: int) -> str | None:
        """A URL by which anyone can fetch one object for a while; None where the storage makes none."""


class Meter:
    """A storage's running totals, counted from several threads.

    Args:
        above: What is counted here is counted there too.
    """

    def __init__(self, above: Meter | None = None) -> None:
        self._above = above
        self._lock = threading.Lock()
        self._usage = Usage()

    def count(self, *, lists: int = 0, gets: int = 0, puts: int = 0, received: int = 0) -> None:
        """Add to the totals; `received` is in bytes."""
        with self._lock:
            self._usage.lists += lists
            self._usage.gets += gets
            self._usage.puts += puts
            self._usage.bytes += received
        if self._above is not None:
            self._above.count(lists=lists, gets=gets, puts=puts, received=received)

    def add(self, meter: Meter) -> None:
        """Add what another has counted."""
        other = meter.read()
        self.count(lists=other.lists, gets=other.gets, puts=other.puts, received=other.bytes)

    def read(self) -> Usage:
        """The totals as of now."""
        with self._lock:
            return replace(self._usage)


def is_path(path: str) -> bool:
    """True where a path can be an object's: no part of it is empty, `.` or `..`, and it holds no NUL."""
    return "\0" not in path and not any(part in {"", ".", ".."} for part in path.split("/"))


def check_path(root_url: str, path: str) -> None:
    """Refuse a path that is empty or could leave its root.

    Raises:
        StorageError: A part of the path is empty, `.` or `..`, or it holds a NUL.
    """
    if not is_path(path):
        raise StorageError(f"{root_url}/{path!r}", "a path cannot have empty, '.' or '..' parts")


def total(usages: Sequence[Usage]) -> Usage:
    """The sum of several totals."""
    return Usage(
        lists=sum(u.lists for u in usages),
        gets=sum(u.gets for u in usages),
        puts=sum(u.puts for u in usages),
        bytes=sum(u.bytes for u in usages),
    )


def told_size(text: str) -> int | None:
    """A size as a server writes it; None where it is no number, or more than anything can have."""
    return int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit() else None
