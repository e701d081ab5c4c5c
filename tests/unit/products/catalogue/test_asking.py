import datetime as dt
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import make_dicom as make
from catalogued import ROOT, Catalogued, looked_at, row
from dicom_series_preview.archive.catalogue.snapshot import FOLDER
from dicom_series_preview.base.errors import CatalogueError, LimitError, NoCatalogueError, RequestError
from dicom_series_preview.base.settings import Identifiers, Settings
from dicom_series_preview.products.catalogue import asking as module
from dicom_series_preview.products.catalogue.asking import Asking, SeriesQuery
from dicom_series_preview.products.catalogue.identifiers import hashed
from dicom_series_preview.products.catalogue.updating import reindexer
from dicom_series_preview.sources.storage.local import LocalStorage

OTHER = "s3://other"


def cells(number: int) -> dict[str, object]:
    """What the rows of a made archive have."""
    return {
        "Modality": ("CT", "MR", None)[number % 3],
        "StudyInstanceUID": f"1.2.{number // 4}",
        "StudyDate": dt.date(2026, 1, 1) + dt.timedelta(days=number // 4) if number % 7 else None,
        "StudyTime": dt.time(number % 24),
        "SeriesNumber": number % 4,
        "SeriesDescription": f"t{number % 3} axial {number}",
        "Slices": number * 3 % 11,
        "Bytes": number * 1000,
        "Root": OTHER if number % 5 == 0 else ROOT,
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Catalogued:
    """Forty rows of two roots."""
    made = Catalogued.on_disk(tmp_path_factory.mktemp("asking"))
    rows = [row(f"s{number:02}", f"1.2.3.{number}", **cells(number)) for number in range(40)]
    when = rows[0]["CataloguedAt"]
    made.table.merge(rows, {(one["Root"], one["Series"]): when for one in rows})
    return made


def ask(archive: Catalogued, **query: object) -> list[dict[str, object]]:
    """A list of series."""
    return Asking(archive.kept).series(SeriesQuery(**query)).to_pylist()


def test_the_newest_study_comes_first(archive: Catalogued) -> None:
    """Without an order, the newest study is first, its series by number, and those without a date last."""
    found = ask(archive, columns=("StudyDate", "StudyInstanceUID", "SeriesNumber"))
    dated = [one for one in found if one["StudyDate"]]
    assert found == dated + [one for one in found if one["StudyDate"] is None]
    assert dated == sorted(
        dated, key=lambda one: (-one["StudyDate"].toordinal(), one["StudyInstanceUID"], one["SeriesNumber"])
    )


def test_a_list_has_what_is_asked_for(archive: Catalogued) -> None:
    """Root, condition, columns in any case, order and limit choose; times of day are times."""
    found = ask(
        archive,
        root=ROOT,
        where="modality = 'CT'",
        columns=("slices", "StudyTime"),
        sort=(("Slices", True),),
        limit=3,
    )
    assert [list(one) for one in found] == [["Slices", "StudyTime"]] * 3
    assert [one["Slices"] for one in found] == sorted((one["Slices"] for one in found), reverse=True)
    assert all(isinstance(one["StudyTime"], dt.time) for one in found)
    assert len(ask(archive, root=ROOT)) == 32
    assert ask(archive, limit=0) == []


def test_roots_differ_alike_in_place_and_in_memory(archive: Catalogued) -> None:
    """A list of one root is the part of the list of all that is of it."""
    of_all = [one for one in ask(archive) if one["Root"] == ROOT]
    assert ask(archive, root=ROOT) == of_all


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"columns": ("Modalty",)}, "did you mean Modality?"),
        ({"sort": (("Slice", False),)}, "did you mean Slices?"),
        ({"where": "Nothing = 1"}, "where: there is no column Nothing"),
        ({"where": "1 = 1); DROP TABLE series; --"}, "where: is no SQL"),
        ({"where": "Modality=CT"}, "where: there is no column CT; text stands in single quotes: 'CT'"),
        ({"where": "Modalty = 'CT'"}, "did you mean Modality?"),
        (
            {"root": "s3://nowhere"},
            f"the catalogue has no series of s3://nowhere; it has those of {ROOT}, {OTHER}",
        ),
    ],
)
def test_a_wrong_list_is_refused(query: dict[str, object], said: str, archive: Catalogued) -> None:
    """An unknown column or a wrong condition is one line, with the nearest name."""
    with pytest.raises(RequestError) as raised:
        ask(archive, **query)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_words_of_a_query() -> None:
    """Columns and orders are read as typed; a wrong order or limit is refused."""
    made = SeriesQuery.from_strings(None, None, " a, b ,", "-a, b desc,c asc, d", 3)
    assert made.columns == ("a", "b")
    assert made.sort == (("a", True), ("b", True), ("c", False), ("d", False))
    assert SeriesQuery.from_strings(None, None, ["a", " b "], ("-a",), None) == SeriesQuery(
        columns=("a", "b"), sort=(("a", True),)
    )
    with pytest.raises(TypeError, match="columns is a text with commas, or a list of texts"):
        SeriesQuery.from_strings(None, None, {"a": 1}, None, None)
    for sort, limit in (("a down", None), (None, -1)):
        with pytest.raises(RequestError):
            SeriesQuery.from_strings(None, None, None, sort, limit)


QUESTIONS = {
    "SELECT Series FROM series WHERE Modality = 'CT' AND Slices > 3": lambda table: table.filter(
        (pc.field("Modality") == "CT") & (pc.field("Slices") > 3)
    ).select(["Series"]),
    "SELECT Series FROM series WHERE SeriesDescription LIKE '%t1%'": lambda table: table.filter(
        pc.match_substring(table["SeriesDescription"], "t1")
    ).select(["Series"]),
    "SELECT Modality, count(*) AS n, sum(Bytes) AS b FROM series GROUP BY Modality": lambda table: pa.table(
        table.group_by("Modality").aggregate([([], "count_all"), ("Bytes", "sum")])
    ).rename_columns(["Modality", "n", "b"]),
    "SELECT Series FROM series WHERE StudyDate BETWEEN '2026-01-03' AND '2026-01-05'": lambda table: (
        table.filter(
            (pc.field("StudyDate") >= dt.date(2026, 1, 3)) & (pc.field("StudyDate") <= dt.date(2026, 1, 5))
        ).select(["Series"])
    ),
    "SELECT Series FROM series WHERE StudyInstanceUID = '1.2.4'": lambda table: table.filter(
        pc.field("StudyInstanceUID") == "1.2.4"
    ).select(["Series"]),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_engines_agree(question: str, archive: Catalogued) -> None:
    """`query`, Polars and pyarrow give the same answer to the same question."""

    def told(table: pa.Table) -> list[tuple[object, ...]]:
        return sorted((tuple(one.values()) for one in table.to_pylist()), key=str)

    ours = told(Asking(archive.kept).sql(question))
    assert ours == told(QUESTIONS[question](archive.reader.read()))
    frame = pl.read_delta(f"{archive.kept.root}/{FOLDER}")
    theirs = frame.sql(
        question.replace("FROM series", "FROM self")
        .replace("'2026-01-03'", "DATE '2026-01-03'")
        .replace("'2026-01-05'", "DATE '2026-01-05'")
    )
    assert ours == told(pa.table(theirs))


def test_slices_are_the_indices_of_the_series_chosen(tmp_path: Path) -> None:
    """`slices` has a row a frame of the chosen series; one whose index is gone has none."""
    made = Catalogued.on_disk(tmp_path)
    for name, count in (("a", 3), ("b", 2)):
        for number in range(1, count + 1):
            made.put(
                f"{name}/{number}",
                make.encode(make.image(number, SeriesInstanceUID=f"1.{count}", EchoTime=number)),
            )
    made.update()
    asked = Asking(made.kept)
    count = "SELECT count(*) AS n, max(EchoTime) AS e FROM slices"
    assert asked.sql(count).to_pylist() == [{"n": 5, "e": 3.0}]
    assert asked.sql(count, where="Series = 'b'").to_pylist() == [{"n": 2, "e": 2.0}]
    joined = (
        "SELECT s.Series, count(*) AS n FROM slices x JOIN series s ON x.SeriesUID = s.Series "
        "GROUP BY 1 ORDER BY 1"
    )
    assert asked.sql(joined).to_pylist() == [{"Series": "a", "n": 3}, {"Series": "b", "n": 2}]
    with pytest.raises(RequestError, match="where: selects no series"):
        asked.sql(count, where="Series = 'c'")


def lost(made: Catalogued, told: list[str], *series: str) -> Asking:
    """A catalogue whose cache has lost indices, and that can make them anew."""
    for one in made.rows():
        if one["Series"] in series:
            made.kept.delete(one["IndexPath"])
    again = reindexer(made.kept, Settings(Path()), {})
    return Asking(made.kept, reindex=again, tell=told.append)


COUNT = "SELECT count(*) AS n FROM slices"


def test_a_lost_index_is_made_anew(tmp_path: Path) -> None:
    """An index that the cache has evicted is made anew from the root, and a line says so; once."""
    made = Catalogued.on_disk(tmp_path)
    for name in "ab":
        made.put(f"{name}/1", SeriesInstanceUID=f"1.{ord(name)}")
    made.update()
    told: list[str] = []
    asked = lost(made, told, "a")
    for _ in range(2):
        assert asked.sql(COUNT).to_pylist() == [{"n": 2}]
    assert told == ["the cache had lost the indices of 1 series, which were made anew: a"]


def test_an_index_that_is_lost_for_good_is_named(tmp_path: Path) -> None:
    """Where the root cannot give it back, a line counts and names the series; if none is left, an error."""
    made = Catalogued.on_disk(tmp_path)
    for name in "ab":
        made.put(f"{name}/1", SeriesInstanceUID=f"1.{ord(name)}")
    made.update()
    told: list[str] = []
    asked = lost(made, told, "a")
    (tmp_path / "root" / "a" / "1").unlink()
    assert asked.sql(COUNT).to_pylist() == [{"n": 1}]
    (line,) = told
    assert line.startswith("`slices` lacks 1 series: the cache has lost")
    assert "cannot be made anew: a (" in line
    with pytest.raises(CatalogueError, match="lost the indices of 1 series") as raised:
        Asking(made.kept).sql(COUNT, where="Series = 'a'")
    assert "update" not in str(raised.value)


def test_slices_are_those_of_the_selected_series(tmp_path: Path) -> None:
    """Of a folder with several series, `slices` has the rows of the selected SeriesInstanceUIDs alone."""
    made = Catalogued.on_disk(tmp_path)
    for number, uid in enumerate(("1.1", "1.1", "1.2")):
        made.put(f"disc/{number}", SeriesInstanceUID=uid, InstanceNumber=number)
    made.update()
    asked = Asking(made.kept)
    assert asked.sql(COUNT, where="SeriesInstanceUID = '1.2'").to_pylist() == [{"n": 1}]
    assert asked.sql(COUNT, where="Series = 'disc'").to_pylist() == [{"n": 3}]


PERSON = {
    "PatientName": "Doe^Planted",
    "PatientID": "P-1",
    "PatientBirthDate": "19700101",
    "AccessionNumber": "A-1",
    "PatientComments": "planted words",
}
KEY = b"k" * 16


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Catalogued:
    """A series of somebody."""
    made = Catalogued.on_disk(tmp_path_factory.mktemp("person"))
    made.put("a/1", SeriesInstanceUID="1.1", **PERSON)
    made.update()
    return made


@pytest.mark.parametrize("mode", ["drop", "hash"])
@pytest.mark.parametrize("root", [False, True])
def test_identifiers_are_hidden_here_too(mode: str, root: bool, person: Catalogued) -> None:  # noqa: FBT001
    """`drop` and `hash` hold for lists and SQL, for `series` and `slices`, of one root and of all."""
    asked = Asking(person.kept, Identifiers(mode, KEY))
    where = person.root.url if root else None
    (listed,) = asked.series(SeriesQuery(where)).to_pylist()
    (row,) = asked.sql("SELECT * FROM series", where).to_pylist()
    (frame,) = asked.sql("SELECT * FROM slices", where).to_pylist()
    for shown in (listed, row, frame):
        assert not {"PatientName", "PatientBirthDate", "PatientComments"} & shown.keys()
        assert not {"Doe^Planted", "P-1", "A-1", "planted words"} & set(map(str, shown.values()))
        assert shown["Modality"]
        assert shown.get("PatientID") == (hashed(["P-1"], KEY)[0] if mode == "hash" else None)
    assert frame["FileName"] == "1"
    assert {"Stack", "FrameOffset", "Remarks"} <= frame.keys()


def test_hidden_columns_cannot_be_asked_for(person: Catalogued) -> None:
    """A hidden column is refused as a column, in a condition, in an order and in SQL, with the reason."""
    asked = Asking(person.kept, Identifiers("drop"))
    for ask_for in (
        lambda: asked.series(SeriesQuery(columns=("patientid",))),
        lambda: asked.series(SeriesQuery(sort=(("PatientName", False),))),
        lambda: asked.series(SeriesQuery(where="patientname LIKE 'D%'")),
        lambda: asked.sql("SELECT x.PatientName FROM series x"),
        lambda: asked.sql("SELECT PatientComments FROM slices"),
        lambda: asked.sql("SELECT 1 FROM slices", where="PatientID = 'P-1'"),
    ):
        with pytest.raises(RequestError, match="is not shown: DICOM_SERIES_PREVIEW_IDENTIFIERS"):
            ask_for()


def test_an_error_quotes_no_cell(person: Catalogued) -> None:
    """What a row holds stays out of the error that a comparison with it ends in."""
    asked = Asking(person.kept)
    for where in (
        "PatientName > 3",
        "cast(PatientName AS date) > '2026-01-01'",
        "to_timestamp(PatientName) > now()",
    ):
        with pytest.raises(RequestError, match="a text in the rows") as raised:
            asked.series(SeriesQuery(where=where))
        assert "Planted" not in str(raised.value)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"\0" * path.stat().st_size)])
def test_a_damaged_file_is_told_as_update_tells_it(harm: Callable[[Path], object], tmp_path: Path) -> None:
    """A data file that is gone or damaged: `list` and `query` name `update --rebuild`, in one line."""
    made = Catalogued.on_disk(tmp_path)
    made.table.merge([row("a")], looked_at("a"))
    for path in (tmp_path / "cache" / FOLDER).glob("*.parquet"):
        harm(path)
    asked = Asking(made.kept)
    for ask_for in (lambda: asked.series(SeriesQuery()), lambda: asked.sql("SELECT Series FROM series")):
        with pytest.raises(CatalogueError, match="`update --rebuild` makes it anew") as raised:
            ask_for()
        assert "\n" not in str(raised.value)


def test_no_cache_folder_is_no_catalogue(tmp_path: Path) -> None:
    """Where not even the cache folder is there, there is no catalogue yet."""
    with pytest.raises(NoCatalogueError, match="update --root FOLDER"):
        Asking(LocalStorage(tmp_path / "none", 1)).series(SeriesQuery())


def test_too_many_indices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`slices` of more series than memory holds is refused with how to narrow it."""
    made = Catalogued.on_disk(tmp_path)
    made.table.merge([row(name, IndexPath=name) for name in "abc"], looked_at(*"abc"))
    monkeypatch.setattr(module, "_MOST_INDICES", 2)
    with pytest.raises(LimitError, match="leaves 3 indices"):
        Asking(made.kept).sql("SELECT 1 FROM slices")


def test_an_empty_catalogue_and_none(tmp_path: Path) -> None:
    """Without a row the answer has typed columns; without a whole table an error says what to do."""
    made = Catalogued.on_disk(tmp_path)
    with pytest.raises(NoCatalogueError):
        ask(made)
    made.table.merge([row("a")], looked_at("a"))
    made.table.merge([], looked_at("a", minute=1))
    for root in (None, ROOT):
        empty = Asking(made.kept).series(SeriesQuery(root))
        assert empty.num_rows == 0
        assert empty.schema.names == made.shape.schema.names
        assert [one.type for one in empty.schema] == [one.type for one in made.shape.schema]
    (tmp_path / "cache" / FOLDER / "_delta_log" / "_last_checkpoint").write_text("x")
    with pytest.raises(CatalogueError, match="`update --rebuild`"):
        ask(made)
