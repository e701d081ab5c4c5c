"""The console script, and `python -m dicom_series_preview`: it handles Ctrl-C before anything is loaded.

It connects the doors, which do not know each other.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType


def run() -> None:
    """Load the command line, and run it."""
    # An ignored SIGINT stays ignored; SIGTERM already ends the program.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from dicom_series_preview.doors.cli.commands import run as run_command_line  # noqa: PLC0415 - the handler comes first

    run_command_line(_serve)


def main(arguments: Sequence[str]) -> int:
    """Run one command line in this process; see `doors.cli.commands.main`."""
    from dicom_series_preview.doors.cli.commands import main as run_command  # noqa: PLC0415 - as in `run`

    return run_command(arguments, _serve)


def _serve(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - of the server's `serve`
    """Load the local server, and run it."""
    from dicom_series_preview.doors.server.serving import serve  # noqa: PLC0415 - loads uvicorn and Powertools

    serve(*arguments, **options)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End the program by the signal at once: no work has begun that needs finishing.

    An exception would surface anywhere in a module being loaded, which can swallow it or show a traceback.
    """
    os.write(2, b"error: interrupted\n")
    if sys.platform != "win32":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(1)


if __name__ == "__main__":
    run()
