"""The manual page's examples, on every kind of storage."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import commandline
import make_dicom
import synthetic
from commandline import PutSeries, Reports, Run
from dicom_series_preview import Series
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import index_folder, index_path

SERIES = synthetic.SERIES
SECOND = "45678abc-def0-1234-5678-90abcdef1234"
THIRD = "abc123def456"
STORAGES = ["local", "s3", "webdav", "python", "nginx", "nginx-webdav"]
LUNG, BONE, BRAIN = (1500.0, -500.0), (2000.0, 300.0), (80.0, 40.0)
ABDOMEN, SOFT = (350.0, 50.0), (400.0, 50.0)


def evenly(first: int, last: int, tiles: int) -> list[int]:
    """The slices that spread evenly over `tiles` tiles, a half rounded up."""
    count = last - first + 1
    if count <= tiles:
        return list(range(first, last + 1))
    return [first + int(i * (count - 1) / (tiles - 1) + 0.5) for i in range(tiles)]


@dataclass(frozen=True)
class Example:
    """An example of the manual page.

    Attributes:
        line: The command line, without the program, the root and the cache.
        size: Width and height of the picture.
        slices: What it shows, tile by tile.
        windows: Width and center of each column, or of every tile; None for a window of the file or of
            statistics.
    """

    line: str
    size: tuple[int, int]
    slices: list[int]
    windows: list[tuple[float, float] | None]

    @property
    def arguments(self) -> list[str]:
        """The command line as the shell hands it over."""
        return shlex.split(self.line)

    @property
    def output(self) -> str:
        """The picture's file name."""
        return self.arguments[2]


ALL = evenly(0, 39, 36)
EXAMPLES = [
    Example(f"mosaic {SERIES} mosaic.webp", (768, 768), ALL, [None]),
    Example(
        f"mosaic {SERIES} mosaic.webp --tile-width 8 --tile-height 5", (1024, 640), evenly(0, 39, 40), [None]
    ),
    Example(
        f"mosaic {SERIES} mosaic.webp --image-width 256 --tile-width 4 --tile-height 4",
        (1024, 1024),
        evenly(0, 39, 16),
        [None],
    ),
    Example(
        f"mosaic {SERIES} mosaic.webp --start 0.2 --end 0.8 --contrast lung --quality 40",
        (768, 512),
        list(range(8, 32)),
        [LUNG],
    ),
    Example(f"mosaic {SERIES} mosaic.jpg --quality 80 --image-width 200", (1200, 1200), ALL, [None]),
    Example(f"get-image {SERIES} middle.webp --position 0.5", (128, 128), [19], [None]),
    Example(f"get-image {SERIES} superior.webp --position 0.0 --contrast lung", (128, 128), [0], [LUNG]),
    Example(
        f"get-image {SERIES} inferior.webp --position 1.0 --contrast 350/50", (128, 128), [39], [ABDOMEN]
    ),
    Example(f"get-image {SERIES} slice_1.webp --position 0.5 --slice-offset 1", (128, 128), [20], [None]),
    Example(f"get-image {SERIES} slice_-1.webp --position 0.5 --slice-offset -1", (128, 128), [18], [None]),
    Example(
        f"get-image {SERIES} hires.jpg --position 0.5 --image-width 512 --quality 85",
        (512, 512),
        [19],
        [None],
    ),
    Example(
        f"contrast-mosaic {SERIES} contrasts.webp --position 0.5 --contrast lung --contrast bone"
        " --contrast brain",
        (384, 128),
        [19] * 3,
        [LUNG, BONE, BRAIN],
    ),
    Example(
        f"contrast-mosaic {SERIES} comparison.webp --start 0.3 --end 0.7 --tile-height 2"
        " --contrast ct-brain --contrast ct-abdomen",
        (256, 256),
        [12, 12, 27, 27],
        [BRAIN, ABDOMEN],
    ),
    Example(
        f"contrast-mosaic {SERIES} four_windows.webp --position 0.5"
        " --contrast lung --contrast bone --contrast brain --contrast soft",
        (512, 128),
        [19] * 4,
        [LUNG, BONE, BRAIN, SOFT],
    ),
    Example(
        f"contrast-mosaic {SERIES} auto_vs_embedded.webp --position 0.5 --contrast auto --contrast embedded",
        (256, 128),
        [19] * 2,
        [None, None],
    ),
    Example(
        f"contrast-mosaic {SERIES} custom.webp --position 0.5"
        " --contrast 1500/500 --contrast 2000/300 --contrast 400/40 --contrast 350/50",
        (512, 128),
        [19] * 4,
        [(1500.0, 500.0), BONE, (400.0, 40.0), ABDOMEN],
    ),
    Example(
        f"mosaic {SERIES} multi_slice.webp --tile-width 4 --tile-height 4 --image-width 192"
        " --start 0.3 --end 0.7",
        (768, 768),
        list(range(12, 28)),
        [None],
    ),
    # Not in EXAMPLES of the page, but said in its text.
    Example(
        f"get-image {SERIES} comma.webp --position 0.5 --contrast 1500,-500 --image-width 64",
        (64, 64),
        [19],
        [LUNG],
    ),
    Example(
        f"contrast-mosaic {SERIES} w.jpeg --contrast liver --contrast mediastinum -q 100 --image-width 64",
        (128, 128),
        [0, 0, 39, 39],
        [(150.0, 30.0), (350.0, 50.0)],
    ),
]

SPELLINGS = [
    SERIES,
    SERIES.replace("-", ""),
    SERIES.upper(),
    "38902e14*",
    "389*",
    "38902e14b11f4*",
    "{root}/" + SERIES,
    "{root}/389*",
]


@pytest.fixture(scope="session")
def web_root(web_folder: Path) -> str:
    """The path, below any web server, of a folder with the main series."""
    synthetic.series().write(web_folder / "dicom")
    return "dicom"


@pytest.fixture(scope="session")
def s3_root(bucket: PutSeries) -> str:
    """An S3 root with the main series."""
    bucket(f"archive/ct/{SERIES}", synthetic.series().objects)
    return f"s3://{commandline.BUCKET}/archive/ct"


@pytest.fixture(params=STORAGES)
def root(request: pytest.FixtureRequest) -> str:
    """A root with the main series, on each storage; S3 is signed."""
    if request.param == "local":
        return str(request.getfixturevalue("local_root"))
    if request.param == "s3":
        request.getfixturevalue("signed")
        return request.getfixturevalue("s3_root")
    server = {"webdav": "dav_url", "nginx-webdav": "nginx_dav_url"}.get(request.param, f"{request.param}_url")
    return f"{request.getfixturevalue(server)}/{request.getfixturevalue('web_root')}"


@pytest.fixture(scope="session")
def kept_indices(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A cache folder for each root, so that its index is built once."""
    folders: dict[str, Path] = {}

    def of(root: str) -> Path:
        return folders.setdefault(root, tmp_path_factory.mktemp("indices"))

    return of


@pytest.fixture(scope="session")
def references() -> dict[str, bytes]:
    """Pictures rendered from the local folder, by command line."""
    return {}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.line.replace(SERIES, "SERIES"))
def test_example_shows_the_same_on_every_storage(
    *,
    example: Example,
    root: str,
    local_root: Path,
    kept_indices: Callable[[str], Path],
    references: dict[str, bytes],
    succeed: Run,
    report_of: Reports,
) -> None:
    """An example shows the slices and windows it says, and the same bytes whatever the storage."""
    report = report_of(*example.arguments, "--root", root, "--cache-dir", kept_indices(root))
    uids = synthetic.series().uids
    tiles = report["tiles"]
    assert [uids.index(tile["sop_instance_uid"]) for tile in tiles] == example.slices
    for number, tile in enumerate(tiles):
        window = example.windows[number % len(example.windows)]
        if window is not None:
            assert (tile["contrast"]["width"], tile["contrast"]["center"]) == window
    picture = Path(example.output).read_bytes()
    with Image.open(example.output) as image:
        assert image.size == example.size == (report["width"], report["height"])
    if example.line not in references:
        cache = kept_indices(str(local_root))
        succeed(*example.arguments, "--root", local_root, "--cache-dir", cache)
        references[example.line] = Path(example.output).read_bytes()
    assert picture == references[example.line]
    assert [path.name for path in Path().iterdir()] == [example.output]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_names_the_series(
    spelling: str, root: str, kept_indices: Callable[[str], Path], report_of: Reports
) -> None:
    """A series is found by UUID in any spelling, by prefix, and by its full URL or path."""
    name = spelling.format(root=root)
    where = [] if "{root}" in spelling else ["--root", root]
    cache = kept_indices(root)
    report = report_of(
        "get-image", name, "a.webp", "--position", 0.5, *where, "--cache-dir", cache, "--image-width", 16
    )
    assert (report["series"], report["matches"]) == (SERIES, 1)


def test_local_root_may_be_a_file_url(local_root: Path, report_of: Reports) -> None:
    """`file://` names a local folder, in the root and in the name of a series."""
    url = local_root.as_uri()
    for arguments in ((SERIES, "--root", url), (f"{url}/{SERIES}",)):
        report = report_of("get-image", arguments[0], "a.webp", "--position", 0, *arguments[1:])
        assert (report["series"], report["root"]) == (SERIES, url)


def test_python_server_warns_of_missing_ranges(python_url: str, web_folder: Path, succeed: Run) -> None:
    """A server that ignores Range works, and one warning says what it costs."""
    synthetic.series("long", 4, others=False, side=128).write(web_folder / "without-ranges")
    outcome = succeed(
        "get-image", "long", "a.webp", "--position", 0, "--root", f"{python_url}/without-ranges"
    )
    warnings = [line for line in outcome.lines if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "range" in warnings[0].lower()


# --- what the pictures show


def test_picture_is_the_right_way_up(local_root: Path, succeed: Run) -> None:
    """The first pixel of the first row is the upper left of the picture."""
    succeed(
        "get-image", SERIES, "a.jpg", "--position", 0, "-q", 100, "--image-width", 64, "--root", local_root
    )
    with Image.open("a.jpg") as image:
        pixels = np.asarray(image)
    assert pixels[:4, :4].min() > 240
    for corner in (pixels[:8, -8:], pixels[-8:, :8], pixels[-8:, -8:]):
        assert corner.max() < 10


@pytest.mark.parametrize(
    ("legacy", "modern"),
    [
        (("--contrast-preset", "lung"), ("--contrast", "ct-lung")),
        (("--window-width", "1500", "--window-center", "-500"), ("--contrast", "1500/-500")),
        (("--contrast", "soft_tissue"), ("--contrast", "ct-soft-tissue")),
    ],
)
def test_earlier_options_still_work(
    legacy: tuple[str, ...], modern: tuple[str, ...], local_root: Path, succeed: Run
) -> None:
    """`--contrast-preset`, `--window-width` and `--window-center` mean what `--contrast` says today."""
    for name, options in (("a.webp", legacy), ("b.webp", modern)):
        succeed("mosaic", SERIES, name, "--root", local_root, "--tile-width", 2, *options)
    assert Path("a.webp").read_bytes() == Path("b.webp").read_bytes()


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A folder in which three patients lie: 4 axial slices, 2 coronal ones, a localizer, and a duplicate."""
    folder = tmp_path / "root" / "WARD"
    folder.mkdir(parents=True)
    coronal = {
        "SeriesInstanceUID": "1.2.3",
        "SeriesDescription": "MPR cor",
        "PatientID": "two",
        "ImageOrientationPatient": list(make_dicom.CORONAL),
    }
    scout = {
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "SeriesInstanceUID": "1.2.4",
        "PatientID": "three",
    }
    slices = {
        **{f"a{i}": make_dicom.image(i, PatientID="one", SeriesDescription="Thorax") for i in range(4)},
        **{f"c{i}": make_dicom.image(10 + i, **coronal) for i in range(2)},
        "l": make_dicom.image(20, **scout),
        "z": make_dicom.image(1, PatientID="one", SeriesDescription="Thorax"),
    }
    for name, dataset in slices.items():
        (folder / name).write_bytes(make_dicom.encode(dataset))
    return folder


def test_other_stacks_are_told_in_one_line(ward: Path, succeed: Run) -> None:
    """Where a folder holds more than is shown, a line says what and how to see more; each series has one."""
    expected = (
        "WARD holds 3 stacks, 3 series and 3 patients: this is stack {}; --stack N (0 to 2) shows another, "
        "--report FILE lists them"
    )
    for _ in ("built", "kept"):
        first, second, *series = succeed("mosaic", ward, "a.webp").lines
        assert "4 of 4 slices, 1 duplicate, index" in first
        assert second == expected.format(0)
        assert [line.split("  ", 2)[1] for line in series] == [
            f"--series-uid {uid}" for uid in (make_dicom.SERIES_UID, "1.2.3", "1.2.4")
        ]
    for command in (("get-image", "--position", 0), ("contrast-mosaic", "--contrast", "auto")):
        name, *options = command
        assert succeed(name, ward, "a.webp", *options, "--stack", 1).lines[1] == expected.format(1)


def test_one_stack_is_no_matter(tmp_path: Path, succeed: Run) -> None:
    """A folder with one stack is told of in the one line that it always was."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "1.dcm").write_bytes(make_dicom.encode(make_dicom.image(1)))
    (line,) = succeed("mosaic", tmp_path / "one", "a.webp").lines
    assert "1 of 1 slice, index built" in line


def test_the_report_lists_stacks_and_duplicates(ward: Path, report_of: Reports) -> None:
    """The report lists each stack's series, plane, size, slices and description, and names duplicates."""
    report = report_of("mosaic", ward, "a.webp")
    assert (report["series_instance_uids"], report["patient_ids"]) == (3, 3)
    assert report["duplicates"] == [{"name": "z", "of": "a1"}]
    told = (
        "stack",
        "series_instance_uid",
        "plane",
        "axis",
        "rows",
        "columns",
        "slices",
        "localizer",
        "description",
    )
    assert [tuple(stack[name] for name in told) for stack in report["stacks"]] == [
        (0, make_dicom.SERIES_UID, "axial", "Z", 4, 6, 4, False, "Thorax"),
        (1, "1.2.3", "coronal", "Y", 4, 6, 2, False, "MPR cor"),
        (2, "1.2.4", "axial", "Z", 4, 6, 1, True, ""),
    ]
    assert not {"one", "two", "three"} & {
        str(value) for stack in report["stacks"] for value in stack.values()
    }


def test_build_index_tells_of_other_stacks(ward: Path, succeed: Run) -> None:
    """The line of a built index counts stacks, series, patients and duplicates."""
    (line,) = succeed("build-index", ward).lines
    assert "WARD: 7 slices in 3 stacks, 3 series and 3 patients, 1 duplicate -> " in line


# --- the report


def test_no_cache_leaves_no_index(local_root: Path, tmp_path: Path, report_of: Reports) -> None:
    """`--no-cache` reads the headers each time and keeps nothing."""
    for _ in range(2):
        report = report_of("mosaic", SERIES, "a.webp", "--root", local_root, "--tile-width", 1, "--no-cache")
        assert report["index_source"] == "built"
    assert not (tmp_path / "cache").exists()
    assert list((tmp_path / "home").iterdir()) == []


# --- indices


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A root with the three series of the manual page."""
    root = tmp_path / "many"
    synthetic.series().write(root)
    for name in (SECOND, THIRD, "SERIES1", "SERIES2"):
        synthetic.series(name, 5, others=False).write(root)
    return root


def index_file(folder: Path, series: str, root: Path | str) -> Path:
    """Where an index of a root is kept below a cache folder."""
    return folder / index_path(series, index_folder(root.as_uri() if isinstance(root, Path) else root))


def test_build_index_in_the_default_cache(
    many: Path, tmp_path: Path, succeed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--cache-dir`, indices go to the variable's folder, else to the user's cache."""
    succeed("build-index", SERIES, "--root", many)
    assert index_file(tmp_path / "cache", SERIES, many).is_file()
    monkeypatch.delenv("DICOM_SERIES_PREVIEW_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    succeed("build-index", SERIES, "--root", many)
    assert index_file(tmp_path / "xdg" / "dicom-series-preview", SERIES, many).is_file()


def test_build_index_of_several(many: Path, tmp_path: Path, succeed: Run) -> None:
    """Several series make several indices below `~`, and a line each on stderr when it is done."""
    outcome = succeed("build-index", SERIES, SECOND, "--cache-dir", "~/.cache/dicom-indices", "--root", many)
    assert outcome.stdout == ""
    said = [["built", f"{SERIES}:"], ["built", f"{SECOND}:"]]
    assert sorted(line.split()[:2] for line in outcome.lines) == sorted(said)
    for name in (SERIES, SECOND):
        path = index_file(tmp_path / "home" / ".cache" / "dicom-indices", name, many)
        assert path.is_file()
        assert any(line.endswith(str(path)) for line in outcome.lines)


def test_limited_index_never_passes_for_a_whole_one(many: Path, succeed: Run, report_of: Reports) -> None:
    """`--limit` reads no more objects than it says; a preview afterwards has all of them."""
    outcome = succeed("build-index", SERIES, "--limit", 10, "--cache-dir", "c", "--root", many)
    assert "limited to 10" in outcome.stderr
    report = report_of("mosaic", SERIES, "a.webp", "--cache-dir", "c", "--root", many)
    assert report["slices"] == 40
    assert report["headers_read"] == 42 - 10


def test_build_index_writes_one_where_it_is_told(many: Path, tmp_path: Path, succeed: Run) -> None:
    """`-o DIR` puts the index right into DIR, which is made, and nothing into the cache."""
    succeed("build-index", SERIES, "-o", "../out/put", "--root", many)
    assert [path.name for path in (tmp_path / "out" / "put").iterdir()] == [f"{SERIES}_index.parquet"]
    assert not (tmp_path / "cache").exists()


def test_build_index_goes_on_past_a_failure(many: Path, command: Run) -> None:
    """Of many, those that fail are named with their reason, the others are built, and the status is 1."""
    outcome = command("build-index", SERIES, "nothing", SECOND, "--cache-dir", "c", "--root", many)
    assert outcome.status == 1
    assert outcome.stdout == ""
    assert sorted(line.split()[0] for line in outcome.lines) == ["built", "built", "failed"]
    assert any(line.startswith("failed   nothing: ") for line in outcome.lines)
    assert index_file(Path("c"), SECOND, many).is_file()


def test_explain_says_what_a_series_holds(many: Path, succeed: Run) -> None:
    """The explanation goes to standard output, as lines or as JSON; its index is built or taken as any."""
    said = succeed("explain", SERIES, "--root", many).stdout.splitlines()
    assert said[0].startswith(f"{SERIES} in ")
    assert "  Spacing: 2.50 mm, regular; from first to last 97.50 mm" in said
    assert any(line.startswith("Skipped: 1 object: not DICOM: text: ") for line in said)
    document = json.loads(succeed("explain", SERIES, "--root", many, "--no-cache", "--json").stdout)
    assert [stack["localizer"] for stack in document["stacks"]] == [False, True]
    assert document["stacks"][0]["facts"]["spacing_mm"] == 2.5
    assert document["stacks"][1]["differs_from_main_by"][0]["elements"] == ["ImageType"]


def test_explain_builds_a_damaged_index_anew(tmp_path: Path, succeed: Run) -> None:
    """Where the cached index has impossible elements, a warning says so, and the series is read again."""
    groups = [make_dicom.position_group(0, 0, 1, FrameContentSequence=[make_dicom.dataset()])] * 2
    made = make_dicom.encode(make_dicom.enhanced(groups, make_dicom.orientation_group()))
    (tmp_path / "data" / "S").mkdir(parents=True)
    (tmp_path / "data" / "S" / "1.dcm").write_bytes(made)
    said = succeed("explain", "S", "--root", tmp_path / "data").stdout
    path = Path(succeed("get-index", "S", "--root", tmp_path / "data").stdout.strip())
    index = Index.from_parquet(path.read_bytes())
    number = index.table.schema.get_field_index("PerFrameFunctionalGroupsSequence")
    broken = pa.array(['[{"00209111": '] * 2)
    path.write_bytes(
        Index(index.table.set_column(number, index.table.schema.field(number), broken)).to_parquet()
    )
    again = succeed("explain", "S", "--root", tmp_path / "data")
    assert again.stdout == said
    assert any("the index kept of S cannot be used" in line for line in again.lines)


def test_a_report_has_the_facts_of_the_shown_stack(many: Path, report_of: Reports) -> None:
    """The report says how the shown stack lies, and which dimensions it has."""
    facts = report_of("mosaic", SERIES, "a.webp", "--root", many)["facts"]
    assert (facts["shape"], facts["plane"], facts["spacing_mm"], facts["missing"]) == (
        "slice",
        "axial",
        2.5,
        0,
    )
    localizer = report_of("mosaic", SERIES, "a.webp", "--root", many, "--stack", 1)["facts"]
    assert (localizer["stack"], localizer["plane"]) == (1, "coronal")


@pytest.mark.parametrize(
    "options", [(), ("--cache-dir", "my indices"), ("--cache-dir", "../Schädel%20#1"), ("-v",)]
)
def test_get_index_prints_the_absolute_path_alone(options: tuple[str, ...], many: Path, succeed: Run) -> None:
    """Standard output is the absolute path of the index, as the file system knows it, built or not."""
    first, second = (succeed("get-index", SERIES, *options, "--root", many) for _ in range(2))
    assert first.stdout == second.stdout
    path = first.stdout.removesuffix("\n")
    assert Path(path).is_absolute()
    assert Path(path).is_file()
    assert Path(path).name == f"{SERIES}_index.parquet"


def test_a_root_has_one_place_however_it_is_written(many: Path, succeed: Run) -> None:
    """A folder with a slash, as a URL, relative or in the series' name is one root, with one index."""
    roots = [many, f"{many}/", many.as_uri(), f"{many.as_uri()}/", f"../{many.name}"]
    said = {succeed("get-index", "SERIES1", "--root", root).stdout for root in roots}
    said |= {succeed("get-index", f"{root}/SERIES1").stdout for root in (many, many.as_uri())}
    assert len(said) == 1


def test_python_and_the_command_line_share_an_index(many: Path, tmp_path: Path, succeed: Run) -> None:
    """What the command line has indexed, Python finds, and the other way round."""
    path = Path(succeed("get-index", "SERIES1", "--root", many).stdout.strip())
    before = path.stat().st_mtime_ns
    assert Series("SERIES1", root=many).table.num_rows == 5
    assert Series(str(many / "SERIES2")).table.num_rows == 5
    assert path.stat().st_mtime_ns == before
    assert index_file(tmp_path / "cache", "SERIES2", many).is_file()


@pytest.mark.filterwarnings("default::DeprecationWarning:pandas")
def test_get_index_opens_in_pandas(many: Path, succeed: Run) -> None:
    """The printed path is a table with a row a slice, in display order."""
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(succeed("get-index", SERIES, "--root", many).stdout.strip())
    main = table[table["Stack"] == 0]
    assert list(main["SOPInstanceUID"]) == list(synthetic.series().uids)
    assert set(table["SeriesUID"]) == {SERIES}
    assert set(main["PrimaryAxis"]) == {"Z"}


# --- real series

# All whose order is known, save mr-dwi-siemens-enhanced-xa: it is known by file, and each file is ten slices.
REAL = [
    *("ct-chest-lidc-philips", "ct-chest-topogram-siemens", "ct-gantrytilt-ge", "ct-localizer-same-series"),
    *("ct-not-a-volume-siemens", "ct-small-ge-dcmqi", "mr-axoblique-ge", "mr-b0map-ge-2echo"),
    *("mr-cor-ge-genesis", "mr-diffusion-coronal-ge", "mr-fmri-ge-4d", "mr-mixed-orientation-philips"),
    *("mr-mosaic-siemens-4d", "mr-multiecho-siemens", "mr-rgb-j2k-generic", "mr-sag-siemens"),
    *("mr-sag-xa-jpeglossless", "mr-two-slices-generic", "mr-varying-rescale-pmod", "pt-wholebody-cps"),
]


def first_of_each(table: Path) -> list[str]:
    """The instances of a known order that a mosaic shows: at each location the first echo, or image."""
    lines = table.read_text(encoding="utf-8").splitlines()
    rows = [row for row in csv.DictReader(lines) if row["in_main_stack"] == "yes"]
    if len({row["position_index"] for row in rows}) > 1:
        echo = min((row["echo_time"] for row in rows), key=lambda text: float(text or 0))
        rows = [row for row in rows if row["echo_time"] == echo]
        first: dict[str, dict[str, str]] = {}
        for row in sorted(rows, key=lambda row: int(row["instance_number"])):
            first.setdefault(row["position_index"], row)
        rows = [row for row in rows if row in first.values()]
    return [row["sop_instance_uid"] for row in rows]


@pytest.mark.real_data
@pytest.mark.parametrize("series", REAL)
def test_real_series_follow_the_known_order(series: str, real_data: Path, report_of: Reports) -> None:
    """The tiles of a real series are spread over the order that is known of it, and of its first volume."""
    order = first_of_each(real_data / "order" / f"{series}.csv")
    report = report_of("mosaic", series, "a.webp", "--root", real_data / "series", "--image-width", 64)
    expected = [order[i] for i in evenly(0, len(order) - 1, 36)]
    assert [tile["sop_instance_uid"] for tile in report["tiles"]] == expected
    assert all(tile["error"] is None for tile in report["tiles"])


@pytest.mark.real_data
@pytest.mark.parametrize("storage", STORAGES[1:])
def test_real_series_look_the_same_on_every_storage(
    *,
    storage: str,
    request: pytest.FixtureRequest,
    real_data: Path,
    report_of: Reports,
    bucket: PutSeries,
    web_folder: Path,
) -> None:
    """Real series give the bytes of the local folder from S3 and from web servers."""
    names = ["mr-sag-siemens", "mr-cor-ge-genesis", "mr-sag-xa-jpeglossless"]
    if storage == "s3":
        request.getfixturevalue("signed")
        root = f"s3://{commandline.BUCKET}/real"
        for name in names:
            files = (real_data / "series" / name).iterdir()
            bucket(f"real/{name}", {path.name: path.read_bytes() for path in files})
    else:
        for name in names:
            shutil.copytree(real_data / "series" / name, web_folder / "real" / name, dirs_exist_ok=True)
        server = {"webdav": "dav_url", "nginx-webdav": "nginx_dav_url"}.get(storage, f"{storage}_url")
        root = f"{request.getfixturevalue(server)}/real"
    for name in names:
        shown = {}
        for key, where in (("there", root), ("here", str(real_data / "series"))):
            options = ("--root", where, "--no-cache", "--tile-width", 3, "--image-width", 96)
            report = report_of("mosaic", name, "a.webp", *options)
            tiles = json.dumps(report["tiles"])
            shown[key] = (Path("a.webp").read_bytes(), tiles)
        assert shown["there"] == shown["here"]
