"""What came of many series: a row for each volume, and the totals."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.products.volumes.fleet.meta import csv_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.products.volumes.series import SeriesOutcome, VolumeOutcome

COLUMNS = (
    *("dataset", "series_dir", "series_hash", "volume", "status", "reason", "error", "refusal"),
    *("slice_count", "read_time_sec", "write_time_sec", "total_time_sec", "output_bytes", "output_files"),
    *("read_errors", "localizer_skipped", "derived_skipped", "verify_ok"),
    *("max_deviation_mm", "tilt_deg", "sha256", "low_quality"),
)
"""The columns of a summary."""

_STATUS = {"made": "ok", "exists": "skipped", "refused": "refused", "failed": "failed"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(slots=True)
class Summary:
    """Rows that come one after the other.

    Attributes:
        is_verified: Outputs are compared with their source; nothing is said of them otherwise.
        rows: A row for each volume, and for each part or series that is none.
    """

    is_verified: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    _series: Counter[str] = field(default_factory=Counter)
    _localizers: int = 0
    _derived: int = 0

    def add(self, known: Mapping[str, Any], outcome: SeriesOutcome) -> None:
        """Add what became of a series.

        Args:
            known: What the manifest says of it.
            outcome: What became of it.
        """
        found = Counter(_STATUS[one.status] for one in outcome.volumes)
        # The worst of its parts; a series whose volumes were all there is skipped.
        self._series[next((one for one in ("failed", "refused", "ok") if found[one]), "skipped")] += 1
        self._localizers += outcome.localizers
        self._derived += outcome.derived
        counts = {
            "read_errors": outcome.skipped,
            "localizer_skipped": outcome.localizers,
            "derived_skipped": outcome.derived,
        }
        for one in outcome.volumes:
            self._add({**known, **counts, **self._row(one)})

    def fail(self, known: Mapping[str, Any], error: str) -> None:
        """Add a series that could not be opened.

        Args:
            known: What the manifest says of it.
            error: Why, in one line.
        """
        self._series["failed"] += 1
        self._add({**known, "status": "failed", "reason": "error", "error": error})

    def _add(self, row: Mapping[str, Any]) -> None:
        self.rows.append({name: row.get(name) for name in COLUMNS})

    def _row(self, one: VolumeOutcome) -> dict[str, Any]:
        row: dict[str, Any] = {"volume": one.place or one.part, "status": _STATUS[one.status]}
        if one.refusal is not None:
            is_refused = one.status == "refused"
            row |= {"reason": one.refusal.code, "refusal" if is_refused else "error": one.refusal.problem}
            return row
        of_volume = one.receipt["volume"]
        _, slices, *_ = shape = of_volume["native_shape_tzyx"]
        row |= {
            "slice_count": shape[0] * slices,
            "output_bytes": one.size.bytes,
            "output_files": one.size.files,
            "max_deviation_mm": of_volume["largest_deviation_mm"],
            "tilt_deg": of_volume["tilt_deg"],
            "sha256": of_volume["sha256"],
            "low_quality": one.receipt.get("quality", {}).get("low_quality"),
        }
        if one.status == "exists":
            return {**row, "reason": "exists"}
        read, total = one.seconds.get("read", 0.0), sum(one.seconds.values())
        return {
            **row,
            "read_time_sec": read,
            "write_time_sec": round(total - read, 3),
            "total_time_sec": round(total, 3),
            "verify_ok": True if self.is_verified else None,
        }

    def totals(self) -> dict[str, Any]:
        """Return the totals."""
        ok = [row for row in self.rows if row["status"] == "ok"]
        refused = [row for row in self.rows if row["status"] == "refused"]
        output_bytes = sum(row["output_bytes"] for row in ok)
        return {
            "series_total": sum(self._series.values()),
            "series_ok": self._series["ok"],
            "series_failed": self._series["failed"],
            "series_skipped": self._series["skipped"],
            "series_refused": self._series["refused"],
            "volumes_ok": len(ok),
            "volumes_refused": len(refused),
            "refusals": dict(sorted(Counter(row["reason"] for row in refused).items())),
            "verify_ok_count": sum(row["verify_ok"] is True for row in ok),
            "verify_fail_count": sum(row["reason"] == "proof_failed" for row in refused),
            "localizer_skipped_total": self._localizers,
            "derived_skipped_total": self._derived,
            "output_bytes_total": output_bytes,
            "output_gb_total": round(output_bytes / 2**30, 2),
            "output_files_total": sum(row["output_files"] for row in ok),
            "slice_count_stats": _stats([row["slice_count"] for row in ok]),
            "read_time_sec": _stats([row["read_time_sec"] for row in ok]),
            "write_time_sec": _stats([row["write_time_sec"] for row in ok]),
            "total_time_sec": _stats([row["total_time_sec"] for row in ok]),
        }

    def files(self, suffix: str, run: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the summary's files by name.

        Args:
            suffix: What their names end with, such as `shard_00`.
            run: What is said of the run beside the totals.
        """
        name = f"summary_{safe}" if (safe := _UNSAFE.sub("_", suffix)) else "summary"
        text = json.dumps({**self.totals(), **run}, indent=2, ensure_ascii=False) + "\n"
        return {f"{name}.csv": csv_of(self.rows), f"{name}.json": text.encode()}


def _stats(numbers: list[float]) -> dict[str, float] | None:
    """Return mean, median, least and largest; None without numbers."""
    if not numbers:
        return None
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    mean = sum(ordered) / len(ordered)
    return {"mean": round(mean, 4), "p50": round(median, 4), "min": ordered[0], "max": ordered[-1]}
