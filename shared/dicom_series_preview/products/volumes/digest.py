"""The digest of a volume's canonical array: one for all formats of a series.

The spatial axes are brought to right, anterior, superior by flips and swaps alone, the fourth axis follows,
then colour. Values are float32, of colour uint8, in C order, little endian.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.placement import closest_axes
from dicom_series_preview.products.volumes.reorder import NATIVE, Order, Reordered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.extents import Slab

# The place in (t, z, y, x) of each index of an affine: column, row, slice.
_PLACES = (3, 2, 1)


def canonical_order(affine: NDArray[np.float64] | None) -> Order:
    """Return the order x, y, z, t of the closest canonical axes, of an array (t, z, y, x).

    Args:
        affine: Takes (column, row, slice) to RAS; None of an image without a place, whose axes stay.
    """
    if affine is None:
        return Order((3, 2, 1, 0))
    axes, signs = closest_axes(affine)
    place_of = {axis: _PLACES[index] for index, axis in enumerate(axes)}
    flipped = {_PLACES[index] for index, sign in enumerate(signs) if sign < 0}
    return Order((place_of[0], place_of[1], place_of[2], 0), frozenset(flipped))


def file_order(affine: NDArray[np.float64] | None, orient: str) -> Order:
    """Return the order of the axes of NIfTI and Zarr, the slowest first.

    Args:
        affine: See `canonical_order`.
        orient: `native`, or `ras` for the canonical axes.
    """
    if orient != "ras" or affine is None:
        return NATIVE
    canonical = canonical_order(affine)
    x, y, z, t = canonical.axes
    return Order((t, z, y, x), canonical.flipped)


class CanonicalDigest:
    """The digest of an array that is given in slabs.

    Args:
        shape: (t, z, y, x), or with 3 colours.
        dtype: The type of its values.
        affine: See `canonical_order`.
        folder: A folder for temporary files.
    """

    def __init__(
        self, shape: Sequence[int], dtype: np.dtype[Any], affine: NDArray[np.float64] | None, folder: Path
    ) -> None:
        self._array = Reordered(shape, dtype, canonical_order(affine), folder)
        self._is_colour = len(shape) > 4

    def __enter__(self) -> Self:
        self._array.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._array.__exit__(kind, error, trace)

    def add(self, slab: Slab) -> None:
        """Add a slab."""
        self._array.add(slab)

    def hexdigest(self) -> str:
        """Return the SHA-256 of the whole array."""
        digest = hashlib.sha256()
        for block in self._array.blocks():
            digest.update(np.ascontiguousarray(block, np.uint8 if self._is_colour else np.dtype("<f4")).data)
        return digest.hexdigest()
