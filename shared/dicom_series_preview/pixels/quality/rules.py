"""The rules that a slice of good quality keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview.pixels.quality.metrics import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from dicom_series_preview.pixels.quality.metrics import Metrics
    from dicom_series_preview.pixels.quality.thresholds import Thresholds

NORMAL = "Normal"
"""What is said of a slice, or a series, that breaks no rule."""
_NEAR_END = 0.1
_BRIGHT_BORDER = 0.1


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a slice is of low quality.

    Attributes:
        id: Its name in programs.
        text: It in words.
    """

    id: str
    text: str


NO_PIXEL_DATA = Reason("no_pixel_data", "No pixel data available")
"""The slice's pixels are not there, or cannot be decoded."""
EMPTY_DATA = Reason("empty_data", "Empty pixel data")
"""No value shows anything: all are padding, or no numbers."""
INVALID_RANGE = Reason("dynamic_range_invalid", "Invalid dynamic range")
"""The percentiles are equal: what more there is to say of the values follows from that."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule on what was measured.

    Attributes:
        reason: What breaks it.
        is_broken: Called with the metrics of a slice as shown, dark to bright, and the thresholds.
        exposure: It applies only where the thresholds say that exposure counts.
    """

    reason: Reason
    is_broken: Callable[[_Shown, Thresholds], bool]
    exposure: bool = False


@dataclass(frozen=True, slots=True)
class _Shown:
    """The metrics of a slice, from dark to bright.

    Attributes:
        dynamic_range: The distance between the percentiles, above 0, or infinity.
        std: The standard deviation, or infinity.
        unique_ratio: See `Metrics`.
        brightness: The mean's place between the percentiles, from dark to bright.
        dark: The share of values at the dark end.
        bright: The share of values at the bright end.
        border: How much brighter the border is than the rest, as a share of the range.
    """

    dynamic_range: float
    std: float
    unique_ratio: float
    brightness: float
    dark: float
    bright: float
    border: float


_RULES = (
    _Rule(
        Reason("dynamic_range_low", "Low dynamic range"),
        lambda shown, thresholds: shown.dynamic_range < thresholds.dynamic_range_min,
    ),
    _Rule(
        Reason("contrast_low", "Low contrast"),
        lambda shown, thresholds: shown.std < thresholds.std_min,
    ),
    _Rule(
        Reason("complexity_low", "Low complexity"),
        lambda shown, thresholds: shown.unique_ratio < thresholds.unique_ratio_min,
    ),
    _Rule(
        Reason("under_exposed", "Under-exposed"),
        lambda shown, thresholds: shown.brightness < _NEAR_END or shown.dark > thresholds.low_ratio_threshold,
        exposure=True,
    ),
    _Rule(
        Reason("over_exposed", "Over-exposed"),
        lambda shown, thresholds: (
            shown.brightness > 1 - _NEAR_END or shown.bright > thresholds.high_ratio_threshold
        ),
        exposure=True,
    ),
    _Rule(
        Reason("inverted_border", "Potential inverted border"),
        lambda shown, _thresholds: shown.border > _BRIGHT_BORDER,
        exposure=True,
    ),
)
REASONS = (NO_PIXEL_DATA, EMPTY_DATA, INVALID_RANGE, *(rule.reason for rule in _RULES))
"""Every reason, in the order in which a slice's are listed."""


@dataclass(frozen=True, slots=True)
class SliceQuality:
    """What came of judging one slice.

    Attributes:
        reasons: Why it is of low quality; none where it is good.
        metrics: What was measured; None without a value.
    """

    reasons: tuple[Reason, ...]
    metrics: Metrics | None = None

    @property
    def is_low(self) -> bool:
        """The slice is of low quality."""
        return bool(self.reasons)

    @property
    def told(self) -> str:
        """The reasons in words, `Normal` without any."""
        return ", ".join(reason.text for reason in self.reasons) or NORMAL

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "low_quality": self.is_low,
            "low_quality_reason": self.told,
            "reasons": [reason.id for reason in self.reasons],
            "metrics": None if self.metrics is None else asdict(self.metrics),
        }


UNREADABLE = SliceQuality((NO_PIXEL_DATA,))
"""A slice without values."""


def judge(
    values: NDArray[Any],
    padding: NDArray[np.bool_] | None,
    modality: str,
    thresholds: Thresholds,
    *,
    inverted: bool = False,
) -> SliceQuality:
    """Judge one slice by its modality values, before any window.

    Equal input gives equal results, and the input stays as it is.

    Args:
        values: (rows, columns), integers or floats.
        padding: True where a value shows nothing, (rows, columns); or None.
        modality: Modality (0008,0060); decides what is foreground.
        thresholds: The modality's.
        inverted: Low values are bright, as in MONOCHROME1.
    """
    metrics = measure(values, padding, modality, thresholds)
    if metrics is None:
        return SliceQuality((EMPTY_DATA,))
    if metrics.dynamic_range is not None and metrics.dynamic_range <= 0:
        return SliceQuality((INVALID_RANGE,), metrics)
    shown = _shown(metrics, inverted=inverted)
    return SliceQuality(
        tuple(
            rule.reason
            for rule in _RULES
            if (thresholds.exposure or not rule.exposure) and rule.is_broken(shown, thresholds)
        ),
        metrics,
    )


def _shown(metrics: Metrics, *, inverted: bool) -> _Shown:
    """Return metrics from dark to bright; values too large to compare break no rule."""
    infinite = float("inf")
    extent = infinite if metrics.dynamic_range is None else metrics.dynamic_range
    brightness, border = 0.5, 0.0
    if metrics.mean is not None and metrics.percentile_low is not None and extent < infinite:
        brightness = (metrics.mean - metrics.percentile_low) / extent
        border = (metrics.border or 0.0) / extent
    dark, bright = metrics.low_ratio, metrics.high_ratio
    if inverted:
        brightness, border, dark, bright = 1 - brightness, -border, bright, dark
    return _Shown(
        dynamic_range=extent,
        std=infinite if metrics.std is None else metrics.std,
        unique_ratio=metrics.unique_ratio,
        brightness=brightness,
        dark=dark,
        bright=bright,
        border=border,
    )
