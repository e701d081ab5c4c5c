"""Find the series whose rows do not fit each other: they lie in several folders, or did.

A row is made of its folder's index, and its `Folders` is 1. What is measured of a whole series is written
into the rows of all its folders in one commit, with their number (`wholes`). So the rows of a
SeriesInstanceUID fit as long as each says how many there are: one that is written, added or removed since
shows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.catalogue.snapshot import Filter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from dicom_series_preview.archive.catalogue.snapshot import Snapshot, SnapshotReader

SeriesKey: TypeAlias = tuple[str, str]
"""A root's URL and a SeriesInstanceUID below it."""

FITTING = ("Root", "SeriesInstanceUID", "Folders")
"""The columns that tell whether rows fit."""

_OF_PART = ("Series", "Fingerprint", "IndexVersion", "CataloguedAt", "Folders", "PartOnly")
_COUNTS = ("Frames", "Instances", "Rules")
# So many rows are looked at together: a series can have very many, and there can be very many series.
_TOGETHER = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of a series, as its row has it.

    Attributes:
        series: The folder.
        fingerprint: The digest of its listing; empty while an object is withheld.
        index_version: The version of its index, or empty.
        catalogued: When the row was made.
        folders: In how many folders the row says that the series lies.
        part_only: Why the row describes this part alone, or empty.
        size: The part's frames, or its objects where these are more: some have no image.
        rules: The version of the rules that made the row; 0 if unknown.
    """

    series: str
    fingerprint: str
    index_version: str
    catalogued: dt.datetime
    folders: int
    part_only: str
    size: int
    rules: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Part:
        """Read a row."""
        return cls(
            row["Series"],
            row["Fingerprint"] or "",
            row["IndexVersion"] or "",
            row["CataloguedAt"],
            row.get("Folders") or 1,
            row.get("PartOnly") or "",
            max(row["Frames"] or 0, row["Instances"] or 0),
            row.get("Rules") or 0,
        )

    @property
    def is_own(self) -> bool:
        """True where the row describes what this folder holds."""
        return self.folders == 1 or bool(self.part_only)


@dataclass(frozen=True, slots=True)
class SplitSeries:
    """A series whose rows do not fit.

    Attributes:
        root: Its root's URL.
        uid: Its SeriesInstanceUID.
        parts: Its folders, sorted.
    """

    root: str
    uid: str
    parts: tuple[Part, ...]

    @property
    def key(self) -> SeriesKey:
        """Which series it is."""
        return self.root, self.uid


@dataclass(frozen=True, slots=True)
class Amendment:
    """What to write into the rows of a series that lies in several folders, or did.

    Attributes:
        series: The series, with the rows that this was made for.
        part_only: Why it was not measured as a whole, or empty.
        cells: The cells that describe it, by folder; a folder whose row already has them is left out.
        rules: The version of the rules that made them.
    """

    series: SplitSeries
    part_only: str
    cells: Mapping[str, Mapping[str, Any]] = field(repr=False)
    rules: int

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each folder, with the cells to write."""
        for part in self.series.parts:
            yield {
                **self.cells.get(part.series, {}),
                "Root": self.series.root,
                "Series": part.series,
                "SeriesInstanceUID": self.series.uid,
                "CataloguedAt": part.catalogued,
                "Folders": len(self.series.parts),
                "PartOnly": self.part_only or None,
                # What older rules counted stays, for `update` to see.
                "Rules": min(part.rules, self.rules),
            }


def unfit(rows: pa.Table) -> dict[SeriesKey, int]:
    """Return the series whose rows do not fit, each with the number of its rows.

    Args:
        rows: The columns `FITTING`, of which a table of before may lack the last; all rows of each series.
    """
    named = rows.filter(pc.field("SeriesInstanceUID") != "")
    told = named["Folders"] if "Folders" in named.column_names else pa.nulls(named.num_rows, pa.int32())
    columns = {name: named[name] for name in FITTING[:2]} | {"Folders": pc.fill_null(told, 1)}
    measures = [("Folders", "min"), ("Folders", "max"), ("Folders", "count")]
    found = pa.table(columns).group_by(list(FITTING[:2])).aggregate(measures)
    count = pc.field("Folders_count")
    odd = found.filter((pc.field("Folders_min") != count) | (pc.field("Folders_max") != count))
    return {(row["Root"], row["SeriesInstanceUID"]): row["Folders_count"] for row in odd.to_pylist()}


def looked_at(snapshot: Snapshot, roots: Collection[str], uids: Collection[str]) -> Filter:
    """Return which rows to look at after rows of roots were written or removed.

    Besides those of the series that were written these are all that tell of several folders: whoever removed
    a row may have ended before it looked at the others.
    """
    # An empty list has no type of its own.
    rows = pc.field("SeriesInstanceUID").isin(pa.array(sorted(uids), pa.utf8()))
    if "Folders" in snapshot.columns.names:
        rows |= pc.field("Folders") > 1
    return Filter(pc.field("Root").isin(sorted(roots)) & rows, FITTING)


def unfit_series(
    reader: SnapshotReader, where: Filter | None, snapshot: Snapshot
) -> Iterator[list[SplitSeries]]:
    """Yield the series of a version whose rows do not fit, some at a time.

    Args:
        reader: Reads the table.
        where: Which rows to look at; at least one that does not fit of each series.
        snapshot: The version.

    Raises:
        CatalogueError: The table is broken.
        StorageError: It cannot be read.
    """
    found = unfit(reader.read(FITTING, where, snapshot))
    together: list[SeriesKey] = []
    rows = 0
    for key, count in sorted(found.items()):
        together.append(key)
        rows += count
        if rows >= _TOGETHER:
            yield _split(reader, together, snapshot)
            together, rows = [], 0
    if together:
        yield _split(reader, together, snapshot)


def parts_of(
    reader: SnapshotReader, keys: Collection[SeriesKey], snapshot: Snapshot
) -> dict[SeriesKey, tuple[Part, ...]]:
    """Return the folders of series as a version's rows have them, sorted.

    Raises:
        CatalogueError: The table is broken.
        StorageError: It cannot be read.
    """
    uids = pc.field("SeriesInstanceUID").isin(sorted({uid for _, uid in keys}))
    rows = reader.read(
        [*FITTING[:2], *_OF_PART, *_COUNTS], Filter(uids, ("SeriesInstanceUID",)), snapshot
    ).to_pylist()
    found: dict[SeriesKey, list[Part]] = defaultdict(list)
    for row in rows:
        found[row["Root"], row["SeriesInstanceUID"]].append(Part.of(row))
    return {key: tuple(sorted(found[key], key=lambda part: part.series)) for key in keys if key in found}


def _split(reader: SnapshotReader, keys: Sequence[SeriesKey], snapshot: Snapshot) -> list[SplitSeries]:
    """Return series whose rows do not fit; what only looked so in a part of its rows is left out."""
    found = parts_of(reader, keys, snapshot)
    return [
        SplitSeries(*key, parts)
        for key, parts in found.items()
        if {part.folders for part in parts} != {len(parts)}
    ]
