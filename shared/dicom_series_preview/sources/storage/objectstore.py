"""Objects behind an obstore store: the part that S3 and memory share."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from itertools import count
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError

from dicom_series_preview.base.errors import ObjectChangedError, StorageError
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, check_path
from dicom_series_preview.sources.storage.failures import OBSTORE_ERRORS, Failure, storage_error
from dicom_series_preview.sources.storage.pooled import PooledStorage
from dicom_series_preview.sources.storage.transient import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from obstore import GetOptions, ObjectMeta, PutMode
    from obstore.store import ObjectStore

    from dicom_series_preview.sources.storage.deadline import Deadline
    from dicom_series_preview.sources.storage.retry import RetryPolicy
    from dicom_series_preview.sources.storage.throttle import Throttle


_T = TypeVar("_T")

# S3 takes so much in one request.
_ONE_PUT_BYTES = 5 * 10**9
_PART_BYTES = 64 * 2**20
_MD5 = re.compile("[0-9a-f]{32}")


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

    def put_file(self, path: str, file: Path, *, is_new: bool = False) -> str:
        """Write one object from a file: one request below 5 GB, none of the file's bytes copied.

        Args:
            path: The object's path.
            file: The file, which is not empty and does not change meanwhile.
            is_new: Write over no other object (up to 5 GB: S3 checks no condition of larger ones).

        Returns:
            The SHA-256 of what was written, in hex. What the store says of it was compared with it.

        Raises:
            ObjectChangedError: Another object is there.
            StorageError: The object cannot be written, or is not what was sent.
        """
        key, url = self._key(path), self._object_url(path)
        with file.open("rb") as stream:
            # Nobody closes it: the store may hold the bytes for longer than its answer takes, or for good.
            data = memoryview(mmap(stream.fileno(), 0, access=ACCESS_READ))
        sha256 = hashlib.sha256(data).hexdigest()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        try:
            etag = self._retried(url, lambda: self._put_data_once(key, data, is_new=is_new))
        except AlreadyExistsError as error:
            # That of an earlier try whose answer was lost, or of a run that was killed, is as good.
            if hashlib.sha256(self.get(path).data).hexdigest() != sha256:
                raise ObjectChangedError(url, "exists already") from error
            return sha256
        except OBSTORE_ERRORS as error:
            raise storage_error(url, error) from error
        etag = etag.strip('"')
        # Of an encrypted object the ETag looks like an MD5 and is none.
        if _MD5.fullmatch(etag) and etag != md5:
            there = hashlib.sha256(self.get(path).data).hexdigest()
            if there != sha256:
                raise StorageError(url, "what the store has is not what was sent")
        return sha256

    def _put_data_once(self, key: str, data: memoryview, *, is_new: bool) -> str:
        self._meter.count(puts=1)
        try:
            if len(data) > _ONE_PUT_BYTES:
                result = obstore.put(self._store, key, data, use_multipart=True, chunk_size=_PART_BYTES)
            else:
                mode: PutMode = "create" if is_new else "overwrite"
                result = obstore.put(self._store, key, data, mode=mode, use_multipart=False)
        except GenericError as error:
            raise Failure.of(error).passing() or error from error
        return result["e_tag"] or ""

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
