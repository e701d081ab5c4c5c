"""Objects behind an obstore store: the part that S3 and memory share."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError

from dicom_series_preview.base.errors import ObjectChangedError
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, check_path
from dicom_series_preview.sources.storage.failures import OBSTORE_ERRORS, Failure, storage_error
from dicom_series_preview.sources.storage.pooled import PooledStorage
from dicom_series_preview.sources.storage.transient import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.throttle import Throttle


_T = TypeVar("_T")


class ObjectStoreStorage(PooledStorage):
    """Objects behind an obstore store.

    Args:
        store: The store, rooted at the bucket, without retries: those happen here, where throttling is seen.
        url: The root's URL.
        prefix: The root's path in the store, without slashes at its ends.
        throttle: Limits the requests in flight.
        retry: The rules of retries.
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
        super().__init__(url, throttle)
        self._store = store
        self._prefix = prefix
        self._retry = retry

    def put(
        self,
        path: str,
        data: bytes,
        *,
        if_version: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Write as `Storage.put`; the store itself checks conditions."""
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
        """See `Storage.delete`."""
        key, url = self._key(path), self._object_url(path)
        self._meter.count(puts=1)
        try:
            self._retried(url, lambda: self._delete_once(key))
        except FileNotFoundError:
            return
        except OBSTORE_ERRORS as error:
            raise storage_error(url, error) from error

    def _key(self, path: str) -> str:
        check_path(self._url, path)
        return f"{self._prefix}/{path}" if self._prefix else path

    def _object_url(self, path: str) -> str:
        return f"{self._url}/{path}"

    def _retried(self, url: str, attempt: Callable[[], _T]) -> _T:
        """Send a request, retry where that can help, and return its result."""
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
            # obstore refuses an empty range: read one byte to learn the object's size.
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
        # Only our own objects have any, and those are read whole.
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

        If an earlier try's answer was lost, the object in the way can be its own.
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
        """Delete; obstore sends S3 a POST, which it does not retry when a connection breaks."""
        try:
            obstore.delete(self._store, key)
        except GenericError as error:
            raise Failure.of(error).passing() or error from error

    def _past_end(self, wanted: ByteRange, key: str, error: GenericError) -> Fetched:
        """Return the empty answer for a range past the object's end, which fails with a generic error.

        Every range is past the end of an empty object. This requests the whole object and leaves its body
        unread: HEAD does not need the same permission everywhere.

        Raises:
            TransientError: The range is not the cause, and another try can help.
            GenericError: The range is not the cause.
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


def _is_whole(wanted: ByteRange) -> bool:
    return wanted.start == 0 and wanted.end is None
