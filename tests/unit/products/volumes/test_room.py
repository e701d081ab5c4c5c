from dataclasses import replace
from typing import Any

import pytest

import make_dicom
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.plan import PlannedVolume, plan_volumes
from dicom_series_preview.products.volumes.room import (
    Output,
    Room,
    disk_of,
    memory_of,
    seconds_of,
    too_large_here,
)
from dicom_series_preview.sources.storage.memory import MemoryStorage

ROOM = Room(memory=2**31, disk=2**29, seconds=900, processors=1.0)
ZARR = Output("zarr")


def volume(count: int = 4, syntax: str = make_dicom.EXPLICIT, **elements: Any) -> PlannedVolume:
    """A planned volume of 100 x 100 pixels a slice, of which no pixel is ever read."""
    own = {"Rows": 100, "Columns": 100, "PixelData": bytes(20_000), **elements}
    objects = {f"S/{i}.dcm": make_dicom.encode(make_dicom.image(i, **own), syntax) for i in range(count)}
    service = PreviewService(MemoryStorage(objects), None, Limits())
    (found,) = plan_volumes(service.index(IndexRequest(SeriesName("S"))), VolumeOptions()).volumes
    return found


@pytest.mark.parametrize(
    ("output", "times"),
    [
        (ZARR, 2),
        (Output("nii"), 2),
        (Output("zip"), 3),
        (Output("sqlite"), 3),
        (Output("zarr", "ras"), 3),
        # float32 of int16, and two orders.
        (Output("npz"), 4),
    ],
)
def test_the_disk_holds_the_output_and_its_orders(output: Output, times: int) -> None:
    """The output as if nothing shrank, what it is packed from, and the array in each other order."""
    assert disk_of(volume(), output) == times * 4 * 20_000


def test_time_grows_with_the_array_and_with_decoding() -> None:
    """Twice the slices, a codec to decode and NPZ's deflate take longer; twice the processors less."""
    one, two = volume(100), volume(200)
    coded = volume(100, make_dicom.RLE, PixelData=make_dicom.encapsulate([[b"x" * 20_000]]))
    base = seconds_of(one, ZARR, 1)
    assert seconds_of(two, ZARR, 1) > base
    assert seconds_of(coded, ZARR, 1) > base
    assert seconds_of(one, Output("npz"), 1) > base
    assert seconds_of(one, ZARR, 2) < base


def test_what_fits_is_not_refused() -> None:
    """A volume for which there is room is converted."""
    assert too_large_here(volume(), ZARR, ROOM, "") is None


@pytest.mark.parametrize(
    ("room", "told"),
    [
        ({"memory": 2**28}, "GB of memory"),
        ({"disk": 100_000}, "GB of room for temporary files"),
        ({"seconds": 5}, "minutes"),
    ],
)
def test_what_is_too_small_is_named(room: dict[str, Any], told: str) -> None:
    """The refusal says what there is too little of, and what converts the volume elsewhere."""
    refusal = too_large_here(volume(), ZARR, replace(ROOM, **room), "convert S elsewhere")
    assert refusal is not None
    assert refusal.code == "too_large_here"
    assert told in refusal.problem
    assert refusal.problem.endswith("On a larger machine: convert S elsewhere")


def test_a_large_frame_takes_memory() -> None:
    """A slice of which each thread holds several copies counts more than the slabs."""
    film = make_dicom.encapsulate([[b"x"]])
    large = volume(2, make_dicom.RLE, Rows=20_000, Columns=20_000, PixelData=film)
    assert memory_of(large) > 12 * 800 * 10**6
