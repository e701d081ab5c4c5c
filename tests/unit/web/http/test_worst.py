"""What one request may ask for: bounded in what it takes, and refused in one answer that names the bound."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

import make_dicom
from bench import Bench, one, problem, slices
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.web.http.index_body import index_body


def square(side: int, **elements: Any) -> dict[str, bytes]:
    """A series of one image of square pixels, unless it is said otherwise."""
    layout = {"Rows": side, "Columns": side, "PixelSpacing": [1, 1], "PixelData": bytes(2 * side * side)}
    return {"S/1.dcm": one(1, **{**layout, **elements})}


@pytest.mark.parametrize(
    ("objects", "most"),
    [
        (square(160), 640),
        (square(512), 2048),
        # Every image may be shown so wide.
        (square(64), 512),
        (square(4), 512),
        # In true proportions these are 160 wide and 320 high, and 320 wide and 160 high.
        (square(160, PixelSpacing=[2, 1]), 640),
        (square(160, PixelSpacing=[1, 2]), 1280),
    ],
)
@pytest.mark.parametrize("resource", ["image", "mosaic", "contrast-mosaic"])
def test_enlargement(resource: str, objects: dict[str, bytes], most: int) -> None:
    """An image is enlarged four times at most, in its true proportions; beyond, the most is named."""
    asked = {"image": "position=0", "mosaic": "tile_width=1", "contrast-mosaic": "position=0&contrast=lung"}
    bench = Bench(objects)
    bench.ok(resource, f"{asked[resource]}&image_width={most}")
    bench.reset()
    refused = problem(bench.get(resource, f"{asked[resource]}&image_width={most + 1}"), 400, "bad-parameter")
    assert refused["detail"] == (
        f"image_width: {most + 1} enlarges the images more than four times; give 1 to {most}"
    )
    assert bench.pixel_requests() == 0


def test_what_took_a_function_down() -> None:
    """One slice of 512 x 512 asked for 10,000 pixels wide is refused before a pixel is read."""
    bench = Bench(square(512), limits=Limits.for_memory(1769 * 2**20))
    refused = problem(bench.get("image", "position=0&image_width=10000"), 413, "limit")
    assert "10000 x 10000 pixels, more than 18992332 in all" in refused["detail"]
    assert bench.storage.ranges == []


@pytest.mark.parametrize("memory_mb", [512, 1769, 3008, 10240])
def test_limits_follow_the_memory(memory_mb: int) -> None:
    """What a request may ask for grows with the memory, up to what time allows and to the usual limits."""
    limits, less = (Limits.for_memory(mb * 2**20) for mb in (memory_mb, memory_mb // 2))
    for name in ("rows", "frame_bytes", "matrix_pixels", "output_pixels"):
        assert 0 < getattr(less, name) <= getattr(limits, name) <= getattr(Limits(), name)
    assert limits.output_pixels <= 40_000_000
    assert (limits.instances, limits.seconds) == (Limits().instances, Limits().seconds)


def test_tiles() -> None:
    """A grid of more tiles than the limit is refused before anything is asked of the storage."""
    for query in ("tile_width=101&image_width=1", "tile_width=1&tile_height=10001&image_width=1"):
        bench = Bench()
        refused = problem(bench.get("mosaic", query), 413, "limit")
        assert "tiles, more than 10000 in all" in refused["detail"]
        assert bench.storage.ranges == []
    assert Bench().get("mosaic", "tile_width=100&image_width=1").status == 200


def test_contrasts() -> None:
    """An image is compared under sixteen contrasts at most."""
    many = [f"contrast={width}/50" for width in range(100, 117)]
    assert Bench().get("contrast-mosaic", "&".join(["position=0", *many[:16]])).status == 200
    refused = problem(Bench().get("contrast-mosaic", "&".join(["position=0", *many])), 400, "bad-parameter")
    assert refused["detail"] == "contrast: is given 17 times; give 16 at most"


def test_rows() -> None:
    """A series of more frames than an index may have rows is refused as soon as their headers tell."""
    groups = [make_dicom.position_group(0, 0, z) for z in range(3)]
    enhanced = make_dicom.encode(make_dicom.enhanced(groups, make_dicom.orientation_group()))
    objects = {f"S/{i}.dcm": enhanced for i in range(3)}
    refused = problem(Bench(objects, limits=Limits(rows=8)).get("index"), 413, "limit")
    assert refused["detail"] == "series: S has more than 8 frames, the limit of an index"
    assert Bench(objects, limits=Limits(rows=9)).get("index").status == 200


@pytest.mark.parametrize("wanted", ["json", "jsonl"])
def test_an_index_that_no_answer_holds(wanted: str) -> None:
    """Rows become text until an answer is full, and no further, however long the index is."""

    class Watched:
        """A table that counts the batches that are taken of it."""

        def __init__(self) -> None:
            self.taken = 0

        def to_batches(self, max_chunksize: int) -> Iterator[pa.RecordBatch]:
            """The batches."""
            table = pa.table({"SOPInstanceUID": ["1.2.3"] * 100 * max_chunksize})
            for batch in table.to_batches(max_chunksize=max_chunksize):
                self.taken += 1
                yield batch

    class Opened:
        """A series with such an index."""

        def __init__(self) -> None:
            self.index = self
            self.whole = Watched()

        def with_root(self, _alias: str) -> "Opened":
            """The same, below another root."""
            return self

    opened = Opened()
    assert len(index_body(opened, wanted, "default", 1000)) > 1000  # type: ignore[arg-type] - what of it is read
    assert opened.whole.taken == 1
    bench = Bench(slices(count=20), answer_limit_bytes=10_000)
    refused = problem(bench.get("index", f"format={wanted}"), 413, "limit")
    assert f"more than the 10000 bytes as {wanted} that an answer can hold" in refused["detail"]
