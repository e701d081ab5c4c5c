"""The slabs that arrays are read and written in: consecutive slices, bounded in number and bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SLAB_SLICES = 64
"""Slices in a slab, at most: as many as a shard has."""
SLAB_BYTES = 64 * 2**20
"""Bytes in a slab, at most, unless one slice has more."""
JOINED_BYTES = 4 * 2**20
"""Frames that follow each other in one object are fetched together, up to so many bytes."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Consecutive slices of an array (t, z, y, x): all slices of some volumes, or some slices of one.

    Attributes:
        t: The first volume and the one after the last.
        z: The first slice and the one after the last.
    """

    t: tuple[int, int]
    z: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """How many volumes and slices."""
        return self.t[1] - self.t[0], self.z[1] - self.z[0]


@dataclass(frozen=True, slots=True)
class Slab:
    """Slices of a volume.

    Attributes:
        extent: Which.
        data: (t, z, y, x), or (t, z, y, x, 3) of colour; contiguous.
    """

    extent: Extent
    data: NDArray[Any] = field(repr=False)


def extents_of(
    shape: tuple[int, ...], itemsize: int, *, most: int = SLAB_SLICES, whole_volumes: bool = False
) -> Iterator[Extent]:
    """Yield the slabs of an array in its order.

    Args:
        shape: (t, z, y, x, ...).
        itemsize: Bytes of a value.
        most: The most slices of a slab.
        whole_volumes: A slab has whole volumes, as slices of a mosaic arrive together.
    """
    volumes, slices = shape[:2]
    slice_bytes = int(np.prod(shape[2:])) * itemsize
    depth = min(slab_depth(shape, itemsize), most)
    if slices > depth and not whole_volumes:
        for t in range(volumes):
            for z in range(0, slices, depth):
                yield Extent((t, t + 1), (z, min(z + depth, slices)))
        return
    many = max(1, min(SLAB_BYTES // max(slice_bytes * slices, 1), max(most // slices, 1)))
    for t in range(0, volumes, many):
        yield Extent((t, min(t + many, volumes)), (0, slices))


def slab_depth(shape: tuple[int, ...], itemsize: int) -> int:
    """Return the slices of a slab: 64, halved until they are few enough bytes."""
    slice_bytes = int(np.prod(shape[2:])) * itemsize
    depth = SLAB_SLICES
    while depth > 1 and depth * slice_bytes > SLAB_BYTES:
        depth //= 2
    return depth
