"""Rules on quality, each held against an image that breaks it alone."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dicom_series_preview.pixels.quality.metrics import SAMPLE, _places, foreground
from dicom_series_preview.pixels.quality.rules import REASONS, SliceQuality, judge
from dicom_series_preview.pixels.quality.thresholds import Thresholds

SIDE = 160
NOISE = np.random.default_rng(5)
UNIFORM = NOISE.random((SIDE, SIDE))
SHARES = NOISE.random((SIDE, SIDE))
CHANGES = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint64, np.float32, np.float64)


def in_frame() -> np.ndarray:
    """True on the outer tenth of each side."""
    inside = np.zeros((SIDE, SIDE), np.bool_)
    inside[SIDE // 10 : -SIDE // 10, SIDE // 10 : -SIDE // 10] = True
    return ~inside


DARK = np.where(SHARES < 0.93, 50 * UNIFORM, 2000 * UNIFORM)
IMAGES = {
    "": ("CT", 1000 * UNIFORM),
    "dynamic_range_invalid": ("CT", np.where(SHARES < 0.99, 40.0, 1000 * UNIFORM)),
    "dynamic_range_low": ("MR", 100 + np.where(SHARES < 0.5, UNIFORM, 14 - UNIFORM)),
    "contrast_low": ("CT", np.select([SHARES < 0.03, SHARES > 0.97], [-12.0, 12.0], 2 * UNIFORM)),
    "complexity_low": ("CT", np.floor(50 * UNIFORM) * 20),
    "under_exposed": ("DX", DARK),
    "over_exposed": ("DX", 2000 - DARK),
    "inverted_border": ("DX", np.where(in_frame(), 1000 + 1000 * UNIFORM, 1500 * UNIFORM)),
}


def judged(values: np.ndarray, modality: str, **options: object) -> SliceQuality:
    """The quality of values, without padding and an environment."""
    return judge(values, None, modality, Thresholds.from_environment({}, modality), **options)  # type: ignore[arg-type]


def reasons(quality: SliceQuality) -> list[str]:
    return [reason.id for reason in quality.reasons]


@pytest.mark.parametrize("reason", IMAGES)
def test_each_rule_is_broken_alone(reason: str) -> None:
    """An image with one fault has that reason and no other; one without has none, and is called Normal."""
    modality, values = IMAGES[reason]
    quality = judged(values, modality)
    assert reasons(quality) == ([reason] if reason else [])
    assert quality.is_low is bool(reason)
    assert quality.told == {one.id: one.text for one in REASONS}.get(reason, "Normal")


def test_wording_is_as_others_know_it() -> None:
    """The texts are those that readers of results may look for."""
    assert [one.text for one in REASONS] == [
        *("No pixel data available", "Empty pixel data", "Invalid dynamic range", "Low dynamic range"),
        *("Low contrast", "Low complexity", "Under-exposed", "Over-exposed", "Potential inverted border"),
    ]


@pytest.mark.parametrize("reason", IMAGES)
def test_size_makes_no_difference(reason: str) -> None:
    """The same image at two or three times the size breaks the same rules, with nearly the same metrics."""
    modality, values = IMAGES[reason]
    once = judged(values, modality).metrics
    for times in (2, 3):
        larger = judged(values.repeat(times, axis=0).repeat(times, axis=1), modality)
        assert reasons(larger) == ([reason] if reason else [])
        assert once is not None
        assert larger.metrics is not None
        assert larger.metrics.values == pytest.approx(once.values, rel=0.01)
        assert larger.metrics.mean == pytest.approx(once.mean, rel=0.05, abs=1)
        assert larger.metrics.dynamic_range == pytest.approx(once.dynamic_range, rel=0.05)
        assert larger.metrics.unique_ratio == pytest.approx(once.unique_ratio, rel=0.1)


@pytest.mark.parametrize("dtype", CHANGES)
def test_no_bit_of_the_input_changes(dtype: type) -> None:
    """Values and padding are as before, read-only ones are taken, and the second result is as the first."""
    values, padding = (100 * UNIFORM).astype(dtype), SHARES < 0.2
    values.flags.writeable = padding.flags.writeable = False

    def digest() -> str:
        return hashlib.sha256(values.tobytes() + padding.tobytes()).hexdigest()

    before = digest()
    for modality in ("CT", "MR", "DX"):
        thresholds = Thresholds.from_environment({}, modality)
        found = [judge(values, padding, modality, thresholds) for _ in range(2)]
        assert found[0] == found[1]
    assert digest() == before


def test_integers_and_floats_are_judged_alike() -> None:
    """Equal values of any type have equal metrics."""
    values = np.floor(100 * UNIFORM)
    found = {judged(values.astype(dtype), "MR") for dtype in CHANGES}
    assert len(found) == 1


def test_the_order_in_memory_makes_no_difference() -> None:
    """A view, or columns stored first, has the metrics of a copy."""
    whole = np.zeros((2 * SIDE, 2 * SIDE))
    whole[::2, ::2] = DARK
    assert judged(whole[::2, ::2], "DX") == judged(np.asfortranarray(DARK), "DX") == judged(DARK, "DX")


@pytest.mark.parametrize("dtype", CHANGES)
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 7), (3, 3), (200, 200)])
@pytest.mark.parametrize("modality", ["CT", "MR", "DX", ""])
def test_constant_and_empty_images_are_judged(dtype: type, shape: tuple[int, int], modality: str) -> None:
    """A constant has no range, whatever its size; no pixel at all is no data."""
    expected = "dynamic_range_invalid" if 0 not in shape else "empty_data"
    assert reasons(judged(np.full(shape, 7, dtype), modality)) == [expected]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_numbers_are_no_data(value: float) -> None:
    """An image of no numbers alone is empty; among others they do not count."""
    assert reasons(judged(np.full((200, 200), value), "CT")) == ["empty_data"]
    mixed = np.where(SHARES < 0.5, value, 1000 * UNIFORM)
    quality = judged(mixed, "CT")
    assert quality.reasons == ()
    assert quality.metrics is not None
    assert quality.metrics.values == pytest.approx(SAMPLE / 2, rel=0.05)


def test_a_single_number_among_many_that_are_none_is_found() -> None:
    """Where the sample has no number, the image's own are looked at."""
    values = np.full((2000, 2000), np.nan)
    values[1234, 567] = 5.0
    quality = judged(values, "MR")
    assert reasons(quality) == ["dynamic_range_invalid"]
    assert quality.metrics is not None
    assert quality.metrics.values == 1


@given(
    arrays(
        st.sampled_from([np.float32, np.float64, np.int16, np.uint64]), array_shapes(min_dims=2, max_dims=2)
    ),
    st.sampled_from(["CT", "MR", "DX", "PT"]),
    st.booleans(),
)
def test_whatever_the_values_there_is_a_verdict(values: np.ndarray, modality: str, inverted: bool) -> None:  # noqa: FBT001
    """No values raise or warn, and JSON can tell every verdict."""
    document = judged(values, modality, inverted=inverted).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_values_too_large_to_measure_break_no_rule_on_size() -> None:
    """What overflows is no metric: it is None, and not low."""
    quality = judged(np.where(SHARES < 0.5, -1.5e308, 1.5e308 * UNIFORM), "PT")
    assert quality.metrics is not None
    assert (quality.metrics.dynamic_range, quality.metrics.std) == (None, None)
    assert quality.reasons == ()


def test_padding_does_not_count() -> None:
    """Padding has no part in any metric, and where all is padding there is no data."""
    padding = SHARES < 0.6
    values = np.where(padding, -2000.0, 1000 * UNIFORM)
    thresholds = Thresholds.from_environment({}, "PT")
    metrics = judge(values, padding, "PT", thresholds).metrics
    assert metrics is not None
    assert metrics.percentile_low is not None
    assert metrics.percentile_low > 0
    assert metrics.border == pytest.approx(0, abs=50)
    assert metrics.values == min(SAMPLE, np.count_nonzero(~padding))
    everywhere = judge(values, np.ones_like(padding), "PT", thresholds)
    assert reasons(everywhere) == ["empty_data"]


def test_air_around_a_body_does_not_count() -> None:
    """A CT with much air is judged by what is no air; one with next to nothing else by all."""
    tissue = np.where(SHARES < 0.2, 100 * UNIFORM, -1000.0)
    metrics = judged(tissue, "CT").metrics
    assert metrics is not None
    assert metrics.percentile_low is not None
    assert metrics.percentile_low >= 0
    air = np.where(SHARES < 0.04, 100.0, -1000.0)
    assert "complexity_low" in reasons(judged(air, "CT"))
    assert foreground(air.ravel(), "CT").size == air.size


def test_lung_is_no_air() -> None:
    """Lung, around -850 HU, is foreground."""
    lung = -900 + 100 * UNIFORM
    assert foreground(lung.ravel(), "CT").size == np.count_nonzero(lung > -900)


def test_what_mr_has_no_signal_from_does_not_count() -> None:
    """In MR, values up to a thousandth of the largest are background."""
    values = np.array([0.0, 1.0, 1.5, 500.0, 1000.0])
    assert foreground(values, "MR").tolist() == [1.5, 500.0, 1000.0]
    assert foreground(values, "PT").tolist() == values.tolist()
    assert foreground(-values, "MR").tolist() == (-values).tolist()


@pytest.mark.parametrize(
    ("reason", "mirrored"),
    [("under_exposed", "over_exposed"), ("over_exposed", "under_exposed"), ("inverted_border", "")],
)
def test_exposure_is_judged_as_shown(reason: str, mirrored: str) -> None:
    """In MONOCHROME1 low values are bright: dark is bright, and a border of high values is a dark one."""
    modality, values = IMAGES[reason]
    assert reasons(judged(values, modality, inverted=True)) == ([mirrored] if mirrored else [])
    assert reasons(judged(-values, modality, inverted=True)) == [reason]


@pytest.mark.parametrize(("inverted", "reason"), [(False, "under_exposed"), (True, "over_exposed")])
def test_too_many_values_at_one_end_are_exposure(inverted: bool, reason: str) -> None:  # noqa: FBT001
    """More values at one end than the threshold break the rule, wherever the mean is."""
    values = np.where(SHARES < 0.65, 2 * UNIFORM, 1000 * UNIFORM)
    metrics = judged(values, "DX").metrics
    assert metrics is not None
    assert metrics.mean is not None
    assert metrics.mean > 150
    assert metrics.low_ratio == pytest.approx(0.65, abs=0.02)
    assert reasons(judged(values, "DX", inverted=inverted)) == [reason]
    assert reasons(judged(1000 - values, "DX", inverted=not inverted)) == [reason]
    name = "LOW" if reason == "under_exposed" else "HIGH"
    thresholds = Thresholds.from_environment({f"QC_DX_{name}_RATIO_THRESHOLD": "0.7"}, "DX")
    assert reasons(judge(values, None, "DX", thresholds, inverted=inverted)) == []


def test_the_ends_belong_to_the_shares() -> None:
    """A value just 1 % of the range off a percentile is at that end."""
    values = np.arange(101).reshape(1, 101)
    metrics = judge(values, None, "PT", Thresholds(percentile_low=0.0, percentile_high=100.0)).metrics
    assert metrics is not None
    assert (metrics.low_ratio, metrics.high_ratio) == (2 / 101, pytest.approx(2 / 101))


def test_padding_makes_no_border() -> None:
    """Padding around an image is no part of its border."""
    padding = in_frame() & (SHARES < 0.7)
    values = np.where(padding, 30_000.0, 1000 * UNIFORM)
    quality = judge(values, padding, "DX", Thresholds.from_environment({}, "DX"))
    assert quality.reasons == ()
    assert quality.metrics is not None
    assert quality.metrics.border == pytest.approx(0, abs=50)


@pytest.mark.parametrize("reason", ["under_exposed", "over_exposed", "inverted_border"])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "US"])
def test_exposure_is_asked_of_projections_alone(reason: str, modality: str) -> None:
    """Other modalities break these rules only where the environment asks for them."""
    _, values = IMAGES[reason]
    assert judged(values, modality).reasons == ()
    asked = Thresholds.from_environment({f"QC_{modality}_EXPOSURE": "1"}, modality)
    assert reasons(judge(values, None, modality, asked)) == [reason]


@pytest.mark.parametrize(("rows", "columns"), [(2500, 2048), (2048, 2500), (2000, 2000), (4096, 3328)])
def test_the_sample_comes_from_all_columns_and_rows_alike(rows: int, columns: int) -> None:
    """No column has more than its share of the sample, nor has any row."""
    places = _places(rows * columns)
    assert len(places) == len(np.unique(places)) == SAMPLE < 10_000
    for of, length in ((places % columns, columns), (places // columns, rows)):
        counts = Counter(of.tolist())
        assert max(counts.values()) <= SAMPLE / length + 2
        assert len(counts) > 0.9 * length


def test_metrics_are_those_of_arithmetic() -> None:
    """Up to the sample's size, every value counts: the metrics are numpy's own."""
    values = (UNIFORM[:90, :90] * 300).astype(np.int16)
    metrics = judged(values, "PT").metrics
    assert metrics is not None
    low, high = np.percentile(values, [2, 98])
    assert metrics.values == 8100
    assert (metrics.percentile_low, metrics.percentile_high) == (low, high)
    assert metrics.dynamic_range == high - low
    assert metrics.mean == pytest.approx(values.mean())
    assert metrics.std == pytest.approx(values.std())
    assert metrics.unique_ratio == len(np.unique(values)) / 8100
    assert metrics.low_ratio == pytest.approx(np.mean(values <= low + 0.01 * (high - low)))
    assert metrics.high_ratio == pytest.approx(np.mean(values >= high - 0.01 * (high - low)))
    inside = values[9:81, 9:81]
    frame = (values.sum() - inside.sum()) / (8100 - 72 * 72)
    assert metrics.border == pytest.approx(frame - inside.mean())
