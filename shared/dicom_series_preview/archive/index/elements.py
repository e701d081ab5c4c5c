"""Elements <-> the cells of their columns.

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

from dicom_series_preview.archive.index.cells import items_of
from dicom_series_preview.archive.index.schema import (
    FIXED_TAGS,
    column_name,
    declared,
    element_description,
    element_type,
    field_metadata,
)
from dicom_series_preview.sources.headers.dicom_json import element_to_json
from dicom_series_preview.sources.headers.elements import (
    BULK_VRS,
    INTEGER_VRS,
    ONE_TEXT_VRS,
    REAL_VRS,
    Bulk,
    Element,
    all_values,
    creator_tag,
    is_in_block,
    private_creator,
    tag_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.sources.headers.elements import Item

# Of the column of an element that the dictionary does not have, unless its values are binary.
_TEXTS_VR = "UC"
# Of a constant that is a column. A value in every row must be short: a vector has a number for each frame.
LONGEST_CONSTANT_BYTES = 1024
# Of its column, so much lies in memory and stands for all rows, again and again; the file has the value once.
_BLOCK_BYTES, _BLOCK_ROWS = 65536, 1024


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a tag of a series' objects stands for.

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
            return [[_sequence_text(element) for element in elements]]
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


def by_creator(
    by_tag: Mapping[int, Sequence[Element | None]], headers: Sequence[Item]
) -> Iterator[tuple[int, str, Sequence[Element | None]]]:
    """Elements as they are columns: private ones by their creator, whatever block an object has for it.

    A creator may have several blocks in one object: their elements are told apart by the blocks' order.

    Args:
        by_tag: By tag the element in each object.
        headers: The objects.

    Yields:
        The tag that most objects have, the creator, and the element in each object.
    """
    owners = _owners({creator_tag(tag) for tag in by_tag if is_in_block(tag)}, headers)
    groups: dict[tuple[int, str, int], dict[int, Sequence[Element | None]]] = {}
    for tag, elements in by_tag.items():
        if not is_in_block(tag):
            groups[tag, "", 0] = {tag: elements}
            continue
        of_objects = owners[creator_tag(tag)]
        known = zip(of_objects, elements, strict=True)
        found = {owner for owner, element in known if element is not None}
        for owner in sorted(found):
            known = zip(of_objects, elements, strict=True)
            own = elements if len(found) == 1 else [e if other == owner else None for other, e in known]
            groups.setdefault((tag & 0xFFFF00FF, *owner), {})[tag] = own
    columns = []
    for (_, creator, number), parts in groups.items():
        tag = min(parts, key=lambda tag: (sum(e is None for e in parts[tag]), tag))
        of_tags = zip(*parts.values(), strict=True)
        merged = [next(filter(None, found), None) for found in of_tags] if len(parts) > 1 else parts[tag]
        columns.append((number if creator else 0, tag, creator, merged))
    # The first block of a creator before the next ones, whose columns have longer names.
    for _, tag, creator, merged in sorted(columns, key=lambda column: column[:3]):
        yield tag, creator, merged


def _owners(blocks: Iterable[int], headers: Sequence[Item]) -> dict[int, list[tuple[str, int]]]:
    """By block its creator in each object, and how many of the blocks before are that creator's too.

    Without a creator the number is the block's own.

    Args:
        blocks: The tags of the elements that name the creators.
        headers: The objects.
    """
    owners: dict[int, list[tuple[str, int]]] = {}
    known: list[Counter[tuple[int, str]]] = [Counter() for _ in headers]
    for block in sorted(blocks):
        owners[block] = []
        first = block & 0xFFFF0000 | (block & 0xFF) << 8
        for header, seen in zip(headers, known, strict=True):
            element = header.get(block)
            value = element.first if element is not None else None
            name = b"" if value is None else str(value).encode("ascii", "replace")
            creator = private_creator(first, {block: name})
            owners[block].append((creator, seen[block >> 16, creator] if creator else block & 0xFF))
            seen[block >> 16, creator] += 1
    return owners


def _fitting(
    tag: int, elements: Sequence[Element | None], creator: str
) -> tuple[_Kind, Sequence[Element | None]]:
    """What most objects have of an element, whatever their order, and what fits into its column."""
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


_HELD = {
    "bulk": {"bulk"},
    "integer": {"integer"},
    "real": {"integer", "real"},
    "sequence": {"sequence"},
    "text": {"text"},
}


def _sequence_text(element: Element | None) -> str | None:
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


def _of_text(text: str | None, vr: str) -> str | float | None:
    """The value that a text stands for; where it is no number of its VR, the text."""
    if text is None:
        return None
    try:
        if vr in INTEGER_VRS:
            return int(text)
        return float(np.float32(text) if vr == "FL" else text)
    except ValueError:
        return text


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


def add_bytes(elements: Sequence[Element | None], remainders: Sequence[dict[str, Any]]) -> None:
    """Bytes that are short, or of lookup tables, stay: columns have their sizes and hashes alone."""
    for element, remainder in zip(elements, remainders, strict=True):
        if element is not None and isinstance(element.value, Bulk) and element.value.data is not None:
            remainder[tag_key(element.tag)] = element_to_json(element)


def keep_apart(
    field: pa.Field,
    values: pa.Array,
    elements: Sequence[Element | None],
    remainders: Sequence[dict[str, Any]],
) -> None:
    """Read a column back, a cell an object, and keep apart what it does not give back as it was."""
    tag, vr = tag_of_field(field), vr_of_field(field)
    if is_hash(field) or _gives_all_back(elements, vr, values):
        return
    for element, cell, remainder in zip(elements, cells_of(field, values), remainders, strict=True):
        if not _gives_back(element, tag, vr, cell):
            remainder[tag_key(tag)] = None if element is None else element_to_json(element)


def keep_moved(
    tag: int,
    elements: Sequence[Element | None],
    headers: Sequence[Item],
    remainders: Sequence[dict[str, Any]],
) -> None:
    """Keep apart what an object has in another block than most: its column gives it back at their tag.

    Args:
        tag: The column's tag.
        elements: The element in each object.
        headers: The objects.
        remainders: By object what is kept apart; of a tag that it does not have, None.
    """
    for element, header, remainder in zip(elements, headers, remainders, strict=True):
        if element is not None and element.tag != tag:
            in_place = header.get(tag)
            remainder[tag_key(tag)] = None if in_place is None else element_to_json(in_place)
            remainder[tag_key(element.tag)] = element_to_json(element)


def _gives_all_back(elements: Sequence[Element | None], vr: str, column: pa.Array) -> bool:
    """Whether a column of numbers or text gives every element back; False where each must be looked at."""
    if vr == "SQ" or vr in BULK_VRS:
        return False
    if column.null_count == len(column):
        return not any(elements)
    is_list = pa.types.is_list(column.type)
    values: list[Any] = []
    for element in elements:
        if element is None:
            values.append(None)
        elif element.vr != vr or not element.value or not (is_list or len(element.value) == 1):  # type: ignore[arg-type]
            return False
        else:
            values.append(element.value if is_list else element.value[0])  # type: ignore[index]
    # All that a type may lose are the digits of a real number.
    kind = column.type.value_type if is_list else column.type
    exact = pa.float64() if pa.types.is_floating(kind) else kind
    exact = pa.list_(exact) if is_list else exact
    try:
        # Not `cast`, whose first use loads for 30 ms.
        given = column if column.type == exact else pa.array(column.to_pylist(), exact)
        return bool(given.equals(pa.array(values, exact)))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False


def _gives_back(element: Element | None, tag: int, vr: str, cell: Any) -> bool:  # noqa: ANN401 - Arrow's values
    """Whether a cell stands for exactly this element, or for its absence."""
    if element is None:
        return cell is None
    if element.vr != vr:
        return False
    if vr in BULK_VRS:
        return cell is not None
    if vr == "SQ":
        return cell is not None and _sequence_text(element) == cell
    return element_of_cell(tag, vr, cell) == element


def tag_of_field(field: pa.Field) -> int:
    """The tag of the element that a column holds, or 0."""
    return int((field.metadata or {}).get(b"tag", b"").replace(b",", b"") or b"0", 16)


def vr_of_field(field: pa.Field) -> str:
    """The VR of the elements that a column gives back."""
    vr: bytes = field.metadata[b"vr"]
    return vr.decode()


def is_hash(field: pa.Field) -> bool:
    """Whether a column holds the hashes that belong to the sizes of a binary element."""
    return (field.metadata or {}).get(b"vr", b"").decode() in BULK_VRS and pa.types.is_string(field.type)


def cells_of(field: pa.Field, values: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column's cells as the values of its VR: numbers also where it has texts, whole ones as such."""
    cells: list[Any] = values.to_pylist()
    vr = vr_of_field(field)
    if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
        if vr == "SQ":
            return [cell and f"[{', '.join(cell)}]" for cell in cells]
        if vr in INTEGER_VRS or vr in REAL_VRS:
            return [cell and [_of_text(part, vr) for part in cell] for cell in cells]
        return cells
    if vr not in INTEGER_VRS:
        return cells
    if pa.types.is_floating(field.type):
        return [None if cell is None else int(cell) for cell in cells]
    if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
        return [cell and [None if part is None else int(part) for part in cell] for cell in cells]
    return cells


def element_of_cell(tag: int, vr: str, cell: Any) -> Element | None:  # noqa: ANN401 - one of Arrow's values
    """The element that a cell stands for; None for an empty one."""
    if cell is None:
        return None
    if isinstance(cell, Bulk):
        return Element(tag, vr, cell)
    if vr == "SQ":
        return Element(tag, vr, tuple(items_of("a sequence", cell)))
    if isinstance(cell, list):
        return Element(tag, vr, tuple(cell))
    if isinstance(cell, str) and "\\" in cell and vr not in ONE_TEXT_VRS:
        return Element(tag, vr, tuple(part or None for part in cell.split("\\")))
    return Element(tag, vr, (cell,))


def named_apart(fields: Sequence[pa.Field]) -> list[pa.Field]:
    """The fields; of those with one name all but the first get their tag behind it, again where need be.

    A private creator may reserve several blocks of a group.
    """
    named: dict[str, pa.Field] = {}
    for field in fields:
        name = field.name
        while name in named:
            name = f"{name}_{tag_key(tag_of_field(field))}"
        named[name] = field if name == field.name else field.with_name(name)
    return list(named.values())
