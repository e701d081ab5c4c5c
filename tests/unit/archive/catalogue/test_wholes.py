from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.compute as pc
import pytest

import make_dicom as make
from catalogued import Catalogued
from dicom_series_preview.archive.cache import CachedIndex, IndexCache
from dicom_series_preview.archive.catalogue.columns import RULES, Shape
from dicom_series_preview.archive.catalogue.snapshot import Filter
from dicom_series_preview.archive.catalogue.table import CatalogueTable, Change
from dicom_series_preview.archive.catalogue.update import Updater
from dicom_series_preview.archive.catalogue.wholes import Joiner
from dicom_series_preview.archive.names import SeriesName, index_folder
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import StorageUnavailableError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import CountingStorage
from placed import Layouts

UID = "1.2.3"
# What a row tells of its own folder, and of the number of folders.
OF_FOLDER = {
    *("Root", "Series", "IndexPath", "IndexVersion", "Fingerprint", "LastModified", "CataloguedAt"),
    *("Instances", "Frames", "Bytes", "TransferSyntaxUID", "SkippedObjects", "Folders"),
}


def put(archive: Catalogued, folder: str, *numbers: int, uid: str = UID, **elements: Any) -> None:
    """Some slices of a series, 2.5 mm apart."""
    for number in numbers:
        made = {"SOPInstanceUID": f"{uid}.{number}", "SeriesInstanceUID": uid, **elements}
        made |= {"ImagePositionPatient": [0.0, 0.0, 2.5 * number]}
        archive.put(f"{folder}/{number}.dcm", make.encode(make.image(number, **made)))


def remove(archive: Catalogued, folder: str) -> None:
    """Remove a folder's objects."""
    for info in archive.root.list_objects(folder):
        archive.root.delete(info.path)


def described(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of its series as a whole."""
    return {name: cell for name, cell in row.items() if name not in OF_FOLDER}


def in_one_folder(tmp_path: Path, *numbers: int) -> dict[str, Any]:
    """What the row of one folder with these slices says."""
    alone = Catalogued.on_disk(tmp_path / f"alone-{len(numbers)}-{numbers[-1]}")
    put(alone, "s", *numbers)
    alone.update()
    (row,) = alone.rows()
    return described(row)


def told(archive: Catalogued) -> dict[str, tuple[Any, ...]]:
    """By folder, what the row of the series tells of it."""
    names = ("Folders", "Slices", "MissingSlices", "SliceSpacing", "Instances")
    return {
        row["Series"]: tuple(row[name] for name in names)
        for row in archive.rows()
        if row["SeriesInstanceUID"] == UID
    }


@pytest.mark.real_data
def test_every_layout_has_the_same_rows(real_data: Path, tmp_path: Path) -> None:
    """All files of the test data, a series a folder, in one folder, and split: the same rows by UID."""
    files = [path for top in ("series", "single") for path in sorted((real_data / top).rglob("*"))]
    layouts = Layouts.of([path for path in files if path.is_file()])
    found: list[dict[str, list[dict[str, Any]]]] = []
    for number, objects in enumerate((layouts.separate, layouts.flat, layouts.nested)):
        (tmp_path / str(number)).mkdir()
        made = Catalogued(MemoryStorage(dict(objects)), LocalStorage(tmp_path / str(number), 4))
        made.update()
        by_uid: dict[str, list[dict[str, Any]]] = {}
        for row in made.rows():
            by_uid.setdefault(row["SeriesInstanceUID"], []).append(row)
        found.append(by_uid)
    separate, flat, nested = found
    uids = [uid for uid in flat if uid]
    assert len(uids) > 90
    assert sum(len(nested[uid]) > 1 for uid in uids) > 10
    for uid in uids:
        (one,) = flat[uid]
        for row in (*separate[uid], *nested[uid]):
            different = {name for name in one if one[name] != row[name]} - OF_FOLDER
            assert not different, (row["Series"], {name: (one[name], row[name]) for name in different})
        for rows in (separate[uid], nested[uid]):
            assert sum(row["Instances"] for row in rows) == one["Instances"]
            assert {row["Folders"] for row in rows} == {len(rows)}


def test_each_row_describes_the_whole_series(archive: Catalogued, tmp_path: Path) -> None:
    """Rows of a split series say what one folder's row would; objects, frames and bytes are the folder's."""
    put(archive, "a", 1, 3, 5)
    put(archive, "x/b", 2, 4, 8)
    put(archive, "x/c", 1, uid="1.9")
    assert archive.update().commits == 2
    a, b, c = archive.rows()
    assert described(a) == described(b) == in_one_folder(tmp_path, 1, 2, 3, 4, 5, 8)
    assert (a["Slices"], a["MissingSlices"], a["SliceSpacing"], a["Folders"]) == (6, 2, 2.5, 2)
    assert [(row["Instances"], row["Frames"]) for row in (a, b, c)] == [(3, 3), (3, 3), (1, 1)]
    assert a["IndexPath"] != b["IndexPath"]
    assert (c["Folders"], c["Slices"]) == (1, 1)


def test_header_columns_are_those_of_the_first_slice_of_all(archive: Catalogued) -> None:
    """Columns that a site adds, descriptions and the first acquisition are the whole series' in each row."""
    archive.shape = Shape.from_settings("EchoTime", "")
    late = {"SeriesDescription": "late", "AcquisitionTime": "110000", "KVP": 80}
    early = {"SeriesDescription": "early", "AcquisitionTime": "100000", "KVP": 120}
    put(archive, "a", 1, 2, EchoTime=9.0, AcquisitionDate="20260102", **late)
    put(archive, "b", 4, 5, EchoTime=9.0, AcquisitionDate="20260102", **early)
    archive.update()
    a, b = archive.rows()
    assert described(a) == described(b)
    assert (a["SeriesDescription"], a["KVP"], a["EchoTime"]) == ("early", 120.0, 9.0)
    assert a["FirstInstanceTime"].hour == 10


def test_a_folder_that_arrives_later_changes_the_other_row(archive: Catalogued) -> None:
    """An update that is told of the new folder alone makes all rows of its series anew, of cached indices."""
    put(archive, "a", 1, 2)
    archive.update()
    put(archive, "b", 4)
    root = CountingStorage(archive.root)
    done = Catalogued(root, archive.kept).update("b")
    assert (done.new, done.headers, done.commits) == (1, 1, 2)
    assert told(archive) == {"a": (2, 3, 1, 2.5, 2), "b": (2, 3, 1, 2.5, 1)}
    assert not any(path.startswith("a/") for path in root.gets)


def test_a_folder_that_goes_makes_the_rest_anew(archive: Catalogued, tmp_path: Path) -> None:
    """Of three folders one goes, then another: the rows that are left say what is there."""
    put(archive, "a", 1, 2)
    put(archive, "b", 4)
    put(archive, "c", 5)
    archive.update()
    assert told(archive)["a"] == (3, 4, 1, 2.5, 2)
    remove(archive, "c")
    archive.update()
    assert told(archive) == {"a": (2, 3, 1, 2.5, 2), "b": (2, 3, 1, 2.5, 1)}
    remove(archive, "b")
    done = archive.update()
    assert (done.gone, done.headers) == (1, 0)
    (row,) = archive.rows()
    assert row["Folders"] == 1
    assert described(row) == in_one_folder(tmp_path, 1, 2)


def test_a_folder_that_changes_changes_all_rows(archive: Catalogued) -> None:
    """When one folder gets another slice, the rows of all its series' folders tell of it."""
    put(archive, "a", 1, 2)
    put(archive, "b", 4)
    archive.update()
    put(archive, "b", 3)
    archive.update()
    assert told(archive) == {"a": (2, 4, 0, 2.5, 2), "b": (2, 4, 0, 2.5, 2)}


def test_a_uid_that_leaves_a_shared_folder_leaves_plain_rows(archive: Catalogued) -> None:
    """A folder of several series has rows of both kinds, and each series is seen to on its own."""
    put(archive, "cd", 1, 2)
    put(archive, "cd", 11, 12, uid="1.2.4")
    put(archive, "b", 4)
    archive.update()
    rows = {(row["Series"], row["SeriesInstanceUID"]): row for row in archive.rows()}
    assert {key: (row["Folders"], row["Slices"]) for key, row in rows.items()} == {
        ("b", UID): (2, 3),
        ("cd", UID): (2, 3),
        ("cd", "1.2.4"): (1, 2),
    }
    archive.root.delete("cd/1.dcm")
    archive.root.delete("cd/2.dcm")
    archive.update()
    rows = {(row["Series"], row["SeriesInstanceUID"]): row for row in archive.rows()}
    assert {key: (row["Folders"], row["Slices"]) for key, row in rows.items()} == {
        ("b", UID): (1, 1),
        ("cd", "1.2.4"): (1, 2),
    }


def test_a_folder_inside_another_is_counted_once(archive: Catalogued) -> None:
    """Where rows of a folder and of one in it are there, the whole is what the outer one holds."""
    put(archive, "a/more", 3, 4)
    archive.update()
    put(archive, "a", 1, 2)
    outer = archive.updater
    outer.run(replace(outer.plan(), gone=()))
    assert told(archive) == {"a": (2, 4, 0, 2.5, 4), "a/more": (2, 4, 0, 2.5, 2)}


def test_an_unchanged_split_series_costs_nothing(archive: Catalogued) -> None:
    """A second update lists and reads the table: no header, no index, no commit."""
    put(archive, "a", 1, 2)
    put(archive, "b", 4)
    archive.update()
    root, kept = CountingStorage(archive.root), CountingStorage(archive.kept)
    done = Catalogued(root, kept).update()
    assert (done.unchanged, done.commits, done.headers) == (2, 0, 0)
    assert (root.lists, root.gets, kept.puts) == (1, [], [])
    assert all(path.startswith("catalogue/") for path in kept.gets)
    assert len(kept.gets) == 4


def test_series_in_one_folder_cost_no_second_commit(archive: Catalogued) -> None:
    """Where no series is split no index is read again, and an update has its one commit."""
    put(archive, "a", 1)
    put(archive, "b", 1, uid="1.2.4")
    archive.put("c/1", make.encode(make.image(1, SeriesInstanceUID=None)))
    archive.put("d/1", make.encode(make.image(1, SeriesInstanceUID=None)))
    assert archive.update().commits == 1
    assert {row["Folders"] for row in archive.rows()} == {1}


class Stopping(CatalogueTable):
    """A table whose process ends after the rows of folders were written, before those of whole series are."""

    def amend(self, amendments: Any) -> Change:
        """End, if there is anything to write."""
        if amendments:
            raise KeyboardInterrupt
        return Change()


def stopped(archive: Catalogued) -> None:
    """Update, and end between the two commits."""
    whole = archive.updater
    broken = replace(whole, table=Stopping(archive.kept, archive.shape))
    with pytest.raises(KeyboardInterrupt):
        broken.run(broken.plan())


@pytest.mark.parametrize("change", ["arrives", "goes", "changes"])
def test_an_update_that_ended_between_its_commits_is_made_good(archive: Catalogued, change: str) -> None:
    """After the rows of folders were written and no more, the next update finds that they do not fit."""
    put(archive, "a", 1, 2)
    if change != "arrives":
        put(archive, "b", 4)
        archive.update()
    if change == "goes":
        remove(archive, "b")
    else:
        put(archive, "b", 5)
    stopped(archive)
    done = archive.update()
    assert (done.new, done.changed, done.gone, done.commits, done.headers) == (0, 0, 0, 1, 0)
    expected = {
        "arrives": {"a": (2, 3, 2, 2.5, 2), "b": (2, 3, 2, 2.5, 1)},
        "goes": {"a": (1, 2, 0, 2.5, 2)},
        "changes": {"a": (2, 4, 1, 2.5, 2), "b": (2, 4, 1, 2.5, 2)},
    }
    assert told(archive) == expected[change]
    assert archive.update().commits == 0


class Overtaken(CatalogueTable):
    """A table that another process writes between measuring and writing."""

    def amend(self, amendments: Any) -> Change:
        """Write after the other."""
        OTHERS.pop()()
        return super().amend(amendments)


OTHERS: list[Callable[[], Any]] = []


def test_what_another_writer_changed_meanwhile_stays(archive: Catalogued) -> None:
    """Whoever measured a series of which another has written later rows writes nothing over them."""
    put(archive, "a", 1, 2)
    put(archive, "b", 4)

    def others() -> None:
        put(archive, "b", 5)
        put(archive, "c", 9)
        archive.update()

    OTHERS.append(others)
    late = replace(archive.updater, table=Overtaken(archive.kept, archive.shape))
    late.run(late.plan())
    assert told(archive) == {
        "a": (3, 5, 4, 2.5, 2),
        "b": (3, 5, 4, 2.5, 2),
        "c": (3, 5, 4, 2.5, 1),
    }
    assert archive.update().commits == 0


def test_two_writers_of_a_folder_each_leave_whole_rows(archive: Catalogued) -> None:
    """Of two updates that know one folder each, the later one makes the rows of both."""
    put(archive, "a", 1, 2)
    put(archive, "b", 4)
    first, second = archive.updater, Catalogued(archive.root, archive.kept).updater
    plans = first.plan(["a"]), second.plan(["b"])
    first.run(plans[0])
    second.run(plans[1])
    assert told(archive) == {"a": (2, 3, 1, 2.5, 2), "b": (2, 3, 1, 2.5, 1)}
    assert archive.update().commits == 0


def test_an_index_that_is_gone_is_made_anew(archive: Catalogued, tmp_path: Path) -> None:
    """Where the cache has lost the index of a series' other folder, its headers are read again."""
    put(archive, "a", 1, 2)
    archive.update()
    (row,) = archive.rows()
    (tmp_path / "cache" / row["IndexPath"]).unlink()
    put(archive, "b", 4)
    done = archive.update("b")
    assert (done.headers, done.unjoined) == (3, 0)
    assert told(archive) == {"a": (2, 3, 1, 2.5, 2), "b": (2, 3, 1, 2.5, 1)}


def test_a_folder_that_has_changed_since_its_row_waits_for_its_own_update(archive: Catalogued) -> None:
    """Rows are not joined with an index that no row has told of; the update of that folder does it."""
    put(archive, "a", 1, 2)
    archive.update()
    put(archive, "a", 3)
    archive.updater.indexer.open_listed("a", archive.root.list_objects("a"))
    put(archive, "b", 5)
    done = archive.update("b")
    assert done.unjoined == 1
    assert {name: cells[:2] for name, cells in told(archive).items()} == {"a": (1, 2), "b": (1, 1)}
    done = archive.update()
    assert done.unjoined == 0
    assert told(archive) == {"a": (2, 4, 1, 2.5, 3), "b": (2, 4, 1, 2.5, 1)}


def small(archive: Catalogued, **limits: int) -> Updater:
    """An updater with other limits."""
    cache = IndexCache(archive.kept, index_folder(archive.root.identity))
    return Updater(SeriesIndexer(archive.root, cache, Limits(**limits)), archive.table)


def test_a_series_that_is_too_large_as_a_whole_says_so(archive: Catalogued) -> None:
    """Beyond the limit of an index each row describes its part and says why, until there is less of it."""
    put(archive, "a", 1, 2)
    put(archive, "b", 4)
    updater = small(archive, rows=3)
    updater.run(updater.plan())
    assert {row["PartOnly"] for row in archive.rows()} == {None}
    put(archive, "c", 6, 7)
    updater = small(archive, rows=3)
    summary = updater.run(updater.plan())
    assert (summary.failed, summary.unjoined) == ({}, 0)
    assert {name: cells[:2] for name, cells in told(archive).items()} == {
        "a": (3, 2),
        "b": (3, 1),
        "c": (3, 2),
    }
    why = "the whole series is not measured: it has more than 3 frames, the limit of an index"
    assert {row["PartOnly"] for row in archive.rows()} == {why}
    updater = small(archive, rows=3)
    assert updater.run(updater.plan()).commits == 0
    remove(archive, "a")
    updater = small(archive, rows=3)
    updater.run(updater.plan())
    assert told(archive) == {"b": (2, 3, 1, 2.5, 1), "c": (2, 3, 1, 2.5, 2)}
    assert {row["PartOnly"] for row in archive.rows()} == {None}


@pytest.fixture
def split(archive: Catalogued) -> Catalogued:
    """An archive with four series, each in the same two folders, whose rows have not been joined."""
    for number in range(4):
        put(archive, "a", 10 * number + 1, 10 * number + 2, uid=f"1.2.{number}")
        put(archive, "b", 10 * number + 3, uid=f"1.2.{number}")
    stopped(archive)
    return archive


@dataclass
class Loads:
    """Loads indices of an archive, and notes which.

    Attributes:
        archive: The archive.
        fails: The folders whose index cannot be loaded, with the error.
        loaded: The folders whose index was.
    """

    archive: Catalogued
    fails: dict[str, Exception] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)

    def __call__(self, _root: str, series: str) -> CachedIndex:
        """`Joiner.load`."""
        self.loaded.append(series)
        if series in self.fails:
            raise self.fails[series]
        return self.archive.updater.indexer.kept(series)


def all_rows(_snapshot: Any) -> Filter:
    """No condition."""
    return Filter(pc.field("Series").is_valid(), ("Series",))


def test_series_of_the_same_folders_are_measured_together(split: Catalogued) -> None:
    """Each folder's index is read once for all its series, and all is one commit."""
    loads = Loads(split)
    summary = Joiner(split.table, loads, 100).run(all_rows)
    assert loads.loaded == ["a", "b"]
    assert (summary.rows, summary.commits, summary.left) == (8, 1, 0)
    assert {row["Slices"] for row in split.rows()} == {3}


def test_many_frames_are_measured_some_at_a_time(split: Catalogued) -> None:
    """Of series with more frames than fit together, some are held at a time: one at least."""
    loads = Loads(split)
    assert Joiner(split.table, loads, 100, frames_together=1).run(all_rows).rows == 8
    assert loads.loaded == ["a", "b"] * 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StorageUnavailableError("s3://x", "is busy"), "StorageUnavailableError"),
        (ZeroDivisionError("DOE^JANE"), "ZeroDivisionError"),
    ],
)
def test_an_index_that_cannot_be_read_leaves_the_rows(
    split: Catalogued, error: Exception, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a sibling's index cannot be read, the rows stay, the others are made, and no log quotes it."""
    put(split, "c", 1, uid="1.2.9")
    put(split, "d", 2, uid="1.2.9")
    stopped(split)
    summary = Joiner(split.table, Loads(split, {"b": error}), 100).run(all_rows)
    assert {uid: told for (_, uid), told in summary.failed.items()} == {f"1.2.{n}": kind for n in range(4)}
    assert (summary.rows, summary.left) == (2, 4)
    assert "DOE" not in caplog.text
    assert Joiner(split.table, Loads(split), 100).run(all_rows).rows == 8


def test_an_index_that_is_not_there_leaves_the_rows(split: Catalogued) -> None:
    """An index that is gone, or of which only a part was read, measures no series."""
    archive = split

    class Gone(Loads):
        def __call__(self, root: str, series: str) -> CachedIndex:
            return CachedIndex(None, "") if series == "b" else super().__call__(root, series)

    assert len(Joiner(archive.table, Gone(archive), 100).run(all_rows).waiting) == 4
    indexer = SeriesIndexer(archive.root, None, Limits())
    limited = indexer.open(SeriesName("b"), limit=1).index
    assert limited.provenance.limit == 1

    class Limited(Loads):
        def __call__(self, root: str, series: str) -> CachedIndex:
            return CachedIndex(limited, "v") if series == "b" else super().__call__(root, series)

    assert len(Joiner(archive.table, Limited(archive), 100).run(all_rows).waiting) == 4


def test_a_series_in_too_many_folders_is_not_read(split: Catalogued) -> None:
    """Beyond the limit of folders no index is read, and each row says why it describes its part."""
    loads = Loads(split)
    summary = Joiner(split.table, loads, 100, most_folders=1).run(all_rows)
    assert (loads.loaded, summary.rows) == ([], 8)
    assert {row["PartOnly"] for row in split.rows()} == {
        "the whole series is not measured: it lies in more than 1 folder, the limit"
    }
    assert split.update().commits == 0


def test_what_there_is_no_time_for_is_left(split: Catalogued) -> None:
    """Once time is up no index is read; what was measured is written."""
    left = iter([True, True, False, False])
    joiner = Joiner(split.table, Loads(split), 100, frames_together=1, is_time=lambda: next(left))
    summary = joiner.run(all_rows)
    assert (summary.rows, summary.commits) == (4, 1)
    assert {uid for _, uid in summary.late} == {"1.2.2", "1.2.3"}


def test_rows_of_older_rules_stay_so(split: Catalogued) -> None:
    """Rows that older rules made are joined, and `update` still finds them outdated."""
    older = [{**row, "Rules": RULES - 1} for row in split.rows() if row["Series"] == "b"]
    split.table.merge(older, {(row["Root"], "b"): row["CataloguedAt"] for row in older}, anew=True)
    Joiner(split.table, Loads(split), 100).run(all_rows)
    assert {(row["Series"], row["Rules"], row["Slices"]) for row in split.rows()} == {
        ("a", RULES, 3),
        ("b", RULES - 1, 3),
    }
    assert split.update().changed == 1
    assert {(row["Rules"], row["Folders"]) for row in split.rows()} == {(RULES, 2)}


def test_no_table_has_nothing_to_join(archive: Catalogued) -> None:
    """Before the first commit there is nothing to do."""
    assert Joiner(archive.table, Loads(archive), 100).run(all_rows).rows == 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_the_next_update_leaves_the_rows_of_a_new_catalogue(
    archive: Catalogued, tmp_path: Path, seed: int
) -> None:
    """After folders came, changed and went, updates of some and ones that ended early, all rows are true."""
    rng = Random(seed)
    folders, uids = ("a", "b", "c/d", "c/e"), ("1.2.3", "1.2.4")
    put(archive, "z", 1, uid="1.2.5")
    for _ in range(8):
        folder = rng.choice(folders)
        for _ in range(rng.randint(1, 3)):
            number = rng.randint(1, 40)
            put(archive, folder, number, uid=uids[number % 2])
        if rng.random() < 0.3:
            remove(archive, rng.choice(folders))
        step = rng.choice(("whole", "stopped", "some", "none"))
        if step == "some":
            archive.update("z", *(name for name in folders if archive.root.list_objects(name, 1)))
        elif step != "none":
            with suppress(KeyboardInterrupt):
                table = archive.table if step == "whole" else Stopping(archive.kept, archive.shape)
                updater = replace(archive.updater, table=table)
                updater.run(updater.plan())
    archive.update()
    (tmp_path / "new").mkdir()
    anew = Catalogued(archive.root, LocalStorage(tmp_path / "new", 4))
    anew.update()
    differing = {"IndexPath", "IndexVersion", "CataloguedAt"}
    found, expected = (
        [{name: cell for name, cell in row.items() if name not in differing} for row in one.rows()]
        for one in (archive, anew)
    )
    assert found == expected
    assert archive.update().commits == 0
