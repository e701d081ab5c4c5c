"""The commands for volumes: `convert`, `volumes`, `verify` and `volume-report`."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.doors.cli.console import log
from dicom_series_preview.doors.cli.declare import (
    CACHE_DIR,
    JSON,
    NO_CACHE,
    QUIET,
    ROOT,
    VERBOSE,
    Command,
    SeriesType,
    complete_folder,
    together,
)

_FORMATS = ("zarr", "zip", "sqlite", "nifti", "nii", "npz")
# The seed's STORE_TYPE calls a folder dir.
_PARTS = together(
    click.option(
        "--stack",
        metavar="all|N",
        default="all",
        help="Every stack that is no localizer, or one.  [default: all]",
    ),
    click.option(
        "--split",
        metavar="KEYWORD",
        multiple=True,
        help="Take parts with different values of an element apart; may repeat.",
    ),
    click.option(
        "--values",
        type=click.Choice(("modality", "stored")),
        default="modality",
        help="Values after the modality LUT or rescale, or as stored.  [default: modality]",
    ),
    click.option(
        "--monochrome1",
        type=click.Choice(("keep", "invert")),
        help="Turn values around where 0 is white.  [default: keep; invert for NPZ]",
    ),
    click.option(
        "--orient",
        type=click.Choice(("native", "ras")),
        default="native",
        help="Axes as stored, or flipped and swapped to right, anterior, superior.  [default: native]",
    ),
    click.option(
        "--incomplete",
        type=click.Choice(("refuse", "drop")),
        default="refuse",
        help="What becomes of volumes that lack slices.  [default: refuse]",
    ),
    click.option(
        "--min-slices",
        type=click.IntRange(1),
        default=2,
        help="The fewest locations of a volume.  [default: 2]",
    ),
    click.option("--exclude-derived", is_flag=True, help="Leave out stacks whose ImageType is DERIVED."),
)


@click.command(
    cls=Command,
    name="convert",
    examples=(
        "dicom-series-preview convert SERIES ct.nii.gz",
        "dicom-series-preview convert SERIES ct.zarr --orient ras",
        "dicom-series-preview convert SERIES1 SERIES2 -o volumes --to nifti",
        "dicom-series-preview convert 'ct-*' --root /data/dicom -o volumes --to zarr --json",
        "dicom-series-preview convert --manifest series_all.csv --root s3://archive -o s3://out --shard 0/16",
    ),
)
@click.argument("series", nargs=-1, type=SeriesType())
@ROOT
@CACHE_DIR
@NO_CACHE
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    shell_complete=complete_folder,
    help="Where the volumes of many series go: a folder or s3://.  [default: $OUT_ROOT, with --manifest]",
)
@click.option(
    "--manifest",
    metavar="CSV",
    help="Take the series from a manifest, a file or s3://.  [default: $INPUT_CSV, without SERIES]",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Take one of N shares of the manifest, 0 to N - 1.  [default: $SHARD_ID of $NUM_SHARDS]",
)
@click.option(
    "--limit", type=click.IntRange(0), default=0, envvar="LIMIT", help="Stop after so many series; 0 for all."
)
@click.option(
    "--identity",
    type=click.Choice(("drop", "keep")),
    default="drop",
    help="Who the patient is, in the files beside the outputs.  [default: drop]",
)
@click.option(
    "--summary-suffix",
    metavar="TEXT",
    default="",
    envvar="SUMMARY_SUFFIX",
    help="Name the summary summary_TEXT.csv and .json in FOLDER.",
)
@click.option(
    "--to",
    type=click.Choice((*_FORMATS, "dir")),
    envvar="STORE_TYPE",
    help="The format in FOLDER; OUTPUT's extension says it.  [default: zarr]",
)
@_PARTS
@click.option("--chunks", metavar="Z,Y,X", help="The size of Zarr's chunks.  [default: 32,128,128]")
@click.option(
    "--clevel", type=click.IntRange(1, 9), default=3, help="The level of Zarr's compression.  [default: 3]"
)
@click.option(
    "--zarr-format", type=click.Choice(("2", "3")), default="3", help="The version of Zarr.  [default: 3]"
)
@click.option(
    "--verify",
    metavar="all|N",
    default="all",
    envvar="VERIFY_SLICES",
    help="Compare every slice of the finished file with its source, N of them, or none (0).  [default: all]",
)
@click.option("--overwrite", is_flag=True, envvar="OVERWRITE", help="Replace what lies in an output's place.")
@click.option(
    "--qc", is_flag=True, help="Judge every slice's quality, and write the verdict into the receipt."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    envvar="NUM_WORKERS",
    help="Threads that decode.  [default: one a core, 4 at most]",
)
@click.option(
    "--report", metavar="FILE", help="Also write what became of each volume as JSON; '-' prints it."
)
@JSON
@QUIET
@VERBOSE
def convert(series: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Convert SERIES into volumes: Zarr, NIfTI or NPZ, each slice proved against its source.

    One series: SERIES OUTPUT; the extension is the format: .zarr .zarr.zip .ozx .sqlite .nii .nii.gz .npz.
    Many: SERIES... -o FOLDER --to FORMAT, or --manifest CSV in place of SERIES. OUTPUT and FOLDER may be
    s3://. What is no volume is refused, with the reason and what to do.
    """
    from dicom_series_preview.doors.cli.converting import run_convert  # noqa: PLC0415 - loads numpy and pyarrow

    if not series:
        # The names that pipelines of before have in their environment; typed series do without a manifest.
        options["manifest"] = options["manifest"] or os.environ.get("INPUT_CSV") or None
        options["output"] = options["output"] or os.environ.get("OUT_ROOT") or None
        if options["manifest"] is None or options["output"] is None:
            raise RequestError("series", "are missing: give SERIES, or `manifest` and -o with a folder")
    elif options["manifest"] is not None:
        raise RequestError("manifest", "excludes SERIES; give one of them")
    elif options["output"] is None:
        if len(series) != 2:
            raise RequestError(
                "series", "one series and its output, or several series and `output` with a folder"
            )
        # STORE_TYPE may be set for other commands of a pipeline.
        if click.get_current_context().get_parameter_source("to") is ParameterSource.COMMANDLINE:
            raise RequestError("to", "is for `output` with a folder; OUTPUT's extension says the format")
    log(verbose=options["verbose"])
    if not run_convert(series, options):
        raise SystemExit(1)


@click.command(
    cls=Command,
    name="volumes",
    examples=(
        "dicom-series-preview volumes SERIES",
        "dicom-series-preview volumes SERIES --split SliceThickness --json",
    ),
)
@click.argument("series", nargs=-1, required=True, type=SeriesType())
@ROOT
@CACHE_DIR
@NO_CACHE
@_PARTS
@JSON
@QUIET
@VERBOSE
def volumes(series: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Say which volumes SERIES would give, which not and why, and what they cost; no pixel is read."""
    from dicom_series_preview.doors.cli.converting import run_volumes  # noqa: PLC0415 - loads numpy and pyarrow

    log(verbose=options["verbose"])
    if not run_volumes(series, options):
        raise SystemExit(1)


@click.command(
    cls=Command,
    name="verify",
    examples=(
        "dicom-series-preview verify ct.nii.gz",
        "dicom-series-preview verify ct.nii.gz --source SERIES",
        "dicom-series-preview verify volumes/*.zarr --json",
    ),
)
@click.argument("output", nargs=-1, required=True, type=click.Path())
@click.option(
    "--source",
    metavar="SERIES",
    type=SeriesType(),
    help="Also read this series again, of which OUTPUT was made.",
)
@ROOT
@CACHE_DIR
@NO_CACHE
@JSON
@QUIET
@VERBOSE
def verify(output: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Prove OUTPUT again: read each file back, and compare it with its receipt, and with its source."""
    from dicom_series_preview.doors.cli.converting import run_verify  # noqa: PLC0415 - loads numpy

    log(verbose=options["verbose"])
    if not run_verify(output, options):
        raise SystemExit(1)


@click.command(
    cls=Command,
    name="manifest",
    examples=(
        "dicom-series-preview manifest --root /data/dicom -o manifests",
        "dicom-series-preview manifest --root s3://archive -o s3://bucket/manifests --shards 64 --depth 4",
    ),
)
@click.option(
    "--root",
    metavar="ROOT",
    shell_complete=complete_folder,
    help="s3://, http(s)://, file:// or a folder.  [default: $DATASET_V1_ROOT and $DATASET_V2_ROOT]",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    required=True,
    envvar="OUT_DIR",
    shell_complete=complete_folder,
    help="Where the manifest goes: a folder or s3://.",
)
@CACHE_DIR
@click.option(
    "--shards",
    type=click.IntRange(1, 10_000),
    default=16,
    envvar="NUM_SHARDS",
    help="How many shares to make.  [default: 16]",
)
@click.option(
    "--depth",
    type=click.IntRange(1),
    default=3,
    envvar="MAX_DEPTH",
    help="How many folders deep below ROOT a series may lie.  [default: 3]",
)
@click.option(
    "--identity",
    type=click.Choice(("drop", "keep")),
    default="drop",
    help="Write the catalogue's PatientID, too.  [default: drop]",
)
@JSON
@QUIET
@VERBOSE
def manifest(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """List the series below ROOT for `convert --manifest`, in shares for many machines; no object is read."""
    from dicom_series_preview.doors.cli.fleets import run_manifest  # noqa: PLC0415 - loads numpy and pyarrow

    log(verbose=options["verbose"])
    run_manifest(options)


@click.command(
    cls=Command,
    name="volume-report",
    examples=(
        "dicom-series-preview volume-report volumes report.html",
        "dicom-series-preview volume-report volumes report.html --root /data/dicom --outcomes run.json",
    ),
)
@click.argument("folder", envvar="CONVERTED_ROOT", type=click.Path())
@click.argument("page", metavar="REPORT.html", envvar="OUTPUT_HTML", type=click.Path())
@click.option(
    "--root",
    metavar="ROOT",
    shell_complete=complete_folder,
    help="Where the series lie, to decode sampled slices anew; without it volumes are shown alone.",
)
@CACHE_DIR
@NO_CACHE
@click.option(
    "--outcomes",
    metavar="FILE",
    multiple=True,
    help="What `convert --report FILE` wrote: tells of refusals and failures, too; may repeat.",
)
@click.option(
    "--samples",
    type=click.IntRange(0, 1000),
    default=10,
    envvar="NUM_SAMPLES",
    help="How many volumes are shown; every failure is.  [default: 10]",
)
@click.option(
    "--slices",
    type=click.IntRange(1, 100),
    default=3,
    envvar="NUM_SLICES",
    help="How many slices of each.  [default: 3]",
)
@click.option("--verify", is_flag=True, help="First read every volume back; those that differ are failures.")
@JSON
@QUIET
@VERBOSE
def volume_report(folder: str, page: str, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Make a page about the volumes in FOLDER, with samples of them beside their source.

    Beside REPORT.html lie REPORT.json, with all receipts, and REPORT.csv, a row a volume. The page needs
    neither network nor script.
    """
    from dicom_series_preview.doors.cli.reporting import run_volume_report  # noqa: PLC0415 - loads numpy and pyarrow

    log(verbose=options["verbose"])
    run_volume_report(folder, page, options)
