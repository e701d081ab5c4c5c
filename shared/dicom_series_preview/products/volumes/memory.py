"""Read a planned volume into memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.digest import canonical_order
from dicom_series_preview.products.volumes.formats.base import WriteOptions
from dicom_series_preview.products.volumes.receipt import Made, identity_of, receipt_of
from dicom_series_preview.products.volumes.refusal import Refusal
from dicom_series_preview.products.volumes.reorder import NATIVE
from dicom_series_preview.products.volumes.slabs import Reading, RefusedVolumeError, reader_of
from dicom_series_preview.products.volumes.values import DoesNotFitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.products.volumes.extents import Slab
    from dicom_series_preview.products.volumes.options import VolumeOptions
    from dicom_series_preview.products.volumes.plan import PlannedVolume, VolumesPlan


@dataclass(frozen=True, slots=True, eq=False)
class HeldVolume:
    """A volume in memory.

    Attributes:
        data: (t, z, y, x), or with 3 colours.
        receipt: What a file of it would say of it.
    """

    data: NDArray[Any] = field(repr=False)
    receipt: dict[str, Any] = field(repr=False)


def held(plan: VolumesPlan, volume: PlannedVolume, options: VolumeOptions, limits: Limits) -> HeldVolume:
    """Read a volume.

    Raises:
        RefusedVolumeError: A frame cannot be had or decoded, or no type holds all values.
        StorageError: The storage fails beyond every retry.
    """
    narrow = ""
    for dtype in map(np.dtype, volume.values.dtypes):
        data = np.empty(volume.shape, dtype)
        reading = Reading(volume, reader_of(plan, limits), dtype)

        def put(slab: Slab, into: NDArray[Any] = data) -> None:
            into[slice(*slab.extent.t), slice(*slab.extent.z)] = slab.data

        try:
            reading.feed(put)
        except DoesNotFitError as error:
            narrow = error.name
            continue
        identity = identity_of(volume, options, WriteOptions(), "array")
        made = Made(reading, NATIVE, _digest(data, volume))
        return HeldVolume(data, receipt_of(plan, volume, made, identity))
    problem = f"{narrow} has values that no type of a volume holds"
    raise RefusedVolumeError(Refusal("overflow", problem))


def _digest(data: NDArray[Any], volume: PlannedVolume) -> str:
    """Return the digest of the canonical array; see `digest`."""
    place = volume.placement
    kind = np.uint8 if volume.values.is_colour else np.dtype("<f4")
    digest = hashlib.sha256()
    for block in canonical_order(None if place is None else place.affine).applied(data):
        digest.update(np.ascontiguousarray(block, kind).data)
    return digest.hexdigest()
