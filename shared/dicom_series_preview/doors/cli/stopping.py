"""Stop the program soon after a signal, whatever blocks it, with the signal's exit status."""

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

# Longer than a server takes to answer its remaining requests.
_GRACE_S = 1.3
_SHOW_CURSOR = b"\x1b[?25h"
# A shell's exit status for a program that a signal has ended, minus the signal's number.
SIGNAL_STATUS = 128


class TerminatedError(KeyboardInterrupt):
    """SIGTERM has arrived."""


def status_of(interrupt: BaseException | None) -> int:
    """Return the exit status, as in a shell, of a program that an interrupt ends."""
    told = signal.SIGTERM if isinstance(interrupt, TerminatedError) else signal.SIGINT
    return SIGNAL_STATUS + int(told)


def end_when_told() -> None:
    """Let SIGTERM end the program like Ctrl-C; if it does not end soon, end it by force.

    Python's own handler waits for the main thread, which can be in a codec for longer. Call this once, from
    the main thread.
    """
    # An ignored SIGINT, which a shell sets for its background jobs, stays ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    if sys.platform == "win32":  # there a console sends only Ctrl-C
        return
    told = {int(signal.SIGINT), int(signal.SIGTERM)}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_soon, args=(reading, told), name="stopping", daemon=True).start()


def end_with(status: int) -> NoReturn:
    """End the process at once; if the status is `status_of` a signal, by that signal.

    A shell's loop, or the parent process, then sees the interrupt and stops as well.
    """
    number = status - SIGNAL_STATUS
    if sys.platform != "win32" and number > 0:
        # Not signal.signal: only the main thread may call it, and that can be stuck.
        reset = ctypes.pythonapi.PyOS_setsig
        reset.argtypes, reset.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        reset(number, None)
        os.kill(os.getpid(), number)
    os._exit(1 if number > 0 else status)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt the program once: a second interrupt, during its end, would give a traceback."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda _number, _frame: None)
    raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt


def _end_soon(reading: int, told: set[int]) -> None:
    while (number := os.read(reading, 1)[0]) not in told:
        pass
    time.sleep(_GRACE_S)
    # Not through the stream: a stuck thread can hold its lock.
    with suppress(OSError):
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + b"error: interrupted\n")
    end_with(SIGNAL_STATUS + number)
