"""The JSON documents of batches: requests, summaries and others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.names import LONE_SURROGATE
from dicom_series_preview.base.errors import ObjectChangedError, ObjectNotFoundError
from dicom_series_preview.products.batches.places import folder_of

if TYPE_CHECKING:
    from dicom_series_preview.sources.storage.base import Storage


def keep_request(batch: str, document: Any, data: Storage) -> Any:  # noqa: ANN401 - JSON documents
    """Store a batch's request, unless one is already stored.

    Returns:
        The stored request.

    Raises:
        StorageError: The request cannot be stored.
    """
    path = f"{folder_of(batch)}/request.json"
    try:
        data.put(path, json.dumps(document).encode(), if_version="")
    except ObjectChangedError:
        return json.loads(data.get(path).data)
    return document


def read_request(batch: str, data: Storage) -> Any:  # noqa: ANN401 - a JSON document
    """Return the request of a batch as given, or None without such a batch."""
    return read_document(f"{folder_of(batch)}/request.json", data)


def read_summary(batch: str, data: Storage) -> dict[str, Any] | None:
    """Return the summary of a batch, or None until there is one."""
    document: dict[str, Any] | None = read_document(f"{folder_of(batch)}/summary.json", data)
    return document


def read_document(path: str, data: Storage) -> Any:  # noqa: ANN401 - a JSON document
    """Return a JSON document, or None if it is missing."""
    try:
        return whole_characters(json.loads(data.get(path).data))
    except ObjectNotFoundError:
        return None


def whole_characters(document: Any) -> Any:  # noqa: ANN401 - JSON
    """Replace each half of a character in a document's texts by another character.

    JSON's escapes allow halves, which can be neither requested nor written: a name with one finds no series,
    and does not fail the others. Lists and requests stored before such names were refused have them.
    """
    if isinstance(document, str):
        return LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", document)
    if isinstance(document, dict):
        return {whole_characters(name): whole_characters(value) for name, value in document.items()}
    return [whole_characters(value) for value in document] if isinstance(document, list) else document
