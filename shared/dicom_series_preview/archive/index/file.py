"""Read an index's table from a Parquet file, and write it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.archive.index.arrow import floats
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.metadata import PROVENANCE_KEY
from dicom_series_preview.archive.index.schema import (
    BY_NAME,
    FIXED_COLUMNS,
    LONGEST_CONSTANT_BYTES,
    MOSAIC_COLUMNS,
    OTHER_ELEMENTS,
    PART_COLUMNS,
    SCHEMA_VERSION,
)

if TYPE_CHECKING:
    from dicom_series_preview.sources.headers.elements import Item

# The number of a file's columns without the constants.
_OWN_COLUMNS_KEY = b"dicom_series_preview.own_columns"


def origin(file: bytes | BinaryIO) -> tuple[str, str] | None:
    """Return an index file's root URL and series, whatever its schema version.

    Args:
        file: The file, or its bytes.

    Returns:
        None for a file that is no index, or a damaged one.
    """
    source = pa.BufferReader(file) if isinstance(file, bytes) else file
    try:
        document = json.loads((pq.read_metadata(source).metadata or {}).get(PROVENANCE_KEY, b"{}"))
        return str(document["root"]), str(document["series"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _encoding(table: pa.Table, own: int, constants: Item) -> dict[str, Any]:
    """Choose the encoding of each column: zstd where values vary, else a one-value dictionary.

    On one short value zstd would cost more than it saves; in lists it saves the separators.

    Args:
        table: The table.
        own: The number of its columns without the constants.
        constants: The elements that all objects have with the same value.
    """
    compressed: list[str] = []
    same: list[str] = []
    varying: list[str] = []
    for number, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if number < own and column.null_count == len(column):
            continue
        is_list = pa.types.is_list(column.type)
        path = f"{name}.list.element" if is_list else name
        is_same = number >= own or (
            name in BY_NAME
            and BY_NAME[name].tag in constants
            and column.nbytes <= LONGEST_CONSTANT_BYTES * len(column)
        )
        (same if is_same else varying).append(path)
        if is_list or not is_same:
            compressed.append(path)
    codecs = dict.fromkeys(compressed, "zstd")
    return {"compression": codecs, "use_dictionary": same, "write_statistics": varying}


def read_table(data: bytes, most_rows: int | None = None) -> pa.Table:
    """Read the table of an index file; check only the schema version of its metadata.

    Raises:
        DamagedIndexError: The file is no index, has another schema version, or has more rows than
            `most_rows`; such a file is not read into memory.
    """
    try:
        # Without Arrow's threads: one that still holds `data` when Python ends aborts the process, as every
        # other `get-index` did. A table of this size gains nothing from them.
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
        if most_rows is not None and file.metadata.num_rows > most_rows:
            raise DamagedIndexError(f"{file.metadata.num_rows} rows, more than the limit of {most_rows}")
        metadata = file.metadata.metadata or {}
        # The metadata hold the constants; their columns are for other readers.
        own = int(metadata[_OWN_COLUMNS_KEY]) if _OWN_COLUMNS_KEY in metadata else None
        table = file.read(file.schema_arrow.names[:own], use_threads=False)
        document = json.loads(metadata.get(PROVENANCE_KEY, b"{}"))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedIndexError(f"no readable Parquet file: {reason}") from error
    if not isinstance(document, dict):
        raise DamagedIndexError("without metadata of its own")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise DamagedIndexError(f"schema version {document.get('schema_version')}, not {SCHEMA_VERSION}")
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    for column in (*FIXED_COLUMNS, *PART_COLUMNS, *MOSAIC_COLUMNS, OTHER_ELEMENTS):
        is_there = column.name in types or column.name in BY_NAME
        if is_there and types.get(column.name) != column.type:
            raise DamagedIndexError(f"without the column {column.name}, or with one of another type")
    stacks, frames = floats(table["Stack"]), floats(table["FrameNumber"])
    if (stacks < 0).any() or (np.isnan(stacks) != np.isnan(frames)).any():
        raise DamagedIndexError("its column Stack holds what no slice has")
    return table


def write_table(own: int, whole: pa.Table, constants: Item) -> bytes:
    """Write an index file.

    Args:
        own: The number of the table's first columns, without the constants.
        whole: The table.
        constants: The elements that all objects have with the same value.
    """
    metadata = {**whole.schema.metadata, _OWN_COLUMNS_KEY: str(own)}
    sink = pa.BufferOutputStream()
    pq.write_table(
        whole.replace_schema_metadata(metadata),
        sink,
        **_encoding(whole, own, constants),
        store_schema=True,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())
