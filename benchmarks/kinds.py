"""The series to measure, and the lines to measure them over; needs only Python."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

NATIVE, JPEG2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
RESCALE = (1.0, -1024.0)  # slope and intercept
WINDOW = (400.0, 40.0)  # width and center


@dataclass(frozen=True, slots=True)
class Kind:
    """The properties of a series.

    Attributes:
        objects: The number of objects.
        frames: Frames per object; more than one makes enhanced multi-frame objects.
        side: Rows and columns.
        transfer_syntax_uid: NATIVE or JPEG2000.
        is_volume: Neighbours differ, as what compresses a volume would gain from equal ones; else 6 pictures
            make all slices.
        private_bytes: Length of the private elements, like a vendor's protocol dump; 0 for none.
    """

    objects: int
    frames: int = 1
    side: int = 512
    transfer_syntax_uid: str = NATIVE
    private_bytes: int = 0
    is_volume: bool = False

    @property
    def name(self) -> str:
        """The series' folder."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Line:
    """The connection between client and server.

    Attributes:
        latency_s: Seconds until an answer begins.
        bytes_per_s: The bandwidth that all connections share, or None for no limit.
    """

    latency_s: float = 0.0
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that a client can know about a series in advance.

    Attributes:
        folder: Its folder.
        header_bytes: Length of the longest header.
        frames: For each frame in display order: file name, first byte, one past the last.
        total_bytes: Bytes of all objects.
    """

    folder: str
    header_bytes: int
    frames: list[tuple[str, int, int]]
    total_bytes: int
