"""Transfer syntaxes that only GDCM decodes, if installed: `pip install python-gdcm`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.pixels.codecs.bits import container_bits
from dicom_series_preview.pixels.codecs.dimensions import check_dimensions
from dicom_series_preview.pixels.codecs.jpeg2000_header import read_jpeg2000_header
from dicom_series_preview.pixels.codecs.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.base.image import PixelDescription


def is_installed() -> bool:
    """Return True where python-gdcm is installed, without importing it."""
    return find_spec("gdcm") is not None


def decode_jpeg2000_part2(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame of JPEG 2000 Part 2 (PS3.5 A.4.4)."""
    try:
        gdcm: Any = import_module("gdcm")  # optional, and large
    except ImportError as error:
        raise DecodeError("python-gdcm is installed and cannot be loaded; install it anew") from error
    codestream = bytes(data)
    header = read_jpeg2000_header(codestream)
    check_dimensions(header.dimensions, pixels)
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((pixels.columns, pixels.rows, 1))
    image.SetDataElement(element)
    photometric = "RGB" if pixels.samples_per_pixel == 3 else pixels.photometric_interpretation
    kind = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(pixels.transfer_syntax_uid)))
    size = container_bits(header.precision)
    precision = header.precision
    signed = int(header.signed)
    image.SetPixelFormat(gdcm.PixelFormat(pixels.samples_per_pixel, size, precision, precision - 1, signed))
    text = image.GetBuffer()
    if text is None:
        raise DecodeError("the JPEG 2000 codestream is broken")
    # GDCM returns bytes as a string.
    buffer = text.encode("utf-8", "surrogateescape")
    shape = (pixels.rows, pixels.columns, pixels.samples_per_pixel)[
        : 2 if pixels.samples_per_pixel == 1 else 3
    ]
    dtype = np.dtype(f"{'i' if header.signed else 'u'}{size // 8}")
    if len(buffer) != int(np.prod(shape)) * dtype.itemsize:
        raise DecodeError("GDCM cannot decode the codestream")
    samples: NDArray[Any] = np.frombuffer(buffer, dtype).reshape(shape)
    return Words(
        samples, precision, lossless=False, photometric_interpretation=photometric, is_described=True
    )
