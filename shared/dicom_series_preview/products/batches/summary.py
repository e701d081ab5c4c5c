"""Summarise all outcomes of a batch, and write them to one Parquet file."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.products.batches.documents import read_document
from dicom_series_preview.products.batches.outcomes import Counts, read_outcomes
from dicom_series_preview.products.batches.places import folder_of
from dicom_series_preview.products.batches.prepare import is_conversion

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
        kind: `preview` or `convert`.
        made: Series of which volumes were made.
        exists: Series whose volumes were there already.
        refused: Series of which nothing is a volume.
        volumes: The number of volumes that were made or there.
        refusals: The number of parts of series that are no volume, by code.
        too_large_here: Path of a manifest of the series that were too large for the functions, or None.
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
    kind: str = "preview"
    made: int = 0
    exists: int = 0
    refused: int = 0
    volumes: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    too_large_here: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of series by what became of them, as far as the kind has them."""
        own = ("ok", "no_preview") if self.kind == "preview" else ("made", "exists", "refused")
        return {name: getattr(self, name) for name in ("items", *own, "failed", "missing")}


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


# A row for each volume, and for each part or series that is none.
_VOLUME_SCHEMA = pa.schema(
    [
        ("series", pa.utf8()),
        ("root", pa.utf8()),
        ("status", pa.utf8()),
        ("part", pa.utf8()),
        ("output", pa.utf8()),
        ("code", pa.utf8()),
        ("problem", pa.utf8()),
        ("output_bytes", pa.int64()),
        ("sha256", pa.utf8()),
        ("error", pa.utf8()),
        ("reason", pa.utf8()),
        ("slices", pa.int64()),
        ("skipped", pa.int64()),
        ("index_source", pa.utf8()),
        ("requests", pa.int64()),
        ("bytes", pa.int64()),
        ("milliseconds", pa.int64()),
    ]
)
_TOO_LARGE = "too_large_here"


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
    kind = "convert" if is_conversion(items) else "preview"
    schema = _VOLUME_SCHEMA if kind == "convert" else _OUTCOME_SCHEMA
    rows = _volume_rows(outcomes) if kind == "convert" else outcomes
    data.put(f"{folder}/outcomes.parquet", _parquet(rows, missing, schema))
    too_large = _put_too_large(outcomes, folder, data)
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
        kind=kind,
        made=counts.made,
        exists=counts.exists,
        refused=counts.refused,
        volumes=counts.volumes,
        refusals=counts.refusals,
        too_large_here=too_large,
    )
    data.put(f"{folder}/summary.json", json.dumps(asdict(summary)).encode())
    return summary


def _volume_rows(outcomes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each volume of each series; what was read for a series counts in its first one."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        rest = {name: value for name, value in outcome.items() if name != "volumes"}
        for number, volume in enumerate(outcome.get("volumes") or [{}]):
            costs = {} if number == 0 else dict.fromkeys(("requests", "bytes", "milliseconds"))
            rows.append({**rest, **costs, **{name: value or None for name, value in volume.items()}})
    return rows


def _put_too_large(outcomes: Iterable[Mapping[str, Any]], folder: str, data: Storage) -> str | None:
    """Write a manifest of the series that were too large for the functions; return its path."""
    names = [
        outcome["series"]
        for outcome in outcomes
        if any(volume["code"] == _TOO_LARGE for volume in outcome.get("volumes", ()))
    ]
    if not names:
        return None
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["series_dir"])
    writer.writerows([name] for name in names)
    path = f"{folder}/{_TOO_LARGE}.csv"
    data.put(path, text.getvalue().encode("utf-8", "surrogateescape"))
    return path


def _parquet(
    outcomes: list[dict[str, Any]], missing: Iterable[Mapping[str, Any]], schema: pa.Schema
) -> bytes:
    """Write the outcomes as Parquet, with a row for each series without one."""
    reason = "no outcome was written"
    rows = outcomes + [
        {"series": item["series"], "root": item["root"], "status": "missing", "reason": reason}
        for item in missing
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="zstd")
    return bytes(sink.getvalue())


def _reason_of(folder: str, error: str, data: Storage) -> dict[str, str]:
    """Return why a step of a batch failed: its own words, else Step Functions' name for the error."""
    told = read_document(f"{folder}/failure.json", data)
    if told is not None and told["error"] == error:
        return {"error": error, "reason": told["reason"]}
    return {"error": error, "reason": f"a step of the batch ended with {error}"}
