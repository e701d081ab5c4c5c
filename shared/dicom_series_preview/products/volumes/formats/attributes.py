"""What a Zarr group says of itself: OME-Zarr's metadata, and `dicom_volume`, which can say everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.products.volumes.placement import closest_axes, letters_of
from dicom_series_preview.products.volumes.reorder import affine_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.formats.base import WriteOptions
    from dicom_series_preview.products.volumes.plan import PlannedVolume
    from dicom_series_preview.products.volumes.reorder import Order

# RFC-4 of OME-Zarr: where an axis leads, by the patient's axis and the sign.
_WORDS = (
    ("left-to-right", "right-to-left"),
    ("posterior-to-anterior", "anterior-to-posterior"),
    ("inferior-to-superior", "superior-to-inferior"),
)
_STRAIGHT = np.cos(np.radians(45))
_UIDS = (
    ("StudyInstanceUID", 0x0020000D),
    ("SeriesInstanceUID", 0x0020000E),
    ("FrameOfReferenceUID", 0x00200052),
)


def attributes_of(
    volume: PlannedVolume, order: Order, names: Sequence[str], options: WriteOptions
) -> dict[str, Any]:
    """Return the attributes of a volume's group, without the receipt.

    Args:
        volume: The volume.
        order: The order of its array.
        names: The names of the array's axes.
        options: How it is written.
    """
    place = volume.placement
    affine = None if place is None else affine_in(place.affine, order, volume.shape)
    ome = _ome(volume, affine, names)
    if options.zarr_format == 2:
        ome["multiscales"][0]["version"] = "0.4"
        top: dict[str, Any] = {"multiscales": ome["multiscales"]}
    else:
        top = {"ome": {"version": "0.5", **ome}}
    return {**top, "dicom_volume": _own(volume, affine, names)}


def _ome(volume: PlannedVolume, affine: NDArray[np.float64] | None, names: Sequence[str]) -> dict[str, Any]:
    spacing = np.ones(3) if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    axes: list[dict[str, Any]] = []
    scale: list[float] = []
    spatial = [name for name in names if name in "zyx"]
    for name in names:
        if name in spatial:
            number = spatial.index(name)
            axes.append({"name": name, "type": "space", "unit": "millimeter", **_orientation(affine, number)})
            scale.append(float(spacing[number]))
        elif name == "t":
            in_seconds = volume.axis is not None and volume.axis.unit == "s"
            axes.append({"name": "t", "type": "time", **({"unit": "second"} if in_seconds else {})})
            scale.append(_step(volume))
        else:
            axes.append({"name": name, "type": "channel"})
            scale.append(1.0)
    dataset = {"path": "volume", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    metadata = {"description": "one resolution, never resampled; dicom_volume.affine has rotation and shear"}
    return {
        "multiscales": [
            {"name": "volume", "type": "none", "axes": axes, "datasets": [dataset], "metadata": metadata}
        ]
    }


def _orientation(affine: NDArray[np.float64] | None, number: int) -> dict[str, Any]:
    """Return where an axis leads, if it is within 45 degrees of one of the patient's."""
    if affine is None:
        return {}
    axes, signs = closest_axes(affine)
    column = affine[:3, number] / np.linalg.norm(affine[:3, number])
    if abs(column[axes[number]]) < _STRAIGHT:
        return {}
    return {"orientation": {"type": "anatomical", "value": _WORDS[axes[number]][int(signs[number] < 0)]}}


def _step(volume: PlannedVolume) -> float:
    """Return the seconds from volume to volume, where they are even; else 1."""
    axis = volume.axis
    if axis is None or axis.unit != "s" or len(axis.values) < 2:
        return 1.0
    steps = np.diff(axis.values)
    return float(steps.mean()) if steps.min() > 0 and np.ptp(steps) <= 0.01 * steps.mean() else 1.0


def _own(volume: PlannedVolume, affine: NDArray[np.float64] | None, names: Sequence[str]) -> dict[str, Any]:
    place, first = volume.placement, volume.slices[0]
    windows = volume.slices[len(volume.slices) // 2].contrast.windows
    found: dict[str, Any] = {
        "affine": None if affine is None else affine.tolist(),
        "space": "right-anterior-superior",
        "affine_axes": [name for name in names if name in "zyx"],
        "spacing_mm": None if affine is None else np.linalg.norm(affine[:3, :3], axis=0).tolist(),
        "orientation": None if affine is None else letters_of(affine),
        "tilt_deg": None if place is None else place.tilt_deg,
        "axes": list(names),
        "fourth_axis": axis_document(volume),
        "modality": volume.modality,
        "units": volume.units or None,
        "rescale": _rescale(volume),
        "padding_value": volume.padding,
        "photometric_interpretation": first.pixels.photometric_interpretation,
        "window": [[one.center, one.width] for one in windows[:1]] or None,
    }
    for keyword, tag in _UIDS:
        found[keyword] = volume.frames.cells.values([first.row], keyword, tag)[0]

    return found


def axis_document(volume: PlannedVolume) -> dict[str, Any] | None:
    """Return the fourth axis as JSON values; directions in RAS."""
    axis = volume.axis
    if axis is None:
        return None
    found: dict[str, Any] = {
        "name": axis.name,
        "values": list(axis.values),
        "unit": axis.unit,
        "element": axis.element,
    }
    if axis.b_values:
        found["b_values_s_per_mm2"] = list(axis.b_values)
        found["directions_ras"] = [None if one is None else list(one) for one in axis.directions]
    return found


def _rescale(volume: PlannedVolume) -> Any:  # noqa: ANN401 - a pair, or words
    if volume.values.is_colour:
        return None
    if not volume.has_one_rule:
        return "per frame"
    contrast = volume.slices[0].contrast
    return [contrast.rescale_slope, contrast.rescale_intercept]
