"""The index of a series: one row a slice, and every header in it."""

from dicom_series_preview.index.build import build
from dicom_series_preview.index.collect import FIRST_RANGE_BYTES, HeaderReader, is_passed_over
from dicom_series_preview.index.read import DamagedIndexError, Index, Part, Slice, origin
from dicom_series_preview.index.records import Duplicate, Provenance, Record, Skipped, fingerprint
from dicom_series_preview.index.schema import FIXED_COLUMNS, SCHEMA_VERSION
from dicom_series_preview.index.stacks import Stack, told
from dicom_series_preview.index.untile import untiled

__all__ = [
    "FIRST_RANGE_BYTES",
    "FIXED_COLUMNS",
    "SCHEMA_VERSION",
    "DamagedIndexError",
    "Duplicate",
    "HeaderReader",
    "Index",
    "Part",
    "Provenance",
    "Record",
    "Skipped",
    "Slice",
    "Stack",
    "build",
    "fingerprint",
    "is_passed_over",
    "origin",
    "told",
    "untiled",
]
