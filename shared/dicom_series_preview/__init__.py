"""Look inside a DICOM series in S3, on HTTP or on disk without downloading it.

`Series` and `Archive` are the door for Python; every error of a series or storage is a `PreviewError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.base.errors import PreviewError

if TYPE_CHECKING:
    from dicom_series_preview.doors.python.archive import Archive
    from dicom_series_preview.doors.python.series import Preview, Series
    from dicom_series_preview.doors.python.volume import Volume

__all__ = ["Archive", "Preview", "PreviewError", "Series", "Volume", "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute
    """Load the Python door on first use: `--help` needs neither numpy nor pyarrow."""
    if name in ("Series", "Preview"):
        from dicom_series_preview.doors.python import series  # noqa: PLC0415 - loads numpy and pyarrow

        return getattr(series, name)
    if name == "Archive":
        from dicom_series_preview.doors.python.archive import Archive  # noqa: PLC0415 - loads deltalake, too

        return Archive
    if name == "Volume":
        from dicom_series_preview.doors.python.volume import Volume  # noqa: PLC0415 - what volumes need

        return Volume
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
