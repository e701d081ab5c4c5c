"""Processes that are killed at any moment leave a file that is whole, or none; the next one finds its way.

Eight moments a command; DICOM_SERIES_PREVIEW_KILLS sets another number.
"""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

import synthetic
from commandline import SCRIPT, Run
from dicom_series_preview.archive.index.index import Index

KILLS = int(os.environ.get("DICOM_SERIES_PREVIEW_KILLS", "8"))
SERIES = synthetic.SERIES
DAY_S = 24 * 3600
ARGUMENTS = {
    "build-index": ("build-index", SERIES),
    "mosaic": ("mosaic", SERIES, "mosaic.webp", "--image-width", "256"),
}


def written() -> list[Path]:
    """All files of the working folder, the cache in it included."""
    return sorted(path for path in Path().rglob("*") if path.is_file())


def is_left_over(path: Path) -> bool:
    """A file that a killed process had not finished."""
    return path.name.startswith(".dicom-series-preview-")


def contents() -> dict[str, object]:
    """The files that a user or a later run sees, an index by what is in it."""
    return {
        str(path): Index.from_parquet(path.read_bytes()).table
        if path.suffix == ".parquet"
        else path.read_bytes()
        for path in written()
        if not is_left_over(path)
    }


def remove_all() -> None:
    """Begin with an empty folder, what was left over aside."""
    for path in written():
        if not is_left_over(path):
            path.unlink()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_killed(name: str, tmp_path: Path, command: Run) -> None:
    """After each kill, index and picture are absent or the true ones, and the next run succeeds."""
    root = tmp_path / "root"
    synthetic.series().write(root)
    arguments = [*ARGUMENTS[name], "--root", str(root), "--cache-dir", "cache"]
    process = [SCRIPT, *arguments]
    started = time.monotonic()
    subprocess.run(process, check=True, capture_output=True)
    duration_s = time.monotonic() - started
    truth = contents()
    assert len(truth) == (1 if name == "build-index" else 2)
    rng = random.Random(f"kills of {name}")
    killed = 0
    for kill in range(KILLS):
        remove_all()
        # Most of the time goes by with imports; files are written near the end.
        # The first is killed at once: whatever the machine, one is.
        part = (rng.uniform(0, 1.1) if kill % 2 else rng.uniform(0.6, 1.1)) if kill else 0.0
        running = subprocess.Popen(process, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            running.wait(part * duration_s)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            killed += 1
        for path, content in contents().items():
            assert content == truth[path], path
        outcome = command(*arguments)
        assert outcome.status == 0, outcome.stderr
        assert contents() == truth
    assert killed
    # What is left over is the killed processes' and goes when they cannot be at it any more.
    assert sum(is_left_over(path) for path in written()) <= killed
    for path in written():
        if is_left_over(path):
            os.utime(path, (time.time() - 2 * DAY_S,) * 2)
    remove_all()
    assert command(*arguments).status == 0
    assert not [path for path in written() if is_left_over(path)]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_is_left_over(name: str, tmp_path: Path, command: Run) -> None:
    """A run removes what was left over a day ago beside what it writes, and nothing else."""
    root = tmp_path / "root"
    synthetic.series().write(root)
    for folder in (Path(), Path("cache/indices")):
        folder.mkdir(parents=True, exist_ok=True)
        for file, age_s in {"a" * 32: 2 * DAY_S, "b" * 32: 60, "not ours": 2 * DAY_S}.items():
            path = folder / f".dicom-series-preview-{file}.part"
            path.write_bytes(b"half")
            os.utime(path, (time.time() - age_s,) * 2)
    assert command(*ARGUMENTS[name], "--root", root, "--cache-dir", "cache").status == 0
    left = [path.name[22] for path in written() if is_left_over(path)]
    assert sorted(left) == (["a", "b", "b", "n", "n"] if name == "build-index" else ["b", "b", "n", "n"])
