"""The options of a conversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """What to make volumes of, and how.

    Attributes:
        stack: The one stack to convert; None for every stack that is no localizer.
        split: Keywords of elements whose values tell further parts apart.
        values: `modality` (after the modality step) or `stored`.
        monochrome1: `keep` or `invert`: the lowest plus the highest possible value, minus the value.
        orient: `native` (as stored) or `ras` (flipped and swapped to the closest canonical axes).
        incomplete: `refuse`, or `drop` the last volumes of the fourth axis that lack slices.
        min_slices: The fewest locations; with 1 a header's spacing is the thickness of a single one.
        exclude_derived: Leave out stacks whose ImageType is DERIVED.
    """

    stack: int | None = None
    split: tuple[str, ...] = ()
    values: Literal["modality", "stored"] = "modality"
    monochrome1: Literal["keep", "invert"] = "keep"
    orient: Literal["native", "ras"] = "native"
    incomplete: Literal["refuse", "drop"] = "refuse"
    min_slices: int = 2
    exclude_derived: bool = False
