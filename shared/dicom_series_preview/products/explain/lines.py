"""Write an explanation as plain lines."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from dicom_series_preview.archive.catalogue.choose import label, values_told
from dicom_series_preview.archive.index.stacks import told
from dicom_series_preview.base.errors import counted
from dicom_series_preview.base.selection import numbers_told
from dicom_series_preview.pixels.contrast.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_series_preview.archive.catalogue.dimensions import Dimension
    from dicom_series_preview.archive.catalogue.facts import StackFacts
    from dicom_series_preview.products.explain.explanation import ExplainedStack, Explanation
    from dicom_series_preview.products.explain.ordering import Order
    from dicom_series_preview.products.explain.windows import Window

_INDENT = "  "
_MOST_STACKS, _MOST_NAMES, _MOST_RUNS, _MOST_GAPS, _MOST_FOLDERS = 12, 3, 6, 8, 8
# Angles below this are what rounded headers make.
_LEAST_ANGLE = 0.05


def lines_of(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation."""
    yield f"{explanation.series} in {explanation.root}{_matched(explanation)}"
    yield from _indented(_contents(explanation))
    for one in explanation.stacks[:_MOST_STACKS]:
        yield from _of_stack(one, explanation)
    hidden = len(explanation.stacks) - _MOST_STACKS
    if hidden > 0:
        yield f"... and {counted(hidden, 'more stack')}; --json explains all"
    for one in explanation.taken_apart[:1]:
        yield "Siemens mosaics taken apart (--untile):"
        yield from _indented([*_counts(one), *_dimensions(one), *_geometry(one)])
    yield from _left_out(explanation)


def _matched(explanation: Explanation) -> str:
    return f" (the first of {explanation.matches} that match)" if explanation.matches > 1 else ""


def _contents(explanation: Explanation) -> Iterator[str]:
    """Say what the series is, and what it holds."""
    uid = explanation.series_uid or explanation.asked_uid
    if uid:
        yield f"SeriesInstanceUID {uid}{_where(explanation)}"
    found = told(len(explanation.stacks), explanation.series_instance_uids, explanation.patient_ids)
    yield f"{counted(explanation.objects, 'object')}, {found}"
    if explanation.limit is not None:
        yield f"no more than {counted(explanation.limit, 'object')} were read"
    if not explanation.stacks:
        yield "Grouped: into no stack, as no object has an image"
    elif len(explanation.stacks) == 1:
        yield "Grouped: all images have one SeriesInstanceUID, size and orientation, so one stack"
    else:
        yield f"Grouped: split by {_splitting(explanation.stacks)}; {_main(explanation)}"


def _where(explanation: Explanation) -> str:
    """Say in which folders a series lies, and which of them hold others, too."""
    folders, shared = explanation.folders, explanation.shared
    if len(folders) == 1:
        return ", one series of this folder, which holds others, too" if shared else ""
    told = [f"{folder} (which holds others, too)" if folder in shared else folder for folder in folders]
    return f", in {len(folders)} folders: {_some(told, _MOST_FOLDERS)}"


def _splitting(stacks: Sequence[ExplainedStack]) -> str:
    """Return the elements that split a series into its stacks."""
    each = [element for stack in stacks for one in stack.differences for element in one.elements]
    return ", ".join(dict.fromkeys(each)) or "what their objects are"


def _main(explanation: Explanation) -> str:
    """Say why pictures show the first stack."""
    stacks, main = explanation.stacks, explanation.stacks[0]
    if main.stack.localizer:
        return f"stack {main.stack.stack} comes first, and is a localizer as all are"
    sizes = [one.stack.slices for one in stacks if not one.stack.localizer]
    if explanation.is_slide:
        return f"stack {main.stack.stack}, the smallest level of the slide, is the main one"
    if sizes.count(max(sizes)) > 1:
        order = "by AcquisitionTime, AcquisitionNumber or InstanceNumber"
        return f"stack {main.stack.stack} is the main one, the first of those with the most slices, {order}"
    return f"stack {main.stack.stack} is the main one, with the most slices of those that are no localizers"


def _of_stack(explained: ExplainedStack, explanation: Explanation) -> Iterator[str]:
    """Yield the lines of one stack."""
    stack = explained.stack
    words = [stack.modality, stack.plane or "no orientation", "localizer" if stack.localizer else ""]
    yield f"Stack {stack.stack}: {', '.join(filter(None, words))}, {stack.columns} x {stack.rows} pixels"
    if explained.differences:
        reasons = "; ".join(one.told for one in explained.differences)
        yield f"{_INDENT}Apart from stack {explanation.stacks[0].stack.stack}: {reasons}"
    yield from _indented(
        [
            *_counts(explained),
            *_order(explained.order, explained),
            *_dimensions(explained),
            *_geometry(explained),
            *(_window(one, explained) for one in explained.windows),
            *_remarks(explained),
        ]
    )


def _counts(explained: ExplainedStack) -> Iterator[str]:
    facts = explained.facts
    if not facts.locations:
        none = "without" if facts.slices == 1 else "none with"
        yield f"Slices: {facts.slices}, {none} a place in the patient"
        return
    if facts.slices == 1:
        yield "Slices: 1"
    elif facts.slices == facts.locations + facts.without_location:
        yield f"Slices: {facts.slices}, each at a location of its own"
    else:
        shape = f": {facts.shape}" if facts.dimensions else ""
        yield f"Slices: {facts.slices} at {counted(facts.locations, 'location')}{shape}"
    if facts.without_location:
        yield f"Without a place: {counted(facts.without_location, 'slice')}, after those that have one"


def _order(order: Order, explained: ExplainedStack) -> Iterator[str]:
    """Say what decided the order, and where display leads."""
    if explained.facts.slices == 1:
        return
    if order.direction and explained.facts.locations == 1:
        yield f"Order: all at one location, by {', then '.join(order.at_one_location) or 'nothing'}"
        return
    if not order.elements:
        yield "Order: nothing tells one slice from another"
    elif not order.direction:
        yield f"Order: by {', then '.join(order.elements)}"
    elif order.elements == ("ImagePositionPatient", "ImageOrientationPatient"):
        yield (
            "Order: by ImagePositionPatient along the normal of ImageOrientationPatient, "
            f"{order.direction}{_ends(explained)}"
        )
    elif order.elements == ("ImagePositionPatient",):
        yield (
            "Order: by ImagePositionPatient along the axis on which it varies most (there is no "
            f"ImageOrientationPatient), {order.direction}{_ends(explained)}"
        )
    else:
        yield (
            f"Order: by {order.elements[0]} (there is no ImagePositionPatient), "
            f"{order.direction}{_ends(explained)}"
        )
    if order.at_one_location:
        yield f"At one location: by {', then '.join(order.at_one_location)}"


def _ends(explained: ExplainedStack) -> str:
    """Return the coordinates of the first and the last location."""
    known = [position for position in explained.positions if math.isfinite(position)]
    if len(known) < 2:
        return ""
    return f" ({explained.stack.axis.lower()} {_mm(known[0])} to {_mm(known[-1])} mm)"


def _dimensions(explained: ExplainedStack) -> Iterator[str]:
    """Say which dimensions there are, with their values, and what pictures show of them."""
    facts = explained.facts
    for one in facts.dimensions:
        yield f"Dimension: {_dimension(one)}"
    yield from _lacking(facts)
    if facts.dimensions and facts.absent:
        yield f"Absent: {counted(facts.absent, 'slice')} that other locations have in these dimensions"
    places = [place for place in explained.choice.places if place.which]
    if places:
        first = " and ".join(f"{place.text}, {place.which}" for place in places)
        yield f'Pictures show: {first}; --at "{places[0].another}" shows another'
    if explained.choice.along is not None:
        yield f"Pictures run over: {explained.choice.along.axis.name}, as all slices lie at one location"


def _dimension(one: Dimension) -> str:
    """Name a dimension, its element, and its values; ranks are no values of the element."""
    axis, count = one.axis, len(one.values)
    if axis.kind == "rank":
        places = "places in time" if "time" in axis.name else "places"
        return f"{axis.name}, {count} {places}, by {axis.keyword}: {values_told(one)}"
    is_named = axis.keyword.casefold() == axis.name.replace(" ", "")
    return f"{axis.name}{'' if is_named else f' ({axis.keyword})'}, {count} values: {values_told(one)}"


def _lacking(facts: StackFacts) -> Iterator[str]:
    """Say which values are not at all locations."""
    found = [
        (f"{one.axis.name}={label(one, number)}", locations)
        for one in facts.dimensions
        for number, locations in enumerate(one.lacking)
        if locations
    ]
    for name, locations in found[:_MOST_GAPS]:
        where = "location" if len(locations) == 1 else f"{len(locations)} of {facts.locations} locations:"
        yield f"Not everywhere: {name} is missing at {where} {numbers_told(locations, _MOST_GAPS)}"
    if len(found) > _MOST_GAPS:
        yield f"Not everywhere: {len(found) - _MOST_GAPS} more values; --json lists them"


def _geometry(explained: ExplainedStack) -> Iterator[str]:
    """Say how the locations lie."""
    facts = explained.facts
    if facts.spacing_mm is not None:
        yield from _spacing(explained)
    for gap in facts.gaps[:_MOST_GAPS]:
        verb = "is" if gap.missing == 1 else "are"
        where = f"locations {gap.after} and {gap.after + 1}{_between(explained, gap.after, gap.after + 1)}"
        yield f"Gap: {counted(gap.missing, 'slice')} {verb} missing between {where}: {_mm(gap.step_mm)} mm"
    if len(facts.gaps) > _MOST_GAPS:
        yield f"Gaps: {len(facts.gaps)} in all, {counted(facts.missing, 'slice')} missing; --json lists them"
    if facts.duplicates:
        places = ", ".join(map(str, facts.duplicated[:_MOST_GAPS]))
        more = " ..." if len(facts.duplicated) > _MOST_GAPS else ""
        many = "" if len(facts.duplicated) == 1 else "s"
        too_many = f"{counted(facts.duplicates, 'slice')} too many, {_alike(facts.duplicates_differ_in)}"
        yield f"Several at location{many} {places}{more}: {too_many}"
    yield from _angles(facts)


def _alike(differing: Sequence[str]) -> str:
    """Say in what slices differ that are no dimension."""
    if not differing:
        return "alike in all elements that can be a dimension"
    return f"told apart by {_some(differing)} alone, at too few locations for a dimension"


def _spacing(explained: ExplainedStack) -> Iterator[str]:
    facts = explained.facts
    extent = f"from first to last {_mm(facts.extent_mm or 0.0)} mm"
    if facts.locations == 2:
        yield f"Spacing: {_mm(facts.spacing_mm or 0.0)} mm between the two locations"
    elif facts.is_regular:
        yield f"Spacing: {_mm(facts.spacing_mm or 0.0)} mm, regular; {extent}"
    elif len(facts.runs) <= _MOST_RUNS:
        runs = "; ".join(
            f"{_mm(run.spacing_mm)} mm from location {run.first} to {run.last} ({counted(run.steps, 'step')})"
            for run in facts.runs
        )
        yield f"Spacing: irregular: {runs}; {extent}"
    else:
        spacings = [run.spacing_mm for run in facts.runs]
        yield (
            f"Spacing: irregular: steps of {_mm(min(spacings))} to {_mm(max(spacings))} mm, "
            f"{_mm(facts.spacing_mm or 0.0)} mm the median; {extent}"
        )


def _angles(facts: StackFacts) -> Iterator[str]:
    if facts.obliquity_deg is not None and facts.obliquity_deg >= _LEAST_ANGLE:
        plane = "the nearest plane" if facts.plane == "oblique" else facts.plane
        yield f"Oblique: {facts.obliquity_deg:.1f} degrees off {plane}"
    if facts.tilt_deg is not None and facts.tilt_deg >= _LEAST_ANGLE:
        yield (
            f"Tilted: {facts.tilt_deg:.1f} degrees between the slices' normal and the line through their "
            "corners, as with a tilted gantry"
        )


def _between(explained: ExplainedStack, first: int, last: int) -> str:
    """Return the coordinates of two locations, if both have one."""
    ends = explained.positions[first], explained.positions[last]
    if not all(map(math.isfinite, ends)):
        return ""
    return f" ({explained.stack.axis.lower()} {_mm(ends[0])} and {_mm(ends[1])} mm)"


def _window(window: Window, explained: ExplainedStack) -> str:
    """Say what decides the window of some slices."""
    number = len(explained.windows)
    which = f" ({counted(window.slices, 'slice')})" if number > 1 else ""
    inverted = f"; inverted by {window.inverted_by}: high values are dark" if window.inverted_by else ""
    return f"Window{which}: {_rule(window)}{inverted}"


def _rule(window: Window) -> str:
    if window.rule == "none":
        return "none, as the image is in colour"
    if window.rule == "embedded":
        others = f", the first of {window.views} views" if window.views > 1 else ""
        if window.function == "LUT":
            return f"embedded, by VOILUTSequence{others}"
        values = f"center {_span(window.center)}, width {_span(window.width)}"
        return f"embedded, by WindowCenter and WindowWidth: {values}, {window.function}{others}"
    why = "the file's window has no positive width" if window.is_unusable else "the file has no window"
    if window.rule in PRESETS:
        width, center = PRESETS[window.rule]
        return (
            f"{window.rule} ({width:g}/{center:g}), by BodyPartExamined, as {why} and these are Hounsfield "
            "units; auto where it would show nothing"
        )
    return f"{_RULES[window.rule]}, as {why}"


_RULES = {
    "uptake": "0 to the 99.5th percentile of the slices shown, by Modality",
    "from-zero": "0 to the highest value, by Modality",
    "as-stored": "0 to 255 as stored, by Modality; auto if all values are below 128",
    "auto": "auto, the 2nd to 98th percentile of the slices shown",
}


def _span(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return "unknown"
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"


def _remarks(explained: ExplainedStack) -> Iterator[str]:
    looked_at = explained.looked_at
    if looked_at < explained.facts.slices:
        yield f"Windows and remarks are those of {looked_at} slices, evenly spread"
    for remark, count in explained.remarks:
        many = "" if count == looked_at else f" ({counted(count, 'slice')})"
        yield f"Remark: {remark}{many}"


def _left_out(explanation: Explanation) -> Iterator[str]:
    """Say which objects are not shown, and what else there is to know."""
    by_reason = Counter(one.reason for one in explanation.skipped)
    for reason, count in by_reason.items():
        names = [one.name for one in explanation.skipped if one.reason == reason]
        yield f"Skipped: {counted(count, 'object')}: {reason}: {_some(names)}"
    if explanation.duplicates:
        names = [f"{one.name} (same as {one.of})" for one in explanation.duplicates]
        yield f"Duplicates: {counted(len(names), 'object')}, shown once: {_some(names)}"
    yield from (f"Note: {note}" for note in explanation.notes)
    yield from (f"Warning: {warning}" for warning in explanation.warnings)


def _some(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _indented(lines: Sequence[str] | Iterator[str]) -> Iterator[str]:
    yield from (f"{_INDENT}{line}" for line in lines)


def _mm(number: float) -> str:
    return f"{number + 0.0:.2f}".replace("-0.00", "0.00")
