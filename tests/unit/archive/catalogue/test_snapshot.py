import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from catalogued import Catalogued, looked_at, row
from dicom_series_preview.archive.catalogue.snapshot import FOLDER, FileCache, Filter, SnapshotReader
from dicom_series_preview.base.errors import CatalogueError, NoCatalogueError
from doubles import CountingStorage, Time

LOG = "_delta_log"


@pytest.fixture
def folder(archive: Catalogued, tmp_path: Path) -> Path:
    """The folder of a table of three series, in three commits."""
    for number in range(3):
        archive.table.merge([row(f"s{number}", Slices=number)], looked_at(f"s{number}"))
    return tmp_path / "cache" / FOLDER


def series_of(archive: Catalogued) -> list[str]:
    """The series in the table."""
    return [one["Series"] for one in archive.rows()]


def test_opening_takes_three_requests_and_reading_one_for_each_file(
    archive: Catalogued, folder: Path
) -> None:
    """The last checkpoint's name, the checkpoint, and a commit that is not there; then the files."""
    counting = CountingStorage(archive.kept)
    reader = SnapshotReader(counting)
    snapshot = reader.snapshot()
    assert len(counting.gets) == 3
    reader.read(known=snapshot)
    assert len(counting.gets) == 3 + len(snapshot.files)
    assert counting.lists == 0
    assert folder.is_dir()


def test_a_known_version_takes_one_request(archive: Catalogued, folder: Path) -> None:
    """Of a version that was read a moment ago only the next commit is asked for; later, the whole log."""
    clock, counting = Time(), CountingStorage(archive.kept)
    reader = SnapshotReader(counting, clock=clock)
    known = reader.snapshot()
    counting.reset()
    assert reader.snapshot(known) == known
    assert len(counting.gets) == 1
    archive.table.merge([row("s3")], looked_at("s3"))
    assert reader.snapshot(known).version > known.version
    clock.now = 61.0
    shutil.rmtree(folder)
    archive.table.merge([row("t")], looked_at("t"))
    made_anew = reader.snapshot(known)
    assert made_anew.table != known.table
    assert [one["Series"] for one in reader.read(known=made_anew).to_pylist()] == ["t"]


def test_a_version_older_than_the_log_is_not_taken_for_the_newest(archive: Catalogued, folder: Path) -> None:
    """A reader that slept while its version's successors left the log finds the newest."""
    clock = Time()
    reader = SnapshotReader(archive.kept, clock=clock)
    known = reader.snapshot()
    for number in range(3, 6):
        archive.table.merge([row(f"s{number}")], looked_at(f"s{number}"))
    for path in sorted((folder / LOG).glob("*.json"))[:-1]:
        path.unlink()
    clock.now = 3600.0
    assert reader.snapshot(known).version == archive.reader.snapshot().version


def test_no_table_is_told_as_such(archive: Catalogued) -> None:
    """Where nothing has been catalogued, one line says what makes a catalogue."""
    with pytest.raises(NoCatalogueError, match="`dicom-series-preview update --root FOLDER` makes one"):
        archive.reader.read()


@pytest.mark.parametrize("kept", ["all", "newest"])
def test_without_the_last_checkpoints_name_a_listing_finds_it(
    kept: str, archive: Catalogued, folder: Path
) -> None:
    """A lost `_last_checkpoint` hides no row, also where the log's beginning has expired."""
    (folder / LOG / "_last_checkpoint").unlink()
    if kept == "newest":
        for path in sorted((folder / LOG).iterdir())[:-2]:
            path.unlink()
    assert series_of(archive) == ["s0", "s1", "s2"]


def test_without_a_checkpoint_the_log_is_read_from_its_start(archive: Catalogued, folder: Path) -> None:
    """A writer that ends before its first checkpoint leaves a table all the same."""
    for path in (folder / LOG).iterdir():
        if path.suffix != ".json":
            path.unlink()
    assert series_of(archive) == ["s0", "s1", "s2"]


def test_commits_after_the_checkpoint_count(archive: Catalogued, folder: Path) -> None:
    """A writer that ends between a commit and its checkpoint has written: the tail is read."""
    log = folder / LOG
    before = {path: path.read_bytes() for path in log.iterdir()}
    archive.table.merge([row("s3")], looked_at("s3"))
    for path in log.iterdir():
        if path.suffix != ".json":
            path.unlink() if path not in before else path.write_bytes(before[path])
    assert series_of(archive) == ["s0", "s1", "s2", "s3"]


def test_a_table_without_rows_has_its_columns(archive: Catalogued, folder: Path) -> None:
    """When the last series is gone, the table is empty, and its columns keep their types."""
    archive.table.merge([], looked_at("s0", "s1", "s2", minute=1))
    empty = archive.reader.read()
    assert empty.num_rows == 0
    assert empty.schema.equals(archive.shape.stored_schema)
    where = Filter(pc.field("Slices") > 1, ("Slices",))
    assert archive.reader.read(["Series"], where).schema.names == ["Series"]
    assert folder.is_dir()


def test_a_filter_and_columns_choose_rows_and_cells(archive: Catalogued, folder: Path) -> None:
    """Only rows that an expression fits, and the named columns in their order; unknown ones are left out."""
    where = Filter(pc.field("Slices") >= 1, ("Slices",))
    found = archive.reader.read(["Slices", "Series", "Nothing"], where)
    assert found.column_names == ["Slices", "Series"]
    assert sorted(found["Series"].to_pylist()) == ["s1", "s2"]
    assert folder.is_dir()


def test_files_that_a_join_has_removed_are_read_again(archive: Catalogued, folder: Path) -> None:
    """Where a file is gone because others were joined meanwhile, the newer version is read, once."""

    class JoinedMeanwhile(CountingStorage):
        done = False

        def get(self, path: str):
            if path.endswith(".parquet") and LOG not in path and not self.done:
                self.done = True
                table = DeltaTable(str(folder))
                table.optimize.compact()
                table.vacuum(0, dry_run=False, enforce_retention_duration=False)
            return super().get(path)

    found = SnapshotReader(JoinedMeanwhile(archive.kept)).read(["Series"])
    assert sorted(found["Series"].to_pylist()) == ["s0", "s1", "s2"]


def _delete(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garble(path: Path) -> None:
    path.write_bytes(b"\x9f\x00garbage\n" * 40)


def _other_document(path: Path) -> None:
    path.write_bytes(b'[1, "x"]\n' if path.suffix != ".parquet" else b"PAR1" + bytes(64) + b"PAR1")


@pytest.mark.parametrize("damage", [_delete, _cut, _empty, _garble, _other_document])
def test_each_file_that_is_damaged_is_told_or_not_needed(
    damage: Callable[[Path], None], archive: Catalogued, folder: Path, tmp_path: Path
) -> None:
    """Whichever file is damaged, readers and writers see all rows, or one line that names the cure."""
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    told = 0
    for path in sorted(whole.rglob("*")):
        if path.is_dir():
            continue
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        damage(folder / path.relative_to(whole))
        for work in (series_of, written):
            said = problem_of(work, archive)
            told += bool(said)
            assert not said or ("`update --rebuild` makes it anew" in said and "\n" not in said), path
    assert told


def written(archive: Catalogued) -> list[str]:
    """The first series in the table after another row is written."""
    archive.table.merge([row("s3")], looked_at("s3"))
    return series_of(archive)[:3]


def problem_of(work: Callable[[Catalogued], list[str]], archive: Catalogued) -> str:
    """What a reader or a writer says of a table; empty where it sees all series."""
    try:
        assert work(archive) == ["s0", "s1", "s2"]
    except CatalogueError as error:
        return str(error)
    return ""


def test_what_another_program_has_changed_is_refused(archive: Catalogued, folder: Path) -> None:
    """A table of a newer protocol, or with deletion vectors, is not misread: one line says who did it."""
    version = archive.reader.snapshot().version + 1
    path = folder / LOG / f"{version:020d}.json"
    for action, said in (
        ({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7}}, "raised it to protocol 3"),
        ({"add": {"path": "a", "size": 1, "deletionVector": {"x": 1}}}, "deletion vectors"),
    ):
        path.write_text(json.dumps(action))
        with pytest.raises(CatalogueError, match=said):
            archive.reader.read()


def test_columns_of_unknown_types_are_refused(archive: Catalogued, tmp_path: Path) -> None:
    """A column that the catalogue cannot hold, which another program added, is told in one line."""
    strange = pa.table({"Series": ["s"], "x": [{"a": 1}]})
    write_deltalake(str(tmp_path / "cache" / FOLDER), strange)
    with pytest.raises(CatalogueError, match="columns have types that the catalogue does not know"):
        archive.reader.read()


def test_the_cache_of_files_is_bounded() -> None:
    """Kept files take no more than their bytes allow, the last used stay, and the newest always."""
    cache = FileCache(10)
    for name in "abc":
        cache.put(name, bytes(4))
        cache.get("a")
    assert [cache.get(name) is not None for name in "abc"] == [True, False, True]
    cache.put("d", bytes(100))
    assert [cache.get(name) is not None for name in "acd"] == [False, False, True]
