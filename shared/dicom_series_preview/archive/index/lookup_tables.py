"""Build lookup tables and palettes from the elements in a cell (PS3.3 C.11.1, C.7.6.3.1.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.cells import items_of
from dicom_series_preview.base.image import LookupTable, Palette
from dicom_series_preview.sources.headers.elements import Bulk, Element, all_values

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_WORD = 0xFFFF
_LUT_DESCRIPTOR, _LUT_EXPLANATION, _LUT_DATA = 0x00283002, 0x00283003, 0x00283006
# The tags of green and blue follow.
_RED_DESCRIPTOR, _RED_DATA, _RED_SEGMENTED = 0x00281101, 0x00281201, 0x00281221


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input values of a lookup table, which decide the sign of its first one.

    Attributes:
        lowest: The lowest possible value.
        highest: The highest possible value.
        explicit: The writer chose the VRs.
    """

    lowest: float
    highest: float
    explicit: bool

    def first_value(self, word: int, vr: str) -> int:
        """Return the first value that a table maps, from its descriptor's 16 bits (PS3.3 C.11.2.1.1).

        Of its two readings, take the one among the inputs. If both or neither are, take the VR's if the
        writer chose it, else the signed one if there are negative inputs.
        """
        unsigned, signed = word, word - 65536 if word >= 32768 else word
        is_signed = self.lowest < 0
        among = [self.lowest <= value <= self.highest for value in (unsigned, signed)]
        if among[0] != among[1]:
            is_signed = among[1]
        elif self.explicit:
            is_signed = vr == "SS" or (is_signed and not any(among))
        return signed if is_signed else unsigned


def tables_of(cells: Mapping[str, Any], name: str, inputs: Inputs) -> tuple[LookupTable, ...]:
    """Return the lookup tables of a modality or VOI LUT sequence, without the broken ones."""
    tables = []
    for elements in items_of(name, cells[name]):
        table = _table(elements.get(_LUT_DESCRIPTOR), elements.get(_LUT_DATA), inputs)
        if table is not None:
            explanation = elements.get(_LUT_EXPLANATION)
            text = str(explanation.first or "") if explanation else ""
            tables.append(LookupTable(table.entries, table.first_value, table.bits, table.data, text))
    return tuple(tables)


def _table(descriptor: Element | None, data: Element | None, inputs: Inputs) -> LookupTable | None:
    """Build a lookup table (PS3.3 C.11.1.1.1) from descriptor (entries, first value, bits) and data."""
    described = all_values(descriptor)
    if descriptor is None or data is None or len(described) != 3:
        return None
    entries, first, bits = (int(value) for value in described)
    raw = data.value.data if isinstance(data.value, Bulk) else None
    if isinstance(data.value, tuple):
        raw = b"".join((int(v) & 0xFFFF).to_bytes(2, "little") for v in data.value)  # type: ignore[arg-type]
    if raw is None:
        return None
    entries = entries % 65536 or 65536
    return LookupTable(entries, inputs.first_value(first % 65536, descriptor.vr), bits, raw)


def palette_of(text: str, inputs: Inputs) -> Palette | None:
    """Build the palette colour tables (PS3.3 C.7.6.3.1.5); None unless all three are there."""
    (elements,) = items_of("Palette", f"[{text}]")
    segmented = _RED_SEGMENTED in elements
    tables = []
    for colour in range(3):
        data = (_RED_SEGMENTED if segmented else _RED_DATA) + colour
        table = _table(elements.get(_RED_DESCRIPTOR + colour), elements.get(data), inputs)
        if table is None:
            return None
        tables.append(table)
    red, green, blue = tables
    return Palette(red, green, blue, segmented=segmented)
