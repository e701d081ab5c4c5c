"""The number of bytes to ask for of an object, and of objects to ask for at once."""

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

# A request takes as long for this much as for one byte, and few headers are longer.
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
    """The first range to ask for: 16 KiB, and once headers are known a little more than their length.

    The longest of the known headers that fit into 16 KiB decides, and the median where most are longer: one
    very long header among many short ones then costs a second request for itself, and no bytes for others.

    Attributes:
        lengths: The latest headers' lengths in bytes.
    """

    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def first_range(self) -> int:
        """Bytes to ask for of an object of which nothing is known yet."""
        if not self.lengths:
            return FIRST_RANGE_BYTES
        needed = [math.ceil(length * _SLACK) for length in self.lengths]
        generous = [most for most in needed if most <= FIRST_RANGE_BYTES]
        return max(_LEAST_RANGE_BYTES, math.ceil(median(needed)), *generous)

    def next_end(self, have: int, at_least: int) -> int:
        """Up to where to read on, when `have` bytes were not enough and `at_least` bytes are needed.

        Nothing learned yet: far, for the one or two objects that find out for all others.
        """
        if not self.lengths:
            return max(at_least + _MARGIN, _SCOUT_BYTES, 4 * have)
        learned = self.first_range()
        return learned if learned >= at_least else max(at_least + _MARGIN, 2 * have)


@dataclass(slots=True)
class Pace:
    """The number of objects that may be under way: as many as can be parsed in a few seconds.

    Most take less than a millisecond. Of objects that take seconds each, few are asked for ahead, so that
    little was fetched in vain where reading ends early.

    Attributes:
        clock: Seconds that only grow.
        under_way: Ranges that were asked for and not yet looked at.
        latest_s: How long the latest objects took.
    """

    clock: Callable[[], float] = time.perf_counter
    under_way: int = 0
    latest_s: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE_OF))

    def has_room(self) -> bool:
        """Return True where another object may be asked for."""
        return not self.latest_s or self.under_way * fmean(self.latest_s) < _AHEAD_S


def is_read_whole(sizes: Sequence[int | None], next_frames: int) -> bool:
    """Return True where objects are to be read whole, their frames with their headers.

    That saves one request per frame, and its latency, in which a megabyte could come. So all objects must be
    small, and those that will not be shown must have no more than a megabyte together.

    Args:
        sizes: The objects' sizes in bytes, None where the listing does not tell.
        next_frames: How many frames are read next.
    """
    known = sorted(size for size in sizes if size is not None)
    if not next_frames or not known or len(known) < len(sizes) or known[-1] > _SMALL_BYTES:
        return False
    return sum(known[:-next_frames]) <= _SPARE_BYTES and sum(known) <= PREFETCHED_BYTES
