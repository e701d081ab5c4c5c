"""The command for quality: `qc`."""

from __future__ import annotations

from typing import Any

import click

from dicom_series_preview.doors.cli.console import log
from dicom_series_preview.doors.cli.declare import (
    CACHE_DIR,
    JSON,
    QUIET,
    ROOT,
    VERBOSE,
    Command,
    SeriesType,
)


@click.command(
    cls=Command,
    name="qc",
    examples=(
        "dicom-series-preview qc SERIES1 SERIES2",
        "dicom-series-preview qc 'ct-*' --root /data/dicom --json > quality.json",
    ),
)
@click.argument("series", nargs=-1, required=True, type=SeriesType())
@ROOT
@CACHE_DIR
@click.option("--no-cache", is_flag=True, help="Keep no index and use none.")
@JSON
@QUIET
@VERBOSE
def qc(series: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Judge the quality of one or more SERIES; of a prefix such as 'ct-*', of all that it matches.

    A line each: whether too many slices are empty, flat or badly exposed, and how they lie. Low quality is a
    result, and no error; the status is 1 if a series cannot be judged.
    """
    from dicom_series_preview.doors.cli.judging import judge_all  # noqa: PLC0415 - loads numpy and pyarrow

    log(verbose=options["verbose"])
    if not judge_all(series, options):
        raise SystemExit(1)
