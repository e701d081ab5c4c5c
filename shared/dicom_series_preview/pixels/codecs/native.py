"""Decode native (uncompressed) frames, also deflated or encapsulated ones (PS3.5 8.1.1)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import SHARED_CHROMA
from dicom_series_preview.pixels.codecs.words import Words, shape_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription

Data = bytes | memoryview
_FLOATS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


def decode_little_endian(data: Data, pixels: PixelDescription, bit_offset: int = 0) -> Words:
    """Decode a frame of little endian words."""
    return _decode(data, pixels, bit_offset, "<")


def decode_big_endian(data: Data, pixels: PixelDescription, bit_offset: int = 0) -> Words:
    """Decode a frame of big endian words."""
    return _decode(data, pixels, bit_offset, ">")


def decode_deflated_frame(data: Data, pixels: PixelDescription) -> Words:
    """Decode a frame that is a raw DEFLATE stream (RFC 1951) of little endian words (PS3.5 A.4.11)."""
    length = -(-pixels.rows * pixels.columns * pixels.samples_per_pixel * pixels.bits_allocated // 8)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, length)
    except zlib.error as error:
        raise DecodeError(f"the deflated frame is broken: {error}") from error
    return _decode(inflated, pixels, 0, "<")


def decode_encapsulated(data: Data, pixels: PixelDescription) -> Words:
    """Decode a native little endian frame inside a fragment (PS3.5 A.4.11)."""
    return _decode(data, pixels, 0, "<")


def _decode(data: Data, pixels: PixelDescription, bit_offset: int, order: str) -> Words:
    bits = _sample_bits(pixels)
    data, photometric, samples = _layout(data, pixels)
    count = pixels.rows * pixels.columns * samples
    needed = (bit_offset + count * bits + 7) // 8
    if len(data) < needed:
        raise DecodeError(f"the frame is cut off: {needed:,} bytes expected, {len(data):,} found")
    if pixels.pixel_keyword in _FLOATS:
        flat: NDArray[Any] = np.frombuffer(data, f"{order}f{bits // 8}", count)
        flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    else:
        if pixels.has_swapped_bytes:
            data = _swapped(data)
        flat = (
            _whole_bytes(data, count, bits, bit_offset, order)
            if bits % 8 == 0
            else _packed(data, count, bits, bit_offset)
        )
    if samples == 2:
        shaped = _chroma_to_full_size(flat, pixels)
    else:
        shaped = shape_samples(flat, pixels, by_plane=pixels.planar_configuration == 1)
    return Words(shaped, bits, lossless=True, photometric_interpretation=photometric)


def _sample_bits(pixels: PixelDescription) -> int:
    bits = _FLOATS.get(pixels.pixel_keyword, pixels.bits_allocated)
    if bits not in (1, 8, 12, 16, 32, 64):
        raise DecodeError(f"{bits} bits allocated is not a layout of native pixels")
    return bits


def _layout(data: Data, pixels: PixelDescription) -> tuple[Data, str, int]:
    """Return the data, their interpretation, and samples per pixel: 2 where two pixels share their chroma."""
    photometric = pixels.photometric_interpretation
    if pixels.samples_per_pixel != 3 or photometric not in SHARED_CHROMA:
        return data, photometric, pixels.samples_per_pixel
    full = photometric.removesuffix("_422")
    # Some writers name 4:2:2 after the camera, but store three samples a pixel.
    whole = pixels.rows * pixels.columns * 3 * pixels.bits_allocated // 8
    return data, full, 3 if len(data) >= whole else 2


def _swapped(data: Data) -> Data:
    """Swap the bytes of big endian 16-bit words (PS3.5 A.3); half a word at the end stays."""
    octets = np.frombuffer(data, np.uint8).copy()
    even = len(octets) // 2 * 2
    octets[:even] = octets[:even].view(np.uint16).byteswap().view(np.uint8)
    return octets.data


def _whole_bytes(data: Data, count: int, bits: int, bit_offset: int, order: str) -> NDArray[Any]:
    flat: NDArray[Any] = np.frombuffer(data, f"{order}u{bits // 8}", count, bit_offset // 8)
    return flat.astype(flat.dtype.newbyteorder("="), copy=False)


def _packed(data: Data, count: int, bits: int, bit_offset: int) -> NDArray[Any]:
    """Unpack samples of 1 or 12 bits without padding between them, lowest bit first (PS3.5 8.1.1)."""
    octets = np.frombuffer(data, np.uint8, (bit_offset + count * bits + 7) // 8)
    stream = np.unpackbits(octets, bitorder="little")[bit_offset : bit_offset + count * bits]
    if bits == 1:
        return stream
    words = np.zeros((count, 16), np.uint8)
    words[:, :bits] = stream.reshape(count, bits)
    return (
        np.packbits(words, axis=1, bitorder="little").view("<u2").reshape(count).astype(np.uint16, copy=False)
    )


def _chroma_to_full_size(flat: NDArray[Any], pixels: PixelDescription) -> NDArray[Any]:
    """Expand Y1 Y2 Cb Cr per two pixels to Y Cb Cr per pixel (PS3.3 C.7.6.3.1.2, YBR_FULL_422)."""
    if pixels.columns % 2:
        raise DecodeError("4:2:2 chroma needs an even number of columns")
    groups = flat.reshape(pixels.rows, pixels.columns // 2, 4)
    full = np.empty((pixels.rows, pixels.columns, 3), flat.dtype)
    full[:, 0::2, 0] = groups[:, :, 0]
    full[:, 1::2, 0] = groups[:, :, 1]
    for channel in (1, 2):
        full[:, 0::2, channel] = full[:, 1::2, channel] = groups[:, :, channel + 1]
    return full
