"""Measure reading headers and building an index, compared with pydicom: CPU, never wall clock.

Usage: DICOM_TEST_DATA=... python benchmarks/headers.py [ROUNDS]

For each series, prints a header's CPU time in milliseconds: `pydicom.dcmread` until the pixels, the same with
every element's value read (dcmread leaves values as bytes until then; an index needs them), our bytes to
`Record`, and our records to the bytes of the Parquet file. The best of some rounds counts.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT / name) for name in ("shared", "tests/support")]

import pydicom

import synthetic
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.records import Provenance, Record
from dicom_series_preview.base.errors import ObjectError
from dicom_series_preview.sources.headers.convert import Converter
from dicom_series_preview.sources.headers.header import Header, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 5
PROVENANCE = Provenance(series="series", root="memory://", fingerprint="f" * 64, listed=1)


def main(rounds: int) -> None:
    """Print a line for each series, and one for all single files, each of which counts as a series."""
    print(f"{'':26}headers  bytes  dcmread  touched     read    build   dcmread/read  touched/(read + build)")
    for name, series in collections():
        headers = [header for objects in series for header in objects]
        lazily = best(rounds, lambda headers=headers: [dcmread(data) for data, _ in headers])
        touched = best(rounds, lambda headers=headers: [touch(dcmread(data)) for data, _ in headers])
        ours = best(rounds, lambda series=series: [records(objects) for objects in series])
        made = [records(objects) for objects in series]
        built = best(rounds, lambda made=made: [write(part) for part in made])
        each = [1000 * seconds / len(headers) for seconds in (lazily, touched, ours, built)]
        mean = sum(len(data) for data, _ in headers) // len(headers)
        print(
            f"{name:26}{len(headers):7} {mean:6} " + " ".join(f"{figure:8.3f}" for figure in each),
            f"{each[0] / each[2]:14.1f} {each[1] / (each[2] + each[3]):22.1f}",
        )


def collections() -> Iterator[tuple[str, list[list[tuple[bytes, int]]]]]:
    """Yield series of headers by name: an object's first bytes up to its pixels, and its size."""
    for count in (300, 5000):
        objects = synthetic.series("headers", count, others=False, side=8).objects.values()
        yield f"synthetic-{count}", [[(data, len(data)) for data in objects]]
    if "DICOM_TEST_DATA" not in os.environ:
        return
    folder = Path(os.environ["DICOM_TEST_DATA"])
    for series in sorted((folder / "series").iterdir()):
        yield series.name, [headers_in(series)]
    singles = sorted((folder / "single").rglob("*"))
    yield "single files", [part for path in singles if path.is_file() and (part := headers_in(path))]


def headers_in(place: Path) -> list[tuple[bytes, int]]:
    """Return the headers that both can read, of a file or of those below a folder."""
    found = []
    for path in [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            header = parse(data, len(data), Converter())
            assert isinstance(header, Header)
            touch(dcmread(data))
        except (ObjectError, pydicom.errors.InvalidDicomError, ValueError):
            continue
        # Include a few bytes of the pixels, whose start shows that the header is complete.
        found.append((data[: header.length + 64], len(data)))
    return found


def dcmread(data: bytes) -> pydicom.Dataset:
    """Read a header with pydicom."""
    return pydicom.dcmread(BytesIO(data), stop_before_pixels=True, force=True)


def touch(dataset: pydicom.Dataset) -> None:
    """Read every value, including those in sequences."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                touch(item)


def records(objects: list[tuple[bytes, int]]) -> list[Record]:
    """Return the records of a series."""
    converter, made = Converter(), []
    for number, (data, size) in enumerate(objects):
        header = parse(data, size, converter)
        assert isinstance(header, Header)
        made.append(Record.of(f"{number:06}", "version", header))
    return made


def write(part: list[Record]) -> bytes:
    """Return the index of a series, as a file."""
    return Index(build(part, PROVENANCE)).to_parquet()


def best(rounds: int, work: Callable[[], object]) -> float:
    """Return CPU seconds, the least of some rounds."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
