"""Where volumes lie: axes beside nibabel's, affines by the standard's formula, and what lies on no grid."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import make_dicom as make
import volumes
from dicom_series_preview.products.volumes.placement import closest_axes, letters_of
from volumes import Bench, affine_of, only, ramp, refusal, stacked

SMALL = st.floats(-1, 1, allow_nan=False, width=32)
STEPS = st.lists(SMALL, min_size=9, max_size=9).map(lambda values: np.array(values).reshape(3, 3))
OBLIQUE = (0.9, 0.3, -0.31622776601683794, -0.2, 0.93, 0.3083221)


def turned(x_deg: float, y_deg: float, z_deg: float) -> NDArray[np.float64]:
    """Row and column cosines, turned about the patient's axes."""
    x, y, z = np.radians([x_deg, y_deg, z_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return (about_x @ about_y @ about_z)[:, :2].T.ravel()


@settings(max_examples=500, deadline=None, derandomize=True)
@given(STEPS)
def test_axes_are_nibabels(matrix: NDArray[np.float64]) -> None:
    """The closest axes of any matrix, sheared or not, are those that nibabel finds."""
    if min(np.linalg.norm(matrix, axis=0)) < 1e-3 or abs(np.linalg.det(matrix)) < 1e-5:
        return
    affine = np.eye(4)
    affine[:3, :3] = matrix
    wanted = nibabel.io_orientation(affine)
    axes, signs = closest_axes(affine)
    assert list(axes) == wanted[:, 0].astype(int).tolist()
    assert list(signs) == wanted[:, 1].astype(int).tolist()
    assert letters_of(affine) == "".join(nibabel.aff2axcodes(affine))


@pytest.mark.parametrize("seed", range(3))
def test_axes_of_rotations_with_shear(seed: int) -> None:
    """Of rotations by any angle with a sheared step, as scanners make them, the axes are nibabel's."""
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q @ np.diag(rng.choice([-1, 1], 3)) @ np.diag(rng.uniform(0.2, 9, 3))
        q[:, 2] += q[:, 1] * rng.uniform(-0.8, 0.8)
        affine = np.eye(4)
        affine[:3, :3] = q
        axes, signs = closest_axes(affine)
        wanted = nibabel.io_orientation(affine)
        assert [axes, signs] == [tuple(one) for one in wanted.T.astype(int).tolist()]


PLANES = {
    "axial": (make.AXIAL, (0, 0, 3.0)),
    "axial from the head": (make.AXIAL, (0, 0, -3.0)),
    "coronal": (make.CORONAL, (0, 2.0, 0)),
    "coronal from the back": (make.CORONAL, (0, -2.0, 0)),
    "sagittal": (make.SAGITTAL, (1.5, 0, 0)),
    "sagittal from the left": (make.SAGITTAL, (-1.5, 0, 0)),
    "tilted gantry": ((1, 0, 0, 0, 0.9483236552, 0.3173046564), (0, 0, 2.5)),
    "prone": ((-1, 0, 0, 0, -1, 0), (0, 0, 3.0)),
}


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("reverse", [False, True])
def test_planes(name: str, reverse: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Whatever the plane and the order of files, every voxel lies where its own header says."""
    cosines, step = PLANES[name]
    values = ramp()
    sources = stacked(values, cosines=cosines, step=step)
    bench = Bench.of(tmp_path / "out", sources[::-1] if reverse else sources)
    found = bench.one(".nii")
    assert found.status == "made"
    volumes.check(found.path, values, affine_of(cosines, step=step))
    assert found.receipt["volume"]["largest_deviation_mm"] < 1e-6
    is_tilted = name == "tilted gantry"
    assert ("gantry_tilt" in [one["code"] for one in found.receipt["warnings"]]) == is_tilted
    if is_tilted:
        assert found.receipt["volume"]["tilt_deg"] == pytest.approx(18.5, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_oblique(seed: int, tmp_path: Path) -> None:
    """Turned by any angles, the affine is the standard's, and so are its voxels."""
    rng = np.random.default_rng(seed)
    cosines = turned(*rng.uniform(-180, 180, 3))
    step = np.cross(cosines[:3], cosines[3:]) * rng.choice([-2.2, 2.2])
    values = ramp()
    sources = stacked(values, cosines=cosines.tolist(), step=step.tolist())
    found = Bench.of(tmp_path / "out", sources).one(".npz")
    volumes.check(found.path, values, affine_of(cosines, step=step))


def test_pixel_spacing_is_rows_then_columns(tmp_path: Path) -> None:
    """PixelSpacing's first value is the way from row to row: the second column of the affine."""
    plan = Bench.of(tmp_path, stacked(ramp(), PixelSpacing=[2.0, 0.5])).plan()
    assert only(plan).placement.spacing_mm == pytest.approx((0.5, 2.0, 3.0))


@pytest.mark.parametrize(
    ("headers", "is_misled"),
    [
        ({"SliceThickness": 9.0, "SpacingBetweenSlices": 7.0}, False),
        ({"SliceLocation": 5.0}, False),
        ({"SpacingBetweenSlices": -3.0}, False),
    ],
)
def test_step_is_by_positions(headers: dict[str, float], is_misled: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """No SliceThickness, SpacingBetweenSlices or SliceLocation decides the step: positions do."""
    spacing = only(Bench.of(tmp_path, stacked(ramp(), **headers)).plan()).placement.spacing_mm
    assert (spacing[2] != pytest.approx(3.0)) == is_misled


@pytest.mark.parametrize(("length", "spacing"), [(1.0005, 0.6 * 1.0005), (2.0, 0.6), (0.5, 0.6)])
def test_cosines_not_of_unit_length(length: float, spacing: float, tmp_path: Path) -> None:
    """Cosines stretched by more than rounding are directions only; within rounding they are exact."""
    cosines = [length * one for one in make.AXIAL]
    found = only(Bench.of(tmp_path, stacked(ramp(), cosines=cosines)).plan())
    assert found.placement.spacing_mm[0] == pytest.approx(spacing)


def nudged(off_mm: float, along: int = 2, step: float = 3.0, count: int = 5) -> list[Any]:
    """Slices the third of which lies off an even grid."""
    values = ramp(count)
    sources = stacked(values, step=(0, 0, step))
    sources[2].ImagePositionPatient[along] += off_mm
    return sources


@pytest.mark.parametrize("along", [0, 1, 2])
def test_rounded_positions(along: int, tmp_path: Path) -> None:
    """A slice 0.09 mm off its grid is kept with a warning that says how far, 0.11 mm refuses the volume."""
    found = only(Bench.of(tmp_path, nudged(0.09, along)).plan())
    assert found.placement.deviation_mm == pytest.approx(0.09)
    assert [(code, "0.090 mm" in text) for code, text in found.warnings] == [("rounded_positions", True)]
    code, line = refusal(Bench.of(tmp_path, nudged(0.11, along)).plan())
    assert code == "nonuniform_spacing"
    assert "\n" not in line


def test_rounded_positions_of_thin_slices(tmp_path: Path) -> None:
    """Of steps of 1 mm a slice may be off by 5 per cent, not by a tenth of a millimetre."""
    assert only(Bench.of(tmp_path, nudged(0.049, step=1.0)).plan()).placement.deviation_mm > 0.04
    assert refusal(Bench.of(tmp_path, nudged(0.051, step=1.0)).plan())[0] == "nonuniform_spacing"


def test_last_slice_off(tmp_path: Path) -> None:
    """The step is over all slices, so that a last one off its place does not shift every other unnoticed."""
    sources = stacked(ramp(5))
    sources[-1].ImagePositionPatient[2] += 1.0
    assert refusal(Bench.of(tmp_path, sources).plan())[0] == "nonuniform_spacing"


def test_missing_slice_is_named(tmp_path: Path) -> None:
    """A missing slice is named by the slice before it and by where it would be; so are several."""
    sources = stacked(ramp(6))
    code, line = refusal(Bench.of(tmp_path, sources[:2] + sources[3:]).plan())
    assert code == "missing_slices"
    # Display order is from the head: the slice before the gap is the one above it.
    assert line.startswith("1 of 6 slices is missing: after ")
    assert sources[3].SOPInstanceUID in line
    assert "at z = 26 mm" in line
    code, line = refusal(Bench.of(tmp_path, [sources[0], *sources[3:]]).plan())
    assert (code, line[:28]) == ("missing_slices", "2 of 6 slices are missing: a")
    more = stacked(ramp(9))
    code, line = refusal(Bench.of(tmp_path, [*more[:2], *more[3:6], *more[7:]]).plan())
    assert (code, line[:28]) == ("missing_slices", "2 of 9 slices are missing: a")
    assert "(and in 1 other gap)" in line


def two_spacings() -> list[Any]:
    """Three slices 3 mm apart, then four 7 mm apart; SliceThickness tells."""
    low, high = ramp(3), ramp(4) + 500
    return [
        *stacked(low, SliceThickness=3.0),
        *stacked(high, origin=volumes.above(9), step=(0, 0, 7), first=4, SliceThickness=7.0),
    ]


def test_two_spacings_and_the_remedy(tmp_path: Path) -> None:
    """Two regular runs are refused with the option that splits them, and with it both are right."""
    bench = Bench.of(tmp_path / "out", two_spacings())
    code, line = refusal(bench.plan())
    assert code == "nonuniform_spacing"
    assert "`split` SliceThickness takes them apart" in line
    outcome = bench.convert(".nii", options={"split": ("SliceThickness",)})
    assert [one.path.name for one in outcome.volumes] == ["v_SliceThickness-3.nii", "v_SliceThickness-7.nii"]
    volumes.check(outcome.volumes[0].path, ramp(3), affine_of())
    above = affine_of(origin=volumes.above(9), step=(0, 0, 7))
    volumes.check(outcome.volumes[1].path, ramp(4) + 500, above)


def test_pixels_of_two_sizes(tmp_path: Path) -> None:
    """PixelSpacing that differs between slices is refused, and both are named."""
    sources = stacked(ramp(), each=lambda index: {"PixelSpacing": [0.8, 0.6 if index < 2 else 0.9]})
    code, line = refusal(Bench.of(tmp_path, sources).plan())
    assert code == "mixed_spacing"
    assert "0.8 x 0.6 and 0.8 x 0.9 mm" in line


def test_slices_that_are_not_parallel(tmp_path: Path) -> None:
    """Slices turned against each other are no volume, also where their first corners lie on a line."""

    def each(index: int) -> dict[str, Any]:
        return {"ImageOrientationPatient": turned(0, 0, 1.5 * index).tolist()}

    plan = Bench.of(tmp_path, stacked(ramp(columns=9, rows=8), each=each)).plan()
    assert not plan.volumes
    assert {one.refusal.code for one in plan.refused} <= {"orientation_varies", "single_location"}


def test_corners_count_and_not_only_origins(tmp_path: Path) -> None:
    """An orientation that rounds so coarsely that far corners lie off is a deviation, though origins fit."""

    def each(index: int) -> dict[str, Any]:
        return {"ImageOrientationPatient": turned(0, 0, 0.03 if index == 2 else 0).tolist()}

    values = ramp(4, 2, 400)
    found = Bench.of(tmp_path, stacked(values, each=each)).plan()
    assert [one.refusal.code for one in found.refused] == ["orientation_varies"]


@pytest.mark.parametrize(
    ("headers", "spacing"),
    [
        ({"SpacingBetweenSlices": 4.0, "SliceThickness": 3.5}, 4.0),
        ({"SliceThickness": 3.5}, 3.5),
    ],
)
def test_one_location(headers: dict[str, float], spacing: float, tmp_path: Path) -> None:
    """One location is refused with the remedy; with it the headers' spacing is the step, along the normal."""
    values = ramp(1)
    bench = Bench.of(tmp_path / "out", stacked(values, cosines=make.CORONAL, **headers))
    code, line = refusal(bench.plan())
    assert code == "single_location"
    assert "`min_slices` 1" in line
    found = bench.one(".nii.gz", options={"min_slices": 1})
    volumes.check(found.path, values, affine_of(make.CORONAL, step=(0, spacing, 0)))


def test_one_location_without_a_thickness(tmp_path: Path) -> None:
    """One location whose headers give no thickness is refused whatever is asked for."""
    bench = Bench.of(tmp_path, stacked(ramp(1)))
    code, line = refusal(bench.plan(min_slices=1))
    assert code == "single_location"
    assert "no header says how thick" in line


def test_fewer_locations_than_asked_for(tmp_path: Path) -> None:
    """More locations than there are can be asked for, as a catalogue does that wants none of a few slices."""
    assert refusal(Bench.of(tmp_path, stacked(ramp(4))).plan(min_slices=5))[0] == "single_location"
    assert only(Bench.of(tmp_path, stacked(ramp(4))).plan(min_slices=4))


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("of_all", [True, False])
def test_without_geometry(missing: str, of_all: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Slices without a position, an orientation or a spacing are refused; nothing is made up for them."""
    sources = stacked(ramp(), each=lambda index: {missing: None} if of_all or index == 1 else {})
    plan = Bench.of(tmp_path, sources).plan()
    assert not plan.volumes
    found = {one.refusal.code: one for one in plan.refused}
    # A slice without an orientation is a stack of its own.
    named = sources[1].SOPInstanceUID in found["no_geometry"].refusal.problem
    assert named != (of_all or missing == "ImageOrientationPatient")
    assert set(found) <= {"no_geometry", "missing_slices"}
