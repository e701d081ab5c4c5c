"""Colours for the labels of a segmentation without colours (PS3.3 C.8.20.2, LABELMAP)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.image import LookupTable, Palette, PixelDescription

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The number of colours before they repeat.
_CYCLE = 1024
# The choice of levels for red, green and blue.
_LEVELS = np.arange(0, 256, 17)
# Darker colours would look like the background (CIE L*, 0..100).
_DARKEST = 40
_PARTS = 16


def coloured_labels(pixels: PixelDescription, background: float | None = None) -> PixelDescription:
    """Return the layout of an image whose values are labels, with a palette.

    Args:
        pixels: The layout.
        background: PixelPaddingValue (PS3.3 C.8.20.2.3), or None for 0. It is black, and label 0 takes the
            colour of the background's number.
    """
    labels = 1 << min(pixels.bits_stored, 16)
    black = int(background) if background is not None and 0 <= background < labels else 0
    palette = _palette(labels, black)
    return replace(pixels, photometric_interpretation="PALETTE COLOR", palette=palette)


@lru_cache(maxsize=4)
def _palette(labels: int, black: int) -> Palette:
    colours = np.zeros((labels, 3), "<u2")
    colours[1:] = np.resize(_distinct_colours() * 257, (labels - 1, 3))
    colours[[0, black]] = colours[[black, 0]]
    red, green, blue = (LookupTable(labels, 0, 16, channel.tobytes()) for channel in colours.T)
    return Palette(red, green, blue)


@lru_cache(maxsize=1)
def _distinct_colours() -> NDArray[np.int64]:
    """Return 8-bit colours, each as far as possible from black and all before: low labels differ most."""
    colours = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    places = _lab(colours)
    is_bright = places[:, 0] > _DARKEST * _PARTS
    colours, places = colours[is_bright], places[is_bright]
    chosen = np.empty(_CYCLE, np.intp)
    nearest = np.square(places).sum(axis=1)
    for i in range(_CYCLE):
        chosen[i] = nearest.argmax()
        np.minimum(nearest, np.square(places - places[chosen[i]]).sum(axis=1), out=nearest)
    return np.asarray(colours[chosen])


def _lab(colours: NDArray[np.int64]) -> NDArray[np.int32]:
    """Convert 8-bit sRGB colours (IEC 61966-2-1) to CIE L*, a*, b*, whose distances match perception.

    The unit is 1/16, in integers, so that every machine chooses the same colours.
    """
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    x, y, z = (linear @ np.array(to_xyz).T / (0.9505, 1.0, 1.089)).T
    x, y, z = (np.where(t > 216 / 24389, np.cbrt(t), (t * 24389 / 27 + 16) / 116) for t in (x, y, z))
    places = np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=1)
    return np.asarray(np.rint(places * _PARTS), np.int32)
