"""Places that go away, fill up, or are written by others meanwhile: whole files, one line, no halves."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import faulty
import synthetic
from commandline import SCRIPT, Run
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.base.files import write_atomically

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


FULL = """
import json, os, resource, sys
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest
from dicom_series_preview.base.settings import Settings

api = open_api({"default": sys.argv[1]}, Settings.from_environment(os.environ), os.environ)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
answer = api.picture("mosaic", HttpRequest(sys.argv[2]))
print(json.dumps([answer.status, answer.body.decode() if answer.status != 200 else ""]))
"""


@pytest.mark.parametrize("limit", [0, 1000, 8000])
def test_no_room_behind_the_http_api(limit: int, tmp_path: Path) -> None:
    """Where an index or a picture cannot be kept for want of room, it is answered and no part of it stays."""
    synthetic.series().write(tmp_path / "root")
    arguments = [sys.executable, "-c", FULL, str(tmp_path / "root"), SERIES, str(limit)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    assert json.loads(done.stdout) == [200, ""]
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    # A picture that finds room is kept, whole.
    assert [path.suffix for path in left] == [".webp"] * (limit == 8000)
    for path in left:
        data = path.read_bytes()
        picture_bytes = int.from_bytes(data[4:8], "little") + 8
        # Behind it stands which picture it is.
        assert b"preview-identity" in data[picture_bytes:]


def test_writers_at_once(tmp_path: Path) -> None:
    """While many write one file, whoever reads it sees one of theirs, whole."""
    target = tmp_path / "a.webp"
    contents = {bytes([i]) * 200_000 for i in range(8)}
    write_atomically(target, next(iter(contents)))
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        for writer in [pool.submit(write_atomically, target, data) for data in contents for _ in range(5)]:
            writer.result()
        done.set()
        reader.result()
    assert seen <= contents
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [target.name]


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
