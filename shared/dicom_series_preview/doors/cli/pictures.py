"""The commands for pictures: `mosaic`, `get-image` and `contrast-mosaic`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dicom_series_preview.doors.cli.declare import (
    CACHE_DIR,
    JSON,
    NO_CACHE,
    QUIET,
    ROOT,
    SERIES,
    VERBOSE,
    Command,
    options_of,
    together,
)
from dicom_series_preview.doors.cli.opening import begin, given, request
from dicom_series_preview.doors.cli.rendering import write_picture
from dicom_series_preview.products.pictures.options import (
    CONTRAST_MOSAIC,
    IMAGE,
    MOSAIC,
    PICTURE,
    own,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.products.pictures.requests import PictureRequest

_OUTPUT = click.argument("output", type=click.Path(dir_okay=False, allow_dash=True))
_WRITTEN = together(
    ROOT,
    options_of(PICTURE),
    CACHE_DIR,
    NO_CACHE,
    click.option(
        "--report",
        metavar="FILE",
        type=click.Path(dir_okay=False, allow_dash=True),
        help="Write what is shown, skipped and spent as JSON; - is standard output.",
    ),
    JSON,
    QUIET,
    VERBOSE,
)


@click.command(
    cls=Command,
    name="mosaic",
    examples=(
        "dicom-series-preview mosaic 38902e14-b11f-4548-910e-771ee757dc82 mosaic.webp",
        "dicom-series-preview mosaic '389*' mosaic.jpg --tile-width 8 --tile-height 5 -q 80",
        "dicom-series-preview mosaic ./SERIES mosaic.png --start 0.2 --end 0.8 --contrast lung",
        "dicom-series-preview mosaic /data/dicom/SERIES - --format jpeg --report report.json > mosaic.jpg",
    ),
)
@SERIES
@_OUTPUT
@options_of(own(MOSAIC))
@_WRITTEN
def mosaic(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write a grid of images that are spread evenly over SERIES to OUTPUT (.webp, .jpg, .jpeg, .png or -)."""
    _write("mosaic", **options)


@click.command(
    cls=Command,
    name="get-image",
    examples=(
        "dicom-series-preview get-image SERIES middle.webp --position 0.5",
        "dicom-series-preview get-image SERIES next.webp --position 0.5 --slice-offset 1",
        (
            "dicom-series-preview get-image SERIES large.jpg --position 0 --contrast 350/50 "
            "--image-width 512 -q 85"
        ),
    ),
)
@SERIES
@_OUTPUT
@options_of(own(IMAGE))
@_WRITTEN
def get_image(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write the one image at a position of SERIES to OUTPUT (.webp, .jpg, .jpeg, .png or -)."""
    _write("image", **options)


@click.command(
    cls=Command,
    name="contrast-mosaic",
    examples=(
        "dicom-series-preview contrast-mosaic SERIES c.webp --position 0.5 --contrast lung --contrast bone",
        "dicom-series-preview contrast-mosaic SERIES c.webp --start 0.3 --contrast auto --contrast 80/40",
    ),
)
@SERIES
@_OUTPUT
@options_of(own(CONTRAST_MOSAIC))
@_WRITTEN
def contrast_mosaic(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Write images of SERIES to OUTPUT, each --contrast a column."""
    _write("contrast-mosaic", **options)


def _write(kind: str, series: str, output: str, **options: Any) -> None:  # noqa: ANN401 - as above
    """Write a picture of one kind."""
    opening = begin(series, options)
    from dicom_series_preview.products.pictures.requests import PICTURES  # noqa: PLC0415 - 6 ms that --help spares

    make: Callable[..., PictureRequest] = PICTURES[kind].from_strings
    asked = request(opening, series, make, output, given(options))
    write_picture(opening, (series, output), options, asked)
