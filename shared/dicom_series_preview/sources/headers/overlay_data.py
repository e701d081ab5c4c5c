"""The bits of an object's overlay planes, read from its first bytes (PS3.3 C.9.2)."""

from __future__ import annotations

from dicom_series_preview.base.errors import HeaderError
from dicom_series_preview.sources.headers.overlays import OVERLAY_DATA, OVERLAY_GROUPS
from dicom_series_preview.sources.headers.scan import Incomplete, scan
from dicom_series_preview.sources.headers.walk import swapped_words


def overlay_data(data: bytes, size: int) -> dict[int, bytes]:
    """Return the overlay planes' bits by group, packed, the first pixel in the first byte's lowest bit.

    Args:
        data: The object's first bytes, at least up to its pixels.
        size: The object's size in bytes.

    Raises:
        ObjectError: The header contradicts its index.
    """
    scanned = scan(data, size)
    if isinstance(scanned, Incomplete):
        raise HeaderError(f"cut off: {len(data)} bytes, at least {scanned.at_least} are needed")
    planes = {}
    for group in OVERLAY_GROUPS:
        element = scanned.elements.get(group << 16 | OVERLAY_DATA)
        if element is not None:
            # Big endian swaps the bytes of words, but not of an OB (PS3.5 7.3, 8.1.2).
            is_swapped = not element.little and element.vr != "OB"
            planes[group] = swapped_words(element.value) if is_swapped else element.value
    return planes
