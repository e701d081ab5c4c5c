"""The end of a program that is told to stop: soon, whatever it is stuck in, by the signal that told it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

# Longer than a server takes to answer those that it leaves.
_GRACE_S = 1.3
_SHOW_CURSOR = b"\x1b[?25h"
# What a shell says of a program that a signal has ended.
SIGNAL_STATUS = 128


class TerminatedError(KeyboardInterrupt):
    """SIGTERM has come."""


def status_of(interrupt: BaseException | None) -> int:
    """The exit status of a program that an interrupt ends, as a shell shows it."""
    told = signal.SIGTERM if isinstance(interrupt, TerminatedError) else signal.SIGINT
    return SIGNAL_STATUS + int(told)


def end_when_told() -> None:
    """Let SIGTERM end the program as Ctrl-C does; where it does not end by itself soon, it is ended.

    Python's own handler waits for the main thread, which may be in a codec for longer. To be called once, by
    the main thread.
    """
    # SIGINT that is ignored, as a shell has it for what runs in its background, stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    if sys.platform == "win32":  # there Ctrl-C is all that a console sends
        return
    told = {int(signal.SIGINT), int(signal.SIGTERM)}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_soon, args=(reading, told), name="stopping", daemon=True).start()


def end_with(status: int) -> NoReturn:
    """End the process at once; with a status of `status_of` by that signal.

    A shell's loop, and whoever started the program, see by that that it was interrupted, and stop as well.
    """
    number = status - SIGNAL_STATUS
    if sys.platform != "win32" and number > 0:
        # Not signal.signal, which only the main thread may call; that one may be stuck.
        reset = ctypes.pythonapi.PyOS_setsig
        reset.argtypes, reset.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        reset(number, None)
        os.kill(os.getpid(), number)
    os._exit(1 if number > 0 else status)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt the program once: a second time, as it ends, would give a traceback."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda _number, _frame: None)
    raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt


def _end_soon(reading: int, told: set[int]) -> None:
    while (number := os.read(reading, 1)[0]) not in told:
        pass
    time.sleep(_GRACE_S)
    # Not by the stream: whoever is stuck may hold its lock.
    with suppress(OSError):
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + b"error: interrupted\n")
    end_with(SIGNAL_STATUS + number)
