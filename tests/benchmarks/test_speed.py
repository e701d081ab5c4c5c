"""The benchmark: its server is S3 to a client, its series are DICOM, its floor does what the product does."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import obstore
import pytest
import speed
from jobs import (
    COLD,
    CONTRAST,
    FIRST_RANGE,
    IMAGE,
    IMMUTABLE,
    INDEX,
    JOBS,
    WARM,
    WINDOWED,
    Scenario,
    scenarios,
)
from kinds import JPEG2000, NATIVE, Kind, Line
from obstore.exceptions import GenericError, PreconditionError
from obstore.store import S3Store
from PIL import Image
from pydicom import dcmread
from s3_server import S3, s3_server

from dicom_series_preview.archive.index.asking import FIRST_RANGE_BYTES

COUNT = 40
SMALL = Kind(COUNT, side=64)
# Objects that the product does not rather read whole.
USUAL = Kind(COUNT)
NO_LINE = Line()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


def store_of(s3: S3) -> S3Store:
    config = {"region": "us-east-1", "skip_signature": True, "endpoint": s3.url}
    return S3Store("any", config=config, client_options={"allow_http": True}, retry_config={"max_retries": 0})


@pytest.fixture
def bench(s3: S3, tmp_path: Path) -> speed.Bench:
    s3.set_line(NO_LINE)
    return speed.Bench(s3, tmp_path, rounds=1)


# --- the server


def test_listing_has_pages(s3: S3) -> None:
    """1001 objects are two pages, in order and whole, and one folder to who asks for folders."""
    facts = s3.load(Kind(1001, side=8))
    s3.counts()
    found = [meta for page in obstore.list(store_of(s3), prefix=facts.folder) for meta in page]
    assert len({meta["path"] for meta in found}) == 1001
    assert sum(meta["size"] for meta in found) == facts.total_bytes
    assert s3.counts() == {"LIST": 2}
    assert obstore.list_with_delimiter(store_of(s3))["common_prefixes"] == [facts.folder]


def test_ranges_are_those_of_the_object(s3: S3) -> None:
    """Any range is cut out of the whole object, across its pieces, and requests and bytes are counted."""
    facts = s3.load(SMALL)
    store = store_of(s3)
    path = next(meta["path"] for page in obstore.list(store, prefix=facts.folder) for meta in page)
    whole = bytes(obstore.get(store, path).bytes())
    s3.counts()
    wanted = [(0, 10), (300, 5120), (facts.header_bytes - 5, facts.header_bytes + 20), (5, len(whole))]
    for start, end in wanted:
        assert bytes(obstore.get_range(store, path, start=start, end=end)) == whole[start:end]
    assert s3.counts() == {"GET": 4, "bytes": sum(end - start for start, end in wanted)}
    assert obstore.head(store, path)["size"] == len(whole)


def test_refusals(s3: S3) -> None:
    """An object that is not there, one of another version, and a range behind the end are refused."""
    facts = s3.load(SMALL)
    store = store_of(s3)
    path = f"{facts.folder}/{facts.frames[0][0]}"
    s3.counts()
    with pytest.raises(FileNotFoundError):
        obstore.get(store, f"{facts.folder}/nothing")
    with pytest.raises(PreconditionError):
        obstore.get(store, path, options={"if_match": '"another"'})
    with pytest.raises(GenericError):
        obstore.get_range(store, path, start=10**9, end=10**9 + 1)
    assert s3.counts()["refused"] == 3


@pytest.mark.parametrize(("line", "at_least_s"), [(Line(0.1), 0.1), (Line(0.0, 100_000), 0.08)])
def test_line_delays(s3: S3, line: Line, at_least_s: float) -> None:
    """No answer comes before the line's latency, nor before its bytes have passed."""
    facts = s3.load(SMALL)
    s3.set_line(line)
    name, start, end = facts.frames[0]
    store = store_of(s3)
    started = time.perf_counter()
    obstore.get_range(store, f"{facts.folder}/{name}", start=start, end=end)
    assert time.perf_counter() - started >= at_least_s
    s3.set_line(NO_LINE)


# --- the series


@pytest.mark.parametrize(
    "kind",
    [
        SMALL,
        Kind(6, side=64, transfer_syntax_uid=JPEG2000),
        Kind(6, side=64, private_bytes=130_000),
        Kind(3, frames=7, side=64),
    ],
    ids=["native", "JPEG 2000", "long headers", "multi-frame"],
)
def test_series_is_dicom(s3: S3, kind: Kind) -> None:
    """Another reader finds in each object the frames at the places that the floor is told."""
    facts = s3.load(kind)
    store = store_of(s3)
    assert len(facts.frames) == kind.objects * kind.frames
    uids, heights = set(), []
    for number, (name, start, end) in enumerate(facts.frames):
        data = bytes(obstore.get(store, f"{facts.folder}/{name}").bytes())
        dataset = dcmread(BytesIO(data))
        frame = number % kind.frames
        samples = dataset.pixel_array.reshape(kind.frames, kind.side, kind.side)[frame]
        if kind.transfer_syntax_uid == NATIVE:
            assert data[start:end] == samples.tobytes()
        else:
            assert data[start : start + 8] == b"\xfe\xff\x00\xe0" + (end - start - 8).to_bytes(4, "little")
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        plane = groups[frame].PlanePositionSequence[0] if groups else dataset
        heights.append(float(plane.ImagePositionPatient[2]))
        uids.add(dataset.SOPInstanceUID)
        assert kind.private_bytes <= facts.header_bytes <= kind.private_bytes + 5120
    assert len(uids) == kind.objects
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == len(heights)


# --- the floor


@pytest.mark.parametrize("job", JOBS, ids=[job.name for job in JOBS])
def test_floor_asks_for_the_same(bench: speed.Bench, job: speed.Job) -> None:
    """The floor makes the requests that the product makes; only of first headers the product takes more."""
    bench.measure(Scenario("tiny", USUAL, NO_LINE, (job,)))
    (row,) = bench.rows
    asked = [(spent.lists, spent.gets) for spent in (row.product, row.floor)]
    assert asked[0] == asked[1]
    generous = COUNT * (FIRST_RANGE_BYTES - FIRST_RANGE) if job.reads_headers else 0
    assert row.product.bytes == row.floor.bytes + generous
    expected = {COLD: (1, COUNT + 36), WARM: (1, 36), IMMUTABLE: (0, 36), IMAGE: (1, 1), CONTRAST: (1, 2)}
    assert asked[0] == {**expected, INDEX: (1, COUNT)}[job]


@pytest.mark.parametrize("uid", [NATIVE, JPEG2000], ids=["native", "JPEG 2000"])
def test_floor_paints_the_same(bench: speed.Bench, uid: str) -> None:
    """The floor's mosaic, and that of the download, are the product's but for rounding."""
    kind = dataclasses.replace(SMALL, side=256, transfer_syntax_uid=uid)
    bench.measure(Scenario("tiny", kind, NO_LINE, (WARM,), has_download=True))
    product, floor, download = (
        np.asarray(Image.open(bench.folder / f"{name}.webp").convert("L"), np.int16)
        for name in ("picture", "floor", "download")
    )
    assert product.shape == (6 * 128, 6 * 128)
    assert product.std() > 20
    assert np.abs(product - floor).mean() < 1
    # It resizes with another filter.
    assert np.abs(product - download).mean() < 5


def test_windows_are_beside_the_files_own(bench: speed.Bench) -> None:
    """Each window's mosaic of JPEG 2000 slices is measured beside that without one, and asks for the same."""
    kind = dataclasses.replace(SMALL, transfer_syntax_uid=JPEG2000)
    bench.measure(Scenario("tiny", kind, NO_LINE, (), has_windows=True))
    assert [row.job for row in bench.rows] == [job.name for job in WINDOWED]
    for row in bench.rows:
        assert [(spent.lists, spent.gets) for spent in (row.product, row.floor)] == [(1, 36)] * 2
        assert row.product.bytes == row.floor.bytes


def test_windows_are_among_what_is_aimed_at() -> None:
    """No window may take more than 1.1 of the time, and the usual run measures each of them."""
    measured = [one.name for one in scenarios("default") if one.has_windows]
    aimed = {(scenario, job): most for scenario, job, _, most in speed.TARGETS}
    assert measured == ["300 JPEG 2000, 30 ms"]
    assert [aimed[measured[0], job.name] for job in WINDOWED] == [1.1] * 8


# --- the figures


def test_rows_are_written_and_compared(bench: speed.Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows survive their file, and a run compared with itself gives ratios of one."""
    bench.measure(Scenario("300 native, 30 ms", SMALL, NO_LINE, (WARM,)))
    (row,) = bench.rows
    assert row.wall_ratio == row.product.wall_s / row.floor.wall_s
    assert row.cpu_ratio == row.product.cpu_s / row.floor.cpu_s
    assert row.index_bytes > 1000
    old = json.loads(json.dumps([row.document()]))
    capsys.readouterr()
    speed.print_comparison(bench.rows, old)
    assert capsys.readouterr().out.splitlines()[-1].split()[-6:] == ["1.00"] * 6
    speed.print_targets(bench.rows)
    wall, peak = filter(None, capsys.readouterr().out.splitlines())
    assert wall.startswith(
        f"{'met' if row.wall_ratio <= 1.5 else 'MISSED':8}300 native, 30 ms, mosaic, warm: wall"
    )
    # A process starts with the peak of the one that starts it, which here is all of the tests.
    is_met = row.product.peak_mb <= 250
    assert peak.startswith(f"{'met' if is_met else 'MISSED':8}300 native, 30 ms, mosaic, warm: peak_mb ")


def test_failure_is_told(bench: speed.Bench) -> None:
    """A process that fails ends the measurement with its last words."""
    with pytest.raises(RuntimeError, match="no such series"):
        bench.run([sys.executable, "-m", "dicom_series_preview", "get-index", "none", "--root", "s3://any"])
