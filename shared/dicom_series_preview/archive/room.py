"""Room in memory for indices built at once: a job that does not fit waits."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_series_preview.sources.storage.deadline import Deadline

# Enough for four series of small objects, or for one with large objects, which can have any number of frames.
_ROOM_BYTES = 2**30
_LOOK_S = 0.1


@dataclass(slots=True)
class Room:
    """Room in memory: a job that does not fit waits, unless it is the only one.

    Attributes:
        running: Abandoned once nobody waits for the indices.
    """

    running: Deadline
    taken: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def passage(self, wanted: int) -> Iterator[None]:
        """Admit work that takes this many bytes."""
        with self.changed:
            while self.taken and self.taken + wanted > _ROOM_BYTES:
                self.changed.wait(_LOOK_S)
                self.running.check()
            self.taken += wanted
        try:
            yield
        finally:
            with self.changed:
                self.taken -= wanted
                self.changed.notify_all()
