"""What is said of the quality of real series."""

from pathlib import Path

import numpy as np
import pytest

from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import FetchOptions
from dicom_series_preview.pixels.quality.thresholds import Thresholds
from dicom_series_preview.pixels.stream import SliceReader, read_slices
from dicom_series_preview.pixels.values import values_of
from dicom_series_preview.products.quality.judging import Judging, QualityReport, judge_opened
from dicom_series_preview.sources.storage.local import LocalStorage

pytestmark = pytest.mark.real_data

LOW = {
    # 23 x 38 pixels of 0 and 1: a white disc on black in the middle, next to nothing beside it.
    "ct-small-ge-dcmqi": {1: "dynamic_range_low contrast_low complexity_low", 2: "dynamic_range_invalid"},
    # Noise: at b = 1000 the brain's signal hardly rises above it, 0 to some 20 units. b = 0 is normal.
    "mr-dwi-siemens-enhanced-xa": {0: "", 7: "", 1: "contrast_low complexity_low"},
    # Four flat slices, each of one grey, within 0.3 units.
    "mr-varying-rescale-pmod": dict.fromkeys(range(4), "dynamic_range_low contrast_low"),
}
NORMAL = (
    *("ct-chest-lidc-philips", "ct-chest-topogram-siemens", "ct-gantrytilt-ge", "ct-localizer-same-series"),
    *("ct-not-a-volume-siemens", "mr-axoblique-ge", "mr-b0map-ge-2echo", "mr-cor-ge-genesis"),
    *("mr-diffusion-coronal-ge", "mr-fmri-ge-4d", "mr-mixed-orientation-philips", "mr-mosaic-siemens-4d"),
    *("mr-multiecho-siemens", "mr-sag-siemens", "mr-sag-xa-jpeglossless", "mr-two-slices-generic"),
    "pt-wholebody-cps",
)


def judged(folder: Path) -> QualityReport:
    """What is said of a folder, whatever the environment."""
    series = SeriesIndexer(LocalStorage(folder.parent, 4), None, Limits()).open(SeriesName(folder.name))
    return judge_opened(series, Judging(lambda name: Thresholds.from_environment({}, name), Limits()))


def test_three_of_the_real_series_are_low_and_no_other(real_data: Path) -> None:
    """Of 20 series in grey, those with nothing to see are low, and no slice of another has an issue.

    Their pictures were looked at: `ct-small-ge-dcmqi` is a mask of 0 and 1, `mr-dwi-siemens-enhanced-xa` is
    noise but for its ten slices at b = 0, and each slice of `mr-varying-rescale-pmod` is one flat grey.
    """
    names = (*NORMAL, *LOW)
    found = {name: judged(real_data / "series" / name).quality for name in names}
    assert {name for name, one in found.items() if one.low_quality} == set(LOW)
    assert {name for name, one in found.items() if one.flagged} == set(LOW)
    for name, expected in LOW.items():
        for number, reasons in expected.items():
            told = [reason.id for reason in found[name].slices[number].reasons]
            assert " ".join(told) == reasons, (name, number)
    dark = found["mr-dwi-siemens-enhanced-xa"]
    assert sorted(set(range(70)) - set(dark.flagged)) == list(range(0, 70, 7))


def test_metrics_of_real_series_are_those_of_their_values(real_data: Path) -> None:
    """Of slices no larger than the sample, the metrics are numpy's own of the whole slice's foreground."""
    folder = real_data / "series" / "mr-fmri-ge-4d"
    series = SeriesIndexer(LocalStorage(folder.parent, 4), None, Limits()).open(SeriesName(folder.name))
    found = judge_opened(series, Judging(lambda name: Thresholds.from_environment({}, name), Limits()))
    reader = SliceReader(series.storage, series.name, series.index, FetchOptions())
    by_row = {place.item.row: number for number, place in found.slices.items()}
    slices = [place.item for place in found.slices.values()]
    for arrived, values in read_slices(reader, slices, values_of):
        shown = values[values > 0.001 * values.max()]
        metrics = found.quality.slices[by_row[arrived.slice.row]].metrics
        assert metrics is not None
        low, high = np.percentile(shown, [2, 98])
        assert (metrics.values, metrics.percentile_low, metrics.percentile_high) == (shown.size, low, high)
        assert metrics.std == pytest.approx(shown.std())
        assert metrics.unique_ratio == len(np.unique(shown)) / shown.size


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("ct-gantrytilt-ge", ["nonuniform_spacing", "gantry_tilt"]),
        ("mr-axoblique-ge", ["rounded_positions"]),
        ("mr-multiecho-siemens", ["missing_slices", "incomplete_grid"]),
        ("mr-mixed-orientation-philips", ["orientation_varies"]),
        ("ct-chest-lidc-philips", []),
        ("mr-b0map-ge-2echo", []),
        ("mr-mosaic-siemens-4d", []),
    ],
)
def test_findings_of_real_series(name: str, codes: list[str], real_data: Path) -> None:
    """What is known to be wrong with how real series lie is found, and nothing in those that lie well."""
    assert [one.code for one in judged(real_data / "series" / name).findings] == codes


def test_colour_is_not_judged(real_data: Path) -> None:
    """A series in colour has no verdict."""
    assert judged(real_data / "series" / "mr-rgb-j2k-generic").quality.low_quality is None


@pytest.mark.parametrize("category", ["mg", "cr-dx"])
def test_good_radiographs_break_no_rule(category: str, real_data: Path) -> None:
    """Radiographs that are well exposed, MONOCHROME1 among them, break no rule on exposure or border."""
    report = judged(real_data / "single" / category)
    assert report.quality.reasons == []
    assert report.quality.slices
