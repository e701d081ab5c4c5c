"""Read a volume's slices slab by slab, in the volume's order, while the slab before is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import (
    ObjectChangedError,
    ObjectError,
    ObjectNotFoundError,
    StorageError,
)
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.pixels.slices import FailedSlice, reason_of
from dicom_series_preview.pixels.stream import SliceReader, read_slices
from dicom_series_preview.products.volumes.extents import JOINED_BYTES, Slab, extents_of
from dicom_series_preview.products.volumes.refusal import Refusal, called
from dicom_series_preview.products.volumes.values import measured, padding_of, put_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.pixels.quality.rules import SliceQuality
    from dicom_series_preview.pixels.slices import DecodedSlice
    from dicom_series_preview.products.volumes.extents import Extent
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan
    from dicom_series_preview.products.volumes.values import Measures


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
        judge: Judges the quality of a slice from its values and its padding; None to judge none.
        qualities: What came of that, likewise.
        remarks: Remarks on codestreams.
        lossy: The slices that come from lossy codestreams.
        warnings: What its user should know of the values: (code, one line).
        progress: Called with the number of slices that were read.
    """

    volume: PlannedVolume
    reader: SliceReader
    dtype: np.dtype[Any]
    measures: dict[int, Measures] = field(default_factory=dict)
    judge: Callable[[NDArray[Any], NDArray[np.bool_] | None], SliceQuality] | None = None
    qualities: dict[int, SliceQuality] = field(default_factory=dict)
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
            padding = padding_of(found)
            if self.judge is not None:
                self.qualities[t * shape[1] + z] = self.judge(values, padding)
            return measured(values, padding)

        for arrived, measures in read_slices(self.reader, wanted, into_slab):
            t, z = place_of[arrived.slice.row]
            self.measures[t * shape[1] + z] = measures
        self.progress(len(wanted))
        return Slab(extent, data)


def reader_of(
    plan: VolumesPlan,
    limits: Limits,
    check: Callable[[], None] = lambda: None,
    workers: int | None = None,
) -> SliceReader:
    """Return the reader of a series' slices.

    Args:
        plan: The series' volumes.
        limits: The bounds of work.
        check: Raises to give up.
        workers: Threads that decode; None for as many as suit the machine.
    """
    opened = plan.opened
    options = FetchOptions(
        opened.prefetched, limits=limits, joined_bytes=JOINED_BYTES, in_flight_bytes=IN_FLIGHT_BYTES
    )
    reader = SliceReader(opened.storage, opened.name, plan.index, options, check)
    return reader if workers is None else replace(reader, workers=workers)


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
