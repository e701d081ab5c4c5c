from __future__ import annotations

import io
import json
from typing import Any

import pyarrow.parquet as pq
import pytest

import doubles
import make_dicom
from dicom_series_preview.aws import batch
from dicom_series_preview.aws.batch import BatchRequest
from dicom_series_preview.aws.environment import Deployment
from dicom_series_preview.errors import (
    ObjectChangedError,
    PreviewError,
    RequestError,
    SeriesNameError,
    SeriesNotFoundError,
    StorageUnavailableError,
)
from dicom_series_preview.storage import MemoryStorage

ID = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e01"
EARLIER = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e02"
ROOTS = {"default": "s3://archive", "other": "s3://other"}
SECRET = "Zwiebelfisch^Leonora"


def slices(folder: str, count: int = 2) -> dict[str, bytes]:
    """A small series."""
    return {
        f"{folder}/{i}.dcm": make_dicom.encode(make_dicom.image(i, PatientName=SECRET))
        for i in range(1, count + 1)
    }


class Setting:
    """A deployment over storages of the test's own."""

    def __init__(
        self, objects: dict[str, bytes] | None = None, depth: int = 1, data: str = "s3://data"
    ) -> None:
        self.root = MemoryStorage(
            {**slices("a"), **slices("b")} if objects is None else objects, url="s3://archive"
        )
        self.data = MemoryStorage(url=data)
        self.manifests = MemoryStorage(url="s3://lists/of")
        opened = {
            "s3://archive": self.root,
            "s3://other": MemoryStorage(slices("c"), url="s3://other"),
            data: self.data,
            "s3://lists/of": self.manifests,
        }
        self.deployment = Deployment(ROOTS, data, depth, {}, opened)

    def prepare(self, document: Any) -> list[dict[str, Any]]:
        """The items of a request."""
        batch.submit(ID, document, self.deployment)
        prepared = batch.prepare(ID, self.deployment)
        items = self.kept("items.json")
        assert prepared["count"] == len(items)
        return items

    def names(self, document: Any) -> list[str]:
        """The series of a request."""
        return [item["series"] for item in self.prepare(document)]

    def manifest(self, name: str, content: bytes) -> list[str]:
        """The series of a manifest."""
        self.manifests.put(name, content)
        return self.names({"manifest": f"s3://lists/of/{name}"})

    def kept(self, name: str, of: str = ID) -> Any:
        """A JSON document of a batch."""
        return json.loads(self.data.get(f"batches/{of}/{name}").data)

    def keep(self, name: str, document: Any, of: str = ID) -> None:
        """Write one."""
        self.data.put(f"batches/{of}/{name}", json.dumps(document).encode())

    def run(self, series: str, root: str = "default", **mosaic: list[str]) -> dict[str, Any]:
        """Do one item."""
        return batch.run_item(ID, {"root": root, "series": series, "mosaic": mosaic}, self.deployment)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """The outcomes by series."""
        return {outcome["series"]: outcome for outcome in batch.read_outcomes(ID, self.deployment)}


def wrong(document: Any) -> list[str]:
    """The parameters that a request's errors name."""
    with pytest.raises(RequestError) as caught:
        BatchRequest.from_document(document, ROOTS)
    return sorted(one.parameter for one in getattr(caught.value, "errors", (caught.value,)))


# --- what a batch may be


@pytest.mark.parametrize(
    ("document", "parameters"),
    [
        (None, ["body"]),
        ([], ["body"]),
        ("series", ["body"]),
        ({}, ["body"]),
        ({"series": ["a"], "prefix": ""}, ["body"]),
        ({"series": []}, ["series"]),
        ({"series": ""}, ["series"]),
        ({"series": 0}, ["series"]),
        ({"series": False}, ["series"]),
        ({"series": {}}, ["series"]),
        ({"series": "a"}, ["series"]),
        ({"series": ["a", 7]}, ["series"]),
        ({"series": ["a", "../b", "s3://other/c", "/etc/passwd", ""]}, ["series"] * 4),
        ({"series": ["a"] * 1001}, ["series"]),
        ({"prefix": 7}, ["prefix"]),
        ({"prefix": None, "series": ["a"]}, ["prefix"]),
        ({"manifest": "https://x/y.csv"}, ["manifest"]),
        ({"manifest": "s3://x.json"}, ["manifest"]),
        ({"manifest": ""}, ["manifest"]),
        ({"rerun": "today"}, ["rerun"]),
        ({"rerun": f"../{EARLIER}"}, ["rerun"]),
        ({"rerun": EARLIER, "root": "other", "mosaic": {}}, ["mosaic", "root"]),
        ({"series": ["a"], "root": "nowhere"}, ["root"]),
        ({"series": ["a"], "root": "s3://archive"}, ["root"]),
        ({"series": ["a"], "root": None}, ["root"]),
        ({"series": ["a"], "mosaic": []}, ["mosaic"]),
        ({"series": ["a"], "mosaic": {"tile_width": 0, "start": 2, "x": 1}}, ["start", "tile_width", "x"]),
        ({"series": ["a"], "mosaic": {"contrast": ["lung", "bone"]}}, ["contrast"]),
        ({"series": ["a"], "mosaic": {"root": "other"}}, ["root"]),
        ({"series": 7, "root": 7, "x": 7, "mosaic": 7}, ["mosaic", "root", "series", "x"]),
    ],
)
def test_what_is_wrong_is_named(document: Any, parameters: list[str]) -> None:
    """Everything that is wrong with a request is named at once."""
    assert wrong(document) == parameters


def test_a_request_that_is_wrong_is_not_kept() -> None:
    """Nothing is written of what is refused."""
    setting = Setting()
    with pytest.raises(RequestError):
        batch.submit(ID, {"series": []}, setting.deployment)
    assert setting.data.list_objects("") == []


def test_a_request_is_kept_once() -> None:
    """A batch's request is written once and never over another."""
    setting = Setting()
    batch.submit(ID, {"series": ["a"]}, setting.deployment)
    with pytest.raises(ObjectChangedError):
        batch.submit(ID, {"series": ["b"]}, setting.deployment)
    assert setting.kept("request.json") == {"series": ["a"]}


@pytest.mark.parametrize("identifier", ["", "x", "../x", ID.upper(), ID + "/x", ID[:-1]])
def test_an_identifier_that_is_none(identifier: str) -> None:
    """What is no identifier never becomes part of a path."""
    setting = Setting()
    for use in (batch.prepare, batch.summarise):
        with pytest.raises(RequestError, match="batch"):
            use(identifier, setting.deployment)
    with pytest.raises(RequestError, match="batch"):
        batch.run_item(identifier, {}, setting.deployment)


# --- which series


def test_series_one_by_one() -> None:
    """Each series once, in order, with the batch's root and options as requests are built from."""
    items = Setting().prepare(
        {
            "series": ["b", "a", "b"],
            "root": "other",
            "mosaic": {"tile_width": 2, "contrast": ["lung"], "start": 0.5},
        }
    )
    mosaic = {"tile_width": ["2"], "contrast": ["lung"], "start": ["0.5"]}
    assert items == [{"root": "other", "series": name, "mosaic": mosaic} for name in "ba"]


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("x.csv", b"series\na\nb\n", ["a", "b"]),
        ("x.csv", "\ufeffseries\r\na\r\n".encode(), ["a"]),
        ("x.csv", b'note,series\n"x, y","b, c"\n,\n\nlast,d', ["b, c", "d"]),
        ("x.txt", "series\nSchädel 1\n".encode(), ["Schädel 1"]),
        ("x.json", b'["a", {"series": "b", "n": 1}, "a", ""]', ["a", "b"]),
        ("x.JSON", '\ufeff["ä"]'.encode(), ["ä"]),
    ],
)
def test_manifests(name: str, content: bytes, names: list[str]) -> None:
    """A CSV with a column `series` or a JSON array, with or without a byte order mark."""
    assert Setting().manifest(name, content) == names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"uid\na\n"),
        ("x.csv", b""),
        ("x.csv", b"series\n"),
        ("x.csv", b"series\n\xff\xfe\n"),
        ("x.csv", b"series\n" + b"x" * 200_000),
        ("x.json", b"{"),
        ("x.json", b'{"series": ["a"]}'),
        ("x.json", b"[7]"),
        ("x.json", b'[{"uid": "a"}]'),
        ("x.json", b'[{"series": 7}]'),
        ("x.json", b"[]"),
        ("x.json", b"null"),
    ],
)
def test_manifests_that_are_none(name: str, content: bytes) -> None:
    """What is no manifest, or names nothing, is the request's fault."""
    with pytest.raises(RequestError):
        Setting().manifest(name, content)


def test_a_prefix() -> None:
    """A prefix names the series that begin so, the empty one all; one that matches none is an error."""
    setting = Setting({**slices("a1"), **slices("a2"), **slices("b")})
    assert setting.names({"prefix": "a"}) == ["a1", "a2"]
    assert Setting().names({"prefix": "", "root": "default"}) == ["a", "b"]
    with pytest.raises(RequestError, match="no series"):
        Setting().names({"prefix": "z"})


def test_a_prefix_where_series_lie_deeper() -> None:
    """Folders above the series' depth are no series."""
    objects = {**slices("p1/t1/s1"), **slices("p1/t1/s2"), **slices("p1/t2/s3"), **slices("p2/t3/s4")}

    def names(prefix: str) -> list[str]:
        return Setting(objects, depth=3).names({"prefix": prefix})

    assert names("") == ["p1/t1/s1", "p1/t1/s2", "p1/t2/s3", "p2/t3/s4"]
    assert names("p1") == ["p1/t1/s1", "p1/t1/s2", "p1/t2/s3"]
    assert names("p1/t1/") == ["p1/t1/s1", "p1/t1/s2"]
    assert names("p1/t1/s2") == ["p1/t1/s2"]


def test_a_rerun_does_again_what_did_not_succeed() -> None:
    """Failed and missing series are done again as they were; when none is left, there is nothing to do."""
    setting = Setting()
    items = [{"root": "other", "series": name, "mosaic": {"stack": ["1"]}} for name in "abc"]
    setting.keep("items.json", items, EARLIER)
    setting.keep("outcomes/aa/1.json", {"series": "a", "status": "ok"}, EARLIER)
    setting.keep("outcomes/bb/2.json", {"series": "b", "status": "failed", "error": "NoImageError"}, EARLIER)
    assert setting.prepare({"rerun": EARLIER}) == items[1:]
    done = Setting()
    done.keep("items.json", items[:1], EARLIER)
    done.keep("outcomes/aa/1.json", {"series": "a", "status": "ok"}, EARLIER)
    with pytest.raises(RequestError, match="no series"):
        done.prepare({"rerun": EARLIER})


def test_items_lie_where_the_map_reads_them() -> None:
    """The key of the items is the whole key in the data bucket."""
    setting = Setting(data="s3://data/below/this")
    batch.submit(ID, {"series": ["a"]}, setting.deployment)
    assert batch.prepare(ID, setting.deployment)["key"] == f"below/this/batches/{ID}/items.json"


# --- one series


def test_an_item_that_succeeds() -> None:
    """Index and mosaic are written; the outcome says where and what it took, and is kept."""
    setting = Setting()
    outcome = setting.run("a", tile_width=["1"], tile_height=["2"], contrast=["lung"])
    assert outcome == setting.outcomes()["a"]
    # One listing, and two slices, whose frames come with their headers.
    assert (outcome["status"], outcome["slices"], outcome["requests"]) == ("ok", 2, 3)
    assert outcome["index_source"] == "built"
    assert setting.data.get(outcome["picture"]).data[8:12] == b"WEBP"
    kept = [info.path.rpartition("/")[2] for info in setting.data.list_objects("indices")]
    assert kept == ["a_index.parquet"]
    assert setting.run("a")["index_source"] == "cache"


def test_a_series_below_another_root() -> None:
    """The item's root is where its series is looked for."""
    setting = Setting()
    assert setting.run("c", "other")["status"] == "ok"
    with pytest.raises(SeriesNotFoundError):
        setting.run("c")


@pytest.mark.parametrize(
    ("series", "root", "mosaic", "error"),
    [
        ("none", "default", {}, "SeriesNotFoundError"),
        ("notes", "default", {}, "NoImageError"),
        ("a", "nowhere", {}, "RequestError"),
        ("a", "default", {"stack": ["7"]}, "RequestError"),
        ("a", "default", {"tile_width": ["0"], "x": ["1"]}, "CombinedRequestError"),
        ("../a", "default", {}, "SeriesNameError"),
        ("s3://archive/a", "default", {}, "SeriesNameError"),
        ("/a", "default", {}, "SeriesNameError"),
        ("", "default", {}, "SeriesNameError"),
    ],
)
def test_an_item_that_fails(series: str, root: str, mosaic: dict[str, list[str]], error: str) -> None:
    """A failure is an outcome too, with kind and reason; what is raised has the type that retries go by."""
    setting = Setting({**slices("a"), "notes/x": b"no DICOM"})
    with pytest.raises(PreviewError) as caught:
        setting.run(series, root, **mosaic)
    assert type(caught.value).__name__ == error
    outcome = setting.outcomes()[series]
    assert (outcome["status"], outcome["error"], outcome["root"]) == ("failed", error, root)
    assert outcome["reason"]
    assert SECRET not in json.dumps(outcome)


def test_a_name_is_never_a_path() -> None:
    """Outcomes and mosaics lie under digests, whatever a series is called."""
    setting = Setting({})
    for name in ("../../x", "a\x00b", "ä" * 500, SECRET):
        with pytest.raises((SeriesNameError, SeriesNotFoundError)):
            setting.run(name)
    paths = [info.path for info in setting.data.list_objects("")]
    assert len(paths) == 4
    assert all(path.startswith(f"batches/{ID}/outcomes/") and path.isascii() for path in paths)
    assert SECRET not in "".join(paths)


def test_a_failure_that_passes_is_overwritten() -> None:
    """The map tries again what may pass, and the last outcome stays."""
    setting = Setting()

    class Throttled(doubles.Wrapper):
        throttled = True

        def list_objects(self, folder: str, most: int | None = None) -> Any:
            if self.throttled:
                raise StorageUnavailableError("s3://archive", "throttled")
            return super().list_objects(folder, most)

    storage = setting.deployment._opened["s3://archive"] = Throttled(setting.root)
    with pytest.raises(StorageUnavailableError):
        setting.run("a")
    assert setting.outcomes()["a"]["status"] == "failed"
    storage.throttled = False
    setting.run("a")
    assert setting.outcomes()["a"]["status"] == "ok"


# --- the summary


def test_summary_of_a_whole_batch() -> None:
    """What was done, what failed and of what, and what has no outcome, all in one Parquet file."""
    setting = Setting()
    setting.prepare({"series": ["a", "b", "none", "never-tried"]})
    for name in ("a", "b"):
        setting.run(name)
    with pytest.raises(SeriesNotFoundError):
        setting.run("none")
    summary = batch.summarise(ID, setting.deployment)
    assert (summary.items, summary.ok, summary.failed, summary.missing) == (4, 2, 1, 1)
    assert (summary.reasons, summary.error) == ({"SeriesNotFoundError": 1}, None)
    outcomes = setting.outcomes()
    assert summary.requests == sum(outcomes[name]["requests"] for name in "ab")
    assert summary.bytes == sum(outcomes[name]["bytes"] for name in "ab") > 0
    rows = pq.read_table(io.BytesIO(setting.data.get(summary.outcomes).data)).to_pylist()
    assert {row["series"]: row["status"] for row in rows} == {
        "a": "ok",
        "b": "ok",
        "none": "failed",
        "never-tried": "missing",
    }
    assert batch.read_summary(ID, setting.deployment) == setting.kept("summary.json")


def test_a_summary_can_be_made_again() -> None:
    """A summary that is retried comes to the same."""
    setting = Setting()
    setting.prepare({"series": ["a"]})
    setting.run("a")
    assert batch.summarise(ID, setting.deployment) == batch.summarise(ID, setting.deployment)


def test_summary_of_a_batch_that_never_had_items() -> None:
    """A batch whose first step failed has a summary that says so."""
    setting = Setting()
    summary = batch.summarise(ID, setting.deployment, "RequestError")
    assert (summary.error, summary.items, summary.ok, summary.missing) == ("RequestError", 0, 0, 0)
    assert pq.read_table(io.BytesIO(setting.data.get(summary.outcomes).data)).num_rows == 0


def test_no_summary_yet() -> None:
    """A batch that is on its way has none."""
    assert batch.read_summary(ID, Setting().deployment) is None
