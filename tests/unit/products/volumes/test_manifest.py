"""The manifest of an archive, from its listing."""

import csv
import hashlib
import io
from typing import Any

import pytest

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.volumes.fleet.manifest import (
    Place,
    Shard,
    found_in,
    hash_in,
    known_of,
    manifest_files,
    rows_of,
    series_hash,
    shard_of,
)
from dicom_series_preview.sources.storage.base import ObjectInfo

ARCHIVE = Place("archive", "/data/archive")


def listing(*paths: str) -> list[ObjectInfo]:
    return [ObjectInfo(path, 10, "v") for path in sorted(paths)]


def folders(*paths: str, place: Place = ARCHIVE, depth: int = 3) -> list[str]:
    return [row["series_dir"] for row in found_in(listing(*paths), place, depth, {}).rows]


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_hash_and_shard() -> None:
    """A series' hash is the first 8 hex digits of its name's SHA-1; its shard is that number modulo all."""
    digits = hashlib.sha1(b"p1/ct", usedforsecurity=False).hexdigest()[:8]
    assert series_hash("p1/ct") == digits
    assert shard_of(digits, 16) == int(digits, 16) % 16
    assert shard_of("not hex", 16) == int(series_hash("not hex"), 16) % 16


def test_a_series_is_a_folder() -> None:
    """A series is the highest folder that holds objects; what is no instance by name makes none."""
    found = found_in(
        listing("p/ct/1.dcm", "p/ct/2.dcm", "p/ct/more/3.dcm", "p/README.txt", "p/mr/1.dcm", "loose.dcm"),
        ARCHIVE,
        3,
        {},
    )
    assert [(row["series_dir"], row["file_count"]) for row in found.rows] == [("p/ct", 3), ("p/mr", 1)]
    assert found.loose == 1


def test_depth() -> None:
    """What lies deeper is left out, and counted."""
    found = found_in(listing("a/1.dcm", "b/c/1.dcm", "d/e/f/1.dcm"), ARCHIVE, 2, {})
    assert [row["series_dir"] for row in found.rows] == ["a", "b/c"]
    assert found.too_deep == 1


def test_first_layout() -> None:
    """v1: the folders right below the first `Images` of a study, whatever its case; whole paths."""
    place = Place("v1", "/data/one/", "v1", is_told=True)
    paths = (
        "s1/Images/a/1.dcm",
        "s1/Images/a/x/2.dcm",
        "s2/deep/images/b/1.dcm",
        "s3/c/1.dcm",
        "Images/d/1.dcm",
    )
    assert folders(*paths, place=place) == ["/data/one/s1/Images/a", "/data/one/s2/deep/images/b"]
    assert folders("s/1/2/3/4/Images/a/1.dcm", place=place) == []


def test_second_layout() -> None:
    """v2: Images/HASH/Images/SERIES, however deep that is."""
    place = Place("v2", "/data/two", "v2", is_told=True)
    paths = ("Images/ab/Images/1.2.3/1.dcm", "Images/ab/1.dcm", "s1/Images/a/1.dcm")
    assert folders(*paths, place=place, depth=1) == ["/data/two/Images/ab/Images/1.2.3"]


def test_shards_hold_each_series_once() -> None:
    """Every series is in one shard: that of its hash."""
    found = found_in(listing(*(f"p{number}/1.dcm" for number in range(50))), ARCHIVE, 3, {})
    files, summary = manifest_files([found], 4)
    parts = [table(files[f"shards/series_shard_{number:02d}.csv"]) for number in range(4)]
    assert summary["shard_counts"] == [len(part) for part in parts]
    for number, part in enumerate(parts):
        assert all(int(row["series_hash"], 16) % 4 == number for row in part)
        assert part == [row for row in table(files["series_all.csv"]) if Shard(number, 4).holds(row)]
    assert sorted(row["series_dir"] for part in parts for row in part) == sorted(f"p{n}" for n in range(50))
    assert files["series_all_paths.txt"].decode().splitlines()[0] == "/data/archive/p0"


CATALOGUE: list[dict[str, Any]] = [
    {
        "Series": "p/ct",
        "SeriesInstanceUID": uid,
        "SeriesDescription": "chest",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "ConvolutionKernel": "B31f",
        "StudyInstanceUID": "1.2",
        "PatientID": "PID-4711-0815",
    }
    for uid in ("1.2.3", "1.2.4")
]


def test_what_the_catalogue_knows() -> None:
    """UIDs, description, type and kernel come from the catalogue; of several series in a folder all."""
    known = known_of(CATALOGUE, identity=False)
    files, _ = manifest_files([found_in(listing("p/ct/1.dcm"), ARCHIVE, 3, known)], 2)
    (row,) = table(files["series_all.csv"])
    assert row["series_uid"] == "1.2.3; 1.2.4"
    assert (row["image_type"], row["kernel"]) == ("ORIGINAL\\PRIMARY", "B31f")


def test_patients_are_named_on_request_only() -> None:
    """PatientID is a column with identity kept, and nowhere else."""
    for identity in (False, True):
        found = found_in(listing("p/ct/1.dcm"), ARCHIVE, 3, known_of(CATALOGUE, identity=identity))
        files, _ = manifest_files([found], 1, identity=identity)
        assert (b"4711" in b"".join(files.values())) is identity
        assert ("patient_id" in table(files["series_all.csv"])[0]) is identity


def test_an_empty_shard_is_a_table() -> None:
    """A shard without series has the columns all the same, and reads as no series."""
    files, _ = manifest_files([found_in([], ARCHIVE, 3, {})], 2)
    assert rows_of(files["shards/series_shard_00.csv"].decode()) == []


def test_reading_a_manifest() -> None:
    """A row names its series by series_dir, path or series_uid; its hash is made where it has none."""
    assert hash_in(rows_of("\ufeffseries_uid\n1.2.3\n")[0]) == series_hash("1.2.3")
    assert rows_of("path,series_hash\na,00ff\n")[0]["series_hash"] == "00ff"
    with pytest.raises(RequestError, match="neither a column"):
        rows_of("folder\na\n")
    with pytest.raises(RequestError, match="line 3 names no series"):
        rows_of("series_dir,x\na,1\n,2\n")


@pytest.mark.parametrize("text", ["16", "1/", "/4", "4/4", "-1/4", "a/b", "1/0"])
def test_no_shard(text: str) -> None:
    """A shard is I/N, with I below N."""
    with pytest.raises(RequestError, match="is no shard"):
        Shard.parse(text)
