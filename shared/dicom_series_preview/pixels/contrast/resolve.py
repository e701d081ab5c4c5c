"""Decide the contrast of a slice, from the request and the file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from dicom_series_preview.base.image import LookupTable
from dicom_series_preview.pixels.contrast.defaults import default_window

if TYPE_CHECKING:
    from dicom_series_preview.base.image import Contrast, Window
    from dicom_series_preview.pixels.contrast.auto import AutoWindow
    from dicom_series_preview.pixels.contrast.spec import ContrastSpec

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID", "LUT", "NONE"]


@dataclass(frozen=True, slots=True)
class Applied:
    """The contrast of one slice, for rendering and for the report.

    Attributes:
        kind: `preset`, `custom`, `auto`, `embedded`, `default` (by what the image shows), or `none` (colour,
            or nothing but padding).
        function: `LINEAR`, `LINEAR_EXACT`, `SIGMOID`, `LUT` or `NONE`.
        center: Window center in modality units, if the function has one.
        width: Window width in modality units, > 0, if the function has one.
        name: The name of the preset or of the default window, or empty.
        explanation: The window's or LUT's explanation from the header, or empty.
        lut: The VOI LUT, if the function is `LUT`.
        warning: Why this differs from the request, or empty. It quotes no header.
    """

    kind: Literal["preset", "custom", "auto", "embedded", "default", "none"]
    function: Function
    center: float = 0.0
    width: float = 0.0
    name: str = ""
    explanation: str = ""
    lut: LookupTable | None = field(default=None, repr=False)
    warning: str = ""


COLOUR = Applied("none", "NONE")


def needs_statistics(spec: ContrastSpec, contrast: Contrast) -> bool:
    """Return True where a slice's contrast depends on the values of all shown slices."""
    if spec.kind in ("preset", "custom"):
        return False
    return spec.kind == "auto" or _embedded(spec, contrast) is None


def resolve(spec: ContrastSpec, contrast: Contrast, pooled: AutoWindow) -> Applied:
    """Decide the contrast of one slice.

    Args:
        spec: The requested contrast.
        contrast: The slice's own contrast.
        pooled: The statistics of all shown slices; used only if `needs_statistics` says so.
    """
    if spec.kind in ("preset", "custom"):
        return Applied(spec.kind, "LINEAR_EXACT", spec.center, spec.width, name=spec.name)
    if spec.kind == "auto":
        return _auto(pooled)
    applied = _embedded(spec, contrast)
    if applied is not None:
        return applied
    applied = _default(contrast, pooled) if spec.kind == "default" else _auto(pooled)
    used = f"{applied.name or 'auto'} is used instead"
    if contrast.windows:
        return replace(applied, warning=f"the file's window has no positive width; {used}")
    if spec.kind == "embedded":
        return replace(applied, warning=f"the file has no window; {used}")
    return applied


def _default(contrast: Contrast, pooled: AutoWindow) -> Applied:
    found = default_window(contrast, pooled)
    if found is None:
        return _auto(pooled)
    name, window = found
    return Applied("default", "LINEAR_EXACT", window.center, window.width, name=name)


def _auto(pooled: AutoWindow) -> Applied:
    window = pooled.window()
    if window is None:
        return Applied("none", "NONE", warning="every pixel shown is padding")
    return Applied("auto", "LINEAR_EXACT", window.center, window.width)


def _embedded(spec: ContrastSpec, contrast: Contrast) -> Applied | None:
    """Return the file's own view, or None if it has no usable one.

    LUTs and windows are alternative views, never chained (PS3.3 C.11.2.1); LUTs come before windows, also in
    their numbering.
    """
    views: list[LookupTable | Window] = [*contrast.voi_luts, *contrast.windows]
    if not views:
        return None
    view, warning = views[0], ""
    if spec.number or spec.name:
        if spec.number:
            chosen = views[spec.number - 1 : spec.number]
        else:
            chosen = [one for one in views if one.explanation.strip().casefold() == spec.name.casefold()]
        if chosen:
            view = chosen[0]
        else:
            warning = f"the file has no such view among its {len(views)}; its first is used instead"
    applied = _of_view(view, contrast)
    return applied and replace(applied, warning=warning)


def _of_view(view: LookupTable | Window, contrast: Contrast) -> Applied | None:
    if isinstance(view, LookupTable):
        return Applied("embedded", "LUT", explanation=view.explanation, lut=view)
    if not (math.isfinite(view.center) and math.isfinite(view.width) and view.width > 0):
        return None
    function: Function
    if contrast.voi_lut_function == "SIGMOID":
        function = "SIGMOID"
    elif contrast.voi_lut_function == "LINEAR_EXACT" or view.width < 1:
        # LINEAR is defined for widths from 1 on (C.11.2.1.2.1); below, files mean a ramp of that width.
        function = "LINEAR_EXACT"
    else:
        function = "LINEAR"  # also for an absent or an unknown function
    return Applied("embedded", function, view.center, view.width, explanation=view.explanation)
