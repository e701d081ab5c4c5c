"""The commands for indices and for whole series: `build-index`, `get-index`, `explain` and `qc`."""

from __future__ import annotations

import json
from typing import Any

import click

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.doors.cli.console import Progress, answer, log, say
from dicom_series_preview.doors.cli.declare import (
    CACHE_DIR,
    JSON,
    NO_CACHE,
    QUIET,
    ROOT,
    SERIES,
    VERBOSE,
    Command,
    SeriesType,
    complete_folder,
    options_of,
)
from dicom_series_preview.doors.cli.opening import begin, request, service_of
from dicom_series_preview.products.pictures.options import INDEX


@click.command(
    cls=Command,
    name="build-index",
    examples=(
        "dicom-series-preview build-index SERIES1 SERIES2 --cache-dir /cache",
        "dicom-series-preview build-index 'ct-*' --root /data/dicom --json",
        "dicom-series-preview build-index SERIES -o .",
    ),
)
@click.argument("series", nargs=-1, required=True, type=SeriesType())
@ROOT
@CACHE_DIR
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    shell_complete=complete_folder,
    help="Write the one index to DIR instead of the cache.",
)
@options_of(INDEX)
@JSON
@QUIET
@VERBOSE
def build_index(series: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Build the indices of one or more SERIES; of a prefix such as 'ct-*', of all that it matches."""
    from dicom_series_preview.doors.cli.building import build_indices  # noqa: PLC0415 - loads numpy and pyarrow

    if options["output"] and options["cache_dir"]:
        raise RequestError("output", "and `cache_dir` exclude each other; give one")
    if options["output"] and len(series) > 1:
        raise RequestError("output", "is for one series; use `cache_dir` for several")
    log(verbose=options["verbose"])
    if not build_indices(series, options):
        raise SystemExit(1)


@click.command(
    cls=Command,
    name="get-index",
    examples=(
        "dicom-series-preview get-index SERIES",
        "duckdb -c \"SELECT * FROM '$(dicom-series-preview get-index SERIES)'\"",
    ),
)
@SERIES
@ROOT
@CACHE_DIR
@QUIET
@VERBOSE
def get_index(series: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Print the path of the index of SERIES, built if it is not there or not fresh."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import IndexRequest  # noqa: PLC0415 - as in `pictures`

    asked = request(opening, series, IndexRequest.from_strings, {})
    log(verbose=options["verbose"])
    with Progress(quiet=options["quiet"]) as progress:
        service = service_of(opening, series, progress, must_keep=True)
        with opening.result().named.hinting():
            built = service.index(asked)
    say(*(f"warning: {warning}" for warning in built.gone_told))
    from dicom_series_preview.archive.one_series import shared_folders  # noqa: PLC0415 - loads numpy and pyarrow

    shared = len(shared_folders(built))
    if shared and not options["quiet"]:
        where = "" if len(built.folders) == 1 else f" in {shared} of these {len(built.folders)} indices"
        say(
            f"rows of this series have the SeriesInstanceUID {built.uid}; there are others beside them{where}"
        )
    answer("\n".join(service.index_paths(built)))


@click.command(
    cls=Command,
    name="explain",
    examples=(
        "dicom-series-preview explain SERIES",
        "dicom-series-preview explain /data/dicom/SERIES --json > series.json",
    ),
)
@SERIES
@ROOT
@CACHE_DIR
@NO_CACHE
@JSON
@QUIET
@VERBOSE
def explain(series: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Say how SERIES was grouped, ordered and windowed, what its stacks hold, and what was skipped."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import IndexRequest  # noqa: PLC0415 - as in `pictures`

    asked = request(opening, series, IndexRequest.from_strings, {})
    log(verbose=options["verbose"])
    with Progress(quiet=options["quiet"]) as progress:
        service = service_of(opening, series, progress)
        with opening.result().named.hinting():
            opened = service.index(asked)
            from dicom_series_preview.archive.index.damage import DamagedIndexError  # noqa: PLC0415 - loads numpy
            from dicom_series_preview.products.explain.explanation import explain as explained  # noqa: PLC0415 - likewise
            from dicom_series_preview.products.explain.lines import lines_of  # noqa: PLC0415 - likewise

            try:
                found = explained(opened)
            except DamagedIndexError as error:
                service.damaged(opened.name, str(error))
                found = explained(service.index(asked, refresh=True))
    if options["as_json"]:
        answer(json.dumps(found.document(), indent=2, ensure_ascii=False))
    else:
        answer("\n".join(lines_of(found)))


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
@NO_CACHE
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
