"""JPEG 2000 (ISO/IEC 15444-1) and High-Throughput JPEG 2000 (15444-15), by pylibjpeg-openjpeg."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.decode.bits import container_bits
from dicom_series_preview.decode.values import Words
from dicom_series_preview.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.headers.image import PixelDescription

_SOC_SIZ = b"\xff\x4f\xff\x51"
_COD, _SOT = 0x52, 0x90
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_LOSSLESS = frozenset(
    ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202")
)


@dataclass(frozen=True, slots=True)
class Jpeg2000Header:
    """A codestream's own description of itself (ISO/IEC 15444-1 A.5.1 SIZ, A.6.1 COD).

    Attributes:
        rows: Rows of the image area.
        columns: Columns of the image area.
        components: Number of components.
        precision: Bits of a sample, the largest of the components.
        signed: Samples are signed.
        multiple_component_transform: RCT or ICT was used; decoders undo it and give RGB.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool
    multiple_component_transform: bool


def decode_jpeg2000(data: bytes | memoryview, pixels: PixelDescription) -> Words:
    """Decode a frame in the sign and precision of its codestream (PS3.5 8.2.4)."""
    from openjpeg.utils import decode_pixel_data  # noqa: PLC0415 - 24 ms that only JPEG 2000 pays

    codestream = bytes(data)
    header = read_jpeg2000_header(codestream)
    check_dimensions(header, pixels)
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
    photometric = pixels.photometric_interpretation
    if header.components == 3 and (
        header.multiple_component_transform or photometric in ("YBR_RCT", "YBR_ICT")
    ):
        photometric = "RGB"
    return Words(
        samples.astype(dtype.newbyteorder("="), copy=False),
        header.precision,
        lossless=pixels.transfer_syntax_uid in _LOSSLESS,
        photometric_interpretation=photometric,
    )


def read_jpeg2000_header(codestream: bytes) -> Jpeg2000Header:
    """Read the main header; a JP2 file around the codestream, which DICOM forbids, is skipped.

    Raises:
        DecodeError: The bytes are no JPEG 2000 codestream.
    """
    start = 0
    if codestream[:8] == _JP2_SIGNATURE:
        start = codestream.find(_SOC_SIZ)
    if start < 0 or codestream[start : start + 4] != _SOC_SIZ or len(codestream) < start + 45:
        raise DecodeError("the frame is no JPEG 2000 codestream")
    right, bottom, left, top = np.frombuffer(codestream, ">u4", 4, start + 8).tolist()
    components = int.from_bytes(codestream[start + 40 : start + 42], "big")
    depths = codestream[start + 42 : start + 42 + 3 * components : 3]
    if not depths or right <= left or bottom <= top:
        raise DecodeError("the JPEG 2000 codestream has no usable size marker")
    # Ssiz: the highest bit is the sign, the others are the depth less one.
    return Jpeg2000Header(
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=max(depth & 0x7F for depth in depths) + 1,
        signed=bool(depths[0] & 0x80),
        multiple_component_transform=_has_component_transform(codestream, start + 2),
    )


def check_dimensions(header: Jpeg2000Header, pixels: PixelDescription) -> None:
    """Refuse a codestream of another size than the header's: it is another picture, or a broken one.

    Raises:
        DecodeError: Rows, columns or samples disagree.
    """
    found = header.rows, header.columns, header.components
    expected = pixels.rows, pixels.columns, pixels.samples_per_pixel
    if found != expected:
        raise DecodeError(
            "the codestream is {} x {} with {} samples a pixel, the header says {} x {} with {}".format(
                *found, *expected
            )
        )


def _has_component_transform(codestream: bytes, offset: int) -> bool:
    """Walk the main header's markers to COD; its SGcod tells of the transform."""
    while offset + 4 <= len(codestream) and codestream[offset] == 0xFF:
        marker = codestream[offset + 1]
        if marker == _COD and offset + 9 <= len(codestream):
            return codestream[offset + 8] == 1
        if marker == _SOT:
            break
        offset += 2 + int.from_bytes(codestream[offset + 2 : offset + 4], "big")
    return False
