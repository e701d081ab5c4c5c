"""Decode JPEG (ISO/IEC 10918-1), lossy and lossless, 2 to 16 bits, with imagecodecs' libjpeg-turbo."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.bits import stored_bits
from dicom_series_preview.pixels.codecs.dimensions import check_dimensions
from dicom_series_preview.pixels.codecs.jpeg_header import read_jpeg_header
from dicom_series_preview.pixels.codecs.words import Words, reduced_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.jpeg_header import JpegHeader

# Each can cover all pixels again. Usual progressions have about ten.
_MOST_SCANS = 100
_EOI = 0xD9
_LOSSLESS_HUFFMAN_FRAMES = frozenset((0xC3, 0xC7))
_PROGRESSIVE_FRAME = 0xC2
_BITS_A_BLOCK = {0xC0: 2, 0xC1: 2, _PROGRESSIVE_FRAME: 1}
# Ends entropy-coded data, after any number of fill bytes; restart markers do not (ISO/IEC 10918-1 B.1.1).
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


def decode_jpeg(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame of any Huffman-coded JPEG process, without converting its colours."""
    codestream = bytes(data)
    header = read_jpeg_header(codestream)
    check_dimensions(header.dimensions, pixels)
    _check_scans(codestream, header)
    is_ended = codestream.find(b"\xff\xd9", header.scan_offset) >= 0
    samples = (_decode_ended if is_ended else _decode_unended)(codestream, header)
    photometric = _photometric_interpretation(header, pixels)
    return Words(
        samples,
        header.precision,
        lossless=header.lossless,
        photometric_interpretation=photometric,
        is_described=True,
        is_ended=is_ended,
    )


def decode_jpeg_reduced(data: bytes | memoryview, pixels: PixelDescription, reduction: int) -> Words:
    """Decode an 8-bit frame at 1/2, 1/4 or 1/8, by smaller inverse DCTs; any other frame fully.

    Entropy decoding costs the same, and is most of the work: this saves only what follows, in the codec and
    in our code; for half a grey frame it saves nothing. imagecodecs has no such option, so this uses Pillow's
    libjpeg-turbo.
    """
    codestream = bytes(data)
    header = read_jpeg_header(codestream)
    check_dimensions(header.dimensions, pixels)
    _check_scans(codestream, header)
    mode = "RGB" if len(header.component_ids) == 3 else "L"
    if not _is_reducible(header, pixels) or codestream.find(b"\xff\xd9", header.scan_offset) < 0:
        return decode_jpeg(codestream, pixels)
    rows, columns = reduced_shape(pixels, reduction)[:2]
    # Naming one colour space for both sides is libjpeg's way of not converting; which one does not matter.
    try:
        image = Image.frombytes(mode, (columns, rows), codestream, "jpeg", mode, mode, reduction, 0)
    except (OSError, ValueError):
        return decode_jpeg(codestream, pixels)  # it reports what is wrong
    samples = np.asarray(image)
    if _ends_as_if_cut_off(samples, codestream, header):
        return decode_jpeg(codestream, pixels)  # it reports whether it is
    photometric = _photometric_interpretation(header, pixels)
    return Words(
        samples,
        8,
        lossless=False,
        photometric_interpretation=photometric,
        is_described=True,
        reduction=reduction,
    )


def _is_reducible(header: JpegHeader, pixels: PixelDescription) -> bool:
    """Return True where Pillow decodes it exactly, and a mean of its samples has a meaning.

    Chroma with other sampling factors (4:2:2) is wrong by up to 40 levels when scaled.
    """
    plain = not header.lossless and header.precision == 8 and pixels.pixel_representation == 0
    return (
        plain
        and stored_bits(pixels) == (pixels.high_bit + 1, 0)
        and pixels.bits_stored >= 8
        and (not header.subsampled or header.sampling == (0x22, 0x11, 0x11))
    )


def _check_scans(codestream: bytes, header: JpegHeader) -> None:
    """Refuse more scans than a picture needs, and fewer bits than it has.

    libjpeg invents whatever is missing, and takes all the memory and time for it.
    """
    if codestream.count(b"\xff\xda", header.scan_offset) > _MOST_SCANS:
        raise DecodeError(f"the JPEG codestream has more than {_MOST_SCANS} scans")
    if 8 * (len(codestream) - header.scan_offset) < _least_bits(header):
        raise DecodeError("the JPEG codestream is cut off")


def _least_bits(header: JpegHeader) -> int:
    """Return the fewest bits that a picture's scans can have.

    A code has at least one bit: one per sample of a lossless frame, two (DC and end of block) per 8 x 8 block
    of a sequential one, one for a progressive one. Arithmetic coding takes even less.
    """
    if header.frame_marker in _LOSSLESS_HUFFMAN_FRAMES:
        return header.rows * header.columns
    blocks = -(-header.rows // 8) * -(-header.columns // 8)
    return blocks * _BITS_A_BLOCK.get(header.frame_marker, 0)


def _decode(codestream: bytes, components: int) -> NDArray[Any]:
    from imagecodecs import Jpeg8Error, jpeg8_decode  # noqa: PLC0415 - 9 ms that only JPEG pays

    # Naming one colour space for both sides is libjpeg's way of not converting; which one does not matter.
    space = "RGB" if components == 3 else None
    try:
        samples = jpeg8_decode(codestream, colorspace=space, outcolorspace=space)
    except (Jpeg8Error, ValueError) as error:
        raise DecodeError(f"the JPEG codestream is broken: {error}") from error
    return np.asarray(samples)


def _decode_ended(codestream: bytes, header: JpegHeader) -> NDArray[Any]:
    """Decode a codestream that has its end-of-image marker, but can still be cut off before it.

    libjpeg does not report missing data. No decoder reads the bytes between the last pixel's code and the
    marker; so if inserting bytes there changes the picture, pixels were missing. Pixels missing only from the
    last block, or from the last row of a lossless picture, can go unnoticed.
    """
    components = len(header.component_ids)
    samples = _decode(codestream, components)
    if _ends_as_if_cut_off(samples, codestream, header):
        end = _end_of_scans(codestream, header)
        filled = _decode(codestream[:end] + b"\xaa" * 64 + codestream[end:], components)
        if not np.array_equal(samples, filled):
            raise DecodeError("the JPEG codestream is cut off")
    return samples


def _ends_as_if_cut_off(samples: NDArray[Any], codestream: bytes, header: JpegHeader) -> bool:
    """Return True where the last sample is libjpeg's value for a missing one: the middle of the range.

    A scan of all components misses all of them; if each has its own scan, one alone can be missing. In a
    progressive frame (retired) the samples show nothing: with a scan less it is only less sharp.
    """
    if header.frame_marker == _PROGRESSIVE_FRAME:
        return True
    in_first_scan = codestream[header.scan_offset + 4 : header.scan_offset + 5]
    is_middle = samples[-1, -1] == 1 << (header.precision - 1)
    is_one_scan = in_first_scan == bytes((len(header.component_ids),))
    return bool(is_middle.all() if is_one_scan else is_middle.any())


def _end_of_scans(codestream: bytes, header: JpegHeader) -> int:
    """Return the offset where the last scan's entropy-coded data end."""
    offset = header.scan_offset
    while found := _END_OF_SCAN.search(codestream, offset):
        if codestream[found.end() - 1] == _EOI:
            return found.start()
        offset = found.end() + int.from_bytes(codestream[found.end() : found.end() + 2], "big")
    return len(codestream)


def _decode_unended(codestream: bytes, header: JpegHeader) -> NDArray[Any]:
    """Decode a codestream without its end-of-image marker.

    Some writers forget the marker, other streams are cut off. libjpeg silently fills in whatever is missing;
    appending two different fillers and comparing shows whether all pixels came from the file.
    """
    components = len(header.component_ids)
    zeros = _decode(codestream + b"\x00" * 64 + b"\xff\xd9", components)
    ones = _decode(codestream + b"\xaa" * 64 + b"\xff\xd9", components)
    if not np.array_equal(zeros, ones):
        raise DecodeError("the JPEG codestream is cut off")
    return zeros


def _photometric_interpretation(header: JpegHeader, pixels: PixelDescription) -> str:
    """Name what the three components are: markers override the header (like libjpeg's jdapimin.c).

    A lossless codestream's JFIF marker proves nothing: common DICOM encoders write one around RGB.
    """
    declared = pixels.photometric_interpretation
    if len(header.component_ids) != 3:
        return declared
    if header.subsampled or (header.jfif and not header.lossless) or header.adobe_transform == 1:
        return "YBR_PARTIAL" if declared.startswith("YBR_PARTIAL") else "YBR_FULL"
    if header.adobe_transform == 0 or bytes(header.component_ids) == b"RGB":
        return "RGB"
    return "YBR_FULL" if declared.startswith("YBR") else "RGB"
