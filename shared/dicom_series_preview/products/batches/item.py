"""Process one series of a batch: write its index, its mosaic and its outcome."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import (
    LimitError,
    NoImageError,
    PreviewError,
    SeriesNameError,
    SeriesNotFoundError,
    StorageError,
    detail_of,
)
from dicom_series_preview.products.batches.documents import read_document, whole_characters
from dicom_series_preview.products.batches.host import Item, VolumeItem, VolumeMade
from dicom_series_preview.products.batches.outcomes import RETRIED, failure_of, keep_outcome
from dicom_series_preview.products.batches.places import check_batch_id, mosaic_paths, outcome_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.products.batches.host import BatchHost


# What is no volume at all, whoever asks again.
_REFUSALS: tuple[tuple[type[PreviewError], str], ...] = (
    (NoImageError, "no_image"),
    (SeriesNotFoundError, "not_found"),
    (SeriesNameError, "not_found"),
    (LimitError, "too_large"),
)


def run_item(
    batch: str, item: Mapping[str, Any], host: BatchHost, seconds: float = math.inf
) -> dict[str, Any]:
    """Index one series and render its mosaic, or convert its volumes; for the catalogue, only index it.

    Args:
        batch: The batch.
        item: The series, its root and the options of its mosaic or volumes.
        host: The batch's host.
        seconds: The time limit.

    Returns:
        The outcome, which is also written.

    Raises:
        PreviewError: A temporary error, or one that is no fault of the series: the map tries again. The
            written outcome is `failed`, with the reason.
    """
    check_batch_id(batch)
    item = whole_characters(item)
    outcome: dict[str, Any] = {"series": item["series"], "root": item["root"], "status": "ok"}
    start = time.perf_counter()
    try:
        outcome |= _work_of(item)(batch, item, host, seconds)
    except PreviewError as error:
        passes = _may_pass(error, host)
        slow = isinstance(error, LimitError) and time.perf_counter() - start >= seconds
        settled = _refused(error) if "convert" in item else {"status": "no-preview"}
        outcome |= failure_of(error) | ({"status": "failed"} if passes or slow else settled)
        keep_outcome(batch, outcome, host.data)
        if passes:
            raise
        return outcome
    outcome["milliseconds"] = round((time.perf_counter() - start) * 1000)
    keep_outcome(batch, outcome, host.data)
    return outcome


def _work_of(
    item: Mapping[str, Any],
) -> Callable[[str, Mapping[str, Any], BatchHost, float], dict[str, Any]]:
    if "convert" in item:
        return _convert
    return _index if item.get("catalogue") else _preview


def _convert(_batch: str, item: Mapping[str, Any], host: BatchHost, seconds: float) -> dict[str, Any]:
    """Convert a series' volumes, and return what became of each and the cost."""
    found = host.volumes.make(VolumeItem(item["root"], item["series"], item["convert"]), seconds)
    outcome = {
        "status": _status_of([one.status for one in found.volumes]),
        "volumes": [asdict(one) for one in found.volumes],
        "slices": found.slices,
        "skipped": found.skipped,
        "index_source": found.index_source,
        "requests": found.requests,
        "bytes": found.bytes,
    }
    if outcome["status"] == "failed":
        (first, *_) = (one for one in found.volumes if one.status == "failed")
        outcome |= {"error": "OutputError", "reason": first.problem}
    return outcome


def _status_of(statuses: Sequence[str]) -> str:
    """Return the status of a series: failed if a volume is, else what is best of its volumes."""
    return next((one for one in ("failed", "made", "exists") if one in statuses), "refused")


def _refused(error: PreviewError) -> dict[str, Any]:
    """Return the outcome of a series that cannot be opened: refused where a retry would end so again."""
    for kind, code in _REFUSALS:
        if isinstance(error, kind):
            part = VolumeMade("refused", "", code=code, problem=detail_of(error))
            return {"status": "refused", "volumes": [asdict(part)]}
    return {"status": "failed"}


def _preview(batch: str, item: Mapping[str, Any], host: BatchHost, seconds: float) -> dict[str, Any]:
    """Write a series' mosaic, and return its cost."""
    mosaic = host.mosaics.make(Item(item["root"], item["series"], item["mosaic"]), seconds)
    picture, marks = mosaic_paths(batch, mosaic.root, mosaic.folders, mosaic.series_uid)
    for mark in marks:
        host.data.put(mark, picture.encode())
    host.data.put(picture, mosaic.data, attributes={"Content-Type": mosaic.media_type})
    return {
        "picture": picture,
        "slices": mosaic.slices,
        "skipped": mosaic.skipped,
        "index_source": mosaic.index_source,
        "requests": mosaic.requests,
        "bytes": mosaic.bytes,
    }


def _index(_batch: str, item: Mapping[str, Any], host: BatchHost, seconds: float) -> dict[str, Any]:
    """Bring a series' index up to date, and return its cost."""
    indexed = host.mosaics.index(Item(item["root"], item["series"], {}), seconds)
    return {
        "slices": indexed.slices,
        "skipped": indexed.skipped,
        "index_source": indexed.index_source,
        "requests": indexed.requests,
        "bytes": indexed.bytes,
    }


def _may_pass(error: PreviewError, host: BatchHost) -> bool:
    """Return True for temporary errors, and for errors of the data storage: no fault of the series."""
    own = isinstance(error, StorageError) and f"{error.url}/".startswith(f"{host.data.url}/")
    return own or isinstance(error, RETRIED)


def give_up(batch: str, item: Mapping[str, Any], error: str, host: BatchHost) -> dict[str, Any]:
    """Write the outcome of a series whose last try has failed.

    Args:
        batch: The batch.
        item: The series and its root.
        error: Step Functions' name for the error: a type of ours, or that the function has died.
        host: The batch's host.

    Returns:
        The outcome. If an earlier try has settled it, or the last try has written its own, that one stays.
    """
    item = whole_characters(item)
    known = read_document(outcome_path(batch, item["series"]), host.data)
    if known is not None and (known["status"] != "failed" or known["error"] == error):
        written: dict[str, Any] = known
        return written
    outcome = {
        "series": item["series"],
        "root": item["root"],
        "status": "failed",
        "error": error,
        "reason": f"its function ended with {error}, and so it did when it was tried again",
    }
    keep_outcome(batch, outcome, host.data)
    return outcome
