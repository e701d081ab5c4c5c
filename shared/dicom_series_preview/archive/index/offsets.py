"""Places of the frames of RT dose and of reconstructed nuclear medicine, from vectors of offsets.

Such objects have one position for all frames and no functional groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.geometry import FARTHEST_MM, normal_of
from dicom_series_preview.sources.headers.elements import Element, all_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.sources.headers.elements import Item

_POSITION, _ORIENTATION = 0x00200032, 0x00200037
_GRID_FRAME_OFFSETS = 0x3004000C
_IMAGE_TYPE, _SPACING_BETWEEN_SLICES, _SLICE_THICKNESS = 0x00080008, 0x00180088, 0x00180050
# Positions closer than this differ only in rounding.
_SAME_MM = 0.01
_SLICE_VECTOR, _DETECTOR_INFORMATION = 0x00540080, 0x00540022


def placed_frames(elements: Item, count: int) -> list[dict[int, Element]]:
    """Return the position and orientation of each frame of such an object.

    Args:
        elements: The object's header.
        count: The number of its frames.

    Returns:
        ImagePositionPatient and ImageOrientationPatient of each frame; none where the header does not place
        them.
    """
    if count < 2:
        return []
    if _GRID_FRAME_OFFSETS in elements:
        return _along(elements, _grid_frame_offsets(elements), count)
    words = all_values(elements.get(_IMAGE_TYPE))
    if len(words) > 2 and words[2] in ("RECON TOMO", "RECON GATED TOMO"):
        detector = elements.get(_DETECTOR_INFORMATION)
        items = detector.value if detector is not None and detector.vr == "SQ" else ()
        source: Item = items[0] if items else elements  # type: ignore[assignment,index]
        return _along(source, _reconstructed_offsets(elements, count), count)
    return []


def unplaced(elements: Item, count: int) -> str:
    """Return a remark on offsets that contradict the header, or an empty text."""
    offsets, position = _numbers(elements, _GRID_FRAME_OFFSETS), _numbers(elements, _POSITION)
    if count < 2 or _GRID_FRAME_OFFSETS not in elements:
        return ""
    if len(offsets) != count:
        return "its GridFrameOffsetVector has not one number for each frame: all frames lie at one place"
    if offsets[0] != 0 and position.size == 3 and abs(offsets[0] - position[2]) > _SAME_MM:
        return "its GridFrameOffsetVector begins neither with 0 nor with the position: its distances are used"
    return ""


def _grid_frame_offsets(elements: Item) -> NDArray[np.float64]:
    """Return RT dose's offsets from its first plane (PS3.3 C.8.8.3.2), which can be written as z instead."""
    offsets, position = _numbers(elements, _GRID_FRAME_OFFSETS), _numbers(elements, _POSITION)
    if not offsets.size or offsets[0] == 0 or position.size != 3:
        return offsets
    if abs(offsets[0] - position[2]) > _SAME_MM:
        # It begins with neither: use only the distances between planes.
        return np.asarray(offsets - offsets[0])
    normal = _normal(_numbers(elements, _ORIENTATION))
    # The standard defines it only for transverse planes.
    return (offsets - offsets[0]) * normal[2] if normal.size and abs(normal[2]) > 0.999 else np.empty(0)


def _reconstructed_offsets(elements: Item, count: int) -> NDArray[np.float64]:
    """Return RECON TOMO's offsets (PS3.3 C.8.4.9, C.8.4.15): evenly spaced slices from the first one on."""
    spacing = _numbers(elements, _SPACING_BETWEEN_SLICES)
    if spacing.size != 1 or not spacing[0]:
        # Reconstructed slices touch each other.
        spacing = _numbers(elements, _SLICE_THICKNESS)
    numbers = _numbers(elements, _SLICE_VECTOR)
    if spacing.size != 1 or not spacing[0]:
        return np.empty(0)
    slices = numbers if numbers.size == count else np.arange(count) + 1.0
    return np.asarray((slices - 1) * spacing[0])


def _along(source: Item, offsets: NDArray[np.float64], count: int) -> list[dict[int, Element]]:
    """Place frames at offsets from a position along the normal of an orientation."""
    position, cosines = _numbers(source, _POSITION), _numbers(source, _ORIENTATION)
    normal = _normal(cosines)
    if len(offsets) != count or position.size != 3 or not normal.size:
        return []
    orientation = Element(_ORIENTATION, "DS", tuple(cosines.tolist()))
    return [
        {_POSITION: Element(_POSITION, "DS", tuple(place)), _ORIENTATION: orientation}
        for place in (position + offsets[:, np.newaxis] * normal).tolist()
    ]


def _normal(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal of an image plane; empty where the cosines span none."""
    normal = normal_of(cosines) if cosines.size == 6 else None
    return np.empty(0) if normal is None else normal


def _numbers(elements: Item, tag: int) -> NDArray[np.float64]:
    """Return all of an element's numbers; none where one is no plausible length."""
    values = all_values(elements.get(tag))
    if not all(isinstance(value, (int, float)) for value in values):
        return np.empty(0)
    numbers = np.array(values, np.float64)
    return numbers if (np.abs(numbers) <= FARTHEST_MM).all() else np.empty(0)
