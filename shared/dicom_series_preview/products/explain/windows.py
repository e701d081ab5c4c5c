"""Say what decides the window of each slice of a stack, where none is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.defaults import rule_of
from dicom_series_preview.pixels.contrast.presets import PRESETS
from dicom_series_preview.pixels.contrast.render import is_inverted
from dicom_series_preview.pixels.contrast.resolve import needs_statistics, resolve
from dicom_series_preview.pixels.contrast.spec import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dicom_series_preview.archive.index.slices import Slice


@dataclass(frozen=True, slots=True)
class Window:
    """What decides the window of some slices.

    Attributes:
        rule: `embedded`, a preset, `uptake`, `from-zero`, `as-stored`, `auto`, or `none` for colour.
        elements: The elements that decide it.
        function: `LINEAR`, `LINEAR_EXACT`, `SIGMOID` or `LUT` of the file's own; else empty.
        center: The least and the greatest center, in modality units; None where the pixels decide, or none
            is needed.
        width: The least and the greatest width.
        views: How many views the file has: windows and tables.
        is_unusable: The file has a window that cannot be used.
        inverted_by: The element that has high values shown dark; empty where none does.
        slices: How many slices it holds for.
    """

    rule: str
    elements: tuple[str, ...]
    function: str
    center: tuple[float, float] | None
    width: tuple[float, float] | None
    views: int
    is_unusable: bool
    inverted_by: str
    slices: int


_COLOUR = Window(
    rule="none",
    elements=("PhotometricInterpretation",),
    function="",
    center=None,
    width=None,
    views=0,
    is_unusable=False,
    inverted_by="",
    slices=1,
)


def windows_of(slices: Iterable[Slice]) -> tuple[Window, ...]:
    """Return what decides the windows of slices, each once, the most frequent first."""
    found: dict[Window, Window] = {}
    for item in slices:
        one = _window_of(item)
        key = replace(one, center=None, width=None)
        found[key] = _joined(found[key], one) if key in found else one
    return tuple(sorted(found.values(), key=lambda window: -window.slices))


def _window_of(item: Slice) -> Window:
    contrast = item.contrast
    views = len(contrast.voi_luts) + len(contrast.windows)
    inverted_by = ""
    if is_inverted(item.pixels, contrast):
        is_by_pixels = item.pixels.photometric_interpretation == "MONOCHROME1"
        inverted_by = "PhotometricInterpretation" if is_by_pixels else "PresentationLUTShape"
    if is_colour(item.pixels):
        return _COLOUR
    if needs_statistics(DEFAULT, contrast):
        rule = rule_of(contrast)
        preset = PRESETS.get(rule)
        center, width = (preset[1], preset[0]) if preset else (None, None)
        return Window(
            rule=rule or "auto",
            elements=_deciding(rule),
            function="",
            center=None if center is None else (center, center),
            width=None if width is None else (width, width),
            views=views,
            is_unusable=views > 0,
            inverted_by=inverted_by,
            slices=1,
        )
    # The statistics of no pixels: nothing asks for them.
    applied = resolve(DEFAULT, contrast, AutoWindow())
    is_table = applied.function == "LUT"
    return Window(
        rule="embedded",
        elements=("VOILUTSequence",) if is_table else ("WindowCenter", "WindowWidth"),
        function=applied.function,
        center=None if is_table else (applied.center, applied.center),
        width=None if is_table else (applied.width, applied.width),
        views=views,
        is_unusable=False,
        inverted_by=inverted_by,
        slices=1,
    )


def _deciding(rule: str) -> tuple[str, ...]:
    """Return the elements that decide a rule for slices without a window."""
    if rule in PRESETS:
        return "Modality", "RescaleIntercept", "BodyPartExamined"
    return ("Modality",) if rule else ()


def _joined(one: Window, other: Window) -> Window:
    """Return two windows of one kind as one."""
    return replace(
        one,
        center=_span(one.center, other.center),
        width=_span(one.width, other.width),
        slices=one.slices + other.slices,
    )


def _span(one: tuple[float, float] | None, other: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if one is None or other is None else (min(one[0], other[0]), max(one[1], other[1]))
