"""Find the values that no column of an index restores, by reading every column back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview.archive.index.cells import (
    cells_of,
    element_of_cell,
    is_hash,
    tag_of_field,
    vr_of_field,
)
from dicom_series_preview.archive.index.element_columns import sequence_text
from dicom_series_preview.sources.headers.dicom_json import element_to_json
from dicom_series_preview.sources.headers.elements import BULK_VRS, Bulk, Element, Item, tag_key

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_bytes(elements: Sequence[Element | None], remainders: Sequence[dict[str, Any]]) -> None:
    """Keep the bytes of short values and lookup tables: columns hold only sizes and hashes."""
    for element, remainder in zip(elements, remainders, strict=True):
        if element is not None and isinstance(element.value, Bulk) and element.value.data is not None:
            remainder[tag_key(element.tag)] = element_to_json(element)


def keep_apart(
    field: pa.Field,
    values: pa.Array,
    elements: Sequence[Element | None],
    remainders: Sequence[dict[str, Any]],
) -> None:
    """Read a column back, one cell per object, and keep apart what it does not restore exactly."""
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
    """Keep apart elements that an object has in another block than most: the column restores their tag.

    Args:
        tag: The column's tag.
        elements: Each object's element.
        headers: The objects.
        remainders: By object, the elements kept apart; None for a tag that it lacks.
    """
    for element, header, remainder in zip(elements, headers, remainders, strict=True):
        if element is not None and element.tag != tag:
            in_place = header.get(tag)
            remainder[tag_key(tag)] = None if in_place is None else element_to_json(in_place)
            remainder[tag_key(element.tag)] = element_to_json(element)


def _gives_all_back(elements: Sequence[Element | None], vr: str, column: pa.Array) -> bool:
    """Return True where a column of numbers or text restores every element; False when in doubt."""
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
    # A type can lose nothing but digits of a real number.
    kind = column.type.value_type if is_list else column.type
    exact = pa.float64() if pa.types.is_floating(kind) else kind
    exact = pa.list_(exact) if is_list else exact
    try:
        # Not `cast`, whose first use takes 30 ms.
        given = column if column.type == exact else pa.array(column.to_pylist(), exact)
        return bool(given.equals(pa.array(values, exact)))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False


def _gives_back(element: Element | None, tag: int, vr: str, cell: Any) -> bool:  # noqa: ANN401 - Arrow's values
    """Return True where a cell restores exactly this element, or its absence."""
    if element is None:
        return cell is None
    if element.vr != vr:
        return False
    if vr in BULK_VRS:
        return cell is not None
    if vr == "SQ":
        return cell is not None and sequence_text(element) == cell
    return element_of_cell(tag, vr, cell) == element
