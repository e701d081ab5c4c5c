"""All formats, by the extension of a path and by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import RequestError, quoted
from dicom_series_preview.products.volumes.formats.nifti import Nifti
from dicom_series_preview.products.volumes.formats.npz import Npz
from dicom_series_preview.products.volumes.formats.zarr import Zarr

if TYPE_CHECKING:
    from dicom_series_preview.products.volumes.formats.base import VolumeFormat

FORMATS: tuple[VolumeFormat, ...] = (
    Zarr("zarr", ".zarr"),
    Zarr("zip", ".zarr.zip", ".ozx"),
    Zarr("sqlite", ".sqlite"),
    Nifti("nifti", ".nii.gz"),
    Nifti("nii", ".nii"),
    Npz(),
)
_EXTENSIONS = ", ".join(extension for one in FORMATS for extension in one.extensions)


def format_of_path(path: str) -> tuple[VolumeFormat, str]:
    """Return the format that a path's extension names, and that extension.

    Raises:
        RequestError: It names none.
    """
    for one in FORMATS:
        for extension in one.extensions:
            if path.endswith(extension) and not path.endswith(f"/{extension}") and path != extension:
                return one, extension
    raise RequestError("output", f"{quoted(path)} has no extension of a format: {_EXTENSIONS}")


def format_named(name: str) -> VolumeFormat:
    """Return the format of a name.

    Raises:
        RequestError: There is none.
    """
    for one in FORMATS:
        if one.name == name:
            return one
    raise RequestError("to", f"{quoted(name)} is none of {', '.join(one.name for one in FORMATS)}")
