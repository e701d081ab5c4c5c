"""Prove a finished file: read it with its format's public reader, and compare each slice with its source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from dicom_series_preview.products.volumes.formats.base import Readback
    from dicom_series_preview.products.volumes.plan import PlannedVolume
    from dicom_series_preview.products.volumes.slabs import Reading

# NIfTI keeps its affine in float32: 1e-4 mm at a metre.
SAME_MM = 1e-3
"""Affines whose corners, or numbers, are this close are one."""


def chosen_slices(count: int, wanted: int | None) -> Collection[int]:
    """Return the slices to compare: all, or some evenly spaced."""
    if wanted is None or wanted >= count:
        return range(count)
    return {round(number) for number in np.linspace(0, count - 1, wanted).tolist()} if wanted else set()


def proved(found: Readback, volume: PlannedVolume, reading: Reading, wanted: int | None) -> Refusal | None:
    """Compare a file with the values that went into it; return what differs.

    Args:
        found: The file, as its public reader reads it.
        volume: The volume.
        reading: How it was read.
        wanted: How many slices to compare, evenly spaced; None for all.
    """
    off = _affine_off(found, volume)
    if off > SAME_MM:
        return Refusal("proof_failed", f"the file's affine is {off:.3g} mm off at a corner")
    compared = chosen_slices(len(volume.slices), wanted)
    slices, seen = volume.shape[1], 0
    for slab in found.slabs:
        for t in range(*slab.extent.t):
            for z in range(*slab.extent.z):
                number = t * slices + z
                seen += 1
                if number not in compared:
                    continue
                data = slab.data[t - slab.extent.t[0], z - slab.extent.z[0]]
                if _digest(data, reading.dtype) != reading.measures[number].sha256:
                    return Refusal("proof_failed", f"slice {number} of the file is not what its source holds")
                del data
        # Else two slabs would be held while the next is read.
        del slab
    if compared and seen != len(volume.slices):
        return Refusal("proof_failed", f"the file has {seen} of {len(volume.slices)} slices")
    return None


def _digest(data: Any, dtype: np.dtype[Any]) -> str:  # noqa: ANN401 - an array
    """Return the digest of a slice's values in their own type; empty where the type cannot hold them."""
    values = np.ascontiguousarray(data)
    if values.dtype != dtype:
        own = values.astype(dtype)
        if not np.array_equal(own.astype(values.dtype), values):
            return ""
        values = own
    return hashlib.sha256(values.data).hexdigest()


def _affine_off(found: Readback, volume: PlannedVolume) -> float:
    """Return how far the file's corners lie from the volume's, in mm."""
    place = volume.placement
    if place is None or found.affine is None:
        return 0.0 if place is None and found.affine is None else float("inf")
    z, y, x = (length - 1 for length in volume.shape[1:4])
    corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)], np.float64)
    return float(np.linalg.norm((found.affine - place.affine) @ corners.T, axis=0).max())
