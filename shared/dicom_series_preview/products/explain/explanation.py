"""Explain a series: how it was grouped, ordered and windowed, what its stacks hold, what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dicom_series_preview._version import __version__
from dicom_series_preview.archive.catalogue.choose import choose
from dicom_series_preview.archive.catalogue.facts import StackFacts, facts_of, with_names
from dicom_series_preview.archive.index.schema import MOSAIC_COLUMNS
from dicom_series_preview.archive.one_series import shared_folders
from dicom_series_preview.archive.siemens import untiled
from dicom_series_preview.base.selection import spread
from dicom_series_preview.products.explain.grouping import Difference, differences, is_slide
from dicom_series_preview.products.explain.ordering import Order, order_of
from dicom_series_preview.products.explain.windows import Window, windows_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicom_series_preview.archive.catalogue.choose import Choice
    from dicom_series_preview.archive.index.index import Index
    from dicom_series_preview.archive.index.records import Duplicate, Skipped
    from dicom_series_preview.archive.index.stacks import Stack
    from dicom_series_preview.archive.opened import OpenedSeries

EXPLANATION_SCHEMA = 1
# The most slices of a stack whose windows and remarks are looked at, evenly spread.
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class ExplainedStack:
    """One stack of a series, explained.

    Attributes:
        stack: Its description.
        differences: What sets it apart from the main stack.
        order: What decided the order of its slices.
        facts: Its dimensions and geometry.
        positions: The coordinate of each location on the stack's axis in mm, NaN where it has none.
        choice: What pictures show of its dimensions by default.
        windows: What decides the windows of its slices.
        remarks: Remarks on its slices, with their counts.
        looked_at: The number of slices whose windows and remarks these are.
    """

    stack: Stack
    differences: tuple[Difference, ...]
    order: Order
    facts: StackFacts
    positions: tuple[float, ...] = field(repr=False)
    choice: Choice = field(repr=False)
    windows: tuple[Window, ...]
    remarks: tuple[tuple[str, int], ...]
    looked_at: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A series, explained.

    Attributes:
        series: Its folder; its SeriesInstanceUID where it lies in several.
        folders: The folders that it lies in.
        shared: Those of them that hold objects of other series, too.
        series_uid: The one SeriesInstanceUID that it is of what they hold; empty where it is all.
        asked_uid: The SeriesInstanceUID by which it was found; empty where a folder has the name.
        root: The storage root's URL.
        matches: The number of series that the prefix matched.
        objects: The number of its objects.
        limit: The most objects that were read, or None for all.
        series_instance_uids: The number of its SeriesInstanceUIDs.
        patient_ids: The number of its PatientIDs.
        is_slide: All its objects are whole slide images.
        stacks: Its stacks.
        taken_apart: Its stacks with Siemens mosaics taken apart; none without mosaics.
        skipped: The objects that cannot be shown, and why.
        duplicates: The objects identical to others, which are shown instead.
        notes: Remarks on the order.
        warnings: Warnings for viewers of any of its pictures.
    """

    series: str
    folders: tuple[str, ...]
    shared: tuple[str, ...]
    series_uid: str
    asked_uid: str
    root: str
    matches: int
    objects: int
    limit: int | None
    series_instance_uids: int
    patient_ids: int
    is_slide: bool
    stacks: tuple[ExplainedStack, ...]
    taken_apart: tuple[ExplainedStack, ...]
    skipped: tuple[Skipped, ...]
    duplicates: tuple[Duplicate, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        return {
            "explanation_schema": EXPLANATION_SCHEMA,
            "product_version": __version__,
            "series": self.series,
            "folders": list(self.folders),
            "shared_folders": list(self.shared),
            "series_uid": self.series_uid,
            "asked_uid": self.asked_uid,
            "root": self.root,
            "matches": self.matches,
            "objects": self.objects,
            "limit": self.limit,
            "series_instance_uids": self.series_instance_uids,
            "patient_ids": self.patient_ids,
            "stacks": [_stack_document(one) for one in self.stacks],
            "taken_apart": [_stack_document(one) for one in self.taken_apart],
            "skipped": [{"name": one.name, "reason": one.reason} for one in self.skipped],
            "duplicates": [{"name": one.name, "of": one.of} for one in self.duplicates],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def explain(opened: OpenedSeries) -> Explanation:
    """Explain a series from its index alone.

    Raises:
        DamagedIndexError: The index contradicts itself.
    """
    index, provenance = opened.index, opened.index.provenance
    has_mosaics = MOSAIC_COLUMNS[0].name in index.table.column_names
    apart, warnings = untiled(index) if has_mosaics else (None, ())
    return Explanation(
        series=opened.title,
        folders=opened.folders,
        shared=tuple(shared_folders(opened)),
        series_uid=opened.uid,
        asked_uid=opened.asked_uid,
        root=opened.storage.url,
        matches=opened.matches,
        objects=provenance.listed,
        limit=provenance.limit,
        series_instance_uids=provenance.series_instance_uids,
        patient_ids=provenance.patient_ids,
        is_slide=is_slide(index),
        stacks=_explained(index),
        taken_apart=() if apart is None else _explained(apart),
        skipped=(*provenance.skipped, *index.without_image()),
        duplicates=provenance.duplicates,
        notes=provenance.notes,
        warnings=(*opened.warnings, *warnings),
    )


def _explained(index: Index) -> tuple[ExplainedStack, ...]:
    """Explain the stacks of an index."""
    stacks = index.described_stacks()
    return tuple(_explained_stack(index, stack, stacks[0]) for stack in stacks)


def _explained_stack(index: Index, stack: Stack, main: Stack) -> ExplainedStack:
    rows, sorted_stack = index.stacks[stack.stack], index.sorted_stack(stack.stack)
    facts = facts_of(index, stack.stack)
    choice = choose(sorted_stack.locations, facts.dimensions, ())
    looked_at = [int(rows[i]) for i in spread(len(rows), _LOOKED_AT)]
    slices = index.slices(looked_at)
    positions = dict(
        zip(reversed(sorted_stack.locations.tolist()), reversed(sorted_stack.positions.tolist()), strict=True)
    )
    return ExplainedStack(
        stack=stack,
        differences=differences(index, stack, main),
        order=order_of(index, stack),
        facts=facts,
        positions=tuple(positions[location] for location in sorted(positions) if location >= 0),
        choice=choice,
        windows=windows_of(slices),
        remarks=_counted(remark for item in slices for remark in item.remarks),
        looked_at=len(looked_at),
    )


def _counted(remarks: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(remarks).items())


def _stack_document(explained: ExplainedStack) -> dict[str, Any]:
    choice = explained.choice
    return {
        **asdict(explained.stack),
        "differs_from_main_by": [asdict(one) for one in explained.differences],
        "order": asdict(explained.order),
        "facts": with_names(explained.facts),
        "at": [place.text for place in choice.places],
        "runs_along": None if choice.along is None else choice.along.axis.name,
        "windows": [asdict(one) for one in explained.windows],
        "remarks": [{"remark": remark, "slices": count} for remark, count in explained.remarks],
        "looked_at": explained.looked_at,
    }
