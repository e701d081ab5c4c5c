"""What a series' headers say against it: how its slices lie, and which objects it has twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.catalogue.facts import facts_of
from dicom_series_preview.base.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_series_preview.archive.catalogue.facts import StackFacts
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.stacks import Stack

# Angles below this are what rounded headers make.
_LEAST_TILT_DEG = 0.05
_ROUNDED_MM, _ROUNDED = 0.1, 0.05
_EXACT_MM = 0.01
_MOST_GAPS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the headers of a series that is worth knowing before its pixels are used.

    Attributes:
        code: Its name in programs.
        told: It in words.
        stack: The stack that it is of, or None where it is of the whole series.
    """

    code: str
    told: str
    stack: int | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def findings_of(index: Index, stacks: Sequence[Stack]) -> tuple[Finding, ...]:
    """Return what the headers say against a series; no pixel is read.

    Args:
        index: The series' index.
        stacks: The stacks that count: those that are no localizers.
    """
    found = [one for stack in stacks for one in _of_stack(facts_of(index, stack.stack))]
    return (*found, *_of_series(index, stacks))


def _of_stack(facts: StackFacts) -> Iterator[Finding]:
    if facts.gaps:
        places = [f"{gap.after} and {gap.after + 1}" for gap in facts.gaps[:_MOST_GAPS]]
        more = " ..." if len(facts.gaps) > _MOST_GAPS else ""
        verb = "is" if facts.missing == 1 else "are"
        told = f"{counted(facts.missing, 'slice')} {verb} missing between locations {', '.join(places)}{more}"
        yield Finding("missing_slices", told, facts.stack)
    yield from _uneven(facts)
    if facts.tilt_deg is not None and facts.tilt_deg >= _LEAST_TILT_DEG:
        told = f"slices are shifted against each other by {facts.tilt_deg:.1f} degrees, as by a tilted gantry"
        yield Finding("gantry_tilt", told, facts.stack)
    if facts.duplicates:
        told = (
            f"{counted(facts.duplicates, 'slice')} too many at {counted(len(facts.duplicated), 'location')}"
        )
        yield Finding("duplicate", told, facts.stack)
    if facts.dimensions and facts.absent:
        told = f"{counted(facts.absent, 'slice')} that other locations have in {facts.shape}"
        verb = "is" if facts.absent == 1 else "are"
        yield Finding("incomplete_grid", f"{told} {verb} missing", facts.stack)


def _uneven(facts: StackFacts) -> Iterator[Finding]:
    """Say that locations are not where equal steps from the first to the last would put them.

    Positions in headers are often rounded; less than 0.1 mm, or 5 % of a step if that is less, comes from it.
    """
    gaps = {gap.after: gap.missing for gap in facts.gaps}
    steps = [(run.spacing_mm, gaps.get(at, 0) + 1) for run in facts.runs for at in range(run.first, run.last)]
    whole = [step / count for step, count in steps]
    if not whole:
        return
    counts, along = (
        list(accumulate(values)) for values in (map(itemgetter(1), steps), map(itemgetter(0), steps))
    )
    equal = along[-1] / counts[-1]
    off = max(abs(place - count * equal) for place, count in zip(along, counts, strict=True))
    if off > min(_ROUNDED_MM, _ROUNDED * equal):
        told = f"locations are {min(whole):.2f} to {max(whole):.2f} mm apart"
        yield Finding("nonuniform_spacing", told, facts.stack)
    elif off > _EXACT_MM:
        told = f"locations are up to {off:.2f} mm off equal steps of {equal:.2f} mm"
        yield Finding("rounded_positions", told, facts.stack)


def _of_series(index: Index, stacks: Sequence[Stack]) -> Iterator[Finding]:
    sizes = list(dict.fromkeys((stack.columns, stack.rows) for stack in stacks))
    if len(sizes) > 1:
        texts = [f"{columns} x {rows}" for columns, rows in sizes[:_MOST_GAPS]]
        more = " ..." if len(sizes) > _MOST_GAPS else ""
        yield Finding("mixed_sizes", f"images have {len(sizes)} sizes: {', '.join(texts)}{more} pixels")
    planes = list(dict.fromkeys(stack.plane for stack in stacks if stack.plane))
    if len(planes) > 1:
        yield Finding("orientation_varies", f"images have {len(planes)} orientations: {', '.join(planes)}")
    same = len(index.provenance.duplicates)
    if same:
        which = "1 object is identical to another" if same == 1 else f"{same} objects are identical to others"
        yield Finding("duplicate", f"{which}, and counted once")
