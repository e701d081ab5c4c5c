"""Read a JPEG 2000 codestream's own description (ISO/IEC 15444-1 A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.jpeg2000_pieces import Area, check_pieces

_SOC_SIZ = b"\xff\x4f\xff\x51"
_COD, _SOT = 0x52, 0x90
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True, slots=True)
class Jpeg2000Header:
    """A codestream's own description (ISO/IEC 15444-1 A.5.1 SIZ, A.6.1 COD).

    Attributes:
        rows: Rows of the image area.
        columns: Columns of the image area.
        components: Number of components.
        precision: Bits of a sample, the largest of the components.
        signed: Samples are signed.
        multiple_component_transform: RCT or ICT was used; decoders undo it and return RGB.
        plain: Image and tiles begin at the origin, and all components are alike and as large as the image.
        tiles: Number of tiles.
        tile_sides: Height and width of a tile; the image's if there is only one.
        reductions: The number of decomposition levels: the resolution can be halved as often.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool
    multiple_component_transform: bool
    plain: bool
    tiles: int
    tile_sides: tuple[int, int]
    reductions: int

    @property
    def dimensions(self) -> tuple[int, int, int]:
        """Rows, columns and samples per pixel."""
        return self.rows, self.columns, self.components


def without_file(data: bytes) -> bytes:
    """Return a JP2 file's codestream alone; DICOM forbids the file around it.

    The DICOM header gives the samples their meaning. A decoder that sees the file's palette returns three
    samples for one, and pylibjpeg-openjpeg writes them beyond the end of its memory.
    """
    return data[max(_start(data), 0) :]


def _start(data: bytes) -> int:
    """Return the offset of a codestream, in a JP2 file or alone; -1 for a file without one."""
    return data.find(_SOC_SIZ) if data[:8] == _JP2_SIGNATURE else 0


def read_jpeg2000_header(codestream: bytes) -> Jpeg2000Header:
    """Read the main header; skip a JP2 file around the codestream, which DICOM forbids.

    Raises:
        DecodeError: The bytes are no JPEG 2000 codestream, or one with too many pieces.
    """
    start = _start(codestream)
    if start < 0 or codestream[start : start + 4] != _SOC_SIZ or len(codestream) < start + 45:
        raise DecodeError("the frame is no JPEG 2000 codestream")
    right, bottom, left, top = np.frombuffer(codestream, ">u4", 4, start + 8).tolist()
    components = int.from_bytes(codestream[start + 40 : start + 42], "big")
    sizes = codestream[start + 42 : start + 42 + 3 * components]
    depths, steps = sizes[::3], sizes[1::3] + sizes[2::3]
    tile_width, tile_height, tile_left, tile_top = np.frombuffer(codestream, ">u4", 4, start + 24).tolist()
    if not depths or right <= left or bottom <= top or not tile_width or not tile_height:
        raise DecodeError("the JPEG 2000 codestream has no usable size marker")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    area = Area(right - left, bottom - top, components, tiles, tile_width, tile_height)
    check_pieces(codestream, start, area)
    components_alike = len(set(depths)) == 1 and set(steps) == {1}
    has_transform, levels = _coding_style(codestream, start + 2)
    # Ssiz: the highest bit is the sign, the others are the depth minus one.
    return Jpeg2000Header(
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=max(depth & 0x7F for depth in depths) + 1,
        signed=bool(depths[0] & 0x80),
        multiple_component_transform=has_transform,
        plain=components_alike and not (start or left or top or tile_left or tile_top),
        tiles=tiles,
        tile_sides=(tile_height, tile_width),
        reductions=levels,
    )


def _coding_style(codestream: bytes, offset: int) -> tuple[bool, int]:
    """Walk the main header's markers to COD; return whether components are transformed, and the levels."""
    while offset + 4 <= len(codestream) and codestream[offset] == 0xFF:
        marker = codestream[offset + 1]
        if marker == _COD and offset + 10 <= len(codestream):
            return codestream[offset + 8] == 1, min(codestream[offset + 9], 32)
        if marker == _SOT:
            break
        offset += 2 + int.from_bytes(codestream[offset + 2 : offset + 4], "big")
    return False, 0
