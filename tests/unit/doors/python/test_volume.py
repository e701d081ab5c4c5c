import io
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dicom_series_preview
import make_dicom
from dicom_series_preview import PreviewError, Series, Volume
from dicom_series_preview.__main__ import main
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.volumes.refusal import RefusedError

STORED = np.random.default_rng(3).integers(0, 3000, (5, 6, 8), dtype=np.uint16)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a series of five slices, head first, and one whose slices are not evenly spaced."""
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    for name, steps in (("even", [2.0] * 5), ("uneven", [1.0, 2.0, 4.0, 1.5, 3.0])):
        (tmp_path / "root" / name).mkdir(parents=True)
        for number, pixels in enumerate(STORED):
            position = [-10.0, -20.0, 30.0 - sum(steps[:number])]
            made = make_dicom.image(
                number + 1,
                Rows=6,
                Columns=8,
                PixelData=pixels.tobytes(),
                ImagePositionPatient=position,
                SliceThickness=2.0,
            )
            (tmp_path / "root" / name / f"{number}.dcm").write_bytes(make_dicom.encode(made))
    return tmp_path / "root"


def test_a_volume_is_what_the_source_holds(root: Path) -> None:
    """A volume has modality values, an affine for its own axes, spacing, unit, and a receipt."""
    volume = Series("even", root=root).volume()
    assert isinstance(volume, Volume)
    assert dicom_series_preview.Volume is Volume
    assert volume.data.dtype == np.int16
    assert np.array_equal(volume.data, STORED.astype(np.int16) - 1024)
    assert volume.axes == ("z", "y", "x")
    assert volume.spacing_mm == (2.0, 0.5, 0.25)
    assert volume.units == "HU"
    # From the head down, to the back, to the left: RAS is the other way.
    expected = [[0, 0, -0.25, 10], [0, -0.5, 0, 20], [-2, 0, 0, 30], [0, 0, 0, 1]]
    assert np.allclose(volume.affine, expected)
    assert volume.report["volume"]["min"] == volume.data.min()
    assert "STORED" not in repr(volume)


def test_a_volume_in_ras_is_the_same_turned(root: Path) -> None:
    """With `orient` the axes lead up, to the front, to the right, and each voxel lies where it lay."""
    series = Series("even", root=root)
    native, turned = series.volume(), series.volume(orient="ras")
    assert np.array_equal(turned.data, native.data[::-1, ::-1, ::-1])
    assert np.allclose(turned.affine @ [0, 0, 0, 1], native.affine @ [4, 5, 7, 1])
    assert native.report["volume"]["sha256"] == turned.report["volume"]["sha256"]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *(("to_zarr", name) for name in ("a.zarr", "a.zarr.zip", "a.ozx", "a.sqlite")),
        *(("to_nifti", name) for name in ("a.nii", "a.nii.gz")),
        ("to_npz", "a.npz"),
    ],
)
def test_files_hold_the_same(root: Path, tmp_path: Path, method: str, name: str) -> None:
    """Each format is written, proves equal to its receipt, and has the digest of the volume in memory."""
    volume = Series("even", root=root).volume()
    path = tmp_path / "out" / name
    getattr(volume, method)(path)
    assert main(["verify", str(path), "--quiet"]) == 0
    report = tmp_path / "out" / "report.html"
    assert main(["volume-report", str(path.parent), str(report), "--quiet"]) == 0
    assert volume.report["volume"]["sha256"] in report.with_suffix(".json").read_text("utf-8")


def test_a_file_of_another_kind_is_refused(root: Path, tmp_path: Path) -> None:
    """A path whose extension says another format is refused, and what is no file of ours stays."""
    volume = Series("even", root=root).volume()
    with pytest.raises(RequestError, match="path"):
        volume.to_npz(tmp_path / "a.nii")
    there = tmp_path / "a.npz"
    there.write_bytes(b"mine")
    with pytest.raises(RefusedError, match="overwrite"):
        volume.to_npz(there)
    assert there.read_bytes() == b"mine"
    volume.to_npz(there, overwrite=True)
    assert there.read_bytes() != b"mine"


def test_npz_turns_white_lowest_values_around(root: Path, tmp_path: Path) -> None:
    """MONOCHROME1 is turned around in NPZ by default, as `convert` does, and stays where that was chosen."""
    for path in (root / "even").iterdir():
        path.write_bytes(path.read_bytes().replace(b"MONOCHROME2", b"MONOCHROME1"))
    series = Series("even", root=root)
    kept = series.volume()
    kept.to_npz(tmp_path / "turned.npz")
    series.volume(monochrome1="keep").to_npz(tmp_path / "kept.npz")
    with np.load(tmp_path / "turned.npz") as turned, np.load(tmp_path / "kept.npz") as same:
        assert np.array_equal(same["data"], kept.data)
        assert np.array_equal(turned["data"], 4095 - 2 * 1024 - kept.data.astype(np.float32))


def test_what_is_no_volume_says_why(root: Path) -> None:
    """A series that is no volume is refused with the reason; the plan tells the same and reads no pixel."""
    series = Series("uneven", root=root)
    with pytest.raises(RefusedError, match="not evenly spaced") as raised:
        series.volume()
    assert isinstance(raised.value, PreviewError)
    plan = series.volumes()
    assert plan["volumes"] == []
    assert [one["code"] for one in plan["refused"]] == [raised.value.code]
    assert Series("even", root=root).volumes()["volumes"][0]["shape_tzyx"] == [1, 5, 6, 8]


def test_choices_that_are_none(root: Path) -> None:
    """A number that no volume has, a word that is no choice, and a keyword that is none are errors."""
    series = Series("even", root=root)
    for number in (1, -1):
        with pytest.raises(RequestError, match="n: "):
            series.volume(number)
    with pytest.raises(RequestError, match="orient"):
        series.volume(orient="lps")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="min_slices"):
        series.volumes(min_slices=0)
    with pytest.raises(TypeError):
        series.volume(split="SliceThickness")
    with pytest.raises(TypeError):
        series.volume(unknown=1)  # type: ignore[call-arg]


def test_a_notebook_shows_three_planes(root: Path) -> None:
    """A notebook shows a volume as a picture of its planes, with its facts in words, however it is turned."""
    series = Series("even", root=root)
    shown = series.volume()._repr_html_()
    found = re.search(r'src="data:image/png;base64,([^"]+)" width="(\d+)" height="(\d+)"', shown)
    assert found is not None
    with Image.open(io.BytesIO(b64decode(found[1]))) as picture:
        assert picture.size == (int(found[2]), int(found[3]))
    assert "8 x 6 x 5 int16" in shown


def test_a_source_that_changes_is_read_anew(root: Path) -> None:
    """Where the objects are others than the index knew, the series is indexed again."""
    series = Series("even", root=root)
    series.volume()
    for path in (root / "even").iterdir():
        path.write_bytes(path.read_bytes()[:-2] + b"\x01\x00")
    assert series.volume().data[:, -1, -1].tolist() == [-1023] * 5
