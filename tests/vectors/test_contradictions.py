"""Headers that contradict their pixels or themselves: whole objects through the whole product.

What can be told is shown right; what cannot is refused by name, or shown with a warning that names it.
"""

import re
from fractions import Fraction
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from pydicom import Dataset

import make_dicom
from conformance.flat import BLOCK, blocks, flat, image, objects
from conformance.formulas import FORMULAS
from conformance.rules import proves
from dicom_series_preview.base.errors import NoImageError, UndecodableError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import ImageRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.memory import MemoryStorage

J2K, HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"
JPEG_LS = "1.2.840.10008.1.2.4.80"
GE_PRIVATE = "1.2.840.113619.5.2"
WINDOW = {"WindowWidth": "256", "WindowCenter": "128"}  # changes no byte


def refused(series: dict[str, bytes]) -> str:
    """Why the only slice of a series is not shown."""
    with pytest.raises(UndecodableError) as caught:
        image(series)
    return str(caught.value)


def colours(series: dict[str, bytes], width: int, position: float = 0.0) -> np.ndarray:
    """One image as RGB."""
    return warned_colours(series, width, position)[0]


def warned_colours(
    series: dict[str, bytes], width: int, position: float = 0.0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """One image as RGB, and its warnings."""
    given = {"quality": ["100"], "position": [str(position)], "image_width": [str(width)]}
    rendered = PreviewService(MemoryStorage(series), None, Limits()).render(
        ImageRequest.from_strings("S", "a.jpg", given)
    )
    with Image.open(BytesIO(rendered.data)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int), rendered.report.warnings


# The sign of JPEG 2000


@proves(8, "A signed JPEG 2000 codestream is signed, whatever the header says", "PS3.5 8.2.4")
@pytest.mark.parametrize(("transfer_syntax", "bits"), [(J2K, 12), (J2K, 16), (HTJ2K, 16)])
def test_a_signed_codestream_under_an_unsigned_header(transfer_syntax, bits):
    """-1000 is -1000, and not 64536 or 3096."""
    values = (-2000, -1000, -1, 0, 40, 1000, 2000)
    stored = np.kron(np.array([values], np.int16), np.ones((8 * BLOCK, BLOCK), np.int16))
    if transfer_syntax == HTJ2K:
        codestream = imagecodecs.htj2k_encode(stored, reversible=True)
    else:
        codestream = bytes(
            openjpeg.utils.encode_array(stored, bits_stored=bits, photometric_interpretation=2)
        )
    data = flat(
        (0,) * len(values),
        Rows=8 * BLOCK,
        BitsStored=bits,
        HighBit=bits - 1,
        WindowWidth="2001",
        WindowCenter="0.5",
        PixelData=make_dicom.encapsulate([[codestream + b"\0" * (len(codestream) % 2)]]),
    )
    levels, _ = image(objects(data, transfer_syntax=transfer_syntax), image_width=BLOCK * len(values))
    assert blocks(levels) == [[FORMULAS["LINEAR"](x, 0.5, 2001) for x in values]] * 8


@proves(8, "The first value of a lookup table has the sign of a signed codestream", "PS3.5 8.2.4")
def test_a_lookup_table_under_an_unsigned_header():
    """65526 is -10, as the codestream is signed."""
    stored = np.kron(np.array([[-10, -9, -8, 500]], np.int16), np.ones((8 * BLOCK, BLOCK), np.int16))
    codestream = bytes(openjpeg.utils.encode_array(stored, bits_stored=16, photometric_interpretation=2))
    table = make_dicom.dataset(
        LUTDescriptor=[3, 65526, 16], LUTData=np.array([100, 20, 200], "<u2").tobytes(), ModalityLUTType="US"
    )
    data = flat(
        (0,) * 4,
        Rows=8 * BLOCK,
        ModalityLUTSequence=[table],
        WindowWidth="256",
        WindowCenter="128",
        PixelData=make_dicom.encapsulate([[codestream + b"\0" * (len(codestream) % 2)]]),
    )
    levels, _ = image(objects(data, transfer_syntax=J2K), image_width=BLOCK * 4)
    assert blocks(levels)[0] == [100, 20, 200, 200]


# Words of big endian


def big_endian_words(octets: bytes) -> bytes:
    """Octets as an OW element of big endian words holds them."""
    octets += b"\0" * (len(octets) % 2)
    return np.frombuffer(octets, "<u2").astype(">u2").tobytes()


def big_endian(frames: int, bits: int, octets: bytes, **elements: Any) -> dict[str, bytes]:
    """A multi-frame object of 3 x 3 pixels in big endian."""
    given = {
        "Rows": 3,
        "Columns": 3,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelSpacing": [1.0, 1.0],
        "NumberOfFrames": frames,
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
        "RescaleSlope": None,
        "RescaleIntercept": None,
        "PixelData": big_endian_words(octets),
    }
    return objects(make_dicom.image(**{**given, **elements}), transfer_syntax=make_dicom.BIG_ENDIAN)


@proves(
    8, "In big endian, words of an OW element are swapped over the element, not frame by frame", "PS3.5 8.1.1"
)
@pytest.mark.parametrize("frame", [0, 1, 2, 3])
def test_8_bit_frames_of_odd_length(frame):
    """Nine bytes a frame: the second frame begins inside a word."""
    values = np.arange(4 * 9, dtype=np.uint8) * 7
    series = big_endian(4, 8, values.tobytes(), **WINDOW)
    levels, _ = image(series, position=frame / 3, image_width=3)
    assert levels.ravel().tolist() == pytest.approx(values[9 * frame :][:9].tolist(), abs=1)


@proves(8, "In big endian, packed samples lie in the words of the element", "PS3.5 8.1.1")
@pytest.mark.parametrize("bits", [1, 12])
@pytest.mark.parametrize("frame", [0, 1, 2, 3])
def test_packed_frames(bits, frame):
    """Nine samples of 1 or 12 bits: frames begin inside a byte, or inside a word."""
    values = np.random.default_rng(bits).integers(0, 1 << bits, 4 * 9)
    stream = sum(int(value) << bits * i for i, value in enumerate(values))
    top = (1 << bits) - 1
    series = big_endian(
        4,
        bits,
        stream.to_bytes(-(-bits * 36 // 8), "little"),
        WindowWidth=str(top + 1),
        WindowCenter=str(top / 2 + 0.5),
    )
    levels, _ = image(series, position=frame / 3, image_width=3)
    expected = [FORMULAS["LINEAR"](int(x), (top + 1) / 2, top + 1) for x in values[9 * frame :][:9]]
    assert levels.ravel().tolist() == pytest.approx(expected, abs=1)


@proves(9, "RGB of odd frames in big endian words", "PS3.5 8.1.1")
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_rgb_frames_of_odd_length(frame):
    """27 bytes a frame; a frame of one colour keeps it."""
    colour = [(250, 10, 20), (30, 240, 50), (60, 70, 230)]
    octets = b"".join(bytes(one) * 9 for one in colour)
    series = big_endian(
        3, 8, octets, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    found = colours(series, 3, frame / 2)
    assert np.abs(found - np.array(colour[frame])).max() <= 2


@proves(14, "GE's private syntax: little endian headers, big endian pixels", "GE 1.2.840.113619.5.2")
def test_ge_private_big_endian():
    """Words have their most significant byte first."""
    values = (0, 1, 255, 256, 4095)
    data = flat(values, ">u2", WindowWidth="4096", WindowCenter="2048", BitsStored=12, HighBit=11)
    encoded = make_dicom.encode(data, make_dicom.IMPLICIT)
    meta = make_dicom.preamble(GE_PRIVATE)
    series = {"S/0": meta + make_dicom.without_meta(encoded)}
    levels, _ = image(series, image_width=BLOCK * len(values))
    assert blocks(levels) == [[FORMULAS["LINEAR"](x, 2048, 4096) for x in values]]


# Colour spaces


@proves(9, "4:2:2 by name with three samples a pixel stored: the length tells", "PS3.3 C.7.6.3.1.2")
@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_full_chroma_under_the_name_of_422(photometric, frame):
    """Every frame lies where it lies, and has its own colour."""
    ybr = [(120, 90, 200), (60, 180, 100), (200, 128, 60)]
    octets = b"".join(bytes(one) * (BLOCK * BLOCK) for one in ybr)
    data = flat(
        (0,),
        "u1",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation=photometric,
        NumberOfFrames=3,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelData=octets,
    )
    y, cb, cr = ybr[frame]
    if photometric == "YBR_PARTIAL_422":
        y, cb, cr = (y - 16) * 255 / 219, (cb - 128) * 255 / 224 + 128, (cr - 128) * 255 / 224 + 128
    rgb = (y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128))
    found = colours(objects(data), BLOCK, frame / 2)
    assert np.abs(found - np.clip(rgb, 0, 255)).max() <= 3


@proves(9, "Photometric interpretations that contradict the samples are refused by name", "PS3.3 C.7.6.3.1.2")
@pytest.mark.parametrize(
    ("photometric", "samples", "reason"),
    [
        ("YBR_RCT", 3, "pixels that are not compressed as JPEG 2000 cannot be YBR_RCT"),
        ("YBR_ICT", 3, "pixels that are not compressed as JPEG 2000 cannot be YBR_ICT"),
        (
            "MONOCHROME1",
            3,
            "3 samples a pixel and the photometric interpretation MONOCHROME1 contradict each other",
        ),
        (
            "MONOCHROME2",
            3,
            "3 samples a pixel and the photometric interpretation MONOCHROME2 contradict each other",
        ),
        ("PALETTE COLOR", 3, "the photometric interpretation PALETTE COLOR contradict each other"),
        ("RGB", 1, "1 sample a pixel and the photometric interpretation RGB contradict each other"),
        ("YBR_FULL", 1, "1 sample a pixel and the photometric interpretation YBR_FULL contradict each other"),
        ("YBR_PARTIAL_420", 3, "YBR_PARTIAL_420 is of video alone"),
        ("XYZ", 1, "the photometric interpretation is none that DICOM defines"),
        ("XYZ", 3, "the photometric interpretation is none that DICOM defines"),
    ],
)
def test_contradicting_photometric_interpretations(photometric, samples, reason):
    """Neither can be believed: there is no picture, and the reason says which contradict."""
    octets = bytes(range(BLOCK)) * BLOCK * samples
    data = flat((0,), "u1", SamplesPerPixel=samples, PlanarConfiguration=0, PixelData=octets)
    make_dicom.add(data, 0x00280004, "CS", photometric)
    assert reason in refused(objects(data))


@proves(6, "monochrome1 in lower case is MONOCHROME1", "our choice; PS3.5 6.2")
def test_lower_case():
    """It inverts."""
    data = flat((0, 100, 255), "u1", **WINDOW)
    make_dicom.add(data, 0x00280004, "CS", "monochrome1")
    levels, _ = image(objects(data), image_width=BLOCK * 3)
    assert blocks(levels) == [[255, 155, 0]]


# Lengths and numbers

NOWHERE = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
TWO_FRAMES = bytes([10] * BLOCK * BLOCK + [200] * BLOCK * BLOCK)


def warned(series: dict[str, bytes], width: int, position: float = 0.0) -> tuple[list[list[int]], str]:
    """The levels of the blocks of an image, and its warnings."""
    levels, report = image(series, position=position, image_width=width)
    return blocks(levels), "; ".join(report.warnings)


@proves(17, "Pixel data longer than the header says are shown with a warning", "PS3.5 8.1.1")
@pytest.mark.parametrize("share", [1 / 3, 1])
def test_more_data_than_described(share):
    """A third more, or twice: the header may be wrong, so that the picture may."""
    data = flat((10, 200), "u1", NumberOfFrames=1, **WINDOW)
    surplus = int(len(data.PixelData) * share) // 2 * 2
    data.PixelData += bytes(surplus)
    longer = f"its pixel data are {surplus} bytes longer than its header says"
    assert warned(objects(data), data.Columns) == ([[10, 200]], f"{longer}: what is shown may be wrong")


def test_a_byte_that_makes_a_length_even_is_no_surplus():
    """The pixel data element has an even length, whatever the image has (PS3.5 7.1)."""
    data = flat((7,), "u1", Rows=3, Columns=3, PixelData=bytes([7] * 9 + [0]), **WINDOW)
    _, report = image(objects(data), image_width=3)
    assert report.warnings == ()


@proves(17, "Pixel data of several frames without NumberOfFrames are shown with a warning", "PS3.3 C.7.6.6")
def test_frames_without_a_number():
    """What is twice as long may be two frames, or one of twice as many bits."""
    series = objects(flat((0,), "u1", PixelData=TWO_FRAMES, **NOWHERE, **WINDOW))
    warning = "its pixel data are as long as 2 frames, and it has no NumberOfFrames"
    assert warned(series, BLOCK) == ([[10]], warning)
    assert warned(series, BLOCK, 1.0) == ([[200]], warning)


@proves(17, "Fewer frames than NumberOfFrames: those that are there, with a warning", "PS3.3 C.7.6.6")
def test_fewer_frames_than_declared():
    """Two of three."""
    series = objects(flat((0,), "u1", NumberOfFrames=3, PixelData=TWO_FRAMES, **NOWHERE, **WINDOW))
    warning = "its pixel data are 64 bytes shorter than its header says"
    assert warned(series, BLOCK) == ([[10]], warning)
    assert warned(series, BLOCK, 1.0) == ([[200]], warning)


@proves(16, "A slope, an intercept or a window that is no number is not used, with a warning", "PS3.5 6.2")
@pytest.mark.parametrize("text", ["1.#QNAN", "1,5", "NaN", "inf", "x"])
@pytest.mark.parametrize(
    ("tag", "warning"),
    [
        (0x00281053, "RescaleSlope is no number: 1 is used"),
        (0x00281052, "RescaleIntercept is no number: 0 is used"),
        (0x00281050, "WindowCenter is no number: that window is not used"),
        (0x00281051, "WindowWidth is no number: that window is not used"),
    ],
)
def test_numbers_that_are_none(tag, warning, text):
    """Never shown without a word."""
    values = (0, 100, 200, 300, 400)
    data = flat(values, RescaleSlope="1", RescaleIntercept="0", WindowWidth="401", WindowCenter="200")
    text += " " * (len(text) % 2)
    make_dicom.add(data, tag, "DS", "1" * len(text))  # pydicom writes nothing else
    whole = objects(data)["S/0"]
    right, wrong = (make_dicom.element(tag, "DS", value.encode()) for value in ("1" * len(text), text))
    assert whole.count(right) == 1
    function, width = ("LINEAR", 401) if "Rescale" in warning else ("LINEAR_EXACT", 400)
    expected = [[FORMULAS[function](x, 200, width) for x in values]]
    assert warned({"S/0": whole.replace(right, wrong)}, data.Columns) == (expected, warning)


@proves(16, "A position, an orientation or a spacing that is no number is told of", "PS3.5 6.2")
@pytest.mark.parametrize(
    ("tag", "count", "warning"),
    [
        (0x00200032, 3, "ImagePositionPatient is no number: the slice is not placed by it"),
        (0x00200037, 6, "ImageOrientationPatient is no number: it is not used"),
        (0x00280030, 2, "PixelSpacing is no number: it is not used"),
    ],
)
def test_places_that_are_none(tag, count, warning):
    """Such a slice is shown, with a warning."""
    data = flat((1,), **WINDOW)
    make_dicom.add(data, tag, "DS", ["7"] * count)
    right, wrong = (
        make_dicom.element(tag, "DS", ("\\".join([number] * count) + " ").encode()) for number in "7x"
    )
    whole = objects(data)["S/0"]
    assert whole.count(right) == 1
    assert warned({"S/0": whole.replace(right, wrong)}, BLOCK) == ([[1]], warning)


def test_a_number_of_frames_that_is_none():
    """The one frame that is there is shown, with a warning."""
    data = flat((1, 255), "u1", NumberOfFrames=7, **NOWHERE, **WINDOW)
    right, wrong = (make_dicom.element(0x00280008, "IS", number) for number in (b"7 ", b"x "))
    whole = objects(data)["S/0"]
    assert whole.count(right) == 1
    expected = "NumberOfFrames is no number: it is not used"
    assert warned({"S/0": whole.replace(right, wrong)}, 2 * BLOCK) == ([[1, 255]], expected)


@proves(16, "Pixel data without PhotometricInterpretation are shown with a warning", "PS3.3 C.7.6.3")
def test_no_photometric_interpretation():
    """Its one sample a pixel suggests MONOCHROME2."""
    series = objects(flat((1, 255), "u1", PhotometricInterpretation=None, **NOWHERE, **WINDOW))
    expected = "it has no PhotometricInterpretation: shown as its samples suggest"
    assert warned(series, 2 * BLOCK) == ([[1, 255]], expected)


@proves(5, "Padding of pixels that lossy compression has changed is not looked for", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize(("lossy", "level"), [("00", 0), ("01", 50)])
def test_padding_after_lossy_compression(lossy, level):
    """Some of the image has become its value."""
    data = flat((50, 200), "u1", PixelPaddingValue=50, LossyImageCompression=lossy, **WINDOW)
    levels, _ = image(objects(data), image_width=2 * BLOCK)
    assert blocks(levels) == [[level, 200]]


@pytest.mark.parametrize("contrast", ["auto", "ct-lung"])
def test_one_slice_of_an_impossible_depth(contrast):
    """The others are shown."""
    good, broken = flat((100,), **WINDOW), flat((100,), number=2, **WINDOW)
    broken.BitsAllocated = 128
    series = objects(good, broken)
    storage = MemoryStorage(series)
    request = MosaicRequest.from_strings("S", "a.jpg", {"contrast": [contrast]})
    report = PreviewService(storage, None, Limits()).render(request).report
    reasons = [tile.error for tile in report.tiles]
    assert sorted(map(bool, reasons)) == [False, True]
    assert "128 bits allocated is no layout of pixels" in "".join(filter(None, reasons))


@proves(17, "Pixel data without Rows or Columns are said to be such", "PS3.3 C.7.6.3")
@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        ({"Rows": None}, "it has pixel data, and no Rows"),
        ({"Columns": 0}, "it has pixel data, and no Columns"),
        ({"Rows": None, "Columns": None}, "it has pixel data, and no Rows and no Columns"),
    ],
)
def test_pixels_without_rows(left_out, reason):
    """Beside others such an object is skipped with that reason; alone it is why there is no picture."""
    broken = flat((1,), number=2, **left_out)
    with pytest.raises(NoImageError, match=reason):
        image(objects(broken))
    _, report = image(objects(flat((1,), **WINDOW), broken))
    assert [item.reason for item in report.skipped] == [reason]


# Codestreams


def jpeg_2000(samples: np.ndarray) -> bytes:
    """A lossless codestream."""
    return openjpeg.utils.encode_array(samples, bits_stored=8, photometric_interpretation=2)


CODECS = {"JPEG-LS": imagecodecs.jpegls_encode, "JPEG 2000": jpeg_2000, "JPEG": imagecodecs.ljpeg_encode}
DECLARED = {
    "JPEG-LS": JPEG_LS,
    "JPEG 2000": J2K,
    "JPEG": make_dicom.JPEG,
    "": make_dicom.RLE,
    " ": make_dicom.EXPLICIT,
}


def encapsulated(fragments: list[bytes], declared: str, frames: int = 1) -> dict[str, bytes]:
    """An object of 64 x 64 pixels and these fragments, under any transfer syntax."""
    even = [[part + b"\0" * (len(part) % 2)] for part in fragments]
    pixel_data = make_dicom.encapsulate(even)
    data = flat(
        (0,), "u1", Rows=64, Columns=64, NumberOfFrames=frames, PixelData=pixel_data, **NOWHERE, **WINDOW
    )
    whole = make_dicom.encode(data, make_dicom.JPEG)
    return {"S/0": make_dicom.preamble(declared) + make_dicom.without_meta(whole)}


@proves(14, "A codestream of another family than declared is decoded, with a warning", "PS3.5 A.4")
@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("family", CODECS)
def test_another_codestream_than_declared(family, declared):
    """Its first bytes are certain."""
    samples = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    series = encapsulated([bytes(CODECS[family](samples))], DECLARED[declared])
    levels, report = image(series, image_width=64)
    assert np.abs(levels.astype(int) - samples).max() <= 2  # JPEG at quality 100
    warning = f"its codestream is {family}, not what its transfer syntax says"
    assert report.warnings == (() if family == declared else (warning,))


@proves(15, "Images of another number than frames, a fragment each, are shown with a warning", "PS3.5 A.4")
@pytest.mark.parametrize(("declared", "held"), [(1, 3), (2, 3), (3, 2)])
def test_other_images_than_frames(declared, held):
    """Each frame that is there is the image of its number."""
    images = [np.full((64, 64), 40 * (i + 1), np.uint8) for i in range(held)]
    series = encapsulated([bytes(imagecodecs.jpegls_encode(one)) for one in images], JPEG_LS, declared)
    for number in range(min(declared, held)):
        levels, report = image(series, position=number / max(1, declared - 1), image_width=64)
        assert set(levels.ravel().tolist()) == {40 * (number + 1)}
        (warning,) = report.warnings
        assert f"it holds {held} images and declares {declared} frame" in warning
    if held < declared:
        with pytest.raises(UndecodableError, match=f"it holds {held} images and declares {declared} frames"):
            image(series, position=1.0)


# More bits than BitsStored


def wide_codestream(family: str, samples: np.ndarray) -> bytes:
    """A lossless codestream of 16 bits a sample."""
    if family == "JPEG 2000":
        made = openjpeg.utils.encode_array(samples, bits_stored=16, photometric_interpretation=2)
    elif family == "HTJ2K":
        made = imagecodecs.htj2k_encode(samples, reversible=True)
    elif family == "JPEG-LS":
        made = imagecodecs.jpegls_encode(samples)
    else:
        made = imagecodecs.ljpeg_encode(samples, bitspersample=16)
    return bytes(made)


WIDE = {"JPEG 2000": J2K, "HTJ2K": HTJ2K, "JPEG-LS": JPEG_LS, "JPEG lossless": "1.2.840.10008.1.2.4.70"}
BEYOND = (
    "its codestream has 16 bits a sample, and BitsStored is 12: "
    "its values are shown as the codestream has them"
)


def wide_image(family: str, values: tuple[int, ...], **elements: Any) -> Dataset:
    """One image of blocks of these values in 16 bits, under a header that says 12."""
    stored = np.kron(np.array([values]).astype("u2"), np.ones((8 * BLOCK, BLOCK), "u2"))
    codestream = wide_codestream(family, stored)
    fragments = [[codestream + b"\0" * (len(codestream) % 2)]]
    given = {"Rows": 8 * BLOCK, "BitsStored": 12, "HighBit": 11, **elements}
    return flat((0,) * len(values), **given, PixelData=make_dicom.encapsulate(fragments))


def wide_series(family: str, values: tuple[int, ...], **elements: Any) -> dict[str, bytes]:
    """That image as a series."""
    return objects(wide_image(family, values, **elements), transfer_syntax=WIDE[family])


@proves(8, "Values beyond BitsStored in a codestream of more bits are shown, with a warning", "PS3.5 8.2")
@pytest.mark.parametrize("family", WIDE)
def test_a_codestream_of_more_bits_than_stored(family):
    """5000 is 5000, and not 904."""
    values = (0, 100, 4095, 4096, 5000, 40000, 65535)
    series = wide_series(family, values, WindowWidth="65536", WindowCenter="32768")
    expected = [[FORMULAS["LINEAR"](x, 32768, 65536) for x in values]] * 8
    assert warned(series, BLOCK * len(values)) == (expected, BEYOND)


@pytest.mark.parametrize("family", WIDE)
def test_signed_values_in_a_codestream_of_more_bits(family):
    """-3000 needs 13 bits, and stays negative."""
    values = (-3000, -1, 0, 2047, 3000)
    words = tuple(value % 65536 for value in values)
    window = {"WindowWidth": "8193", "WindowCenter": "0.5"}
    expected = [[FORMULAS["LINEAR"](x, 0.5, 8193) for x in values]] * 8
    series = wide_series(family, words, PixelRepresentation=1, **window)
    assert warned(series, BLOCK * len(values)) == (expected, BEYOND)


@proves(8, "A codestream of more bits whose values do not need them is as the header says", "PS3.5 8.2")
@pytest.mark.parametrize("family", WIDE)
@pytest.mark.parametrize(
    ("representation", "words", "values"),
    [
        (0, (0, 100, 2000, 4095), (0, 100, 2000, 4095)),
        (1, (0, 100, 0x0FFF, 0x0800), (0, 100, -1, -2048)),  # masked by their encoder
        (1, (0, 100, 0xFFFF, 0xF800), (0, 100, -1, -2048)),  # or with their sign repeated
    ],
)
def test_a_codestream_of_more_bits_without_need(family, representation, words, values):
    """Many encoders write 16 bits whatever BitsStored is."""
    window = {"WindowWidth": "8193", "WindowCenter": "0.5"}
    expected = [[FORMULAS["LINEAR"](x, 0.5, 8193) for x in values]] * 8
    series = wide_series(family, words, PixelRepresentation=representation, **window)
    assert warned(series, BLOCK * len(values)) == (expected, "")


@proves(8, "Bits of a codestream beyond BitsStored in which overlays lie are no values", "PS3.5 8.1.2")
@pytest.mark.parametrize("family", WIDE)
def test_overlays_in_a_codestream_of_more_bits(family):
    """The plane in bit 12 is masked away, asked for or not."""
    window = {"WindowWidth": "4096", "WindowCenter": "2048"}
    data = wide_image(family, (0, 100 | 1 << 12, 2000, 4095), **window)
    inside = {"OverlayBitsAllocated": 16, "OverlayBitPosition": 12, "OverlayData": None}
    make_dicom.overlay(data, np.zeros((8 * BLOCK, 4 * BLOCK), np.bool_), **inside)
    series = objects(data, transfer_syntax=WIDE[family])
    expected = [[FORMULAS["LINEAR"](x, 2048, 4096) for x in (0, 100, 2000, 4095)]] * 8
    assert warned(series, BLOCK * 4) == (expected, "")


@proves(
    8, "Bits of native pixels beyond BitsStored that no overlay has are masked with a warning", "PS3.5 8.1.1"
)
def test_native_bits_beyond_stored():
    """What they are nobody says."""
    data = flat((5000, 100), BitsStored=12, HighBit=11, WindowWidth="4096", WindowCenter="2048")
    warning = "its pixels have bits beyond BitsStored, which is 12: those bits are left out"
    expected = [[FORMULAS["LINEAR"](x, 2048, 4096) for x in (5000 & 0xFFF, 100)]]
    assert warned(objects(data), BLOCK * 2) == (expected, warning)


@proves(5, "Padding beyond BitsStored stays padding, black and out of statistics", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize(
    ("dtype", "padding", "limit"),
    [("<u2", 63536, None), ("<i2", -32768, None), ("<i2", -32768, -2049), ("<u2", 4096, 65535)],
)
@pytest.mark.parametrize("family", ["", *WIDE])
def test_padding_beyond_bits_stored(dtype, padding, limit, family):
    """Masked like a value, it would be one: 63536 would be 2096, and -32768 would be 0."""
    values = (padding, 0, 48, 2000)
    stored = np.kron(np.array([values], dtype), np.ones((8 * BLOCK, BLOCK), dtype))
    elements = {"PixelPaddingValue": padding, "PixelPaddingRangeLimit": limit}
    data = wide_image(family or "JPEG-LS", values, PixelRepresentation=int(dtype == "<i2"), **elements)
    if not family:
        data.PixelData = stored.tobytes()
    series = objects(data, transfer_syntax=WIDE.get(family, make_dicom.EXPLICIT))
    levels, report = image(series, image_width=BLOCK * 4, contrast="4096/1024")
    assert blocks(levels) == [[0, *(FORMULAS["LINEAR"](x, 1024, 4096) for x in values[1:])]] * 8
    assert report.warnings == ()
    # Of as many pixels each, the 2nd and the 98th percentile are the lowest and the highest value.
    _, report = image(series, image_width=BLOCK * 4, contrast="auto")
    applied = report.tiles[0].contrast
    assert applied is not None
    assert (applied.center, applied.width) == (1000, 2000)


@proves(
    9, "Colour of more bits than BitsStored is scaled by the codestream's bits, with a warning", "PS3.5 8.2"
)
def test_colour_of_more_bits_than_stored():
    """16 bits under a header of 8 are not all white."""
    colour = (65535, 32768, 0)
    stored = np.zeros((BLOCK, BLOCK, 3), "u2") + np.array(colour, "u2")
    codestream = bytes(imagecodecs.jpegls_encode(stored))
    data = flat(
        (0,),
        "u1",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=make_dicom.encapsulate([[codestream + b"\0" * (len(codestream) % 2)]]),
    )
    series = objects(data, transfer_syntax=JPEG_LS)
    assert np.abs(colours(series, BLOCK) - np.array([255, 128, 0])).max() <= 2


def colour_codestream(family: str, samples: np.ndarray, bits: int) -> bytes:
    """Colour of so many bits a sample."""
    if family == "JPEG":
        return bytes(imagecodecs.jpeg8_encode(samples, level=100, colorspace="RGB", outcolorspace="RGB"))
    if family == "JPEG-LS":
        return bytes(imagecodecs.jpegls_encode(samples))
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples, level=0, codecformat="j2k", reversible=True, bitspersample=bits, mct=False
        )
    )


@proves(
    9, "Colour of fewer bits than BitsStored is scaled by the codestream's bits, with a warning", "PS3.5 8.2"
)
@pytest.mark.parametrize("family", ["JPEG", "JPEG-LS", "JPEG 2000"])
@pytest.mark.parametrize("width", [BLOCK, 8 * BLOCK])
def test_colour_of_fewer_bits_than_stored(family, width):
    """8 bits under a header of 12 are not all black; reduced as in full."""
    stored = np.zeros((8 * BLOCK, 8 * BLOCK, 3), "u1") + np.array((255, 128, 0), "u1")
    codestream = colour_codestream(family, stored, 8)
    data = flat(
        (0,) * 8,
        Rows=8 * BLOCK,
        BitsStored=12,
        HighBit=11,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=make_dicom.encapsulate([[codestream + b"\0" * (len(codestream) % 2)]]),
    )
    syntax = {"JPEG": make_dicom.JPEG, "JPEG-LS": JPEG_LS, "JPEG 2000": J2K}[family]
    series = objects(data, transfer_syntax=syntax)
    shown, warnings = warned_colours(series, width)
    assert np.abs(shown - np.array([255, 128, 0])).max() <= 2
    scaled = "its colours are scaled by the codestream's bits"
    assert warnings == (f"its codestream has 8 bits a sample, and BitsStored is 12: {scaled}",)


# Elements that contradict each other

BITS = "PS3.5 8.1.1; PS3.3 C.7.6.3"
SIXTEEN_BITS = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
FULL = {"WindowWidth": "65536", "WindowCenter": "32768"}
LEAST, MIDDLE, MOST = 0, 32768, 65535


def leveled(values: tuple[int, ...]) -> list[list[int]]:
    """Values of 16 bits under the window of all of them."""
    return [[FORMULAS["LINEAR"](x, 32768, 65536) for x in values]]


@proves(8, "Bits that contradict each other are read as far as they make sense, with a warning", BITS)
@pytest.mark.parametrize(
    ("elements", "mask", "warning"),
    [
        (
            {"BitsStored": 20},
            0xFFFF,
            "BitsStored and BitsAllocated contradict each other: all bits that are allocated are read",
        ),
        (
            {"BitsStored": 0},
            0xFFFF,
            "BitsStored and BitsAllocated contradict each other: all bits that are allocated are read",
        ),
        (
            {"BitsStored": 12, "HighBit": 20},
            0xFFF,
            "HighBit contradicts BitsStored and BitsAllocated: BitsStored - 1 is used",
        ),
        (
            {"BitsStored": 12, "HighBit": 5},
            0xFFF,
            "HighBit contradicts BitsStored and BitsAllocated: BitsStored - 1 is used",
        ),
        (
            {"PixelRepresentation": 7},
            0xFFFF,
            "PixelRepresentation is neither 0 nor 1: the pixels are read as unsigned",
        ),
        ({"PixelRepresentation": None}, 0xFFFF, "it has no PixelRepresentation: the usual is taken for it"),
        ({"BitsStored": None}, 0xFFFF, "it has no BitsStored: the usual is taken for it"),
        ({"BitsAllocated": None}, 0xFFFF, "it has no BitsAllocated: the usual is taken for it"),
        ({"HighBit": None}, 0xFFFF, "it has no HighBit: the usual is taken for it"),
        (
            {"HighBit": None, "PixelRepresentation": None},
            0xFFFF,
            "it has no HighBit and no PixelRepresentation: the usual is taken for it",
        ),
    ],
)
def test_bits_that_contradict_each_other(elements, mask, warning):
    """Never without a word."""
    values = tuple(value & mask for value in (LEAST, 100, 4000, MIDDLE, MOST))
    data = flat(values, **{**SIXTEEN_BITS, **FULL, **elements})
    assert warned(objects(data), data.Columns) == (leveled(values), warning)


@proves(8, "A HighBit that is not BitsStored - 1 says where the bits lie, with a warning", BITS)
def test_bits_at_the_top_of_their_words():
    """12 bits of 16, four of them below: as ACR-NEMA allowed."""
    values = (0, 100, 4095)
    data = flat(
        tuple(value << 4 for value in values),
        BitsStored=12,
        HighBit=15,
        WindowWidth="4096",
        WindowCenter="2048",
    )
    expected = [[FORMULAS["LINEAR"](x, 2048, 4096) for x in values]]
    warning = "HighBit is not BitsStored - 1: the bits below it are read"
    assert warned(objects(data), data.Columns) == (expected, warning)


@proves(9, "Colour without PlanarConfiguration is shown by pixel, with a warning", "PS3.3 C.7.6.3.1.3")
def test_colour_without_planar_configuration():
    """As nearly all of it is."""
    octets = bytes((250, 10, 20)) * BLOCK * BLOCK
    data = flat((0,), "u1", SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=octets)
    series = objects(data)
    assert np.abs(colours(series, BLOCK) - np.array((250, 10, 20))).max() <= 2
    request = ImageRequest.from_strings("S", "a.jpg", {"position": ["0"]})
    report = PreviewService(MemoryStorage(series), None, Limits()).render(request).report
    assert report.warnings == ("it has no PlanarConfiguration: the usual is taken for it",)


@proves(2, "A RescaleSlope of 0 is not used, with a warning", "PS3.3 C.11.1.1.2")
def test_a_slope_of_zero():
    """All pixels would be one; 1 is used, as dcmtk does."""
    data = flat((0, 100, 255), RescaleSlope="0", RescaleIntercept="0", **WINDOW)
    assert warned(objects(data), data.Columns) == ([[0, 100, 255]], "RescaleSlope is 0: 1 is used")


@proves(1, "A VOILUTFunction that is none is LINEAR, with a warning", "PS3.3 C.11.2.1.3")
@pytest.mark.parametrize("function", ["FOO", "LIN", "LINEAR EXACT"])
def test_an_unknown_function(function):
    """Its defined terms are three."""
    data = flat((0, 100, 400), WindowWidth="401", WindowCenter="200", VOILUTFunction=function)
    expected = [[FORMULAS["LINEAR"](x, 200, 401) for x in (0, 100, 400)]]
    warning = "VOILUTFunction is none that DICOM defines: LINEAR is used"
    assert warned(objects(data), data.Columns) == (expected, warning)


@pytest.mark.parametrize("function", ["SIGMOID", "sigmoid", "Linear_Exact"])
def test_a_function_in_any_case(function):
    """What is meant is certain."""
    data = flat((0, 100, 400), WindowWidth="401", WindowCenter="200")
    make_dicom.add(data, 0x00281056, "CS", function)
    values = (Fraction(value) for value in (0, 100, 400))
    expected = [[FORMULAS[function.upper()](x, Fraction(200), Fraction(401)) for x in values]]
    assert warned(objects(data), data.Columns) == (expected, "")


def lookup(**elements: Any) -> Dataset:
    """An item of a lookup table's sequence."""
    return make_dicom.dataset(**elements)


NO_TABLE = {"LUTDescriptor": [200, 0, 16], "LUTExplanation": "X"}
A_TABLE = {"LUTDescriptor": [2, 0, 8], "LUTData": np.array([255, 0], "<u2").tobytes()}


@proves(
    2,
    "An item of a lookup table's sequence without a table is not used, with a warning",
    "PS3.3 C.11.1, C.11.2",
)
@pytest.mark.parametrize("broken", [NO_TABLE, {}])
@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_items_without_a_table(name, broken):
    """Slope and intercept, and the window, are used in its place."""
    data = flat((0, 50, 100), RescaleSlope="2", RescaleIntercept="5", **{name: [lookup(**broken)]}, **WINDOW)
    warning = f"{name} has 1 item without a table: it is not used"
    assert warned(objects(data), data.Columns) == ([[5, 105, 205]], warning)


def test_one_table_of_two():
    """The VOI LUT that is whole is used."""
    data = flat((0, 1), VOILUTSequence=[lookup(**NO_TABLE), lookup(**A_TABLE)])
    warning = "VOILUTSequence has 1 item without a table: it is not used"
    assert warned(objects(data), data.Columns)[1].startswith(warning)
    assert warned(objects(data), data.Columns)[0] == [[255, 0]]


@proves(2, "A lookup table or a palette that is cut off is refused by name", "PS3.3 C.11.1.1, C.7.6.3.1.5")
@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence", "palette"])
def test_tables_that_are_cut_off(name):
    """What its entries are nobody knows."""
    cut = np.arange(3, dtype="<u2").tobytes()
    if name == "palette":
        elements = {
            f"{colour}PaletteColorLookupTable{part}": value
            for colour in ("Red", "Green", "Blue")
            for part, value in (("Descriptor", [200, 0, 16]), ("Data", cut))
        }
        data = flat((0, 100), "u1", PhotometricInterpretation="PALETTE COLOR", **elements)
    else:
        data = flat((0, 100), **{name: [lookup(LUTDescriptor=[200, 0, 16], LUTData=cut)]})
    assert "a lookup table is cut off: 200 entries expected, 6 bytes found" in refused(objects(data))


@proves(
    5, "PixelPaddingRangeLimit without PixelPaddingValue is no padding, with a warning", "PS3.3 C.7.5.1.1.2"
)
def test_a_limit_of_padding_without_a_value():
    """There is no range of one end."""
    data = flat((0, 100, 255), PixelPaddingRangeLimit=100, **WINDOW)
    warning = "PixelPaddingRangeLimit without PixelPaddingValue: nothing is taken for padding"
    assert warned(objects(data), data.Columns) == ([[0, 100, 255]], warning)


@proves(10, "Centers and widths unequal in number are told of", "PS3.3 C.11.2.1.2")
@pytest.mark.parametrize(("widths", "centers"), [(["256"], ["128", "9"]), (["256", "1500"], ["128"])])
def test_centers_and_widths_unequal_in_number(widths, centers):
    """The first pair is whole."""
    data = flat((0, 100, 255), WindowWidth=widths, WindowCenter=centers)
    warning = "WindowCenter and WindowWidth are unequal in number: they are paired as far as they go"
    assert warned(objects(data), data.Columns) == ([[0, 100, 255]], warning)


@proves(10, "A window of width 0 or less is told of", "PS3.3 C.11.2.1.2")
@pytest.mark.parametrize("width", ["0", "-400"])
def test_a_window_without_a_width(width):
    """What is used in its place is named."""
    data = flat((0, 100, 400), Modality="MR", WindowWidth=width, WindowCenter="40")
    _, warning = warned(objects(data), data.Columns)
    assert warning == "the file's window has no positive width; auto is used instead"


@proves(7, "A spacing that is not two positive numbers is not used, with a warning", "PS3.3 10.7.1.3")
@pytest.mark.parametrize("name", ["PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"])
@pytest.mark.parametrize("values", [[0, 0], [-1, 1], [0, 1]])
def test_a_spacing_of_nothing(name, values):
    """Pixels are shown square."""
    data = flat((0, 100, 255), **{"PixelSpacing": None, name: None}, **WINDOW)
    tag, vr = {"PixelAspectRatio": (0x00280034, "IS"), "PixelSpacing": (0x00280030, "DS")}.get(
        name, (0x00181164, "DS")
    )
    make_dicom.add(data, tag, vr, values)
    warning = f"{name} is not two positive numbers: it is not used"
    assert warned(objects(data), data.Columns) == ([[0, 100, 255]], warning)


# Elements of other values than their kind has

MISPLACED = "ImagePositionPatient is not three numbers: the slice is not placed by it"
UNPLACED = "ImageOrientationPatient is not six numbers: it is not used"
ASKEW = (
    "ImageOrientationPatient has rows and columns that are not at right angles: directions are not told by it"
)
NO_PLANE = "ImageOrientationPatient is no pair of perpendicular unit vectors: it is not used"
NO_UNIT = "ImageOrientationPatient is not of unit length: only its directions are used"


@pytest.mark.parametrize(
    ("tag", "values", "warning"),
    [
        (0x00280030, [0.5], "PixelSpacing is not two positive numbers: it is not used"),
        (0x00280030, [0.5, 1, 2], "PixelSpacing is not two positive numbers: it is not used"),
        (0x00280030, [0.5, ""], "PixelSpacing is not two positive numbers: it is not used"),
        (0x00181164, [0.5, ""], "ImagerPixelSpacing is not two positive numbers: it is not used"),
        (0x00200032, [1, 2], MISPLACED),
        (0x00200032, [1, "", 3], MISPLACED),
        (
            0x00200032,
            [1, 2, 3, 4],
            "ImagePositionPatient is not three numbers: the slice is not placed by it",
        ),
        (0x00200037, [1, 0, 0, 0, 1], UNPLACED),
        (0x00200037, [1, 0, 0, 0, 1, 0, 0], UNPLACED),
        (0x00200037, [0] * 6, NO_PLANE),
        (0x00200037, [1, 0, 0, 1, 0, 0], NO_PLANE),
        (0x00200037, [1, 0, 0, 0.5, 0.5, 0], NO_PLANE),
        (0x00200037, [2, 0, 0, 0, 2, 0], NO_PLANE),
        (0x00200037, [1, 0, 0, 0.05, 0.99875, 0], ASKEW),
        (0x00200037, [1.05, 0, 0, 0, 1, 0], NO_UNIT),
        (0x00200037, [1, 0, 0, 0, 0.95, 0], NO_UNIT),
        (0x00200037, [0.71, 0.71, 0, -0.71, 0.71, 0], ""),
        (0x00200037, [0.999565, 0.027916, -0.009476, -0.028354, 0.998364, -0.049662], ""),
    ],
)
def test_places_of_other_values(tag, values, warning):
    """A spacing, position or orientation that cannot be one is told of, and not used; what is rounded can."""
    data = flat((0, 100, 255), **{"PixelSpacing": None, **NOWHERE}, **WINDOW)
    make_dicom.add(data, tag, "DS", values)
    levels, report = image(objects(data), image_width=data.Columns)
    told = [text for text in report.warnings if "slices are shown as stored" not in text]
    assert (blocks(levels), "; ".join(told)) == ([[0, 100, 255]], warning)


def test_an_orientation_of_a_frame_that_is_none():
    """The orientation of a frame of a multi-frame object is looked at too."""
    groups = [make_dicom.position_group(0, 0, z) for z in (1, 2)]
    source = make_dicom.enhanced(groups, make_dicom.orientation_group([1, 0, 0, 0.05, 0.99875, 0]))
    assert ASKEW in image(objects(source))[1].warnings


@pytest.mark.parametrize(
    ("cosines", "letters"),
    [((1, 0, 0, 0.05, 0.99875, 0), ""), ((1.05, 0, 0, 0, 0.95, 0), "L\\P"), ((0,) * 6, "")],
)
def test_directions_of_a_faulty_orientation(cosines, letters):
    """Rows and columns that are not at right angles have no letters; lengths a little off change none."""
    data = flat((0, 100, 255), ImageOrientationPatient=list(cosines), **WINDOW)
    assert image(objects(data))[1].tiles[0].patient_orientation == letters


@pytest.mark.parametrize(
    ("elements", "warning"),
    [
        (
            {"PhotometricInterpretation": ""},
            "it has no PhotometricInterpretation: shown as its samples suggest",
        ),
        ({"NumberOfFrames": -1}, "NumberOfFrames is below 0: it is not used"),
        (
            {"PresentationLUTShape": "BANANA"},
            "PresentationLUTShape is neither IDENTITY nor INVERSE: it is not used",
        ),
        ({"PresentationLUTShape": "IDENTITY"}, ""),
    ],
)
def test_words_that_say_nothing(elements, warning):
    """An element that is empty, or holds what DICOM does not define for it, is told of."""
    data = flat((0, 100, 255), **elements, **WINDOW)
    assert warned(objects(data), data.Columns) == ([[0, 100, 255]], warning)


@pytest.mark.parametrize(
    ("bits", "entries", "levels", "is_told"),
    [
        (8, [0, 100, 255], [0, 100, 255], False),
        (16, [0, 100, 65535], [0, 0, 255], False),
        (8, [0, 500, 1023], [0, 125, 255], True),
        (0, [0, 100, 255], [0, 100, 255], True),
        (0, [0, 0, 0], [0, 0, 0], True),
        (32, [0, 100, 255], [0, 100, 255], True),
    ],
)
def test_tables_of_other_bits_than_they_say(bits, entries, levels, is_told):
    """A VOI LUT whose descriptor contradicts its entries is shown by these, with a warning."""
    table = {"LUTDescriptor": [3, 0, bits], "LUTData": np.array(entries, "<u2").tobytes()}
    data = flat((0, 1, 2), VOILUTSequence=[lookup(**table)])
    text = "VOILUTSequence has entries of other bits than its LUTDescriptor says: the entries' are used"
    levels_found, report = image(objects(data), image_width=data.Columns)
    assert (blocks(levels_found), text in report.warnings) == ([levels], is_told)


# Codestreams that end too early


def tiled_jpeg_2000(samples: np.ndarray) -> bytes:
    """A lossless codestream of 16 tiles."""
    with BytesIO() as file:
        Image.fromarray(samples).save(file, "JPEG2000", no_jp2=True, tile_size=(16, 16), irreversible=False)
        return file.getvalue()


def baseline_jpeg(samples: np.ndarray) -> bytes:
    """A codestream of the best quality."""
    return bytes(imagecodecs.jpeg8_encode(samples, level=100))


ENDED = {
    "JPEG 2000": (J2K, jpeg_2000),
    "JPEG 2000 in tiles": (J2K, tiled_jpeg_2000),
    "HTJ2K": (HTJ2K, lambda samples: bytes(imagecodecs.htj2k_encode(samples, reversible=True))),
    "JPEG": (make_dicom.JPEG, baseline_jpeg),
    "JPEG lossless": ("1.2.840.10008.1.2.4.70", lambda samples: bytes(imagecodecs.ljpeg_encode(samples))),
}


def ended(family):
    """A transfer syntax, some samples, and their whole codestream in it."""
    syntax, encode = ENDED[family]
    samples = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    return syntax, samples, bytes(encode(samples))


@proves(15, "A codestream without its end marker is shown with a warning that names the frame", "PS3.5 A.4")
@pytest.mark.parametrize("frame", [1, 2])
@pytest.mark.parametrize("filled", [b"", b"\0\0", bytes(40)])
@pytest.mark.parametrize("family", ENDED)
def test_a_codestream_without_its_end(family, filled, frame):
    """All samples are there, and nothing says so; the other frame has no warning."""
    syntax, samples, whole = ended(family)
    assert whole.endswith(b"\xff\xd9")
    unended = whole[:-2] + filled
    fragments = [unended, whole] if frame == 1 else [whole, unended]
    series = encapsulated(fragments, syntax, frames=2)
    for number in (1, 2):
        levels, report = image(series, position=number - 1, image_width=64)
        assert np.abs(levels.astype(int) - samples).max() <= 3
        warning = f"0, frame {frame}: its codestream has no end marker: part of the picture may be missing"
        assert report.warnings == ((warning,) if number == frame else ())


@proves(15, "A JPEG codestream that is cut off and closed again is refused by name", "ISO/IEC 10918-1")
@pytest.mark.parametrize("share", [0.7, 0.8, 0.9])
@pytest.mark.parametrize("family", ["JPEG", "JPEG lossless"])
def test_a_codestream_that_is_cut_off_and_closed_again(family, share):
    """No matter that its decoder says nothing of it."""
    syntax, _, whole = ended(family)
    series = encapsulated([whole[: int(len(whole) * share)] + b"\xff\xd9"], syntax)
    with pytest.raises(UndecodableError, match="the JPEG codestream is cut off"):
        image(series, image_width=64)


@proves(
    15, "A codestream whose end is missing is shown in part with a warning, or refused by name", "PS3.5 A.4"
)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("family", ENDED)
def test_a_codestream_that_is_cut_off(family, filled, share):
    """Filled up with zeros, as an interrupted copy leaves it, or not."""
    syntax, _, whole = ended(family)
    kept = int(len(whole) * share)
    series = encapsulated([whole[:kept] + bytes(len(whole) - kept if filled else 0)], syntax)
    try:
        told = "; ".join(image(series, image_width=64)[1].warnings)
    except UndecodableError as error:
        told = str(error)
    assert re.search("its codestream has no end marker|is cut off|is broken", told)
