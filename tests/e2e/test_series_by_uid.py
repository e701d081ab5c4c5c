"""A series by its SeriesInstanceUID, as a user of each door names it."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import counting
import make_dicom
import synthetic
from commandline import BUCKET, Outcome, PutSeries, Reports, Run
from dicom_series_preview import Series
from dicom_series_preview.archive.local import open_places
from dicom_series_preview.archive.uids import is_uid
from dicom_series_preview.base.errors import NoImageError, SeriesNotFoundError
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest
from placed import Layouts, Placed

ONE, TWO, THREE = "1.2.3", "1.2.4", "1.2.5"
Note = Callable[[str, str, str], None]


@pytest.fixture
def note() -> Note:
    """Notes below a root that a folder holds a series."""

    def run(root: str, uid: str, folder: str) -> None:
        settings = Settings.from_environment(os.environ)
        open_places(settings, open_storage(root, settings, os.environ)).add(uid, folder)

    return run


def slices(uid: str, numbers: range, **elements: Any) -> dict[str, bytes]:
    """Slices of a series by file name."""
    return {
        f"{uid}-{i}": make_dicom.encode(
            make_dicom.image(i, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{i}", **elements)
        )
        for i in numbers
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An archive with a folder of two series and a report, and the rest of one series in another."""
    report = make_dicom.report(9, SeriesDescription="Dose")
    report.SeriesInstanceUID = THREE
    folders = {
        "CD": {
            **slices(ONE, range(1, 4), SeriesNumber=7, SeriesDescription="THORAX\t1.0"),
            **slices(TWO, range(11, 13), SliceThickness=9),
            "dose": make_dicom.encode(report),
        },
        "more/of it": slices(ONE, range(4, 6), SeriesNumber=7),
    }
    for folder, objects in folders.items():
        (tmp_path / "root" / folder).mkdir(parents=True)
        for name, data in objects.items():
            (tmp_path / "root" / folder / name).write_bytes(data)
    return tmp_path / "root"


@pytest.fixture
def noted(root: Path, note: Note) -> Path:
    """The same archive, with its places."""
    for uid, folder in ((ONE, "CD"), (ONE, "more/of it"), (TWO, "CD")):
        note(str(root), uid, folder)
    return root


# --- any layout


@pytest.fixture(scope="module", params=[None, 1], ids=["in order", "shuffled"])
def layouts(real_data: Path, request: pytest.FixtureRequest) -> tuple[list[str], dict[str, Placed]]:
    """The series of the test data, and all its files in three layouts, with the place of each series.

    Where the names of the flat folder are shuffled, every tenth series stands for all.
    """
    files = [path for top in ("series", "single") for path in sorted((real_data / top).rglob("*"))]
    made = Layouts.of([path for path in files if path.is_file()], request.param)
    uids = [uid for uid in made.series if is_uid(uid)]
    assert len(uids) > 90
    archives = {"separate": made.separate, "flat": made.flat, "nested": made.nested}
    placed = {name: Placed(dict(objects)) for name, objects in archives.items()}
    return uids if request.param is None else uids[::10], placed


def ordered_by_name(archive: Placed, uid: str) -> bool:
    """Whether different objects of one SOPInstanceUID lie in a series, which only their names can order."""
    return any("share a SOPInstanceUID" in text for text in archive.index(uid).index.provenance.warnings)


@pytest.mark.real_data
def test_a_mosaic_is_the_same_in_every_layout(
    layouts: tuple[list[str], dict[str, Placed]], request: pytest.FixtureRequest
) -> None:
    """Each series' mosaic is byte for byte the same in every layout; only names in its report differ.

    The exception are different objects of one SOPInstanceUID where their names are in another order.
    """
    uids, archives = layouts
    is_shuffled = "shuffled" in request.node.callspec.id
    shown = 0
    for uid in uids:
        found = []
        for archive in archives.values():
            with suppress(NoImageError):
                found.append(archive.mosaic(uid))
        if not found or (is_shuffled and ordered_by_name(archives["flat"], uid)):
            continue
        shown += 1
        assert len(found) == len(archives), uid
        assert len({one.data for one in found}) == 1, uid
        reports = [one.report for one in found]
        assert len({(one.slices, one.shown, one.warnings, len(one.duplicates)) for one in reports}) == 1, uid
        assert len({tuple(tile.sop_instance_uid for tile in one.tiles) for one in reports}) == 1, uid
        assert {one.series_instance_uids for one in reports} == {1}, uid
    assert shown > len(uids) / 2


@pytest.mark.real_data
def test_an_index_is_the_same_in_every_layout(layouts: tuple[list[str], dict[str, Placed]]) -> None:
    """A series' index has the same rows in every layout, but for its objects' names and versions."""
    uids, archives = layouts
    for uid in uids[::4]:
        if not ordered_by_name(archives["separate"], uid):
            indices = [archive.index(uid).index for archive in archives.values()]
            tables = [one.whole.drop_columns(["FileName", "SeriesUID", "ObjectVersion"]) for one in indices]
            first, *others = [table.replace_schema_metadata() for table in tables]
            assert all(first.equals(other) for other in others), uid


# --- the command line


def test_a_split_series_is_shown_whole(noted: Path, succeed: Run, report_of: Reports) -> None:
    """A series in two folders is one picture; its report names the folders, and objects below both."""
    report = report_of("mosaic", ONE, "a.webp", "--root", noted)
    assert (report["series"], report["series_uid"], report["slices"]) == (ONE, ONE, 5)
    assert report["folders"] == ["CD", "more/of it"]
    assert all((noted / tile["file_name"]).is_file() for tile in report["tiles"])
    first = succeed("mosaic", ONE, "b.webp", "--root", noted).lines
    assert first[0].startswith("b.webp: ")
    assert ", 5 of 5 slices, index cache; 2 LIST and 5 GET, " in first[0]
    assert len(first) == 1
    assert Path("a.webp").read_bytes() == Path("b.webp").read_bytes()


def test_every_command_takes_a_uid(noted: Path, succeed: Run) -> None:
    """Images, contrasts and indices are found by UID, with and without a cache of indices."""
    where = ("--root", noted)
    assert succeed("get-image", TWO, "a.webp", "--position", "0", *where)
    assert succeed("contrast-mosaic", TWO, "b.webp", "--contrast", "auto", *where)
    assert succeed("mosaic", TWO, "c.webp", *where)
    assert succeed("mosaic", TWO, "d.webp", "--no-cache", *where)
    assert Path("c.webp").read_bytes() == Path("d.webp").read_bytes()
    built = json.loads(succeed("build-index", ONE, TWO, "--json", *where).stdout)
    assert [(one["series"], one["slices"], len(one["paths"])) for one in built] == [(ONE, 5, 2), ("CD", 2, 1)]
    assert all(Path(path).is_file() for one in built for path in one["paths"])
    of_both = succeed("get-index", ONE, *where)
    assert [Path(line).name for line in of_both.stdout.splitlines()] == [
        *("CD_index.parquet", "of it_index.parquet")
    ]
    beside = "rows of this series have the SeriesInstanceUID {}; there are others beside them"
    assert of_both.lines == [f"{beside.format(ONE)} in 1 of these 2 indices"]
    of_one = succeed("get-index", TWO, *where)
    assert of_one.lines == [beside.format(TWO)]
    succeed("build-index", TWO, "-o", ".", *where)
    assert Path("CD_index.parquet").is_file()


def test_the_indices_of_a_split_series_alone(root: Path, succeed: Run, note: Note) -> None:
    """Of a split series whose folders hold nothing else, get-index does not speak of other rows."""
    for name in ("Thorax", "Thorax Teil 2"):
        (root / name).mkdir()
        note(str(root), "1.7", name)
        for path, data in slices("1.7", range(len(name), len(name) + 2)).items():
            (root / name / path).write_bytes(data)
    outcome = succeed("get-index", "1.7", "--root", root)
    assert (len(outcome.stdout.splitlines()), outcome.lines) == (2, [])


def test_a_folder_of_a_split_series_is_gone(noted: Path, succeed: Run, report_of: Reports) -> None:
    """A picture of a series of which one folder is gone says so, in its lines and in its report."""
    text = (
        "1 of the 2 folders known to hold this series, more/of it, holds it no more: slices may be missing; "
        "dicom-series-preview update looks where they are now"
    )
    where = ("--root", noted)
    assert succeed("mosaic", ONE, "a.webp", *where).lines[0].startswith("a.webp: ")
    whole = get(noted, "mosaic", ONE).headers
    (noted / "more" / "of it").rename(noted / "more" / "elsewhere")
    outcome = succeed("mosaic", ONE, "a.webp", *where)
    assert outcome.lines[0] == f"warning: {text}"
    assert ", 3 of 3 slices, " in outcome.lines[1]
    assert report_of("mosaic", ONE, "a.webp", *where)["warnings"] == [text]
    assert json.loads(succeed("mosaic", ONE, "a.webp", "--json", *where).stdout)["warnings"] == [text]
    assert f"Warning: {text}" in succeed("explain", ONE, *where).stdout.splitlines()
    assert f"warning: {text}" in succeed("get-index", ONE, "--quiet", *where).lines
    assert f"warning: {text}" in succeed("build-index", ONE, *where).lines
    assert json.loads(succeed("build-index", ONE, "--json", *where).stdout)[0]["warnings"] == [text]
    left = get(noted, "mosaic", ONE).headers
    assert ("Preview-Warnings" in whole, left["Preview-Warnings"]) == (False, "1")
    assert json.loads(get(noted, "index", ONE).body)["warnings"] == [text]
    assert json.loads(get(noted, "index", "CD").body)["warnings"] == []


def test_a_series_is_explained_by_its_uid(noted: Path, succeed: Run) -> None:
    """Explain names the UID that was asked for, its folders, and those that hold others, too."""
    (noted / "alone").mkdir()
    for path, data in slices("1.7", range(3)).items():
        (noted / "alone" / path).write_bytes(data)
    succeed("update", "--root", noted)
    where = ("--root", noted)
    for name, first, second, folders, shared, uid in (
        (
            *(ONE, ONE, "SeriesInstanceUID 1.2.3, in 2 folders: CD (which holds others, too), more/of it"),
            *(["CD", "more/of it"], ["CD"], ONE),
        ),
        (
            *(TWO, "CD", "SeriesInstanceUID 1.2.4, one series of this folder, which holds others, too"),
            *(["CD"], ["CD"], TWO),
        ),
        ("1.7", "alone", "SeriesInstanceUID 1.7", ["alone"], [], ""),
        ("CD", "CD", "6 objects, 2 stacks and 3 series", ["CD"], [], ""),
    ):
        lines = succeed("explain", name, *where).stdout.splitlines()
        assert lines[:2] == [f"{first} in {noted.as_uri()}", f"  {second}"]
        told = json.loads(succeed("explain", name, "--json", *where).stdout)
        assert (told["series"], told["folders"], told["shared_folders"]) == (first, folders, shared)
        assert (told["series_uid"], told["asked_uid"]) == (uid, "" if name == "CD" else name)


def test_a_prefix_names_the_uid_that_was_chosen(noted: Path, succeed: Run, report_of: Reports) -> None:
    """A picture by the beginning of a UID names the first UID, also where it lies in a folder with others."""
    (noted / "CD" / "dose").unlink()
    where = ("--root", noted)
    note = succeed("mosaic", "1.2*", "a.webp", "-v", *where).lines
    assert "info: 2 SeriesInstanceUIDs matched; the first is 1.2.3" in note
    (noted / "more" / "of it").rename(noted / "elsewhere")
    line = succeed("mosaic", "1.2*", "a.webp", *where).lines[1]
    assert line.startswith("a.webp: 1.2.3 (the first of 2) in CD, ")
    report = report_of("mosaic", "1.2*", "a.webp", *where)
    assert (report["series"], report["asked_uid"], report["matches"]) == ("CD", ONE, 2)
    assert report_of("mosaic", "CD", "a.webp", *where)["asked_uid"] == ""
    assert json.loads(get(noted, "index", "1.2*").body)["asked_uid"] == ONE


def test_a_warning_names_options_as_they_are_typed(tmp_path: Path, succeed: Run, report_of: Reports) -> None:
    """A warning that names an option writes it as the command line or Python does."""
    folder = tmp_path / "echoes"
    folder.mkdir()
    for i in range(4):
        made = make_dicom.image(i, ImagePositionPatient=[0, 0, i // 2], EchoTime=1.0 + i % 2)
        (folder / f"{i}").write_bytes(make_dicom.encode(made))
    expected = [
        'only echo time=1 is shown, the first of 2; the option {} shows another, such as "echo time=2"',
        "images of 6 x 8 pixels are too small for labels: give an {} that makes both sides 64 or more",
    ]
    typed = [text.format(name) for text, name in zip(expected, ("--at", "--image-width"), strict=True)]
    options = ("--labels", "--image-width", "6")
    lines = succeed("mosaic", folder, "a.webp", *options).lines
    assert lines[:2] == [f"warning: {text}" for text in typed]
    assert report_of("mosaic", folder, "a.webp", *options)["warnings"] == typed
    told = Series(str(folder)).mosaic(labels=True, image_width=6).report.warnings
    assert list(told) == [
        text.format(name) for text, name in zip(expected, ("at", "image_width"), strict=True)
    ]


def test_a_prefix_of_a_uid(noted: Path, succeed: Run) -> None:
    """A prefix is the first UID that begins so, and to build-index all of them."""
    assert "1.2.3 (the first of 2), " in succeed("mosaic", "1.2*", "a.webp", "--root", noted).lines[0]
    built = succeed("build-index", "1.2*", "--root", noted)
    assert sorted(line.split()[1] for line in built.lines) == ["1.2.3:", "CD:"]


def test_an_unknown_uid_is_one_line(root: Path, command: Run) -> None:
    """A UID that lies in no known place is one line, which says whether an update has looked for it."""
    start = (
        f"in {root.as_uri()}: no such series, or nothing in it, and no folder is known to hold this "
        "SeriesInstanceUID; "
    )
    outcome = command("mosaic", ONE, "a.webp", "--root", root)
    line = (
        f"error: 1.2.3 {start}no series of this root is catalogued yet: dicom-series-preview update, with "
        "the same --root, finds it if it is there"
    )
    assert (outcome.status, outcome.lines) == (1, [line])
    command("update", "--root", root)
    assert command("mosaic", ONE, "a.webp", "--root", root).status == 0
    outcome = command("mosaic", "1.9", "a.webp", "--root", root)
    line = (
        f"error: 1.9 {start}series of this root are catalogued, but not this one: another "
        "dicom-series-preview update, with the same --root, finds it if it has been added since, or was left "
        "out"
    )
    assert (outcome.status, outcome.lines) == (1, [line])


def test_a_folder_of_several_series_lists_them(root: Path, succeed: Run, report_of: Reports) -> None:
    """A folder's series are listed after its picture with the option for each, and in full in its report."""
    first = "CD holds 2 stacks and 3 series: this is stack 0; --stack N (0 to 1) shows another, "
    expected = [
        f"{first}--report FILE lists them",
        "  --series-uid 1.2.3  SeriesNumber 7, 3 slices: THORAX\\t1.0",
        "  --series-uid 1.2.4  2 slices",
        "  --series-uid 1.2.5  0 slices: Dose",
    ]
    outcome = succeed("mosaic", root / "CD", "a.webp")
    assert outcome.lines[1:] == expected
    assert succeed("mosaic", root / "CD", "a.webp", "--quiet").stderr == ""
    report = report_of("mosaic", root / "CD", "a.webp")
    assert [(one["series_instance_uid"], one["slices"], one["stacks"]) for one in report["held_series"]] == [
        (ONE, 3, [0]),
        (TWO, 2, [1]),
        (THREE, 0, []),
    ]
    assert (report["folders"], report["series_uid"]) == (["CD"], "")
    short = json.loads(succeed("mosaic", root / "CD", "a.webp", "--json").stdout)
    assert short["held_series"] == report["held_series"]


def test_a_long_list_ends(tmp_path: Path, succeed: Run) -> None:
    """No more than 20 series are listed after a picture; the rest is counted."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(23):
        (data,) = slices(f"1.{i}", range(1, 2)).values()
        (folder / f"{i}").write_bytes(data)
    lines = succeed("mosaic", folder, "a.webp").lines
    assert (len(lines), lines[-1]) == (23, "  and 3 more")


def test_one_series_of_a_folder(root: Path, succeed: Run, command: Run) -> None:
    """--series-uid shows one series as if it lay there alone; a wrong one names those that are."""
    where = root / "CD"
    alone = root / "alone"
    alone.mkdir()
    for path in where.glob(f"{TWO}-*"):
        (alone / path.name).write_bytes(path.read_bytes())
    succeed("mosaic", alone, "alone.png")
    lines = succeed("mosaic", where, "a.png", "--series-uid", TWO).lines
    assert Path("a.png").read_bytes() == Path("alone.png").read_bytes()
    assert len(lines) == 1
    outcome = command("mosaic", where, "b.png", "--series-uid", "1.9")
    line = (
        "error: --series-uid: 1.9 is none of the series here: 1.2.3 (3 slices), 1.2.4 (2 slices), "
        "1.2.5 (0 slices)"
    )
    assert (outcome.status, outcome.lines) == (1, [line])
    assert command("mosaic", where, "b.png", "--series-uid", " ").lines == [
        "error: --series-uid: is empty; give a SeriesInstanceUID, or leave it out"
    ]
    assert command("mosaic", where, "b.png", "--series-uid", THREE).status == 1


def test_the_cost_of_a_uid_on_s3(
    bucket: PutSeries, counted: counting.CountingProxy, report_of: Reports, note: Note
) -> None:
    """A picture by UID takes one LIST more than by folder, and not a byte more; one by folder none."""
    uid = f"{synthetic.UID_ROOT}.77"
    objects = slices(uid, range(1, 9))
    bucket("by-uid/study/CT", objects)
    url = f"s3://{BUCKET}/by-uid"
    note(url, uid, "study/CT")
    report_of("mosaic", "study/CT", "a.webp", "--root", url)
    costs = []
    for name in ("study/CT", uid):
        counted.clear()
        cost = report_of("mosaic", name, f"{len(costs)}.webp", "--root", url)["cost"]
        costs.append((counted.kinds()["LIST"], counted.kinds()["GET"], cost["bytes"]))
    (lists, gets, received), by_uid = costs
    assert lists == 1
    assert by_uid == (lists + 1, gets, received)
    assert Path("0.webp").read_bytes() == Path("1.webp").read_bytes()


# --- HTTP and Python


def get(noted: Path, kind: str, series: str, **query: str) -> Any:
    """An answer of the local server."""
    api = open_api({"default": str(noted)}, Settings.from_environment(os.environ), os.environ)
    request = HttpRequest(series, {name: [value] for name, value in query.items()})
    return api.index(request) if kind == "index" else api.picture(kind, request)


def test_http_takes_a_uid(noted: Path, tmp_path: Path) -> None:
    """Over HTTP a UID is found; a picture of one folder is kept with it, one of several is not."""
    first, second = get(noted, "mosaic", TWO), get(noted, "mosaic", TWO)
    assert [one.headers["Preview-Render"] for one in (first, second)] == ["made", "kept"]
    assert first.headers["Preview-Series"] == "CD"
    assert first.headers["Preview-Stacks"] == "shown=0, stacks=1, series=1, patients=0"
    # The same choice within the folder is the same picture, and is found.
    chosen = get(noted, "mosaic", "CD", series_uid=TWO)
    assert (chosen.headers["ETag"], chosen.headers["Preview-Render"]) == (first.headers["ETag"], "kept")
    assert get(noted, "mosaic", "CD").headers["ETag"] != first.headers["ETag"]
    kept = list((tmp_path / "cache" / "renders").rglob("*.webp"))
    split = [get(noted, "mosaic", ONE) for _ in range(2)]
    assert [one.headers["Preview-Render"] for one in split] == ["made", "made"]
    assert split[0].headers["ETag"] == split[1].headers["ETag"]
    assert (split[0].headers["Preview-Series"], split[0].headers["Preview-Slices"]) == (ONE, "5/5")
    assert len(list((tmp_path / "cache" / "renders").rglob("*.webp"))) == len(kept)


def test_the_index_of_one_series_over_http(noted: Path) -> None:
    """The index by UID has that series' rows; its tag changes with each of its folders."""
    answer = get(noted, "index", ONE)
    document = json.loads(answer.body)
    assert (document["series"], document["slices"], document["series_instance_uids"]) == (ONE, 5, 1)
    tags = {answer.headers["ETag"]}
    for folder in ("CD", "more/of it"):
        (noted / folder / "new.txt").write_bytes(b"-")
        tags.add(get(noted, "index", ONE).headers["ETag"])
    assert len(tags) == 3
    assert len(get(noted, "index", ONE, format="jsonl").body.splitlines()) == 5


def test_http_says_what_there_is(noted: Path) -> None:
    """A wrong series_uid is 400 with the UIDs that there are and no other text; an unknown UID is 404."""
    wrong = get(noted, "mosaic", "CD", series_uid="1.9")
    assert wrong.status == 400
    assert "1.2.4 (2 slices)" in json.loads(wrong.body)["detail"]
    assert "THORAX" not in wrong.body.decode()
    unknown = get(noted, "mosaic", "1.9")
    assert unknown.status == 404
    assert "SeriesInstanceUID" in json.loads(unknown.body)["detail"]


def test_python_takes_a_uid(noted: Path, succeed: Run) -> None:
    """Series takes a UID, and each picture and array one of a folder's series."""
    succeed("mosaic", TWO, "a.png", "--root", noted)
    series = Series(TWO, root=noted)
    assert series.mosaic(image_format="png").data == Path("a.png").read_bytes()
    assert (series.table.num_rows, series.header(0).SeriesInstanceUID) == (2, TWO)
    folder = Series("CD", root=noted)
    assert folder.mosaic(image_format="png", series_uid=TWO).data == Path("a.png").read_bytes()
    assert folder.mosaic(series_uid=None).report.series_uid == ""
    assert (folder.array(0, series_uid=TWO) == series.array(0)).all()
    assert Series(ONE, root=noted, cache=False).mosaic().report.slices == 5
    with pytest.raises(SeriesNotFoundError):
        Series("1.9", root=noted).mosaic()


def test_a_folder_is_the_series_as_before(noted: Path, succeed: Run) -> None:
    """A folder whose name is a UID is that folder, though the UID is known to lie elsewhere."""
    (noted / ONE).mkdir()
    for path in (noted / "CD").glob(f"{TWO}-*"):
        (noted / ONE / path.name).write_bytes(path.read_bytes())
    outcome: Outcome = succeed("mosaic", ONE, "a.webp", "--root", noted)
    assert ", 2 of 2 slices, index built; 1 LIST and " in outcome.lines[0]
