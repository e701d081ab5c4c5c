"""Summarise all outcomes of a batch, and write them to one Parquet file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.products.batches.documents import read_document
from dicom_series_preview.products.batches.outcomes import Counts, read_outcomes
from dicom_series_preview.products.batches.places import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a batch.

    Attributes:
        batch: Its identifier.
        items: Its number of series.
        ok: Series that succeeded.
        no_preview: Series that cannot have a preview.
        failed: Series that failed, and might succeed another time.
        missing: Series without an outcome: never tried, or not writable.
        reasons: The number of series without a preview or failed, by error.
        requests: Requests made.
        bytes: Bytes of objects received.
        milliseconds: Time spent in the functions.
        error: Why the batch as a whole failed, as `error` and `reason`; or None.
        outcomes: Path of the outcomes as Parquet.
    """

    batch: str
    items: int
    ok: int
    no_preview: int
    failed: int
    missing: int
    reasons: dict[str, int]
    requests: int
    bytes: int
    milliseconds: int
    error: dict[str, str] | None
    outcomes: str


_OUTCOME_SCHEMA = pa.schema(
    [
        ("series", pa.utf8()),
        ("root", pa.utf8()),
        ("status", pa.utf8()),
        ("error", pa.utf8()),
        ("reason", pa.utf8()),
        ("picture", pa.utf8()),
        ("slices", pa.int64()),
        ("skipped", pa.int64()),
        ("index_source", pa.utf8()),
        ("requests", pa.int64()),
        ("bytes", pa.int64()),
        ("milliseconds", pa.int64()),
    ]
)


def summarise(batch: str, data: Storage, error: str | None = None, tolerated_percent: float = 100) -> Summary:
    """Gather a batch's outcomes into one Parquet file and a summary.

    Args:
        batch: The batch.
        data: The storage of batches.
        error: Step Functions' name for the error of a step of the batch itself, or None.
        tolerated_percent: The batch fails if a larger share of its series has failed or is missing.
    """
    folder = folder_of(batch)
    # A batch that failed early has none.
    items = read_document(f"{folder}/items.json", data) or []
    outcomes = read_outcomes(batch, data)
    told = {outcome["series"] for outcome in outcomes}
    missing = [item for item in items if item["series"] not in told]
    data.put(f"{folder}/outcomes.parquet", _parquet(outcomes, missing))
    counts = Counts.of(outcomes)
    lost = counts.failed + len(missing)
    if error is not None:
        why = _reason_of(folder, error, data)
    elif lost * 100 > tolerated_percent * len(items):
        reason = f"{lost} of {len(items)} series failed or are missing, more than {tolerated_percent:g} %"
        why = {"error": "TooManyFailed", "reason": f"{reason}; a rerun does them again"}
    else:
        why = None
    summary = Summary(
        batch=batch,
        items=len(items),
        ok=counts.ok,
        no_preview=counts.no_preview,
        failed=counts.failed,
        missing=len(missing),
        reasons=counts.reasons,
        requests=sum(outcome.get("requests", 0) for outcome in outcomes),
        bytes=sum(outcome.get("bytes", 0) for outcome in outcomes),
        milliseconds=sum(outcome.get("milliseconds", 0) for outcome in outcomes),
        error=why,
        outcomes=f"{folder}/outcomes.parquet",
    )
    data.put(f"{folder}/summary.json", json.dumps(asdict(summary)).encode())
    return summary


def _parquet(outcomes: list[dict[str, Any]], missing: Iterable[Mapping[str, Any]]) -> bytes:
    """Write the outcomes as Parquet, with a row for each series without one."""
    reason = "no outcome was written"
    rows = outcomes + [
        {"series": item["series"], "root": item["root"], "status": "missing", "reason": reason}
        for item in missing
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_OUTCOME_SCHEMA), sink, compression="zstd")
    return bytes(sink.getvalue())


def _reason_of(folder: str, error: str, data: Storage) -> dict[str, str]:
    """Return why a step of a batch failed: its own words, else Step Functions' name for the error."""
    told = read_document(f"{folder}/failure.json", data)
    if told is not None and told["error"] == error:
        return {"error": error, "reason": told["reason"]}
    return {"error": error, "reason": f"a step of the batch ended with {error}"}
