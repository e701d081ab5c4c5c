"""The catalogue's columns: names, types and meanings; and those that a site adds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.index.declared import NUMBER_TYPES, declared, element_description
from dicom_series_preview.archive.index.schema import Column
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.sources.headers.dictionary import keyword, tag_of

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS_VARIABLE = "CATALOGUE_COLUMNS"
PATIENT_VARIABLE = "CATALOGUE_PATIENT"

_TEXT, _INT, _LONG, _REAL, _YES = pa.utf8(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()
_DATE, _TIME, _NOW = pa.date32(), pa.time64("us"), pa.timestamp("us", "UTC")
_TEXTS, _REALS = pa.list_(_TEXT), pa.list_(_REAL)

_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),?([0-9a-fA-F]{4})\)?")
# The comma in a tag separates no columns.
_NAMES = re.compile(rf"\s*(?:{_TAG.pattern}|[^,]+)\s*")

_NO_CELL = frozenset(("SQ", "OB", "OD", "OF", "OL", "OV", "OW"))

KEY = ("Root", "Series", "SeriesInstanceUID")
"""The columns that together name a row."""

Key: TypeAlias = tuple[str, str, str]
"""A row's key: root, series and SeriesInstanceUID."""

PATIENT = ("PatientID", "PatientName", "PatientSex", "PatientAge", "PatientBirthDate", "AccessionNumber")
"""The columns that say who it is."""


def key_of(row: Mapping[str, Any]) -> Key:
    """Return a row's key."""
    return row["Root"], row["Series"], row["SeriesInstanceUID"]


def _element(name: str, kind: pa.DataType = _TEXT, unit: str = "") -> Column:
    """A column with the value of an element."""
    tag = tag_of(name)
    return Column(name, kind, element_description(tag, ""), tag, unit)


OF_SERIES = (
    *(_element(name) for name in PATIENT[:4]),
    _element("PatientBirthDate", _DATE),
    _element("StudyInstanceUID"),
    _element("StudyID"),
    _element("AccessionNumber"),
    _element("StudyDate", _DATE),
    _element("StudyTime", _TIME),
    _element("StudyDescription"),
    _element("SeriesNumber", _LONG),
    _element("SeriesDate", _DATE),
    _element("SeriesTime", _TIME),
    *(
        _element(name)
        for name in (
            *("SeriesDescription", "ProtocolName", "Modality", "BodyPartExamined", "Laterality"),
            *("PatientPosition", "InstitutionName", "Manufacturer", "ManufacturerModelName"),
            *("StationName", "SoftwareVersions"),
        )
    ),
    _element("MagneticFieldStrength", _REAL, "T"),
    _element("KVP", _REAL, "kV"),
    _element("ConvolutionKernel"),
    _element("ContrastBolusAgent"),
    _element("ImageType", _TEXTS),
    _element("SOPClassUID"),
    _element("PhotometricInterpretation"),
    _element("BitsStored", _INT, "bits"),
    _element("BurnedInAnnotation"),
    _element("LossyImageCompression"),
    _element("Rows", _INT, "pixels"),
    _element("Columns", _INT, "pixels"),
    _element("PixelSpacing", _REALS, "mm"),
    _element("SliceThickness", _REAL, "mm"),
)
"""The columns with a value of the main stack's first slice."""

COLUMNS = (
    Column("Root", _TEXT, "The storage root's URL"),
    Column("Series", _TEXT, "The series' folder below it"),
    Column("SeriesInstanceUID", _TEXT, "Unique identifier of the series; empty without one", 0x0020000E),
    *OF_SERIES,
    Column("TransferSyntaxUID", _TEXTS, "The encodings that occur", 0x00020010),
    Column(
        "SliceSpacing",
        _REAL,
        "Median step between locations along the normal; of an even number the lower middle one",
        unit="mm",
    ),
    Column("SpacingRegular", _YES, "No step differs from the median by more than 1 %"),
    Column("MissingSlices", _INT, "Slices missing in gaps"),
    Column("DuplicatePositions", _INT, "Slices beyond the first at one place with equal dimensions"),
    Column("Plane", _TEXT, "AXIAL, SAGITTAL, CORONAL or OBLIQUE"),
    Column("Obliquity_deg", _REAL, "Angle between the normal and the nearest axis of the patient", unit="°"),
    Column("Tilt_deg", _REAL, "Angle between the normal and the line through the slices' corners", unit="°"),
    Column("Extent_mm", _REAL, "From the first location to the last along the normal", unit="mm"),
    Column("Dimensions", _TEXT, "What the slices of the main stack run along, such as slice x b-value"),
    Column("Instances", _LONG, "Objects of the series in this folder"),
    Column("Frames", _LONG, "Frames in them"),
    Column("Stacks", _INT, "Stacks that the slices form"),
    Column("Slices", _LONG, "Slices of the main stack"),
    Column("Bytes", _LONG, "Bytes of the objects", unit="bytes"),
    Column("Folders", _INT, "Folders that hold the series: so many rows have its SeriesInstanceUID"),
    Column(
        "PartOnly",
        _TEXT,
        "Why the row describes this folder's part of the series alone, in one line; null where it describes "
        "the whole series",
    ),
    Column("SkippedObjects", _LONG, "Objects of the folder that could not be read as instances"),
    Column("FirstInstanceTime", _NOW, "Earliest acquisition; in UTC where the header says how to get there"),
    Column("LastModified", _NOW, "When the newest object was written; null where the storage does not say"),
    Column("Problem", _TEXT, "Why there is no index, in one line; null where there is one"),
    Column("Fingerprint", _TEXT, "Digest of the listing that the index was built from"),
    Column("IndexPath", _TEXT, "The index, below the cache"),
    Column("IndexVersion", _TEXT, "The version of that file"),
    Column("CataloguedAt", _NOW, "When the index was read for this row"),
    Column("Rules", _INT, "The version of the rules that made the row of its index; null without one"),
)
"""The columns that every catalogue has."""

RULES = 1
"""The version of the rules by which a row is made of an index. Raise it when any cell can become another:
`update` then makes all rows anew."""

_OF_FOLDER = frozenset(
    (
        *KEY,
        *("TransferSyntaxUID", "Instances", "Frames", "Folders", "PartOnly", "Bytes", "SkippedObjects"),
        *("LastModified", "Problem", "Fingerprint", "IndexPath", "IndexVersion", "CataloguedAt", "Rules"),
    )
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of one site's catalogue.

    Attributes:
        added: The columns that the site adds.
        has_patients: Rows say who it is.
    """

    added: tuple[Column, ...] = ()
    has_patients: bool = True

    @classmethod
    def from_settings(cls, added: str, patient: str) -> Shape:
        """Read the site's settings.

        Args:
            added: Keywords or tags, separated by commas.
            patient: `true` or `false`; empty means true.

        Raises:
            RequestError: An element is unknown, or stands there already, or `patient` is neither.
        """
        if patient.lower() not in {"", "true", "false"}:
            raise RequestError(PATIENT_VARIABLE, f"{patient!r} is neither true nor false")
        names = [name for found in _NAMES.finditer(added) if (name := found[0].strip())]
        columns = tuple(_added(name) for name in names)
        taken = {column.name for column in COLUMNS}
        for column in columns:
            if column.name in taken:
                raise RequestError(COLUMNS_VARIABLE, f"{column.name} is a column already")
            taken.add(column.name)
        return cls(columns, patient.lower() != "false")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Shape:
        """Read the site's settings from their variables; see `from_settings`."""
        return cls.from_settings(environment.get(COLUMNS_VARIABLE, ""), environment.get(PATIENT_VARIABLE, ""))

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, in their order."""
        return (*COLUMNS, *self.added)

    @property
    def of_whole(self) -> tuple[str, ...]:
        """The columns that describe the whole series, in however many folders it lies."""
        return tuple(column.name for column in self.columns if column.name not in _OF_FOLDER)

    @property
    def schema(self) -> pa.Schema:
        """The rows' schema."""
        return pa.schema([column.field() for column in self.columns])

    @property
    def stored_schema(self) -> pa.Schema:
        """The schema of the table's files: Delta Lake has no times of day, so they are ISO 8601 text."""
        return pa.schema([stored(field) for field in self.schema])


def stored(field: pa.Field) -> pa.Field:
    """Return a field as the table's files have it."""
    return field.with_type(_TEXT) if pa.types.is_time(field.type) else field


def typed(table: pa.Table) -> pa.Table:
    """Return rows as the table's files have them with times of day instead of their text."""
    for at, field in enumerate(table.schema):
        if _is_time(field.name) and pa.types.is_string(field.type):
            moments = pc.binary_join_element_wise("1970-01-01", table.column(at), "T")
            times = moments.cast(pa.timestamp("us")).cast(_TIME)
            table = table.set_column(at, field.with_type(_TIME), times)
    return table


def _is_time(name: str) -> bool:
    """True for the column of an element that holds a time of day."""
    try:
        return declared(tag_of(name), "")[0] == ("TM",)
    except KeyError:
        return False


def _added(name: str) -> Column:
    """Return the column of an element that a site adds.

    Raises:
        RequestError: There is no such element, or no column can hold it.
    """
    written = _TAG.fullmatch(name)
    try:
        tag = int(written[1] + written[2], 16) if written else tag_of(name)
    except KeyError as error:
        raise RequestError(COLUMNS_VARIABLE, f"{name!r} is no DICOM keyword or tag") from error
    if tag >> 16 & 1:
        raise RequestError(COLUMNS_VARIABLE, f"{name} is a private element, which the index alone has")
    vrs, is_several = declared(tag, "")
    if not vrs:
        raise RequestError(COLUMNS_VARIABLE, f"{name} is no element of the DICOM dictionary")
    if vrs[0] in _NO_CELL:
        kind = "a sequence" if vrs[0] == "SQ" else "bulk data"
        raise RequestError(COLUMNS_VARIABLE, f"{name} is {kind}, which no cell can hold")
    if vrs[0] in NUMBER_TYPES:
        # Delta Lake has no unsigned numbers.
        number = _LONG if NUMBER_TYPES[vrs[0]] == pa.uint64() else NUMBER_TYPES[vrs[0]]
        of_number = pa.list_(number) if is_several else number
        return Column(keyword(tag), of_number, element_description(tag, ""), tag)
    of_text = {"DA": _DATE, "TM": _TIME}.get(vrs[0], _TEXT)
    return Column(keyword(tag), of_text, element_description(tag, ""), tag)
