"""Read the catalogue's table as it is now: its log, and its files, whole.

The table's writers leave a checkpoint at each commit and few files, so that opening takes three requests
and reading one for each file. That needs no Delta Lake library, which would send 13 requests and more to
open the same table, and which the HTTP API can then do without.
"""

from __future__ import annotations

import io
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicom_series_preview.base.errors import (
    CatalogueError,
    NoCatalogueError,
    ObjectNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.sources.storage.base import Storage

FOLDER = "catalogue"
"""The table's folder below the cache."""

_LOG = f"{FOLDER}/_delta_log"
_CHECKPOINT_PARTS = ("add", "remove", "metaData", "protocol")
# What this reads of the Delta protocol: no deletion vectors, no renamed columns.
_READER_VERSION = 1
_TRIES = 3
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version of the table.

    Attributes:
        version: Its number.
        schema: The table's schema, as Delta Lake's JSON.
        files: The actions that added its files, by path below the table.
    """

    version: int
    schema: str
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to read.

    Attributes:
        expression: A pyarrow expression that they satisfy.
        columns: The columns that it names.
    """

    expression: pc.Expression = field(repr=False)
    columns: tuple[str, ...]


class FileCache:
    """Files of the table in memory; they never change.

    Args:
        most_bytes: How much of them to keep, the last used first.
    """

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> bytes | None:
        """Return a file's bytes, or None."""
        with self._lock:
            data = self._files.get(path)
            if data is not None:
                self._files.move_to_end(path)
            return data

    def put(self, path: str, data: bytes) -> None:
        """Keep a file's bytes."""
        with self._lock:
            self._files[path] = data
            while len(self._files) > 1 and sum(map(len, self._files.values())) > self._most_bytes:
                self._files.popitem(last=False)


@dataclass(frozen=True, slots=True)
class SnapshotReader:
    """Reads the table below a cache.

    Attributes:
        storage: The cache's storage.
        kept: Files that were read already.
    """

    storage: Storage
    kept: FileCache = field(default_factory=FileCache)

    @property
    def url(self) -> str:
        """The table's URL."""
        return f"{self.storage.url}/{FOLDER}"

    def snapshot(self, known: Snapshot | None = None) -> Snapshot:
        """Return the newest version.

        Args:
            known: A version that was read before; only what follows it is read.

        Raises:
            NoCatalogueError: There is no table.
            CatalogueError: Its log is broken, or of a newer protocol.
            StorageError: It cannot be read.
        """
        if known is not None:
            try:
                return self._replayed(known)
            except ObjectNotFoundError:
                pass  # what follows is no longer there one by one
        return self._newest()

    def _newest(self) -> Snapshot:
        for _ in range(_TRIES):
            try:
                found = json.loads(self.storage.get(f"{_LOG}/_last_checkpoint").data)
            except ObjectNotFoundError:
                return self._from_the_beginning()
            except ValueError as error:
                raise self._broken("its last checkpoint is no JSON") from error
            try:
                return self._replayed(self._checkpoint(int(found["version"])))
            except ObjectNotFoundError:
                continue  # a newer checkpoint has replaced it meanwhile
            except (KeyError, TypeError, ValueError) as error:
                raise self._broken("its last checkpoint names no version") from error
        raise self._broken("its last checkpoint is gone")

    def _from_the_beginning(self) -> Snapshot:
        try:
            first = self._actions(0)
        except ObjectNotFoundError as error:
            raise NoCatalogueError(self.url) from error
        return self._replayed(_applied(Snapshot(0, "", {}), 0, self._checked(first)))

    def _checkpoint(self, version: int) -> Snapshot:
        data = self.storage.get(f"{_LOG}/{version:020d}.checkpoint.parquet").data
        try:
            table = pq.read_table(io.BytesIO(data))
            table = table.select([name for name in _CHECKPOINT_PARTS if name in table.column_names])
            rows = table.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise self._broken("a checkpoint is damaged") from error
        actions = [{name: action for name, action in row.items() if action is not None} for row in rows]
        return _applied(Snapshot(version, "", {}), version, self._checked(actions))

    def _replayed(self, snapshot: Snapshot) -> Snapshot:
        """Apply the commits that follow a version, one request each, and one that finds none."""
        while True:
            try:
                actions = self._actions(snapshot.version + 1)
            except ObjectNotFoundError:
                return snapshot
            snapshot = _applied(snapshot, snapshot.version + 1, self._checked(actions))

    def _actions(self, version: int) -> list[dict[str, Any]]:
        text = self.storage.get(f"{_LOG}/{version:020d}.json").data
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise self._broken(f"commit {version} is no JSON") from error

    def _checked(self, actions: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        for action in actions:
            protocol = action.get("protocol")
            if protocol and protocol["minReaderVersion"] > _READER_VERSION:
                problem = f"another program has raised it to protocol {protocol['minReaderVersion']}"
                raise self._broken(problem)
            if (action.get("add") or {}).get("deletionVector"):
                raise self._broken("another program has put deletion vectors into it")
        return actions

    def _broken(self, problem: str) -> CatalogueError:
        return CatalogueError(
            self.url, f"the catalogue cannot be read: {problem}; `update --rebuild` makes it anew"
        )

    def files(self, snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
        """Yield a version's files: their paths below the table, and their bytes.

        Raises:
            CatalogueError: A file is gone.
            StorageError: It cannot be read.
        """
        for path in snapshot.files:
            data = self.kept.get(path)
            if data is None:
                try:
                    data = self.storage.get(f"{FOLDER}/{unquote(path)}").data
                except ObjectNotFoundError as error:
                    raise self._broken("a file of it is gone") from error
                self.kept.put(path, data)
            yield path, data

    def read(
        self,
        columns: Sequence[str] | None = None,
        where: Filter | None = None,
        known: Snapshot | None = None,
    ) -> pa.Table:
        """Read rows.

        Args:
            columns: The columns; None for all.
            where: Which rows, or None for all.
            known: The version; None for the newest.

        Returns:
            The rows in no order, with the table's own types: times of day are ISO 8601 text.

        Raises:
            NoCatalogueError: There is no table.
            CatalogueError: It is broken.
            StorageError: It cannot be read.
        """
        tables = []
        for path, data in self.files(known or self.snapshot()):
            try:
                tables.append(_read(data, columns, where))
            except (pa.ArrowException, OSError) as error:
                raise self._broken(f"{path} is damaged") from error
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})


def _read(data: bytes, columns: Sequence[str] | None, where: Filter | None) -> pa.Table:
    """Read the rows of a file.

    The library that writes them declares its own kind of text, which Arrow's functions do not take.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    there = file.schema_arrow.names
    wanted = [name for name in (there if columns is None else columns) if name in there]
    needed = [name for name in (where.columns if where else ()) if name in there]
    table = file.read(list(dict.fromkeys((*wanted, *needed))))
    table = table.cast(pa.schema([field.with_type(_plain(field.type)) for field in table.schema]))
    for name in where.columns if where else ():
        if name not in there:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.utf8()))
    return (table.filter(where.expression) if where else table).select(wanted)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.utf8() if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) else kind


def _applied(snapshot: Snapshot, version: int, actions: Iterable[Mapping[str, Any]]) -> Snapshot:
    """Return the version after a commit."""
    files, schema = dict(snapshot.files), snapshot.schema
    for action in actions:
        if add := action.get("add"):
            files[add["path"]] = add
        elif remove := action.get("remove"):
            files.pop(remove["path"], None)
        elif metadata := action.get("metaData"):
            schema = metadata["schemaString"]
    return replace(snapshot, version=version, schema=schema, files=files)
