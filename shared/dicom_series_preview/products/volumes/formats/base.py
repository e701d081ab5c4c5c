"""What every format of a volume can do: be written slab by slab, and be read back."""

from __future__ import annotations

import errno
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from dicom_series_preview.products.volumes.reorder import Order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.extents import Slab
    from dicom_series_preview.products.volumes.plan import PlannedVolume


# A receipt that was tampered with could make a reader fill the memory.
_MOST_VALUES, _MOST_OF_A_SLICE = 2**38, 2**28


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a volume's file is written.

    Attributes:
        orient: `native` or `ras`; NPZ has an order of its own.
        zarr_format: 2 or 3.
        chunks: Of Zarr: (z, y, x); None for the format's own.
        clevel: The level of Zarr's zstd, 1 to 22.
    """

    orient: str = "native"
    zarr_format: int = 3
    chunks: tuple[int, int, int] | None = None
    clevel: int = 3


@dataclass(frozen=True, slots=True)
class Readback:
    """A volume as a public reader reads it from its file.

    Attributes:
        affine: (4, 4): takes (column, row, slice) to RAS millimetres, as the file says; None without one.
        slabs: The array in the order of its source (t, z, y, x), slab by slab.
        receipt: The receipt in the file.
        said: See `VolumeWriter.said`.
    """

    affine: NDArray[np.float64] | None
    slabs: Iterator[Slab] = field(repr=False)
    receipt: Mapping[str, Any] = field(repr=False)
    said: Mapping[str, bytes] = field(repr=False)


class VolumeWriter(Protocol):
    """Writes one volume."""

    def write(self, slab: Slab) -> None:
        """Write the next slab, in the order of the source; its memory is used again later.

        Raises:
            OSError: There is no room.
        """

    def said(self) -> Mapping[str, bytes]:
        """Return what the file says beside its values and its receipt, each part by a name."""

    def finish(self, receipt: Mapping[str, Any]) -> None:
        """Write what comes last, and the receipt; all is on the disk then."""

    def close(self) -> None:
        """Release what is held, also where it was not finished."""


class VolumeFormat(Protocol):
    """A format."""

    @property
    def name(self) -> str:
        """Its name, as `--to` takes it."""

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions of its files, the usual one first."""

    def order(self, affine: NDArray[np.float64] | None, orient: str) -> Order:
        """Return the order of the file's axes, the slowest first, of an array (t, z, y, x).

        Args:
            affine: Takes (column, row, slice) to RAS; None of an image without a place.
            orient: `native` or `ras`.
        """

    def writer(
        self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any], options: WriteOptions
    ) -> VolumeWriter:
        """Begin to write a volume to a path where nothing is yet."""

    def read(self, path: Path) -> Readback:
        """Open a finished file with the public reader of its format.

        Raises:
            UnreadableError: It is no such file, or broken.
        """


class UnreadableError(Exception):
    """A file cannot be read as a volume."""


class UnfinishedError(UnreadableError):
    """A file of this program was put in its place, and its receipt not yet, or never."""


@contextmanager
def reading_with(reader: str) -> Iterator[None]:
    """Turn whatever a reader raises of a broken file into one line.

    Args:
        reader: What it is called.

    Raises:
        UnreadableError: The reader cannot read the file.
        OSError: There is no room for what is read.
    """
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        told = (str(error).splitlines() or [""])[0]
        raise UnreadableError(f"{reader} cannot read it: {told or type(error).__name__}") from error


def read_with(reader: str, slabs: Iterator[Slab]) -> Iterator[Slab]:
    """Yield slabs, see `reading_with`."""
    with reading_with(reader):
        yield from slabs


def layout_of(receipt: Any) -> tuple[tuple[int, ...], Order]:  # noqa: ANN401 - what a file holds
    """Return the shape (t, z, y, x, ...) of a volume's source, and the order of its axes in the file.

    Raises:
        UnreadableError: It is no receipt of ours.
    """
    try:
        volume = receipt["volume"]
        shape = tuple(int(length) for length in volume["native_shape_tzyx"])
        axes = tuple(volume["order"]["axes"])
        flipped = frozenset(volume["order"]["flipped"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError("it has no receipt of this program") from error
    if math.prod(shape) > _MOST_VALUES or math.prod(shape[2:]) > _MOST_OF_A_SLICE:
        raise UnreadableError("its receipt describes an array larger than any that is written")
    is_sound = sorted(axes) == [0, 1, 2, 3] and flipped <= {1, 2, 3} and min(shape, default=0) > 0
    if not is_sound or (len(shape) != 4 and shape[4:] != (3,)):
        raise UnreadableError("its receipt describes no array")
    return shape, Order(axes, flipped)
