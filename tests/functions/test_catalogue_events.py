from typing import Any
from urllib.parse import quote_plus

import pytest

import archive
import servers
from dicom_series_preview.archive.catalogue.snapshot import SnapshotReader
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage
from lambdas import Function, Functions, event

ALL_WELL: dict[str, Any] = {"batchItemFailures": []}


@pytest.fixture
def folds(functions: Functions) -> Function:
    """The function that writes the catalogue's rows."""
    return functions["catalogue_fold"]


@pytest.fixture
def reader(moto: servers.Moto, tmp_path: Any) -> SnapshotReader:
    """Reads the catalogue."""
    return SnapshotReader(open_storage(f"s3://{archive.DATA}", Settings(tmp_path), moto.environment))


def row_of(reader: SnapshotReader, series: str) -> dict[str, Any] | None:
    """A series' row in the catalogue, or None."""
    rows = [row for row in reader.read().to_pylist() if row["Series"] == series]
    assert len(rows) <= 1
    return rows[0] if rows else None


def created(*series: str) -> dict[str, Any]:
    """The event of objects that came into series, after events/updates-created.json."""
    given = event("updates-created")
    record, body = given["Records"][0], given["Records"][0]["body"]
    records = [
        {**record, "messageId": name, "body": body.replace("arriving", quote_plus(name))} for name in series
    ]
    return {"Records": records}


def indexed(functions: Functions, provided: archive.Archive, *series: str) -> None:
    """Write series, and let their indices be built."""
    for name in series:
        provided.put(archive.slices(name, 2))
    assert functions["index_updates"](created(*series)).answer == ALL_WELL


def place(series: str) -> str:
    """Where the index of a series lies."""
    return index_path(series, index_folder(f"s3://{archive.BUCKET}"))


def counts(outcome: Any) -> dict[str, int]:
    """What the function counted, without zeros, as the log and the metrics both tell it."""
    told = next(line["counts"] for line in outcome.lines if line.get("message") == "indices catalogued")
    assert told == {name: value for name, value in outcome.metrics.items() if name != "ColdStart"}
    return {name: value for name, value in told.items() if value}


def test_created(folds: Function, functions: Functions, provided: archive.Archive, reader: Any) -> None:
    """Each index that was written has a row, and all of them are one commit; told again it is none."""
    indexed(functions, provided, "to-catalogue", "naïve name")
    outcome = folds("catalogue-created")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {
        "CatalogueMessages": 2,
        "CatalogueIndices": 2,
        "RowsAdded": 2,
        "CatalogueTries": 1,
    }
    row = row_of(reader, "to-catalogue")
    assert (row["Slices"], row["IndexPath"]) == (2, place("to-catalogue"))
    assert "EchoTime" in row
    assert row_of(reader, "naïve name")["Instances"] == 2
    version = reader.snapshot().version
    again = folds("catalogue-created")
    assert counts(again) == {"CatalogueMessages": 2, "CatalogueIndices": 2, "CatalogueTries": 1}
    assert reader.snapshot().version == version


def test_replayed(folds: Function, functions: Functions, provided: archive.Archive, reader: Any) -> None:
    """What is there now counts, not what the messages say, nor how often and in which order."""
    indexed(functions, provided, "to-catalogue")
    folds("catalogue-replayed")
    before, version = row_of(reader, "to-catalogue"), reader.snapshot().version
    outcome = folds("catalogue-replayed")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"CatalogueMessages": 3, "CatalogueIndices": 1, "CatalogueTries": 1}
    assert (row_of(reader, "to-catalogue"), reader.snapshot().version) == (before, version)


def test_removed(folds: Function, functions: Functions, provided: archive.Archive, reader: Any) -> None:
    """With the last object of a series goes its index, and with that its row and its UID's place."""
    indexed(functions, provided, "to-forget")
    folds("catalogue-removed")
    row = row_of(reader, "to-forget")
    assert row["Slices"] == 2
    below = f"uids/{index_folder(row['Root']).partition('/')[2]}/{row['SeriesInstanceUID']}/"
    assert provided.kept(f"{below}to-forget") == b"to-forget"
    provided.remove("to-forget/0.dcm", "to-forget/1.dcm")
    functions["index_updates"](created("to-forget"))
    later = provided.waiting(provided.looks)
    outcome = folds("catalogue-removed")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {
        "CatalogueMessages": 1,
        "CatalogueGone": 1,
        "RowsRemoved": 1,
        "CatalogueTries": 1,
    }
    assert row_of(reader, "to-forget") is None
    assert provided.kept(f"{below}to-forget") is None
    # A quarter of an hour later it is looked at again.
    assert provided.waiting(provided.looks) == later + 1


def test_partial(folds: Function, functions: Functions, provided: archive.Archive, reader: Any) -> None:
    """A series without an image has a row that says so, as nobody could tell otherwise that it is there."""
    provided.put({"no-image-here/0.dcm": b"no DICOM"})
    functions["index_updates"](created("no-image-here"))
    assert provided.kept(place("no-image-here")) is None
    outcome = folds("catalogue-partial")
    assert outcome.answer == ALL_WELL
    assert counts(outcome)["CatalogueProblems"] == 1
    row = row_of(reader, "no-image-here")
    assert "is no readable DICOM instance" in row["Problem"]
    assert (row["SeriesInstanceUID"], row["IndexPath"], row["Slices"]) == ("", None, None)


def test_look(folds: Function, functions: Functions, provided: archive.Archive, reader: Any) -> None:
    """Our own messages look at an index as S3's do; the last one is followed by none."""
    indexed(functions, provided, "to-look-at")
    assert counts(folds("catalogue-look"))["RowsAdded"] == 1
    provided.s3.delete_object(Bucket=archive.DATA, Key=place("to-look-at"))
    later = provided.waiting(provided.looks)
    assert counts(folds("catalogue-look"))["RowsRemoved"] == 1
    assert row_of(reader, "to-look-at") is None
    assert provided.waiting(provided.looks) == later


def test_outside(folds: Function) -> None:
    """Claims, and indices of roots that are not this deployment's, are ignored."""
    outcome = folds("catalogue-outside")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"CatalogueMessages": 2, "CatalogueIgnored": 2}


def test_test_event(folds: Function) -> None:
    """S3's test event is no message of an index."""
    outcome = folds("catalogue-test-event")
    assert outcome.answer == ALL_WELL
    assert counts(outcome) == {"CatalogueMessages": 1}


def test_poison(folds: Function, functions: Functions, provided: archive.Archive, reader: Any) -> None:
    """Only messages that are neither S3's nor ours fail."""
    indexed(functions, provided, "to-catalogue")
    outcome = folds("catalogue-poison")
    poison = [record["messageId"] for record in event("catalogue-poison")["Records"][:2]]
    assert outcome.answer == {"batchItemFailures": [{"itemIdentifier": message} for message in poison]}
    assert row_of(reader, "to-catalogue")["Slices"] == 2


def test_maintenance(functions: Functions, folds: Function, provided: archive.Archive, reader: Any) -> None:
    """The table has few files afterwards, and the same rows."""
    indexed(functions, provided, "to-catalogue")
    folds("catalogue-created")
    before = reader.read().sort_by("Series").to_pylist()
    outcome = functions["catalogue_maintenance"]("catalogue-maintenance")
    assert outcome.answer["CatalogueFiles"] == outcome.metrics["CatalogueFiles"] == 1
    assert outcome.answer["CatalogueBytes"] == outcome.metrics["CatalogueBytes"] > 0
    assert reader.read().sort_by("Series").to_pylist() == before
