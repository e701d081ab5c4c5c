"""Small synthetic series whose pictures tell which slices they show.

Slice i (0 the most superior) is filled with one value; under the embedded window it is shown as `grey(i)`. A
block at the upper left is white, so that a picture also tells which way up it is. Patient data is planted in
every header: nothing the product says may hold it.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

import make_dicom
from make_dicom import encode
from planted import OF_PATIENTS, PATIENT

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


def hounsfield(index: int, count: int) -> int:
    """The value that fills slice `index`."""
    return -1000 + (index * 1000) // count


def grey(index: int) -> float:
    """Return the grey of slice `index` of the main series under its LINEAR window (PS3.3 C.11.2.1.2.1)."""
    shown = ((hounsfield(index, SLICES) - (CENTER - 0.5)) / (WIDTH - 1) + 0.5) * 255
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
        file_name: encode(slice_dataset(name, i, count, side=side, private_bytes=private_bytes))
        for i, file_name in enumerate(names)
    }
    if others:
        objects["7c0ffee.dcm"] = encode(localizer(name))
        objects["README.txt"] = b"forty slices and a localizer\n"
        objects["notes"] = b"written by hand, and no DICOM at all\n"
    return Synthetic(name, objects, names, uids)


def slice_dataset(name: str, index: int, count: int, *, side: int = SIDE, private_bytes: int = 0) -> Dataset:
    """One axial CT slice."""
    values = np.full((side, side), hounsfield(index, count), np.int32)
    values[:MARKER, :MARKER] = 1000
    made = _image(
        name,
        index + 1,
        values,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        InstanceNumber=count - index + 1,
        ImagePositionPatient=[-80, -80, 100 - SPACING_MM * index],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        SliceLocation=100 - SPACING_MM * index,
        SliceThickness=SPACING_MM,
    )
    if private_bytes:
        made.private_block(0x0029, "SYNTHETIC", create=True).add_new(0x10, "OB", bytes(private_bytes))
    return made


def localizer(name: str) -> Dataset:
    """The coronal overview that lies in the same folder."""
    return _image(
        name,
        9999,
        np.full((SIDE, SIDE), 900, np.int32),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        InstanceNumber=1,
        ImagePositionPatient=[-80, 0, 100],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
    )


def _series_uid(name: str) -> str:
    return f"{UID_ROOT}.{int(hashlib.sha256(name.encode()).hexdigest()[:10], 16)}"


def _image(name: str, number: int, hounsfield_units: np.ndarray, **elements: Any) -> Dataset:
    """A CT image of a patient, under the window that `grey` expects."""
    return make_dicom.image(
        **PATIENT,
        **elements,
        SOPInstanceUID=f"{_series_uid(name)}.{number}",
        StudyInstanceUID=f"{UID_ROOT}.1",
        SeriesInstanceUID=_series_uid(name),
        FrameOfReferenceUID=f"{UID_ROOT}.2",
        StudyDate="20240102",
        PixelSpacing=[2.5, 2.5],
        Rows=hounsfield_units.shape[0],
        Columns=hounsfield_units.shape[1],
        RescaleIntercept=-1024,
        RescaleSlope=1,
        WindowCenter=CENTER,
        WindowWidth=WIDTH,
        PixelData=(hounsfield_units + 1024).astype("<u2").tobytes(),
    )
