from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicom_series_preview.base.image import Contrast, LookupTable
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.modality import modality_values

PLAIN = Contrast()
RESCALES = st.builds(
    Contrast,
    rescale_slope=st.sampled_from([1.0, -1.0, 0.1, 1e-8, 3.7]),
    rescale_intercept=st.sampled_from([0.0, -1024.0, 0.3]),
    modality_lut=st.sampled_from([None, LookupTable(3, -1, 16, bytes([9, 0, 0, 1, 5, 5]))]),
)
SLICES = st.lists(
    st.tuples(
        arrays.arrays(
            st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64]),
            arrays.array_shapes(min_dims=2, max_dims=2, max_side=5),
        ),
        RESCALES,
    ),
    min_size=1,
    max_size=5,
)


def _pooled(*slices: tuple[np.ndarray, Contrast]) -> AutoWindow:
    pooled = AutoWindow()
    for samples, contrast in slices:
        pooled.add(samples, contrast)
    return pooled


@given(SLICES, st.floats(0, 100))
def test_percentiles_are_numpys_of_all_values_put_end_to_end(slices, percent):
    """One slice at a time gives, to the last bit, what numpy gives for all modality values at once."""
    everything = np.concatenate([modality_values(s, c).astype(np.float64).ravel() for s, c in slices])
    expected = np.percentile(everything, [2.0, percent, 98.0])
    assert _pooled(*slices).percentiles(2.0, percent, 98.0) == tuple(expected.tolist())


@given(
    arrays.arrays(np.uint8, (7, 5)),
    st.integers(-3, 260),
    st.one_of(st.none(), st.integers(-3, 260)),
)
def test_padding_is_left_out(samples, value, limit):
    """Stored values from PixelPaddingValue to PixelPaddingRangeLimit, in either order, do not count."""
    contrast = Contrast(rescale_slope=2.0, pixel_padding_value=value, pixel_padding_range_limit=limit)
    ends = [end % 256 for end in (value, value if limit is None else limit)]
    kept = [int(sample) * 2.0 for sample in samples.ravel() if not min(ends) <= sample <= max(ends)]
    found = _pooled((samples, contrast)).percentiles(2.0, 98.0)
    assert found == (tuple(np.percentile(kept, [2.0, 98.0]).tolist()) if kept else None)


def test_slices_are_pooled_after_rescale():
    """Slices with slopes of their own, as in PET, are pooled in modality values."""
    samples = np.arange(101, dtype=np.uint16).reshape(1, -1)
    window = _pooled((samples, Contrast(rescale_slope=1.0)), (samples, Contrast(rescale_slope=10.0))).window()
    expected = np.percentile(np.concatenate([np.arange(101), np.arange(101) * 10]), [2, 98])
    assert window.width == expected[1] - expected[0]
    assert window.center == expected.mean()


def test_equal_percentiles_fall_back_to_the_extremes():
    """A mask that is nearly empty still shows its few pixels."""
    samples = np.zeros((100, 100), np.uint8)
    samples[0, 0] = 1
    window = _pooled((samples, PLAIN)).window()
    assert (window.center, window.width) == (0.5, 1.0)


@pytest.mark.parametrize("value", [0, 7, -300])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_one_value_alone_is_black(value, dtype):
    """A constant image gets a window in whose lowest value it lies."""
    window = _pooled((np.full((3, 3), value, dtype), PLAIN)).window()
    assert window.width > 0
    assert window.center - window.width / 2 == value


@pytest.mark.parametrize("value", [1e300, -1e300, 1e-300, 3e38])
def test_constants_of_any_size_do_not_crash(value):
    """A constant has a finite window, however large or small it is."""
    window = _pooled((np.full((2, 2), value), PLAIN)).window()
    assert np.isfinite([window.center, window.width]).all()
    assert window.width > 0


def test_no_minimum_width():
    """SUV and ADC maps count in units far below 1."""
    samples = np.arange(1001, dtype=np.uint16).reshape(1, -1)
    window = _pooled((samples, Contrast(rescale_slope=1e-9))).window()
    assert window.width == pytest.approx(960e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinities_are_left_out(dtype):
    """A float image's NaN and infinities are no values."""
    samples = np.array([[np.nan, np.inf, -np.inf, 1, 3]], dtype)
    assert _pooled((samples, PLAIN)).percentiles(0.0, 50.0, 100.0) == (1.0, 2.0, 3.0)
    assert _pooled((np.full((2, 2), np.nan, dtype), PLAIN)).window() is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_nothing_but_padding_has_no_window(dtype):
    """Where every pixel is padding, or nothing was added, there is no window and no crash."""
    contrast = Contrast(pixel_padding_value=5)
    assert _pooled((np.full((4, 4), 5, dtype), contrast)).window() is None
    assert AutoWindow().window() is None


def test_float_padding():
    """Float images have float padding."""
    samples = np.array([[-1e30, 0.5, 1.5]], np.float64)
    contrast = replace(PLAIN, pixel_padding_value=-1e30)
    assert _pooled((samples, contrast)).percentiles(0.0, 100.0) == (0.5, 1.5)


def test_memory_is_bounded_by_distinct_values():
    """However many slices of one rescale are added, only counts of distinct values are kept."""
    pooled = AutoWindow()
    samples = np.arange(4096, dtype=np.int16).reshape(64, 64)
    for _ in range(50):
        pooled.add(samples, Contrast(rescale_intercept=-1024.0))
    (histogram,) = pooled._histograms.values()
    assert histogram.stored.size == 4096
    assert histogram.counts.tolist() == [50] * 4096
    assert not pooled._values._parts


def _held(pooled: AutoWindow) -> int:
    return sum(h.stored.size for h in pooled._histograms.values()) + sum(
        values.size for values, _ in pooled._values._parts
    )


TAILS = {
    "normal": lambda rng, size: rng.normal(3, 5, size),
    "cauchy": lambda rng, size: rng.standard_cauchy(size),
    "tiny": lambda rng, size: rng.normal(0, 1e-300, size),
    "huge": lambda rng, size: rng.choice([-1.0, 1.0], size) * 1.7e308 / rng.uniform(1, 2, size),
    "one far away": lambda rng, size: np.append(rng.normal(size=size - 1), 1e12),
}


@pytest.mark.parametrize("name", TAILS)
def test_too_many_distinct_values_are_cut_and_err_less_than_the_bound(name):
    """Beyond the number of distinct values, percentiles err by less than 2 / (n - 2) of the values' range."""
    distinct = 1000
    values = TAILS[name](np.random.default_rng(4), 40_000)
    pooled = AutoWindow(distinct)
    for part in np.split(values, 40):
        pooled.add(part.reshape(20, 50), PLAIN)
        assert _held(pooled) <= 2 * distinct + part.size
    percents = (0.0, 2.0, 31.0, 50.0, 98.0, 100.0)
    expected = np.percentile(values, percents)
    found = np.array(pooled.percentiles(*percents))
    bound = 2 * (values.max() / (distinct - 2) - values.min() / (distinct - 2))
    assert np.abs(found - expected).max() < bound
    assert pooled._values.merged()[0].size <= distinct


@given(st.permutations(range(12)), st.integers(2, 60))
def test_the_order_of_slices_changes_nothing(order, distinct):
    """Slices of any kind in any order give the same percentiles to the last bit, exact or not."""
    rng = np.random.default_rng(9)
    slices = [
        *((rng.normal(0, 100, (4, 5)), PLAIN) for _ in range(5)),
        *(
            (rng.integers(-99, 99, (4, 5)).astype(np.int16), Contrast(rescale_slope=s / 7))
            for s in range(1, 5)
        ),
        *((rng.integers(0, 2**31, (4, 5)), Contrast(rescale_slope=1e-8)) for _ in range(3)),
    ]
    expected, found = AutoWindow(distinct), AutoWindow(distinct)
    for at in range(12):
        expected.add(*slices[at])
        found.add(*slices[order[at]])
    percents = (0.0, 2.0, 40.0, 98.0, 100.0)
    assert found.percentiles(*percents) == expected.percentiles(*percents)


def test_percentiles_may_be_asked_for_in_between():
    """Asking does not disturb what is added later."""
    rng = np.random.default_rng(2)
    asked, unasked = AutoWindow(100), AutoWindow(100)
    for _ in range(5):
        slices = [(rng.normal(size=(6, 6)), PLAIN), (rng.integers(0, 255, (6, 6)).astype(np.uint8), PLAIN)]
        for samples, contrast in slices:
            asked.add(samples, contrast)
            unasked.add(samples, contrast)
        asked.window()
    assert asked.window() == unasked.window()
