import logging
from typing import Any

import pytest

from dicom_series_preview.archive.names import NAME_BYTES, index_folder, index_path
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.doors.aws.queue_messages import TouchedObject, series_of, touched_objects
from updating import Setting, bridged, notification


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
