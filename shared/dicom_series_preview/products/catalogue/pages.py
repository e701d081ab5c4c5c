"""Find the rows of a search, and return one page of them in order.

A page costs a look at the columns that the search names, and at most one page's rows of all others: rows are
numbered, their order is decided by the sort column first, and only rows that may be on the page are compared
by their keys. A cursor is the number of the last row of a page, which later pages follow: its number among
the rows that the search finds, so that no cursor, forged or genuine, tells of a row that the door hides.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.catalogue.columns import KEY
from dicom_series_preview.base.errors import LimitError, RequestError
from dicom_series_preview.products.catalogue.cells import text_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dicom_series_preview.products.catalogue.columns import ShownFile, ShownTable
    from dicom_series_preview.products.catalogue.search import Search

_LONGEST_CURSOR = 200
_CURSOR = re.compile(r"(\d{1,18})\.(\d{1,18})\.([0-9a-f]{16})\.([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page has ended.

    Attributes:
        version: The number of the table's version.
        row: The number of the last row among those that the search finds, file after file.
        files: A digest of that version's files: a table that was made anew counts its versions from 0.
    """

    version: int
    row: int
    files: str

    def cursor(self, identity: str) -> str:
        """Return the cursor, which belongs to one search.

        Args:
            identity: The search's.
        """
        text = f"{self.version}.{self.row}.{self.files}"
        signed = f"{text}.{_checksum(text, identity)}"
        return base64.urlsafe_b64encode(signed.encode()).decode().rstrip("=")


def place_of(cursor: str, identity: str) -> Place:
    """Read a cursor.

    Raises:
        RequestError: It is none, or another search's.
    """
    try:
        text = base64.b64decode(cursor[:_LONGEST_CURSOR] + "=" * (-len(cursor) % 4), b"-_", validate=True)
        found = _CURSOR.fullmatch(text.decode("ascii"))
    except (binascii.Error, UnicodeError, ValueError):
        found = None
    if found is None:
        raise RequestError("cursor", "is none that an answer gave as `next`")
    if found[4] != _checksum(f"{found[1]}.{found[2]}.{found[3]}", identity):
        raise RequestError("cursor", "belongs to another search; ask with the parameters of its first page")
    return Place(int(found[1]), int(found[2]), found[3])


def _checksum(text: str, identity: str) -> str:
    return hashlib.sha256(f"{text} {identity}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of rows.

    Attributes:
        rows: The rows, in order, with all shown columns.
        last: The number of the last row where more rows follow, else None; counted as in `Place`.
        total: How many rows the search finds.
    """

    rows: pa.Table
    last: int | None
    total: int


def page_of(table: ShownTable, search: Search, most_bytes: int, after: int | None = None) -> Page:
    """Return a page of a search.

    Args:
        table: The catalogue.
        search: The search.
        most_bytes: The most bytes of text that the page may have.
        after: The number of the last row of the page before, as in `Place`.

    Raises:
        RequestError: There is no such row.
        LimitError: The page has more text.
        CatalogueError: The table is broken.
        StorageError: It cannot be read.
    """
    files = table.files([*dict.fromkeys((*KEY, *search.columns, search.sort))])
    starts = np.cumsum([0, *(file.rows for file in files)])
    found = [_found(file, search) for file in files]
    all_found = np.flatnonzero(np.concatenate([*found, np.empty(0, bool)]))
    if after is not None:
        if after >= len(all_found):
            raise RequestError("cursor", "is none that an answer gave as `next`")
        last = _Last.of(files, starts, int(all_found[after]), search.sort)
        found = [mask & last.before(file, search) for file, mask in zip(files, found, strict=True)]
    numbers = _first(files, starts, found, search)
    rows = _rows(table, starts, numbers[: search.limit], most_bytes)
    if len(numbers) <= search.limit:
        return Page(rows, None, len(all_found))
    return Page(rows, int(np.searchsorted(all_found, numbers[search.limit - 1])), len(all_found))


def _found(file: ShownFile, search: Search) -> NDArray[np.bool_]:
    """Return a mask of the file's rows that satisfy all conditions."""
    mask = np.ones(file.rows, bool)
    for group in search.conditions:
        either = np.zeros(file.rows, bool)
        # Columns of distinct texts last: of them, only rows that nothing else decides are looked at.
        for condition in sorted(group, key=lambda one: not _is_coded(file.columns[one.columns[0]])):
            (name,) = condition.columns
            column, holds = file.columns[name], partial(_holds, name=name, expression=condition.expression)
            if _is_coded(column):
                either |= _mask(column, holds)
            else:
                rows = np.flatnonzero(mask & ~either)
                either[rows] = holds(column if len(rows) == len(column) else column.take(pa.array(rows)))
        mask &= either
    return mask


def _is_coded(column: pa.Array) -> bool:
    return bool(pa.types.is_dictionary(column.type))


def _holds(values: pa.Array, name: str, expression: pc.Expression) -> NDArray[np.bool_]:
    """Return a mask of the values for which an expression on their column holds."""
    table = pa.table({name: values, "at": pa.array(np.arange(len(values), dtype=np.int64))})
    mask = np.zeros(len(values), bool)
    mask[table.filter(expression)["at"].to_numpy()] = True
    return mask


def _mask(column: pa.Array, holds: Callable[[pa.Array], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return a mask of a column's rows, with each different value looked at once."""
    if not _is_coded(column):
        return holds(column)
    values = column.dictionary
    # The one after the last stands for null.
    of_values = holds(pa.concat_arrays([values, pa.nulls(1, values.type)]))
    places = column.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return np.asarray(of_values[places], bool)


@dataclass(frozen=True, slots=True)
class _Last:
    """The last row of the page before.

    Attributes:
        value: Its value in the sort column, or None.
        key: Its key.
    """

    value: Any
    key: Mapping[str, str]

    @classmethod
    def of(cls, files: Sequence[ShownFile], starts: NDArray[Any], number: int, sort: str) -> _Last:
        """Return a row by its number."""
        at = int(np.searchsorted(starts, number, "right")) - 1
        file, row = files[at], number - int(starts[at])
        value = file.columns[sort][row]
        known = bool(_known(file.columns[sort].slice(row, 1))[0])
        key = {name: _plain(file.columns[name][row]).as_py() for name in KEY}
        return cls(_plain(value) if known else None, key)

    def before(self, file: ShownFile, search: Search) -> NDArray[np.bool_]:
        """Return a mask of the file's rows that come later than this one."""
        column = file.columns[search.sort]
        known = _known(column)
        if self.value is None:
            later, same = np.zeros(file.rows, bool), ~known
        else:
            compare = pc.less if search.descending else pc.greater
            later = ~known | _mask(column, lambda values: _true(compare(values, self.value)))
            same = _mask(column, lambda values: _true(pc.equal(values, self.value)))
        ties = np.flatnonzero(same)
        keys = [_text(file.columns[name].take(pa.array(ties))) for name in KEY]
        beyond, equal = np.zeros(len(ties), bool), np.ones(len(ties), bool)
        for name, values in zip(KEY, keys, strict=True):
            beyond |= equal & _true(pc.greater(values, self.key[name]))
            equal &= _true(pc.equal(values, self.key[name]))
        later[ties] |= beyond
        return later


def _first(
    files: Sequence[ShownFile], starts: NDArray[Any], found: Sequence[NDArray[np.bool_]], search: Search
) -> NDArray[np.int64]:
    """Return the numbers of the first rows in order: a page's, and one more where there is one."""
    most = search.limit + 1
    known = [_known(file.columns[search.sort]) for file in files]
    with_value, without = [], []
    for file, start, mask, valid in zip(files, starts[:-1], found, known, strict=True):
        with_value.append(
            _candidates(file, int(start), _leading(file, mask & valid, search, most), search.sort)
        )
        without.append((file, int(start), mask & ~valid))
    order = "descending" if search.descending else "ascending"
    numbers = _smallest(with_value, most, [(search.sort, order)])
    if len(numbers) < most:
        rest = [_candidates(file, start, np.flatnonzero(mask), "") for file, start, mask in without]
        numbers = np.concatenate([numbers, _smallest(rest, most - len(numbers), [])])
    return numbers


def _leading(file: ShownFile, mask: NDArray[np.bool_], search: Search, most: int) -> NDArray[np.int64]:
    """Return the file's rows that may be among the first: those at least as early as the last of them."""
    rows = np.flatnonzero(mask)
    if len(rows) <= most:
        return rows
    column = file.columns[search.sort]
    if pa.types.is_string(column.type):
        return rows[_leading_texts(column.take(pa.array(rows)), search, most)]
    codes = _codes(column)[rows]
    if search.descending:
        threshold = np.partition(codes, len(codes) - most)[len(codes) - most]
        return np.asarray(rows[codes >= threshold])
    threshold = np.partition(codes, most - 1)[most - 1]
    return np.asarray(rows[codes <= threshold])


def _leading_texts(values: pa.Array, search: Search, most: int) -> NDArray[np.bool_]:
    order, compare = ("descending", pc.greater_equal) if search.descending else ("ascending", pc.less_equal)
    first = pc.select_k_unstable(values, most, sort_keys=[("", order)])
    return _true(compare(values, values[first[-1].as_py()]))


def _codes(column: pa.Array) -> NDArray[Any]:
    """Return numbers in the order of a column's values; any number for null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        ranks = np.empty(len(column.dictionary), np.int64)
        ranks[pc.sort_indices(column.dictionary).to_numpy()] = np.arange(len(ranks))
        places = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return ranks[places] if len(ranks) else np.zeros(len(column), np.int64)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_date(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False))


def _candidates(file: ShownFile, start: int, rows: NDArray[np.int64], sort: str) -> pa.Table:
    """Return rows of a file with what decides their order, and their numbers."""
    taken = pa.array(rows, pa.int64())
    names = list(dict.fromkeys((*KEY, *([sort] if sort else []))))
    columns = {name: _text(file.columns[name].take(taken)) for name in names}
    return pa.table({**columns, "number": pa.array(rows + start, pa.int64())})


def _smallest(tables: Sequence[pa.Table], most: int, keys: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    """Return the numbers of the first candidates in order."""
    if not tables or most <= 0:
        return np.empty(0, np.int64)
    table = pa.concat_tables(tables)
    sorted_by = [*keys, *((name, "ascending") for name in KEY if name not in {key for key, _ in keys})]
    first = pc.select_k_unstable(table, min(most, table.num_rows), sort_keys=sorted_by)
    return np.asarray(table["number"].take(first).to_numpy(), np.int64)


def _rows(table: ShownTable, starts: NDArray[Any], numbers: NDArray[np.int64], most_bytes: int) -> pa.Table:
    """Return rows by their numbers, in that order, with all shown columns.

    Raises:
        LimitError: They have more bytes of text.
    """
    if not len(numbers):
        return table.schema.empty_table()
    at = np.searchsorted(starts, numbers, "right") - 1
    places = [pa.array(numbers[at == i] - start, pa.int64()) for i, start in enumerate(starts[:-1])]
    back = pa.array(np.argsort(np.argsort(at, kind="stable")), pa.int64())
    columns: list[pa.Array] = []
    size = 0
    for name in table.schema.names:
        # One after the other: all of a large table may be more than there is memory for.
        files = zip(table.files([name]), places, strict=True)
        parts = [_text(file.columns[name].take(taken)) for file, taken in files]
        columns.append(pa.concat_arrays(parts).take(back))
        size += text_size(columns[-1])
        if size > most_bytes:
            raise LimitError(
                "limit",
                f"the rows have more than the {most_bytes} bytes of an answer; give a smaller limit",
            )
    return pa.table(columns, schema=table.schema)


def _known(column: pa.Array) -> NDArray[np.bool_]:
    """Return a mask of the rows with a value; a number that is none is no value."""
    known = column.is_valid()
    if pa.types.is_floating(column.type):
        known = pc.and_(known, pc.invert(pc.is_nan(column.fill_null(0))))
    return np.asarray(known.to_numpy(zero_copy_only=False), bool)


def _true(mask: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(mask.fill_null(False).to_numpy(zero_copy_only=False), bool)  # noqa: FBT003 - pyarrow's


def _text(column: pa.Array) -> pa.Array:
    """Return a column without a dictionary."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _plain(value: pa.Scalar) -> pa.Scalar:
    """Return a cell without a dictionary."""
    return value.value if isinstance(value, pa.DictionaryScalar) else value
