"""`cache list`, `cache prune` and `cache clear`, as a user types them."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import synthetic
from commandline import Run
from dicom_series_preview.__main__ import main
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest

DAY_S = 86400
NAMES = ("Schädel [red]", "two")


@pytest.fixture
def kept(tmp_path: Path, succeed: Run) -> Path:
    """A cache with the indices of two series and a picture, the second series used last."""
    for name in NAMES:
        synthetic.series(name, 3, others=False).write(tmp_path / "data")
        succeed("get-index", name, "--root", tmp_path / "data")
    settings = Settings.from_environment(os.environ)
    open_api({"default": str(tmp_path / "data")}, settings, os.environ).picture("mosaic", HttpRequest("two"))
    for path in (tmp_path / "cache").rglob("*_index.parquet"):
        used = 2 * DAY_S if path.name.startswith("two") else DAY_S
        os.utime(path, (used, used))
    return tmp_path / "cache"


def listed(succeed: Run) -> list[dict[str, Any]]:
    """What `cache list --json` says."""
    found: list[dict[str, Any]] = json.loads(succeed("cache", "list", "--json").stdout)
    return found


def test_list_tells_what_is_kept(kept: Path, tmp_path: Path, succeed: Run) -> None:
    """Each file is listed with its kind, its size and its use, and an index with its root and its series."""
    picture, *indices = listed(succeed)
    assert (picture["kind"], picture["root"], picture["series"]) == ("picture", None, None)
    assert datetime.fromisoformat(picture["used"]).tzinfo == UTC
    assert Path(picture["path"]).read_bytes()[8:12] == b"WEBP"
    root = (tmp_path / "data").as_uri()
    assert [(entry["kind"], entry["root"], entry["series"], entry["used"]) for entry in indices] == [
        ("index", root, "two", "1970-01-03T00:00:00Z"),
        ("index", root, "Schädel [red]", "1970-01-02T00:00:00Z"),
    ]
    assert all(Path(entry["path"]).stat().st_size == entry["bytes"] for entry in indices)
    assert all(Path(entry["path"]).is_relative_to(kept) for entry in (picture, *indices))
    assert [entry["used"] for entry in listed(succeed)[1:]] == [entry["used"] for entry in indices]


def test_list_is_a_table(kept: Path, succeed: Run) -> None:
    """Without --json it is a line a file, names as they are, and a sum on stderr."""
    outcome = succeed("cache", "list")
    heading, *lines = outcome.stdout.splitlines()
    assert heading.split() == ["Kind", "Used", "Bytes", "Root", "Series"]
    assert [line.split()[0] for line in lines] == ["picture", "index", "index"]
    assert lines[2].endswith("Schädel [red]")
    (said,) = outcome.lines
    assert said.startswith(f"{kept}: 3 files, ")
    assert said.endswith("room for 2000000000")


def test_a_table_on_a_terminal(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, names are shown as they are: they are no markup, and cannot control it."""
    (path,) = kept.rglob("two_index.parquet")
    table = Index.from_parquet(path.read_bytes()).table
    metadata = dict(table.schema.metadata)
    key = b"dicom_series_preview"
    metadata[key] = json.dumps({**json.loads(metadata[key]), "series": "t\x1b[2Jwo"}).encode()
    path.write_bytes(Index(table.replace_schema_metadata(metadata)).to_parquet())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["cache", "list"]) == 0
    shown = capsys.readouterr().out
    assert "Schädel [red]" in shown
    assert "t\\x1b[2Jwo" in shown
    assert "\x1b[2J" not in shown


def test_list_of_no_cache(tmp_path: Path, succeed: Run) -> None:
    """Where nothing is kept, the list is empty, and no folder is made."""
    outcome = succeed("cache", "list")
    assert (outcome.stdout, len(outcome.lines)) == ("", 1)
    assert json.loads(succeed("cache", "list", "--json").stdout) == []
    assert succeed("cache", "prune").status == succeed("cache", "clear", "--yes").status == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), 3),
        (("--max-size", "1GB"), 3),
        (("--max-size", "12KiB", "--max-age", "1w"), 1),
        (("--max-age", "12h"), 1),
        (("--max-size", "0"), 0),
    ],
)
def test_prune(options: tuple[str, ...], left: int, kept: Path, succeed: Run) -> None:
    """What was used longest ago goes, down to a size or to an age; without either, to the cache's room."""
    outcome = succeed("cache", "prune", *options)
    assert outcome.stdout == ""
    (said,) = outcome.lines
    assert said.startswith(f"{kept}: {3 - left} file{'' if left == 2 else 's'} removed, ")
    assert len(listed(succeed)) == left
    assert "picture" in {entry["kind"] for entry in listed(succeed)} or not left


def test_prune_to_the_cache_s_room(kept: Path, succeed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is the room that `cache prune` makes."""
    most = sum(-(-entry["bytes"] // 4096) * 4096 for entry in listed(succeed)) - 1
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_BYTES", str(most))
    succeed("cache", "prune")
    assert [entry["series"] for entry in listed(succeed)] == [None, "two"]
    assert not list(kept.rglob("Sch*"))


@pytest.mark.parametrize(
    "options",
    [
        *(("--max-size", "much"), ("--max-size", "-1"), ("--max-size", 400 * "9")),
        *(("--max-age", "3"), ("--max-age", "1y"), ("--max-age", f"1{27 * '0'}d")),
    ],
)
def test_what_prune_cannot_take(options: tuple[str, str], kept: Path, command: Run) -> None:
    """A size or an age that is none is refused in a line, and nothing is removed."""
    outcome = command("cache", "prune", f"{options[0]}={options[1]}")
    assert (outcome.status, len(outcome.lines)) == (1, 1)
    assert outcome.lines[0].startswith(f"error: {options[0]}: is ")
    assert len(list(kept.rglob("*.parquet"))) == 2


def test_clear(kept: Path, succeed: Run, tmp_path: Path) -> None:
    """Everything goes, the folders of roots and series too, and what else lies there stays."""
    (kept / "indices" / "notes.txt").write_bytes(b"mine")
    outcome = succeed("cache", "clear", "--yes")
    assert outcome.lines[0].startswith(f"{kept}: 3 files removed, ")
    assert [path.name for path in (kept / "indices").iterdir()] == ["notes.txt"]
    assert not (kept / "renders").exists()
    assert succeed("get-index", "two", "--root", tmp_path / "data").status == 0


def test_places_of_series_go_with_the_whole_cache_alone(kept: Path, succeed: Run) -> None:
    """The places of series are listed with their folder; pruning leaves them, and clearing removes them."""
    SeriesPlaces(LocalStorage(kept, 4), places_folder("file:///data")).add("1.2.3", "A/two")
    assert [entry["series"] for entry in listed(succeed) if entry["kind"] == "place"] == ["A/two"]
    assert succeed("cache", "prune", "--max-size", "0").lines[0].endswith("; 0 files left, 0 bytes")
    assert [entry["kind"] for entry in listed(succeed)] == ["place"]
    assert succeed("cache", "clear", "--yes").lines[0].startswith(f"{kept}: 1 file removed, ")
    assert not listed(succeed)


def test_clear_asks(kept: Path, command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is removed unless the question is answered with yes, or nobody needs to be asked."""
    outcome = command("cache", "clear")
    assert (outcome.status, outcome.lines) == (1, ["error: --yes: is needed where nobody can be asked"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, status, left in (("n", 1, 2), ("", 1, 2), ("y", 0, 0)):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda _prompt, answer=answer: answer)
        assert command("cache", "clear").status == status
        assert len(list(kept.rglob("*.parquet"))) == left


def test_a_cache_that_is_no_folder(command: Run, tmp_path: Path) -> None:
    """A cache folder that cannot be one is one line."""
    (tmp_path / "cache").write_bytes(b"mine")
    for arguments in (("list",), ("prune",), ("clear", "--yes")):
        outcome = command("cache", *arguments)
        assert len(outcome.lines) == 1
    assert (tmp_path / "cache").read_bytes() == b"mine"
