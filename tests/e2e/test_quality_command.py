"""The command `qc`, as one types it."""

import json
from pathlib import Path

import numpy as np
import pytest

import make_dicom
import synthetic
from commandline import PutSeries, Run
from planted import OF_PATIENTS

SIDE = 32
NOISE = np.random.default_rng(3).integers(0, 1000, (SIDE, SIDE)).astype("<u2")
FLAT = np.full((SIDE, SIDE), 500, "<u2")


def slices(*values: np.ndarray, **elements: object) -> dict[str, bytes]:
    """A series of slices of values."""
    own = {"Rows": SIDE, "Columns": SIDE, "BitsStored": 16, "HighBit": 15, **elements}
    return {
        f"{n}.dcm": make_dicom.encode(make_dicom.image(n, PixelData=one.tobytes(), **own))
        for n, one in enumerate(values, 1)
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of a good series, a bad one, and one that is in colour."""
    colour = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
    }
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    held = {
        "ct-good": slices(NOISE, NOISE, NOISE),
        "ct-bad": slices(NOISE, FLAT, FLAT),
        "us": slices(rgb, **colour),
    }
    for name, objects in held.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for file_name, data in objects.items():
            (tmp_path / "data" / name / file_name).write_bytes(data)
    return tmp_path / "data"


GOOD = "ct-good: normal, no issue in 3 slices"
BAD = "ct-bad: low quality, 2 of 3 slices with issues (67%): Invalid dynamic range (2): slices 0 to 1"


def test_each_series_has_a_line_and_low_quality_is_no_error(root: Path, succeed: Run) -> None:
    """Verdicts go to standard output in the order of the names, and the status is 0 whatever they are."""
    outcome = succeed("qc", "ct-bad", "ct-good", "--root", root)
    assert outcome.stdout.splitlines() == [BAD, GOOD]
    assert outcome.stderr == ""


def test_a_prefix_means_all_that_it_matches(root: Path, succeed: Run) -> None:
    """`ct-*` is both, each once, also where one is named besides."""
    found = succeed("qc", "ct-*", "ct-good", "--root", root, "--no-cache").stdout.splitlines()
    assert sorted(found) == sorted([BAD, GOOD])


def test_what_cannot_be_judged_is_status_1(root: Path, command: Run) -> None:
    """A series that is not there, and one without shades of grey, end nothing; the status is 1."""
    outcome = command("qc", "nothing", "us", "ct-good", "--root", root)
    assert outcome.status == 1
    assert outcome.stdout.splitlines() == ["us: not judged: 1 slice in colour", GOOD]
    (line,) = outcome.lines
    assert line.startswith("failed   nothing: nothing in file://")
    assert command("qc", "us", "--root", root).status == 1


def test_json_is_a_list_of_all(root: Path, command: Run) -> None:
    """Standard output is one list in JSON, failures included, and nothing else."""
    outcome = command("qc", "ct-bad", "nothing", "us", "--root", root, "--json")
    documents = json.loads(outcome.stdout)
    assert [(one["series"], one["status"]) for one in documents] == [
        ("ct-bad", "judged"),
        ("nothing", "failed"),
        ("us", "not judged"),
    ]
    first = documents[0]
    assert (first["low_quality"], first["qc_mode"]) == (True, "full")
    assert first["low_quality_reason"] == "67% of slices with issues - Invalid dynamic range: 2"
    assert [one["reasons"] for one in first["low_quality_details"]] == [["dynamic_range_invalid"]] * 2 + [[]]
    assert json.loads(command("qc", "nothing", "--root", root, "--json").stdout)[0]["status"] == "failed"


def test_the_environment_is_read_when_it_runs(
    root: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thresholds are those of the environment then; what is no number stops all before any work."""
    assert command("qc", "ct-good", "--root", root).stdout.startswith("ct-good: normal")
    monkeypatch.setenv("QC_CT_STD_MIN", "2000")
    told = "ct-good: low quality, 3 of 3 slices with issues (100%): Low contrast (3): slices 0 to 2\n"
    assert command("qc", "ct-good", "--root", root).stdout == told
    monkeypatch.setenv("QC_CT_STD_MIN", "five")
    outcome = command("qc", "ct-good", "nothing", "--root", root)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.lines == ["error: QC_CT_STD_MIN: is a number from 0 to 1e+300, not 'five'"]


def test_no_file_of_a_series_changes(root: Path, succeed: Run) -> None:
    """The files are as before, twice judged alike."""
    before = {path: path.read_bytes() for path in root.rglob("*.dcm")}
    first, second = (succeed("qc", "ct-*", "--root", root, "--json").stdout for _ in range(2))
    assert first == second
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("signed")
def test_a_series_in_a_bucket_is_judged(bucket: PutSeries, succeed: Run) -> None:
    """In S3 as on a disk; and no line or document names the patient."""
    bucket("quality/one", synthetic.series(others=False).objects)
    for options in ((), ("--json",)):
        outcome = succeed("qc", "one", "--root", "s3://previews/quality", *options)
        assert "one" in outcome.stdout
        assert not [text for text in OF_PATIENTS if text in outcome.stdout + outcome.stderr]


def test_a_prefix_without_series_is_told(root: Path, command: Run) -> None:
    """A prefix that matches nothing is a failure of its own, and the others are judged."""
    outcome = command("qc", "mr-*", "ct-good", "--root", root)
    assert (outcome.status, outcome.stdout) == (1, f"{GOOD}\n")
    assert outcome.lines[0].startswith("failed   mr-*: ")
