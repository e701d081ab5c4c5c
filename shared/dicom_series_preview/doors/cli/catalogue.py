"""The commands for the catalogue: `update`, `list` and `query`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from dicom_series_preview.base.settings import CACHE_DIR_VARIABLE
from dicom_series_preview.doors.cli.console import log
from dicom_series_preview.doors.cli.declare import (
    QUIET,
    ROOT,
    VERBOSE,
    Command,
    SeriesType,
    complete_folder,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_CACHE = click.option(
    "--cache-dir",
    metavar="DIR",
    shell_complete=complete_folder,
    help="Where indices and catalogue are kept: a folder or s3://. "
    f"[default: ${CACHE_DIR_VARIABLE}, else the user's cache]",
)
_ROOT_OF_ROWS = click.option(
    "--root", metavar="ROOT", shell_complete=complete_folder, help="Only series of this root.  [default: all]"
)
_OUTPUTS: Callable[..., Any] = together(
    click.option(
        "--json", "as_json", is_flag=True, help="Print a list of objects, with the columns as keys."
    ),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
    click.option("-o", "--output", metavar="FILE", help="Write to FILE: .parquet, .csv, .jsonl or .json."),
)


@click.command(
    cls=Command,
    name="update",
    examples=(
        "dicom-series-preview update --root /data/dicom",
        "dicom-series-preview update 'ct-*' --root s3://my-bucket",
        "dicom-series-preview update --root s3://my-bucket --dry-run",
    ),
)
@click.argument("series", nargs=-1, type=SeriesType())
@ROOT
@_CACHE
@click.option("--dry-run", is_flag=True, help="Say what there is to do and what it would cost; do nothing.")
@click.option("--rebuild", is_flag=True, help="Make every row anew, also where the table is broken.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON to standard output.")
@QUIET
@VERBOSE
def update(series: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Bring the catalogue up to date: find the series below --root, index what is new or changed.

    SERIES limits it to some: folders, or all with a prefix such as 'ct-*'. What is done stays done after
    Ctrl-C.
    """
    from dicom_series_preview.doors.cli.updating import run_update  # noqa: PLC0415 - loads numpy, pyarrow, deltalake

    log(verbose=options["verbose"])
    if not run_update(series, options, os.environ):
        raise SystemExit(1)


@click.command(
    cls=Command,
    name="list",
    examples=(
        "dicom-series-preview list",
        "dicom-series-preview list --where \"Modality = 'CT' AND Slices > 100\" --sort -Slices",
        "dicom-series-preview list --columns SeriesInstanceUID,Dimensions --json",
        "dicom-series-preview list -o series.parquet",
    ),
)
@_ROOT_OF_ROWS
@_CACHE
@click.option("--where", metavar="SQL", help="A condition on the columns.")
@click.option(
    "--columns", metavar="NAMES", help="The columns, separated by commas.  [default: all; some on a terminal]"
)
@click.option(
    "--sort", metavar="NAMES", help="Columns to sort by; -NAME descends.  [default: the newest study first]"
)
@click.option("--limit", metavar="N", type=int, help="The most series to list.  [default: all]")
@_OUTPUTS
@VERBOSE
def list_series(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """List the series of the catalogue, which `update` makes."""
    from dicom_series_preview.doors.cli.listing import run_list  # noqa: PLC0415 - loads pyarrow and deltalake

    log(verbose=options["verbose"])
    run_list(options, os.environ)


@click.command(
    cls=Command,
    name="query",
    examples=(
        'dicom-series-preview query "SELECT Modality, count(*) AS n FROM series GROUP BY Modality"',
        'dicom-series-preview query "SELECT FileName, EchoTime FROM slices" --where "SeriesNumber = 4" --csv',
    ),
)
@click.argument("sql")
@_ROOT_OF_ROWS
@_CACHE
@click.option("--where", metavar="SQL", help="Which series `slices` has the rows of.  [default: all]")
@_OUTPUTS
@VERBOSE
def query(sql: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Answer SQL: `series` is the catalogue, `slices` the indices of its series, a row a frame."""
    from dicom_series_preview.doors.cli.listing import run_query  # noqa: PLC0415 - loads pyarrow and deltalake

    log(verbose=options["verbose"])
    run_query(sql, options, os.environ)
