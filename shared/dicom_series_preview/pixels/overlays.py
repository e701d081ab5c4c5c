"""Read the overlay planes of a slice from its frame's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.errors import ObjectError
from dicom_series_preview.pixels.codecs.frame import decode_words
from dicom_series_preview.pixels.codecs.overlays import embedded_overlay, own_overlay
from dicom_series_preview.pixels.slices import Overlay

if TYPE_CHECKING:
    from dicom_series_preview.pixels.codecs.words import Words
    from dicom_series_preview.pixels.slices import FrameBytes


def overlay_of(frame: FrameBytes, limit_bytes: int) -> Overlay:
    """Read a slice's overlay planes, without those that cannot be read.

    Args:
        frame: The slice's bytes, with its object's header if planes lie there.
        limit_bytes: The largest frame, in decoded bytes.
    """
    item = frame.slice
    if not item.overlays:
        return Overlay()
    marked = np.zeros((item.pixels.rows, item.pixels.columns), np.bool_)
    warnings = []
    packed: dict[int, bytes] | None = None
    words: Words | None = None
    for plane in item.overlays:
        number = plane.frame_for(item.frame_number)
        if number is None:
            continue
        try:
            if plane.bit_position is None:
                packed = packed or _packed(frame)
                marked |= own_overlay(plane, number, packed.get(plane.group, b""), item.pixels)
            else:
                words = words or decode_words(
                    frame.data, item.pixels, bit_offset=frame.bit_offset, limit_bytes=limit_bytes
                )
                marked |= embedded_overlay(plane, words, item.pixels)
        except ObjectError as error:
            warnings.append(f"{item.file_name}: overlay {plane.group:04X} is left out: {error.reason}")
    return Overlay(np.packbits(marked) if marked.any() else None, tuple(warnings))


def _packed(frame: FrameBytes) -> dict[int, bytes]:
    """Read the planes that lie in the object's header, by their groups."""
    from dicom_series_preview.sources.headers.overlay_data import overlay_data  # noqa: PLC0415 - loads what reads headers

    return overlay_data(frame.header, frame.slice.object_size)
