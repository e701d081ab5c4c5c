"""Whatever is wrong: one plain line, status 1, and nothing written."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import commandline
import servers
import synthetic
from commandline import PutSeries, Reports, Run
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.base.errors import AccessDeniedError, StorageUnavailableError
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.products.pictures.requests import ImageRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage

SERIES = synthetic.SERIES
GET = ("get-image", SERIES, "a.webp")
MOSAIC = ("mosaic", SERIES, "a.webp")
CONTRASTS = ("contrast-mosaic", SERIES, "a.webp")
LONG = "a" * 300
Refused = "Callable[..., str]"


def tree(*roots: Path) -> dict[Path, bytes | None]:
    """Everything below some folders, with the files' bytes."""
    found: dict[Path, bytes | None] = {}
    for root in roots:
        found |= {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}
    return found


@pytest.fixture
def refused(command: Run, tmp_path: Path) -> Refused:
    """Runs a command line that must be refused; the line it gives, without `error: `."""

    def run(*arguments: object) -> str:
        before = tree(tmp_path / "here", tmp_path / "cache", tmp_path / "home")
        outcome = command(*arguments)
        assert outcome.status == 1
        assert outcome.stdout == ""
        assert len(outcome.lines) == 1, outcome.stderr
        assert outcome.lines[0].startswith("error: ")
        after = tree(tmp_path / "here", tmp_path / "cache", tmp_path / "home")
        assert {path: data for path, data in after.items() if data is not None} == {
            path: data for path, data in before.items() if data is not None
        }
        # Before click 8.4: "No such option: --name".
        return re.sub(r"option: (--\w+)", r"option '\1'", outcome.lines[0].removeprefix("error: "))

    return run


# --- refused before any storage is touched


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        # A file of no format.
        (("mosaic", SERIES, "a.gif"), "output: '.gif'"),
        (("mosaic", SERIES, "a"), "output: it has no extension"),
        (("mosaic", SERIES, "a.webp.bak"), "output: '.bak'"),
        # Positions and ranges.
        (GET, "--position: is needed"),
        ((*GET, "--position", "1.5"), "--position: 1.5 is out of range; give 0 to 1"),
        ((*GET, "--position", "-0.1"), "--position: -0.1 is out of range"),
        ((*GET, "--position", "nan"), "--position: nan is out of range"),
        ((*GET, "--position", "inf"), "--position: inf is out of range"),
        ((*GET, "--position", "middle"), "--position: 'middle' is no number"),
        ((*GET, "--position", ""), "--position: '' is no number"),
        ((*GET, "--position", "0.5", "--slice-offset", "1.5"), "--slice-offset: '1.5' is no whole number"),
        ((*MOSAIC, "--start", "0.8", "--end", "0.2"), "--start: 0.8 is greater than --end, 0.2"),
        ((*MOSAIC, "--start", "1.1"), "--start: 1.1 is out of range"),
        ((*MOSAIC, "--end", "nan"), "--end: nan is out of range"),
        # Contrast.
        ((*MOSAIC, "--contrast", "0/40"), "--contrast: '0/40' needs a finite width above 0"),
        ((*MOSAIC, "--contrast", "-1/0"), "--contrast: '-1/0' needs a finite width above 0"),
        ((*MOSAIC, "--contrast", "1e999/0"), "--contrast: '1e999/0' needs a finite width above 0"),
        ((*MOSAIC, "--contrast", "abc"), "--contrast: 'abc' is not a contrast; use ct-lung"),
        ((*MOSAIC, "--contrast", ""), "--contrast: '' is not a contrast"),
        ((*MOSAIC, "--contrast", "40"), "--contrast: '40' is not a contrast"),
        ((*MOSAIC, "--contrast", "lung", "--contrast", "bone"), "--contrast: is given more than once"),
        ((*MOSAIC, "--contrast", "lung", "--contrast-preset", "bone"), "--contrast: give --contrast, "),
        ((*MOSAIC, "--window-width", "80"), "--window-center: is needed too"),
        ((*MOSAIC, "--window-center", "40"), "--window-width: is needed too"),
        (CONTRASTS, "--contrast: is needed at least once"),
        # Options that exclude each other.
        ((*MOSAIC, "--cache-dir", "c", "--no-cache"), "--cache-dir: and --no-cache exclude each other"),
        (
            ("build-index", SERIES, "--cache-dir", "c", "-o", "d"),
            "output: and --cache-dir exclude each other",
        ),
        (("build-index", SERIES, "other", "-o", "d"), "output: is for one series"),
        (
            (*CONTRASTS, "--contrast", "lung", "--position", "0.5", "--start", "0.2"),
            "--start: chooses several images and cannot go with --position",
        ),
        ((*CONTRASTS, "--contrast", "lung", "--position", "0.5", "--end", "0.2"), "--end: chooses several"),
        (
            (*CONTRASTS, "--contrast", "lung", "--position", "0.5", "--tile-height", "2"),
            "--tile-height: chooses several",
        ),
        (
            (*CONTRASTS, "--contrast", "lung", "--slice-offset", "1"),
            "--slice-offset: moves on from --position",
        ),
        # Sizes.
        ((*MOSAIC, "--tile-width", "200"), "WEBP allows 16383 a side"),
        (("mosaic", SERIES, "a.jpg", "--tile-width", "200"), "more than 100000000 in all"),
        (("mosaic", SERIES, "a.jpg", "--tile-width", "600"), "JPEG allows 65500 a side"),
        ((*CONTRASTS, "--contrast", "lung", "--tile-height", "20000"), "WEBP allows 16383 a side"),
        ((*GET, "--position", "0", "--image-width", "20000"), "WEBP allows 16383 a side"),
        ((*MOSAIC, "--tile-width", "0"), "--tile-width: 0 is out of range"),
        ((*MOSAIC, "--tile-height", "-1"), "--tile-height: -1 is out of range"),
        ((*MOSAIC, "--tile-width", "2.5"), "--tile-width: '2.5' is no whole number"),
        ((*MOSAIC, "--image-width", "0"), "--image-width: 0 is out of range"),
        ((*MOSAIC, "-q", "101"), "--quality: 101 is out of range; give 0 to 100"),
        ((*MOSAIC, "--stack", "-1"), "--stack: -1 is out of range"),
        (("build-index", SERIES, "--limit", "0"), "--limit: 0 is out of range; give 1 or more"),
        # Usage.
        ((*MOSAIC, "--nonsense"), "No such option '--nonsense'"),
        ((*MOSAIC, "--limit", "3"), "No such option '--limit'"),
        ((*MOSAIC, "extra"), "extra argument"),
        (("mosaic", SERIES), "Missing argument 'OUTPUT'"),
        (("mosaic",), "Missing argument 'SERIES'"),
        (("build-index",), "Missing argument 'SERIES"),
        (("get-index",), "Missing argument 'SERIES'"),
        # Names of series.
        (("mosaic", "../x", "a.webp"), "series: ../x has a part that is empty, '.' or '..'"),
        (("mosaic", "a/../b", "a.webp"), "series: a/../b has a part"),
        (("mosaic", "a/./b", "a.webp"), "series: a/./b has a part"),
        (("mosaic", "a//b", "a.webp"), "series: a//b has a part"),
        (("mosaic", "s3://bucket/../x", "a.webp"), "series: s3://bucket/../x has a part"),
        (("mosaic", "/data/../x", "a.webp"), "series: /data/../x has a part"),
        (("mosaic", "a\nb", "a.webp"), "series: a name has no control characters"),
        (("mosaic", "a\x7fb", "a.webp"), "series: a name has no control characters"),
        (("mosaic", "a\0b", "a.webp"), "series: a name has no control characters"),
        (("mosaic", "3*9", "a.webp"), "series: 3*9 has a * that is not at its end"),
        (("mosaic", "*", "a.webp"), "series: the name is empty"),
        (("mosaic", "", "a.webp"), "series: the name is empty"),
        (("mosaic", "s3://bucket", "a.webp"), "series: s3://bucket names a storage root"),
        (("get-index", "../x"), "series: ../x has a part"),
        (("build-index", SERIES, "../x"), "series: ../x has a part"),
        # Places.
        (("mosaic", SERIES, "missing/a.webp"), "missing/a.webp: there is no such folder"),
        (("mosaic", SERIES, f"{LONG}/a.webp"), "there is no such folder"),
        ((*MOSAIC, "--report", "missing/r.json"), "missing/r.json: there is no such folder"),
        ((*MOSAIC, "--report", "."), "'.' is a directory"),
        ((*MOSAIC, "--report", "../here/a.webp"), "--report: ../here/a.webp is the picture's file too"),
    ],
)
def test_bad_request_touches_no_storage(arguments: tuple[str, ...], said: str, refused: Refused) -> None:
    """What cannot be meant is said in one line, which names the parameter, before any storage is asked."""
    with servers.ScriptedServer([servers.Answer(500)]) as server:
        assert said in refused(*arguments, "--root", server.url)
        assert server.asked == []


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("ftp://host/x", "--root: ftp:// is not supported; give s3://"),
        ("", "--root: empty"),
        ("s3://", "--root: '' is no bucket name"),
        ("s3://key:secret@bucket", "--root: credentials do not belong in a URL"),
        ("http://user:secret@host/x", "--root: credentials do not belong in a URL"),
        ("http://", "names no host"),
        ("/data/../x", "--root: /data/../x holds '..'"),
        ("missing folder", "there is no such folder"),
        (f"/{LONG}", "ame too long"),
    ],
)
@pytest.mark.parametrize("series", [SERIES, "389*"])
def test_bad_root(series: str, root: str, said: str, refused: Refused) -> None:
    """A root that cannot be one is said, and no secret in it is repeated."""
    line = refused("mosaic", series, "a.webp", "--root", root)
    assert said in line
    assert "secret" not in line


def test_unknown_commands_and_options(refused: Refused) -> None:
    """An unknown command or option of the program is one line with status 1."""
    assert "No such command 'nonsense'" in refused("nonsense")
    assert "No such option '--nonsense'" in refused("--nonsense")


def test_all_that_is_wrong_is_said_at_once(refused: Refused) -> None:
    """Several mistakes are named in the one line."""
    line = refused("mosaic", "a*b", "a.gif", "-q", "900", "--start", "2", "--contrast", "x", "--stack", "y")
    for name in ("series: ", "output: ", "--quality: ", "--start: ", "--contrast: ", "--stack: "):
        assert name in line


def test_no_command_shows_the_help(command: Run) -> None:
    """Without a command, the help goes to stderr with status 1."""
    outcome = command()
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "Usage: " in outcome.stderr


# --- refused after a look


@pytest.fixture(scope="session")
def odd_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the main series, an empty folder, a folder of text files, and a file."""
    root = tmp_path_factory.mktemp("odd")
    synthetic.series().write(root)
    (root / "empty").mkdir()
    (root / "texts").mkdir()
    (root / "texts" / "one").write_text("one", encoding="utf-8")
    (root / "texts" / "two.txt").write_text("two", encoding="utf-8")
    (root / "prose").mkdir()
    for name in ("a", "b", "c"):
        (root / "prose" / name).write_text(f"{name} is no DICOM" * 20, encoding="utf-8")
    (root / "file").write_bytes(b"a file")
    return root


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mosaic", "nothing", "a.webp"), "nothing in file://"),
        (("mosaic", "nothing", "a.webp"), "no such series"),
        (("mosaic", "12345678123412341234123456789abc", "a.webp"), "no such series"),
        (("mosaic", "zzz*", "a.webp"), "zzz* in file://"),
        (("mosaic", "zzz*", "a.webp"), "no series begins so"),
        (("mosaic", "empty", "a.webp"), "nothing in it"),
        (("mosaic", "file", "a.webp"), "no such series"),
        (("mosaic", "texts", "a.webp"), "none of its 2 objects is a readable DICOM instance"),
        (("mosaic", "prose", "a.webp"), "none of its 3 objects is a readable DICOM instance"),
        (("get-index", "nothing"), "no such series"),
        (("get-index", "prose"), "none of its 3 objects"),
        ((*GET, "--position", "0.5", "--slice-offset", "21"), "--slice-offset: 21 leads past the end"),
        ((*GET, "--position", "0.5", "--slice-offset", "21"), "it can be -19 to 20"),
        ((*GET, "--position", "0.5", "--slice-offset", "-20"), "it can be -19 to 20"),
        ((*GET, "--position", "1", "--slice-offset", "1"), "it can be -39 to 0"),
        ((*MOSAIC, "--start", "0.01", "--end", "0.02"), "no slice lies from 0.01 to 0.02; the nearest is"),
        ((*MOSAIC, "--stack", "7"), "--stack: 7 is none of this series' stacks: 0 (40 slices), 1 (1 slice)"),
        (("mosaic", SERIES, "b.webp/"), ""),
        (("mosaic", SERIES, f"{LONG}.webp"), "ile name too long"),
    ],
)
def test_what_the_series_does_not_have(
    arguments: tuple[str, ...], said: str, odd_root: Path, refused: Refused, tmp_path: Path
) -> None:
    """What only the series can tell is said in one line, with the valid range where there is one."""
    before = tree(odd_root)
    assert said in refused(*arguments, "--root", odd_root, "--cache-dir", tmp_path / "elsewhere")
    assert tree(odd_root) == before


def test_older_picture_survives_an_error(odd_root: Path, refused: Refused) -> None:
    """A picture and a report that are there stay as they are when a new one cannot be had."""
    for name in ("a.webp", "r.json"):
        Path(name).write_bytes(b"of yesterday")
    refused("mosaic", "prose", "a.webp", "--report", "r.json", "--root", odd_root)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {
        "a.webp": b"of yesterday",
        "r.json": b"of yesterday",
    }


def test_folder_in_place_of_the_picture(odd_root: Path, refused: Refused) -> None:
    """A picture cannot be written over a folder, which stays."""
    Path("a.webp").mkdir()
    assert "is a directory" in refused(*MOSAIC, "--root", odd_root)
    assert Path("a.webp").is_dir()


def test_failed_index_of_one_series(odd_root: Path, command: Run) -> None:
    """`build-index` of a series that is not there ends with its line, status 1 and no index."""
    outcome = command("build-index", "nothing", "--root", odd_root, "--cache-dir", "c")
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
    assert outcome.lines[0].startswith("failed   nothing: ")
    assert "Traceback" not in outcome.stderr
    assert [path for path in Path("c").rglob("*") if path.is_file()] == []


# --- one bad object among many


@pytest.fixture
def sixty(tmp_path: Path) -> synthetic.Synthetic:
    """A series of 60 slices in the root `sixty`."""
    series = synthetic.series("sixty", 60, others=False)
    series.write(tmp_path / "sixty")
    return series


OPTIONS = ("--tile-width", 8, "--image-width", 64, "-q", 100)


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:400],
        lambda _data: b"",
        lambda _data: b"<html>502 Bad Gateway</html>",
        lambda data: bytes(len(data)),
        lambda data: data[:200] + b"A" * 300 + data[500:],
    ],
    ids=["cut off", "empty", "web page", "zeros", "overwritten"],
)
def test_corrupt_header_is_passed_over(
    harm: Callable[[bytes], bytes], sixty: synthetic.Synthetic, tmp_path: Path, report_of: Reports
) -> None:
    """One unreadable object of sixty is skipped and named with its reason; the others are shown."""
    name = sixty.file_names[30]
    path = tmp_path / "sixty" / "sixty" / name
    path.write_bytes(harm(path.read_bytes()))
    report = report_of("mosaic", "sixty", "a.webp", "--root", tmp_path / "sixty", *OPTIONS)
    (skipped,) = report["skipped"]
    assert skipped["name"] == name
    assert skipped["reason"]
    expected = [uid for i, uid in enumerate(sixty.uids) if i != 30]
    assert [tile["sop_instance_uid"] for tile in report["tiles"]] == expected


def test_skipped_objects_are_counted_on_stderr(
    sixty: synthetic.Synthetic, tmp_path: Path, succeed: Run
) -> None:
    """The line after a picture says how many objects were skipped."""
    (tmp_path / "sixty" / "sixty" / sixty.file_names[30]).write_bytes(b"no DICOM")
    assert "1 object skipped" in succeed("mosaic", "sixty", "a.webp", "--root", tmp_path / "sixty").stderr


def test_corrupt_pixels_become_a_marked_tile(
    sixty: synthetic.Synthetic, tmp_path: Path, command: Run
) -> None:
    """One slice of sixty whose pixels are cut off is a marked tile, a warning, and status 0."""
    name = sixty.file_names[30]
    path = tmp_path / "sixty" / "sixty" / name
    path.write_bytes(path.read_bytes()[:-5000])
    outcome = command(
        "mosaic", "sixty", "a.jpg", "--root", tmp_path / "sixty", *OPTIONS, "--report", "r.json"
    )
    assert outcome.status == 0
    assert [line for line in outcome.lines if line.startswith("warning: ") and name in line]
    report = json.loads(Path("r.json").read_text(encoding="utf-8"))
    failed = [tile for tile in report["tiles"] if tile["error"] is not None]
    assert [tile["file_name"] for tile in failed] == [name]
    assert failed[0]["contrast"] is None
    assert name in report["warnings"][0]
    with Image.open("a.jpg") as image:
        pixels = np.asarray(image, int)
    top, left = failed[0]["row"] * 64, failed[0]["column"] * 64
    tile = pixels[top : top + 64, left : left + 64]
    assert abs(tile[8, 32] - 48) < 8
    assert tile[31:33, 31:33].min() > 90
    neighbour = pixels[top : top + 64, left - 64 : left]
    assert np.ptp(neighbour[16:56, 16:56]) < 4


def test_no_tile_left_is_an_error(sixty: synthetic.Synthetic, tmp_path: Path, refused: Refused) -> None:
    """When no slice that was asked for can be shown, there is no picture."""
    path = tmp_path / "sixty" / "sixty" / sixty.file_names[0]
    path.write_bytes(path.read_bytes()[:-5000])
    line = refused(
        *("get-image", "sixty", "a.webp", "--position", 0, "--root", tmp_path / "sixty"),
        *("--cache-dir", tmp_path / "elsewhere"),
    )
    assert "the one slice chosen cannot be shown" in line


def test_object_that_goes_away_is_noticed(
    sixty: synthetic.Synthetic, tmp_path: Path, report_of: Reports
) -> None:
    """An index is compared with the listing: what was removed is no longer shown."""
    report_of("mosaic", "sixty", "a.webp", "--root", tmp_path / "sixty")
    (tmp_path / "sixty" / "sixty" / sixty.file_names[0]).unlink()
    report = report_of("mosaic", "sixty", "a.webp", "--root", tmp_path / "sixty")
    assert (report["slices"], report["headers_read"], report["index_source"]) == (59, 0, "updated")


# --- the cache


def kept_at(root: Path, cache: Path) -> Path:
    """Where the main series' index is kept."""
    return cache / index_path(SERIES, index_folder(root.as_uri()))


def test_file_in_place_of_the_cache(odd_root: Path, tmp_path: Path, refused: Refused) -> None:
    """A cache that is a file is an error for who asks for an index's path, and the file stays."""
    (tmp_path / "cache").write_bytes(b"mine")
    assert str(tmp_path / "cache") in refused("get-index", SERIES, "--root", odd_root)
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "indices").write_bytes(b"mine")
    assert str(tmp_path / "cache" / "indices") in refused("get-index", SERIES, "--root", odd_root)


def test_folder_in_place_of_an_index(odd_root: Path, tmp_path: Path, refused: Refused) -> None:
    """An index that is a folder is an error that names it, and the folder stays as it is."""
    kept_at(odd_root, tmp_path / "cache").mkdir(parents=True)
    (kept_at(odd_root, tmp_path / "cache") / "mine").write_bytes(b"mine")
    assert str(kept_at(odd_root, tmp_path / "cache")) in refused(*MOSAIC, "--root", odd_root)


@pytest.mark.parametrize(
    "harm",
    [
        lambda _data: b"",
        lambda _data: b"PAR1 but no table",
        lambda data: data[:-100],
        lambda data: data[: len(data) // 2] + bytes(200) + data[len(data) // 2 + 200 :],
        lambda data: bytes(len(data)),
    ],
    ids=["empty", "other", "cut off", "overwritten", "zeros"],
)
def test_damaged_index_is_built_anew(
    harm: Callable[[bytes], bytes], odd_root: Path, tmp_path: Path, report_of: Reports, succeed: Run
) -> None:
    """A damaged index is replaced, and the picture is that of a sound one."""
    succeed("mosaic", SERIES, "before.webp", "--root", odd_root)
    sound = kept_at(odd_root, tmp_path / "cache").read_bytes()
    kept_at(odd_root, tmp_path / "cache").write_bytes(harm(sound))
    report = report_of("mosaic", SERIES, "after.webp", "--root", odd_root)
    assert report["index_source"] == "built"
    assert Path("before.webp").read_bytes() == Path("after.webp").read_bytes()
    assert report_of("mosaic", SERIES, "after.webp", "--root", odd_root)["index_source"] == "cache"


def test_index_of_another_root_is_not_used(odd_root: Path, local_root: Path, report_of: Reports) -> None:
    """An index of a series of the same name in another root is another one, which that leaves as it is."""
    for root, source in ((odd_root, "built"), (local_root, "built"), (odd_root, "cache")):
        report = report_of(*MOSAIC, "--root", root, "--tile-width", 1)
        assert (report["index_source"], report["root"]) == (source, root.as_uri())


# --- no room, no permission


def limited(file_bytes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command line that may write no file longer than some bytes."""
    code = (
        "import resource, sys; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes}, {file_bytes})); "
        "from dicom_series_preview.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_no_room_for_the_picture(odd_root: Path) -> None:
    """When the picture cannot be written to its end, the older one stays and nothing else does."""
    Path("a.jpg").write_bytes(b"of yesterday")
    done = limited(4096, "mosaic", SERIES, "a.jpg", "-q", 100, "--root", odd_root, "--no-cache")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: a.jpg: the file is larger than is allowed here\n"
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"a.jpg": b"of yesterday"}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_no_room_for_the_index(odd_root: Path) -> None:
    """When the index cannot be written to its end, no part of it stays; there is a picture without it."""
    done = limited(4096, *MOSAIC, "--root", odd_root, "--cache-dir", "c")
    assert (done.returncode, done.stdout) == (0, "")
    assert "warning: " in done.stderr
    assert [path for path in Path("c").rglob("*") if path.is_file()] == []
    assert Path(MOSAIC[2]).stat().st_size


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own at a folder; skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(odd_root: Path, command: Run, tmp_path: Path) -> None:
    """On a full disk neither picture nor index leave a part behind, and the line says what is missing."""
    disk = tmp_path / "disk"
    with mounted(disk, "size=8k"):
        (disk / "a.jpg").write_bytes(b"of yesterday")
        for arguments in (
            ("mosaic", SERIES, disk / "a.jpg", "-q", 100, "--image-width", 512, "--no-cache"),
            ("get-index", SERIES, "--cache-dir", disk / "c"),
        ):
            outcome = command(*arguments, "--root", odd_root)
            assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
            assert re.match(r"error: .*space", outcome.stderr)
            assert [path for path in disk.rglob("*") if path.is_file()] == [disk / "a.jpg"]
        assert (disk / "a.jpg").read_bytes() == b"of yesterday"
    assert list(Path().iterdir()) == []


def test_read_only_places(odd_root: Path, tmp_path: Path, refused: Refused) -> None:
    """A read-only file system is said, for the picture, the report and an index."""
    disk = tmp_path / "disk"
    with mounted(disk, "ro"):
        for arguments in (
            ("mosaic", SERIES, disk / "a.webp", "--no-cache"),
            ("get-index", SERIES, "--cache-dir", disk / "c"),
        ):
            line = refused(*arguments, "--root", odd_root)
            assert str(disk) in line
            assert "read-only" in line.lower()


@pytest.mark.parametrize("options", ["ro", "size=8k"])
def test_a_cache_that_cannot_be_written(options: str, odd_root: Path, command: Run, tmp_path: Path) -> None:
    """A picture is made without the cache where that is read-only or full, with one warning."""
    disk = tmp_path / "disk"
    with mounted(disk, options):
        outcome = command(*MOSAIC, "--root", odd_root, "--cache-dir", disk / "c")
        assert outcome.status == 0
        assert "".join(outcome.lines).count("warning: the cache cannot be used, and nothing is kept") == 1
        assert not [path for path in disk.rglob("*") if path.is_file()]


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="Linux has a folder that root cannot write to")
def test_no_permission_to_write(odd_root: Path, refused: Refused) -> None:
    """Where even root may not write, the picture's and the index's place are named."""
    for arguments in (
        ("mosaic", SERIES, "/sys/kernel/a.webp", "--no-cache"),
        ("get-index", SERIES, "--cache-dir", "/sys/kernel/c"),
    ):
        assert "/sys/kernel/" in refused(*arguments, "--root", odd_root)


def test_no_permission_to_read(odd_root: Path, tmp_path: Path, refused: Refused) -> None:
    """A root, a cache or an output folder without permission is said with its name."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    if os.access(closed, os.R_OK):
        pytest.skip("root may read and write everything")
    try:
        for arguments in (
            (*MOSAIC, "--root", closed),
            ("mosaic", "389*", "a.webp", "--root", closed),
            ("get-index", SERIES, "--root", odd_root, "--cache-dir", closed),
            ("mosaic", SERIES, closed / "a.webp", "--root", odd_root, "--no-cache"),
        ):
            assert str(closed) in refused(*arguments)
    finally:
        closed.chmod(0o700)


# --- servers that say no


def s3_error(code: str) -> bytes:
    """What S3 sends with an error."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets credentials and an S3 address."""

    def use(endpoint: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    return use


def test_s3_refuses_the_credentials(aws: Callable[[str], None], refused: Refused) -> None:
    """A 403 of S3 is said at once, with what to check, and no secret."""
    denied = servers.Answer(403, {"Content-Type": "application/xml"}, s3_error("InvalidAccessKeyId"))
    with servers.ScriptedServer([denied]) as server:
        aws(server.url)
        line = refused(*MOSAIC, "--root", "s3://bucket/ct")
        assert len(server.asked) == 1
    assert "s3://bucket/ct" in line
    assert "access denied" in line
    assert "check the credentials" in line
    assert "verysecret" not in line


def test_s3_bucket_that_is_not_there(signed: servers.Moto, refused: Refused) -> None:
    """A bucket that does not exist is said as such."""
    assert signed
    for series in (SERIES, "389*"):
        assert "there is no such bucket" in refused(
            "mosaic", series, "a.webp", "--root", "s3://no-such-bucket"
        )


def test_s3_series_that_is_not_there(signed: servers.Moto, bucket: PutSeries, refused: Refused) -> None:
    """A series that does not exist in a bucket is not confused with the bucket."""
    assert signed
    bucket("something", {"else": b"1"})
    assert "no such series" in refused(*MOSAIC, "--root", f"s3://{commandline.BUCKET}")


@pytest.mark.parametrize(("status", "said"), [(403, "denied"), (401, "denied"), (404, "no such series")])
def test_web_server_says_no(status: int, said: str, refused: Refused) -> None:
    """A web server's refusal is said at once."""
    with servers.ScriptedServer([servers.Answer(status)]) as server:
        line = refused(*MOSAIC, "--root", server.url)
        assert len(server.asked) <= 4
    assert said in line.lower()


def test_web_server_that_is_down(refused: Refused) -> None:
    """A connection that is refused is tried again some times, and then said with the address."""
    address = f"http://127.0.0.1:{servers.free_port()}"
    line = refused(*MOSAIC, "--root", f"{address}/dicom")
    assert address in line
    assert "gave up after 6 tries" in line


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_retries_are_bounded_by_the_settings(kind: str, aws: Callable[[str], None], tmp_path: Path) -> None:
    """A server that always fails is asked as often as the settings say, and no more."""
    with servers.ScriptedServer([servers.Answer(503)]) as server:
        aws(server.url)
        settings = replace(Settings(tmp_path), max_retries=1)
        root = "s3://bucket/ct" if kind == "s3" else server.url
        storage = open_storage(root, settings, os.environ)
        service = PreviewService(storage, IndexCache(MemoryStorage()), Limits())
        with pytest.raises(StorageUnavailableError):
            service.render(ImageRequest.from_strings(SERIES, "a.webp", {"position": ["0"]}))
        assert len(server.asked) == 2


def test_denied_is_a_type(aws: Callable[[str], None], tmp_path: Path) -> None:
    """Callers tell a refusal from an outage by type."""
    denied = servers.Answer(403, {"Content-Type": "application/xml"}, s3_error("AccessDenied"))
    with servers.ScriptedServer([denied]) as server:
        aws(server.url)
        storage = open_storage("s3://bucket", Settings(tmp_path), os.environ)
        with pytest.raises(AccessDeniedError):
            PreviewService(storage, None, Limits()).render(
                ImageRequest.from_strings(SERIES, "a.webp", {"position": ["0"]})
            )
