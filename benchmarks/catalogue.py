"""Measure the catalogue: a table of many made rows, its commits and its questions, and updates from S3.

Usage: python benchmarks/catalogue.py [--rows N] [--json FILE]

The rows are made, not read from headers: as many as real archives have, with text of real lengths. Each
figure is of a process of its own: its time, the processors' time with imports, and its most memory. What
updates ask a bucket for, tests/e2e/test_catalogue_update.py asserts; DICOM_SERIES_PREVIEW_SERIES=10000 makes
it as large as docs/scale.md says.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "support")]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = "s3://archive"
MODALITIES = ("CT", "MR", "CR", "DX", "US", "PT", "NM", "MG")
PARTS = ("CHEST", "ABDOMEN", "HEAD", "KNEE", "LSPINE", "PELVIS", None)
WORDS = ("axial", "t2 tse", "dwi", "lung", "post contrast", "thin", "flair", "localizer", "adc", "vibe")
FIRST_DAY = dt.date(2012, 1, 1)
BATCH = 100_000


def made_rows(first: int, count: int, moment: dt.datetime) -> Iterator[dict[str, Any]]:
    """Rows of series as an archive of studies with eight series each has them."""
    rng = random.Random(first)
    for number in range(first, first + count):
        study = number // 8
        day = FIRST_DAY + dt.timedelta(days=study * 7919 % 5000)
        uid = f"1.2.826.0.1.3680043.10.1338.{number * 104_729 % 10**9}.{number}"
        series = f"studies/{study:07d}/{uid}"
        yield {
            "Root": ROOT,
            "Series": series,
            "SeriesInstanceUID": uid,
            "PatientID": f"P{study % 200_000:07d}",
            "StudyInstanceUID": f"1.2.826.0.1.3680043.10.1338.{study}",
            "AccessionNumber": f"A{study:08d}",
            "StudyDate": day,
            "StudyTime": dt.time(study % 24, number % 60),
            "StudyDescription": f"{rng.choice(WORDS)} {rng.choice(WORDS)}",
            "SeriesNumber": number % 8 + 1,
            "SeriesDescription": f"{rng.choice(WORDS)} {rng.choice(WORDS)} {rng.randrange(100)}",
            "Modality": MODALITIES[study % len(MODALITIES)],
            "BodyPartExamined": PARTS[study % len(PARTS)],
            "Manufacturer": ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips")[study % 3],
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "Rows": 512,
            "Columns": 512,
            "PixelSpacing": [0.5 + rng.random(), 0.5],
            "SliceSpacing": rng.choice((1.0, 1.25, 2.5, 5.0)),
            "SpacingRegular": True,
            "Plane": "AXIAL",
            "Dimensions": "slice",
            "Instances": rng.randrange(1, 600),
            "Slices": rng.randrange(1, 600),
            "Stacks": 1,
            "Bytes": rng.randrange(10**9),
            "Fingerprint": f"{rng.getrandbits(256):064x}",
            "IndexPath": f"indices/{series}_index.parquet",
            "IndexVersion": f'"{rng.getrandbits(128):032x}"',
            "LastModified": moment,
            "CataloguedAt": moment,
        }


def fill(place: Path, rows: int) -> None:
    """Write the rows in a few appends, joined at the end as a writer joins them."""
    from deltalake import write_deltalake  # noqa: PLC0415 - in this process alone

    from dicom_series_preview.archive.catalogue.columns import Shape  # noqa: PLC0415
    from dicom_series_preview.archive.catalogue.rows import table_of  # noqa: PLC0415
    from dicom_series_preview.archive.catalogue.table import CatalogueTable  # noqa: PLC0415
    from dicom_series_preview.sources.storage.local import LocalStorage  # noqa: PLC0415

    storage, shape = LocalStorage(place, 4), Shape()
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    first = list(made_rows(0, 1, moment))
    CatalogueTable(storage).merge(first, {(ROOT, first[0]["Series"]): moment})
    for start in range(1, rows, BATCH):
        made = made_rows(start, min(BATCH, rows - start), moment)
        cells = [{**one, "StudyTime": one["StudyTime"].isoformat("microseconds")} for one in made]
        table = table_of(cells, shape.stored_schema.remove_metadata())
        write_deltalake(str(place / "catalogue"), table, mode="append")
    CatalogueTable(storage).maintain()


def commit(place: Path, rows: int, kind: str) -> None:
    """Commit a thousand rows: of series all over the table, or new ones."""
    from dicom_series_preview.archive.catalogue.table import CatalogueTable  # noqa: PLC0415
    from dicom_series_preview.sources.storage.local import LocalStorage  # noqa: PLC0415

    moment = dt.datetime.now(dt.UTC)
    if kind == "new":
        start = rows + int(moment.timestamp())
        made = list(made_rows(start, 1000, moment))
    else:
        made = [next(made_rows(number, 1, moment)) for number in range(0, rows, max(1, rows // 1000))][:1000]
    table = CatalogueTable(LocalStorage(place, 4))
    tell(lambda: table.merge(made, {(ROOT, one["Series"]): moment for one in made}))


QUESTIONS = {
    "newest 100": {"limit": 100},
    "modality and date": {"where": "Modality = 'MR' AND StudyDate BETWEEN '2019-01-01' AND '2019-01-31'"},
    "text": {"where": "SeriesDescription LIKE '%flair%'", "limit": 100},
    "one study": {"where": "StudyInstanceUID = '1.2.826.0.1.3680043.10.1338.4711'"},
}


def ask(place: Path, question: str) -> None:
    """Ask one question as the command line does."""
    from dicom_series_preview.products.catalogue.asking import Asking, SeriesQuery  # noqa: PLC0415
    from dicom_series_preview.sources.storage.local import LocalStorage  # noqa: PLC0415

    asking = Asking(LocalStorage(place, 4))
    if question == "group by":
        sql = "SELECT Modality, count(*) AS n, sum(Bytes) AS b FROM series GROUP BY Modality"
        tell(lambda: asking.sql(sql))
    else:
        tell(lambda: asking.series(SeriesQuery(**QUESTIONS[question])))


def tell(work: Callable[[], Any]) -> None:
    """Do some work, and print how long it took, the processors' time, and the most memory of a process."""
    started = time.perf_counter()
    work()
    spent = time.perf_counter() - started
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    told = {
        "seconds": round(spent, 3),
        "cpu_s": round(sum(one.ru_utime + one.ru_stime for one in (own, others)), 3),
        "peak_mb": round(max(own.ru_maxrss, others.ru_maxrss) / 1024),
    }
    print(json.dumps(told))


def measured(*arguments: str) -> dict[str, float]:
    """Run one part of this script in a process of its own; what it tells, and the whole process' time."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    whole = round(time.perf_counter() - started, 3)
    return {**json.loads(done.stdout or "{}"), "process_s": whole}


def of_table(rows: int) -> dict[str, Any]:
    """Measure commits and questions on a table of made rows."""
    with tempfile.TemporaryDirectory() as scratch:
        found: dict[str, Any] = {"made": measured("--part", "fill", scratch, str(rows))}
        sizes = [path.stat().st_size for path in (Path(scratch) / "catalogue").glob("*.parquet")]
        found["file_mb"] = round(max(sizes) / 1e6, 1)
        for question in (*QUESTIONS, "group by"):
            found[question] = measured("--part", "ask", scratch, question)
        for kind in ("scattered", "new"):
            found[f"commit of 1,000, {kind}"] = measured("--part", "commit", scratch, str(rows), kind)
        found["newest 100 after commits"] = measured("--part", "ask", scratch, "newest 100")
        return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, place, *rest = options.part
        if name == "fill":
            fill(Path(place), int(rest[0]))
        elif name == "commit":
            commit(Path(place), int(rest[0]), rest[1])
        else:
            ask(Path(place), rest[0])
        return
    found = of_table(options.rows)
    for name, figures in found.items():
        print(f"{name:28} {figures}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
