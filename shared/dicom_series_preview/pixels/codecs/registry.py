"""The decoder of each transfer syntax (PS3.6 Annex A); none of them is under the GPL."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from dicom_series_preview.base.errors import UnsupportedTransferSyntaxError
from dicom_series_preview.base.image import GE_PRIVATE_BIG_ENDIAN
from dicom_series_preview.pixels.codecs import gdcm, jpeg, jpeg2000, jpegls, jpegxl, native, rle

if TYPE_CHECKING:
    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.words import Words


class DecodeFunction(Protocol):
    """Decodes one encapsulated frame's codestream."""

    def __call__(self, data: bytes | memoryview, pixels: PixelDescription, /) -> Words:
        """Decode, or raise DecodeError."""


class ReducedDecodeFunction(Protocol):
    """Decodes one encapsulated frame's codestream at reduced resolution, or fully if it cannot."""

    def __call__(self, data: bytes | memoryview, pixels: PixelDescription, reduction: int, /) -> Words:
        """Decode, or raise DecodeError."""


class NativeDecodeFunction(Protocol):
    """Decodes one native frame."""

    def __call__(self, data: bytes | memoryview, pixels: PixelDescription, bit_offset: int, /) -> Words:
        """Decode, or raise DecodeError."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The decoder of one transfer syntax.

    Attributes:
        uid: The transfer syntax.
        name: Its name.
        decoder: The library and its package.
        modules: The modules with the decoder's `__version__`; several if they share the work.
        decode: The function for encapsulated syntaxes.
        decode_reduced: The same at reduced resolution, if that is less work.
        decode_native: The function for native syntaxes.
        parallel: Decoding whole frames is most of the work of showing them, and releases the GIL.
    """

    uid: str
    name: str
    decoder: str
    modules: tuple[str, ...]
    decode: DecodeFunction | None = field(default=None, repr=False)
    decode_reduced: ReducedDecodeFunction | None = field(default=None, repr=False)
    decode_native: NativeDecodeFunction | None = field(default=None, repr=False)
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """A transfer syntax that this installation can decode.

    Attributes:
        uid: The transfer syntax.
        name: Its name.
        decoder: The library and its package.
        version: The decoder's version, or several in the order of its packages.
    """

    uid: str
    name: str
    decoder: str
    version: str


_OWN = ("dicom-series-preview", ("dicom_series_preview._version",))
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
_ROOT = "1.2.840.10008.1.2"

_NATIVE = (
    Codec(_ROOT, "Implicit VR Little Endian", *_OWN, decode_native=native.decode_little_endian),
    Codec(f"{_ROOT}.1", "Explicit VR Little Endian", *_OWN, decode_native=native.decode_little_endian),
    Codec(
        f"{_ROOT}.1.99",
        "Deflated Explicit VR Little Endian",
        *_OWN,
        decode_native=native.decode_little_endian,
    ),
    Codec(f"{_ROOT}.2", "Explicit VR Big Endian", *_OWN, decode_native=native.decode_big_endian),
    Codec(
        GE_PRIVATE_BIG_ENDIAN,
        "GE Private Implicit VR Big Endian",
        *_OWN,
        decode_native=native.decode_big_endian,
    ),
)
_ENCAPSULATED = (
    Codec(
        f"{_ROOT}.1.98",
        "Encapsulated Uncompressed Explicit VR Little Endian",
        *_OWN,
        native.decode_encapsulated,
    ),
    Codec(
        f"{_ROOT}.8.1", "Deflated Image Frame Compression", *_OWN, native.decode_deflated_frame, parallel=True
    ),
    Codec(f"{_ROOT}.5", "RLE Lossless", "pylibjpeg-rle", ("rle",), rle.decode_rle),
    _jpeg(f"{_ROOT}.4.50", "JPEG Baseline (Process 1)"),
    _jpeg(f"{_ROOT}.4.51", "JPEG Extended (Process 2 and 4)"),
    _jpeg(f"{_ROOT}.4.52", "JPEG Extended (Process 3 and 5, retired)"),
    _jpeg(f"{_ROOT}.4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8, retired)"),
    _jpeg(f"{_ROOT}.4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9, retired)"),
    _jpeg(f"{_ROOT}.4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12, retired)"),
    _jpeg(f"{_ROOT}.4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13, retired)"),
    _jpeg_lossless(f"{_ROOT}.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    _jpeg_lossless(f"{_ROOT}.4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction"),
    _jpeg_ls(f"{_ROOT}.4.80", "JPEG-LS Lossless"),
    _jpeg_ls(f"{_ROOT}.4.81", "JPEG-LS Near-Lossless"),
    _jpeg_2000(f"{_ROOT}.4.90", "JPEG 2000 (Lossless Only)"),
    _jpeg_2000(f"{_ROOT}.4.91", "JPEG 2000"),
    _jpeg_2000(f"{_ROOT}.4.201", "High-Throughput JPEG 2000 (Lossless Only)"),
    _jpeg_2000(f"{_ROOT}.4.202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)"),
    _jpeg_2000(f"{_ROOT}.4.203", "High-Throughput JPEG 2000"),
)
_GDCM = ("GDCM (python-gdcm)", ("gdcm",), gdcm.decode_jpeg2000_part2)
_WITH_GDCM = (
    Codec(f"{_ROOT}.4.92", "JPEG 2000 Part 2 Multi-component (Lossless Only)", *_GDCM),
    Codec(f"{_ROOT}.4.93", "JPEG 2000 Part 2 Multi-component", *_GDCM),
)
_JPEG_XL = ("libjxl (imagecodecs)", (jpegxl.MODULE,), jpegxl.decode_jpegxl)
# imagecodecs has it everywhere except in the Lambda layer, where it would be the largest codec.
_WITH_LIBJXL = (
    Codec(f"{_ROOT}.4.110", "JPEG XL Lossless", *_JPEG_XL),
    Codec(f"{_ROOT}.4.111", "JPEG XL JPEG Recompression", *_JPEG_XL),
    Codec(f"{_ROOT}.4.112", "JPEG XL", *_JPEG_XL),
)
_CODECS = {codec.uid: codec for codec in (*_NATIVE, *_ENCAPSULATED, *_WITH_LIBJXL, *_WITH_GDCM)}


def find_codec(uid: str) -> Codec:
    """Return the codec of a transfer syntax.

    Raises:
        UnsupportedTransferSyntaxError: There is none, or its package is not installed.
    """
    codec = _CODECS.get(uid)
    if codec is None:
        raise UnsupportedTransferSyntaxError(uid, f"no decoder for {_describe(uid)}")
    if codec in _WITH_GDCM and not gdcm.is_installed():
        reason = f"no decoder for {codec.name} ({uid}); pip install python-gdcm adds one"
        raise UnsupportedTransferSyntaxError(uid, reason)
    if codec in _WITH_LIBJXL and not jpegxl.is_installed():
        reason = f"no decoder for {codec.name} ({uid}): imagecodecs was installed without it"
        raise UnsupportedTransferSyntaxError(uid, reason)
    return codec


def is_parallel(pixels: PixelDescription) -> bool:
    """Return True where several threads decode whole frames in less time."""
    codec = _CODECS.get(pixels.transfer_syntax_uid)
    return codec is not None and codec.parallel


def codecs() -> list[CodecInfo]:
    """List what this installation can decode, in the order of the table."""
    modules = dict.fromkeys(module for codec in _CODECS.values() for module in codec.modules)
    versions = {module: _version(module) for module in modules}
    return [
        CodecInfo(
            codec.uid, codec.name, codec.decoder, ", ".join(versions[module] for module in codec.modules)
        )
        for codec in _CODECS.values()
        if all(versions[module] for module in codec.modules)
    ]


def _version(module: str) -> str:
    """Return a module's version, or an empty text if it cannot be imported."""
    package = module.partition(".")[0]
    if find_spec(package) is None or find_spec(module) is None:
        return ""
    try:
        import_module(module)
        # An extension module has its package's version.
        imported = import_module(module if module.startswith("dicom_series_preview.") else package)
    except ImportError:
        return ""
    return str(getattr(imported, "__version__", None) or getattr(imported, "GDCM_VERSION", None) or "unknown")


def _describe(uid: str) -> str:
    """Return a transfer syntax's name and UID, as far as known."""
    if not uid:
        return "an object without a transfer syntax"
    from pydicom.uid import UID  # noqa: PLC0415 - 120 ms that only this refusal pays

    name = UID(uid).name
    return f"transfer syntax {uid}" if name == uid else f"{name} ({uid})"
