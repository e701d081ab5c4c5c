"""How fast the whole path is, against a floor that no program can go below, and against what users do today.

Usage: python benchmarks/speed.py [--quick | --full] [--json FILE] [--compare OLD.json]      or `make bench`

Every figure is a process of its own, from its start to its end, as os.wait4 tells. Product and floor take turns,
and medians are compared, so that ratios hold where seconds do not. docs/performance.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
PROJECT = HERE.parent
sys.path.insert(0, str(HERE))

from kinds import JPEG2000, RESCALE, WINDOW, Facts, Kind, Line
from s3_server import S3, s3_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# One of the product's own public buckets, whose objects never change; every other one is listed each time.
IMMUTABLE_BUCKET, BUCKET = "idc-open-data", "bench"
CONNECTIONS = 256
FIRST_RANGE = 5 * 1024
TILE, SIDE_TILES, QUALITY = 128, 6, 25
CONTRASTS = {"lung": (1500, -500), "abdomen": (350, 50), "bone": (2000, 300)}


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process took.

    Attributes:
        wall_s: From its start to its end.
        cpu_s: Of all its threads, in user and system mode.
        peak_mb: The most memory that was resident.
        lists: LIST requests, as the server counted them.
        gets: GET requests.
        bytes: Bytes of objects.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    lists: int = 0
    gets: int = 0
    bytes: int = 0


def run(command: list[str], environment: dict[str, str], s3: S3 | None = None) -> Spent:
    """Run a process to its end.

    Raises:
        RuntimeError: It failed; its last words are in the message.
    """
    if s3 is not None:
        s3.counts()
    with tempfile.TemporaryFile() as said:
        actions = [(os.POSIX_SPAWN_DUP2, said.fileno(), 1), (os.POSIX_SPAWN_DUP2, said.fileno(), 2)]
        started = time.perf_counter()
        process = os.posix_spawn(command[0], command, environment, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        wall = time.perf_counter() - started
        if status:
            said.seek(0)
            words = said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} failed: {words}")
    counts = s3.counts() if s3 is not None else Counter[str]()
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Spent(
        wall,
        usage.ru_utime + usage.ru_stime,
        kilobytes / 1024,
        counts["LIST"],
        counts["GET"],
        counts["bytes"],
    )


@dataclass(frozen=True, slots=True)
class Job:
    """A command line, and what its floor does.

    Attributes:
        name: As in the tables.
        arguments: The product's; SERIES and OUTPUT are filled in.
        starts_cold: No index is kept when it begins.
        bucket: Where the series lies.
        lists: Whether the listing has to be asked for.
        reads_headers: Whether every header has to be read.
        columns: Of the grid.
        frames: How many frames are shown.
        windows: That each of them is shown under: width and center.
    """

    name: str
    arguments: tuple[str, ...]
    starts_cold: bool = False
    bucket: str = BUCKET
    lists: bool = True
    reads_headers: bool = False
    columns: int = 1
    frames: int = 0
    windows: tuple[tuple[float, float], ...] = (WINDOW,)


_MOSAIC = ("mosaic", "SERIES", "OUTPUT")
_CONTRASTS = tuple(word for name in CONTRASTS for word in ("--contrast", name))
COLD = Job("mosaic, cold", _MOSAIC, starts_cold=True, reads_headers=True, columns=SIDE_TILES, frames=36)
WARM = Job("mosaic, warm", _MOSAIC, columns=SIDE_TILES, frames=36)
IMMUTABLE = Job(
    "mosaic, immutable", _MOSAIC, bucket=IMMUTABLE_BUCKET, lists=False, columns=SIDE_TILES, frames=36
)
IMAGE = Job("image, warm", ("get-image", "SERIES", "OUTPUT", "--position", "0.5"), frames=1)
CONTRAST = Job(
    "contrasts, warm",
    ("contrast-mosaic", "SERIES", "OUTPUT", *_CONTRASTS),
    columns=len(CONTRASTS),
    frames=2,
    windows=tuple(CONTRASTS.values()),
)
INDEX = Job("index", ("build-index", "SERIES"), starts_cold=True, reads_headers=True)
JOBS = (COLD, WARM, IMMUTABLE, IMAGE, CONTRAST, INDEX)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A series over a line, and the jobs that are measured on it."""

    name: str
    kind: Kind
    line: Line
    jobs: tuple[Job, ...]
    naive: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What one job took.

    Attributes:
        scenario: The scenario's name.
        job: The job's.
        product: Medians of the product.
        floor: Medians of the floor, or of what the product is compared with.
        index_bytes: The index's size, where one is kept.
    """

    scenario: str
    job: str
    product: Spent
    floor: Spent
    index_bytes: int = 0

    @property
    def key(self) -> str:
        """What a later run of the same job is found by."""
        return f"{self.scenario} | {self.job}"


@dataclass(slots=True)
class Bench:
    """Runs jobs.

    Attributes:
        s3: The server.
        folder: A scratch folder.
        rounds: How often product and floor take turns.
    """

    s3: S3
    folder: Path
    rounds: int
    rows: list[Row] = field(default_factory=list)

    def measure(self, scenario: Scenario) -> None:
        """Measure a scenario's jobs, and print them as they come."""
        facts = self.s3.load(scenario.kind)
        self.s3.set_line(scenario.line)
        print(f"\n{scenario.name}: {len(facts.frames)} slices, {facts.total_bytes / 1e6:.0f} MB", flush=True)
        print(HEADING, flush=True)
        for job in scenario.jobs:
            self._add(scenario, job, facts)
        if scenario.naive:
            self._add_naive(scenario, facts)

    def _add(self, scenario: Scenario, job: Job, facts: Facts) -> None:
        cache = self.folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        command = self._product(job, facts, cache)
        plan = self.folder / "plan.json"
        plan.write_text(json.dumps(floor_plan(job, scenario.kind, facts, self.s3.url, self.folder)))

        def product() -> Spent:
            if job.starts_cold:
                shutil.rmtree(cache, ignore_errors=True)
            return self._run(command)

        def floor() -> Spent:
            return self._run([sys.executable, str(HERE / "floor.py"), str(plan)])

        product()  # which leaves an index, and compiled modules
        medians = self._in_turns(product, floor)
        kept = [path.stat().st_size for path in cache.rglob("*.parquet")]
        self._tell(Row(scenario.name, job.name, *medians, sum(kept)))

    def _add_naive(self, scenario: Scenario, facts: Facts) -> None:
        """The cold mosaic beside a script that downloads the series: what users do today."""
        cache = self.folder / "cache"
        command = self._product(COLD, facts, cache)
        output = str(self.folder / "naive.webp")
        script = [sys.executable, str(HERE / "naive.py"), self.s3.url, facts.folder, output]

        def product() -> Spent:
            shutil.rmtree(cache, ignore_errors=True)
            return self._run(command)

        self._tell(Row(scenario.name, "cold / download", *self._in_turns(product, lambda: self._run(script))))

    def _in_turns(self, product: Callable[[], Spent], other: Callable[[], Spent]) -> tuple[Spent, Spent]:
        other()
        pairs = [(product(), other()) for _ in range(self.rounds)]
        return median([one for one, _ in pairs]), median([two for _, two in pairs])

    def _tell(self, row: Row) -> None:
        self.rows.append(row)
        print(table_line(row), flush=True)

    def _product(self, job: Job, facts: Facts, cache: Path) -> list[str]:
        given = {"SERIES": facts.folder, "OUTPUT": str(self.folder / "picture.webp")}
        arguments = [given.get(word, word) for word in job.arguments]
        shared = ["--root", f"s3://{job.bucket}", "--cache-dir", str(cache)]
        return [sys.executable, "-m", "dicom_series_preview", *arguments, *shared]

    def _run(self, command: list[str]) -> Spent:
        return run(command, environment(self.folder, self.s3.url), self.s3)


def environment(folder: Path, endpoint: str) -> dict[str, str]:
    """Nobody's credentials, home or proxy."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(PROJECT / "shared"),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def floor_plan(job: Job, kind: Kind, facts: Facts, endpoint: str, folder: Path) -> dict[str, Any]:
    """What floor.py is told."""
    last, steps = len(facts.frames) - 1, max(job.frames - 1, 1)
    chosen = [last // 2] if job.frames == 1 else [(2 * i * last + steps) // (2 * steps) for i in range(job.frames)]
    # The product asks for 5 KiB before it knows better; the floor reads what is longer at once.
    header_bytes = max(FIRST_RANGE, facts.header_bytes + 12) if job.reads_headers else 0
    return {
        "endpoint": endpoint,
        "bucket": job.bucket,
        "folder": facts.folder,
        "connections": CONNECTIONS,
        "list": job.lists,
        "header_bytes": header_bytes,
        "frames": [facts.frames[i] for i in chosen],
        "jpeg2000": kind.transfer_syntax_uid == JPEG2000,
        "side": kind.side,
        "rescale": RESCALE,
        "windows": job.windows,
        "tile": TILE,
        "columns": job.columns,
        "rows": -(-job.frames * len(job.windows) // job.columns),
        "quality": QUALITY,
        "output": str(folder / "floor.webp"),
    }


def median(spent: list[Spent]) -> Spent:
    """The median of each quantity by itself."""
    names = Spent.__dataclass_fields__
    return Spent(**{name: statistics.median(getattr(one, name) for one in spent) for name in names})


HEADING = (
    f"{'':20}{'wall':>7}{'CPU':>7}{'ms':>8}{'floor':>7}{'CPU ms':>8}{'floor':>7}{'peak MB':>9}{'floor':>7}"
    f"{'LIST':>6}{'GET':>6}{'floor':>6}{'MB':>8}{'floor':>8}"
)


def table_line(row: Row) -> str:
    """Ratios first, then what they are of."""
    one, two = row.product, row.floor
    return (
        f"{row.job:20}{one.wall_s / two.wall_s:6.2f}x{one.cpu_s / two.cpu_s:6.2f}x"
        f"{one.wall_s * 1000:8.0f}{two.wall_s * 1000:7.0f}{one.cpu_s * 1000:8.0f}{two.cpu_s * 1000:7.0f}"
        f"{one.peak_mb:9.0f}{two.peak_mb:7.0f}{one.lists:6.0f}{one.gets:6.0f}{two.gets:6.0f}"
        f"{one.bytes / 1e6:8.2f}{two.bytes / 1e6:8.2f}"
    )


def slices(count: int, **other: Any) -> Kind:
    """Single-frame objects."""
    return Kind(count, **other)


S3_LINE = Line(0.030)


def scenarios(size: str) -> Iterator[Scenario]:
    """What is measured, by `quick`, `default` or `full`."""
    yield Scenario("300 native, 30 ms", slices(300), S3_LINE, JOBS, naive=True)
    if size == "quick":
        return
    for count in (50, 1000, 5000):
        yield Scenario(f"{count} native, 30 ms", slices(count), S3_LINE, JOBS)


def main() -> None:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="300 slices only, about a minute")
    size.add_argument("--full", action="store_true", help="every kind of series over every line")
    parser.add_argument("--rounds", type=int, help="how often product and floor take turns")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--compare", metavar="OLD", help="print this run's figures over those of an earlier one")
    options = parser.parse_args()
    chosen = "quick" if options.quick else "full" if options.full else "default"
    with tempfile.TemporaryDirectory() as scratch, s3_server() as s3:
        bench = Bench(s3, Path(scratch), options.rounds or 5)
        for scenario in scenarios(chosen):
            bench.measure(scenario)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(row) for row in bench.rows], indent=1))


if __name__ == "__main__":
    main()
