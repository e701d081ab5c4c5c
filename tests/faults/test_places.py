"""Places that go away, fill up, or are written by others meanwhile: whole files, one line, no halves."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import faulty
import synthetic
from commandline import SCRIPT, Run
from dicom_series_preview.archive.index.index import Index

SERIES = synthetic.SERIES
ROOT = "s3://bucket"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[faulty.FaultyServer]:
    """A server with the main series, as the environment's S3."""
    with faulty.FaultyServer() as running:
        objects = synthetic.series(count=4, others=False, side=384).objects
        running.objects = {f"bucket/{SERIES}/{name}": data for name, data in objects.items()}
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def at_first(kind: str, change: Callable[[], object]) -> faulty.Plan:
    """Something happens when a series' headers, or its pixels, are first asked for."""
    once = threading.Lock()

    def plan(asked: faulty.Asked) -> None:
        wanted = asked.kind == "GET" and asked.later == (kind == "pixels")
        if wanted and once.acquire(blocking=False):
            change()

    return plan


def files() -> list[str]:
    """All files of the working folder."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


@pytest.mark.parametrize("moment", ["headers", "pixels"])
def test_output_folder_goes_away(moment: str, server: faulty.FaultyServer, command: Run) -> None:
    """A picture whose folder is removed meanwhile is one error, and the folder is not made again."""
    Path("out").mkdir()
    server.begin(at_first(moment, lambda: shutil.rmtree("out")))
    outcome = command("mosaic", SERIES, "out/a.webp", "--root", ROOT)
    assert outcome.status == 1
    assert outcome.lines == ["error: out/a.webp: there is no such folder"]
    assert not Path("out").exists()


def test_report_folder_goes_away(server: faulty.FaultyServer, command: Run) -> None:
    """A report that cannot be written is one error; the picture is there, and whole."""
    Path("out").mkdir()
    server.begin(at_first("pixels", lambda: shutil.rmtree("out")))
    outcome = command("mosaic", SERIES, "a.webp", "--root", ROOT, "--report", "out/a.json")
    assert outcome.status == 1
    assert outcome.lines == ["error: out/a.json: there is no such folder"]
    assert files() == ["a.webp"]


@pytest.mark.parametrize("moment", ["headers", "pixels"])
def test_cache_goes_away(moment: str, server: faulty.FaultyServer, command: Run, tmp_path: Path) -> None:
    """A cache that is removed meanwhile is made again when it is needed, and costs no picture."""
    (tmp_path / "cache" / "indices").mkdir(parents=True)
    server.begin(at_first(moment, lambda: shutil.rmtree(tmp_path / "cache")))
    outcome = command("mosaic", SERIES, "a.webp", "--root", ROOT)
    assert outcome.status == 0, outcome.stderr
    assert command("get-index", SERIES, "--root", ROOT).status == 0
    (kept,) = (tmp_path / "cache").rglob(f"{SERIES}_index.parquet")
    assert Index.from_parquet(kept.read_bytes()).table.num_rows == 4


def test_programs_at_once(tmp_path: Path) -> None:
    """Programs that write the same picture and index at once all succeed, and both are whole."""
    root = tmp_path / "root"
    synthetic.series().write(root)
    arguments = [SCRIPT, "mosaic", SERIES, "a.webp", "--root", str(root)]
    alone = [*arguments[:3], "alone.webp", *arguments[4:], "--no-cache"]
    running = [subprocess.Popen(line, stderr=subprocess.PIPE) for line in (alone, *[arguments] * 4)]
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert files() == ["a.webp", "alone.webp"]
    assert Path("a.webp").read_bytes() == Path("alone.webp").read_bytes()
    kept = Path(os.environ["DICOM_SERIES_PREVIEW_CACHE_DIR"]) / "indices"
    assert [path.name for path in kept.rglob("*.*")] == [f"{SERIES}_index.parquet"]
