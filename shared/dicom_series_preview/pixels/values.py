"""Read a slice's modality values, or its colours, before any window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.image import Contrast
from dicom_series_preview.pixels.codecs.colour import is_colour, to_rgb
from dicom_series_preview.pixels.contrast.modality import modality_values
from dicom_series_preview.pixels.slices import FailedSlice
from dicom_series_preview.pixels.stream import read_slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.pixels.slices import DecodedSlice
    from dicom_series_preview.pixels.stream import SliceReader


def read_values(reader: SliceReader, item: Slice) -> NDArray[Any]:
    """Fetch one whole slice: its modality values, (rows, columns), or 8-bit RGB for colour.

    Raises:
        PreviewError: See `read_slices`; or the slice cannot be fetched or decoded.
    """
    if item.contrast.content.is_labelmap:
        # The colours of labels are for pictures.
        grey = replace(item.pixels, photometric_interpretation="MONOCHROME2", palette=None)
        item = replace(item, pixels=grey, contrast=Contrast())
    ((_, values),) = read_slices(reader, [item], values_of)
    return values


def values_of(found: DecodedSlice | FailedSlice) -> NDArray[Any]:
    """Return the modality values of a slice, (rows, columns), or 8-bit RGB for colour.

    Raises:
        ObjectError: The slice failed, or a lookup table is cut off.
        StorageError: The slice could not be fetched.
    """
    if isinstance(found, FailedSlice):
        raise found.error
    if is_colour(found.slice.pixels):
        return to_rgb(found.decoded, found.slice.pixels)
    return modality_values(found.decoded.samples, found.slice.contrast)
