"""Batches that convert, from end to end: the definition of their machine, simulated, over the real steps."""

import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from tests.unit.doors.aws.test_batch_states import DEFINITION, FILLED, Context

import doubles
import make_dicom
from dicom_series_preview.archive.names import series_digest
from dicom_series_preview.base.errors import StorageUnavailableError
from dicom_series_preview.doors.aws.batch_door import item_handler, prepare_handler, summary_handler
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.batch_volumes import _own_folder
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.products.batches.documents import keep_request, read_summary
from dicom_series_preview.products.batches.outcomes import read_outcomes
from dicom_series_preview.sources.storage.memory import MemoryStorage
from planted import PATIENT
from states import Execution, LambdaError, Machine

FIRST, SECOND, THIRD = (f"0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e0{number}" for number in (1, 2, 3))
MPEG2 = "1.2.840.10008.1.2.4.100"


def series(name: str, count: int = 4, syntax: str = make_dicom.EXPLICIT, **elements: Any) -> dict[str, bytes]:
    """A series of slices 1 mm apart, with the patient planted in every header."""
    uid = f"1.2.3.{int.from_bytes(name.encode()[:6], 'big')}"
    images = {
        f"{name}/{i}.dcm": make_dicom.image(
            i, **{**PATIENT, "SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.{i}", **elements}
        )
        for i in range(1, count + 1)
    }
    return {path: make_dicom.encode(image, syntax) for path, image in images.items()}


def objects() -> dict[str, bytes]:
    """Series that give volumes, and one of each kind that gives none."""
    made: dict[str, bytes] = {}
    for name in ("good-1", "good-2"):
        made |= series(name)
    made |= series("single", 1)
    made |= {path: data for path, data in series("gap", 5).items() if not path.endswith("/3.dcm")}
    made |= series("film", syntax=MPEG2, PixelData=make_dicom.encapsulate([[b"no film!"]]))
    large = {"Rows": 400, "Columns": 400, "PixelData": bytes(400 * 400 * 2)}
    return made | series("large", **large) | {"notes/x.dcm": b"no DICOM"}


ALL = ["good-1", "good-2", "single", "gap", "film", "large", "notes", "nowhere"]


class Setting:
    """A deployment whose functions have 1 MB of disk, and its machine."""

    def __init__(self, disk_mb: str = "1") -> None:
        self.root = MemoryStorage(objects(), url="s3://archive")
        self.data = MemoryStorage(url="s3://data")
        opened = {"s3://archive": self.root, "s3://data": self.data}
        environment = {"PREVIEW_CONVERT_DISK_MB": disk_mb}
        self.deployment = Deployment({"default": "s3://archive"}, "s3://data", 1, environment, opened)
        self.dies: dict[str, str] = {}
        steps = {"prepare": prepare_handler, "convert": item_handler, "summary": summary_handler}
        self.steps = {name: make(self.deployment) for name, make in steps.items()}
        self.steps["item"] = self.steps["convert"]
        names = {**FILLED, "ToleratedFailurePercentage": "10"}
        self.machine = Machine(
            json.loads(re.sub(r"\$\{(\w+)\}", lambda match: names[match[1]], DEFINITION)),
            {name: lambda event, name=name: self._call(name, event) for name in self.steps},
            lambda _bucket, key: self.data.get(key).data,
        )

    def _call(self, name: str, event: Any) -> Any:
        dies = self.dies.get(event.get("item", {}).get("series", ""))
        if dies is not None and "error" not in event:
            raise LambdaError(dies)
        return self.steps[name](event, Context())

    def run(self, document: dict[str, Any], identifier: str = FIRST) -> Execution:
        """Run a batch to its end."""
        keep_request(identifier, document, self.data)
        return self.machine.run({"batch": identifier})

    def summary(self, identifier: str = FIRST) -> dict[str, Any]:
        """A batch's summary."""
        summary = read_summary(identifier, self.data)
        assert summary is not None
        return summary

    def outcomes(self, identifier: str = FIRST) -> dict[str, dict[str, Any]]:
        """A batch's outcomes by series."""
        return {outcome["series"]: outcome for outcome in read_outcomes(identifier, self.data)}

    def kept(self, folder: str = "volumes") -> list[str]:
        """The paths below a folder of the data bucket."""
        return sorted(info.path for info in self.data.list_objects(folder))

    def fetched(self, prefix: str, folder: Path) -> Path:
        """Bring an output to this machine."""
        for path in self.kept():
            if path.startswith(f"{prefix}/"):
                file = folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.data.get(path).data)
        return folder / prefix


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "DicomSeriesPreview")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "previews")


def convert(*names: str, **rest: Any) -> dict[str, Any]:
    """A request that converts series."""
    return {"kind": "convert", "series": list(names), **rest}


def test_a_batch_makes_volumes_and_counts_what_is_none() -> None:
    """Series that cannot be volumes are results by code and no failures; each is tried once."""
    setting = Setting()
    ended = setting.run(convert(*ALL))
    assert (ended.status, ended.error) == ("SUCCEEDED", None)
    assert all(child.tries == {"Convert": 1} for child in ended.children)
    assert ended.output["summary"] == {
        "batch": FIRST,
        "items": 8,
        "made": 2,
        "exists": 0,
        "refused": 6,
        "failed": 0,
        "missing": 0,
        "error": None,
    }
    summary = setting.summary()
    assert (summary["kind"], summary["volumes"]) == ("convert", 2)
    assert summary["refusals"] == {
        **dict.fromkeys(("decode_failed", "missing_slices", "no_image", "not_found"), 1),
        **dict.fromkeys(("single_location", "too_large_here"), 1),
    }
    outcome = setting.outcomes()["good-1"]
    assert (outcome["status"], outcome["slices"], outcome["index_source"]) == ("made", 4, "built")


def test_a_volume_in_the_bucket_is_the_series(tmp_path: Path) -> None:
    """What a batch puts below volumes/ is read by zarr, with its receipt and what stands beside it."""
    setting = Setting()
    setting.run(convert("good-1"))
    (volume,) = setting.outcomes()["good-1"]["volumes"]
    folder = f"volumes/{series_digest('s3://archive', 'good-1')}"
    assert volume["output"] == f"{folder}/good-1.zarr"
    output = setting.fetched(volume["output"], tmp_path)
    array = zarr.open_array(str(output / "volume"), mode="r")
    pixels = np.frombuffer(make_dicom.PIXELS, "<u2").reshape(4, 6).astype(int) - 1024
    assert np.array_equal(array[:], [pixels] * 4)
    receipt = json.loads((output / "receipt.json").read_text())
    assert receipt["volume"]["sha256"] == volume["sha256"]
    assert {f"{folder}/meta/good-1.series.json", f"{folder}/meta/good-1.slices.csv"} <= set(setting.kept())
    for path in setting.kept():
        assert PATIENT["PatientID"].encode() not in setting.data.get(path).data
        assert str(PATIENT["PatientName"]).encode() not in setting.data.get(path).data


def test_options_reach_the_volumes() -> None:
    """What the request says beside its series is how they are converted."""
    setting = Setting()
    setting.run(convert("good-1", "single", to="nifti", orient="ras", min_slices=1, split=["InstanceNumber"]))
    (refused,) = setting.outcomes()["single"]["volumes"]
    assert refused["code"] == "single_location"
    assert len(setting.outcomes()["good-1"]["volumes"]) == 4
    setting.run(convert("good-1", to="nifti", orient="ras"), SECOND)
    (volume,) = setting.outcomes(SECOND)["good-1"]["volumes"]
    receipt = json.loads(setting.data.get(f"{volume['output']}.receipt.json").data)
    assert (volume["output"].rpartition("/")[2], receipt["options"]["orient"]) == ("good-1.nii.gz", "ras")


def test_the_same_batch_again_makes_nothing_twice() -> None:
    """Another batch of the same series finds its volumes, and writes none of them."""
    setting = Setting()
    setting.run(convert("good-1", "good-2"))
    before = {path: setting.data.get(path).version for path in setting.kept()}
    ended = setting.run(convert("good-1", "good-2"), SECOND)
    assert ended.output["summary"]["exists"] == 2
    assert {path: setting.data.get(path).version for path in setting.kept()} == before
    setting.root.put("good-1/9.dcm", series("good-1", 5)["good-1/5.dcm"])
    ended = setting.run(convert("good-1", "good-2"), THIRD)
    assert (ended.output["summary"]["made"], ended.output["summary"]["exists"]) == (1, 1)


def test_a_rerun_does_only_what_is_left() -> None:
    """What failed is tried again; what was made or refused is not, unless the refused are asked for."""
    setting = Setting()
    setting.dies = {"good-2": "Runtime.ExitError"}
    ended = setting.run(convert("good-1", "good-2", "single", "large"))
    assert (ended.status, ended.error) == ("FAILED", "TooManyFailed")
    assert setting.outcomes()["good-2"]["error"] == "Runtime.ExitError"
    setting.dies = {}
    setting.run({"rerun": FIRST}, SECOND)
    assert set(setting.outcomes(SECOND)) == {"good-2"}
    assert setting.outcomes(SECOND)["good-2"]["status"] == "made"
    assert setting.summary(SECOND)["kind"] == "convert"
    setting.run({"rerun": FIRST, "refused": True}, THIRD)
    assert set(setting.outcomes(THIRD)) == {"good-2", "single", "large"}


def test_a_function_that_died_is_not_tried_again() -> None:
    """A conversion that ran out of memory or time would end so again: it is given up at once."""
    setting = Setting()
    setting.dies = {"good-1": "Sandbox.Timedout"}
    (child,) = setting.run(convert("good-1")).children
    assert child.tries == {"Convert": 1, "GiveUpVolumes": 1}
    assert setting.outcomes()["good-1"]["status"] == "failed"


def test_an_output_is_its_files() -> None:
    """An output is the objects that its receipt names, and none without a receipt."""
    setting = Setting()
    setting.run(convert("good-1"))
    (volume,) = setting.outcomes()["good-1"]["volumes"]
    volumes = batch_host(setting.deployment).volumes
    files = volumes.files(volume["output"])
    assert sorted(files) == [path for path in setting.kept() if "/meta/" not in path]
    assert files[-1] == f"{volume['output']}/receipt.json"
    setting.data.delete(files[-1])
    assert volumes.files(volume["output"]) == volumes.files("") == []


def test_throttling_is_tried_again() -> None:
    """A storage that does not answer is no fault of the series: it is tried, and left to a rerun."""
    setting = Setting()
    busy = StorageUnavailableError("s3://archive", "status 503 SlowDown")
    down = doubles.Before(setting.root, list_objects=doubles.refusing(busy))
    setting.deployment._opened["s3://archive"] = down
    (child,) = setting.run(convert("good-1")).children
    assert child.tries == {"Convert": 7, "GiveUpVolumes": 1}
    outcome = setting.outcomes()["good-1"]
    assert (outcome["status"], outcome["error"]) == ("failed", "StorageUnavailableError")
    setting.deployment._opened["s3://archive"] = setting.root
    setting.run({"rerun": FIRST}, SECOND)
    assert setting.outcomes(SECOND)["good-1"]["status"] == "made"


def test_what_is_too_large_here_is_told_with_what_does_it_elsewhere() -> None:
    """The reason has the command with the batch's options, and the summary names a manifest of them all."""
    setting = Setting()
    setting.run(convert("good-1", "large", to="zip", clevel=5, exclude_derived=True))
    (volume,) = setting.outcomes()["large"]["volumes"]
    assert (volume["status"], volume["code"]) == ("refused", "too_large_here")
    command = "dicom-series-preview convert large --root ROOT -o FOLDER --to zip --clevel 5 --exclude-derived"
    assert volume["problem"].endswith(command)
    path = setting.summary()["too_large_here"]
    assert setting.data.get(path).data == b"series_dir\nlarge\n"
    setting = Setting("512")
    setting.run(convert("large"))
    assert (setting.summary()["made"], setting.summary()["too_large_here"]) == (1, None)


def test_all_outcomes_are_one_table() -> None:
    """The Parquet file has a row for each volume and each part that is none; costs count once a series."""
    setting = Setting()
    setting.run(convert("good-1", "single", "nowhere", split=["InstanceNumber"], min_slices=1))
    summary = setting.summary()
    rows = pq.read_table(io.BytesIO(setting.data.get(summary["outcomes"]).data)).to_pylist()
    assert [row["series"] for row in rows] == ["good-1"] * 4 + ["nowhere", "single"]
    assert [row["status"] for row in rows] == ["refused"] * 6
    assert sum(row["requests"] or 0 for row in rows) == summary["requests"]
    assert {row["code"] for row in rows} == {"single_location", "not_found"}


def test_a_manifest_of_the_command_is_one_of_a_batch() -> None:
    """A batch takes the CSV that the command `manifest` writes."""
    setting = Setting()
    setting.root.put("lists/all.csv", b"dataset,series_dir,file_count\nx,good-1,4\nx,good-2,4\n")
    setting.run({"kind": "convert", "manifest": "s3://archive/lists/all.csv"})
    assert set(setting.outcomes()) == {"good-1", "good-2"}


def test_what_a_dead_function_left_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sandbox that starts again clears its disk of what dead processes left, and of nothing else."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = os.getppid()
    for name in (f"dicom-series-preview-of-{2**22 + 1}", f"dicom-series-preview-of-{living}", "others"):
        (tmp_path / name / "half.zarr").mkdir(parents=True)
    _own_folder.cache_clear()
    own = _own_folder()
    _own_folder.cache_clear()
    assert own.name == f"dicom-series-preview-of-{os.getpid()}"
    assert {path.name for path in tmp_path.iterdir()} == {
        own.name,
        f"dicom-series-preview-of-{living}",
        "others",
    }
