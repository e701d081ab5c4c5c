import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dicom_series_preview.products.pictures import layout
from dicom_series_preview.products.pictures.layout import (
    draw_overlay,
    failed_tile,
    fitted_size,
    grid,
    overlay_opacity,
    resize,
    tile_size,
)

RANDOM = np.random.default_rng(1)

pictures = hnp.arrays(
    np.uint8,
    st.one_of(
        st.tuples(st.integers(1, 24), st.integers(1, 24)),
        st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)),
    ),
)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def padded_pictures(draw):
    """A picture and a mask of its padding."""
    image = draw(pictures)
    return image, draw(hnp.arrays(np.bool_, image.shape[:2]))


# --- tile_size


@pytest.mark.parametrize(
    ("shape", "width", "spacing", "expected"),
    [
        ((512, 512), 128, (0.7, 0.7), (128, 128)),
        ((256, 512), 128, (1, 1), (128, 64)),
        ((512, 512), 128, (2, 1), (128, 256)),  # rows 2 mm apart: twice as tall
        ((512, 512), 128, (1, 2), (128, 64)),
        ((28, 64), 128, (6.4, 4.0), (128, 90)),  # 128 * 28 / 64 * 1.6 = 89.6
        ((3, 2), 1, (0.7, 0.7), (1, 2)),  # 1.5 goes up
        ((5, 2), 1, (1, 1), (1, 3)),  # 2.5 too
        ((1, 2), 1, (0.3, 0.1), (1, 2)),  # 1.5, though 0.3 / 0.1 is a little less than 3
        ((1, 1000), 128, (1, 1), (128, 1)),  # never nothing
    ],
)
def test_tile_height_follows_pixels_and_spacing(shape, width, spacing, expected):
    """The height is width * rows * row spacing / (columns * column spacing), a half up, at least 1."""
    assert tile_size(*shape, width, *spacing) == expected


# --- fitted_size


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((100, 50), (128, 128), (128, 64)),
        ((50, 100), (128, 128), (64, 128)),
        ((1000, 1000), (128, 90), (90, 90)),
        ((128, 128), (128, 128), (128, 128)),
        ((5000, 1), (128, 128), (128, 1)),
    ],
)
def test_fitted_size_fills_one_side(size, box, expected):
    """A size is scaled up or down until one side is full and the other fits."""
    assert fitted_size(*size, *box) == expected


@given(*[st.integers(1, 3000)] * 4)
def test_fitting_again_changes_nothing(width, height, largest_width, largest_height):
    """What fits, fits: a second time gives the same size, and one side is always full."""
    fitted = fitted_size(width, height, largest_width, largest_height)
    assert fitted_size(*fitted, largest_width, largest_height) == fitted
    assert fitted[0] == largest_width or fitted[1] == largest_height
    assert 1 <= fitted[0] <= largest_width
    assert 1 <= fitted[1] <= largest_height


# --- resize


@given(st.integers(0, 255), st.tuples(st.integers(1, 60), st.integers(1, 60)), sizes)
def test_constant_stays_constant(value, shape, size):
    """A picture of one grey value has that value at every size."""
    resized = resize(np.full(shape, value, np.uint8), size)
    assert resized.shape == size[::-1]
    assert resized.dtype == np.uint8
    assert (resized == value).all()


@given(pictures, sizes)
def test_nothing_is_invented(image, size):
    """No value lies beyond the darkest and the brightest of the picture."""
    resized = resize(image, size)
    assert resized.shape == (size[1], size[0], *image.shape[2:])
    assert image.min() <= resized.min() <= resized.max() <= image.max()


@pytest.mark.parametrize("size", [(128, 128), (100, 100), (37, 90), (700, 700), (100, 700)])
def test_hard_edges_get_no_rim(size):
    """On both sides of a hard edge the values stay what they were, enlarged or made smaller."""
    image = np.full((256, 256), 60, np.uint8)
    image[:, 101:] = 190
    image[77:80] = 190
    resized = resize(image, size)
    assert (resized.min(), resized.max()) == (60, 190)


@given(pictures, sizes)
def test_mirrored_picture_gives_mirrored_result(image, size):
    """Left and right, top and bottom are treated alike."""
    resized = resize(image, size)
    assert np.array_equal(resize(np.ascontiguousarray(image[:, ::-1]), size), resized[:, ::-1])
    assert np.array_equal(resize(np.ascontiguousarray(image[::-1]), size), resized[::-1])


@given(hnp.arrays(np.uint8, (32, 32)), st.sampled_from([32, 128, 256]), st.integers(0, 255))
def test_mean_is_preserved(inner, size, rim):
    """Halving or enlarging, any picture (inside a rim of its own) stays as bright as it was."""
    image = np.full((64, 64), rim, np.uint8)
    image[16:48, 16:48] = inner
    assert abs(resize(image, (size, size)).mean() - image.mean()) < 1


@pytest.mark.parametrize("size", [(128, 128), (100, 57), (400, 400), (64, 600), (31, 500)])
def test_mean_of_noise_is_preserved(size):
    """By other factors, which weigh a pixel by its place, a picture without a pattern stays as bright."""
    image = np.random.default_rng(1).integers(0, 256, (512, 512), np.uint8)
    assert abs(resize(image, size).mean() - image.mean()) < 1


def test_each_axis_has_its_own_filter():
    """One axis may shrink while the other grows, as if each was resized alone."""
    image = np.random.default_rng(4).integers(0, 256, (20, 90), np.uint8)
    alone = resize(resize(image, (30, 20)), (30, 50))
    assert np.array_equal(resize(image, (30, 50)), alone)


def test_fine_pattern_is_averaged():
    """Shrinking is antialiased: stripes finer than a pixel become grey, not other stripes."""
    image = np.zeros((512, 512), np.uint8)
    image[:, ::2] = 255
    resized = resize(image, (128, 128))
    away = np.abs(resized.astype(int) - 127.5)
    assert away[:, 1:-1].max() < 1
    assert away.max() < 10  # half a kernel on the picture's border


@pytest.mark.parametrize(
    ("side", "tile", "within"),
    [
        (512, 128, 0.001),
        (512, 192, 0.02),
        (300, 128, 0.02),
        (512, 200, 0.02),
        (512, 400, 0.02),
        (512, 300, 0.03),
    ],
)
def test_a_bright_point_counts_the_same_wherever_it_lies(side, tile, within):
    """Shrinking keeps what a point adds to the picture's sum, whatever the phase of the tile's grid."""
    totals = []
    for place in range(side // 2, side // 2 + 24):
        image = np.zeros((side, side), np.float32)
        image[place, place] = 1
        totals.append(np.asarray(layout._resample(Image.fromarray(image), (tile, tile))).sum())
    assert np.array(totals) * (side / tile) ** 2 == pytest.approx(np.ones(24), abs=within)


def test_same_size_is_a_copy():
    """At its own size a picture comes back unchanged, as an array of its own."""
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    resized = resize(image, (4, 3))
    assert np.array_equal(resized, image)
    assert not np.shares_memory(resized, image)
    assert resized.flags.writeable


def test_arguments_are_not_changed():
    """Picture and mask are as they were."""
    image = np.full((9, 9), 7, np.uint8)
    padding = np.eye(9, dtype=bool)
    resize(image, (4, 4), padding)
    assert (image == 7).all()
    assert np.array_equal(padding, np.eye(9, dtype=bool))


@pytest.mark.parametrize("padding_value", [0, 255])
@pytest.mark.parametrize("size", [(16, 16), (13, 11), (64, 64), (150, 150), (13, 150)])
def test_padding_stays_out_of_tissue(padding_value, size):
    """Where half of a pixel or more is tissue it has the tissue's value, whatever the padding holds."""
    padding = np.zeros((64, 64), bool)
    padding[:, :24] = True
    padding[:10] = True
    image = np.where(padding, padding_value, 100).astype(np.uint8)
    resized = resize(image, size, padding)
    left = np.arange(size[0]) * 64 / size[0]
    top = np.arange(size[1]) * 64 / size[1]
    width, height = 64 / size[0], 64 / size[1]
    across = np.clip((left + width - 24) / width, 0, 1)
    down = np.clip((top + height - 10) / height, 0, 1)
    covered = np.outer(down, across)
    assert (resized[covered >= 0.5 + 1e-9] == 100).all()
    assert (resized[covered == 0] == 0).all()
    assert (np.abs(resized - 100 * np.minimum(1, 2 * covered)) <= 0.51).all()


def test_structures_thinner_than_half_a_pixel_do_not_vanish():
    """A thin bright line in padding is dim, not gone."""
    image = np.zeros((512, 512), np.uint8)
    image[:, 100] = 200
    resized = resize(image, (128, 128), image == 0)
    assert (resized[:, 25] == 100).all()  # a quarter of the pixel: half the value
    assert (np.delete(resized, 25, axis=1) == 0).all()


@given(padded_pictures(), sizes, st.integers(0, 255))
def test_padding_values_do_not_matter(picture, size, value):
    """What the padding holds changes nothing in the result."""
    image, padding = picture
    other = image.copy()
    other[padding] = value
    assert np.array_equal(resize(image, size, padding), resize(other, size, padding))


@given(padded_pictures(), sizes)
def test_nothing_is_invented_beside_padding(picture, size):
    """No value is brighter than the brightest pixel that is not padding; all padding is all black."""
    image, padding = picture
    resized = resize(image, size, padding)
    brightest = image[~padding].max() if not padding.all() else 0
    assert resized.shape == (size[1], size[0], *image.shape[2:])
    assert resized.max() <= brightest


@given(padded_pictures(), sizes)
def test_mirrored_padding_gives_mirrored_result(picture, size):
    """With padding too, left and right are treated alike, to one level of rounding."""
    image, padding = picture
    mirrored = resize(image[:, ::-1], size, padding[:, ::-1])[:, ::-1]
    assert np.abs(mirrored.astype(int) - resize(image, size, padding)).max() <= 1


def test_mask_without_padding_is_no_mask():
    """A mask that marks nothing gives the plain result."""
    image = np.random.default_rng(2).integers(0, 256, (50, 40), np.uint8)
    assert np.array_equal(resize(image, (17, 23), np.zeros((50, 40), bool)), resize(image, (17, 23)))


def test_far_from_padding_the_result_is_the_plain_one():
    """A mask in one corner leaves the rest as it is without it, to one level of rounding."""
    image = np.random.default_rng(3).integers(0, 256, (200, 200), np.uint8)
    padding = np.zeros((200, 200), bool)
    padding[:20, :20] = True
    difference = resize(image, (60, 60), padding).astype(int) - resize(image, (60, 60))
    assert np.abs(difference[10:, 10:]).max() <= 1


def test_padding_of_colour_is_that_of_its_channels():
    """Each channel of a colour picture is resized like a grey one, with one mask."""
    image = np.random.default_rng(5).integers(0, 256, (40, 40, 3), np.uint8)
    padding = image[..., 0] < 60
    resized = resize(image, (15, 15), padding)
    for channel in range(3):
        alone = resize(np.ascontiguousarray(image[..., channel]), (15, 15), padding)
        assert np.array_equal(resized[..., channel], alone)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4, 3, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_a_mistake(image):
    """Other types and shapes are the programmer's mistake."""
    with pytest.raises(ValueError, match="a picture is uint8"):
        resize(image, (2, 2))


def test_mask_of_another_shape_is_a_mistake():
    """A mask belongs to its picture."""
    with pytest.raises(ValueError, match="a mask of"):
        resize(np.zeros((4, 4), np.uint8), (2, 2), np.ones((4, 5), bool))


# --- overlays


@pytest.mark.parametrize("shrink", [1, 2, 3, 4])
def test_overlay_hides_twice_the_area_it_covers(shrink):
    """Down to a quarter, a pixel's opacity is twice its covered share, and all from a half on."""
    mask = RANDOM.random((6 * shrink, 8 * shrink)) < 0.3
    covered = mask.reshape(6, shrink, 8, shrink).mean(axis=(1, 3))
    expected = np.minimum(1, 2 * covered)
    assert overlay_opacity(mask, (8, 6)) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 1500), st.floats(0, 1, exclude_max=True), st.integers(1, 64), st.booleans())
def test_a_line_stays_visible_in_the_smallest_tile(length, place, side, upright):
    """A line one pixel wide hides at least half of what it crosses, at any size and in any direction."""
    mask = np.zeros((length, length), bool)
    mask[:, int(place * length)] = True
    opacity = overlay_opacity(mask if upright else mask.T, (side, side))
    assert (opacity.sum(axis=1 if upright else 0) >= 0.5 - 1e-4).all()


def test_an_overlay_of_nothing_hides_nothing():
    """Without a marked pixel the opacity is 0 everywhere."""
    assert not overlay_opacity(np.zeros((50, 40), bool), (8, 10)).any()


def test_enlarged_overlay_lies_on_its_pixels():
    """Of an enlarged picture, an overlay hides exactly the marked pixels' squares."""
    mask = RANDOM.random((5, 7)) < 0.5
    assert (overlay_opacity(mask, (21, 15)) == np.kron(mask, np.ones((3, 3)))).all()


def test_overlay_is_drawn_white():
    """An opacity of 1 is white and one of 0 the picture, in every channel; the picture itself stays."""
    for shape in ((2, 2), (2, 2, 3)):
        tile = np.full(shape, 100, np.uint8)
        drawn = draw_overlay(tile, np.array([[0, 0.5], [0.2, 1]], np.float32))
        expected = np.array([[100, 178], [131, 255]])
        assert (drawn == (expected if len(shape) == 2 else expected[..., np.newaxis])).all()
        assert drawn.dtype == np.uint8
        assert (tile == 100).all()


# --- grid


def test_grid_runs_row_by_row():
    """Tiles fill rows from the left and rows from the top; what is missing is black."""
    tiles = [np.full((2, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)]
    mosaic = grid(tiles, columns=3, rows=2, tile_width=3, tile_height=2)
    assert mosaic.shape == (4, 9)
    assert mosaic.dtype == np.uint8
    assert mosaic[::2, ::3].tolist() == [[10, 20, 30], [40, 50, 0]]
    assert mosaic[1::2, 2::3].tolist() == [[10, 20, 30], [40, 50, 0]]


def test_grid_of_nothing_is_black():
    """No tiles at all give a black picture of the full size."""
    mosaic = grid([], columns=2, rows=3, tile_width=5, tile_height=4)
    assert mosaic.shape == (12, 10)
    assert not mosaic.any()


def test_one_colour_tile_makes_the_mosaic_colour():
    """Beside a colour tile grey ones stay grey, in three equal channels."""
    grey, colour = np.full((2, 2), 90, np.uint8), np.zeros((2, 2, 3), np.uint8)
    colour[..., 0] = 200
    mosaic = grid([grey, colour], columns=3, rows=1, tile_width=2, tile_height=2)
    assert mosaic.shape == (2, 6, 3)
    assert mosaic[0, ::2].tolist() == [[90, 90, 90], [200, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("shape", "box"), [((4, 8), (slice(2, 6), slice(0, 8))), ((16, 8), (slice(0, 8), slice(2, 6)))]
)
def test_other_sizes_are_fitted_and_centred(shape, box):
    """A tile of other proportions fills one direction of its cell, centred on black."""
    mosaic = grid([np.full(shape, 99, np.uint8)], columns=1, rows=1, tile_width=8, tile_height=8)
    expected = np.zeros((8, 8), np.uint8)
    expected[box] = 99
    assert np.array_equal(mosaic, expected)


def test_a_tile_of_its_fitted_size_is_not_resized_again():
    """What was resized to its fitted size goes into the cell as it is."""
    tile = np.random.default_rng(6).integers(0, 256, (77, 128), np.uint8)
    mosaic = grid([tile], columns=1, rows=1, tile_width=128, tile_height=100)
    assert np.array_equal(mosaic[11:88], tile)


def test_more_tiles_than_cells_are_a_mistake():
    """No tile is dropped in silence."""
    with pytest.raises(ValueError, match="5 tiles for 2 x 2 cells"):
        grid([np.zeros((1, 1), np.uint8)] * 5, columns=2, rows=2, tile_width=1, tile_height=1)


# --- failed_tile


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 2), (128, 128), (512, 300)])
def test_failed_tile_has_every_size(size):
    """The mark of a slice that cannot be shown exists from one pixel upwards, and is never black."""
    tile = failed_tile(*size)
    assert tile.shape == size[::-1]
    assert tile.dtype == np.uint8
    assert tile.min() > 0


def test_failed_tile_is_crossed_out():
    """The mark is dark grey with a lighter diagonal cross and frame."""
    tile = failed_tile(128, 128)
    ground = tile[20, 64]
    assert ground < 80
    for index in range(0, 128, 8):
        assert tile[index, index] > ground + 50
        assert tile[index, 127 - index] > ground + 50
        assert tile[0, index] > ground + 50
    assert (tile == ground).mean() > 0.8
