import pytest

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.pixels.quality.thresholds import Thresholds, check_environment

MODALITY, DEFAULT = {"QC_CT_STD_MIN": "7"}, {"QC_DEFAULT_STD_MIN": "9"}


@pytest.mark.parametrize(
    ("environment", "modality", "expected"),
    [
        ({}, "CT", 5.0),
        (MODALITY, "CT", 7.0),
        (DEFAULT, "CT", 5.0),
        ({**MODALITY, **DEFAULT}, "CT", 7.0),
        ({}, "PT", 5.0),
        (MODALITY, "PT", 5.0),
        (DEFAULT, "PT", 9.0),
        (DEFAULT, "", 9.0),
        (DEFAULT, "DX", 3.0),
        ({"QC_CT_STD_MIN": ""}, "CT", 5.0),
        (MODALITY, " ct ", 7.0),
        (DEFAULT, "C-T", 9.0),
    ],
)
def test_the_nearest_threshold_counts(environment: dict[str, str], modality: str, expected: float) -> None:
    """The modality's variable, its built-in number, the variable for all, the number for all."""
    assert Thresholds.from_environment(environment, modality).std_min == expected


def test_a_threshold_without_a_number_of_the_modality_takes_that_for_all() -> None:
    """What is built in for all modalities alone is changed for each by the variable for all."""
    environment = {"QC_DEFAULT_LOW_RATIO_THRESHOLD": "0.8", "QC_DEFAULT_EXPOSURE": "1"}
    found = Thresholds.from_environment(environment, "CT")
    assert (found.low_ratio_threshold, found.high_ratio_threshold, found.exposure) == (0.8, 0.6, 1)


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        *((name, (20, 5, 0.01, 0)) for name in ("CT", "PT", "NM", "US", "")),
        ("MR", (15, 5, 0.008, 0)),
        *((name, (10, 3, 0.001, 1)) for name in ("DX", "DR", "MG", "CR")),
        *((name, (20, 5, 0.01, 1)) for name in ("XA", "RF")),
    ],
)
def test_built_in_thresholds(modality: str, expected: tuple[float, ...]) -> None:
    """Each modality has the thresholds that docs/quality.md lists."""
    found = Thresholds.from_environment({}, modality)
    numbers = (found.dynamic_range_min, found.std_min, found.unique_ratio_min, found.exposure)
    assert numbers == expected
    assert (found.percentile_low, found.percentile_high) == (2, 98)
    assert (found.low_ratio_threshold, found.high_ratio_threshold) == (0.6, 0.6)
    assert found.series_low_quality_ratio == 0.3


def test_the_environment_is_read_each_time() -> None:
    """A variable set later counts from then on."""
    environment = dict(MODALITY)
    assert Thresholds.from_environment(environment, "CT").std_min == 7
    environment["QC_CT_STD_MIN"] = "8"
    assert Thresholds.from_environment(environment, "CT").std_min == 8


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("QC_CT_STD_MIN", text) for text in ("five", "5,0", "nan", "inf", "-1", "1e400", "5_0", "\u0665")),
        ("QC_DEFAULT_LOW_RATIO_THRESHOLD", "60"),
        ("QC_MR_PERCENTILE_HIGH", "101"),
        ("QC_DX_EXPOSURE", "yes"),
        ("QC_DX_EXPOSURE", "2"),
        ("QC_US_SERIES_LOW_QUALITY_RATIO", "30%"),
    ],
)
def test_what_is_no_number_is_refused_by_name(name: str, text: str) -> None:
    """A wrong value is one line that names the variable, for every modality that a variable names."""
    with pytest.raises(RequestError) as caught:
        check_environment({name: text})
    assert caught.value.parameter == name
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{name}: is a ")


def test_percentiles_ascend() -> None:
    """The lower percentile lies below the upper one, wherever each comes from."""
    with pytest.raises(RequestError, match="QC_MR_PERCENTILE_LOW: is 98, and must lie below"):
        check_environment({"QC_DEFAULT_PERCENTILE_LOW": "3", "QC_MR_PERCENTILE_LOW": "98"})


def test_other_variables_are_none_of_ours() -> None:
    """Variables that name no threshold are left alone."""
    check_environment({"QC_CT_STD": "x", "QC_ENABLED": "yes", "PATH": "/bin", "QC__STD_MIN": "x"})
