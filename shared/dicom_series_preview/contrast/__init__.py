"""Stored values -> modality values -> display values, 0..255 (PS3.3 C.11).

The way through, for the slices of one picture::

    spec = parse_contrast("ct-lung")                      # or "1500/-500", "auto", "embedded", ... or DEFAULT
    pooled = AutoWindow()
    if any(needs_statistics(spec, contrast) for contrast in contrasts):
        for decoded, contrast in slices:
            pooled.add(decoded.samples, contrast)
    for decoded, pixels, contrast in slices:
        applied = resolve(spec, contrast, pooled)
        grey = render(decoded, pixels, contrast, applied)
        mask = padding_mask(decoded.samples, contrast)
"""

from dicom_series_preview.contrast.auto import AutoWindow
from dicom_series_preview.contrast.modality import modality_values, padding_mask
from dicom_series_preview.contrast.render import is_inverted, render
from dicom_series_preview.contrast.resolve import COLOUR, Applied, needs_statistics, resolve
from dicom_series_preview.contrast.spec import DEFAULT, ContrastSpec, parse_contrast
from dicom_series_preview.contrast.voi import linear, linear_exact, sigmoid, voi_lut

__all__ = [
    "COLOUR",
    "DEFAULT",
    "Applied",
    "AutoWindow",
    "ContrastSpec",
    "is_inverted",
    "linear",
    "linear_exact",
    "modality_values",
    "needs_statistics",
    "padding_mask",
    "parse_contrast",
    "render",
    "resolve",
    "sigmoid",
    "voi_lut",
]
