"""A request -> a result."""

from dicom_series_preview.service.preview import (
    CACHEABLE_VERSION,
    PictureRequest,
    Plan,
    PreviewService,
    Rendered,
)
from dicom_series_preview.service.report import AppliedContrast, Cost, Report, ReportedTile

__all__ = [
    "CACHEABLE_VERSION",
    "AppliedContrast",
    "Cost",
    "PictureRequest",
    "Plan",
    "PreviewService",
    "Rendered",
    "Report",
    "ReportedTile",
]
