"""What each event of changes comes to at its function; what an update does is told beside its module."""

import io
from typing import Any

import pyarrow.parquet as pq
import pytest

import archive
from bench import one
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.web.http.renders import Renders
from lambdas import Function, Functions, event


@pytest.fixture
def updates(functions: Functions) -> Function:
    """The function of index updates."""
    return functions["index_updates"]


def indexed(provided: archive.Archive, name: str) -> list[str] | None:
    """The objects in the index of `alias/series`, or None where there is none."""
    alias, series = name.split("/")
    data = provided.kept(index_path(series, index_folder(provided.roots[alias])))
    return sorted(pq.read_table(io.BytesIO(data))["FileName"].to_pylist()) if data is not None else None


def counts(outcome: Any) -> dict[str, int]:
    """What the function counted, without zeros, as the log and the metrics both tell it."""
    told = next(line["counts"] for line in outcome.lines if line.get("message") == "indices updated")
    assert told == {name: value for name, value in outcome.metrics.items() if name != "ColdStart"}
    return {name: value for name, value in told.items() if value}


SEVERAL = ("default/several-a", "default/several-b", "other/several-c")
# By event: the objects that are there, by `alias/series`; how many messages, and what else is counted.
EVENTS: dict[str, tuple[dict[str, list[str]], int, dict[str, int]]] = {
    "updates-created": ({"default/arriving": ["0.dcm", "1.dcm", "2.dcm"]}, 2, {}),
    "updates-duplicates": ({"default/arriving-twice": ["0.dcm", "1.dcm"]}, 4, {}),
    "updates-recheck": ({"default/arriving-late": ["0.dcm"]}, 1, {}),
    "updates-eventbridge": ({"default/arriving by bridge+1": ["0.dcm"]}, 2, {}),
    "updates-encoded-key": ({"default/naïve name & more": ["Schädel 1.dcm"]}, 1, {}),
    "updates-several-series": ({place: ["0.dcm"] for place in SEVERAL}, 2, {}),
    "updates-outside": ({}, 3, {"ObjectsIgnored": 3}),
    "updates-test-event": ({}, 1, {}),
    "updates-poison": ({"default/beside-poison": ["0.dcm"]}, 4, {"FailedMessages": 3}),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event(updates: Function, provided: archive.Archive, name: str) -> None:
    """Each index has what is there; log and metrics count what was done; poison alone is handed back.

    The same event again changes nothing.
    """
    series, messages, others = EVENTS[name]
    for place, files in series.items():
        bucket = archive.BUCKET if place.startswith("default") else archive.OTHER
        folder = place.replace("default/", "").replace("other", "archive")
        provided.put({f"{folder}/{file}": one(i) for i, file in enumerate(files)}, bucket)
    poison = [record["messageId"] for record in event(name)["Records"]][: others.get("FailedMessages", 0)]
    for done in ("IndicesUpdated", "IndicesUnchanged"):
        outcome = updates(name)
        assert outcome.answer == {"batchItemFailures": [{"itemIdentifier": message} for message in poison]}
        updated = {done: len(series)} if series else {}
        assert counts(outcome) == {"Messages": messages, **updated, **others}
        assert {place: indexed(provided, place) for place in series} == series


def test_removed(updates: Function, provided: archive.Archive) -> None:
    """An object that went leaves the index; the last takes index and pictures along, and is rechecked."""
    provided.put(archive.slices("leaving", 2))
    assert counts(updates("updates-removed")) == {"Messages": 2, "IndicesUpdated": 1}
    provided.remove("leaving/0.dcm")
    assert counts(updates("updates-removed")) == {"Messages": 2, "IndicesUpdated": 1}
    assert indexed(provided, "default/leaving") == ["1.dcm"]
    folder = Renders(MemoryStorage()).folder_of(f"s3://{archive.BUCKET}", "leaving")
    provided.put({f"{folder}/picture.webp": b"a picture"}, archive.DATA)
    provided.remove("leaving/1.dcm")
    before = provided.waiting()
    outcome = counts(updates("updates-removed"))
    assert outcome == {"Messages": 2, "IndicesRemoved": 1, "PicturesErased": 1}
    assert indexed(provided, "default/leaving") is None
    assert provided.kept(f"{folder}/picture.webp") is None
    assert provided.waiting() == before + 1


def test_busy(updates: Function, provided: archive.Archive) -> None:
    """A series that someone else is indexing is left to them, and a recheck of it is in the queue."""
    provided.put(archive.slices("arriving", 3))
    provided.claim("arriving")
    before = provided.waiting()
    outcome = updates("updates-created")
    assert outcome.answer == {"batchItemFailures": []}
    assert counts(outcome) == {"Messages": 2, "SeriesBusy": 1}
    assert provided.waiting() == before + 1
