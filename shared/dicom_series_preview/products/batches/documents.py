"""The JSON documents of batches: a batch's request, and all else that is kept of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.names import LONE_SURROGATE
from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError
from dicom_series_preview.products.batches.places import folder_of

if TYPE_CHECKING:
    from dicom_series_preview.sources.storage.base import Storage


def keep_request(batch: str, document: Any, data: Storage) -> Any:  # noqa: ANN401 - JSON documents
    """Keep a batch's request, unless one is kept already.

    Returns:
        The request that is kept.

    Raises:
        StorageError: It cannot be kept.
    """
    path = f"{folder_of(batch)}/request.json"
    try:
        data.put(path, json.dumps(document).encode(), if_version="")
    except ObjectChangedError:
        return json.loads(data.get(path).data)
    return document


def read_request(batch: str, data: Storage) -> Any:  # noqa: ANN401 - a JSON document
    """Return the request of a batch as it was given, or None where there is no such batch."""
    return read_document(f"{folder_of(batch)}/request.json", data)


def read_summary(batch: str, data: Storage) -> dict[str, Any] | None:
    """Return the summary of a batch, or None while there is none."""
    document: dict[str, Any] | None = read_document(f"{folder_of(batch)}/summary.json", data)
    return document


def read_document(path: str, data: Storage) -> Any:  # noqa: ANN401 - a JSON document
    """Return a JSON document, or None where there is none."""
    try:
        return whole_characters(json.loads(data.get(path).data))
    except ObjectNotFoundError:
        return None


def whole_characters(document: Any) -> Any:  # noqa: ANN401 - JSON
    """A document in whose texts another character stands for each half of one.

    JSON's escapes allow halves, and they can neither be asked for nor written: a name that has one finds no
    series, and takes none along. Lists and requests that were kept before such names were refused have them.
    """
    if isinstance(document, str):
        return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", document)
    if isinstance(document, dict):
        return {whole_characters(name): whole_characters(value) for name, value in document.items()}
    return [whole_characters(value) for value in document] if isinstance(document, list) else document
