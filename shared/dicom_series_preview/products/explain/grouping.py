"""Say which elements set a stack apart from the main one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.archive.index.stacks import WHOLE_SLIDE_IMAGE, names_an_aside
from dicom_series_preview.base.arrangement import SAME_ORIENTATION

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.stacks import Stack

_SOP_CLASS_UID = 0x00080016


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a stack and the main one.

    Attributes:
        elements: The elements that tell it.
        told: It in words.
    """

    elements: tuple[str, ...]
    told: str


def differences(index: Index, stack: Stack, main: Stack) -> tuple[Difference, ...]:
    """Return what sets a stack apart from the main one; none for the main one itself.

    Args:
        index: The series' index.
        stack: The stack.
        main: The stack that pictures show by default.
    """
    if stack.stack == main.stack:
        return ()
    rows = [int(index.stacks[one.stack][0]) for one in (stack, main)]
    found = []
    if stack.series_instance_uid != main.series_instance_uid:
        found.append(Difference(("SeriesInstanceUID",), "another SeriesInstanceUID"))
    if stack.localizer and not main.localizer:
        kind = "a slide's label or overview" if _is_aside(index, rows[0]) else "a localizer"
        found.append(Difference(("ImageType",), f"ImageType names {kind}"))
    if (stack.rows, stack.columns) != (main.rows, main.columns):
        sizes = f"{stack.columns} x {stack.rows} pixels, not {main.columns} x {main.rows}"
        found.append(Difference(("Rows", "Columns"), sizes))
    samples = [_cell(index, "SamplesPerPixel", row) or 1 for row in rows]
    if samples[0] != samples[1]:
        told = f"SamplesPerPixel is {samples[0]}, not {samples[1]}"
        found.append(Difference(("SamplesPerPixel",), told))
    cosines = [_cell(index, "ImageOrientationPatient", row) for row in rows]
    if _is_turned(*cosines):
        own, other = (one.plane or "none" for one in (stack, main))
        told = f"another {own} one" if own == other else f"{own} instead of {other}"
        found.append(Difference(("ImageOrientationPatient",), f"ImageOrientationPatient: {told}"))
    return tuple(found)


def _is_aside(index: Index, row: int) -> bool:
    constant = index.constants.get(_SOP_CLASS_UID)
    uid = _cell(index, "SOPClassUID", row) if constant is None else constant.first
    return names_an_aside(str(uid), _cell(index, "ImageType", row) or ())


def is_slide(index: Index) -> bool:
    """Return True where all objects are whole slide images."""
    constant = index.constants.get(_SOP_CLASS_UID)
    return constant is not None and constant.first == WHOLE_SLIDE_IMAGE


def _is_turned(one: list[float] | None, other: list[float] | None) -> bool:
    """Return True for orientations of which one is missing, or that differ by more than those of a stack."""
    if not one or not other:
        return bool(one) != bool(other)
    return bool(np.abs(np.subtract(one, other)).max() > SAME_ORIENTATION)


def _cell(index: Index, name: str, row: int) -> Any:  # noqa: ANN401 - one of Arrow's values
    return index.table[name][row].as_py() if name in index.table.column_names else None
