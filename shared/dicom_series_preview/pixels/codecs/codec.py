"""A codec: the decoder of one transfer syntax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dicom_series_preview.base.image import PixelDescription
    from dicom_series_preview.pixels.codecs.words import Words

ROOT = "1.2.840.10008.1.2"
"""The transfer syntaxes of PS3.6 Annex A are below this UID."""
OWN = ("dicom-series-preview", ("dicom_series_preview._version",))
"""The decoder and its modules where the code is our own."""


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
