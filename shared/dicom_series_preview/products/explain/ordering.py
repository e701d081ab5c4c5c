"""Say what decided the order of a stack's slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_series_preview.archive.catalogue.axes import AXES
from dicom_series_preview.archive.catalogue.elements import Elements
from dicom_series_preview.archive.index.arrow import coordinates, floats
from dicom_series_preview.base.arrangement import ranks, uid_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.stacks import Stack

    IntArray = NDArray[np.int64]

# Those of SortedStack, a frame's before its object's.
_TIMES = (
    *("NominalCardiacTriggerDelayTime", "TriggerTime"),
    *("TemporalPositionIndex", "TemporalPositionIdentifier"),
    *("FrameAcquisitionDateTime", "AcquisitionTime", "AcquisitionDateTime", "ContentTime"),
)
_DIRECTIONS = {"X": "right to left", "Y": "posterior to anterior", "Z": "superior to inferior"}


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a stack's slices.

    Attributes:
        elements: What decided it, the first first: elements, or `time`, `FileName`, `FrameNumber`.
        direction: Where display leads in the patient, such as `superior to inferior`; empty without
            positions.
        at_one_location: What decided among slices of one location; empty where no two share one.
    """

    elements: tuple[str, ...]
    direction: str
    at_one_location: tuple[str, ...]


def order_of(index: Index, stack: Stack) -> Order:
    """Return what decided the order of a stack.

    Args:
        index: The series' index.
        stack: The stack.
    """
    rows, sorted_stack = index.stacks[stack.stack], index.sorted_stack(stack.stack)
    together = np.diff(sorted_stack.locations) == 0
    if stack.axis == "I":
        if sorted_stack.locations.max() >= 0:
            return Order(("focal plane",), "", ())
        return Order(_rising(index, rows, np.ones(len(rows) - 1, np.bool_)), "", ())
    return Order(
        _placing(index, rows, stack),
        _DIRECTIONS[stack.axis],
        _rising(index, rows, together) if together.any() else (),
    )


def _placing(index: Index, rows: IntArray, stack: Stack) -> tuple[str, ...]:
    """Return the elements that place the slices of a stack in the patient."""
    if np.isnan(coordinates(index.table["ImagePositionPatient"], 0)[rows]).all():
        return ("SliceLocation",)
    return ("ImagePositionPatient", "ImageOrientationPatient") if stack.plane else ("ImagePositionPatient",)


def _rising(index: Index, rows: IntArray, pairs: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return what rises from slice to slice; each decides where those before it are equal.

    Args:
        index: The series' index.
        rows: The slices' rows, in display order.
        pairs: True for a slice and the next if their order is to be explained.
    """
    found: list[str] = []
    for name, values in _keys(index, rows) if pairs.any() else ():
        # A missing value comes last.
        steps = np.diff(np.where(np.isnan(values), np.finfo(np.float64).max, values))[pairs]
        if (steps >= 0).all() and (steps > 0).any():
            found.append(name)
            pairs = pairs.copy()
            pairs[np.flatnonzero(pairs)[steps > 0]] = False
    return tuple(found)


def _time(index: Index, rows: IntArray) -> str:
    """Name the element in the column Time: the first of those that varies in the stack."""
    elements = Elements(index, rows.tolist())
    for keyword in _TIMES:
        for axis in AXES:
            is_it = axis.keyword == keyword and axis.kind != "value"
            values = elements.values(axis.element) if is_it else None
            if values is not None and len({*values} - {None}) > 1:
                return keyword
    return "time"


def _keys(index: Index, rows: IntArray) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the keys that slices of one location are sorted by, the first first."""
    yield "InstanceNumber", floats(index.table["InstanceNumber"])[rows]
    yield _time(index, rows), floats(index.table["Time"])[rows]
    taken = index.table.select(["SOPInstanceUID", "FileName"]).take(rows)
    uids = [uid or "" for uid in taken["SOPInstanceUID"].to_pylist()]
    yield "SOPInstanceUID", ranks(uids, uid_key).astype(np.float64)
    yield "FileName", ranks(taken["FileName"].to_pylist()).astype(np.float64)
    yield "FrameNumber", floats(index.table["FrameNumber"])[rows]
