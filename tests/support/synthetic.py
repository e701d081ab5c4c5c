"""Small synthetic series whose pictures tell which slices they show.

Slice i (0 the most superior) is filled with one value; under the embedded window it is shown as `grey(i)`. A
block at the upper left is white, so that a picture also tells which way up it is. Patient data is planted in
every header: nothing the product says may hold it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from planted import OF_PATIENTS, PATIENT

if TYPE_CHECKING:
    from pathlib import Path

SERIES = "38902e14-b11f-4548-910e-771ee757dc82"
SLICES = 40
SIDE = 64
SPACING_MM = 2.5
WIDTH, CENTER = 1024, -500
MARKER = 6
SECRETS = OF_PATIENTS
UID_ROOT = "1.2.826.0.1.3680043.10.1338"


@dataclass(frozen=True)
class Synthetic:
    """A series as it lies in its folder.

    Attributes:
        name: The folder.
        objects: File name to bytes.
        file_names: Of the slices, in display order.
        uids: Their SOPInstanceUIDs, in the same order.
    """

    name: str
    objects: dict[str, bytes] = field(repr=False)
    file_names: tuple[str, ...]
    uids: tuple[str, ...]

    def write(self, root: Path) -> Path:
        """Write the folder below a root."""
        folder = root / self.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.objects.items():
            (folder / name).write_bytes(data)
        return folder


def hounsfield(index: int, count: int = SLICES) -> int:
    """The value that fills slice `index`."""
    return -1000 + (index * 1000) // count


def grey(index: int, count: int = SLICES, width: float = WIDTH, center: float = CENTER) -> float:
    """What slice `index` is shown as under a LINEAR window (PS3.3 C.11.2.1.2.1)."""
    shown = ((hounsfield(index, count) - (center - 0.5)) / (width - 1) + 0.5) * 255
    return min(max(shown, 0.0), 255.0)


@cache
def series(
    name: str = SERIES, count: int = SLICES, *, others: bool = True, side: int = SIDE, private_bytes: int = 0
) -> Synthetic:
    """A series; its file names are in no order, and with `others` not everything in it is a slice.

    Args:
        name: The folder.
        count: Slices.
        others: Add a localizer, a text file by name, and a text file by content.
        side: Rows and columns.
        private_bytes: Length of a private element that comes before the pixels.
    """
    names = tuple(f"{hashlib.sha256(f'{name}{i}'.encode()).hexdigest()[:16]}.dcm" for i in range(count))
    uids = tuple(f"{_series_uid(name)}.{i + 1}" for i in range(count))
    objects = {
        file_name: encoded(
            slice_dataset(name, i, count, side=side, private_bytes=private_bytes),
        )
        for i, file_name in enumerate(names)
    }
    if others:
        objects["7c0ffee.dcm"] = encoded(localizer(name))
        objects["README.txt"] = b"forty slices and a localizer\n"
        objects["notes"] = b"written by hand, and no DICOM at all\n"
    return Synthetic(name, objects, names, uids)


def slice_dataset(name: str, index: int, count: int, *, side: int = SIDE, private_bytes: int = 0) -> Dataset:
    """One axial CT slice."""
    dataset = _base(name, f"{_series_uid(name)}.{index + 1}")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = count - index + 1
    dataset.ImagePositionPatient = [-80, -80, 100 - SPACING_MM * index]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SliceLocation = 100 - SPACING_MM * index
    dataset.PixelSpacing = [2.5, 2.5]
    dataset.SliceThickness = SPACING_MM
    values = np.full((side, side), hounsfield(index, count), np.int32)
    values[:MARKER, :MARKER] = 1000
    if private_bytes:
        block = dataset.private_block(0x0029, "SYNTHETIC", create=True)
        block.add_new(0x10, "OB", bytes(private_bytes))
    return _with_pixels(dataset, values)


def localizer(name: str) -> Dataset:
    """The coronal overview that lies in the same folder."""
    dataset = _base(name, f"{_series_uid(name)}.9999")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.InstanceNumber = 1
    dataset.ImagePositionPatient = [-80, 0, 100]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    dataset.PixelSpacing = [2.5, 2.5]
    return _with_pixels(dataset, np.full((SIDE, SIDE), 900, np.int32))


def encoded(dataset: Dataset) -> bytes:
    """The dataset as a file."""
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _series_uid(name: str) -> str:
    return f"{UID_ROOT}.{int(hashlib.sha256(name.encode()).hexdigest()[:10], 16)}"


def _base(name: str, uid: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = f"{UID_ROOT}.1"
    dataset.SeriesInstanceUID = _series_uid(name)
    dataset.FrameOfReferenceUID = f"{UID_ROOT}.2"
    dataset.Modality = "CT"
    dataset.StudyDate = "20240102"
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    return dataset


def _with_pixels(dataset: Dataset, hounsfield_units: np.ndarray) -> Dataset:
    dataset.Rows, dataset.Columns = hounsfield_units.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.WindowCenter, dataset.WindowWidth = CENTER, WIDTH
    dataset.PixelData = (hounsfield_units + 1024).astype("<u2").tobytes()
    return dataset
