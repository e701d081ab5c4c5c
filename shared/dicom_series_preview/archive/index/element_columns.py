"""Elements -> their columns.

A column's name and type follow from its tag and private creator by the dictionary, never from values, so that
the indices of all series read as one table. What a column cannot hold, or give back as it was, is kept apart.
Of an element that the dictionary does not have, the column is a list of texts, whatever VR a file writes.
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

# Of the column of an element that the dictionary does not have, unless its values are binary.
_TEXTS_VR = "UC"
# Of its column, so much lies in memory and stands for all rows, again and again; the file has the value once.
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
        vr: The VR that most objects have of those that fit into the column.
        column_vr: The dictionary's VR, which decides the column's type; where it has none, a binary one or
            the one of texts.
    """

    tag: int
    creator: str
    vr: str
    column_vr: str

    @lru_cache(maxsize=4096)  # noqa: B019 - a value, of which there are not many more
    def fields(self) -> tuple[pa.Field, ...]:
        """The columns' fields: one, or size and hash of a binary element."""
        name = column_name(self.tag, self.creator)
        metadata = field_metadata(self.tag, self.vr, element_description(self.tag, self.creator))
        if self.column_vr in BULK_VRS:
            kinds = {f"{name}_Size": pa.int32(), f"{name}_Hash": pa.utf8()}
        else:
            kinds = {name: element_type(self.tag, self.creator, self.column_vr)}
        return tuple(pa.field(name, kind, metadata=metadata) for name, kind in kinds.items())

    def cells(self, elements: Sequence[Element | None]) -> list[list[Any]]:
        """The cells of the columns; None of elements that do not fit."""
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
    """The column of an element, two of a binary one; none of one that has a fixed column.

    Args:
        tag: Its tag.
        elements: It in each object.
        creator: Of a private one, the creator of its block.
    """
    if tag in FIXED_TAGS:
        return []
    kind, fitting = _fitting(tag, elements, creator)
    return [
        (field, _array(cells, field.type))
        for field, cells in zip(kind.fields(), kind.cells(fitting), strict=True)
    ]


def constant_columns(constants: Item, rows: int) -> list[tuple[pa.Field, pa.ChunkedArray]]:
    """The columns of what all objects have with the same value: it stands in every row, and once in a file.

    Private elements, sequences and long values have none.

    Args:
        constants: The elements.
        rows: How many rows.
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
    """The kind of element that most objects have, and the elements that fit into its column."""
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
    """The kind of an element that no object has as the dictionary says."""
    vr = declared(tag, creator)[0][0]
    return _Kind(tag, creator, vr, vr)


def _stands_for(vr: str, declared_vrs: tuple[str, ...]) -> str:
    """The VR whose column holds values of a VR, one of the dictionary's; empty where none does."""
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
    """The items of a sequence as DICOM JSON; None where there is no item."""
    if element is None or not element.value:
        return None
    return json.dumps(element_to_json(element)["Value"], ensure_ascii=False)


def _texts_cell(element: Element | None) -> list[str | None] | None:
    """The values of an element that the dictionary does not have as texts, items as DICOM JSON."""
    if element is None or not element.value:
        return None
    if element.vr == "SQ":
        return [json.dumps(item, ensure_ascii=False) for item in element_to_json(element)["Value"]]
    return [None if value is None else _as_text(value, element.vr) for value in all_values(element)]


def _as_text(value: Any, vr: str) -> str:  # noqa: ANN401 - one of an element's values
    """A value as text: of a number the fewest digits that tell it from all others of its VR."""
    if isinstance(value, float):
        return str(np.float32(value) if vr == "FL" else value).removesuffix(".0")
    return str(value)


def _number_cell(values: Sequence[Any]) -> float | None:
    return values[0] if len(values) == 1 and not isinstance(values[0], str) else None


def _numbers_cell(values: Sequence[Any]) -> list[float | None] | None:
    return None if any(isinstance(value, str) for value in values) else list(values)


def _text_cell(values: Sequence[Any]) -> str:
    r"""The text as it is stored: a backslash in a description makes values of it, of which there is one."""
    return values[0] if len(values) == 1 else "\\".join(value or "" for value in values)


def _array(cells: list[Any], kind: pa.DataType) -> pa.Array:
    """Cells as an array; those that the type cannot hold are empty."""
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
