"""The command `explain`."""

from __future__ import annotations

import json
from typing import Any

import click

from dicom_series_preview.doors.cli.console import Progress, answer, log
from dicom_series_preview.doors.cli.declare import CACHE_DIR, JSON, QUIET, ROOT, SERIES, VERBOSE, Command
from dicom_series_preview.doors.cli.opening import begin, request, service_of


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
@click.option("--no-cache", is_flag=True, help="Keep no index and use none.")
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
