"""Say what came of judging a series in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import counted
from dicom_series_preview.base.selection import numbers_told
from dicom_series_preview.pixels.quality.series import percent

if TYPE_CHECKING:
    from dicom_series_preview.products.quality.judging import QualityReport

_MOST_RUNS = 6


def line_of(report: QualityReport) -> str:
    """Return a series' line: the verdict, its share, the reasons, the slices, and what else there is."""
    return "; ".join((f"{report.series}: {_verdict(report)}", *_beside(report)))


def _verdict(report: QualityReport) -> str:
    quality = report.quality
    if quality.low_quality is None or quality.ratio is None:
        return f"not judged: {_not_judged(report)}"
    verdict = "low quality" if quality.low_quality else "normal"
    judged = len(quality.slices)
    which = counted(quality.count, "slice")
    if quality.mode == "sample":
        which = f"the middle {judged} of {which}"
    if not quality.flagged:
        return f"{verdict}, no issue in {which}"
    if judged == 1 == quality.count:
        return f"{verdict}: {quality.told}"
    reasons = ", ".join(f"{reason.text} ({count})" for reason, count in quality.reasons)
    many = f"{len(quality.flagged)} of {which}"
    return f"{verdict}, {many} with issues ({percent(quality.ratio)}): {reasons}: {_slices(report)}"


def _slices(report: QualityReport) -> str:
    """Name the slices with issues, by their numbers in their stacks."""
    by_stack: dict[int, list[int]] = {}
    for number in report.quality.flagged:
        place = report.slices[number]
        by_stack.setdefault(place.stack, []).append(place.slice)
    are_several = len({place.stack for place in report.slices.values()}) > 1
    return "; ".join(
        f"{f'stack {stack} ' if are_several or stack else ''}"
        f"slice{'' if len(slices) == 1 else 's'} {numbers_told(slices, _MOST_RUNS)}"
        for stack, slices in by_stack.items()
    )


def _beside(report: QualityReport) -> list[str]:
    """Return what else there is to say: slices that were not judged, findings, skipped objects."""
    told = []
    if report.left_out and report.quality.slices:
        told.append(f"not judged: {_not_judged(report)}")
    told += [
        f"{one.told}{f', in stack {one.stack}' if one.stack else ''} ({one.code})" for one in report.findings
    ]
    if report.skipped:
        told.append(f"{counted(len(report.skipped), 'object')} skipped")
    return told


def _not_judged(report: QualityReport) -> str:
    return ", ".join(
        f"{counted(one.slices, 'slice')} {'in' if one.what == 'colour' else 'of'} {one.what}"
        for one in report.left_out
    )
