"""Convert elements to the cells of fixed columns."""

from __future__ import annotations

import json
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview.sources.headers.dicom_json import element_to_json
from dicom_series_preview.sources.headers.elements import Bulk, Element

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.archive.index.rows import Rows
    from dicom_series_preview.archive.index.schema import Column

_LIST_LENGTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}


def cells_of_rows(rows: Rows, column: Column) -> list[Any]:
    """Return the cells of a fixed column that holds an element.

    Args:
        rows: The rows.
        column: The column.
    """
    return rows.values(column.tag, partial(_cell, _converter(column)))


def _cell(convert: Callable[[Sequence[Any]], Any], element: Element | None) -> Any:  # noqa: ANN401
    """Convert an element's value to a fixed column's cell; None where it does not fit."""
    if element is None or isinstance(element.value, Bulk) or not element.value:
        return None
    if element.vr != "SQ":
        return convert(element.value)
    text = convert is _first_text
    return json.dumps(element_to_json(element)["Value"], ensure_ascii=False) if text else None


def _converter(column: Column) -> Callable[[Sequence[Any]], Any]:
    """Return the function that converts values to a fixed column's cell, or None where they do not fit."""
    kind = column.type
    if pa.types.is_list(kind):
        length = _LIST_LENGTHS.get(column.name)
        return _all_texts if kind.value_type == pa.utf8() else partial(_all_numbers, kind.value_type, length)
    if kind == pa.utf8():
        return _first_text
    return partial(_first_whole, kind) if pa.types.is_integer(kind) else _first_real


def _first_text(values: Sequence[Any]) -> str | None:
    return values[0] if isinstance(values[0], str) else None


def _all_texts(values: Sequence[Any]) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in values]


def _first_real(values: Sequence[Any]) -> float | None:
    return float(values[0]) if isinstance(values[0], (int, float)) else None


def _first_whole(kind: pa.DataType, values: Sequence[Any]) -> int | None:
    return _whole(values[0], kind) if isinstance(values[0], (int, float)) else None


def _whole(value: float, kind: pa.DataType) -> int | None:
    """Return an integer of an Arrow type; None where the value is no integer, or too large."""
    bits = kind.bit_width - 1
    return int(value) if -(2**bits) <= value < 2**bits and value == int(value) else None


def _all_numbers(kind: pa.DataType, length: int | None, values: Sequence[Any]) -> list[float | None] | None:
    """Return `length` numbers of an Arrow type; without a length any number of them, some perhaps empty."""
    types = set(map(type, values))
    # One window of several can be empty; half a position is useless.
    if not types <= ({int, float} if length else {int, float, NoneType}) or len(values) != (
        length or len(values)
    ):
        return None
    if pa.types.is_integer(kind):
        return [None if value is None else _whole(value, kind) for value in values]
    return list(values) if types == {float} else [None if value is None else float(value) for value in values]
