import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from catalogued import ROOT, Catalogued, looked_at, row
from dicom_series_preview.archive.catalogue.columns import Shape
from dicom_series_preview.archive.catalogue.snapshot import FOLDER
from dicom_series_preview.archive.catalogue.table import CatalogueTable, Change
from dicom_series_preview.base.errors import CatalogueBusyError, CatalogueError, RequestError
from dicom_series_preview.sources.storage.memory import MemoryStorage


def told(archive: Catalogued) -> list[tuple[str, str, str]]:
    """The key and the fingerprint of each row."""
    return [(one["Series"], one["SeriesInstanceUID"], one["Fingerprint"]) for one in archive.rows()]


def version(archive: Catalogued) -> int:
    """The table's version."""
    return archive.reader.snapshot().version


def test_rows_are_written_changed_and_removed(archive: Catalogued) -> None:
    """A merge says what it did: new rows, newer ones, and those of a series that has them no more."""
    first = archive.table.merge([row("a", "1"), row("a", "2"), row("b")], looked_at("a", "b"))
    assert first == Change(added=3, tries=1)
    later = archive.table.merge([row("a", "1", 1)], looked_at("a", minute=1))
    assert later == Change(changed=1, removed=1, tries=1)
    assert told(archive) == [("a", "1", "f1"), ("b", "1.2", "f0")]


def test_nothing_new_is_no_commit(archive: Catalogued) -> None:
    """Rows of indices that the table has already, read again later, make no version."""
    archive.table.merge([row("a", Fingerprint="f")], looked_at("a"))
    before = version(archive)
    assert archive.table.merge([row("a", minute=5, Fingerprint="f")], looked_at("a", minute=5)) == Change(
        tries=1
    )
    assert archive.table.merge([], looked_at("nowhere")) == Change(tries=1)
    assert archive.table.merge([], {}) == Change()
    assert version(archive) == before
    assert archive.table.merge(
        [row("a", minute=5, Fingerprint="f")], looked_at("a", minute=5), anew=True
    ).changed


def test_an_older_row_never_comes_back(archive: Catalogued) -> None:
    """A replayed message, or one out of order, changes nothing: the row that was made later stays."""
    archive.table.merge([row("a", "1", 5)], looked_at("a", minute=5))
    before = version(archive)
    for rows in ([row("a", "1", 3)], [row("a", "2", 3)], []):
        assert archive.table.merge(rows, looked_at("a", minute=3)) == Change(passed=1, tries=1)
    assert (told(archive), version(archive)) == ([("a", "1", "f5")], before)


def test_a_row_from_the_future_gives_way(archive: Catalogued) -> None:
    """What a clock that was ahead has written does not keep out what is true now; a rebuild never waits."""
    ahead = archive.table.now() + dt.timedelta(days=365)
    archive.table.merge([row("a", "1", CataloguedAt=ahead)], {(ROOT, "a"): ahead})
    now = archive.table.now()
    change = archive.table.merge([row("a", "2", CataloguedAt=now)], {(ROOT, "a"): now})
    assert (change.added, change.removed, change.passed) == (1, 1, 0)
    assert [one["SeriesInstanceUID"] for one in archive.rows()] == ["2"]
    archive.table.merge([row("a", "2", 3, SeriesDescription="anew")], looked_at("a", minute=3), anew=True)
    assert archive.rows()[0]["SeriesDescription"] == "anew"


def test_rows_of_other_roots_and_series_stay(archive: Catalogued) -> None:
    """A series' rows go only with the series of its own root."""
    other = row("a", Root="s3://other")
    archive.table.merge(
        [other, row("a"), row("ab")], {**looked_at("a", "ab"), ("s3://other", "a"): other["CataloguedAt"]}
    )
    archive.table.merge([], looked_at("a", minute=1))
    assert [(one["Root"], one["Series"]) for one in archive.rows()] == [
        ("s3://other", "a"),
        ("file:///archive", "ab"),
    ]


def test_all_types_come_back(archive: Catalogued) -> None:
    """Each column keeps its value and its type through the table's files."""
    cells = {
        "Slices": 3,
        "KVP": 120.5,
        "SpacingRegular": True,
        "ImageType": ["ORIGINAL", None],
        "PixelSpacing": [0.5, 0.25],
    }
    archive.table.merge([row("a", Bytes=2**40, StudyDescription="ü \\ '\"\n", **cells)], looked_at("a"))
    (one,) = archive.rows()
    assert {name: one[name] for name in cells} == cells
    assert one["StudyDescription"] == "ü \\ '\"\n"
    assert archive.reader.read().schema.equals(archive.shape.stored_schema)


def test_a_site_that_adds_a_column_grows_the_table(archive: Catalogued) -> None:
    """A new column is null in older rows; one that the site adds no more becomes null as rows are written."""
    archive.table.merge([row("a")], looked_at("a"))
    archive.shape = Shape.from_settings("EchoTime", "")
    archive.table.merge([row("b", EchoTime=4.5)], looked_at("b"))
    assert [one["EchoTime"] for one in archive.rows()] == [None, 4.5]
    archive.shape = Shape()
    archive.table.merge([row("b", minute=1), row("c")], looked_at("b", "c", minute=1))
    assert [one["EchoTime"] for one in archive.rows()] == [None, None, None]


def test_few_files_are_left(archive: Catalogued, tmp_path: Path) -> None:
    """However many commits there are, few files hold the rows, so that reading takes few requests."""
    for number in range(12):
        archive.table.merge([row(f"s{number}")], looked_at(f"s{number}"))
        assert len(archive.reader.snapshot().files) <= 5
    archive.table.maintain()
    assert len(archive.reader.snapshot().files) == 1
    assert len(told(archive)) == 12
    log = tmp_path / "cache" / FOLDER / "_delta_log"
    assert (log / f"{version(archive):020d}.checkpoint.parquet").exists()


def test_maintenance_removes_what_no_version_of_the_last_day_needs(
    archive: Catalogued, tmp_path: Path
) -> None:
    """Files that were joined more than a day ago go; younger ones stay for whoever reads them now."""
    folder = tmp_path / "cache" / FOLDER
    for number in range(3):
        archive.table.merge([row(f"s{number}")], looked_at(f"s{number}"))
    archive.table.maintain()
    assert len(list(folder.glob("*.parquet"))) > 1
    assert len(told(archive)) == 3


def test_another_engine_reads_the_table(archive: Catalogued, tmp_path: Path) -> None:
    """Polars and Delta Lake's own reader see the rows that our reader sees, with the same types."""
    archive.table.merge(
        [row(f"s{number}", Slices=number) for number in range(5)], looked_at(*(f"s{n}" for n in range(5)))
    )
    archive.table.merge([row("s1", minute=1, Slices=10)], looked_at("s1", minute=1))
    place = str(tmp_path / "cache" / FOLDER)
    ours = {one["Series"]: one["Slices"] for one in archive.rows()}
    own = DeltaTable(place).to_pyarrow_table()
    assert dict(zip(own["Series"].to_pylist(), own["Slices"].to_pylist(), strict=True)) == ours
    frame = pl.read_delta(place)
    assert dict(frame.select("Series", "Slices").iter_rows()) == ours


def test_who_never_gets_through_says_so(archive: Catalogued) -> None:
    """After many tries at which others were first, one line says that the catalogue is busy."""
    archive.table.merge([row("a")], looked_at("a"))
    pauses: list[float] = []

    def another_writes(seconds: float) -> None:
        pauses.append(seconds)

    class AlwaysLate(CatalogueTable):
        def _existing(self, snapshot, series):
            number = len(pauses)
            Catalogued(archive.root, archive.kept).table.merge(
                [row("b", minute=number)], looked_at("b", minute=number)
            )
            return super()._existing(snapshot, series)

    late = AlwaysLate(archive.kept, Shape(), pause=another_writes, tries=3)
    with pytest.raises(CatalogueBusyError, match="others kept writing the catalogue for 3 tries"):
        late.merge([row("b", minute=99)], looked_at("b", minute=99))
    assert len(pauses) == 3
    assert max(pauses) <= 2.0


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        DeltaError(
            "External: Generic LocalFileSystem error: Unable to copy: No space left (os error 28)\nat x"
        ),
        DeltaError("Generic S3 error: AccessDenied"),
    ],
)
def test_a_place_that_cannot_be_written_is_not_called_broken(error: Exception, archive: Catalogued) -> None:
    """Where disk or bucket refuses, one line says what it said, and not that the table must be made anew."""

    class Refused(CatalogueTable):
        def _open(self):
            raise error

    with pytest.raises(CatalogueError, match=str(error).partition("\n")[0][-10:-1]) as raised:
        Refused(archive.kept).merge([row("b")], looked_at("b"))
    assert "--rebuild" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_only_disks_and_buckets_hold_a_catalogue() -> None:
    """Elsewhere one line says which places do."""
    table = CatalogueTable(MemoryStorage())
    with pytest.raises(RequestError, match="neither a local folder nor s3://"):
        table.merge([row("a")], looked_at("a"))


def test_clear_leaves_nothing(archive: Catalogued, tmp_path: Path) -> None:
    """A cleared table is as if there had been none."""
    archive.table.merge([row("a")], looked_at("a"))
    archive.table.clear()
    assert not [path for path in (tmp_path / "cache" / FOLDER).rglob("*") if path.is_file()]
    assert archive.table.merge([row("b")], looked_at("b")).added == 1
