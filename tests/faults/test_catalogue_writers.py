"""Many writers of one catalogue, on a real S3 server, and what reading costs after them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from catalogued import Catalogued, at, looked_at, row
from counting_process import Counted, counting_process
from dicom_series_preview.archive.catalogue.snapshot import FOLDER, SnapshotReader
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage

WRITERS, ROUNDS = 8, int(os.environ.get("DICOM_SERIES_PREVIEW_ROUNDS", "1"))
COMMITS = 1000
WRITER = """
import os, sys
from pathlib import Path
from catalogued import looked_at, row
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage
place, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
storage = open_storage(place, Settings(Path("unused")), os.environ)
for one in range(rounds):
    # A series of its own, and one that all writers know in different versions.
    minute = one * 10 + number
    rows = [row(f"{number}-{one}", minute=minute), row("common", minute=minute)]
    CatalogueTable(storage).merge(rows, looked_at(f"{number}-{one}", "common", minute=minute))
"""


@pytest.fixture
def bucket(moto: servers.Moto, request: pytest.FixtureRequest) -> str:
    """A bucket of its own for each test."""
    name = f"catalogue-{abs(hash(request.node.name)) % 10**8}"
    client = moto.client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture
def counted(moto: servers.Moto) -> Iterator[Counted]:
    """A counted way to the S3 server."""
    with counting_process(moto.endpoint) as running:
        yield running


def storage_of(bucket: str, moto: servers.Moto, endpoint: str | None = None):
    """The bucket as a place for catalogues."""
    environment = {**moto.environment, "AWS_ENDPOINT_URL": endpoint or moto.endpoint}
    return open_storage(f"s3://{bucket}", Settings(Path("unused")), environment)


def test_eight_writers_lose_and_double_no_row(bucket: str, moto: servers.Moto) -> None:
    """Eight processes that create and write one table at once leave each row once, the newest of several."""
    path = os.pathsep.join([str(Path(servers.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **moto.environment, "PYTHONPATH": path}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"s3://{bucket}", str(number), str(ROUNDS)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    ended = [writer.communicate()[1] for writer in writers]
    assert not [text for writer, text in zip(writers, ended, strict=True) if writer.returncode]
    rows = SnapshotReader(storage_of(bucket, moto)).read().to_pylist()
    keys = sorted(one["Series"] for one in rows)
    own = [f"{number}-{one}" for number in range(WRITERS) for one in range(ROUNDS)]
    assert keys == sorted([*own, "common"])
    newest = (ROUNDS - 1) * 10 + WRITERS - 1
    assert {one["Series"]: one["CataloguedAt"] for one in rows}["common"] == at(newest)


def test_reading_takes_few_requests_after_a_thousand_commits(
    bucket: str, moto: servers.Moto, counted: Counted, tmp_path: Path
) -> None:
    """However many commits there were, open and query take at most 12 requests."""
    made = Catalogued.on_disk(tmp_path)
    for number in range(3):
        made.table.merge([row(f"s{number}")], looked_at(f"s{number}"))
    log = tmp_path / "cache" / FOLDER / "_delta_log"
    version = made.reader.snapshot().version
    empty = {"commitInfo": {"timestamp": 1767225600000, "operation": "WRITE", "operationParameters": {}}}
    for number in range(version + 1, COMMITS):
        (log / f"{number:020d}.json").write_text(json.dumps(empty))
    made.table.merge([row("s3")], looked_at("s3"))
    client = moto.client("s3")
    for path in (tmp_path / "cache" / FOLDER).rglob("*"):
        # Of the log that everybody's checkpoint has made needless, its last day would still be there.
        if path.is_file() and (path.suffix != ".json" or int(path.stem) > COMMITS - 50):
            key = path.relative_to(tmp_path / "cache").as_posix()
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    client.close()
    storage = storage_of(bucket, moto, counted.url)
    table = CatalogueTable(storage)
    for number in range(4, 7):
        table.merge([row(f"s{number}")], looked_at(f"s{number}"))
    writing = counted.kinds()
    assert writing["PUT"] <= 3 * 6
    assert writing["GET"] <= 3 * 80
    snapshot = SnapshotReader(storage).snapshot()
    found = SnapshotReader(storage).read()
    reading = counted.kinds()
    assert snapshot.version > COMMITS
    assert sorted(found["Series"].to_pylist()) == [f"s{number}" for number in range(7)]
    # The version is opened twice here: once to be looked at.
    assert reading["GET"] <= 12 + 3
    assert set(reading) == {"GET"}
