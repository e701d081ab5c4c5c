from __future__ import annotations

import json
import logging
import random
import re
import time
from collections import Counter
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest

import doubles
import make_dicom
from dicom_series_preview.archive.index.read import Index
from dicom_series_preview.archive.names import NAME_BYTES, SeriesName, index_folder, index_path
from dicom_series_preview.archive.open import LEASE_S, SeriesIndexer
from dicom_series_preview.base.errors import AccessDeniedError, StorageError, StorageUnavailableError
from dicom_series_preview.base.settings import DEFAULT_ROOT, Limits
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.queue_messages import TouchedObject, series_of, touched_objects
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.doors.aws.updates import (
    LATER_S,
    RESERVE_S,
    SERIES_S,
    SWEEP_S,
    update_indices,
)
from dicom_series_preview.products.batches.item import run_item
from dicom_series_preview.products.batches.places import mosaics_folder
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.messages import HttpRequest

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
        self.queue = Sent()
        opened = {url: self.storages[alias] for alias, url in roots.items()}
        self.deployment = Deployment(
            roots, "s3://data", depth, {}, {**opened, "s3://data": self.data}, queue=self.queue
        )
        self.time_left_s = lambda: 300.0

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
        return update_indices(texts, self.deployment, self.time_left_s, self.queue)

    def update_again(self) -> Any:
        """Handle the rechecks that have been sent, all in one batch."""
        sent, self.queue.sent = self.queue.sent, []
        return self.update(*(recheck.body() for recheck, _ in sent))

    def update_at_once(self) -> None:
        """Handle the rechecks that come at once, and those that they bring; later ones stay."""
        while at_once := [sent for sent in self.queue.sent if not sent[1]]:
            later = [sent for sent in self.queue.sent if sent[1]]
            self.queue.sent = at_once
            self.update_again()
            self.queue.sent += later

    def kept(self, below: str = "") -> list[str]:
        """What the data bucket holds."""
        return [info.path for info in self.data.list_objects(below)]

    def index(self, series: str = "s") -> Index:
        """A series' index."""
        return Index.from_parquet(self.data.get(place(series)).data)

    def indices(self) -> dict[str, list[str]]:
        """What each index has: by series, below `indices` and any other root's alias than `default`."""
        folders = {
            index_folder(url): "indices" if alias == "default" else f"indices/{alias}"
            for alias, url in self.deployment.roots.items()
        }
        return {
            _replaced(path.removesuffix("_index.parquet"), folders): sorted(
                Index.from_parquet(self.data.get(path).data).table["FileName"].to_pylist()
            )
            for path in self.kept()
            if path.endswith("_index.parquet")
        }


def place(series: str) -> str:
    """Where the index of a series of the default root lies."""
    return index_path(series, index_folder("s3://archive"))


def _replaced(path: str, folders: dict[str, str]) -> str:
    """The path with its root's folder replaced."""
    (folder,) = (folder for folder in folders if path.startswith(f"{folder}/"))
    return path.replace(folder, folders[folder], 1)


class Sent:
    """A queue that notes what it is sent.

    Attributes:
        sent: Rechecks, and after how many seconds they come.
        fails: It takes none.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[Recheck, int]] = []
        self.fails = False

    def send(self, rechecks: Any) -> list[Recheck]:
        """`Queue.send`."""
        if self.fails:
            return [recheck for recheck, _ in rechecks]
        self.sent += rechecks
        return []


def notification(
    *keys: str, bucket: str = "archive", encode: bool = True, name: str = "ObjectCreated:Put"
) -> dict[str, Any]:
    """S3's notification of objects."""
    return {
        "Records": [
            {
                "eventName": name,
                "s3": {
                    "bucket": {"name": bucket},
                    "object": {"key": quote_plus(key, safe="/") if encode else key},
                },
            }
            for key in keys
        ]
    }


def bridged(key: str, bucket: str = "archive", kind: str = "Object Created") -> dict[str, Any]:
    """S3's event on EventBridge."""
    return {"detail-type": kind, "detail": {"bucket": {"name": bucket}, "object": {"key": key}}}


# --- which objects


def test_keys_are_decoded_where_they_are_encoded() -> None:
    """Keys of notifications are form-encoded, those of EventBridge are as they are."""
    key = "a b+c/ä%2F&.dcm"
    assert list(touched_objects(notification(key))) == [TouchedObject("archive", key)]
    assert list(touched_objects(bridged(key))) == [TouchedObject("archive", key)]


def test_removals_are_told_from_arrivals() -> None:
    """In both kinds of event: what was deleted, hidden by a marker, or removed by a lifecycle rule."""
    names = ("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "LifecycleExpiration:Delete")
    events = [notification("s/1", name=name) for name in names] + [bridged("s/1", kind="Object Deleted")]
    assert [list(touched_objects(event)) for event in events] == [
        [TouchedObject("archive", "s/1", removed=True)]
    ] * 4


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
    said = [f"{record.getMessage()} {record.exc_text}" for record in caplog.records]
    assert not [text for text in said if "archive" in text]


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


@pytest.mark.parametrize("name", ["a\x7fb", "a\x01b", "a*b", "L" * 985, "é" * 451, "a\x7fb/s"])
@pytest.mark.parametrize("event", [notification, bridged])
def test_a_folder_that_nobody_can_ask_for_is_ignored(event: Any, name: str) -> None:
    """Its objects are counted, its messages are done, and nothing is kept of it, whether they come or go."""
    setting = Setting(depth=name.count("/") + 1)
    for removed in (False, True):
        kinds = ("ObjectRemoved:Delete", "Object Deleted") if removed else ("ObjectCreated:Put", "")
        kind = {"name": kinds[0]} if event is notification else {"kind": kinds[1]}
        summary = setting.update(event(f"{name}/1.dcm", **kind))
        assert (summary.ignored, summary.failed_messages) == (1, set())
        assert (setting.kept(), setting.queue.sent, setting.storages["default"].lists) == ([], [], 0)


def test_the_longest_key_that_is_kept_fits() -> None:
    """Below a root's own folder, what was read in part of the series of the longest name has such a key."""
    keys = [index_path("L" * NAME_BYTES, index_folder("s3://archive")) + end for end in (".partial", ".lock")]
    assert max(len(key) for key in keys) <= 1024


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


def test_a_copy_that_was_handed_out_outlives_no_object() -> None:
    """The copy of an index that a link led to goes with the pictures when an object goes.

    A request that was under way may write one after that: it goes a quarter of an hour later.
    """
    setting = Setting()
    setting.put("s/1.dcm", "s/2.dcm")
    setting.update(notification("s/1.dcm"))
    setting.deployment._opened["s3://data"] = Linking(setting.data)
    api = replace(setting.deployment.api(), answer_limit_bytes=1000)
    assert api.index(HttpRequest("s", {"format": ["parquet"]})).status == 303
    (copy,) = setting.kept("renders")
    assert re.fullmatch(r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.parquet", copy)
    late = setting.data.get(copy).data
    assert sorted(Index.from_parquet(late).table["FileName"].to_pylist()) == ["1.dcm", "2.dcm"]
    setting.memory["default"].delete("s/1.dcm")
    setting.update(notification("s/1.dcm", name="ObjectRemoved:Delete"))
    assert setting.kept() == [place("s")]
    setting.data.put(copy, late)
    setting.update_again()
    assert (setting.kept(), setting.queue.sent) == ([place("s")], [])


class Linking(doubles.Wrapper):
    """A storage that makes links."""

    def link(self, path: str, expires_s: int) -> str | None:
        """A link that nobody follows."""
        return f"https://data.example.org/{path}?expires={expires_s}"


@pytest.mark.parametrize("left", [[], ["s/notes.txt"], ["s/notes"]])
def test_the_index_of_a_series_that_has_gone_is_forgotten(left: list[str]) -> None:
    """A series of which no DICOM object is left keeps no index."""
    setting = Setting()
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    setting.memory["default"].delete("s/1.dcm")
    for path in left:
        setting.memory["default"].put(path, b"no DICOM")
    for _ in range(2):
        summary = setting.update(notification("s/1.dcm"))
        assert (summary.removed, summary.without_image) == ((0, 1) if left else (1, 0))
        assert summary.response() == {"batchItemFailures": []}
        assert setting.indices() == {}


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


# --- one updater a series


def test_a_series_that_someone_else_updates_is_left_to_them() -> None:
    """Its messages are done, nothing of it is listed or read, and one recheck looks at it later."""
    setting = Setting()
    setting.put("s/1.dcm")
    with setting.deployment.service("default").cache.claim("s", "s3://archive", time.time()):
        summary = setting.update(notification("s/1.dcm"), notification("s/1.dcm"))
        assert (summary.busy, summary.response()) == (1, {"batchItemFailures": []})
        assert setting.storages["default"].lists == 0
        assert setting.queue.sent == [(Recheck("default", "s"), LATER_S)]
        assert setting.update_again().busy == 1
    assert setting.update_again().updated == 1
    assert setting.queue.sent == []
    assert setting.kept() == [place("s")]


def test_the_claim_of_a_dead_updater_ends() -> None:
    """When its lease has run out the next one takes it."""
    setting = Setting()
    setting.put("s/1.dcm")
    claim = setting.deployment.service("default").cache.claim("s", "s3://archive", time.time() - 2 * LEASE_S)
    claim.__enter__()
    assert setting.update(notification("s/1.dcm")).updated == 1
    assert setting.kept() == [place("s")]


def test_what_cannot_be_rechecked_is_handed_back() -> None:
    """Where the queue takes no recheck, the messages themselves come again."""
    setting = Setting()
    setting.put("s/1.dcm", "t/1.dcm")
    setting.queue.fails = True
    with setting.deployment.service("default").cache.claim("s", "s3://archive", time.time()):
        summary = setting.update(notification("s/1.dcm"), notification("t/1.dcm"), notification("s/2.dcm"))
    assert {item["itemIdentifier"] for item in summary.response()["batchItemFailures"]} == {"0", "2"}
    assert (summary.busy, summary.updated) == (1, 1)


def test_an_update_that_is_raced_survives() -> None:
    """An index that someone else writes meanwhile stays; what was read is kept, and added by a recheck."""
    setting = Setting()
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    setting.put("s/2.dcm")
    raced: list[str] = []

    class Raced(doubles.Wrapper):
        def put(self, path: str, data: bytes, **options: Any) -> str:
            if path.endswith(".parquet") and not raced:
                raced.append(path)
                setting.put("s/3.dcm")
                service = setting.deployment.service("default")
                SeriesIndexer(service.storage, service.cache, Limits()).open(SeriesName("s"))
            return super().put(path, data, **options)

    setting.deployment._opened["s3://data"] = Raced(setting.data)
    assert setting.update(notification("s/2.dcm")).busy == 1
    assert setting.indices() == {"indices/s": ["1.dcm", "2.dcm", "3.dcm"]}
    assert setting.update_again().unchanged == 1
    assert setting.kept() == [place("s")]


def test_a_late_reader_takes_nothing_back() -> None:
    """Who has listed a series before others came and were indexed does not write an index without them."""
    setting = Setting()
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    setting.memory["default"].delete("s/1.dcm")
    setting.put("s/2.dcm")

    class Late(doubles.Wrapper):
        came = False

        def list_objects(self, folder: str, most: int | None = None) -> Any:
            listing = super().list_objects(folder, most)
            if not self.came:
                self.came = True
                setting.put("s/3.dcm")
                assert setting.update(notification("s/3.dcm")).updated == 1
            return listing

    late = SeriesIndexer(
        Late(setting.memory["default"]), setting.deployment.service("default").cache, Limits()
    )
    late.open(SeriesName("s"))
    assert setting.indices() == {"indices/s": ["2.dcm", "3.dcm"]}


def test_rechecks_of_a_series_are_one() -> None:
    """However many come, the series is listed once; one of a root that has gone since is ignored."""
    setting = Setting()
    setting.put("s/1.dcm")
    summary = setting.update(
        Recheck("default", "s").body(), Recheck("gone", "s").body(), Recheck("default", "s").body()
    )
    assert (summary.updated, summary.ignored, setting.storages["default"].lists) == (1, 1, 1)
    assert summary.response() == {"batchItemFailures": []}


# --- time


class Clock:
    """The time that is left; reading an object that is named takes some of it.

    Attributes:
        left_s: Seconds.
    """

    def __init__(self, left_s: float = 300.0) -> None:
        self.left_s = left_s

    def __call__(self) -> float:
        """Seconds that are left."""
        return self.left_s

    def taking(self, cost_s: dict[str, float]) -> Any:
        """A storage whose objects take so long to read, by the folder they lie in."""
        clock = self

        class Slow(doubles.Wrapper):
            def fetch(self, ranges: Any) -> Any:
                for fetched in super().fetch(ranges):
                    clock.left_s -= cost_s.get(fetched.range.path.partition("/")[0], 0.0)
                    yield fetched

        return Slow


def test_a_series_that_takes_long_takes_nobody_along() -> None:
    """Of 1,000 messages with one bomb, the 999 others are done by the first call or the next; none fails."""
    clock = Clock()
    setting = Setting(wrap=clock.taking({"bomb": 3.0}))
    setting.time_left_s = clock
    bomb = [f"bomb/{i}.dcm" for i in range(115)]
    others = [f"other{i // 9}/{i % 9}.dcm" for i in range(999)]
    slices = [make_dicom.encode(make_dicom.image(i + 1)) for i in range(115)]
    for path in (*bomb, *others):
        number = int(path.partition("/")[2].removesuffix(".dcm"))
        setting.memory["default"].put(path, slices[number])
    read: Counter[str] = Counter()
    calls = 0
    summary = setting.update(notification(*bomb), *(notification(path) for path in others))
    while True:
        calls += 1
        assert summary.response() == {"batchItemFailures": []}
        assert clock.left_s > 0
        read.update(item.path for item in setting.storages["default"].ranges)
        if calls == 2:
            assert {f"indices/other{i}" for i in range(111)} <= set(setting.indices())
        if not setting.queue.sent:
            break
        clock.left_s = 300.0
        summary = setting.update_again()
    assert setting.indices()["indices/bomb"] == sorted(path.removeprefix("bomb/") for path in bomb)
    assert [path for path in setting.kept() if not path.endswith("_index.parquet")] == []
    # What was under way when the time was up is asked for again, and nothing else.
    assert {read[path] for path in others} == {1}
    assert sum(read[path] for path in bomb) <= len(bomb) + 64 * (calls - 1)


def test_what_has_been_read_is_kept_until_all_is() -> None:
    """A part is never an index: it lies beside, is gone on with, and goes when the index is whole."""
    clock = Clock()
    setting = Setting(wrap=clock.taking({"s": 50.0}))
    setting.time_left_s = clock
    setting.put(*(f"s/{i}.dcm" for i in range(12)))
    summary = setting.update(notification("s/1.dcm"))
    assert (summary.unfinished, summary.updated) == (1, 0)
    assert setting.kept() == [place("s") + ".partial"]
    ((recheck, delay_s),) = setting.queue.sent
    assert (recheck.seconds, delay_s) == (300.0, LATER_S)
    first = len(setting.storages["default"].ranges)
    clock.left_s = 1e9
    assert setting.update_again().updated == 1
    assert len(setting.storages["default"].ranges) == 12 - first
    assert setting.kept() == [place("s")]
    assert len(setting.index().table) == 12


def test_an_earlier_index_serves_until_the_next_is_whole() -> None:
    """What is unfinished does not touch the index that is there."""
    clock = Clock()
    setting = Setting(wrap=clock.taking({"s": 100.0}))
    setting.time_left_s = clock
    setting.put("s/0.dcm")
    setting.update(notification("s/0.dcm"))
    setting.put(*(f"s/{i}.dcm" for i in range(1, 9)))
    clock.left_s = 300.0
    assert setting.update(notification("s/1.dcm")).unfinished == 1
    assert setting.indices() == {"indices/s": ["0.dcm"]}


def test_a_series_that_takes_too_long_is_given_up() -> None:
    """Past the limit its other objects are noted as not read, and are not tried again until they change."""
    setting = Setting()
    setting.put("s/1.dcm", "s/2.dcm")
    setting.update(notification("s/1.dcm"))
    setting.put("s/3.dcm")
    clock = Clock(2 * RESERVE_S)
    setting.time_left_s = clock
    setting.deployment._opened["s3://archive"] = doubles.CountingStorage(
        clock.taking({"s": RESERVE_S})(setting.memory["default"])
    )
    setting.put("s/4.dcm")
    summary = setting.update(Recheck("default", "s", seconds=SERIES_S).body())
    assert (summary.updated, setting.queue.sent) == (1, [])
    skipped = setting.index().provenance.skipped
    assert all(item.reason.startswith("not read: the headers") and not item.transient for item in skipped)
    assert len(skipped) + len(setting.index().table) == 4
    assert skipped
    setting.time_left_s = lambda: 300.0
    assert setting.update(notification("s/1.dcm")).unchanged == 1


def test_no_time_is_no_loop() -> None:
    """A function that has little time works through half of it, so that each call gets on."""
    setting = Setting()
    setting.time_left_s = lambda: 20.0
    setting.put("s/1.dcm")
    assert setting.update(notification("s/1.dcm")).updated == 1


def test_what_there_was_no_time_for_comes_at_once() -> None:
    """Series that were not begun are handed on, not back: nothing of theirs is counted as a failure."""
    clock = Clock()
    setting = Setting(wrap=clock.taking({"a": 400.0}))
    setting.time_left_s = clock
    setting.put("a/1.dcm")
    others = [f"z{i}/1.dcm" for i in range(40)]
    setting.put(*others)

    class Gate(doubles.Wrapper):
        """Lets others be listed once the slow one is read."""

        def list_objects(self, folder: str, most: int | None = None) -> Any:
            if folder != "a":
                clock.left_s = 0.0
            return super().list_objects(folder, most)

    setting.deployment._opened["s3://archive"] = Gate(setting.deployment._opened["s3://archive"])
    summary = setting.update(*(notification(path) for path in others))
    assert summary.response() == {"batchItemFailures": []}
    assert summary.postponed
    assert [delay for _, delay in setting.queue.sent].count(0) == summary.postponed


# --- outcomes that no other try changes


def test_a_series_without_dicom_is_looked_at_once() -> None:
    """That nothing in it is DICOM is remembered: the next event reads none of it again."""
    setting = Setting()
    for i in range(5):
        setting.memory["default"].put(f"s/{i}", b"no DICOM at all")
    assert setting.update(notification("s/1")).without_image == 1
    assert len(setting.storages["default"].ranges) == 5
    assert setting.update(notification("s/1")).without_image == 1
    assert setting.storages["default"].ranges == []
    setting.memory["default"].put("s/5", b"no DICOM either")
    assert setting.update(notification("s/5")).without_image == 1
    assert [item.path for item in setting.storages["default"].ranges] == ["s/5"]
    setting.put("s/6")
    assert setting.update(notification("s/6")).updated == 1
    assert [item.path for item in setting.storages["default"].ranges] == ["s/6"]


def test_an_object_over_a_limit_is_inflated_once() -> None:
    """It is in the index as passed over, with the reason, and is not fetched again before it changes."""
    setting = Setting()
    limits = replace(setting.deployment.settings.limits, inflated_bytes=1000)
    settings = replace(setting.deployment.settings, limits=limits)
    setting.deployment = replace(setting.deployment, settings=settings)
    setting.put("s/1.dcm")
    setting.memory["default"].put(
        "s/2.dcm", make_dicom.encode(make_dicom.image(2, PixelData=bytes(9999)), make_dicom.DEFLATED)
    )
    assert setting.update(notification("s/1.dcm")).updated == 1
    (skipped,) = setting.index().provenance.skipped
    assert (skipped.name, skipped.transient) == ("2.dcm", False)
    assert "inflates to more than 1000 bytes" in skipped.reason
    setting.put("s/3.dcm")
    assert setting.update(notification("s/3.dcm")).updated == 1
    assert [item.path for item in setting.storages["default"].ranges] == ["s/3.dcm"]


def test_deflated_objects_that_come_are_asked_for_whole() -> None:
    """Where all that is known of a series is deflated, one GET reads another object, of whatever size."""
    setting = Setting()
    noise = random.Random(0)
    for i in range(2):
        image = make_dicom.image(i + 1, PixelData=noise.randbytes(100_000))
        setting.memory["default"].put(f"s/{i}.dcm", make_dicom.encode(image, make_dicom.DEFLATED))
        assert setting.update(notification(f"s/{i}.dcm")).updated == 1
        assert len(setting.storages["default"].ranges) == 2 - i


def test_a_series_of_too_many_objects_is_refused() -> None:
    """Its messages are done, and counted."""
    setting = Setting()
    limits = replace(setting.deployment.settings.limits, instances=2)
    settings = replace(setting.deployment.settings, limits=limits)
    setting.deployment = replace(setting.deployment, settings=settings)
    setting.put("s/1.dcm", "s/2.dcm", "s/3.dcm")
    summary = setting.update(notification("s/1.dcm"))
    assert (summary.refused, dict(summary.failures)) == (1, {"LimitError": 1})
    assert summary.response() == {"batchItemFailures": []}


class Closed(doubles.Wrapper):
    """A storage that may be listed, and not read."""

    def fetch(self, ranges: Any) -> Any:
        """Nothing."""
        for fetched in super().fetch(ranges):
            yield replace(fetched, data=b"", error=AccessDeniedError("s3://archive/s"))


def test_a_series_whose_objects_may_not_be_read_is_refused() -> None:
    """Where the listing is allowed and no object is, another try changes nothing."""
    setting = Setting(wrap=Closed)
    setting.put("s/1.dcm", "s/2.dcm")
    summary = setting.update(notification("s/1.dcm"))
    assert (summary.refused, dict(summary.failures)) == (1, {"AccessDeniedError": 1})
    assert summary.response() == {"batchItemFailures": []}


def test_a_mistake_fails_one_series(caplog: pytest.LogCaptureFixture) -> None:
    """What no error of ours foresees is logged as its type and place, without a word of its text."""

    class Broken(doubles.Wrapper):
        def list_objects(self, folder: str, most: int | None = None) -> Any:
            if folder == "a":
                raise KeyError(SECRET)
            return super().list_objects(folder, most)

    setting = Setting(wrap=Broken)
    setting.put("a/1.dcm", "b/1.dcm")
    with caplog.at_level(logging.DEBUG):
        summary = setting.update(notification("a/1.dcm"), notification("b/1.dcm"))
    assert summary.response() == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert (summary.updated, dict(summary.failures)) == (1, {"KeyError": 1})
    assert "list_objects" in caplog.text
    assert SECRET not in caplog.text


# --- erasure


class Pictures:
    """The pictures of two series and their batches' mosaics, rendered as the API and a batch render them."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.setting.put("s/1.dcm", "s/2.dcm", "s/3.dcm", "t/1.dcm")
        self.setting.update(notification("s/1.dcm", "t/1.dcm"))
        self.render("t")
        self.of_t = self.of(self.setting.kept())
        self.render("s")

    def render(self, series: str) -> None:
        """Keep a picture and a batch's mosaic of a series."""
        deployment = self.setting.deployment
        request = HttpRequest(series, {"position": ["0"]})
        assert deployment.api().picture("image", request).status == 200
        data = deployment.storage("s3://data")
        batch = "00000000-0000-0000-0000-000000000000"
        item = {"root": "default", "series": series, "mosaic": {}}
        outcome = run_item(batch, item, batch_host(deployment))
        assert data.get(outcome["picture"]).data

    @staticmethod
    def of(paths: list[str]) -> list[str]:
        """Those of them that are pictures."""
        return [path for path in paths if path.endswith(".webp")]

    def remove(self, *paths: str) -> None:
        """Remove objects without telling anyone."""
        for path in paths:
            self.setting.memory["default"].delete(path)


def test_the_names_of_pictures_tell_nothing() -> None:
    """A picture lies below a digest: neither its series nor its root is in its name."""
    pictures = Pictures.of(Pictures().setting.kept())
    assert len(pictures) == 4
    batch = "00000000-0000-0000-0000-000000000000"
    patterns = (r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.webp", rf"batches/mosaics/[0-9a-f]{{32}}/{batch}\.webp")
    assert [sum(bool(re.fullmatch(pattern, path)) for path in pictures) for pattern in patterns] == [2, 2]


@pytest.mark.parametrize("event", [notification, bridged])
def test_a_series_that_is_removed_takes_all_of_its_pictures_along(event: Any) -> None:
    """Index, what was read, claim, pictures and mosaics go within the event; other series keep theirs."""
    pictures = Pictures()
    setting = pictures.setting
    pictures.remove("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.data.put(place("s") + ".partial", b"what was read")
    summary = setting.update(event("s/3.dcm"))
    assert (summary.removed, summary.erased) == (1, 2)
    left = [path for path in setting.kept() if "outcomes" not in path]
    assert Pictures.of(left) == pictures.of_t
    assert [path for path in left if path.startswith("indices/")] == [place("t")]


@pytest.mark.parametrize(("depth", "asked"), [(2, "doe"), (1, "doe/s"), (3, "doe"), (3, "doe/s")])
def test_a_folder_at_another_depth_is_erased_as_well(depth: int, asked: str) -> None:
    """What was made of a folder above or below a series goes when an object in it goes."""
    setting = Setting(depth=depth)
    setting.put("doe/s/1.dcm", "doe/s/2.dcm")
    item = {"root": "default", "series": asked, "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    assert setting.kept("indices")
    assert setting.kept("batches/mosaics")
    setting.memory["default"].delete("doe/s/1.dcm")
    setting.memory["default"].delete("doe/s/2.dcm")
    setting.update(notification("doe/s/1.dcm", "doe/s/2.dcm", name="ObjectRemoved:Delete"))
    setting.update_at_once()
    assert setting.kept("indices") == setting.kept("batches/mosaics") == []


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize(
    ("depth", "asked"), [(2, "doe"), (1, "doe/s"), (2, "doe/s/a"), (3, "doe"), (3, "doe/s")]
)
def test_an_object_that_is_another_one_erases_folders_at_other_depths(
    depth: int,
    asked: str,
    reads: bool,  # noqa: FBT001
) -> None:
    """What was made of a folder above or below a series goes when one of its objects is overwritten.

    A reader of the series may have seen it before its event came.
    """
    setting = Setting(depth=depth)
    setting.put("doe/s/a/1.dcm", "doe/s/a/2.dcm")
    setting.update(notification("doe/s/a/1.dcm"))
    series = "/".join(["doe", "s", "a"][:depth])
    item = {"root": "default", "series": asked, "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    assert setting.kept("batches/mosaics")
    setting.put("doe/s/a/1.dcm")
    if reads:
        setting.deployment.api().index(HttpRequest(series))
    setting.update(notification("doe/s/a/1.dcm"))
    setting.update_at_once()
    assert (setting.kept("indices"), setting.kept("batches/mosaics")) == ([place(series)], [])
    assert {series, asked} <= {recheck.series for recheck, _ in setting.queue.sent if recheck.swept}
    # What a request that was under way keeps after that goes with the sweep.
    late = f"{mosaics_folder('s3://archive', asked)}/late.webp"
    setting.data.put(late, b"a picture")
    setting.update_again()
    setting.update_at_once()
    assert (setting.kept("batches/mosaics"), setting.queue.sent) == ([], [])


@pytest.mark.parametrize("overwritten", [False, True])
@pytest.mark.parametrize(
    ("depth", "asked"), [(2, "doe"), (1, "doe/s"), (1, "doe/s/a"), (2, "doe/s/a"), (3, "doe"), (3, "doe/s")]
)
def test_the_first_event_of_a_series_compares_what_was_made_around_it(
    depth: int,
    asked: str,
    overwritten: bool,  # noqa: FBT001
) -> None:
    """What was made of a folder above or below it goes if an object is another one, and stays if not."""
    setting = Setting(depth=depth)
    setting.put("doe/s/a/1.dcm", "doe/s/a/2.dcm")
    item = {"root": "default", "series": asked, "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    made = [*setting.kept("indices"), *setting.kept("batches/mosaics")]
    assert len(made) == 2
    if overwritten:
        setting.put("doe/s/a/1.dcm")
    setting.update(notification("doe/s/a/1.dcm"))
    setting.update_at_once()
    assert [path for path in made if path in setting.kept()] == ([] if overwritten else made)
    swept = [(Recheck("default", asked, removed=True, swept=True), SWEEP_S)]
    assert setting.queue.sent == (swept if overwritten else [])


def test_a_folder_that_is_read_anew_keeps_its_index() -> None:
    """What a reader of a folder above a series says erases its pictures, not its new index."""
    setting = Setting(depth=2)
    setting.put("doe/s/1.dcm")
    setting.deployment.api().index(HttpRequest("doe"))
    setting.put("doe/s/1.dcm")
    request = HttpRequest("doe", {"position": ["0"]})
    assert setting.deployment.api().picture("image", request).headers["Preview-Index"] == "updated"
    assert setting.queue.sent == [(Recheck("default", "doe", removed=True), 0)]
    for _ in range(2):
        assert setting.update_again().erased <= 1
    assert setting.kept() == [place("doe")]


def test_what_requests_under_way_have_kept_goes_a_quarter_of_an_hour_later() -> None:
    """A picture that was being made while its series went is swept once nobody can be making it any more."""
    pictures = Pictures()
    setting = pictures.setting
    late = {path: setting.data.get(path).data for path in Pictures.of(setting.kept())}
    pictures.remove("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.update(notification("s/1.dcm"))
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    for path, data in late.items():
        setting.data.put(path, data)
    summary = setting.update_again()
    assert (summary.removed, summary.erased, setting.queue.sent) == (1, 2, [])
    assert Pictures.of(setting.kept()) == pictures.of_t


def test_what_a_sweep_finds_to_have_gone_is_swept_in_its_turn() -> None:
    """Nothing tells later of an object that is another one by then: its event finds the index right."""
    pictures = Pictures()
    setting = pictures.setting
    pictures.remove("s/1.dcm")
    setting.update(notification("s/1.dcm", name="ObjectRemoved:Delete"))
    pictures.render("s")
    late = Pictures.of(setting.kept())[-1]
    setting.put("s/2.dcm")
    assert setting.update_again().updated == 1
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    setting.data.put(late, b"kept by a request that had begun before")
    assert (setting.update_again().unchanged, setting.queue.sent) == (1, [])
    assert Pictures.of(setting.kept()) == pictures.of_t


@pytest.mark.parametrize("change", ["removed", "changed"])
@pytest.mark.parametrize("overdue", [False, True])
@pytest.mark.parametrize("asked", ["s/sub", "s/sub/deeper"])
def test_what_a_request_under_way_keeps_of_a_folder_below_a_series_goes(
    asked: str,
    overdue: bool,  # noqa: FBT001
    change: str,
) -> None:
    """It has read the folder's headers when the event comes; whether or not its claim still holds."""
    setting = Setting()
    keys = [f"{asked}/1.dcm", f"{asked}/2.dcm"]
    setting.put("s/0.dcm", *keys)
    setting.update(notification("s/0.dcm"))

    class Slow(doubles.Wrapper):
        def put(self, path: str, data: bytes, **options: Any) -> str:
            if path.endswith(".parquet"):
                setting.deployment._opened["s3://data"] = setting.data
                if overdue:
                    setting.data.put(f"{path}.lock", json.dumps({"until": time.time() - 1}).encode())
                for key in keys:
                    if change == "removed":
                        setting.memory["default"].delete(key)
                    else:
                        setting.put(key)
                name = "ObjectRemoved:Delete" if change == "removed" else "ObjectCreated:Put"
                assert setting.update(notification(*keys, name=name)).updated == 1
                setting.update_at_once()
            return super().put(path, data, **options)

    setting.deployment._opened["s3://data"] = Slow(setting.data)
    answer = setting.deployment.api().picture("image", HttpRequest(asked, {"position": ["0"]}))
    assert (answer.status, len(setting.kept("renders"))) == (200, 1)
    assert place(asked) in setting.kept()
    while setting.queue.sent:
        setting.update_again()
    assert setting.kept() == [place("s")]


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_an_object_that_goes_takes_the_pictures_of_its_series_along(change: str) -> None:
    """They may show it: when one is removed, or is another one than it was, whatever the event says."""
    pictures = Pictures()
    setting = pictures.setting
    if change == "removed":
        pictures.remove("s/2.dcm")
    else:
        setting.put("s/2.dcm")
    summary = setting.update(notification("s/2.dcm"))
    assert (summary.updated, summary.erased) == (1, 2)
    assert Pictures.of(setting.kept()) == pictures.of_t


def test_a_removal_that_a_reader_saw_first_is_still_told() -> None:
    """By the reader: the event finds that the index does not know the object any more, and erases nothing."""
    pictures = Pictures()
    setting = pictures.setting
    pictures.remove("s/2.dcm")
    setting.deployment.api().index(HttpRequest("s"))
    told, setting.queue.sent = setting.queue.sent, []
    summary = setting.update(bridged("s/2.dcm", kind="Object Deleted"))
    assert (summary.unchanged, summary.erased) == (1, 0)
    setting.queue.sent = told
    summary = setting.update_again()
    assert (summary.unchanged, summary.erased) == (1, 2)


@pytest.mark.parametrize(
    "event",
    [
        {**bridged("doe/s/1.dcm", kind="Object Deleted"), "version": "old"},
        notification("doe/s/1.dcm", name="ObjectRemoved:Delete"),
        notification("doe/s/1.dcm", name="LifecycleExpiration:Delete"),
    ],
)
@pytest.mark.parametrize("asked", ["doe", "doe/s", "doe/s/sub"])
def test_an_old_version_that_goes_takes_no_picture_along(asked: str, event: dict[str, Any]) -> None:
    """Where what is listed is what the index knows, nothing has gone: not of it, nor above or below it."""
    setting = Setting(depth=2)
    setting.put("doe/s/1.dcm", "doe/s/2.dcm", "doe/s/sub/3.dcm")
    setting.update(notification("doe/s/1.dcm"))
    item = {"root": "default", "series": asked, "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    kept = setting.kept()
    summary = setting.update(event, event)
    assert (summary.unchanged, summary.erased) == (1, 0)
    setting.update_at_once()
    assert setting.queue.sent == [(Recheck("default", "doe/s", around=True, swept=True), SWEEP_S)]
    setting.update_again()
    setting.update_at_once()
    assert (setting.kept(), setting.queue.sent) == (kept, [])


@pytest.mark.parametrize("asked", ["doe", "doe/s", "doe/s/sub"])
def test_a_request_that_saw_what_came_and_went_keeps_nothing_of_it(asked: str) -> None:
    """The index never knew the object when its events came; a look a quarter of an hour later finds it."""
    setting = Setting(depth=2)
    setting.put("doe/s/1.dcm", "doe/s/sub/2.dcm")
    setting.update(notification("doe/s/1.dcm"))
    setting.deployment.api().index(HttpRequest(asked))
    setting.put("doe/s/sub/3.dcm")

    class Late(doubles.Wrapper):
        def put(self, path: str, data: bytes, **options: Any) -> str:
            if path.endswith(".parquet"):
                setting.deployment._opened["s3://data"] = setting.data
                # The request's claim has run out: else the event waits for it.
                setting.data.put(f"{path}.lock", json.dumps({"until": time.time() - 1}).encode())
                setting.memory["default"].delete("doe/s/sub/3.dcm")
                names = "ObjectCreated:Put", "ObjectRemoved:Delete"
                events = [notification("doe/s/sub/3.dcm", name=name) for name in names]
                assert setting.update(*events).unchanged == 1
                setting.update_at_once()
            return super().put(path, data, **options)

    setting.deployment._opened["s3://data"] = Late(setting.data)
    assert setting.deployment.api().index(HttpRequest(asked)).status == 200
    assert len(setting.index(asked).table) == len(setting.memory["default"].list_objects(asked)) + 1
    while setting.queue.sent:
        setting.update_again()
    assert setting.indices() == {"indices/doe/s": ["1.dcm", "sub/2.dcm"]}


def test_an_object_above_where_series_lie_takes_what_shows_it_along() -> None:
    """It is of no series; the folder that it lies in is compared with what is there."""
    setting = Setting(depth=2)
    setting.put("doe/1.dcm", "doe/2.dcm")
    item = {"root": "default", "series": "doe", "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    for gone in (False, True):
        if gone:
            setting.memory["default"].delete("doe/1.dcm")
        summary = setting.update(notification("doe/1.dcm", name="ObjectRemoved:Delete"))
        assert (summary.ignored, summary.erased) == (0, gone)
        assert setting.queue.sent.pop() == (
            Recheck("default", "doe", removed=gone, around=not gone, swept=True),
            SWEEP_S,
        )
    assert setting.kept("indices") == setting.kept("batches/mosaics") == []


@pytest.mark.parametrize("reads", [False, True])
def test_an_object_that_comes_leaves_pictures_alone(reads: bool) -> None:  # noqa: FBT001
    """They show nothing that is gone, whether its event or a reader tells of it first."""
    pictures = Pictures()
    setting = pictures.setting
    setting.put("s/4.dcm")
    if reads:
        assert setting.deployment.api().index(HttpRequest("s")).headers["Preview-Index"] == "updated"
    summary = setting.update(notification("s/4.dcm"))
    assert (summary.updated + summary.unchanged, summary.erased, setting.queue.sent) == (1, 0, [])


def asked_of_data(setting: Setting) -> list[str]:
    """What the data bucket is asked for from now on."""
    asked: list[str] = []

    class Asked(doubles.Wrapper):
        def list_objects(self, folder: str, most: int | None = None) -> Any:
            asked.append("list")
            return super().list_objects(folder, most)

        def get(self, path: str) -> Any:
            asked.append("get")
            return super().get(path)

        def put(self, path: str, data: bytes, *, if_version: str | None = None) -> str:
            asked.append("put")
            return super().put(path, data, if_version=if_version)

    setting.deployment._opened["s3://data"] = Asked(setting.data)
    return asked


@pytest.mark.parametrize(("depth", "above"), [(1, 0), (2, 1), (3, 2)])
def test_a_first_upload_costs_one_listing_more(depth: int, above: int) -> None:
    """What is kept below is listed, and three keys of each folder above are asked for, once a series."""
    setting = Setting(depth=depth)
    series = "/".join(["doe", "s", "a"][:depth])
    setting.put(*(f"{series}/{number}.dcm" for number in range(20)))
    asked = asked_of_data(setting)
    for number in (0, 10):
        setting.update(*(notification(f"{series}/{number + i}.dcm") for i in range(10)))
    first, again = ["put", "get", "get", *["get"] * 3 * above, "list", "put"], ["put", "get", "get"]
    assert (asked, setting.queue.sent) == ([*first, *again], [])


@pytest.mark.parametrize("change", ["removed", "changed", "old version"])
def test_what_goes_costs_a_few_listings(change: str) -> None:
    """Of what is kept below, pictures and mosaics, and the same by the sweep; no more for an old version."""
    setting = Setting()
    setting.put("s/1.dcm", "s/2.dcm")
    setting.update(notification("s/1.dcm"))
    if change == "removed":
        setting.memory["default"].delete("s/2.dcm")
    elif change == "changed":
        setting.put("s/2.dcm")
    asked = asked_of_data(setting)
    setting.update(notification("s/2.dcm", name=f"Object{'Created' if change == 'changed' else 'Removed'}:"))
    first, _ = Counter(asked), asked.clear()
    assert setting.storages["default"].lists == 1
    setting.update_again()
    assert setting.storages["default"].lists == 1
    if change == "old version":
        assert first == Counter(asked) == Counter(put=1, get=2, list=1)
    else:
        assert (first, Counter(asked)) == (Counter(put=2, get=2, list=3), Counter(put=1, get=2, list=3))
    assert setting.queue.sent == []


@pytest.mark.parametrize(("again", "requests"), [(False, 4), (True, 3)])
def test_an_ordinary_event_costs_no_more(again: bool, requests: int) -> None:  # noqa: FBT001
    """The data bucket is asked for the claim, what is kept, what was read in part, and a new index.

    Where nothing has gone, nothing is looked for that shows it, at the series or above and below it.
    """
    setting = Setting(depth=2)
    setting.put("doe/s/1.dcm")
    setting.deployment.api().index(HttpRequest("doe"))
    setting.update(notification("doe/s/1.dcm"))
    if not again:
        setting.put("doe/s/2.dcm")
    asked = asked_of_data(setting)
    summary = setting.update(notification("doe/s/1.dcm"), notification("doe/s/2.dcm"))
    assert (summary.updated, summary.unchanged) == ((0, 1) if again else (1, 0))
    assert asked == ["put", "get", "get", "put"][:requests]
    assert setting.storages["default"].lists == 1


# --- what a reader sees first


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_a_reader_that_sees_first_what_has_gone_says_so(change: str) -> None:
    """Its index forgets what is gone, so the pictures go by its message, whichever of both comes first."""
    pictures = Pictures()
    setting = pictures.setting
    if change == "removed":
        pictures.remove("s/2.dcm")
    else:
        setting.put("s/2.dcm")
    setting.deployment.api().index(HttpRequest("s"))
    assert setting.queue.sent == [(Recheck("default", "s", removed=True), 0)]
    assert setting.update(notification("s/2.dcm")).unchanged == 1
    assert len(Pictures.of(setting.kept())) == 4
    summary = setting.update_again()
    assert (summary.unchanged, summary.erased) == (1, 2)
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    assert Pictures.of(setting.kept()) == pictures.of_t


def test_a_message_that_comes_before_its_reader_is_done() -> None:
    """It finds the reader's claim and comes again; what was kept meanwhile goes then, and is swept later."""
    pictures = Pictures()
    setting = pictures.setting
    setting.put("s/2.dcm")

    class Quick(Sent):
        def send(self, rechecks: Any) -> list[Recheck]:
            (recheck,) = [recheck for recheck, _ in rechecks]
            summary = setting.update(recheck.body())
            assert (summary.busy, summary.erased) == (1, 0)
            return []

    setting.deployment = replace(setting.deployment, queue=Quick())
    pictures.render("s")
    ((recheck, _),) = setting.queue.sent
    assert recheck == Recheck("default", "s", removed=True)
    late = Pictures.of(setting.kept())
    summary = setting.update_again()
    assert (summary.unchanged, summary.erased) == (1, len(late) - len(pictures.of_t))
    setting.data.put(late[0], b"kept by a request that had begun before")
    assert setting.update_again().erased == 1
    assert (Pictures.of(setting.kept()), setting.queue.sent) == (pictures.of_t, [])


def test_a_reader_that_dies_leaves_what_has_gone_to_be_found() -> None:
    """Between its message and its index: the event, or the message, finds in the index what is gone."""
    for told in (True, False):
        pictures = Pictures()
        setting = pictures.setting
        setting.put("s/2.dcm")

        class Dies(doubles.Wrapper):
            def put(self, path: str, data: bytes, *, if_version: str | None = None) -> str:
                if path.endswith(".parquet"):
                    raise Killed
                return super().put(path, data, if_version=if_version)

        setting.deployment._opened["s3://data"] = Dies(setting.data)
        with pytest.raises(Killed):
            setting.deployment.api().index(HttpRequest("s"))
        setting.deployment._opened["s3://data"] = setting.data
        summary = setting.update_again() if told else setting.update(notification("s/2.dcm"))
        assert (summary.updated, summary.erased) == (1, 2)
        assert Pictures.of(setting.kept()) == pictures.of_t


def test_a_reader_whose_message_is_not_taken_forgets_nothing() -> None:
    """Its request is told to come again, and the index still knows what is gone."""
    pictures = Pictures()
    setting = pictures.setting
    setting.put("s/2.dcm")
    setting.queue.fails = True
    before = setting.data.get(place("s")).data
    answer = setting.deployment.api().index(HttpRequest("s"))
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    assert setting.data.get(place("s")).data == before
    assert not [path for path in setting.kept() if path.endswith(".lock")]


def test_an_index_of_fewer_objects_takes_none_of_their_pictures_along() -> None:
    """A limited index that takes the place of a whole one forgets objects, whose pictures go before that."""
    pictures = Pictures()
    setting = pictures.setting
    setting.put("s/4.dcm")
    assert setting.deployment.api().index(HttpRequest("s", {"limit": ["1"]})).status == 200
    setting.put("s/3.dcm")
    setting.update(notification("s/3.dcm"))
    setting.update_again()
    assert Pictures.of(setting.kept()) == pictures.of_t


@pytest.mark.parametrize("change", ["removed", "changed"])
@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("damage", [b"", b"no index", b"older"])
@pytest.mark.parametrize("alias", ["default", "other"])
def test_an_index_that_cannot_be_read_may_have_known_what_is_gone(
    alias: str,
    damage: bytes,
    reads: bool,  # noqa: FBT001
    change: str,
) -> None:
    """Where a kept index is damaged, or an earlier version wrote it, the pictures of its series go."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.put("s/1.dcm", "s/2.dcm", alias=alias)
    asked = {"root": [alias], "position": ["0"]}
    assert setting.deployment.api().picture("image", HttpRequest("s", asked)).status == 200
    item = {"root": alias, "series": "s", "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    pictures = Pictures.of(setting.kept())
    assert len(pictures) == 2
    path = index_path("s", index_folder(setting.deployment.roots[alias]))
    setting.data.put(
        path, of_an_earlier_version(setting.data.get(path).data) if damage == b"older" else damage
    )
    if change == "removed":
        setting.memory[alias].delete("s/2.dcm")
    else:
        setting.put("s/2.dcm", alias=alias)
    if reads:
        assert setting.deployment.api().index(HttpRequest("s", {"root": [alias]})).status == 200
    else:
        assert setting.update(Recheck(alias, "s").body()).erased == 2
    setting.update_again()
    assert not set(pictures) & set(setting.kept())
    assert [(recheck.swept, delay) for recheck, delay in setting.queue.sent] == [(True, SWEEP_S)] * reads
    assert path in setting.kept()


@pytest.mark.parametrize("reads", [False, True])
def test_what_was_read_and_cannot_be_read_again_goes_with_its_series(reads: bool) -> None:  # noqa: FBT001
    """What is kept of a series that has gone goes, whether or not it can be read."""
    setting = Setting()
    setting.data.put(f"{place('s')}.partial", b"what an earlier version has read")
    setting.data.put(f"{mosaics_folder('s3://archive', 's')}/1.webp", b"a picture")
    if reads:
        assert setting.deployment.api().index(HttpRequest("s")).status == 404
    else:
        setting.update(notification("s/1.dcm"))
    setting.update_again()
    assert setting.kept() == []


@pytest.mark.parametrize("refusal", ["LimitError", "AccessDeniedError"])
def test_a_series_that_is_refused_keeps_nothing_of_what_has_gone(refusal: str) -> None:
    """Where no index can take the place of one that knows what is gone, it goes, and is swept later."""
    pictures = Pictures()
    setting = pictures.setting
    pictures.remove("s/2.dcm")
    if refusal == "LimitError":
        settings = setting.deployment.settings
        limits = replace(settings.limits, instances=3)
        setting.deployment = replace(setting.deployment, settings=replace(settings, limits=limits))
        setting.put("s/4.dcm", "s/5.dcm")
    else:
        pictures.remove("s/1.dcm", "s/3.dcm")
        setting.put("s/4.dcm")
        setting.deployment._opened["s3://archive"] = Closed(setting.memory["default"])
    summary = setting.update(notification("s/2.dcm", name="ObjectRemoved:Delete"))
    assert (summary.refused, summary.erased, dict(summary.failures)) == (1, 2, {refusal: 1})
    assert summary.response() == {"batchItemFailures": []}
    assert setting.indices() == {"indices/t": ["1.dcm"]}
    assert Pictures.of(setting.kept()) == pictures.of_t
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    assert (setting.update_again().refused, setting.queue.sent) == (1, [])


# --- what no event tells of


@pytest.mark.parametrize("left", [[], ["s/notes.txt"], ["s/2.dcm"]])
def test_what_has_gone_below_another_root_goes_when_it_is_asked_for(left: list[str]) -> None:
    """No event tells of roots elsewhere: who asks for a series that has lost objects has them erased."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.put("s/1.dcm", "s/2.dcm", "t/1.dcm", alias="other")
    for series in ("s", "t"):
        item = {"root": "other", "series": series, "mosaic": {}}
        run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
        request = HttpRequest(series, {"root": ["other"], "position": ["0"]})
        assert setting.deployment.api().picture("image", request).status == 200
        if series == "s":
            of_s = set(setting.kept("indices") + Pictures.of(setting.kept()))
    for path in {"s/1.dcm", "s/2.dcm"} - set(left):
        setting.memory["other"].delete(path)
    if left == ["s/notes.txt"]:
        setting.memory["other"].put("s/notes.txt", b"no DICOM")
    status = (
        setting.deployment.api()
        .picture("image", HttpRequest("s", {"root": ["other"], "position": ["0"]}))
        .status
    )
    assert status == {0: 404, 1: 422 if left == ["s/notes.txt"] else 200}[len(left)]
    setting.update_again()
    kept = {path for path in setting.kept() if "outcomes" not in path and not path.endswith(".partial")}
    assert kept & of_s == (
        {path for path in of_s if path.startswith("indices")} if left == ["s/2.dcm"] else set()
    )
    assert len(kept - of_s) == 3
    assert [(recheck.series, recheck.swept) for recheck, _ in setting.queue.sent] == [("s", True)]


def test_a_series_that_was_never_there_is_told_to_nobody() -> None:
    """A name that nothing is kept of takes no message."""
    setting = Setting()
    assert setting.deployment.api().index(HttpRequest("no-such-series")).status == 404
    assert setting.queue.sent == []


def test_what_was_read_of_a_series_that_has_gone_goes_as_well() -> None:
    """Where there was no image, and so no index, what is kept of the objects goes when they are asked for."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.memory["other"].put("s/notes", b"no DICOM")
    setting.update(Recheck("other", "s").body())
    assert [path.rpartition(".")[2] for path in setting.kept()] == ["partial"]
    setting.memory["other"].delete("s/notes")
    assert setting.deployment.api().index(HttpRequest("s", {"root": ["other"]})).status == 404
    assert setting.update_again().removed == 1
    assert setting.kept() == []


def test_pictures_go_before_the_index_forgets() -> None:
    """Where they cannot be removed, the index still knows what is gone, so that the next try removes them."""
    pictures = Pictures()
    setting = pictures.setting
    pictures.remove("s/2.dcm")

    class Stuck(doubles.Wrapper):
        def delete(self, path: str) -> None:
            if path.endswith(".webp"):
                raise StorageUnavailableError("s3://data", "throttled")
            super().delete(path)

    setting.deployment._opened["s3://data"] = Stuck(setting.data)
    assert setting.update(notification("s/2.dcm")).failed == 1
    setting.deployment._opened["s3://data"] = setting.data
    summary = setting.update(notification("s/2.dcm"))
    assert (summary.updated, summary.erased) == (1, 2)


def of_an_earlier_version(data: bytes) -> bytes:
    """The index as an earlier version of the product would have written it."""
    table = Index.from_parquet(data).table
    metadata = dict(table.schema.metadata)
    document = json.loads(metadata[b"dicom_series_preview"])
    metadata[b"dicom_series_preview"] = json.dumps({**document, "schema_version": 1}).encode()
    return Index(table.replace_schema_metadata(metadata)).to_parquet()


class Disorder:
    """Uploads, removals, requests, batches, events and rechecks in any order.

    Attributes:
        shown: Of each picture, its root's alias and the objects that it was made of.
    """

    FOLDERS = ("p/s", "p", "p/s/x")
    KEYS = ("p/s/1.dcm", "p/s/2.dcm", "p/s/x/3.dcm")

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.setting = Setting({"default": "s3://archive", "other": "s3://other"}, depth=2)
        self.pending: list[dict[str, Any]] = []
        self.written = 0
        self.shown: dict[str, tuple[str, set[tuple[str, str]]]] = {}

    def objects(self, alias: str, folder: str = "") -> set[tuple[str, str]]:
        """What there is now."""
        return {(info.path, info.version) for info in self.setting.memory[alias].list_objects(folder)}

    def change(self) -> None:
        """An object comes, is overwritten or goes; of one root it is told, some time."""
        alias, key = self.chance.choice(["default", "other"]), self.chance.choice(self.KEYS)
        name = self.chance.choice(["ObjectRemoved:Delete", "ObjectCreated:Put", "ObjectCreated:Put"])
        if name == "ObjectRemoved:Delete":
            self.setting.memory[alias].delete(key)
        else:
            # No two of them are the same image, of which one would not be shown.
            self.written += 1
            data = make_dicom.encode(make_dicom.image(self.written, PatientName=SECRET))
            self.setting.memory[alias].put(key, data)
        if alias == "default":
            self.pending.append(notification(key, name=name))

    def ask(self) -> None:
        """Somebody asks for a picture of a folder."""
        alias, folder = self.chance.choice(["default", "other"]), self.chance.choice(self.FOLDERS)
        before = set(self.setting.kept("renders"))
        self.setting.deployment.api().picture("mosaic", HttpRequest(folder, {"root": [alias]}))
        for path in set(self.setting.kept("renders")) - before:
            self.shown[path] = alias, self.objects(alias, folder)

    def batch(self) -> None:
        """A batch makes a mosaic of a folder, in the place of the one that it made before."""
        alias, folder = self.chance.choice(["default", "other"]), self.chance.choice(self.FOLDERS)
        item = {"root": alias, "series": folder, "mosaic": {}}
        outcome = run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(self.setting.deployment))
        if "picture" in outcome:
            self.shown[outcome["picture"]] = alias, self.objects(alias, folder)

    def hear(self) -> None:
        """Events come, and come again."""
        self.chance.shuffle(self.pending)
        self.setting.update(*self.pending[:2])
        del self.pending[: self.chance.randrange(2)]

    def end(self) -> None:
        """All events come, and somebody asks for what no event tells of, or none for sure.

        Of folders above and below a series none does where an object is another one before its first event.
        """
        self.setting.update(*self.pending)
        asked = [("default", "p"), ("default", "p/s/x"), *(("other", folder) for folder in self.FOLDERS)]
        for alias, folder in asked:
            self.setting.deployment.api().index(HttpRequest(folder, {"root": [alias]}))
        while self.setting.queue.sent:
            self.setting.update_again()


@pytest.mark.parametrize("seed", range(8))
def test_no_picture_outlives_what_it_shows_whoever_comes_first(seed: int) -> None:
    """In whatever order things happen, no picture is left of an object that has gone or is another one."""
    disorder = Disorder(seed)
    for _ in range(60):
        happens = disorder.change, disorder.ask, disorder.batch, disorder.hear, disorder.setting.update_again
        disorder.chance.choice(happens)()
    disorder.end()
    left = [disorder.shown[path] for path in Pictures.of(disorder.setting.kept())]
    assert [(alias, made) for alias, made in left if not made <= disorder.objects(alias)] == []


# --- functions that die


class Killed(BaseException):
    """What no function catches."""


class Dying(doubles.Wrapper):
    """A storage that a function loses as it dies, after some reads and writes.

    Args:
        inner: Answers while the function lives.
        left: How often it does.
    """

    def __init__(self, inner: Any, left: int) -> None:
        super().__init__(inner)
        self.left = left

    def _live(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def list_objects(self, folder: str, most: int | None = None) -> Any:
        """While it lives."""
        self._live()
        return super().list_objects(folder, most)

    def get(self, path: str) -> Any:
        """While it lives."""
        self._live()
        return super().get(path)

    def put(self, path: str, data: bytes, **options: Any) -> str:
        """While it lives."""
        self._live()
        return super().put(path, data, **options)

    def delete(self, path: str) -> None:
        """While it lives."""
        self._live()
        super().delete(path)


@pytest.mark.parametrize("gone", [["s/2.dcm"], ["s/1.dcm", "s/2.dcm", "s/3.dcm"]])
def test_a_function_may_die_anywhere(gone: list[str]) -> None:
    """Wherever it dies, its messages come again, and then the index is right and no picture is left."""
    died = 0
    while True:
        pictures = Pictures()
        setting = pictures.setting
        pictures.remove(*gone)
        if len(gone) == 1:
            setting.put("s/4.dcm")
        messages = [notification(*gone), notification("s/4.dcm")]
        setting.deployment._opened["s3://data"] = Dying(setting.data, died)
        try:
            setting.update(*messages)
        except Killed:
            died += 1
        else:
            break
        setting.deployment._opened["s3://data"] = setting.data
        for path in setting.kept():
            if path.endswith(".lock"):
                setting.data.put(path, json.dumps({"until": time.time() - 1}).encode())
        setting.update(*messages)
        left = {"indices/s": ["1.dcm", "3.dcm", "4.dcm"]} if len(gone) == 1 else {}
        assert setting.indices() == {**left, "indices/t": ["1.dcm"]}
        paths = [path for path in setting.kept() if "outcomes" not in path]
        assert Pictures.of(paths) == pictures.of_t
        assert [path for path in paths if path.endswith((".lock", ".partial"))] == []
    assert died > 5
