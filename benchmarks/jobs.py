"""The jobs to measure: command lines, their series, and their floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kinds import JPEG2000, RESCALE, WINDOW, Facts, Kind, Line

if TYPE_CHECKING:
    from collections.abc import Iterator

# One of the product's own public buckets, whose objects never change; any other is listed each time.
IMMUTABLE_BUCKET, BUCKET = "idc-open-data", "bench"
# The floor's connections. More do not help: 5,000 headers at 30 ms take 2.6 s with 64, 0.9 s with 256 and 0.7
# s with 1,024, which wait for the processor.
CONNECTIONS = 512
# The least to request of a header.
FIRST_RANGE = 5 * 1024
TILE, SIDE_TILES, QUALITY = 128, 6, 25
CONTRASTS = {"lung": (1500.0, -500.0), "abdomen": (350.0, 50.0), "bone": (2000.0, 300.0)}


@dataclass(frozen=True, slots=True)
class Job:
    """A command line, and the work of its floor.

    Attributes:
        name: The name in the tables.
        arguments: The product's; SERIES and OUTPUT are filled in.
        starts_cold: No index is cached when it begins.
        bucket: The series' bucket.
        lists: The listing has to be requested.
        reads_headers: Every header has to be read.
        columns: The grid's columns.
        frames: The number of shown frames.
        windows: The windows of each: width and center.
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
_TILES = SIDE_TILES * SIDE_TILES
COLD = Job("mosaic, cold", _MOSAIC, starts_cold=True, reads_headers=True, columns=SIDE_TILES, frames=_TILES)
WARM = Job("mosaic, warm", _MOSAIC, columns=SIDE_TILES, frames=_TILES)
IMMUTABLE = Job(
    "mosaic, immutable", _MOSAIC, bucket=IMMUTABLE_BUCKET, lists=False, columns=SIDE_TILES, frames=_TILES
)
IMAGE = Job("image, warm", ("get-image", "SERIES", "OUTPUT", "--position", "0.5"), frames=1)
CONTRAST = Job(
    "contrasts, warm",
    ("contrast-mosaic", "SERIES", "OUTPUT", *(word for name in CONTRASTS for word in ("--contrast", name))),
    columns=len(CONTRASTS),
    frames=2,
    windows=tuple(CONTRASTS.values()),
)
INDEX = Job("index", ("build-index", "SERIES"), starts_cold=True, reads_headers=True)
JOBS = (COLD, WARM, IMMUTABLE, IMAGE, CONTRAST, INDEX)

# The scenario of the warm mosaic under windows, none of which may slow it down.
WINDOWED_SCENARIO = "300 JPEG 2000, 30 ms"
WINDOWS = ((80, 40), (150, 30), (350, 50), (400, 40), (1500, -500), (2000, 300), (3000, 500), (4000, 0))
WINDOWED = tuple(
    Job(
        f"mosaic, {width}/{center}",
        (*_MOSAIC, "--contrast", f"{width}/{center}"),
        columns=SIDE_TILES,
        frames=_TILES,
        windows=((width, center),),
    )
    for width, center in WINDOWS
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A series over a line, and the jobs measured on it.

    Attributes:
        name: The name in the tables.
        kind: The series.
        line: The line.
        jobs: The jobs.
        has_download: The cold mosaic is also compared with downloading the series.
        has_windows: The warm mosaic under windows is compared with itself under the file's own window.
        rounds: The number of turns of product and floor.
    """

    name: str
    kind: Kind
    line: Line
    jobs: tuple[Job, ...]
    has_download: bool = False
    has_windows: bool = False
    rounds: int = 3


S3_LINE = Line(0.030)
_FRAMES = 100_000


def scenarios(size: str) -> Iterator[Scenario]:
    """Yield the scenarios to measure, by `quick`, `default` or `full`."""
    rounds = 7 if size == "full" else 3
    yield Scenario("300 native, 30 ms", Kind(300), S3_LINE, JOBS, has_download=True, rounds=rounds + 2)
    if size == "quick":
        return
    for count in (50, 1000, 5000):
        yield Scenario(f"{count} native, 30 ms", Kind(count), S3_LINE, JOBS, rounds=rounds)
    for milliseconds in (0, 10, 100):
        line = Line(milliseconds / 1000)
        yield Scenario(f"300 native, {milliseconds} ms", Kind(300), line, (COLD, WARM), rounds=rounds)
    line = Line(S3_LINE.latency_s, 100e6)
    jobs: tuple[Job, ...] = (COLD, WARM)
    yield Scenario("300 native, 30 ms, 100 MB/s", Kind(300), line, jobs, has_download=True, rounds=rounds)
    jobs = (COLD, WARM, IMAGE) if size == "default" else JOBS
    for count in (300,) if size == "default" else (50, 300, 1000, 5000):
        kind = Kind(count, transfer_syntax_uid=JPEG2000)
        name = f"{count} JPEG 2000, 30 ms"
        yield Scenario(name, kind, S3_LINE, jobs, has_windows=name == WINDOWED_SCENARIO, rounds=rounds)
        kind = Kind(count, private_bytes=130_000)
        yield Scenario(f"{count} long headers, 30 ms", kind, S3_LINE, (COLD, WARM, INDEX), rounds=rounds)
    for objects in (1000, 1):
        kind = Kind(objects, frames=_FRAMES // objects, side=64)
        name = f"{objects} x {kind.frames} frames, 30 ms"
        yield Scenario(name, kind, S3_LINE, (INDEX, WARM), rounds=rounds // 2 + 1)


def floor_plan(job: Job, kind: Kind, facts: Facts, endpoint: str, output: str) -> dict[str, Any]:
    """Build the plan for floor.py."""
    last, steps = len(facts.frames) - 1, max(job.frames - 1, 1)
    spread = [(2 * i * last + steps) // (2 * steps) for i in range(job.frames)]
    chosen = [last // 2] if job.frames == 1 else sorted(set(spread))
    # The product requests 16 KiB before it knows better; the floor knows.
    longest = max(FIRST_RANGE, facts.header_bytes)
    return {
        "endpoint": endpoint,
        "bucket": job.bucket,
        "folder": facts.folder,
        "connections": CONNECTIONS,
        "list": job.lists,
        "header_bytes": longest if job.reads_headers else 0,
        "frames": [facts.frames[i] for i in chosen],
        "jpeg2000": kind.transfer_syntax_uid == JPEG2000,
        "side": kind.side,
        "rescale": RESCALE,
        "windows": job.windows,
        "tile": TILE,
        "columns": job.columns,
        "rows": -(-job.frames * len(job.windows) // job.columns),
        "quality": QUALITY,
        "output": output,
    }
