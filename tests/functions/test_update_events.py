import io
from typing import Any

import pyarrow.parquet as pq
import pytest

import archive
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.renders import Renders
from lambdas import Function, Functions, event


@pytest.fixture
def updates(functions: Functions) -> Function:
    """The function of index updates."""
    return functions["index_updates"]


def indexed(provided: archive.Archive, series: str, alias: str = "default") -> list[str] | None:
    """The objects in a series' index, or None where there is none."""
    data = provided.kept(index_path(series, index_folder(provided.roots[alias])))
    return pq.read_table(io.BytesIO(data))["FileName"].to_pylist() if data is not None else None


def counts(outcome: Any) -> dict[str, int]:
    """What the function counted, without zeros, as the log and the metrics both tell it."""
    told = next(line["counts"] for line in outcome.lines if line.get("message") == "indices updated")
    assert told == {name: value for name, value in outcome.metrics.items() if name != "ColdStart"}
    return {name: value for name, value in told.items() if value}


ALL_WELL: dict[str, Any] = {"batchItemFailures": []}


def test_created(updates: Function, provided: archive.Archive) -> None:
    """Objects that came are in their series' index, which was built once for all of them."""
    provided.put(archive.slices("arriving", 3))
    outcome = updates("updates-created")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"Messages": 2, "IndicesUpdated": 1}
    assert sorted(indexed(provided, "arriving")) == ["0.dcm", "1.dcm", "2.dcm"]
    again = updates("updates-created")
    assert again.answer == ALL_WELL
    assert counts(again) == {"Messages": 2, "IndicesUnchanged": 1}


def test_duplicates_in_any_order(updates: Function, provided: archive.Archive) -> None:
    """What is there now counts, not what the events say, nor how often and in which order."""
    provided.put(archive.slices("arriving-twice", 2))
    outcome = updates("updates-duplicates")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"Messages": 4, "IndicesUpdated": 1}
    assert sorted(indexed(provided, "arriving-twice")) == ["0.dcm", "1.dcm"]


def test_removed(updates: Function, provided: archive.Archive) -> None:
    """An object that went leaves the index, and the last one takes the index with it."""
    provided.put(archive.slices("leaving", 2))
    assert updates("updates-removed").answer == ALL_WELL
    assert sorted(indexed(provided, "leaving")) == ["0.dcm", "1.dcm"]
    provided.remove("leaving/0.dcm")
    assert counts(updates("updates-removed")) == {"Messages": 2, "IndicesUpdated": 1}
    assert indexed(provided, "leaving") == ["1.dcm"]
    folder = Renders(MemoryStorage()).folder_of(f"s3://{archive.BUCKET}", "leaving")
    provided.put({f"{folder}/picture.webp": b"a picture"}, archive.DATA)
    provided.remove("leaving/1.dcm")
    before = provided.waiting()
    outcome = counts(updates("updates-removed"))
    assert outcome == {"Messages": 2, "IndicesRemoved": 1, "PicturesErased": 1}
    assert indexed(provided, "leaving") is None
    assert provided.kept(f"{folder}/picture.webp") is None
    # A quarter of an hour later it is looked at again.
    assert provided.waiting() == before + 1


def test_busy(updates: Function, provided: archive.Archive) -> None:
    """A series that someone else is indexing is left to them, and is looked at again later."""
    provided.put(archive.slices("arriving", 3))
    provided.claim("arriving")
    before = provided.waiting()
    outcome = updates("updates-created")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"Messages": 2, "SeriesBusy": 1}
    assert provided.waiting() == before + 1


def test_recheck(updates: Function, provided: archive.Archive) -> None:
    """Our own messages look at a series as S3's events do."""
    provided.put(archive.slices("arriving-late", 1))
    outcome = updates("updates-recheck")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"Messages": 1, "IndicesUpdated": 1}
    assert indexed(provided, "arriving-late") == ["0.dcm"]


def test_eventbridge(updates: Function, provided: archive.Archive) -> None:
    """Keys of EventBridge's events are as they are."""
    provided.put(archive.slices("arriving by bridge+1", 1))
    assert counts(updates("updates-eventbridge")) == {"Messages": 2, "IndicesUpdated": 1}
    assert indexed(provided, "arriving by bridge+1") == ["0.dcm"]


def test_encoded_key(updates: Function, provided: archive.Archive) -> None:
    """Keys of S3's own notifications are decoded."""
    (data,) = archive.slices("x", 1).values()
    provided.put({"naïve name & more/Schädel 1.dcm": data})
    assert counts(updates("updates-encoded-key")) == {"Messages": 1, "IndicesUpdated": 1}
    assert indexed(provided, "naïve name & more") == ["Schädel 1.dcm"]


def test_several_series(updates: Function, provided: archive.Archive) -> None:
    """One batch may touch several series below several roots; each root's indices lie apart."""
    provided.put(archive.slices("several-a", 1) | archive.slices("several-b", 1))
    provided.put(archive.slices("archive/several-c", 1), archive.OTHER)
    assert counts(updates("updates-several-series")) == {"Messages": 2, "IndicesUpdated": 3}
    assert indexed(provided, "several-a") == indexed(provided, "several-b") == ["0.dcm"]
    assert indexed(provided, "several-c", "other") == ["0.dcm"]


def test_outside(updates: Function) -> None:
    """Objects of other buckets, beside a root's prefix, or in no series are ignored."""
    outcome = updates("updates-outside")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"Messages": 3, "ObjectsIgnored": 3}


def test_test_event(updates: Function) -> None:
    """S3's test event is no message of an object."""
    outcome = updates("updates-test-event")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"Messages": 1}


def test_poison(updates: Function, provided: archive.Archive) -> None:
    """Only messages that are no S3 event fail."""
    provided.put(archive.slices("beside-poison", 1))
    outcome = updates("updates-poison")
    poison = [record["messageId"] for record in event("updates-poison")["Records"][:3]]
    assert outcome.answer == {"batchItemFailures": [{"itemIdentifier": message} for message in poison]}
    assert counts(outcome) == {"Messages": 4, "FailedMessages": 3, "IndicesUpdated": 1}
    assert indexed(provided, "beside-poison") == ["0.dcm"]
