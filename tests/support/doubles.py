"""Storages that count, fail, change, or must not be touched, and a clock."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, Self

from dicom_series_preview.base.errors import StorageError
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, ObjectInfo, Storage, Usage
from dicom_series_preview.sources.storage.deadline import Deadline


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Wrapper:
    """A storage in front of another, the same in all it does."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        """The inner storage's."""
        return self.inner.url

    @property
    def identity(self) -> str:
        """The inner storage's."""
        return self.inner.identity

    @property
    def immutable(self) -> bool:
        """The inner storage's."""
        return self.inner.immutable

    @property
    def usage(self) -> Usage:
        """The inner storage's."""
        return self.inner.usage

    def within(self, deadline: Deadline) -> Self:
        """The same double, whose inner storage is one request's from now on: requests come one by one."""
        self.inner = self.inner.within(deadline)
        return self

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """`Storage.list_objects`."""
        return self.inner.list_objects(folder, most)

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """`Storage.list_ahead`."""
        self.inner.list_ahead(folder, most)

    def list_folders(self, prefix: str) -> list[str]:
        """`Storage.list_folders`."""
        return self.inner.list_folders(prefix)

    def get(self, path: str) -> Fetched:
        """`Storage.get`."""
        return self.inner.get(path)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """`Storage.fetch`."""
        return self.inner.fetch(ranges)

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """`Storage.put`."""
        return self.inner.put(path, data, if_version=if_version, attributes=attributes)

    def delete(self, path: str) -> None:
        """`Storage.delete`."""
        self.inner.delete(path)

    def link(self, path: str, expires_s: int) -> str | None:
        """`Storage.link`."""
        return self.inner.link(path, expires_s)


class Before(Wrapper):
    """Before some of its calls something happens, which may raise.

    Args:
        inner: Answers.
        calls: By a method's name, what is called first with the same positional arguments.
    """

    def __init__(self, inner: Storage, **calls: Callable[..., object]) -> None:
        super().__init__(inner)
        for name, call in calls.items():
            setattr(self, name, partial(self._after, call, getattr(self, name)))

    def _after(
        self, call: Callable[..., object], method: Callable[..., Any], *given: Any, **options: Any
    ) -> Any:
        call(*given)
        return method(*given, **options)


def refusing(error: BaseException, wanted: Callable[[str], bool] = lambda _path: True) -> Callable[..., None]:
    """What raises an error where a call's path is wanted."""

    def refuse(path: str, *_rest: object) -> None:
        if wanted(path):
            raise error

    return refuse


class CountingStorage(Wrapper):
    """Notes what was asked for.

    Attributes:
        lists: Listings of objects or folders.
        ranges: Every range, in the order of the answers.
        received: Bytes of all answers.
        gets: Paths read whole with `get`.
        puts: Paths written.
    """

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.reset()

    def reset(self) -> None:
        """Count from nothing."""
        self.lists = 0
        self.ranges: list[ByteRange] = []
        self.received = 0
        self.gets: list[str] = []
        self.puts: list[str] = []

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """Counted."""
        self.lists += 1
        return super().list_objects(folder, most)

    def list_folders(self, prefix: str) -> list[str]:
        """Counted."""
        self.lists += 1
        return super().list_folders(prefix)

    def get(self, path: str) -> Fetched:
        """Noted."""
        self.gets.append(path)
        return super().get(path)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Noted as the answers come."""
        for fetched in super().fetch(ranges):
            self.ranges.append(fetched.range)
            self.received += len(fetched.data)
            yield fetched

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Noted."""
        self.puts.append(path)
        return super().put(path, data, if_version=if_version, attributes=attributes)

    def ranges_of(self, path: str) -> list[tuple[int, int | None]]:
        """The ranges asked of one object."""
        return [(r.start, r.end) for r in self.ranges if r.path == path]


class WatchedStorage(Wrapper):
    """Notes the most bytes that were asked for and not yet taken."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.under_way = self.most = 0

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Answers, counted between being asked for and being taken."""
        asked = iter(ranges)

        class Counted:
            def __iter__(self) -> Self:
                return self

            def __next__(self) -> ByteRange:
                wanted = next(asked)
                watched.under_way += _length(wanted)
                watched.most = max(watched.most, watched.under_way)
                return wanted

        watched = self
        for fetched in super().fetch(Counted()):
            yield fetched
            self.under_way -= _length(fetched.range)


def _length(wanted: ByteRange) -> int:
    assert wanted.end is not None
    return wanted.end - wanted.start


class FailingStorage(Wrapper):
    """Answers some objects' ranges with errors.

    Args:
        inner: Answers the others.
        errors: By path, what stands in the way.
    """

    def __init__(self, inner: Storage, errors: Mapping[str, StorageError]) -> None:
        super().__init__(inner)
        self.errors = errors

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Errors in place of bytes."""
        for fetched in super().fetch(ranges):
            error = self.errors.get(fetched.range.path)
            yield fetched if error is None else Fetched(fetched.range, b"", 0, "", error)


class ChangingStorage(Wrapper):
    """Does something behind its user's back when the first answer for an object has come.

    Args:
        inner: Answers.
        change: By path, what happens once.
    """

    def __init__(self, inner: Storage, change: Mapping[str, Callable[[Storage], object]]) -> None:
        super().__init__(inner)
        self.change = dict(change)

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """Answers, then changes."""
        for fetched in super().fetch(ranges):
            change = self.change.pop(fetched.range.path, None)
            if change is not None:
                change(self.inner)
            yield fetched


class Backwards(Wrapper):
    """A storage whose answers come in the reverse order."""

    def fetch(self, ranges: Iterable[ByteRange]) -> Iterator[Fetched]:
        """The last one first."""
        yield from reversed(list(self.inner.fetch(list(ranges))))


class BareListingStorage(Wrapper):
    """Its listings tell names only, as a plain web server's do."""

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """Without sizes and versions."""
        return [replace(info, size=None, version="") for info in super().list_objects(folder, most)]


class UntouchableStorage:
    """Whoever asks it anything is wrong."""

    url = "memory://untouchable"

    def within(self, _deadline: Deadline) -> Self:
        """Asking nothing yet."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the storage was touched: {name}")
