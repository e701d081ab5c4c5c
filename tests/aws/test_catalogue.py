"""The catalogue as the deployment keeps it: real events through what `sam build` has made."""

import json
import uuid
from typing import Any

import pytest

from built import BUILT, PROJECT

# isort: split

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import stack as stacks
import synthetic
from dicom_series_preview.archive.catalogue.snapshot import SnapshotReader
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage
from stack import Stack

pytestmark = pytest.mark.aws

ALL_WELL: dict[str, Any] = {"batchItemFailures": []}


@pytest.fixture(scope="module")
def stack(layers: list[Path]) -> Iterator[Stack]:
    """The deployment."""
    assert layers
    with stacks.deployed(BUILT, CatalogueColumns="EchoTime") as running:
        yield running


@pytest.fixture(scope="module")
def reader(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> SnapshotReader:
    """Reads the catalogue as the HTTP API does."""
    environment = {
        "AWS_ENDPOINT_URL_S3": stack.s3.endpoint,
        "AWS_ACCESS_KEY_ID": "admin",
        "AWS_SECRET_ACCESS_KEY": stacks.secret_of("admin"),
        "AWS_REGION": stacks.REGION,
    }
    settings = Settings(tmp_path_factory.mktemp("cache"))
    return SnapshotReader(open_storage(f"s3://{stacks.DATA_BUCKET}", settings, environment))


@pytest.fixture
def rows(reader: SnapshotReader) -> Callable[[str], list[dict[str, Any]]]:
    """The catalogue's rows of a series."""
    return lambda series: [row for row in reader.read().to_pylist() if row["Series"] == series]


def upload(stack: Stack, made: synthetic.Synthetic) -> None:
    """Put a series into the bucket, and tell the function of indices."""
    for name, data in made.objects.items():
        stack.s3.client().put_object(Bucket=stacks.DICOM_BUCKET, Key=f"{made.name}/{name}", Body=data)
    tell(stack, "IndexUpdatesFunction", stacks.DICOM_BUCKET, [f"{made.name}/{name}" for name in made.objects])


def tell(
    stack: Stack, function: str, bucket: str, keys: list[str], name: str = "ObjectCreated:Put"
) -> dict[str, Any]:
    """Let a function hear of objects as S3 tells of them; it must understand all of them."""
    event = json.loads((PROJECT / "events" / "catalogue-created.json").read_text(encoding="utf-8"))
    record = event["Records"][0]
    records = []
    for number, key in enumerate(keys):
        body = json.loads(record["body"])
        body["Records"][0]["eventName"] = name
        body["Records"][0]["s3"]["bucket"]["name"] = bucket
        body["Records"][0]["s3"]["object"]["key"] = key
        records.append({**record, "messageId": str(number), "body": json.dumps(body)})
    assert stack.functions[function].invoke({"Records": records}).document() == ALL_WELL
    return {"Records": records}


def fold(stack: Stack, *series: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """Let the function of the catalogue hear of series' indices; return what it was told."""
    keys = [index_key(one) for one in series]
    return tell(stack, "CatalogueFoldFunction", stacks.DATA_BUCKET, keys, name)


def search(stack: Stack, words: str) -> dict[str, Any]:
    """What `GET /series` answers to a search for words."""
    event = json.loads((PROJECT / "events" / "series-200.json").read_text(encoding="utf-8"))
    event |= {"rawQueryString": urlencode({"q": words}), "queryStringParameters": {"q": words}}
    answer = stack.functions["SeriesFunction"].invoke(event).document()
    assert answer["statusCode"] == 200, answer
    return json.loads(answer["body"])


def index_key(series: str) -> str:
    """Where a series' index lies in the data bucket."""
    return index_path(series, index_folder(f"s3://{stacks.DICOM_BUCKET}"))


def objects_below(stack: Stack, prefix: str) -> list[str]:
    """The objects of the data bucket."""
    found = stack.s3.client().list_objects_v2(Bucket=stacks.DATA_BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


def test_an_upload_becomes_a_row(stack: Stack, rows: Callable[[str], list[dict[str, Any]]]) -> None:
    """Upload, event, index, notification, row: it says where and what the series is, over HTTP too."""
    made = synthetic.series(str(uuid.uuid4()), others=False)
    upload(stack, made)
    fold(stack, made.name)
    (row,) = rows(made.name)
    assert row["Root"] == f"s3://{stacks.DICOM_BUCKET}"
    assert (row["Slices"], row["Instances"], row["Problem"]) == (synthetic.SLICES, len(made.objects), None)
    assert row["IndexPath"] == index_key(made.name)
    assert "EchoTime" in row
    (found,) = search(stack, made.name)["series"]
    assert (found["Root"], found["Series"], found["Slices"]) == ("default", made.name, synthetic.SLICES)
    (place,) = objects_below(stack, "uids/")
    assert place.endswith(f"/{row['SeriesInstanceUID']}/{made.name}")


def test_an_old_message_brings_no_old_row_back(
    stack: Stack, reader: SnapshotReader, rows: Callable[[str], list[dict[str, Any]]]
) -> None:
    """A message that arrives again later, even of a removal, changes nothing."""
    made = synthetic.series(str(uuid.uuid4()), 4, others=False)
    upload(stack, made)
    first = fold(stack, made.name)
    more = synthetic.series(made.name, 6, others=False)
    upload(stack, more)
    fold(stack, made.name)
    before, version = rows(made.name), reader.snapshot().version
    assert [row["Slices"] for row in before] == [6]
    function = stack.functions["CatalogueFoldFunction"]
    assert function.invoke(first).document() == ALL_WELL
    fold(stack, made.name, name="ObjectRemoved:Delete")
    assert (rows(made.name), reader.snapshot().version) == (before, version)
    assert [row["Slices"] for row in search(stack, made.name)["series"]] == [6]


def test_erasure_takes_the_row_along(stack: Stack, rows: Callable[[str], list[dict[str, Any]]]) -> None:
    """With the last object of a series go index, row and place, and a look for later is queued."""
    made = synthetic.series(str(uuid.uuid4()), 3, others=False)
    upload(stack, made)
    fold(stack, made.name)
    assert len(rows(made.name)) == 1
    keys = [f"{made.name}/{name}" for name in made.objects]
    for key in keys:
        stack.s3.client().delete_object(Bucket=stacks.DICOM_BUCKET, Key=key)
    tell(stack, "IndexUpdatesFunction", stacks.DICOM_BUCKET, keys, "ObjectRemoved:Delete")
    assert index_key(made.name) not in objects_below(stack, "indices/")
    fold(stack, made.name, name="ObjectRemoved:Delete")
    assert rows(made.name) == []
    assert search(stack, made.name)["total"] == 0
    assert [key for key in objects_below(stack, "uids/") if made.name in key] == []
    sqs = stacks.client("sqs", stack.states, "admin")
    name = "ApproximateNumberOfMessagesDelayed"
    told = sqs.get_queue_attributes(QueueUrl=stacks.LOOKS_URL, AttributeNames=[name])["Attributes"]
    assert int(told[name]) >= 1


def test_a_series_in_two_folders_is_described_whole(
    stack: Stack, rows: Callable[[str], list[dict[str, Any]]]
) -> None:
    """Both rows say what the series is, until one folder goes; the function needs no other right for it."""
    made = synthetic.series(str(uuid.uuid4()), 6, others=False)
    files = list(made.objects.items())
    halves = [replace(made, name=f"{made.name}-{half}", objects=dict(files[half::2])) for half in (0, 1)]
    for half in halves:
        upload(stack, half)
    for half in reversed(halves):
        fold(stack, half.name)
    told = [(row["Folders"], row["Slices"], row["Instances"]) for half in halves for row in rows(half.name)]
    assert told == [(2, 6, 3), (2, 6, 3)]
    keys = [f"{halves[1].name}/{name}" for name in halves[1].objects]
    for key in keys:
        stack.s3.client().delete_object(Bucket=stacks.DICOM_BUCKET, Key=key)
    tell(stack, "IndexUpdatesFunction", stacks.DICOM_BUCKET, keys, "ObjectRemoved:Delete")
    fold(stack, halves[1].name, name="ObjectRemoved:Delete")
    (row,) = rows(halves[0].name)
    assert (row["Folders"], row["Slices"], row["Instances"]) == (1, 3, 3)
    assert stacks.beyond_role(stack, "CatalogueFoldFunction") == []


def test_maintenance_leaves_the_rows(stack: Stack, reader: SnapshotReader) -> None:
    """The daily function joins the table's files, and each row is there afterwards."""
    made = synthetic.series(str(uuid.uuid4()), 3, others=False)
    upload(stack, made)
    fold(stack, made.name)
    before = sorted(reader.read()["Series"].to_pylist())
    event = json.loads((PROJECT / "events" / "catalogue-maintenance.json").read_text(encoding="utf-8"))
    counts = stack.functions["CatalogueMaintenanceFunction"].invoke(event).document()
    assert counts["CatalogueFiles"] == 1
    assert sorted(reader.read()["Series"].to_pylist()) == before


def test_roles_allow_what_was_done(stack: Stack) -> None:
    """Every request of theirs to S3 is one that their roles in the template allow."""
    made = synthetic.series(str(uuid.uuid4()), 3, others=False)
    upload(stack, made)
    fold(stack, made.name)
    for function in ("CatalogueFoldFunction", "CatalogueMaintenanceFunction", "IndexUpdatesFunction"):
        assert stacks.beyond_role(stack, function) == []
    assert stack.requests("CatalogueFoldFunction")


def test_logs_name_nobody(stack: Stack) -> None:
    """Counts alone stand in the functions' logs: no series, no folder and no patient."""
    made = synthetic.series(str(uuid.uuid4()), 3, others=False)
    upload(stack, made)
    fold(stack, made.name)
    said = "".join(text for name, text in stack.log().items() if name.startswith("Catalogue"))
    assert "indices catalogued" in said
    for secret in (*synthetic.SECRETS, made.name, stacks.DATA_BUCKET):
        assert secret not in said
