"""The conversions to measure: their series, their command lines, their floor; a part of speed.py."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from jobs import BUCKET, S3_LINE
from kinds import JPEG2000, NATIVE, RESCALE, Kind, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kinds import Facts
    from process import Spent
    from speed import Bench

HERE = Path(__file__).parent
FORMATS = ("zarr", "nii", "nii.gz", "npz")
LOCAL, REMOTE, DECODED = "volume, local", "volume, 30 ms", "volume, JPEG 2000"
PROOF, LONG = "proof", "3,000 over 300 slices"
# What a process needs before its first slice and after its last, in a processor's seconds.
START_S = 0.6
TARGETS = (
    (LOCAL, "zarr", "cpu_ratio_beside_start", 1.5),
    (LOCAL, "nii", "cpu_s", 1.2),
    (LOCAL, "nii.gz", "cpu_s", 1.8),
    (LOCAL, "npz", "cpu_s", 6.0),
    (LOCAL, "zarr", "peak_mb", 250.0),
    (REMOTE, "zarr", "peak_mb", 250.0),
    (LOCAL, PROOF, "cpu_ratio", 1.5),
    (REMOTE, "zarr", "wall_ratio", 1.5),
    (DECODED, "zarr", "cpu_ratio", 1.2),
    (REMOTE, LONG, "peak_ratio", 1.1),
)
# Requests at once, as the product has; as many frames wait for their turn.
_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Conversions:
    """Conversions of one series.

    Attributes:
        name: The scenario's name in the tables.
        kind: The series.
        formats: The formats.
        is_local: The series lies in a folder, else in S3; there its index is kept, here made each time.
        line: The line to S3.
        has_proof: The conversion to Zarr is also compared with one whose file is not read back.
        long: How many slices a longer series has whose peak memory is compared; 0 for none.
        rounds: The number of turns of product and floor.
    """

    name: str
    kind: Kind
    formats: tuple[str, ...] = FORMATS
    is_local: bool = False
    line: Line = S3_LINE
    has_proof: bool = False
    long: int = 0
    rounds: int = 3


def conversions(size: str) -> Iterator[Conversions]:
    """Yield the conversions to measure, by `quick`, `default` or `full`."""
    rounds = {"quick": 2, "default": 3, "full": 7}[size]
    formats = FORMATS[:1] if size == "quick" else FORMATS
    kind = Kind(300, is_volume=True)
    yield Conversions(LOCAL, kind, formats, is_local=True, has_proof=size != "quick", rounds=rounds)
    long = 0 if size == "quick" else 3000
    yield Conversions(REMOTE, kind, formats, long=long, rounds=rounds)
    if size != "quick":
        kind = Kind(300, is_volume=True, transfer_syntax_uid=JPEG2000)
        yield Conversions(DECODED, kind, FORMATS[:1], is_local=True, rounds=rounds)


def measure(bench: Bench, one: Conversions) -> None:
    """Measure conversions, and print each result."""
    facts = bench.loaded(one.name, one.kind, one.line)
    source = _Source(bench, one, facts)
    for name in one.formats:
        # Of a compressed source, the floor decodes and writes nothing.
        done = name if one.kind.transfer_syntax_uid == NATIVE else "nothing"
        bench.compare(
            (one.name, name, len(facts.frames)),
            lambda n=name: source.product(n),
            lambda n=done: source.floor(n),
            one.rounds,
        )
    if one.has_proof:
        bench.compare(
            (one.name, PROOF, len(facts.frames)),
            lambda: source.product("zarr"),
            lambda: source.product("zarr", "--verify", "0"),
            one.rounds,
        )
    if one.long:
        _measure_growth(bench, one)


def _measure_growth(bench: Bench, one: Conversions) -> None:
    """Compare a long series with a short one; each once, as memory varies little."""
    spent: list[Spent] = []
    for kind in (one.kind, Kind(one.long, one.kind.frames, one.kind.side, is_volume=True)):
        facts = bench.s3.load(kind)
        bench.s3.set_line(Line())
        source = _Source(bench, one, facts)
        # The first run leaves an index.
        bench.run(source.command("volumes"))
        spent.append(source.product("zarr"))
    bench.tell((one.name, LONG, one.long), [(spent[1], spent[0])])


class _Source:
    """A series to convert.

    Args:
        bench: Runs processes.
        one: The scenario.
        facts: What is known of the series.
    """

    def __init__(self, bench: Bench, one: Conversions, facts: Facts) -> None:
        self._bench, self._one, self._facts = bench, one, facts
        self._root = bench.folder / "series"
        self._output = bench.folder / "volume"
        if one.is_local:
            self._download()

    def _download(self) -> None:
        folder = self._root / self._facts.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in {name for name, _, _ in self._facts.frames}:
            with (
                urlopen(f"{self._bench.s3.url}/{BUCKET}/{self._facts.folder}/{name}") as answer,  # noqa: S310
                (folder / name).open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)

    def product(self, name: str, *options: str) -> Spent:
        """Convert the series."""
        return self._bench.run(self.command("convert", str(self._path(name)), *options))

    def command(self, verb: str, *more: str) -> list[str]:
        """Return the product's command line."""
        root = str(self._root) if self._one.is_local else f"s3://{BUCKET}"
        kept = ["--no-cache"] if self._one.is_local else ["--cache-dir", str(self._bench.cache)]
        words = [verb, self._facts.folder, *more, "--root", root, *kept, "--quiet"]
        return [sys.executable, "-m", "dicom_series_preview", *words]

    def floor(self, name: str) -> Spent:
        """Do the same and nothing else."""
        path = self._path(name)
        plan = self._bench.folder / "plan.json"
        plan.write_text(json.dumps(self._plan(name, path)), encoding="utf-8")
        return self._bench.run([sys.executable, str(HERE / "volume_floor.py"), str(plan)])

    def _path(self, name: str) -> Path:
        """Return where to write, where nothing is any more."""
        path = self._output.with_name(f"volume.{name}")
        for old in (path, self._output.with_name("volume.json")):
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        return path

    def _plan(self, name: str, path: Path) -> dict[str, Any]:
        where: dict[str, Any] = {"endpoint": self._bench.s3.url, "bucket": BUCKET}
        kind = self._one.kind
        return {
            **({"root": str(self._root)} if self._one.is_local else where),
            "folder": self._facts.folder,
            "frames": self._facts.frames,
            "connections": _CONNECTIONS,
            "jpeg2000": kind.transfer_syntax_uid == JPEG2000,
            "side": kind.side,
            "intercept": int(RESCALE[1]),
            "format": name,
            "output": str(path),
        }


def of_volumes(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of conversions."""
    return [row for row in rows if row["scenario"] in (LOCAL, REMOTE, DECODED)]
