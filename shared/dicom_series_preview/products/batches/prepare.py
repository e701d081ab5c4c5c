"""List the series of a batch from its request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import LimitError, PreviewError, RequestError
from dicom_series_preview.products.batches.documents import read_document, read_request, whole_characters
from dicom_series_preview.products.batches.manifest import check_manifest, read_manifest
from dicom_series_preview.products.batches.outcomes import failure_of, read_outcomes
from dicom_series_preview.products.batches.places import folder_of
from dicom_series_preview.products.batches.request import BatchRequest
from dicom_series_preview.sources.storage.roots import parse_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dicom_series_preview.products.batches.host import BatchHost
    from dicom_series_preview.sources.storage.base import Storage


def check_source(request: BatchRequest, host: BatchHost) -> None:
    """Check, as far as it is cheap, that the series of a batch can be read at all.

    Raises:
        RequestError: The manifest cannot be read or is none, or there is no batch to rerun.
        StorageError: The storage does not answer.
    """
    if request.manifest is not None:
        check_manifest(request.manifest, host)
    if request.rerun is not None:
        _request_of(request.rerun, host)


def _request_of(batch: str, host: BatchHost) -> BatchRequest:
    """Return the request of an earlier batch.

    Raises:
        RequestError: The batch is gone, or never existed.
    """
    document = read_request(batch, host.data)
    if document is None:
        raise RequestError("rerun", "there is no such batch, or it is so old that its request has expired")
    return BatchRequest.from_document(document, host)


def prepare(batch: str, host: BatchHost) -> dict[str, Any]:
    """Write the items of a batch.

    Returns:
        `key`, the path of the items in the data bucket, `count`, and `kind`: what is made of them.

    Raises:
        PreviewError: The manifest or prefix cannot be read, or names nothing. `failure.json` says why.
    """
    data = host.data
    folder = folder_of(batch)
    try:
        document = whole_characters(json.loads(data.get(f"{folder}/request.json").data))
        request = BatchRequest.from_document(document, host)
        items = _items(request, host)
        if not items and request.rerun is None:
            raise RequestError("body", "the batch names no series")
        if len(items) > host.most_series:
            problem = f"the batch names {len(items)} series; the limit is {host.most_series}"
            raise LimitError("body", problem)
    except PreviewError as error:
        data.put(f"{folder}/failure.json", json.dumps(failure_of(error)).encode())
        raise
    data.put(f"{folder}/items.json", json.dumps(items).encode())
    below = parse_root(host.data.url, {}).prefix
    path = f"{folder}/items.json"
    kind = "convert" if is_conversion(items) else "preview"
    return {"key": f"{below}/{path}" if below else path, "count": len(items), "kind": kind}


def _items(request: BatchRequest, host: BatchHost) -> list[dict[str, Any]]:
    """Return the items of a batch: each series once, with its root and options."""
    if request.rerun is not None:
        return _not_done(request, request.rerun, host)
    if request.kind == "convert":
        volumes = {name: list(values) for name, values in request.volumes.items()}
        return [
            {"root": request.root, "series": name, "convert": volumes}
            for name in dict.fromkeys(_names(request, host))
        ]
    mosaic = {name: list(values) for name, values in request.mosaic.items()}
    names = dict.fromkeys(_names(request, host))
    work: dict[str, Any] = {"catalogue": True} if request.catalogue else {"mosaic": mosaic}
    return [{"root": request.root, "series": name, **work} for name in names]


def _not_done(request: BatchRequest, batch: str, host: BatchHost) -> list[dict[str, Any]]:
    """Return the remaining items of an earlier batch, as they were."""
    items = read_document(f"{folder_of(batch)}/items.json", host.data)
    if items is None:
        # The batch ended before it wrote its items.
        items = _items(_request_of(batch, host), host)
    settled = {"ok", "made", "exists"}
    settled |= set() if request.no_preview else {"no-preview"}
    settled |= set() if request.refused else {"refused"}
    outcomes = read_outcomes(batch, host.data)
    done = {outcome["series"] for outcome in outcomes if outcome["status"] in settled}
    return [item for item in items if item["series"] not in done]


def is_conversion(items: Iterable[Mapping[str, Any]]) -> bool:
    """Return True where a batch converts its series; all items of a batch are of one kind."""
    return any("convert" in item for item in items)


def _names(request: BatchRequest, host: BatchHost) -> Iterable[str]:
    if request.series:
        return request.series
    if request.manifest is not None:
        return read_manifest(request.manifest, host)
    storage = host.open(host.roots[request.root])
    return _folders(storage, request.prefix or "", host.series_depth)


def _folders(storage: Storage, prefix: str, depth: int) -> Iterator[str]:
    """Yield the folders with this prefix, no higher than where series lie."""
    for folder in storage.list_folders(prefix):
        if folder.count("/") + 1 < depth:
            yield from _folders(storage, f"{folder}/", depth)
        else:
            yield folder
