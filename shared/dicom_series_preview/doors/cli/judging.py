"""Judge the quality of many series, one after the other, with a line for each as it is done."""

from __future__ import annotations

import json
import os
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from dicom_series_preview.doors.cli.console import Progress, answer, say
from dicom_series_preview.doors.cli.opening import damage_of
from dicom_series_preview.doors.cli.several import Roots, checked_names, failure_line
from dicom_series_preview.pixels.quality.thresholds import Thresholds, check_environment
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.quality.judging import Judging, judge_series
from dicom_series_preview.products.quality.lines import line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.doors.cli.several import Job
    from dicom_series_preview.products.quality.judging import QualityReport


def judge_all(typed: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Judge series, and print a line for each when it is done, or a list in JSON.

    Args:
        typed: The series' names; a prefix means all matches.
        options: The command's.

    Returns:
        True where all were judged.

    Raises:
        PreviewError: An option, a name or a threshold is wrong; nothing was begun.
    """
    checked_names(typed, options)
    check_environment(os.environ)
    roots, thresholds = Roots(options), cache(partial(Thresholds.from_environment, os.environ))
    told = _Told(options)
    jobs = roots.jobs(typed, told.failed)
    with Progress(quiet=options["quiet"]) as progress:
        for number, job in enumerate(jobs, 1):
            many = f" ({number} of {len(jobs)})" if len(jobs) > 1 else ""
            try:
                with progress.part(job.shown, many) as part:
                    report = _judged(roots, job, thresholds, part, options)
            except Exception as error:  # noqa: BLE001 - one series' error must not stop the others
                told.failed(job.shown, error)
            else:
                told.judged(report)
    told.finish()
    return told.all_judged


class _Told:
    """The report on each series when it is done: a line, or an item of a list in JSON.

    Args:
        options: The command's.

    Attributes:
        all_judged: Every series so far could be judged.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._before = "["
        self.all_judged = True

    def judged(self, report: QualityReport) -> None:
        """Report what came of a series."""
        self.all_judged = self.all_judged and report.quality.low_quality is not None
        if self._options["as_json"]:
            self._item(report.document())
        else:
            answer(line_of(report))

    def failed(self, name: str, error: Exception) -> None:
        """Report a series that could not be judged."""
        self.all_judged = False
        line = failure_line(error, verbose=self._options["verbose"])
        say(f"failed   {name}: {line}")
        if self._options["as_json"]:
            self._item({"series": name, "status": "failed", "error": line})

    def finish(self) -> None:
        """End the list."""
        if self._options["as_json"]:
            answer("]")

    def _item(self, document: Mapping[str, Any]) -> None:
        # Each at once: those of thousands of series would take much memory.
        answer(f"{self._before}{json.dumps(document, indent=2, ensure_ascii=False)}")
        self._before = ","


def _judged(
    roots: Roots,
    job: Job,
    thresholds: Callable[[str], Thresholds],
    progress: Callable[[int, int], None],
    options: Mapping[str, Any],
) -> QualityReport:
    """Judge one series.

    Raises:
        PreviewError: It cannot be judged.
    """
    service = roots.service(job, progress, no_cache=options["no_cache"])

    def opened(again: bool) -> OpenedSeries:  # noqa: FBT001 - the one argument
        return service.index(IndexRequest(job.name), refresh=again)

    judging = Judging(
        thresholds,
        roots.settings.limits,
        check=service.watch().check,
        progress=progress,
        damaged=damage_of(job.shown),
    )
    with job.named.hinting():
        return judge_series(opened, judging)
