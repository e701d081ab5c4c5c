"""The files beside a NIfTI: a BIDS sidecar, and b-values and directions in FSL's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.products.volumes.plan import PlannedVolume
    from dicom_series_preview.products.volumes.reorder import Order

# BIDS' keys that headers give as they are; and those in milliseconds, which BIDS has in seconds.
_AS_IS = (
    ("Modality", 0x00080060),
    ("Manufacturer", 0x00080070),
    ("ManufacturerModelName", 0x00081090, "ManufacturersModelName"),
    ("MagneticFieldStrength", 0x00180087),
    ("SoftwareVersions", 0x00181020),
    ("MRAcquisitionType", 0x00180023),
    ("ScanningSequence", 0x00180020),
    ("SequenceVariant", 0x00180021),
    ("ScanOptions", 0x00180022),
    ("SequenceName", 0x00180024),
    ("PulseSequenceName", 0x00189005),
    ("FlipAngle", 0x00181314),
    ("PatientPosition", 0x00185100),
    ("BodyPartExamined", 0x00180015, "BodyPart"),
    ("SliceThickness", 0x00180050),
    ("ConvolutionKernel", 0x00181210),
    ("ReceiveCoilName", 0x00181250),
    ("ImageType", 0x00080008),
)
_SECONDS = (
    ("RepetitionTime", 0x00180080),
    ("EchoTime", 0x00180081),
    ("InversionTime", 0x00180082),
)
_EFFECTIVE_ECHO_TIME = ("EffectiveEchoTime", 0x00189082)
_PHASE_ENCODING = ("InPlanePhaseEncodingDirection", 0x00181312)


def sidecar_document(volume: PlannedVolume, order: Order) -> dict[str, Any]:
    """Return the sidecar of a NIfTI without its receipt: BIDS' keys where the headers give them."""
    cells, row = volume.frames.cells, [volume.slices[0].row]
    found: dict[str, Any] = {}
    for keyword, tag, *name in _AS_IS:
        value = cells.values(row, keyword, tag)[0]
        if value is not None:
            found[name[0] if name else keyword] = list(value) if isinstance(value, tuple) else value
    for keyword, tag in _SECONDS:
        value = cells.values(row, keyword, tag)[0]
        if isinstance(value, (int, float)) and value > 0:
            found[keyword] = round(value / 1000, 9)
    if "EchoTime" not in found:
        # As enhanced objects have it (PS3.3 C.8.13.5.4).
        value = cells.values(row, *_EFFECTIVE_ECHO_TIME)[0]
        if isinstance(value, (int, float)) and value > 0:
            found["EchoTime"] = round(value / 1000, 9)
    direction = cells.values(row, *_PHASE_ENCODING)[0]
    if direction in ("ROW", "COL"):
        # The header says the axis and not the sign.
        axes = [axis for axis in reversed(order.axes) if axis]
        found["PhaseEncodingAxis"] = "ijk"[axes.index(3 if direction == "ROW" else 2)]
    return found


def fsl_tables(volume: PlannedVolume, affine: NDArray[np.float64]) -> tuple[str, str] | None:
    """Return the texts of .bval and .bvec; None of a volume without diffusion.

    FSL's vectors are in the image's axes, the first turned around where the affine keeps handedness.

    Args:
        volume: The volume.
        affine: (4, 4): takes (i, j, k) of the file to RAS millimetres.
    """
    axis = volume.axis
    if axis is None or not axis.b_values or not axis.directions:
        return None
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    vectors = np.array([(0.0, 0.0, 0.0) if one is None else one for one in axis.directions]) @ columns
    if np.linalg.det(affine[:3, :3]) > 0:
        vectors[:, 0] *= -1
    vectors += 0.0
    bval = " ".join(f"{value:g}" for value in axis.b_values)
    bvec = "\n".join(" ".join(f"{value:.8g}" for value in row) for row in vectors.T)
    return f"{bval}\n", f"{bvec}\n"
