"""The verdict on a series, from those on its slices."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.pixels.quality.rules import NORMAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.pixels.quality.rules import Reason, SliceQuality
    from dicom_series_preview.pixels.quality.thresholds import Thresholds

MOST_IN_FULL = 200
"""The most slices of a series that are all judged where nothing else reads them."""
_EITHER_SIDE = 3
_SAMPLE = 2 * _EITHER_SIDE + 1
_MOST_REASONS = 3


def chosen(stacks: Sequence[int]) -> range:
    """Choose the slices of a series to judge: all, or the middle one and three on either side.

    Args:
        stacks: How many slices each stack has; the series' slices are those of stack after stack.

    Returns:
        Numbers of slices, from 0. The middle is that of the largest stack; of the whole series where that has
        fewer slices than the sample.
    """
    count = sum(stacks)
    if count <= MOST_IN_FULL:
        return range(count)
    largest = max(range(len(stacks)), key=stacks.__getitem__)
    first, size = (sum(stacks[:largest]), stacks[largest]) if stacks[largest] >= _SAMPLE else (0, count)
    middle = first + size // 2
    return range(middle - _EITHER_SIDE, middle + _EITHER_SIDE + 1)


@dataclass(frozen=True, slots=True)
class SeriesQuality:
    """What came of judging a series.

    Attributes:
        slices: What came of judging each slice, by its number in the series, from 0.
        count: How many slices there were to judge.
        low_quality_ratio_most: The largest share of slices with issues in a series of good quality.
    """

    slices: Mapping[int, SliceQuality] = field(repr=False)
    count: int
    low_quality_ratio_most: float

    @classmethod
    def of(cls, slices: Sequence[SliceQuality], thresholds: Thresholds) -> SeriesQuality:
        """Return the verdict on a series of which every slice was judged, in the order of the slices."""
        return cls(dict(enumerate(slices)), len(slices), thresholds.series_low_quality_ratio)

    @property
    def ratio(self) -> float | None:
        """The share of slices with issues; None where none was judged."""
        return len(self.flagged) / len(self.slices) if self.slices else None

    @property
    def low_quality(self) -> bool | None:
        """The series is of low quality; None where no slice was judged."""
        return None if self.ratio is None else self.ratio > self.low_quality_ratio_most

    @property
    def mode(self) -> str:
        """`full` where all slices were judged, else `sample`."""
        return "full" if len(self.slices) == self.count else "sample"

    @property
    def flagged(self) -> list[int]:
        """The numbers of the slices with issues, ascending."""
        return sorted(number for number, one in self.slices.items() if one.is_low)

    @property
    def reasons(self) -> list[tuple[Reason, int]]:
        """Each reason and its number of slices, the most frequent first."""
        numbers = sorted(self.slices)
        return Counter(one for number in numbers for one in self.slices[number].reasons).most_common()

    @property
    def told(self) -> str:
        """The reasons in words: `Normal`, one slice's own, or the most frequent three."""
        if self.ratio is None:
            return "Not judged"
        if not self.ratio:
            return NORMAL
        if len(self.slices) == 1:
            return next(iter(self.slices.values())).told
        counts = ", ".join(f"{reason.text}: {count}" for reason, count in self.reasons[:_MOST_REASONS])
        return f"{percent(self.ratio)} of slices with issues - {counts}"

    def document(self, places: Mapping[int, Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """Return it as JSON values.

        Args:
            places: What to say of each slice beside its quality, such as its SOPInstanceUID.
        """
        numbers, places = sorted(self.slices), places or {}
        return {
            "low_quality": self.low_quality,
            "low_quality_ratio": self.ratio,
            "low_quality_reason": self.told,
            "qc_mode": self.mode,
            "qc_slices": self.count,
            "qc_sample_indices": numbers,
            "low_quality_details": [
                {"index": number, **places.get(number, {}), **self.slices[number].document()}
                for number in numbers
            ],
        }


def percent(ratio: float) -> str:
    """Write a share as a whole percentage, a small one as at least 1 %."""
    return f"{max(1, round(100 * ratio)) if ratio else 0}%"
