"""The commands that open no storage: `codecs` and `sample`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dicom_series_preview.doors.cli.console import PROGRAM, Progress, answer, answer_table, log
from dicom_series_preview.doors.cli.declare import VERBOSE, Command


@click.command(
    cls=Command,
    name="codecs",
    examples=(
        "dicom-series-preview codecs",
        "dicom-series-preview codecs --json",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list instead of a table.")
def codecs(*, as_json: bool) -> None:
    """List the transfer syntaxes that can be decoded here, and what decodes them."""
    from dicom_series_preview.pixels.codecs.registry import codecs as installed  # noqa: PLC0415 - loads numpy

    found = [asdict(codec) for codec in installed()]
    if as_json:
        answer(json.dumps(found, indent=2))
        return
    rows = [(codec["uid"], codec["name"], codec["decoder"], codec["version"]) for codec in found]
    # On a narrow terminal, all but the UID is cut.
    answer_table({"Transfer syntax UID": None, "Name": 0, "Decoder": len(PROGRAM), "Version": 0}, rows)


@click.command(cls=Command, name="sample", examples=("dicom-series-preview sample demo",))
@click.argument("folder", type=click.Path(file_okay=False))
@VERBOSE
def sample(folder: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write a synthetic CT series to FOLDER, to try the other commands on, and print its path."""
    from dicom_sample import write_sample  # noqa: PLC0415 - loads numpy and pydicom

    log(verbose=options["verbose"])
    with Progress("writing slices") as progress:
        path = write_sample(Path(folder), progress=progress)
    answer(str(path))
