"""`update`, `list` and `query`, as a user types them."""

import csv
import datetime as dt
import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import make_dicom as make
from commandline import Run
from dicom_series_preview import Archive
from dicom_series_preview.base.errors import NoCatalogueError, RequestError


def write(path: Path, uid: str, number: int, **elements: object) -> None:
    """Write one slice of a series."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = make.image(number, SeriesInstanceUID=uid, **elements)
    path.write_bytes(make.encode(source))


@pytest.fixture
def discs(clean_environment: Path) -> Path:
    """A root with two discs: one of two series in one folder, one of a series in two folders, and clutter."""
    root = clean_environment / "discs"
    for number in (1, 2, 3):
        write(root / "disc 1" / "DICOM" / f"IM{number:05}", "1.2.1", number, SeriesDescription="first")
    write(root / "disc 1" / "DICOM" / "IM00004", "1.2.2", 1, Modality="MR", StudyDate="20240229")
    write(root / "disc 2" / "A" / "x", "1.2.3", 1)
    write(root / "disc 2" / "B" / "x", "1.2.3", 2)
    (root / "disc 1" / "DICOMDIR").write_bytes(b"none of ours")
    (root / "disc 2" / "readme.txt").write_text("hello", encoding="utf-8")
    return root


def listed(command: Run, *arguments: object) -> list[dict]:
    done = command("list", "--json", *arguments)
    assert done.status == 0, done.stderr
    return json.loads(done.stdout)


def test_discs_are_found_and_shown_by_uid(discs: Path, command: Run) -> None:
    """After `update`, `list` names each series, and `mosaic` shows it without any folder's name."""
    assert command("update", "--root", discs).status == 0
    rows = listed(
        command, "--columns", "Series,SeriesInstanceUID,Slices", "--sort", "SeriesInstanceUID,Series"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("disc 1/DICOM", "1.2.1", 3),
        ("disc 1/DICOM", "1.2.2", 1),
        ("disc 2/A", "1.2.3", 2),
        ("disc 2/B", "1.2.3", 2),
    ]
    for uid, slices in (("1.2.1", "3 of 3"), ("1.2.2", "1 of 1"), ("1.2.3", "2 of 2")):
        done = command("mosaic", uid, "x.webp", "--root", discs)
        assert done.status == 0, done.stderr
        assert f"{slices} slice" in done.stderr


def test_a_second_update_does_nothing(discs: Path, command: Run) -> None:
    """It lists, reads no header and makes no commit."""
    command("update", "--root", discs)
    done = json.loads(command("update", "--root", discs, "--json").stdout)
    assert (done["new"], done["changed"], done["gone"], done["unchanged"]) == (0, 0, 0, 3)
    assert (done["headers"], done["commits"], done["requests"]["get"]) == (0, 0, 0)


def test_an_update_reads_what_has_changed_alone(discs: Path, command: Run) -> None:
    """A new slice, a folder that is gone and a new one: the others' headers are not read again."""
    command("update", "--root", discs)
    write(discs / "disc 1" / "DICOM" / "IM00009", "1.2.1", 4)
    write(discs / "disc 3" / "x", "1.2.9", 1)
    shutil.rmtree(discs / "disc 2" / "A")
    done = json.loads(command("update", "--root", discs, "--json").stdout)
    assert (done["new"], done["changed"], done["gone"], done["unchanged"]) == (1, 1, 1, 1)
    # One commit of rows, and one for what is left of the series that was in two folders.
    assert (done["headers"], done["commits"]) == (2, 2)
    slices = {row["SeriesInstanceUID"]: row["Slices"] for row in listed(command)}
    assert slices == {"1.2.1": 4, "1.2.2": 1, "1.2.3": 1, "1.2.9": 1}
    assert "1 of 1 slice" in command("mosaic", "1.2.3", "x.webp", "--root", discs).stderr


def test_a_dry_run_does_nothing(discs: Path, command: Run, tmp_path: Path) -> None:
    """It says how many series it would index, and writes no index and no row."""
    done = command("update", "--root", discs, "--dry-run")
    assert done.lines == [
        "3 new, 0 changed, 0 gone, 0 unchanged; an update would read at most 6 headers; nothing was done"
    ]
    assert not list((tmp_path / "cache").rglob("*.parquet"))


def test_an_update_of_some_leaves_the_rest(discs: Path, command: Run) -> None:
    """Named folders alone are looked at; rows of others stay, also where their folders are gone."""
    command("update", "--root", discs)
    shutil.rmtree(discs / "disc 2")
    write(discs / "disc 1" / "DICOM" / "IM00009", "1.2.1", 4)
    done = json.loads(command("update", "disc 1/DICOM", "--root", discs, "--json").stdout)
    assert (done["changed"], done["gone"]) == (1, 0)
    assert len(listed(command)) == 4
    assert json.loads(command("update", "disc 2/A", "--root", discs, "--json").stdout)["gone"] == 1
    assert len(listed(command)) == 3


def test_a_root_that_shows_nothing_is_refused(discs: Path, command: Run) -> None:
    """A disk that is not mounted does not empty the catalogue; `--rebuild` does."""
    command("update", "--root", discs)
    shutil.rmtree(discs)
    discs.mkdir()
    done = command("update", "--root", discs)
    assert done.status == 1
    assert "where nothing is now; mount it" in done.stderr
    assert len(listed(command)) == 4
    assert command("update", "--root", discs, "--rebuild").status == 0
    assert listed(command) == []


def test_a_folder_without_instances_has_a_row(discs: Path, command: Run) -> None:
    """Its row says why there is no index, and `update` says so and ends with status 1."""
    (discs / "other").mkdir()
    (discs / "other" / "notes").write_text("no DICOM", encoding="utf-8")
    done = command("update", "--root", discs)
    assert done.status == 1
    assert any(line.startswith("failed   other: ") for line in done.lines)
    (row,) = listed(command, "--where", "Problem IS NOT NULL")
    assert (row["Series"], row["Slices"], row["Instances"]) == ("other", None, 1)
    assert row["Problem"] in done.stderr


def test_objects_right_in_the_root_are_counted(discs: Path, command: Run) -> None:
    """They belong to no folder; a line says what to do, and doing so finds them."""
    write(discs / "loose", "1.2.7", 1)
    assert "warning: 1 object right in" in command("update", "--root", discs).stderr
    assert command("update", "--root", discs.parent).status == 0
    assert [row["SeriesInstanceUID"] for row in listed(command, "--where", "SeriesInstanceUID = '1.2.7'")]


def test_the_cache_in_the_root_is_no_series(discs: Path, command: Run) -> None:
    """Indices and the catalogue's own files are not looked at, however often it is updated."""
    for _ in range(2):
        done = json.loads(command("update", "--root", discs, "--cache-dir", discs / "cache", "--json").stdout)
    assert (done["unchanged"], done["new"], done["failed"]) == (3, 0, [])


def test_outputs_agree(discs: Path, command: Run) -> None:
    """JSON, JSON lines, CSV and Parquet hold the same rows; Parquet has the types."""
    command("update", "--root", discs)
    rows = listed(command)
    for name in ("x.jsonl", "x.csv", "x.parquet", "x.json"):
        assert command("list", "-o", name).status == 0
    lines = Path("x.jsonl").read_text(encoding="utf-8").splitlines()
    assert (
        [json.loads(line) for line in lines] == rows == json.loads(Path("x.json").read_text(encoding="utf-8"))
    )
    read = list(csv.DictReader(io.StringIO(Path("x.csv").read_text(encoding="utf-8"))))
    assert [row["SeriesInstanceUID"] for row in read] == [row["SeriesInstanceUID"] for row in rows]
    table = pq.read_table("x.parquet").to_pylist()
    assert [row["StudyDate"] for row in table if row["SeriesInstanceUID"] == "1.2.2"] == [
        dt.date(2024, 2, 29)
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("list", "--columns", "Modalty"),
            "error: --columns: 'Modalty' is no column of the catalogue; did you mean Modality?",
        ),
        (("list", "--limit", "-1"), "error: --limit: must be 0 or more, not -1"),
        (("list", "--json", "--csv"), "error: --json: csv and output exclude each other; give one"),
        (("list", "-o", "x.txt"), "error: output: ends in .json, .jsonl, .csv, .parquet, not .txt"),
        (("list", "-o", "x"), "error: output: ends in .json, .jsonl, .csv, .parquet, and 'x' has no ending"),
        (
            ("list", "--where", "Modality=CT"),
            "error: --where: there is no column CT; text stands in single quotes: 'CT'",
        ),
        (
            ("query", "SELECT 1 FROM slices", "--where", "Slices > 'many'"),
            "error: --where: 'many' is not a number",
        ),
        (
            ("query", "SELECT Series FROM series WHERE"),
            "error: sql: is no SQL: an expression is missing at its end",
        ),
        (("query", "DROP TABLE series"), "error: sql: is no question; begin with SELECT or WITH"),
    ],
)
def test_mistakes_get_one_line(discs: Path, command: Run, arguments: tuple[str, ...], line: str) -> None:
    """A wrong column, limit, output or question is refused in one line that says what would be right."""
    command("update", "--root", discs)
    done = command(*arguments)
    assert (done.status, done.lines) == (1, [line])


def test_without_a_catalogue_a_line_says_how_to_make_one(command: Run) -> None:
    """`list` and `query` name `update`."""
    for arguments in (("list",), ("query", "SELECT 1 FROM series")):
        done = command(*arguments)
        assert done.status == 1
        assert done.stderr.endswith(
            "there is no catalogue yet; `dicom-series-preview update --root FOLDER` makes one\n"
        )


def test_reading_creates_no_cache_folder(command: Run, tmp_path: Path) -> None:
    """`list`, `query` and `Archive` create no folder where nothing is to be read."""
    command("list", "--cache-dir", tmp_path / "new")
    command("query", "SELECT 1 FROM series", "--cache-dir", tmp_path / "new")
    with pytest.raises(NoCatalogueError):
        Archive(tmp_path, cache_dir=tmp_path / "new").series()
    assert not (tmp_path / "new").exists()


def test_a_root_that_is_not_catalogued_is_an_error(discs: Path, command: Run) -> None:
    """A mistyped root is no empty answer: the line names the roots that the catalogue has."""
    command("update", "--root", discs)
    for arguments in (("list", "--json"), ("query", "SELECT 1 FROM series")):
        done = command(*arguments, "--root", discs.parent / "typo")
        assert (done.status, done.stdout) == (1, "")
        assert f"typo; it has those of {discs.as_uri()}" in done.stderr
    with pytest.raises(RequestError, match="it has those of"):
        Archive(discs.parent / "typo").series()


def test_no_rows_are_called_so(discs: Path, command: Run) -> None:
    """`query` without an answer says that there are no rows, and `list` that there are no series."""
    command("update", "--root", discs)
    assert command("query", "SELECT Series FROM series WHERE false").lines == ["no rows"]
    assert command("list", "--where", "false").lines == ["no series"]


def test_the_setting_of_identifiers_holds_here(
    discs: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`drop` hides on the command line and in Python too; without a setting all is shown."""
    write(discs / "disc 4" / "x", "1.2.4", 1, PatientName="Doe^Planted", PatientID="P-1")
    command("update", "--root", discs)
    where = ("--where", "SeriesInstanceUID = '1.2.4'")
    frames = ("query", "SELECT * FROM slices", "--json", *where)
    (row,) = listed(command, *where)
    assert (row["PatientName"], row["PatientID"]) == ("Doe^Planted", "P-1")
    assert "Doe^Planted" in command(*frames).stdout
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_IDENTIFIERS", "drop")
    (row,) = listed(command, *where)
    assert not {"PatientName", "PatientID"} & row.keys()
    assert "P-1" not in command(*frames).stdout
    assert "Doe^Planted" not in command(*frames).stdout
    assert "is not shown" in command("list", "--columns", "PatientName").stderr
    archive = Archive(discs)
    assert "PatientID" not in archive.series().column_names
    assert "PatientID" not in archive.query("SELECT * FROM slices").column_names
    with pytest.raises(RequestError, match="is not shown"):
        archive.gallery("PatientID = 'P-1'")


def test_columns_in_python_are_a_text_or_a_list(discs: Path, command: Run) -> None:
    """A list of names gives what the same names with commas do; anything else is a TypeError."""
    command("update", "--root", discs)
    archive = Archive(discs)
    for columns in ("Series,Slices", ["Series", "Slices"]):
        found = archive.series(columns=columns, sort=["-Slices"])
        assert found.column_names == ["Series", "Slices"]
        assert found["Slices"][0].as_py() == 3
    with pytest.raises(TypeError):
        archive.series(columns=5)


def test_evicted_indices_are_made_anew_or_named(discs: Path, command: Run) -> None:
    """After `cache prune`, `slices` has the same rows, with a warning; where the root is gone, it is said."""
    command("update", "--root", discs)
    count = ("query", "SELECT count(*) AS n FROM slices", "--json")
    before = command(*count).stdout
    command("cache", "prune", "--max-size", "1B")
    done = command(*count)
    assert done.stdout == before
    assert done.stderr.startswith(
        "warning: the cache had lost the indices of 3 series, which were made anew: "
    )
    command("cache", "prune", "--max-size", "1B")
    shutil.rmtree(discs / "disc 2")
    done = command(*count)
    assert json.loads(done.stdout) == [{"n": 4}]
    assert "warning: slices lacks 2 series: " in done.stderr.replace("`", "")
    command("cache", "prune", "--max-size", "1B")
    with pytest.warns(UserWarning, match="disc [12]/") as told:
        Archive(discs).query("SELECT count(*) FROM slices")
    assert [("lacks 2 series" in str(one.message), one.filename) for one in told] == [
        (False, __file__),
        (True, __file__),
    ]
    shutil.rmtree(discs)
    command("cache", "prune", "--max-size", "1B")
    done = command(*count)
    assert (done.status, "cannot be made anew" in done.stderr) == (1, True)
    assert "run update" not in done.stderr


def test_a_damaged_table_is_told_alike(discs: Path, command: Run, tmp_path: Path) -> None:
    """Where a data file is damaged, `list` and `query` say what `update` says."""
    command("update", "--root", discs)
    for path in (tmp_path / "cache" / "catalogue").glob("*.parquet"):
        path.write_bytes(b"x" * path.stat().st_size)
    said = command("update", "--root", discs).lines
    assert said[0].endswith("`update --rebuild` makes it anew")
    assert command("list").lines == said
    assert command("query", "SELECT Series FROM series").lines == said


def test_the_whole_public_bucket_is_refused(command: Run) -> None:
    """The default root has a hundred million objects; series must be named."""
    done = command("update")
    assert done.status == 1
    assert "holds too much to list it whole; name series" in done.stderr


def test_a_query_joins_slices(discs: Path, command: Run) -> None:
    """`slices` holds the indices of the series that `--where` selects."""
    command("update", "--root", discs)
    done = command(
        "query", "SELECT count(*) AS n FROM slices", "--where", "SeriesInstanceUID = '1.2.2'", "--json"
    )
    assert json.loads(done.stdout) == [{"n": 1}], "the folder's index holds another series, of 3 slices"


def test_clearing_the_cache_removes_the_catalogue(discs: Path, command: Run, tmp_path: Path) -> None:
    """No row is left, nor what else lies in its folder touched; `update` makes all of it again."""
    command("update", "--root", discs)
    mine = tmp_path / "cache" / "catalogue" / "notes.txt"
    mine.write_text("mine", encoding="utf-8")
    assert command("cache", "clear", "--yes").status == 0
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [mine]
    assert command("list").status == 1
    assert command("update", "--root", discs).status == 0
    assert command("mosaic", "1.2.3", "x.webp", "--root", discs).status == 0


def test_pictures_refuse_a_cache_in_a_bucket(discs: Path, command: Run) -> None:
    """They would write to a folder of that name; a line says which commands take one."""
    done = command("mosaic", "disc 2/A", "x.webp", "--root", discs, "--cache-dir", "s3://bucket/cache")
    assert done.status == 1
    assert done.lines == ["error: --cache-dir: is a folder here; update, list and query also take s3://"]


def test_a_folder_may_be_a_path(discs: Path, command: Run) -> None:
    """A path below the root names the folder, absolute or from here; one elsewhere is refused."""
    for name in (discs / "disc 2" / "A", "./discs/disc 2/B"):
        assert json.loads(command("update", name, "--root", discs, "--json").stdout)["new"] == 1
    done = command("update", "/elsewhere/x", "--root", discs)
    assert (done.status, len(done.lines)) == (1, 1)
    assert "does not lie below" in done.stderr


def test_a_misspelt_folder_is_an_error(discs: Path, command: Run) -> None:
    """A folder that neither the root nor the catalogue has is named."""
    command("update", "--root", discs)
    done = command("update", "disk 1", "--root", discs)
    assert done.status == 1
    assert done.lines == [f"error: disk 1 in {discs.as_uri()}: no such series"]


def test_what_failed_is_told_again(discs: Path, command: Run) -> None:
    """A folder that still has no index is no unchanged series, however often it is updated."""
    (discs / "other").mkdir()
    (discs / "other" / "notes").write_text("no DICOM", encoding="utf-8")
    for _ in range(2):
        done = command("update", "--root", discs)
        assert done.status == 1
        assert done.lines[0].startswith("failed   other: ")
    assert " 3 unchanged, 1 failed; 0 headers read" in done.lines[-1]


def test_patients_go_from_older_versions_too(
    discs: Path, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `CATALOGUE_PATIENT=false` no file of the table, nor its log, names them any longer."""
    write(discs / "named" / "x", "1.2.8", 1, PatientName="Bellona^Alma", PatientID="B-4711")
    command("update", "--root", discs)
    monkeypatch.setenv("CATALOGUE_PATIENT", "false")
    assert command("update", "--root", discs).status == 0
    assert len(listed(command)) == 5
    assert {row["PatientName"] for row in listed(command)} == {None}
    for file in (tmp_path / "cache" / "catalogue").rglob("*"):
        if file.suffix == ".parquet" and "checkpoint" not in file.name:
            assert pq.read_table(file)["PatientID"].null_count == pq.read_metadata(file).num_rows
        elif file.is_file():
            assert b"Bellona" not in file.read_bytes(), file


def test_one_added_column_gives_way_to_another(
    discs: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site's columns may be exchanged: the new one is filled, the old one empty."""
    write(discs / "named" / "x", "1.2.8", 1, EchoTime=4.5, RepetitionTime=20)
    for name in ("EchoTime", "RepetitionTime"):
        monkeypatch.setenv("CATALOGUE_COLUMNS", name)
        assert command("update", "--root", discs).status == 0
    (row,) = listed(command, "--where", "SeriesInstanceUID = '1.2.8'")
    assert (row["EchoTime"], row["RepetitionTime"]) == (None, 20.0)


def test_a_folder_inside_a_series_is_refused(discs: Path, command: Run) -> None:
    """It would be a second series of the same objects."""
    write(discs / "disc 1" / "DICOM" / "more" / "x", "1.2.1", 9)
    command("update", "--root", discs)
    done = command("update", "disc 1/DICOM/more", "--root", discs)
    line = "error: series: disc 1/DICOM/more lies in the series disc 1/DICOM; name that one"
    assert done.lines == [line]


def test_places_that_are_lost_are_noted_again(discs: Path, command: Run, tmp_path: Path) -> None:
    """After someone has removed them, an update that finds nothing new notes them all."""
    command("update", "--root", discs)
    shutil.rmtree(tmp_path / "cache" / "uids")
    assert command("mosaic", "1.2.3", "x.webp", "--root", discs).status == 1
    command("update", "--root", discs)
    assert command("mosaic", "1.2.3", "x.webp", "--root", discs).status == 0


def test_a_split_series_that_is_not_measured_whole_is_told(discs: Path, command: Run) -> None:
    """Where a folder has changed that this update was not told of, it says so; another update measures it."""
    command("update", "--root", discs)
    write(discs / "disc 2" / "A" / "y", "1.2.3", 3)
    command("mosaic", "disc 2/A", "x.webp", "--root", discs)
    write(discs / "disc 2" / "B" / "y", "1.2.3", 4)
    done = command("update", "disc 2/B", "--root", discs)
    line = (
        "warning: 1 SeriesInstanceUID in several folders could not be measured as a whole, and rows can "
        "describe a part; another update tries again"
    )
    assert (done.status, done.lines[0]) == (0, line)
    done = json.loads(command("update", "--root", discs, "--json").stdout)
    assert (done["changed"], done["unjoined"]) == (1, 0)
    rows = listed(command, "--where", "SeriesInstanceUID = '1.2.3'")
    assert {(row["Folders"], row["Slices"], row["Instances"]) for row in rows} == {(2, 4, 2)}
