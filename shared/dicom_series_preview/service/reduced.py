"""Frames decoded at reduced resolution, where the tile stays what full resolution gives.

A tile is to be within 2 grey levels (RMS) of the tile of the fully decoded frame. What is lost cannot be told
from a reduced frame, but it can be measured: one frame of the picture, the probe, is decoded both ways, and
decides for all. What it cannot know, how much more another slice has to lose, shows in what reducing that one
once more does to its tile (docs/decisions/0007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.decode import has_means, reductions
from dicom_series_preview.frames import frame_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.decode import Decoded
    from dicom_series_preview.index import Slice
    from dicom_series_preview.layout import Area, Tile

# In grey levels. The rest of the way to 2 is for what the measure misses.
_LARGEST_ERROR = 1.6
# What a reduction does is taken for this part at least of what one more does, and that for this at least.
_LEAST_PART, _LEAST_CHANGE = 0.15, 0.3
# Of fewer slices, a try costs more than a few per cent where it is in vain.
_FEWEST = 8
# Pixels of a reduced frame for each of the tile, in both directions, where it is not tried.
_LEAST_PIXELS = 4
# Of fewer pixels, one edge decides, and the slices of a series are not alike.
_SMALLEST_SIDE = 32


@dataclass(frozen=True, slots=True)
class Trial:
    """Which slices may be decoded at reduced resolution, and what is to decide.

    Attributes:
        rows: Their rows in the index.
        probe: The slice with the longest codestream: the one with most noise and detail.
        reductions: The reductions to try, the largest first.
    """

    rows: frozenset[int]
    probe: Slice
    reductions: tuple[int, ...]


def trial_of(slices: Sequence[Slice], size_of: Callable[[Slice], tuple[int, int]]) -> Trial | None:
    """Plan the trial of some slices.

    Left out are slices that must be whole: where padding would be averaged into the picture, and where a
    modality LUT gives neighbouring values any meaning.

    Args:
        slices: The slices of a picture.
        size_of: Gives width and height a slice is shown in.

    Returns:
        None where it would not pay: of tiles more than a quarter as wide as their frames, and of few slices.
    """
    able = [item for item in slices if _wanted(item, size_of(item))]
    if len(able) < _FEWEST:
        return None
    tried = set.intersection(*(_wanted(item, size_of(item)) for item in able))
    return Trial(
        frozenset(item.row for item in able), max(able, key=frame_length), tuple(sorted(tried, reverse=True))
    )


def _wanted(item: Slice, size: tuple[int, int]) -> set[int]:
    """The reductions that a slice may be tried with."""
    if _must_be_whole(item) or min(size) < _SMALLEST_SIDE:
        return set()
    # Each pixel of the tile is made of 2 x 2 reduced ones at least, which hide the wavelet's other low-pass.
    shrink = _shrink(item, size)
    return {reduction for reduction in reductions(item.pixels) if 2 * reduction <= shrink}


def _must_be_whole(item: Slice) -> bool:
    return item.contrast.pixel_padding_value is not None or item.contrast.modality_lut is not None


def _shrink(item: Slice, size: tuple[int, int]) -> float:
    return min(item.pixels.columns / size[0], item.pixels.rows / size[1])


def level_reduction(item: Slice, size: tuple[int, int]) -> int:
    """The reduction to have for the frames of a slice that is put together, where nobody looks a second time.

    With 4 reduced pixels and more for each of the tile, in both directions, a real slide is off by 0.7 grey
    levels (RMS), and white noise by less than 2.

    Args:
        item: The slice.
        size: Width and height it is shown in.
    """
    if not has_means(item.pixels) or _must_be_whole(item):
        return 1
    shrink = _shrink(item, size)
    return max(n for n in (1, 2, 4, 8) if n == 1 or max(_LEAST_PIXELS, n) * n <= shrink)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A slice at reduced resolution.

    Attributes:
        reduction: Rows and columns are divided by it; 1 where the codestream has no reduced form.
        tiles: Its tiles, one for each contrast.
        once_more: Those of the frame reduced by 2 once more.
    """

    reduction: int
    tiles: Sequence[Tile]
    once_more: Sequence[Tile]

    def changes(self) -> list[float]:
        """For each contrast, what reducing once more does to the tile, in grey levels (RMS)."""
        return [_rms(one, other) for one, other in zip(self.tiles, self.once_more, strict=True)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reduction that the probe has passed.

    Attributes:
        reduction: Rows and columns are divided by it.
        parts: For each contrast, the probe's error as a part of what reducing it once more does.
    """

    reduction: int
    parts: tuple[float, ...]

    def holds(self, attempt: Attempt) -> bool:
        """Whether another slice's tiles are as near to those of the whole frame as the probe's were."""
        if attempt.reduction != self.reduction or len(attempt.tiles) != len(self.parts):
            return False
        changes = attempt.changes()
        return all(part * by <= _LARGEST_ERROR for part, by in zip(self.parts, changes, strict=True))


def judge(
    reductions: Sequence[int], whole: Sequence[Tile], attempt: Callable[[int], Attempt]
) -> Verdict | None:
    """Choose the first reduction that leaves the probe's tiles what they are; None where none does.

    Args:
        reductions: What to try.
        whole: The probe's tiles, one for each contrast.
        attempt: Makes them at a reduction.
    """
    for reduction in reductions:
        tried = attempt(reduction)
        if tried.reduction == 1 or len(tried.tiles) != len(whole):
            return None
        errors = [_rms(one, other) for one, other in zip(tried.tiles, whole, strict=True)]
        if max(errors) <= _LARGEST_ERROR:
            parts = (
                max(_LEAST_PART, error / max(_LEAST_CHANGE, change))
                for error, change in zip(errors, tried.changes(), strict=True)
            )
            return Verdict(tried.reduction, tuple(parts))
    return None


def reduce_once_more(decoded: Decoded) -> Decoded:
    """Halve a reduced frame as the reversible wavelet does (ISO/IEC 15444-1 F.3.8.2), rounding at the end."""
    low = _low_pass(_low_pass(decoded.samples.astype(np.float32)).swapaxes(0, 1)).swapaxes(0, 1)
    limits = np.iinfo(decoded.samples.dtype)
    samples = np.clip(np.rint(low), limits.min, limits.max).astype(decoded.samples.dtype)
    return replace(
        decoded, samples=samples, reduction=2 * decoded.reduction, offset=decoded.offset / 2 + 0.25
    )


def _low_pass(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The even rows, with a quarter of what the odd ones beside them differ from their neighbours' mean."""
    even, odd = values[::2], values[1::2]
    after = even[1:] if len(even) > len(odd) else np.concatenate((even[1:], even[-1:]))
    detail = odd - (even[: len(odd)] + after) * np.float32(0.5)
    low = even.copy()
    low[: len(odd)] += detail * np.float32(0.25)
    low[1 : len(odd) + 1] += detail[: len(even) - 1] * np.float32(0.25)
    low[0] += detail[0] * np.float32(0.25)
    if len(even) > len(odd):
        low[-1] += detail[-1] * np.float32(0.25)
    return low


def area_of(decoded: Decoded, item: Slice) -> Area | None:
    """The part of the decoded samples that the frame covers; None for all of them, at full resolution."""
    if decoded.reduction == 1:
        return None
    start = decoded.offset
    return (
        start,
        start,
        start + item.pixels.columns / decoded.reduction,
        start + item.pixels.rows / decoded.reduction,
    )


def _rms(one: Tile, other: Tile) -> float:
    return math.sqrt(float(np.mean(np.square(np.subtract(one, other, dtype=np.float32)))))


def halve(samples: NDArray[Any]) -> NDArray[Any]:
    """Means of 2 x 2 samples of up to 16 bits; a last row or column stands alone."""
    around = [(0, side % 2) for side in samples.shape[:2]]
    if any(after for _, after in around):
        samples = np.pad(samples, [*around, (0, 0)][: samples.ndim], mode="edge")
    pairs = np.add(samples[::2], samples[1::2], dtype=np.float32)
    means = pairs[:, ::2] + pairs[:, 1::2]
    means *= 0.25
    return np.asarray(np.rint(means, out=means).astype(samples.dtype))
