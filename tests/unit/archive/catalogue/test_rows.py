import datetime as dt
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.multival import MultiValue

import make_dicom as make
from catalogued import Catalogued
from dicom_series_preview.archive.catalogue.columns import OF_SERIES
from dicom_series_preview.sources.storage.local import LocalStorage

# What says where a row's objects lie and when they were looked at, or counts what lies beside them.
OF_PLACES = {
    *("Root", "Series", "IndexPath", "IndexVersion", "Fingerprint", "LastModified", "CataloguedAt"),
    "SkippedObjects",
}
# What the rows of a split series tell of their own folders, and how many there are.
OF_PARTS = {"Instances", "Frames", "Bytes", "TransferSyntaxUID", "Folders"}


@dataclass
class Truth:
    """What pydicom reads of a series.

    Attributes:
        elements: All values of each element, by keyword, as a table has them.
        files: How many objects there are.
        bytes: Their bytes.
        objects: How many objects have each element somewhere.
    """

    elements: dict[str, list[Any]] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    objects: dict[str, int] = field(default_factory=dict)


def as_cell(vr: str, value: Any) -> Any:
    """A value as a table has it, by what pydicom makes of it."""
    if vr in {"DS", "FD", "FL"}:
        return [float(one) for one in value] if isinstance(value, MultiValue) else float(value)
    if vr in {"IS", "US", "SS", "UL", "SL"}:
        return int(value)
    if vr == "DA":
        return dt.datetime.strptime(str(value), "%Y%m%d").replace(tzinfo=dt.UTC).date()
    if vr == "TM":
        whole, _, part = str(value).partition(".")
        moment = dt.datetime.strptime(whole.ljust(6, "0"), "%H%M%S").replace(tzinfo=dt.UTC)
        return moment.time().replace(microsecond=int(part.ljust(6, "0") or 0)).isoformat("microseconds")
    if isinstance(value, MultiValue):
        return [str(one) for one in value]
    return str(value).strip(" \0")


def elements_of(dataset: Dataset) -> Iterator[tuple[str, str, Any]]:
    """Keyword, VR and value of each element that has one, those in sequences too."""
    for element in dataset.iterall():
        if element.keyword and element.VR != "SQ" and element.value not in (None, "", []):
            yield element.keyword, element.VR, element.value


def truths(paths: Sequence[Path]) -> dict[str, Truth]:
    """What pydicom reads of each series among some files."""
    found: dict[str, Truth] = {}
    wanted = {column.name for column in OF_SERIES}
    for path in paths:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if "SOPClassUID" not in dataset:
            continue
        truth = found.setdefault(str(dataset.get("SeriesInstanceUID", "")), Truth())
        truth.files += 1
        truth.bytes += path.stat().st_size
        seen = set()
        for name, vr, value in elements_of(dataset):
            if name in wanted:
                truth.elements.setdefault(name, []).append(as_cell(vr, value))
                seen.add(name)
        for name in seen:
            truth.objects[name] = truth.objects.get(name, 0) + 1
    return found


def of_kind(cell: Any, value: Any) -> Any:
    """A value as one text where the cell is one, as a list where it is that."""
    if isinstance(cell, str) and isinstance(value, list):
        return "\\".join(value)
    return [value] if isinstance(cell, list) and not isinstance(value, list) else value


@dataclass(frozen=True)
class Layouts:
    """The same series, laid out in three ways.

    Attributes:
        apart: The rows of a series a folder, by UID.
        flat: Those of one folder of all files, by UID.
        split: Those of studies' folders with each series in two of them, beside each other, far apart, or one
            inside the other, by UID.
        truth: What pydicom reads, by UID.
    """

    apart: Mapping[str, list[dict[str, Any]]]
    flat: Mapping[str, list[dict[str, Any]]]
    split: Mapping[str, list[dict[str, Any]]]
    truth: Mapping[str, Truth]


def rows_by_uid(root: Path, cache: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a folder's catalogue."""
    cache.mkdir()
    made = Catalogued(LocalStorage(root, 8), LocalStorage(cache, 8))
    assert not made.update().failed
    found: dict[str, list[dict[str, Any]]] = {}
    for one in made.rows():
        found.setdefault(one["SeriesInstanceUID"], []).append(one)
    return found


@pytest.fixture(scope="module")
def layouts(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    """The real series in three layouts, with the catalogue of each."""
    scratch = tmp_path_factory.mktemp("layouts")
    apart, flat, split = scratch / "apart", scratch / "flat/DICOM", scratch / "split"
    flat.mkdir(parents=True)
    apart.mkdir()
    for folder in (real_data / "series").iterdir():
        # Its SeriesInstanceUID is another folder's, too.
        if folder.name != "ct-localizer-same-series":
            (apart / folder.name).symlink_to(folder)
    source = real_data / "series"
    names = {path.name for path in apart.iterdir()}
    files = (path for path in source.rglob("*") if path.is_file())
    paths = sorted(path for path in files if path.relative_to(source).parts[0] in names)
    for number, path in enumerate(paths):
        (flat / f"IM{number:05d}").symlink_to(path)
        series = path.relative_to(source).parts[0]
        inside = "/more" if number % 2 else ""
        ways = f"{series}-{number % 2}", f"{number % 2}/below/{series}", f"{series}{inside}"
        half = split / f"patient/study-{len(series)}" / ways[sum(series.encode()) % 3]
        half.mkdir(parents=True, exist_ok=True)
        (half / path.name).symlink_to(path)
    return Layouts(
        rows_by_uid(apart, scratch / "cache-apart"),
        rows_by_uid(scratch / "flat", scratch / "cache-flat"),
        rows_by_uid(split, scratch / "cache-split"),
        truths(paths),
    )


@pytest.mark.real_data
def test_each_cell_is_what_pydicom_reads(layouts: Layouts) -> None:
    """A cell with the value of an element is one that the objects have, and the only one if all agree."""
    assert layouts.apart.keys() == layouts.truth.keys()
    checked = 0
    for uid, (row, *_) in layouts.apart.items():
        truth = layouts.truth[uid]
        for column in OF_SERIES:
            values, cell = truth.elements.get(column.name, []), row[column.name]
            if cell is None:
                # An element that only some objects have need not be in the first slice.
                assert truth.objects.get(column.name, 0) < truth.files, (row["Series"], column.name)
                continue
            texts = [
                ["\\".join(one) if isinstance(one, list) and isinstance(cell, str) else one][0]
                for one in values
            ]
            wrapped = [
                [one] if isinstance(cell, list) and not isinstance(one, list) else one for one in texts
            ]
            assert cell in wrapped, (row["Series"], column.name)
            checked += 1
    assert checked > 400


@pytest.mark.real_data
def test_counts_are_those_of_the_files(layouts: Layouts) -> None:
    """Instances and bytes of a series are those of its files."""
    for uid, (row, *more) in layouts.apart.items():
        truth = layouts.truth[uid]
        assert not more
        assert (row["Instances"], row["Bytes"]) == (truth.files, truth.bytes), row["Series"]


@pytest.mark.real_data
def test_one_folder_of_all_files_gives_the_same_rows(layouts: Layouts) -> None:
    """However the files are named and mixed, a series' row says the same of it, but for where it lies."""
    assert layouts.flat.keys() == layouts.apart.keys()
    for uid, (apart, *_) in layouts.apart.items():
        (flat,) = layouts.flat[uid]
        assert flat["Series"] == "DICOM"
        different = {name for name in apart if apart[name] != flat[name]} - OF_PLACES
        assert not different, (apart["Series"], {name: (apart[name], flat[name]) for name in different})


@pytest.mark.real_data
def test_a_series_in_several_folders_has_the_same_rows(layouts: Layouts) -> None:
    """Each row of a split series says what the row of one folder with all of it says; only counts add up."""
    assert layouts.split.keys() == layouts.apart.keys()
    folders = Counter(len(parts) for parts in layouts.split.values())
    assert min(folders[1], folders[2]) > 5
    for uid, (apart, *_) in layouts.apart.items():
        parts = layouts.split[uid]
        assert {(part["Folders"], part["PartOnly"]) for part in parts} == {(len(parts), None)}
        for part in parts:
            different = {name for name in apart if apart[name] != part[name]} - OF_PLACES
            assert different <= (OF_PARTS if len(parts) > 1 else set()), (
                part["Series"],
                {name: (apart[name], part[name]) for name in different},
            )
        for name in ("Instances", "Frames", "Bytes"):
            assert sum(part[name] for part in parts) == apart[name], (apart["Series"], name)
        syntaxes = {one for part in parts for one in part["TransferSyntaxUID"]}
        assert sorted(syntaxes) == apart["TransferSyntaxUID"]


@pytest.mark.real_data
def test_every_single_file_has_a_row(real_data: Path, tmp_path: Path) -> None:
    """Real objects of every kind and encoding are catalogued: no one makes the update fail."""
    rows = rows_by_uid(real_data / "single", tmp_path / "cache")
    assert sum(one["Instances"] for some in rows.values() for one in some) > 100


@pytest.mark.real_data
def test_damaged_files_stop_nothing(real_data: Path, tmp_path: Path) -> None:
    """Malformed objects give rows, or rows that say why, and never a value that breaks the table."""
    (tmp_path / "cache").mkdir()
    shutil.copytree(real_data / "malformed", tmp_path / "root/bad")
    made = Catalogued(LocalStorage(tmp_path / "root", 8), LocalStorage(tmp_path / "cache", 8))
    made.update()
    assert made.rows()
    assert made.update().commits == 0


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_odd_values_of_headers_make_no_odd_cells(archive: Catalogued) -> None:
    """Values that break their VR's rules become null or text, each alone; the row is there."""
    odd = make.image(
        1,
        StudyDate="2004.01.19",
        StudyTime="10:15:60",
        SeriesDate="yesterday",
        SeriesTime="2500",
        PatientAge="045Y",
        PatientName="Müller^Jörg",
        SpecificCharacterSet="ISO_IR 100",
        SeriesNumber=None,
        SliceThickness=None,
        ConvolutionKernel=["B30f", "1"],
        SoftwareVersions=["a", "b"],
        BodyPartExamined="CHEST ",
    )
    archive.put("a/1", make.encode(odd))
    archive.update()
    (one,) = archive.rows()
    assert one["StudyDate"] == dt.date(2004, 1, 19)
    assert one["StudyTime"] == "10:15:59.000000"
    assert (one["SeriesDate"], one["SeriesTime"], one["SeriesNumber"], one["SliceThickness"]) == (None,) * 4
    assert (one["PatientName"], one["BodyPartExamined"]) == ("Müller^Jörg", "CHEST")
    assert (one["ConvolutionKernel"], one["SoftwareVersions"]) == ("B30f\\1", "a\\b")


def test_the_first_acquisition_is_the_earliest(archive: Catalogued) -> None:
    """FirstInstanceTime is the earliest of a series' objects, in UTC by the objects' own offset."""
    for number, clock in enumerate(("120000", "110000.25", "130000"), 1):
        made = make.image(
            number, AcquisitionDate="20260228", AcquisitionTime=clock, TimezoneOffsetFromUTC="+0200"
        )
        archive.put(f"a/{number}", make.encode(made))
    archive.update()
    (one,) = archive.rows()
    assert one["FirstInstanceTime"] == dt.datetime(2026, 2, 28, 9, 0, 0, 250_000, dt.UTC)


@pytest.mark.parametrize(
    ("elements", "moment"),
    [
        (
            {"AcquisitionTime": "101500", "StudyDate": "20260227"},
            dt.datetime(2026, 2, 27, 10, 15, tzinfo=dt.UTC),
        ),
        (
            {"AcquisitionTime": "101500", "StudyDate": "20260227", "SeriesDate": "20260228"},
            dt.datetime(2026, 2, 28, 10, 15, tzinfo=dt.UTC),
        ),
        (
            {"AcquisitionDate": "20260228", "ContentDate": "20260228", "ContentTime": "1116"},
            dt.datetime(2026, 2, 28, 11, 16, tzinfo=dt.UTC),
        ),
        (
            {"AcquisitionDateTime": "20260228", "StudyDate": "20260227"},
            dt.datetime(2026, 2, 28, tzinfo=dt.UTC),
        ),
        (
            {
                "AcquisitionDate": "20260228",
                "AcquisitionTime": None,
                "StudyDate": "20260227",
                "StudyTime": "09",
            },
            dt.datetime(2026, 2, 27, 9, tzinfo=dt.UTC),
        ),
    ],
)
def test_a_time_of_day_comes_before_midnight(
    archive: Catalogued, elements: dict[str, str], moment: dt.datetime
) -> None:
    """FirstInstanceTime takes AcquisitionTime with the day of series or study, and a day alone at last."""
    cleared = dict.fromkeys(("StudyDate", "StudyTime", "SeriesDate", "SeriesTime"))
    archive.put("a/1", make.encode(make.image(1, **{**cleared, **elements})))
    archive.update()
    assert archive.rows()[0]["FirstInstanceTime"] == moment
