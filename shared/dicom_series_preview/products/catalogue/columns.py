"""The columns of one version of the catalogue, decoded once and kept in memory, as one door shows them."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dicom_series_preview.base.errors import CatalogueError
from dicom_series_preview.products.catalogue.cells import cut_cells
from dicom_series_preview.products.catalogue.identifiers import is_shown, shown_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dicom_series_preview.archive.catalogue.snapshot import Snapshot, SnapshotReader
    from dicom_series_preview.base.settings import Identifiers

# Each row has its own text here: a dictionary of it costs more than it saves.
_DISTINCT = {"Series", "SeriesInstanceUID", "Fingerprint", "IndexPath", "IndexVersion"}
_NOWHERE = ""
_DELTA_TYPES = {
    "string": pa.utf8(),
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}


class ColumnCache:
    """Decoded columns of files, which never change.

    Args:
        most_bytes: How much of them to keep, the last used first.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._size = 0
        self._columns: OrderedDict[tuple[str, str], pa.Array] = OrderedDict()
        self._lock = threading.Lock()
        self.loading = threading.Lock()
        """Held while columns are decoded, so that requests at once decode each only once."""

    def get(self, path: str, column: str) -> pa.Array | None:
        """Return a column of a file, or None."""
        with self._lock:
            values = self._columns.get((path, column))
            if values is not None:
                self._columns.move_to_end((path, column))
            return values

    def put(self, path: str, column: str, values: pa.Array) -> None:
        """Keep a column of a file."""
        with self._lock:
            before = self._columns.pop((path, column), None)
            self._size += values.nbytes - (0 if before is None else before.nbytes)
            self._columns[path, column] = values
            while len(self._columns) > 1 and self._size > self._most_bytes:
                self._size -= self._columns.popitem(last=False)[1].nbytes


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file of the table, as a door shows it; its rows are numbered from 0.

    Attributes:
        path: Its path below the table.
        columns: Its columns by name; text that repeats is dictionary-encoded.
        rows: How many rows it has.
    """

    path: str
    columns: Mapping[str, pa.Array] = field(repr=False)
    rows: int


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A version of the catalogue, as a door shows it.

    Attributes:
        reader: Reads the table.
        snapshot: The version.
        schema: The shown columns, in the table's order, with Arrow's plain types.
        roots: The aliases of the served roots, by their URLs.
        identifiers: How patients' identifiers are shown.
        cache: Columns that were decoded already.
    """

    reader: SnapshotReader
    snapshot: Snapshot
    schema: pa.Schema
    roots: Mapping[str, str]
    identifiers: Identifiers
    cache: ColumnCache = field(repr=False)

    @classmethod
    def opened(
        cls,
        reader: SnapshotReader,
        snapshot: Snapshot,
        roots: Mapping[str, str],
        identifiers: Identifiers,
        cache: ColumnCache,
    ) -> ShownTable:
        """Open a version; see the class.

        Raises:
            CatalogueError: Its schema is damaged.
        """
        try:
            declared = json.loads(snapshot.schema)["fields"]
            fields = [pa.field(one["name"], _type_of(one["type"])) for one in declared]
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(reader, "its schema is damaged") from error
        schema = pa.schema([one for one in fields if is_shown(one.name, identifiers.mode)])
        return cls(reader, snapshot, schema, roots, identifiers, cache)

    def files(self, names: Sequence[str]) -> list[ShownFile]:
        """Return the table's files, with some of the shown columns.

        Args:
            names: The columns' names.

        Raises:
            CatalogueError: The table is broken.
            StorageError: It cannot be read.
        """
        schema = self.schema
        if not set(names) <= set(schema.names):
            raise _broken(self.reader, "it lacks columns that every catalogue has")
        # Two processes that read a version by different ways number its rows alike.
        return [
            self._file(path, [schema.field(name) for name in names]) for path in sorted(self.snapshot.files)
        ]

    def _file(self, path: str, wanted: Sequence[pa.Field]) -> ShownFile:
        columns = self._kept(path, wanted)
        if len(columns) < len(wanted):
            with self.cache.loading:
                columns = self._kept(path, wanted)
                missing = [one for one in wanted if one.name not in columns]
                if missing:
                    columns |= self._decoded(path, missing)
        return ShownFile(path, columns, len(next(iter(columns.values()))))

    def _kept(self, path: str, wanted: Sequence[pa.Field]) -> dict[str, pa.Array]:
        found = {one.name: self.cache.get(path, one.name) for one in wanted}
        return {name: values for name, values in found.items() if values is not None}

    def _decoded(self, path: str, wanted: Sequence[pa.Field]) -> dict[str, pa.Array]:
        data = self.reader.file(path)
        try:
            metadata = pq.read_metadata(pa.BufferReader(data))
            there = set(metadata.schema.to_arrow_schema().names)
            texts = {one.name for one in wanted if pa.types.is_string(one.type)}
            file = pq.ParquetFile(
                pa.BufferReader(data), metadata=metadata, read_dictionary=sorted(texts & there - _DISTINCT)
            )
            columns = {}
            for one in wanted:
                if one.name in there:
                    # One by one in this thread: several at once take more memory, and no less time.
                    values = _joined(file.read([one.name], use_threads=False)[one.name], one.type)
                else:
                    values = pa.nulls(metadata.num_rows, one.type)
                columns[one.name] = self._shown(one.name, values)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _broken(self.reader, f"{path} is damaged") from error
        for name, values in columns.items():
            self.cache.put(path, name, values)
        return columns

    def _shown(self, name: str, values: pa.Array) -> pa.Array:
        if name != "Root":
            # Cut after it is hashed: a hash is of the whole text.
            return cut_cells(shown_values(name, values, self.identifiers.mode, self.identifiers.key))
        coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        aliases = [self.roots.get(url, _NOWHERE) for url in coded.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(coded.indices, pa.array(aliases, pa.utf8()))


def _broken(reader: SnapshotReader, problem: str) -> CatalogueError:
    return CatalogueError(reader.url, f"the catalogue cannot be read: {problem}")


def _type_of(declared: Any) -> pa.DataType:  # noqa: ANN401 - Delta Lake's JSON
    """Return the Arrow type of a Delta Lake type; text of one that has none here.

    Raises:
        KeyError: A list without a type.
    """
    if isinstance(declared, dict) and declared["type"] == "array":
        return pa.list_(_type_of(declared["elementType"]))
    return _DELTA_TYPES.get(declared, pa.utf8()) if isinstance(declared, str) else pa.utf8()


def _joined(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """Return a file's column as one array of its plain type, or a dictionary of that."""
    coded = pa.types.is_dictionary(column.type)
    target = pa.dictionary(pa.int32(), kind) if coded else kind
    if column.type != target:
        column = column.cast(target)
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = (column.unify_dictionaries() if coded else column).combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)
