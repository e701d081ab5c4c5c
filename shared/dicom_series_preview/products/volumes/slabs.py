"""Read a volume's slices slab by slab, in the volume's order, while the slab before is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import (
    ObjectChangedError,
    ObjectError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.pixels.slices import FailedSlice, reason_of
from dicom_series_preview.pixels.stream import read_slices
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.products.volumes.values import DoesNotFitError, measured, padding_of, put_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.slices import DecodedSlice
    from dicom_series_preview.pixels.stream import SliceReader
    from dicom_series_preview.products.volumes.plan import PlannedVolume
    from dicom_series_preview.products.volumes.values import Measures

SLAB_SLICES = 64
"""Slices in a slab, at most: as many as a shard has."""
SLAB_BYTES = 64 * 2**20
"""Bytes in a slab, at most, unless one slice has more."""
JOINED_BYTES = 4 * 2**20
"""Frames that follow each other in one object are fetched together, up to so many bytes."""
IN_FLIGHT_BYTES = 16 * 2**20
"""Bytes in flight at most: 32 frames of 512 x 512 are enough to keep two processors busy, 30 ms away."""


class RefusedVolumeError(Exception):
    """A volume cannot be made after all; never leaves this product.

    Attributes:
        refusal: Why.
    """

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.problem)


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


class InTurn:
    """Memory for two slabs that take turns; to get it anew each time costs a tenth of reading.

    Args:
        shape: The shape of one slice, (y, x) or (y, x, 3).
        dtype: The type of its values.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape = shape
        self._arrays = [np.empty((0, *shape), dtype), np.empty((0, *shape), dtype)]

    def empty(self, extent: Extent) -> NDArray[Any]:
        """Return an array for a slab, of the memory of the slab before the last."""
        volumes, slices = extent.shape
        self._arrays.reverse()
        if len(self._arrays[0]) < volumes * slices:
            self._arrays[0] = np.empty((volumes * slices, *self._shape), self._arrays[0].dtype)
        return self._arrays[0][: volumes * slices].reshape(volumes, slices, *self._shape)


@dataclass(slots=True)
class Reading:
    """Reads a volume once, in one type of values.

    Attributes:
        volume: The volume.
        reader: Reads its slices.
        dtype: The type of its values.
        measures: What is known of each slice that has been read, by its place in (t, z) row by row.
        remarks: Remarks on codestreams.
        lossy: The slices that come from lossy codestreams.
        warnings: What its user should know of the values: (code, one line).
        progress: Called with the number of slices that were read.
    """

    volume: PlannedVolume
    reader: SliceReader
    dtype: np.dtype[Any]
    measures: dict[int, Measures] = field(default_factory=dict)
    remarks: dict[str, None] = field(default_factory=dict)
    lossy: dict[str, None] = field(default_factory=dict)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    progress: Callable[[int], None] = lambda _slices: None

    def feed(self, write: Callable[[Slab], None]) -> None:
        """Read all slabs, and write each while the next is read.

        Args:
            write: Writes a slab; its memory is used again when the next but one is read.

        Raises:
            RefusedVolumeError: A frame cannot be had or decoded.
            DoesNotFitError: The type cannot hold a slice's values.
            StorageError: The storage fails beyond every retry.
        """
        shape = self.volume.shape
        are_mosaics = bool(self.volume.slices[0].part_rows)
        memory = InTurn(shape[2:], self.dtype)
        with ThreadPoolExecutor(1, thread_name_prefix="volume") as pool:
            writing = None
            for extent in extents_of(shape, self.dtype.itemsize, whole_volumes=are_mosaics):
                slab = self._read(extent, memory.empty(extent))
                if writing is not None:
                    writing.result()
                writing = pool.submit(write, slab)
            if writing is not None:
                writing.result()

    def _read(self, extent: Extent, data: NDArray[Any]) -> Slab:
        shape = self.volume.shape
        place_of: dict[int, tuple[int, int]] = {}
        wanted: list[Slice] = []
        for t in range(*extent.t):
            for z in range(*extent.z):
                item = self.volume.slices[t * shape[1] + z]
                place_of[item.row] = (t, z)
                wanted.append(item)

        def into_slab(found: DecodedSlice | FailedSlice) -> Measures:
            t, z = place_of[found.slice.row]
            if isinstance(found, FailedSlice):
                raise RefusedVolumeError(_failure(found))
            if found.gaps is not None:
                raise RefusedVolumeError(
                    Refusal("decode_failed", f"{called(found.slice)}: parts of it are missing")
                )
            if found.decoded.samples.shape[:2] != shape[2:4]:
                reason = f"{called(found.slice)}: its size is not what its header says"
                raise RefusedVolumeError(Refusal("decode_failed", reason))
            values = data[t - extent.t[0], z - extent.z[0]]
            put_values(found, self.volume.values, values)
            if not found.decoded.lossless:
                self.lossy[called(found.slice)] = None
            self.remarks.update(dict.fromkeys(found.remarks))
            return measured(values, padding_of(found))

        for arrived, measures in read_slices(self.reader, wanted, into_slab):
            t, z = place_of[arrived.slice.row]
            self.measures[t * shape[1] + z] = measures
        self.progress(len(wanted))
        return Slab(extent, data)


def called(item: Slice) -> str:
    """Return what a slice is called in messages: its SOPInstanceUID, and its frame if there are several."""
    number = f", frame {item.frame_number}" if item.pixels.number_of_frames > 1 else ""
    return f"{item.sop_instance_uid or item.file_name}{number}"


def _failure(found: FailedSlice) -> Refusal:
    """Say why a frame could not be had."""
    error = found.error
    if isinstance(error, ObjectNotFoundError):
        return Refusal("not_found", f"{called(found.slice)} is no longer there")
    if isinstance(error, ObjectChangedError):
        return Refusal("changed", f"{called(found.slice)} has changed since it was indexed")
    if isinstance(error, ObjectError | StorageError):
        return Refusal("decode_failed", f"{called(found.slice)}: {reason_of(error)}")
    raise AssertionError(error)


__all__ = ["DoesNotFitError", "Extent", "Reading", "RefusedVolumeError", "Slab", "extents_of", "slab_depth"]
