import json
import logging
import random
import re
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import doubles
import make_dicom
from dicom_series_preview.archive.claims import LEASE_S
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import AccessDeniedError, StorageError, StorageUnavailableError
from dicom_series_preview.base.settings import DEFAULT_ROOT, Limits
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.doors.aws.updates import LATER_S, RESERVE_S, SERIES_S
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.web.http.messages import HttpRequest
from rendering import AfterListing
from updating import SECRET, Closed, Killed, Linking, Pictures, Setting, bridged, notification, place


def test_ten_thousand_records_of_a_series_are_one_update(setting: Setting) -> None:
    """However many events there are, a series is listed once, and only what is new is read."""
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


def test_a_batch_with_nothing_new_reads_nothing(setting: Setting) -> None:
    """Events that come again cost a listing and no header."""
    setting.known("s/1.dcm")
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


def test_a_removed_object_leaves_the_index(setting: Setting) -> None:
    """The others stay, and none of them is read again."""
    setting.known("s/1.dcm", "s/2.dcm")
    setting.remove("s/1.dcm")
    assert setting.update(notification("s/1.dcm")).updated == 1
    assert setting.indices() == {"indices/s": ["2.dcm"]}
    assert setting.storages["default"].ranges == []


def test_a_copy_that_was_handed_out_outlives_no_object(setting: Setting) -> None:
    """The copy of an index that a link led to goes with the pictures when an object goes.

    A request that was under way may write one after that: it goes a quarter of an hour later.
    """
    setting.known("s/1.dcm", "s/2.dcm")
    setting.see("s3://data", Linking(setting.data))
    api = replace(setting.deployment.api(), answer_limit_bytes=1000)
    assert api.index(HttpRequest("s", {"format": ["parquet"]})).status == 303
    (copy,) = setting.kept("renders")
    assert re.fullmatch(r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.parquet", copy)
    late = setting.data.get(copy).data
    assert sorted(Index.from_parquet(late).table["FileName"].to_pylist()) == ["1.dcm", "2.dcm"]
    setting.remove("s/1.dcm")
    setting.update(notification("s/1.dcm", name="ObjectRemoved:Delete"))
    assert setting.kept() == [place("s")]
    setting.data.put(copy, late)
    setting.update_again()
    assert (setting.kept(), setting.queue.sent) == ([place("s")], [])


@pytest.mark.parametrize("left", [[], ["s/notes.txt"], ["s/notes"]])
def test_the_index_of_a_series_that_has_gone_is_forgotten(setting: Setting, left: list[str]) -> None:
    """A series of which no DICOM object is left keeps no index."""
    setting.known("s/1.dcm")
    setting.remove("s/1.dcm")
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
    setting.remove("s/1.dcm")
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
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    denied = doubles.refusing(AccessDeniedError("s3://archive/closed"), "closed".__eq__)
    setting.see("s3://archive", doubles.Before(setting.memory["default"], list_objects=denied))
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
    setting = Setting()
    setting.known("s/1.dcm")
    failing = doubles.Before(setting.memory["default"], list_objects=doubles.refusing(error))
    setting.see("s3://archive", failing)
    summary = setting.update(notification("s/1.dcm"), notification("s/1.dcm"))
    assert {item["itemIdentifier"] for item in summary.response()["batchItemFailures"]} == {"0", "1"}
    assert setting.indices() == {"indices/s": ["1.dcm"]}


def test_headers_that_cannot_be_read_fail_the_messages() -> None:
    """Throttling while headers are read is a failure of the series, not an index without them."""
    setting = Setting()
    setting.put("s/1.dcm")
    throttled = {"s/1.dcm": StorageUnavailableError("x", "throttled")}
    setting.see("s3://archive", doubles.FailingStorage(setting.memory["default"], throttled))
    assert setting.update(notification("s/1.dcm")).response()["batchItemFailures"]
    assert setting.indices() == {}


def test_a_series_that_someone_else_updates_is_left_to_them(setting: Setting) -> None:
    """Its messages are done, nothing of it is listed or read, and one recheck looks at it later."""
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


def test_the_claim_of_a_dead_updater_ends(setting: Setting) -> None:
    """When its lease has run out the next one takes it."""
    setting.put("s/1.dcm")
    claim = setting.deployment.service("default").cache.claim("s", "s3://archive", time.time() - 2 * LEASE_S)
    claim.__enter__()
    assert setting.update(notification("s/1.dcm")).updated == 1
    assert setting.kept() == [place("s")]


def test_what_cannot_be_rechecked_is_handed_back(setting: Setting) -> None:
    """Where the queue takes no recheck, the messages themselves come again."""
    setting.put("s/1.dcm", "t/1.dcm")
    setting.queue.fails = True
    with setting.deployment.service("default").cache.claim("s", "s3://archive", time.time()):
        summary = setting.update(notification("s/1.dcm"), notification("t/1.dcm"), notification("s/2.dcm"))
    assert {item["itemIdentifier"] for item in summary.response()["batchItemFailures"]} == {"0", "2"}
    assert (summary.busy, summary.updated) == (1, 1)


def test_an_update_that_is_raced_survives(setting: Setting) -> None:
    """An index that someone else writes meanwhile stays; what was read is kept, and added by a recheck."""
    setting.known("s/1.dcm")
    setting.put("s/2.dcm")
    raced: list[str] = []

    def race(path: str, _data: bytes) -> None:
        if path.endswith(".parquet") and not raced:
            raced.append(path)
            setting.put("s/3.dcm")
            service = setting.deployment.service("default")
            SeriesIndexer(service.storage, service.cache, Limits()).open(SeriesName("s"))

    setting.see("s3://data", doubles.Before(setting.data, put=race))
    assert setting.update(notification("s/2.dcm")).busy == 1
    assert setting.indices() == {"indices/s": ["1.dcm", "2.dcm", "3.dcm"]}
    assert setting.update_again().unchanged == 1
    assert setting.kept() == [place("s")]


def test_a_late_reader_takes_nothing_back(setting: Setting) -> None:
    """Who has listed a series before others came and were indexed does not write an index without them."""
    setting.known("s/1.dcm")
    setting.remove("s/1.dcm")
    setting.put("s/2.dcm")

    def come(_number: int) -> None:
        setting.put("s/3.dcm")
        assert setting.update(notification("s/3.dcm")).updated == 1

    late = AfterListing(setting.memory["default"], come, times=1)
    SeriesIndexer(late, setting.deployment.service("default").cache, Limits()).open(SeriesName("s"))
    assert setting.indices() == {"indices/s": ["2.dcm", "3.dcm"]}


def test_rechecks_of_a_series_are_one(setting: Setting) -> None:
    """However many come, the series is listed once; one of a root that has gone since is ignored."""
    setting.put("s/1.dcm")
    summary = setting.update(
        Recheck("default", "s").body(), Recheck("gone", "s").body(), Recheck("default", "s").body()
    )
    assert (summary.updated, summary.ignored, setting.storages["default"].lists) == (1, 1, 1)
    assert summary.response() == {"batchItemFailures": []}


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
    setting.known("s/0.dcm")
    setting.put(*(f"s/{i}.dcm" for i in range(1, 9)))
    clock.left_s = 300.0
    assert setting.update(notification("s/1.dcm")).unfinished == 1
    assert setting.indices() == {"indices/s": ["0.dcm"]}


def test_a_series_that_takes_too_long_is_given_up(setting: Setting) -> None:
    """Past the limit its other objects are noted as not read, and are not tried again until they change."""
    setting.known("s/1.dcm", "s/2.dcm")
    setting.put("s/3.dcm")
    clock = Clock(2 * RESERVE_S)
    setting.time_left_s = clock
    slow = clock.taking({"s": RESERVE_S})(setting.memory["default"])
    setting.see("s3://archive", doubles.CountingStorage(slow))
    setting.put("s/4.dcm")
    summary = setting.update(Recheck("default", "s", seconds=SERIES_S).body())
    assert (summary.updated, setting.queue.sent) == (1, [])
    skipped = setting.index().provenance.skipped
    assert all(item.reason.startswith("not read: the headers") and not item.transient for item in skipped)
    assert len(skipped) + len(setting.index().table) == 4
    assert skipped
    setting.time_left_s = lambda: 300.0
    assert setting.update(notification("s/1.dcm")).unchanged == 1


def test_no_time_is_no_loop(setting: Setting) -> None:
    """A function that has little time works through half of it, so that each call gets on."""
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

    def time_is_up(folder: str, _most: int | None = None) -> None:
        if folder != "a":
            clock.left_s = 0.0

    slow = setting.deployment._opened["s3://archive"]
    setting.see("s3://archive", doubles.Before(slow, list_objects=time_is_up))
    summary = setting.update(*(notification(path) for path in others))
    assert summary.response() == {"batchItemFailures": []}
    assert summary.postponed
    assert [delay for _, delay in setting.queue.sent].count(0) == summary.postponed


def test_a_series_without_dicom_is_looked_at_once(setting: Setting) -> None:
    """That nothing in it is DICOM is remembered: the next event reads none of it again."""
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


def test_an_object_over_a_limit_is_inflated_once(setting: Setting) -> None:
    """It is in the index as passed over, with the reason, and is not fetched again before it changes."""
    setting.limit(inflated_bytes=1000)
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


def test_deflated_objects_that_come_are_asked_for_whole(setting: Setting) -> None:
    """Where all that is known of a series is deflated, one GET reads another object, of whatever size."""
    noise = random.Random(0)
    for i in range(2):
        image = make_dicom.image(i + 1, PixelData=noise.randbytes(100_000))
        setting.memory["default"].put(f"s/{i}.dcm", make_dicom.encode(image, make_dicom.DEFLATED))
        assert setting.update(notification(f"s/{i}.dcm")).updated == 1
        assert len(setting.storages["default"].ranges) == 2 - i


@pytest.mark.parametrize("kind", ["LimitError", "AccessDeniedError"])
def test_a_series_that_no_try_can_index_is_refused(kind: str) -> None:
    """Of too many objects, or of none that may be read: its messages are done, and counted."""
    setting = Setting(wrap=Closed if kind == "AccessDeniedError" else None)
    setting.limit(instances=2 if kind == "LimitError" else 9)
    setting.put("s/1.dcm", "s/2.dcm", "s/3.dcm")
    summary = setting.update(notification("s/1.dcm"))
    assert (summary.refused, dict(summary.failures)) == (1, {kind: 1})
    assert summary.response() == {"batchItemFailures": []}


def test_a_mistake_fails_one_series(caplog: pytest.LogCaptureFixture) -> None:
    """What no error of ours foresees is logged as its type and place, without a word of its text."""
    setting = Setting()
    broken = doubles.refusing(KeyError(SECRET), "a".__eq__)
    setting.see("s3://archive", doubles.Before(setting.memory["default"], list_objects=broken))
    setting.put("a/1.dcm", "b/1.dcm")
    with caplog.at_level(logging.DEBUG):
        summary = setting.update(notification("a/1.dcm"), notification("b/1.dcm"))
    assert summary.response() == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert (summary.updated, dict(summary.failures)) == (1, {"KeyError": 1})
    assert "in refuse" in caplog.text
    assert SECRET not in caplog.text


def dying(inner: Any, left: int) -> Any:
    """A storage that a function loses as it dies, after some reads and writes."""
    lives = iter([None] * left)

    def live(*_given: object) -> None:
        if next(lives, Killed) is Killed:
            raise Killed

    return doubles.Before(inner, list_objects=live, get=live, put=live, delete=live)


@pytest.mark.parametrize("gone", [["s/2.dcm"], ["s/1.dcm", "s/2.dcm", "s/3.dcm"]])
def test_a_function_may_die_anywhere(gone: list[str]) -> None:
    """Wherever it dies, its messages come again, and then the index is right and no picture is left."""
    died = 0
    while True:
        setting = Setting()
        pictures = Pictures(setting)
        setting.remove(*gone)
        if len(gone) == 1:
            setting.put("s/4.dcm")
        messages = [notification(*gone), notification("s/4.dcm")]
        setting.see("s3://data", dying(setting.data, died))
        try:
            setting.update(*messages)
        except Killed:
            died += 1
        else:
            break
        setting.see("s3://data", setting.data)
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
