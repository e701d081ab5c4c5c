"""The outcome of each series of a batch, written by the item itself.

So the summary does not need the map's own output, and a rerun starts from the outcomes of an earlier batch.
The outcomes' status:

ok          index and mosaic exist
no-preview  the fault lies in the series (no image, not found, too large, access denied): a retry would give
            the same result, so nothing is raised, and a rerun skips the series unless asked to include it
failed      something else failed (storage unavailable, the function died): the map has retried it several
            times, and a rerun tries it again
made        at least one volume was made; parts of the series may have been refused
exists      all its volumes were there already, of the same source and options
refused     nothing of it is a volume, for reasons of its own: a rerun skips it as well, unless asked
missing     there is no outcome: the batch was cancelled or stopped before, or none could be written
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import (
    CredentialsError,
    IndexBusyError,
    ObjectChangedError,
    PreviewError,
    StorageUnavailableError,
    detail_of,
)
from dicom_series_preview.products.batches.places import outcome_path, outcomes_folder
from dicom_series_preview.products.batches.request import INLINE_LIMIT
from dicom_series_preview.sources.storage.base import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dicom_series_preview.sources.storage.base import ObjectInfo, Storage

# The temporary errors. functions/batch.asl.json names the same.
RETRIED = (StorageUnavailableError, ObjectChangedError, IndexBusyError, CredentialsError)


def failure_of(error: PreviewError) -> dict[str, str]:
    """Return an error's kind and text, in the form of outcomes and failures."""
    return {"error": type(error).__name__, "reason": detail_of(error)}


def keep_outcome(batch: str, outcome: Mapping[str, Any], data: Storage) -> None:
    """Write the outcome of one series."""
    data.put(outcome_path(batch, outcome["series"]), json.dumps(outcome).encode())


def read_outcomes(batch: str, data: Storage) -> list[dict[str, Any]]:
    """Return the outcomes written so far by a batch's items, sorted by series."""
    return _read_outcomes(data, data.list_objects(outcomes_folder(batch)))


def _read_outcomes(data: Storage, listed: Iterable[ObjectInfo]) -> list[dict[str, Any]]:
    outcomes = []
    for fetched in data.fetch(ByteRange(info.path) for info in listed):
        if fetched.error is not None:
            raise fetched.error
        outcomes.append(json.loads(fetched.data))
    return sorted(outcomes, key=lambda outcome: str(outcome["series"]))


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of series by their outcome.

    Attributes:
        ok: Series that succeeded.
        no_preview: Series that cannot have a preview.
        failed: Series that failed, and might succeed another time.
        reasons: The number of series without a preview or failed, by error.
        made: Series of which volumes were made.
        exists: Series whose volumes were there already.
        refused: Series of which nothing is a volume.
        refusals: The number of parts of series that are no volume, by code.
        volumes: The number of volumes that were made or there.
    """

    ok: int
    no_preview: int
    failed: int
    reasons: dict[str, int]
    made: int = 0
    exists: int = 0
    refused: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    volumes: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[Mapping[str, Any]]) -> Counts:
        """Count outcomes."""
        statuses: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        parts: Counter[str] = Counter()
        for outcome in outcomes:
            statuses[outcome["status"]] += 1
            if outcome["status"] in ("no-preview", "refused", "failed") and "error" in outcome:
                reasons[outcome["error"]] += 1
            for volume in outcome.get("volumes", ()):
                parts[volume["code"] or "there"] += 1
        volumes = parts.pop("there", 0)
        return cls(
            statuses["ok"],
            statuses["no-preview"],
            statuses["failed"],
            dict(sorted(reasons.items())),
            statuses["made"],
            statuses["exists"],
            statuses["refused"],
            dict(sorted(parts.items())),
            volumes,
        )


def counts_so_far(batch: str, data: Storage) -> Counts | None:
    """Return the counts of a batch's outcomes so far; None if there are too many to read for an answer."""
    listed = data.list_objects(outcomes_folder(batch), most=INLINE_LIMIT)
    if len(listed) > INLINE_LIMIT:
        return None
    return Counts.of(_read_outcomes(data, listed))
