"""Read any element of a few slices: in a frame's functional groups, in the shared ones, or in its object.

`elements` reads the few that can be dimensions, of all slices of a stack: it parses no more than those need.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.declared import column_name
from dicom_series_preview.archive.index.records import PER_FRAME_FUNCTIONAL_GROUPS, SHARED_FUNCTIONAL_GROUPS
from dicom_series_preview.sources.headers.dicom_json import element_to_json
from dicom_series_preview.sources.headers.elements import all_values, tag_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from dicom_series_preview.archive.index.index import Index


@dataclass(frozen=True)
class Cells:
    """The cells of an index's slices.

    Attributes:
        index: The index.
    """

    index: Index

    def values(self, rows: Sequence[int], keyword: str, tag: int) -> list[Any]:
        """Return the value of an element in each row, a tuple of several, None where a row has none.

        What holds for a frame wins over what its object has (PS3.3 C.7.6.16).

        Args:
            rows: Rows of the index.
            keyword: The element's keyword, or a private element's column.
            tag: Its tag.
        """
        of_objects = self._of_objects(rows, keyword, tag)
        key = tag_key(tag)
        return [self._groups(row).get(key, own) for row, own in zip(rows, of_objects, strict=True)]

    def _of_objects(self, rows: Sequence[int], keyword: str, tag: int) -> list[Any]:
        constant = self.index.constants.get(tag)
        if constant is not None:
            return [_one(list(all_values(constant)))] * len(rows)
        table = self.index.table
        if keyword not in table.column_names:
            return [None] * len(rows)
        column = table[keyword]
        return [_one(column[row].as_py()) for row in rows]

    def _groups(self, row: int) -> Mapping[str, Any]:
        """The elements in the functional groups of a row's frame, its own before the shared ones."""
        if not self._texts:
            return self._shared
        leaves: dict[str, Any] = dict(self._shared)
        for texts in self._texts:
            text = texts[row].as_py()
            if text:
                leaves |= _read(text)
        return leaves

    @cached_property
    def _texts(self) -> list[pa.ChunkedArray]:
        """The columns of functional groups as DICOM JSON: the objects' shared ones, then the frames' own."""
        table = self.index.table
        names = [column_name(tag, "") for tag in (SHARED_FUNCTIONAL_GROUPS, PER_FRAME_FUNCTIONAL_GROUPS)]
        return [table[name] for name in names if name in table.column_names]

    @cached_property
    def _shared(self) -> Mapping[str, Any]:
        """The elements in the functional groups that all frames of all objects share."""
        element = self.index.constants.get(SHARED_FUNCTIONAL_GROUPS)
        return {} if element is None else _leaves(element_to_json(element).get("Value", []))


@lru_cache(maxsize=4096)
def _read(text: str) -> dict[str, Any]:
    return _leaves(json.loads(text))


def _one(values: Any) -> Any:  # noqa: ANN401 - a cell
    """A value as it is, several as a tuple, None for none."""
    if not isinstance(values, list):
        return values
    return tuple(values) if len(values) > 1 else (values[0] if values else None)


def _leaves(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values of each element in items and the sequences in them, by tag; the outermost wins."""
    found: dict[str, Any] = {}
    inner: list[Mapping[str, Any]] = []
    for item in items:
        for key, element in item.items():
            values = element.get("Value") or []
            if element.get("vr") == "SQ":
                inner += values
            elif values and key not in found:
                found[key] = _one(values)
    if inner:
        found = _leaves(inner) | found
    return found
