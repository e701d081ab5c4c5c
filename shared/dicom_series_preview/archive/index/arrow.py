"""Convert columns of numbers to arrays without Arrow's own functions, whose first use is slow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.base.geometry import places

# The columns with numbers have these; Arrow's own `to_pandas_dtype` needs pandas before Arrow 26.
_DTYPES = {pa.int32(): np.int32, pa.float32(): np.float32, pa.float64(): np.float64}


def coordinates(column: pa.ChunkedArray, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return one coordinate of a column of positions, NaN where there is none."""
    parts = []
    for chunk in column.chunks:
        starts, values = _buffer(chunk.offsets), floats(chunk.values)
        # A missing position is an empty list; no position has another length.
        has_one = np.diff(starts) == 3
        coordinates = np.full(len(chunk), np.nan)
        coordinates[has_one] = places(values[starts[:-1][has_one, np.newaxis] + np.arange(3)])[:, number]
        parts.append(coordinates)
    return np.concatenate([np.empty(0), *parts])


def floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column of numbers, NaN where there is none.

    Arrow's own functions (take, cast, fill_null) would do, but their first use takes 30 ms; its `to_numpy`
    imports pandas if installed, which takes 400.
    """
    parts = []
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        values = _buffer(chunk).astype(np.float64)
        validity = chunk.buffers()[0]
        if validity is not None:
            bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
            values[bits[chunk.offset : chunk.offset + len(chunk)] == 0] = np.nan
        parts.append(values)
    return np.concatenate([np.empty(0), *parts])


def _buffer(array: pa.Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the numbers of an array as they lie in memory; arbitrary ones where values are missing."""
    kind = _DTYPES[array.type]
    if not len(array):
        return np.empty(0, kind)
    return np.frombuffer(array.buffers()[-1], kind)[array.offset : array.offset + len(array)]
