"""The steps between the locations of a stack: runs of equal ones, and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REGULAR = 0.01
"""Steps within this share of each other are equal."""
# So many equal steps are a spacing of their own, however wide; fewer may be gaps.
_OWN_SPACING = 3
# How far a gap may be from a whole number of steps, as a share of it.
_WHOLE = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """Equal steps that follow each other.

    Attributes:
        first: The location at which they begin, in display order, from 0.
        last: The location at which they end.
        spacing_mm: The mean step, along the normal.
    """

    first: int
    last: int
    spacing_mm: float

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class Gap:
    """A step between two locations in which slices are missing.

    Attributes:
        after: The location before it, in display order, from 0.
        step_mm: The step, along the normal.
        missing: How many slices fit into it.
    """

    after: int
    step_mm: float
    missing: int


def spacing_of(steps: NDArray[np.float64]) -> float | None:
    """Return the median step, of an even number the lower middle one; None without steps."""
    return float(np.sort(steps)[(len(steps) - 1) // 2]) if len(steps) else None


def is_regular(steps: NDArray[np.float64]) -> bool | None:
    """Return True where all steps are equal to their median; None with fewer than two."""
    median = spacing_of(steps)
    if median is None or len(steps) < 2:
        return None
    return bool(np.all(np.abs(steps - median) <= REGULAR * median))


def runs_of(steps: NDArray[np.float64]) -> tuple[Run, ...]:
    """Return the runs of equal steps, from first to last."""
    if is_regular(steps):
        return (Run(0, len(steps), float(steps.mean())),)
    runs: list[Run] = []
    first = 0
    values = steps.tolist()
    for number, step in enumerate(values):
        if abs(step - values[first]) > REGULAR * values[first]:
            runs.append(_run(values, first, number))
            first = number
    return (*runs, _run(values, first, len(values))) if values else ()


def _run(steps: Sequence[float], first: int, last: int) -> Run:
    return Run(first, last, sum(steps[first:last]) / (last - first))


def gaps_of(runs: Sequence[Run]) -> tuple[Gap, ...]:
    """Return the steps in which slices are missing.

    A gap is a whole number of times as wide as the usual step around it, and does not go on: three such steps
    or more are another spacing.
    """
    longest = max((run.steps for run in runs), default=0)
    usual = [run for run in runs if run.steps >= min(longest, _OWN_SPACING)]
    if longest < _OWN_SPACING and usual:
        usual = [min(usual, key=lambda run: run.spacing_mm)]
    gaps = []
    for run in runs:
        if run in usual:
            continue
        # The nearest usual run; of two, the longer.
        nearest = min(usual, key=lambda one: (_distance(one, run), -one.steps))
        ratio = run.spacing_mm / nearest.spacing_mm if nearest.spacing_mm else 0.0
        times = round(ratio)
        if times > 1 and abs(ratio - times) <= _WHOLE * times:
            gaps += [Gap(after, run.spacing_mm, times - 1) for after in range(run.first, run.last)]
    return tuple(gaps)


def _distance(one: Run, other: Run) -> int:
    """Return how many locations lie between two runs."""
    return max(one.first - other.last, other.first - one.last)
