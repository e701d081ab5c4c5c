"""A frame in its codec's words, and the shapes of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription


@dataclass(frozen=True, slots=True)
class Words:
    """A frame in its codec's words, before the header's bits and sign apply.

    Attributes:
        samples: Shape (rows, columns) or (rows, columns, 3), integers or floats in native byte order.
        precision: Bits of a sample in the codestream; without one, the allocated bits.
        lossless: Bits are as encoded, so that those above HighBit can be overlays.
        photometric_interpretation: What the samples are.
        is_described: The precision is the codestream's own (PS3.5 8.2), and can contradict the header.
        is_ended: See `Decoded`.
        reduction: See `Decoded`.
        offset: See `Decoded`.
    """

    samples: NDArray[Any]
    precision: int
    lossless: bool
    photometric_interpretation: str
    is_described: bool = False
    is_ended: bool = True
    reduction: int = 1
    offset: float = 0.0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The samples' dtype."""
        return self.samples.dtype


def reduced_shape(pixels: PixelDescription, reduction: int) -> tuple[int, ...]:
    """Return the shape of a frame's samples at reduced resolution: (rows, columns), or (rows, columns, 3)."""
    rows, columns = -(-pixels.rows // reduction), -(-pixels.columns // reduction)
    return (rows, columns) if pixels.samples_per_pixel == 1 else (rows, columns, pixels.samples_per_pixel)


def shape_samples(flat: NDArray[Any], pixels: PixelDescription, *, by_plane: bool) -> NDArray[Any]:
    """Give a frame's samples their shape, (rows, columns) or (rows, columns, samples), colour by pixel.

    Args:
        flat: The samples in stored order.
        pixels: The frame's layout.
        by_plane: They are stored plane by plane (PlanarConfiguration 1).
    """
    rows, columns, samples = pixels.rows, pixels.columns, pixels.samples_per_pixel
    if samples == 1:
        return flat.reshape(rows, columns)
    if by_plane:
        return np.ascontiguousarray(flat.reshape(samples, rows, columns).transpose(1, 2, 0))
    return flat.reshape(rows, columns, samples)
