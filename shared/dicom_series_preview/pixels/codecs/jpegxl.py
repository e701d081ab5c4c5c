"""Decode JPEG XL (ISO/IEC 18181), lossless, lossy and recompressed JPEG, with imagecodecs' libjxl."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_series_preview.base.image import PixelDescription

MODULE = "imagecodecs._jpegxl"
_LOSSLESS = "1.2.840.10008.1.2.4.110"
_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
# ISO/IEC 18181-1 Table D.2: width by height of the ratios 1 to 7.
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
# Variable-length numbers: two bits choose an offset and the number of bits to add to it (B.2.2).
_U32: TypeAlias = "tuple[tuple[int, int], ...]"
_SIDE: _U32 = ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW_SIDE: _U32 = ((1, 6), (65, 8), (321, 10), (1345, 12))
_PREVIEW_EIGHTHS: _U32 = ((16, 0), (32, 0), (1, 5), (33, 9))
_ANIMATION: tuple[_U32, ...] = (
    ((100, 0), (1000, 0), (1, 10), (1, 30)),
    ((1, 0), (1001, 0), (1, 8), (1, 10)),
    ((0, 0), (0, 3), (0, 16), (0, 32)),
)
_INTEGER_BITS: _U32 = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS: _U32 = ((32, 0), (16, 0), (24, 0), (1, 6))
_EXTRA_CHANNELS: _U32 = ((0, 0), (1, 0), (2, 4), (1, 12))
# More than the size and the image metadata take.
_HEADER_BYTES = 64


def is_installed() -> bool:
    """Return True where this installation's imagecodecs has libjxl, without importing it."""
    return find_spec("imagecodecs") is not None and find_spec(MODULE) is not None


def decode_jpegxl(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame; JPEG XL has no sign, and returns three components as RGB."""
    from imagecodecs import jpegxl_decode  # noqa: PLC0415 - 30 ms that only JPEG XL pays

    codestream = bytes(data)
    rows, columns, extra_channels = read_jpegxl_header(codestream)
    if extra_channels:
        raise DecodeError(f"the JPEG XL codestream has {extra_channels} extra channels")
    if (rows, columns) != (pixels.rows, pixels.columns):
        raise DecodeError(
            f"the codestream is {rows} x {columns}, the header says {pixels.rows} x {pixels.columns}"
        )
    try:
        samples = np.asarray(jpegxl_decode(codestream, 0, numthreads=1))
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"the JPEG XL codestream is broken: {error}") from error
    if samples.dtype.kind != "u":
        raise DecodeError("the JPEG XL codestream holds floating point samples")
    return Words(
        samples,
        samples.dtype.itemsize * 8,
        lossless=pixels.transfer_syntax_uid == _LOSSLESS,
        photometric_interpretation="RGB" if samples.ndim == 3 else pixels.photometric_interpretation,
        is_described=True,
    )


def read_jpegxl_header(codestream: bytes) -> tuple[int, int, int]:
    """Read rows, columns and extra channels from a codestream's start (ISO/IEC 18181-1 D.2, D.3).

    A codestream can have 4096 extra channels, and decoding each takes as much memory as the image.

    Raises:
        DecodeError: The bytes are no JPEG XL codestream, with or without a container.
    """
    bare = _unpacked(codestream)
    if bare[:2] != _CODESTREAM or len(bare) < 4:
        raise DecodeError("the frame is no JPEG XL codestream")
    bits = _Bits(int.from_bytes(bare[2:_HEADER_BYTES], "little"))
    return *_size(bits), _extra_channels(bits)


def _unpacked(data: bytes) -> bytes:
    """Return the start of the codestream from its container's boxes (ISO/IEC 18181-2 9)."""
    if not data.startswith(_CONTAINER):
        return data[:_HEADER_BYTES]
    offset = 0
    while offset + 8 <= len(data):
        length, kind, start = (
            int.from_bytes(data[offset : offset + 4], "big"),
            data[offset + 4 : offset + 8],
            8,
        )
        if length == 1:
            length, start = int.from_bytes(data[offset + 8 : offset + 16], "big"), 16
        if kind == b"jxlc":
            return data[offset + start : offset + start + _HEADER_BYTES]
        if kind == b"jxlp":
            return data[offset + start + 4 : offset + start + 4 + _HEADER_BYTES]
        if length < start:
            break
        offset += length
    return b""


@dataclass(slots=True)
class _Bits:
    """A little-endian stream of bits, the lowest first.

    Attributes:
        rest: The bits not yet read.
    """

    rest: int

    def take(self, count: int) -> int:
        """Read the next bits."""
        taken = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return taken

    def number(self, choices: _U32) -> int:
        """Read the next variable-length number."""
        base, count = choices[self.take(2)]
        return base + self.take(count)


def _size(bits: _Bits) -> tuple[int, int]:
    """Read a size header: rows and columns."""
    small = bits.take(1)
    return _sides(bits, lambda: (bits.take(5) + 1) * 8 if small else bits.number(_SIDE))


def _sides(bits: _Bits, side: Callable[[], int]) -> tuple[int, int]:
    rows = side()
    ratio = bits.take(3)
    width, height = _RATIOS[ratio - 1]
    return rows, rows * width // height if ratio else side()


def _extra_channels(bits: _Bits) -> int:
    """Count the channels beyond grey or colour, in the image metadata after the size."""
    all_default = bits.take(1)
    if all_default:
        return 0
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):  # intrinsic size
            _size(bits)
        if bits.take(1):  # preview
            eighths = bits.take(1)
            _sides(bits, lambda: bits.number(_PREVIEW_EIGHTHS if eighths else _PREVIEW_SIDE))
        if bits.take(1):  # animation
            for choices in _ANIMATION:
                bits.number(choices)
            bits.take(1)
    is_float = bits.take(1)
    bits.number(_FLOAT_BITS if is_float else _INTEGER_BITS)
    if is_float:
        bits.take(4)  # exponent
    bits.take(1)  # 16-bit buffers are enough
    return bits.number(_EXTRA_CHANNELS)
