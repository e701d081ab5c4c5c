"""What tells a series' stacks apart, for those who choose one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_series_preview.base.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "TOPOGRAM")


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack of a series; what its first slice says holds for all of it.

    Attributes:
        stack: Its number.
        series_instance_uid: SeriesInstanceUID (0020,000E), or empty.
        modality: Modality (0008,0060), or empty.
        image_type: The words of ImageType (0008,0008), then those of the frame's own.
        plane: `axial`, `coronal`, `sagittal` or `oblique`; empty where the slices have no orientation.
        axis: `X`, `Y`, `Z` or `I`.
        first_position: Coordinate of the first slice on the axis in mm, InstanceNumber on `I`, or None.
        last_position: That of the last.
        rows: Rows of its images.
        columns: Columns of its images.
        slices: How many there are.
        localizer: It is for finding one's way: a localizer, or a slide's label or overview.
        description: SeriesDescription (0008,103E), free text in which names occur, or empty.
    """

    stack: int
    series_instance_uid: str
    modality: str
    image_type: tuple[str, ...]
    plane: str
    axis: str
    first_position: float | None
    last_position: float | None
    rows: int
    columns: int
    slices: int
    localizer: bool
    description: str


def names_a_localizer(words: Iterable[object]) -> bool:
    """Whether ImageType tells of a localizer."""
    return any(str(word).upper() in _LOCALIZER_WORDS for word in words)


def told(stacks: int, series_instance_uids: int, patient_ids: int) -> str:
    """What a folder holds, in words: its stacks, and series and patients where there are several."""
    parts = [counted(stacks, "stack")]
    if series_instance_uids > 1:
        parts.append(f"{series_instance_uids} series")
    if patient_ids > 1:
        parts.append(counted(patient_ids, "patient"))
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else parts[0]
