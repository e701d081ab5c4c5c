"""Whatever is wrong: one plain line, status 1, and nothing written."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
import synthetic
from commandline import Run
from dicom_series_preview.archive.names import index_folder, index_path

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
        # What no request takes: every option's range stands beside the requests.
        (("mosaic", SERIES, "a.gif"), "output: '.gif'"),
        (("mosaic", SERIES, "a"), "output: it has no extension"),
        (("mosaic", SERIES, "a.webp.bak"), "output: '.bak'"),
        (GET, "--position: is needed"),
        ((*GET, "--position", "1.5"), "--position: 1.5 is out of range; give 0 to 1"),
        ((*GET, "--position", "middle"), "--position: 'middle' is no number"),
        ((*GET, "--position", "0.5", "--slice-offset", "1.5"), "--slice-offset: '1.5' is no whole number"),
        ((*MOSAIC, "--start", "0.8", "--end", "0.2"), "--start: 0.8 is greater than --end, 0.2"),
        ((*MOSAIC, "--contrast", "0/40"), "--contrast: '0/40' needs a finite width above 0"),
        ((*MOSAIC, "--contrast", "abc"), "--contrast: 'abc' is not a contrast; use ct-lung"),
        ((*MOSAIC, "--contrast", "lung", "--contrast", "bone"), "--contrast: is given more than once"),
        ((*MOSAIC, "--contrast", "lung", "--contrast-preset", "bone"), "--contrast: give --contrast, "),
        ((*MOSAIC, "--window-width", "80"), "--window-center: is needed too"),
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
        (
            (*CONTRASTS, "--contrast", "lung", "--slice-offset", "1"),
            "--slice-offset: moves on from --position",
        ),
        # Sizes.
        ((*MOSAIC, "--tile-width", "200"), "WEBP allows 16383 a side"),
        (("mosaic", SERIES, "a.jpg", "--tile-width", "200"), "more than 100000000 in all"),
        ((*MOSAIC, "--tile-width", "2.5"), "--tile-width: '2.5' is no whole number"),
        ((*MOSAIC, "-q", "101"), "--quality: 101 is out of range; give 0 to 100"),
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
        (("mosaic", "a\nb", "a.webp"), "series: a name has no control characters"),
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


# --- no room, no permission


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


@pytest.mark.parametrize(("options", "said"), [("size=8k", "space"), ("ro", "read-only")])
def test_places_that_take_nothing(
    options: str, said: str, odd_root: Path, command: Run, tmp_path: Path
) -> None:
    """Where a disk is full or read-only the line says so, and neither picture nor index leaves a part."""
    disk = tmp_path / "disk"
    with mounted(disk, options):
        for arguments in (
            ("mosaic", SERIES, disk / "a.jpg", "-q", 100, "--image-width", 512, "--no-cache"),
            ("get-index", SERIES, "--cache-dir", disk / "c"),
        ):
            outcome = command(*arguments, "--root", odd_root)
            assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1)
            assert outcome.stderr.startswith("error: ")
            assert str(disk) in outcome.stderr
            assert said in outcome.stderr.lower()
            assert [path for path in disk.rglob("*") if path.is_file()] == []
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("options", ["ro", "size=8k"])
def test_a_cache_that_cannot_be_written(options: str, odd_root: Path, command: Run, tmp_path: Path) -> None:
    """A picture is made without the cache where that is read-only or full, with one warning."""
    disk = tmp_path / "disk"
    with mounted(disk, options):
        outcome = command(*MOSAIC, "--root", odd_root, "--cache-dir", disk / "c")
        assert outcome.status == 0
        assert "".join(outcome.lines).count("warning: the cache cannot be used, and nothing is kept") == 1
        assert not [path for path in disk.rglob("*") if path.is_file()]


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
