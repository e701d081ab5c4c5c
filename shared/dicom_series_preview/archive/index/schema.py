"""The index's columns: names, types and meanings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pyarrow as pa

SCHEMA_VERSION = 6
_INT, _LONG, _REAL, _TEXT = pa.int32(), pa.int64(), pa.float64(), pa.utf8()
_REALS, _TEXTS = pa.list_(_REAL), pa.list_(_TEXT)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One of the columns that every index has.

    Attributes:
        name: The column's name.
        type: Its Arrow type.
        description: Its content.
        tag: The DICOM element with its value, or 0.
        unit: The unit of its numbers; empty for a bare number.
        section: The section of the DICOM standard with details, in PS3.3 unless it names another part; empty
            where the column is the product's own.
    """

    name: str
    type: pa.DataType
    description: str
    tag: int = 0
    unit: str = ""
    section: str = ""

    @cache  # noqa: B019 - columns are constants
    def field(self) -> pa.Field:
        """Return the Arrow field with its metadata."""
        from dicom_series_preview.sources.headers.dictionary import dictionary_vr  # noqa: PLC0415 - only writing needs it

        vr = dictionary_vr(self.tag) if self.tag else ""
        if " or " in vr:
            vr = vr[:2]
        return pa.field(self.name, self.type, metadata=field_metadata(self.tag, vr, self.description))


def field_metadata(tag: int, vr: str, description: str) -> dict[str, str]:
    """Return a field's metadata; tag and vr are empty where it is no DICOM element."""
    text = f"{tag >> 16:04X},{tag & 0xFFFF:04X}" if tag else ""
    return {"tag": text, "vr": vr, "description": description}


FIXED_COLUMNS = (
    Column("Index", pa.uint32(), "Zero-based place of the slice in display order, stack after stack"),
    Column("FileName", _TEXT, "Path of the object below the series' folder"),
    Column("SeriesUID", _TEXT, "The series as addressed: the name of its folder"),
    Column("StorageRoot", _TEXT, "The storage root the series lies in"),
    Column(
        "PrimaryPosition",
        pa.float32(),
        "Coordinate on the primary axis in mm; InstanceNumber on axis I",
        unit="mm",
        section="C.7.6.2.1.1",
    ),
    Column(
        "PrimaryAxis",
        _TEXT,
        "X sagittal, Y coronal, Z axial, I sorted by InstanceNumber",
        section="C.7.6.2.1.1",
    ),
    Column("InstanceNumber", _INT, "A number that identifies the instance", 0x00200013, "", "C.7.6.1"),
    Column("SOPInstanceUID", _TEXT, "Unique identifier of the instance", 0x00080018, "", "C.12.1"),
    Column(
        "SliceLocation", pa.float32(), "Relative position of the slice in mm", 0x00201041, "mm", "C.7.6.2"
    ),
    Column(
        "FrameNumber",
        _INT,
        "1-based number of the frame; null in an object without an image",
        section="C.7.6.6",
    ),
    Column("Stack", _INT, "Number of the stack, 0 the main one; null in an object without an image"),
    Column("Location", _INT, "Number of the slice's location in its stack; slices of one location share it"),
    Column(
        "Time",
        _REAL,
        "What orders the stack's slices in time, where something does; a clock runs on from the first day",
        unit="s, ms or a number",
        section="C.7.6.18",
    ),
    Column("ObjectSize", _LONG, "Size of the object in bytes", unit="bytes"),
    Column("ObjectVersion", _TEXT, "What changes when the object does: ETag or modification time"),
    Column(
        "TransferSyntaxUID",
        _TEXT,
        "Encoding of the object, corrected where it declares none",
        0x00020010,
        "",
        "PS3.10 7.1",
    ),
    Column(
        "FrameOffset",
        _LONG,
        "First byte of the frame's data in the object; null: the whole object tells",
        unit="bytes",
        section="PS3.5 A.4",
    ),
    Column(
        "FrameLength",
        _LONG,
        "Bytes of the frame's data, items' heads among them where encapsulated",
        unit="bytes",
        section="PS3.5 A.4",
    ),
    Column(
        "PixelKeyword",
        _TEXT,
        "PixelData, FloatPixelData or DoubleFloatPixelData; null without pixels",
        section="C.7.6.3",
    ),
    Column("PixelVR", _TEXT, "VR of that element; null where it is not written", section="PS3.5 6.2"),
    Column(
        "PixelSurplus",
        _LONG,
        "Bytes of it beyond those that the header describes, negative: missing; null where it is compressed",
        unit="bytes",
        section="PS3.5 8.1.1",
    ),
    Column("Remarks", _TEXTS, "What contradicts itself in the header, or is no number; null: nothing"),
    Column("Rows", _INT, "Rows of the image", 0x00280010, "pixels", "C.7.6.3"),
    Column("Columns", _INT, "Columns of the image", 0x00280011, "pixels", "C.7.6.3"),
    Column("SamplesPerPixel", _INT, "Samples of a pixel", 0x00280002, "", "C.7.6.3"),
    Column("PhotometricInterpretation", _TEXT, "What the samples mean, as stored", 0x00280004, "", "C.7.6.3"),
    Column("BitsAllocated", _INT, "Bits of a sample as stored", 0x00280100, "bits", "C.7.6.3"),
    Column("BitsStored", _INT, "Bits of a sample that count", 0x00280101, "bits", "C.7.6.3"),
    Column("HighBit", _INT, "Most significant bit of a sample", 0x00280102, "", "C.7.6.3"),
    Column("PixelRepresentation", _INT, "0 unsigned, 1 two's complement", 0x00280103, "", "C.7.6.3"),
    Column("PlanarConfiguration", _INT, "0 colour by pixel, 1 by plane", 0x00280006, "", "C.7.6.3"),
    Column("NumberOfFrames", _INT, "Frames of the object", 0x00280008, "", "C.7.6.6"),
    Column("RescaleSlope", _REAL, "Slope of the modality step; null is 1", 0x00281053, "", "C.11.1"),
    Column("RescaleIntercept", _REAL, "Intercept of the modality step; null is 0", 0x00281052, "", "C.11.1"),
    Column(
        "WindowCenter", _REALS, "Window centers in modality units", 0x00281050, "modality values", "C.11.2"
    ),
    Column("WindowWidth", _REALS, "Window widths in modality units", 0x00281051, "modality values", "C.11.2"),
    Column("WindowCenterWidthExplanation", _TEXTS, "Names of the windows", 0x00281055, "", "C.11.2"),
    Column("VOILUTFunction", _TEXT, "Function of the windows; null is LINEAR", 0x00281056, "", "C.11.2"),
    Column("ModalityLUTSequence", _TEXT, "Modality LUT as DICOM JSON", 0x00283000, "", "C.11.1"),
    Column("VOILUTSequence", _TEXT, "VOI LUTs as DICOM JSON", 0x00283010, "", "C.11.2"),
    Column("Palette", _TEXT, "Palette colour tables as DICOM JSON", section="C.7.6.3.1.5"),
    Column(
        "SeriesInstanceUID",
        _TEXT,
        "Unique identifier of the series as DICOM has it",
        0x0020000E,
        "",
        "C.7.3.1",
    ),
    Column("Modality", _TEXT, "Modality", 0x00080060, "", "C.7.3.1"),
    Column("ImageType", _TEXTS, "Kind of image: value 3 tells localizers", 0x00080008, "", "C.7.6.1.1.2"),
    Column("FrameType", _TEXTS, "Kind of image, of a frame of its own", 0x00089007, "", "C.8.16.1"),
    Column("BodyPartExamined", _TEXT, "Part of the body", 0x00180015, "", "C.7.3.1"),
    Column("AnatomicRegionSequence", _TEXT, "Part of the body, coded, as DICOM JSON", 0x00082218, "", "10.5"),
    Column(
        "RescaleType", _TEXT, "Unit of modality values; HU are Hounsfield units", 0x00281054, "", "C.11.1"
    ),
    Column("SegmentationType", _TEXT, "BINARY, FRACTIONAL or LABELMAP", 0x00620001, "", "C.8.20.2"),
    Column("MaximumFractionalValue", _INT, "Value that means all of a pixel", 0x0062000E, "", "C.8.20.2"),
    Column("PresentationLUTShape", _TEXT, "IDENTITY or INVERSE", 0x20500020, "", "C.11.6"),
    Column(
        "PixelPaddingValue", _LONG, "Stored value of pixels that are no image", 0x00280120, "", "C.7.5.1.1.2"
    ),
    Column(
        "PixelPaddingRangeLimit", _LONG, "Other end of the range of padding values", 0x00280121, "", "C.7.6.3"
    ),
    Column(
        "LossyImageCompression",
        _TEXT,
        "01: the pixels have been compressed with loss",
        0x00282110,
        "",
        "C.7.6.1.1.5",
    ),
    Column("FloatPixelPaddingValue", _REAL, "Padding value of float pixels", 0x00280122, "", "C.7.6.24"),
    Column("FloatPixelPaddingRangeLimit", _REAL, "Other end of their range", 0x00280124, "", "C.7.6.24"),
    Column(
        "DoubleFloatPixelPaddingValue", _REAL, "Padding value of double pixels", 0x00280123, "", "C.7.6.25"
    ),
    Column(
        "DoubleFloatPixelPaddingRangeLimit", _REAL, "Other end of their range", 0x00280125, "", "C.7.6.25"
    ),
    Column("PixelSpacing", _REALS, "Row spacing and column spacing in mm", 0x00280030, "mm", "10.7.1.3"),
    Column(
        "ImagerPixelSpacing",
        _REALS,
        "Row and column spacing at the detector in mm",
        0x00181164,
        "mm",
        "10.7.1.3",
    ),
    Column(
        "NominalScannedPixelSpacing",
        _REALS,
        "Row and column spacing of the scan in mm",
        0x00182010,
        "mm",
        "10.7.1.3",
    ),
    Column(
        "PixelAspectRatio",
        pa.list_(_INT),
        "Vertical and horizontal size of a pixel",
        0x00280034,
        "",
        "C.7.6.3.1.7",
    ),
    Column(
        "ImagePositionPatient",
        _REALS,
        "Centre of the first pixel in mm: x, y, z",
        0x00200032,
        "mm",
        "C.7.6.2.1.1",
    ),
    Column(
        "ImageOrientationPatient", _REALS, "Row cosines, then column cosines", 0x00200037, "", "C.7.6.2.1.1"
    ),
)
OTHER_ELEMENTS = Column(
    "OtherElements",
    _TEXT,
    "On an object's first row: its elements that no column gives back, as DICOM JSON; null: it is absent",
)
# Present only where needed: the first six for frames that are not slices, but tiles of a slide's level or
# mosaics taken apart; the last two for mosaics.
PART_COLUMNS = (
    Column(
        "Slice",
        _INT,
        "Number of the slice that the frame is a part of, or has a part in; null: its own",
        section="C.7.6.17",
    ),
    Column("SliceRows", _INT, "Rows of that slice", unit="pixels", section="C.7.6.17"),
    Column("SliceColumns", _INT, "Columns of that slice", unit="pixels", section="C.7.6.17"),
    Column(
        "FrameTop",
        _INT,
        "Row of that slice, from 0, at which the frame's first row lies",
        unit="pixels",
        section="C.7.6.17.3",
    ),
    Column(
        "FrameLeft",
        _INT,
        "Column of that slice, from 0, at which the frame's first column lies",
        unit="pixels",
        section="C.7.6.17.3",
    ),
    Column(
        "Background",
        _INT,
        "Of that slice in colour, the level, 0 to 255, of where no frame lies",
        section="C.8.12.4",
    ),
)
MOSAIC_COLUMNS = (
    Column("MosaicImages", _INT, "Slices in a Siemens mosaic, 0 where it does not say; null: no mosaic"),
    Column("MosaicNormal", _REALS, "Direction from each slice of a Siemens mosaic to the next"),
)
BY_NAME = {column.name: column for column in FIXED_COLUMNS}
# The longest constant with a column: every row repeats it, and a vector has a number for each frame.
LONGEST_CONSTANT_BYTES = 1024
FIXED_TAGS = frozenset(column.tag for column in FIXED_COLUMNS if column.tag)
