"""What volumes cost: requests and bytes as the storage counts them, and memory by the number of slices."""

import subprocess
import sys
from pathlib import Path

import pytest

from doubles import CountingStorage
from volumes import Bench, objects_of, only, ramp, stacked

COUNT = 300
ROWS, COLUMNS = 60, 80


def counted(folder: Path, count: int = COUNT) -> tuple[Bench, CountingStorage]:
    """A series, and the storage that counts what is asked for."""
    bench = Bench(folder, objects_of(stacked(ramp(count, ROWS, COLUMNS))), wrap=CountingStorage)
    assert isinstance(bench.storage, CountingStorage)
    return bench, bench.storage


def test_a_plan_reads_no_pixel(tmp_path: Path) -> None:
    """Planning an opened series asks for nothing, and says what a conversion then asks for."""
    bench, storage = counted(tmp_path)
    opened = bench.open()
    storage.reset()
    bench.open = lambda: opened  # type: ignore[method-assign]
    planned = only(bench.plan())
    assert (storage.lists, storage.ranges, storage.gets) == (0, [], [])
    assert planned.requests == COUNT
    assert planned.source_bytes == COUNT * ROWS * COLUMNS * 2


@pytest.mark.parametrize("extension", [".zarr", ".nii.gz", ".npz"])
def test_each_frame_once(extension: str, tmp_path: Path) -> None:
    """Of an opened series each frame is asked for once, its bytes alone; the proof asks for nothing."""
    bench, storage = counted(tmp_path)
    opened = bench.open()
    storage.reset()
    bench.open = lambda: opened  # type: ignore[method-assign]
    planned = only(bench.plan())
    assert bench.one(extension).status == "made"
    assert (storage.lists, storage.gets, storage.puts) == (0, [], [])
    fresh = [one for one in storage.ranges if one.path]
    assert len(fresh) <= planned.requests
    assert len({one.path for one in fresh}) == len(fresh)
    assert storage.received <= planned.source_bytes


def test_what_is_there_costs_no_frame(tmp_path: Path) -> None:
    """A conversion that finds its output done asks for no frame."""
    bench, storage = counted(tmp_path)
    bench.one(".zarr")
    opened = bench.open()
    storage.reset()
    bench.open = lambda: opened  # type: ignore[method-assign]
    assert bench.one(".zarr").status == "exists"
    assert storage.ranges == []


# The peak of the process itself: that of its usage also counts what it was forked from.
PEAK = """
import sys
from pathlib import Path
from dicom_series_preview.__main__ import main
assert main(sys.argv[1:]) == 0
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is Linux's")
def test_memory_does_not_grow_with_slices(tmp_path: Path) -> None:
    """The peak of 900 slices is at most 1.2 times that of 300, both more than what is kept in memory."""
    peaks: list[int] = []
    for count in (300, 900):
        folder = tmp_path / str(count) / "S"
        folder.mkdir(parents=True)
        for name, data in objects_of(stacked(ramp(count, 160, 200))).items():
            (folder / name).write_bytes(data)
        arguments = ["convert", "S", str(tmp_path / f"{count}.zarr"), "--root", str(folder.parent)]
        command = [sys.executable, "-c", PEAK, *arguments, "--no-cache", "--quiet"]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(ran.stdout.split()[-2]))
    assert peaks[1] <= 1.2 * peaks[0], peaks
