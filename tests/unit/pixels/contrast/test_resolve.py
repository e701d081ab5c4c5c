import math

import numpy as np
import pytest

from dicom_series_preview.base.image import Contrast, LookupTable, Window
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.resolve import Applied, needs_statistics, resolve
from dicom_series_preview.pixels.contrast.spec import DEFAULT, parse_contrast

NOTHING = AutoWindow()
EMBEDDED = parse_contrast("embedded")
LUT = LookupTable(2, 0, 8, b"\0\xff", "BONE")
WINDOWS = (Window(40, 400, "SOFT"), Window(-500, 1500, "Lung"))


@pytest.fixture
def pooled() -> AutoWindow:
    """Statistics whose window is 96 wide around 50."""
    statistics = AutoWindow()
    statistics.add(np.arange(101, dtype=np.uint8).reshape(1, -1), Contrast())
    return statistics


def test_presets_and_custom_windows_are_linear_exact():
    """A preset or custom window is applied as LINEAR_EXACT, whatever the file says."""
    contrast = Contrast(windows=WINDOWS, voi_luts=(LUT,), voi_lut_function="SIGMOID")
    lung = resolve(parse_contrast("lung"), contrast, NOTHING)
    assert lung == Applied("preset", "LINEAR_EXACT", -500, 1500, name="ct-lung")
    assert resolve(parse_contrast("80/40"), contrast, NOTHING) == Applied("custom", "LINEAR_EXACT", 40, 80)
    assert not needs_statistics(parse_contrast("lung"), Contrast())


def test_auto_is_the_pooled_window(pooled):
    """Auto is LINEAR_EXACT from the 2nd to the 98th percentile, also where the file has a window."""
    contrast = Contrast(windows=WINDOWS)
    assert needs_statistics(parse_contrast("auto"), contrast)
    assert resolve(parse_contrast("auto"), contrast, pooled) == Applied("auto", "LINEAR_EXACT", 50, 96)


@pytest.mark.parametrize("spec", [EMBEDDED, DEFAULT])
def test_a_voi_lut_goes_before_windows(spec):
    """VOI LUT Sequence, else the first window: alternatives, never chained."""
    both = resolve(spec, Contrast(windows=WINDOWS, voi_luts=(LUT,)), NOTHING)
    assert both == Applied("embedded", "LUT", explanation="BONE", lut=LUT)
    window = resolve(spec, Contrast(windows=WINDOWS), NOTHING)
    assert window == Applied("embedded", "LINEAR", 40, 400, explanation="SOFT")
    assert not needs_statistics(spec, Contrast(windows=WINDOWS))


@pytest.mark.parametrize(
    ("function", "width", "applied"),
    [
        ("LINEAR", 400, "LINEAR"),
        ("", 400, "LINEAR"),
        ("BOGUS", 400, "LINEAR"),
        ("LINEAR", 1, "LINEAR"),
        ("LINEAR", 0.01, "LINEAR_EXACT"),
        ("LINEAR_EXACT", 0.01, "LINEAR_EXACT"),
        ("SIGMOID", 0.01, "SIGMOID"),
    ],
)
def test_the_files_function_is_applied_where_it_is_defined(function, width, applied):
    """An absent or unknown VOILUTFunction is LINEAR; LINEAR of a width below 1 is the ramp of that width."""
    contrast = Contrast(windows=(Window(40, width),), voi_lut_function=function)
    assert resolve(EMBEDDED, contrast, NOTHING).function == applied


@pytest.mark.parametrize(
    "window", [Window(0, 0), Window(40, -400), Window(40, math.nan), Window(math.nan, 4), Window(0, math.inf)]
)
@pytest.mark.parametrize("spec", [EMBEDDED, DEFAULT])
def test_a_window_without_a_positive_width_is_auto_with_a_warning(pooled, spec, window):
    """WW = WC = 0 in every file is real: auto, and a warning that says so."""
    contrast = Contrast(windows=(window, Window(40, 400)))
    assert needs_statistics(spec, contrast)
    applied = resolve(spec, contrast, pooled)
    assert (applied.kind, applied.center, applied.width) == ("auto", 50, 96)
    assert applied.warning == "the file's window has no positive width; auto is used instead"


def test_without_a_window_embedded_warns_and_the_default_does_not(pooled):
    """Who asks for the file's window is told that there is none; who asks for nothing gets auto."""
    assert needs_statistics(DEFAULT, Contrast())
    assert resolve(EMBEDDED, Contrast(), pooled).warning == "the file has no window; auto is used instead"
    assert resolve(DEFAULT, Contrast(), pooled) == Applied("auto", "LINEAR_EXACT", 50, 96)


@pytest.mark.parametrize(
    ("text", "explanation", "warned"),
    [
        ("embedded:1", "BONE", False),
        ("embedded:2", "SOFT", False),
        ("embedded:3", "Lung", False),
        ("embedded:LUNG", "Lung", False),
        ("embedded:bone", "BONE", False),
        ("embedded:4", "BONE", True),
        ("embedded:LIVER", "BONE", True),
    ],
)
def test_views_by_number_and_by_name(text, explanation, warned):
    """LUTs, then windows, count from 1 and match by explanation; a missing one is the first, and warns."""
    applied = resolve(parse_contrast(text), Contrast(windows=WINDOWS, voi_luts=(LUT,)), NOTHING)
    assert applied.explanation == explanation
    assert bool(applied.warning) == warned
    assert "LIVER" not in applied.warning


def test_nothing_but_padding_has_no_contrast():
    """Where no value is left, nothing is applied, and the warning says why."""
    applied = resolve(parse_contrast("auto"), Contrast(), NOTHING)
    assert (applied.kind, applied.function) == ("none", "NONE")
    assert applied.warning == "every pixel shown is padding"
