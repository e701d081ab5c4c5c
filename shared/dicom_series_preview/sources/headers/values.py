"""Bytes of an element -> its value.

The value model is DICOM's own with nothing added: text, numbers, tags, bulk (by size and hash), and items.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
import warnings
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from dicom_series_preview.sources.headers.dictionary import dictionary_vr, private_vr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydicom import DataElement, Dataset

    from dicom_series_preview.sources.headers.scan import RawElement

# Lookup tables are what a picture needs of an object's bulk: they stay, the rest is known by size and hash.
LOOKUP_TABLE_DATA = frozenset(
    (0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223, 0x00283006)
)
_INLINE_BYTES = 1024

ONE_TEXT_VRS = frozenset(("LT", "ST", "UT", "UR"))
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
INTEGER_VRS = frozenset(("IS", "US", "SS", "UL", "SL", "UV", "SV"))
REAL_VRS = frozenset(("DS", "FL", "FD"))
BULK_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
# An ISO 2022 character set holds up to one of these (PS3.5 6.1.2.5.3).
_NAME_DELIMITERS = {ord(c) for c in "\\^="}
_TEXT_DELIMITERS = {ord(c) for c in "\\\r\n\t\f"}
_PERSON_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


@cache
def pydicom() -> Any:  # noqa: ANN401 - a module
    """The package pydicom, for its data sets and character sets: over 60 ms that nothing else waits for."""
    import pydicom.charset  # noqa: PLC0415
    import pydicom.config  # noqa: PLC0415
    import pydicom.dataset  # noqa: PLC0415
    import pydicom.sequence  # noqa: PLC0415

    return pydicom


@dataclass(frozen=True, slots=True)
class Bulk:
    """A binary value: known by size and hash, kept only when it is short or a lookup table.

    Attributes:
        size: Bytes.
        sha256: Hexadecimal digest of the bytes as stored.
        data: The bytes, or None.
    """

    size: int
    sha256: str
    data: bytes | None = field(default=None, repr=False, compare=False)


Item: TypeAlias = "dict[int, Element]"
Value: TypeAlias = "tuple[str | int | float | None, ...] | tuple[Item, ...] | Bulk"


@dataclass(frozen=True, slots=True)
class Element:
    """An element with its value.

    Attributes:
        tag: Group and element number as one integer.
        vr: The VR (PS3.5 6.2); of an ambiguous one the one that applies.
        value: Text, numbers or items as a tuple, empty where there is no value and None where one of several
            is empty; or `Bulk`. A DS or IS that is no number stays the text it is.
    """

    tag: int
    vr: str
    value: Value

    @property
    def first(self) -> Any:  # noqa: ANN401 - the type follows from the VR
        """The first value, or None."""
        if isinstance(self.value, Bulk) or not self.value:
            return None
        return self.value[0]


def all_values(element: Element | None) -> tuple[Any, ...]:
    """The values of an element that may be missing; none of a binary one."""
    return () if element is None or isinstance(element.value, Bulk) else element.value


@lru_cache(maxsize=64)
def _encodings(value: bytes) -> list[str]:
    """Python's names of a SpecificCharacterSet (0008,0005)."""
    names = [name.strip("\0 ") for name in value.decode("ascii", "replace").split("\\")]
    with warnings.catch_warnings():
        # pydicom warns of names it corrects or does not know; bad bytes become U+FFFD either way.
        warnings.simplefilter("ignore")
        try:
            encodings: list[str] = pydicom().charset.convert_encodings(names)
        except (LookupError, ValueError):
            # No such character set, or a name with a NUL in it.
            return ["iso8859"]
    # Without a declaration the standard's default is ASCII (PS3.5 6.1.2.2); most such objects hold Latin-1.
    return encodings


def vr_of(element: RawElement, creator: bytes, *, signed: bool) -> str:
    """The VR of an element: as stored, or the dictionary's where it has none, or has UN.

    Args:
        element: The element.
        creator: The creator of its block as stored (PS3.5 7.8.1), empty where it has none.
        signed: PixelRepresentation (0028,0103) of the data set, or of those around it, is not 0.
    """
    if element.vr and element.vr != "UN":
        return element.vr
    vr = _dictionary_vr(element.tag, creator)
    if not vr:
        vr = "SQ" if element.vr == "" and element.value[:4] == b"\xfe\xff\x00\xe0" else "UN"
    vr = _settle(vr, element.tag, signed=signed)
    item = b"\xfe\xff\x00\xe0" if element.little else b"\xff\xfe\xe0\x00"
    # What the dictionary takes for a sequence need not be one.
    return "UN" if vr == "SQ" and element.value and not element.value.startswith(item) else vr


@lru_cache(maxsize=4096)
def _dictionary_vr(tag: int, creator: bytes) -> str:
    """The dictionary's VR of an element; empty of an unknown one that is not private."""
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


def creator_tag(tag: int) -> int:
    """The tag of the element that names the creator of a private element's block (PS3.5 7.8.1)."""
    return tag & 0xFFFF0000 | (tag & 0xFF00) >> 8


def is_in_block(tag: int) -> bool:
    """Whether a tag is of a private element in a block that a creator may reserve (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and tag & 0xFFFF >= 0x1000


def private_creator(tag: int, group: Mapping[int, bytes]) -> str:
    """The creator of a private element's block (PS3.5 7.8.1), or empty."""
    if not is_in_block(tag):
        return ""
    value = group.get(creator_tag(tag))
    return value.decode("ascii", "replace").strip("\0 ") if value else ""


def _settle(vr: str, tag: int, *, signed: bool) -> str:
    """The one VR of those the dictionary offers for a tag (PS3.5 A.1, PS3.6 6)."""
    if " or " not in vr:
        return vr
    if vr.startswith("US or SS"):
        is_descriptor = 0x00281101 <= tag <= 0x00281103 or tag == 0x00283002
        if tag == 0x00283006:
            return "OW"
        return "SS" if signed and not is_descriptor else "US"
    return "OW"


def value_of(element: RawElement, vr: str, charset: bytes) -> Value:
    """The value of an element that is no sequence.

    Args:
        element: The element.
        vr: Its VR, see `vr_of`.
        charset: SpecificCharacterSet (0008,0005) that holds for it, as stored.
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


def swapped_words(raw: bytes) -> bytes:
    """Big endian 16-bit words as little endian."""
    even = raw[: len(raw) & ~1]
    return struct.pack(f"<{len(even) // 2}H", *struct.unpack(f">{len(even) // 2}H", even))


def _text(raw: bytes, vr: str, charset: bytes) -> tuple[str | None, ...]:
    if vr not in _CHARSET_VRS or (raw.isascii() and b"\x1b" not in raw):
        text = raw.decode("iso8859-1")
    else:
        with warnings.catch_warnings():
            # Bytes that the character set does not have become U+FFFD: bad text must not lose a row.
            warnings.simplefilter("ignore")
            text = pydicom().charset.decode_bytes(
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
    # A sum is finite only of finite numbers; where it is not, one after the other tells.
    return numbers if math.isfinite(sum(numbers)) else tuple(_number(part, float) for part in parts)


def _integers(raw: bytes, _little: bool) -> tuple[str | int | float | None, ...]:  # noqa: FBT001 - one signature
    return tuple(_number(part, _integer) for part in _parts(raw))


def _parts(raw: bytes) -> list[str]:
    text = raw.decode("iso8859-1").strip("\0 ")
    return [part.strip("\0 ") for part in text.split("\\")] if text else []


def _number(text: str, kind: Callable[[str], float]) -> str | int | float | None:
    """A DS or IS; what is no finite number ("1.#QNAN") stays text."""
    if not text:
        return None
    try:
        number = kind(text)
    except (ValueError, OverflowError):
        return text
    return number if math.isfinite(number) else text


def _integer(text: str) -> int:
    """An IS; real files write 1.0 too.

    Raises:
        ValueError: It is none, or none that 64 bits hold.
        OverflowError: It is infinite.
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


def tag_key(tag: int) -> str:
    """A tag as DICOM JSON's key: 00280010."""
    return f"{tag:08X}"


def to_json(item: Mapping[int, Element]) -> dict[str, Any]:
    """A data set as DICOM JSON (PS3.18 Annex F).

    Bulk that was not kept stands as a BulkDataURI of the form `urn:sha256:HASH?size=BYTES`.
    """
    return {tag_key(tag): element_to_json(element) for tag, element in sorted(item.items())}


def element_to_json(element: Element) -> dict[str, Any]:
    """One element as DICOM JSON."""
    value = element.value
    if isinstance(value, Bulk):
        if not value.size:
            return {"vr": element.vr}
        if value.data is None:
            return {"vr": element.vr, "BulkDataURI": f"urn:sha256:{value.sha256}?size={value.size}"}
        return {"vr": element.vr, "InlineBinary": base64.b64encode(value.data).decode("ascii")}
    if not value:
        return {"vr": element.vr}
    if element.vr == "SQ":
        return {"vr": "SQ", "Value": [to_json(item) for item in value]}  # type: ignore[arg-type]
    if element.vr == "PN":
        return {"vr": "PN", "Value": [_name_to_json(name) for name in value]}  # type: ignore[arg-type]
    if element.vr in REAL_VRS:
        return {"vr": element.vr, "Value": [_real_to_json(number) for number in value]}  # type: ignore[arg-type]
    return {"vr": element.vr, "Value": list(value)}


def _real_to_json(number: float | str | None) -> float | str | None:
    """JSON has no NaN and no infinity; they stand as the text PS3.18 F.2.3 allows."""
    if isinstance(number, float) and not math.isfinite(number):
        return str(number)
    return number


def _name_to_json(name: str | None) -> dict[str, str] | None:
    if name is None:
        return None
    return {group: part for group, part in zip(_PERSON_NAME_GROUPS, name.split("="), strict=False) if part}


def from_json(document: Mapping[str, Any]) -> Item:
    """A data set from the DICOM JSON that `to_json` wrote."""
    return {int(key, 16): element_from_json(int(key, 16), body) for key, body in document.items()}


def element_from_json(tag: int, body: Mapping[str, Any]) -> Element:
    """One element from its DICOM JSON."""
    vr = body["vr"]
    if vr in BULK_VRS:
        return Element(tag, vr, _bulk_from_json(body))
    values = body.get("Value", ())
    if vr == "SQ":
        return Element(tag, vr, tuple(from_json(item) for item in values))
    if vr == "PN":
        return Element(tag, vr, tuple(_name_from_json(name) for name in values))
    if vr in ("FL", "FD"):
        return Element(tag, vr, tuple(float(v) for v in values))
    if vr == "DS":
        return Element(tag, vr, tuple(float(v) if isinstance(v, int) else v for v in values))
    return Element(tag, vr, tuple(values))


def _bulk_from_json(body: Mapping[str, Any]) -> Bulk:
    uri = body.get("BulkDataURI", "")
    if uri:
        digest, _, size = uri.removeprefix("urn:sha256:").partition("?size=")
        return Bulk(int(size), digest)
    data = base64.b64decode(body.get("InlineBinary", ""))
    return Bulk(len(data), hashlib.sha256(data).hexdigest(), data)


def _name_from_json(name: Mapping[str, str] | None) -> str | None:
    if name is None:
        return None
    return "=".join(name.get(group, "") for group in _PERSON_NAME_GROUPS).rstrip("=")


def to_dataset(item: Item) -> Dataset:
    """A pydicom data set of the elements; group 0002 becomes its `file_meta`.

    Bulk that was not kept is left out.
    """
    dataset: Dataset = pydicom().Dataset()
    meta = pydicom().dataset.FileMetaDataset()
    for tag, element in sorted(item.items()):
        if isinstance(element.value, Bulk) and element.value.data is None:
            continue
        (meta if tag >> 16 == 2 else dataset).add(_to_pydicom(element))
    dataset.file_meta = meta
    return dataset


def _to_pydicom(element: Element) -> DataElement:
    value: Any = element.value
    if isinstance(value, Bulk):
        value = value.data
    elif element.vr == "SQ":
        value = pydicom().sequence.Sequence([_item_to_pydicom(item) for item in value])
    elif element.vr == "AT":
        value = [int(tag, 16) for tag in value]
    else:
        value = ["" if part is None else part for part in value]
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else pydicom().dataelem.empty_value_for_VR(element.vr)
    # What is no number in a DS or IS stays the text it is, which pydicom would refuse.
    broken = element.vr in ("DS", "IS") and any(isinstance(part, str) and part for part in element.value)  # type: ignore[union-attr]
    vr, mode = "LO" if broken else element.vr, pydicom().config.IGNORE
    made: DataElement = pydicom().DataElement(element.tag, vr, value, validation_mode=mode)
    return made


def _item_to_pydicom(item: Item) -> Dataset:
    dataset: Dataset = pydicom().Dataset()
    for _, element in sorted(item.items()):
        if not (isinstance(element.value, Bulk) and element.value.data is None):
            dataset.add(_to_pydicom(element))
    return dataset
