"""The sizes of requests: how many bytes of an object, and how many objects at once."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.prefetched import PREFETCHED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A request for this much takes as long as for one byte, and few headers are longer.
FIRST_RANGE_BYTES = 16 * 1024
_LEAST_RANGE_BYTES = 5 * 1024
_SLACK = 1.1
_REMEMBERED = 31
_MARGIN = 1024
_SCOUT_BYTES = 64 * 1024
_SMALL_BYTES = 256 * 1024
_SPARE_BYTES = 2**20
_AHEAD_S = 5.0
_PACE_OF = 8


@dataclass(slots=True)
class LearnedRange:
    """The first range to request: 16 KiB, and once headers are known a little more than their length.

    The longest known header within 16 KiB decides, or the median if most are longer: one very long header
    among many short ones then costs itself a second request, and the others no bytes.

    Attributes:
        lengths: The latest headers' lengths in bytes.
    """

    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def first_range(self) -> int:
        """Return how many bytes to request of a new object."""
        if not self.lengths:
            return FIRST_RANGE_BYTES
        needed = [math.ceil(length * _SLACK) for length in self.lengths]
        generous = [most for most in needed if most <= FIRST_RANGE_BYTES]
        return max(_LEAST_RANGE_BYTES, math.ceil(median(needed)), *generous)

    def next_end(self, have: int, at_least: int) -> int:
        """Return the end to read to, when `have` bytes were not enough and `at_least` bytes are needed.

        Before anything is learned it is far: one or two objects find out for all others.
        """
        if not self.lengths:
            return max(at_least + _MARGIN, _SCOUT_BYTES, 4 * have)
        learned = self.first_range()
        return learned if learned >= at_least else max(at_least + _MARGIN, 2 * have)


@dataclass(slots=True)
class Pace:
    """The number of objects that may be in flight: as many as can be parsed in a few seconds.

    Most take less than a millisecond. If objects take seconds each, few are requested ahead, so that little
    is wasted where reading ends early.

    Attributes:
        clock: A monotonic clock, in seconds.
        under_way: Ranges requested and not yet parsed.
        latest_s: The latest objects' times.
    """

    clock: Callable[[], float] = time.perf_counter
    under_way: int = 0
    latest_s: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE_OF))

    def has_room(self) -> bool:
        """Return True where another object may be requested."""
        return not self.latest_s or self.under_way * fmean(self.latest_s) < _AHEAD_S


def is_read_whole(sizes: Sequence[int | None], next_frames: int) -> bool:
    """Return True where objects should be read whole, frames and all.

    That saves a request per frame, whose latency is worth a megabyte. So all objects must be small, and those
    that will not be shown must have at most a megabyte together.

    Args:
        sizes: The objects' sizes in bytes, None where the listing has none.
        next_frames: The number of frames that are read next.
    """
    known = sorted(size for size in sizes if size is not None)
    if not next_frames or not known or len(known) < len(sizes) or known[-1] > _SMALL_BYTES:
        return False
    return sum(known[:-next_frames]) <= _SPARE_BYTES and sum(known) <= PREFETCHED_BYTES
