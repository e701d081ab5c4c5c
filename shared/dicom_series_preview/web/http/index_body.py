"""The body of an index answer: a summary, Parquet, JSON or JSON lines."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.schema import SCHEMA_VERSION
from dicom_series_preview.products.pictures.plan import CACHEABLE_VERSION

if TYPE_CHECKING:
    from dicom_series_preview.archive.opened import OpenedSeries

# So many rows become Python objects at once: an object takes many times its text.
_ROWS_AT_ONCE = 500


def _summary(opened: OpenedSeries, alias: str) -> dict[str, Any]:
    """Return a summary of a series."""
    index = opened.index
    provenance = index.provenance
    stacks = [asdict(stack) for stack in index.described_stacks()]
    for stack in stacks:
        # Free text can hold names.
        del stack["description"]
    return {
        "series": opened.title,
        "asked_uid": opened.asked_uid,
        "root": alias,
        "matches": opened.matches,
        "fingerprint": provenance.fingerprint,
        "objects": provenance.listed,
        "limit": provenance.limit,
        "slices": index.slice_count,
        "columns": index.whole.column_names,
        "stacks": stacks,
        "series_instance_uids": provenance.series_instance_uids,
        "patient_ids": provenance.patient_ids,
        "skipped": [{"name": item.name, "reason": item.reason} for item in provenance.skipped],
        "duplicates": [{"name": one.name, "of": one.of} for one in provenance.duplicates],
        "notes": list(provenance.notes),
        "warnings": list(opened.warnings),
    }


def index_identity(opened: OpenedSeries, wanted: str, alias: str) -> str:
    """Return a digest of everything that decides an answer's bytes."""
    provenance = opened.index.provenance
    # The listing's fingerprint does not cover temporary failures.
    for_now = [item.name for item in provenance.skipped if item.transient]
    parts = (
        CACHEABLE_VERSION,
        SCHEMA_VERSION,
        wanted,
        alias,
        opened.name,
        opened.matches,
        provenance.fingerprint,
        provenance.limit,
        for_now,
        *((opened.asked_uid, opened.gone) if opened.asked_uid else ()),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


def index_body(opened: OpenedSeries, wanted: str, alias: str, most: int) -> bytes:
    """Return the index in a format; if it is too long for an answer, just enough rows to show that.

    It names the root by its alias, because its URL is the deployment's own business.
    """
    if not wanted:
        return json.dumps(_summary(opened, alias), ensure_ascii=False).encode()
    index = opened.index.with_root(alias)
    if wanted == "parquet":
        return index.to_parquet()
    lines, size = [], 0
    for batch in index.whole.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            lines.append(json.dumps(_plain(row), ensure_ascii=False).encode())
            size += len(lines[-1])
        if size > most:
            break
    return b"".join(line + b"\n" for line in lines) if wanted == "jsonl" else b"[" + b", ".join(lines) + b"]"


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of the index
    """Return a value in JSON's terms, which has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value
