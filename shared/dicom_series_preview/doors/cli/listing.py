"""Run `list` and `query`: print a table on a terminal, or write it as JSON, CSV or Parquet."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.cells import cell_len

from dicom_series_preview.archive.catalogue.place import catalogue_storage
from dicom_series_preview.base.errors import RequestError, counted, quoted
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.base.settings import absolute
from dicom_series_preview.doors.cli.console import STANDARD_OUTPUT, answer_bytes, answer_table, say, shown
from dicom_series_preview.doors.cli.opening import settings_of
from dicom_series_preview.products.catalogue.asking import Asking, SeriesQuery
from dicom_series_preview.products.catalogue.output import FORMATS, as_csv, as_json, plain
from dicom_series_preview.products.catalogue.updating import reindexer
from dicom_series_preview.sources.storage.open import open_storage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

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
    if write is not None:
        write(found)
        return
    if options["columns"]:
        _print(found, "no series")
        return
    columns = [name for name in _SHOWN if found[name].null_count < found.num_rows]
    _print(found.select(columns), "no series")


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
    kept = catalogue_storage(place, settings, environment, create=False)
    return Asking(
        kept,
        settings.identifiers,
        reindexer(kept, settings, environment),
        lambda line: say(f"warning: {line}"),
    )


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
        given_one = f"not {extension}" if extension else f"and {quoted(path.name)} has no ending"
        raise RequestError("output", f"ends in {', '.join(FORMATS)}, {given_one}")
    return lambda table: _save(table, path, extension)


def _save(table: pa.Table, path: Path, extension: str) -> None:
    write_atomically(path, FORMATS[extension](table))
    say(f"{table.num_rows} rows -> {path}")


def _print(table: pa.Table, none: str = "no rows") -> None:
    """Print a table; on a terminal, a row is a line: texts are cut in their middle, and nothing else is."""
    cells = {name: [_cell(value) for value in table[name].to_pylist()] for name in table.column_names}
    hidden = 0
    if sys.stdout.isatty() and cells:
        texts = {field.name for field in table.schema if _is_text(field.type)}
        fitted = fit(cells, texts, shutil.get_terminal_size().columns)
        hidden, cells = len(cells) - len(fitted), fitted
    rows = list(zip(*cells.values(), strict=True)) if cells else []
    answer_table(dict.fromkeys(cells), rows)
    if hidden:
        are = "is" if hidden == 1 else "are"
        say(f"{counted(hidden, 'column')} {are} hidden; --columns chooses, --json shows all")
    if not rows:
        say(none)


def _is_text(kind: pa.DataType) -> bool:
    """True for columns whose cells may be cut: text, lists of it, and what is neither number nor date."""
    if pa.types.is_list(kind):
        return _is_text(kind.value_type)
    return not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_temporal(kind)
    )


def _cell(value: Any) -> str:  # noqa: ANN401 - a cell
    made = plain(value)
    if isinstance(made, list):
        return "\\".join(shown(one) for one in made)
    return f"{made:.6g}" if isinstance(made, float) else shown(made)


def fit(cells: Mapping[str, list[str]], texts: Collection[str], room: int) -> dict[str, list[str]]:
    """Fit columns into the width of a terminal.

    Texts are cut in their middle, to the width of their heading or some characters more. Where that is not
    enough, columns on the right are left out; the first stays.

    Args:
        cells: The texts of each column, by its heading.
        texts: The headings of columns that may be cut.
        room: The terminal's width in characters.
    """
    widths = {name: max(map(cell_len, (name, *column))) for name, column in cells.items()}
    least = {
        name: min(width, max(_LEAST, cell_len(name))) if name in texts else width
        for name, width in widths.items()
    }
    names = list(cells)
    while len(names) > 1 and _line(least[name] for name in names) > room:
        names.pop()
    while _line(widths[name] for name in names) > room:
        widest = max(names, key=lambda name: widths[name] - least[name])
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    return {name: [_shortened(text, widths[name]) for text in cells[name]] for name in names}


def _line(widths: Iterable[int]) -> int:
    """Return the width of a table's line: a space on both sides of each column, a rule between two."""
    return sum(width + 3 for width in widths) - 1


def _shortened(text: str, width: int) -> str:
    """Cut a text in its middle to a width in characters; some letters are two wide."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    head = width - 1 - tail
    return f"{_beginning(text, head)}…{_beginning(text[::-1], tail)[::-1]}"


def _beginning(text: str, width: int) -> str:
    while cell_len(text) > width:
        text = text[: max(0, len(text) - max(1, (cell_len(text) - width) // 2))]
    return text
