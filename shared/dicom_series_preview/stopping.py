"""The end of a program that is told to stop: soon, whatever it is stuck in."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# Longer than a server takes to answer those that it leaves.
_GRACE_S = 1.3


def end_when_told() -> None:
    """Let SIGTERM end the program as Ctrl-C does; where it does not end by itself soon, it is ended.

    Python's own handler waits for the main thread, which may be in a codec for longer. To be called once, by
    the main thread.
    """
    if sys.platform == "win32":  # there Ctrl-C is all that a console sends
        return
    told = {int(signal.SIGINT), int(signal.SIGTERM)}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # SIGINT that is ignored, as a shell has it for what runs in its background, stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_soon, args=(reading, told), name="stopping", daemon=True).start()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Interrupt the program once: a second time, as it ends, would give a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    raise KeyboardInterrupt


def _end_soon(reading: int, told: set[int]) -> None:
    while os.read(reading, 1)[0] not in told:
        pass
    time.sleep(_GRACE_S)
    # Not by the stream: whoever is stuck may hold its lock.
    os.write(2, b"error: interrupted\n")
    os._exit(1)
