"""The commands for the local cache: `cache list`, `cache prune` and `cache clear`."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dicom_series_preview.base.errors import OutputError, RequestError, counted
from dicom_series_preview.doors.cli.console import answer, answer_table, say, shown
from dicom_series_preview.doors.cli.declare import CACHE_DIR, Command
from dicom_series_preview.doors.cli.opening import settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BYTES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZES = {
    "": 1,
    "b": 1,
    **{f"{letter}b": size for letter, size in _BYTES.items()},
    **{f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate(_BYTES, 1)},
}
_MOST_QUANTITY = 2**60
_AGES_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.group(name="cache")
def cache_group() -> None:
    """List, prune or empty the local cache of indices and pictures."""


@cache_group.command(
    cls=Command,
    name="list",
    examples=(
        "dicom-series-preview cache list",
        "dicom-series-preview cache list --json --cache-dir /cache",
    ),
)
@CACHE_DIR
@click.option("--json", "as_json", is_flag=True, help="Write a JSON list instead of a table.")
def list_cache(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """List what is kept, the one used last first. Pictures do not tell which series they are of."""
    from dicom_series_preview.archive.cache_files import cache_files, unnoted  # noqa: PLC0415 - few commands need it
    from dicom_series_preview.archive.index.file import origin  # noqa: PLC0415 - loads numpy and pyarrow

    settings = settings_of(options)
    found: list[dict[str, Any]] = []
    for file in sorted(cache_files(settings.cache_dir), key=lambda file: -file.used_ns):
        root = series = None
        if file.kind == "index":
            with suppress(OSError), unnoted(settings.cache_dir / file.path) as opened:
                root, series = origin(opened) or (None, None)
        elif file.kind == "place":
            with suppress(OSError), unnoted(settings.cache_dir / file.path) as opened:
                series = opened.read().decode(errors="backslashreplace")
        used = datetime.fromtimestamp(file.used_ns / 10**9, UTC).isoformat(timespec="seconds")
        found.append(
            {
                "kind": file.kind,
                "root": root,
                "series": series,
                "bytes": file.size,
                "used": used.replace("+00:00", "Z"),
                "path": str(settings.cache_dir / file.path),
            }
        )
    if as_json:
        answer(json.dumps(found, indent=2))
    elif found:
        columns = {"Kind": None, "Used": None, "Bytes": None, "Root": 0, "Series": 0}
        answer_table(columns, [tuple(shown(entry[name.lower()]) for name in columns) for entry in found])
    size = counted(sum(entry["bytes"] for entry in found), "byte")
    say(f"{settings.cache_dir}: {counted(len(found), 'file')}, {size}; room for {settings.cache_bytes}")


@cache_group.command(
    cls=Command,
    name="prune",
    examples=(
        "dicom-series-preview cache prune --max-size 500MB",
        "dicom-series-preview cache prune --max-age 30d",
    ),
)
@CACHE_DIR
@click.option("--max-size", metavar="SIZE", help="Such as 500MB. [default: the cache's room]")
@click.option("--max-age", metavar="AGE", help="Since it was used: such as 90m, 12h, 30d, 8w.")
def prune(**options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Remove what was used longest ago, and what killed processes have left behind."""
    settings = settings_of(options)
    most, since = settings.cache_bytes, 0
    if options["max_size"] is not None:
        most = _quantity("max_size", options["max_size"], _SIZES, "500MB")
    if options["max_age"] is not None:
        since = time.time_ns() - _quantity("max_age", options["max_age"], _AGES_S, "30d") * 10**9
    _prune(settings.cache_dir, most, since)


@cache_group.command(
    cls=Command,
    name="clear",
    examples=(
        "dicom-series-preview cache clear",
        "dicom-series-preview cache clear --yes --cache-dir /cache",
    ),
)
@CACHE_DIR
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear(*, yes: bool, **options: Any) -> None:  # noqa: ANN401 - click passes what is declared
    """Remove all indices and pictures, made again when asked for, and the catalogue, which `update` makes."""
    settings = settings_of(options)
    folder = settings.cache_dir
    if not yes and not sys.stdin.isatty():
        raise RequestError("yes", "is needed where nobody can be asked")
    if not yes and not click.confirm(
        f"Remove all indices, pictures and the catalogue from {folder}?", err=True
    ):
        raise SystemExit(1)
    _prune(folder, 0, places=False)
    from dicom_series_preview.archive.catalogue.snapshot import remove_table  # noqa: PLC0415 - loads pyarrow
    from dicom_series_preview.archive.local import cache_storage  # noqa: PLC0415 - likewise

    if folder.is_dir() and (gone := remove_table(cache_storage(settings))):
        say(f"{folder}: the catalogue is gone, {counted(gone, 'file')}; update makes it again")


def _prune(folder: Path, most_bytes: int, since_ns: int = 0, *, places: bool = True) -> None:
    """Remove cache files, and report the result."""
    from dicom_series_preview.archive import pruning  # noqa: PLC0415 - few commands need it

    try:
        rule = pruning.Stays(most_bytes, most_bytes, since_ns, places=places)
        pruned = pruning.prune(folder, rule, time.time_ns())
    except BlockingIOError as error:
        raise OutputError(str(folder), "another process is making room in it; try again") from error
    except OSError as error:
        raise OutputError(str(folder), (error.strerror or "cannot be written to").lower()) from error
    gone, left = counted(pruned.removed, "file"), counted(pruned.left, "file")
    say(f"{folder}: {gone} removed, {pruned.freed} bytes; {left} left, {pruned.room} bytes")


def _quantity(option: str, text: str, units: Mapping[str, int], example: str) -> int:
    """Parse a number with its unit, in the smallest unit."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units:
        names = ", ".join(name for name in units if name)
        raise RequestError(option, f"is a number and one of {names}, such as {example}, not {text!r}")
    number = float(found[1]) * units[found[2]]
    if number > _MOST_QUANTITY:
        raise RequestError(option, "is larger than anything can be")
    return int(number)
