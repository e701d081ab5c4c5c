import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_series_preview.base.errors import LimitError, RequestError
from dicom_series_preview.products.pictures.encode import encode
from dicom_series_preview.products.pictures.formats import ImageFormat

JPEG, WEBP, PNG = ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.PNG
ALL = pytest.mark.parametrize("image_format", list(ImageFormat))
LOSSY = pytest.mark.parametrize("image_format", [JPEG, WEBP])


def decoded(data):
    """The picture as an independent reader sees it."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def scene(*, colour=False):
    """A picture with smooth and busy parts."""
    rng = np.random.default_rng(7)
    ramp = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    ramp[16:40, 20:60] = rng.integers(0, 256, (24, 40))
    return np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1) if colour else ramp


# --- ImageFormat


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.webp", WEBP),
        ("a.jpg", JPEG),
        ("a.jpeg", JPEG),
        ("/b.png/A.JPG", JPEG),
        ("a.PNG", PNG),
        ("a.b.WebP", WEBP),
        (Path("x") / "y.Jpeg", JPEG),
    ],
)
def test_extension_decides_the_format(path, expected):
    """A path's extension names its format, in any case of letters."""
    assert ImageFormat.from_path(path) is expected


@pytest.mark.parametrize("path", ["a.gif", "a", "webp", ".webp", "a.webp.gz", "a.", "a.jpe", "a.webp "])
def test_other_extensions_are_refused(path):
    """Any other extension, or none, is an error that names the valid ones."""
    with pytest.raises(RequestError, match=r"use \.webp, \.jpg, \.jpeg or \.png") as caught:
        ImageFormat.from_path(path)
    assert caught.value.parameter == "output"


@pytest.mark.parametrize(("text", "expected"), [("webp", WEBP), ("JPEG", JPEG), ("jpg", JPEG), ("PNG", PNG)])
def test_name_decides_the_format(text, expected):
    """A format has the names of its extensions, in any case of letters."""
    assert ImageFormat.from_name(text) is expected


@pytest.mark.parametrize("text", ["gif", "", ".webp", "image/webp", "jpe g"])
def test_other_names_are_refused(text):
    """Any other name is an error of the parameter that it came in, with the valid names."""
    with pytest.raises(RequestError, match="use webp, jpg, jpeg or png") as caught:
        ImageFormat.from_name(text)
    assert caught.value.parameter == "output"
    with pytest.raises(RequestError) as caught:
        ImageFormat.from_name(text, "format")
    assert caught.value.parameter == "format"


def test_media_types():
    """Each format has its registered media type."""
    assert [one.media_type for one in (WEBP, JPEG, PNG)] == ["image/webp", "image/jpeg", "image/png"]


@ALL
def test_largest_side_is_what_can_be_written(image_format):
    """The longest side that passes the check is written and read back, one more is refused."""
    longest = image_format.largest_side
    for shape in ((longest, 2), (2, longest)):
        image_format.check_size(shape[1], shape[0], max_pixels=2 * longest)
        assert decoded(encode(np.zeros(shape, np.uint8), image_format, 25)).size == shape[::-1]
    for size in ((longest + 1, 1), (1, longest + 1)):
        with pytest.raises(LimitError, match=f"allows {longest} a side; lower image_width"):
            image_format.check_size(*size, max_pixels=10**9)
        with pytest.raises(LimitError):
            encode(np.zeros(size, np.uint8), image_format, 25)


@LOSSY
def test_one_beyond_the_largest_side_is_beyond_pillow(image_format):
    """The limit is no tighter than Pillow's own, which of PNG is none."""
    image = Image.new("L", (image_format.largest_side + 1, 1))
    with pytest.raises((OSError, ValueError)):
        image.save(io.BytesIO(), image_format.pillow_name)


def test_a_picture_too_wide_for_webp_is_told_of_jpeg():
    """Where another format could hold the picture the error says so, else not."""
    with pytest.raises(LimitError, match=r"or write \.jpg or \.png$"):
        WEBP.check_size(20_000, 100, max_pixels=10**9)
    with pytest.raises(LimitError, match=r"lower image_width, tile_width or tile_height$"):
        WEBP.check_size(70_000, 100, max_pixels=10**9)


@ALL
def test_too_many_pixels_are_refused(image_format):
    """More pixels than the product allows are an error that names the limit."""
    image_format.check_size(1000, 1000, max_pixels=1_000_000)
    with pytest.raises(LimitError, match="1000 x 1001 pixels, more than 1000000 in all; lower"):
        image_format.check_size(1000, 1001, max_pixels=1_000_000)


# --- encode


@ALL
@pytest.mark.parametrize("colour", [False, True])
def test_what_is_written_is_that_format_and_picture(image_format, colour):
    """An independent reader sees the format, the size, and the picture within the loss of quality 95."""
    picture = scene(colour=colour)
    image = decoded(encode(picture, image_format, 95))
    assert image.format == image_format.pillow_name
    assert image.size == (96, 64)
    seen = np.asarray(image.convert("RGB" if colour else "L")).astype(int)
    assert np.abs(seen - picture)[:, 62:].mean() < 3


@ALL
@pytest.mark.parametrize("colour", [False, True])
def test_same_input_gives_the_same_bytes(image_format, colour):
    """Encoding is a function of picture, format and quality, not of the array's layout in memory."""
    picture = scene(colour=colour)
    first = encode(picture, image_format, 25)
    assert encode(picture.copy(), image_format, 25) == first
    assert encode(np.asfortranarray(picture), image_format, 25) == first
    assert encode(np.repeat(picture, 2, axis=1)[:, ::2], image_format, 25) == first


@pytest.mark.parametrize("colour", [False, True])
def test_png_keeps_every_pixel(colour):
    """A PNG shows the very picture, grey of one channel, whatever the quality."""
    picture = scene(colour=colour)
    data = encode(picture, PNG, 100)
    assert decoded(data).mode == ("RGB" if colour else "L")
    assert np.array_equal(np.asarray(decoded(data)), picture)
    assert encode(picture, PNG, 3) == data


def test_grey_jpeg_has_one_channel():
    """A grey picture is a grey JPEG."""
    assert decoded(encode(scene(), JPEG, 25)).mode == "L"


@pytest.mark.parametrize("quality", [0, 25, 80, 100])
def test_grey_webp_is_neutral(quality):
    """A grey picture's WebP has red equal to blue, and green at most the decoder's rounding below."""
    red, green, blue = np.moveaxis(np.asarray(decoded(encode(scene(), WEBP, quality)).convert("RGB")), 2, 0)
    assert np.array_equal(red, blue)
    assert set(np.unique(red.astype(int) - green)) <= {0, 1}


@ALL
@pytest.mark.parametrize("colour", [False, True])
def test_nothing_but_pixels_is_written(image_format, colour):
    """There is no EXIF, ICC, XMP or comment in a picture."""
    data = encode(scene(colour=colour), image_format, 25)
    image = decoded(data)
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background"} | {
        "timestamp",
        "duration",
    }
    for marker in (b"Exif", b"ICC", b"EXIF", b"XMP", b"http", b"Adobe", b"Photoshop"):
        assert marker not in data[:200]
    if image_format is WEBP:
        assert data[12:16] == b"VP8 "  # the simple container has no room for metadata


@pytest.mark.parametrize(("quality", "factor"), [(0, 2), (25, 2), (89, 2), (90, 1), (100, 1)])
def test_jpeg_chroma_is_whole_from_quality_90(quality, factor):
    """Colour is kept at full resolution from quality 90 on, and halved below it."""
    layers = decoded(encode(scene(colour=True), JPEG, quality)).layer
    assert [layer[1:3] for layer in layers] == [(factor, factor), (1, 1), (1, 1)]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("quality", [0, 25, 50, 80])
def test_jpeg_s_tables_are_made_for_the_picture(quality, colour):
    """A JPEG is smaller than with the standard's Huffman tables, and shows the same."""
    for enlarged in (1, 5):  # one scan, and several
        picture = np.repeat(np.repeat(scene(colour=colour), enlarged, 0), enlarged, 1)
        plain = io.BytesIO()
        Image.fromarray(picture).save(plain, "JPEG", quality=quality, subsampling=2)
        data = encode(picture, JPEG, quality)
        assert len(data) < 0.98 * len(plain.getvalue())
        assert np.array_equal(np.asarray(decoded(data)), np.asarray(decoded(plain.getvalue())))
        assert bool(decoded(data).info.get("progressive")) == (enlarged == 5)


def test_the_largest_jpegs_are_streamed():
    """A JPEG of more than 16 million pixels is not held as coefficients."""
    for side, is_progressive in ((4096, True), (4097, False)):
        picture = np.zeros((4096, side), np.uint8)
        assert bool(decoded(encode(picture, JPEG, 25)).info.get("progressive")) == is_progressive


@LOSSY
def test_quality_runs_from_smallest_to_largest(image_format):
    """More quality is more bytes, and 0 is the least, not a default."""
    lengths = [len(encode(scene(), image_format, quality)) for quality in (0, 10, 25, 50, 75, 90, 100)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[2] < lengths[-1]


@ALL
@pytest.mark.parametrize("quality", [-1, 101, 25.0, True, "25", None])
def test_other_qualities_are_refused(image_format, quality):
    """Quality is a whole number from 0 to 100."""
    with pytest.raises(RequestError, match="whole number from 0 to 100") as caught:
        encode(scene(), image_format, quality)
    assert caught.value.parameter == "quality"


@ALL
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [1, 7, 17, 300])
@pytest.mark.parametrize("quality", [80, 89, 94, 100])
def test_noise_is_written(image_format, colour, size, quality):
    """What compresses least, at any size and quality, still encodes."""
    shape = (size, size, 3) if colour else (size, size)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, shape, np.uint8)
    extreme = 255 * rng.integers(0, 2, shape, np.uint8)
    # Colours of 2 x 2 pixels, which halved chroma does not soften, under black and white pixels.
    blocks = extreme.repeat(2, 0).repeat(2, 1)[:size, :size]
    is_pixel = rng.random((size, size, *[1] * colour)) < 0.25
    mixed = np.where(is_pixel, extreme[..., :1] if colour else extreme, blocks)
    for picture in (noise, extreme, mixed):
        assert decoded(encode(picture, image_format, quality)).size == (size, size)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_what_is_no_picture_is_a_mistake(image):
    """Other types and shapes are the programmer's mistake."""
    with pytest.raises(ValueError, match="a picture is uint8"):
        encode(image, WEBP, 25)
