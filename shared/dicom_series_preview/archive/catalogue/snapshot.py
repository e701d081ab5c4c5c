"""Read the catalogue's table as it is now: its log, and its files, whole.

The table's writers leave a checkpoint at each commit and few files, so that opening takes three requests
and reading one for each file. That needs no Delta Lake library, which would send 13 requests and more to
open the same table, and which the HTTP API can then do without.

Nothing here takes a table that is damaged for one that is empty.
"""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections import OrderedDict
from contextlib import suppress
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
from dicom_series_preview.sources.storage.base import is_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dicom_series_preview.sources.storage.base import Storage

FOLDER = "catalogue"
"""The table's folder below the cache."""

_LOG = f"{FOLDER}/_delta_log"
# The files that Delta Lake writes: data, and a log of commits and checkpoints.
_OURS = re.compile(
    rf"{FOLDER}/(?:part-[^/]+\.parquet|_delta_log/(?:\d{{20}}\.[^/]+|_last_checkpoint|\.?[^/]*\.tmp))"
)
_CHECKPOINT_PARTS = ("add", "remove", "metaData", "protocol")
# What this reads of the Delta protocol: no deletion vectors, no renamed columns.
_READER_VERSION = 1
_TRIES = 3
_KEPT_BYTES = 256 * 2**20
# So long a version is taken on without a look whether its log goes on from it: it may have been made anew.
_TRUSTED_S = 60.0
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.(\d{10}))?\.parquet")
_COMMIT = re.compile(r"(\d{20})\.json")
# The Delta protocol's names of the types that the catalogue has.
_TYPES = {
    "string": pa.utf8(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "double": pa.float64(),
    "float": pa.float32(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version of the table.

    Attributes:
        version: Its number.
        schema: The table's schema, as Delta Lake's JSON.
        files: The actions that added its files, by path below the table.
        table: The table's own identifier: one made anew has another.
        seen_s: When the whole log was looked at, by the reader's clock.
    """

    version: int
    schema: str
    files: Mapping[str, Mapping[str, Any]] = field(repr=False)
    table: str = ""
    seen_s: float = field(default=0.0, compare=False)

    @property
    def columns(self) -> pa.Schema:
        """The table's columns.

        Raises:
            ValueError: Another program has added one of a type that the catalogue does not have.
        """
        fields = json.loads(self.schema)["fields"]
        return pa.schema([pa.field(one["name"], _arrow_type(one["type"])) for one in fields])


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
        clock: A monotonic clock, in seconds.
    """

    storage: Storage
    kept: FileCache = field(default_factory=FileCache)
    clock: Callable[[], float] = time.monotonic

    @property
    def url(self) -> str:
        """The table's URL."""
        return f"{self.storage.url}/{FOLDER}"

    def snapshot(self, known: Snapshot | None = None) -> Snapshot:
        """Return the newest version.

        Args:
            known: A version that was read before; mostly only what follows it is read.

        Raises:
            NoCatalogueError: There is no table.
            CatalogueError: Its log is broken, or of a newer protocol.
            StorageError: It cannot be read.
        """
        if known is not None and self.clock() - known.seen_s < _TRUSTED_S:
            return self._replayed(known)
        newest = self._newest()
        if known is not None and (known.table, known.version) == (newest.table, newest.version):
            return replace(known, seen_s=newest.seen_s)
        return newest

    def version(self, number: int) -> Snapshot:
        """Return an older version, for as long as the table keeps its log.

        Raises:
            NoCatalogueError: That version is not there, or no more.
            CatalogueError: The log is broken, or of a newer protocol.
            StorageError: It cannot be read.
        """
        try:
            return self._checkpoint(number, 1)
        except ObjectNotFoundError as error:
            if number:
                raise NoCatalogueError(self.url) from error
        try:
            return self._state(0, self._actions(0))
        except ObjectNotFoundError as error:
            raise NoCatalogueError(self.url) from error

    def _newest(self) -> Snapshot:
        for _ in range(_TRIES):
            moment = self.clock()
            try:
                start: Snapshot | None = self._checkpoint(*self._last_checkpoint())
            except ObjectNotFoundError:
                # A newer checkpoint has replaced it meanwhile; or its name is lost.
                start = self._found_in_the_log()
            if start is not None:
                return replace(self._replayed(start), seen_s=moment)
        raise self._broken("its last checkpoint is gone")

    def _last_checkpoint(self) -> tuple[int, int]:
        """Return the version and the parts of the newest checkpoint."""
        try:
            found = json.loads(self.storage.get(f"{_LOG}/_last_checkpoint").data)
            return int(found["version"]), int(found.get("parts") or 1)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._broken("its last checkpoint names no version") from error

    def _found_in_the_log(self) -> Snapshot | None:
        """Return a version to begin with by a listing; None where the log has changed since.

        Raises:
            NoCatalogueError: There is no table at all.
            CatalogueError: Something of one is there, and not enough.
        """
        # One listing: between two, another process can make the table.
        paths = [info.path for info in self.storage.list_objects(FOLDER)]
        names = [path.rpartition("/")[2] for path in paths if path.startswith(f"{_LOG}/")]
        checkpoints = {
            (int(one[1]), int(one[2] or 1)) for name in names if (one := _CHECKPOINT.fullmatch(name))
        }
        commits = {int(one[1]) for name in names if (one := _COMMIT.fullmatch(name))}
        for version, parts in sorted(checkpoints, reverse=True):
            try:
                return self._checkpoint(version, parts)
            except ObjectNotFoundError:
                continue
        if 0 in commits:
            try:
                return self._state(0, self._actions(0))
            except ObjectNotFoundError:
                return None
        if any(map(_OURS.fullmatch, paths)):
            raise self._broken("the beginning of its log is gone")
        raise NoCatalogueError(self.url)

    def _checkpoint(self, version: int, parts: int) -> Snapshot:
        actions: list[dict[str, Any]] = []
        for part in range(1, parts + 1):
            name = f"{version:020d}.checkpoint" + (f".{part:010d}.{parts:010d}" if parts > 1 else "")
            data = self.storage.get(f"{_LOG}/{name}.parquet").data
            try:
                table = pq.read_table(io.BytesIO(data))
                table = table.select([one for one in _CHECKPOINT_PARTS if one in table.column_names])
                rows = table.to_pylist()
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._broken("a checkpoint is damaged") from error
            actions += ({key: action for key, action in row.items() if action is not None} for row in rows)
        return self._state(version, actions)

    def _state(self, version: int, actions: Sequence[Mapping[str, Any]]) -> Snapshot:
        """Return the version that a checkpoint, or the first commit, describes."""
        made = self._applied(Snapshot(version, "", {}), version, actions)
        if not made.schema:
            raise self._broken("its log does not say which columns it has")
        return made

    def _replayed(self, snapshot: Snapshot) -> Snapshot:
        """Apply the commits that follow a version, one request each, and one that finds none."""
        while True:
            try:
                actions = self._actions(snapshot.version + 1)
            except ObjectNotFoundError:
                return snapshot
            snapshot = self._applied(snapshot, snapshot.version + 1, actions)

    def _actions(self, version: int) -> list[dict[str, Any]]:
        text = self.storage.get(f"{_LOG}/{version:020d}.json").data
        try:
            actions = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise self._broken(f"commit {version} is no JSON") from error
        if not actions or not all(isinstance(action, dict) for action in actions):
            raise self._broken(f"commit {version} is empty or damaged")
        return actions

    def _applied(self, snapshot: Snapshot, version: int, actions: Iterable[Mapping[str, Any]]) -> Snapshot:
        """Return the version after a commit."""
        try:
            return _applied(snapshot, version, self._checked(actions))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._broken(f"its log is damaged at commit {version}") from error

    def _checked(self, actions: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for action in actions:
            protocol = action.get("protocol")
            if protocol and protocol["minReaderVersion"] > _READER_VERSION:
                problem = f"another program has raised it to protocol {protocol['minReaderVersion']}"
                raise self._broken(problem)
            added = action.get("add") or {}
            if added.get("deletionVector"):
                raise self._broken("another program has put deletion vectors into it")
            if added and not is_path(unquote(added["path"])):
                raise self._broken("its log names a file elsewhere")
            yield action

    def _broken(self, problem: str) -> CatalogueError:
        return CatalogueError(
            self.url, f"the catalogue cannot be read: {problem}; `update --rebuild` makes it anew"
        )

    def file(self, path: str, size: int | None = None) -> bytes:
        """Return the bytes of a file.

        Args:
            path: Its path below the table, as the log has it.
            size: Its size as the log has it, or None.

        Raises:
            CatalogueError: The file is gone, or has another size.
            StorageError: It cannot be read.
        """
        data = self.kept.get(path)
        if data is None:
            try:
                data = self.storage.get(f"{FOLDER}/{unquote(path)}").data
            except ObjectNotFoundError as error:
                raise FileGoneError(self.url, self._broken("a file of it is gone").problem) from error
            if size is not None and len(data) != size:
                raise self._broken("a file of it has another size than its log says")
            self.kept.put(path, data)
        return data

    def read(
        self,
        columns: Sequence[str] | None = None,
        where: Filter | None = None,
        known: Snapshot | None = None,
    ) -> pa.Table:
        """Read rows.

        Args:
            columns: The columns, of which those that the table lacks are left out; None for all.
            where: Which rows, or None for all.
            known: The version; None for the newest.

        Returns:
            The rows in no order, with the table's own types: times of day are ISO 8601 text. All columns have
            their types, also without a row.

        Raises:
            NoCatalogueError: There is no table.
            CatalogueError: It is broken, or files of this version are gone.
            StorageError: It cannot be read.
        """
        if known is not None:
            return self._rows(known, columns, where)
        for _ in range(_TRIES - 1):
            snapshot = self.snapshot()
            try:
                # What another process removes has been joined with others, which a newer version names.
                return self._rows(snapshot, columns, where)
            except FileGoneError as error:
                if self.snapshot().version == snapshot.version:
                    raise self._broken(error.problem) from error
        return self._rows(self.snapshot(), columns, where)

    def _rows(self, snapshot: Snapshot, columns: Sequence[str] | None, where: Filter | None) -> pa.Table:
        try:
            schema = snapshot.columns
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken("its columns have types that the catalogue does not know") from error
        wanted = [name for name in (schema.names if columns is None else columns) if name in schema.names]
        tables = []
        for path in snapshot.files:
            data = self.file(path, snapshot.files[path].get("size"))
            try:
                tables.append(_read(data, schema, wanted, where))
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._broken("a file of it is damaged") from error
        empty = pa.schema([schema.field(name) for name in wanted]).empty_table()
        return pa.concat_tables([empty, *tables])


class FileGoneError(CatalogueError):
    """A file of a version is gone."""


def _read(data: bytes, schema: pa.Schema, wanted: Sequence[str], where: Filter | None) -> pa.Table:
    """Read the rows of a file; a column that is newer than the file is null.

    Args:
        data: The file.
        schema: The table's columns.
        wanted: Those to return.
        where: Which rows, or None for all.

    Raises:
        ArrowException: It is damaged.
        OSError: It is damaged.
        ValueError: It is damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    there = file.schema_arrow.names
    needed = [name for name in (where.columns if where else ()) if name in schema.names]
    names = list(dict.fromkeys((*wanted, *needed)))
    # One column at least, which says how many rows there are.
    found = file.read([name for name in names if name in there] or there[:1])
    cells = [
        # The library that writes them declares its own kind of text, which Arrow's functions do not take.
        found[name].cast(schema.field(name).type)
        if name in there
        else pa.nulls(found.num_rows, schema.field(name).type)
        for name in names
    ]
    table = pa.table(cells, schema=pa.schema([schema.field(name) for name in names]))
    return (table.filter(where.expression) if where else table).select(wanted)


def _arrow_type(kind: Any) -> pa.DataType:  # noqa: ANN401 - a part of a document
    """Return the Arrow type of a column as the log describes it.

    Raises:
        ValueError: The catalogue has no such type.
    """
    if isinstance(kind, dict) and kind.get("type") == "array":
        return pa.list_(_arrow_type(kind["elementType"]))
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    raise ValueError(kind)


def plain_text(table: pa.Table) -> pa.Table:
    """Return a table with Arrow's usual kind of text in place of others."""
    return table.cast(pa.schema([field.with_type(_plain(field.type)) for field in table.schema]))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.utf8() if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) else kind


def _applied(snapshot: Snapshot, version: int, actions: Iterable[Mapping[str, Any]]) -> Snapshot:
    """Return the version after a commit."""
    files, schema, table = dict(snapshot.files), snapshot.schema, snapshot.table
    for action in actions:
        if add := action.get("add"):
            files[add["path"]] = add
        elif remove := action.get("remove"):
            files.pop(remove["path"], None)
        elif metadata := action.get("metaData"):
            schema, table = metadata["schemaString"], metadata["id"]
    return replace(snapshot, version=version, schema=schema, files=files, table=table)


def remove_table(storage: Storage) -> int:
    """Remove the table below a cache, of all roots, and nothing else that lies there; return its files.

    Raises:
        StorageError: It cannot be removed.
    """
    with suppress(ObjectNotFoundError):  # there is no cache
        paths = [info.path for info in storage.list_objects(FOLDER) if _OURS.fullmatch(info.path)]
        # The log goes last: until then the table says what is missing.
        for path in sorted(paths, key=lambda path: (path.startswith(_LOG), path)):
            storage.delete(path)
        return len(paths)
    return 0
