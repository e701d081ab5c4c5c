"""Bring an array into another order of axes without holding it in memory.

Slabs arrive in the array's own order. They are cut along the axis that comes first in the new order, and kept in
a file, block by block; then each block is read back, turned and given out. Small arrays stay in memory.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.slabs import Slab

_BLOCK_BYTES = 16 * 2**20


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

    def applied(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a whole array in the new order."""
        turned = data[tuple(slice(None, None, -1 if axis in self.flipped else 1) for axis in range(4))]
        return turned.transpose(*self.axes, *range(4, data.ndim))


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
        self._lead = order.axes[0]
        length = self._shape[self._lead]
        one = int(np.prod(self._shape)) // length * dtype.itemsize
        self._thickness = max(1, min(length, _BLOCK_BYTES // max(one, 1)))
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_BLOCK_BYTES, dir=folder)  # noqa: SIM115 - closed by `__exit__`
        # What each block has in the file: where, and which part of the array.
        self._pieces: dict[int, list[tuple[int, tuple[slice, ...]]]] = {}
        self._end = 0

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
        (t0, t1), (z0, z1) = slab.extent.t, slab.extent.z
        whole = [slice(t0, t1), slice(z0, z1), *(slice(0, length) for length in self._shape[2:])]
        lead = whole[self._lead]
        for number in range(lead.start // self._thickness, -(-lead.stop // self._thickness)):
            start = max(lead.start, number * self._thickness)
            stop = min(lead.stop, (number + 1) * self._thickness)
            part = [slice(0, one.stop - one.start) for one in whole]
            part[self._lead] = slice(start - lead.start, stop - lead.start)
            where = list(whole)
            where[self._lead] = slice(start, stop)
            piece = np.ascontiguousarray(slab.data[tuple(part)])
            self._file.seek(self._end)
            self._file.write(piece.data)
            self._pieces.setdefault(number, []).append((self._end, tuple(where)))
            self._end += piece.nbytes

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the new array in blocks of consecutive places on its first axis; a block may be a view."""
        numbers = sorted(self._pieces)
        if self._lead in self._order.flipped:
            numbers.reverse()
        for number in numbers:
            first = number * self._thickness
            shape = list(self._shape)
            shape[self._lead] = min(self._thickness, self._shape[self._lead] - first)
            block = np.empty(shape, self._dtype)
            for offset, where in self._pieces[number]:
                inside = list(where)
                inside[self._lead] = slice(where[self._lead].start - first, where[self._lead].stop - first)
                target = block[tuple(inside)]
                self._file.seek(offset)
                read = self._file.read(target.size * self._dtype.itemsize)
                target[...] = np.frombuffer(read, self._dtype).reshape(target.shape)
            yield self._order.applied(block)
