from dataclasses import FrozenInstanceError
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_series_preview.base.errors import CombinedRequestError, RequestError
from dicom_series_preview.pixels.contrast.spec import ContrastSpec
from dicom_series_preview.products.pictures.formats import ImageFormat
from dicom_series_preview.products.pictures.requests import (
    ContrastRequest,
    ImageRequest,
    IndexRequest,
    MosaicRequest,
)

DEFAULT = ContrastSpec("default")
LUNG = ContrastSpec("preset", name="ct-lung", center=-500.0, width=1500.0)


def mosaic(output: str = "a.webp", series: str = "S", **options: str) -> MosaicRequest:
    """A mosaic request of single values."""
    return MosaicRequest.from_strings(series, output, {name: [value] for name, value in options.items()})


def image(**options: str) -> ImageRequest:
    """An image request of single values."""
    return ImageRequest.from_strings("S", "a.webp", {name: [value] for name, value in options.items()})


def contrasts(*texts: str, **options: str) -> ContrastRequest:
    """A contrast request."""
    given_options = {name: [value] for name, value in options.items()}
    return ContrastRequest.from_strings("S", "a.webp", {"contrast": list(texts), **given_options})


def wrong(build, *arguments, **options) -> list[str]:
    """The parameters that a request names as wrong."""
    with pytest.raises(RequestError) as caught:
        build(*arguments, **options)
    error = caught.value
    return (
        [e.parameter for e in error.errors] if isinstance(error, CombinedRequestError) else [error.parameter]
    )


# --- defaults


def test_mosaic_defaults() -> None:
    """A mosaic is 6 x 6 tiles of 128 pixels at quality 25, of the whole main stack."""
    request = mosaic()
    assert (request.grid(), request.start, request.end) == ((6, 6), 0.0, 1.0)
    picture = request.picture
    assert (picture.image_width, picture.quality, picture.stack) == (128, 25, 0)
    assert picture.image_format is ImageFormat.WEBP
    assert request.contrast == DEFAULT
    assert request.series.text == "S"


@pytest.mark.parametrize(("output", "quality"), [("a.webp", 25), ("a.jpg", 50), ("a.JPEG", 50)])
def test_default_quality_is_the_format_s(output: str, quality: int) -> None:
    """JPEG's default quality is 50, which shows what WebP shows at 25."""
    assert MosaicRequest.from_strings("S", output, {}).picture.quality == quality
    asked = MosaicRequest.from_strings("S", output, {"quality": ["25"]})
    assert asked.picture.quality == 25


def test_tile_height_follows_tile_width() -> None:
    """Without a tile height, a mosaic has as many rows as columns."""
    assert mosaic(tile_width="4").grid() == mosaic(tile_width="4").grid(16) == (4, 4)
    assert mosaic(tile_width="4", tile_height="2").grid() == (4, 2)


@pytest.mark.parametrize(
    ("slices", "grid"),
    [
        *(
            (1, (1, 1)),
            (2, (2, 1)),
            (3, (3, 1)),
            (4, (2, 2)),
            (5, (5, 1)),
            (6, (3, 2)),
            (7, (4, 2)),
            (8, (4, 2)),
        ),
        *((9, (3, 3)), (10, (5, 2)), (20, (5, 4)), (30, (6, 5)), (31, (6, 6)), (36, (6, 6)), (37, (6, 6))),
    ],
)
def test_few_slices_make_a_small_grid(slices: int, grid: tuple[int, int]) -> None:
    """Where no grid is asked for, it is the smallest that holds all slices, the squarest of several."""
    assert mosaic().grid(slices) == grid


@pytest.mark.parametrize(
    ("asked", "slices", "grid"),
    [
        ({"tile_width": "6", "tile_height": "6"}, 1, (6, 6)),
        ({"tile_width": "6"}, 7, (6, 2)),
        ({"tile_width": "6"}, 1, (6, 1)),
        ({"tile_height": "3"}, 7, (3, 3)),
        ({"tile_height": "3"}, 1, (1, 3)),
    ],
)
def test_a_side_that_is_asked_for_is_kept(asked: dict[str, str], slices: int, grid: tuple[int, int]) -> None:
    """The other side is as short as holds all slices."""
    assert mosaic(**asked).grid(slices) == grid


def test_contrasts_of_one_slice_are_one_row() -> None:
    """Unless more rows are asked for."""
    assert [contrasts("lung", "bone").grid(n) for n in (1, 2, 9)] == [(2, 1), (2, 2), (2, 2)]
    assert contrasts("lung", tile_height="4").grid(1) == (1, 4)


def test_image_defaults() -> None:
    """An image needs a position only."""
    request = image(position="0.25")
    assert (request.position, request.slice_offset, request.contrast) == (0.25, 0, DEFAULT)


def test_contrast_defaults() -> None:
    """A contrast mosaic without position or range is two images of the whole range."""
    request = contrasts("lung")
    assert (request.position, request.grid(), request.start, request.end) == (None, (1, 2), 0.0, 1.0)
    assert request.contrasts == (LUNG,)


def test_index_defaults() -> None:
    """An index is of all objects, unless a limit is given."""
    assert IndexRequest.from_strings("S", {}).limit is None
    assert IndexRequest.from_strings("S", {"limit": ["7"]}).limit == 7


@pytest.mark.parametrize(
    ("output", "image_format"),
    [("a.webp", ImageFormat.WEBP), ("a.JPG", ImageFormat.JPEG), ("a.jpeg", ImageFormat.JPEG)],
)
def test_format_follows_the_extension(output: str, image_format: ImageFormat) -> None:
    """The output's extension is the format."""
    assert mosaic(output).picture.image_format is image_format


def test_overlays_are_drawn_where_asked_for() -> None:
    """Overlays are an option of every picture, and off without it."""
    for build in (mosaic, partial(image, position="0"), partial(contrasts, "lung")):
        drawn = [
            build(**given).picture.overlays for given in ({}, {"overlays": "true"}, {"overlays": "false"})
        ]
        assert drawn == [False, True, False]


# --- ranges


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("tile_width", ["1", "65500"], ["0", "-1", "65501", "2.0", "", "six", "1e3"]),
        ("tile_height", ["1", "65500"], ["0", "x"]),
        ("image_width", ["1", "512"], ["0", "65501", "12px"]),
        ("quality", ["0", "100"], ["-1", "101", "25.5"]),
        ("stack", ["0", "3"], ["-1", "main"]),
        *((name, ["true", "false", "True"], ["", "1", "yes"]) for name in ("overlays", "untile", "labels")),
        ("start", ["0", "0.0", "1", ".5", "1e-3"], ["-0.1", "1.0001", "nan", "inf", "-inf", "x", ""]),
        ("end", ["0", "1", "0.5"], ["2", "nan", "half"]),
        ("contrast", ["lung", "ct-lung", "soft", "1500/-500", "auto", "embedded"], ["", "0/1", "x", "1"]),
        ("contrast_preset", ["brain"], ["brian"]),
    ],
)
def test_ranges_of_options(name: str, valid: list[str], invalid: list[str]) -> None:
    """Each option takes the values of its range, ends included, and its name is in the error otherwise."""
    for text in valid:
        assert mosaic(**{name: text})
    expected = "contrast" if name.startswith("contrast") else name
    for text in invalid:
        assert wrong(mosaic, **{name: text}) == [expected]


@pytest.mark.parametrize("text", ["-1.0", "1.5", "nan", "inf", "x", ""])
def test_position_out_of_range(text: str) -> None:
    """A position outside 0..1 is refused, by image and contrast mosaic."""
    assert wrong(image, position=text) == ["position"]
    assert wrong(contrasts, "lung", position=text) == ["position"]


def test_slice_offset_may_be_negative() -> None:
    """A slice offset is any whole number."""
    assert [image(position="0", slice_offset=n).slice_offset for n in ("-3", "0", "+5")] == [-3, 0, 5]
    assert wrong(image, position="0", slice_offset="1.5") == ["slice_offset"]


def test_start_after_end() -> None:
    """A range that runs backwards is refused; an empty one is not."""
    assert wrong(mosaic, start="0.8", end="0.2") == ["start"]
    assert mosaic(start="0.3", end="0.3").start == 0.3
    assert mosaic(end="0").end == 0.0


@given(start=st.floats(0, 1), end=st.floats(0, 1))
def test_any_ordered_range_is_kept(start: float, end: float) -> None:
    """Positions are kept as they are written."""
    start, end = min(start, end), max(start, end)
    request = mosaic(start=repr(start), end=repr(end))
    assert (request.start, request.end) == (start, end)


# --- what goes with what


def test_image_needs_a_position() -> None:
    """Without a position there is no image; a wrong one is said once."""
    assert wrong(image) == ["position"]
    assert wrong(image, position="2") == ["position"]


@pytest.mark.parametrize("name", ["start", "end", "tile_height"])
def test_position_excludes_a_range(name: str) -> None:
    """A contrast mosaic is of one position or of a range."""
    assert wrong(contrasts, "lung", position="0.5", **{name: "1"}) == [name]


def test_offset_needs_a_position() -> None:
    """A contrast mosaic's slice offset moves on from a position."""
    assert wrong(contrasts, "lung", slice_offset="1") == ["slice_offset"]


def test_contrast_mosaic_needs_a_contrast() -> None:
    """A contrast mosaic compares at least one contrast."""
    assert wrong(contrasts) == ["contrast"]


def test_contrasts_keep_their_order() -> None:
    """Columns are in the order that is asked for, and the same twice is two columns."""
    assert [str(spec) for spec in contrasts("lung", "80/40", "auto", "lung").contrasts] == [
        "ct-lung",
        "80/40",
        "auto",
        "ct-lung",
    ]


def test_one_contrast_where_one_is_shown() -> None:
    """A mosaic and an image have one contrast."""
    for build in (MosaicRequest, ImageRequest):
        options = {"contrast": ["lung", "bone"], "position": ["0"]}
        if build is MosaicRequest:
            del options["position"]
        with pytest.raises(RequestError, match="more than once"):
            build.from_strings("S", "a.webp", options)


def test_option_given_twice() -> None:
    """An option with one value cannot be given twice."""
    with pytest.raises(RequestError, match="more than once"):
        MosaicRequest.from_strings("S", "a.webp", {"quality": ["1", "2"]})


def test_unknown_option() -> None:
    """An option that the request does not have is refused by name."""
    assert wrong(mosaic, position="0.5") == ["position"]
    assert wrong(image, position="0.5", tile_width="2") == ["tile_width"]
    assert wrong(IndexRequest.from_strings, "S", {"quality": ["1"]}) == ["quality"]


# --- earlier spellings


def test_earlier_contrast_options() -> None:
    """`contrast_preset`, and `window_width` with `window_center`, are contrasts too."""
    assert mosaic(contrast_preset="lung").contrast == LUNG
    custom = mosaic(window_width="1500", window_center="-500").contrast
    assert (custom.kind, custom.width, custom.center) == ("custom", 1500.0, -500.0)
    assert contrasts(contrast_preset="lung").contrasts == (LUNG,)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"window_width": "80"}, "window_center"),
        ({"window_center": "40"}, "window_width"),
        ({"contrast": "lung", "contrast_preset": "lung"}, "contrast"),
        ({"contrast": "lung", "window_width": "1", "window_center": "0"}, "contrast"),
        ({"contrast_preset": "lung", "window_width": "1"}, "contrast"),
        ({"window_width": "0", "window_center": "0"}, "contrast"),
        ({"window_width": "wide", "window_center": "0"}, "contrast"),
    ],
)
def test_earlier_contrast_options_do_not_mix(options: dict[str, str], parameter: str) -> None:
    """Contrast is asked for in one way, and a window is whole."""
    assert wrong(mosaic, **options) == [parameter]


# --- all at once


def test_every_problem_is_named() -> None:
    """One error names everything that is wrong, each once."""
    named = wrong(
        mosaic,
        "a.gif",
        "../x",
        tile_width="0",
        tile_height="x",
        start="2",
        end="nan",
        image_width="-1",
        quality="101",
        stack="y",
        contrast="z",
        nonsense="1",
    )
    assert sorted(named) == sorted(
        [
            *("series", "output", "tile_width", "tile_height", "start", "end"),
            *("image_width", "quality", "stack", "contrast", "nonsense"),
        ]
    )


def test_one_problem_is_its_own_error() -> None:
    """A single mistake is that error, not a collection of one."""
    with pytest.raises(RequestError) as caught:
        mosaic(quality="101")
    assert not isinstance(caught.value, CombinedRequestError)


def test_requests_are_frozen() -> None:
    """A request does not change once it is built."""
    with pytest.raises(FrozenInstanceError):
        mosaic().columns = 3  # type: ignore[misc]


@pytest.mark.parametrize("text", ["1_000", "\u0661\u0662\u0663", "9" * 5000, "9" * 4000])
def test_numbers_are_plain_digits(text: str) -> None:
    """Numbers are written in ASCII digits, and what is wrong is told in no more than 60 of its characters."""
    for build, options in (
        (MosaicRequest.from_strings, {"image_width": [text]}),
        (ImageRequest.from_strings, {"position": [text]}),
        (MosaicRequest.from_strings, {"x" * 5000: ["1"]}),
    ):
        with pytest.raises(RequestError) as caught:
            build("S", "a.webp", options)
        assert len(str(caught.value)) < 130
