"""Colours for the labels of a segmentation that brings none (PS3.3 C.8.20.2, LABELMAP)."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from functools import lru_cache

import numpy as np

from dicom_series_preview.headers import LookupTable, Palette, PixelDescription

# A step around the circle of hues that comes near no earlier one for long.
_GOLDEN = 0.618033988749895
# Colours after which they begin anew.
_CYCLE = 255
_LEVELS = ((0.65, 1.0), (0.9, 0.8), (0.4, 0.95), (1.0, 0.6))


def coloured_labels(pixels: PixelDescription) -> PixelDescription:
    """The layout of an image whose values are labels, with a palette; 0 is black."""
    palette = _palette(1 << min(pixels.bits_stored, 16))
    return replace(pixels, photometric_interpretation="PALETTE COLOR", palette=palette)


@lru_cache(maxsize=4)
def _palette(labels: int) -> Palette:
    cycle = np.array(
        [
            colorsys.hsv_to_rgb(i * _GOLDEN % 1, *_LEVELS[i // 8 % len(_LEVELS)])
            for i in range(min(labels - 1, _CYCLE))
        ]
    )
    colours = np.zeros((labels, 3), "<u2")
    colours[1:] = np.resize(np.rint(cycle * 0xFFFF), (labels - 1, 3))
    red, green, blue = (LookupTable(labels, 0, 16, channel.tobytes()) for channel in colours.T)
    return Palette(red, green, blue)
