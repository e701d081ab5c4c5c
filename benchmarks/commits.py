"""Measure what a commit of the catalogue takes: the figures of docs/scale.md.

Usage: PATH="$PWD/.venv-aws/bin:$PATH" .venv/bin/python benchmarks/commits.py [ROWS]

Writes a table of ROWS rows (a million) to a real S3 server (seaweedfs) on this machine, then commits 1,000
changed rows that lie scattered in it, 1,000 new ones, 4 changed ones, and the removal of 1,000; each in a
process of its own, as a cold function would. Prints wall clock and CPU seconds, the peak of memory, and, of
a second such commit, the requests.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT / "tests" / "support"))


import counting
import stack as stacks
import synthetic
from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.rows import Place, rows_of, table_of
from dicom_series_preview.archive.catalogue.snapshot import FOLDER, SnapshotReader
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.native import native_place
from dicom_series_preview.sources.storage.open import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROWS = 1_000_000
PART = 100_000
COMMIT = 1_000
ROOT = "s3://dicom-archive"
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
WORK = {"changed": COMMIT, "new": COMMIT, "few": 4, "gone": COMMIT}


def template() -> dict[str, Any]:
    """Return the row of a CT series."""
    made = synthetic.series("s", 60, others=False)
    memory = MemoryStorage(url=ROOT)
    for name, data in made.objects.items():
        memory.put(f"s/{name}", data)
    index = SeriesIndexer(memory, None, Limits()).open(SeriesName("s")).index
    place = Place(ROOT, "s", "0" * 64, "indices/x/s_index.parquet", '"0"', START, START)
    (row,) = rows_of(index, place, Shape())
    return row


def numbered(row: dict[str, Any], number: int, later_s: int = 0) -> dict[str, Any]:
    """Return a row of its own for one series of many: four series a study, ten studies a patient."""
    chance = random.Random(number)
    digits = "".join(chance.choices("0123456789", k=30))
    study = random.Random(number // 4)
    return {
        **row,
        "Series": f"{chance.getrandbits(128):032x}",
        "SeriesInstanceUID": f"1.2.840.113619.2.{digits}",
        "StudyInstanceUID": f"1.2.840.113619.2.{study.getrandbits(90)}",
        "PatientID": f"P{number // 40:07d}",
        "PatientName": f"Name{number // 40}^Given",
        "AccessionNumber": f"{study.getrandbits(40)}",
        "StudyDate": dt.date(2016, 1, 1) + dt.timedelta(days=study.randrange(3650)),
        "StudyTime": dt.time(study.randrange(24), study.randrange(60), study.randrange(60)),
        "Slices": chance.randrange(20, 900),
        "Bytes": chance.randrange(10**7, 10**9),
        "Fingerprint": f"{chance.getrandbits(256):064x}",
        "IndexPath": f"indices/{'0' * 32}/{chance.getrandbits(128):032x}_index.parquet",
        "IndexVersion": f'"{chance.getrandbits(128) + later_s:032x}"',
        "CataloguedAt": START + dt.timedelta(seconds=later_s),
    }


def open_table(endpoint: str) -> CatalogueTable:
    """Open the table on the server."""
    environment = {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "admin",
        "AWS_SECRET_ACCESS_KEY": stacks.secret_of("admin"),
        "AWS_REGION": stacks.REGION,
    }
    settings = Settings(Path(tempfile.gettempdir()))
    return CatalogueTable(open_storage(f"s3://{stacks.DATA_BUCKET}", settings, environment))


def fill(endpoint: str, rows: int) -> None:
    """Write the table, sorted in no way."""
    from deltalake import WriterProperties, write_deltalake  # noqa: PLC0415 - the parent must not load it

    table, row = open_table(endpoint), template()
    # This makes the table, with its configuration.
    table.merge([numbered(row, -1)], {(ROOT, numbered(row, -1)["Series"]): START})
    place, options = native_place(table.storage, FOLDER)
    for first in range(0, rows, PART):
        made = [numbered(row, number) for number in range(first, min(rows, first + PART))]
        for one in made:
            one["StudyTime"] = one["StudyTime"].isoformat("microseconds")
            one["SeriesTime"] = None
        written = table_of(made, Shape().stored_schema)
        how = WriterProperties(compression="ZSTD")
        write_deltalake(place, written, mode="append", storage_options=options, writer_properties=how)
    table.maintain()


def commit(endpoint: str, rows: int, kind: str, turn: int) -> None:
    """Commit one piece of work, and print what it took."""
    table, row, count = open_table(endpoint), template(), WORK[kind]
    step = max(1, rows // count)
    first = rows + turn * count if kind == "new" else turn + list(WORK).index(kind) * 10
    numbers = range(first, first + count) if kind == "new" else range(first, first + step * count, step)
    later_s = turn * len(WORK) + list(WORK).index(kind) + 1
    made = [numbered(row, number, later_s) for number in numbers]
    moment = START + dt.timedelta(seconds=later_s)
    series = {(ROOT, one["Series"]): moment for one in made}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, used = time.perf_counter(), time.process_time()
    change = table.merge([] if kind == "gone" else made, series)
    took = {
        "seconds": round(time.perf_counter() - started, 2),
        "processor": round(time.process_time() - used, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "before_mb": before // 1024,
        "change": [change.added, change.changed, change.removed, change.tries],
    }
    print(json.dumps(took))


def child(*arguments: str) -> str:
    """Run a part of this script in a process of its own: the library holds Python's lock while it asks."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def told(seen: Sequence[counting.Seen]) -> str:
    """Describe requests by kind."""
    kinds = Counter(one.kind for one in seen)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the S3 server."""
    with tempfile.TemporaryDirectory() as folder, stacks.s3_server(Path(folder), {}) as running:
        yield running.endpoint


def main(rows: int) -> None:
    """Print the figures."""
    with server() as endpoint, counting.CountingProxy(endpoint) as proxy:
        started = time.perf_counter()
        child("fill", endpoint, str(rows))
        took_s = time.perf_counter() - started
        files = SnapshotReader(open_table(endpoint).storage).snapshot().files.values()
        size = sum(int(file["size"]) for file in files) / 1e6
        print(f"{rows} rows written in {took_s:.0f} s: {size:.0f} MB in {len(files)} files", flush=True)
        for kind in WORK:
            # The proxy takes time of its own.
            print(kind, child("commit", endpoint, str(rows), kind, "0").strip(), flush=True)
            proxy.clear()
            child("commit", proxy.url, str(rows), kind, "1")
            print(f"    {told(proxy.seen)}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", endpoint, rows]:
            fill(endpoint, int(rows))
        case ["commit", endpoint, rows, kind, turn]:
            commit(endpoint, int(rows), kind, int(turn))
        case [*rows]:
            main(int(rows[0]) if rows else ROWS)
