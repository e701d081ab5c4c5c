"""The commands convert, volumes and verify, and real series against what several readers agree on."""

import csv
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

import volumes
from commandline import Run
from volumes import objects_of, ramp, stacked

SECRET = "Zymurgy^Quentin"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with an axial series, one with a gap, and one without pixels' places."""
    series = {
        "good": stacked(ramp(), PatientName=SECRET),
        "gap": [*stacked(ramp(6), PatientName=SECRET)[:2], *stacked(ramp(6))[3:]],
    }
    for name, sources in series.items():
        (tmp_path / "root" / name).mkdir(parents=True)
        for file, data in objects_of(sources).items():
            (tmp_path / "root" / name / file).write_bytes(data)
    return tmp_path / "root"


def test_one_series(root: Path, command: Run, clean_environment: Path) -> None:
    """`convert SERIES OUTPUT` makes the file, says it in one line, and `verify` finds it equal."""
    made = command("convert", "good", "v.nii.gz", "--root", root)
    assert made.status == 0, made.stderr
    volumes.check(clean_environment / "v.nii.gz", ramp(), volumes.affine_of())
    assert "made" in made.stderr + made.stdout
    again = command("convert", "good", "v.nii.gz", "--root", root)
    assert (again.status, "exists" in again.stderr + again.stdout) == (0, True)
    proved = command("verify", "v.nii.gz")
    assert (proved.status, "equal" in proved.stderr + proved.stdout) == (0, True)
    (clean_environment / "v.json").write_text("{}")
    assert command("verify", "v.nii.gz").status == 1


def test_many_series(root: Path, command: Run, clean_environment: Path) -> None:
    """Of many series one that is refused stops no other; the exit says that not all are there."""
    outcome = command("convert", "gap", "good", "-o", "out", "--to", "npz", "--root", root, "--json")
    assert outcome.status == 1
    found = {one["series"]: one["volumes"][0] for one in json.loads(outcome.stdout)}
    assert {name: one["status"] for name, one in found.items()} == {"gap": "refused", "good": "made"}
    assert found["gap"]["code"] == "missing_slices"
    assert [one.name for one in (clean_environment / "out").glob("*.npz")] == ["good.npz"]
    assert SECRET not in outcome.stdout + outcome.stderr


def test_a_plan(root: Path, command: Run) -> None:
    """`volumes` says what there would be, what not and why, and writes nothing."""
    outcome = command("volumes", "good", "gap", "--root", root, "--json")
    assert outcome.status == 1
    good, gap = json.loads(outcome.stdout)
    assert good["volumes"][0]["shape_tzyx"] == [1, 4, 5, 7]
    assert gap["refused"][0]["code"] == "missing_slices"


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "good"),
        ("convert", "good", "v.unknown"),
        ("convert", "good", "v.nii", "--to", "npz"),
        ("convert", "good", "v.zarr", "--chunks", "1,2"),
        ("convert", "good", "v.zarr", "--stack", "x"),
        ("convert", "good", "v.zarr", "--verify", "some"),
        ("verify", "v.txt"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], root: Path, command: Run, clean_environment: Path) -> None:
    """A mistake in an option is one line, before anything is read or written."""
    more = ["--root", root] if arguments[0] == "convert" else []
    outcome = command(*arguments, *more)
    assert outcome.status == 1
    assert len(outcome.lines) == 1
    assert not list(clean_environment.iterdir())


# --- real series


def truth() -> list[dict[str, str]]:
    """The volumes of the collection; none without a collection."""
    named = os.environ.get("DICOM_TEST_DATA")
    if not named or not (Path(named) / "volumes.csv").exists():
        return []
    with (Path(named) / "volumes.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


ROWS = truth()


@pytest.mark.real_data
@pytest.mark.parametrize("extension", [".nii", ".zarr"])
@pytest.mark.parametrize("series", sorted({row["series"] for row in ROWS}))
def test_real_series(series: str, extension: str, real_data: Path, command: Run) -> None:
    """Every volume that readers agree on is made, with their digest and affine; what is none is refused."""
    rows = [row for row in ROWS if row["series"] == series]
    to = {".nii": "nii", ".zarr": "zarr"}[extension]
    outcome = command("convert", series, "-o", "out", "--to", to, "--root", real_data / "series", "--json")
    (found,) = json.loads(outcome.stdout)
    made = [one for one in found["volumes"] if one["status"] == "made"]
    digests = {hashed(Path(one["path"])): one for one in made}
    wanted = [row for row in rows if row["expected"] == "convert"]
    alternatives = {row["alternative_of"] for row in rows if row["alternative_of"]}
    for row in wanted:
        if row["alternative_of"] or row["volume"] in alternatives:
            continue
        assert row["sha256"] in digests, (row["volume"], list(digests))
        data, affine = volumes.canonical(*volumes.read(Path(digests[row["sha256"]]["path"])))
        given = np.array(row["affine_ras_mm"].split(), np.float64)
        native = np.vstack([given.reshape(3, 4), [0, 0, 0, 1]])
        dims = [int(one) for one in row["native_dims"].split()]
        expected = volumes.canonical(np.empty(dims, np.uint8), native)[1]
        far = np.array([length - 1 for length in data.shape[:3]] + [1])
        tolerance = float(row["affine_tol_mm"])
        assert np.linalg.norm((affine - expected) @ far) <= tolerance
        assert np.linalg.norm(affine[:3, 3] - expected[:3, 3]) <= tolerance
    if not wanted:
        assert not made


def hashed(path: Path) -> str:
    """The digest of a file's canonical array."""
    return volumes.digest(*volumes.read(path))


@pytest.mark.real_data
def test_real_directions(real_data: Path, command: Run, clean_environment: Path) -> None:
    """Directions of an enhanced diffusion series are dcm2niix's, in the patient's coordinates to 1e-4."""
    with (real_data / "diffusion.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["series"] for row in rows}) == 1
    path = clean_environment / "v.nii"
    assert command("convert", rows[0]["series"], path, "--root", real_data / "series").status == 0
    b_values = [float(one) for one in (clean_environment / "v.bval").read_text().split()]
    assert b_values == [float(row["bvalue"]) for row in rows]
    affine = volumes.read(path)[1]
    own = np.loadtxt(clean_environment / "v.bvec").T
    own = own * ([-1, 1, 1] if np.linalg.det(affine) > 0 else [1, 1, 1])
    in_patient = own @ (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    wanted = np.array([[float(row[f"ras_{axis}"]) for axis in "xyz"] for row in rows])
    np.testing.assert_allclose(in_patient, wanted, atol=1e-4)


def test_hashes_are_of_the_definition() -> None:
    """The digest of an array that is canonical already is that of its float32 bytes."""
    data = ramp().transpose(2, 1, 0)
    wanted = hashlib.sha256(np.ascontiguousarray(data, "<f4").tobytes()).hexdigest()
    assert volumes.digest(data, np.eye(4)) == wanted
