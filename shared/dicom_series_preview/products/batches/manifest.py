"""A manifest, the list of a batch's series, as CSV or JSON."""

from __future__ import annotations

import codecs
import csv
import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import AccessDeniedError, LimitError, RequestError, StorageError
from dicom_series_preview.products.batches.documents import whole_characters
from dicom_series_preview.products.batches.outcomes import RETRIED
from dicom_series_preview.sources.storage.base import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.products.batches.host import BatchHost
    from dicom_series_preview.sources.storage.base import Fetched

MANIFEST_LIMIT_BYTES = 128 * 2**20
_HEAD_BYTES = 64 * 1024
_COLUMNS = ("series", "series_dir")


def check_manifest(url: str, host: BatchHost) -> None:
    """Check the beginning of a manifest, or all of a short one.

    Raises:
        RequestError: The manifest cannot be read, or is not a manifest.
    """
    head = _fetch(url, _HEAD_BYTES, host)
    if head.object_size > MANIFEST_LIMIT_BYTES:
        raise LimitError("manifest", f"has {head.object_size} bytes; the limit is {MANIFEST_LIMIT_BYTES}")
    with _bad_manifest():
        if len(head.data) == head.object_size:
            if not _names(url, head.data):
                raise RequestError("manifest", "names no series")
            return
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head.data)
        if _is_json(url):
            if not text.lstrip().startswith("["):
                raise TypeError("is no array")
        else:
            _column_of(csv.DictReader(io.StringIO(text, newline="")))


def read_manifest(url: str, host: BatchHost) -> list[str]:
    """Return the series that a manifest in S3 names: a CSV with a column of them, or a JSON array.

    Raises:
        RequestError: The manifest cannot be read, or is not a manifest.
        StorageError: The storage does not answer.
    """
    fetched = _fetch(url, MANIFEST_LIMIT_BYTES + 1, host)
    if len(fetched.data) > MANIFEST_LIMIT_BYTES:
        raise LimitError("manifest", f"has more than {MANIFEST_LIMIT_BYTES} bytes, the limit")
    with _bad_manifest():
        return _names(url, fetched.data)


def _fetch(url: str, most: int, host: BatchHost) -> Fetched:
    """Fetch the first bytes of a manifest.

    Raises:
        RequestError: The manifest cannot be read.
        StorageError: The storage does not answer.
    """
    bucket, _, name = url.removeprefix("s3://").partition("/")
    try:
        (fetched,) = host.open(f"s3://{bucket}").fetch([ByteRange(name, 0, most)])
        if fetched.error is not None:
            raise fetched.error
    except RETRIED:
        raise
    except AccessDeniedError as error:
        raise RequestError("manifest", host.manifest_hint) from error
    except (StorageError, RequestError) as error:
        raise RequestError("manifest", f"cannot be read: {error.problem}") from error
    return fetched


@contextmanager
def _bad_manifest() -> Iterator[None]:
    """Report a file that cannot be parsed as no manifest."""
    try:
        yield
    except (ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        raise RequestError(
            "manifest", "is no CSV with a column series and no JSON array of series"
        ) from error


def _names(url: str, data: bytes) -> list[str]:
    text = data.decode("utf-8-sig")
    names = _json_names(text) if _is_json(url) else _csv_names(text)
    return [name for name in names if name]


def _is_json(url: str) -> bool:
    return url.lower().endswith(".json")


def _json_names(text: str) -> list[str]:
    entries = whole_characters(json.loads(text))
    if not isinstance(entries, list):
        raise TypeError("is no array")
    names = [entry if isinstance(entry, str) else entry["series"] for entry in entries]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is text")
    return names


def _csv_names(text: str) -> list[str]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    column = _column_of(rows)
    return [row[column] for row in rows]


def _column_of(rows: csv.DictReader[str]) -> str:
    """Return the column with the series: ours, or that of the command `manifest`.

    Raises:
        KeyError: There is none.
    """
    for name in _COLUMNS:
        if name in (rows.fieldnames or ()):
            return name
    raise KeyError(_COLUMNS[0])
