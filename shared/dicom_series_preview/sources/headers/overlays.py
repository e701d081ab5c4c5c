"""Overlay planes, as an object's header describes them (PS3.3 C.9.2, C.9.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.sources.headers.elements import Bulk, Element, all_values

if TYPE_CHECKING:
    from collections.abc import Mapping

OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _ORIGIN, _FIRST_FRAME = 0x0010, 0x0011, 0x0015, 0x0050, 0x0051
_BITS_ALLOCATED, _BIT_POSITION, OVERLAY_DATA = 0x0100, 0x0102, 0x3000


@dataclass(frozen=True, slots=True)
class OverlayPlane:
    """One overlay plane of an object, shown whatever its type, subtype and activation layer.

    Attributes:
        group: 0x6000, 0x6002 .. 0x601E.
        rows: OverlayRows (60xx,0010); 0 where absent.
        columns: OverlayColumns (60xx,0011); 0 where absent.
        origin: OverlayOrigin (60xx,0050): row and column of the image under its first bit, from 1. They can
            be less, or beyond the image.
        bit_position: OverlayBitPosition (60xx,0102) where the plane lies among the unused bits of the pixel
            data (PS3.5 8.1.2, retired); None where it has OverlayData (60xx,3000).
        frames: NumberOfFramesInOverlay (60xx,0015); None where absent: the plane applies to every frame.
        first_frame: ImageFrameOrigin (60xx,0051): the image's frame under its first frame, from 1.
    """

    group: int
    rows: int
    columns: int
    origin: tuple[int, int] = (1, 1)
    bit_position: int | None = None
    frames: int | None = None
    first_frame: int = 1

    def frame_for(self, frame_number: int) -> int | None:
        """Return the number, from 0, of the plane's frame for an image's frame, from 1; None without one."""
        if self.frames is None:
            return 0
        number = frame_number - self.first_frame
        return number if 0 <= number < self.frames else None


def is_overlay_tag(tag: int) -> bool:
    """Return True where an element belongs to an overlay plane."""
    return tag >> 16 in OVERLAY_GROUPS


def is_overlay_bit_position(tag: int) -> bool:
    """Return True where an element says in which bits of the pixel data an overlay plane lies."""
    return is_overlay_tag(tag) and tag & 0xFFFF == _BIT_POSITION


def overlay_planes(elements: Mapping[int, Element]) -> tuple[OverlayPlane, ...]:
    """Return the overlay planes of an object, by group.

    A group with neither data nor bits in the pixel data is none: many writers leave such templates.

    Args:
        elements: Its header; for OverlayData (60xx,3000) the size is enough.
    """
    planes = (_plane(elements, group) for group in OVERLAY_GROUPS)
    return tuple(plane for plane in planes if plane is not None)


def _plane(elements: Mapping[int, Element], group: int) -> OverlayPlane | None:
    def number(element: int, default: int) -> int:
        found = elements.get(group << 16 | element)
        value = None if found is None else found.first
        return value if isinstance(value, int) else default

    data, origin = elements.get(group << 16 | OVERLAY_DATA), elements.get(group << 16 | _ORIGIN)
    has_data = data is not None and isinstance(data.value, Bulk) and data.value.size > 0
    if not has_data and number(_BITS_ALLOCATED, 1) <= 1:
        return None
    start = all_values(origin)
    row, column = start if len(start) == 2 else (1, 1)
    frames = number(_FRAMES, 0)
    return OverlayPlane(
        group,
        number(_ROWS, 0),
        number(_COLUMNS, 0),
        origin=(row, column) if isinstance(row, int) and isinstance(column, int) else (1, 1),
        bit_position=None if has_data else number(_BIT_POSITION, 0),
        # Planes among the pixels' bits are in each frame, whatever the header says.
        frames=frames if has_data and frames > 0 else None,
        first_frame=max(1, number(_FIRST_FRAME, 1)),
    )
