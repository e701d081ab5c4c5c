"""Run `list` and `query`: print a table on a terminal, or write it as JSON, CSV or Parquet."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.place import catalogue_storage
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.base.settings import absolute
from dicom_series_preview.doors.cli.console import STANDARD_OUTPUT, answer_bytes, answer_table, say, shown
from dicom_series_preview.doors.cli.opening import settings_of
from dicom_series_preview.products.catalogue.asking import Asking, SeriesQuery
from dicom_series_preview.products.catalogue.output import FORMATS, as_csv, as_json, plain
from dicom_series_preview.sources.storage.open import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

# What a terminal shows unless columns are named; names of people stay out of it.
_SHOWN = (
    *("SeriesInstanceUID", "Modality", "StudyDate", "SeriesNumber", "SeriesDescription", "Slices"),
    *("Dimensions", "Problem", "Series"),
)
_LEAST = 10


def run_list(options: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Run `list`.

    Raises:
        PreviewError: The catalogue cannot be read, or an option is wrong.
    """
    write = _writer(options)
    named = SeriesQuery.from_strings(
        _root_url(options, environment),
        *(options[name] for name in ("where", "columns", "sort", "limit")),
    )
    found = _asking(options, environment).series(named)
    if write is not None or options["columns"]:
        (write or _print)(found)
        return
    columns = [name for name in _SHOWN if found[name].null_count < found.num_rows]
    _print(found.select(columns))


def run_query(sql: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Run `query`.

    Raises:
        PreviewError: The catalogue cannot be read, or the question is wrong.
    """
    write = _writer(options)
    root = _root_url(options, environment)
    (write or _print)(_asking(options, environment).sql(sql, root, options["where"]))


def _asking(options: Mapping[str, Any], environment: Mapping[str, str]) -> Asking:
    place = options["cache_dir"]
    settings = settings_of({} if place and "://" in place else options)
    return Asking(catalogue_storage(place, settings, environment))


def _root_url(options: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    if options["root"] is None:
        return None
    return open_storage(options["root"], settings_of({}), environment).url


def _writer(options: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a function of a table, or None
    """Return the function that writes the answer as asked for; None for a table.

    Raises:
        RequestError: More than one way is asked for, or the file's extension is unknown.
    """
    given = [name for name in ("as_json", "as_csv", "output") if options[name]]
    if len(given) > 1:
        raise RequestError("json", "csv and output exclude each other; give one")
    if options["as_json"]:
        return lambda table: answer_bytes(as_json(table))
    if options["as_csv"]:
        return lambda table: answer_bytes(as_csv(table))
    if options["output"] is None:
        return None
    if options["output"] == STANDARD_OUTPUT:
        raise RequestError("output", "needs a file's name; --json and --csv print")
    path = absolute(options["output"])
    extension = path.suffix.lower()
    if extension not in FORMATS:
        raise RequestError("output", f"ends in {', '.join(FORMATS)}, not {extension or 'nothing'}")
    return lambda table: _save(table, path, extension)


def _save(table: pa.Table, path: Path, extension: str) -> None:
    write_atomically(path, FORMATS[extension](table))
    say(f"{table.num_rows} rows -> {path}")


def _print(table: pa.Table) -> None:
    """Print a table; on a terminal, cut long text in its middle so that a row is a line."""
    cells = {name: [_cell(value) for value in table[name].to_pylist()] for name in table.column_names}
    if sys.stdout.isatty() and cells:
        cells = _cut(cells, shutil.get_terminal_size().columns)
    rows = list(zip(*cells.values(), strict=True)) if cells else []
    answer_table(dict.fromkeys(cells), rows)
    if not rows:
        say("no series")


def _cell(value: Any) -> str:  # noqa: ANN401 - a cell
    made = plain(value)
    if isinstance(made, list):
        return "\\".join(shown(one) for one in made)
    return f"{made:.6g}" if isinstance(made, float) else shown(made)


def _cut(cells: dict[str, list[str]], room: int) -> dict[str, list[str]]:
    """Shorten the widest columns until a line fits into the room."""
    widths = {name: max(map(len, (name, *column))) for name, column in cells.items()}
    least = {name: min(width, max(_LEAST, len(name))) for name, width in widths.items()}
    spare = room - 3 * len(widths) - 1
    while sum(widths.values()) > spare:
        widest = max(widths, key=lambda name: widths[name] - least[name])
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    return {name: [_shortened(text, widths[name]) for text in column] for name, column in cells.items()}


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"
