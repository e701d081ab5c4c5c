"""Show a volume's values as grey levels: by what its source says of windows, else by what it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_series_preview.base.image import Contrast, PixelDescription
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.defaults import rule_of, window_of_rule
from dicom_series_preview.pixels.contrast.render import render
from dicom_series_preview.pixels.contrast.resolve import Applied
from dicom_series_preview.pixels.decoded import Decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from dicom_series_preview.pixels.contrast.resolve import Function
    from dicom_series_preview.products.volumes.plan import PlannedVolume

_FUNCTIONS: tuple[Function, ...] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
# The darkest level that is told from black on a screen.
_LEAST_SHOWN = 48


def display_document(volume: PlannedVolume) -> dict[str, Any]:
    """Return what its source says of how a volume is shown, as JSON values: the middle slice's window."""
    kind, item = volume.values, volume.slices[len(volume.slices) // 2]
    contrast = item.contrast
    is_white = item.pixels.photometric_interpretation == "MONOCHROME1"
    window = next(
        (
            {
                # Values that are turned around have a window that is.
                "center": one.center if kind.inverted is None else kind.inverted - one.center,
                "width": one.width,
                "function": contrast.voi_lut_function,
            }
            for one in contrast.windows[:1]
            if math.isfinite(one.center) and math.isfinite(one.width) and one.width > 0
        ),
        None,
    )
    return {
        "rule": "" if kind.is_colour or kind.inverted is not None else rule_of(contrast),
        "window": None if kind.is_colour else window,
        "low_is_bright": is_white and kind.inverted is None,
        # Modality values, which windows are in, are slope x value + intercept.
        "slope": kind.slope,
        "intercept": kind.intercept,
    }


@dataclass(frozen=True, slots=True, eq=False)
class Shades:
    """How the values of one volume become grey levels.

    Attributes:
        contrast: What the levels depend on in the file.
        applied: The window.
        low_is_bright: Low values are shown bright.
    """

    contrast: Contrast
    applied: Applied
    low_is_bright: bool = False

    @classmethod
    def of(cls, display: Mapping[str, Any], padding: float | None, samples: Iterable[NDArray[Any]]) -> Shades:
        """Choose the window of a volume.

        Args:
            display: See `display_document`; empty if unknown.
            padding: The value of padding, or None.
            samples: What is shown of it, which decides where the source has no window.
        """
        slope, intercept = float(display.get("slope", 1.0)), float(display.get("intercept", 0.0))
        contrast = Contrast(slope, intercept, pixel_padding_value=padding)
        low_is_bright = bool(display.get("low_is_bright"))
        window = display.get("window")
        if window is not None:
            function: Function = next((one for one in _FUNCTIONS if one == window["function"]), "LINEAR")
            width = float(window["width"])
            if function == "LINEAR" and width < 1:
                function = "LINEAR_EXACT"
            return cls(contrast, Applied("embedded", function, float(window["center"]), width), low_is_bright)
        pooled = AutoWindow()
        for one in samples:
            if one.ndim == 2:
                pooled.add(one, contrast)
        found = window_of_rule(str(display.get("rule", "")), pooled)
        chosen = pooled.window() if found is None else found[1]
        if chosen is None:
            return cls(contrast, Applied("none", "NONE"), low_is_bright)
        applied = Applied("auto" if found is None else "default", "LINEAR_EXACT", chosen.center, chosen.width)
        return cls(contrast, applied, low_is_bright)

    def levels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the levels of values (rows, columns); colour (rows, columns, 3) is shown as it is."""
        if values.ndim == 3:
            return values.astype(np.uint8)
        photometric = f"MONOCHROME{1 if self.low_is_bright else 2}"
        rows, columns = values.shape
        pixels = PixelDescription("", rows, columns, photometric_interpretation=photometric)
        decoded = Decoded(np.ascontiguousarray(values), pixels.photometric_interpretation)
        return render(decoded, pixels, self.contrast, self.applied)

    def differences(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.uint8]:
        """Return ten times the difference of two pictures, in this window; any difference is visible."""
        off = np.abs(one.astype(np.float64) - other.astype(np.float64))
        off[np.isnan(one.astype(np.float64)) & np.isnan(other.astype(np.float64))] = 0
        if off.ndim == 3:
            off = off.max(axis=2)
            width = 255.0
        else:
            off *= abs(self.contrast.rescale_slope)
            width = self.applied.width or 1.0
        shown = np.nan_to_num(np.minimum(off * (10 * 255.0) / width, 255.0), nan=255.0)
        return np.where(off == 0, 0, np.maximum(shown, _LEAST_SHOWN)).astype(np.uint8)
