from pathlib import Path
from uuid import UUID

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicom_sample import SAMPLE_SERIES, write_sample
from dicom_sample.instances import Plan
from dicom_sample.phantom import Phantom
from dicom_sample.raster import AXIS_MM, PIXEL_MM, Profile, Tubes, ellipse, fill
from dicom_series_preview.base.errors import OutputError, RequestError

SLICES = 5
ONCE = (
    *("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality", "PatientName", "PatientID"),
    *("PatientIdentityRemoved", "PatientPosition", "PositionReferenceIndicator", "PixelSpacing", "KVP"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope"),
    *("RescaleType", "StudyDate", "StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate"),
)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample, written once."""
    return write_sample(tmp_path_factory.mktemp("root"), slices=SLICES)


@pytest.fixture(scope="module")
def instances(series: Path) -> list[FileDataset]:
    """Its files, in the order of their names."""
    return [pydicom.dcmread(path) for path in sorted(series.iterdir())]


@pytest.fixture(scope="module")
def slices(instances: list[FileDataset]) -> list[FileDataset]:
    """Its axial slices, head to feet."""
    axial = [instance for instance in instances if "AXIAL" in instance.ImageType]
    return sorted(axial, key=lambda instance: -instance.ImagePositionPatient[2])


@pytest.fixture(scope="module")
def localizer(instances: list[FileDataset]) -> FileDataset:
    """Its localizer."""
    (found,) = (instance for instance in instances if "LOCALIZER" in instance.ImageType)
    return found


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """The sample's patient, without noise."""
    return Phantom(0)


def measured(image: np.ndarray, x_mm: float, y_mm: float) -> float:
    """The median of nine by nine pixels around a place."""
    column, row = (int(np.abs(AXIS_MM - place).argmin()) for place in (x_mm, y_mm))
    return float(np.median(image[row - 4 : row + 5, column - 4 : column + 5]))


def test_series_folder_has_a_fixed_name_in_uuid_form(series: Path) -> None:
    """The series lies in a folder of the documented name, which is a UUID."""
    assert series.name == SAMPLE_SERIES == str(UUID(SAMPLE_SERIES))


def test_a_file_for_each_slice_and_one_for_the_localizer(series: Path) -> None:
    """A sample of n slices has n + 1 files, and nothing unfinished is left beside it."""
    assert len(list(series.iterdir())) == SLICES + 1
    assert list(series.parent.iterdir()) == [series]


def test_same_seed_gives_same_bytes(series: Path, tmp_path: Path) -> None:
    """The same seed and number of slices give the same files, byte for byte."""
    again = write_sample(tmp_path, slices=SLICES)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in series.iterdir()
    }


def test_another_seed_is_another_series(series: Path, instances: list[FileDataset], tmp_path: Path) -> None:
    """Another seed shares neither UIDs nor file names nor pixels."""
    other = write_sample(tmp_path, slices=1, seed=1)
    theirs = [pydicom.dcmread(path) for path in other.iterdir()]
    assert not {p.name for p in other.iterdir()} & {p.name for p in series.iterdir()}
    for keyword in (
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "PixelData",
    ):
        assert not {item[keyword].value for item in theirs} & {item[keyword].value for item in instances}


def test_readable_without_warnings(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every element of every file satisfies pydicom's strictest validation, and the pixels decode."""
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for path in series.iterdir():
        instance = pydicom.dcmread(path)
        assert [element.value for element in instance.iterall()]
        assert instance.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert instance.SOPClassUID == instance.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert instance.SOPInstanceUID == instance.file_meta.MediaStorageSOPInstanceUID
        assert instance.pixel_array.shape == (instance.Rows, instance.Columns)


def test_what_a_series_has_in_common_is_the_same_in_every_file(instances: list[FileDataset]) -> None:
    """Patient, study, series, frame of reference and pixel description do not vary."""
    for keyword in ONCE:
        assert len({str(instance[keyword].value) for instance in instances}) == 1, keyword


def test_uids_are_unique_and_need_no_registration(instances: list[FileDataset]) -> None:
    """SOP instance UIDs differ, and all UIDs are valid ones below 2.25."""
    assert len({instance.SOPInstanceUID for instance in instances}) == len(instances)
    for instance in instances:
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
            uid = UID(instance[keyword].value)
            assert uid.is_valid
            assert uid.startswith("2.25.")


def test_no_patient(instances: list[FileDataset]) -> None:
    """The patient is named as the synthetic one it is."""
    for instance in instances:
        assert (instance.PatientName, instance.PatientID) == ("Sample^Phantom", "SAMPLE")
        assert instance.PatientIdentityRemoved == "YES"


def test_slices_lie_evenly_along_the_body(slices: list[FileDataset]) -> None:
    """Axial slices span 595 mm in even steps, with one orientation, and SliceLocation tells the truth."""
    positions = np.array([instance.ImagePositionPatient for instance in slices], float)
    assert np.allclose(np.diff(positions[:, 2]), -595.0 / (SLICES - 1), atol=1e-3)
    assert np.ptp(positions[:, :2]) == 0.0
    for instance in slices:
        assert instance.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
        assert instance.SliceLocation == instance.ImagePositionPatient[2]
        assert instance.SliceThickness == 5.0


def test_whole_sample_has_slices_that_touch() -> None:
    """120 slices of 5 mm leave no gap and do not overlap."""
    assert np.allclose(np.diff(Plan(120, 0).depths_mm), 5.0)


def test_instance_numbers_run_from_the_feet_up(slices: list[FileDataset], localizer: FileDataset) -> None:
    """The localizer is number 1, and the slice at the feet number 2."""
    assert localizer.InstanceNumber == 1
    assert [instance.InstanceNumber for instance in slices] == list(range(SLICES + 1, 1, -1))


def test_file_names_are_not_spatial(series: Path) -> None:
    """The order of file names is not the order in the body."""
    heights = [pydicom.dcmread(path).ImagePositionPatient[2] for path in sorted(series.iterdir())]
    assert heights not in (sorted(heights), sorted(heights, reverse=True))


def test_windows_are_two_with_explanations(slices: list[FileDataset]) -> None:
    """A slice offers a soft tissue and a lung window."""
    for instance in slices:
        assert instance.WindowCenter == [40, -500]
        assert instance.WindowWidth == [400, 1500]
        assert instance.WindowCenterWidthExplanation == ["SOFT TISSUE", "LUNG"]


def test_localizer_is_a_coronal_projection_of_the_slices(
    slices: list[FileDataset], localizer: FileDataset
) -> None:
    """Where the slices hold more, the localizer is brighter: the same body at the same place."""
    assert localizer.ImageOrientationPatient == [1, 0, 0, 0, 0, -1]
    assert localizer.ImagePositionPatient[0] == slices[0].ImagePositionPatient[0]
    top = localizer.ImagePositionPatient[2]
    for instance in slices:
        row = round((top - instance.ImagePositionPatient[2]) / localizer.PixelSpacing[0])
        through = np.clip(instance.pixel_array.astype(float) - 24, 0, None).sum(axis=0)
        seen = localizer.pixel_array[min(row, localizer.Rows - 1)].astype(float)
        assert np.corrcoef(through, seen)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("air", (-200, -200, 300), (-1010, -990)),
        ("right lung", (-80, 30, 180), (-910, -780)),
        ("left lung", (95, 30, 180), (-910, -780)),
        ("windpipe", (0, 6, 80), (-1000, -950)),
        ("aorta", (23, 41, 190), (150, 200)),
        ("left ventricle", (55, -47, 210), (140, 190)),
        ("liver", (-90, -30, 290), (100, 125)),
        ("spleen", (112, 28, 305), (110, 140)),
        ("stomach's gas", (67, -50, 320), (-1000, -900)),
        ("kidney's cortex and marrow", (-70, 50, 340), (140, 210)),
        ("back muscle", (30, 75, 380), (45, 75)),
        ("fat of the belly", (0, -108, 400), (-115, -90)),
        ("bladder", (0, -24, 558), (0, 25)),
        ("head of the thigh bone", (92, 4, 554), (120, 500)),
        ("vertebra", (0, 30, 344), (120, 400)),
    ],
)
def test_tissues_measure_what_they_should(
    phantom: Phantom, name: str, place: tuple[float, float, float], expected: tuple[float, float]
) -> None:
    """At a landmark (x, y, depth in mm) the Hounsfield units are those of the tissue there."""
    x, y, depth = place
    low, high = expected
    assert low <= measured(phantom.slice(depth), x, y) <= high, name


def test_left_is_on_the_right_of_the_picture(phantom: Phantom) -> None:
    """The liver has smaller column indices than the heart; the stomach's gas larger ones than the liver."""
    chest, belly = phantom.slice(205.0), phantom.slice(310.0)
    columns = np.arange(512)
    heart = np.average(columns, weights=((chest > 140) & (chest < 175)).sum(axis=0))
    liver = np.average(columns, weights=((belly > 105) & (belly < 118)).sum(axis=0))
    gas = 150 + np.average(columns[:250], weights=(belly[150:240, 150:400] < -900).sum(axis=0))
    assert liver < heart < gas


def test_patient_lies_on_the_back(phantom: Phantom) -> None:
    """The spine is in the lower half of an axial picture, the table below it, the breastbone above."""
    chest = phantom.slice(165.0)
    rows = np.nonzero((chest > 400)[:, 240:272].any(axis=1))[0]
    assert rows.min() < 160
    assert rows.max() > 300
    assert (chest[400:] > -500).any()


def test_neighbours_are_alike(phantom: Phantom) -> None:
    """Everywhere in the body the next slice is more alike than the one 50 mm away."""
    for depth in range(60, 590, 60):
        here = phantom.slice(float(depth))
        near, far = (np.abs(phantom.slice(float(depth + step)) - here).mean() for step in (5, -50))
        assert near < 0.6 * far


def test_right_lung_is_larger(phantom: Phantom) -> None:
    """The right lung holds more air than the left one, which leaves room for the heart."""
    air = sum((phantom.slice(float(s))[130:400] < -700).sum(axis=0) for s in range(150, 240, 15))
    assert air[100:256].sum() > 1.1 * air[256:412].sum()


def test_progress_counts_every_file(tmp_path: Path) -> None:
    """After each file the caller hears how many there are, and of how many."""
    heard: list[tuple[int, int]] = []
    write_sample(tmp_path, slices=2, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_one_slice_is_enough(tmp_path: Path) -> None:
    """A sample of a single slice still has its localizer."""
    assert len(list(write_sample(tmp_path / "new" / "root", slices=1).iterdir())) == 2


def test_existing_sample_is_left_unchanged(series: Path) -> None:
    """A second call writes nothing and returns the same folder."""
    before = {path: path.stat().st_mtime_ns for path in [series, *series.iterdir()]}
    assert write_sample(series.parent, slices=SLICES, progress=lambda *_: pytest.fail("wrote")) == series
    assert {path: path.stat().st_mtime_ns for path in [series, *series.iterdir()]} == before


def test_other_content_is_not_replaced(tmp_path: Path) -> None:
    """A folder of the sample's name with something else in it is an error, and stays as it is."""
    theirs = tmp_path / SAMPLE_SERIES / "theirs.dcm"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    with pytest.raises(OutputError, match="is not this sample"):
        write_sample(tmp_path, slices=1)
    assert [path.read_bytes() for path in theirs.parent.iterdir()] == [b"theirs"]


def test_unwritable_folder_is_one_clear_line(tmp_path: Path) -> None:
    """Where no folder can be made, the error names the place in one line."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as caught:
        write_sample(tmp_path / "file", slices=1)
    assert str(tmp_path / "file") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    """An interrupted sample leaves no folder that could pass for one."""

    def interrupt(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, slices=2, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("slices", "seed", "parameter"), [(0, 0, "slices"), (1, -1, "seed")])
def test_impossible_parameters_are_refused(tmp_path: Path, slices: int, seed: int, parameter: str) -> None:
    """No slices, or a negative seed, is a request error before anything is written."""
    with pytest.raises(RequestError) as caught:
        write_sample(tmp_path, slices=slices, seed=seed)
    assert caught.value.parameter == parameter
    assert list(tmp_path.iterdir()) == []


def test_fill_keeps_areas() -> None:
    """The cover of a filled curve adds up to the area inside it, wherever its edges cut the pixels."""
    for x in (0.0, 0.31, 17.77):
        patch = fill(ellipse((x, -x), (30.0, 12.0), turn_deg=33.0 + x))
        assert patch.cover.sum() * PIXEL_MM**2 == pytest.approx(np.pi * 30 * 12, rel=2e-3)


def test_profiles_do_not_overshoot() -> None:
    """A profile through rising values never falls, and passes through them."""
    profile = Profile((0, 1.0), (10, 1.0), (12, 5.0), (40, 5.0))
    assert [float(profile(s)[0]) for s in (-5, 0, 10, 12, 99)] == pytest.approx([1, 1, 1, 5, 5])
    values = [float(profile(s)[0]) for s in np.linspace(0, 40, 401)]
    assert np.all(np.diff(values) > -1e-9)


def test_tubes_are_as_thick_as_they_say() -> None:
    """The distance to a tube is zero on its surface and minus its radius on its axis."""
    across = Tubes([np.array([(-40.0, 0.0, 50.0, 6.0), (40.0, 0.0, 50.0, 6.0)])]).distance(50.0)
    middle = across[:, 256]
    assert middle.min() == pytest.approx(-6.0, abs=PIXEL_MM)
    assert (middle < 0).sum() * PIXEL_MM == pytest.approx(12.0, abs=2 * PIXEL_MM)
