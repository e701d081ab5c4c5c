"""Look inside a DICOM series in S3, on HTTP or on disk without downloading it."""

from dicom_series_preview._version import __version__

__all__ = ["__version__"]
