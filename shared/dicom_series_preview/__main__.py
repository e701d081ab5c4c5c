"""The console script, and `python -m dicom_series_preview`: Ctrl-C is seen to before anything is loaded."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


def run() -> None:
    """Load the command line, and run it."""
    # SIGINT that is ignored stays so; SIGTERM ends the program as it is.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from dicom_series_preview.doors.cli.commands import run as run_command_line  # noqa: PLC0415 - the handler comes first

    run_command_line()


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End the program by the signal at once: nothing has begun that would have to be finished.

    An exception would come up anywhere in what is being loaded, which may swallow it or show a traceback.
    """
    os.write(2, b"error: interrupted\n")
    if sys.platform != "win32":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(1)


if __name__ == "__main__":
    run()
