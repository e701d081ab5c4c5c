"""Small DICOM objects for tests, written by pydicom or byte by byte where it would refuse.

`image()` and `enhanced()` make data sets, `encode()` makes objects of them, `encapsulate()` their pixels.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN)

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
WHOLE_SLIDE_IMAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SERIES_UID = "1.2.826.0.1.3680043.10.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)

PIXELS = (np.frombuffer(bytes(range(48)), "<u2") & 0xFFF).tobytes()
ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def image(number: int = 1, **elements: Any) -> Dataset:
    """An axial CT slice of 4 x 6 pixels, `number` mm above the origin.

    Args:
        number: InstanceNumber, and what sets slices apart.
        elements: By keyword, what else it has; None leaves an element out.
    """
    values: dict[str, Any] = {
        "SOPClassUID": CT_IMAGE,
        "SOPInstanceUID": f"{SERIES_UID}.{number}",
        "SeriesInstanceUID": SERIES_UID,
        "Modality": "CT",
        "InstanceNumber": number,
        "ImagePositionPatient": [0.0, 0.0, float(number)],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.5, 0.25],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 4,
        "Columns": 6,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "RescaleSlope": 1.0,
        "RescaleIntercept": -1024.0,
        "PixelData": PIXELS,
        **elements,
    }
    return dataset(**{name: value for name, value in values.items() if value is not None})


def report(number: int = 1, **elements: Any) -> Dataset:
    """An object without pixels."""
    return dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
        SOPInstanceUID=f"{SERIES_UID}.{number}",
        SeriesInstanceUID=SERIES_UID,
        Modality="SR",
        InstanceNumber=number,
        **elements,
    )


def dataset(**elements: Any) -> Dataset:
    """A data set of elements by keyword; lists of data sets are sequences."""
    made = Dataset()
    for name, value in elements.items():
        is_sequence = isinstance(value, list) and value and isinstance(value[0], Dataset)
        setattr(made, name, Items(value) if is_sequence else value)
    return made


def add(target: Dataset, tag: int, vr: str, value: Any) -> Dataset:
    """Add an element as it is, also where pydicom would warn of it."""
    target.add(DataElement(tag, vr, value, validation_mode=IGNORE))
    return target


_OVERLAY_ELEMENTS = {
    "OverlayRows": (0x0010, "US"),
    "OverlayColumns": (0x0011, "US"),
    "NumberOfFramesInOverlay": (0x0015, "IS"),
    "OverlayType": (0x0040, "CS"),
    "OverlayOrigin": (0x0050, "SS"),
    "ImageFrameOrigin": (0x0051, "US"),
    "OverlayBitsAllocated": (0x0100, "US"),
    "OverlayBitPosition": (0x0102, "US"),
    "OverlayData": (0x3000, "OW"),
}


def overlay(target: Dataset, bits: NDArray[np.bool_], group: int = 0x6000, **elements: Any) -> Dataset:
    """Add an overlay plane.

    Args:
        target: What it is added to.
        bits: What it marks: (rows, columns), or (frames, rows, columns) of a plane with several.
        group: 0x6000, 0x6002 ...
        elements: By keyword, what it says otherwise; None leaves an element out.
    """
    packed = np.packbits(bits, bitorder="little").tobytes()
    values = {
        "OverlayRows": bits.shape[-2],
        "OverlayColumns": bits.shape[-1],
        "NumberOfFramesInOverlay": bits.shape[0] if bits.ndim == 3 else None,
        "OverlayType": "G",
        "OverlayOrigin": [1, 1],
        "OverlayBitsAllocated": 1,
        "OverlayBitPosition": 0,
        "OverlayData": packed + bytes(len(packed) % 2),
        **elements,
    }
    for name, value in values.items():
        if value is not None:
            number, vr = _OVERLAY_ELEMENTS[name]
            add(target, group << 16 | number, vr, value)
    return target


def swapped(data: bytes) -> bytes:
    """Words as big endian objects hold them."""
    return np.frombuffer(data, "<u2").astype(">u2").tobytes()


def enhanced(groups: Sequence[Dataset], shared: Dataset | None = None, **elements: Any) -> Dataset:
    """A multi-frame image.

    Args:
        groups: The functional groups of each frame.
        shared: The shared functional groups.
        elements: Of the root.
    """
    count = len(groups)
    return image(
        **{
            "NumberOfFrames": count,
            "ImagePositionPatient": None,
            "ImageOrientationPatient": None,
            "PixelSpacing": None,
            "RescaleSlope": None,
            "RescaleIntercept": None,
            "SharedFunctionalGroupsSequence": [shared] if shared is not None else None,
            "PerFrameFunctionalGroupsSequence": list(groups),
            "PixelData": PIXELS * count,
            **elements,
        }
    )


def position_group(x: float, y: float, z: float, **macros: Any) -> Dataset:
    """A frame's functional groups: its position, and whatever other macros by keyword."""
    return dataset(PlanePositionSequence=[dataset(ImagePositionPatient=[x, y, z])], **macros)


def orientation_group(cosines: Sequence[float] = AXIAL, **macros: Any) -> Dataset:
    """Functional groups with an orientation, and whatever other macros by keyword."""
    return dataset(PlaneOrientationSequence=[dataset(ImageOrientationPatient=list(cosines))], **macros)


def mosaic(slices: np.ndarray, number: int = 1, csa: bytes | None = None, **elements: Any) -> Dataset:
    """A Siemens mosaic of slices of square pixels.

    Args:
        slices: uint16 (images, rows, columns).
        number: InstanceNumber.
        csa: The CSA image header, or None for one of the usual tags.
        elements: Of the root.
    """
    images, rows, columns = slices.shape
    side = math.isqrt(images - 1) + 1
    grid = np.zeros((side * rows, side * columns), "<u2")
    for i, one in enumerate(slices):
        top, left = i // side * rows, i % side * columns
        grid[top : top + rows, left : left + columns] = one
    values = {
        "SOPClassUID": MR_IMAGE,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "Rows": side * rows,
        "Columns": side * columns,
        "PixelSpacing": [1.0, 1.0],
        "SpacingBetweenSlices": 3.0,
        "SliceThickness": 2.5,
        "RescaleIntercept": 0.0,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelData": grid.tobytes(),
    }
    made = image(number, **{**values, **elements})
    made.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", images)
    if csa is None:
        csa = csa_header({"NumberOfImagesInMosaic": [str(images)], "SliceNormalVector": ["0", "0", "1"]})
    made.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    return made


def csa_header(tags: Mapping[str, Sequence[str]], *, version: int = 2) -> bytes:
    """A CSA header, whose tags have at least six items, as real ones have."""
    items = 6
    parts = [b"SV10\4\3\2\1" if version == 2 else b"", struct.pack("<II", len(tags), 77)]
    # Each length of version 1 is too large by the number of items of the first tag.
    excess = max(items, len(next(iter(tags.values())))) if version == 1 else 0
    for name, values in tags.items():
        count = max(items, len(values))
        parts.append(struct.pack("<64si4siii", name.encode(), len(values), b"FD\0\0", 4, count, 77))
        for i in range(count):
            text = values[i].encode() + b"\0" if i < len(values) else b""
            parts.append(struct.pack("<4i", len(text) + excess, len(text), 77, len(text)))
            parts.append(text + bytes(-len(text) % 4))
    return b"".join(parts)


def level(planes: np.ndarray, tile: tuple[int, int], number: int = 1, **elements: Any) -> Dataset:
    """A level of a slide, TILED_FULL.

    Args:
        planes: uint8 (optical paths, focal planes, rows, columns, 3), or grey without the last axis.
        tile: Rows and columns of a tile.
        number: InstanceNumber, and what sets levels apart.
        elements: Of the root.
    """
    paths, focal_planes, rows, columns = planes.shape[:4]
    frames = [frame for path in planes for plane in path for frame in tiles_of(plane, tile)]
    values = {
        "SOPClassUID": WHOLE_SLIDE_IMAGE,
        "Modality": "SM",
        "FrameOfReferenceUID": f"{SERIES_UID}.9",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "DimensionOrganizationType": "TILED_FULL",
        "NumberOfFrames": len(frames),
        "Rows": tile[0],
        "Columns": tile[1],
        "TotalPixelMatrixRows": rows,
        "TotalPixelMatrixColumns": columns,
        "TotalPixelMatrixFocalPlanes": focal_planes,
        "NumberOfOpticalPaths": paths,
        "OpticalPathSequence": [dataset(OpticalPathIdentifier=str(i)) for i in range(paths)],
        "TotalPixelMatrixOriginSequence": [
            dataset(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)
        ],
        "ImageOrientationSlide": [0.0, -1.0, 0.0, -1.0, 0.0, 0.0],
        "SharedFunctionalGroupsSequence": [
            dataset(
                PixelMeasuresSequence=[
                    dataset(PixelSpacing=[0.002, 0.001], SliceThickness=0.01, SpacingBetweenSlices=0.0005)
                ]
            )
        ],
        "SamplesPerPixel": 3 if planes.ndim == 5 else 1,
        "PhotometricInterpretation": "RGB" if planes.ndim == 5 else "MONOCHROME2",
        "PlanarConfiguration": 0 if planes.ndim == 5 else None,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": b"".join(frame.tobytes() for frame in frames),
    }
    absent = (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    )
    return image(number, **{**dict.fromkeys(absent), **values, **elements})


def tiles_of(plane: np.ndarray, tile: tuple[int, int]) -> list[np.ndarray]:
    """The tiles of a picture, row by row; beyond its edges they are filled with 77."""
    around = [(0, -plane.shape[axis] % tile[axis]) for axis in range(2)] + [(0, 0)] * (plane.ndim - 2)
    padded = np.pad(plane, around, constant_values=77)
    return [
        padded[top : top + tile[0], left : left + tile[1]]
        for top in range(0, plane.shape[0], tile[0])
        for left in range(0, plane.shape[1], tile[1])
    ]


def tile_group(row: int, column: int, z_um: float = 0.0, path: str = "0") -> Dataset:
    """A frame's functional groups in TILED_SPARSE: where its first pixel lies, from 1."""
    return dataset(
        PlanePositionSlideSequence=[
            dataset(
                RowPositionInTotalImagePixelMatrix=row,
                ColumnPositionInTotalImagePixelMatrix=column,
                XOffsetInSlideCoordinateSystem=0.0,
                YOffsetInSlideCoordinateSystem=0.0,
                ZOffsetInSlideCoordinateSystem=z_um,
            )
        ],
        OpticalPathIdentificationSequence=[dataset(OpticalPathIdentifier=path)],
    )


def undefined_lengths(target: Dataset) -> Dataset:
    """Give every sequence and item of a data set an undefined length."""
    for element in target:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined_lengths(item)
    return target


def encode(source: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    """A data set as an object with preamble and file meta information."""
    source = Dataset(source)
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = transfer_syntax
    if "PixelData" in source:
        encapsulated = source.PixelData.startswith(ITEM)
        source["PixelData"].VR = "OB" if encapsulated else "OW"
        source["PixelData"].is_undefined_length = encapsulated
    buffer = BytesIO()
    source.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def without_preamble(data: bytes) -> bytes:
    """The object from its file meta information on."""
    return data[132:]


def without_meta(data: bytes) -> bytes:
    """The bare data set of an object: neither preamble nor file meta information."""
    length = struct.unpack_from("<I", data, 140)[0]
    return data[144 + length :]


def item(value: bytes) -> bytes:
    """A value as a fragment item."""
    return ITEM + struct.pack("<I", len(value)) + value


def encapsulate(frames: Iterable[Sequence[bytes]], table: Sequence[int] | None = ()) -> bytes:
    """Encapsulated pixels.

    Args:
        frames: The fragments of each.
        table: The basic offset table; None for the true one.
    """
    parts = [b"".join(item(fragment) for fragment in frame) for frame in frames]
    if table is None:
        table = offsets(parts)
    return item(struct.pack(f"<{len(table)}I", *table)) + b"".join(parts)


def offsets(parts: Sequence[bytes]) -> list[int]:
    """Where each part begins when they follow each other."""
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + len(part))
    return starts


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit VR little endian, byte by byte.

    Args:
        tag: Group and number.
        vr: Its VR.
        value: Its bytes as they are.
        length: What its length field says; None for the truth.
    """
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}:
        return head + b"\0\0" + struct.pack("<I", length) + value
    return head + struct.pack("<H", length) + value


def implicit_element(tag: int, value: bytes, length: int | None = None) -> bytes:
    """An element in implicit VR little endian, byte by byte."""
    length = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length) + value


def preamble(transfer_syntax: str | None = EXPLICIT) -> bytes:
    """Preamble, prefix and file meta information, with no group length."""
    meta = element(0x00020001, "OB", b"\0\1")
    if transfer_syntax is not None:
        meta += element(0x00020010, "UI", transfer_syntax.encode() + b"\0" * (len(transfer_syntax) % 2))
    return bytes(128) + b"DICM" + meta


def every_vr():
    """A data set with a value of every VR, one and several."""
    source = image(
        PixelData=None,
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jörg=山田^太郎=やまだ^たろう",
        OtherPatientNames=["A^B", "C^D"],
        RetrieveAETitle=["ONE", "TWO"],
        PatientAge="042Y",
        FrameIncrementPointer=[0x00181063, 0x00181065],
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        StudyDate="20200102",
        AcquisitionTime="101112.5",
        AcquisitionDateTime="20200102101112.123456+0100",
        SliceThickness=1.25,
        WindowCenter=[40.0, -600.0],
        ImageComments="text\\with a backslash\r\nand a line",
        StudyDescription="Schädel",
        AdditionalPatientHistory="unlimited äöü",
        RetrieveURL="https://example.org/a",
        LongCodeValue="x" * 70,
        SmallestImagePixelValue=5,
        SelectorFDValue=[1e-300, -0.1],
        TagAngleSecondAxis=-7,
        ReferencePixelX0=-70_000,
        SimpleFrameList=[1, 2**32 - 1],
        DopplerCorrectionAngle=0.1,
        SelectorSVValue=-(2**60),
        SelectorUVValue=2**63 + 1,
        SelectorOLValue=bytes(8),
        ReferencedImageSequence=[dataset(ReferencedSOPInstanceUID="1.2"), dataset()],
        ReferencedStudySequence=[],
        PatientID="",
        AcquisitionMatrix=[0, 256, 128, 0],
    )
    return add(source, 0x00281101, "US", [256, 0, 16])
