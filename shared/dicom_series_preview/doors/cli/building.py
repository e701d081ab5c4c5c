"""Build many indices, several small series at once, with a line for each as it is done."""

from __future__ import annotations

import json
import os
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.here import find
from dicom_series_preview.base.errors import PreviewError, RequestError, counted
from dicom_series_preview.doors.cli.console import Progress, answer, line_of, say
from dicom_series_preview.doors.cli.many import Job, ManySeries
from dicom_series_preview.products.pictures.requests import IndexRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.opened import OpenedSeries

_AT_ONCE = 4


def build_indices(typed: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Build the indices of series, and print a line for each when it is done.

    Args:
        typed: The series' names; a prefix means all matches.
        options: The command's.

    Returns:
        True where all were built.

    Raises:
        PreviewError: An option or a name is wrong; nothing was begun.
    """
    # Report a mistake in any name before starting work on the others.
    requests = [IndexRequest.from_strings(_checked(name, options), _limit(options)) for name in typed]
    builder = ManySeries(options)
    told = _Told(options)
    jobs: dict[tuple[str, str], Job] = {}
    for name in typed:
        try:
            for job in builder.jobs(name):
                jobs.setdefault((job.named.root, job.name.text), job)
        except Exception as error:  # noqa: BLE001 - one name's error must not stop the others
            told.failed(name, error)
    told.order = [job.shown for job in jobs.values()]
    if options["output"] and len(jobs) > 1:
        raise RequestError("output", f"is for one series, and {len(jobs)} are meant; use `cache_dir`")
    with Progress(quiet=options["quiet"]) as progress:
        _build_all(builder, list(jobs.values()), requests[0].limit, progress, told)
    told.finish()
    return not told.failures


def _build_all(
    builder: ManySeries, jobs: Sequence[Job], limit: int | None, progress: Progress, told: _Told
) -> None:
    def build(number: int, job: Job) -> tuple[OpenedSeries, list[str]]:
        many = f" ({number} of {len(jobs)})" if len(jobs) > 1 else ""
        with progress.part(job.shown, many) as part:
            service = builder.service(job, part)
            with job.named.hinting():
                built = service.index(IndexRequest(job.name, limit))
            return built, service.index_paths(built)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="index") as pool:
        try:
            futures = {pool.submit(build, number, job): job for number, job in enumerate(jobs, 1)}
            for future in as_completed(futures):
                job = futures[future]
                try:
                    found = future.result()
                except Exception as error:  # noqa: BLE001 - a bug at one series must not stop the others
                    told.failed(job.shown, error)
                else:
                    told.built(job.shown, *found)
        finally:
            # After an interrupt, running work ends soon and the rest does not begin.
            builder.running.abandon()
            pool.shutdown(wait=False, cancel_futures=True)


class _Told:
    """The report on each series: a line when it is done, or JSON at the end.

    Args:
        options: The command's.

    Attributes:
        failures: The number of indices that could not be built.
        order: The series in the order of their names on the command line.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._found: list[tuple[str, dict[str, Any]]] = []
        self.failures = 0
        self.order: Sequence[str] = ()

    def built(self, name: str, built: OpenedSeries, paths: Sequence[str]) -> None:
        """Report a finished index."""
        provenance, stacks = built.index.provenance, len(built.index.stacks)
        found = {
            "series": built.title,
            "root": provenance.root,
            "status": built.source,
            "slices": built.index.slice_count,
            "stacks": stacks,
            "skipped": len(provenance.skipped),
            "duplicates": len(provenance.duplicates),
            "limit": provenance.limit,
            "path": paths[0],
            "paths": list(paths),
            "warnings": list(built.gone_told),
        }
        self._found.append((name, found))
        text = counted(built.index.slice_count, "slice")
        if stacks > 1:
            text += f" in {built.index.contents}"
        if provenance.skipped:
            text += f", {len(provenance.skipped)} skipped"
        if provenance.duplicates:
            text += f", {counted(len(provenance.duplicates), 'duplicate')}"
        if provenance.limit is not None:
            text += f", limited to {provenance.limit}"
        say(*(f"warning: {warning}" for warning in built.gone_told))
        self._say(f"{built.source:8} {built.title}: {text} -> {', '.join(paths)}")

    def failed(self, name: str, error: Exception) -> None:
        """Report a failed index; a bug of ours only by its type."""
        self.failures += 1
        if self._options["verbose"]:
            say(*"".join(traceback.format_exception(error)).splitlines())
        if isinstance(error, PreviewError):
            line = line_of(error)
        else:
            line = f"failed unexpectedly: {type(error).__name__}; --verbose shows where"
        self._found.append((name, {"series": name, "status": "failed", "error": line}))
        say(f"failed   {name}: {line}")

    def finish(self) -> None:
        """Print the JSON after all are done."""
        if self._options["as_json"]:
            # The order of completion is random; names without a series come first.
            place = {name: number for number, name in enumerate(self.order)}
            found = sorted(self._found, key=lambda one: place.get(one[0], -1))
            answer(json.dumps([document for _, document in found], indent=2))

    def _say(self, line: str) -> None:
        if not self._options["quiet"] and not self._options["as_json"]:
            say(line)


def _checked(name: str, options: Mapping[str, Any]) -> str:
    return find(name, options["root"], os.environ).text


def _limit(options: Mapping[str, Any]) -> dict[str, list[str]]:
    return {} if options["limit"] is None else {"limit": [options["limit"]]}
