"""The benchmark of conversions: its floor writes what the product writes, with the same requests."""

import dataclasses
import gzip
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import conversions as volumes
import numpy as np
import obstore
import pytest
import speed
import zarr
from conversions import DECODED, FORMATS, LONG, PROOF, REMOTE, TARGETS, Conversions, conversions
from kinds import JPEG2000, Kind, Line
from numpy.typing import NDArray
from obstore.store import S3Store
from s3_server import S3, s3_server

# A slab and a part of one.
SMALL = Kind(70, side=64, is_volume=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


class Seeing(speed.Bench):
    """A benchmark that takes the digest of what each run has written, and removes it."""

    seen: ClassVar[list[str]] = []

    def run(self, command: list[str]) -> speed.Spent:
        """Run a process, and look at what it has written."""
        spent = super().run(command)
        self.seen.append(digest(self.folder))
        return spent


@pytest.fixture
def bench(s3: S3, tmp_path: Path) -> Seeing:
    Seeing.seen.clear()
    return Seeing(s3, tmp_path, rounds=1)


def digest(folder: Path) -> str:
    """Return the digest of the values in the only output, in the order of its source; empty without one."""
    found = [path for name in FORMATS for path in folder.glob(f"volume.{name}")]
    if not found:
        return ""
    (path,) = found
    if path.is_dir():
        data = np.asarray(zarr.open_array(path / "volume", mode="r"))
        shutil.rmtree(path)
    else:
        data = np.load(path)["data"] if path.suffix == ".npz" else nifti(path)
        path.unlink()
    assert data.shape[1:] == (SMALL.side, SMALL.side)
    assert data.std() > 20
    return hashlib.sha256(np.ascontiguousarray(data, "<f4").tobytes()).hexdigest()


def nifti(path: Path) -> NDArray[np.int16]:
    """Return the values behind a header, which the floor leaves empty."""
    whole = path.read_bytes()
    whole = gzip.decompress(whole) if path.suffix == ".gz" else whole
    return np.frombuffer(whole, "<i2", offset=352).reshape(-1, SMALL.side, SMALL.side)


@pytest.mark.parametrize("is_local", [True, False], ids=["local", "S3"])
@pytest.mark.parametrize("name", FORMATS)
def test_floor_writes_the_same(bench: Seeing, name: str, *, is_local: bool) -> None:
    """The floor writes the values that the product writes, of the same frames."""
    one = Conversions("tiny", SMALL, (name,), is_local=is_local, line=Line())
    volumes.measure(bench, one)
    assert len(bench.seen) == 4
    assert len(set(bench.seen)) == 1
    assert bench.seen[0]
    (row,) = bench.rows
    # One listing, and each frame once; a folder's files are not counted.
    asked = [(spent.lists, spent.gets) for spent in (row.product, row.floor)]
    assert asked == [(0, 0) if is_local else (1, 70)] * 2
    assert row.product.bytes == row.floor.bytes == (0 if is_local else 70 * 64 * 64 * 2)


def test_compressed_source_is_measured_beside_decoding_alone(bench: Seeing) -> None:
    """Of a JPEG 2000 series, the floor decodes and writes nothing."""
    kind = dataclasses.replace(SMALL, transfer_syntax_uid=JPEG2000)
    volumes.measure(bench, Conversions("tiny", kind, ("zarr",), is_local=True, line=Line()))
    assert [bool(one) for one in bench.seen] == [True, False] * 2


def test_proof_and_growth_are_measured(bench: Seeing) -> None:
    """The proof is beside none, and a long series beside a short one."""
    one = Conversions("tiny", SMALL, (), line=Line(), has_proof=True, long=140)
    volumes.measure(bench, one)
    assert [(row.job, row.slices) for row in bench.rows] == [(PROOF, 70), (LONG, 140)]
    assert bench.rows[1].product.gets == 2 * bench.rows[1].floor.gets == 140
    assert bench.rows[1].document()["peak_ratio"] > 0.5


def test_neighbours_of_a_volume_differ(s3: S3) -> None:
    """No two of 24 slices that follow each other are equal: a codec would gain from what no patient has."""
    facts = s3.load(SMALL)
    config = {"region": "us-east-1", "skip_signature": True, "endpoint": s3.url}
    store = S3Store("any", config=config, client_options={"allow_http": True})
    pixels = {
        bytes(obstore.get_range(store, f"{facts.folder}/{name}", start=start, end=end))
        for name, start, end in facts.frames[:24]
    }
    assert len(pixels) == 24


def test_the_usual_run_measures_what_is_aimed_at() -> None:
    """Each target of conversions is measured by the usual run, and belongs to the printed ones."""
    measured = {(one.name, name) for one in conversions("default") for name in one.formats}
    measured |= {(one.name, PROOF) for one in conversions("default") if one.has_proof}
    measured |= {(one.name, LONG) for one in conversions("default") if one.long}
    assert {(scenario, job) for scenario, job, _, _ in TARGETS} <= measured
    assert set(TARGETS) <= set(speed.TARGETS)
    assert [one.name for one in conversions("quick")] == ["volume, local", REMOTE]
    assert DECODED in {one.name for one in conversions("default")}
