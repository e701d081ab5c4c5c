"""A request -> a result."""

from dicom_series_preview.service.preview import PreviewService, Rendered
from dicom_series_preview.service.report import AppliedContrast, Cost, Report, ReportedTile

__all__ = ["AppliedContrast", "Cost", "PreviewService", "Rendered", "Report", "ReportedTile"]
