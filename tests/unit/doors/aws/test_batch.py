from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest

import doubles
import make_dicom
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    CredentialsError,
    IndexBusyError,
    LimitError,
    ObjectChangedError,
    PreviewError,
    RequestError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.doors.aws import batch
from dicom_series_preview.doors.aws.batch import BatchRequest
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.sources.storage.memory import MemoryStorage

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
        self.manifests = MemoryStorage(url="s3://lists")
        opened = {
            "s3://archive": self.root,
            "s3://other": MemoryStorage(slices("c"), url="s3://other"),
            data: self.data,
            "s3://lists": self.manifests,
        }
        self.deployment = Deployment(ROOTS, data, depth, {}, opened)

    def prepare(self, document: Any) -> list[dict[str, Any]]:
        """The items of a request."""
        batch.keep_request(ID, document, self.deployment)
        prepared = batch.prepare(ID, self.deployment)
        items = self.kept("items.json")
        assert prepared["count"] == len(items)
        return items

    def names(self, document: Any) -> list[str]:
        """The series of a request."""
        return [item["series"] for item in self.prepare(document)]

    def manifest(self, name: str, content: bytes) -> list[str]:
        """The series of a manifest."""
        self.manifests.put(f"of/{name}", content)
        return self.names({"manifest": f"s3://lists/of/{name}"})

    def check(self, **document: Any) -> None:
        """Look whether a batch's series can be read."""
        batch.check_source(BatchRequest.from_document(document, ROOTS), self.deployment)

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
        ({"series": ["a", "\ud800x"]}, ["series"]),
        ({"prefix": "\ud800x"}, ["prefix"]),
        ({"manifest": "s3://lists/\ud800.json"}, ["manifest"]),
        ({"prefix": 7}, ["prefix"]),
        ({"prefix": None, "series": ["a"]}, ["prefix"]),
        ({"manifest": "https://x/y.csv"}, ["manifest"]),
        ({"manifest": "s3://x.json"}, ["manifest"]),
        ({"manifest": ""}, ["manifest"]),
        ({"rerun": "today"}, ["rerun"]),
        ({"rerun": f"../{EARLIER}"}, ["rerun"]),
        ({"rerun": EARLIER, "root": "other", "mosaic": {}}, ["mosaic", "root"]),
        ({"rerun": EARLIER, "no_preview": "yes"}, ["no_preview"]),
        ({"series": ["a"], "no_preview": True}, ["no_preview"]),
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


def test_a_request_is_kept_once() -> None:
    """A batch's request is written once and never over another."""
    setting = Setting()
    assert batch.read_request(ID, setting.deployment) is None
    assert batch.keep_request(ID, {"series": ["a"]}, setting.deployment) == {"series": ["a"]}
    assert batch.keep_request(ID, {"series": ["b"]}, setting.deployment) == {"series": ["a"]}
    assert setting.kept("request.json") == batch.read_request(ID, setting.deployment) == {"series": ["a"]}


@pytest.mark.parametrize("identifier", ["", "x", "../x", ID.upper(), ID + "/x", ID[:-1]])
def test_an_identifier_that_is_none(identifier: str) -> None:
    """What is no identifier never becomes part of a path."""
    setting = Setting()
    for use in (batch.prepare, batch.summarise):
        with pytest.raises(RequestError, match="batch"):
            use(identifier, setting.deployment)
    with pytest.raises(RequestError, match="batch"):
        batch.run_item(identifier, {}, setting.deployment)
    with pytest.raises(RequestError, match="batch"):
        batch.give_up(identifier, {"series": "a"}, "States.Timeout", setting.deployment)


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


def test_half_a_character_in_a_manifest_takes_no_other_series_along() -> None:
    """A name with a lone surrogate has no preview; the others have theirs, and the batch its summary."""
    setting = Setting()
    for name in setting.manifest("x.json", b'["a", "\\ud800x", "\\ud83d\\ude00"]'):
        setting.run(name)
    assert [(outcome["series"], outcome["status"]) for outcome in setting.outcomes().values()] == [
        ("a", "ok"),
        ("\ufffdx", "no-preview"),
        ("\N{GRINNING FACE}", "no-preview"),
    ]
    summary = batch.summarise(ID, setting.deployment)
    assert (summary.ok, summary.no_preview, summary.missing) == (1, 2, 0)


def test_half_a_character_in_an_earlier_batch_takes_no_other_series_along() -> None:
    """Lists and requests of batches that were made before such names were refused are done like others."""
    setting = Setting()
    named = ["a", "\ud800x"]
    items = [{"root": "default", "series": name, "mosaic": {}} for name in named]
    expected = [("a", "ok"), ("\ufffdx", "no-preview")]
    # One that was under way, whose map has read its list already.
    setting.keep("items.json", items)
    for item in items:
        batch.run_item(ID, item, setting.deployment)
        outcome = batch.give_up(ID, item, "Sandbox.Timedout", setting.deployment)
        assert (outcome["series"], outcome["status"]) in expected
    assert [(outcome["series"], outcome["status"]) for outcome in setting.outcomes().values()] == expected
    summary = batch.summarise(ID, setting.deployment)
    assert (summary.ok, summary.no_preview, summary.missing) == (1, 1, 0)
    # One that ended with its list, and one that ended before: both are done again.
    for kept in (
        {"request.json": {"series": named}, "items.json": items},
        {"request.json": {"series": named}},
    ):
        setting = Setting()
        for name, document in kept.items():
            setting.keep(name, document, EARLIER)
        setting.check(rerun=EARLIER)
        assert setting.names({"rerun": EARLIER}) == ["a", "\ufffdx"]
    # One that had been asked for, and whose first step comes now.
    setting = Setting()
    setting.keep("request.json", {"series": named})
    assert batch.prepare(ID, setting.deployment)["count"] == 2


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


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.csv", b"uid\na\n", "no CSV with a column series"),
        ("x.csv", b"", "no CSV with a column series|names no series"),
        ("x.csv", b"series\n", "names no series"),
        ("x.csv", b"uid\n" + b"a\n" * 50_000, "no CSV with a column series"),
        ("x.csv", "uid\n".encode("utf-16") + b"a\0" * 50_000, "no CSV with a column series"),
        ("x.json", b'{"series": ["a"]}', "no JSON array"),
        ("x.json", b'{"series": [' + b'"a",' * 50_000, "no JSON array"),
        ("x.json", b"[]", "names no series"),
        ("x.json", b"[" * 50_000, "no JSON array"),
        ("none.csv", None, "cannot be read: not found"),
        ("../x.csv", None, "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused_at_once(
    name: str, content: bytes | None, problem: str
) -> None:
    """What can be seen of a manifest in its first bytes is said before a batch is started."""
    setting = Setting()
    if content is not None:
        setting.manifests.put(name, content)
    with pytest.raises(RequestError, match=problem) as caught:
        setting.check(manifest=f"s3://lists/{name}")
    assert caught.value.parameter == "manifest"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"series\na\n"),
        ("x.csv", "\ufeffnote,series\n".encode() + b"x,a\n" * 50_000),
        # The first bytes end within a letter.
        ("x.csv", b"series,x\n" + "ä".encode() * 100_000),
        ("x.json", b'["a"]'),
        ("x.json", b' [\n"' + b"a" * 100_000 + b'"]'),
    ],
)
def test_a_manifest_is_looked_at_for_one_request(name: str, content: bytes) -> None:
    """A manifest that may be one costs 64 KiB of one GET, however long it is."""
    setting = Setting()
    setting.manifests.put(name, content)
    counted = doubles.CountingStorage(setting.manifests)
    setting.deployment._opened["s3://lists"] = counted
    setting.check(manifest=f"s3://lists/{name}")
    assert len(counted.ranges) == 1
    assert counted.received <= 64 * 1024


class Failing(doubles.Wrapper):
    """A storage that fails with an error as long as it has one, wherever its objects are asked for."""

    error: StorageError | None = None

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    def list_objects(self, folder: str, most: int | None = None) -> Any:
        """`Storage.list_objects`."""
        self._fail()
        return super().list_objects(folder, most)

    def fetch(self, ranges: Any) -> Any:
        """`Storage.fetch`."""
        self._fail()
        return super().fetch(ranges)

    def put(self, path: str, data: bytes, **options: Any) -> str:
        """`Storage.put`."""
        self._fail()
        return super().put(path, data, **options)


def test_a_manifest_that_may_not_be_read_says_what_may() -> None:
    """Where a manifest's bucket is closed to the deployment, the error says which ones are open.

    S3 answers the same for what is not there, to who may not list.
    """
    setting = Setting()
    closed = setting.deployment._opened["s3://lists"] = Failing(setting.manifests)
    closed.error = AccessDeniedError("s3://lists/x.csv")
    said = r"access denied, or it is not there.*manifests/.*below DicomPrefix.*ManifestBucketArns"
    with pytest.raises(RequestError, match=said):
        setting.check(manifest="s3://lists/x.csv")
    closed.error = StorageUnavailableError("s3://lists/x.csv", "throttled")
    with pytest.raises(StorageUnavailableError):
        setting.check(manifest="s3://lists/x.csv")


def test_more_series_than_a_batch_may_have() -> None:
    """A batch that names too many series fails before any is done, and says how many may be."""
    setting = Setting()
    setting.deployment = replace(setting.deployment, batch_series=2)
    assert setting.names({"series": ["a", "b", "b"]}) == ["a", "b"]
    batch.keep_request(EARLIER, {"series": ["a", "b", "c"]}, setting.deployment)
    with pytest.raises(LimitError, match="names 3 series; the limit is 2"):
        batch.prepare(EARLIER, setting.deployment)


def test_why_a_batch_could_not_begin_is_kept() -> None:
    """What stands in the way of a batch's first step is written down for those who ask."""
    setting = Setting()
    batch.keep_request(ID, {"manifest": "s3://lists/gone.csv"}, setting.deployment)
    with pytest.raises(RequestError):
        batch.prepare(ID, setting.deployment)
    assert setting.kept("failure.json") == {
        "error": "RequestError",
        "reason": "manifest: cannot be read: not found",
    }


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


def earlier(setting: Setting, names: str, **statuses: str) -> list[dict[str, Any]]:
    """An earlier batch and its outcomes; its items."""
    items = [{"root": "other", "series": name, "mosaic": {"stack": ["1"]}} for name in names]
    setting.keep("request.json", {"series": list(names), "root": "other", "mosaic": {"stack": 1}}, EARLIER)
    setting.keep("items.json", items, EARLIER)
    for number, (name, status) in enumerate(statuses.items()):
        outcome = {"series": name, "status": status.replace("_", "-"), "error": "NoImageError"}
        setting.keep(f"outcomes/aa/{number}.json", outcome, EARLIER)
    return items


def test_a_rerun_does_again_what_may_come_to_something_else() -> None:
    """What failed or is missing is done again as it was; what has no preview only where that is asked for."""
    setting = Setting()
    items = earlier(setting, "abcd", a="ok", b="no_preview", c="failed")
    assert setting.prepare({"rerun": EARLIER}) == items[2:]
    setting = Setting()
    items = earlier(setting, "abcd", a="ok", b="no_preview", c="failed")
    assert setting.prepare({"rerun": EARLIER, "no_preview": True}) == items[1:]


def test_a_rerun_that_finds_nothing_left_is_done() -> None:
    """When nothing is left, a rerun has no items, and that is no error."""
    setting = Setting()
    earlier(setting, "ab", a="ok", b="no_preview")
    assert setting.prepare({"rerun": EARLIER}) == []


def test_a_rerun_of_a_batch_that_ended_before_it_had_items() -> None:
    """Of a batch that was cancelled before its series were listed, a rerun does all, through reruns too."""
    setting = Setting()
    first = "0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e03"
    setting.keep("request.json", {"series": ["a", "b"], "mosaic": {"stack": 1}}, first)
    setting.keep("request.json", {"rerun": first}, EARLIER)
    assert setting.prepare({"rerun": EARLIER}) == [
        {"root": "default", "series": name, "mosaic": {"stack": ["1"]}} for name in "ab"
    ]


def test_a_rerun_of_no_batch_is_refused_at_once() -> None:
    """There is nothing to do again of a batch that is not there."""
    with pytest.raises(RequestError, match="no such batch") as caught:
        Setting().check(rerun=EARLIER)
    assert caught.value.parameter == "rerun"


def test_items_lie_where_the_map_reads_them() -> None:
    """The key of the items is the whole key in the data bucket."""
    setting = Setting(data="s3://data/below/this")
    batch.keep_request(ID, {"series": ["a"]}, setting.deployment)
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
    assert setting.run("c")["error"] == "SeriesNotFoundError"


@pytest.mark.parametrize(
    ("series", "root", "mosaic", "error"),
    [
        ("none", "default", {}, "SeriesNotFoundError"),
        ("notes", "default", {}, "NoImageError"),
        ("film", "default", {}, "UndecodableError"),
        ("a", "nowhere", {}, "RequestError"),
        ("a", "default", {"stack": ["7"]}, "RequestError"),
        ("a", "default", {"tile_width": ["0"], "x": ["1"]}, "CombinedRequestError"),
        ("a", "default", {"tile_width": ["999"]}, "LimitError"),
        ("../a", "default", {}, "SeriesNameError"),
        ("s3://archive/a", "default", {}, "SeriesNameError"),
        ("/a", "default", {}, "SeriesNameError"),
        ("a\0b", "default", {}, "SeriesNameError"),
        ("", "default", {}, "SeriesNameError"),
    ],
)
def test_a_series_without_a_preview_is_an_outcome(
    series: str, root: str, mosaic: dict[str, list[str]], error: str
) -> None:
    """What another try would not change is an outcome with kind and reason; nothing is raised."""
    film = make_dicom.image(1, PixelData=make_dicom.encapsulate([[b"no film!"]]))
    objects = {"notes/x": b"no DICOM", "film/1.dcm": make_dicom.encode(film, "1.2.840.10008.1.2.4.100")}
    setting = Setting({**slices("a"), **objects})
    outcome = setting.run(series, root, **mosaic)
    assert outcome == setting.outcomes()[series]
    assert (outcome["status"], outcome["error"], outcome["root"]) == ("no-preview", error, root)
    assert outcome["reason"]
    assert SECRET not in json.dumps(outcome)


def failing(setting: Setting, root: str) -> Failing:
    """Let one of the storages fail."""
    storage = setting.deployment._opened[root] = Failing(setting.deployment._opened[root])
    return storage


def test_access_denied_to_a_series_is_an_outcome() -> None:
    """A series that may not be read is one of those without a preview."""
    setting = Setting()
    failing(setting, "s3://archive").error = AccessDeniedError("s3://archive/a")
    outcome = setting.run("a")
    assert (outcome["status"], outcome["error"]) == ("no-preview", "AccessDeniedError")


@pytest.mark.parametrize(
    "error",
    [
        StorageUnavailableError("s3://archive/a", "throttled"),
        ObjectChangedError("s3://archive/a"),
        CredentialsError("s3://archive/a", "expired"),
        IndexBusyError("a", "s3://archive", 5),
    ],
)
def test_what_may_pass_is_raised_and_overwritten(error: PreviewError) -> None:
    """The map hears of what may pass, and tries again; the last outcome stays."""
    setting = Setting()
    storage = failing(setting, "s3://archive")
    storage.error = error
    with pytest.raises(type(error)):
        setting.run("a")
    failed = setting.outcomes()["a"]
    assert (failed["status"], failed["error"]) == ("failed", type(error).__name__)
    storage.error = None
    assert setting.run("a")["status"] == "ok"
    assert setting.outcomes()["a"]["status"] == "ok"


def test_a_data_bucket_that_is_closed_is_no_fault_of_the_series() -> None:
    """What the deployment's own bucket refuses is raised, whatever its kind."""
    setting = Setting()

    class Closed(doubles.Wrapper):
        def put(self, path: str, data: bytes, **options: Any) -> str:
            if path.startswith("indices/"):
                raise AccessDeniedError(f"s3://data/{path}")
            return super().put(path, data, **options)

    setting.deployment._opened["s3://data"] = Closed(setting.data)
    with pytest.raises(AccessDeniedError):
        setting.run("a")
    assert setting.outcomes()["a"]["status"] == "failed"


def test_a_series_that_takes_too_long_fails_and_is_not_tried_again_at_once() -> None:
    """A series for which the time is too short has failed: another time the storage may be faster."""
    setting = Setting()
    item = {"root": "default", "series": "a", "mosaic": {}}
    outcome = batch.run_item(ID, item, setting.deployment, seconds=0.0)
    assert (outcome["status"], outcome["error"]) == ("failed", "LimitError")


def test_what_dies_fails_after_the_last_try() -> None:
    """A function that has died leaves no outcome; the machine has one written that names how it died."""
    setting = Setting()
    item = {"root": "other", "series": SECRET, "mosaic": {}}
    written = batch.give_up(ID, item, "Sandbox.Timedout", setting.deployment)
    assert written == setting.outcomes()[SECRET]
    assert (written["status"], written["error"], written["root"]) == ("failed", "Sandbox.Timedout", "other")
    assert SECRET not in written["reason"]


def test_what_is_known_of_a_failure_stays() -> None:
    """What the last try has written itself says more, and what is settled is never given up."""
    setting = Setting()
    item = {"root": "default", "series": "a", "mosaic": {}}
    storage = failing(setting, "s3://archive")
    storage.error = StorageUnavailableError("s3://archive/a", "throttled")
    with pytest.raises(StorageUnavailableError):
        setting.run("a")
    told = batch.give_up(ID, item, "StorageUnavailableError", setting.deployment)
    assert told["reason"] == "throttled"
    assert batch.give_up(ID, item, "Runtime.ExitError", setting.deployment)["error"] == "Runtime.ExitError"
    storage.error = None
    setting.run("a")
    assert batch.give_up(ID, item, "Lambda.Unknown", setting.deployment)["status"] == "ok"
    assert setting.outcomes()["a"]["status"] == "ok"


def test_a_name_is_never_a_path() -> None:
    """Outcomes and mosaics lie under digests, whatever a series is called."""
    setting = Setting({})
    for name in ("../../x", "a\x00b", "ä" * 500, SECRET):
        assert setting.run(name)["status"] == "no-preview"
    paths = [info.path for info in setting.data.list_objects("")]
    assert len(paths) == 4
    assert all(path.startswith(f"batches/{ID}/outcomes/") and path.isascii() for path in paths)
    assert SECRET not in "".join(paths)


# --- the summary


def test_summary_of_a_whole_batch() -> None:
    """What was done, cannot be, failed and of what, and what has no outcome, all in one Parquet file."""
    setting = Setting()
    setting.prepare({"series": ["a", "b", "none", "never-tried", "died"]})
    for name in ("a", "b", "none"):
        setting.run(name)
    batch.give_up(ID, {"root": "default", "series": "died"}, "Runtime.ExitError", setting.deployment)
    summary = batch.summarise(ID, setting.deployment)
    counts = (summary.items, summary.ok, summary.no_preview, summary.failed, summary.missing)
    assert counts == (5, 2, 1, 1, 1)
    assert summary.reasons == {"Runtime.ExitError": 1, "SeriesNotFoundError": 1}
    assert summary.error is None
    outcomes = setting.outcomes()
    assert summary.requests == sum(outcomes[name]["requests"] for name in "ab")
    assert summary.bytes == sum(outcomes[name]["bytes"] for name in "ab") > 0
    rows = pq.read_table(io.BytesIO(setting.data.get(summary.outcomes).data)).to_pylist()
    assert {row["series"]: row["status"] for row in rows} == {
        "a": "ok",
        "b": "ok",
        "none": "no-preview",
        "never-tried": "missing",
        "died": "failed",
    }
    assert batch.read_summary(ID, setting.deployment) == setting.kept("summary.json")


@pytest.mark.parametrize(
    ("failed", "missing", "tolerated", "error"),
    [
        (0, 0, 0, None),
        (1, 0, 10, None),
        (0, 1, 10, None),
        (1, 1, 10, "TooManyFailed"),
        (2, 0, 19.9, "TooManyFailed"),
        (2, 0, 20, None),
        (1, 0, 0, "TooManyFailed"),
        (5, 5, 100, None),
    ],
)
def test_too_many_failures_fail_the_batch(
    failed: int, missing: int, tolerated: float, error: str | None
) -> None:
    """Failed and missing series beyond what is tolerated fail a batch; those without a preview never do."""
    setting = Setting({})
    names = [f"s{number}" for number in range(10)]
    setting.prepare({"series": names})
    for number, name in enumerate(names[missing:]):
        if number < failed:
            batch.give_up(ID, {"root": "default", "series": name}, "States.Timeout", setting.deployment)
        else:
            setting.run(name)
    summary = batch.summarise(ID, setting.deployment, tolerated_percent=tolerated)
    assert (summary.failed, summary.missing) == (failed, missing)
    assert (summary.error or {"error": None})["error"] == error
    if summary.error is not None:
        assert f"{failed + missing} of 10 series" in summary.error["reason"]


def test_a_summary_can_be_made_again() -> None:
    """A summary that is retried comes to the same."""
    setting = Setting()
    setting.prepare({"series": ["a"]})
    setting.run("a")
    assert batch.summarise(ID, setting.deployment) == batch.summarise(ID, setting.deployment)


def test_summary_of_a_batch_that_never_had_items() -> None:
    """A batch whose first step failed has a summary that says so, and why."""
    setting = Setting()
    batch.keep_request(ID, {"prefix": "z"}, setting.deployment)
    with pytest.raises(RequestError):
        batch.prepare(ID, setting.deployment)
    summary = batch.summarise(ID, setting.deployment, "RequestError")
    assert summary.error == {"error": "RequestError", "reason": "body: the batch names no series"}
    assert (summary.items, summary.ok, summary.missing) == (0, 0, 0)
    assert pq.read_table(io.BytesIO(setting.data.get(summary.outcomes).data)).num_rows == 0
    died = batch.summarise(ID, setting.deployment, "Sandbox.Timedout").error
    assert died == {"error": "Sandbox.Timedout", "reason": "a step of the batch ended with Sandbox.Timedout"}


def test_counts_so_far() -> None:
    """While a batch runs, its outcomes are counted as far as that is cheap."""
    setting = Setting()
    assert batch.counts_so_far(ID, setting.deployment) == batch.Counts(0, 0, 0, {})
    setting.run("a")
    setting.run("none")
    assert batch.counts_so_far(ID, setting.deployment) == batch.Counts(1, 1, 0, {"SeriesNotFoundError": 1})
    for number in range(1000):
        setting.keep(f"outcomes/zz/{number}.json", {})
    counted = doubles.CountingStorage(setting.data)
    setting.deployment._opened["s3://data"] = counted
    assert batch.counts_so_far(ID, setting.deployment) is None
    assert len(counted.ranges) == 0


def test_no_summary_yet() -> None:
    """A batch that is on its way has none."""
    assert batch.read_summary(ID, Setting().deployment) is None
