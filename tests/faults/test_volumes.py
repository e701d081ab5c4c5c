"""Conversions that are killed, have no room, or whose source changes: an output is whole, or absent.

Three moments a format; DICOM_SERIES_PREVIEW_KILLS sets another number.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volumes
from commandline import SCRIPT, Run
from dicom_series_preview.products.volumes.extents import Slab
from dicom_series_preview.products.volumes.formats.base import VolumeFormat, WriteOptions
from dicom_series_preview.products.volumes.formats.table import format_of_path
from dicom_series_preview.products.volumes.verify import verified
from volumes import EXTENSIONS, Bench, objects_of, ramp, stacked

KILLS = int(os.environ.get("DICOM_SERIES_PREVIEW_KILLS", "3"))
DAY_S = 24 * 3600
VALUES = ramp(40, 64, 72) * 31


def put(root: Path, values: Any = VALUES) -> None:
    """Write the series below a root."""
    (root / "S").mkdir(parents=True, exist_ok=True)
    for name, data in objects_of(stacked(values)).items():
        (root / "S" / name).write_bytes(data)


def outputs(folder: Path) -> list[str]:
    """What passes for an output: everything but what was left over."""
    return sorted(one.name for one in folder.iterdir() if not one.name.endswith(".partial"))


def is_right(path: Path) -> bool:
    """An output is as its receipt says, which the bench's series decides."""
    return not verified(format_of_path(path.name)[0], path)


@pytest.mark.parametrize("extension", [".zarr", ".nii.gz", ".npz"])
@pytest.mark.parametrize("over", [False, True])
def test_killed(extension: str, over: bool, tmp_path: Path, command: Run) -> None:  # noqa: FBT001
    """After each kill an output is absent, whole, or the older one; the next run makes it and cleans up."""
    put(tmp_path / "root")
    target = tmp_path / "out" / f"v{extension}"
    target.parent.mkdir()
    arguments = ["convert", "S", str(target), "--root", str(tmp_path / "root"), "--quiet"]
    again = [*arguments, *(["--overwrite"] if over else [])]
    started = time.monotonic()
    subprocess.run([SCRIPT, *arguments], check=True, capture_output=True)
    duration_s = time.monotonic() - started
    rng = random.Random(f"{extension} {over}")
    for kill in range(KILLS):
        if not over:
            for name in outputs(target.parent):
                subprocess.run(["rm", "-r", str(target.parent / name)], check=True)
        running = subprocess.Popen([SCRIPT, *again], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            running.wait(duration_s * (rng.uniform(0.5, 1.1) if kill else 0.1))
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        left = outputs(target.parent)
        assert set(left) <= {target.name, "v.json"}
        if target.name in left and ("v.json" in left or extension != ".nii.gz"):
            assert is_right(target)
        outcome = command(*arguments)
        assert outcome.status == 0, outcome.stderr
        assert is_right(target)
    for one in target.parent.glob(".*.partial"):
        os.utime(one, (time.time() - 2 * DAY_S,) * 2)
    assert command(*arguments, "--overwrite").status == 0
    assert not list(target.parent.glob(".*.partial"))


@dataclass
class Stopping:
    """A format at a moment of whose writing something happens.

    Attributes:
        real: The format itself.
        happens: What happens when a slab is written.
    """

    real: VolumeFormat
    happens: Callable[[], None] = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the format's own."""
        return getattr(self.real, name)

    def writer(self, path: Path, volume: Any, dtype: Any, options: WriteOptions) -> Any:
        """A writer between."""
        inner, happens = self.real.writer(path, volume, dtype, options), self.happens

        class Between:
            def write(self, slab: Slab) -> None:
                happens()
                inner.write(slab)

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

        return Between()


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_left_over(extension: str, tmp_path: Path) -> None:
    """What was left over a day ago goes with the next run; what is younger or not ours stays."""
    out = tmp_path / "out"
    old, young = ".old.0123456789ab.partial", ".young.0123456789ab.partial"
    theirs = ".theirs.partial"
    for name, age_s in {old: 2 * DAY_S, young: 60, "kept": 2 * DAY_S, theirs: 2 * DAY_S}.items():
        (out / name).mkdir(parents=True)
        (out / name / "half").write_bytes(b"x")
        os.utime(out / name, (time.time() - age_s,) * 2)
    Bench.of(out, stacked(ramp())).one(extension)
    assert not (out / old).exists()
    assert all((out / name).exists() for name in (young, theirs, "kept"))


FULL = """
import resource, sys
sys.path[:0] = {paths!r}
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
import volumes
import numpy
noise = numpy.random.default_rng(1).integers(0, 60000, (40, 64, 72)).astype("<u2")
bench = volumes.Bench.of(Path({folder!r}), volumes.stacked(noise))
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
found = bench.one({extension!r})
print(found.status, found.refusal.code, bench.written(), found.refusal.problem)
"""


@pytest.mark.parametrize("limit", [300, 20_000])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_no_room(extension: str, limit: int, tmp_path: Path) -> None:
    """Where a file cannot grow the volume is refused in one line that says so, and nothing of it is left."""
    script = FULL.format(
        paths=[one for one in sys.path if one.endswith(("tests", "tests/support"))],
        folder=str(tmp_path / "out"),
        limit=limit,
        extension=extension,
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("refused output []"), ran.stdout + ran.stderr


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is none is refused as an output, in one line."""
    (tmp_path / "file").write_bytes(b"")
    bench = Bench.of(tmp_path, stacked(ramp()))
    found = bench.one(".nii", "file/v")
    assert found.refusal.code == "output"
    assert "\n" not in found.refusal.problem


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_is_not_ours(extension: str, tmp_path: Path) -> None:
    """What lies in the place and has no receipt stays, until it is asked to be replaced."""
    bench = Bench.of(tmp_path, stacked(ramp()))
    target = tmp_path / f"v{extension}"
    target.write_bytes(b"somebody's")
    found = bench.one(extension)
    assert found.refusal.code == "exists_other"
    assert "`overwrite`" in found.refusal.problem
    assert target.read_bytes() == b"somebody's"
    assert bench.one(extension, overwrite=True).status == "made"
    assert bench.one(extension).status == "exists"


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_again(extension: str, tmp_path: Path) -> None:
    """The same again is there; other options, and another source, make it anew."""
    bench = Bench.of(tmp_path, stacked(ramp()))
    assert bench.one(extension).status == "made"
    assert bench.one(extension).status == "exists"
    assert bench.one(extension, options={"monochrome1": "invert"}).status == "made"
    other = Bench.of(tmp_path, stacked(ramp() + 1))
    found = other.one(extension)
    assert found.status == "made"
    volumes.check(found.path, ramp() + 1, volumes.affine_of())


def test_tables_of_an_older_output_go_with_it(tmp_path: Path) -> None:
    """A NIfTI that replaces a diffusion series' has none of its tables beside it."""
    elements = [volumes.diffusion(0, None), volumes.diffusion(1000, (0.0, 0.6, 0.8))]
    _, sources = volumes.told_apart(elements, by_location=False)
    Bench.of(tmp_path, sources).one(".nii")
    assert (tmp_path / "v.bvec").exists()
    Bench.of(tmp_path, stacked(ramp())).one(".nii")
    assert not (tmp_path / "v.bvec").exists()
    assert is_right(tmp_path / "v.nii")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_torn_between_its_files(extension: str, tmp_path: Path) -> None:
    """An output of ours that was killed before its receipt was put beside it is made anew, unasked."""
    bench = Bench.of(tmp_path, stacked(ramp()))
    bench.one(extension)
    (tmp_path / "v.json").unlink(missing_ok=True)
    found = bench.one(extension)
    assert found.status == ("made" if ".nii" in extension else "exists")
    assert is_right(found.path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_two_at_once(extension: str, tmp_path: Path) -> None:
    """Of conversions into one place at the same time all say it is there, and it is whole."""
    bench = Bench.of(tmp_path / "out", stacked(ramp(8, 20, 30)))
    together = threading.Barrier(4)

    @dataclass
    class Waiting(Stopping):
        def read(self, path: Path) -> Any:
            if path.parent.suffix == ".partial":
                together.wait(20)
            return self.real.read(path)

    def one(_number: int) -> Any:
        return bench.one(extension, using=lambda real: Waiting(real, lambda: None))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(4)))
    assert {one.status for one in found} <= {"made", "exists"}, [one.refusal for one in found]
    assert len({one.receipt["volume"]["sha256"] for one in found}) == 1
    assert is_right(tmp_path / "out" / f"v{extension}")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("gone", [True, False])
def test_source_changes_in_the_middle(gone: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Where an object goes or changes while a volume is read, the series is planned anew."""
    values = ramp(100, 150, 160)
    bench = Bench.of(tmp_path / "out", stacked(values))
    changed = objects_of(stacked(values + 1))
    # Read last: it lies lowest.
    last = next(iter(bench.objects))
    once = iter([True])

    def happens() -> None:
        if not next(once, False):
            return
        bench.memory.delete(f"S/{last}")
        if not gone:
            bench.memory.put(f"S/{last}", changed[last])

    found = bench.one(".zarr", using=lambda real: Stopping(real, happens))
    assert found.status == "made", found.refusal
    now = values[1:] if gone else np.concatenate([values[:1] + 1, values[1:]])
    volumes.check(found.path, now, volumes.affine_of(origin=volumes.above(3 if gone else 0)))


def test_source_never_rests(tmp_path: Path) -> None:
    """An object that changes whenever it is read ends in a refusal that names it, and nothing is left."""
    values = ramp(100, 150, 160)
    bench = Bench.of(tmp_path / "out", stacked(values))
    last = next(iter(bench.objects))
    data = bench.objects[last]

    def happens() -> None:
        bench.memory.put(f"S/{last}", data)

    found = bench.one(".zarr", using=lambda real: Stopping(real, happens))
    assert found.refusal.code == "changed"
    assert last in found.refusal.problem
    assert bench.written() == []
