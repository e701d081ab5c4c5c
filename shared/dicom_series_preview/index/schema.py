"""The index's columns: names, types, and what each means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.headers import (
    dictionary_name,
    dictionary_vr,
    keyword,
    private_creator,
    private_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = 3

_FLOATS = pa.list_(pa.float64())


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One of the columns that every index has.

    Attributes:
        name: The column's name.
        type: Its Arrow type.
        description: What it holds.
        tag: The DICOM element whose value it holds, or 0.
    """

    name: str
    type: pa.DataType
    description: str
    tag: int = 0

    @cache  # noqa: B019 - columns are constants
    def field(self) -> pa.Field:
        """The Arrow field with its metadata."""
        vr = dictionary_vr(self.tag) if self.tag else ""
        if " or " in vr:
            vr = vr[:2]
        return pa.field(self.name, self.type, metadata=field_metadata(self.tag, vr, self.description))


def field_metadata(tag: int, vr: str, description: str) -> dict[str, str]:
    """A field's metadata; tag and vr are empty for what is no DICOM element."""
    text = f"{tag >> 16:04X},{tag & 0xFFFF:04X}" if tag else ""
    return {"tag": text, "vr": vr, "description": description}


FIXED_COLUMNS = (
    Column("Index", pa.uint32(), "Zero-based place of the slice in display order, stack after stack"),
    Column("FileName", pa.utf8(), "Path of the object below the series' folder"),
    Column("SeriesUID", pa.utf8(), "The series as addressed: the name of its folder"),
    Column("StorageRoot", pa.utf8(), "The storage root the series lies in"),
    Column("PrimaryPosition", pa.float32(), "Coordinate on the primary axis in mm; InstanceNumber on axis I"),
    Column("PrimaryAxis", pa.utf8(), "X sagittal, Y coronal, Z axial, I sorted by InstanceNumber"),
    Column("InstanceNumber", pa.int32(), "A number that identifies the instance", 0x00200013),
    Column("SOPInstanceUID", pa.utf8(), "Unique identifier of the instance", 0x00080018),
    Column("SliceLocation", pa.float32(), "Relative position of the slice in mm", 0x00201041),
    Column("FrameNumber", pa.int32(), "1-based number of the frame; null in an object without an image"),
    Column("Stack", pa.int32(), "Number of the stack, 0 the main one; null in an object without an image"),
    Column(
        "Location", pa.int32(), "Number of the slice's location in its stack; slices of one location share it"
    ),
    Column("Time", pa.float64(), "What orders the stack's slices in time, where something does"),
    Column("ObjectSize", pa.int64(), "Size of the object in bytes"),
    Column("ObjectVersion", pa.utf8(), "What changes when the object does: ETag or modification time"),
    Column(
        "TransferSyntaxUID", pa.utf8(), "Encoding of the object, corrected where it declares none", 0x00020010
    ),
    Column(
        "FrameOffset",
        pa.int64(),
        "First byte of the frame's data in the object; null: the whole object tells",
    ),
    Column(
        "FrameLength", pa.int64(), "Bytes of the frame's data, items' heads among them where encapsulated"
    ),
    Column(
        "PixelKeyword", pa.utf8(), "PixelData, FloatPixelData or DoubleFloatPixelData; null without pixels"
    ),
    Column("PixelVR", pa.utf8(), "VR of that element; null where it is not written"),
    Column(
        "PixelSurplus",
        pa.int64(),
        "Bytes of it beyond those that the header describes, negative: missing; null where it is compressed",
    ),
    Column(
        "Remarks",
        pa.list_(pa.utf8()),
        "What contradicts itself in the header, or is no number; null: nothing",
    ),
    Column("Rows", pa.int32(), "Rows of the image", 0x00280010),
    Column("Columns", pa.int32(), "Columns of the image", 0x00280011),
    Column("SamplesPerPixel", pa.int32(), "Samples of a pixel", 0x00280002),
    Column("PhotometricInterpretation", pa.utf8(), "What the samples mean, as stored", 0x00280004),
    Column("BitsAllocated", pa.int32(), "Bits of a sample as stored", 0x00280100),
    Column("BitsStored", pa.int32(), "Bits of a sample that count", 0x00280101),
    Column("HighBit", pa.int32(), "Most significant bit of a sample", 0x00280102),
    Column("PixelRepresentation", pa.int32(), "0 unsigned, 1 two's complement", 0x00280103),
    Column("PlanarConfiguration", pa.int32(), "0 colour by pixel, 1 by plane", 0x00280006),
    Column("NumberOfFrames", pa.int32(), "Frames of the object", 0x00280008),
    Column("RescaleSlope", pa.float64(), "Slope of the modality step; null is 1", 0x00281053),
    Column("RescaleIntercept", pa.float64(), "Intercept of the modality step; null is 0", 0x00281052),
    Column("WindowCenter", _FLOATS, "Window centers in modality units", 0x00281050),
    Column("WindowWidth", _FLOATS, "Window widths in modality units", 0x00281051),
    Column("WindowCenterWidthExplanation", pa.list_(pa.utf8()), "Names of the windows", 0x00281055),
    Column("VOILUTFunction", pa.utf8(), "Function of the windows; null is LINEAR", 0x00281056),
    Column("ModalityLUTSequence", pa.utf8(), "Modality LUT as DICOM JSON", 0x00283000),
    Column("VOILUTSequence", pa.utf8(), "VOI LUTs as DICOM JSON", 0x00283010),
    Column("Palette", pa.utf8(), "Palette colour tables as DICOM JSON"),
    Column("SeriesInstanceUID", pa.utf8(), "Unique identifier of the series as DICOM has it", 0x0020000E),
    Column("Modality", pa.utf8(), "Modality", 0x00080060),
    Column("ImageType", pa.list_(pa.utf8()), "Kind of image: value 3 tells localizers", 0x00080008),
    Column("FrameType", pa.list_(pa.utf8()), "Kind of image, of a frame of its own", 0x00089007),
    Column("BodyPartExamined", pa.utf8(), "Part of the body", 0x00180015),
    Column("AnatomicRegionSequence", pa.utf8(), "Part of the body, coded, as DICOM JSON", 0x00082218),
    Column("RescaleType", pa.utf8(), "Unit of modality values; HU are Hounsfield units", 0x00281054),
    Column("SegmentationType", pa.utf8(), "BINARY, FRACTIONAL or LABELMAP", 0x00620001),
    Column("MaximumFractionalValue", pa.int32(), "Value that means all of a pixel", 0x0062000E),
    Column("PresentationLUTShape", pa.utf8(), "IDENTITY or INVERSE", 0x20500020),
    Column("PixelPaddingValue", pa.int64(), "Stored value of pixels that are no image", 0x00280120),
    Column("PixelPaddingRangeLimit", pa.int64(), "Other end of the range of padding values", 0x00280121),
    Column("LossyImageCompression", pa.utf8(), "01: the pixels have been compressed with loss", 0x00282110),
    Column("FloatPixelPaddingValue", pa.float64(), "Padding value of float pixels", 0x00280122),
    Column("FloatPixelPaddingRangeLimit", pa.float64(), "Other end of their range", 0x00280124),
    Column("DoubleFloatPixelPaddingValue", pa.float64(), "Padding value of double pixels", 0x00280123),
    Column("DoubleFloatPixelPaddingRangeLimit", pa.float64(), "Other end of their range", 0x00280125),
    Column("PixelSpacing", _FLOATS, "Row spacing and column spacing in mm", 0x00280030),
    Column("ImagerPixelSpacing", _FLOATS, "Row and column spacing at the detector in mm", 0x00181164),
    Column("NominalScannedPixelSpacing", _FLOATS, "Row and column spacing of the scan in mm", 0x00182010),
    Column("PixelAspectRatio", pa.list_(pa.int32()), "Vertical and horizontal size of a pixel", 0x00280034),
    Column("ImagePositionPatient", _FLOATS, "Centre of the first pixel in mm: x, y, z", 0x00200032),
    Column("ImageOrientationPatient", _FLOATS, "Row cosines, then column cosines", 0x00200037),
)
OTHER_ELEMENTS = Column(
    "OtherElements",
    pa.utf8(),
    "On an object's first row: its elements that no column gives back, as DICOM JSON; null: it is absent",
)
# Only where they say something: the first six of frames that are not slices, but tiles of a slide's level or
# mosaics that are taken apart; the last two of mosaics.
PART_COLUMNS = (
    Column(
        "Slice",
        pa.int32(),
        "Number of the slice that the frame is a part of, or has a part in; null: its own",
    ),
    Column("SliceRows", pa.int32(), "Rows of that slice"),
    Column("SliceColumns", pa.int32(), "Columns of that slice"),
    Column("FrameTop", pa.int32(), "Row of that slice, from 0, at which the frame's first row lies"),
    Column("FrameLeft", pa.int32(), "Column of that slice, from 0, at which the frame's first column lies"),
    Column("Background", pa.int32(), "Of that slice in colour, the level, 0 to 255, of where no frame lies"),
)
MOSAIC_COLUMNS = (
    Column(
        "MosaicImages", pa.int32(), "Slices in a Siemens mosaic, 0 where it does not say; null: no mosaic"
    ),
    Column("MosaicNormal", _FLOATS, "Direction from each slice of a Siemens mosaic to the next"),
)
BY_NAME = {column.name: column for column in FIXED_COLUMNS}


def column_name(tag: int, group: Mapping[int, bytes]) -> str:
    """The name of an element's own column: keyword, or `gggg,ee:CREATOR` of a private element."""
    creator = private_creator(tag, group)
    if creator:
        return f"{tag >> 16:04x},{tag & 0xFF:02x}:{creator}"
    return keyword(tag)


def element_description(tag: int, creator: str) -> str:
    """What the dictionary calls an element."""
    try:
        if tag >> 16 & 1:
            return private_name(tag, creator).strip("[]") if creator else ""
        return dictionary_name(tag)
    except KeyError:
        return ""


def arrow_number_type(values: list[Any]) -> pa.DataType:
    """The narrowest of the index's number types in which every value survives."""
    numbers = [value for value in values if value is not None]
    if all(isinstance(number, int) for number in numbers):
        low, high = min(numbers, default=0), max(numbers, default=0)
        if low >= -(2**31) and high < 2**31:
            return pa.int32()
        return pa.int64() if high < 2**63 else pa.uint64()
    wide = np.array(numbers, dtype=np.float64)
    with np.errstate(over="ignore"):
        survives = np.array_equal(wide.astype(np.float32).astype(np.float64), wide, equal_nan=True)
    return pa.float32() if survives else pa.float64()


__all__ = [
    "BY_NAME",
    "FIXED_COLUMNS",
    "MOSAIC_COLUMNS",
    "OTHER_ELEMENTS",
    "PART_COLUMNS",
    "SCHEMA_VERSION",
    "Column",
    "arrow_number_type",
    "column_name",
    "element_description",
    "field_metadata",
]
