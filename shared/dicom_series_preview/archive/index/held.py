"""The SeriesInstanceUIDs that an index holds: what each is, and which objects are of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.metadata import saying

if TYPE_CHECKING:
    from collections.abc import Collection

    import pyarrow as pa

_SERIES_NUMBER, _SERIES_DESCRIPTION = 0x00200011, 0x0008103E
PADDING = " \0"
"""The characters around a UID that are no part of it (PS3.5 6.2 and 9.1, and what files have besides)."""


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """One SeriesInstanceUID of an index.

    Attributes:
        series_instance_uid: SeriesInstanceUID (0020,000E), or empty: its objects have none.
        series_number: SeriesNumber (0020,0011), or None.
        modality: Modality (0008,0060), or empty.
        description: SeriesDescription (0008,103E), free text that can hold names, or empty.
        slices: The number of slices in all of its stacks.
        stacks: The numbers of its stacks; none without an image.
    """

    series_instance_uid: str
    series_number: int | None
    modality: str
    description: str
    slices: int
    stacks: tuple[int, ...]


def held_series(index: Index) -> list[HeldSeries]:
    """Describe the series of an index, each by a first row; the one with most slices comes first."""
    stacks_of: dict[str, list[int]] = {}
    row_of: dict[str, int] = {}
    column = index.table["SeriesInstanceUID"]
    for number, rows in index.stacks.items():
        row = int(rows[0])
        uid = _plain(column[row].as_py())
        row_of.setdefault(uid, row)
        stacks_of.setdefault(uid, []).append(number)
    if index.table["Stack"].null_count:
        # Objects without an image can be of other series.
        for row, uid in enumerate(map(_plain, column.to_pylist())):
            row_of.setdefault(uid, row)
    found = [_held(index, uid, row, stacks_of.get(uid, [])) for uid, row in row_of.items()]
    return sorted(found, key=lambda one: (-one.slices, one.stacks, one.series_instance_uid))


def _held(index: Index, uid: str, row: int, stacks: list[int]) -> HeldSeries:
    """Describe a series by one of its rows."""

    def value(tag: int, keyword: str) -> Any:  # noqa: ANN401 - one of Arrow's values
        constant = index.constants.get(tag)
        if constant is not None:
            return constant.first
        return index.table[keyword][row].as_py() if keyword in index.table.column_names else None

    number, description = (
        value(_SERIES_NUMBER, "SeriesNumber"),
        value(_SERIES_DESCRIPTION, "SeriesDescription"),
    )
    return HeldSeries(
        series_instance_uid=uid,
        series_number=number if isinstance(number, int) else None,
        modality=index.table["Modality"][row].as_py() or "",
        description=description.strip() if isinstance(description, str) else "",
        slices=sum(len(index.stacks[stack]) for stack in stacks),
        stacks=tuple(stacks),
    )


def names_of(table: pa.Table, uid: str) -> list[str] | None:
    """Return the objects of one SeriesInstanceUID, each once, in the index's order; None where all are.

    Args:
        table: The index's table.
        uid: The SeriesInstanceUID, without padding.
    """
    uids = [_plain(value) for value in table["SeriesInstanceUID"].to_pylist()]
    if all(value == uid for value in uids):
        return None
    names = zip(table["FileName"].to_pylist(), uids, strict=True)
    return list(dict.fromkeys(name for name, value in names if value == uid))


def indices_of(index: Index, uids: Collection[str]) -> dict[str, Index]:
    """Return what an index holds of some SeriesInstanceUIDs, each as an index of its rows alone.

    These tell of no object without a row: neither what was skipped nor copies.

    Args:
        index: The index.
        uids: The SeriesInstanceUIDs, without padding; those that it does not hold are left out.
    """
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(index.table["SeriesInstanceUID"].to_pylist()):
        uid = _plain(value)
        if uid in uids:
            rows_of.setdefault(uid, []).append(row)
    table = saying(index.table, skipped=[], duplicates=[])
    return {uid: Index(table.take(rows)) for uid, rows in rows_of.items()}


def _plain(value: str | None) -> str:
    return (value or "").strip(PADDING)
