"""What a preview asks a real S3 server for, as the server sees it."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

import commandline
import counting
import make_dicom
import synthetic
from commandline import PutSeries, Reports, Run
from dicom_series_preview.sources.storage.throttle import CONCURRENCY

LARGE = "large-series"
COUNT = 300
# Of a header of which nothing is known, and then of those that are short.
FIRST_RANGE, SHORT_RANGE = 16 * 1024, 5 * 1024
PIXELS = 64 * 64 * 2
LARGE_SIDE = 128
LARGE_PIXELS = LARGE_SIDE * LARGE_SIDE * 2
LARGE_HEADERS = CONCURRENCY * FIRST_RANGE + (COUNT - CONCURRENCY) * SHORT_RANGE
ROOT = f"s3://{commandline.BUCKET}/budget"


@pytest.fixture(scope="session")
def large(bucket: PutSeries) -> str:
    """A series of 300 slices with short headers, in the bucket."""
    bucket(f"budget/{LARGE}", synthetic.series(LARGE, COUNT, others=False, side=LARGE_SIDE).objects)
    return LARGE


@pytest.fixture(scope="session")
def small(bucket: PutSeries) -> str:
    """A series of 40 slices in the bucket."""
    bucket("budget/small-series", synthetic.series("small-series", others=False).objects)
    return "small-series"


@pytest.fixture
def spend(
    report_of: Reports, counted: counting.CountingProxy
) -> Callable[..., tuple[Counter[str], dict[str, Any]]]:
    """Runs a command on the bucket: requests by kind as the server got them, and the report."""

    def run(*arguments: object) -> tuple[Counter[str], dict[str, Any]]:
        counted.clear()
        report = report_of(*arguments, "--root", ROOT)
        kinds = counted.kinds()
        assert (kinds["LIST"], kinds["GET"]) == (
            report["cost"]["list_requests"],
            report["cost"]["get_requests"],
        )
        return kinds, report

    return run


Spend = "Callable[..., tuple[Counter[str], dict[str, Any]]]"


def test_mosaic_cold_then_warm(large: str, spend: Spend, counted: counting.CountingProxy) -> None:
    """A first mosaic of 300 slices is a listing, 300 headers and 36 tiles; the next has no headers."""
    kinds, report = spend("mosaic", large, "a.webp")
    assert kinds == {"LIST": 1, "GET": COUNT + 36}
    headers = [seen for seen in counted.gets() if seen.start == 0]
    tiles = [seen for seen in counted.gets() if seen.start != 0]
    assert (len(headers), len({seen.target for seen in headers})) == (COUNT, COUNT)
    # Those that are asked for before the first answer comes, and those that know what it said.
    lengths = Counter(seen.length for seen in headers)
    assert lengths == {FIRST_RANGE: CONCURRENCY, SHORT_RANGE: COUNT - CONCURRENCY}
    assert (len(tiles), len({seen.target for seen in tiles})) == (36, 36)
    assert {seen.length for seen in tiles} == {LARGE_PIXELS}
    assert report["cost"]["bytes"] == LARGE_HEADERS + 36 * LARGE_PIXELS

    kinds, report = spend("mosaic", large, "a.webp")
    assert kinds == {"LIST": 1, "GET": 36}
    assert {seen.length for seen in counted.gets()} == {LARGE_PIXELS}
    assert report["cost"]["bytes"] == 36 * LARGE_PIXELS


@pytest.mark.real_data
def test_300_real_slices_take_337_requests(bucket: PutSeries, spend: Spend, real_data: Path) -> None:
    """A first mosaic of 300 slices with a CT scanner's own headers of 7.7 kB is 1 LIST and 336 GET."""
    slice_ = dcmread(real_data / "single" / "jpegls-near" / "CTImage_2.4.81.dcm")
    x, y, z = slice_.ImagePositionPatient
    uid, objects = slice_.SOPInstanceUID.rpartition(".")[0], {}
    for number in range(COUNT):
        slice_.SOPInstanceUID = f"{uid}.{number + 100}"
        slice_.ImagePositionPatient = [x, y, f"{float(z) + number:.1f}"]
        slice_.InstanceNumber = f"{number + 100}"
        objects[f"{number:03}.dcm"] = make_dicom.encode(slice_, slice_.file_meta.TransferSyntaxUID)
    headers = {objects[name].index(b"\xe0\x7f\x10\x00") for name in objects}
    assert 6_000 < min(headers) <= max(headers) < 12_000
    bucket("budget/real", objects)
    kinds, report = spend("mosaic", "real", "a.webp")
    assert kinds == {"LIST": 1, "GET": COUNT + 36}
    assert report["slices"] == COUNT


def test_small_slices_come_with_their_headers(
    bucket: PutSeries, spend: Spend, counted: counting.CountingProxy
) -> None:
    """A first mosaic of a small series is a listing and each object once, whole, and no byte twice."""
    objects = synthetic.series("handful", others=False).objects
    bucket("budget/handful", objects)
    kinds, report = spend("mosaic", "handful", "a.webp")
    assert kinds == {"LIST": 1, "GET": synthetic.SLICES}
    assert [seen.start for seen in counted.gets()] == [0] * synthetic.SLICES
    assert report["cost"]["bytes"] == sum(map(len, objects.values()))
    first = Path("a.webp").read_bytes()
    kinds, report = spend("mosaic", "handful", "a.webp")
    assert kinds == {"LIST": 1, "GET": 36}
    assert report["cost"]["bytes"] == 36 * PIXELS
    assert Path("a.webp").read_bytes() == first


def test_an_index_alone_needs_no_pixels(small: str, succeed: Run, counted: counting.CountingProxy) -> None:
    """Whoever wants the index only reads headers only, however small the objects are."""
    succeed("build-index", small, "--root", ROOT)
    assert counted.kinds() == {"LIST": 1, "GET": synthetic.SLICES}
    sizes = [len(data) for data in synthetic.series("small-series", others=False).objects.values()]
    assert sorted(seen.length for seen in counted.gets()) == sorted(min(FIRST_RANGE, size) for size in sizes)


def test_one_image_of_many_small_ones_reads_one(
    large: str, spend: Spend, counted: counting.CountingProxy
) -> None:
    """Where more than a megabyte would not be shown, an image is fetched alone."""
    kinds, report = spend("get-image", large, "a.webp", "--position", 0.5)
    assert kinds == {"LIST": 1, "GET": COUNT + 1}
    assert report["cost"]["bytes"] == LARGE_HEADERS + LARGE_PIXELS
    assert len([seen for seen in counted.gets() if seen.length == LARGE_PIXELS]) == 1


def test_image_and_contrasts_warm(small: str, spend: Spend) -> None:
    """With an index, an image is one request, and a contrast mosaic one a slice, not one a tile."""
    spend("mosaic", small, "a.webp", "--tile-width", 1)
    kinds, _ = spend("get-image", small, "a.webp", "--position", 0.3)
    assert kinds == {"LIST": 1, "GET": 1}
    contrasts = [word for name in ("lung", "bone", "brain", "auto") for word in ("--contrast", name)]
    kinds, report = spend("contrast-mosaic", small, "a.webp", "--tile-height", 3, *contrasts)
    assert kinds == {"LIST": 1, "GET": 3}
    assert len(report["tiles"]) == 12
    kinds, _ = spend("contrast-mosaic", small, "a.webp", "--position", 0.5, *contrasts)
    assert kinds == {"LIST": 1, "GET": 1}


def test_overlays_cost_no_request_more(
    bucket: PutSeries, spend: Spend, counted: counting.CountingProxy
) -> None:
    """With overlays each slice is still one request; of those that have one it begins at the header."""
    objects = dict(synthetic.series("overlays", 12, others=False).objects)
    marked = sorted(objects)[:3]
    for name in marked:
        slice_ = dcmread(BytesIO(objects[name]))
        make_dicom.overlay(slice_, np.eye(synthetic.SIDE, dtype=bool))
        objects[name] = make_dicom.encode(slice_)
    bucket("budget/overlays", objects)
    kinds, _ = spend("mosaic", "overlays", "a.webp")
    assert kinds == {"LIST": 1, "GET": 12}
    kinds, report = spend("mosaic", "overlays", "a.webp")
    assert (kinds, report["cost"]["bytes"]) == ({"LIST": 1, "GET": 12}, 12 * PIXELS)
    kinds, report = spend("mosaic", "overlays", "a.webp", "--overlays")
    assert kinds == {"LIST": 1, "GET": 12}
    whole = {len(objects[name]) for name in marked}
    assert {seen.length for seen in counted.gets() if seen.start == 0} == whole
    assert report["cost"]["bytes"] == sum(len(objects[name]) for name in marked) + 9 * PIXELS


def test_prefix_costs_one_listing_more(small: str, spend: Spend) -> None:
    """A prefix is one listing of folders."""
    spend("mosaic", small, "a.webp", "--tile-width", 1)
    kinds, _ = spend("mosaic", "small*", "a.webp", "--tile-width", 1)
    assert kinds == {"LIST": 2, "GET": 1}
