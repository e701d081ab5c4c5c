"""NPZ: float32 `data` [Z, Y, X(, T)], superior to inferior, anterior to posterior, right to left.

`affine` takes that array's indices (z, y, x) to RAS millimetres; `info` is JSON text. Nothing is pickled.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from dicom_series_preview.products.volumes.digest import canonical_order
from dicom_series_preview.products.volumes.extents import Extent, Slab
from dicom_series_preview.products.volumes.formats.base import (
    Readback,
    UnreadableError,
    WriteOptions,
    layout_of,
    read_with,
    reading_with,
)
from dicom_series_preview.products.volumes.reorder import (
    Order,
    Reordered,
    affine_in,
    native_affine,
    scratch,
    slabs_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.plan import PlannedVolume

_LEVEL = 2
_READ_BYTES = 2**24


def npz_order(affine: NDArray[np.float64] | None) -> Order:
    """Return the order of an NPZ's array: the closest canonical axes, all three turned around."""
    if affine is None:
        return Order((1, 2, 3, 0))
    canonical = canonical_order(affine)
    x, y, z, _ = canonical.axes
    return Order((z, y, x, 0), frozenset((x, y, z)) - canonical.flipped)


class NpzWriter:
    """Writes an NPZ file."""

    def __init__(self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any]) -> None:
        self._path = path
        self._shape = volume.shape
        self._is_colour = volume.values.is_colour
        place = volume.placement
        self._affine = None if place is None else place.affine
        self._order = npz_order(self._affine)
        self._array = Reordered(volume.shape, dtype, self._order, path.parent)

    def write(self, slab: Slab) -> None:
        """Keep the next slab."""
        self._array.add(slab)

    def said(self) -> Mapping[str, bytes]:
        """Return the spacing, which stands beside the affine."""
        if self._affine is None:
            return {}
        affine = affine_in(self._affine, self._order, self._shape)
        return {"spacing": np.linalg.norm(affine[:3, :3], axis=0).tobytes()}

    def finish(self, receipt: Mapping[str, Any]) -> None:
        """Write the file."""
        shape = self._order.shape(self._shape)
        shape = shape if shape[3] > 1 else (*shape[:3], *shape[4:])
        kind = np.dtype("u1") if self._is_colour else np.dtype("<f4")
        with zipfile.ZipFile(self._path, "x", zipfile.ZIP_DEFLATED) as archive:
            with _member(archive, "data") as stream:
                header = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
                npy.write_array_header_1_0(stream, header)
                for block in self._array.blocks():
                    stream.write(np.ascontiguousarray(block, kind).data)
            if self._affine is not None:
                affine = affine_in(self._affine, self._order, self._shape)
                _put(archive, "affine", affine)
                _put(archive, "spacing", np.linalg.norm(affine[:3, :3], axis=0))
            _put(archive, "info", np.array(json.dumps(receipt, ensure_ascii=False)))

    def close(self) -> None:
        """Remove the temporary file."""
        self._array.__exit__(None, None, None)


def _put(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    with _member(archive, name) as stream:
        npy.write_array(stream, array, allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a member for writing; by its name alone it has the date of no run."""
    from isal import isal_zlib  # noqa: PLC0415 - only what compresses needs it

    stream: Any = archive.open(f"{name}.npy", "w", force_zip64=True)
    # A fifth of zlib's time for fewer bytes. zipfile has no public way to choose; if it names this otherwise
    # one day, zlib makes the file, which holds the same.
    stream._compressor = isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)  # noqa: SLF001
    return stream  # type: ignore[no-any-return]


class Npz:
    """The format NPZ."""

    name = "npz"
    extensions = (".npz",)

    def order(self, affine: NDArray[np.float64] | None, _orient: str) -> Order:
        """Return the order of the array's axes."""
        return npz_order(affine)

    def writer(
        self, path: Path, volume: PlannedVolume, dtype: np.dtype[Any], _options: WriteOptions
    ) -> NpzWriter:
        """Begin to write a volume."""
        return NpzWriter(path, volume, dtype)

    def read(self, path: Path) -> Readback:
        """Open an NPZ file with NumPy.

        Raises:
            UnreadableError: It is none of ours, or broken.
        """
        with reading_with("NumPy"):
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as loaded:
                names = loaded.files
                receipt = json.loads(str(loaded["info"][()])) if "info" in names else {}
                affine = loaded["affine"] if "affine" in names else None
                if "data" not in names:
                    raise UnreadableError("it has no array `data`")
                said = {"spacing": loaded["spacing"].tobytes()} if "spacing" in names else {}
            shape, order = layout_of(receipt)
            native = None if affine is None else native_affine(affine, order, shape)
        return Readback(native, read_with("NumPy", _native_slabs(path, shape, order)), receipt, said)


def _native_slabs(path: Path, shape: tuple[int, ...], order: Order) -> Iterator[Slab]:
    """Yield the array in the order of its source."""
    # Read front to back, it comes in blocks of its first axis; those are brought back into the old order.
    with zipfile.ZipFile(path) as archive, archive.open("data.npy") as stream:
        npy.read_magic(stream)
        found, is_fortran, kind = npy.read_array_header_1_0(stream)
        written = order.shape(shape)
        if is_fortran or tuple(found) not in (written, (*written[:3], *written[4:])):
            raise UnreadableError("its array has another shape than its receipt says")
        with Reordered(written, kind, order.inverse, scratch()) as array:
            places = max(1, _READ_BYTES // max(int(np.prod(written[1:])) * kind.itemsize, 1))
            for first in range(0, written[0], places):
                last = min(first + places, written[0])
                data = _read(stream, (last - first, *written[1:]), kind)
                array.add(Slab(Extent((first, last), (0, written[1])), data))
            yield from slabs_of(array, shape)


def _read(stream: IO[bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    size = int(np.prod(shape)) * kind.itemsize
    data = stream.read(size)
    if len(data) != size:
        raise UnreadableError("its array is cut off")
    return np.frombuffer(data, kind).reshape(shape)
