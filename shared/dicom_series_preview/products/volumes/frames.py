"""The geometry of a stack's slices as arrays, one value for each slice in display order."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.catalogue.cells import Cells
from dicom_series_preview.archive.catalogue.dimensions import dimensions_of
from dicom_series_preview.archive.index.arrow import coordinates, floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_series_preview.archive.catalogue.dimensions import Dimension
    from dicom_series_preview.archive.index.index import Index

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class StackFrames:
    """The slices of one stack.

    Attributes:
        index: The series' index, mosaics taken apart.
        stack: The stack's number.
    """

    index: Index
    stack: int
    cells: Cells = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", Cells(self.index))

    @cached_property
    def rows(self) -> IntArray:
        """int64 (n,): the slices' rows in the index."""
        return self.index.stacks[self.stack]

    @cached_property
    def locations(self) -> IntArray:
        """int64 (n,): the number of each slice's location along the normal; -1 without one."""
        return self.index.sorted_stack(self.stack).locations

    @cached_property
    def positions(self) -> FloatArray:
        """float64 (n, 3), mm: ImagePositionPatient (PS3.3 C.7.6.2.1.1), NaN where a slice has none."""
        column = self.index.table["ImagePositionPatient"]
        return np.stack([coordinates(column, axis)[self.rows] for axis in range(3)], axis=1)

    @cached_property
    def orientations(self) -> FloatArray:
        """float64 (n, 6): ImageOrientationPatient, NaN where a slice has none."""
        return self._lists("ImageOrientationPatient", 6)

    @cached_property
    def spacings(self) -> FloatArray:
        """float64 (n, 2), mm: PixelSpacing, between rows and between columns; NaN where a slice has none."""
        return self._lists("PixelSpacing", 2)

    @cached_property
    def sizes(self) -> IntArray:
        """int64 (n, 2): rows and columns."""
        names = self.index.table.column_names
        sizes = np.stack([floats(self.index.table[name])[self.rows] for name in ("Rows", "Columns")], axis=1)
        if "SliceRows" in names:
            own = [floats(self.index.table[name])[self.rows] for name in ("SliceRows", "SliceColumns")]
            apart = np.stack(own, axis=1)
            sizes = np.where(np.isnan(apart), sizes, apart)
        return sizes.astype(np.int64)

    @cached_property
    def names(self) -> list[tuple[str, str, int]]:
        """Each slice's SOPInstanceUID (empty without one), its object's path, and its frame."""
        columns = self.index.table.select(["SOPInstanceUID", "FileName", "FrameNumber"])
        texts = columns.take(pa.array(self.rows)).to_pydict()
        return [
            (uid or "", name, number or 1)
            for uid, name, number in zip(*(texts[key] for key in columns.column_names), strict=True)
        ]

    @cached_property
    def order(self) -> IntArray:
        """int64 (n,): each slice's place when sorted by InstanceNumber, then time, frame and name."""
        table = self.index.table
        numbers, times = (floats(table[name])[self.rows] for name in ("InstanceNumber", "Time"))
        files = np.unique([name for _, name, _ in self.names], return_inverse=True)[1]
        frames = np.array([number for _, _, number in self.names], np.int64)
        # Of a mosaic taken apart all slices have one number; the mosaic's own order tells the volumes.
        places = np.empty(len(self.rows), np.int64)
        places[np.lexsort((files, frames, times, numbers))] = np.arange(len(self.rows))
        return places

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What tells apart slices that share a location; every element of the stack is read for it."""
        return dimensions_of(self.index, self.stack)

    def values(self, keyword: str, tag: int) -> list[Any]:
        """Return the value of an element of each slice; see `Cells.values`."""
        return self.cells.values(self.rows.tolist(), keyword, tag)

    def _lists(self, name: str, length: int) -> FloatArray:
        cells = self.index.table[name].take(pa.array(self.rows)).to_pylist()
        missing = [float("nan")] * length
        whole = [cell if cell and len(cell) == length and None not in cell else missing for cell in cells]
        return np.array(whole, np.float64).reshape(-1, length)
