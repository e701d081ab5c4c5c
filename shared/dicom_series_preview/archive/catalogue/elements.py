"""Read what can be a dimension, of all slices of a stack; `cells` reads any element of a few slices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.axes import MACROS
from dicom_series_preview.archive.index.declared import column_name
from dicom_series_preview.archive.index.records import PER_FRAME_FUNCTIONAL_GROUPS, SHARED_FUNCTIONAL_GROUPS
from dicom_series_preview.sources.headers.dicom_json import element_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.catalogue.axes import Element
    from dicom_series_preview.archive.index.index import Index

_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Elements:
    """The elements of some slices, as far as they differ.

    Attributes:
        index: The slices' index.
        rows: Their rows in it, at least one.
    """

    index: Index
    rows: Sequence[int]

    def values(self, element: Element) -> list[Any] | None:
        """Return the value of an element in each row, None where a row has none; None if no row has any.

        What holds for a frame wins over what its object has (PS3.3 C.7.6.16). An element that all objects
        have with one value tells nothing apart and counts as missing.
        """
        if self._names.isdisjoint(element.columns):
            cells: list[Any] = [None] * len(self.rows)
        elif len(element.columns) == 1:
            cells = self._cells(element.columns[0])
        else:
            cells = list(zip(*map(self._cells, element.columns), strict=True))
        if element.group and self._groups is not None:
            cells = [group.get(element.group, cell) for group, cell in zip(self._groups, cells, strict=True)]
        found = [None if cell is None else element.read(cell) for cell in cells]
        return found if any(value is not None for value in found) else None

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.index.table.column_names)

    def _cells(self, name: str) -> list[Any]:
        """Return a column's cells in the rows; None for a column that is not there."""
        if name not in self._names:
            return [None] * len(self.rows)
        # A stack's rows are neighbours or nearly so; one slice at a time is a hundred times slower.
        first, last = min(self.rows), max(self.rows)
        cells = self.index.table[name].slice(first, last - first + 1).to_pylist()
        return [cells[row - first] for row in self.rows]

    @cached_property
    def _groups(self) -> list[Mapping[str, Any]] | None:
        """The elements in each row's functional groups, its own before the shared; None without groups."""
        shared = column_name(SHARED_FUNCTIONAL_GROUPS, "")
        own = column_name(PER_FRAME_FUNCTIONAL_GROUPS, "")
        constant = self.index.constants.get(SHARED_FUNCTIONAL_GROUPS)
        if constant is None and self._names.isdisjoint((shared, own)):
            return None
        texts = json.dumps(element_to_json(constant).get("Value", [])) if constant is not None else ""
        columns = [[texts] * len(self.rows) if texts else self._cells(shared), self._cells(own)]
        known: dict[str, dict[str, Any]] = {"": {}}
        groups: list[Mapping[str, Any]] = []
        for of_object, of_frame in zip(*columns, strict=True):
            base = of_object or ""
            if base not in known:
                known[base] = _read(base)
            groups.append({**known[base], **_read(of_frame)} if of_frame else known[base])
        return groups


def _read(text: str) -> dict[str, Any]:
    """Return the elements in the macros of a groups item, by tag.

    Only the few macros that matter are parsed: an item has several thousand characters, and a series up to
    100,000 items.
    """
    found: dict[str, Any] = {}
    for macro in MACROS:
        key = f'"{macro}": '
        at = text.find(key)
        if at >= 0:
            for item in _DECODER.raw_decode(text, at + len(key))[0].get("Value", ())[:1]:
                _gather(item, found)
    return found


def _gather(item: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Add the elements of an item, and of the first items of its sequences, to those found."""
    for key, element in item.items():
        values = element.get("Value") or ()
        if element.get("vr") == "SQ":
            for inner in values[:1]:
                _gather(inner, found)
        elif values and key not in found:
            found[key] = values[0] if len(values) == 1 else values
