"""The facts of a stack, as a document of JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.facts import facts_of

if TYPE_CHECKING:
    from dicom_series_preview.archive.index.index import Index


def facts_document(index: Index, number: int) -> dict[str, Any]:
    """Return the facts of a stack as JSON values, units in the names.

    Args:
        index: The series' index.
        number: The stack.

    Raises:
        KeyError: There is no such stack.
    """
    facts = facts_of(index, number)
    return {
        "stack": facts.stack,
        "shape": facts.shape,
        "slices": facts.slices,
        "locations": facts.locations,
        "dimensions": [
            {
                "name": one.axis.name,
                "element": one.axis.keyword,
                "unit": one.axis.unit,
                "values": list(one.values),
            }
            for one in facts.dimensions
        ],
        "duplicates": facts.duplicates,
        "plane": facts.plane,
        "obliquity_deg": facts.obliquity_deg,
        "tilt_deg": facts.tilt_deg,
        "spacing_mm": facts.spacing_mm,
        "is_regular": facts.is_regular,
        "gaps": [
            {"after_location": gap.after, "step_mm": gap.step_mm, "missing": gap.missing}
            for gap in facts.gaps
        ],
        "missing": facts.missing,
        "extent_mm": facts.extent_mm,
    }
