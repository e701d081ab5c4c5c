import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicom_series_preview.base.errors import DecodeError
from dicom_series_preview.base.image import Contrast, LookupTable, PixelDescription
from dicom_series_preview.pixels.contrast.modality import modality_values, padding_mask
from dicom_series_preview.pixels.contrast.render import is_inverted, render
from dicom_series_preview.pixels.contrast.resolve import Applied
from dicom_series_preview.pixels.decoded import Decoded

GREY = PixelDescription("", 1, 1)
LUT = LookupTable(256, -100, 8, bytes(range(256)))


def _render(
    samples: np.ndarray, contrast: Contrast, applied: Applied, photometric: str = "MONOCHROME2"
) -> np.ndarray:
    pixels = PixelDescription("", *samples.shape, photometric_interpretation=photometric)
    return render(Decoded(samples, photometric), pixels, contrast, applied)


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64, np.uint64]),
        st.sampled_from([(1, 1), (2, 3), (20, 30)]),
    ),
    st.sampled_from(
        [
            Applied("embedded", "LINEAR", 40.0, 400.0),
            Applied("embedded", "LINEAR", 3.0, 1.0),
            Applied("custom", "LINEAR_EXACT", -500.0, 1500.0),
            Applied("embedded", "SIGMOID", 40.0, 30.0),
            Applied("embedded", "LUT", lut=LUT),
            Applied("none", "NONE"),
        ]
    ),
    st.sampled_from([(1.0, 0.0), (-0.5, 7.0), (1e-8, 0.0), (3.0, -1024.0)]),
)
def test_tables_give_what_each_pixel_gives(samples, applied, rescale):
    """A frame that goes through a table has the same display values as its pixels one by one."""
    contrast = Contrast(*rescale, pixel_padding_value=0)
    whole = _render(samples, contrast, applied)
    assert whole.dtype == np.uint8
    assert whole.shape == samples.shape
    single = [_render(sample.reshape(1, 1), contrast, applied).item() for sample in samples.ravel()[:50]]
    assert whole.ravel()[:50].tolist() == single


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", "", False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_inversion_is_wished_for_once(photometric, shape, inverted):
    """MONOCHROME1 inverts as 255 - y; PresentationLUTShape INVERSE is the same wish, not a second one."""
    pixels = PixelDescription("", 1, 2, photometric_interpretation=photometric)
    contrast = Contrast(presentation_lut_shape=shape)
    assert is_inverted(pixels, contrast) == inverted
    applied = Applied("custom", "LINEAR_EXACT", 50.0, 100.0)
    shown = render(Decoded(np.array([[20, 200]], np.uint8), photometric), pixels, contrast, applied)
    assert shown.tolist() == [[204, 0] if inverted else [51, 255]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("dtype", [np.int16, np.float64])
def test_padding_is_the_darkest_value_also_after_inversion(photometric, dtype):
    """Padding is painted 0 in every photometric interpretation."""
    contrast = Contrast(pixel_padding_value=-2000)
    applied = Applied("custom", "LINEAR_EXACT", -1000.0, 4000.0)
    shown = _render(np.array([[-2000, -2000], [-1000, -1000]], dtype), contrast, applied, photometric)
    assert shown[0].tolist() == [0, 0]
    assert shown[1, 0] in (127, 128)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_nan_is_black_and_infinities_are_clipped(photometric, function):
    """In float images NaN is nothing, and infinities are beyond any window."""
    samples = np.array([[np.nan, -np.inf, np.inf]], np.float32)
    shown = _render(samples, Contrast(), Applied("embedded", function, 0.0, 2.0), photometric)
    assert shown.tolist() == [[0, 0, 255] if photometric == "MONOCHROME2" else [0, 255, 0]]


@pytest.mark.parametrize(
    ("dtype", "value", "limit", "expected"),
    [
        (np.int16, -2000, None, [True, False, False]),
        (np.int16, 63536, None, [True, False, False]),  # read as unsigned
        (np.int16, -2000, -1000, [True, True, False]),
        (np.int16, -1000, -2000, [True, True, False]),
        (np.int16, 64536, 63536, [True, True, False]),
        (np.uint16, -2000, None, [True, False, False]),  # read as signed
        (np.uint16, 63536, 64536, [True, True, False]),
        (np.float64, -2000.0, -1000, [True, True, False]),
    ],
)
def test_padding_is_found_in_stored_values(dtype, value, limit, expected):
    """PixelPaddingValue..PixelPaddingRangeLimit, in either order and read with either sign, is padding."""
    stored = np.array([-2000, -1000, 5]).astype(dtype)
    contrast = Contrast(1.0, 100.0, pixel_padding_value=value, pixel_padding_range_limit=limit)
    assert padding_mask(stored, contrast).tolist() == expected


def test_no_padding_has_no_mask():
    """Where nothing is padding, resizing need not care."""
    assert padding_mask(np.array([1, 2]), Contrast()) is None
    assert padding_mask(np.array([1, 2]), Contrast(pixel_padding_value=3)) is None
    assert padding_mask(np.array([1.0, np.nan]), Contrast()).tolist() == [False, True]


def test_modality_values_are_the_samples_where_nothing_is_to_be_done():
    """Slope 1 and intercept 0 cost nothing."""
    samples = np.array([1, 2], np.int16)
    assert modality_values(samples, Contrast()) is samples


def test_modality_values_keep_the_precision_of_32_bits():
    """32-bit stored values and large intercepts need more than float32."""
    samples = np.array([2**32 - 1, 2**32 - 2], np.uint32)
    assert modality_values(samples, Contrast(rescale_slope=2.0)).tolist() == [2.0**33 - 2, 2.0**33 - 4]
    near = modality_values(np.array([1], np.int16), Contrast(rescale_slope=1e-8, rescale_intercept=1000.0))
    assert near.tolist() == [1000.00000001]


def test_a_modality_lut_wins_over_slope_and_intercept():
    """Where there is a modality LUT, slope and intercept are not applied."""
    table = LookupTable(3, -1, 16, np.array([10, 20, 60000], "<u2").tobytes())
    contrast = Contrast(5.0, 7.0, table)
    values = modality_values(np.array([-300, -1, 0, 1, 300], np.int16), contrast)
    assert values.tolist() == [10, 10, 20, 60000, 60000]


def test_a_cut_off_lookup_table_is_refused():
    """A LUT shorter than its descriptor says is a reason, not a crash."""
    broken = LookupTable(256, 0, 16, bytes(100))
    with pytest.raises(DecodeError, match="256 entries expected, 100 bytes found"):
        _render(
            np.zeros((2, 2), np.uint8), Contrast(modality_lut=broken), Applied("custom", "LINEAR", 0.0, 5.0)
        )
    with pytest.raises(DecodeError, match="256 entries expected, 100 bytes found"):
        _render(np.zeros((2, 2), np.uint8), Contrast(), Applied("embedded", "LUT", lut=broken))
