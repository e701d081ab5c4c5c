"""Find the VR and the value of an element's bytes; they depend on a few other elements around it."""

from __future__ import annotations

import hashlib
import math
import struct
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from dicom_series_preview.sources.headers.dictionary import dictionary_vr, private_vr
from dicom_series_preview.sources.headers.elements import (
    ONE_TEXT_VRS,
    Bulk,
    Value,
    creator_tag,
    private_creator,
)
from dicom_series_preview.sources.headers.walk import RawElement, swapped_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Pictures need the lookup tables: their bytes stay. Of other bulk data, size and hash stay.
LOOKUP_TABLE_DATA = frozenset(
    (0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223, 0x00283006)
)
_INLINE_BYTES = 1024
_CHARSET_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_TEXT_VRS = ONE_TEXT_VRS | _CHARSET_VRS | {"AE", "AS", "CS", "DA", "DT", "TM", "UI"}
_NUMBER_FORMATS = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}
# An ISO 2022 character set ends at one of these (PS3.5 6.1.2.5.3).
_NAME_DELIMITERS = {ord(c) for c in "\\^="}
_TEXT_DELIMITERS = {ord(c) for c in "\\\r\n\t\f"}
SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103


@cache
def _charset() -> Any:  # noqa: ANN401 - a module
    """Load pydicom's character sets: over 60 ms, for text that is not ASCII alone."""
    import pydicom.charset  # noqa: PLC0415 - loads pydicom

    return pydicom.charset


@lru_cache(maxsize=64)
def _encodings(value: bytes) -> list[str]:
    """Return Python's names for a SpecificCharacterSet (0008,0005)."""
    names = [name.strip("\0 ") for name in value.decode("ascii", "replace").split("\\")]
    with warnings.catch_warnings():
        # pydicom warns of names that it corrects or does not know; bad bytes become U+FFFD either way.
        warnings.simplefilter("ignore")
        try:
            encodings: list[str] = _charset().convert_encodings(names)
        except (LookupError, ValueError):
            # No such character set, or a name with a NUL in it.
            return ["iso8859"]
    # Without a declaration the standard's default is ASCII (PS3.5 6.1.2.2); most such objects hold Latin-1.
    return encodings


def vr_of(element: RawElement, creator: bytes, *, signed: bool) -> str:
    """Return the VR of an element: as stored, or the dictionary's where none or UN is stored.

    Args:
        element: The element.
        creator: The creator of its block as stored (PS3.5 7.8.1), empty where it has none.
        signed: PixelRepresentation (0028,0103) of the data set, or of one around it, is not 0.
    """
    if element.vr and element.vr != "UN":
        return element.vr
    vr = _dictionary_vr(element.tag, creator)
    if not vr:
        vr = "SQ" if element.vr == "" and element.value[:4] == b"\xfe\xff\x00\xe0" else "UN"
    vr = _settle(vr, element.tag, signed=signed)
    item = b"\xfe\xff\x00\xe0" if element.little else b"\xff\xfe\xe0\x00"
    # The dictionary's sequence need not be one.
    return "UN" if vr == "SQ" and element.value and not element.value.startswith(item) else vr


@lru_cache(maxsize=4096)
def _dictionary_vr(tag: int, creator: bytes) -> str:
    """Return the dictionary's VR of an element; empty for an unknown one that is not private."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"
        name = private_creator(tag, {creator_tag(tag): creator})
        try:
            return private_vr(tag, name) if name else "UN"
        except KeyError:
            return "UN"
    try:
        return dictionary_vr(tag)
    except KeyError:
        return ""


def _settle(vr: str, tag: int, *, signed: bool) -> str:
    """Choose the VR that applies among those that the dictionary has for a tag (PS3.5 A.1, PS3.6 6)."""
    if " or " not in vr:
        return vr
    if vr.startswith("US or SS"):
        is_descriptor = 0x00281101 <= tag <= 0x00281103 or tag == 0x00283002
        if tag == 0x00283006:
            return "OW"
        return "SS" if signed and not is_descriptor else "US"
    return "OW"


def value_of(element: RawElement, vr: str, charset: bytes) -> Value:
    """Read the value of an element that is no sequence.

    Args:
        element: The element.
        vr: Its VR; see `vr_of`.
        charset: The SpecificCharacterSet (0008,0005) that applies, as stored.
    """
    raw = element.value
    number = _NUMBERS.get(vr)
    if number is not None:
        return number(raw, element.little) if raw else ()
    if vr in _TEXT_VRS:
        return _text(raw, vr, charset) if raw else ()
    keep = len(raw) <= _INLINE_BYTES or element.tag in LOOKUP_TABLE_DATA
    if keep and not element.little and vr == "OW":
        raw = swapped_words(raw)
    return Bulk(len(raw), hashlib.sha256(raw).hexdigest(), raw if keep else None)


def _text(raw: bytes, vr: str, charset: bytes) -> tuple[str | None, ...]:
    if vr not in _CHARSET_VRS or (raw.isascii() and b"\x1b" not in raw):
        text = raw.decode("iso8859-1")
    else:
        with warnings.catch_warnings():
            # Bytes that the character set lacks become U+FFFD: bad text must not lose a row.
            warnings.simplefilter("ignore")
            text = _charset().decode_bytes(
                raw, _encodings(charset), _NAME_DELIMITERS if vr == "PN" else _TEXT_DELIMITERS
            )
    text = text.rstrip("\0 ")
    if vr == "AE":
        text = text.lstrip(" ")
    if vr in ONE_TEXT_VRS:
        return (text,) if text else ()
    if "\\" not in text:
        return (text,) if text else ()
    return tuple(part.rstrip("\0 ") or None for part in text.split("\\"))


def _decimals(raw: bytes, _little: bool) -> tuple[str | int | float | None, ...]:  # noqa: FBT001 - one signature
    parts = _parts(raw)
    try:
        numbers = tuple(map(float, parts))
    except ValueError:
        numbers = (math.nan,)
    # Only finite numbers have a finite sum; else look at each.
    return numbers if math.isfinite(sum(numbers)) else tuple(_number(part, float) for part in parts)


def _integers(raw: bytes, _little: bool) -> tuple[str | int | float | None, ...]:  # noqa: FBT001 - one signature
    return tuple(_number(part, _integer) for part in _parts(raw))


def _parts(raw: bytes) -> list[str]:
    text = raw.decode("iso8859-1").strip("\0 ")
    return [part.strip("\0 ") for part in text.split("\\")] if text else []


def _number(text: str, kind: Callable[[str], float]) -> str | int | float | None:
    """Parse a DS or IS; text that is no finite number ("1.#QNAN") stays text."""
    if not text:
        return None
    try:
        number = kind(text)
    except (ValueError, OverflowError):
        return text
    return number if math.isfinite(number) else text


def _integer(text: str) -> int:
    """Parse an IS; real files write 1.0 too.

    Raises:
        ValueError: The text is no whole number, or one that 64 bits cannot hold.
        OverflowError: The number is infinite.
    """
    try:
        number = int(text)
    except ValueError:
        real = float(text)
        if not real.is_integer():
            raise
        number = int(real)
    if not -(2**63) <= number < 2**63:
        raise ValueError(text)
    return number


def _numbers(code: str) -> Callable[[bytes, bool], tuple[str | int | float | None, ...]]:
    size = struct.calcsize(code)
    one = {True: struct.Struct(f"<{code}").unpack, False: struct.Struct(f">{code}").unpack}

    def numbers(raw: bytes, little: bool) -> tuple[str | int | float | None, ...]:  # noqa: FBT001 - one signature
        if len(raw) == size:
            return one[little](raw)
        count = len(raw) // size
        return struct.unpack_from(f"{'<' if little else '>'}{count}{code}", raw)

    return numbers


def _tags(raw: bytes, little: bool) -> tuple[str | int | float | None, ...]:  # noqa: FBT001 - one signature
    words = struct.unpack_from(f"{'<' if little else '>'}{len(raw) // 4 * 2}H", raw)
    return tuple(f"{words[i]:04X}{words[i + 1]:04X}" for i in range(0, len(words), 2))


_NUMBERS: dict[str, Callable[[bytes, bool], tuple[str | int | float | None, ...]]] = {
    "DS": _decimals,
    "IS": _integers,
    "AT": _tags,
    **{vr: _numbers(code) for vr, code in _NUMBER_FORMATS.items()},
}


@dataclass(frozen=True, slots=True)
class Context:
    """The facts around a data set that give its bytes their meaning.

    Attributes:
        charset: SpecificCharacterSet (0008,0005) as stored.
        signed: PixelRepresentation (0028,0103) is not 0; items inherit both.
    """

    charset: bytes = b""
    signed: bool = False

    def inside(self, raw: Mapping[int, RawElement]) -> Context:
        """Return the context within a data set, which can have its own."""
        charset, representation = raw.get(SPECIFIC_CHARACTER_SET), raw.get(PIXEL_REPRESENTATION)
        if charset is None and representation is None:
            return self
        return Context(
            charset.value if charset else self.charset,
            representation.value.strip(b"\0") != b"" if representation else self.signed,
        )


OUTERMOST = Context()


def creator_of(tag: int, raw: Mapping[int, RawElement]) -> bytes:
    """Return the creator of a private element's block as stored, or empty."""
    block = raw.get(creator_tag(tag)) if tag >> 16 & 1 else None
    return block.value if block is not None else b""
