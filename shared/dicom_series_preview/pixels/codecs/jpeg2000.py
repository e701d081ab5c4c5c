"""Decode JPEG 2000 (ISO/IEC 15444-1) and High-Throughput JPEG 2000 (15444-15), with OpenJPEG.

imagecodecs decodes grey frames, and lets other threads run meanwhile. pylibjpeg-openjpeg, which does not,
decodes colour and unusual frames: the two differ there.

Pillow, with the same OpenJPEG, decodes at reduced resolution: pylibjpeg-openjpeg has no such option, and
imagecodecs' `htj2k_decode(skipres=)`, though faster, lets overshooting values wrap round.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageFile

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.bits import container_bits, stored_bits
from dicom_series_preview.pixels.codecs.dimensions import check_dimensions
from dicom_series_preview.pixels.codecs.jpeg2000_header import read_jpeg2000_header, without_file
from dicom_series_preview.pixels.codecs.jpeg2000_pieces import EOC, Ending, ending
from dicom_series_preview.pixels.codecs.words import Words, reduced_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.jpeg2000_header import Jpeg2000Header

_LOSSLESS = frozenset(
    ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202")
)


def decode_jpeg2000(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame with the sign and precision of its codestream (PS3.5 8.2.4)."""
    codestream = without_file(bytes(data))
    header = read_jpeg2000_header(codestream)
    check_dimensions(header.dimensions, pixels)
    end, behind = ending(codestream, header.tiles)
    is_plain_grey = header.plain and header.components == 1 and header.precision <= 16
    # The decoders refuse a stream without its end marker, even if nothing else is missing.
    complete = codestream[:behind] + EOC if end is Ending.UNMARKED else codestream
    try:
        samples = _decode_plain(complete) if is_plain_grey else _decode_any(complete, header)
    except DecodeError as error:
        if end is Ending.CUT_OFF:
            raise DecodeError("the JPEG 2000 codestream is cut off") from error
        raise
    return Words(
        samples,
        header.precision,
        lossless=pixels.transfer_syntax_uid in _LOSSLESS,
        photometric_interpretation=_photometric_interpretation(header, pixels),
        is_described=True,
        is_ended=end is Ending.MARKED,
    )


def _decode_plain(codestream: bytes) -> NDArray[Any]:
    from imagecodecs import jpeg2k_decode  # noqa: PLC0415 - 9 ms that only JPEG 2000 pays

    try:
        return np.asarray(jpeg2k_decode(codestream))
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"the JPEG 2000 codestream is broken: {error}") from error


def _decode_any(codestream: bytes, header: Jpeg2000Header) -> NDArray[Any]:
    from openjpeg.utils import decode_pixel_data  # noqa: PLC0415 - 24 ms that only such frames pay

    try:
        buffer = decode_pixel_data(codestream, version=2)
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"the JPEG 2000 codestream is broken: {error}") from error
    dtype = np.dtype(f"{'i' if header.signed else 'u'}{container_bits(header.precision) // 8}").newbyteorder(
        "<"
    )
    shape = (header.rows, header.columns, header.components)[: 2 if header.components == 1 else 3]
    if len(buffer) != int(np.prod(shape)) * dtype.itemsize:
        raise DecodeError("the JPEG 2000 decoder gave another number of samples than the codestream declares")
    samples: NDArray[Any] = np.frombuffer(buffer, dtype).reshape(shape)
    return samples.astype(dtype.newbyteorder("="), copy=False)


def decode_jpeg2000_reduced(data: bytes | memoryview, pixels: PixelDescription, reduction: int) -> Words:
    """Decode only the lower resolution levels of a frame; fully, where they are no means of stored values.

    A sample is the low-pass of the pixels around the pixel at its row and column times the reduction, not
    around the middle of a block: the frame begins half a pixel before its first sample (ISO/IEC 15444-1 F.3).
    """
    codestream = without_file(bytes(data))
    header = read_jpeg2000_header(codestream)
    check_dimensions(header.dimensions, pixels)
    reduction = min(reduction, 1 << header.reductions)
    if (
        not _is_reducible(header, pixels, reduction)
        or ending(codestream, header.tiles)[0] is not Ending.MARKED
    ):
        return decode_jpeg2000(codestream, pixels)
    try:
        samples = _decode_levels(codestream, header, reduced_shape(pixels, reduction), reduction)
    except (OSError, ValueError):
        return decode_jpeg2000(codestream, pixels)  # it reports what is wrong
    return Words(
        samples,
        header.precision,
        lossless=False,
        photometric_interpretation=_photometric_interpretation(header, pixels),
        is_described=True,
        reduction=reduction,
        offset=(1 - 1 / reduction) / 2,
    )


def _is_reducible(header: Jpeg2000Header, pixels: PixelDescription, reduction: int) -> bool:
    """Return True where Pillow decodes it exactly, and a mean of its samples has a meaning.

    It has none where bits above HighBit can be overlays, or where the header contradicts the sign.
    """
    stored, below = stored_bits(pixels)
    most = 16 if header.components == 1 else 8
    return (
        reduction > 1
        and header.plain
        and header.precision <= min(most, stored, pixels.bits_allocated)
        and not below
        and header.signed == (pixels.pixel_representation == 1)
        and all(
            tile >= side or tile % reduction == 0
            for tile, side in zip(header.tile_sides, (header.rows, header.columns), strict=True)
        )
    )


class _LevelsImage(ImageFile.ImageFile):
    """Pillow's decoder with our own size and mode.

    Pillow's plugin rounds the reduced size to the nearest, fails on odd sizes, and warns of large images.
    """

    format = "JPEG2000"

    def __init__(self, codestream: bytes, mode: str, shape: tuple[int, ...], levels: int) -> None:
        self._wanted = mode, (shape[1], shape[0]), levels, len(codestream)
        super().__init__(BytesIO(codestream))

    def _open(self) -> None:
        self._mode, self._size, levels, length = self._wanted
        parameters = ("j2k", levels, 0, -1, length)
        self.tile = [ImageFile._Tile("jpeg2k", (0, 0, *self._size), 0, parameters)]  # noqa: SLF001 - as plugins do


def _decode_levels(
    codestream: bytes, header: Jpeg2000Header, shape: tuple[int, ...], reduction: int
) -> NDArray[Any]:
    """Return the samples with the sign and precision of the codestream.

    Raises:
        OSError: Pillow cannot decode it.
        ValueError: See OSError.
    """
    mode, bits = ("I;16", 16) if header.components == 1 else ("RGB", 8)
    with _LevelsImage(codestream, mode, shape, reduction.bit_length() - 1) as image:
        # Pillow shifts signed values up by half their range, and all values to the top of its words.
        words = np.asarray(image) >> (bits - header.precision)
    kind = f"{'i' if header.signed else 'u'}{container_bits(header.precision) // 8}"
    if not header.signed:
        return words.astype(kind)
    return (words.astype(np.int32) - (1 << header.precision - 1)).astype(kind)


def _photometric_interpretation(header: Jpeg2000Header, pixels: PixelDescription) -> str:
    """Name what the samples are: RGB, if a component transform was undone."""
    declared = pixels.photometric_interpretation
    transformed = header.multiple_component_transform or declared in ("YBR_RCT", "YBR_ICT")
    return "RGB" if header.components == 3 and transformed else declared
