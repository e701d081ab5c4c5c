"""Bytes of one frame -> stored values -> colour.

`decode_frame` gives the samples as the file stores them; `to_rgb` turns those of colour and palette images
into 8-bit RGB. Grey ones go on to `contrast`. Codecs are called directly rather than through pydicom, whose
import alone costs a cold start more than a hundred milliseconds.
"""

from dicom_series_preview.decode.colour import is_colour, to_rgb
from dicom_series_preview.decode.frame import (
    decode_frame,
    decode_words,
    decoded_bytes,
    has_means,
    reductions,
)
from dicom_series_preview.decode.overlays import embedded_overlay, own_overlay
from dicom_series_preview.decode.registry import CodecInfo, codecs, is_parallel
from dicom_series_preview.decode.values import Decoded, Words

__all__ = [
    "CodecInfo",
    "Decoded",
    "Words",
    "codecs",
    "decode_frame",
    "decode_words",
    "decoded_bytes",
    "embedded_overlay",
    "has_means",
    "is_colour",
    "is_parallel",
    "own_overlay",
    "reductions",
    "to_rgb",
]
