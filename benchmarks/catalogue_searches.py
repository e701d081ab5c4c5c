"""Measure searches of the catalogue over HTTP: a made table of a million rows, on this machine's disk.

Usage: python benchmarks/catalogue_searches.py [ROWS] [drop|hash|keep]

Prints for each question the series found, the first answer's milliseconds, and the median of the next in
milliseconds and in CPU milliseconds; then the memory of the process. The first answer of all reads the table.
"""

from __future__ import annotations

import datetime as dt
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qs

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT / "shared")]

import deltalake
import numpy as np
import pyarrow as pa

from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.base.settings import IDENTIFIER_MODES, Identifiers
from dicom_series_preview.products.catalogue.view import CatalogueView
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.web.http.api import PreviewApi
from dicom_series_preview.web.http.messages import HttpRequest

ROUNDS = 21
ROOT = "s3://archive"
WORDS = (
    *("AX", "SAG", "COR", "T1", "T2", "FLAIR", "DWI", "ADC", "thorax", "abdomen", "lung", "head"),
    *("post", "contrast", "localizer", "fse", "spc", "mprage"),
)
QUESTIONS = {
    "newest page": "",
    "modality and date": "modality=CT&date=20200101-20201231",
    "one study": "study=1.3.6.1.4.1.14519.5.2.1.2.15",
    "text": "description=*T1*FLAIR*",
    "two words anywhere": "q=thorax+contrast",
    "by description": "sort=SeriesDescription",
    "largest": "sort=-Bytes",
    "1000 as CSV": "limit=1000&format=csv",
}


def main(rows: int, mode: str) -> None:
    """Make the table in a process of its own, and print a line for each question."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, str(rows), folder], check=True)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        view = CatalogueView(LocalStorage(Path(folder), 8), {"default": ROOT}, Identifiers(mode, b"k" * 32))
        api = PreviewApi({}, answer_limit_bytes=2**28, catalogue=lambda: view)
        print(f"{rows} rows, {size / 2**20:.0f} MiB of files, identifiers: {mode}")
        print(f"{'':20}   found   first  median     CPU  ms")
        for name, query in QUESTIONS.items():
            found, first, median, cpu = asked(api, query)
            print(f"{name:20}{found:>8}{first:8.0f}{median:8.1f}{cpu:8.1f}")
        print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def asked(api: PreviewApi, query: str) -> tuple[str, float, float, float]:
    """Return the series found, and milliseconds: the first answer's, the others' median, and their CPU's."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        answer = api.series(HttpRequest(query=parse_qs(query)))
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - used) * 1000)
        assert answer.status == 200, answer.body
    return answer.headers["Preview-Total"], wall[0], statistics.median(wall[1:]), statistics.median(cpu[1:])


def made(rows: int) -> pa.Table:
    """Make a table of rows: five series a study, four studies a patient, words in the descriptions."""
    random = np.random.default_rng(0)
    number, study = np.arange(rows), np.arange(rows) // 5
    phrases = [" ".join(random.choice(WORDS, 3)) for _ in range(20_000)]

    def texts(form: str, numbers: np.ndarray) -> pa.Array:
        return pa.array([form.format(int(one)) for one in numbers])

    def some(values: list[str | None]) -> pa.Array:
        return pa.array(values).take(pa.array(random.integers(0, len(values), rows)))

    named = {
        "Root": lambda: pa.array([ROOT]).take(pa.array(np.zeros(rows, int))),
        "Series": lambda: texts("{:x}", number * 2654435761 % 2**32 + 2**32 * number),
        "SeriesInstanceUID": lambda: texts("1.3.6.1.4.1.14519.5.2.1.1.{}", number * 1_000_003),
        "StudyInstanceUID": lambda: texts("1.3.6.1.4.1.14519.5.2.1.2.{}", study),
        "PatientID": lambda: texts("PID{:07}", study // 4),
        "PatientName": lambda: texts("Name{}", study // 4),
        "AccessionNumber": lambda: texts("A{:09}", study),
        "StudyDate": lambda: pa.array(
            random.integers(14_000, 20_500, rows // 5 + 1)[study].astype("int32")
        ).cast(pa.date32()),
        "Modality": lambda: some(["CT", "MR", "US", "CR", "PT", "SR"]),
        "SeriesDescription": lambda: some(phrases),
        "StudyDescription": lambda: some(phrases),
        "ProtocolName": lambda: some(phrases),
        "IndexPath": lambda: texts(
            "indices/0123456789abcdef0123456789abcdef/{:x}_index.parquet", number * 2**20
        ),
        "Fingerprint": lambda: texts("{:032x}", number * 2654435761),
        "IndexVersion": lambda: texts("{:032x}", number * 2246822519),
        "Problem": lambda: some([None] * 99 + ["no instance is readable"]),
        "ImageType": lambda: pa.array([["ORIGINAL", "PRIMARY", "AXIAL"]] * rows),
        "TransferSyntaxUID": lambda: pa.array([["1.2.840.10008.1.2.1"]] * rows),
        "PixelSpacing": lambda: pa.array([[0.7, 0.7]] * rows),
    }

    def column(field: pa.Field) -> pa.Array:
        if field.name in named:
            return named[field.name]().cast(field.type)
        if pa.types.is_string(field.type):
            return some([f"{field.name} {i}" for i in range(50)])
        if pa.types.is_timestamp(field.type):
            return pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * rows, field.type)
        numbers = random.integers(0, 2 if pa.types.is_boolean(field.type) else 500, rows)
        return pa.array(numbers.astype("int32")).cast(field.type)

    schema = Shape().stored_schema.remove_metadata()
    return pa.table([column(field) for field in schema], schema=schema)


if __name__ == "__main__":
    given = [*sys.argv[1:], *("1000000", "drop")[len(sys.argv) - 1 :]]
    if given[1] in IDENTIFIER_MODES:
        main(int(given[0]), given[1])
    else:
        deltalake.write_deltalake(f"{given[1]}/catalogue", made(int(given[0])))
