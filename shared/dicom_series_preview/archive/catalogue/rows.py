"""Make the catalogue's rows of an index: one for each SeriesInstanceUID in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dicom_series_preview.archive.catalogue.cells import Cells
from dicom_series_preview.archive.catalogue.columns import OF_SERIES, PATIENT, RULES, Shape
from dicom_series_preview.archive.catalogue.facts import facts_of
from dicom_series_preview.archive.catalogue.values import converted, moment_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from dicom_series_preview.archive.catalogue.facts import StackFacts
    from dicom_series_preview.archive.index.index import Index

# The elements of the time of acquisition, the most precise first: a DT, or a DA and a TM.
_FRAME_ACQUIRED, _ACQUIRED = ("FrameAcquisitionDateTime", 0x00189074), ("AcquisitionDateTime", 0x0008002A)
_ACQUISITION_DATE, _ACQUISITION_TIME = ("AcquisitionDate", 0x00080022), ("AcquisitionTime", 0x00080032)
_CONTENT_DATE, _CONTENT_TIME = ("ContentDate", 0x00080023), ("ContentTime", 0x00080033)
_SERIES_DATE, _SERIES_TIME = ("SeriesDate", 0x00080021), ("SeriesTime", 0x00080031)
_STUDY_DATE, _STUDY_TIME = ("StudyDate", 0x00080020), ("StudyTime", 0x00080030)
_MOMENTS = (
    (_FRAME_ACQUIRED, None),
    (_ACQUIRED, None),
    (_ACQUISITION_DATE, _ACQUISITION_TIME),
    (_SERIES_DATE, _ACQUISITION_TIME),
    (_STUDY_DATE, _ACQUISITION_TIME),
    (_CONTENT_DATE, _CONTENT_TIME),
    (_SERIES_DATE, _SERIES_TIME),
    (_STUDY_DATE, _STUDY_TIME),
)
# Where no time of day is known: midnight of the day.
_DAYS = (_FRAME_ACQUIRED, _ACQUIRED, _ACQUISITION_DATE, _CONTENT_DATE, _SERIES_DATE, _STUDY_DATE)
_OFFSET = ("TimezoneOffsetFromUTC", 0x00080201)
_PROBLEM_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where a series lies, and what of it was catalogued when.

    Attributes:
        root: Its root's URL.
        series: Its folder below the root.
        fingerprint: The digest of its listing.
        index_path: Its index below the cache, or empty.
        index_version: The version of that file, or empty.
        modified: When its newest object was written, or None.
        catalogued: When the index was read.
    """

    root: str
    series: str
    fingerprint: str
    index_path: str
    index_version: str
    modified: dt.datetime | None
    catalogued: dt.datetime

    @property
    def cells(self) -> dict[str, Any]:
        """The cells that a row has of it."""
        return {
            "Root": self.root,
            "Series": self.series,
            "SeriesInstanceUID": "",
            "Fingerprint": self.fingerprint,
            "IndexPath": self.index_path or None,
            "IndexVersion": self.index_version or None,
            "LastModified": self.modified,
            "CataloguedAt": self.catalogued,
        }


def rows_of(index: Index, place: Place, shape: Shape) -> list[dict[str, Any]]:
    """Make the rows of an index.

    Args:
        index: The index.
        place: Where its series lies.
        shape: The site's columns.

    Returns:
        A row for each SeriesInstanceUID, the one with the main stack first; none of an index without rows. It
        describes what this folder holds, though the series may lie in others, too: see `wholes`.
    """
    uids = series_uids(index)
    members: dict[str, list[int]] = {}
    for row, uid in enumerate(uids):
        members.setdefault(uid, []).append(row)
    stacks: dict[str, list[int]] = {}
    for number, rows in index.stacks.items():
        stacks.setdefault(uids[int(rows[0])], []).append(number)
    row_of = _RowOf(index, Cells(index), place, shape)
    return [row_of(uid, rows, stacks.get(uid, [])) for uid, rows in members.items()]


def series_uids(index: Index) -> list[str]:
    """Return the SeriesInstanceUID of each row of an index, as the catalogue has it: empty without one."""
    return ["" if uid is None else uid.strip(" \0") for uid in index.table["SeriesInstanceUID"].to_pylist()]


def settled_fingerprint(index: Index) -> str:
    """Return the digest of an index's listing; empty while an object was withheld, which is read again."""
    provenance = index.provenance
    return "" if any(item.transient for item in provenance.skipped) else provenance.fingerprint


def problem_row(place: Place, problem: str, *, objects: int, skipped: int = 0) -> dict[str, Any]:
    """Make the row of a series without an index.

    Args:
        place: Where the series lies.
        problem: Why, in one line without a value of a header.
        objects: Its objects.
        skipped: Those that are no readable instances.
    """
    told = " ".join(problem.split())[:_PROBLEM_LENGTH]
    return {**place.cells, "Problem": told, "Instances": objects, "SkippedObjects": skipped}


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Make a table of rows; a cell that a row lacks is null."""
    listed = list(rows)
    columns = [pa.array([row.get(field.name) for row in listed], field.type) for field in schema]
    return pa.table(columns, schema=schema)


@dataclass(frozen=True, slots=True)
class _RowOf:
    """Makes a row of an index.

    Attributes:
        index: The index.
        elements: Its elements.
        place: Where its series lies.
        shape: The site's columns.
    """

    index: Index
    elements: Cells
    place: Place
    shape: Shape

    def __call__(self, uid: str, rows: Sequence[int], stacks: Sequence[int]) -> dict[str, Any]:
        """Make the row of one SeriesInstanceUID.

        Args:
            uid: The SeriesInstanceUID.
            rows: The rows of the index that have it.
            stacks: Its stacks, the main one first.
        """
        main = min(stacks) if stacks else None
        first = int(self.index.stacks[main][0]) if main is not None else rows[0]
        row = {**self.place.cells, "SeriesInstanceUID": uid, "Folders": 1, "Rules": RULES}
        for column in (*OF_SERIES, *self.shape.added):
            if self.shape.has_patients or column.name not in PATIENT:
                value = self.elements.values([first], column.name, column.tag)[0]
                row[column.name] = converted(value, column.type)
        row |= self._counts(rows, stacks)
        row["FirstInstanceTime"] = self._first_moment(rows)
        return row if main is None else row | _cells_of(facts_of(self.index, main))

    def _counts(self, rows: Sequence[int], stacks: Sequence[int]) -> dict[str, Any]:
        taken = pa.array(rows, pa.int64())
        columns = ["FileName", "ObjectSize", "FrameNumber", "TransferSyntaxUID"]
        cells = self.index.table.select(columns).take(taken).to_pydict()
        sizes = dict(zip(cells["FileName"], cells["ObjectSize"], strict=True))
        return {
            "TransferSyntaxUID": sorted({uid for uid in cells["TransferSyntaxUID"] if uid}),
            "Instances": len(sizes),
            "Frames": sum(number is not None for number in cells["FrameNumber"]),
            "Stacks": len(stacks),
            "Slices": len(self.index.stacks[min(stacks)]) if stacks else 0,
            "Bytes": sum(size or 0 for size in sizes.values()),
            "SkippedObjects": len(self.index.provenance.skipped),
        }

    def _first_moment(self, rows: Sequence[int]) -> dt.datetime | None:
        """The earliest acquisition, by the first elements that any object has; days alone are the last."""
        objects = self._objects(rows)
        offsets = self.elements.values(objects, *_OFFSET)
        midnights = ["000000"] * len(objects)
        for date, time in (*_MOMENTS, *((day, midnights) for day in _DAYS)):
            days = self.elements.values(objects, *date)
            clocks = self.elements.values(objects, *time) if isinstance(time, tuple) else time
            moments = map(moment_of, days, clocks or [None] * len(objects), offsets)
            known = [moment for moment in moments if moment is not None]
            if known:
                return min(known)
        return None

    def _objects(self, rows: Sequence[int]) -> list[int]:
        """The first of each object's rows."""
        first: dict[str, int] = {}
        names = self.index.table["FileName"].take(pa.array(rows, pa.int64())).to_pylist()
        for name, row in zip(names, rows, strict=True):
            first.setdefault(name, row)
        return list(first.values())


def _cells_of(facts: StackFacts) -> dict[str, Any]:
    return {
        "SliceSpacing": facts.spacing_mm,
        "SpacingRegular": facts.is_regular,
        "MissingSlices": facts.missing,
        "DuplicatePositions": facts.duplicates,
        "Plane": facts.plane.upper() or None,
        "Obliquity_deg": facts.obliquity_deg,
        "Tilt_deg": facts.tilt_deg,
        "Extent_mm": facts.extent_mm,
        "Dimensions": facts.shape,
    }
