import base64
import datetime as dt
import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import doubles
import searched
from dicom_series_preview.archive.catalogue.columns import COLUMNS, Shape
from dicom_series_preview.base.errors import (
    CatalogueError,
    ExpiredCursorError,
    LimitError,
    NoCatalogueError,
    RequestError,
)
from dicom_series_preview.products.catalogue.pages import Place, place_of
from dicom_series_preview.products.catalogue.view import CatalogueView, files_of
from searched import found, names, row, storage_of, view_of, write

MOMENT = dt.datetime(2026, 1, 1, 8, tzinfo=dt.UTC)


def varied(number: int) -> dict[str, Any]:
    """A row whose cells have ties, gaps and every type."""
    return row(
        number,
        Series=f"series-{number * 7919 % 1000:04}",
        StudyDate=None if number % 5 == 0 else dt.date(2026, 1, 1 + number % 7),
        Modality=("CT", "MR", None, "ct")[number % 4],
        Slices=number % 3 or None,
        Tilt_deg=(0.5, -1.5, None, math.nan)[number % 4],
        SpacingRegular=(True, False, None)[number % 3],
        FirstInstanceTime=None if number % 2 else MOMENT + dt.timedelta(hours=number % 4),
    )


ROWS = [varied(number) for number in range(60)]
SORTED = (
    "StudyDate",
    "Modality",
    "Slices",
    "Tilt_deg",
    "SpacingRegular",
    "FirstInstanceTime",
    "Series",
    "Problem",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of sixty rows in three files."""
    folder = tmp_path_factory.mktemp("catalogue")
    for start in (0, 20, 40):
        write(folder, ROWS[start : start + 20])
    return folder


def in_order(rows: list[dict[str, Any]], column: str, *, descending: bool) -> list[str]:
    """The folders of rows in the order of a column, as Python sorts."""

    def missing(one: dict[str, Any]) -> bool:
        value = one.get(column)
        return value is None or (isinstance(value, float) and math.isnan(value))

    by_key = sorted(rows, key=lambda one: (one["Root"], one["Series"], one["SeriesInstanceUID"]))
    known = [one for one in by_key if not missing(one)]
    known.sort(key=lambda one: one[column], reverse=False)
    if descending:
        values = sorted({one[column] for one in known}, reverse=True)
        known = [one for value in values for one in known if one[column] == value]
    return [one["Series"] for one in (*known, *filter(missing, by_key))]


def walked(view: CatalogueView, query: str) -> tuple[list[str], int]:
    """The folders of all pages of a query, and how many pages there are."""
    result, folders, pages = found(view, query), [], 0
    while True:
        folders += names(result)
        pages += 1
        if result.next is None:
            return folders, pages
        result = found(view, f"{query}&cursor={result.next}")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", SORTED)
def test_order_and_pages(folder: Path, column: str, *, descending: bool) -> None:
    """Rows are in the order of any column, those without a value last, ties by key, on all pages."""
    view = view_of(storage_of(folder))
    sort = f"sort={'-' if descending else ''}{column}"
    expected = in_order(ROWS, column, descending=descending)
    assert names(found(view, sort)) == expected
    for limit in (1, 7, 20, 59, 60, 61):
        pages = math.ceil(60 / limit)
        assert walked(view, f"{sort}&limit={limit}") == (expected, pages)


def test_pages_of_a_search(folder: Path) -> None:
    """A page has its search's rows alone, and each tells how many there are in all."""
    view = view_of(storage_of(folder))
    rows = [one for one in ROWS if one["Modality"] in {"CT", "ct"}]
    query = "modality=ct&sort=-StudyDate&limit=4"
    assert walked(view, query)[0] == in_order(rows, "StudyDate", descending=True)
    second = found(view, f"{query}&cursor={found(view, query).next}")
    assert (second.page.total, second.page.rows.num_rows) == (len(rows), 4)


def test_rows_are_whole(folder: Path) -> None:
    """A row has all columns, with the table's values and types; its root is the alias."""
    view = view_of(storage_of(folder))
    (got,) = found(view, "q=1.2.840.99.1.7").page.rows.select((*SORTED, "Root")).to_pylist()
    given = next(one for one in ROWS if one["SeriesInstanceUID"] == "1.2.840.99.1.7")
    assert {name: got[name] for name in SORTED if name != "Tilt_deg"} == {
        name: given.get(name) for name in SORTED if name != "Tilt_deg"
    }
    assert got["Root"] == "default"
    schema = found(view).page.rows.schema
    assert schema.names == [column.name for column in COLUMNS]
    assert schema.types == Shape().stored_schema.types


def test_rows_of_other_roots(tmp_path: Path) -> None:
    """Rows of roots that are not served are neither shown nor counted nor led to by a cursor."""
    other = "s3://planted-bucket/other"
    write(tmp_path, [row(n, Root=searched.ROOT if n % 2 else other) for n in range(10)])
    view = view_of(storage_of(tmp_path))
    assert found(view).page.total == 5
    assert walked(view, "limit=2&sort=Series") == ([f"series-{n:04}" for n in (1, 3, 5, 7, 9)], 3)
    both = view_of(storage_of(tmp_path), roots={"default": searched.ROOT, "other": other, "again": other})
    assert found(both).page.total == 10
    assert set(found(both, "root=again").page.rows["Root"].to_pylist()) == {"other"}
    assert found(both, "root=other,default").page.total == 10
    # A cursor of someone who sees more leads no further than one may see.
    result = found(both, "limit=2&sort=Series")
    with pytest.raises(RequestError, match="belongs to another search"):
        found(view, f"limit=2&sort=Series&cursor={result.next}")


@pytest.mark.parametrize("change", ["limit=5&sort=Slices", "limit=2&modality=MR", "limit=2&q=x"])
def test_a_cursor_belongs_to_its_search(folder: Path, change: str) -> None:
    """Another search or order with a cursor is refused; another limit goes on from the same row."""
    view = view_of(storage_of(folder))
    cursor = found(view, "limit=2").next
    with pytest.raises(RequestError, match="belongs to another search"):
        found(view, f"{change}&cursor={cursor}")
    rest = found(view, f"limit=1000&cursor={cursor}")
    assert names(rest) == in_order(ROWS, "StudyDate", descending=True)[2:]


def test_cursors_tampered_with(folder: Path) -> None:
    """Whatever is made of a cursor is refused as none, or as another search's; nothing else comes of it."""
    view = view_of(storage_of(folder))
    cursor = found(view, "limit=2").next
    text = base64.urlsafe_b64decode(cursor + "==").decode()
    version, number, *rest = text.split(".")
    made = [
        *(cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(len(cursor))),
        *(cursor[:i] for i in range(1, len(cursor))),
        *("=", "====", "\0", "ä", "x" * 10_000, "a b", cursor + "A", cursor * 2),
        *(
            base64.urlsafe_b64encode(".".join(parts).encode()).decode().rstrip("=")
            for parts in (
                [str(10**30), number, *rest],
                [version, "-1", *rest],
                [version, str(10**17), *rest],
                [version, "", *rest],
                [version, number],
                ["\u0661", number, *rest],
            )
        ),
    ]
    for one in made:
        if one == cursor:
            continue
        table = view.newest(view.storage)
        search = searched.searched(view, table, "limit=2")
        object.__setattr__(search, "cursor", one)
        with pytest.raises(RequestError, match=r"^cursor: "):
            view.find(table, search, searched.MOST_BYTES)


@pytest.mark.parametrize("sort", ["Series", "-StudyDate", "Root"])
def test_forged_rows(tmp_path: Path, sort: str) -> None:
    """A cursor with any number is refused, or leads to rows that the search finds: it tells of no others."""
    other = "s3://planted-bucket/other"
    for start in (0, 10):
        write(tmp_path, [row(n, Root=other if n % 3 else searched.ROOT) for n in range(start, start + 10)])
    view = view_of(storage_of(tmp_path))
    table = view.newest(view.storage)
    query = f"sort={sort}&limit=3&modality=CT"
    search = searched.searched(view, table, query)
    version, files = table.snapshot.version, files_of(table.snapshot)
    shown = names(found(view, f"sort={sort}"))
    assert len(shown) == 7
    followed = []
    for number in range(40):
        forged = Place(version, number, files).cursor(search.identity)
        if number >= len(shown):
            with pytest.raises(RequestError, match=r"^cursor: "):
                found(view, f"{query}&cursor={forged}")
            continue
        rest = names(found(view, f"sort={sort}&limit=1000&modality=CT&cursor={forged}"))
        assert rest == shown[len(shown) - len(rest) :]
        result = found(view, f"{query}&cursor={forged}")
        assert (names(result), result.page.total) == (rest[:3], len(shown))
        followed.append(len(rest))
    # Each number stands for another one of the rows that are shown.
    assert sorted(followed) == list(range(len(shown)))


def test_a_cursor_tells_of_no_other_rows(tmp_path: Path) -> None:
    """A cursor has the same row in it whatever rows of roots that are not served lie in the table."""
    places = []
    for others in (0, 30):
        folder = tmp_path / str(others)
        folder.mkdir()
        mine = [row(n) for n in range(5)]
        write(folder, [*(row(100 + n, Root="file:///other") for n in range(others)), *mine])
        view = view_of(storage_of(folder))
        search = searched.searched(view, view.newest(view.storage), "sort=Series&limit=2")
        cursor = found(view, "sort=Series&limit=2").next
        assert cursor
        places.append(place_of(cursor, search.identity).row)
    assert places[0] < 5
    assert places[1] < 5


def test_pages_of_one_version(tmp_path: Path) -> None:
    """While others write, pages go on in the version of the first, for another process as well."""
    write(tmp_path, [row(n) for n in range(10)])
    view = view_of(storage_of(tmp_path))
    first = found(view, "limit=4&sort=Series")
    write(tmp_path, [row(100, Series="a-new-one"), row(3, Fingerprint="changed")])
    searched.remove(tmp_path, "series-0005")
    for reader in (view, view_of(storage_of(tmp_path))):
        second = found(reader, f"limit=4&sort=Series&cursor={first.next}")
        assert names(second) == [f"series-{n:04}" for n in (4, 5, 6, 7)]
        assert second.page.total == 10
        third = found(reader, f"limit=4&sort=Series&cursor={second.next}")
        assert (names(third), third.next) == (["series-0008", "series-0009"], None)
        assert names(found(reader, "limit=4&sort=Series"))[0] == "a-new-one"


@pytest.mark.parametrize("lost", ["log", "files"])
def test_a_version_that_is_gone(tmp_path: Path, lost: str) -> None:
    """Once maintenance has removed a version, its cursors have expired, and say so."""
    write(tmp_path, [row(n) for n in range(10)])
    before = set((tmp_path / "catalogue").glob("*.parquet"))
    first = found(view_of(storage_of(tmp_path)), "limit=4")
    write(tmp_path, [row(n, Fingerprint="changed") for n in range(10)])
    log = tmp_path / "catalogue" / "_delta_log"
    for path in before if lost == "files" else log.glob("*1.checkpoint.parquet"):
        path.unlink()
    with pytest.raises(ExpiredCursorError, match="ask again without the cursor"):
        found(view_of(storage_of(tmp_path)), f"limit=4&cursor={first.next}")


def test_a_table_that_was_made_anew(tmp_path: Path) -> None:
    """A table of the same version number follows no cursor of the one before; it is seen in five minutes."""
    clock = doubles.Time()
    write(tmp_path, [row(n) for n in range(3)])
    view = view_of(storage_of(tmp_path), clock=clock)
    first = found(view, "limit=2")
    shutil.rmtree(tmp_path / "catalogue")
    write(tmp_path, [row(n) for n in range(20, 25)])
    clock.now = 300.0
    assert found(view).page.total == 5
    with pytest.raises(ExpiredCursorError):
        found(view, f"limit=2&cursor={first.next}")


def test_a_table_that_overtakes_the_one_before(tmp_path: Path) -> None:
    """Where commits of another table seem to follow the known version, at most one answer fails."""
    write(tmp_path, [row(1)])
    view = view_of(storage_of(tmp_path))
    assert found(view).page.total == 1
    shutil.rmtree(tmp_path / "catalogue")
    for number in range(10, 15):
        write(tmp_path, [row(number)])
    view._files._files.clear()
    view._columns._columns.clear()
    with pytest.raises(CatalogueError, match="a file of it is gone"):
        found(view)
    assert found(view).page.total == 5


def test_files_of_many_pieces(folder: Path, tmp_path: Path) -> None:
    """Files of several row groups, each with a dictionary of its own, give the same answers."""
    shutil.copytree(folder, tmp_path / "c")
    for path in (tmp_path / "c" / "catalogue").glob("*.parquet"):
        pq.write_table(pq.read_table(path), path, row_group_size=3)
    pieces, whole = view_of(storage_of(tmp_path / "c")), view_of(storage_of(folder))
    for query in ("", "sort=Modality", "modality=ct&sort=-Series", "q=series-00&limit=7"):
        assert str(found(pieces, query).page.rows.to_pylist()) == str(
            found(whole, query).page.rows.to_pylist()
        )


def test_requests(tmp_path: Path) -> None:
    """A cold search reads log and files once; a warm one asks whether there is a newer version, no more."""
    write(tmp_path, [row(n) for n in range(10)])
    storage = doubles.CountingStorage(storage_of(tmp_path))
    view = view_of(storage)
    found(view)
    assert len(storage.gets) == 4
    for query in ("", "modality=CT", "q=series", "sort=Slices"):
        storage.reset()
        found(view, query)
        assert len(storage.gets) == 1
    write(tmp_path, [row(100)])
    storage.reset()
    assert found(view).page.total == 11
    # The commit, the one after it that is not there, and the file.
    assert len(storage.gets) == 3


def test_many_at_once(folder: Path) -> None:
    """However many searches come at once, each file is read once, and all get the same rows."""
    storage = doubles.CountingStorage(storage_of(folder))
    view = view_of(storage)
    with ThreadPoolExecutor(16) as pool:
        pages = list(pool.map(lambda _: names(found(view, "sort=Modality")), range(32)))
    assert pages == [in_order(ROWS, "Modality", descending=False)] * 32
    files = [path for path in storage.gets if "_delta_log" not in path]
    assert len(files) == len(set(files)) == 3


def test_memory_is_bounded(tmp_path: Path) -> None:
    """With room for no column, each is decoded for each request, and the answer is the same."""
    write(tmp_path, ROWS)
    small, large = view_of(storage_of(tmp_path), most_bytes=1), view_of(storage_of(tmp_path))
    for query in ("", "modality=ct&sort=Slices", "q=series-00"):
        assert str(found(small, query).page.rows.to_pylist()) == str(
            found(large, query).page.rows.to_pylist()
        )
    assert small._columns._size < 2000 < large._columns._size


def test_columns_that_came_later(tmp_path: Path) -> None:
    """Rows of before a column was added have none of it, and it is searched and sorted all the same."""
    write(tmp_path, [row(1)])
    shape = Shape.from_settings("EchoTime,OperatorsName", "")
    write(tmp_path, [row(2, EchoTime=4.6, OperatorsName="Zwiebelfisch"), row(3, EchoTime=2.3)], shape)
    view = view_of(storage_of(tmp_path), searched.DROP)
    rows = found(view, "sort=EchoTime").page.rows
    assert rows["EchoTime"].to_pylist() == [2.3, 4.6, None]
    assert "OperatorsName" not in rows.column_names
    kept = found(view_of(storage_of(tmp_path)), "sort=-OperatorsName").page.rows
    assert kept["OperatorsName"].to_pylist() == ["Zwiebelfisch", None, None]


def test_a_catalogue_without_rows(tmp_path: Path) -> None:
    """A table whose rows are all gone is a page of nothing, with its columns."""
    write(tmp_path, [row(1)])
    searched.remove(tmp_path, "series-0001")
    result = found(view_of(storage_of(tmp_path)), "modality=CT")
    assert (result.page.total, result.next, result.page.rows.num_rows) == (0, None, 0)
    assert result.page.rows.schema.names == [column.name for column in COLUMNS]


def test_long_texts_are_cut(tmp_path: Path) -> None:
    """No header fills an answer: of a text, 10,240 characters are shown."""
    write(tmp_path, [row(1, SeriesDescription="ä" * 1_000_000), row(2, SeriesDescription="b")])
    texts = found(view_of(storage_of(tmp_path)), "sort=Series").page.rows["SeriesDescription"].to_pylist()
    assert texts == ["ä" * 10_240, "b"]


def test_long_lists_are_cut(tmp_path: Path) -> None:
    """Of a list, as many characters are shown as of a text, with the backslashes between its values."""
    lists: list[list[str | None] | None] = [
        ["ORIGINAL", "PRIMARY"],
        ["ä" * 65_000],
        ["x" * 99] * 700,
        [None] * 70_000,
        [],
        None,
        ["x", "y" * 10_238],
    ]
    write(tmp_path, [row(n, ImageType=each, PixelSpacing=[0.5] * (n * 500)) for n, each in enumerate(lists)])
    rows = found(view_of(storage_of(tmp_path)), "sort=Series").page.rows
    got = rows["ImageType"].to_pylist()
    assert got[0] == lists[0]
    assert got[1] == ["ä" * 10_240]
    assert got[2] == [*(["x" * 99] * 102), "x" * 40]
    assert got[3] == [None] * 10_241
    assert got[4:] == lists[4:]
    assert [len(each) for each in rows["PixelSpacing"].to_pylist()] == [0, 500, 602, 602, 602, 602, 602]


def test_long_texts_are_kept_cut(tmp_path: Path) -> None:
    """Columns in memory hold no more of a text than is shown; texts of one beginning are then the same."""
    texts = ["a" * 200_000 + end for end in "xyz"]
    write(tmp_path, [row(n, SeriesDescription=texts[n % 3]) for n in range(9)])
    view = view_of(storage_of(tmp_path))
    for sort in ("SeriesDescription", "-SeriesDescription"):
        assert walked(view, f"sort={sort}&limit=2")[0] == [f"series-{n:04}" for n in range(9)]
    assert view._columns._size < 100_000


def test_a_page_with_too_much_text(tmp_path: Path) -> None:
    """A page whose texts are longer than an answer is refused before they are all in memory."""
    write(tmp_path, [row(n, SeriesDescription=f"{n}" * 5_000, ImageType=["x" * 5_000]) for n in range(9)])
    view = view_of(storage_of(tmp_path))
    table = view.newest(view.storage)
    with pytest.raises(LimitError, match="give a smaller limit"):
        view.find(table, searched.searched(view, table), 80_000)
    assert view.find(table, searched.searched(view, table, "limit=5"), 80_000).page.rows.num_rows == 5


def test_without_a_catalogue(tmp_path: Path) -> None:
    """Where nothing is catalogued yet, the error says what makes a catalogue."""
    with pytest.raises(NoCatalogueError, match="dicom-series-preview update"):
        found(view_of(storage_of(tmp_path)))


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_broken_table(tmp_path: Path, damage: str) -> None:
    """A damaged file, or a table of something else, is an error of the catalogue, not a failure."""
    if damage == "cut":
        write(tmp_path, [row(1)])
        (path,) = (tmp_path / "catalogue").glob("*.parquet")
        path.write_bytes(path.read_bytes()[:-100])
    else:
        import deltalake  # noqa: PLC0415 - to write what is no catalogue
        import pyarrow as pa  # noqa: PLC0415

        deltalake.write_deltalake(str(tmp_path / "catalogue"), pa.table({"x": [1]}))
    with pytest.raises(CatalogueError, match="cannot be read"):
        found(view_of(storage_of(tmp_path)))


def test_files_joined_by_maintenance(folder: Path, tmp_path: Path) -> None:
    """Compaction by Delta Lake's own library changes no answer."""
    shutil.copytree(folder, tmp_path / "c")
    before = names(found(view_of(storage_of(tmp_path / "c"))))
    DeltaTable(str(tmp_path / "c" / "catalogue")).optimize.compact()
    view = view_of(storage_of(tmp_path / "c"))
    assert names(found(view)) == before
    assert len(view.newest(view.storage).snapshot.files) == 1


def test_without_delta_lakes_library(folder: Path) -> None:
    """What answers searches never loads the library that writes the table."""
    program = (
        "import sys, pathlib\n"
        "from dicom_series_preview.base.settings import Settings\n"
        "from dicom_series_preview.web.http.local import open_api\n"
        "from dicom_series_preview.web.http.messages import HttpRequest\n"
        "from dicom_series_preview.doors.server.application import application\n"
        "cache = pathlib.Path(sys.argv[1])\n"
        "api = open_api({'default': str(cache)}, Settings(cache), {})\n"
        "application(api)\n"
        "assert api.series(HttpRequest()).status == 200\n"
        "assert 'deltalake' not in sys.modules and 'arro3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
