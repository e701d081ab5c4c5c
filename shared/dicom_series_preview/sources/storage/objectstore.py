"""What obstore serves: objects in memory, and the part of S3 that both have in common."""

from __future__ import annotations

import math
from copy import copy
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError
from obstore.store import MemoryStore

from dicom_series_preview.base.errors import LimitError, ObjectChangedError, StorageError
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, Meter, ObjectInfo, Usage, check_path
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.failures import OBSTORE_ERRORS, Failure, storage_error
from dicom_series_preview.sources.storage.pool import FetchPool
from dicom_series_preview.sources.storage.retry import RetryPolicy
from dicom_series_preview.sources.storage.throttle import Throttle
from dicom_series_preview.sources.storage.transient import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Self

    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

_T = TypeVar("_T")

PAGE_OBJECTS = 1000
# Markers of folders do not count as objects; of them there may be so many times the most objects.
_MARKERS_FACTOR = 10


class ObjectStoreStorage:
    """Objects behind an obstore store.

    Args:
        store: The store, rooted at the bucket, without retries: everything is tried again here, where
            throttling is seen.
        url: The root's URL.
        prefix: The root's place in the store; no slashes at its ends.
        throttle: How many requests may be in flight at once.
        retry: When a request is tried again.
    """

    def __init__(
        self,
        *,
        store: ObjectStore,
        url: str,
        prefix: str,
        throttle: Throttle,
        retry: RetryPolicy,
    ) -> None:
        self._store = store
        self._url = url
        self._prefix = prefix
        self._retry = retry
        self._meter = Meter()
        self._throttle = throttle
        self._pool = FetchPool(throttle, url)
        self._deadline = Deadline()

    def within(self, deadline: Deadline) -> Self:
        """`Storage.within`."""
        same = copy(self)
        same._deadline, same._meter = deadline, Meter(self._meter)  # noqa: SLF001 - its own kind
        return same

    @property
    def url(self) -> str:
        """The root's URL."""
        return self._url

    @property
    def identity(self) -> str:
        """The URL."""
        return self.url

    @property
    def usage(self) -> Usage:
        """Totals since this storage was opened; a copy."""
        return self._meter.read()

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
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """`Storage.put`; conditions are checked by the store itself."""
        key, url = self._key(path), self._object_url(path)
        tries = count(1)
        try:
            return self._retried(
                url,
                lambda: self._put_once(key, data, if_version, attributes or {}, is_first=next(tries) == 1),
            )
        except FileNotFoundError as error:
            if if_version:
                raise ObjectChangedError(url, "is no longer there") from error
            raise storage_error(url, error) from error
        except OBSTORE_ERRORS as error:
            raise storage_error(url, error) from error

    def delete(self, path: str) -> None:
        """`Storage.delete`."""
        key, url = self._key(path), self._object_url(path)
        self._meter.count(puts=1)
        try:
            self._retried(url, lambda: self._delete_once(key))
        except FileNotFoundError:
            return
        except OBSTORE_ERRORS as error:
            raise storage_error(url, error) from error

    def link(self, path: str, expires_s: int) -> str | None:  # noqa: ARG002
        """None: there is nothing to link to."""
        return None

    def _key(self, path: str) -> str:
        check_path(self._url, path)
        return f"{self._prefix}/{path}" if self._prefix else path

    def _object_url(self, path: str) -> str:
        return f"{self._url}/{path}"

    def _retried(self, url: str, attempt: Callable[[], _T]) -> _T:
        """What a request gives, tried again where that may help, while it is waited for."""
        return self._pool.run(
            lambda part: self._retry.run(url, part, attempt, self._throttle), self._deadline
        )

    def _read(self, wanted: ByteRange, deadline: Deadline) -> Fetched:
        key, url = self._key(wanted.path), self._object_url(wanted.path)
        try:
            return self._retry.run(url, deadline, lambda: self._read_once(wanted, key), self._throttle)
        except OBSTORE_ERRORS as error:
            raise storage_error(url, error) from error

    def _read_once(self, wanted: ByteRange, key: str) -> Fetched:
        options: GetOptions = {}
        if wanted.version:
            options["if_match"] = wanted.version
        if wanted.end is not None:
            # A range of no bytes is refused by obstore: one byte is read for the object's size.
            options["range"] = (wanted.start, max(wanted.end, wanted.start + 1))
        elif wanted.start:
            options["range"] = {"offset": wanted.start}
        self._meter.count(gets=1)
        try:
            result = obstore.get(self._store, key, options=options)
            self._check_version(wanted, result.meta)
            data = bytes(result.bytes())
        except GenericError as error:
            return self._past_end(wanted, key, error)
        meta = result.meta
        self._meter.count(received=len(data))
        end = meta["size"] if wanted.end is None else min(max(wanted.end, wanted.start + 1), meta["size"])
        if result.range != (wanted.start, end) or len(data) != end - wanted.start:
            raise TransientError(f"{len(data)} of {end - wanted.start} bytes came")
        if wanted.end is not None:
            data = data[: max(wanted.end - wanted.start, 0)]
        # Only what is kept by us has any, and that is read whole.
        attributes = dict(result.attributes) if _is_whole(wanted) else {}
        return Fetched(wanted, data, meta["size"], meta["e_tag"] or "", attributes=attributes)

    def _put_once(
        self,
        key: str,
        data: bytes,
        if_version: str | None,
        attributes: Mapping[str, str],
        *,
        is_first: bool,
    ) -> str:
        """Write, and return the version.

        Where an earlier try's answer was lost, what is in the way may be what it has written.
        """
        self._meter.count(puts=1)
        try:
            put = partial(obstore.put, self._store, key, data, attributes=dict(attributes) or None)
            if if_version is None:
                result = put()
            elif if_version == "":
                result = put(mode="create", use_multipart=False)
            else:
                result = put(mode={"e_tag": if_version}, use_multipart=False)
        except GenericError as error:
            raise Failure.of(error).passing() or error from error
        except (AlreadyExistsError, PreconditionError):
            there = None if is_first else self._read_once(ByteRange(key), key)
            if there is None or there.data != data:
                raise
            return there.version
        return result["e_tag"] or ""

    def _delete_once(self, key: str) -> None:
        """Delete; obstore asks S3 by POST, which it does not try again when a connection breaks."""
        try:
            obstore.delete(self._store, key)
        except GenericError as error:
            raise Failure.of(error).passing() or error from error

    def _past_end(self, wanted: ByteRange, key: str, error: GenericError) -> Fetched:
        """The empty answer for a range past the object's end, which fails with no type of its own.

        Of an empty object every range is past the end. The object is asked for as a whole and its body left
        unread: a HEAD would not be the same permission everywhere.

        Raises:
            TransientError: The range is not the trouble, and another try may help.
            GenericError: The range is not the trouble.
        """
        failure = Failure.of(error)
        passing = failure.passing()
        if passing is not None:
            raise passing from error
        if _is_whole(wanted) or failure.status not in {0, 416}:
            raise error
        self._meter.count(gets=1)
        try:
            meta = obstore.get(self._store, key).meta
        except GenericError as second:
            raise Failure.of(second).passing() or error from second
        self._check_version(wanted, meta)
        if wanted.start < meta["size"]:
            raise error
        return Fetched(wanted, b"", meta["size"], meta["e_tag"] or "")

    def _check_version(self, wanted: ByteRange, meta: ObjectMeta) -> None:
        if wanted.version and meta["e_tag"] and wanted.version != meta["e_tag"]:
            raise ObjectChangedError(self._object_url(wanted.path))


class MemoryStorage(ObjectStoreStorage):
    """Objects in memory, for tests and doubles.

    Args:
        objects: Path to bytes, to begin with.
        url: What it calls itself.
        concurrency: Ranges read at once.
        immutable: What `immutable` says.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes] | None = None,
        *,
        url: str = "memory://objects",
        concurrency: int = 8,
        immutable: bool = False,
    ) -> None:
        store = MemoryStore()
        super().__init__(
            store=store, url=url, prefix="", throttle=Throttle(concurrency), retry=RetryPolicy(0, 0.0)
        )
        self._immutable = immutable
        for path, data in (objects or {}).items():
            obstore.put(store, path, data)

    @property
    def immutable(self) -> bool:
        """As constructed."""
        return self._immutable

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """`Storage.list_objects`."""
        self._meter.count(lists=1)
        start = f"{self._key(folder)}/" if folder else ""
        listed = obstore.list(self._store, prefix=folder or None, chunk_size=PAGE_OBJECTS)
        found: dict[str, ObjectInfo] = {}
        pages = (
            [
                ObjectInfo(inside(self._url, meta["path"], start), meta["size"], meta["e_tag"] or "")
                for meta in page
            ]
            for page in listed
        )
        for page in enough(pages, most):
            add_page(self._url, found, page, most)
        return sorted(without_markers(list(found.values())), key=lambda info: info.path)

    def list_ahead(self, folder: str, most: int | None = None) -> None:
        """Nothing: it is listed in no time."""

    def list_folders(self, prefix: str) -> list[str]:
        """`Storage.list_folders`."""
        self._meter.count(lists=1)
        folders = obstore.list_with_delimiter(self._store, prefix.rpartition("/")[0] or None)[
            "common_prefixes"
        ]
        return sorted(folder for folder in folders if folder.startswith(prefix))


def inside(url: str, key: str, start: str) -> str:
    """A key of a listing, which begins as was asked for.

    Raises:
        StorageError: It does not.
    """
    if not key.startswith(start):
        raise StorageError(url, "the server lists a key from elsewhere; it cannot be listed")
    return key


def add_page(url: str, found: dict[str, ObjectInfo], page: list[ObjectInfo], most: int | None) -> None:
    """Add a page of a listing to what was found.

    Args:
        url: The storage's root, for errors.
        found: By path, what earlier pages had.
        page: The page.
        most: How many objects are enough, or None.

    Raises:
        StorageError: There is nothing new on it.
        LimitError: There are too many folders' markers.
    """
    before = len(found)
    found.update((info.path, info) for info in page)
    if page and len(found) == before:
        raise StorageError(url, "the server repeats a page of its listing; it cannot be listed")
    if most is not None and len(found) > _MARKERS_FACTOR * max(most, PAGE_OBJECTS):
        raise LimitError(
            "series", f"has more than {_MARKERS_FACTOR} times {most} objects, most of them empty"
        )


def enough(pages: Iterable[list[ObjectInfo]], most: int | None) -> Iterator[list[ObjectInfo]]:
    """The pages of a listing, no further than to where there are more than `most` objects.

    Empty ones do not count, which may only say that there is a folder.

    Args:
        pages: The pages.
        most: How many objects are enough, or None.
    """
    left = math.inf if most is None else most
    for page in pages:
        yield page
        left -= sum(info.size != 0 for info in page)
        if left < 0:
            return


def without_markers(found: list[ObjectInfo]) -> list[ObjectInfo]:
    """The listing without the empty objects that some tools put where a folder is."""
    folders = set()
    for info in found:
        parent = info.path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    return [info for info in found if info.size != 0 or info.path not in folders]


def _is_whole(wanted: ByteRange) -> bool:
    return wanted.start == 0 and wanted.end is None
