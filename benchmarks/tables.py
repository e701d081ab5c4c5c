"""Write a run's figures into docs/performance.md.

Usage: python benchmarks/tables.py RUN.json [PAGE]

RUN.json comes from `speed.py --json`. New tables replace those between the page's two marks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from conversions import START_S, of_volumes
from jobs import JOBS, WINDOWED
from speed import DOWNLOAD, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by benchmarks/tables.py -->", "<!-- end of figures -->"
_WINDOWED = {job.name for job in WINDOWED}
_GROWING = ("50 native, 30 ms", "300 native, 30 ms", "1000 native, 30 ms", "5000 native, 30 ms")

VOLUMES_BEGIN, VOLUMES_END = "<!-- volumes: written by benchmarks/tables.py -->", "<!-- end of volumes -->"

Row = dict[str, Any]


def figures(document: dict[str, Any]) -> str:
    """Return all tables of a run, but those of volumes, as Markdown."""
    rows = document["rows"]
    parts = [
        _measured_on(document),
        "### Against the floor",
        "Time / processor's time, each over the floor's.",
        table(ratios(rows)),
        "### Against a download",
        "The cold mosaic over a script that downloads all, reads it with pydicom and paints with Pillow.",
        table(downloads(rows)),
        "### Windows",
        "The warm mosaic of 300 JPEG 2000 slices under a window, over the one under the files' own.",
        table(windows(rows)),
        "### Growth",
        "Native slices at 30 ms. Processor's time is over that of 50 slices.",
        table(growth(rows)),
        "### 100,000 frames",
        table(many_frames(rows)),
        "### Start-up",
        table(start_up(rows)),
        "### What is aimed at",
        table(targets(rows)),
    ]
    return "\n\n".join(parts)


def volume_figures(document: dict[str, Any]) -> str:
    """Return the tables of volumes, as Markdown."""
    rows = document["rows"]
    return "\n\n".join((_measured_on(document), table(volumes(rows)), table(targets(rows))))


def _measured_on(document: dict[str, Any]) -> str:
    return "Measured on {processors} processors ({processor}), Python {python}.".format(**document["machine"])


def table(lines: Iterator[Sequence[str]]) -> str:
    """Format cells as Markdown, the first line as its head."""
    head, *others = lines
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *others))


def ratios(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield each scenario's jobs."""
    names = [job.name for job in JOBS]
    yield ["", *names]
    found = {(row["scenario"], row["job"]): row for row in rows}
    for scenario in dict.fromkeys(row["scenario"] for row in rows if row["slices"]):
        cells = [found.get((scenario, name)) for name in names]
        yield [
            scenario,
            *(f"{row['wall_ratio']:.1f} / {row['cpu_ratio']:.1f}" if row else "" for row in cells),
        ]


def downloads(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield the product's figures beside a plain download's."""
    yield "", "time", "processor", "bytes", "memory"
    for row in rows:
        if row["job"] == DOWNLOAD:
            one, two = row["product"], row["floor"]
            shares = (one[name] / two[name] for name in ("bytes", "peak_mb"))
            values = (row["wall_ratio"], row["cpu_ratio"], *shares)
            yield row["scenario"], *(f"{value:.2f}" for value in values)


def windows(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield the mosaic under each window beside that under the file's own."""
    yield "`--contrast`", "time", "processor"
    for row in rows:
        if row["job"] in _WINDOWED:
            window = row["job"].rpartition(" ")[2]
            yield f"`{window}`", f"{row['wall_ratio']:.2f}", f"{row['cpu_ratio']:.2f}"


def growth(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield each job over longer series."""
    yield "", "slices", "processor", "LIST", "GET", "MB", "peak MB", "index kB"
    for job in JOBS:
        found = [
            row for name in _GROWING for row in rows if (row["scenario"], row["job"]) == (name, job.name)
        ]
        for row in found:
            now, first = row["product"], found[0]["product"]
            yield (
                job.name if row is found[0] else "",
                f"{row['slices']:,}",
                f"{now['cpu_s'] / first['cpu_s']:.1f}",
                f"{now['lists']:.0f}",
                f"{now['gets']:,.0f}",
                f"{now['bytes'] / 1e6:.1f}",
                f"{now['peak_mb']:.0f}",
                f"{row['index_bytes'] / 1e3:,.0f}",
            )


def many_frames(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield the jobs on multi-frame objects."""
    yield "", "job", "processor's s", "over the floor", "peak MB", "index MB", "GET", "MB"
    for row in rows:
        if "frames" in row["scenario"]:
            now = row["product"]
            yield (
                row["scenario"],
                row["job"],
                f"{now['cpu_s']:.1f}",
                f"{row['cpu_ratio']:.1f}",
                f"{now['peak_mb']:,.0f}",
                f"{row['index_bytes'] / 1e6:.1f}",
                f"{now['gets']:,.0f}",
                f"{now['bytes'] / 1e6:.1f}",
            )


def volumes(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield conversions beside what they are compared with."""
    yield "", "slices", "time", "processor", "its s", "beside", "peak MB", "beside", "LIST", "GET", "MB"
    for row in rows:
        one, two = row["product"], row["floor"]
        yield (
            f"{row['scenario']}: {row['job']}",
            f"{row['slices']:,}",
            f"{row['wall_ratio']:.1f}",
            f"{row['cpu_ratio']:.1f}",
            *(f"{spent['cpu_s']:.2f}" for spent in (one, two)),
            *(f"{spent['peak_mb']:,.0f}" for spent in (one, two)),
            f"{one['lists']:,.0f}",
            f"{one['gets']:,.0f}",
            f"{one['bytes'] / 1e6:.1f}",
        )


def start_up(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield the jobs without a series."""
    yield "", "ms", "processor's ms", "over `python -c pass`"
    for row in rows:
        if not row["slices"]:
            now = row["product"]
            milliseconds = (f"{now[name] * 1000:.0f}" for name in ("wall_s", "cpu_s"))
            yield f"`{row['job']}`", *milliseconds, f"{row['cpu_ratio']:.1f}"


def targets(rows: list[Row]) -> Iterator[Sequence[str]]:
    """Yield the targets and the results."""
    words = {
        "wall_ratio": "time over the floor's",
        "cpu_ratio": "processor's time over the other's",
        "cpu_ratio_beside_start": f"processor's time but {START_S:g} s, over the floor's",
        "cpu_s": "processor's s",
        "peak_mb": "peak MB",
        "peak_ratio": "peak memory over the other's",
        "wall_ms": "ms",
    }
    found = {(row["scenario"], row["job"]): row for row in rows}
    yield "", "at most", "is", ""
    for scenario, job, quantity, most in TARGETS:
        row = found.get((scenario, job))
        if row:
            value = row[quantity]
            is_met = "met" if value <= most else "not met"
            of = "time over that without" if job in _WINDOWED else words[quantity]
            yield f"{scenario}, {job}: {of}", f"{most:g}", f"{value:.3g}", is_met


def main(run: Path, page: Path = PAGE) -> None:
    """Replace the page's figures, of what the run has measured."""
    document = json.loads(run.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    ours = of_volumes(document["rows"])
    others = [row for row in document["rows"] if row not in ours]
    if any(row["slices"] for row in others):
        text = _replaced(text, (BEGIN, END), figures({**document, "rows": others}))
    if ours:
        text = _replaced(text, (VOLUMES_BEGIN, VOLUMES_END), volume_figures({**document, "rows": ours}))
    page.write_text(text, encoding="utf-8")


def _replaced(text: str, marks: tuple[str, str], figures: str) -> str:
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise SystemExit(f"the page has no marks {' '.join(marks)} to put figures between")
    return f"{before}{begin}\n\n{figures}\n\n{end}{after}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
