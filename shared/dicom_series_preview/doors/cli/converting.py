"""Run `convert`, `volumes` and `verify`: a line for each volume as it is done."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.allocator import share_arenas
from dicom_series_preview.base.errors import Advice, OutputError, PreviewError, RequestError, counted, quoted
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.doors.cli.console import STANDARD_OUTPUT, Progress, answer, say
from dicom_series_preview.doors.cli.fleets import run_facts, tasks_of
from dicom_series_preview.doors.cli.opening import settings_of
from dicom_series_preview.doors.cli.several import Job, Roots, checked_names, failure_line
from dicom_series_preview.pixels.quality.thresholds import Thresholds, check_environment
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.volumes.convert import Converter
from dicom_series_preview.products.volumes.fleet.meta import MetaOptions, meta_files
from dicom_series_preview.products.volumes.fleet.summary import Summary
from dicom_series_preview.products.volumes.formats.base import UnreadableError, WriteOptions
from dicom_series_preview.products.volumes.formats.table import format_named, format_of_path
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import plan_document, plan_volumes
from dicom_series_preview.products.volumes.series import SeriesOutcome, convert_series, in_words
from dicom_series_preview.products.volumes.upload import RemoteTarget, folder_and_name, open_outputs
from dicom_series_preview.products.volumes.verify import verified, verified_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.doors.cli.fleets import Task
    from dicom_series_preview.products.volumes.convert import Finished
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.series import VolumeOutcome
    from dicom_series_preview.products.volumes.targets import Outputs, Target

_FEWEST_VOXELS = 1024
_CHUNKS = re.compile(r"([1-9][0-9]{0,5}),([1-9][0-9]{0,5}),([1-9][0-9]{0,5})")


def run_convert(typed: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Run `convert`; return True where every part of every series is a volume now.

    Raises:
        PreviewError: An option is wrong, or a result cannot be written; nothing was begun.
    """
    share_arenas()
    output = typed[1] if options["output"] is None else ""
    chosen, extension = format_of_path(output) if output else _format_in_folder(options)
    asked = _volume_options(options, is_npz=chosen.name == "npz")
    write = WriteOptions(
        asked.orient, int(options["zarr_format"]), _chunks(options["chunks"]), options["clevel"]
    )
    names = typed[:1] if output else typed
    checked_names(names, options)
    verify = _verify(options["verify"])
    roots, report = Roots(options), _Report(options, Summary(is_verified=verify != 0))
    tasks = tasks_of(roots, names, options, report.failed)
    if output and len(tasks) > 1:
        problem = f"is for one series, and {len(tasks)} are meant; give `output` and a folder"
        raise RequestError("output", problem)
    converter = Converter(
        chosen,
        asked,
        write,
        roots.settings.limits,
        verify,
        options["overwrite"],
        workers=options["workers"],
        thresholds=_thresholds() if options["qc"] else None,
    )
    folder, name = folder_and_name(output) if output else (options["output"], "")
    outputs = open_outputs(folder, roots.settings, os.environ)
    meta = MetaOptions(options["identity"] == "keep", chosen.name)
    stem = name.removesuffix(extension) if output else None
    conversion = _Conversion(roots, options["no_cache"], converter, (outputs, stem, extension), meta)
    with Progress("reading headers", quiet=options["quiet"]) as progress:
        for number, task in enumerate(tasks, 1):
            label = f" ({number} of {len(tasks)})" if len(tasks) > 1 else ""
            with progress.part(task.shown, label) as part:
                report.of(task, partial(conversion.convert, task, part))
    if not output:
        report.write_summary(outputs, {"store_type": chosen.name, **run_facts(options)})
    return report.finish()


@dataclass(frozen=True, slots=True)
class _Conversion:
    """Converts series one by one.

    Attributes:
        roots: Opens them.
        no_cache: Keep no index and use none.
        converter: Converts their volumes.
        place: The folder of the outputs; what the names of the one series' outputs begin with, or None; what
            all names end with.
        meta: What stands beside the outputs of many series.
    """

    roots: Roots
    no_cache: bool
    converter: Converter
    place: tuple[Outputs, str | None, str]
    meta: MetaOptions

    def convert(self, task: Task, progress: Callable[[int, int], None]) -> SeriesOutcome:
        """Convert a series."""
        outputs, stem, extension = self.place
        (job,) = task.jobs(self.roots)
        service = self.roots.service(job, progress, no_cache=self.no_cache)

        def opening(again: bool) -> OpenedSeries:  # noqa: FBT001 - a callback
            return service.index(IndexRequest(job.name), refresh=again)

        def name(plan: VolumesPlan, volume: PlannedVolume) -> str:
            """A series' folder below the root is a name that no other series of the root has."""
            return (stem or task.output or plan.opened.title or "series") + volume.suffix

        def place(plan: VolumesPlan, volume: PlannedVolume) -> Target:
            return outputs.target(name(plan, volume) + extension)

        def beside(finished: Finished) -> Mapping[str, bytes]:
            return meta_files(finished, name(finished.plan, finished.volume), self.meta, task.known)

        converter = self.converter if stem else replace(self.converter, beside=beside)
        with job.named.hinting():
            return convert_series(opening, converter, place)


def _thresholds() -> Callable[[str], Thresholds]:
    check_environment(os.environ)
    return cache(partial(Thresholds.from_environment, os.environ))


def _format_in_folder(options: Mapping[str, Any]) -> tuple[VolumeFormat, str]:
    named = options["to"] or "zarr"
    found = format_named("zarr" if named == "dir" else named)
    return found, found.extensions[0]


def _volume_options(options: Mapping[str, Any], *, is_npz: bool = False) -> VolumeOptions:
    stack = options["stack"]
    if stack != "all" and not stack.isdecimal():
        raise RequestError("stack", f"{quoted(stack)} is neither all nor a number")
    return VolumeOptions(
        stack=None if stack == "all" else int(stack),
        split=tuple(options["split"]),
        values=options["values"],
        monochrome1=options["monochrome1"] or ("invert" if is_npz else "keep"),
        orient=options["orient"],
        incomplete=options["incomplete"],
        min_slices=options["min_slices"],
        exclude_derived=options["exclude_derived"],
    )


def _chunks(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    found = _CHUNKS.fullmatch(text.replace(" ", ""))
    if found is None:
        raise RequestError("chunks", f"{quoted(text)} is not three whole numbers Z,Y,X, such as 32,128,128")
    z, y, x = int(found[1]), int(found[2]), int(found[3])
    if z * y * x < _FEWEST_VOXELS:
        raise RequestError(
            "chunks", f"{z},{y},{x} makes a file of more index than voxels; give {_FEWEST_VOXELS} or more"
        )
    return z, y, x


def _verify(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise RequestError("verify", f"{quoted(text)} is neither all nor a number of slices")
    return int(text)


class _Report:
    """A line for each volume when it is done, and all as JSON at the end.

    Args:
        options: The command's.
        summary: Gets a row for each volume.

    Attributes:
        is_whole: Every part of every series so far is a volume.
    """

    def __init__(self, options: Mapping[str, Any], summary: Summary | None = None) -> None:
        self._options = options
        self._summary = summary or Summary(is_verified=False)
        self._found: list[dict[str, Any]] = []
        self.is_whole = True

    def of(self, task: Task, work: Callable[[], SeriesOutcome]) -> None:
        """Do some work on a series, and report what became of it; an error does not stop the others."""
        try:
            outcome = work()
        except Exception as error:  # noqa: BLE001 - one series' error must not stop the others
            self._summary.fail(task.known, self.failed(task.shown, error))
        else:
            self.is_whole &= outcome.is_whole
            self._found.append(outcome.document())
            self._summary.add(task.known, outcome)
            for one in outcome.volumes:
                self._line(task, one)

    def failed(self, name: str, error: Exception) -> str:
        """Report a series of which nothing came; return why."""
        self.is_whole = False
        line = failure_line(error, verbose=self._options["verbose"])
        self._found.append({"series": name, "status": "failed", "error": line})
        say(f"failed   {name}: {line}")
        return line

    def _line(self, task: Task, one: VolumeOutcome) -> None:
        if one.refusal is not None:
            part = f", {one.part}" if one.part else ""
            problem = Advice(one.refusal.problem).at_command_line
            say(f"{one.status:8} {task.shown}{part}: {problem} ({one.refusal.code})")
            return
        for warning in one.receipt.get("warnings", ()):
            say(f"warning: {one.place}: {warning['text']} ({warning['code']})")
        if not self._options["quiet"] and not self._options["as_json"]:
            say(f"{one.status:8} {one.place}: {in_words(one.receipt)}")
        quality = one.receipt.get("quality")
        if quality and quality["low_quality"]:
            say(f"warning: {one.place}: low quality: {quality['low_quality_reason']}")

    def write_summary(self, outputs: Outputs, run: Mapping[str, Any]) -> None:
        """Write the summary into the folder of the outputs.

        Raises:
            OutputError: It cannot be written.
        """
        for name, data in self._summary.files(self._options["summary_suffix"], run).items():
            outputs.write(name, data)

    def finish(self) -> bool:
        """Print and write the JSON; return True where everything is a volume."""
        text = json.dumps(self._found, indent=2, ensure_ascii=False)
        if self._options.get("report") == STANDARD_OUTPUT or self._options["as_json"]:
            answer(text)
        elif self._options.get("report"):
            write_atomically(Path(self._options["report"]), f"{text}\n".encode())
        return self.is_whole


def run_volumes(typed: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Run `volumes`; return True where every part of every series would be a volume.

    Raises:
        PreviewError: An option is wrong, or a series cannot be opened.
    """
    asked = _volume_options(options)
    checked_names(typed, options)
    roots, report = Roots(options), _Report(options)
    documents, is_whole = [], True
    for job in roots.jobs(typed, report.failed):
        try:
            with Progress(quiet=options["quiet"]) as progress, job.named.hinting():
                service = roots.service(job, progress, no_cache=options["no_cache"])
                plan = plan_volumes(service.index(IndexRequest(job.name)), asked)
        except Exception as error:  # noqa: BLE001 - one series' error must not stop the others
            report.failed(job.shown, error)
            continue
        documents.append(plan_document(plan))
        is_whole &= not plan.refused
        if not options["as_json"]:
            answer("\n".join(_plan_lines(job, plan)))
    if options["as_json"]:
        answer(json.dumps(documents, indent=2, ensure_ascii=False))
    return is_whole and report.is_whole


def _plan_lines(job: Job, plan: VolumesPlan) -> list[str]:
    """Return a plan in lines."""
    many = len(plan.volumes)
    lines = [
        f"{job.shown}: {counted(many, 'volume')}" + (f", {len(plan.refused)} refused" if plan.refused else "")
    ]
    for one in plan.volumes:
        place = one.placement
        dims = " x ".join(map(str, (*reversed(one.shape[1:4]), *([one.shape[0]] if one.axis else []))))
        told = [f"{dims} {one.values.dtype}{' RGB' if one.values.is_colour else ''}"]
        if place is not None:
            told += [" x ".join(f"{step:.4g}" for step in place.spacing_mm) + " mm", place.letters]
            told.append(f"off its grid by {place.deviation_mm:.2g} mm at most")
        if one.axis is not None:
            told.append(f"by {one.axis.name}")
        source = f"{counted(one.requests, 'request')} and {one.source_bytes / 1e6:.1f} MB to read"
        told += [source, f"{one.bytes / 1e6:.1f} MB as an array"]
        name = f"stack {one.stack}" + (f", {one.words}" if one.words else "")
        lines.append(f"  {name}: {', '.join(told)}")
        lines += [f"    {code}: {text}" for code, text in one.warnings]
    for one_refused in plan.refused:
        problem = Advice(one_refused.refusal.problem).at_command_line
        lines.append(f"  {one_refused.told}: refused, {problem} ({one_refused.refusal.code})")
    if plan.localizers:
        lines.append(f"  {counted(plan.localizers, 'slice')} of localizers left out")
    if plan.derived:
        lines.append(f"  {counted(plan.derived, 'slice')} of derived images left out")
    return lines


def run_verify(outputs: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Run `verify`; return True where every output is as its receipt says.

    Raises:
        PreviewError: An output has no extension of a format.
    """
    documents, is_whole = [], True
    against = _source(options) if options["source"] else None
    for text in outputs:
        chosen, _ = format_of_path(text)
        try:
            problem = _verified(chosen, text, against)
        except (UnreadableError, PreviewError) as error:
            problem = str(error)
        except OSError as error:
            raise OutputError(text, (error.strerror or "cannot be read").lower()) from error
        documents.append({"output": text, "equal": not problem, **({"problem": problem} if problem else {})})
        is_whole &= not problem
        if problem:
            say(f"failed   {text}: {problem}")
        elif not options["quiet"] and not options["as_json"]:
            say(f"equal    {text}")
    if options["as_json"]:
        answer(json.dumps(documents, indent=2, ensure_ascii=False))
    return is_whole


def _verified(chosen: VolumeFormat, text: str, against: Callable[[Mapping[str, Any]], str] | None) -> str:
    """Return what differs; an output in a bucket is downloaded first."""

    def compared(path: Path) -> str:
        return verified(chosen, path) or ("" if against is None else against(chosen.read(path).receipt))

    if "://" not in text:
        return compared(Path(text))
    folder, name = folder_and_name(text)
    target = open_outputs(folder, settings_of({}), os.environ).target(name)
    if isinstance(target, RemoteTarget):
        with target.partial() as temporary:
            return compared(target.fetch(temporary))
    return compared(Path(target.shown))


def _source(options: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str]:
    """Return the function that compares a receipt with the series that `source` names.

    Raises:
        PreviewError: There is no such series, or several.
    """
    checked_names([options["source"]], options)
    roots = Roots(options)

    def failed(_name: str, error: Exception) -> None:
        raise error

    (job, *others) = roots.jobs([options["source"]], failed)
    if others:
        raise RequestError("source", f"is one series, and {len(others) + 1} are meant")
    with Progress(quiet=options["quiet"]) as progress, job.named.hinting():
        opened = roots.service(job, progress, no_cache=options["no_cache"]).index(IndexRequest(job.name))
    return lambda receipt: verified_source(opened, receipt, roots.settings.limits)
