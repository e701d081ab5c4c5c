from typing import Any

import numpy as np
import pytest

import doubles
import make_dicom
from dicom_series_preview.base.errors import LimitError, RequestError
from dicom_series_preview.products.pictures.requests import IndexRequest
from rendering import SIDE, Bench, files, greys, pixels, ramp, uniform


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
