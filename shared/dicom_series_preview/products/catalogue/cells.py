"""Cut the catalogue's cells, and measure their text: no header may fill memory or an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# DICOM's longest text of one value (LT). A longer one is cut.
_LONGEST = 10_240
# DICOM's longest decimal string, with the backslash after it.
_OF_A_NUMBER = 17


def cut_cells(column: pa.Array) -> pa.Array:
    """Return a column whose texts have at most 10,240 characters.

    A list has at most as many in all, written as DICOM does: with a backslash between values.

    Args:
        column: The column; its text may be dictionary-encoded.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        cut = cut_cells(column.dictionary)
        return column if cut is column.dictionary else _coded(column.indices, cut)
    if pa.types.is_string(kind):
        is_short = (pc.max(pc.binary_length(column)).as_py() or 0) <= _LONGEST
        return column if is_short else pc.utf8_slice_codeunits(column, 0, _LONGEST)
    return _cut_lists(column) if pa.types.is_list(kind) else column


def text_size(column: pa.Array) -> int:
    """Return the bytes of a column's texts in UTF-8, those in lists as well."""
    if pa.types.is_list(column.type):
        column = column.flatten()
    return (pc.sum(pc.binary_length(column)).as_py() or 0) if pa.types.is_string(column.type) else 0


def _coded(places: pa.Array, values: pa.Array) -> pa.Array:
    """Return a dictionary-encoded column; texts that were told apart by their ends alone become one."""
    unique = values.dictionary_encode()
    # A place may be null, and so may the value at it.
    return pa.DictionaryArray.from_arrays(unique.indices.take(places), unique.dictionary)


def _cut_lists(column: pa.Array) -> pa.Array:
    values = column.flatten()
    is_text = pa.types.is_string(values.type)
    if is_text:
        sizes = pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    else:
        sizes = np.full(len(values), _OF_A_NUMBER, np.int64)
    counts = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(counts)
    before = np.concatenate([[0], np.cumsum(sizes)])
    too_long = np.flatnonzero(before[ends] - before[ends - counts] > _LONGEST + 1)
    if not len(too_long):
        return column
    # Rare, and only these become Python's objects, one after the other.
    parts, done = [], 0
    for row in too_long.tolist():
        parts += [column.slice(done, row - done), pa.array([_cut_list(column[row])], column.type)]
        done = row + 1
    return pa.concat_arrays([*parts, column.slice(done)])


def _cut_list(cell: pa.ListScalar) -> list[Any]:
    room = _LONGEST + 1
    kept: list[Any] = []
    # Each value takes a character at least.
    for value in cell.values.slice(0, room).to_pylist():
        size = len(value) + 1 if isinstance(value, str) else 1 if value is None else _OF_A_NUMBER
        if size > room:
            if isinstance(value, str) and room > 1:
                kept.append(value[: room - 1])
            break
        kept.append(value)
        room -= size
    return kept
