import signal
import subprocess
import sys

import pytest

GIVES_WAY = """
import threading
from dicom_series_preview.doors.cli.stopping import end_when_told

end_when_told()
try:
    print("ready", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    raise SystemExit(3)
"""
# As a codec, in which Python's handler waits for its turn.
HOLDS_OUT = """
import threading
from dicom_series_preview.doors.cli.stopping import end_when_told

end_when_told()
while True:
    try:
        print("ready", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
"""
# Told once, it is told again while it ends.
TOLD_AGAIN = """
import os, signal, threading
from dicom_series_preview.doors.cli.stopping import end_when_told

end_when_told()
try:
    print("ready", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    print("error: interrupted")
    raise SystemExit(3)
"""
HANG_S = 60.0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("program", "outcome"),
    [(GIVES_WAY, (3, "")), (TOLD_AGAIN, (3, "")), (HOLDS_OUT, (None, "error: interrupted\n"))],
)
def test_a_program_ends_when_told(
    program: str, outcome: tuple[int | None, str], told: signal.Signals
) -> None:
    """A signal interrupts what can be, once, and ends what cannot, soon, as one that it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(told)
        _, said = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        process.communicate()
    status, line = outcome
    assert (process.returncode, said) == (-told if status is None else status, line)
