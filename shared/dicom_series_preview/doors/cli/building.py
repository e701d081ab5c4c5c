"""Build many indices, several small series at once, with a line for each as it is done."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.local import open_cache, open_output, open_places
from dicom_series_preview.archive.room import Room
from dicom_series_preview.base.errors import RequestError, counted
from dicom_series_preview.doors.cli.console import Progress, answer, say
from dicom_series_preview.doors.cli.opening import damage_of, output_folder
from dicom_series_preview.doors.cli.several import Job, Roots, checked_names, failure_line
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.pictures.service import PreviewService

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.sources.storage.deadline import Deadline

_AT_ONCE = 4


class _Builder:
    """Builds indices below several roots, and opens each once.

    Args:
        options: The command's.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.roots = Roots(options)
        self._output: Path | None = output_folder(options)
        self._room = Room(self.running)

    @property
    def running(self) -> Deadline:
        """The deadline that those of all series are parts of."""
        return self.roots.running

    def build(self, job: Job, limit: int | None, progress: Any) -> tuple[OpenedSeries, list[str]]:  # noqa: ANN401 - a part
        """Build the index of a series, and return it with the paths of its folders' indices.

        Raises:
            PreviewError: The index cannot be built.
        """
        storage, settings = self.roots.storage(job.named), self.roots.settings
        if self._output:
            cache = open_output(self._output, settings)
        else:
            cache = open_cache(settings, storage, optional=False)
        service = PreviewService(
            storage,
            cache,
            settings.limits,
            progress,
            gate=self._room.passage,
            damaged=damage_of(job.shown),
            places=open_places(settings, storage),
        ).within(self.running.begin())
        with job.named.hinting():
            built = service.index(IndexRequest(job.name, limit))
        return built, service.index_paths(built)


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
    texts = checked_names(typed, options)
    requests = [IndexRequest.from_strings(text, _limit(options)) for text in texts]
    builder = _Builder(options)
    told = _Told(options)
    jobs = builder.roots.jobs(typed, told.failed)
    told.order = [job.shown for job in jobs]
    if options["output"] and len(jobs) > 1:
        raise RequestError("output", f"is for one series, and {len(jobs)} are meant; use `cache_dir`")
    with Progress(quiet=options["quiet"]) as progress:
        _build_all(builder, jobs, requests[0].limit, progress, told)
    told.finish()
    return not told.failures


def _build_all(
    builder: _Builder, jobs: Sequence[Job], limit: int | None, progress: Progress, told: _Told
) -> None:
    def build(number: int, job: Job) -> tuple[OpenedSeries, list[str]]:
        many = f" ({number} of {len(jobs)})" if len(jobs) > 1 else ""
        with progress.part(job.shown, many) as part:
            return builder.build(job, limit, part)

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
        line = failure_line(error, verbose=self._options["verbose"])
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


def _limit(options: Mapping[str, Any]) -> dict[str, list[str]]:
    return {} if options["limit"] is None else {"limit": [options["limit"]]}
