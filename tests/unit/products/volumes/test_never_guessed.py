"""What would be a guess is refused or told: no value, place or time is made up."""

import json
from pathlib import Path

import pytest

from dicom_series_preview.products.volumes.formats.base import UnreadableError, layout_of
from volumes import Bench, only, ramp, refusal, stacked, told_apart


def codes(bench: Bench) -> list[str]:
    """The codes of the warnings of a series' one volume."""
    return [code for code, _ in only(bench.plan()).warnings]


@pytest.mark.parametrize("slope", ["0", "NaN"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_a_slope_that_is_none_is_no_slope_of_1(slope: str, tmp_path: Path) -> None:
    """Values under a slope of 0, or one that is no number, are unknown; an absent slope is 1."""
    sources = stacked(ramp())
    for source in sources:
        source.RescaleIntercept = 0
        source.RescaleSlope = 1
    bench = Bench.of(tmp_path / "good", sources)
    assert only(bench.plan()).values.is_whole
    sources[1]["RescaleSlope"].value = slope
    code, line = refusal(Bench.of(tmp_path / "bad", sources).plan())
    assert code == "unsupported"
    assert "RescaleSlope" in line


def test_objects_that_are_no_part_are_told(tmp_path: Path) -> None:
    """An object that cannot be read could be the last slice: a warning says so."""
    bench = Bench.of(tmp_path / "out", stacked(ramp()))
    assert codes(bench) == []
    junk = {**bench.objects, "junk.dcm": b"<html>sign in</html>" * 50}
    assert codes(Bench(tmp_path / "out", junk)) == ["skipped_objects"]


def test_two_frames_of_reference_are_told(tmp_path: Path) -> None:
    """Positions in two frames of reference cannot be compared: a warning says that they were."""
    sources = stacked(ramp())
    for number, source in enumerate(sources):
        source.FrameOfReferenceUID = f"1.2.3.{number % 2}"
    assert "frames_of_reference" in codes(Bench.of(tmp_path / "out", sources))


@pytest.mark.parametrize("spacing", [[-0.7, 0.8], [0, 0], [1e300, 1e300]])
def test_impossible_spacings(spacing: list[float], tmp_path: Path) -> None:
    """Pixels of no size, a negative one or one beyond any patient have no place."""
    sources = stacked(ramp())
    for source in sources:
        source.PixelSpacing = spacing
    assert refusal(Bench.of(tmp_path / "out", sources).plan())[0] == "no_geometry"


def test_rows_and_columns_that_are_askew(tmp_path: Path) -> None:
    """Rows and columns that are not at right angles are no image plane."""
    sources = stacked(ramp())
    for source in sources:
        source.ImageOrientationPatient = [1, 0, 0, 0.7071, 0.7071, 0]
    assert not Bench.of(tmp_path / "out", sources).plan().volumes


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    """What float32 would turn into infinity or 0 is an overflow."""
    for slope in ("1e39", "1e-50"):
        sources = stacked(ramp() + 1)
        for source in sources:
            source.RescaleIntercept = 0
            source.RescaleSlope = slope
        outcome = Bench.of(tmp_path / slope, sources).convert(".nii")
        assert [one.refusal.code for one in outcome.volumes if one.refusal] == ["overflow"]


def test_times_that_lack_at_other_locations_make_no_volumes(tmp_path: Path) -> None:
    """Equal counts of slices are no grid where each location lacks another moment."""
    _, sources = told_apart([{"TemporalPositionIdentifier": i} for i in (1, 2, 3, 4)], by_location=False)
    count = len(sources) // 4
    lacking = {location + count * (location % 4) for location in range(count)}
    kept = [source for number, source in enumerate(sources) if number not in lacking]
    assert refusal(Bench.of(tmp_path / "out", kept).plan())[0] == "incomplete_grid"


def test_trigger_times_are_milliseconds(tmp_path: Path) -> None:
    """Trigger times that differ from slice to slice make seconds of milliseconds, as equal ones do."""
    _, sources = told_apart([{"TriggerTime": 40.0 * i} for i in range(3)], by_location=False)
    for number, source in enumerate(sources):
        source.TriggerTime = float(source.TriggerTime) + number % (len(sources) // 3)
    axis = only(Bench.of(tmp_path / "out", sources).plan()).axis
    assert axis is not None
    assert (axis.unit, axis.values) == ("s", pytest.approx((0, 0.04, 0.08)))


def test_files_of_others_beside_a_nifti_stay(tmp_path: Path) -> None:
    """A sidecar's name that something else has taken is refused; so is another NIfTI's sidecar."""
    bench = Bench.of(tmp_path / "out", stacked(ramp()))
    theirs = tmp_path / "out" / "v.json"
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text(json.dumps({"theirs": 1}))
    assert [one.refusal.code for one in bench.convert(".nii.gz").volumes if one.refusal] == ["exists_other"]
    assert json.loads(theirs.read_text()) == {"theirs": 1}
    theirs.unlink()
    made = bench.one(".nii")
    assert [one.refusal.code for one in bench.convert(".nii.gz").volumes if one.refusal] == ["exists_other"]
    assert made.path.exists()


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".npz"])
def test_a_cut_output_is_not_found_done(extension: str, tmp_path: Path) -> None:
    """A rerun never says `exists` of an output that was cut off since."""
    bench = Bench.of(tmp_path / "out", stacked(ramp()))
    made = bench.one(extension)
    made.path.write_bytes(made.path.read_bytes()[:-30])
    (again,) = bench.convert(extension).volumes
    assert again.status != "exists"


def test_a_receipt_of_an_endless_array_is_none() -> None:
    """A receipt that describes more than anybody writes is refused before anything is read."""
    receipt = {
        "volume": {
            "native_shape_tzyx": [1, 1, 60_000, 60_000],
            "order": {"axes": [0, 1, 2, 3], "flipped": []},
        }
    }
    with pytest.raises(UnreadableError, match="larger than any"):
        layout_of(receipt)
