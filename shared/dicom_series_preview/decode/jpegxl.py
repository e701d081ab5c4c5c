"""JPEG XL (ISO/IEC 18181), lossless, lossy and recompressed JPEG, by imagecodecs' libjxl."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.decode.values import Words
from dicom_series_preview.errors import DecodeError

if TYPE_CHECKING:
    from dicom_series_preview.headers.image import PixelDescription

MODULE = "imagecodecs._jpegxl"
_LOSSLESS = "1.2.840.10008.1.2.4.110"
_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
# ISO/IEC 18181-1 Table D.2: width by height of the ratios 1 to 7.
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIZE_BITS = (9, 13, 18, 30)


def is_installed() -> bool:
    """Whether this installation's imagecodecs has libjxl; it is not imported for that."""
    return find_spec("imagecodecs") is not None and find_spec(MODULE) is not None


def decode_jpegxl(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame; JPEG XL has no sign of its own, and gives three components as RGB."""
    from imagecodecs import jpegxl_decode  # noqa: PLC0415 - 30 ms that only JPEG XL pays

    codestream = bytes(data)
    rows, columns = read_jpegxl_size(codestream)
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
    )


def read_jpegxl_size(codestream: bytes) -> tuple[int, int]:
    """Rows and columns, from the size header that a codestream begins with (ISO/IEC 18181-1 D.2).

    Raises:
        DecodeError: The bytes are no JPEG XL codestream, with or without a container.
    """
    bare = _unpacked(codestream)
    if bare[:2] != _CODESTREAM or len(bare) < 4:
        raise DecodeError("the frame is no JPEG XL codestream")
    bits = _Bits(int.from_bytes(bare[2:12], "little"))
    small = bits.take(1)
    rows = _side(bits, small)
    ratio = bits.take(3)
    if ratio:
        width, height = _RATIOS[ratio - 1]
        return rows, rows * width // height
    return rows, _side(bits, small)


def _unpacked(data: bytes) -> bytes:
    """The beginning of the codestream, out of its container's boxes (ISO/IEC 18181-2 9)."""
    if not data.startswith(_CONTAINER):
        return data[:16]
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
            return data[offset + start : offset + start + 16]
        if kind == b"jxlp":
            return data[offset + start + 4 : offset + start + 20]
        if length < start:
            break
        offset += length
    return b""


@dataclass(slots=True)
class _Bits:
    """A little-endian stream of bits, the lowest first.

    Attributes:
        rest: What has not been taken yet.
    """

    rest: int

    def take(self, count: int) -> int:
        """The next bits."""
        taken = self.rest & ((1 << count) - 1)
        self.rest >>= count
        return taken


def _side(bits: _Bits, small: int) -> int:
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take(_SIZE_BITS[bits.take(2)]) + 1
