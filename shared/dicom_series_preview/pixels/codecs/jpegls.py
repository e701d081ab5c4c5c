"""Decode JPEG-LS (ISO/IEC 14495-1), lossless and near-lossless, with imagecodecs' CharLS.

pyjpegls' older CharLS refuses streams that end with a padded byte, as real ones do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.dimensions import check_dimensions
from dicom_series_preview.pixels.codecs.jpeg_header import read_jpeg_header
from dicom_series_preview.pixels.codecs.words import Words

if TYPE_CHECKING:
    from dicom_series_preview.base.image import PixelDescription

_LOSSLESS = "1.2.840.10008.1.2.4.80"


def decode_jpegls(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame; JPEG-LS has no sign and no colour space of its own (PS3.5 8.2.3)."""
    from imagecodecs import JpeglsError, jpegls_decode  # noqa: PLC0415 - 9 ms that only JPEG-LS pays

    codestream = bytes(data)
    header = read_jpeg_header(codestream)
    check_dimensions(header.dimensions, pixels)
    if codestream.find(b"\xff\xd9", header.scan_offset) < 0:
        # CharLS would read zeros beyond the end, for seconds. (No marker can occur inside a scan.)
        raise DecodeError("the JPEG-LS codestream is cut off")
    try:
        samples = np.ascontiguousarray(jpegls_decode(codestream))
    except (JpeglsError, ValueError) as error:
        raise DecodeError(f"the JPEG-LS codestream is broken: {error}") from error
    return Words(
        samples,
        header.precision,
        lossless=pixels.transfer_syntax_uid == _LOSSLESS,
        photometric_interpretation=pixels.photometric_interpretation,
        is_described=True,
    )
