"""Read a JPEG or JPEG-LS codestream's own description (ISO/IEC 10918-1 B, 14495-1 C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator


_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP14 = 0xE0, 0xEE
# Start of frame: every process but DHT (C4), JPG (C8) and DAC (CC); F7 is JPEG-LS (ISO/IEC 14495-1 C.1.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_LOSSLESS_FRAMES = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """A JPEG or JPEG-LS codestream's own description.

    Attributes:
        frame_marker: The second byte of the start of frame, which names the process.
        lossless: The process is lossless (never true for JPEG-LS, whose scans say it).
        precision: Bits of a sample.
        rows: Number of lines.
        columns: Samples in a line.
        component_ids: Each component's identifier.
        sampling: Each component's sampling factors, the horizontal one in the upper 4 bits.
        jfif: There is a JFIF marker.
        adobe_transform: Colour transform of the Adobe marker: 0 none, 1 YCbCr; -1 without the marker.
        scan_offset: Offset of the first scan's marker.
    """

    frame_marker: int
    lossless: bool
    precision: int
    rows: int
    columns: int
    component_ids: tuple[int, ...]
    sampling: tuple[int, ...]
    jfif: bool
    adobe_transform: int
    scan_offset: int

    @property
    def dimensions(self) -> tuple[int, int, int]:
        """Rows, columns and samples per pixel."""
        return self.rows, self.columns, len(self.component_ids)

    @property
    def subsampled(self) -> bool:
        """True where components have different sampling factors."""
        return len(set(self.sampling)) > 1


def read_jpeg_header(codestream: bytes) -> JpegHeader:
    """Read the markers up to the first scan.

    Raises:
        DecodeError: The bytes are no JPEG codestream, or end before the first scan.
    """
    frame: tuple[int, bytes] | None = None
    jfif, adobe, scan_offset = False, -1, -1
    for marker, offset, body in _markers(codestream):
        if marker in _FRAMES and frame is None:
            frame = marker, body
        elif marker == _APP0:
            jfif = jfif or body[:5] == b"JFIF\0"
        elif marker == _APP14 and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker == _SOS:
            scan_offset = offset
            break
    if scan_offset < 0:
        raise DecodeError("the JPEG codestream ends before its first scan")
    if frame is None or len(frame[1]) < 6 or len(frame[1]) < 6 + 3 * frame[1][5]:
        raise DecodeError("the JPEG codestream has no usable frame header")
    kind, body = frame
    components = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
    return JpegHeader(
        frame_marker=kind,
        lossless=kind in _LOSSLESS_FRAMES,
        precision=body[0],
        rows=int.from_bytes(body[1:3], "big"),
        columns=int.from_bytes(body[3:5], "big"),
        component_ids=tuple(component[0] for component in components),
        sampling=tuple(component[1] for component in components),
        jfif=jfif,
        adobe_transform=adobe,
        scan_offset=scan_offset,
    )


def _markers(codestream: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (marker, offset, body) of each marker segment, up to the first scan's."""
    if codestream[:2] != bytes((0xFF, _SOI)):
        raise DecodeError("the frame is no JPEG codestream")
    offset = 2
    while offset + 4 <= len(codestream):
        if codestream[offset] != 0xFF:
            raise DecodeError("the JPEG codestream is broken before its first scan")
        marker = codestream[offset + 1]
        if marker == 0xFF:  # a fill byte (ISO/IEC 10918-1 B.1.1.2)
            offset += 1
            continue
        if marker in _STANDALONE:
            offset += 2
            continue
        if marker == _EOI:
            return
        length = int.from_bytes(codestream[offset + 2 : offset + 4], "big")
        yield marker, offset, codestream[offset + 4 : offset + 2 + length]
        if length < 2:
            raise DecodeError("the JPEG codestream is broken before its first scan")
        offset += 2 + length
