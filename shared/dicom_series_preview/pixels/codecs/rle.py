"""Decode RLE Lossless (PS3.5 Annex G); pylibjpeg-rle expands its segments."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription

_HEADER_BYTES = 64
_ALWAYS_EXPANDED_BYTES = 64 * 2**20


def decode_rle(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame of byte planes, most significant first, sample by sample."""
    samples, bits = pixels.samples_per_pixel, pixels.bits_allocated
    if bits not in (1, 8, 16, 32, 64):
        raise DecodeError(f"{bits} bits allocated is not a layout of RLE pixels")
    width = (bits + 7) // 8
    planes = list(_segments(bytes(data), pixels.rows * pixels.columns))
    if len(planes) != samples * width:
        raise DecodeError(f"the RLE frame has {len(planes)} segments, {samples * width} are expected")
    count = pixels.rows * pixels.columns
    octets = np.empty((count, samples, width), np.uint8)
    for number, segment in enumerate(planes):
        sample, significance = divmod(number, width)
        octets[:, sample, width - 1 - significance] = _plane(segment, count, bits)
    # The bytes lie least significant first.
    words = octets.reshape(-1).view(f"<u{width}").astype(f"=u{width}", copy=False)
    shape = (pixels.rows, pixels.columns) if samples == 1 else (pixels.rows, pixels.columns, samples)
    return Words(
        words.reshape(shape),
        bits,
        lossless=True,
        photometric_interpretation=pixels.photometric_interpretation,
    )


def _segments(data: bytes, count: int) -> Iterator[bytes]:
    """Yield each segment expanded, by the header's offsets (PS3.5 G.5); `count` is the number of pixels."""
    from rle import rle  # noqa: PLC0415 - 20 ms that only RLE pays

    if len(data) < _HEADER_BYTES:
        raise DecodeError(f"the RLE header is cut off: {_HEADER_BYTES} bytes expected, {len(data)} found")
    header = np.frombuffer(data, "<u4", 16).tolist()
    number = header[0]
    offsets = [*header[1 : number + 1], len(data)]
    if not 1 <= number <= 15 or offsets[0] < _HEADER_BYTES or any(a >= b for a, b in pairwise(offsets)):
        raise DecodeError("the RLE header's segment offsets are broken")
    for start, end in pairwise(offsets):
        try:
            segment = data[start:end]
            _check_expansion(segment, max(2 * count, _ALWAYS_EXPANDED_BYTES))
            yield rle.decode_segment(segment)
        except ValueError as error:
            raise DecodeError(f"an RLE segment is broken: {error}") from error


def _check_expansion(segment: bytes, most: int) -> None:
    """Refuse a segment that expands to far more than its pixels: two bytes can stand for 128."""
    if len(segment) * 64 <= most:
        return
    expanded = at = 0
    while at < len(segment):
        head = segment[at]
        literal = head < 128
        expanded += head + 1 if literal else (257 - head) % 129
        if expanded > most:
            raise DecodeError(f"an RLE segment expands to more than {most:,} bytes")
        at += head + 2 if literal else 1 + (head > 128)


def _plane(segment: bytes, count: int, bits: int) -> NDArray[Any]:
    """Return a segment's first `count` bytes; some writers pad it beyond the last pixel."""
    octets = np.frombuffer(segment, np.uint8)
    if len(octets) >= count:
        return octets[:count] & 1 if bits == 1 else octets[:count]
    if bits == 1 and len(octets) * 8 >= count:
        return np.unpackbits(octets, count=count, bitorder="little")
    raise DecodeError(f"an RLE segment is cut off: {count:,} bytes expected, {len(octets):,} found")
