"""Outputs in a bucket are whole, with a receipt that is true, or not there."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import faulty
import synthetic
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.opened import OpenedSeries
from dicom_series_preview.base.errors import OutputError, StorageError
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.products.volumes.convert import Converter
from dicom_series_preview.products.volumes.formats.base import UnreadableError, WriteOptions
from dicom_series_preview.products.volumes.formats.table import format_of_path
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.series import VolumeOutcome, convert_series
from dicom_series_preview.products.volumes.upload import (
    RemoteOutputs,
    RemoteTarget,
    folder_and_name,
    open_outputs,
)
from dicom_series_preview.products.volumes.verify import verified
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.retry import RetryPolicy

ZARR = ("volume/c/0/0/0", "volume/zarr.json", "zarr.json", "receipt.json")
FORMATS = ("ct.zarr", "ct.zarr.zip", "ct.sqlite", "ct.nii", "ct.nii.gz", "ct.npz")


class Bucket(faulty.FaultyServer):
    """A bucket that also keeps the headers of what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, dict[str, str]] = {}

    def _put(self, path: str, data: bytes, headers: dict[str, str]) -> faulty.Reply:
        self.sent[path] = headers
        return super()._put(path, data, headers)

    def outputs(self, tmp_path: Path, retries: int = 3) -> RemoteOutputs:
        """The folder of outputs in it."""
        settings = Settings(cache_dir=tmp_path / "cache")
        policy = RetryPolicy(retries, 60.0, wait=faulty.at_once)
        storage: Any = open_storage("s3://bucket/out", settings, self.environment, retry=policy)
        return RemoteOutputs(storage)

    def target(self, tmp_path: Path, name: str = "ct.zarr") -> RemoteTarget:
        """The place of an output in it."""
        return self.outputs(tmp_path).target(name)

    def kinds(self) -> Counter[str]:
        """The requests by kind."""
        return Counter(one.kind for one in self.asked)


def opened(name: str = "ct", count: int = 6) -> OpenedSeries:
    """A series in memory."""
    series = synthetic.series(name, count, others=False, side=16)
    storage = MemoryStorage()
    for file_name, data in series.objects.items():
        storage.put(f"{name}/{file_name}", data)
    return SeriesIndexer(storage, None, Limits()).open(SeriesName(name))


def converted(target: RemoteTarget, series: OpenedSeries | None = None, **options: Any) -> VolumeOutcome:
    """Convert a series to a target."""
    chosen, _ = format_of_path(target.name)
    source = series or opened()
    write = WriteOptions(clevel=options.pop("clevel", 3))
    converter = Converter(chosen, VolumeOptions(), write, Limits(), **options)
    (found,) = convert_series(lambda _again: source, converter, lambda _plan, _volume: target).volumes
    return found


def is_true(target: RemoteTarget, folder: Path) -> bool:
    """What is there is what its receipt says."""
    folder.mkdir()
    return verified(format_of_path(target.name)[0], target.fetch(folder)) == ""


@pytest.mark.parametrize("name", FORMATS)
def test_an_upload_is_what_was_proved(name: str, tmp_path: Path) -> None:
    """An output in a bucket reads back as its receipt says, in every format."""
    with Bucket() as bucket:
        target = bucket.target(tmp_path, name)
        assert converted(target).status == "made"
        assert is_true(bucket.target(tmp_path, name), tmp_path / "copy")
        assert bucket.kinds()["LIST"] == bucket.kinds()["HEAD"] == 0


def test_a_zarr_folder_is_its_shards_two_documents_and_a_receipt(tmp_path: Path) -> None:
    """Nothing else is written, or asked, save one look for a receipt; the receipt comes last."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        puts = [one.path for one in bucket.asked if one.kind == "PUT"]
        assert puts == [f"bucket/out/ct.zarr/{name}" for name in ZARR]
        gets = [one.path for one in bucket.asked if one.kind != "PUT"]
        assert gets == ["bucket/out/ct.zarr/receipt.json"]


def test_each_write_carries_its_digest(tmp_path: Path) -> None:
    """S3 gets the SHA-256 of every object, and can refuse what was damaged on the way."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        for path, headers in bucket.sent.items():
            digest = hashlib.sha256(bucket.objects[path]).digest()
            assert headers["x-amz-checksum-sha256"] == base64.b64encode(digest).decode(), path


def test_a_rerun_asks_for_the_receipt_alone(tmp_path: Path) -> None:
    """What is there already costs one request."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        bucket.begin(lambda _asked: None)
        again = converted(bucket.target(tmp_path))
        assert again.status == "exists"
        assert again.size.files == len(ZARR) - 1
        assert [(one.kind, one.path) for one in bucket.asked] == [("GET", "bucket/out/ct.zarr/receipt.json")]


def test_other_options_replace_an_output(tmp_path: Path) -> None:
    """What was there goes first, its receipt before all, and nothing of it stays."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path), opened(count=70))
        assert "bucket/out/ct.zarr/volume/c/1/0/0" in bucket.objects
        bucket.begin(lambda _asked: None)
        # The same series has lost slices meanwhile.
        converted(bucket.target(tmp_path), opened(count=6))
        assert sorted(bucket.objects) == sorted(f"bucket/out/ct.zarr/{name}" for name in ZARR)
        changes = [(one.kind, one.path) for one in bucket.asked if one.kind != "GET"]
        assert changes[0] == ("DELETE", "bucket/out/ct.zarr/receipt.json")
        kinds = [kind for kind, _ in changes]
        assert kinds == sorted(kinds)
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


def test_another_series_is_not_replaced_unasked(tmp_path: Path) -> None:
    """Two series never share an output; `--overwrite` replaces one by the other."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        there = dict(bucket.objects)
        other = converted(bucket.target(tmp_path), opened("mr"))
        assert other.refusal is not None
        assert other.refusal.code == "exists_other"
        assert bucket.objects == there
        assert converted(bucket.target(tmp_path), opened("mr"), overwrite=True).status == "made"
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


@pytest.mark.parametrize(
    "fault",
    [
        faulty.refused(503, "SlowDown"),
        faulty.cut_short,
        faulty.reset_at_once,
        faulty.refused(500, "InternalError"),
    ],
)
def test_faults_that_pass(fault: faulty.Fault, tmp_path: Path) -> None:
    """Two faults at each request, a write's answer that is lost included, change nothing of the objects."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        truth = dict(bucket.objects)
        bucket.objects.clear()
        bucket.begin(faulty.first_times(2, fault, faulty.everything))
        assert converted(bucket.target(tmp_path)).status == "made"
        assert bucket.objects == truth


@pytest.mark.parametrize("last", range(len(ZARR)))
def test_faults_that_stay(last: int, tmp_path: Path) -> None:
    """Where a write fails for good there is no receipt, whatever was written; the next run goes on."""
    with Bucket() as bucket:
        path = f"bucket/out/ct.zarr/{ZARR[last]}"
        is_last = lambda asked: asked.kind == "PUT" and asked.path == path  # noqa: E731 - one line
        bucket.begin(faulty.always(faulty.refused(503, "SlowDown"), is_last))
        found = converted(bucket.target(tmp_path))
        assert found.status == "failed"
        assert "bucket/out/ct.zarr/receipt.json" not in bucket.objects
        with pytest.raises(UnreadableError, match="no receipt"):
            bucket.target(tmp_path).fetch(tmp_path)
        bucket.begin(lambda _asked: None)
        assert converted(bucket.target(tmp_path)).status == "made"
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


def beside(when: Callable[[faulty.Asked], bool], other: Callable[[], object]) -> faulty.Plan:
    """A plan in which another run does its work just before a request is answered."""
    began: list[bool] = []

    def plan(asked: faulty.Asked) -> None:
        if when(asked) and not began:
            began.append(True)
            other()

    return plan


def is_put(name: str) -> Callable[[faulty.Asked], bool]:
    return lambda asked: asked.kind == "PUT" and asked.path == f"bucket/out/ct.zarr/{name}"


@pytest.mark.parametrize("name", ZARR)
def test_two_at_once(name: str, tmp_path: Path) -> None:
    """Of two runs that do the same one wins, and the other finds it done."""
    with Bucket() as bucket:
        outcomes: list[str] = []

        def other() -> None:
            outcomes.append(converted(bucket.target(tmp_path)).status)

        bucket.begin(beside(is_put(name), other))
        outcomes.append(converted(bucket.target(tmp_path)).status)
        assert outcomes == ["made", "exists"]
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


@pytest.mark.parametrize("name", ZARR[:-1])
def test_two_at_once_with_other_options(name: str, tmp_path: Path) -> None:
    """What another run has finished meanwhile stays as it is; the slower one is refused."""
    with Bucket() as bucket:
        bucket.begin(beside(is_put(name), lambda: converted(bucket.target(tmp_path), clevel=9)))
        assert converted(bucket.target(tmp_path)).status == "refused"
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


@pytest.mark.parametrize("seen", ["nothing", "leftovers"])
def test_no_receipt_stands_for_mixed_objects(seen: str, tmp_path: Path) -> None:
    """Where this run wrote over what another has finished, its receipt goes: none describes both."""
    with Bucket() as bucket:
        if seen == "leftovers":
            converted(bucket.target(tmp_path), clevel=1)
            del bucket.objects["bucket/out/ct.zarr/receipt.json"]

        def is_late(asked: faulty.Asked) -> bool:
            """The shard is written over what was left; or all is written but the receipt."""
            over = is_put(ZARR[0])(asked) and asked.times == 1
            return over if seen == "leftovers" else is_put(ZARR[-1])(asked)

        bucket.begin(beside(is_late, lambda: converted(bucket.target(tmp_path), clevel=9)))
        assert converted(bucket.target(tmp_path)).status == "refused"
        # Without leftovers the other run has written over all that this one had.
        assert (bucket.target(tmp_path).receipt() is None) is (seen == "leftovers")
        if seen == "leftovers":
            assert converted(bucket.target(tmp_path)).status == "made"
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


def test_what_a_killed_run_left(tmp_path: Path) -> None:
    """Objects without a receipt are replaced, also by fewer and by others."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path), opened(count=20), clevel=9)
        del bucket.objects["bucket/out/ct.zarr/receipt.json"]
        assert converted(bucket.target(tmp_path)).status == "made"
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


def test_shards_of_zeros_are_written(tmp_path: Path) -> None:
    """Every shard is an object, so that one that a killed run left can never stand for zeros."""
    array = np.zeros((70, 8, 8), "<i2")
    with Bucket() as bucket:
        series = synthetic.series("zeros", 70, others=False, side=8)
        datasets = [synthetic.slice_dataset("zeros", index, 70, side=8) for index in range(70)]
        storage = MemoryStorage()
        for file_name, made in zip(series.file_names, datasets, strict=True):
            made.PixelData = np.full((8, 8), -int(made.RescaleIntercept), "<u2").tobytes()
            storage.put(f"zeros/{file_name}", synthetic.encode(made))
        target = bucket.target(tmp_path, "zeros.zarr")
        assert (
            converted(target, SeriesIndexer(storage, None, Limits()).open(SeriesName("zeros"))).status
            == "made"
        )
        assert {f"bucket/out/zeros.zarr/volume/c/{number}/0/0" for number in (0, 1)} <= set(bucket.objects)
        found: Any = zarr.open_array(
            bucket.target(tmp_path, "zeros.zarr").fetch(tmp_path) / "volume", mode="r"
        )
        assert np.array_equal(found[:], array)


def test_a_damaged_object_is_found(tmp_path: Path) -> None:
    """`verify` compares each object with the receipt before it reads them."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        path = f"bucket/out/ct.zarr/{ZARR[0]}"
        bucket.objects[path] = bucket.objects[path][:-1] + b"\0"
        with pytest.raises(UnreadableError, match="is not what its receipt says"):
            bucket.target(tmp_path).fetch(tmp_path)
        del bucket.objects[path]
        with pytest.raises(UnreadableError, match="is not what its receipt says"):
            bucket.target(tmp_path).fetch(tmp_path / "again")


def other_etag(connection: faulty.Connection, answer: faulty.Answer) -> None:
    """An ETag that looks like an MD5 and is another's."""
    reply = answer()
    connection.send(replace(reply, headers={**reply.headers, "ETag": '"' + "0" * 32 + '"'}))


def test_an_etag_that_is_no_md5(tmp_path: Path) -> None:
    """Of an encrypted object the ETag is no MD5: the object is read back, and is as it should be."""
    with Bucket() as bucket:
        file = tmp_path / "file"
        file.write_bytes(b"voxels")
        bucket.begin(faulty.always(other_etag, lambda asked: asked.kind == "PUT"))
        assert bucket.outputs(tmp_path).storage.put_file("a", file) == hashlib.sha256(b"voxels").hexdigest()
        assert bucket.kinds() == {"PUT": 1, "GET": 1}


def test_a_store_that_holds_something_else(tmp_path: Path) -> None:
    """What the store has is compared with what was sent."""
    with Bucket() as bucket:
        file = tmp_path / "file"
        file.write_bytes(b"voxels")

        def changed(connection: faulty.Connection, answer: faulty.Answer) -> None:
            answer()
            bucket.objects["bucket/out/a"] = b"vowels"
            connection.send(faulty.Reply(200, {"ETag": faulty.etag(b"vowels")}))

        bucket.begin(faulty.always(changed, lambda asked: asked.kind == "PUT"))
        with pytest.raises(StorageError, match="not what was sent"):
            bucket.outputs(tmp_path).storage.put_file("a", file)


def test_something_that_is_no_receipt(tmp_path: Path) -> None:
    """What is no receipt of ours stays until it is to be replaced."""
    with Bucket() as bucket:
        bucket.objects["bucket/out/ct.zarr/receipt.json"] = b"{}"
        found = converted(bucket.target(tmp_path))
        assert found.refusal is not None
        assert found.refusal.code == "exists_other"
        assert converted(bucket.target(tmp_path), overwrite=True).status == "made"
        assert is_true(bucket.target(tmp_path), tmp_path / "copy")


def test_a_receipt_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    """A receipt that names `..` is none."""
    with Bucket() as bucket:
        converted(bucket.target(tmp_path))
        path = "bucket/out/ct.zarr/receipt.json"
        document = json.loads(bucket.objects[path])
        document["objects"][0]["path"] = "../../escaped"
        bucket.objects[path] = json.dumps(document).encode()
        with pytest.raises(UnreadableError, match="names no objects"):
            bucket.target(tmp_path).fetch(tmp_path / "a")


def test_a_bucket_that_is_not_there_fails_before_any_work(tmp_path: Path) -> None:
    """The look for a receipt tells a missing bucket from a missing object."""
    with Bucket() as bucket:
        missing = faulty.refused(404, "NoSuchBucket")
        bucket.begin(faulty.always(missing, faulty.everything))
        found = converted(bucket.target(tmp_path))
        assert found.status == "failed"
        assert bucket.kinds() == {"GET": 1}


def test_places_of_outputs(tmp_path: Path) -> None:
    """A folder, file:// and s3:// hold outputs; a web server does not, and a bucket is no output."""
    settings = Settings(cache_dir=tmp_path)
    environment = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    assert open_outputs("a/b", settings, environment).shown == str(Path("a/b"))
    assert open_outputs("file:///a/b", settings, environment).shown == "/a/b"
    assert open_outputs("s3://bucket/a", settings, environment).shown == "s3://bucket/a"
    with pytest.raises(Exception, match="cannot be written"):
        open_outputs("https://host/a", settings, environment)
    assert folder_and_name("s3://bucket/a/ct.zarr") == ("s3://bucket/a", "ct.zarr")
    with pytest.raises(Exception, match="names no object"):
        folder_and_name("s3://ct.zarr")


def test_files_of_a_run_that_cannot_be_written(tmp_path: Path) -> None:
    """A summary that cannot be written says where."""
    with Bucket() as bucket:
        bucket.begin(faulty.always(faulty.refused(403, "AccessDenied"), faulty.everything))
        with pytest.raises(OutputError, match=r"s3://bucket/out/summary.csv: access denied"):
            bucket.outputs(tmp_path).write("summary.csv", b"a")
