"""Verify a finished output again: its values against its receipt, and against its source."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.digest import CanonicalDigest
from dicom_series_preview.products.volumes.formats.base import UnreadableError
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import plan_volumes
from dicom_series_preview.products.volumes.proof import SAME_MM
from dicom_series_preview.products.volumes.receipt import broken_seal, together
from dicom_series_preview.products.volumes.slabs import Reading, RefusedVolumeError, reader_of
from dicom_series_preview.products.volumes.values import DoesNotFitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat


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
        if np.abs(found.affine - affine).max() > SAME_MM:
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


def verified_source(opened: OpenedSeries, receipt: Mapping[str, Any], limits: Limits) -> str:
    """Read a volume's source again, and compare its values and their place with a receipt.

    Args:
        opened: The series that it was made of.
        receipt: The receipt.
        limits: The bounds of work.

    Returns:
        What differs, in one line; empty where nothing does.

    Raises:
        PreviewError: The series cannot be read.
        UnreadableError: The receipt has options that no conversion has.
    """
    told = receipt["volume"]
    options = _options_of(receipt)
    plan = plan_volumes(opened, options, single_images=told["native_affine_ras_mm"] is None)
    volume = next((one for one in plan.volumes if one.suffix == told["name"]), None)
    if volume is None:
        return "its source has no such volume now"
    affine = None if volume.placement is None else volume.placement.affine
    wanted = told["native_affine_ras_mm"]
    if (affine is None) != (wanted is None) or list(volume.shape) != list(told["native_shape_tzyx"]):
        return "its source has another shape now"
    if affine is not None and np.abs(affine - np.array(wanted, np.float64)).max() > SAME_MM:
        return "its source lies elsewhere now"
    reading = Reading(volume, reader_of(plan, limits), np.dtype(told["dtype"]))
    try:
        reading.feed(lambda _slab: None)
    except RefusedVolumeError as error:
        return error.refusal.problem
    except DoesNotFitError as error:
        return f"{error.name} has values now that the file's type cannot hold"
    found = [reading.measures[number] for number in range(len(volume.slices))]
    return "" if together(found) == told["slices_sha256"] else "its values are not those of its source now"


def _options_of(receipt: Mapping[str, Any]) -> VolumeOptions:
    """Return the options that a receipt tells of.

    Raises:
        UnreadableError: They are none.
    """
    given = receipt.get("options")
    names = {field.name for field in fields(VolumeOptions)}
    if not isinstance(given, dict) or not names <= given.keys():
        raise UnreadableError("its receipt has no options of a conversion")
    known = {name: given[name] for name in names}
    try:
        return VolumeOptions(**{**known, "split": tuple(map(str, known["split"]))})
    except TypeError as error:
        raise UnreadableError("its receipt has no options of a conversion") from error
