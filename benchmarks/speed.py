"""Measure the speed of the whole path, against a floor below all programs and against a plain download.

Usage: python benchmarks/speed.py [--quick | --full] [--json FILE] [--compare OLD.json]      or `make bench`

Every figure covers a process from its start to its end, from os.wait4. Product and floor take turns, and the
ratios are medians over the turns, so that they hold on a busy machine where seconds do not.
docs/performance.md describes the measurements and their results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
PROJECT = HERE.parent
sys.path.insert(0, str(HERE))

from conversions import START_S, conversions
from conversions import TARGETS as VOLUME_TARGETS
from conversions import measure as measure_volumes
from jobs import COLD, WARM, WINDOWED, WINDOWED_SCENARIO, Job, Scenario, floor_plan, scenarios
from process import Spent, median, run
from s3_server import S3, s3_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinds import Facts, Kind, Line

DOWNLOAD = "cold / download"
TARGETS = (
    ("300 native, 30 ms", "mosaic, cold", "wall_ratio", 1.5),
    ("300 native, 30 ms", "mosaic, warm", "wall_ratio", 1.5),
    ("5000 native, 30 ms", "mosaic, cold", "wall_ratio", 2.0),
    ("5000 native, 30 ms", "mosaic, warm", "wall_ratio", 2.0),
    ("300 native, 30 ms", "mosaic, warm", "peak_mb", 250.0),
    ("5000 native, 30 ms", "mosaic, cold", "peak_mb", 400.0),
    ("start-up", "--help", "wall_ms", 150.0),
    *((WINDOWED_SCENARIO, job.name, "wall_ratio", 1.1) for job in WINDOWED),
    *VOLUME_TARGETS,
)


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one job.

    Attributes:
        scenario: The scenario's name.
        job: The job's name.
        slices: The series' slices.
        product: Medians of the product.
        floor: Medians of the floor, or of another comparison.
        wall_ratio: Median over the turns of the product's time over the other's.
        cpu_ratio: The same for CPU time.
        index_bytes: The index's size, if one is cached.
    """

    scenario: str
    job: str
    slices: int
    product: Spent
    floor: Spent
    wall_ratio: float
    cpu_ratio: float
    index_bytes: int = 0

    @classmethod
    def of(cls, scenario: str, job: str, slices: int, turns: list[tuple[Spent, Spent]]) -> Row:
        """Build the row of some turns."""
        return cls(
            scenario=scenario,
            job=job,
            slices=slices,
            product=median([one for one, _ in turns]),
            floor=median([two for _, two in turns]),
            wall_ratio=statistics.median(one.wall_s / two.wall_s for one, two in turns),
            cpu_ratio=statistics.median(one.cpu_s / two.cpu_s for one, two in turns),
        )

    def document(self) -> dict[str, Any]:
        """Return the row for a file, and for targets."""
        one, two = self.product, self.floor
        return {
            **asdict(self),
            "peak_mb": one.peak_mb,
            "peak_ratio": one.peak_mb / two.peak_mb,
            "wall_ms": one.wall_s * 1000,
            "cpu_s": one.cpu_s,
            "cpu_ratio_beside_start": (one.cpu_s - START_S) / two.cpu_s,
        }


@dataclass(slots=True)
class Bench:
    """Measures scenarios.

    Attributes:
        s3: The server.
        folder: A scratch folder.
        rounds: Overrides the scenarios' own.
        rows: The results.
    """

    s3: S3
    folder: Path
    rounds: int | None = None
    rows: list[Row] = field(default_factory=list)

    def start_up(self) -> None:
        """Measure a process that does nothing."""
        print(f"start-up, beside `python -c pass`\n{HEADING}", flush=True)
        nothing = [sys.executable, "-c", "pass"]
        for word in ("--help", "--version"):
            command = [sys.executable, "-m", "dicom_series_preview", word]
            turns = self._turns(lambda c=command: self.run(c), lambda: self.run(nothing), 9)
            self._tell(Row.of("start-up", word, 0, turns))

    def measure(self, scenario: Scenario) -> None:
        """Measure a scenario's jobs, and print each result."""
        facts = self.loaded(scenario.name, scenario.kind, scenario.line)
        for job in scenario.jobs:
            plan = floor_plan(job, scenario.kind, facts, self.s3.url, str(self.folder / "floor.webp"))
            (self.folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
            self._compare(scenario, job, facts, _script("floor.py", str(self.folder / "plan.json")))
        if scenario.has_download:
            script = _script("download.py", self.s3.url, facts.folder, str(self.folder / "download.webp"))
            self._compare(scenario, COLD, facts, script, DOWNLOAD)
        if scenario.has_windows:
            print("under windows, beside the file's own", flush=True)
            for job in WINDOWED:
                self._compare(scenario, job, facts, self._product(WARM, facts))

    def loaded(self, name: str, kind: Kind, line: Line) -> Facts:
        """Serve a scenario's series, and print its heading."""
        facts = self.s3.load(kind)
        self.s3.set_line(line)
        megabytes = facts.total_bytes / 1e6
        print(f"\n{name}: {len(facts.frames)} slices, {megabytes:.0f} MB\n{HEADING}", flush=True)
        return facts

    def _compare(
        self, scenario: Scenario, job: Job, facts: Facts, other: list[str], name: str | None = None
    ) -> None:
        """Let the product and another command take turns."""
        cache = self.cache
        shutil.rmtree(cache, ignore_errors=True)
        command = self._product(job, facts)

        def product() -> Spent:
            if job.starts_cold:
                shutil.rmtree(cache, ignore_errors=True)
            return self.run(command)

        what = scenario.name, name or job.name, len(facts.frames)
        self.compare(what, product, lambda: self.run(other), scenario.rounds)

    def compare(
        self,
        what: tuple[str, str, int],
        product: Callable[[], Spent],
        other: Callable[[], Spent],
        rounds: int,
    ) -> None:
        """Let the product and something else take turns, and tell the result.

        Args:
            what: The scenario, the job, the slices.
            product: Runs the product.
            other: Runs the other.
            rounds: How often, unless the user has said so.
        """
        self.tell(what, self._turns(product, other, self.rounds or rounds))

    def tell(self, what: tuple[str, str, int], turns: list[tuple[Spent, Spent]]) -> None:
        """Keep and print a result."""
        row = Row.of(*what, turns)
        kept = sum(path.stat().st_size for path in self.cache.rglob("*.parquet"))
        self._tell(Row(**{n: getattr(row, n) for n in Row.__slots__ if n != "index_bytes"}, index_bytes=kept))

    def _turns(
        self, product: Callable[[], Spent], other: Callable[[], Spent], rounds: int
    ) -> list[tuple[Spent, Spent]]:
        # The first run leaves an index, compiled modules, and files in the system's memory.
        product(), other()
        return [(product(), other()) for _ in range(rounds)]

    def _tell(self, row: Row) -> None:
        self.rows.append(row)
        print(table_line(row), flush=True)

    @property
    def cache(self) -> Path:
        """The folder of indexes."""
        return self.folder / "cache"

    def _product(self, job: Job, facts: Facts) -> list[str]:
        given = {"SERIES": facts.folder, "OUTPUT": str(self.folder / "picture.webp")}
        arguments = [given.get(word, word) for word in job.arguments]
        shared = ["--root", f"s3://{job.bucket}", "--cache-dir", str(self.cache)]
        return [sys.executable, "-m", "dicom_series_preview", *arguments, *shared]

    def run(self, command: list[str]) -> Spent:
        """Run a process without anyone's credentials, home or proxy."""
        environment = {
            "PATH": os.environ["PATH"],
            **{name: value for name, value in os.environ.items() if name.startswith("DICOM_SERIES_PREVIEW_")},
            "HOME": str(self.folder),
            "PYTHONPATH": str(PROJECT / "shared"),
            "AWS_ENDPOINT_URL": self.s3.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return run(command, environment, self.s3)


def _script(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / name), *arguments]


HEADING = (
    f"{'':20}{'wall':>7}{'CPU':>7}{'ms':>8}{'floor':>7}{'CPU ms':>8}{'floor':>7}{'peak MB':>9}{'floor':>7}"
    f"{'LIST':>6}{'GET':>6}{'floor':>6}{'MB':>8}{'floor':>8}{'index kB':>10}"
)


def table_line(row: Row) -> str:
    """Format ratios first, then the figures behind them."""
    one, two = row.product, row.floor
    return (
        f"{row.job:20}{row.wall_ratio:6.2f}x{row.cpu_ratio:6.2f}x"
        f"{one.wall_s * 1000:8.0f}{two.wall_s * 1000:7.0f}{one.cpu_s * 1000:8.0f}{two.cpu_s * 1000:7.0f}"
        f"{one.peak_mb:9.0f}{two.peak_mb:7.0f}{one.lists:6.0f}{one.gets:6.0f}{two.gets:6.0f}"
        f"{one.bytes / 1e6:8.2f}{two.bytes / 1e6:8.2f}{row.index_bytes / 1e3:10.0f}"
    )


def print_growth(rows: list[Row]) -> None:
    """Print each job's cost for longer series, relative to the shortest."""
    by_job: dict[str, list[Row]] = {}
    for row in rows:
        if row.scenario == f"{row.slices} native, 30 ms" and row.job != DOWNLOAD:
            by_job.setdefault(row.job, []).append(row)
    if any(len(found) > 1 for found in by_job.values()):
        print(f"\ngrowth{'':14}{'slices':>8}{'wall':>8}{'CPU':>8}{'peak':>8}{'requests':>10}{'bytes':>8}")
    for job, found in by_job.items():
        found.sort(key=lambda row: row.slices)
        first = found[0].product
        for row in found[1:]:
            now = row.product
            requests = (now.lists + now.gets) / (first.lists + first.gets)
            print(
                f"{job:20}{row.slices / found[0].slices:7.0f}x{now.wall_s / first.wall_s:7.1f}x"
                f"{now.cpu_s / first.cpu_s:7.1f}x{now.peak_mb / first.peak_mb:7.1f}x{requests:9.1f}x"
                f"{now.bytes / max(first.bytes, 1):7.1f}x"
            )


def print_targets(rows: list[Row]) -> None:
    """Print the targets, and whether they were reached."""
    print()
    found = {(row.scenario, row.job): row.document() for row in rows}
    for scenario, job, quantity, most in TARGETS:
        if (scenario, job) in found:
            value = found[scenario, job][quantity]
            verdict = "met" if value <= most else "MISSED"
            print(f"{verdict:8}{scenario}, {job}: {quantity} {value:.2f}, at most {most}")


def print_comparison(rows: list[Row], old: list[dict[str, Any]]) -> None:
    """Print this run's figures relative to an earlier one's."""
    before = {(row["scenario"], row["job"]): row for row in old}
    print(f"\n{'new / old':45}{'wall/floor':>11}{'CPU/floor':>11}{'CPU':>8}{'peak':>8}{'GET':>8}{'bytes':>8}")
    for row in rows:
        earlier = before.get((row.scenario, row.job))
        if earlier is None:
            continue
        one, two = asdict(row.product), earlier["product"]
        ratios = [row.wall_ratio / earlier["wall_ratio"], row.cpu_ratio / earlier["cpu_ratio"]]
        ratios += [one[name] / max(two[name], 1e-9) for name in ("cpu_s", "peak_mb")]
        ratios += [one[name] / two[name] if two[name] else 1.0 for name in ("gets", "bytes")]
        cells = "".join(
            f"{ratio:{width}.2f}" for ratio, width in zip(ratios, (11, 11, 8, 8, 8, 8), strict=True)
        )
        print(f"{row.scenario + ', ' + row.job:45}{cells}")


def machine() -> dict[str, Any]:
    """Describe the machine behind the seconds."""
    return {
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }


def main() -> None:
    """Measure, print, compare."""
    usage, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=usage, epilog=details.rpartition("\n\n")[2])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="300 slices only: about a minute")
    size.add_argument("--full", action="store_true", help="every kind of series, more turns: about an hour")
    parser.add_argument("--only", metavar="TEXT", default="", help="scenarios with this in their names")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often product and floor take turns")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures")
    parser.add_argument(
        "--compare", metavar="OLD", type=Path, help="an earlier run's --json, to compare with"
    )
    options = parser.parse_args()
    old = json.loads(options.compare.read_text(encoding="utf-8"))["rows"] if options.compare else []
    chosen = "quick" if options.quick else "full" if options.full else "default"
    with tempfile.TemporaryDirectory() as scratch, s3_server() as s3:
        bench = Bench(s3, Path(scratch), options.rounds)
        bench.start_up()
        for scenario in scenarios(chosen):
            if options.only in scenario.name:
                bench.measure(scenario)
        for one in conversions(chosen):
            if options.only in one.name:
                measure_volumes(bench, one)
    print_growth(bench.rows)
    print_targets(bench.rows)
    if old:
        print_comparison(bench.rows, old)
    if options.json:
        document = {"machine": machine(), "rows": [row.document() for row in bench.rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
