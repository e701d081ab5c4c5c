"""Convert elements to their columns.

The dictionary decides a column's name and type from tag and private creator, never from values, so that the
indices of all series read as one table. Values that a column cannot hold, or restore exactly, are stored
apart. An element that the dictionary lacks gets a list of texts, whatever VR a file writes.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.index.declared import (
    column_name,
    declared,
    element_description,
    element_type,
)
from dicom_series_preview.archive.index.schema import FIXED_TAGS, LONGEST_CONSTANT_BYTES, field_metadata
from dicom_series_preview.sources.headers.dicom_json import element_to_json
from dicom_series_preview.sources.headers.elements import (
    BULK_VRS,
    INTEGER_VRS,
    REAL_VRS,
    Bulk,
    Element,
    Item,
    all_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# For the column of an element that the dictionary lacks, unless its values are binary.
_TEXTS_VR = "UC"
# A constant's column repeats a block of this size in memory; the file has the value once.
_BLOCK_BYTES, _BLOCK_ROWS = 65536, 1024
_HELD = {
    "bulk": {"bulk"},
    "integer": {"integer"},
    "real": {"integer", "real"},
    "sequence": {"sequence"},
    "text": {"text"},
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """The meaning of a tag in a series' objects.

    Attributes:
        tag: The tag.
        creator: The creator of its private block, or empty.
        vr: The most frequent VR among those that fit into the column.
        column_vr: The dictionary's VR, which decides the column's type; if it has none, a binary VR or
            `_TEXTS_VR`.
    """

    tag: int
    creator: str
    vr: str
    column_vr: str

    @lru_cache(maxsize=4096)  # noqa: B019 - there are few of these values
    def fields(self) -> tuple[pa.Field, ...]:
        """Return the columns' fields: one, or size and hash of a binary element."""
        name = column_name(self.tag, self.creator)
        metadata = field_metadata(self.tag, self.vr, element_description(self.tag, self.creator))
        if self.column_vr in BULK_VRS:
            kinds = {f"{name}_Size": pa.int32(), f"{name}_Hash": pa.utf8()}
        else:
            kinds = {name: element_type(self.tag, self.creator, self.column_vr)}
        return tuple(pa.field(name, kind, metadata=metadata) for name, kind in kinds.items())

    def cells(self, elements: Sequence[Element | None]) -> list[list[Any]]:
        """Return the columns' cells; None for elements that do not fit."""
        if self.column_vr in BULK_VRS:
            bulks = [element.value if element else None for element in elements]
            return [
                [bulk.size if isinstance(bulk, Bulk) else None for bulk in bulks],
                [bulk.sha256 if isinstance(bulk, Bulk) else None for bulk in bulks],
            ]
        if not declared(self.tag, self.creator)[0]:
            return [[_texts_cell(element) for element in elements]]
        if self.column_vr == "SQ":
            return [[sequence_text(element) for element in elements]]
        convert = self._converter()
        return [[convert(all_values(e)) if e and e.value else None for e in elements]]

    def _converter(self) -> Callable[[Sequence[Any]], Any]:
        is_number = self.column_vr in INTEGER_VRS or self.column_vr in REAL_VRS
        if pa.types.is_list(element_type(self.tag, self.creator, self.column_vr)):
            return _numbers_cell if is_number else list
        return _number_cell if is_number else _text_cell


def columns_of(
    tag: int, elements: Sequence[Element | None], creator: str = ""
) -> list[tuple[pa.Field, pa.Array]]:
    """Return an element's column, two for a binary one; none for one with a fixed column.

    Args:
        tag: Its tag.
        elements: Each object's element.
        creator: The creator of its block, if it is private.
    """
    if tag in FIXED_TAGS:
        return []
    kind, fitting = _fitting(tag, elements, creator)
    return [
        (field, _array(cells, field.type))
        for field, cells in zip(kind.fields(), kind.cells(fitting), strict=True)
    ]


def constant_columns(constants: Item, rows: int) -> list[tuple[pa.Field, pa.ChunkedArray]]:
    """Return the columns of elements with the same value in all objects: in every row, but once in a file.

    Private elements, sequences and long values have no column.

    Args:
        constants: The elements.
        rows: The number of rows.
    """
    columns: list[tuple[pa.Field, pa.ChunkedArray]] = []
    for tag, element in sorted(constants.items()):
        if tag >> 16 & 1 or element.vr == "SQ":
            continue
        for field, cell in columns_of(tag, [element]):
            if not cell.null_count and cell.nbytes <= LONGEST_CONSTANT_BYTES:
                length = max(1, min(rows, _BLOCK_ROWS, _BLOCK_BYTES // max(cell.nbytes, 1)))
                block = pa.repeat(cell[0], length)
                blocks, rest = divmod(rows, length)
                chunks = [block] * blocks + ([block.slice(0, rest)] if rest else [])
                columns.append((field, pa.chunked_array(chunks, field.type)))
    return columns


def _fitting(
    tag: int, elements: Sequence[Element | None], creator: str
) -> tuple[_Kind, Sequence[Element | None]]:
    """Return the kind of element that most objects have, and the elements that fit its column."""
    counts = Counter(element.vr for element in elements if element is not None)
    column_vrs = {vr: _stands_for(vr, declared(tag, creator)[0]) for vr in counts}
    vr = max(counts, key=lambda vr: (bool(column_vrs[vr]), counts[vr], vr))
    column_vr = column_vrs[vr]
    if not column_vr:
        return _empty(tag, creator), [None] * len(elements)
    kind = _Kind(tag, creator, vr, column_vr)
    if len(counts) == 1:
        return kind, elements
    return kind, [e if e is not None and column_vrs[e.vr] == column_vr else None for e in elements]


def _empty(tag: int, creator: str) -> _Kind:
    """Return the kind of an element that no object has as the dictionary declares it."""
    vr = declared(tag, creator)[0][0]
    return _Kind(tag, creator, vr, vr)


def _stands_for(vr: str, declared_vrs: tuple[str, ...]) -> str:
    """Return the dictionary's VR whose column can hold values of a VR; empty if none can."""
    if not declared_vrs:
        return vr if vr in BULK_VRS else _TEXTS_VR
    if vr in declared_vrs:
        return vr
    return next((one for one in declared_vrs if _sort(vr) in _HELD[_sort(one)]), "")


def _sort(vr: str) -> str:
    if vr in BULK_VRS:
        return "bulk"
    if vr in INTEGER_VRS:
        return "integer"
    return "real" if vr in REAL_VRS else "sequence" if vr == "SQ" else "text"


def sequence_text(element: Element | None) -> str | None:
    """Write the items of a sequence as DICOM JSON; None without items."""
    if element is None or not element.value:
        return None
    return json.dumps(element_to_json(element)["Value"], ensure_ascii=False)


def _texts_cell(element: Element | None) -> list[str | None] | None:
    """Return the values of an element that the dictionary lacks as texts, items as DICOM JSON."""
    if element is None or not element.value:
        return None
    if element.vr == "SQ":
        return [json.dumps(item, ensure_ascii=False) for item in element_to_json(element)["Value"]]
    return [None if value is None else _as_text(value, element.vr) for value in all_values(element)]


def _as_text(value: Any, vr: str) -> str:  # noqa: ANN401 - one of an element's values
    """Write a value as text; a number with the fewest digits that identify it within its VR."""
    if isinstance(value, float):
        return str(np.float32(value) if vr == "FL" else value).removesuffix(".0")
    return str(value)


def _number_cell(values: Sequence[Any]) -> float | None:
    return values[0] if len(values) == 1 and not isinstance(values[0], str) else None


def _numbers_cell(values: Sequence[Any]) -> list[float | None] | None:
    return None if any(isinstance(value, str) for value in values) else list(values)


def _text_cell(values: Sequence[Any]) -> str:
    r"""Return a text as stored: a backslash in a description has split it into values."""
    return values[0] if len(values) == 1 else "\\".join(value or "" for value in values)


def _array(cells: list[Any], kind: pa.DataType) -> pa.Array:
    """Build an array from cells; those that the type cannot hold are empty."""
    try:
        return pa.array(cells, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([cell if _is_held(cell, kind) else None for cell in cells], kind)


def _is_held(cell: Any, kind: pa.DataType) -> bool:  # noqa: ANN401 - one of Arrow's values
    try:
        pa.array([cell], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False
    return True
