"""The decoders of encapsulated transfer syntaxes (PS3.6 Annex A). No decoder here is under the GPL."""

from __future__ import annotations

from functools import partial

from dicom_series_preview.pixels.codecs import gdcm, jpeg, jpeg2000, jpegls, jpegxl, native, rle
from dicom_series_preview.pixels.codecs.codec import OWN, ROOT, Codec

_imagecodecs = partial(Codec, modules=("imagecodecs",), parallel=True)
_jpeg_lossless = partial(_imagecodecs, decoder="libjpeg-turbo (imagecodecs)", decode=jpeg.decode_jpeg)
_jpeg = partial(_jpeg_lossless, decode_reduced=jpeg.decode_jpeg_reduced)
_jpeg_ls = partial(_imagecodecs, decoder="CharLS (imagecodecs)", decode=jpegls.decode_jpegls)
_jpeg_2000 = partial(
    Codec,
    decoder="OpenJPEG (imagecodecs, pylibjpeg-openjpeg)",
    modules=("imagecodecs", "openjpeg"),
    decode=jpeg2000.decode_jpeg2000,
    decode_reduced=jpeg2000.decode_jpeg2000_reduced,
    parallel=True,
)

_EVERYWHERE = (
    Codec(
        f"{ROOT}.1.98",
        "Encapsulated Uncompressed Explicit VR Little Endian",
        *OWN,
        native.decode_encapsulated,
    ),
    Codec(
        f"{ROOT}.8.1", "Deflated Image Frame Compression", *OWN, native.decode_deflated_frame, parallel=True
    ),
    Codec(f"{ROOT}.5", "RLE Lossless", "pylibjpeg-rle", ("rle",), rle.decode_rle),
    _jpeg(f"{ROOT}.4.50", "JPEG Baseline (Process 1)"),
    _jpeg(f"{ROOT}.4.51", "JPEG Extended (Process 2 and 4)"),
    _jpeg(f"{ROOT}.4.52", "JPEG Extended (Process 3 and 5, retired)"),
    _jpeg(f"{ROOT}.4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8, retired)"),
    _jpeg(f"{ROOT}.4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9, retired)"),
    _jpeg(f"{ROOT}.4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12, retired)"),
    _jpeg(f"{ROOT}.4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13, retired)"),
    _jpeg_lossless(f"{ROOT}.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    _jpeg_lossless(f"{ROOT}.4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction"),
    _jpeg_ls(f"{ROOT}.4.80", "JPEG-LS Lossless"),
    _jpeg_ls(f"{ROOT}.4.81", "JPEG-LS Near-Lossless"),
    _jpeg_2000(f"{ROOT}.4.90", "JPEG 2000 (Lossless Only)"),
    _jpeg_2000(f"{ROOT}.4.91", "JPEG 2000"),
    _jpeg_2000(f"{ROOT}.4.201", "High-Throughput JPEG 2000 (Lossless Only)"),
    _jpeg_2000(f"{ROOT}.4.202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)"),
    _jpeg_2000(f"{ROOT}.4.203", "High-Throughput JPEG 2000"),
)
_GDCM = ("GDCM (python-gdcm)", ("gdcm",), gdcm.decode_jpeg2000_part2)
_WITH_GDCM = (
    Codec(f"{ROOT}.4.92", "JPEG 2000 Part 2 Multi-component (Lossless Only)", *_GDCM),
    Codec(f"{ROOT}.4.93", "JPEG 2000 Part 2 Multi-component", *_GDCM),
)
_JPEG_XL = ("libjxl (imagecodecs)", (jpegxl.MODULE,), jpegxl.decode_jpegxl)
# imagecodecs has it everywhere but in the Lambda layer, where it would be the largest codec of all.
_WITH_LIBJXL = (
    Codec(f"{ROOT}.4.110", "JPEG XL Lossless", *_JPEG_XL),
    Codec(f"{ROOT}.4.111", "JPEG XL JPEG Recompression", *_JPEG_XL),
    Codec(f"{ROOT}.4.112", "JPEG XL", *_JPEG_XL),
)
CODECS = {codec.uid: codec for codec in (*_EVERYWHERE, *_WITH_LIBJXL, *_WITH_GDCM)}
"""The codecs of encapsulated pixels by transfer syntax, those that are not installed among them."""


def what_is_missing(codec: Codec) -> str:
    """Say what the decoder of a codec lacks here, as the end of a sentence; empty where it is installed."""
    if codec in _WITH_GDCM and not gdcm.is_installed():
        return "; pip install python-gdcm adds one"
    if codec in _WITH_LIBJXL and not jpegxl.is_installed():
        return ": imagecodecs was installed without it"
    return ""
