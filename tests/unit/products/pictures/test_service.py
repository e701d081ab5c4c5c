from __future__ import annotations

import json
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import doubles
import make_dicom
from dicom_series_preview.archive.open import IndexCache
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    LimitError,
    NoImageError,
    ObjectChangedError,
    RequestError,
    SeriesNotFoundError,
    StorageUnavailableError,
    UndecodableError,
)
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import (
    ContrastRequest,
    ImageRequest,
    IndexRequest,
    MosaicRequest,
)
from dicom_series_preview.products.pictures.service import PreviewService, Rendered
from dicom_series_preview.sources.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

    from dicom_series_preview.sources.storage.base import ObjectInfo, Storage

SIDE = 16
SECRET = "Secret^Patient"


def uniform(number: int, value: int, **elements: Any) -> Dataset:
    """A slice `number` mm above the origin that is filled with one modality value."""
    stored = np.full((SIDE, SIDE), value + 1024, "<u2")
    given = {"Rows": SIDE, "Columns": SIDE, "PixelSpacing": [1.0, 1.0], "PatientName": SECRET}
    return make_dicom.image(number, **{**given, "PixelData": stored.tobytes(), **elements})


def files(*datasets: Dataset, folder: str = "S") -> dict[str, bytes]:
    """Objects of a series, in a folder, by InstanceNumber."""
    return {f"{folder}/{data.InstanceNumber}.dcm": make_dicom.encode(data) for data in datasets}


def ramp(count: int = 5) -> dict[str, bytes]:
    """A series whose slices have the values 0, 100, 200 ... from the superior one on."""
    return files(*(uniform(count - i, 100 * i) for i in range(count)))


@dataclass
class Bench:
    """A service, and what it stands on."""

    objects: dict[str, bytes]
    limits: Limits = field(default_factory=Limits)
    immutable: bool = False
    storage: Any = None
    cache: IndexCache | None = field(default_factory=lambda: IndexCache(MemoryStorage()))

    def __post_init__(self) -> None:
        if self.storage is None:
            self.storage = doubles.CountingStorage(MemoryStorage(self.objects, immutable=self.immutable))

    @property
    def service(self) -> PreviewService:
        """A service as of now."""
        return PreviewService(self.storage, self.cache, self.limits)

    def mosaic(self, output: str = "a.jpg", series: str = "S", **options: Any) -> Rendered:
        """A mosaic in JPEG at quality 100, of tiles as large as the slices."""
        return self.service.mosaic(MosaicRequest.from_strings(series, output, given(options)))

    def image(self, position: float, **options: Any) -> Rendered:
        """An image, as `mosaic`."""
        options = given({"position": position, **options})
        return self.service.image(ImageRequest.from_strings("S", "a.jpg", options))

    def contrasts(self, *contrasts: str, **options: Any) -> Rendered:
        """A contrast mosaic, as `mosaic`."""
        options = given({"contrast": list(contrasts), **options})
        return self.service.contrast_mosaic(ContrastRequest.from_strings("S", "a.jpg", options))


def given(options: dict[str, Any]) -> dict[str, list[str]]:
    """Options as a request is built from, with tiles as large as the slices at the best quality."""
    options = {"image_width": SIDE, "quality": 100, **options}
    return {k: [str(x) for x in v] if isinstance(v, list) else [str(v)] for k, v in options.items()}


def pixels(rendered: Rendered) -> np.ndarray:
    """A picture's pixels."""
    with Image.open(BytesIO(rendered.data)) as image:
        return np.asarray(image).astype(int)


def greys(rendered: Rendered) -> list[int]:
    """The middle grey of each cell of a picture, row by row."""
    report = rendered.report
    image = pixels(rendered)
    return [
        int(image[top + report.tile_height // 2, left + report.tile_width // 2])
        for top in range(0, report.height, report.tile_height)
        for left in range(0, report.width, report.tile_width)
    ]


class AfterListing(doubles.Wrapper):
    """Something happens between the listing and what follows, a number of times."""

    def __init__(self, inner: Storage, change: Callable[[int], None], times: int) -> None:
        super().__init__(inner)
        self.change, self.times, self.lists = change, times, 0

    def list_objects(self, folder: str, most: int | None = None) -> list[ObjectInfo]:
        """The listing before the change."""
        found = super().list_objects(folder, most)
        self.lists += 1
        if self.lists <= self.times:
            self.change(self.lists)
        return found


# --- what is shown where


def test_mosaic_shows_slices_in_order() -> None:
    """Tiles are filled row by row from the first slice on, and black after the last."""
    rendered = Bench(ramp(5)).mosaic(tile_width=3, tile_height=2, contrast="400/200")
    assert greys(rendered) == pytest.approx([0, 64, 128, 191, 255, 0], abs=1)
    report = rendered.report
    assert (report.width, report.height, report.slices) == (3 * SIDE, 2 * SIDE, 5)
    assert [(t.row, t.column) for t in report.tiles] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_few_slices_make_a_small_picture() -> None:
    """Where no grid is asked for, nothing is black that is no slice; contrasts of one slice are one row."""
    rendered = Bench(ramp(4)).mosaic(contrast="1/-9")
    assert (rendered.report.width, rendered.report.height) == (2 * SIDE, 2 * SIDE)
    assert greys(rendered) == pytest.approx([255] * 4, abs=1)
    assert [(t.row, t.column) for t in rendered.report.tiles] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    rendered = Bench(ramp(1)).contrasts("1/-9", "2/-9")
    assert (rendered.report.width, rendered.report.height) == (2 * SIDE, SIDE)


def test_mosaic_of_a_range() -> None:
    """A range leaves out what lies beyond, and one tile shows its middle."""
    bench = Bench(ramp(5))
    assert greys(bench.mosaic(tile_width=3, tile_height=1, contrast="400/200", start=0.25, end=0.75)) == (
        pytest.approx([64, 128, 191], abs=1)
    )
    assert greys(bench.mosaic(tile_width=1, contrast="400/200", start=0.5)) == pytest.approx([191], abs=1)


def test_image_at_a_position() -> None:
    """An image is the slice at the position, moved by the offset."""
    bench = Bench(ramp(5))
    shown = [greys(bench.image(p, contrast="400/200"))[0] for p in (0, 0.5, 1)]
    assert shown == pytest.approx([0, 128, 255], abs=1)
    moved = [greys(bench.image(0.5, contrast="400/200", slice_offset=n))[0] for n in (-1, 1)]
    assert moved == pytest.approx([64, 191], abs=1)
    with pytest.raises(RequestError, match="-2 to 2"):
        bench.image(0.5, slice_offset=3)


def test_contrast_mosaic_has_a_row_a_slice_and_a_column_a_contrast() -> None:
    """Each slice is fetched once, and shown under each contrast side by side."""
    bench = Bench(ramp(5))
    bench.mosaic()
    bench.storage.reset()
    rendered = bench.contrasts("400/200", "100/400", tile_height=3)
    assert greys(rendered) == pytest.approx([0, 0, 128, 0, 255, 128], abs=1)
    assert len(bench.storage.ranges) == 3
    assert [tile.contrast.width for tile in rendered.report.tiles[:2]] == [400.0, 100.0]


def test_contrast_mosaic_of_one_position() -> None:
    """One position is one row."""
    rendered = Bench(ramp(5)).contrasts("400/200", "100/400", "1/0", position=1)
    assert (rendered.report.width, rendered.report.height) == (3 * SIDE, SIDE)
    assert greys(rendered) == pytest.approx([255, 128, 255], abs=1)


def test_contrast_mosaic_of_fewer_slices_than_rows() -> None:
    """Rows without a slice are black."""
    rendered = Bench(ramp(2)).contrasts("1/0", tile_height=4)
    assert rendered.report.height == 4 * SIDE
    assert greys(rendered)[2:] == [0, 0]


def test_auto_is_pooled_over_the_slices_shown() -> None:
    """Tiles of one picture share the automatic window, so that they compare."""
    bench = Bench(ramp(5))
    rendered = bench.mosaic(tile_width=5, tile_height=1, contrast="auto")
    assert greys(rendered) == pytest.approx([0, 64, 128, 191, 255], abs=2)
    windows = {(tile.contrast.center, tile.contrast.width) for tile in rendered.report.tiles}
    assert len(windows) == 1
    narrower = bench.mosaic(tile_width=2, tile_height=1, contrast="auto", start=0, end=0.3)
    assert greys(narrower) == pytest.approx([0, 255], abs=2)


def test_slices_of_another_shape_are_centred_on_black() -> None:
    """A slice whose pixels are twice as high is fitted into the first one's tile, black at both sides."""
    tall = uniform(1, 1000, PixelSpacing=[2.0, 1.0])
    rendered = Bench(files(uniform(2, 1000), tall)).mosaic(tile_width=2, tile_height=1, contrast="1/0")
    image = pixels(rendered)
    assert image.shape == (SIDE, 2 * SIDE)
    columns = image[:, SIDE:].mean(axis=0)
    assert columns == pytest.approx([0] * 4 + [255] * 8 + [0] * 4, abs=12)


def test_tile_height_follows_pixel_spacing() -> None:
    """The first slice's rows, columns and spacing make the tile's height."""
    rendered = Bench(files(uniform(1, 0, PixelSpacing=[2.0, 1.0]))).mosaic(tile_width=1)
    assert (rendered.report.tile_width, rendered.report.tile_height) == (SIDE, 2 * SIDE)


def test_spacing_that_cannot_be_gives_way() -> None:
    """A spacing that no pixel has is passed over for the next one, in the picture too."""
    slice_ = uniform(1, 0, PixelSpacing=[0.0, 1.0], ImagerPixelSpacing=[2.0, 1.0])
    rendered = Bench(files(slice_)).mosaic(tile_width=1)
    assert (rendered.report.tile_width, rendered.report.tile_height) == (SIDE, 2 * SIDE)


def red() -> Any:
    """A slice in colour."""
    samples = np.zeros((SIDE, SIDE, 3), np.uint8)
    samples[..., 0] = 200
    return uniform(
        1,
        0,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        RescaleSlope=None,
        RescaleIntercept=None,
        PixelData=samples.tobytes(),
    )


@pytest.mark.parametrize("contrast", ["lung", "80/40", "auto", "embedded"])
def test_colour_series_gives_a_colour_picture(contrast: str) -> None:
    """Colour is shown as it is; no contrast applies, and the report and a warning say so."""
    bench = Bench(files(red()))
    rendered = bench.mosaic(tile_width=1, contrast=contrast)
    assert pixels(rendered)[8, 8] == pytest.approx([200, 0, 0], abs=4)
    assert rendered.report.tiles[0].contrast.kind == "none"
    assert rendered.report.warnings == ("contrasts have no effect on colour; it is shown as it is",)
    assert bench.mosaic(tile_width=1).report.warnings == ()


def test_window_without_width_falls_back_with_one_warning() -> None:
    """A window that is none becomes auto, and the warning is said once with its count."""
    objects = files(*(uniform(n, 100 * n, WindowCenter=40, WindowWidth=0) for n in (1, 2, 3)))
    rendered = Bench(objects).mosaic(contrast="embedded")
    assert rendered.report.warnings == (
        "the file's window has no positive width; auto is used instead (3 times)",
    )
    assert {tile.contrast.kind for tile in rendered.report.tiles} == {"auto"}


def test_other_stacks_by_number() -> None:
    """A stack is shown by its number, and one that is not there is refused with those that are."""
    coronal = uniform(9, 500, ImageOrientationPatient=list(make_dicom.CORONAL))
    bench = Bench({**ramp(3), **files(coronal)})
    assert [stack.slices for stack in bench.mosaic().report.stacks] == [3, 1]
    assert [tile.file_name for tile in bench.mosaic(stack=1).report.tiles] == ["9.dcm"]
    with pytest.raises(RequestError, match=r"0 \(3 slices\), 1 \(1 slice\)"):
        bench.mosaic(stack=2)


# --- freshness


def test_index_is_built_once_and_used_again() -> None:
    """The first picture builds the index; the next lists, and reads no header."""
    bench = Bench(ramp(5))
    first = bench.mosaic(tile_width=1).report
    assert (first.index_source, first.headers_read, bench.storage.lists) == ("built", 5, 1)
    bench.storage.reset()
    second = bench.mosaic(tile_width=1).report
    assert (second.index_source, second.headers_read, bench.storage.lists) == ("cache", 0, 1)
    assert (second.cost.list_requests, second.cost.get_requests) == (1, 1)


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


def test_new_and_changed_objects_are_seen() -> None:
    """What is added or changed is shown, and only its header is read."""
    bench = Bench(ramp(3))
    bench.mosaic()
    bench.storage.put("S/1.dcm", make_dicom.encode(uniform(1, 400)))
    bench.storage.put("S/0.dcm", make_dicom.encode(uniform(0, 300)))
    rendered = bench.mosaic(tile_width=4, tile_height=1, contrast="400/200")
    assert greys(rendered) == pytest.approx([0, 64, 255, 191], abs=1)
    assert (rendered.report.index_source, rendered.report.headers_read) == ("updated", 2)


def test_without_a_cache_every_picture_reads_the_headers() -> None:
    """Where no index is kept, all headers are read each time."""
    bench = Bench(ramp(3), cache=None)
    assert [bench.mosaic().report.headers_read for _ in range(2)] == [3, 3]


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
    plan = bench.service.plan(MosaicRequest.from_strings("S", "a.jpg", given({})))
    path = IndexCache(kept).path("S")
    newer = kept.get(path).data
    version = kept.put(path, newer)
    assert not any(tile.error for tile in bench.service.render(plan).report.tiles)
    assert (kept.get(path).data, kept.get(path).version) == (newer, version)
    assert Bench(cine(), cache=None).mosaic().data


# --- failures


def failing(bench: Bench, *names: str, error: type = AccessDeniedError) -> None:
    """From here on, some objects cannot be had."""
    errors = {f"S/{name}": error(f"memory://objects/S/{name}", "no") for name in names}
    bench.storage = doubles.FailingStorage(bench.storage, errors)


def test_failing_slice_becomes_a_marked_tile() -> None:
    """A slice that cannot be had is a marked tile and a warning; the others are as ever."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "2.dcm")
    rendered = bench.mosaic(tile_width=3, tile_height=1, contrast="1/0")
    shown, marked, last = np.split(pixels(rendered), 3, axis=1)
    assert last.min() > 250
    assert shown.max() == shown.min()
    assert (marked[0] > 90).all()
    assert (np.diag(marked) > 90).all()
    assert 30 < marked[8, 3] < 70
    tile = rendered.report.tiles[1]
    assert (tile.error, tile.contrast) == ("no", None)
    assert rendered.report.warnings == ("2.dcm cannot be shown: no",)
    assert "2 of 3 slices" in rendered.report.summary()


def test_failing_slice_is_warned_of_once_in_a_contrast_mosaic() -> None:
    """A slice that fails is one warning, however many columns show it."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "1.dcm")
    report = bench.contrasts("lung", "bone", "auto").report
    assert report.warnings == ("1.dcm cannot be shown: no",)
    assert [tile.error for tile in report.tiles] == [None, None, None, "no", "no", "no"]


def test_failing_slice_stays_out_of_the_statistics() -> None:
    """What cannot be shown does not decide the automatic window."""
    bench = Bench(ramp(5))
    bench.mosaic()
    failing(bench, "1.dcm", "2.dcm")
    rendered = bench.mosaic(tile_width=5, tile_height=1, contrast="auto")
    assert greys(rendered)[:3] == pytest.approx([0, 128, 255], abs=2)


def test_no_tile_left_is_an_error() -> None:
    """Only when no slice is left to show, there is no picture; the reason is the first slice's."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "1.dcm", "2.dcm", "3.dcm")
    with pytest.raises(AccessDeniedError, match=r"3\.dcm: no"):
        bench.mosaic()


def test_storage_that_is_down_is_an_error() -> None:
    """Storage that fails beyond every retry is no marked tile: the picture would be of an outage."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "2.dcm", error=StorageUnavailableError)
    with pytest.raises(StorageUnavailableError):
        bench.mosaic()


def test_cut_pixels_name_their_object() -> None:
    """Pixels that are cut off are a warning with the object's name and nothing of the patient."""
    objects = ramp(3)
    objects["S/2.dcm"] = objects["S/2.dcm"][:-40]
    report = Bench(objects).mosaic().report
    (warning,) = report.warnings
    assert warning.startswith("2.dcm cannot be shown: ")
    assert SECRET not in report.to_json()


def test_frame_that_fails_is_named() -> None:
    """Of an object with several frames, the one that fails is named."""
    groups = [make_dicom.position_group(0, 0, float(-n)) for n in range(3)]
    shared = make_dicom.orientation_group(
        PixelMeasuresSequence=[make_dicom.dataset(PixelSpacing=[1.0, 1.0], SliceThickness=1)]
    )
    encoded = make_dicom.encode(make_dicom.enhanced(groups, shared))
    report = Bench({"S/1.dcm": encoded[:-20]}).mosaic().report
    assert [tile.error is None for tile in report.tiles] == [True, True, False]
    assert [tile.frame_number for tile in report.tiles] == [1, 2, 3]
    assert report.warnings[0].startswith("1.dcm, frame 3 cannot be shown: ")


def test_series_without_an_image() -> None:
    """A series of objects without pixels is said as such."""
    bench = Bench(files(make_dicom.report(1), make_dicom.report(2)))
    with pytest.raises(NoImageError, match="none of its 2 objects has an image"):
        bench.mosaic()
    with pytest.raises(NoImageError, match="its one object has no image"):
        Bench(files(make_dicom.report(1))).mosaic()


def test_no_such_series() -> None:
    """A series that is not there is said with its root."""
    with pytest.raises(SeriesNotFoundError, match="other in memory://objects"):
        Bench(ramp(2)).mosaic(series="other")


# --- limits


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("a.webp", {"tile_width": 200, "tile_height": 200, "image_width": 128}),
        ("a.jpg", {"tile_width": 200, "tile_height": 200, "image_width": 128}),
        ("a.webp", {"tile_width": 1, "tile_height": 16384, "image_width": 1}),
    ],
)
def test_large_grid_is_refused_before_anything_is_fetched(output: str, options: dict[str, int]) -> None:
    """A grid that cannot be small enough is refused without a look at the storage."""
    bench = Bench({}, storage=doubles.UntouchableStorage())
    with pytest.raises(LimitError):
        bench.mosaic(output, **options)


def test_tall_tiles_are_refused_before_pixels_are_fetched() -> None:
    """A picture that is too large only because of its slices' shape is refused once their shape is known."""
    objects = files(*(uniform(n, 0, PixelSpacing=[15.0, 1.0]) for n in (1, 2)))
    bench = Bench(objects)
    bench.service.index(IndexRequest.from_strings("S", {}))
    bench.storage.reset()
    with pytest.raises(LimitError):
        bench.mosaic("a.webp", image_width=128, tile_width=1, tile_height=10)
    assert bench.storage.ranges == []


def test_limit_of_pixels() -> None:
    """The product's own limit of pixels is one of the service's limits."""
    with pytest.raises(LimitError, match="more than 1000 in all"):
        Bench(ramp(3), limits=Limits(output_pixels=1000)).mosaic(tile_width=2)


def test_limit_of_objects() -> None:
    """A series of more objects than the limit is refused before a header is read."""
    bench = Bench(ramp(3), limits=Limits(instances=2))
    with pytest.raises(LimitError, match="more than 2 objects, the limit"):
        bench.mosaic()
    assert bench.storage.ranges == []


def test_limit_of_a_frame() -> None:
    """A frame that would decode to more bytes than the limit is not decoded."""
    with pytest.raises(UndecodableError, match="the one slice chosen cannot be shown; the frame has"):
        Bench(ramp(1), limits=Limits(frame_bytes=100)).mosaic()


# --- the result


@pytest.mark.parametrize("output", ["a.webp", "a.jpg"])
def test_same_request_same_bytes(output: str) -> None:
    """The same series and request give the same bytes: cold, warm, and in whatever order answers come."""

    class Backwards(doubles.Wrapper):
        def fetch(self, ranges: Any) -> Any:
            yield from reversed(list(self.inner.fetch(list(ranges))))

    bench = Bench(ramp(5))
    cold, warm = bench.mosaic(output).data, bench.mosaic(output).data
    other = Bench({}, storage=Backwards(MemoryStorage(ramp(5)))).mosaic(output).data
    assert cold == warm == other


def test_report_is_json_with_all_that_is_asked_of_it() -> None:
    """The report names tiles, skipped objects with reasons, and requests, bytes and milliseconds by phase."""
    objects = {**ramp(3), "S/a.txt": b"text", "S/b": b"no DICOM"}
    bench = Bench(objects)
    report = bench.mosaic(tile_width=2, tile_height=1, contrast="lung").report
    document = json.loads(report.to_json())
    assert document["report_schema"] == 2
    assert document["root"] == "memory://objects"
    assert (document["series"], document["stack"], document["slices"]) == ("S", 0, 3)
    first = document["tiles"][0]
    assert first["sop_instance_uid"] == f"{make_dicom.SERIES_UID}.3"
    assert (first["frame_number"], first["axis"], first["primary_position"]) == (1, "Z", 3.0)
    assert [tile["position"] for tile in document["tiles"]] == [0.0, 1.0]
    assert {item["name"] for item in document["skipped"]} == {"a.txt", "b"}
    assert all(item["reason"] for item in document["skipped"])
    cost = document["cost"]
    assert (cost["list_requests"], cost["get_requests"]) == (1, 4)  # three slices, and what is no DICOM
    assert cost["bytes"] == bench.storage.received
    assert set(cost["milliseconds"]) == {"index", "pixels", "render", "encode", "total"}
    assert SECRET not in report.to_json()


def test_slices_without_a_place_have_no_position() -> None:
    """Slices without a position come last, without a number for it, and the report notes it."""
    lost = uniform(7, 0, ImagePositionPatient=None)
    report = Bench({**ramp(3), **files(lost)}).mosaic().report
    assert report.tiles[-1].file_name == "7.dcm"
    assert report.tiles[-1].position is None
    assert report.notes


def test_summary_is_one_line() -> None:
    """The summary says size, slices, requests and bytes in one line."""
    text = Bench(ramp(3)).mosaic(tile_width=2).report.summary()
    assert text.startswith("32 x 32, 3 of 3 slices, index built; 1 LIST and 3 GET, ")
    assert "\n" not in text


def test_prefix_says_how_many_it_matched() -> None:
    """Of the series that a prefix matches the first is shown, and how many there are is in the report."""
    objects = {f"{name}/1.dcm": make_dicom.encode(uniform(1, 0)) for name in ("Sb", "Sa", "T")}
    report = Bench(objects).mosaic(series="S*").report
    assert (report.series, report.matches) == ("Sa", 2)
    assert "Sa (the first of 2)" in report.summary()


def test_cost_is_of_one_request_only() -> None:
    """A service that has worked before reports what this picture cost."""
    service = Bench(ramp(3)).service
    request = MosaicRequest.from_strings("S", "a.webp", {})
    costs = [service.mosaic(request).report.cost for _ in range(3)]
    assert [cost.get_requests for cost in costs] == [3, 3, 3]


def test_progress_counts_headers() -> None:
    """Progress is told of headers read and to read, from none to all."""
    heard: list[tuple[int, int]] = []
    storage = MemoryStorage(ramp(3))
    service = PreviewService(storage, None, Limits(), lambda done, total: heard.append((done, total)))
    service.index(IndexRequest.from_strings("S", {}))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_index_path() -> None:
    """An index's path is below the cache's root; without a cache it has none."""
    bench = Bench(ramp(2))
    opened = bench.service.index(IndexRequest.from_strings("S", {}))
    assert bench.service.index_path(opened) == "memory://objects/indices/S_index.parquet"
    bench.cache = None
    with pytest.raises(RequestError, match="no cache"):
        bench.service.index_path(opened)


def test_index_path_of_a_local_cache_is_a_path() -> None:
    """A local cache's path is as the file system knows it, not as a URL escapes it."""
    bench = Bench(ramp(2), cache=IndexCache(MemoryStorage(url="file:///a%20b/%C3%BC%23")))
    opened = bench.service.index(IndexRequest.from_strings("S", {}))
    assert bench.service.index_path(opened) == "/a b/ü#/indices/S_index.parquet"


# --- what the file does not say


def test_without_a_window_what_is_shown_decides() -> None:
    """CT of a head is shown as a brain, by itself and among others, and the report names the window."""
    head = files(*(uniform(i, 20 * i, BodyPartExamined="HEAD") for i in range(5)))
    rendered = Bench(head).mosaic(tile_width=5, tile_height=1)
    assert greys(rendered) == pytest.approx([255, 191, 128, 64, 0], abs=1)
    contrast = rendered.report.tiles[0].contrast
    assert (contrast.kind, contrast.name, contrast.width, contrast.center) == ("default", "ct-brain", 80, 40)
    assert rendered.report.warnings == ()
    assert Bench(head).mosaic(contrast="auto").report.tiles[0].contrast.kind == "auto"


def test_slices_of_uptake_are_pooled() -> None:
    """Tiles of a PET compare: the coldest slice is dark beside the hottest, whatever its own rescale."""
    given = {"Modality": "PT", "RescaleIntercept": 0.0}
    slopes = {1: 4.0, 2: 2.0, 3: 1.0}
    pet = files(*(uniform(i, 76, RescaleSlope=slope, **given) for i, slope in slopes.items()))
    rendered = Bench(pet).mosaic(tile_width=3, tile_height=1)
    assert greys(rendered) == pytest.approx([64, 128, 255], abs=1)
    assert {tile.contrast.name for tile in rendered.report.tiles} == {"uptake"}
    assert {tile.contrast.width for tile in rendered.report.tiles} == {4400.0}


def test_pictures_lie_as_they_are_stored_and_say_how() -> None:
    """A slice that is stored upside down stays so; the report names its directions and warns once."""
    halves = np.repeat(np.array([1024, 1424], "<u2"), SIDE * SIDE // 2).tobytes()
    usual = files(*(uniform(i, 0, PixelData=halves) for i in (1, 2)))
    flipped = [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
    turned = files(*(uniform(i, 0, PixelData=halves, ImageOrientationPatient=flipped) for i in (1, 2)))
    pictures = [
        Bench(objects).mosaic(tile_width=2, tile_height=1, contrast="400/200") for objects in (usual, turned)
    ]
    assert pictures[0].data == pictures[1].data
    reports = [picture.report for picture in pictures]
    assert [{tile.patient_orientation for tile in report.tiles} for report in reports] == [{"L\\P"}, {"L\\A"}]
    assert reports[0].warnings == ()
    (warning,) = reports[1].warnings
    assert warning.startswith(
        "axial slices are shown as stored, with the patient's right on the left and back on"
    )


def test_images_without_an_orientation_have_no_letters() -> None:
    """A projection has no plane in the patient, and says nothing of it."""
    report = Bench(files(uniform(1, 0, ImageOrientationPatient=None))).image(0).report
    assert (report.tiles[0].patient_orientation, report.warnings) == ("", ())
