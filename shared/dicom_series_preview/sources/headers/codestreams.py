"""The first bytes of codestreams: they show an image's start and its family of transfer syntaxes."""

from __future__ import annotations

_ROOT = "1.2.840.10008.1.2.4."
# We represent a family of transfer syntaxes by its most general one.
_JPEG, _JPEG_LS, _JPEG_2000, _JPEG_XL = f"{_ROOT}51", f"{_ROOT}81", f"{_ROOT}91", f"{_ROOT}112"
_FAMILIES = {
    _JPEG: frozenset(f"{_ROOT}{number}" for number in (50, 51, 52, 53, 54, 55, 57, 70)),
    _JPEG_LS: frozenset(f"{_ROOT}{number}" for number in (80, 81)),
    _JPEG_2000: frozenset(f"{_ROOT}{number}" for number in (90, 91, 92, 93, 201, 202, 203)),
    _JPEG_XL: frozenset(f"{_ROOT}{number}" for number in (110, 111, 112)),
}
_NAMES = {_JPEG: "JPEG", _JPEG_LS: "JPEG-LS", _JPEG_2000: "JPEG 2000", _JPEG_XL: "JPEG XL"}
# SOF0 to SOF15, except DHT, JPG and DAC.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Their frames can begin with any bytes: an uncompressed frame in a fragment, and a deflated one.
_OF_ANY_BYTES = frozenset(("1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"))


def begins_an_image(fragment: bytes) -> bool:
    """Return True where a codestream begins here: JPEG and JPEG-LS (SOI), or JPEG 2000 (SOC)."""
    return fragment.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51"))


def found_syntax(codestream: bytes, declared: str) -> str:
    """Return the transfer syntax to decode a frame with: not the declared one if the bytes disprove it.

    Args:
        codestream: An encapsulated frame, its fragments joined.
        declared: The object's transfer syntax.
    """
    family = _family(codestream)
    if not family or declared in _FAMILIES[family] or declared in _OF_ANY_BYTES:
        return declared
    return family


def mismatch(found: str) -> str:
    """Return the warning for a `found_syntax` that differs from the declared one."""
    return f"its codestream is {_NAMES[found]}, not what its transfer syntax says"


def _family(codestream: bytes) -> str:
    """Return a codestream's family by its first bytes (ITU-T T.81 B.1.1, T.87, T.800 A.4, ISO 18181-2)."""
    if codestream.startswith((b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n")):
        return _JPEG_2000
    if codestream.startswith(b"\x00\x00\x00\x0cJXL \r\n\x87\n"):
        return _JPEG_XL
    if not codestream.startswith(b"\xff\xd8\xff"):
        return ""
    position = 2
    while position + 4 <= len(codestream) and codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xF7:
            return _JPEG_LS
        if marker in _START_OF_FRAME:
            return _JPEG
        if marker == 0xFF:
            position += 1
            continue
        if marker in (0xDA, 0xD9):
            return ""
        position += 2 + int.from_bytes(codestream[position + 2 : position + 4], "big")
    return ""
