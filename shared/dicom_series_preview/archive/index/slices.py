"""Build a slice to show from a row of an index."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.contrast import contrast_of, padding_words
from dicom_series_preview.archive.index.damage import check_cells
from dicom_series_preview.archive.index.pixels import pixels_of
from dicom_series_preview.archive.index.remarks import contradictions
from dicom_series_preview.sources.headers.locations import FrameLocation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_series_preview.base.image import Contrast, PixelDescription
    from dicom_series_preview.sources.headers.overlays import OverlayPlane


@dataclass(frozen=True, slots=True)
class Slice:
    """All facts needed to show a slice: a frame, or a larger image that frames are parts of.

    Attributes:
        row: Its row in the index: its frame's, or its first frame's.
        file_name: The object's path below the series' folder.
        object_size: Bytes.
        object_version: The object's version when it was indexed.
        sop_instance_uid: SOPInstanceUID (0008,0018), or empty.
        instance_number: InstanceNumber (0020,0013), or None.
        frame_number: 1-based.
        stack: Its stack.
        primary_axis: `X`, `Y`, `Z` or `I`.
        primary_position: Coordinate on the primary axis in mm (InstanceNumber on `I`), or None.
        location: The place of the frame's data, or None where only the whole object shows it.
        pixels: The layout of its stored values; an assembled slice has its own rows and columns.
        contrast: Their meaning.
        pixel_spacing_mm: Row and column spacing to show it with, or None where none is usable.
        pixel_aspect_ratio: Vertical and horizontal size of a pixel, or None where not usable.
        image_orientation_patient: Row cosines, then column cosines, or None.
        remarks: Remarks on contradictions and missing numbers in its header.
        part_rows: Rows of its frames, see `Index.parts`; none where it is a frame itself.
        background: The level, 0..255, where it has no frame.
        overlays: The object's overlay planes, if requested.
        header_length: Bytes before its first frame, if it has such planes and a location.
    """

    row: int
    file_name: str
    object_size: int
    object_version: str
    sop_instance_uid: str
    instance_number: int | None
    frame_number: int
    stack: int
    primary_axis: str
    primary_position: float | None
    location: FrameLocation | None
    pixels: PixelDescription
    contrast: Contrast = field(repr=False)
    pixel_spacing_mm: tuple[float, float] | None
    pixel_aspect_ratio: tuple[int, int] | None
    image_orientation_patient: tuple[float, ...] | None
    overlays: tuple[OverlayPlane, ...] = ()
    header_length: int = 0
    remarks: tuple[str, ...] = ()
    part_rows: range = range(0)
    background: int = 0

    @property
    def name(self) -> str:
        """Its name in messages: its object, and its frame if the object has several."""
        number = f", frame {self.frame_number}" if self.pixels.number_of_frames > 1 else ""
        return f"{self.file_name}{number}"

    @property
    def pixel_shape(self) -> tuple[float, float]:
        """Height and width of a pixel, in mm or only relative to each other; (1, 1) if unknown."""
        return self.pixel_spacing_mm or self.pixel_aspect_ratio or (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Part:
    """A frame on an assembled slice; the slice's edges cut it off.

    Attributes:
        frame: The frame.
        top: The slice's row, from 0, of the frame's first row; below 0 where the slice begins inside the
            frame.
        left: The same for columns.
    """

    frame: Slice
    top: int
    left: int


def slice_of(row: int, cells: Mapping[str, Any]) -> Slice:
    """Build the slice of a row.

    Args:
        row: The row.
        cells: Its fixed columns, by name.

    Raises:
        DamagedIndexError: The row has values that no slice has.
    """
    check_cells(cells)
    located = cells["FrameOffset"] is not None
    pixels = pixels_of(cells)
    contrast = contrast_of(cells, pixels)
    words = padding_words(contrast, pixels)
    if words is not None:
        pixels = replace(pixels, padding_words=words)
    return Slice(
        row=row,
        file_name=cells["FileName"],
        object_size=cells["ObjectSize"],
        object_version=cells["ObjectVersion"] or "",
        sop_instance_uid=cells["SOPInstanceUID"] or "",
        instance_number=cells["InstanceNumber"],
        frame_number=cells["FrameNumber"],
        stack=cells["Stack"],
        primary_axis=cells["PrimaryAxis"],
        primary_position=primary_position(cells),
        location=FrameLocation(cells["FrameOffset"], cells["FrameLength"]) if located else None,
        pixels=pixels,
        contrast=contrast,
        pixel_spacing_mm=_spacing(cells),
        pixel_aspect_ratio=_pair(cells["PixelAspectRatio"]),
        image_orientation_patient=tuple(cosines) if (cosines := cells["ImageOrientationPatient"]) else None,
        remarks=(*(cells["Remarks"] or ()), *contradictions(cells, pixels, contrast)),
    )


def primary_position(cells: Mapping[str, Any]) -> float | None:
    """Return PrimaryPosition; it is single precision, so an InstanceNumber comes from its own column."""
    position = cells["InstanceNumber"] if cells["PrimaryAxis"] == "I" else cells["PrimaryPosition"]
    return None if position is None or not math.isfinite(position) else position


def _spacing(cells: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the row and column spacing in mm to show a picture with, the first usable of the three."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = _pair(cells[name])
        if pair is not None:
            return pair
    return None


def _pair(values: list[Any] | None) -> tuple[Any, Any] | None:
    r"""Return the vertical and horizontal size of a pixel (row \ column spacing, PS3.3 10.7.1.3), or None."""
    if values is None or len(values) != 2 or not all(v is not None and 0 < v < float("inf") for v in values):
        return None
    return values[0], values[1]
