"""The manifest of an archive: a row for each series, from a listing alone; in shards for many machines."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dicom_series_preview.archive.catalogue.discover import discover
from dicom_series_preview.archive.query import is_passed_over
from dicom_series_preview.base.errors import RequestError, quoted
from dicom_series_preview.products.volumes.fleet.meta import csv_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dicom_series_preview.sources.storage.base import ObjectInfo

Layout = Literal["any", "v1", "v2"]
"""Where series lie below a root: in any folder; `*/Images/SERIES`; `Images/*/Images/SERIES`."""

COLUMNS = (
    *("dataset", "series_dir", "file_count", "series_hash", "series_uid", "series_description"),
    *("image_type", "kernel", "study_uid"),
)
"""The columns of a manifest, save `patient_id`, which stands last where it is kept."""

FROM_CATALOGUE = {
    "series_uid": "SeriesInstanceUID",
    "series_description": "SeriesDescription",
    "image_type": "ImageType",
    "kernel": "ConvolutionKernel",
    "study_uid": "StudyInstanceUID",
    "patient_id": "PatientID",
}
"""The columns that the catalogue knows, and what it calls them."""

_HEX = re.compile("[0-9a-fA-F]+")
_IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Place:
    """A root of series.

    Attributes:
        dataset: What it is called.
        url: Its path or URL.
        layout: How series lie below it.
        is_told: Its rows say where it is: a manifest of several roots has whole paths.
    """

    dataset: str
    url: str
    layout: Layout = "any"
    is_told: bool = False

    def whole(self, folder: str) -> str:
        """Return the whole path or URL of a folder below it."""
        return f"{self.url.rstrip('/')}/{folder}"


@dataclass(frozen=True, slots=True)
class Found:
    """The series of a root.

    Attributes:
        place: The root.
        rows: A row for each series, by its columns.
        folders: The folder of each, below the root.
        too_deep: Series that lie deeper than was looked.
        loose: Objects right in the root, in no series' folder.
    """

    place: Place
    rows: Sequence[Mapping[str, Any]]
    folders: Sequence[str]
    too_deep: int = 0
    loose: int = 0


def series_hash(text: str) -> str:
    """Return the first 8 hex digits of a text's SHA-1: for display and for shards, never for a name."""
    return hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()[:8]


def shard_of(digits: str, shards: int) -> int:
    """Return the shard of a series, by its hash."""
    number = int(digits, 16) if _HEX.fullmatch(digits) else int(series_hash(digits), 16)
    return number % shards


def found_in(
    listing: Sequence[ObjectInfo], place: Place, depth: int, known: Mapping[str, Mapping[str, Any]]
) -> Found:
    """Find the series of a root in its listing.

    Args:
        listing: All objects below it.
        place: The root.
        depth: How many folders deep a series may lie; of v1, how deep its folder `Images`, below the study.
        known: What the catalogue has of series, by folder: cells by column of the manifest.
    """
    counts: dict[str, int]
    loose = 0
    if place.layout == "any":
        discovered = discover(listing)
        counts = {
            folder: sum(not is_passed_over(one.path) for one in objects)
            for folder, objects in discovered.series.items()
        }
        loose = len(discovered.loose)
        deep = [folder for folder in counts if folder.count("/") + 1 > depth]
    else:
        counts = dict(Counter(filter(None, (_below_images(one.path, place.layout) for one in listing))))
        # Beside the study and the series itself, `Images` is one more.
        deep = [one for one in counts if place.layout == "v1" and one.count("/") > depth + 2]
    folders = sorted(counts.keys() - set(deep))
    rows = []
    for folder in folders:
        series_dir = place.whole(folder) if place.is_told else folder
        row = {
            "dataset": place.dataset,
            "series_dir": series_dir,
            "file_count": counts[folder],
            "series_hash": series_hash(series_dir),
        }
        rows.append({**row, **known.get(folder, {})})
    return Found(place, rows, folders, len(deep), loose)


def _below_images(path: str, layout: Layout) -> str:
    """Return the folder of a series that an object lies in: one right below a folder `Images`; or empty."""
    parts = path.split("/")[:-1]
    if is_passed_over(path):
        return ""
    if layout == "v2":
        is_one = len(parts) >= 4 and parts[0] == parts[2] == "Images"
        return "/".join(parts[:4]) if is_one else ""
    # The first one below the study's folder.
    at = next((number for number, part in enumerate(parts) if number and part.lower() == _IMAGES), None)
    return "/".join(parts[: at + 2]) if at is not None and len(parts) > at + 1 else ""


def known_of(rows: Iterable[Mapping[str, Any]], *, identity: bool) -> dict[str, dict[str, Any]]:
    """Return what the catalogue has of series, by folder: cells by column of the manifest.

    Of a folder with several series, each cell has the values of all.

    Args:
        rows: The catalogue's rows of one root.
        identity: Also say who the patient is.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        cells = found.setdefault(row["Series"], {})
        for name, column in FROM_CATALOGUE.items():
            value = row.get(column)
            text = "\\".join(value) if isinstance(value, list) else value
            if text and (identity or name != "patient_id") and text not in cells.setdefault(name, []):
                cells[name].append(text)
    return {
        folder: {name: "; ".join(values) for name, values in cells.items()} for folder, cells in found.items()
    }


def manifest_files(
    found: Sequence[Found], shards: int, *, identity: bool = False
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the manifest's files by name, and its summary.

    Args:
        found: The series of each root.
        shards: How many shards to make.
        identity: Also write who the patient is.
    """
    columns = (*COLUMNS, "patient_id") if identity else COLUMNS
    rows: list[dict[str, Any]] = [
        {name: row.get(name) for name in columns} for one in found for row in one.rows
    ]
    paths = [one.place.whole(folder) for one in found for folder in one.folders]
    parts: list[list[dict[str, Any]]] = [[] for _ in range(shards)]
    for row in rows:
        parts[shard_of(row["series_hash"], shards)].append(row)
    digits = max(2, len(str(shards - 1)))
    files = {
        f"shards/series_shard_{number:0{digits}d}.csv": _table(columns, part)
        for number, part in enumerate(parts)
    }
    files["series_all.csv"] = _table(columns, rows)
    files["series_all_paths.txt"] = "".join(f"{path}\n" for path in paths).encode("utf-8", "surrogateescape")
    summary = {
        "total_series": len(rows),
        "num_shards": shards,
        "shard_counts": [len(part) for part in parts],
        "manifest_csv": "series_all.csv",
        "manifest_txt": "series_all_paths.txt",
        "shards_dir": "shards",
        "datasets": [one.place.dataset for one in found],
        "file_count_total": sum(row["file_count"] for row in rows),
        "known_to_the_catalogue": sum(bool(row["series_uid"]) for row in rows),
        "too_deep": sum(one.too_deep for one in found),
        "loose_objects": sum(one.loose for one in found),
    }
    files["manifest_summary.json"] = (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode()
    return files, summary


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    return csv_of(rows) if rows else (",".join(columns) + "\n").encode()


def rows_of(text: str) -> list[dict[str, str]]:
    """Read a manifest.

    Raises:
        RequestError: It has no column that names series, or a row has none.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    names = {"series_dir", "path", "series_uid"} & set(reader.fieldnames or ())
    if not names:
        raise RequestError("manifest", "it has neither a column series_dir nor series_uid")
    rows = []
    for number, row in enumerate(reader, 2):
        if not name_in(row):
            raise RequestError("manifest", f"line {number} names no series")
        rows.append({key: value or "" for key, value in row.items() if key})
    return rows


def name_in(row: Mapping[str, str]) -> str:
    """Return the series that a row names: its folder, else its SeriesInstanceUID."""
    return row.get("series_dir") or row.get("path") or row.get("series_uid") or ""


def hash_in(row: Mapping[str, str]) -> str:
    """Return a row's hash, by which it is put into a shard."""
    return row.get("series_hash") or series_hash(name_in(row))


@dataclass(frozen=True, slots=True)
class Shard:
    """A share of a manifest.

    Attributes:
        number: Which, from 0.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `I/N`.

        Raises:
            RequestError: It is none.
        """
        number, _, of = text.partition("/")
        is_one = number.isdecimal() and of.isdecimal() and int(number) < int(of) <= 10**6
        if not is_one:
            raise RequestError("shard", f"{quoted(text)} is no shard I/N, such as 0/16: I from 0 to N - 1")
        return cls(int(number), int(of))

    def holds(self, row: Mapping[str, str]) -> bool:
        """Return True where a row belongs to it."""
        return shard_of(hash_in(row), self.of) == self.number
