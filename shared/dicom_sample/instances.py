"""The sample's DICOM objects: CT images and their localizer, like a scanner's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicom_sample.phantom import LENGTH_MM
from dicom_sample.raster import AXIS_MM, GRID, PIXEL_MM, Array
from dicom_series_preview._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

RESCALE_INTERCEPT = -1024
SLICE_THICKNESS_MM = 5.0
TOP_Z_MM = 300.0  # ImagePositionPatient z at the top of the scan
_NAMESPACE = UUID("8b0c7a52-6f0e-5d8c-9a53-0c1f9e5d7b11")  # change it when the sample's content changes
_LOCALIZER_ROWS = int(LENGTH_MM / PIXEL_MM)


@dataclass(frozen=True, slots=True)
class Plan:
    """The contents of a sample.

    Attributes:
        slices: The number of axial slices, evenly from the neck to the thighs.
        seed: The patient and the noise.
    """

    slices: int
    seed: int

    @property
    def depths_mm(self) -> list[float]:
        """The depth of each slice below the scan's top, from head to feet."""
        half = SLICE_THICKNESS_MM / 2.0
        return [float(s) for s in np.linspace(half, LENGTH_MM - half, self.slices)]

    def uid(self, name: str) -> UID:
        """Return the UID of a part of this sample, below 2.25 (PS3.5 B.2)."""
        return UID(f"2.25.{uuid5(_NAMESPACE, f'{self.seed}/{self.slices}/{name}').int}")

    def file_name(self, name: str) -> str:
        """Return an instance's file name, which says nothing about its place in the body."""
        return hashlib.sha256(self.uid(name).encode()).hexdigest()[:16] + ".dcm"

    @property
    def file_names(self) -> set[str]:
        """The names of all files of the sample."""
        return {self.file_name(name) for name in ("localizer", *map(str, range(self.slices)))}


def axial(plan: Plan, index: int, hounsfield: Array) -> FileDataset:
    """Build the CT image of one slice.

    Args:
        plan: The sample.
        index: Its place from head to feet.
        hounsfield: (GRID, GRID).
    """
    depth = plan.depths_mm[index]
    z = TOP_Z_MM - depth
    dataset = _image(plan, str(index), hounsfield)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = plan.slices + 1 - index  # from the feet up; 1 is the localizer
    dataset.AcquisitionNumber = 2
    dataset.AcquisitionTime = dataset.ContentTime = f"1200{10 + 40 * depth / LENGTH_MM:09.6f}"
    dataset.SliceThickness = SLICE_THICKNESS_MM
    dataset.ImagePositionPatient = [float(AXIS_MM[0]), float(AXIS_MM[0]), round(z, 4)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SliceLocation = round(z, 4)
    thickest = float(np.max(water_mm(hounsfield)))
    dataset.XRayTubeCurrent = round(60 + 1.1 * thickest)  # automatic exposure control
    dataset.WindowCenter = [40, -500]
    dataset.WindowWidth = [400, 1500]
    dataset.WindowCenterWidthExplanation = ["SOFT TISSUE", "LUNG"]
    return dataset


def localizer(plan: Plan, rows: Sequence[Array]) -> FileDataset:
    """Build the coronal projection of all slices.

    Args:
        plan: The sample.
        rows: `water_mm` of each slice, from head to feet.
    """
    dataset = _image(plan, "localizer", _projection(plan, rows))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.InstanceNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.AcquisitionTime = dataset.ContentTime = "115900.000000"
    dataset.SliceThickness = GRID * PIXEL_MM  # what it looks through
    dataset.ImagePositionPatient = [float(AXIS_MM[0]), 0, round(TOP_Z_MM - PIXEL_MM / 2.0, 4)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    dataset.XRayTubeCurrent = 30
    dataset.WindowCenter = 650
    dataset.WindowWidth = 2300
    dataset.WindowCenterWidthExplanation = "LOCALIZER"
    return dataset


def water_mm(hounsfield: Array) -> Array:
    """Return the mm of water with a slice's attenuation from front to back, for each column.

    Bone counts more: a localizer is taken at a lower voltage, where calcium absorbs more.
    """
    density = np.maximum(hounsfield + 1000.0, 0.0) + 1.6 * np.maximum(hounsfield - 130.0, 0.0)
    return np.asarray(density.sum(axis=0) * np.float32(PIXEL_MM / 1000.0), np.float32)


def _projection(plan: Plan, rows: Sequence[Array]) -> Array:
    """Return the localizer's pixels, (rows, GRID): the slices' sums, interpolated, with raised edges."""
    depths = (np.arange(_LOCALIZER_ROWS) + 0.5) * PIXEL_MM
    at = np.interp(depths, plan.depths_mm, np.arange(plan.slices))
    above = np.floor(at).astype(int)
    below = np.minimum(above + 1, plan.slices - 1)
    share = (at - above).astype(np.float32)[:, None]
    table = np.stack(rows)
    water = table[above] * (1 - share) + table[below] * share
    soft = water
    for axis in (0, 1):
        padded = np.pad(soft, [(8, 8) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
        soft = np.mean([np.roll(padded, k, axis) for k in range(-8, 9)], axis=0, dtype=np.float32)
        soft = soft[8:-8] if axis == 0 else soft[:, 8:-8]
    return np.asarray(-1000.0 + 6.8 * water + 11.0 * (water - soft), np.float32)


def _image(plan: Plan, name: str, hounsfield: Array) -> FileDataset:
    """Build a CT image with everything that does not depend on its place (PS3.3 A.3)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = plan.uid(name)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(f"2.25.{_NAMESPACE.int}")
    meta.ImplementationVersionName = "DSP_SAMPLE"
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = plan.uid(name)
    _describe_patient_and_study(dataset, plan)
    _describe_scan(dataset, plan)
    _set_pixels(dataset, hounsfield)
    return dataset


def _describe_patient_and_study(dataset: FileDataset, plan: Plan) -> None:
    dataset.PatientName = "Sample^Phantom"
    dataset.PatientID = "SAMPLE"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic, there is no patient"
    dataset.StudyInstanceUID = plan.uid("study")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20250101"
    dataset.StudyTime = "115800"
    dataset.SeriesTime = "115900"
    dataset.StudyID = "1"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic CT of the trunk"
    dataset.SeriesInstanceUID = plan.uid("series")
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "Trunk 5 mm, portal venous"
    dataset.Modality = "CT"
    dataset.BodyPartExamined = "CHESTABDPELVIS"
    dataset.PatientPosition = "HFS"


def _describe_scan(dataset: FileDataset, plan: Plan) -> None:
    dataset.FrameOfReferenceUID = plan.uid("frame of reference")
    dataset.PositionReferenceIndicator = "SN"
    dataset.Manufacturer = "dicom-series-preview"
    dataset.ManufacturerModelName = "Synthetic phantom"
    dataset.SoftwareVersions = __version__
    dataset.ContrastBolusAgent = "Iodine (simulated)"
    dataset.ContrastBolusRoute = "IV"
    dataset.KVP = 120
    dataset.GantryDetectorTilt = 0
    dataset.ConvolutionKernel = "STANDARD"
    dataset.ReconstructionDiameter = GRID * PIXEL_MM
    dataset.BurnedInAnnotation = "NO"


def _set_pixels(dataset: FileDataset, hounsfield: Array) -> None:
    """Set the pixels: 12 bits, unsigned, one unit per Hounsfield unit."""
    stored = np.clip(np.rint(hounsfield - RESCALE_INTERCEPT), 0, 4095).astype("<u2")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing = [PIXEL_MM, PIXEL_MM]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = RESCALE_INTERCEPT
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
