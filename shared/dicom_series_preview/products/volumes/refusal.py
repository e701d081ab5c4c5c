"""Why a part of a series cannot be a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dicom_series_preview.base.errors import SeriesError

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.slices import Slice

Code = Literal[
    "no_image",
    "no_geometry",
    "localizer",
    "single_location",
    "nonuniform_spacing",
    "missing_slices",
    "incomplete_grid",
    "mixed_spacing",
    "orientation_varies",
    "decode_failed",
    "changed",
    "not_found",
    "unsupported",
    "too_large",
    "too_large_here",
    "overflow",
    "proof_failed",
    "exists_other",
    "output",
]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no volume.

    Attributes:
        code: The kind of reason, for programs.
        problem: The reason in one line: what, which object, and what to do. Options stand in backticks.
    """

    code: Code
    problem: str


class RefusedError(SeriesError):
    """A series, or a part of it, is no volume.

    Attributes:
        code: The kind of reason.
    """

    def __init__(self, series: str, root: str, refusal: Refusal) -> None:
        self.code = refusal.code
        super().__init__(series, root, f"{refusal.problem} ({refusal.code})")


def called(item: Slice) -> str:
    """Return what a slice is called in messages: its SOPInstanceUID, and its frame if there are several."""
    number = f", frame {item.frame_number}" if item.pixels.number_of_frames > 1 else ""
    return f"{item.sop_instance_uid or item.file_name}{number}"
