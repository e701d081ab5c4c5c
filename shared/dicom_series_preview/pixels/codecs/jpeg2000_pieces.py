"""Count the pieces of a JPEG 2000 codestream, refuse too many, and check that it is complete.

ISO/IEC 15444-1 A.4 to A.6, B.3 to B.10.

A hundred bytes can demand a million tiles, precincts or code-blocks, and OpenJPEG allocates memory for each
before it reads a single sample; or they can demand packets that keep it busy for hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

EOC = b"\xff\xd9"
"""The marker at the end of a codestream."""
_SOC, _COD, _COC, _SOT, _SOD, _EOC = 0x4F, 0x52, 0x53, 0x90, 0x93, 0xD9
# OpenJPEG 2.5's memory, rounded up: bytes for a tile, its part in a component, a precinct, a code-block.
_TILE_BYTES, _TILE_COMPONENT_BYTES, _PRECINCT_BYTES, _BLOCK_BYTES, _PACKET_BYTES = 6000, 2500, 600, 400, 2
# Every image may take this much, and this many bytes more for each sample, and packets.
_FREE_BYTES, _BYTES_A_SAMPLE = 64 * 2**20, 8
_FREE_PACKETS, _SAMPLES_A_PACKET = 2**18, 64
_LARGEST_PRECINCT = 15


@dataclass(frozen=True, slots=True)
class Area:
    """The size marker (A.5.1).

    Attributes:
        columns: Columns of the image area.
        rows: Rows of the image area.
        components: Number of components.
        tiles: Number of tiles.
        tile_columns: Columns of a whole tile.
        tile_rows: Rows of a whole tile.
    """

    columns: int
    rows: int
    components: int
    tiles: int
    tile_columns: int
    tile_rows: int


@dataclass(frozen=True, slots=True)
class _Style:
    """A COD or COC marker (A.6.1, A.6.2).

    Attributes:
        layers: Number of layers; 1 in a COC, which has none.
        levels: Decomposition levels.
        block: Exponents of a code-block's width and height.
        precincts: Exponents of a precinct's width and height by resolution; empty for the largest.
    """

    layers: int
    levels: int
    block: tuple[int, int]
    precincts: bytes

    @classmethod
    def of(cls, body: bytes, layers: int) -> _Style:
        """Read the parameters that COD and COC share."""
        style = body[0] if body else 0
        parameters = body[1:].ljust(5, b"\0")
        block = (parameters[1] & 15) + 2, (parameters[2] & 15) + 2
        return cls(layers, min(parameters[0], 32), block, body[6:] if style & 1 else b"")

    def pieces(self, area: Area) -> tuple[int, int, int]:
        """Count a tile component's precincts, code-blocks, and precincts at its densest resolution."""
        width, height = min(area.tile_columns, area.columns), min(area.tile_rows, area.rows)
        precincts = blocks = densest = 0
        for resolution in range(self.levels + 1):
            scale = 1 << (self.levels - resolution)
            columns, rows = -(-width // scale), -(-height // scale)
            sizes = self.precincts[resolution : resolution + 1] or self.precincts[-1:]
            across, down = (sizes[0] & 15, sizes[0] >> 4) if sizes else (_LARGEST_PRECINCT,) * 2
            count = _ceil(columns, across) * _ceil(rows, down)
            precincts, densest = precincts + count, max(densest, count)
            # Except for the lowest, a resolution has three bands of half the size.
            halved = int(resolution > 0)
            block_across = max(0, min(self.block[0], across - halved)) + halved
            block_down = max(0, min(self.block[1], down - halved)) + halved
            blocks += _ceil(columns, block_across) * _ceil(rows, block_down) * (3 if halved else 1)
        return precincts, blocks, densest


def check_pieces(codestream: bytes, start: int, area: Area) -> None:
    """Refuse a codestream that would cost far more than its samples.

    Args:
        codestream: The codestream.
        start: Offset of its first marker.
        area: Its size marker.

    Raises:
        DecodeError: The codestream has too many pieces.
    """
    samples = area.columns * area.rows * area.components
    layers = 1
    for style in _styles(codestream, start, area.components):
        layers = max(layers, style.layers)
        precincts, blocks, densest = style.pieces(area)
        pieces = precincts * _PRECINCT_BYTES + blocks * _BLOCK_BYTES
        packets = layers * densest * (style.levels + 1) * _PACKET_BYTES
        tiles = area.tiles * (_TILE_BYTES + _TILE_COMPONENT_BYTES * area.components)
        too_large = tiles + area.components * (pieces + packets) > _FREE_BYTES + _BYTES_A_SAMPLE * samples
        count = layers * precincts * area.components * area.tiles
        if too_large or count > _FREE_PACKETS + samples // _SAMPLES_A_PACKET:
            raise DecodeError("the JPEG 2000 codestream cuts its image into too many pieces")


class Ending(Enum):
    """The end of a codestream.

    Attributes:
        MARKED: With its marker.
        UNMARKED: Without its marker, but after the last tile-part.
        CUT_OFF: Inside a tile-part, or with a tile missing.
    """

    MARKED = auto()
    UNMARKED = auto()
    CUT_OFF = auto()


def ending(codestream: bytes, tiles: int) -> tuple[Ending, int]:
    """Find the end of a codestream: its very end, or where its tile-parts' lengths lead (A.4.2).

    Args:
        codestream: The codestream.
        tiles: The number of its image's tiles.
    """
    if codestream.endswith((EOC, EOC + b"\0")):
        return Ending.MARKED, len(codestream)
    offset, seen = 2, set[bytes]()
    while offset + 12 <= len(codestream) and codestream[offset] == 0xFF:
        if codestream[offset + 1] == _SOT:
            seen.add(codestream[offset + 4 : offset + 6])
            # A length of 0: up to the codestream's end.
            offset += int.from_bytes(codestream[offset + 6 : offset + 10], "big") or len(codestream) - offset
        elif codestream[offset + 1] == _EOC:
            break
        else:
            offset += 2 + max(2, int.from_bytes(codestream[offset + 2 : offset + 4], "big"))
    if codestream.startswith(EOC, offset):
        return Ending.MARKED, offset
    is_whole = offset <= len(codestream) and len(seen) == tiles
    return (Ending.UNMARKED if is_whole else Ending.CUT_OFF), offset


def _styles(codestream: bytes, start: int, components: int) -> Iterator[_Style]:
    for marker, body in _segments(codestream, start):
        if marker == _COD:
            yield _Style.of(body[:1] + body[5:], int.from_bytes(body[2:4], "big"))
        elif marker == _COC:
            yield _Style.of(body[1 if components < 257 else 2 :], 1)


def _segments(codestream: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment, in the main header and in every tile-part's (A.4.2)."""
    offset, tile_end = start, 0
    while offset + 4 <= len(codestream) and codestream[offset] == 0xFF:
        marker = codestream[offset + 1]
        if marker == _SOC:
            offset += 2
        elif marker == _SOD and tile_end > offset:
            offset = tile_end
        elif marker in (_SOD, _EOC):
            return
        else:
            length = int.from_bytes(codestream[offset + 2 : offset + 4], "big")
            body = codestream[offset + 4 : offset + 2 + length]
            if marker == _SOT:
                # A length of 0: up to the codestream's end.
                tile_end = offset + (int.from_bytes(body[2:6], "big") or len(codestream))
            yield marker, body
            offset += 2 + max(length, 2)


def _ceil(length: int, exponent: int) -> int:
    return -(-length // (1 << exponent))
