"""Run `convert`, `volumes` and `verify`: a line for each volume as it is done."""

from __future__ import annotations

import json
import os
import re
import traceback
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import Advice, OutputError, PreviewError, RequestError, counted, quoted
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.doors.cli.console import STANDARD_OUTPUT, Progress, answer, line_of, say
from dicom_series_preview.doors.cli.fleets import run_facts, tasks_of
from dicom_series_preview.doors.cli.many import Job, ManySeries
from dicom_series_preview.doors.cli.opening import settings_of
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
from dicom_series_preview.products.volumes.verify import verified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.doors.cli.fleets import Task
    from dicom_series_preview.products.volumes.convert import Finished
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.series import VolumeOutcome
    from dicom_series_preview.products.volumes.targets import Outputs, Target

_CHUNKS = re.compile(r"([1-9][0-9]{0,5}),([1-9][0-9]{0,5}),([1-9][0-9]{0,5})")


def run_convert(typed: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Run `convert`; return True where every part of every series is a volume now.

    Raises:
        PreviewError: An option is wrong, or a result cannot be written; nothing was begun.
    """
    output = typed[1] if options["output"] is None else ""
    chosen, extension = format_of_path(output) if output else _format_in_folder(options)
    asked = _volume_options(options, is_npz=chosen.name == "npz")
    write = WriteOptions(
        asked.orient, int(options["zarr_format"]), _chunks(options["chunks"]), options["clevel"]
    )
    many = ManySeries({**options, "output": None})
    tasks = tasks_of(many, typed[:1] if output else typed, options)
    if output and len(tasks) > 1:
        problem = f"is for one series, and {len(tasks)} are meant; give `output` and a folder"
        raise RequestError("output", problem)
    verify = _verify(options["verify"])
    converter = Converter(
        chosen,
        asked,
        write,
        many.settings.limits,
        verify,
        options["overwrite"],
        workers=options["workers"],
    )
    folder, name = folder_and_name(output) if output else (options["output"], "")
    outputs = open_outputs(folder, many.settings, os.environ)
    meta = MetaOptions(options["identity"] == "keep", chosen.name)
    stem = name.removesuffix(extension) if output else None
    conversion = _Conversion(many, converter, (outputs, stem, extension), meta)
    report = _Report(options, Summary(is_verified=verify != 0))
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
        many: Opens them.
        converter: Converts their volumes.
        place: The folder of the outputs; what the names of the one series' outputs begin with, or None; what
            all names end with.
        meta: What stands beside the outputs of many series.
    """

    many: ManySeries
    converter: Converter
    place: tuple[Outputs, str | None, str]
    meta: MetaOptions

    def convert(self, task: Task, progress: Callable[[int, int], None]) -> SeriesOutcome:
        """Convert a series."""
        outputs, stem, extension = self.place
        (job,) = task.jobs(self.many)

        def opening(again: bool) -> OpenedSeries:  # noqa: FBT001 - a callback
            return _opened(self.many, job, progress, refresh=again)

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


def _opened(
    many: ManySeries, job: Job, progress: Callable[[int, int], None], *, refresh: bool = False
) -> OpenedSeries:
    """Open a series; its small objects are not read whole, as every slab fetches its own frames."""
    return many.service(job, progress, optional=True).index(IndexRequest(job.name), refresh=refresh)


def _jobs(many: ManySeries, typed: Sequence[str]) -> list[Job]:
    found: dict[tuple[str, str], Job] = {}
    for name in typed:
        for job in many.jobs(name):
            found.setdefault((job.named.root, job.name.text), job)
    return list(found.values())


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
    return int(found[1]), int(found[2]), int(found[3])


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
    """

    def __init__(self, options: Mapping[str, Any], summary: Summary) -> None:
        self._options = options
        self._summary = summary
        self._found: list[dict[str, Any]] = []
        self._is_whole = True

    def of(self, task: Task, work: Callable[[], SeriesOutcome]) -> None:
        """Do some work on a series, and report what became of it; an error does not stop the others."""
        try:
            outcome = work()
        except PreviewError as error:
            self._failed(task, line_of(error), error)
        except Exception as error:  # noqa: BLE001 - a bug at one series must not stop the others
            self._failed(task, f"failed unexpectedly: {type(error).__name__}; --verbose shows where", error)
        else:
            self._is_whole &= outcome.is_whole
            self._found.append(outcome.document())
            self._summary.add(task.known, outcome)
            for one in outcome.volumes:
                self._line(task, one)

    def _failed(self, task: Task, line: str, error: Exception) -> None:
        self._is_whole = False
        if self._options["verbose"]:
            say(*"".join(traceback.format_exception(error)).splitlines())
        self._found.append({"series": task.shown, "status": "failed", "error": line})
        self._summary.fail(task.known, line)
        say(f"failed   {task.shown}: {line}")

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
        return self._is_whole


def run_volumes(typed: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Run `volumes`; return True where every part of every series would be a volume.

    Raises:
        PreviewError: An option is wrong, or a series cannot be opened.
    """
    many = ManySeries({**options, "output": None})
    asked = _volume_options(options)
    documents, is_whole = [], True
    for job in _jobs(many, typed):
        with Progress(quiet=options["quiet"]) as progress, job.named.hinting():
            opened = _opened(many, job, progress)
            plan = plan_volumes(opened, asked)
        documents.append(plan_document(plan))
        is_whole &= not plan.refused
        if not options["as_json"]:
            answer("\n".join(_plan_lines(job, plan)))
    if options["as_json"]:
        answer(json.dumps(documents, indent=2, ensure_ascii=False))
    return is_whole


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
    for text in outputs:
        chosen, _ = format_of_path(text)
        try:
            problem = _verified(chosen, text)
        except UnreadableError as error:
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


def _verified(chosen: VolumeFormat, text: str) -> str:
    """Return what differs; an output in a bucket is downloaded first."""
    if "://" not in text:
        return verified(chosen, Path(text))
    folder, name = folder_and_name(text)
    target = open_outputs(folder, settings_of({}), os.environ).target(name)
    if isinstance(target, RemoteTarget):
        with target.partial() as temporary:
            return verified(chosen, target.fetch(temporary))
    return verified(chosen, Path(target.shown))
