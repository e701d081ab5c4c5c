"""Run a process to its end, and measure it; needs only Python.

A process inherits the peak memory of its parent, so this one has to stay smaller.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3_server import S3


@dataclass(frozen=True, slots=True)
class Spent:
    """The resources that one process used.

    Attributes:
        wall_s: From its start to its end.
        cpu_s: CPU seconds of all its threads, in user and system mode.
        peak_mb: The peak of resident memory, in MiB.
        lists: LIST requests, counted by the server.
        gets: GET requests.
        bytes: Bytes of objects.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    lists: float = 0
    gets: float = 0
    bytes: float = 0


def run(command: Sequence[str], environment: dict[str, str], s3: S3 | None = None) -> Spent:
    """Run a process to its end.

    Args:
        command: The program's path and its arguments.
        environment: All of its environment.
        s3: The server that counts requests.

    Raises:
        RuntimeError: The process failed; the message has its last output.
    """
    if s3 is not None:
        s3.counts()
    with tempfile.TemporaryFile() as said:
        outputs = [(os.POSIX_SPAWN_DUP2, said.fileno(), number) for number in (1, 2)]
        started = time.perf_counter()
        process = os.posix_spawn(command[0], command, environment, file_actions=outputs)
        _, status, usage = os.wait4(process, 0)
        wall_s = time.perf_counter() - started
        if status:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read().decode(errors='replace')[-2000:]}")
    counts = s3.counts() if s3 is not None else {}
    mib = 2**20 if sys.platform == "darwin" else 2**10
    return Spent(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / mib,
        lists=counts.get("LIST", 0),
        gets=counts.get("GET", 0),
        bytes=counts.get("bytes", 0),
    )


def median(spent: Sequence[Spent]) -> Spent:
    """Return the median of each quantity separately."""
    return Spent(*(statistics.median(getattr(one, item.name) for one in spent) for item in fields(Spent)))
