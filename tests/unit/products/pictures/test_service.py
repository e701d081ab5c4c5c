from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

import doubles
import make_dicom
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.base.errors import ObjectChangedError, RequestError
from dicom_series_preview.products.pictures.requests import IndexRequest, MosaicRequest
from dicom_series_preview.sources.storage.base import ObjectInfo
from dicom_series_preview.sources.storage.memory import MemoryStorage
from rendering import SIDE, AfterListing, Bench, files, greys, ramp, uniform

# --- freshness


@pytest.mark.parametrize(("side", "cold"), [(400, ["list", "fetch", "fetch"]), (SIDE, ["list", "fetch"])])
def test_waves_of_requests(side: int, cold: list[str]) -> None:
    """A first picture waits for three answers one after the other, of small slices for two, as the next."""
    waves: list[str] = []

    class Waves(doubles.Wrapper):
        def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
            waves.append("list")
            return super().list_objects(folder, most)

        def fetch(self, ranges: Any) -> Any:
            asked = list(ranges)
            waves.extend(["fetch"] * bool(asked))
            return super().fetch(asked)

    pixels = {"Rows": side, "Columns": side, "PixelData": bytes(2 * side * side)}
    objects = files(*(make_dicom.image(number, **pixels) for number in range(1, 5)))
    bench = Bench({}, storage=Waves(MemoryStorage(objects)))
    bench.mosaic()
    assert waves == cold
    waves.clear()
    bench.mosaic()
    assert waves == ["list", "fetch"]


def test_immutable_root_is_not_even_listed() -> None:
    """Below an immutable root a kept index is used as it is."""
    bench = Bench(ramp(5), immutable=True)
    bench.mosaic()
    bench.storage.reset()
    report = bench.mosaic(tile_width=1).report
    assert (bench.storage.lists, report.cost.list_requests, report.index_source) == (0, 0, "cache")


@pytest.mark.parametrize("immutable", [False, True])
def test_object_that_changes_under_way_is_read_anew(*, immutable: bool) -> None:
    """When an object is not the version of the index any more, the series is read anew, once."""
    inner = MemoryStorage(ramp(3), immutable=immutable)
    bench = Bench({}, storage=inner)
    bench.mosaic()

    def change(_number: int) -> None:
        inner.put("S/2.dcm", make_dicom.encode(uniform(2, 400)))

    if immutable:
        change(1)
        storage = AfterListing(inner, change, times=0)
    else:
        storage = AfterListing(inner, change, times=1)
    bench.storage = storage
    rendered = bench.mosaic(tile_width=3, tile_height=1, contrast="400/200")
    assert greys(rendered) == pytest.approx([0, 255, 128], abs=1)
    assert storage.lists == (1 if immutable else 2)
    assert all(tile.error is None for tile in rendered.report.tiles)
    assert bench.mosaic().report.index_source == "cache"


def test_object_that_always_changes_is_an_error() -> None:
    """A series that changes as fast as it is read is given up after a few times."""

    def large(number: int, value: int) -> Dataset:
        """A slice whose pixels do not come with its header."""
        pixels = np.full((400, 400), value, "<u2").tobytes()
        return make_dicom.image(number, Rows=400, Columns=400, PixelData=pixels)

    inner = MemoryStorage(files(*(large(number, 0) for number in (1, 2, 3))))
    bench = Bench({}, storage=inner)
    bench.mosaic()

    def change(number: int) -> None:
        inner.put("S/2.dcm", make_dicom.encode(large(2, 400 + number)))

    # The headers are read without a condition, so the change must come after them, too.
    class Restless(AfterListing):
        def fetch(self, ranges: Any) -> Any:
            yield from super().fetch(ranges)
            self.lists += 1
            self.change(self.lists)

    bench.storage = Restless(inner, change, times=100)
    with pytest.raises(ObjectChangedError):
        bench.mosaic()
    assert bench.storage.lists < 20


# --- frames without an offset table


def cine(frames: int = 8) -> dict[str, bytes]:
    """One object of JPEG frames whose offset table is empty, too large to come with its header."""
    random = np.random.default_rng(5)
    streams = []
    for number in range(frames):
        buffer = BytesIO()
        noise = random.integers(0, 100, (320, 320), dtype=np.uint8) + np.uint8(20 * number)
        Image.fromarray(noise).save(buffer, "JPEG", quality=90)
        streams.append([buffer.getvalue()])
    elements = {"Rows": 320, "Columns": 320, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    dataset = make_dicom.image(
        **elements, NumberOfFrames=frames, PixelData=make_dicom.encapsulate(streams, ())
    )
    return {"S/a": make_dicom.encode(dataset, make_dicom.JPEG)}


def test_frames_are_fetched_alone_once_their_whole_object_was() -> None:
    """The first picture finds where the frames lie; every later one asks for its own only."""
    objects = cine()
    size = len(objects["S/a"])
    assert size > 256 * 1024
    bench = Bench(objects)
    first = bench.mosaic()
    assert [(r.start, r.end) for r in bench.storage.ranges][1:] == [(0, None)]
    bench.storage.reset()
    second = bench.mosaic()
    assert second.data == first.data
    assert (second.report.cost.list_requests, second.report.cost.get_requests) == (1, 8)
    assert bench.storage.received < size
    bench.storage.reset()
    bench.image(0.3)
    assert len(bench.storage.ranges) == 1
    assert bench.storage.received < size / 4


def test_an_index_that_others_have_written_is_left() -> None:
    """Where frames lie is not written over another's newer index, and the picture is shown all the same."""
    kept = MemoryStorage()
    bench = Bench(cine(), cache=IndexCache(kept))
    bench.service.index(IndexRequest.from_strings("S", {}))
    plan = bench.service.plan(bench.request(MosaicRequest))
    path = IndexCache(kept).path("S")
    newer = kept.get(path).data
    version = kept.put(path, newer)
    assert not any(tile.error for tile in bench.service.render_plan(plan).report.tiles)
    assert (kept.get(path).data, kept.get(path).version) == (newer, version)
    assert Bench(cine(), cache=None).mosaic().data


@pytest.mark.parametrize("output", ["a.webp", "a.jpg"])
def test_same_request_same_bytes(output: str) -> None:
    """The same series and request give the same bytes: cold, warm, and in whatever order answers come."""
    bench = Bench(ramp(5))
    cold, warm = bench.mosaic(output).data, bench.mosaic(output).data
    other = Bench({}, storage=doubles.Backwards(MemoryStorage(ramp(5)))).mosaic(output).data
    assert cold == warm == other


def test_cost_is_of_one_request_only() -> None:
    """A service that has worked before reports what this picture cost."""
    service = Bench(ramp(3)).service
    request = MosaicRequest.from_strings("S", "a.webp", {})
    costs = [service.render(request).report.cost for _ in range(3)]
    assert [cost.get_requests for cost in costs] == [3, 3, 3]


def test_index_paths() -> None:
    """An index's path is below the cache's root; without a cache it has none."""
    bench = Bench(ramp(2))
    opened = bench.service.index(IndexRequest.from_strings("S", {}))
    assert bench.service.index_paths(opened) == ["memory://objects/indices/S_index.parquet"]
    bench.cache = None
    with pytest.raises(RequestError, match="no cache"):
        bench.service.index_paths(opened)


def test_index_path_of_a_local_cache_is_a_path() -> None:
    """A local cache's path is as the file system knows it, not as a URL escapes it."""
    bench = Bench(ramp(2), cache=IndexCache(MemoryStorage(url="file:///a%20b/%C3%BC%23")))
    opened = bench.service.index(IndexRequest.from_strings("S", {}))
    assert bench.service.index_paths(opened) == ["/a b/ü#/indices/S_index.parquet"]
