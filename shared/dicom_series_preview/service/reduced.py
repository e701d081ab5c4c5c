"""Frames decoded at reduced resolution, where the tile stays what full resolution gives.

A tile is to be within 2 grey levels (RMS) of the tile of the fully decoded frame (docs/decisions/0007). Two
things can make it another: the larger the reduction, the more pixels the resize needs to hide its other
low-pass; and where a window clips, the mean of what is clipped is not what is clipped of the mean. How much
either matters is seen in the reduced frame itself, by reducing it once more.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.contrast import AutoWindow, render, resolve
from dicom_series_preview.decode import Decoded, decode_frame, has_means, is_colour, to_rgb
from dicom_series_preview.layout import Area, resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.contrast import ContrastSpec
    from dicom_series_preview.frames import FrameBytes
    from dicom_series_preview.index import Slice

_LARGEST = 8
_LEAST_PIXELS = 4
# What one more reduction does to a tile, times these, tells what the one before has done.
_OF_CLIPPING, _OF_LOW_PASS, _LARGEST_ERROR = 0.5, 0.9, 1.45
# Noise of more grey levels than this is clipped by the window before it can be averaged.
_LARGEST_NOISE = 4.0
_GAUSSIAN_ENTROPY = math.sqrt(2 * math.pi * math.e)


def wanted_reduction(item: Slice, size: tuple[int, int]) -> int:
    """The reduction to try for one slice: 1, 2, 4 or 8.

    It leaves `reduction` reduced pixels for each of the tile, in both directions. Frames stay whole where
    padding would be averaged into the picture, and where a modality LUT gives neighbouring values any
    meaning.

    Args:
        item: The slice.
        size: Width and height it is shown in.
    """
    contrast = item.contrast
    if contrast.pixel_padding_value is not None or contrast.modality_lut is not None:
        return 1
    if not has_means(item.pixels):
        return 1
    shrink = min(item.pixels.columns / size[0], item.pixels.rows / size[1])
    reduction = 1
    while reduction < _LARGEST and (2 * reduction) ** 2 <= shrink:
        reduction *= 2
    return reduction


def level_reduction(item: Slice, size: tuple[int, int]) -> int:
    """The reduction to have for the frames of a slice that is put together, where nobody looks a second time.

    With 4 reduced pixels and more for each of the tile, in both directions, a real slide is off by 0.7 grey
    levels (RMS), and white noise by less than 2.

    Args:
        item: The slice.
        size: Width and height it is shown in.
    """
    reduction = wanted_reduction(item, size)
    shrink = min(item.pixels.columns / size[0], item.pixels.rows / size[1])
    return reduction if shrink >= _LEAST_PIXELS * reduction else 1


def decode_for_tile(
    frame: FrameBytes, size: tuple[int, int], specs: Sequence[ContrastSpec], reduction: int, limit_bytes: int
) -> Decoded:
    """Decode a frame at the reduction that `wanted_reduction` gave, or fully where that shows.

    Raises:
        DecodeError: See `decode_frame`.
    """
    item = frame.slice

    def decode(reduction: int) -> Decoded:
        return decode_frame(
            frame.data,
            item.pixels,
            bit_offset=frame.bit_offset,
            limit_bytes=limit_bytes,
            reduction=reduction,
        )

    if reduction == 1 or any(_noise(frame, spec) > _LARGEST_NOISE for spec in specs):
        return decode(1)
    decoded = decode(reduction)
    if decoded.reduction == 1 or _error(decoded, item, size, specs) <= _LARGEST_ERROR:
        return decoded
    return decode(1)


def _noise(frame: FrameBytes, spec: ContrastSpec) -> float:
    """The noise of a frame as shown, in grey levels: that which takes as many bits as the codestream has.

    It costs no decoding, and tells of the detail that a reduced frame has lost.
    """
    pixels, contrast = frame.slice.pixels, frame.slice.contrast
    if is_colour(pixels):
        return 0.0
    bits = min(8 * len(frame.data) / (pixels.rows * pixels.columns), 64.0)
    width = resolve(spec, contrast, AutoWindow()).width
    deviation = 2**bits / _GAUSSIAN_ENTROPY * abs(contrast.rescale_slope)
    return 255 * deviation / width if width else math.inf


def tile_of(decoded: Decoded, item: Slice, spec: ContrastSpec, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A slice's tile under a contrast that needs no statistics.

    Raises:
        DecodeError: A lookup table is cut off.
    """
    return resize(_shown(decoded, item, spec), size, area=area_of(decoded, item))


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


def _error(decoded: Decoded, item: Slice, size: tuple[int, int], specs: Sequence[ContrastSpec]) -> float:
    """An estimate, rather too high, of a tile's RMS difference to that of the whole frame, in grey levels."""
    largest = 0.0
    for spec in specs:
        shown = _shown(decoded, item, spec)
        halved = resize(halve(shown), size)
        low_pass = _rms(resize(shown, size), halved)
        clipping = 0.0
        if not is_colour(item.pixels):
            # In two phases: edges that lie on the grid of one do not lie on that of the other.
            for phase in (0, 1):
                samples = replace(decoded, samples=halve(decoded.samples, phase))
                half = phase / 2
                area = half, half, half + shown.shape[1] / 2, half + shown.shape[0] / 2
                last = resize(halve(shown, phase), size, area=area)
                first = resize(_shown(samples, item, spec), size, area=area)
                clipping = max(clipping, _rms(first, last))
        largest = max(largest, math.hypot(_OF_CLIPPING * clipping, _OF_LOW_PASS * low_pass))
    return largest


def _shown(decoded: Decoded, item: Slice, spec: ContrastSpec) -> NDArray[np.uint8]:
    if is_colour(item.pixels):
        return to_rgb(decoded, item.pixels)
    applied = resolve(spec, item.contrast, AutoWindow())
    return render(decoded, item.pixels, item.contrast, applied)


def halve(samples: NDArray[Any], phase: int = 0) -> NDArray[Any]:
    """Means of 2 x 2 samples of up to 16 bits; a last row or column, and in phase 1 a first, stands alone."""
    around = [(phase, (side + phase) % 2) for side in samples.shape[:2]]
    if any(before or after for before, after in around):
        samples = np.pad(samples, [*around, (0, 0)][: samples.ndim], mode="edge")
    pairs = np.add(samples[::2], samples[1::2], dtype=np.float32)
    means = pairs[:, ::2] + pairs[:, 1::2]
    means *= 0.25
    return np.asarray(np.rint(means, out=means).astype(samples.dtype))


def _rms(one: NDArray[Any], other: NDArray[Any]) -> float:
    difference = np.subtract(one, other, dtype=np.float32).reshape(-1)
    return math.sqrt(float(difference @ difference) / difference.size)
