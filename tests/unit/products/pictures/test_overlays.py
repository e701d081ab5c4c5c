from io import BytesIO

import imagecodecs
import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from pydicom import dcmread

import make_dicom
from dicom_series_preview.products.pictures.requests import ContrastRequest
from rendering import Bench, pixels

ROWS, COLUMNS = 48, 64
LOSSLESS_JPEG, J2K, BASELINE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50"
RANDOM = np.random.default_rng(3)
MASK = RANDOM.random((ROWS, COLUMNS)) < 0.3
# Shown as grey 77 of 255 under the window 1000/500.
STORED = np.full((ROWS, COLUMNS), 300 + 1024, np.uint16)
GREY = {"contrast": "1000/500"}


def image(stored=STORED, **elements):
    """A slice of square pixels with these stored values, which fill 12 of 16 bits."""
    shape = {"Rows": stored.shape[-2], "Columns": stored.shape[-1], "PixelSpacing": [1.0, 1.0]}
    return make_dicom.image(**{**shape, "PixelData": stored.astype("<u2").tobytes(), **elements})


def embedded(**elements):
    """What a plane says that lies in bit 13 of the pixel data."""
    return {"OverlayBitsAllocated": 16, "OverlayBitPosition": 13, "OverlayData": None, **elements}


def with_overlays(*objects):
    """A service over some objects, whose pictures have the pixels of their images."""
    named = {f"S/{number}.dcm": data for number, data in enumerate(objects)}
    return Bench(named, options={"image_width": COLUMNS, "quality": 100, "overlays": "true"})


def picture_of(rendered):
    """The grey pixels of a picture without a warning."""
    assert rendered.report.warnings == ()
    return pixels(rendered, "L")


def assert_drawn(picture, mask, grey=77):
    """White where the mask is, and the image elsewhere."""
    assert np.abs(picture - np.where(mask, 255, grey)).max() <= 6


# --- where planes are


@pytest.mark.parametrize("syntax", [*make_dicom.NATIVE, make_dicom.DEFLATED])
def test_plane_with_data_is_drawn(syntax):
    """A plane is white on the image at its pixels, as pydicom reads it, in every native encoding."""
    source = image()
    make_dicom.overlay(source, MASK)
    truth = source.overlay_array(0x6000)
    if syntax == make_dicom.BIG_ENDIAN:
        source.PixelData = make_dicom.swapped(source.PixelData)
        source[0x60003000].value = make_dicom.swapped(source[0x60003000].value)
    assert_drawn(picture_of(with_overlays(make_dicom.encode(source, syntax)).image(**GREY)), truth)


def test_nothing_is_drawn_unasked():
    """Without the option the picture is the one of an object without overlays, byte for byte."""
    plain = with_overlays(make_dicom.encode(image())).image(overlays="false", **GREY)
    overlaid = with_overlays(make_dicom.encode(make_dicom.overlay(image(), MASK)))
    assert overlaid.image(overlays="false", **GREY).data == plain.data
    assert overlaid.image(**GREY).data != plain.data


def test_all_planes_are_drawn():
    """Planes of every group and type are drawn together."""
    source = make_dicom.overlay(image(), MASK)
    other = RANDOM.random((ROWS, COLUMNS)) < 0.2
    make_dicom.overlay(source, other, 0x6008, OverlayType="R")
    assert_drawn(picture_of(with_overlays(make_dicom.encode(source)).image(**GREY)), MASK | other)


@pytest.mark.parametrize("origin", [(-3, -8), (40, 60), (5, -20), (-30, 30)])
def test_plane_that_reaches_out_of_the_image_is_cut(origin):
    """What lies beyond the image's edge is not drawn, nor anything moved."""
    part = RANDOM.random((20, 30)) < 0.5
    source = make_dicom.overlay(image(), part, OverlayOrigin=list(origin))
    padded = np.zeros((ROWS + 200, COLUMNS + 200), bool)
    padded[99 + origin[0] :, 99 + origin[1] :][:20, :30] = part
    assert_drawn(
        picture_of(with_overlays(make_dicom.encode(source)).image(**GREY)),
        padded[100 : 100 + ROWS, 100 : 100 + COLUMNS],
    )


def test_frames_have_their_own():
    """Each frame of an image has the overlay's frame that is for it, and none where there is none."""
    groups = [make_dicom.position_group(0, 0, -z) for z in range(4)]
    shared = make_dicom.orientation_group(PixelMeasuresSequence=[make_dicom.dataset(PixelSpacing=[1.0, 1.0])])
    stored = np.full((4, 9, 7), 300, "<u2")
    source = make_dicom.enhanced(groups, shared, Rows=9, Columns=7, PixelData=stored.tobytes())
    several = RANDOM.random((2, 9, 7)) < 0.5
    make_dicom.overlay(source, several, ImageFrameOrigin=2)
    everywhere = np.zeros((9, 7), bool)
    everywhere[0] = True
    make_dicom.overlay(source, everywhere, 0x6002)
    bench = with_overlays(make_dicom.encode(source))
    picture = picture_of(bench.mosaic(tile_width=4, tile_height=1, image_width=7, contrast="1000/500"))
    expected = np.concatenate([np.zeros((1, 9, 7), bool), several, np.zeros((1, 9, 7), bool)]) | everywhere
    assert_drawn(picture, np.concatenate(list(expected), axis=1))


# --- in the pixel data


@pytest.mark.parametrize(
    "syntax", [make_dicom.EXPLICIT, make_dicom.BIG_ENDIAN, make_dicom.RLE, LOSSLESS_JPEG, J2K]
)
def test_plane_in_the_pixel_data_is_drawn(syntax):
    """A plane among the unused bits is drawn where they are kept: uncompressed, or compressed losslessly."""
    words = STORED | MASK * np.uint16(1 << 13)
    native = words.astype("<u2").tobytes()
    planes = words.reshape(-1).view(np.uint8).reshape(-1, 2)
    pixels = {
        make_dicom.EXPLICIT: lambda: native,
        make_dicom.BIG_ENDIAN: lambda: make_dicom.swapped(native),
        make_dicom.RLE: lambda: make_dicom.encapsulate([[rle([planes[:, 1], planes[:, 0]])]]),
        LOSSLESS_JPEG: lambda: make_dicom.encapsulate([[imagecodecs.ljpeg_encode(words, bitspersample=16)]]),
        J2K: lambda: make_dicom.encapsulate(
            [[bytes(openjpeg.utils.encode_array(words, bits_stored=16, photometric_interpretation=2))]]
        ),
    }[syntax]()
    source = make_dicom.overlay(image(PixelData=pixels), MASK, **embedded())
    bench = with_overlays(make_dicom.encode(source, syntax))
    assert_drawn(picture_of(bench.image(**GREY)), MASK)
    assert len(bench.storage.ranges) == 1  # small: the pixels come with the header


def rle(planes):
    """A frame of byte planes as literal runs (PS3.5 G.3)."""
    segments = [
        b"".join(
            bytes([len(part) - 1]) + part
            for part in (plane.tobytes()[i : i + 128] for i in range(0, plane.size, 128))
        )
        for plane in planes
    ]
    starts = [64 + place for place in make_dicom.offsets(segments)]
    head = np.array([len(segments), *starts, *[0] * (15 - len(segments))], "<u4").tobytes()
    return head + b"".join(segments)


# --- how they are drawn


def test_statistics_are_of_the_image():
    """The automatic window is the same with overlays and without, whichever way they are stored."""
    ramp = np.arange(ROWS * COLUMNS, dtype=np.uint16).reshape(ROWS, COLUMNS)
    bits = np.uint16(1 << 13) * MASK
    sources = [
        make_dicom.overlay(image(ramp), MASK),
        make_dicom.overlay(image(ramp | bits), MASK, **embedded()),
    ]
    plain = with_overlays(make_dicom.encode(image(ramp))).image(contrast="auto").report.tiles[0].contrast
    for source in sources:
        bench = with_overlays(make_dicom.encode(source))
        assert bench.image(contrast="auto").report.tiles[0].contrast == plain
        picture = picture_of(bench.image(contrast="auto"))
        assert (picture[MASK] > 245).all()


def test_overlays_are_white_where_low_values_are_bright():
    """MONOCHROME1 inverts the image, not what is drawn on it."""
    source = make_dicom.overlay(image(PhotometricInterpretation="MONOCHROME1"), MASK)
    assert_drawn(picture_of(with_overlays(make_dicom.encode(source)).image(**GREY)), MASK, grey=255 - 77)


def test_overlays_are_white_on_colour():
    """On a colour image an overlay is white in all channels."""
    red = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    red[..., 0] = 200
    eight = {
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "RescaleSlope": None,
        "RescaleIntercept": None,
    }
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[:, 32:] = True
    source = make_dicom.overlay(image(PixelData=red.tobytes(), **eight, **colour), mask)
    rendered = with_overlays(make_dicom.encode(source)).image()
    with Image.open(BytesIO(rendered.data)) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels[:, 40:].min() > 245
    assert np.abs(pixels[:, :24] - (200, 0, 0)).max() < 6


def test_reduced_frames_have_theirs_in_place():
    """Over a frame that is decoded at reduced resolution an overlay lies where it lies over the whole one."""
    side = 1024
    y, x = np.mgrid[:side, :side]
    smooth = (60 + 40 * np.sin(x / 90) * np.cos(y / 70)).astype(np.uint8)
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "RescaleIntercept": 0}
    mask = np.zeros((side, side), bool)
    mask[200:203, 100:900] = mask[100:900, 700] = True
    codestream = bytes(openjpeg.utils.encode_array(smooth, bits_stored=8, photometric_interpretation=2))
    sources = [
        make_dicom.encode(make_dicom.overlay(image(smooth, PixelData=pixels, **eight), mask), syntax)
        for pixels, syntax in (
            (smooth.tobytes(), make_dicom.EXPLICIT),
            (make_dicom.encapsulate([[codestream]]), J2K),
        )
    ]
    options = {"contrast": "255/127.5", "image_width": 64}
    whole, reduced = (picture_of(with_overlays(data).image(**options)) for data in sources)
    plain = picture_of(with_overlays(sources[1]).image(**options, overlays="false"))
    assert np.abs(whole - reduced).max() <= 8
    drawn = reduced - plain
    assert (drawn[12, 8:55] > 15).all()
    assert (drawn[8:55, 43] > 60).all()
    assert np.abs(drawn[30:, :40]).max() <= 6


def test_another_shape_of_pixels_and_tiles():
    """Overlays follow the pixels' shape, and are fitted as their slice is where it is of another shape."""
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[:, :8] = True
    tall = make_dicom.overlay(image(PixelSpacing=[2.0, 1.0], InstanceNumber=2), mask)
    picture = picture_of(with_overlays(make_dicom.encode(tall)).image(**GREY))
    assert_drawn(picture[:, np.r_[:7, 9:64]], np.repeat(mask, 2, axis=0)[:, np.r_[:7, 9:64]])
    square = make_dicom.encode(image(ImagePositionPatient=[0, 0, 9], InstanceNumber=9, SOPInstanceUID="1.9"))
    both = with_overlays(square, make_dicom.encode(tall))
    tile = picture_of(both.mosaic(tile_width=2, tile_height=1, **GREY))[:, COLUMNS:]
    assert tile.mean(axis=0)[[17, 18, 40, 60]] == pytest.approx([255, 255, 77, 0], abs=6)


def test_every_contrast_has_them():
    """In a contrast mosaic each column shows the slice with its overlays, read once."""
    bench = with_overlays(make_dicom.encode(make_dicom.overlay(image(), MASK)))
    given = {"contrast": ["1000/500", "2000/300"], "tile_height": 1}
    picture = picture_of(bench.rendered(ContrastRequest, **given))
    assert_drawn(picture[:, :COLUMNS], MASK)
    assert_drawn(picture[:, COLUMNS:], MASK, grey=128)
    bench.storage.reset()
    bench.rendered(ContrastRequest, **given)
    assert len(bench.storage.ranges) == 1


# --- what cannot be drawn


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"OverlayData": bytes(100)}, "it is cut off: 384 bytes expected, 100 found"),
        ({"OverlayRows": 0}, "it has no rows or no columns"),
        (embedded(OverlayBitPosition=3), "bit 3 of the pixel data is no unused one"),
    ],
)
def test_a_plane_that_cannot_be_read_is_left_out(elements, reason):
    """A broken plane is one warning that names it; the image and the other planes are shown."""
    source = make_dicom.overlay(image(), ~MASK, **elements)
    make_dicom.overlay(source, MASK, 0x6002)
    rendered = with_overlays(make_dicom.encode(source)).image(**GREY)
    assert rendered.report.warnings == (f"0.dcm: overlay 6000 is left out: {reason}",)
    assert_drawn(pixels(rendered, "L"), MASK)


def test_a_broken_plane_is_warned_of_once_in_a_contrast_mosaic():
    """However many columns show a slice, its plane is one warning."""
    bench = with_overlays(make_dicom.encode(make_dicom.overlay(image(), MASK, OverlayRows=0)))
    rendered = bench.rendered(ContrastRequest, contrast=["lung", "bone"], tile_height=1)
    assert len(rendered.report.warnings) == 1


def test_lossy_pixels_keep_no_planes():
    """Unused bits do not outlive lossy compression: what is there is not taken for a plane."""
    buffer = BytesIO()
    Image.fromarray(np.full((ROWS, COLUMNS), 77, np.uint8)).save(buffer, "JPEG", quality=95)
    eight = {"BitsAllocated": 8, "BitsStored": 7, "HighBit": 6}
    source = image(PixelData=make_dicom.encapsulate([[buffer.getvalue()]]), **eight)
    make_dicom.overlay(source, MASK, **embedded(OverlayBitsAllocated=8, OverlayBitPosition=7))
    rendered = with_overlays(make_dicom.encode(source, BASELINE)).image(**GREY)
    (warning,) = rendered.report.warnings
    assert warning.endswith("compressed without their unused bits")


# --- what it takes, and what it is called


def test_only_slices_with_overlays_cost_more():
    """Of slices without overlays not a byte more is asked for; of others the header, in the same request."""
    with_overlay = make_dicom.encode(make_dicom.overlay(image(InstanceNumber=1), MASK))
    without = make_dicom.encode(image(InstanceNumber=2, ImagePositionPatient=[0, 0, 2.0]))
    bench = with_overlays(with_overlay, without)
    bench.mosaic()
    bench.storage.reset()
    bench.mosaic()
    assert bench.storage.ranges_of("S/0.dcm") == [(0, len(with_overlay))]
    assert bench.storage.ranges_of("S/1.dcm") == [(len(without) - 2 * STORED.size, len(without))]
    bench.storage.reset()
    bench.mosaic(overlays="false")
    assert bench.storage.received == 2 * 2 * STORED.size


# --- real objects


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore")  # pydicom's, of real files
@pytest.mark.parametrize("name", ["odd/examples_overlay.dcm", "mg/OutOfBoundsOverlay.dcm"])
def test_real_overlays_are_pydicoms(real_data, name):
    """Of real objects the pixels that become white are those of pydicom's overlay arrays at their origins."""
    path = real_data / "single" / name
    data = dcmread(path)
    marked = np.zeros((data.Rows, data.Columns), bool)
    for group in (0x6000, 0x6002):
        if (group, 0x3000) in data:
            # Where each of the array's pixels lies in the image, those outside it left out.
            y, x = np.nonzero(data.overlay_array(group))
            row, column = data[group, 0x0050].value
            y, x = y + row - 1, x + column - 1
            inside = (y >= 0) & (y < data.Rows) & (x >= 0) & (x < data.Columns)
            marked[y[inside], x[inside]] = True
    assert marked.any()
    bench = with_overlays(path.read_bytes())
    shown = picture_of(bench.image(image_width=data.Columns))
    plain = picture_of(bench.image(image_width=data.Columns, overlays="false"))
    assert (shown[marked] > 240).all()
    assert np.abs(shown - plain)[~marked].max() <= 8
