"""Render a command's picture, write it to its output, and print a summary."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import OutputError, RequestError, counted
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.doors.cli.console import STANDARD_OUTPUT, Progress, answer, answer_bytes, log, say
from dicom_series_preview.doors.cli.opening import service_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from dicom_series_preview.doors.cli.opening import Opened
    from dicom_series_preview.products.pictures.requests import PictureRequest


def write_picture(
    opening: Future[Opened],
    names: tuple[str, str],
    options: Mapping[str, Any],
    asked: PictureRequest,
) -> None:
    """Render a picture, write it and its report, and print the cost.

    Args:
        opening: The series' root.
        names: The series and the output, as typed.
        options: The command's.
        asked: The picture.

    Raises:
        PreviewError: It cannot be rendered or written.
    """
    series, output = names
    check_targets(output, options)
    log(verbose=options["verbose"])
    with Progress(quiet=options["quiet"]) as progress:
        service = service_of(opening, series, progress)
        with opening.result().named.hinting():
            plan = service.plan(asked)
            if options["verbose"]:
                found = plan.opened
                kind = "SeriesInstanceUID" if found.asked_uid else "folder"
                first = found.asked_uid or found.title
                say(f"info: {counted(found.matches, kind)} matched; the first is {first}")
            rendered = service.render_plan(plan)
    warnings = (getattr(text, "at_command_line", text) for text in rendered.report.warnings)
    report = replace(rendered.report, warnings=tuple(warnings))
    _write(output, rendered.data)
    if options["report"]:
        _write(options["report"], report.to_json(rendered.plan.facts()).encode())
    say(*(f"warning: {warning}" for warning in report.warnings))
    if options["as_json"]:
        answer(json.dumps({"output": _text(output), **report.in_short()}, indent=2, ensure_ascii=False))
    elif not options["quiet"]:
        name = "standard output" if output == STANDARD_OUTPUT else output
        say(f"{name}: {report.summary()}", *report.choice())


def check_targets(output: str, options: Mapping[str, Any]) -> None:
    """Refuse outputs that cannot be written, before anything is read.

    Raises:
        RequestError: Two outputs have one path, or a terminal would get a picture.
        OutputError: A folder is missing.
    """
    files = [path for path in (output, options["report"]) if path and path != STANDARD_OUTPUT]
    for path in files:
        # Path.is_dir raises where the path is too long or forbidden.
        if not os.path.isdir(os.path.dirname(path) or "."):  # noqa: PTH112, PTH120
            raise OutputError(path, "there is no such folder")
    if len(files) == 2 and os.path.realpath(files[0]) == os.path.realpath(files[1]):
        raise RequestError("report", f"{options['report']} is the picture's file too; give another")
    printed = {"output": output == STANDARD_OUTPUT, "report": options["report"] == STANDARD_OUTPUT}
    printed["as_json"] = options["as_json"]
    if sum(printed.values()) > 1:
        raise RequestError(
            "output", "one alone goes to standard output: the picture, the `report` or the summary (--json)"
        )
    if printed["output"] and sys.stdout.isatty():
        raise RequestError("output", "a terminal shows no picture; redirect standard output, or name a file")


def _write(place: str, data: bytes) -> None:
    if place == STANDARD_OUTPUT:
        answer_bytes(data)
    else:
        write_atomically(Path(place), data)


def _text(path: str) -> str:
    """Return a path as text for JSON."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
