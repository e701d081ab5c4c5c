"""The output of commands: lines and tables, in colour on a terminal, and progress bars.

Standard output gets results, standard error everything else.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from dicom_series_preview.base.discreet import quiet_libraries
from dicom_series_preview.base.errors import OutputError, PreviewError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

PROGRAM = "dicom-series-preview"
_COLOURS = {"error": "red", "failed": "red", "warning": "yellow", "hint": "cyan"}
_KIND = re.compile(f"(?:{'|'.join(_COLOURS)})(?=[: ])")
STANDARD_OUTPUT = "-"
_BAR_COLUMNS = 16
# Including the two numbers, the time, and the space between.
_REST_COLUMNS = _BAR_COLUMNS + 24


class _Screen:
    """Standard error; while it shows a bar, lines go above the bar."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.bar: Any = None

    def write(self, line: str) -> None:
        with self.lock:
            if self.bar is None:
                click.echo(_coloured(line), err=True)
                return
            from rich.text import Text  # noqa: PLC0415 - the bar has loaded it

            self.bar.console.print(Text.from_ansi(_coloured(line)), soft_wrap=True)


_SCREEN = _Screen()


def say(*lines: str) -> None:
    """Print lines on standard error; if it is closed or full, drop them."""
    for line in lines:
        with suppress(OSError):
            _SCREEN.write(shown(line))


def answer(line: str) -> None:
    """Print a result line on standard output; a path in the file system's own bytes.

    Raises:
        OutputError: Standard output cannot be written.
    """
    answer_bytes(os.fsencode(line) + b"\n")


def answer_bytes(data: bytes) -> None:
    """Write a result to standard output.

    Raises:
        BrokenPipeError: The reader has stopped, like `head`; click ends the program silently.
        OutputError: Standard output cannot be written.
    """
    try:
        click.echo(data, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_error(error) from error


def line_of(error: PreviewError) -> str:
    """Return an error's line, with its notes."""
    return "; ".join([error.at_command_line, *getattr(error, "__notes__", [])])


def output_error(error: OSError) -> OutputError:
    """Say why standard output cannot be written."""
    return OutputError("standard output", (error.strerror or "cannot be written to").lower())


def shown(value: object) -> str:
    """Return a value safe for a terminal: control characters, and bytes that are no text, are escaped."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # os.fsdecode's form of bytes that are no text
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(character)[1:-1]


def _coloured(line: str) -> str:
    """Colour a line for a terminal; elsewhere click removes the colour."""
    found = _KIND.match(line)
    if found is None or os.environ.get("NO_COLOR"):
        return line
    return click.style(found[0], fg=_COLOURS[found[0]]) + line[found.end() :]


def answer_table(columns: Mapping[str, int | None], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; on a terminal, fit it to the width.

    Args:
        columns: By heading, the column's least width, or None to keep its width.
        rows: The texts of its rows.
    """
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - 60 ms that only a terminal pays for
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        table = Table(show_edge=False)
        for heading, least in columns.items():
            table.add_column(heading, no_wrap=least is None, min_width=least or None, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    lines = [tuple(columns), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        answer("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def log(*, verbose: bool) -> None:
    """Send the package's log to standard error: warnings always, the rest with -v."""
    quiet_libraries()
    logger = logging.getLogger("dicom_series_preview")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


class _Lines(logging.Handler):
    """Prints each record as a line."""

    def emit(self, record: logging.LogRecord) -> None:
        head, *trace = f"{record.levelname.lower()}: {record.getMessage()}".splitlines()
        say(head, *trace)


class Progress:
    """Progress bars, one per piece of work under way, if a terminal is to show them.

    Args:
        what: The name of the work, if it is one piece.
        quiet: Show no bars.
    """

    def __init__(self, what: str = "reading headers", *, quiet: bool = False) -> None:
        self._whole = _Part(self, what)
        # Asked once: each call lets another fetching thread take the interpreter.
        self._is_seen = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with _SCREEN.lock:
            if _SCREEN.bar is not None:
                _SCREEN.bar.stop()
                _SCREEN.bar = None

    def __call__(self, done: int, total: int) -> None:
        """Show the progress of the one piece of work."""
        self._whole(done, total)

    def part(self, name: str, number: str = "") -> _Part:
        """Return the bar of one of several pieces; it disappears when its context ends.

        Args:
            name: The piece's name; a narrow window cuts its beginning: a path ends with the series.
            number: Its number and the total, or empty.
        """
        return _Part(self, shown(name), number)

    def show(self, part: _Part, done: int, total: int) -> None:
        """Show the progress of a piece."""
        if not self._is_seen or not total:
            return
        with _SCREEN.lock:
            if _SCREEN.bar is None:
                _SCREEN.bar = _bar()
                _SCREEN.bar.start()
            if part.task is None:
                part.task = _SCREEN.bar.add_task(part.described(_SCREEN.bar.console.width), total=total)
        _SCREEN.bar.update(part.task, completed=done, total=total)

    def hide(self, part: _Part) -> None:
        """Hide a piece's bar."""
        with _SCREEN.lock:
            if part.task is not None and _SCREEN.bar is not None:
                _SCREEN.bar.remove_task(part.task)


class _Part:
    """One piece of work."""

    def __init__(self, progress: Progress, name: str, number: str = "") -> None:
        self._progress = progress
        self._name = name
        self._number = number
        self.task: Any = None

    def described(self, columns: int) -> str:
        """Return its name, cut to the room that the rest of the bar leaves in a window's columns."""
        room = max(1, columns - _REST_COLUMNS - len(self._number))
        name = self._name if len(self._name) <= room else f"…{self._name[len(self._name) - room + 1 :]}"
        return f"{name}{self._number}"

    def __enter__(self) -> Callable[[int, int], None]:
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.hide(self)

    def __call__(self, done: int, total: int) -> None:
        self._progress.show(self, done, total)


def _bar() -> Any:  # noqa: ANN401 - rich's, which only a terminal loads
    """Create a bar."""
    from rich.console import Console  # noqa: PLC0415 - 60 ms that only a terminal pays for
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above
    from rich.progress import Progress as Bar  # noqa: PLC0415 - as above

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=_BAR_COLUMNS),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
