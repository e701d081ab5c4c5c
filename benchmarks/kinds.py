"""What series are measured, over which lines. Nothing here needs more than Python."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

NATIVE, JPEG2000 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
RESCALE = (1.0, -1024.0)  # slope and intercept
WINDOW = (400.0, 40.0)  # width and center


@dataclass(frozen=True, slots=True)
class Kind:
    """What a series is like.

    Attributes:
        objects: How many.
        frames: Frames of each; more than one makes enhanced multi-frame objects.
        side: Rows and columns.
        transfer_syntax_uid: NATIVE or JPEG2000.
        private_bytes: Length of the private elements, in the manner of a vendor's protocol dump; 0 for none.
    """

    objects: int
    frames: int = 1
    side: int = 512
    transfer_syntax_uid: str = NATIVE
    private_bytes: int = 0

    @property
    def name(self) -> str:
        """The folder that holds it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Line:
    """What lies between client and server.

    Attributes:
        latency_s: Seconds until an answer begins.
        bytes_per_s: What all connections share, or None for no limit.
    """

    latency_s: float = 0.0
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a client may know of a series before it asks.

    Attributes:
        folder: Its folder.
        header_bytes: Length of the longest header.
        frames: Of each frame in display order: file name, first byte, one past the last.
        total_bytes: Of all objects.
    """

    folder: str
    header_bytes: int
    frames: list[tuple[str, int, int]]
    total_bytes: int
