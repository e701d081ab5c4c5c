"""The names and types of elements' columns, as the dictionary declares them (PS3.6)."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

from dicom_series_preview.archive.index.schema import BY_NAME
from dicom_series_preview.sources.headers.dictionary import (
    dictionary_name,
    dictionary_vm,
    dictionary_vr,
    is_repeated,
    keyword,
    private_name,
    private_vm,
    private_vr,
)
from dicom_series_preview.sources.headers.elements import tag_key

# The Arrow type of each numeric VR; everything else is text.
NUMBER_TYPES = {
    **dict.fromkeys(("IS", "SS", "US", "SL"), pa.int32()),
    **dict.fromkeys(("UL", "SV"), pa.int64()),
    "UV": pa.uint64(),
    **dict.fromkeys(("DS", "FD"), pa.float64()),
    "FL": pa.float32(),
}


def column_name(tag: int, creator: str) -> str:
    """Return the name of an element's own column: keyword, or `gggg,ee:CREATOR` of a private element.

    The tag follows a keyword that the product uses for something else, or that several elements share, like
    those of overlay planes.
    """
    if creator:
        return f"{tag >> 16:04x},{tag & 0xFF:02x}:{creator}"
    name = keyword(tag)
    is_taken = name in BY_NAME and BY_NAME[name].tag != tag
    return f"{name}_{tag_key(tag)}" if is_taken or is_repeated(tag) else name


@lru_cache(maxsize=4096)
def declared(tag: int, creator: str) -> tuple[tuple[str, ...], bool]:
    """Return the dictionary's VRs of an element, if any, and whether it can have several values.

    Args:
        tag: The element.
        creator: The creator of its private block, or empty.
    """
    if tag & 0xFFFF == 0:
        return ("UL",), False
    if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        return ("LO",), False
    try:
        if tag >> 16 & 1:
            # Ignore the block, which column names omit; the dictionary distinguishes a few.
            tag = tag & 0xFFFF00FF | 0x1000
            vrs, multiplicity = private_vr(tag, creator), private_vm(tag, creator)
        else:
            vrs, multiplicity = dictionary_vr(tag), dictionary_vm(tag)
    except KeyError:
        vrs, multiplicity = "UN", ""
    # With an unknown VR, the dictionary says nothing.
    known = vrs not in {"UN", "NONE"}
    return tuple(vrs.replace("_", " or ").split(" or ")) if known else (), not known or multiplicity != "1"


def element_type(tag: int, creator: str, vr: str) -> pa.DataType:
    """Return the Arrow type of an element's column.

    Args:
        tag: The element.
        creator: The creator of its private block, or empty.
        vr: The VR of its column: the dictionary's, or a text VR for an element that it lacks.
    """
    kind = NUMBER_TYPES.get(vr, pa.utf8())
    return pa.list_(kind) if declared(tag, creator)[1] and vr != "SQ" else kind


def element_description(tag: int, creator: str) -> str:
    """Return the dictionary's name of an element, or empty."""
    try:
        if tag >> 16 & 1:
            return private_name(tag, creator).strip("[]") if creator else ""
        return dictionary_name(tag)
    except KeyError:
        return ""
