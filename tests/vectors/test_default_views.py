"""What is shown where files say little of it, or nonsense: whole objects through the whole product."""

from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

import make_dicom
from conformance.flat import BLOCK, blocks, flat, image, mosaic, objects, shown
from conformance.formulas import FORMULAS
from conformance.rules import proves
from dicom_series_preview.archive.index.labels import coloured_labels
from dicom_series_preview.base.image import PixelDescription
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.codecs.colour import to_rgb
from dicom_series_preview.pixels.decoded import Decoded
from dicom_series_preview.products.pictures.requests import ImageRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage

J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"


@proves(10, "Fractions of a segmentation end at MaximumFractionalValue", "PS3.3 C.8.20.2")
@pytest.mark.parametrize("maximum", [200, 255])
def test_fractions(maximum):
    """A half is grey wherever nothing is whole."""
    values = (0, 50, 100)
    data = flat(values, "u1", Modality="SEG", SegmentationType="FRACTIONAL", MaximumFractionalValue=maximum)
    assert shown(data) == [FORMULAS["LINEAR_EXACT"](x, maximum / 2, maximum) for x in values]


def test_binary_segments_end_at_their_highest_value():
    """MaximumFractionalValue counts in fractional segmentations alone."""
    data = flat((0, 1), "u1", Modality="SEG", SegmentationType="BINARY", MaximumFractionalValue=255)
    assert shown(data) == [0, 255]


def label_map(values, dtype="u1", **elements):
    """A label map of one row of blocks."""
    return flat(values, dtype, **{"Modality": "SEG", "SegmentationType": "LABELMAP", **elements})


def shown_colours(data):
    """The colour of each block of an image of one row of blocks."""
    given = {"quality": ["100"], "position": ["0"], "image_width": [str(data.Columns)]}
    service = PreviewService(MemoryStorage(objects(data)), None, Limits())
    rendered = service.render(ImageRequest.from_strings("S", "a.webp", given))
    with Image.open(BytesIO(rendered.data)) as picture:
        return np.asarray(picture.convert("RGB"))[BLOCK // 2, BLOCK // 2 :: BLOCK].astype(int)


@proves(10, "Labels without a palette have colours that differ; 0 is black", "PS3.3 C.8.20.2")
@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_labels(dtype):
    """Labels beside each other are told apart, in 8 bits and in 16."""
    colours = shown_colours(label_map((0, *range(1, 30), 254, 255), dtype))
    assert colours[0].max() < 16
    assert colours[1:].max(axis=1).min() > 100
    apart = np.abs(colours[:, np.newaxis] - colours).sum(axis=2) + 1000 * np.eye(len(colours), dtype=int)
    assert apart[:12, :12].min() > 60
    assert np.diagonal(apart, 1)[:29].min() > 60


def palette_of_its_own(labels: int) -> dict[str, object]:
    """A palette under which every label is grey."""
    data = np.arange(labels, dtype="<u2").tobytes()
    colours = {}
    for colour in ("Red", "Green", "Blue"):
        colours[f"{colour}PaletteColorLookupTableDescriptor"] = [labels, 0, 16]
        colours[f"{colour}PaletteColorLookupTableData"] = data
    return {"PhotometricInterpretation": "PALETTE COLOR", **colours}


@proves(10, "The background of a label map is PixelPaddingValue, and black", "PS3.3 C.8.20.2.3")
@pytest.mark.parametrize("background", [3, 255])
def test_the_background_of_a_label_map_is_its_padding(background):
    """0 then is a label, and all other colours stay."""
    values = (0, 1, 2, 3, 255)
    plain = shown_colours(label_map(values))
    padded = shown_colours(label_map(values, PixelPaddingValue=background))
    at = values.index(background)
    assert padded[at].max() < 16
    assert np.abs(padded[0] - plain[at]).max() < 16
    others = [i for i in range(1, len(values)) if i != at]
    assert np.abs(padded[others] - plain[others]).max() < 16
    assert np.array_equal(shown_colours(label_map(values, PixelPaddingValue=0)), plain)


@pytest.mark.parametrize("elements", [{}, palette_of_its_own(256), {"RescaleSlope": 2.0}])
@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_the_values_of_a_label_map_are_its_labels(dtype, elements):
    """Not the colours that they are shown in, whoever chose those."""
    data = label_map((0, 1, 7, 255), dtype, **elements)
    service = PreviewService(MemoryStorage(objects(data)), None, Limits())
    labels = service.values(ImageRequest.from_strings("S", "a.webp", {"position": ["0"]}))
    assert labels.dtype == np.dtype(dtype)
    assert labels.shape == (BLOCK, 4 * BLOCK)
    assert labels[0, ::BLOCK].tolist() == [0, 1, 7, 255]


def test_the_values_of_a_tiled_label_map_are_its_labels():
    """Of the whole that its frames are tiles of."""
    octets = np.kron(np.array([[[1]], [[2]]], np.uint8), np.ones((1, BLOCK, BLOCK), np.uint8)).tobytes()
    data = label_map(
        (0,),
        NumberOfFrames=2,
        PixelData=octets,
        TotalPixelMatrixRows=BLOCK,
        TotalPixelMatrixColumns=2 * BLOCK,
        DimensionOrganizationType="TILED_FULL",
    )
    service = PreviewService(MemoryStorage(objects(data)), None, Limits())
    labels = service.values(ImageRequest.from_strings("S", "a.webp", {"position": ["0"]}))
    assert labels.shape == (BLOCK, 2 * BLOCK)
    assert labels[0, ::BLOCK].tolist() == [1, 2]


def lab(colours: np.ndarray) -> np.ndarray:
    """CIE L*, a*, b* of sRGB colours of 8 bits under D65, as Pillow's colour management has them."""
    picture = Image.fromarray(colours.astype(np.uint8)[np.newaxis])
    made = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lightness, a, b = (np.asarray(band).astype(float)[0] for band in made.split())
    wrapped = [np.where(band > 127, band - 256, band) for band in (a, b)]
    return np.stack((lightness * 100 / 255, *wrapped), axis=1)


def label_colours(bits: int) -> np.ndarray:
    """The colour of every label of so many bits."""
    pixels = coloured_labels(PixelDescription("1.2.840.10008.1.2.1", 1, 1, bits_stored=bits))
    every = np.arange(1 << bits, dtype=np.uint16)[np.newaxis]
    return to_rgb(Decoded(every, "PALETTE COLOR"), pixels)[0].astype(int)


@proves(10, "Of the first 64 labels and the background no two colours look alike", "PS3.3 C.8.20.2")
@pytest.mark.parametrize("bits", [8, 16])
def test_low_labels_look_different(bits):
    """They are at least 20 apart in CIE Lab, where 2.3 can be seen."""
    places = lab(label_colours(bits)[:65])
    apart = np.linalg.norm(places[:, np.newaxis] - places, axis=2) + 1000 * np.eye(65)
    assert apart.min() > 20


@proves(10, "Labels less than 1,000 apart have colours that differ, up to 65,535", "PS3.3 C.8.20.2")
def test_labels_do_not_repeat_for_long():
    """Background is no label's colour."""
    colours = label_colours(16)
    numbers = colours @ (65536, 256, 1)
    assert not (numbers[1:] == 0).any()
    latest: dict[int, int] = {}
    for label, number in enumerate(numbers[1:].tolist()):
        assert label - latest.get(number, -1000) >= 1000
        latest[number] = label


@proves(10, "A view of the file's own that shows nothing is shown with a warning", "our choice")
@pytest.mark.parametrize(("center", "end"), [("5000", "black"), ("-5000", "white")])
def test_a_view_that_shows_nothing(center, end):
    """More than 99 of 100 pixels at one end, over all tiles."""
    slices = [flat((0, 100, 200, 300), number=n, WindowCenter=center, WindowWidth="100") for n in (1, 2)]
    _, report = mosaic(objects(*slices), tile_width=2, tile_height=1)
    (warning,) = report.warnings
    assert (
        warning
        == f"more than 99 % of the pixels are {end} in the files' own view; the contrast auto shows more"
    )
    _, report = mosaic(objects(*slices), tile_width=2, tile_height=1, contrast="100/5000")
    assert report.warnings == ()


def test_one_empty_slice_among_others_is_no_view_that_shows_nothing():
    """Air above a head is black, as it is to be."""
    slices = [
        flat((level,) * 4, number=n, WindowCenter="100", WindowWidth="100") for n, level in ((1, 0), (2, 100))
    ]
    _, report = mosaic(objects(*slices), tile_width=2, tile_height=1)
    assert report.warnings == ()


@proves(5, "In lossy files nothing is padding: what was is told no more", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize(("transfer_syntax", "lossless"), [(J2K_LOSSLESS, True), (J2K, False)])
def test_padding_in_lossy_files(transfer_syntax, lossless):
    """The same codestream, once as what it is and once as lossy."""
    values = (0, 500, 1000, 1500)
    stored = np.kron(np.array([values], np.uint16), np.ones((8 * BLOCK, BLOCK), np.uint16))
    codestream = imagecodecs.jpeg2k_encode(stored, level=0, reversible=True)
    data = flat(
        (0,) * 4,
        Rows=8 * BLOCK,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
        WindowWidth="2001",
        WindowCenter="1000",
        PixelData=make_dicom.encapsulate([[codestream + b"\0" * (len(codestream) % 2)]]),
    )
    levels, _ = image(objects(data, transfer_syntax=transfer_syntax), image_width=BLOCK * 4)
    expected = [255 - FORMULAS["LINEAR"](x, 1000, 2001) for x in values]
    assert blocks(levels)[0] == [0 if lossless else expected[0], *expected[1:]]
