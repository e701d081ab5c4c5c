import datetime as dt
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

import make_dicom as make
from catalogued import Catalogued, at
from dicom_series_preview.archive.catalogue.columns import PATIENT, RULES, Shape
from dicom_series_preview.archive.catalogue.snapshot import FOLDER
from dicom_series_preview.archive.catalogue.split import looked_at
from dicom_series_preview.archive.catalogue.wholes import Joiner
from dicom_series_preview.base.errors import CatalogueError
from dicom_series_preview.sources.storage.base import ObjectInfo
from doubles import CountingStorage


def put_series(
    archive: Catalogued, folder: str, uid: str = "1.2.3", count: int = 3, **elements: object
) -> None:
    """Some slices of a series."""
    for number in range(1, count + 1):
        elements = {"SOPInstanceUID": f"{uid}.{number}", "SeriesInstanceUID": uid, **elements}
        archive.put(f"{folder}/{number}.dcm", make.encode(make.image(number, **elements)))


def names(archive: Catalogued) -> list[tuple[str, str]]:
    """The folder and the UID of each row."""
    return [(one["Series"], one["SeriesInstanceUID"]) for one in archive.rows()]


def test_an_update_does_what_there_is_to_do(archive: Catalogued) -> None:
    """New series get rows, changed ones newer rows, gone ones none; the rest is left as it is."""
    for name in ("a", "p/b", "c"):
        put_series(archive, name, f"1.2.{ord(name[-1])}")
    first = archive.update()
    assert (first.new, first.changed, first.gone, first.headers, first.commits) == (3, 0, 0, 9, 1)
    again = archive.update()
    assert (again.new, again.unchanged, again.headers, again.commits) == (0, 3, 0, 0)
    put_series(archive, "a", f"1.2.{ord('a')}", count=4)
    archive.root.delete("c/1.dcm")
    archive.root.delete("c/2.dcm")
    archive.root.delete("c/3.dcm")
    later = archive.update()
    assert (later.new, later.changed, later.unchanged, later.gone, later.commits) == (0, 1, 1, 1, 1)
    assert {one["Series"]: one["Slices"] for one in archive.rows()} == {"a": 4, "p/b": 3}


def test_an_unchanged_archive_is_listed_and_no_more(archive: Catalogued) -> None:
    """A second update lists the root and reads the table: no header, no index, no commit."""
    for number in range(5):
        put_series(archive, f"s{number}", f"1.2.{number}")
    archive.update()
    root, kept = CountingStorage(archive.root), CountingStorage(archive.kept)
    counted = Catalogued(root, kept)
    counted.update()
    assert (root.lists, root.gets, len(root.ranges), kept.puts) == (1, [], 0, [])
    assert all(path.startswith(FOLDER) for path in kept.gets)
    # The last checkpoint's name, the checkpoint, the commit that is not there, and one file.
    assert len(kept.gets) == 4


def test_a_row_says_where_the_series_lies_and_when_it_was_written(
    archive: Catalogued, tmp_path: Path
) -> None:
    """Root, folder, index and times of a row lead to what is on the disk."""
    put_series(archive, "a")
    stamp = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)
    for path in (tmp_path / "root/a").iterdir():
        os.utime(path, (stamp.timestamp(), stamp.timestamp()))
    archive.update()
    (one,) = archive.rows()
    assert one["Root"] == archive.root.url
    assert one["LastModified"] == stamp
    assert (tmp_path / "cache" / one["IndexPath"]).is_file()
    assert one["Bytes"] == sum(path.stat().st_size for path in (tmp_path / "root/a").iterdir())
    assert (one["Instances"], one["Slices"], one["Stacks"], one["Problem"]) == (3, 3, 1, None)


def test_a_folder_of_several_series_has_a_row_for_each(archive: Catalogued) -> None:
    """Each SeriesInstanceUID of a folder has its own row, with its own counts; so has what has none."""
    put_series(archive, "cd/IM", "1.2.1", count=2)
    for number in (5, 6, 7):
        archive.put(
            f"cd/IM/x{number}", make.encode(make.image(number, SeriesInstanceUID="1.2.2", Modality="MR"))
        )
    archive.put("cd/IM/none", make.encode(make.image(9, SeriesInstanceUID=None)))
    archive.update()
    found = {one["SeriesInstanceUID"]: (one["Instances"], one["Modality"]) for one in archive.rows()}
    assert found == {"": (1, "CT"), "1.2.1": (2, "CT"), "1.2.2": (3, "MR")}


def test_a_uid_that_left_a_folder_leaves_the_table(archive: Catalogued) -> None:
    """When the objects of one of a folder's series go, its row goes, and the others stay."""
    put_series(archive, "a", "1.2.1")
    archive.put("a/x", make.encode(make.image(9, SeriesInstanceUID="1.2.2")))
    archive.update()
    archive.root.delete("a/x")
    archive.update()
    assert names(archive) == [("a", "1.2.1")]


def test_what_cannot_be_indexed_has_a_row_that_says_why(archive: Catalogued) -> None:
    """A folder without DICOM has a row with a problem; it is not tried again until it changes, but told."""
    archive.put("a/notes", b"no DICOM at all")
    put_series(archive, "b")
    first = archive.update()
    assert list(first.failed) == ["a"]
    assert [(one["Series"], bool(one["Problem"])) for one in archive.rows()] == [("a", True), ("b", False)]
    again = archive.update()
    assert (again.unchanged, again.commits, again.headers, again.failed) == (1, 0, 0, first.failed)
    put_series(archive, "a")
    assert archive.update().changed == 1
    assert [one["Problem"] for one in archive.rows()] == [None, None]


def test_an_object_without_an_image_has_a_row(archive: Catalogued) -> None:
    """A report or a structure set is a series too: with counts, and without a stack."""
    structures = make.image(
        1, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT", PixelData=None, Rows=None
    )
    archive.put("a/1", make.encode(structures))
    archive.update()
    (one,) = archive.rows()
    assert (one["Modality"], one["Instances"], one["Stacks"], one["Plane"]) == ("RTSTRUCT", 1, 0, None)


def test_a_fault_of_the_program_stops_no_other_series(archive: Catalogued) -> None:
    """Where a series makes the program fail, its row names the kind of error, and the others are done."""
    for name in ("a", "b"):
        put_series(archive, name)
    updater = archive.updater

    class Broken(type(updater.indexer)):
        def open_listed(self, series, listing):
            if series == "a":
                raise ZeroDivisionError("DOE^JANE")
            return super().open_listed(series, listing)

    indexer = Broken(updater.indexer.storage, updater.indexer.cache, updater.indexer.limits)
    broken = type(updater)(indexer, updater.table)
    summary = broken.run(broken.plan())
    assert summary.failed == {"a": "an error of this program: ZeroDivisionError"}
    assert summary.new == 1
    assert archive.update().changed == 1


def test_named_folders_alone_are_updated(archive: Catalogued) -> None:
    """With names only those folders are looked at: series, or folders of series; rows of others stay."""
    for name in ("p/a", "p/b", "q/c"):
        put_series(archive, name, f"1.2.{ord(name[-1])}")
    assert archive.update("p").new == 2
    assert [series for series, _ in names(archive)] == ["p/a", "p/b"]
    assert archive.update("q/c").new == 1
    for number in (1, 2, 3):
        archive.root.delete(f"p/a/{number}.dcm")
        archive.root.delete(f"q/c/{number}.dcm")
    assert archive.update("p").gone == 1
    assert [series for series, _ in names(archive)] == ["p/b", "q/c"]


def test_an_empty_root_forgets_nothing(archive: Catalogued) -> None:
    """An empty root, such as a disk that is not mounted, is an error; `--rebuild` forgets its series."""
    put_series(archive, "a")
    archive.update()
    for number in (1, 2, 3):
        archive.root.delete(f"a/{number}.dcm")
    with pytest.raises(CatalogueError, match="`--rebuild` to forget them"):
        archive.update()
    assert archive.update(rebuild=True).gone == 1
    assert archive.update().new == 0


def test_a_broken_table_is_made_anew_on_demand_alone(archive: Catalogued, tmp_path: Path) -> None:
    """A damaged table is an error that names the cure, which makes all rows again from indices."""
    put_series(archive, "a")
    archive.update()
    before = archive.rows("Series", "SeriesInstanceUID", "Slices")
    for path in (tmp_path / "cache" / FOLDER / "_delta_log").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(CatalogueError, match="`update --rebuild`"):
        archive.update()
    summary = archive.update(rebuild=True)
    assert (summary.new, summary.headers) == (1, 0)
    assert archive.rows("Series", "SeriesInstanceUID", "Slices") == before


def test_rebuild_writes_each_row_again(archive: Catalogued) -> None:
    """With `--rebuild` all rows are made again, of indices that are there; none is doubled."""
    put_series(archive, "a")
    archive.update()
    (before,) = archive.rows()
    summary = archive.update(rebuild=True)
    assert (summary.changed, summary.headers, summary.commits) == (1, 0, 1)
    (after,) = archive.rows()
    assert after["CataloguedAt"] > before["CataloguedAt"]


def test_patients_leave_the_table_when_the_site_says_so(archive: Catalogued) -> None:
    """With CATALOGUE_PATIENT=false no row says who it is, nor do earlier ones; no header is read again."""
    put_series(archive, "a", PatientID="4711", PatientSex="F", AccessionNumber="A1")
    archive.update()
    assert archive.rows()[0]["PatientID"] == "4711"
    archive.shape = Shape(has_patients=False)
    summary = archive.update()
    assert (summary.unchanged, summary.headers) == (1, 0)
    assert {archive.rows()[0][name] for name in PATIENT} == {None}
    assert archive.update().commits == 0


def test_an_added_column_is_filled_in_for_all(archive: Catalogued) -> None:
    """A column that the site adds later is filled from the indices: no header is read again."""
    put_series(archive, "a", EchoTime=4.5)
    archive.update()
    archive.shape = Shape.from_settings("EchoTime", "")
    summary = archive.update()
    assert (summary.changed, summary.headers) == (1, 0)
    assert archive.rows("EchoTime") == [{"EchoTime": 4.5}]
    assert archive.update().commits == 0


def by_rules(archive: Catalogued, rules: int | None) -> None:
    """Let other rules have made all rows, which then had no more slices."""
    rows = [{**row, "Rules": rules, "Slices": 0} for row in archive.rows()]
    archive.table.merge(rows, {(row["Root"], row["Series"]): row["CataloguedAt"] for row in rows}, anew=True)


@pytest.mark.parametrize("older", [RULES - 1, None])
def test_rows_by_older_rules_are_made_anew(archive: Catalogued, older: int | None) -> None:
    """Rows that older rules made count as changed; no header is read, and the next update is at rest."""
    put_series(archive, "a")
    archive.put("b/notes", b"no DICOM at all")
    archive.update()
    by_rules(archive, older)
    root = CountingStorage(archive.root)
    summary = Catalogued(root, archive.kept).update()
    assert (summary.changed, summary.headers, summary.commits) == (1, 0, 1)
    # Nor is what has no index read again.
    assert (root.gets, root.ranges) == ([], [])
    assert [(row["Rules"], row["Slices"]) for row in archive.rows()] == [(RULES, 3), (older, 0)]
    assert archive.update().commits == 0


def test_rows_by_newer_rules_stay(archive: Catalogued) -> None:
    """An older version of the program leaves rows alone that a newer one has made."""
    put_series(archive, "a")
    archive.update()
    by_rules(archive, RULES + 1)
    assert archive.update().commits == 0
    archive.table.merge([{**archive.rows()[0], "Rules": RULES}], {(archive.root.url, "a"): at(10**7)})
    assert archive.rows("Rules") == [{"Rules": RULES + 1}]


def of_before(archive: Catalogued, folder: Path) -> None:
    """A series in two folders, in a table without the columns of folders and rules."""
    put_series(archive, "a", count=2)
    archive.put("b/9", make.encode(make.image(9, SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.9")))
    archive.update()
    new = {"Folders", "PartOnly", "Rules"}
    rows = [{name: cell for name, cell in row.items() if name not in new} for row in archive.rows()]
    archive.table.clear()
    schema = pa.schema([one for one in archive.shape.stored_schema if one.name not in new])
    place = str(folder / "cache" / FOLDER)
    write_deltalake(place, pa.Table.from_pylist(rows, schema.remove_metadata()))


def test_a_table_of_before_is_brought_up_to_date(archive: Catalogued, tmp_path: Path) -> None:
    """A table without the columns of folders and rules gets them, and rows that fit, of cached indices."""
    of_before(archive, tmp_path)
    summary = archive.update()
    assert (summary.changed, summary.headers, summary.unjoined) == (2, 0, 0)
    assert {(row["Folders"], row["Rules"], row["Slices"]) for row in archive.rows()} == {(2, RULES, 3)}
    assert archive.update().commits == 0


def test_rows_of_before_can_be_made_to_fit(archive: Catalogued, tmp_path: Path) -> None:
    """Rows without those columns are found and written, and stay rows by older rules."""
    of_before(archive, tmp_path)
    indexer = archive.updater.indexer
    joiner = Joiner(archive.table, lambda _root, series: indexer.kept(series), 100)
    keys = [archive.root.url], ["1.2.3"]
    assert joiner.run(lambda snapshot: looked_at(snapshot, *keys)).rows == 2
    assert {(row["Folders"], row["Rules"], row["Slices"]) for row in archive.rows()} == {(2, 0, 3)}
    assert joiner.run(lambda snapshot: looked_at(snapshot, *keys)).rows == 0


def test_a_folder_that_no_name_leads_to_stops_no_other_series(archive: Catalogued) -> None:
    """A bucket's keys with empty parts, `..` or half characters are told of; the rest is done."""
    put_series(archive, "a")

    class Odd(CountingStorage):
        def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
            odd = [ObjectInfo(f"{name}/1.dcm", 9, "v") for name in ("b//c", "b/../c", "caf\udce9", "/d")]
            return sorted([*super().list_objects(folder, most), *odd], key=lambda info: info.path)

    odd = Catalogued(Odd(archive.root), archive.kept)
    summary = odd.update()
    assert sorted(summary.failed) == ["/d", "b/../c", "b//c", "caf\udce9"]
    assert names(archive) == [("a", "1.2.3")]


def test_files_whose_names_are_no_text_are_catalogued(archive: Catalogued, tmp_path: Path) -> None:
    """A disk's names that are no UTF-8 are escaped, in folders and files alike."""
    put_series(archive, "a", count=1)
    data = (tmp_path / "root/a/1.dcm").read_bytes()
    folder = os.fsencode(tmp_path / "root") + b"/caf\xe9"
    os.mkdir(folder)  # noqa: PTH102 - a name that is no text
    with open(folder + b"/\xff.dcm", "wb") as file:  # noqa: PTH123
        file.write(data)
    assert archive.update().new == 2
    assert [series for series, _ in names(archive)] == ["a", "caf\\xe9"]


def test_an_interrupt_keeps_what_is_done(archive: Catalogued) -> None:
    """Series that were done before an interrupt have rows; the next update does the rest."""
    for number in range(40):
        put_series(archive, f"s{number:02}", f"1.2.{number}", count=1)
    seen = []

    def interrupt(done: int, _total: int) -> None:
        seen.append(done)
        if done == 20:
            raise KeyboardInterrupt

    broken = replace(archive.updater, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.run(broken.plan())
    done = len(names(archive))
    assert 0 < done < 40
    rest = archive.update()
    assert (rest.new, rest.unchanged) == (40 - done, done)
    assert len(names(archive)) == 40


def test_an_index_that_pictures_made_is_used(archive: Catalogued) -> None:
    """A series that has an index already gets its row of that: no header is read."""
    put_series(archive, "a")
    archive.updater.indexer.open_listed("a", archive.root.list_objects("a"))
    assert archive.update().headers == 0


def test_headers_are_read_once_for_many_commits(archive: Catalogued) -> None:
    """Many series are written in commits of a thousand, or of what half a minute brings."""

    class Clock:
        now = 0.0

        def __call__(self) -> float:
            self.now += 10.0
            return self.now

    for number in range(10):
        put_series(archive, f"s{number}", f"1.2.{number}", count=1)
    updater = archive.updater
    slow = type(updater)(updater.indexer, updater.table, clock=Clock())
    summary = slow.run(slow.plan())
    assert 2 <= summary.commits <= 5
    assert len(names(archive)) == 10


def test_an_impossible_time_of_an_object_is_none(archive: Catalogued) -> None:
    """An object of the year 33658 stops nothing; its series has no LastModified."""
    put_series(archive, "a")
    listing = [replace(info, modified_s=1e12) for info in archive.root.list_objects("a")]
    plan = replace(archive.updater.plan(), new={"a": listing})
    assert archive.updater.run(plan).new == 1
    assert archive.rows("LastModified") == [{"LastModified": None}]


def test_rows_written_since_the_listing_stay(archive: Catalogued) -> None:
    """An update that has listed a series before another one wrote its row neither replaces nor removes it."""
    put_series(archive, "a", count=1)
    slow = archive.updater.plan()
    put_series(archive, "a", count=3)
    archive.update()
    summary = archive.updater.run(slow)
    assert (summary.commits, summary.passed) == (0, 1)
    assert archive.rows("Instances") == [{"Instances": 3}]


def test_a_series_that_is_back_keeps_its_row(archive: Catalogued) -> None:
    """A folder that a listing lacked is looked for again before its row goes."""
    put_series(archive, "a")
    put_series(archive, "b")
    archive.update()
    plan = replace(archive.updater.plan(), gone=("a",))
    assert archive.updater.run(plan).gone == 0
    assert [series for series, _ in names(archive)] == ["a", "b"]


def test_a_folder_that_another_one_has_taken_in_has_no_row(archive: Catalogued) -> None:
    """When objects come into the folder above a series, its row goes: the folder above has all below it."""
    put_series(archive, "p/a/more")
    put_series(archive, "p/b", "1.2.4")
    archive.update()
    archive.put("p/a/9.dcm", make.encode(make.image(9, SeriesInstanceUID="1.2.3", SOPInstanceUID="1.2.3.9")))
    done = archive.update()
    assert (done.new, done.gone) == (1, 1)
    assert [(row["Series"], row["Instances"], row["Folders"]) for row in archive.rows()] == [
        ("p/a", 4, 1),
        ("p/b", 3, 1),
    ]
