"""Extract the frames of slices from a whole object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import DecodeError, HeaderError, counted
from dicom_series_preview.pixels.extract import encapsulated_frame
from dicom_series_preview.pixels.slices import FrameBytes
from dicom_series_preview.sources.headers.locations import locate_frames
from dicom_series_preview.sources.headers.scan import Incomplete, data_set_of, scan
from dicom_series_preview.sources.headers.transfer_syntaxes import NATIVE_TRANSFER_SYNTAXES

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.slices import Slice
    from dicom_series_preview.base.settings import Limits
    from dicom_series_preview.sources.headers.locations import FrameLocation
    from dicom_series_preview.sources.headers.pixel_element import PixelElement
    from dicom_series_preview.sources.headers.scan import Scan


@dataclass(slots=True)
class WholeObject:
    """A whole object to extract frames from: deflated, or encapsulated without a true offset table.

    Attributes:
        data: The object.
        limits: The longest frame, and the most bytes of an inflated object.
        scanned: Its header, once read.
        locations: The places of its encapsulated frames, once one was requested.
        declared: The number of frames in its header.
    """

    data: bytes
    limits: Limits
    scanned: Scan | None = None
    locations: tuple[FrameLocation, ...] = ()
    declared: int = 0

    def frame(self, item: Slice) -> FrameBytes:
        """Return one of its frames.

        Raises:
            ObjectError: The frame is missing.
        """
        pixels, scanned = self._pixels()
        if pixels.length is not None:
            if item.pixels.transfer_syntax_uid not in NATIVE_TRANSFER_SYNTAXES:
                raise DecodeError("broken: its pixels are not encapsulated as its transfer syntax says")
            start, end, bit_offset = item.pixels.native_layout(pixels.length).span(item.frame_number - 1)
            start, end = pixels.offset + start, pixels.offset + min(end, start + self.limits.frame_bytes)
            part = data_set_of(self.data, start, end) if scanned.deflated else self.data[start:end]
            return FrameBytes(item, part, bit_offset)
        if not self.locations:
            self.locations = locate_frames(self.data, pixels, item.pixels.number_of_frames)
            self.declared = item.pixels.number_of_frames
        there, declared, remarks = len(self.locations), item.pixels.number_of_frames, tuple[str, ...]()
        if item.frame_number > there:
            raise HeaderError(f"broken: it holds {counted(there, 'image')} and declares {declared} frames")
        if there != declared:
            remarks = (f"it holds {counted(there, 'image')} and declares {counted(declared, 'frame')}",)
        location = self.locations[item.frame_number - 1]
        end = location.offset + location.length
        if end > len(self.data):
            raise HeaderError("cut off: the object ends inside the frame")
        frame = encapsulated_frame(item, self.data[location.offset : end], one_of_many=False, remarks=remarks)
        if frame.slice.pixels.transfer_syntax_uid in NATIVE_TRANSFER_SYNTAXES:
            raise DecodeError(
                "broken: its pixels are encapsulated, and its transfer syntax says that they are not"
            )
        return frame

    @property
    def is_located(self) -> bool:
        """True where each frame can be fetched alone: all are located, and none is cut off."""
        if not self.locations or len(self.locations) != self.declared:
            return False
        last = self.locations[-1]
        return last.offset + last.length <= len(self.data)

    def _pixels(self) -> tuple[PixelElement, Scan]:
        scanned = self.scanned or scan(self.data, len(self.data), self.limits)
        if isinstance(scanned, Incomplete) or scanned.pixels is None:
            raise DecodeError("the object has no pixels any more")
        self.scanned = scanned
        return scanned.pixels, scanned
