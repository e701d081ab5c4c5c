"""Build the pixel layout and palette of a slice from its row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.labels import coloured_labels
from dicom_series_preview.archive.index.lookup_tables import Inputs, palette_of
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.sources.headers.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN

if TYPE_CHECKING:
    from collections.abc import Mapping

_IMPLIED_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


def pixels_of(cells: Mapping[str, Any]) -> PixelDescription:
    """Build the pixel layout and palette of a row's slice.

    Args:
        cells: The row's fixed columns, by name.
    """
    pixels = _layout(cells)
    if not cells["Palette"]:
        if not (is_labelmap(cells) and pixels.is_monochrome):
            return pixels
        return coloured_labels(pixels, padding(cells, "Value", pixels))
    inputs = Inputs(*stored_range(pixels), pixels.transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN)
    return replace(pixels, palette=palette_of(cells["Palette"], inputs))


def _layout(cells: Mapping[str, Any]) -> PixelDescription:
    allocated = cells["BitsAllocated"] or _IMPLIED_BITS.get(cells["PixelKeyword"], 16)
    stored = cells["BitsStored"] or allocated
    high_bit = cells["HighBit"]
    samples = cells["SamplesPerPixel"] or 1
    photometric = (cells["PhotometricInterpretation"] or "").strip().upper()
    return PixelDescription(
        transfer_syntax_uid=cells["TransferSyntaxUID"],
        rows=cells["Rows"],
        columns=cells["Columns"],
        samples_per_pixel=samples,
        photometric_interpretation=photometric or ("MONOCHROME2" if samples == 1 else "RGB"),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        pixel_representation=cells["PixelRepresentation"] or 0,
        planar_configuration=cells["PlanarConfiguration"] or 0,
        number_of_frames=max(cells["NumberOfFrames"] or 1, 1),
        pixel_keyword=cells["PixelKeyword"],
        pixel_vr=cells["PixelVR"] or "",
    )


def is_labelmap(cells: Mapping[str, Any]) -> bool:
    """Return True where the stored values are labels (PS3.3 C.8.20.2)."""
    return cells["SegmentationType"] == "LABELMAP" and (cells["SamplesPerPixel"] or 1) == 1


def stored_range(pixels: PixelDescription) -> tuple[int, int]:
    """Return the lowest and highest value of the stored bits, within what any decoder returns."""
    values = 1 << min(max(pixels.bits_stored, 0), 64)
    lowest = -(values >> 1) if pixels.pixel_representation == 1 else 0
    return lowest, lowest + values - 1


def padding(cells: Mapping[str, Any], end: str, pixels: PixelDescription) -> float | None:
    """Return one end of the padding's range; float pixels have their own element (PS3.3 C.7.6.24)."""
    kind = pixels.pixel_keyword.removesuffix("PixelData")
    value = cells[f"{kind}PixelPadding{end}"]
    return _stored(value, pixels) if not kind else value


def _stored(value: int | None, pixels: PixelDescription) -> int | None:
    """Read a stored value with the pixels' sign: files also write a negative padding value as unsigned."""
    if value is None:
        return None
    bits = 1 << pixels.bits_allocated
    if pixels.pixel_representation == 1 and value >= bits >> 1:
        return value - bits
    if pixels.pixel_representation == 0 and value < 0:
        return value + bits
    return value
