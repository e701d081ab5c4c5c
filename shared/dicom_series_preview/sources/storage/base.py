"""The interface of all storages: a small protocol, and the values that pass through it."""

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
        size: Bytes, or None where the listing has none (some HTTP directory pages).
        version: Changes when the object does (ETag, or modification time and size); empty where the listing
            has none.
        modified_s: When it was written, in seconds since 1970; None where the listing does not say.
    """

    path: str
    size: int | None
    version: str
    modified_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of one object.

    Attributes:
        path: The object's path below the root.
        start: First byte. Past the object's end the answer has no bytes, but the object's size.
        end: One past the last byte, or None for the object's end. A range past the object's end stops there.
        version: The version that the object must still have, or empty for any.
    """

    path: str
    start: int = 0
    end: int | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer for a range: bytes, or an error.

    Attributes:
        range: The range asked for.
        data: The bytes; empty when there is an error.
        object_size: The whole object's size in bytes; 0 when there is an error.
        version: The version of the object; comparable with `ObjectInfo.version` of the same storage, if the
            listing has one.
        error: Why there are no bytes, or None.
        attributes: The attributes stored with an object, if it was fetched whole.
    """

    range: ByteRange
    data: bytes = field(repr=False)
    object_size: int
    version: str
    error: StorageError | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Usage:
    """Running totals of one storage, which decide a preview's bill.

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
    """A storage root, safe to use from several threads; paths are relative to it.

    Whatever waits for it raises LimitError or StorageUnavailableError once its deadline is over, and
    AbandonedError once nobody waits any more; see `within`.
    """

    @property
    def url(self) -> str:
        """The root's URL without credentials and without a trailing slash."""

    @property
    def identity(self) -> str:
        """A text unique to this root: its URL, and its server where the URL does not show it.

        It stays the same in every version of the product: indices lie below a digest of it.
        """

    @property
    def immutable(self) -> bool:
        """True where objects below this root never change, so that what was read once stays true."""

    @property
    def usage(self) -> Usage:
        """Totals since this storage was opened; a copy that stays as it is."""

    def within(self, deadline: Deadline) -> Storage:
        """Return the same storage for one request: with its deadline, and its own totals.

        They share connections, slots and what was learned about the server.
        """

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """List all objects below `folder`, at any depth, sorted by path; empty without such a folder.

        Args:
            folder: The folder.
            most: If there are more objects than this, some of them, yet more than this, are enough.

        Raises:
            StorageError: The folder cannot be listed.
        """

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """Begin to list a folder, if that takes a while: `list_objects` then waits for the rest of it.

        Its requests count, and its errors are raised, there.
        """

    def list_folders(self, prefix: str) -> list[str]:
        """List the folders whose paths start with `prefix`, no deeper than its last part, sorted.

        Raises:
            StorageError: The folder cannot be listed.
        """

    def get(self, path: str) -> Fetched:
        """Read one whole object.

        Raises:
            StorageError: The object cannot be read.
        """

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Fetch ranges at once, under the storage's concurrency limit, and yield each on arrival.

        `ranges` is read lazily: the next one is taken when a slot is free, so that earlier answers can decide
        what a generator asks for next. An iterator that has ended is asked once more after each result, so a
        work queue that was empty for a moment can go on. An object that fails yields a `Fetched` with its
        error; only an error of the root as a whole is raised. Closing the iterator abandons what is in
        flight.
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
            path: Its path.
            data: Its bytes.
            if_version: Write only over this version; empty: only a new object; None: in any case.
            attributes: Stored with the object and returned by `get`, where the storage can: `Content-Type`,
                which links answer with, and others with names of lower-case letters and hyphens.

        Raises:
            ObjectChangedError: The object has another version than `if_version`.
            StorageError: The object cannot be written.
        """

    def delete(self, path: str) -> None:
        """Remove one object; a missing one is no error.

        Raises:
            StorageError: The object cannot be removed.
        """

    def link(self, path: str, expires_s: int) -> str | None:
        """Return a URL that lets anyone fetch one object for a while; None where the storage makes none."""


class Meter:
    """A storage's running totals, counted from several threads.

    Args:
        above: Also counts what this one counts.
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
        """Add another meter's totals."""
        other = meter.read()
        self.count(lists=other.lists, gets=other.gets, puts=other.puts, received=other.bytes)

    def read(self) -> Usage:
        """Return the totals so far."""
        with self._lock:
            return replace(self._usage)


def is_path(path: str) -> bool:
    """Return True where a path can be an object's: no part is empty, `.` or `..`, and it holds no NUL."""
    return "\0" not in path and not any(part in {"", ".", ".."} for part in path.split("/"))


def path_below(folder: str, name: str) -> str:
    """Return the path of what has a name below a folder; the empty folder is the root."""
    return f"{folder}/{name}" if folder else name


def check_path(root_url: str, path: str) -> None:
    """Refuse a path that is empty or could leave its root.

    Raises:
        StorageError: A part of the path is empty, `.` or `..`, or it holds a NUL.
    """
    if not is_path(path):
        raise StorageError(f"{root_url}/{path!r}", "a path cannot have empty, '.' or '..' parts")


def total(usages: Sequence[Usage]) -> Usage:
    """Return the sum of several totals."""
    return Usage(
        lists=sum(u.lists for u in usages),
        gets=sum(u.gets for u in usages),
        puts=sum(u.puts for u in usages),
        bytes=sum(u.bytes for u in usages),
    )


def told_size(text: str) -> int | None:
    """Parse a size as a server writes it; None where it is no number, or impossibly large."""
    return int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit() else None
