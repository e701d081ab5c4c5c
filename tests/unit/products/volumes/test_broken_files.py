from pathlib import Path

import numpy as np
import pytest

import make_dicom
from dicom_series_preview.__main__ import main


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A series of noise, which no format makes much smaller."""
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "ct").mkdir()
    rng = np.random.default_rng(5)
    for number in range(1, 5):
        pixels = rng.integers(0, 4000, (64, 64), dtype=np.uint16).tobytes()
        made = make_dicom.image(number, Rows=64, Columns=64, PixelData=pixels)
        (tmp_path / "ct" / f"{number}.dcm").write_bytes(make_dicom.encode(made))
    return tmp_path / "ct"


@pytest.mark.parametrize("share", [0.5, 0.7])
@pytest.mark.parametrize("name", ["a.zarr", "a.zarr.zip", "a.sqlite", "a.nii.gz", "a.nii", "a.npz"])
def test_a_broken_file_is_one_line(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, share: float
) -> None:
    """Broken or missing bytes, in any format, fail `verify` in one line, whatever the reader raises."""
    path = tmp_path / "out" / name
    assert main(["convert", str(series), str(path), "--quiet"]) == 0
    largest = max(
        (one for one in (path.rglob("*") if path.is_dir() else [path]) if one.is_file()),
        key=lambda one: one.stat().st_size,
    )
    whole = largest.read_bytes()
    at = int(len(whole) * share)
    zeroed = whole[:at] + bytes(64) + whole[at + 64 :]
    for broken in (zeroed, whole[:at]):
        largest.write_bytes(broken)
        capsys.readouterr()
        assert main(["verify", str(path)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"failed   {path}: ")
