"""How many bytes of an object to ask for, and of how many objects at once."""

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
    """How much to ask for first: 16 KiB, and once headers are known a little more than those have.

    The longest decides of those that are known and fit into 16 KiB, and the median where most are longer:
    one very long header among many short ones costs that one object a second request, and not all others
    its bytes.

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
    """How many objects may be under way: what can be looked at in a few seconds.

    Most take less than a millisecond. Of those that take seconds each, few are asked for ahead, so that
    little has come in vain where reading ends before all are read.

    Attributes:
        clock: Seconds that only grow.
        under_way: Ranges that were asked for and not yet looked at.
        latest_s: How long the latest objects took.
    """

    clock: Callable[[], float] = time.perf_counter
    under_way: int = 0
    latest_s: deque[float] = field(default_factory=lambda: deque(maxlen=_PACE_OF))

    def has_room(self) -> bool:
        """Whether another one may be asked for."""
        return not self.latest_s or self.under_way * fmean(self.latest_s) < _AHEAD_S


def is_read_whole(sizes: Sequence[int | None], next_frames: int) -> bool:
    """Whether objects are read whole, their frames with their headers.

    That spares a request a frame, and the time that one takes to be answered, in which a megabyte comes. So
    all objects are small, and those that will not be shown have no more than that together.

    Args:
        sizes: The objects' sizes in bytes, None where the listing does not tell.
        next_frames: How many frames are read next.
    """
    known = sorted(size for size in sizes if size is not None)
    if not next_frames or not known or len(known) < len(sizes) or known[-1] > _SMALL_BYTES:
        return False
    return sum(known[:-next_frames]) <= _SPARE_BYTES and sum(known) <= PREFETCHED_BYTES
