"""The objects of an index that have no image: reports, structures, states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.archive.index.records import Skipped

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.index import Index

NO_IMAGE = "has no image"
"""The reason for an object that is no image, and has no fault."""


def without_image(index: Index) -> list[Skipped]:
    """List the indexed objects without an image, with the reasons."""
    if not index.table["FrameNumber"].null_count:
        return []
    cells = index.table.select(["FileName", "FrameNumber", "Remarks"]).to_pydict()
    rows = zip(*cells.values(), strict=True)
    return [Skipped(name, (remarks or [NO_IMAGE])[0]) for name, number, remarks in rows if number is None]
