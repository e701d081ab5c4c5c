"""Find the pixels of an image that its overlay planes mark (PS3.3 C.9.2, PS3.5 8.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.bits import stored_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.words import Words
    from dicom_series_preview.sources.headers.overlays import OverlayPlane

    Mask = NDArray[np.bool_]


def own_overlay(plane: OverlayPlane, number: int, packed: bytes, pixels: PixelDescription) -> Mask:
    """Return the pixels that one frame of a plane with its own data marks.

    Args:
        plane: The plane.
        number: Number of the plane's frame, from 0; frames have no padding between them (PS3.3 C.9.3).
        packed: OverlayData, the first pixel in the lowest bit of the first byte.
        pixels: The image's layout.

    Returns:
        Shape (rows, columns) of the image; the plane is cropped to it.

    Raises:
        DecodeError: The plane has no size, or the data end before the frame.
    """
    count = plane.rows * plane.columns
    if plane.rows < 1 or plane.columns < 1:
        raise DecodeError("it has no rows or no columns")
    start, end = number * count, (number + 1) * count
    needed = (end + 7) // 8
    if len(packed) < needed:
        raise DecodeError(f"it is cut off: {needed:,} bytes expected, {len(packed):,} found")
    octets = np.frombuffer(packed, np.uint8)[start // 8 : needed]
    bits = np.unpackbits(octets, bitorder="little")[start % 8 : start % 8 + count]
    mask = np.zeros((pixels.rows, pixels.columns), np.bool_)
    rows, from_rows = _common(plane.origin[0] - 1, plane.rows, pixels.rows)
    columns, from_columns = _common(plane.origin[1] - 1, plane.columns, pixels.columns)
    mask[rows, columns] = bits.reshape(plane.rows, plane.columns)[from_rows, from_columns]
    return mask


def _common(start: int, length: int, image_length: int) -> tuple[slice, slice]:
    """Return the overlapping parts of an image and of a plane, on one axis."""
    first, last = max(0, start), max(0, min(image_length, start + length))
    first = min(first, last)
    return slice(first, last), slice(first - start, last - start) if last > first else slice(0)


def embedded_overlay(plane: OverlayPlane, words: Words, pixels: PixelDescription) -> Mask:
    """Return the pixels that a plane among the unused bits of the pixel data marks, each in its own word.

    Args:
        plane: The plane.
        words: The codec's words of the frame.
        pixels: The image's layout.

    Returns:
        Shape (rows, columns) of the image.

    Raises:
        DecodeError: The bit belongs to the image, or the codestream does not keep it.
    """
    position = plane.bit_position or 0
    stored, below = stored_bits(pixels)
    if below <= position < below + stored or not 0 <= position < pixels.bits_allocated:
        raise DecodeError(f"bit {position} of the pixel data is no unused one")
    if words.dtype.kind == "f" or words.samples.ndim != 2:
        raise DecodeError("only pixel data of one whole number a pixel have unused bits")
    if not words.lossless or position >= words.precision:
        raise DecodeError("the pixel data are compressed without their unused bits")
    return np.asarray(words.samples >> position & 1, np.bool_)
