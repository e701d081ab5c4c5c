"""The index of a series: a table, with methods for its readers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.index.arrow import floats
from dicom_series_preview.archive.index.cells import elements_of
from dicom_series_preview.archive.index.damage import damage_told
from dicom_series_preview.archive.index.file import read_table, write_table
from dicom_series_preview.archive.index.metadata import constants_of, provenance_of, saying
from dicom_series_preview.archive.index.overlays import may_hold_overlay_bits, with_overlays
from dicom_series_preview.archive.index.records import Skipped
from dicom_series_preview.archive.index.schema import BY_NAME, FIXED_COLUMNS, MOSAIC_COLUMNS, PART_COLUMNS
from dicom_series_preview.archive.index.slices import Part, Slice, slice_of
from dicom_series_preview.archive.index.stacks import Stack, described_stacks, sorted_stack, told
from dicom_series_preview.sources.headers.elements import Item, all_values
from dicom_series_preview.sources.headers.locations import FrameLocation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydicom import Dataset

    from dicom_series_preview.archive.index.records import Provenance, Record
    from dicom_series_preview.base.selection import SortedStack

NO_IMAGE = "has no image"
"""The reason for an object that is no image, and has no fault."""
_PATIENT_ORIENTATION, _ANATOMICAL_ORIENTATION_TYPE = 0x00200020, 0x00102210


@dataclass(frozen=True)
class Index:
    """The index of a series.

    Attributes:
        table: One row per frame, in display order, stack after stack; the frames of one slice are neighbours.
    """

    table: pa.Table

    @classmethod
    def from_parquet(cls, data: bytes, most_rows: int | None = None) -> Index:
        """Read an index file.

        Raises:
            DamagedIndexError: The file is no index, has another schema version, or has more rows than
                `most_rows`; such a file is not read into memory.
        """
        table = read_table(data, most_rows)
        index = cls(table)
        # Pages have checksums; the metadata of the file and its columns have none, so read them now.
        with damage_told("its metadata"):
            _ = index.provenance, elements_of(table.slice(0, 1), index.constants)
        return index

    def to_parquet(self) -> bytes:
        """Write the index as a Parquet file; docs/decisions/0023 explains its compression."""
        return write_table(self.table.num_columns, self.whole, self.constants)

    @cached_property
    def whole(self) -> pa.Table:
        """The table with an additional column for each public element with the same value in all objects.

        Files have these, so that every index has the column, and it is never empty only because its value is
        constant.
        """
        from dicom_series_preview.archive.index import element_columns  # noqa: PLC0415 - pictures need none

        columns = element_columns.constant_columns(self.constants, self.table.num_rows)
        fields = [*self.table.schema, *(field for field, _ in columns)]
        schema = pa.schema(fields, metadata=self.table.schema.metadata)
        return pa.table([*self.table.columns, *(values for _, values in columns)], schema=schema)

    @cached_property
    def provenance(self) -> Provenance:
        """The index's facts about itself.

        Raises:
            DamagedIndexError: The metadata hold other types than an index writes.
        """
        return provenance_of(self.table)

    @cached_property
    def constants(self) -> Item:
        """The elements with the same value in every object."""
        return constants_of(self.table)

    @cached_property
    def stacks(self) -> dict[int, np.ndarray[Any, np.dtype[np.int64]]]:
        """The rows of each stack's slices in display order, by stack number; one row per slice."""
        numbers = floats(self.table["Stack"])
        if self._has_parts:
            slices = floats(self.table["Slice"])
            numbers[1:][slices[1:] == slices[:-1]] = np.nan
        # Rows without a stack come last. Not np.unique, which imports numpy.ma: 9 ms of every preview.
        order = np.argsort(np.where(numbers >= 0, numbers, np.inf), kind="stable")
        order = order[: np.count_nonzero(numbers >= 0)]
        parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        return {int(numbers[rows[0]]): rows for rows in parts if len(rows)}

    @property
    def slice_count(self) -> int:
        """The number of slices in all stacks."""
        return sum(len(rows) for rows in self.stacks.values())

    def object_count(self, number: int) -> int:
        """Count the objects behind the slices of a stack.

        Raises:
            KeyError: There is no such stack.
        """
        return len(set(self.table["FileName"].take(pa.array(self.stacks[number])).to_pylist()))

    def without_image(self) -> list[Skipped]:
        """List the objects without an image, such as reports and structures, with the reasons."""
        if not self.table["FrameNumber"].null_count:
            return []
        cells = self.table.select(["FileName", "FrameNumber", "Remarks"]).to_pydict()
        rows = zip(*cells.values(), strict=True)
        return [Skipped(name, (remarks or [NO_IMAGE])[0]) for name, number, remarks in rows if number is None]

    def described_stacks(self) -> list[Stack]:
        """Describe the stacks, in the order of their numbers."""
        return described_stacks(self.table, self.stacks, self.constants)

    def sorted_stack(self, number: int) -> SortedStack:
        """Return the positions and times of one stack's slices, in display order.

        Raises:
            KeyError: There is no such stack.
        """
        return sorted_stack(self.table, self.stacks[number])

    def slices(self, rows: Sequence[int], *, overlays: bool = False) -> list[Slice]:
        """Return the slices of rows.

        Args:
            rows: Rows of slices with an image, as in `stacks`.
            overlays: Include their objects' overlay planes.
        """
        frames = self.frames(rows)
        if overlays or self._may_hold_overlay_bits:
            frames = with_overlays(self.table, self.constants, frames, shown=overlays)
        return [self._put_together(item) for item in frames] if self._has_parts else frames

    def frames(self, rows: Sequence[int]) -> list[Slice]:
        """Return the frames of rows, whatever slices they lie on.

        Raises:
            DamagedIndexError: A row has values that no slice has.
        """
        names, columns = self._fixed.column_names, self._fixed.columns
        return [
            slice_of(row, {name: column[row].as_py() for name, column in zip(names, columns, strict=True)})
            for row in (int(row) for row in rows)
        ]

    def parts(self, item: Slice) -> list[Part]:
        """Return the visible frames that lie on a slice; none where it is a frame itself."""
        rows = item.part_rows
        names = ("FileName", "Index", "FrameNumber", "FrameOffset", "FrameLength", "FrameTop", "FrameLeft")
        columns = self.table.slice(rows.start, len(rows)).select(names).to_pydict() if rows else {}
        first_of: dict[str, Slice] = {}
        parts = []
        for i, row in enumerate(rows):
            name, index_row, number, offset, length, top, left = (columns[column][i] for column in names)
            # An object's frames differ only in their place.
            first = first_of.get(name) or first_of.setdefault(name, self.frames([row])[0])
            location = None if offset is None else FrameLocation(offset, length)
            frame = replace(first, row=index_row, frame_number=number, location=location)
            if (
                -frame.pixels.rows < top < item.pixels.rows
                and -frame.pixels.columns < left < item.pixels.columns
            ):
                parts.append(Part(frame, top, left))
        return parts

    @cached_property
    def _has_parts(self) -> bool:
        return PART_COLUMNS[0].name in self.table.column_names

    @cached_property
    def _fixed(self) -> pa.Table:
        return self.table.select([column.name for column in FIXED_COLUMNS])

    def _put_together(self, item: Slice) -> Slice:
        """Return a row's slice: the one that its frame is a part of, if any."""
        number, rows, columns, _, _, background = (
            self.table[column.name][item.row].as_py() for column in PART_COLUMNS
        )
        if number is None:
            return item
        count = int(np.count_nonzero(floats(self.table["Slice"]) == number))
        pixels = replace(item.pixels, rows=rows, columns=columns)
        part_rows = range(item.row, item.row + count)
        return replace(item, pixels=pixels, part_rows=part_rows, background=background or 0)

    @cached_property
    def _may_hold_overlay_bits(self) -> bool:
        """True where an object can have an overlay plane among its pixels' unused bits."""
        return may_hold_overlay_bits(self.table, self.constants)

    def patient_orientation(self, item: Slice) -> str:
        r"""Return PatientOrientation (0020,0020) of a slice's object as written, like `L\P`, or empty."""
        return "\\".join(self._texts(_PATIENT_ORIENTATION, "PatientOrientation", item))

    def is_of_a_quadruped(self, item: Slice) -> bool:
        """Return True where a slice's object has an animal's directions (0010,2210)."""
        return self._texts(_ANATOMICAL_ORIENTATION_TYPE, "AnatomicalOrientationType", item) == ["QUADRUPED"]

    def is_whole_mosaic(self, item: Slice) -> bool:
        """Return True for a Siemens mosaic of several slices that is not taken apart."""
        name = MOSAIC_COLUMNS[0].name
        if item.part_rows or name not in self.table.column_names:
            return False
        return self.table[name][item.row].as_py() not in (None, 1)

    def _texts(self, tag: int, keyword: str, item: Slice) -> list[str]:
        """Return the texts of an element of a slice's object."""
        constant = self.constants.get(tag)
        if constant is not None:
            values: Sequence[Any] = all_values(constant)
        elif keyword in self.table.column_names:
            cell = self.table[keyword][item.row].as_py()
            values = cell if isinstance(cell, list) else [cell]
        else:
            values = ()
        return [str(value or "").strip() for value in values]

    def with_locations(self, found: Mapping[str, Sequence[FrameLocation]]) -> Index:
        """Return the same index with the places of frames that it did not know.

        Args:
            found: The places of an object's frames in their order, by its path below the series' folder.
        """
        cells = self.table.select(["FileName", "FrameNumber", "FrameOffset", "FrameLength"]).to_pydict()
        for row, (name, number) in enumerate(zip(cells["FileName"], cells["FrameNumber"], strict=True)):
            if name in found and number is not None:
                location = found[name][number - 1]
                cells["FrameOffset"][row], cells["FrameLength"][row] = location.offset, location.length
        table = self.table
        for column in ("FrameOffset", "FrameLength"):
            at = table.schema.get_field_index(column)
            table = table.set_column(at, table.schema.field(at), pa.array(cells[column], pa.int64()))
        return Index(table)

    def with_root(self, name: str) -> Index:
        """Return the same index with another name for its storage root than the URL.

        Args:
            name: The name.
        """
        table, column = self.table, BY_NAME["StorageRoot"]
        at = table.schema.get_field_index(column.name)
        table = table.set_column(at, column.field(), pa.array([name] * table.num_rows, column.type))
        return Index(saying(table, root=name))

    @property
    def contents(self) -> str:
        """The folder's contents in words: stacks, and series and patients if it has several."""
        provenance = self.provenance
        return told(len(self.stacks), provenance.series_instance_uids, provenance.patient_ids)

    def header(self, row: int) -> Dataset:
        """Return the header of a row's object as stored, without binary values.

        Args:
            row: A row of the index.
        """
        from dicom_series_preview.sources.headers.dataset import to_dataset  # noqa: PLC0415 - loads pydicom

        name = self.table["FileName"][row].as_py()
        record = next(record for record in self.records([name]) if record.name == name)
        return to_dataset(record.elements)

    def records(self, names: Sequence[str] | None = None) -> list[Record]:
        """Return the records that the index was built from, to rebuild it without reading a header.

        Args:
            names: Only these objects; None for all, with duplicates.
        """
        from dicom_series_preview.archive.index.restore import records_of  # noqa: PLC0415 - pictures need no records

        return records_of(self.table, self.constants, self.provenance.duplicates, names)
