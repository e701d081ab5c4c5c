"""Bring an array into another order of axes without holding it in memory.

Slabs arrive in the array's own order. They are cut along the axes that come first in the new order, and kept
in a file, block by block; then each block is read back, turned and given out. Small arrays stay in memory.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.extents import Extent, Slab

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray


# So much lies in a processor's cache while it is turned.
_BLOCK_BYTES = 4 * 2**20
# Smaller arrays need no file.
_IN_MEMORY_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the axes t, z, y, x (and the colour's, which stays last).

    Attributes:
        axes: The axes of the new array: each a place in (t, z, y, x).
        flipped: The places in (t, z, y, x) whose direction is turned around.
    """

    axes: tuple[int, int, int, int]
    flipped: frozenset[int] = frozenset()

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the new array's shape."""
        return (*(shape[axis] for axis in self.axes), *shape[4:])

    @property
    def inverse(self) -> Order:
        """The order that brings an array of this one back."""
        t, z, y, x = (self.axes.index(axis) for axis in range(4))
        return Order((t, z, y, x), frozenset(self.axes.index(axis) for axis in self.flipped))

    def applied(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a whole array in the new order."""
        turned = data[tuple(slice(None, None, -1 if axis in self.flipped else 1) for axis in range(4))]
        return turned.transpose(*self.axes, *range(4, data.ndim))


NATIVE = Order((0, 1, 2, 3))
"""The order of an array (t, z, y, x) as its source has it."""


def scratch() -> Path:
    """Return the folder for what is read back: where a file lies, nothing may be writable."""
    return Path(tempfile.gettempdir())


class Reordered:
    """An array that is given in slabs and taken in blocks of another order.

    Args:
        shape: (t, z, y, x), or with 3 colours.
        dtype: The type of its values.
        order: The new order.
        folder: Where the file is made; it has no name there.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any], order: Order, folder: Path) -> None:
        self._shape = tuple(shape)
        self._dtype = dtype
        self._order = order
        # Blocks are cut along the two axes that vary slowest in the new order.
        long = [axis for axis in order.axes if self._shape[axis] > 1]
        self._leads = tuple((long + [axis for axis in order.axes if axis not in long])[:2])
        self._steps = self._thicknesses()
        is_small = int(np.prod(self._shape)) * dtype.itemsize <= _IN_MEMORY_BYTES
        self._file: IO[bytes] = BytesIO() if is_small else tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        # What each block has in the file: where, and which part of the array.
        self._pieces: dict[tuple[int, ...], list[tuple[int, list[slice]]]] = {}
        self._end = 0

    def _thicknesses(self) -> tuple[int, int]:
        """Return how many places a block has on each of the two axes."""
        first, second = (self._shape[axis] for axis in self._leads)
        whole = int(np.prod(self._shape)) * self._dtype.itemsize
        if whole // first <= _BLOCK_BYTES:
            return max(1, min(first, _BLOCK_BYTES // max(whole // first, 1))), second
        return 1, max(1, min(second, _BLOCK_BYTES // max(whole // (first * second), 1)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, slab: Slab) -> None:
        """Add a slab.

        Raises:
            OSError: There is no room.
        """
        whole = [
            slice(*slab.extent.t),
            slice(*slab.extent.z),
            *(slice(0, length) for length in self._shape[2:]),
        ]
        cuts = [self._cuts(whole[axis], step) for axis, step in zip(self._leads, self._steps, strict=True)]
        for first in cuts[0]:
            for second in cuts[1]:
                where, part = list(whole), [slice(None)] * len(whole)
                for axis, cut in zip(self._leads, (first, second), strict=True):
                    where[axis] = cut
                    part[axis] = slice(cut.start - whole[axis].start, cut.stop - whole[axis].start)
                self._keep(np.ascontiguousarray(slab.data[tuple(part)]), where)

    @staticmethod
    def _cuts(whole: slice, step: int) -> list[slice]:
        starts = [whole.start, *range((whole.start // step + 1) * step, whole.stop, step)]
        return [slice(one, other) for one, other in zip(starts, [*starts[1:], whole.stop], strict=True)]

    def _keep(self, piece: NDArray[Any], where: list[slice]) -> None:
        self._file.seek(self._end)
        self._file.write(piece.data)
        key = tuple(where[axis].start // step for axis, step in zip(self._leads, self._steps, strict=True))
        self._pieces.setdefault(key, []).append((self._end, where))
        self._end += piece.nbytes

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the new array in blocks that follow each other in C order; each has memory of its own."""
        signs = [-1 if axis in self._order.flipped else 1 for axis in self._leads]
        for key in sorted(
            self._pieces, key=lambda key: [n * sign for n, sign in zip(key, signs, strict=True)]
        ):
            origin = [0] * len(self._shape)
            shape = list(self._shape)
            for axis, step, number in zip(self._leads, self._steps, key, strict=True):
                origin[axis] = number * step
                shape[axis] = min(step, self._shape[axis] - origin[axis])
            block = np.empty(shape, self._dtype)
            for offset, where in self._pieces[key]:
                inside = (slice(one.start - at, one.stop - at) for one, at in zip(where, origin, strict=True))
                target = block[tuple(inside)]
                self._file.seek(offset)
                read = self._file.read(target.size * self._dtype.itemsize)
                target[...] = np.frombuffer(read, self._dtype).reshape(target.shape)
            yield self._order.applied(block)


def slabs_of(array: Reordered, shape: Sequence[int]) -> Iterator[Slab]:
    """Yield an array that was brought into the order (t, z, y, x) slab by slab.

    Args:
        array: The array.
        shape: (t, z, y, x, ...): its new shape.
    """
    t = z = 0
    for block in array.blocks():
        volumes, slices = block.shape[:2]
        yield Slab(Extent((t, t + volumes), (z, z + slices)), np.ascontiguousarray(block))
        z += slices
        if z == shape[1]:
            t, z = t + volumes, 0


def affine_in(affine: NDArray[np.float64], order: Order, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the affine of an array in a new order, for indices in the order of its spatial axes.

    Args:
        affine: (4, 4): takes (column, row, slice) of (t, z, y, x) to RAS millimetres.
        order: The new order.
        shape: (t, z, y, x, ...) of the array as it was.
    """
    turned = np.eye(4)
    turned[:3, 3] = affine[:3, 3]
    spatial = [axis for axis in order.axes if axis]
    for number, axis in enumerate(spatial):
        step = affine[:3, 3 - axis]
        turned[:3, number] = -step if axis in order.flipped else step
        if axis in order.flipped:
            turned[:3, 3] += step * (shape[axis] - 1)
    return turned


def native_affine(affine: NDArray[np.float64], order: Order, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the affine of (column, row, slice) from that of an array in another order; see `affine_in`."""
    native = np.eye(4)
    native[:3, 3] = affine[:3, 3]
    for number, axis in enumerate(axis for axis in order.axes if axis):
        step = affine[:3, number]
        native[:3, 3 - axis] = -step if axis in order.flipped else step
        if axis in order.flipped:
            native[:3, 3] += step * (shape[axis] - 1)
    return native
