"""Many series by the command line: manifests, shards, what stands beside outputs, summaries, and S3."""

import csv
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import counting
import planted
import servers
import synthetic
from commandline import Outcome, Run
from dicom_series_preview.sources.headers.dictionary import tag_of

NAMES = ("p1/ct-a", "p1/ct-b", "p2/ct-a", "p3/broken")
COUNT = 5


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three series of patients, and a folder without an image."""
    root = tmp_path / "archive"
    for name in NAMES[:3]:
        synthetic.series(name, COUNT, others=False, side=16).write(root)
    (root / "p3" / "broken").mkdir(parents=True)
    (root / "p3" / "broken" / "1.dcm").write_bytes(b"no DICOM")
    return root


@pytest.fixture
def manifest(archive: Path, succeed: Run) -> Path:
    succeed("manifest", "--root", archive, "-o", "manifest", "--shards", 3)
    return Path("manifest/series_all.csv")


def test_manifest(manifest: Path) -> None:
    """`manifest` lists every folder of instances, in shards, and says how many there are."""
    rows = table(manifest)
    assert [row["series_dir"] for row in rows] == list(NAMES)
    assert {row["dataset"] for row in rows} == {"archive"}
    assert document(Path("manifest/manifest_summary.json"))["total_series"] == len(NAMES)


def test_manifest_knows_what_the_catalogue_knows(archive: Path, command: Run, succeed: Run) -> None:
    """After `update`, a manifest has UIDs and descriptions; who the patient is only with identity kept."""
    command("update", "--root", archive)
    succeed("manifest", "--root", archive, "-o", "m")
    row = table(Path("m/series_all.csv"))[0]
    assert row["series_uid"].startswith(synthetic.UID_ROOT)
    assert row["study_uid"] == f"{synthetic.UID_ROOT}.1"
    told = "".join(path.read_text("utf-8") for path in Path("m").rglob("*.*"))
    assert not planted.found(told, set(planted.OF_PATIENTS) - {planted.DESCRIPTION})


def test_manifest_of_a_bucket_lists_and_reads_nothing(
    succeed: Run, counted: counting.CountingProxy, signed: servers.Moto
) -> None:
    """A manifest costs a listing; no object is read, and it can lie in a bucket itself."""
    client = signed.client("s3")
    client.create_bucket(Bucket="fleet-source")
    for number in range(3):
        client.put_object(Bucket="fleet-source", Key=f"p/ct-{number}/1.dcm", Body=b"x")
    counted.clear()
    succeed("manifest", "--root", "s3://fleet-source", "-o", "s3://fleet-source/manifests", "--shards", 2)
    assert counted.kinds() == {"LIST": 1, "PUT": 5}


def convert(command: Run, archive: Path, manifest: Path, *more: object) -> Outcome:
    return command("convert", "--manifest", manifest, "--root", archive, "-o", "out", "--to", "nifti", *more)


def test_a_manifest_is_converted_past_failures(archive: Path, manifest: Path, command: Run) -> None:
    """Each series gets a line; one that fails stops no other, and makes the exit status 1."""
    outcome = convert(command, archive, manifest)
    assert outcome.status == 1
    made = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.nii.gz"))
    assert made == [f"{name}.nii.gz" for name in NAMES[:3]]
    (line,) = [line for line in outcome.lines if "p3/broken" in line]
    assert line.startswith(("refused", "failed"))
    totals = document(Path("out/summary.json"))
    assert (totals["series_total"], totals["series_ok"], totals["volumes_ok"]) == (4, 3, 3)
    assert totals["series_refused"] + totals["series_failed"] == 1
    assert totals["verify_ok_count"] == 3
    rows = {row["series_dir"]: row for row in table(Path("out/summary.csv"))}
    assert {name: row["status"] for name, row in rows.items() if name != NAMES[3]} == dict.fromkeys(
        NAMES[:3], "ok"
    )
    receipt = document(Path("out/p1/ct-a.json"))["DicomSeriesPreview"]["volume"]
    assert rows["p1/ct-a"]["volume"] == str(Path("out/p1/ct-a.nii.gz"))
    assert rows["p1/ct-a"]["sha256"] == receipt["sha256"]
    assert int(rows["p1/ct-a"]["slice_count"]) == COUNT


def test_a_rerun_does_what_is_left(archive: Path, manifest: Path, command: Run) -> None:
    """Outputs with a receipt are skipped; what is missing is made."""
    convert(command, archive, manifest)
    Path("out/p1/ct-b.nii.gz").unlink()
    Path("out/p1/ct-b.json").unlink()
    convert(command, archive, manifest, "--summary-suffix", "again")
    totals = document(Path("out/summary_again.json"))
    assert (totals["series_ok"], totals["series_skipped"]) == (1, 2)
    reasons = Counter(row["reason"] for row in table(Path("out/summary_again.csv")))
    assert reasons["exists"] == 2


def test_shards_share_a_manifest(archive: Path, manifest: Path, command: Run) -> None:
    """All shards together do what the manifest says, and each series is in one."""
    seen: list[str] = []
    for number in range(3):
        convert(command, archive, manifest, "--shard", f"{number}/3", "--summary-suffix", f"shard {number}")
        path = Path(f"out/summary_shard_{number}.csv")
        seen += [row["series_dir"] for row in table(path)] if path.stat().st_size else []
    assert sorted(seen) == sorted(NAMES)


def test_variables_of_the_environment(
    archive: Path, manifest: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that pipelines of before set do what the options do."""
    shard = next(int(row["series_hash"], 16) % 2 for row in table(manifest) if row["series_dir"] == NAMES[0])
    variables = {
        "INPUT_CSV": str(manifest),
        "OUT_ROOT": "converted",
        "STORE_TYPE": "dir",
        "NUM_WORKERS": "2",
        "SHARD_ID": str(shard),
        "NUM_SHARDS": "2",
        "OVERWRITE": "1",
        "VERIFY_SLICES": "2",
        "SUMMARY_SUFFIX": "shard_00",
        "LIMIT": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = command("convert", "--root", archive)
    assert outcome.status == 0, outcome.stderr
    totals = document(Path("converted/summary_shard_00.json"))
    assert (totals["series_total"], totals["store_type"], totals["num_workers"]) == (1, "zarr", 2)
    assert (totals["shard_id"], totals["num_shards"]) == (shard, 2)
    assert list(Path("converted").rglob("*.zarr"))


def test_an_output_has_its_own_format(
    archive: Path, succeed: Run, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STORE_TYPE is for folders of outputs: it forbids no other format of a single one, as --to does."""
    monkeypatch.setenv("STORE_TYPE", "sqlite")
    succeed("convert", "p1/ct-a", "ct.nii", "--root", archive)
    assert Path("ct.nii").exists()
    assert command("convert", "p1/ct-a", "ct.npz", "--root", archive, "--to", "npz").status == 1


def test_layouts_of_a_data_set(
    tmp_path: Path, succeed: Run, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both layouts go into one manifest by whole paths; series of the same name have outputs of their own."""
    for layout, folder in (("one", "s1/Images"), ("one", "s2/Images"), ("two", "Images/ab/Images")):
        made = synthetic.series(f"{folder}/ct", COUNT, others=False, side=16)
        made.write(tmp_path / layout)
    monkeypatch.setenv("DATASET_V1_ROOT", str(tmp_path / "one"))
    monkeypatch.setenv("DATASET_V2_ROOT", str(tmp_path / "two"))
    monkeypatch.setenv("OUT_DIR", "m")
    succeed("manifest")
    rows = table(Path("m/series_all.csv"))
    first = f"{tmp_path}/one/s1/Images/ct"
    assert rows[0]["series_dir"] == first
    assert rows[0]["series_hash"] == hashlib.sha1(first.encode(), usedforsecurity=False).hexdigest()[:8]
    outcome = command("convert", "--manifest", "m/series_all.csv", "-o", "out", "--to", "npz")
    assert outcome.status == 0, outcome.stderr
    made = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.npz"))
    assert made == ["v1/s1/Images/ct.npz", "v1/s2/Images/ct.npz", "v2/Images/ab/Images/ct.npz"]


def test_files_beside_an_output(archive: Path, succeed: Run) -> None:
    """Each output has its series' elements, and a row a slice with where it lies and what it holds."""
    succeed("convert", "p1/ct-a", "--root", archive, "-o", "out", "--to", "nii")
    series = document(Path("out/meta/p1/ct-a.series.json"))
    assert series["Modality"] == "CT"
    assert series["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert (series["slice_count"], series["volume_shape"]) == (COUNT, [COUNT, 16, 16])
    assert (series["dtype"], series["verify_ok"], series["series_dir"]) == ("int16", True, "p1/ct-a")
    rows = table(Path("out/meta/p1/ct-a.slices.csv"))
    made = synthetic.series("p1/ct-a", COUNT, others=False, side=16)
    assert [row["file_name"] for row in rows] == list(made.file_names)
    assert [row["SOPInstanceUID"] for row in rows] == list(made.uids)
    assert rows[1]["ImagePositionPatient"] == "-80.0\\-80.0\\97.5"
    assert float(rows[1]["SliceLocation"]) == 97.5
    assert "Modality" not in rows[0]
    data: Any = nibabel.load("out/p1/ct-a.nii")
    for number, row in enumerate(rows):
        values = np.ascontiguousarray(np.asarray(data.dataobj)[:, :, number].T)
        assert row["sha256"] == hashlib.sha256(values.astype("<i2").data).hexdigest()
        assert float(row["deviation_mm"]) < 1e-6
        size = len(made.objects[row["file_name"]])
        assert int(row["object_size"]) == size
        assert row["object_version"]


def test_patients_are_named_on_request_only(archive: Path, succeed: Run) -> None:
    """Nothing that is written beside outputs, or said, names a patient; with identity kept, it does."""
    for identity in ("drop", "keep"):
        outcome = succeed(
            "convert", "p1/ct-a", "--root", archive, "-o", identity, "--to", "zarr", "--identity", identity
        )
        files = [path for path in Path(identity).rglob("*") if path.suffix in (".json", ".csv")]
        told = outcome.stdout + outcome.stderr + "".join(path.read_text("utf-8") for path in files)
        found = planted.found(told, set(planted.OF_PATIENTS) - {planted.DESCRIPTION})
        assert bool(found) is (identity == "keep"), found
    assert document(Path("keep/meta/p1/ct-a.series.json"))["PatientName"] == planted.PATIENT["PatientName"]


def test_a_manifest_that_names_patients_hands_none_on(archive: Path, command: Run) -> None:
    """Of a manifest's columns only those that place a series go into what stands beside its outputs."""
    Path("m.csv").write_text("series_dir,patient_id\np1/ct-a/,PID-4711-0815\n", "utf-8")
    assert convert(command, archive, Path("m.csv")).status == 0
    for path in Path("out").rglob("*.*"):
        assert b"4711" not in path.read_bytes(), path


def test_series_of_one_name_do_not_replace_each_other(archive: Path, command: Run, tmp_path: Path) -> None:
    """The second series of a name is refused, and says what to do."""
    other = tmp_path / "other"
    synthetic.series("another", COUNT, others=False, side=16).write(other)
    shutil.move(other / "another", other / "ct-a")
    outcome = command("convert", archive / "p1" / "ct-a", other / "ct-a", "-o", "out", "--to", "npz")
    assert outcome.status == 1
    assert "holds another series" in outcome.stderr
    assert "--overwrite" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give SERIES, or --manifest"),
        (("--manifest", "m.csv"), "give SERIES, or --manifest"),
        (("a", "--manifest", "m.csv", "-o", "out"), "excludes SERIES"),
        (("a", "-o", "out", "--shard", "0/2"), "share of a manifest"),
        (("--manifest", "none.csv", "-o", "out"), "none.csv cannot be read"),
        (("a", "http://host/b.zarr"), "cannot be written"),
    ],
)
def test_wrong_options(arguments: tuple[str, ...], problem: str, command: Run) -> None:
    """A wrong option is said in one line before anything is done."""
    outcome = command("convert", *arguments)
    assert outcome.status == 1
    assert problem in outcome.stderr
    assert not list(Path().iterdir())


def test_from_bucket_to_bucket(
    succeed: Run, command: Run, counted: counting.CountingProxy, signed: servers.Moto
) -> None:
    """300 slices: one listing, one GET a slice, 8 PUT and a look for a receipt; again: that look alone."""
    client = signed.client("s3")
    client.create_bucket(Bucket="fleet-in")
    client.create_bucket(Bucket="fleet-out")
    for name, data in synthetic.series("ct", 300, others=False, side=16).objects.items():
        client.put_object(Bucket="fleet-in", Key=f"ct/{name}", Body=data)
    succeed("volumes", "ct", "--root", "s3://fleet-in")
    arguments = ("convert", "ct", "s3://fleet-out/volumes/ct.zarr", "--root", "s3://fleet-in")
    counted.clear()
    succeed(*arguments)
    assert counted.kinds() == {"LIST": 1, "GET": 300 + 1, "PUT": 8}
    kept = client.list_objects_v2(Bucket="fleet-out")["Contents"]
    assert len(kept) == 8
    counted.clear()
    assert "exists   s3://fleet-out/volumes/ct.zarr: " in succeed(*arguments).stderr
    assert counted.kinds() == {"LIST": 1, "GET": 1}
    assert succeed("verify", "s3://fleet-out/volumes/ct.zarr").stderr.startswith("equal")
    client.put_object(Bucket="fleet-out", Key="volumes/ct.zarr/volume/zarr.json", Body=b"{}")
    outcome = command("verify", "s3://fleet-out/volumes/ct.zarr")
    assert outcome.status == 1
    assert "volume/zarr.json is not what its receipt says" in outcome.stderr


def test_a_public_archive_is_not_listed_whole(command: Run) -> None:
    """A manifest of a public bucket needs a prefix: the whole of it would be listed for hours."""
    outcome = command("manifest", "--root", "s3://idc-open-data", "-o", "m")
    assert outcome.status == 1
    assert "too much to list it whole" in outcome.stderr


def test_a_folder_of_outputs_in_a_bucket(archive: Path, succeed: Run, signed: servers.Moto) -> None:
    """-o s3://: outputs, what stands beside them, and the summary lie in the bucket."""
    client = signed.client("s3")
    client.create_bucket(Bucket="fleet-many")
    succeed("convert", "p1/ct-a", "--root", archive, "-o", "s3://fleet-many/x", "--to", "nifti")
    keys = {one["Key"] for one in client.list_objects_v2(Bucket="fleet-many")["Contents"]}
    assert keys == {
        "x/p1/ct-a.nii.gz",
        "x/p1/ct-a.json",
        "x/p1/ct-a.nii.gz.receipt.json",
        "x/meta/p1/ct-a.series.json",
        "x/meta/p1/ct-a.slices.csv",
        "x/summary.csv",
        "x/summary.json",
    }


def test_every_listed_element_is_one() -> None:
    """The keywords that may come out are the dictionary's."""
    from dicom_series_preview.products.volumes.fleet import meta  # noqa: PLC0415 - beside its one use

    for name in (*meta.IDENTITY, *meta._SERIES, *meta._SLICES, *meta._ALWAYS):
        assert tag_of(name)
