"""Which frames become one volume: parts, the fourth axis, what is refused and what is left out."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import Dataset

import make_dicom as make
import volumes
from dicom_series_preview.base.errors import RequestError
from make_dicom import dataset
from volumes import Bench, affine_of, diffusion, only, ramp, refusal, renumbered, stacked, told_apart

AFFINE = affine_of()
COUNT = volumes.COUNT


ECHOES = [{"EchoTime": 40.0, "EchoNumbers": 2}, {"EchoTime": 5.0, "EchoNumbers": 1}]


@pytest.mark.parametrize("by_location", [True, False])
def test_echoes(by_location: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Each echo is a volume of its own, numbered by its time, however InstanceNumber interleaves them."""
    arrays, sources = told_apart(ECHOES, by_location=by_location)
    found = Bench.of(tmp_path / "out", sources).convert(".nii")
    assert [one.path.name for one in found.volumes] == ["v_e1.nii", "v_e2.nii"]
    volumes.check(found.volumes[0].path, arrays[1], AFFINE)
    volumes.check(found.volumes[1].path, arrays[0], AFFINE)
    assert "echo time 5 ms" in found.volumes[0].part


def test_an_incomplete_echo_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    """Each part is judged alone: an echo that lacks a slice is refused, the other is made."""
    arrays, sources = told_apart(ECHOES, by_location=False)
    del sources[1]
    found = Bench.of(tmp_path / "out", sources).convert(".nii")
    assert [one.status for one in found.volumes] == ["refused", "made"]
    assert found.volumes[0].refusal.code == "missing_slices"
    assert not found.is_whole
    volumes.check(found.volumes[1].path, arrays[1], AFFINE)


@pytest.mark.parametrize("by_location", [True, False])
@pytest.mark.parametrize("enhanced_word", [True, False])
def test_phase_and_magnitude(by_location: bool, enhanced_word: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Magnitude and phase are two volumes, and the phase is named so."""
    types = [["ORIGINAL", "PRIMARY", word] for word in ("M", "P")]
    if enhanced_word:
        types = [["ORIGINAL", "PRIMARY", f"{word}_FFE", word, "FFE"] for word in ("M", "P")]
    arrays, sources = told_apart([{"ImageType": one} for one in types], by_location=by_location)
    found = Bench.of(tmp_path / "out", sources).convert(".nii")
    assert sorted(one.path.name for one in found.volumes) == ["v.nii", "v_ph.nii"]
    volumes.check(tmp_path / "out/v.nii", arrays[0], AFFINE)
    volumes.check(tmp_path / "out/v_ph.nii", arrays[1], AFFINE)


def test_inversion_times_and_flip_angles(tmp_path: Path) -> None:
    """Inversion times and flip angles are parts, with their values in the names."""
    elements = [{"InversionTime": float(ti), "FlipAngle": 8.0} for ti in (900, 150)]
    found = Bench.of(tmp_path / "out", told_apart(elements, by_location=True)[1]).convert(".nii")
    assert [one.path.name for one in found.volumes] == [
        "v_InversionTime-150.nii",
        "v_InversionTime-900.nii",
    ]


def test_kernels(tmp_path: Path) -> None:
    """Two reconstructions of one acquisition in one series are two volumes."""
    arrays, sources = told_apart([{"ConvolutionKernel": one} for one in ("B70f", "B30f")], by_location=True)
    found = Bench.of(tmp_path / "out", sources).convert(".nii")
    assert len(found.volumes) == 2
    volumes.check(tmp_path / "out/v_ConvolutionKernel-B70f.nii", arrays[0], AFFINE)
    volumes.check(tmp_path / "out/v_ConvolutionKernel-B30f.nii", arrays[1], AFFINE)


TIMES = {
    "TriggerTime": [0.0, 45.5, 91.0],
    "AcquisitionTime": ["101010.0", "101012.5", "101015.0"],
    "ContentTime": ["235958.0", "235959.0", "235959.5"],
    "TemporalPositionIdentifier": [1, 2, 3],
}


@pytest.mark.parametrize("by_location", [True, False])
@pytest.mark.parametrize("keyword", TIMES)
def test_time(keyword: str, by_location: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """What differs in a time alone is one volume with a fourth axis in the order of that time."""
    elements = [{keyword: value} for value in TIMES[keyword]]
    arrays, sources = told_apart(elements, by_location=by_location)
    plan = Bench.of(tmp_path, sources).plan()
    found = only(plan)
    assert found.axis.name == "time"
    if keyword == "TriggerTime":
        assert (found.axis.unit, found.axis.values) == ("s", (0.0, 0.0455, 0.091))
    if keyword == "AcquisitionTime":
        assert (found.axis.unit, found.axis.values) == ("s", (0.0, 2.5, 5.0))
    outcome = Bench.of(tmp_path / "out", sources).one(".nii.gz")
    volumes.check(outcome.path, np.stack(arrays), AFFINE)


@pytest.mark.parametrize("numbered", [True, False])
def test_time_without_useful_numbers(numbered: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Where InstanceNumber is absent or the same everywhere, times order the volumes."""
    elements = [{"AcquisitionTime": value} for value in TIMES["AcquisitionTime"]]
    arrays, sources = told_apart(elements, by_location=False, numbered=False)
    if numbered:
        sources = renumbered(sources, [1] * len(sources))
    sources = sources[COUNT:] + sources[:COUNT]
    outcome = Bench.of(tmp_path / "out", sources).one(".nii.gz")
    volumes.check(outcome.path, np.stack(arrays), AFFINE)


def test_nothing_tells_the_fourth_axis(tmp_path: Path) -> None:
    """Where no standard element tells volumes apart they follow InstanceNumber, and a warning says so."""
    arrays, sources = told_apart([{}, {}, {}], by_location=False)
    found = Bench.of(tmp_path / "out", sources).one(".zarr")
    assert [one["code"] for one in found.receipt["warnings"]] == ["no_axis_name"]
    assert found.receipt["volume"]["fourth_axis"]["name"] == "instance"
    volumes.check(found.path, np.stack(arrays), AFFINE)


DIRECTIONS = [(1.0, 0.0, 0.0), (0.6, 0.0, 0.8), (0.0, -0.8, 0.6)]


@pytest.mark.parametrize("by_location", [True, False])
@pytest.mark.parametrize("orient", ["native", "ras"])
def test_diffusion(by_location: bool, orient: str, tmp_path: Path) -> None:  # noqa: FBT001
    """b-values and directions are one axis; FSL's tables give them back in the patient's coordinates."""
    elements = [diffusion(0, None), *[diffusion(1000, one) for one in DIRECTIONS]]
    arrays, sources = told_apart(elements, by_location=by_location)
    found = Bench.of(tmp_path / "out", sources).one(".nii.gz", options={"orient": orient})
    assert found.receipt["volume"]["fourth_axis"]["name"] == "diffusion"
    volumes.check(found.path, np.stack(arrays), AFFINE)
    assert (tmp_path / "out/v.bval").read_text() == "0 1000 1000 1000\n"
    vectors = np.loadtxt(tmp_path / "out/v.bvec").T
    _, affine = volumes.read(found.path)
    # FSL's tools take the first axis as turned around where the matrix keeps handedness.
    own = vectors * ([-1, 1, 1] if np.linalg.det(affine) > 0 else [1, 1, 1])
    in_patient = own @ (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    wanted = np.array([(0, 0, 0), *DIRECTIONS]) * [-1, -1, 1]
    np.testing.assert_allclose(in_patient, wanted, atol=1e-6)


def test_one_direction_for_all(tmp_path: Path) -> None:
    """A direction that no two volumes differ in is a direction all the same: it goes into .bvec."""
    elements = [diffusion(0, None), *[diffusion(b, (0.0, 0.6, 0.8)) for b in (500, 1000)]]
    Bench.of(tmp_path / "out", told_apart(elements, by_location=True)[1]).one(".nii")
    assert (tmp_path / "out/v.bval").read_text() == "0 500 1000\n"
    assert np.abs(np.loadtxt(tmp_path / "out/v.bvec").T[1:]).tolist() == [[0.0, 0.6, 0.8]] * 2


def test_directions_in_the_images_axes(tmp_path: Path) -> None:
    """GE's directions are in the image's own axes: they pass for none in the patient, with a warning."""
    _, sources = told_apart([{}, {}, {}], by_location=False)
    for number, source in enumerate(sources):
        block = source.private_block(0x0019, "GEMS_ACQU_01", create=True)
        for component, value in enumerate(DIRECTIONS[number // COUNT]):
            block.add_new(0xBB + component, "DS", str(value))
        source.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [800, 0, 0, 0])
    found = Bench.of(tmp_path / "out", sources).one(".nii")
    axis = found.receipt["volume"]["fourth_axis"]
    assert (axis["name"], axis["b_values_s_per_mm2"]) == ("diffusion", [800.0] * 3)
    assert not axis["directions_ras"]
    assert [one["code"] for one in found.receipt["warnings"]] == ["no_directions"]
    assert not (tmp_path / "out/v.bvec").exists()


def test_volumes_that_lack_slices(tmp_path: Path) -> None:
    """Unequal counts are refused with the counts and the remedy; the remedy leaves out the last volumes."""
    arrays, sources = told_apart([{"TemporalPositionIdentifier": i} for i in (1, 2, 3)], by_location=False)
    bench = Bench.of(tmp_path / "out", sources[:-1])
    code, line = refusal(bench.plan())
    assert code == "incomplete_grid"
    assert "1 location has 2 slices, 3 locations have 3 slices" in line
    assert "`incomplete` drop" in line
    found = bench.one(".nii", options={"incomplete": "drop"})
    volumes.check(found.path, np.stack(arrays[:2]), AFFINE)
    (warning,) = found.receipt["warnings"]
    assert (warning["code"], warning["text"][:8]) == ("incomplete", "3 slices")


def test_dropping_a_volume_from_the_middle_shifts_none(tmp_path: Path) -> None:
    """A slice that lacks in the middle must not move later ones of its location into an earlier volume."""
    _, sources = told_apart([{"TemporalPositionIdentifier": i} for i in (1, 2, 3)], by_location=False)
    del sources[COUNT + 1]
    bench = Bench.of(tmp_path / "out", sources)
    found = bench.convert(".nii", options={"incomplete": "drop"})
    for one in found.volumes:
        if one.status == "made":
            data, _ = volumes.read(one.path)
            times = {int(value) // 1000 for value in np.unique(data[..., 1])}
            assert len(times) == 1, "slices of two moments in one volume"


def test_same_instance_twice(tmp_path: Path) -> None:
    """Two objects with one SOPInstanceUID count once, with a warning; the volume has no fourth axis."""
    values = ramp()
    sources = stacked(values)
    found = Bench.of(tmp_path / "out", [*sources, sources[1]]).one(".nii")
    assert [one["code"] for one in found.receipt["warnings"]] == ["duplicate"]
    volumes.check(found.path, values, AFFINE)


@pytest.mark.parametrize("numbers", [[None] * COUNT, [7] * COUNT, [4, 1, 3, 2]])
def test_instance_number_does_not_order_locations(numbers: list[int | None], tmp_path: Path) -> None:
    """Without InstanceNumber, with one for all, and with a wrong one, locations follow positions."""
    values = ramp()
    found = Bench.of(tmp_path / "out", renumbered(stacked(values), numbers)).one(".npz")
    volumes.check(found.path, values, AFFINE)


def enhanced(arrays: list[np.ndarray], frames: list[tuple[int, int]], **elements: Any) -> Dataset:
    """One object with a frame for each (moment, slice), in the given order."""
    groups = [
        make.position_group(
            *(np.array(volumes.ORIGIN) + z * np.array(volumes.STEP)).tolist(),
            FrameContentSequence=[dataset(TemporalPositionIndex=t + 1, DimensionIndexValues=[t + 1, z + 1])],
        )
        for t, z in frames
    ]
    shared = make.orientation_group(
        PixelMeasuresSequence=[dataset(PixelSpacing=list(volumes.SPACING), SliceThickness=3.0)]
    )
    rows, columns = arrays[0].shape[1:]
    return make.enhanced(
        groups,
        shared,
        Modality="MR",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        Rows=rows,
        Columns=columns,
        BitsStored=16,
        HighBit=15,
        RescaleIntercept=None,
        PixelData=b"".join(arrays[t][z].tobytes() for t, z in frames),
        **elements,
    )


@pytest.mark.parametrize("by_location", [True, False])
def test_enhanced_object_with_moments(by_location: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """One multi-frame object with several moments is one volume with a fourth axis, in either order."""
    arrays = [ramp() + 1000 * t for t in range(3)]
    frames = [(t, z) for t in range(3) for z in range(COUNT)]
    if by_location:
        frames.sort(key=lambda one: one[::-1])
    found = Bench.of(tmp_path / "out", [enhanced(arrays, frames)]).one(".nii")
    volumes.check(found.path, np.stack(arrays), AFFINE)


def test_enhanced_object_with_two_stacks(tmp_path: Path) -> None:
    """One multi-frame object with an axial and a coronal stack is two volumes."""
    axial, coronal = ramp(), ramp() + 5000
    frames = [(axial, make.AXIAL, (0, 0, 3.0)), (coronal, make.CORONAL, (0, 3.0, 0))]
    groups, pixels = [], b""
    for values, cosines, step in frames:
        for z, plane in enumerate(values):
            where = np.array(volumes.ORIGIN) + z * np.array(step)
            orientation = [dataset(ImageOrientationPatient=list(cosines))]
            groups.append(make.position_group(*where.tolist(), PlaneOrientationSequence=orientation))
            pixels += plane.tobytes()
    shared = dataset(PixelMeasuresSequence=[dataset(PixelSpacing=list(volumes.SPACING))])
    made = make.enhanced(
        groups,
        shared,
        Modality="MR",
        Rows=volumes.ROWS,
        Columns=volumes.COLUMNS,
        BitsStored=16,
        HighBit=15,
        RescaleIntercept=None,
        PixelData=pixels,
    )
    found = Bench.of(tmp_path / "out", [made]).convert(".nii")
    assert [one.path.name for one in found.volumes] == ["v_s0.nii", "v_s1.nii"]
    by_stack = [(axial, affine_of()), (coronal, affine_of(make.CORONAL, step=(0, 3.0, 0)))]
    for one, (values, affine) in zip(found.volumes, by_stack, strict=True):
        volumes.check(one.path, values, affine)


def test_mosaics(tmp_path: Path) -> None:
    """Siemens mosaics are taken apart: one volume, a moment an object."""
    arrays = [ramp(4, 6, 6) + 1000 * t for t in range(3)]
    sources = [
        make.mosaic(
            values,
            t + 1,
            Modality="MR",
            AcquisitionTime=f"10101{t}.0",
            ImagePositionPatient=[-20.0, -30.0, 5.0],
            ImageOrientationPatient=list(make.AXIAL),
        )
        for t, values in enumerate(arrays)
    ]
    found = Bench.of(tmp_path / "out", sources).one(".nii")
    # PS3.3 places the mosaic's first corner; its slices' own lies half the missing columns further in.
    origin = (-20 + (12 - 6) / 2, -30 + (12 - 6) / 2, 5.0)
    affine = affine_of(origin=origin, step=(0, 0, 3.0), spacing=(1.0, 1.0))
    volumes.check(found.path, np.stack(arrays), affine)


def test_localizers_are_no_volume(tmp_path: Path) -> None:
    """A localizer beside a volume is left out and counted; alone it is refused by its name."""
    values = ramp()
    scout = stacked(
        ramp(1, 9, 8), cosines=make.CORONAL, first=90, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    found = Bench.of(tmp_path / "out", [*scout, *stacked(values)]).convert(".nii")
    assert [one.path.name for one in found.volumes] == ["v.nii"]
    assert found.localizers == 1
    volumes.check(found.volumes[0].path, values, AFFINE)
    assert refusal(Bench.of(tmp_path, scout).plan())[0] == "localizer"


def test_derived_stacks(tmp_path: Path) -> None:
    """Derived stacks stay, unless they are asked out; then they are counted."""
    derived = stacked(
        ramp(), cosines=make.CORONAL, step=(0, 3, 0), first=50, ImageType=["DERIVED", "SECONDARY"]
    )
    bench = Bench.of(tmp_path, [*stacked(ramp(), ImageType=["ORIGINAL", "PRIMARY"]), *derived])
    assert len(bench.plan().volumes) == 2
    plan = bench.plan(exclude_derived=True)
    assert (len(plan.volumes), plan.derived) == (1, COUNT)


def test_one_stack_of_several(tmp_path: Path) -> None:
    """A stack can be chosen by its number; one that does not exist is an error that names those that do."""
    bench = Bench.of(
        tmp_path, [*stacked(ramp()), *stacked(ramp(3), cosines=make.CORONAL, step=(0, 3, 0), first=50)]
    )
    assert only(bench.plan(stack=1)).stack == 1
    with pytest.raises(RequestError, match="0, 1"):
        bench.plan(stack=2)


@pytest.mark.parametrize("keyword", ["NoSuchWord", "ContrastBolusAgent"])
def test_split_by_what_is_not_there(keyword: str, tmp_path: Path) -> None:
    """To split by no element, or by one that the series lacks, is an error and not one part."""
    with pytest.raises(RequestError, match="split"):
        Bench.of(tmp_path, stacked(ramp())).plan(split=(keyword,))


def test_frames_of_two_sizes(tmp_path: Path) -> None:
    """Slices with other rows and columns never share an array."""
    sources = stacked(ramp())
    sources[2:] = stacked(ramp(2, 6, 7), origin=volumes.above(6), first=3)
    plan = Bench.of(tmp_path, sources).plan()
    shapes = {one.shape for one in plan.volumes}
    assert shapes <= {(1, 2, 5, 7), (1, 2, 6, 7)}
    assert plan.refused or len(plan.volumes) == 2


@pytest.mark.parametrize(
    ("uid", "word"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.4", "segmentation"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT dose"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", "whole slide"),
    ],
)
def test_what_is_no_volume_of_values(uid: str, word: str, tmp_path: Path) -> None:
    """Segmentations, doses and slides are refused by what they are."""
    code, line = refusal(Bench.of(tmp_path, stacked(ramp(), SOPClassUID=uid)).plan())
    assert (code, word in line) == ("unsupported", True)


def test_no_image(tmp_path: Path) -> None:
    """A series without pixels is refused as such."""
    found = Bench.of(tmp_path / "out", [make.report(1), make.report(2)]).one(".nii")
    assert found.refusal.code == "no_image"


@pytest.mark.parametrize("modality", ["DX", "CR", "MG"])
def test_projections(modality: str, tmp_path: Path) -> None:
    """Each projection image is an output of its own in NIfTI and NPZ, and no volume in Zarr."""
    values = ramp(2)
    sources = stacked(
        values,
        Modality=modality,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        each=_without_place,
    )
    bench = Bench.of(tmp_path / "out", sources)
    found = bench.convert(".nii.gz")
    assert [one.path.name for one in found.volumes] == ["v_0001.nii.gz", "v_0002.nii.gz"]
    for plane, one in zip(values, found.volumes, strict=True):
        loaded = nibabel.load(one.path)
        assert (int(loaded.header["qform_code"]), int(loaded.header["sform_code"])) == (0, 0)
        np.testing.assert_array_equal(np.asanyarray(loaded.dataobj)[..., 0], plane.T)
    found = bench.convert(".zarr")
    assert {one.refusal.code for one in found.volumes} == {"no_geometry"}


def _without_place(_index: int) -> dict[str, Any]:
    return {"ImagePositionPatient": None, "ImageOrientationPatient": None}
