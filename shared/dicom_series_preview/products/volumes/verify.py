"""Verify a finished output again: its values against the digests in its receipt."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.products.volumes.digest import CanonicalDigest
from dicom_series_preview.products.volumes.receipt import broken_seal

if TYPE_CHECKING:
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat

_SAME_MM = 1e-3


def verified(chosen: VolumeFormat, path: Path) -> str:
    """Read an output back, and compare it with its receipt.

    Returns:
        What differs, in one line; empty where nothing does.

    Raises:
        UnreadableError: It is no output of this program, or broken.
    """
    found = chosen.read(path)
    changed = broken_seal(found.receipt, found.said)
    if changed:
        return f"its {changed} was changed since it was made"
    volume = found.receipt["volume"]
    wanted = volume["native_affine_ras_mm"]
    if (wanted is None) != (found.affine is None):
        return "its affine is not the receipt's"
    affine = None
    if wanted is not None and found.affine is not None:
        affine = np.array(wanted, np.float64)
        if np.abs(found.affine - affine).max() > _SAME_MM:
            return "its affine is not the receipt's"
    dtype, shape = np.dtype(volume["dtype"]), tuple(volume["native_shape_tzyx"])
    slices: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        CanonicalDigest(shape, dtype, affine, Path(folder)) as digest,
    ):
        for slab in found.slabs:
            data = slab.data.astype(dtype)
            if not np.array_equal(data.astype(slab.data.dtype), slab.data, equal_nan=data.dtype.kind == "f"):
                return "it has values that its receipt's type cannot hold"
            slices += [
                hashlib.sha256(np.ascontiguousarray(one).data).hexdigest()
                for volume_ in data
                for one in volume_
            ]
            digest.add(type(slab)(slab.extent, data))
        if hashlib.sha256("".join(slices).encode()).hexdigest() != volume["slices_sha256"]:
            return "its values are not the receipt's"
        if digest.hexdigest() != volume["sha256"]:
            return "its axes or their directions are not the receipt's"
    return ""
