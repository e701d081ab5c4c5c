from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest

import doubles
import make_dicom
from dicom_series_preview.aws.environment import Deployment
from dicom_series_preview.aws.updates import TouchedObject, series_of, touched_objects, update_indices
from dicom_series_preview.errors import AccessDeniedError, StorageError, StorageUnavailableError
from dicom_series_preview.index import Index
from dicom_series_preview.names import SeriesName, index_folder
from dicom_series_preview.requests import IndexRequest
from dicom_series_preview.settings import DEFAULT_ROOT
from dicom_series_preview.storage import MemoryStorage

SECRET = "Zwiebelfisch^Leonora"


class Setting:
    """A deployment over storages of the test's own.

    Args:
        roots: By alias, a root's URL.
        depth: How deep series lie.
    """

    def __init__(self, roots: dict[str, str] | None = None, depth: int = 1, wrap: Any = None) -> None:
        roots = roots or {"default": "s3://archive"}
        self.memory = {alias: MemoryStorage(url=url) for alias, url in roots.items()}
        wrap = wrap or (lambda storage: storage)
        self.storages = {
            alias: doubles.CountingStorage(wrap(memory)) for alias, memory in self.memory.items()
        }
        self.data = MemoryStorage(url="s3://data")
        opened = {url: self.storages[alias] for alias, url in roots.items()}
        self.deployment = Deployment(roots, "s3://data", depth, {}, {**opened, "s3://data": self.data})

    def put(self, *paths: str, alias: str = "default") -> None:
        """Write a slice at each path."""
        for path in paths:
            number = 1 + len(self.memory[alias].list_objects(""))
            self.memory[alias].put(path, make_dicom.encode(make_dicom.image(number, PatientName=SECRET)))

    def update(self, *bodies: Any) -> Any:
        """Handle messages `0`, `1` and so on, counting from nothing."""
        for storage in self.storages.values():
            storage.reset()
        texts = {str(i): body if isinstance(body, str) else json.dumps(body) for i, body in enumerate(bodies)}
        return update_indices(texts, self.deployment)

    def indices(self) -> dict[str, list[str]]:
        """What each index has: by series, below `indices` and any other root's alias than `default`."""
        folders = {
            index_folder(url): "indices" if alias == "default" else f"indices/{alias}"
            for alias, url in self.deployment.roots.items()
        }
        return {
            _replaced(info.path.removesuffix("_index.parquet"), folders): sorted(
                Index.from_parquet(self.data.get(info.path).data).table["FileName"].to_pylist()
            )
            for info in self.data.list_objects("")
        }


def _replaced(path: str, folders: dict[str, str]) -> str:
    """The path with its root's folder replaced."""
    (folder,) = (folder for folder in folders if path.startswith(f"{folder}/"))
    return path.replace(folder, folders[folder], 1)


def notification(*keys: str, bucket: str = "archive", encode: bool = True) -> dict[str, Any]:
    """S3's notification of objects."""
    return {
        "Records": [
            {
                "s3": {
                    "bucket": {"name": bucket},
                    "object": {"key": quote_plus(key, safe="/") if encode else key},
                }
            }
            for key in keys
        ]
    }


def bridged(key: str, bucket: str = "archive") -> dict[str, Any]:
    """S3's event on EventBridge."""
    return {"detail": {"bucket": {"name": bucket}, "object": {"key": key}}}


# --- which objects


def test_keys_are_decoded_where_they_are_encoded() -> None:
    """Keys of notifications are form-encoded, those of EventBridge are as they are."""
    key = "a b+c/ä%2F&.dcm"
    assert list(touched_objects(json.dumps(notification(key)))) == [TouchedObject("archive", key)]
    assert list(touched_objects(json.dumps(bridged(key)))) == [TouchedObject("archive", key)]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "null",
        "7",
        '"text"',
        "[]",
        "{}",
        '{"Records": null}',
        '{"Records": [7]}',
        '{"Records": [{}]}',
        '{"Records": [{"s3": {"bucket": {"name": "archive"}, "object": {}}}]}',
        '{"Records": [{"s3": {"bucket": {"name": "archive"}, "object": {"key": 7}}}]}',
        '{"detail": {}}',
        '{"detail": null}',
        '{"detail": {"bucket": {"name": "archive"}, "object": {"key": 7}}}',
        '{"detail": {"bucket": {"name": ["archive"]}, "object": {"key": "s/1"}}}',
        pytest.param("[" * 100_000, id="deep"),
    ],
)
def test_poison_fails_alone(body: str, caplog: pytest.LogCaptureFixture) -> None:
    """A message that is no S3 event is handed back; the others are done, and the log has no content."""
    setting = Setting()
    setting.put("s/1.dcm")
    with caplog.at_level(logging.DEBUG):
        summary = setting.update(notification("s/1.dcm"), body, notification("s/1.dcm"))
    assert summary.response() == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert (summary.updated, summary.failed) == (1, 0)
    assert "archive" not in caplog.text


def test_a_message_whose_second_record_is_poison_is_done_as_far_as_it_goes() -> None:
    """The good record's series is updated, and the message is handed back once."""
    setting = Setting()
    setting.put("s/1.dcm")
    message = notification("s/1.dcm")
    message["Records"].append({"s3": None})
    summary = setting.update(message)
    assert summary.response() == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert setting.indices() == {"indices/s": ["1.dcm"]}


def test_an_empty_batch() -> None:
    """Nothing to do is done."""
    assert Setting().update().response() == {"batchItemFailures": []}
    assert Setting().update({"Records": []}, {"Event": "s3:TestEvent"}).response() == {
        "batchItemFailures": []
    }


# --- which series


@pytest.mark.parametrize(
    ("key", "depth", "series"),
    [
        ("s/1.dcm", 1, ["s"]),
        ("s/deeper/1.dcm", 1, ["s"]),
        ("1.dcm", 1, []),
        ("p/t/s/1.dcm", 3, ["p/t/s"]),
        ("p/t/s/deeper/1.dcm", 3, ["p/t/s"]),
        ("p/t/1.dcm", 3, []),
        ("s/", 1, ["s"]),
        ("/1.dcm", 1, []),
        ("/s/1.dcm", 1, []),
        ("p//1.dcm", 2, []),
        ("../1.dcm", 1, []),
        ("./1.dcm", 1, []),
        ("", 1, []),
    ],
)
def test_the_series_of_a_key(key: str, depth: int, series: list[str]) -> None:
    """A series is a key's first folders, as many as series lie deep; an object above them belongs to none."""
    deployment = Setting(depth=depth).deployment
    assert [name for _, name in series_of(TouchedObject("archive", key), deployment)] == series


def test_the_roots_of_a_key() -> None:
    """A key belongs to the roots whose bucket and prefix it has; prefixes end where a folder does."""
    roots = {
        "default": "s3://archive/ct",
        "all": "s3://archive",
        "mr": "s3://archive/mr",
        "web": "https://archive/ct",
        "other": "s3://other/ct",
    }
    deployment = Deployment(roots, "s3://data")

    def places(bucket: str, key: str) -> list[tuple[str, str]]:
        return list(series_of(TouchedObject(bucket, key), deployment))

    assert places("archive", "ct/s/1.dcm") == [("default", "s"), ("all", "ct")]
    assert places("archive", "ct2/s/1.dcm") == [("all", "ct2")]
    assert places("other", "ct/s/1.dcm") == [("other", "s")]
    assert places("other", "s/1.dcm") == []
    assert places("Archive", "ct/s/1.dcm") == []


def test_overlapping_roots_are_all_brought_up_to_date() -> None:
    """An object below two roots updates the index of its series in each."""
    setting = Setting({"default": "s3://archive/ct", "all": "s3://archive"})
    setting.put("s/1.dcm")
    setting.put("ct/s/1.dcm", alias="all")
    summary = setting.update(notification("ct/s/1.dcm"))
    assert summary.updated == 2
    assert setting.indices() == {"indices/s": ["1.dcm"], "indices/all/ct": ["s/1.dcm"]}


# --- what is done


def test_ten_thousand_records_of_a_series_are_one_update() -> None:
    """However many events there are, a series is listed once, and only what is new is read."""
    setting = Setting()
    names = [f"s/{i}.dcm" for i in range(60)]
    setting.put(*names[:40])
    assert setting.update(notification(names[0])).updated == 1
    setting.put(*names[40:])
    keys = [name for name in names for _ in range(167)][:10_000]
    summary = setting.update(*(notification(*keys[i : i + 10]) for i in range(0, len(keys), 10)))
    assert (summary.updated, summary.response()) == (1, {"batchItemFailures": []})
    storage = setting.storages["default"]
    assert storage.lists == 1
    assert sorted(item.path for item in storage.ranges) == sorted(names[40:])
    assert len(setting.indices()["indices/s"]) == 60


def test_a_batch_with_nothing_new_reads_nothing() -> None:
    """Events that come again cost a listing and no header."""
    setting = Setting()
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    summary = setting.update(notification("s/1.dcm"), bridged("s/1.dcm"))
    assert (summary.updated, summary.unchanged) == (0, 1)
    assert (setting.storages["default"].lists, setting.storages["default"].ranges) == (1, [])


def test_events_in_any_order_come_to_the_same() -> None:
    """The index is of what is there, whichever event says what first."""
    ends = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2, 1)):
        setting = Setting()
        setting.put("s/1.dcm", "s/2.dcm")
        messages = [notification("s/1.dcm"), notification("s/2.dcm"), notification("s/gone.dcm")]
        assert setting.update(*(messages[i] for i in order)).updated == 1
        ends.append(setting.indices())
    assert ends == [{"indices/s": ["1.dcm", "2.dcm"]}] * 3


def test_a_removed_object_leaves_the_index() -> None:
    """The others stay, and none of them is read again."""
    setting = Setting()
    setting.put("s/1.dcm", "s/2.dcm")
    setting.update(notification("s/1.dcm"))
    setting.memory["default"].delete("s/1.dcm")
    assert setting.update(notification("s/1.dcm")).updated == 1
    assert setting.indices() == {"indices/s": ["2.dcm"]}
    assert setting.storages["default"].ranges == []


@pytest.mark.parametrize("left", [[], ["s/notes.txt"], ["s/notes"]])
def test_the_index_of_a_series_that_has_gone_is_forgotten(left: list[str]) -> None:
    """A series of which no DICOM object is left keeps no index."""
    setting = Setting()
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    setting.memory["default"].delete("s/1.dcm")
    for path in left:
        setting.memory["default"].put(path, b"no DICOM")
    summary = setting.update(notification("s/1.dcm"))
    assert (summary.removed, summary.response()) == (1, {"batchItemFailures": []})
    assert setting.indices() == {}
    assert setting.update(notification("s/1.dcm")).removed == 1


FORMER = [("default", "indices/s_index.parquet"), ("other", "indices/other/s_index.parquet")]


@pytest.mark.parametrize(("alias", "former"), FORMER)
def test_what_an_earlier_version_kept_of_a_series_goes_with_it(alias: str, former: str) -> None:
    """A series that has gone leaves no index where an earlier version of the product kept them, by alias."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.put("s/1.dcm", alias=alias)
    event = notification("s/1.dcm", bucket=setting.deployment.roots[alias].removeprefix("s3://"))
    setting.update(event)
    (kept,) = setting.data.list_objects("")
    setting.data.put(former, setting.data.get(kept.path).data)
    setting.memory[alias].delete("s/1.dcm")
    assert setting.update(event).removed == 1
    assert setting.data.list_objects("") == []


@pytest.mark.parametrize(("alias", "former"), FORMER)
def test_what_lies_at_a_former_place_is_not_served(alias: str, former: str) -> None:
    """An index that an earlier version has left is not read any more: the series' index is built anew."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.data.put(former, b"of the first version")
    setting.put("s/1.dcm", alias=alias)
    request = IndexRequest(SeriesName("s"))
    assert setting.deployment.service(alias).index(request).source == "built"
    assert setting.data.get(former).data == b"of the first version"


def test_another_roots_index_at_a_former_place_stays() -> None:
    """Where a series' index lay earlier there may be another root's now, which is not touched."""
    setting = Setting({"default": "s3://archive", "idc": DEFAULT_ROOT})
    setting.put("s/1.dcm")
    setting.put("s/1.dcm", alias="idc")
    setting.update(notification("s/1.dcm"))
    setting.deployment.service("idc").index(IndexRequest(SeriesName("s")))
    assert "indices/s_index.parquet" in {info.path for info in setting.data.list_objects("")}
    setting.memory["default"].delete("s/1.dcm")
    assert setting.update(notification("s/1.dcm")).removed == 1
    assert [info.path for info in setting.data.list_objects("")] == ["indices/s_index.parquet"]


def test_a_deployment_that_gets_another_root_keeps_the_roots_apart() -> None:
    """Series of one name below the root that a deployment had and the one that it has now share no index."""
    setting = Setting({"default": "s3://archive", "former": "s3://former"})
    setting.put("s/1.dcm")
    setting.put("s/2.dcm", "s/3.dcm", alias="former")
    before = Deployment({"default": "s3://former"}, "s3://data", 1, {}, dict(setting.deployment._opened))
    request = IndexRequest(SeriesName("s"))
    sources = [
        deployment.service("default").index(request).source
        for deployment in (before, setting.deployment, before, setting.deployment)
    ]
    assert sources == ["built", "built", "cache", "cache"]


def test_several_series_and_roots_in_a_batch() -> None:
    """Each series is updated once, and one that fails takes along only its own messages."""

    class Closed(doubles.Wrapper):
        def list_objects(self, folder: str, most: int | None = None) -> Any:
            if folder == "closed":
                raise AccessDeniedError("s3://archive/closed")
            return super().list_objects(folder, most)

    setting = Setting({"default": "s3://archive", "other": "s3://other"}, wrap=Closed)
    setting.put("a/1.dcm", "b/1.dcm", "closed/1.dcm")
    setting.put("a/1.dcm", alias="other")
    summary = setting.update(
        notification("a/1.dcm", "b/1.dcm"),
        notification("closed/1.dcm"),
        notification("a/1.dcm", bucket="other"),
        notification("b/1.dcm", "closed/1.dcm", "closed/2.dcm"),
    )
    assert summary.response() == {"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "3"}]}
    assert (summary.updated, summary.failed, dict(summary.failures)) == (3, 1, {"AccessDeniedError": 1})
    assert set(setting.indices()) == {"indices/a", "indices/b", "indices/other/a"}


@pytest.mark.parametrize("error", [StorageUnavailableError("x", "throttled"), StorageError("x", "broken")])
def test_a_failing_storage_fails_the_series_messages_and_keeps_its_index(error: StorageError) -> None:
    """What the storage withholds may come later: the messages are handed back, the index stays."""

    class Failing(doubles.Wrapper):
        fails = False

        def list_objects(self, folder: str, most: int | None = None) -> Any:
            if self.fails:
                raise error
            return super().list_objects(folder, most)

    made: list[Failing] = []
    setting = Setting(wrap=lambda storage: made.append(Failing(storage)) or made[0])
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    made[0].fails = True
    summary = setting.update(notification("s/1.dcm"), notification("s/1.dcm"))
    assert {item["itemIdentifier"] for item in summary.response()["batchItemFailures"]} == {"0", "1"}
    assert setting.indices() == {"indices/s": ["1.dcm"]}


def test_headers_that_cannot_be_read_fail_the_messages() -> None:
    """Throttling while headers are read is a failure of the series, not an index without them."""

    class Throttled(doubles.Wrapper):
        def fetch(self, ranges: Any) -> Any:
            for fetched in super().fetch(ranges):
                yield replace(fetched, data=b"", error=StorageUnavailableError("x", "throttled"))

    setting = Setting(wrap=Throttled)
    setting.put("s/1.dcm")
    assert setting.update(notification("s/1.dcm")).response()["batchItemFailures"]
    assert setting.indices() == {}


def test_an_update_does_not_wait_for_a_claim() -> None:
    """A request that is building the index turns no update away: the conditional write keeps them apart."""
    setting = Setting()
    setting.put("s/1.dcm")
    with setting.deployment.service("default").cache.claim("s", "s3://archive", 4e9):
        assert setting.update(notification("s/1.dcm")).updated == 1


def test_an_update_that_is_raced_survives() -> None:
    """An index that someone else writes meanwhile is updated from what was written."""
    setting = Setting()
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    setting.put("s/2.dcm")
    plain = Deployment(setting.deployment.roots, "s3://data", 1, {}, dict(setting.deployment._opened))
    raced: list[str] = []

    class Raced(doubles.Wrapper):
        def put(self, path: str, data: bytes, *, if_version: str | None = None) -> str:
            if not raced:
                raced.append(path)
                setting.put("s/3.dcm")
                assert update_indices({"x": json.dumps(notification("s/3.dcm"))}, plain).updated == 1
            return super().put(path, data, if_version=if_version)

    setting.deployment._opened["s3://data"] = Raced(setting.data)
    assert setting.update(notification("s/2.dcm")).response() == {"batchItemFailures": []}
    assert setting.indices() == {"indices/s": ["1.dcm", "2.dcm", "3.dcm"]}
