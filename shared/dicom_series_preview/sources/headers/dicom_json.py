"""Convert elements to DICOM JSON (PS3.18 Annex F), and back."""

from __future__ import annotations

import base64
import hashlib
import math
from typing import TYPE_CHECKING, Any

from dicom_series_preview.sources.headers.elements import BULK_VRS, REAL_VRS, Bulk, Element, Item, tag_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_PERSON_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def to_json(item: Mapping[int, Element]) -> dict[str, Any]:
    """Convert a data set to DICOM JSON (PS3.18 Annex F).

    Bulk data whose bytes were not kept become a BulkDataURI: `urn:sha256:HASH?size=BYTES`.
    """
    return {tag_key(tag): element_to_json(element) for tag, element in sorted(item.items())}


def element_to_json(element: Element) -> dict[str, Any]:
    """Convert one element to DICOM JSON."""
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
    """Write NaN and infinity, which JSON lacks, as the text that PS3.18 F.2.3 allows."""
    if isinstance(number, float) and not math.isfinite(number):
        return str(number)
    return number


def _name_to_json(name: str | None) -> dict[str, str] | None:
    if name is None:
        return None
    return {group: part for group, part in zip(_PERSON_NAME_GROUPS, name.split("="), strict=False) if part}


def from_json(document: Mapping[str, Any]) -> Item:
    """Read a data set from DICOM JSON that `to_json` wrote."""
    return {int(key, 16): element_from_json(int(key, 16), body) for key, body in document.items()}


def element_from_json(tag: int, body: Mapping[str, Any]) -> Element:
    """Read one element from its DICOM JSON."""
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
