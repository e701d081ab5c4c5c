"""The thresholds of the rules: built in, and changed by environment variables."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.settings import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECTIONS = frozenset(("DX", "DR", "CR", "MG", "XA", "RF"))
"""Modalities whose images are exposed as a whole: only there do exposure and border tell anything."""
_DEFAULT = "DEFAULT"
# Far beyond any value of an image.
_MOST = 1e300


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of the rules for one modality, in modality units where they have a unit.

    Attributes:
        dynamic_range_min: The least distance between the two percentiles.
        std_min: The least standard deviation.
        unique_ratio_min: The least number of distinct values, as a share of the values.
        low_ratio_threshold: The largest share of values at the lower percentile.
        high_ratio_threshold: The largest share of values at the upper percentile.
        percentile_low: The lower percentile, 0..100.
        percentile_high: The upper percentile.
        series_low_quality_ratio: The largest share of slices with issues in a series of good quality.
        exposure: 1 where the rules on exposure and border apply, else 0.
    """

    dynamic_range_min: float = 20.0
    std_min: float = 5.0
    unique_ratio_min: float = 0.01
    low_ratio_threshold: float = 0.6
    high_ratio_threshold: float = 0.6
    percentile_low: float = 2.0
    percentile_high: float = 98.0
    series_low_quality_ratio: float = 0.3
    exposure: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], modality: str) -> Thresholds:
        """Read the thresholds of a modality; the first that is there counts.

        These are: the variable `QC_CT_STD_MIN`, the modality's built-in threshold, the variable
        `QC_DEFAULT_STD_MIN`, the built-in threshold of all modalities.

        Args:
            environment: Usually `os.environ`, as it is when the rules run.
            modality: Modality (0008,0060) as stored, or empty.

        Raises:
            RequestError: A variable holds no number, or one out of range; or the percentiles are not in
                ascending order.
        """
        name = modality_name(modality)
        layers = (
            *([_given(environment, name)] if name else []),
            _built_in(name),
            _given(environment, _DEFAULT),
        )
        found = cls(**{key: value for layer in reversed(layers) for key, value in layer.items()})
        if found.percentile_low >= found.percentile_high:
            raise RequestError(
                variable(name or _DEFAULT, "percentile_low"),
                f"is {found.percentile_low:g}, and must lie below the upper percentile, "
                f"{found.percentile_high:g}",
            )
        return found

    def document(self) -> dict[str, Any]:
        """Return the thresholds as JSON values."""
        return asdict(self)


_KEYS = tuple(field.name for field in fields(Thresholds))
_VARIABLE = re.compile(f"QC_([A-Z0-9]+)_({'|'.join(key.upper() for key in _KEYS)})")
_BOUNDS: dict[str, tuple[float, float]] = {
    "dynamic_range_min": (0.0, _MOST),
    "std_min": (0.0, _MOST),
    "percentile_low": (0.0, 100.0),
    "percentile_high": (0.0, 100.0),
    "exposure": (0, 1),
}
_SHARE = (0.0, 1.0)
_X_RAY = {"dynamic_range_min": 10.0, "std_min": 3.0, "unique_ratio_min": 0.001}
_OF_MODALITIES: dict[str, dict[str, float]] = {
    "CT": {"dynamic_range_min": 20.0, "std_min": 5.0, "unique_ratio_min": 0.01},
    "MR": {"dynamic_range_min": 15.0, "std_min": 5.0, "unique_ratio_min": 0.008},
    **dict.fromkeys(("DX", "DR", "MG", "CR"), _X_RAY),
}


def check_environment(environment: Mapping[str, str]) -> None:
    """Read every threshold that the environment sets, so that a mistake shows before any work.

    Raises:
        RequestError: See `Thresholds.from_environment`.
    """
    for name in sorted({found[1] for name in environment if (found := _VARIABLE.fullmatch(name))}):
        Thresholds.from_environment(environment, name)


def modality_name(modality: str) -> str:
    """Return a modality as variables name it; empty where it is no code string."""
    name = modality.strip().upper()
    return name if re.fullmatch("[A-Z0-9]+", name) else ""


def variable(name: str, key: str) -> str:
    """Return the variable of a threshold.

    Args:
        name: A modality, or DEFAULT.
        key: The threshold, such as `std_min`.
    """
    return f"QC_{name}_{key.upper()}"


def _built_in(name: str) -> dict[str, Any]:
    exposure = {"exposure": 1} if name in PROJECTIONS else {}
    return {**_OF_MODALITIES.get(name, {}), **exposure}


def _given(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return the thresholds that variables of a modality, or DEFAULT, set."""
    named = {key: variable(name, key) for key in _KEYS}
    return {
        key: number_of(one, environment[one], *_BOUNDS.get(key, _SHARE))
        for key, one in named.items()
        if environment.get(one)
    }
