import json

import pytest

from dicom_series_preview.pixels.quality.rules import REASONS, UNREADABLE, SliceQuality
from dicom_series_preview.pixels.quality.series import SeriesQuality, chosen, percent
from dicom_series_preview.pixels.quality.thresholds import Thresholds

GOOD = SliceQuality(())
BY_ID = {reason.id: reason for reason in REASONS}


def low(*ids: str) -> SliceQuality:
    return SliceQuality(tuple(BY_ID[one] for one in ids))


def of(*slices: SliceQuality) -> SeriesQuality:
    return SeriesQuality.of(slices, Thresholds())


@pytest.mark.parametrize(
    ("stacks", "expected"),
    [
        ([0], range(0)),
        ([1], range(1)),
        ([200], range(200)),
        ([150, 50], range(200)),
        ([201], range(97, 104)),
        ([300], range(147, 154)),
        ([150, 150], range(72, 79)),
        ([10, 250, 4], range(132, 139)),
        ([100, 100, 7], range(47, 54)),
        ([1] * 201, range(97, 104)),
        ([], range(0)),
    ],
)
def test_up_to_200_slices_are_all_judged_and_of_more_seven(stacks: list[int], expected: range) -> None:
    """Of more than 200 slices the middle one of the largest stack, and three on either side, are chosen."""
    assert chosen(stacks) == expected


def test_more_than_the_ratio_is_low() -> None:
    """A series with exactly the ratio of slices with issues is normal; with one more it is not."""
    bad = low("contrast_low")
    assert of(*[bad] * 3, *[GOOD] * 7).low_quality is False
    assert of(*[bad] * 4, *[GOOD] * 6).low_quality is True
    strict = Thresholds(series_low_quality_ratio=0.0)
    assert SeriesQuality.of([GOOD] * 9 + [bad], strict).low_quality is True


def test_reasons_are_told_by_their_number() -> None:
    """The most frequent three reasons are told; one slice has its own; without any, and without slices."""
    many = of(
        low("contrast_low", "complexity_low"),
        low("complexity_low", "under_exposed", "over_exposed"),
        low("complexity_low", "under_exposed"),
        GOOD,
    )
    told = "75% of slices with issues - Low complexity: 3, Under-exposed: 2, Low contrast: 1"
    assert many.told == told
    assert of(low("contrast_low", "complexity_low")).told == "Low contrast, Low complexity"
    assert of(GOOD, GOOD).told == "Normal"
    assert (of().told, of().low_quality, of().ratio) == ("Not judged", None, None)


def test_a_slice_without_values_counts_as_low() -> None:
    """What cannot be decoded is of low quality."""
    assert of(UNREADABLE, GOOD).document()["low_quality_reason"] == (
        "50% of slices with issues - No pixel data available: 1"
    )


def test_the_document_has_every_judged_slice() -> None:
    """It says how slices were chosen, and of each what came of it, in order."""
    quality = SeriesQuality({149: low("contrast_low"), 148: GOOD}, 300, 0.3)
    document = quality.document({149: {"sop_instance_uid": "1.2"}})
    assert json.loads(json.dumps(document)) == document
    assert (document["qc_mode"], document["qc_slices"]) == ("sample", 300)
    assert document["qc_sample_indices"] == [148, 149]
    assert document["low_quality"] is True
    assert document["low_quality_ratio"] == 0.5
    first, second = document["low_quality_details"]
    assert (first["index"], first["reasons"], first["low_quality_reason"]) == (148, [], "Normal")
    assert (second["sop_instance_uid"], second["reasons"]) == ("1.2", ["contrast_low"])
    assert of(GOOD).document()["qc_mode"] == "full"


def test_a_small_share_is_no_zero() -> None:
    """One slice of a thousand is 1 %, not 0 %."""
    assert [percent(share) for share in (0.0, 0.001, 0.3, 1.0)] == ["0%", "1%", "30%", "100%"]
