"""The decoder of each transfer syntax (PS3.6 Annex A); none of them is under the GPL."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import UnsupportedTransferSyntaxError
from dicom_series_preview.base.image import GE_PRIVATE_BIG_ENDIAN
from dicom_series_preview.pixels.codecs import native
from dicom_series_preview.pixels.codecs.codec import OWN, ROOT, Codec

if TYPE_CHECKING:
    from dicom_series_preview.base.image import PixelDescription


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


_NATIVE = {
    codec.uid: codec
    for codec in (
        Codec(ROOT, "Implicit VR Little Endian", *OWN, decode_native=native.decode_little_endian),
        Codec(f"{ROOT}.1", "Explicit VR Little Endian", *OWN, decode_native=native.decode_little_endian),
        Codec(
            f"{ROOT}.1.99",
            "Deflated Explicit VR Little Endian",
            *OWN,
            decode_native=native.decode_little_endian,
        ),
        Codec(f"{ROOT}.2", "Explicit VR Big Endian", *OWN, decode_native=native.decode_big_endian),
        Codec(
            GE_PRIVATE_BIG_ENDIAN,
            "GE Private Implicit VR Big Endian",
            *OWN,
            decode_native=native.decode_big_endian,
        ),
    )
}


def find_codec(uid: str) -> Codec:
    """Return the codec of a transfer syntax.

    Raises:
        UnsupportedTransferSyntaxError: There is none, or its package is not installed.
    """
    if uid in _NATIVE:
        return _NATIVE[uid]
    from dicom_series_preview.pixels.codecs import encapsulated  # noqa: PLC0415 - native pixels need none of its decoders

    codec = encapsulated.CODECS.get(uid)
    if codec is None:
        raise UnsupportedTransferSyntaxError(uid, f"no decoder for {_describe(uid)}")
    if missing := encapsulated.what_is_missing(codec):
        raise UnsupportedTransferSyntaxError(uid, f"no decoder for {codec.name} ({uid}){missing}")
    return codec


def is_parallel(pixels: PixelDescription) -> bool:
    """Return True where several threads decode whole frames in less time."""
    uid = pixels.transfer_syntax_uid
    if uid in _NATIVE:
        return _NATIVE[uid].parallel
    from dicom_series_preview.pixels.codecs import encapsulated  # noqa: PLC0415 - as in `find_codec`

    return uid in encapsulated.CODECS and encapsulated.CODECS[uid].parallel


def codecs() -> list[CodecInfo]:
    """List what this installation can decode, in the order of the table."""
    from dicom_series_preview.pixels.codecs import encapsulated  # noqa: PLC0415 - as in `find_codec`

    every = [*_NATIVE.values(), *encapsulated.CODECS.values()]
    modules = dict.fromkeys(module for codec in every for module in codec.modules)
    versions = {module: _version(module) for module in modules}
    return [
        CodecInfo(
            codec.uid, codec.name, codec.decoder, ", ".join(versions[module] for module in codec.modules)
        )
        for codec in every
        if all(versions[module] for module in codec.modules)
    ]


def decoder_of(uid: str) -> CodecInfo:
    """Return what decodes a transfer syntax, with its version.

    Raises:
        UnsupportedTransferSyntaxError: Nothing does.
    """
    codec = find_codec(uid)
    return CodecInfo(codec.uid, codec.name, codec.decoder, ", ".join(map(_version, codec.modules)))


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
