"""A complete header: its elements with their values, its frames, and the places of their data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import HeaderError, NotDicomError
from dicom_series_preview.base.image import NativeLayout, PixelDescription
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.locations import FrameLocation, locate
from dicom_series_preview.sources.headers.scan import MEDIA_STORAGE_SOP_CLASS, Incomplete, Scan, scan
from dicom_series_preview.sources.headers.siemens import Mosaic, mosaic_of
from dicom_series_preview.sources.headers.transfer_syntaxes import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    NATIVE_TRANSFER_SYNTAXES,
)

if TYPE_CHECKING:
    from dicom_series_preview.sources.headers.convert import Converter
    from dicom_series_preview.sources.headers.elements import Item
    from dicom_series_preview.sources.headers.pixel_element import PixelElement

_ROWS, _COLUMNS, _SAMPLES = 0x00280010, 0x00280011, 0x00280002
_BITS_ALLOCATED, _PHOTOMETRIC, _FRAMES = 0x00280100, 0x00280004, 0x00280008
_IMPLIED_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_LIMITS = Limits()
# Indices hold sizes as signed 64-bit integers.
_LARGEST_OBJECT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Header:
    """The header of one object.

    Attributes:
        transfer_syntax_uid: As declared; as found, where none is declared or the pixels are native.
        elements: Every element before the pixels by tag, file meta information included.
        pixels: The place of the pixels, or None without any.
        length: The header's bytes of the object.
        object_size: The object's size in bytes.
        number_of_frames: Frames that can be shown; 0 in an object without an image.
        locations: The place of each frame's data; empty where only the whole object shows it: it is deflated,
            or encapsulated without a valid offset table or a transfer syntax that says how.
        mosaic: A Siemens mosaic's facts about its slices; None for any other object.
        pixel_surplus: Bytes of native pixels beyond those that the elements describe, negative where some are
            missing; None for encapsulated pixels, and without an image.
    """

    transfer_syntax_uid: str
    elements: Item = field(repr=False)
    pixels: PixelElement | None
    length: int
    object_size: int
    number_of_frames: int
    locations: tuple[FrameLocation, ...] = field(repr=False)
    mosaic: Mosaic | None = None
    pixel_surplus: int | None = None


def parse(
    data: bytes, size: int | None, converter: Converter, limits: Limits = _LIMITS
) -> Header | Incomplete:
    """Read a header from an object's first bytes.

    Args:
        data: The first bytes, or all of them.
        size: The object's size in bytes; None if not known yet.
        converter: Shared by the objects of a series, so that equal values are converted once.
        limits: The most frames, and the most bytes of an inflated data set.

    Returns:
        The header, or how many bytes it takes to go on.

    Raises:
        ObjectError: The object is not DICOM, broken or cut off.
    """
    object_size = size if size is not None else len(data)
    repeated = converter.repeat(data, size)
    if repeated is not None:
        return _header(*repeated, object_size, limits)
    scanned = scan(data, size, limits)
    if isinstance(scanned, Incomplete):
        return scanned
    storage_class = scanned.elements.get(MEDIA_STORAGE_SOP_CLASS)
    if storage_class is not None and storage_class.value.rstrip(b"\0 ") == _MEDIA_STORAGE_DIRECTORY:
        raise NotDicomError("a DICOMDIR, no instance")
    return _header(scanned, converter.convert(scanned, data), object_size, limits)


def _header(scanned: Scan, elements: Item, object_size: int, limits: Limits) -> Header:
    pixels, frames, locations = scanned.pixels, 0, tuple[FrameLocation, ...]()
    transfer_syntax_uid, surplus = scanned.transfer_syntax_uid, None
    if pixels is not None and _count(elements, _ROWS) and _count(elements, _COLUMNS):
        layout = _native_layout(transfer_syntax_uid, elements, pixels)
        declared = _count(elements, _FRAMES)
        frames = _number_of_frames(declared, pixels, layout.frame_bits, scanned.end, limits.frames)
        if pixels.length is not None:
            described = -(-(declared or frames) * layout.frame_bits // 8)
            if described > _LARGEST_OBJECT:
                raise HeaderError("broken: its elements describe more pixels than any object can hold")
            surplus = pixels.length - described
            if surplus in (0, 1):
                transfer_syntax_uid = _native_syntax(scanned)
        if not scanned.deflated:
            locations = locate(scanned, pixels, layout, frames, object_size)
    return Header(
        transfer_syntax_uid,
        elements,
        pixels,
        scanned.length,
        object_size,
        frames,
        locations,
        mosaic_of(elements, scanned.elements) if frames else None,
        surplus,
    )


def _native_syntax(scanned: Scan) -> str:
    """Return the transfer syntax of an object with native pixels, whatever it declares (PS3.5 A.4)."""
    if scanned.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
        return scanned.transfer_syntax_uid
    return EXPLICIT_LITTLE_ENDIAN if scanned.explicit else IMPLICIT_LITTLE_ENDIAN


def _count(elements: Item, tag: int, default: int = 0) -> int:
    """Return an element's whole number, or the default where it has none."""
    element = elements.get(tag)
    value: Any = element.first if element else None
    return value if isinstance(value, int) and value > 0 else default


def _native_layout(transfer_syntax_uid: str, elements: Item, pixels: PixelElement) -> NativeLayout:
    samples = _count(elements, _SAMPLES, 1)
    # It matters only where pixels share samples, and this runs for every header.
    photometric = elements.get(_PHOTOMETRIC) if samples == 3 else None
    description = PixelDescription(
        transfer_syntax_uid,
        _count(elements, _ROWS),
        _count(elements, _COLUMNS),
        samples_per_pixel=samples,
        photometric_interpretation=str(photometric.first).strip().upper() if photometric is not None else "",
        bits_allocated=_count(elements, _BITS_ALLOCATED, _IMPLIED_BITS.get(pixels.keyword, 16)),
        number_of_frames=_count(elements, _FRAMES, 1),
        pixel_vr=pixels.vr,
    )
    return description.native_layout(pixels.length)


def _number_of_frames(declared: int, pixels: PixelElement, bits: int, end: int | None, most: int) -> int:
    """Return NumberOfFrames (0028,0008), or a count by the data's length where it is missing or too large.

    Args:
        declared: NumberOfFrames, 0 where it is missing.
        pixels: The place of the pixels.
        bits: Bits of a native frame.
        end: The data set's end, or None where unknown: a length is only a claim.
        most: The most frames allowed.

    Raises:
        HeaderError: There are more.
    """
    there = None if end is None else max(0, end - pixels.offset)
    if pixels.length is None:
        # A frame takes at least the 8 bytes of an item's head.
        frames = min(declared or 1, max(1, there // 8) if there is not None else most)
    else:
        bits = bits or pixels.length * 8
        whole = pixels.length * 8 // bits if bits else 1
        length = pixels.length if there is None else min(pixels.length, there)
        if declared:
            # The frame where the data break off counts: it is shown cut off.
            frames = min(declared, max(1, -(-length * 8 // bits) if bits else 1))
        else:
            fits = whole > 1 and (whole * bits + 7) // 8 in (length, length - 1)
            frames = whole if fits else 1
    if frames > most:
        raise HeaderError(f"{frames} frames, more than the limit of {most}")
    return frames
