"""The data dictionary (PS3.6) with known private elements: pydicom's tables, without the rest of pydicom.

A cold start needs a few names and VRs. pydicom's own functions give them too, but importing any of its
modules loads the whole package, some 100 ms; its tables are two modules with nothing else, 8 ms.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from importlib.machinery import PathFinder
from typing import Any

# pydicom's entries: VR, multiplicity, name, retired or not; a public one ends with its keyword.
_Public = tuple[str, str, str, str, str]
_Private = tuple[str, str, str, str]


def dictionary_vr(tag: int) -> str:
    """Return the VR of a public element, or several, like `US or SS`.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _public_entry(tag)[0]


def dictionary_name(tag: int) -> str:
    """Return the dictionary's name of a public element.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _public_entry(tag)[2]


def dictionary_vm(tag: int) -> str:
    """Return the multiplicity of a public element, like `1`, `2` or `1-n`.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _public_entry(tag)[1]


def is_repeated(tag: int) -> bool:
    """Return True for a later one of several elements that the dictionary lists once, like 6002,0010."""
    if tag in _public():
        return False
    return next((tag != bits for bits, mask, _ in _repeaters() if tag & mask == bits), False)


def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a creator's element.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _private_entry(tag, creator)[0]


def private_vm(tag: int, creator: str) -> str:
    """Return the multiplicity of a creator's element.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _private_entry(tag, creator)[1]


def private_name(tag: int, creator: str) -> str:
    """Return the dictionary's name of a creator's element.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _private_entry(tag, creator)[2]


def keyword(tag: int) -> str:
    """Return the keyword of a tag, or its `gggg,eeee` where the dictionary has none."""
    try:
        word = _public_entry(tag)[4]
    except KeyError:
        word = ""
    return word or f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


def tag_of(name: str) -> int:
    """Return the tag of a keyword.

    Raises:
        KeyError: The dictionary lacks it.
    """
    return _tags()[name]


@cache
def _tags() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in _public().items()}


def _public_entry(tag: int) -> _Public:
    entry = _public().get(tag)
    if entry is None and not tag >> 16 & 1:
        repeaters = (entry for bits, mask, entry in _repeaters() if tag & mask == bits)
        entry = next(repeaters, None)
    if entry is None:
        raise KeyError(tag)
    return entry


def _private_entry(tag: int, creator: str) -> _Private:
    elements = _private()[creator]
    group, element = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    # Most stand for any block (PS3.5 7.8.1), some for one, a few for any group.
    for key in (group + element, f"{group}xx{element[2:]}", f"{group[:2]}xxxx{element[2:]}"):
        if key in elements:
            return elements[key]
    raise KeyError(tag)


@cache
def _public() -> dict[int, _Public]:
    entries: dict[int, _Public] = _table("_dicom_dict").DicomDictionary
    return entries


@cache
def _private() -> dict[str, dict[str, _Private]]:
    entries: dict[str, dict[str, _Private]] = _table("_private_dict").private_dictionaries
    return entries


@cache
def _repeaters() -> list[tuple[int, int, _Public]]:
    """Return the entries that stand for several groups or elements, like 60xx,3000: their bits and mask."""
    return [
        (
            int(pattern.replace("x", "0"), 16),
            int("".join("0" if digit == "x" else "F" for digit in pattern), 16),
            entry,
        )
        for pattern, entry in _table("_dicom_dict").RepeatersDictionary.items()
    ]


@cache
def _table(name: str) -> Any:  # noqa: ANN401 - a module
    """Return one of pydicom's self-contained modules: pydicom's own copy where it is loaded."""
    full_name = f"pydicom.{name}"
    package = None if "pydicom" in sys.modules else importlib.util.find_spec("pydicom")
    spec = PathFinder.find_spec(full_name, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        return importlib.import_module(full_name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
