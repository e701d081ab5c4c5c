"""Pictures of slices that are no frames: parts of mosaics, and levels of slides."""

from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread

import doubles
import make_dicom
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    LimitError,
    NoImageError,
    UndecodableError,
)
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.assemble import assemble
from dicom_series_preview.pixels.canvas import Wanted
from dicom_series_preview.pixels.frames import fetch_frames
from dicom_series_preview.pixels.reduced import level_reduction
from dicom_series_preview.pixels.slices import DecodedSlice
from dicom_series_preview.products.pictures.layout import failed_tile, resize
from dicom_series_preview.products.pictures.requests import ImageRequest, IndexRequest
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.prefetched import Prefetched
from make_dicom import dataset, level, mosaic, tile_group
from rendering import Bench, files, pixels

RNG = np.random.default_rng(3)


def in_webp(objects: dict[str, bytes], errors: Any = None, limits: Limits | None = None) -> Bench:
    """A service over objects some of which fail, which keeps no index."""
    storage = doubles.CountingStorage(doubles.FailingStorage(MemoryStorage(objects), errors or {}))
    options = {"quality": 100}
    return Bench({}, limits or Limits(), storage=storage, cache=None, output="a.webp", options=options)


def assembled(bench: Bench, stack: int = 0, reduction: int = 1) -> list[DecodedSlice]:
    """The slices of a stack, in order."""
    index = bench.service.index(IndexRequest.from_strings("S", {})).index
    wanted = [
        Wanted(item, index.parts(item), reduction) for item in index.slices(index.stacks[stack].tolist())
    ]
    fetch = partial(fetch_frames, bench.storage, "S")
    made = {one.slice.row: one for one in assemble(fetch, wanted, 2**30)}
    decoded = [made[one.slice.row] for one in wanted]
    assert all(isinstance(one, DecodedSlice) for one in decoded)
    return decoded


def illuminated(code: str) -> Dataset:
    """An optical path with an illumination (PS3.16 CID 8123)."""
    return dataset(OpticalPathIdentifier="0", IlluminationTypeCodeSequence=[dataset(CodeValue=code)])


def picture(rows: int, columns: int, paths: int = 1, planes: int = 1) -> np.ndarray:
    """Smooth colours that differ from place to place, plane to plane and path to path."""
    y, x = np.mgrid[:rows, :columns]
    red, green = 255 * y // rows, 255 * x // columns
    made = np.empty((paths, planes, rows, columns, 3), np.uint8)
    for path, plane in np.ndindex(paths, planes):
        made[path, plane] = np.stack([red, green, np.full_like(red, 50 * path + 20 * plane)], axis=-1)
    return made


def volume(images: int, side: int = 8) -> np.ndarray:
    """Slices of one value each."""
    return np.repeat(np.arange(images, dtype=np.uint16) * 100, side * side).reshape(images, side, side)


# --- mosaics


def test_untile_shows_the_slices_in_mosaics() -> None:
    """With `untile` each slice in a mosaic is a tile; without it the mosaic is shown as it is."""
    bench = in_webp(files(mosaic(volume(9))))
    rendered = bench.mosaic(untile="true", tile_width=3, image_width=8, contrast="800/400")
    middles = pixels(rendered)[4::8, 4::8, 0]
    assert middles.ravel() == pytest.approx([255 * i / 8 for i in range(8, -1, -1)], abs=2)
    assert (rendered.report.slices, [stack.slices for stack in rendered.report.stacks]) == (9, [9])
    assert rendered.report.warnings == ()
    whole = bench.mosaic(untile="false", tile_width=3, image_width=8).report
    assert (whole.slices, whole.tiles[0].area) == (1, None)


def test_report_says_which_part_of_the_frame_a_tile_is() -> None:
    """Each tile names its frame, the part of it that is shown, and where that lies."""
    report = in_webp(files(mosaic(volume(4)))).mosaic(untile="true", tile_width=2).report
    assert [tile.area for tile in report.tiles] == [(8, 8, 8, 8), (8, 0, 8, 8), (0, 8, 8, 8), (0, 0, 8, 8)]
    assert [tile.primary_position for tile in report.tiles] == [10.0, 7.0, 4.0, 1.0]
    assert [tile.position for tile in report.tiles] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-6)
    assert {(tile.index, tile.frame_number, tile.frames) for tile in report.tiles} == {(0, 1, 1)}
    assert report.summary().startswith("256 x 256, 4 of 4 slices")


def test_a_mosaic_is_fetched_once_for_all_its_slices() -> None:
    """However many slices of a mosaic are shown, its frame comes once, here with its header."""
    bench = in_webp(files(mosaic(volume(9), 1), mosaic(volume(9), 2)))
    bench.mosaic(untile="true", tile_width=6, tile_height=3)
    assert len(bench.storage.ranges) == 2


def test_auto_window_is_of_the_slices_shown() -> None:
    """Statistics count the values of the slices that are shown, not those of all of the mosaic."""
    rendered = in_webp(files(mosaic(volume(9)))).mosaic(
        untile="true", tile_width=2, tile_height=1, image_width=8, contrast="auto", end=0.2
    )
    window = rendered.report.tiles[0].contrast
    assert window is not None
    assert (window.center, window.width) == (750, 100)


def test_untile_decides_the_identity() -> None:
    """A picture of slices in a mosaic is another than that of the mosaic, and of other slices in it."""
    bench = in_webp(files(mosaic(volume(9))))
    asked = [{"position": 0}, {"position": 0, "untile": "true"}, {"position": 1, "untile": "true"}]
    plans = [bench.service.plan(bench.request(ImageRequest, **options)) for options in asked]
    assert len({plan.identity for plan in plans}) == 3


def test_untile_without_mosaics_warns() -> None:
    """Where there is no mosaic, `untile` changes nothing, and a warning says so."""
    bench = in_webp(files(make_dicom.image(1), make_dicom.image(2)))
    plain, asked = bench.mosaic(), bench.mosaic(untile="true")
    assert plain.data == asked.data
    assert asked.report.warnings == ("untile has no effect: the series has no mosaic",)
    assert plain.report.warnings == ()


def test_a_mosaic_that_cannot_be_decoded_fails_each_of_its_slices() -> None:
    """Slices of one broken mosaic are marked, those of others are shown."""
    good, bad = (mosaic(volume(4), n, ImagePositionPatient=[0.0, 0.0, -1.5 * n]) for n in (1, 2))
    objects = {**files(good), **{name: data[:-300] for name, data in files(bad).items()}}
    report = in_webp(objects).mosaic(untile="true", tile_width=8, tile_height=1).report
    assert [tile.error is None for tile in report.tiles] == [True, False] * 4
    with pytest.raises(UndecodableError):
        in_webp({name: data[:-300] for name, data in files(bad).items()}).mosaic(untile="true")


def test_overlays_of_mosaics_are_left_out_of_their_slices() -> None:
    """Overlay planes belong to the whole frame: they are not drawn on its slices, and a warning says so."""
    bench = in_webp(files(make_dicom.add(mosaic(volume(4)), 0x60003000, "OW", bytes(32))))
    plain, asked = bench.mosaic(untile="true"), bench.mosaic(untile="true", overlays="true")
    assert plain.report.warnings == ()
    assert asked.report.warnings == ("overlay planes are left out of slices that are no frames",)
    assert plain.data == asked.data


# --- levels


@pytest.mark.parametrize("tile", [(16, 16), (13, 7), (64, 80)])
def test_a_level_is_highdicoms_total_pixel_matrix(tile: tuple[int, int]) -> None:
    """A level is what highdicom puts together, edge tiles cropped."""
    source = level(picture(45, 61), tile)
    (data,) = files(source).values()
    (made,) = assembled(in_webp(files(source)))
    assert made.gaps is None
    peer = highdicom.Image.from_dataset(dcmread(BytesIO(data)))
    assert np.array_equal(made.decoded.samples, peer.get_total_pixel_matrix(dtype=np.uint8))


def test_focal_planes_and_optical_paths_are_slices() -> None:
    """Each focal plane of each optical path is a slice: plane by plane, in each the first path first."""
    planes = picture(20, 30, paths=2, planes=3)
    slices = assembled(in_webp(files(level(planes, (16, 16)))))
    for made, (plane, path) in zip(slices, np.ndindex(3, 2), strict=True):
        assert np.array_equal(made.decoded.samples, planes[path, plane])
    report = in_webp(files(level(planes, (16, 16)))).image(0.5).report
    assert report.tiles[0].frame_number == 5
    assert (report.slices, report.tiles[0].position) == (6, 0.5)


def test_the_preview_of_a_slide_is_its_smallest_level() -> None:
    """The main stack is the smallest level as one picture in its proportions; `stack` chooses another."""
    large, small = picture(64, 128), 255 - picture(32, 64)
    bench = in_webp(files(level(large, (16, 16), 1), level(small, (16, 16), 2)))
    # Pixels are twice as high as they are wide.
    rendered = bench.image(image_width=64)
    assert pixels(rendered).shape == (64, 64, 3)
    assert pixels(rendered)[1::2] == pytest.approx(small[0, 0].astype(int), abs=9)
    assert rendered.report.tiles[0].frames == 8
    assert [(stack.slices, stack.columns) for stack in rendered.report.stacks] == [(1, 64), (1, 128)]
    other = bench.image(image_width=128, stack=1)
    assert pixels(other)[1::2] == pytest.approx(large[0, 0].astype(int), abs=9)


def sparse(places: list[tuple[int, int]], whole: np.ndarray, **elements: Any) -> Dataset:
    """A level of 8 x 8 tiles that has those which begin at the places given."""
    source = level(whole[np.newaxis, np.newaxis], (8, 8))
    cut = [whole[top : top + 8, left : left + 8] for top, left in places]
    values = {
        "DimensionOrganizationType": "TILED_SPARSE",
        "NumberOfFrames": len(places),
        "PerFrameFunctionalGroupsSequence": [tile_group(top + 1, left + 1) for top, left in places],
        "PixelData": b"".join(tile.tobytes() for tile in cut),
        **elements,
    }
    return dataset(**{element.keyword: element.value for element in source} | values)


def test_missing_tiles_are_white_in_colour() -> None:
    """Where a colour level has no tile it is white, and the report says how many are missing."""
    whole = picture(24, 24)[0, 0]
    rendered = in_webp(files(sparse([(0, 0), (8, 16), (16, 8)], whole))).image(image_width=24)
    image = pixels(rendered)[::2]
    for top, left in np.ndindex(3, 3):
        cell = image[8 * top + 4, 8 * left + 4]
        expected = whole[8 * top + 4, 8 * left + 4] if (top, left) in [(0, 0), (1, 2), (2, 1)] else (255,) * 3
        assert cell == pytest.approx(expected, abs=14), (top, left)
    assert rendered.report.warnings == ("1.dcm: 6 of 9 tiles are missing and shown as background",)
    assert rendered.report.tiles[0].error is None


@pytest.mark.parametrize(
    ("elements", "background"),
    [
        ({"PixelPaddingValue": 240}, 240),
        ({"OpticalPathSequence": [illuminated("111744")]}, 255),
        ({"OpticalPathSequence": [illuminated("111741")]}, 255),
        ({"OpticalPathSequence": [illuminated("111743")]}, 0),
        ({"OpticalPathSequence": [illuminated("111745")]}, 0),
        ({"OpticalPathSequence": [illuminated("111743")], "PixelPaddingValue": 30}, 30),
        ({}, 255),
    ],
)
def test_missing_tiles_are_what_the_slide_looks_like_without_tissue(elements, background) -> None:
    """A padding value is the colour of what no tile shows; else white in brightfield, black elsewhere."""
    source = sparse([(0, 0)], picture(16, 16)[0, 0])
    for name, value in elements.items():
        setattr(source, name, value)
    image = pixels(in_webp(files(source)).image(image_width=16))[::2]
    assert image[12, 12] == pytest.approx([background] * 3, abs=2)


@pytest.mark.parametrize("encode", [imagecodecs.jpeg8_encode, imagecodecs.jpeg2k_encode])
def test_cropped_tiles_at_the_edges_are_placed_at_their_own_size(encode) -> None:
    """Codestreams of edge tiles that end where the level ends are shown there; no other of that size is."""
    whole = picture(40, 56)[0, 0]
    streams = [
        encode(np.ascontiguousarray(whole[top : top + 32, left : left + 32]), level=95)
        for top in (0, 32)
        for left in (0, 32)
    ]
    is_jpeg = encode is imagecodecs.jpeg8_encode
    source = level(
        whole[np.newaxis, np.newaxis],
        (32, 32),
        PixelData=make_dicom.encapsulate([[stream + bytes(len(stream) % 2)] for stream in streams], None),
        PhotometricInterpretation="YBR_FULL_422" if is_jpeg else "RGB",
    )
    bench = in_webp(files(source, syntax=make_dicom.JPEG if is_jpeg else "1.2.840.10008.1.2.4.91"))
    rendered = bench.image(image_width=56)
    assert rendered.report.warnings == ()
    assert np.abs(pixels(rendered)[::2] - whole).mean() < 6


def test_missing_tiles_are_black_in_grey_and_no_values() -> None:
    """Where a grey level has no tile it is black under any window, and counts for no statistics."""
    whole = np.full((16, 16), 100, np.uint8)
    whole[:8, :8] = np.arange(64).reshape(8, 8) + 100
    rendered = in_webp(files(sparse([(0, 0), (8, 8)], whole))).image(image_width=16, contrast="50/0")
    assert pixels(rendered)[[4, 28], [12, 4]].tolist() == [[0] * 3] * 2
    assert pixels(rendered)[4, 4].min() == 255
    auto = in_webp(files(sparse([(0, 0)], whole))).image(image_width=16, contrast="auto")
    window = auto.report.tiles[0].contrast
    assert window is not None
    assert window.center == pytest.approx(131.5)


def test_of_overlapping_tiles_the_last_is_seen() -> None:
    """Where tiles overlap the later frame is seen, in whatever order answers come."""
    whole = np.zeros((8, 12, 3), np.uint8)
    frames = b"".join(np.full((8, 8, 3), value, np.uint8).tobytes() for value in (10, 20))
    bench = in_webp(files(sparse([(0, 0), (0, 4)], whole, PixelData=frames)))
    for storage in (bench.storage, doubles.Backwards(bench.storage)):
        bench.storage = storage
        (made,) = assembled(bench)
        assert made.decoded.samples[0, :, 0].tolist() == [10] * 4 + [20] * 8


JPEG_TILE = 32


def jpeg_level(whole: np.ndarray, number: int = 1, **elements: Any) -> tuple[Dataset, list[bytes]]:
    """A level of 32 x 32 tiles in JPEG, and its codestreams."""
    tiles = make_dicom.tiles_of(whole, (JPEG_TILE, JPEG_TILE))
    streams = [imagecodecs.jpeg8_encode(tile, level=95) for tile in tiles]
    values = {
        "PixelData": make_dicom.encapsulate([[stream + bytes(len(stream) % 2)] for stream in streams], None),
        "PhotometricInterpretation": "YBR_FULL_422",
        **elements,
    }
    return level(whole[np.newaxis, np.newaxis], (JPEG_TILE, JPEG_TILE), number, **values), streams


def test_a_tile_that_cannot_be_decoded_is_crossed_out() -> None:
    """A broken tile is crossed out where it lies, all others are shown, and a warning says why."""
    whole = picture(64, 96)[0, 0]
    source, streams = jpeg_level(whole)
    ((name, data),) = files(source, syntax=make_dicom.JPEG).items()
    broken = data.replace(streams[4], streams[4][:2] + bytes(len(streams[4]) - 2))
    rendered = in_webp({name: broken}).image(image_width=96)
    image = pixels(rendered)[::2]
    mark = failed_tile(JPEG_TILE, JPEG_TILE)
    assert np.abs(image[32:, 32:64, 1] - mark).mean() < 12
    assert np.abs(image[:32] - whole[:32]).mean() < 6
    (warning,) = rendered.report.warnings
    assert warning.startswith("1.dcm: 1 of its tiles cannot be shown and are crossed out: ")
    (tile,) = rendered.report.tiles
    assert (tile.error, tile.frames, tile.failed_frames) == (None, 6, 1)


def test_a_level_without_a_tile_is_an_error() -> None:
    """Where no tile of a level can be had there is no picture, and the error says what stands in the way."""
    source, _ = jpeg_level(picture(40, 40)[0, 0])
    ((name, data),) = files(source, syntax=make_dicom.JPEG).items()
    start = data.rindex(make_dicom.ITEM, 0, data.index(b"\xff\xd8\xff"))
    with pytest.raises(UndecodableError, match="the one slice chosen cannot be shown"):
        in_webp({name: data[:start] + b"\0" * (len(data) - start)}).image()
    bench = in_webp({name: data})
    plan = bench.service.plan(bench.request(ImageRequest, position=0))
    plan = replace(plan, opened=replace(plan.opened, prefetched=Prefetched()))
    assert isinstance(bench.storage.inner, doubles.FailingStorage)
    bench.storage.inner.errors[name] = AccessDeniedError(name, "memory://objects")
    with pytest.raises(AccessDeniedError):
        bench.service.render_plan(plan)


def test_a_level_over_the_limit_is_refused_before_its_pixels_are_fetched() -> None:
    """A level with more pixels than the limit is refused by its size; a smaller one of the series is not."""
    small, large = level(picture(10, 10), (8, 8), 1), level(picture(400, 400), (200, 200), 2)
    bench = in_webp(files(small, large), limits=Limits(matrix_pixels=2000))
    bench.image()
    headers = len(bench.storage.ranges)  # the small level's tiles came with its header
    bench.storage.reset()
    with pytest.raises(
        LimitError, match="1 is a level of 400 x 400 pixels, more than 2000; choose a smaller one"
    ):
        bench.image(stack=1)
    assert len(bench.storage.ranges) == headers


def test_a_label_is_shown_only_when_chosen() -> None:
    """A series of a label alone has no main picture; its stack can be chosen."""
    label = level(picture(8, 8), (8, 8), ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    bench = in_webp(files(label))
    with pytest.raises(NoImageError, match="label or overview"):
        bench.image()
    assert bench.image(stack=1).report.stack == 1


@pytest.mark.parametrize("side", [300, 512])
def test_reduced_tiles_make_the_same_picture(side: int) -> None:
    """Put together of reduced frames, a noisy level is within 2 grey levels (RMS) of the whole one."""
    noise = RNG.normal(0, 20, (side, side, 3))
    whole = np.clip(picture(side, side)[0, 0] + noise, 0, 255).astype(np.uint8)
    source, _ = jpeg_level(whole)
    bench = in_webp(files(source, syntax=make_dicom.JPEG))
    (full,) = assembled(bench)
    # Pixels are twice as high as they are wide.
    size = side // 17, 2 * (side // 17)
    assert level_reduction(full.slice, size) == 2
    (reduced,) = assembled(bench, reduction=2)
    assert (reduced.decoded.reduction, reduced.decoded.samples.shape) == (2, (side // 2, side // 2, 3))
    shrunk = resize(reduced.decoded.samples, size, area=(0.0, 0.0, side / 2, side / 2)).astype(int)
    assert np.sqrt(((shrunk - resize(full.decoded.samples, size)) ** 2).mean()) < 2


def test_one_object_without_offsets_is_fetched_once() -> None:
    """Tiles of a small object without an offset table come out of the request for its header."""
    whole = picture(64, 64)[0, 0]
    source, streams = jpeg_level(whole)
    source.PixelData = make_dicom.encapsulate([[stream + bytes(len(stream) % 2)] for stream in streams])
    bench = in_webp(files(source, syntax=make_dicom.JPEG))
    rendered = bench.image(image_width=64)
    assert np.abs(pixels(rendered)[::2] - whole).mean() < 6
    assert len(bench.storage.ranges_of("S/1.dcm")) == 1


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["sm_image.dcm", "sm_image_grayscale.dcm"])
def test_real_levels_are_highdicoms(real_data: Path, name: str) -> None:
    """Real slides are what highdicom puts together."""
    path = real_data / "single" / "sm" / name
    (made,) = assembled(in_webp({f"S/{name}": path.read_bytes()}))
    stored = {
        "apply_real_world_transform": False,
        "apply_modality_transform": False,
        "apply_voi_transform": False,
    }
    peer = highdicom.imread(path)
    options = stored if made.decoded.samples.ndim == 2 else {}
    expected = peer.get_total_pixel_matrix(dtype=made.decoded.samples.dtype, **options)
    assert np.array_equal(np.squeeze(expected), made.decoded.samples)


@pytest.mark.real_data
def test_real_jpeg_level_is_pydicoms(real_data: Path) -> None:
    """A real level in JPEG is pydicom's frames side by side, cut to the matrix."""
    path = real_data / "single" / "sm" / "multiframe_camelyon_challenge_image.dcm"
    (made,) = assembled(in_webp({"S/1": path.read_bytes()}))
    frames = dcmread(path).pixel_array.reshape(3, 5, 256, 256, 3)
    whole = frames.transpose(0, 2, 1, 3, 4).reshape(768, 1280, 3)[:700, :1152]
    assert made.decoded.samples == pytest.approx(whole, abs=1)
