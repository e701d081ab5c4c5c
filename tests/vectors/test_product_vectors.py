"""Display values of whole objects: bytes in, picture out, and in between all that the product is.

Every number that is expected is worked out here, in exact fractions.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import make_dicom
from conformance.flat import BLOCK, blocks, flat, image, mosaic, objects, pixels, shown
from conformance.formulas import FORMULAS, linear, linear_exact, percentile, rounded
from conformance.rules import proves
from dicom_series_preview.base.errors import LimitError
from make_dicom import dataset, enhanced, orientation_group, position_group

LEVELS = (-1000, -501, -500, -41, -40, -1, 0, 1, 2, 39, 40, 41, 100, 239, 240, 241, 1000, 3000)
WINDOWS = [
    ("400", "40"),
    ("1", "0"),
    ("1", "40"),
    ("2", "1"),
    ("1500", "-500"),
    ("80.5", "39.75"),
    ("3", "-40.25"),
    ("1e3", "-1.5e2"),
]


def exact(values: Any, function: str, width: str, center: str) -> list[int]:
    """What a window written as decimal text makes of modality values."""
    return [FORMULAS[function](Fraction(x), Fraction(center), Fraction(width)) for x in values]


def table(entries: Any, first: int, bits: int, *, packed: bool = False, sign: str = "US") -> Any:
    """An item of a modality or VOI LUT sequence."""
    count = len(entries) % 65536
    item = dataset()
    make_dicom.add(
        item, 0x00283002, sign, [count - 65536 if sign == "SS" and count > 32767 else count, first, bits]
    )
    make_dicom.add(item, 0x00283006, "OW", np.array(entries, np.uint8 if packed else "<u2").tobytes())
    return item


def stretched(entry: int, bits: int) -> int:
    """An entry of 0..2^bits - 1 as a display value."""
    return rounded(Fraction(255 * entry, (1 << bits) - 1))


# 1: windows


@proves(1, "An absent VOILUTFunction is LINEAR", "PS3.3 C.11.2.1.3")
@pytest.mark.parametrize(("width", "center"), WINDOWS)
def test_linear_by_default(width, center):
    """Without a function, the window is LINEAR, with its half and its one."""
    data = flat(LEVELS, "<i2", WindowWidth=width, WindowCenter=center)
    assert shown(data) == exact(LEVELS, "LINEAR", width, center)


@proves(
    1, "LINEAR: ((x - (c - 0.5)) / (w - 1) + 0.5); a width of 1 is a step at c - 0.5", "PS3.3 C.11.2.1.2.1"
)
@pytest.mark.parametrize(("width", "center"), WINDOWS)
def test_linear(width, center):
    """LINEAR by name."""
    data = flat(LEVELS, "<i2", WindowWidth=width, WindowCenter=center, VOILUTFunction="LINEAR")
    assert shown(data) == exact(LEVELS, "LINEAR", width, center)


@proves(1, "LINEAR_EXACT: ((x - c) / w + 0.5), whatever the width", "PS3.3 C.11.2.1.3.2")
@pytest.mark.parametrize(("width", "center"), [*WINDOWS, ("0.5", "40"), ("0.25", "-0.125")])
def test_linear_exact(width, center):
    """LINEAR_EXACT has neither half nor one, and takes widths below 1."""
    data = flat(LEVELS, "<i2", WindowWidth=width, WindowCenter=center, VOILUTFunction="LINEAR_EXACT")
    assert shown(data) == exact(LEVELS, "LINEAR_EXACT", width, center)


@proves(1, "SIGMOID: 1 / (1 + exp(-4 (x - c) / w))", "PS3.3 C.11.2.1.3.1")
@pytest.mark.parametrize(("width", "center"), [*WINDOWS, ("0.5", "40")])
def test_sigmoid(width, center):
    """SIGMOID reaches black and white only far from the center."""
    data = flat(LEVELS, "<i2", WindowWidth=width, WindowCenter=center, VOILUTFunction="SIGMOID")
    assert shown(data) == exact(LEVELS, "SIGMOID", width, center)


@proves(1, "Below a width of 1, which LINEAR does not define, the ramp of that width", "PS3.3 C.11.2.1.2.1")
@pytest.mark.parametrize(("width", "center"), [("0.5", "40"), ("0.001", "0.0004")])
def test_narrow_windows_are_ramps(width, center):
    """(x - c) / w + 0.5, as the writers of such files mean it."""
    slope = Fraction(1, 4096)
    stored = (0, 1, 2, 3, 4, 100, 163000 // 4096, 40 * 1024, 40960)
    data = flat(
        stored, RescaleSlope=str(float(slope)), RescaleIntercept="0", WindowWidth=width, WindowCenter=center
    )
    assert shown(data) == exact([x * slope for x in stored], "LINEAR_EXACT", width, center)


@proves(1, "Presets and custom windows clip at C - W/2 and C + W/2", "our choice; PS3.3 C.11.2.1.3.2")
@pytest.mark.parametrize(
    ("contrast", "width", "center"),
    [("ct-brain", "80", "40"), ("lung", "1500", "-500"), ("2.5/-40.5", "2.5", "-40.5")],
)
def test_asked_windows(contrast, width, center):
    """The file's window and function do not matter then."""
    data = flat(LEVELS, "<i2", WindowWidth="7", WindowCenter="7", VOILUTFunction="SIGMOID")
    assert shown(data, contrast=contrast) == exact(LEVELS, "LINEAR_EXACT", width, center)


@proves(1, "Spaces before and after a VOILUTFunction do not count", "PS3.5 6.2")
@pytest.mark.parametrize("function", ["SIGMOID ", " SIGMOID"])
def test_spaces_around_the_function(function):
    """CS has no significant space at its ends."""
    data = flat(LEVELS, "<i2", WindowWidth="400", WindowCenter="40")
    make_dicom.add(data, 0x00281056, "CS", function)
    assert shown(data) == exact(LEVELS, "SIGMOID", "400", "40")


# 2: lookup tables, slope and intercept


@proves(2, "A VOI LUT descriptor of 0 entries means 65536", "PS3.3 C.11.2.1.1")
def test_65536_entries():
    """The last of 65536 entries is reached."""
    stored = (0, 1, 255, 256, 32767, 32768, 65534, 65535)
    data = flat(stored, VOILUTSequence=[table(range(65535, -1, -1), 0, 16)])
    assert shown(data) == [stretched(65535 - x, 16) for x in stored]


@proves(2, "The first value of a VOI LUT is signed where its input is", "PS3.3 C.11.2.1.1")
@pytest.mark.parametrize("sign", ["US", "SS"])
@pytest.mark.parametrize(
    ("dtype", "intercept"),
    [("<i2", 0), ("<i2", 1000), ("<u2", -1024)],
    ids=["signed", "signed, rescaled", "rescaled"],
)
def test_a_signed_first_value(sign, dtype, intercept):
    """-100 is -100 whether it is written as SS or as the 65436 of a US."""
    values = (-101, -100, -99, 0, 127, 154, 155, 156, 900)
    entries = [(i * 37) % 256 for i in range(256)]
    data = flat(
        [x - intercept for x in values],
        dtype,
        RescaleSlope="1",
        RescaleIntercept=str(intercept),
        VOILUTSequence=[table(entries, 65436 if sign == "US" else -100, 8, sign=sign)],
    )
    assert shown(data) == [stretched(entries[min(max(x + 100, 0), 255)], 8) for x in values]


@proves(2, "The first value of a VOI LUT is unsigned where its input is", "PS3.3 C.11.2.1.1")
def test_an_unsigned_first_value():
    """40000 is no negative number."""
    entries = list(range(256))
    stored = (0, 39999, 40000, 40001, 40200, 40255, 40256, 65535)
    data = flat(stored, VOILUTSequence=[table(entries, 40000, 8)])
    assert shown(data) == [min(max(x - 40000, 0), 255) for x in stored]


@proves(
    2,
    "The sign of a VOI LUT's first value is that of the modality values, not of the pixels",
    "PS3.3 C.11.2.1.1",
)
@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "first", "sign"),
    [
        ("<u2", -1, 0, -200, "SS"),
        ("<u2", -1, 1000, -200, "US"),
        ("<u2", -1, 1000, 900, "US"),
        ("<i2", 16, 32768, 40000, "US"),
        ("<i2", 16, 32768, -200, "SS"),
        ("<u2", 2, -1000, 40000, "US"),
    ],
)
def test_the_sign_of_a_first_value_is_that_of_modality_values(dtype, slope, intercept, first, sign):
    """Negative where modality values may be and the other reading is none of them, or the VR says so."""
    lowest = int(np.iinfo(dtype).min)
    near = range((first - intercept) // slope - 20, (first - intercept) // slope + 20, 7)
    stored = [x for x in near if lowest <= x <= np.iinfo(dtype).max]
    entries = [(i * 37) % 256 for i in range(256)]
    data = flat(
        stored,
        dtype,
        RescaleSlope=str(slope),
        RescaleIntercept=str(intercept),
        VOILUTSequence=[table(entries, first if sign == "SS" else first % 65536, 8, sign=sign)],
    )
    assert len(stored) > 2
    modality = [x * slope + intercept for x in stored]
    assert shown(data) == [entries[min(max(x - first, 0), 255)] for x in modality]


@proves(2, "8-bit entries may be packed two a word", "PS3.3 C.11.1.1.1, C.11.2.1.1")
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_packed_entries(packed, sequence):
    """256 entries in 256 bytes or in 512."""
    entries = [(i * 91) % 256 for i in range(256)]
    window = {} if sequence == "VOILUTSequence" else {"WindowWidth": "256", "WindowCenter": "128"}
    stored = (0, 1, 2, 100, 254, 255)
    data = flat(stored, "u1", **{sequence: [table(entries, 0, 8, packed=packed)], **window})
    assert shown(data) == [entries[x] for x in stored]  # a window of 256 at 128 changes no byte


@proves(2, "A VOI LUT and a window are alternatives, never chained; the LUT goes first", "PS3.3 C.11.2.1")
def test_alternatives():
    """The LUT alone, the window alone, and each by its number."""
    entries, stored = [(i * 53) % 4096 for i in range(4096)], (0, 1, 77, 1000, 4095)
    data = flat(stored, VOILUTSequence=[table(entries, 0, 12)], WindowWidth="2000", WindowCenter="1000")
    by_table = [stretched(entries[x], 12) for x in stored]
    assert shown(data) == shown(data, contrast="embedded:1") == by_table
    assert shown(data, contrast="embedded:2") == exact(stored, "LINEAR", "2000", "1000")


@proves(
    2,
    "A modality LUT wins over slope and intercept, and is signed as the stored values are",
    "PS3.3 C.11.1.1",
)
def test_a_modality_lut():
    """The table's output goes into the window; slope and intercept beside it are no part."""
    entries = [(i * i) % 60000 for i in range(300)]
    stored = (-200, -100, -99, 0, 50, 199, 200, 2000)
    data = flat(
        stored,
        "<i2",
        ModalityLUTSequence=[table(entries, -100, 16, sign="SS")],
        RescaleSlope="3",
        RescaleIntercept="9",
        WindowWidth="40000",
        WindowCenter="20000",
    )
    modality = [entries[min(max(x + 100, 0), 299)] for x in stored]
    assert shown(data) == exact(modality, "LINEAR", "40000", "20000")


@proves(2, "A missing slope is 1, a missing intercept 0", "PS3.3 C.11.1")
@pytest.mark.parametrize(("slope", "intercept"), [(None, "-1024"), ("2", None), (None, None)])
def test_half_a_rescale(slope, intercept):
    """What is there counts."""
    stored = (0, 500, 1000, 1024, 1100, 2000)
    data = flat(stored, RescaleSlope=slope, RescaleIntercept=intercept, WindowWidth="400", WindowCenter="40")
    modality = [x * int(slope or 1) + int(intercept or 0) for x in stored]
    assert shown(data) == exact(modality, "LINEAR", "400", "40")


@proves(2, "Slopes may be negative, fractional, or 1e-8", "PS3.3 C.11.1")
@pytest.mark.parametrize(
    ("slope", "intercept", "width", "center"),
    [
        ("-1", "4095", "1500", "1000"),
        ("-0.5", "0", "300", "-700"),
        ("0.0001", "0", "0.3", "0.15"),
        ("1e-8", "0", "3.1e-5", "1.7e-5"),
        ("-1e-8", "1e-5", "2.3e-5", "0"),
        ("2.5", "-1e6", "5001", "-997000"),
    ],
)
def test_slopes(slope, intercept, width, center):
    """The formulas hold at any scale."""
    stored = (0, 1, 13, 500, 777, 1024, 2047, 3003, 4095)
    data = flat(
        stored,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowWidth=width,
        WindowCenter=center,
        VOILUTFunction="LINEAR_EXACT",
    )
    modality = [x * Fraction(slope) + Fraction(intercept) for x in stored]
    assert shown(data) == exact(modality, "LINEAR_EXACT", width, center)


# 3: functional groups


def frames(groups: list[Any], shared: Any, stored: tuple[int, ...], **elements: Any) -> dict[str, bytes]:
    """A multi-frame image, all frames of the same values."""
    given = {
        "Rows": BLOCK,
        "Columns": BLOCK * len(stored),
        "BitsStored": 16,
        "HighBit": 15,
        "PixelData": pixels([stored]) * len(groups),
    }
    return objects(enhanced(groups, shared, **{**given, **elements}))


def rescale(slope: str, intercept: str) -> list[Any]:
    return [dataset(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")]


def window(width: str, center: str, **more: Any) -> list[Any]:
    return [dataset(WindowWidth=width, WindowCenter=center, **more)]


def measures(rows_mm: float, columns_mm: float) -> list[Any]:
    return [dataset(PixelSpacing=[rows_mm, columns_mm])]


STORED = (0, 10, 100, 500, 1000, 2000)
SPACING = {"PixelMeasuresSequence": measures(1, 1)}


@proves(3, "Rescale: a frame's own group, then the shared one, then the root", "PS3.3 C.7.6.16.2.9")
def test_rescale_of_each_frame():
    """Three frames: with a group of its own, without, and a whole image without any."""
    own = position_group(0, 0, 3, PixelValueTransformationSequence=rescale("2", "-100"))
    root = {"RescaleSlope": "5", "RescaleIntercept": "7", "WindowWidth": "1000", "WindowCenter": "500"}
    shared = orientation_group(PixelValueTransformationSequence=rescale("3", "50"), **SPACING)
    series = frames([own, position_group(0, 0, 2), position_group(0, 0, 1)], shared, STORED, **root)
    levels, _ = mosaic(series, tile_width=1, tile_height=3, image_width=BLOCK * len(STORED))
    assert blocks(levels) == [
        exact([x * 2 - 100 for x in STORED], "LINEAR", "1000", "500"),
        exact([x * 3 + 50 for x in STORED], "LINEAR", "1000", "500"),
        exact([x * 3 + 50 for x in STORED], "LINEAR", "1000", "500"),
    ]
    bare = frames([position_group(0, 0, 1)], orientation_group(**SPACING), STORED, **root)
    levels, _ = image(bare, image_width=BLOCK * len(STORED))
    assert blocks(levels) == [exact([x * 5 + 7 for x in STORED], "LINEAR", "1000", "500")]


@proves(
    3,
    "Windows and VOI LUT function: a frame's own group, then the shared one, then the root",
    "PS3.3 C.7.6.16.2.10",
)
def test_windows_of_each_frame():
    """The function goes with the macro that holds the window."""
    own = position_group(0, 0, 2, FrameVOILUTSequence=window("300", "200", VOILUTFunction="SIGMOID"))
    shared = orientation_group(
        FrameVOILUTSequence=window("900", "450", VOILUTFunction="LINEAR_EXACT"), **SPACING
    )
    series = frames([own, position_group(0, 0, 1)], shared, STORED, WindowWidth="10", WindowCenter="5")
    levels, report = mosaic(series, tile_width=1, tile_height=2, image_width=BLOCK * len(STORED))
    assert blocks(levels) == [
        exact(STORED, "SIGMOID", "300", "200"),
        exact(STORED, "LINEAR_EXACT", "900", "450"),
    ]
    assert [(t.contrast.function, t.contrast.width, t.contrast.center) for t in report.tiles] == [
        ("SIGMOID", 300, 200),
        ("LINEAR_EXACT", 900, 450),
    ]


@proves(
    3,
    "A macro is one: no element of another level is mixed into a frame's own",
    "PS3.3 C.7.6.16.1.1, C.7.6.16.2.10",
)
@pytest.mark.parametrize("level", ["shared", "root"])
def test_macros_are_not_mixed(level):
    """A frame's own window without a function is LINEAR, whatever function stands elsewhere."""
    own = position_group(0, 0, 2, FrameVOILUTSequence=window("300", "200"))
    other = (
        {"FrameVOILUTSequence": window("900", "450", VOILUTFunction="SIGMOID")} if level == "shared" else {}
    )
    root = {"VOILUTFunction": "SIGMOID"} if level == "root" else {}
    levels, _ = image(
        frames([own], orientation_group(**other, **SPACING), STORED, **root), image_width=BLOCK * 6
    )
    assert blocks(levels) == [exact(STORED, "LINEAR", "300", "200")]


@proves(3, "Pixel measures: a frame's own group, then the shared one, then the root", "PS3.3 C.7.6.16.2.1")
@pytest.mark.parametrize(
    ("own", "shared", "root", "height"),
    [
        ((2, 1), (3, 1), [4, 1], 2),
        (None, (3, 1), [4, 1], 3),
        (None, None, [4, 1], 4),
    ],
)
def test_spacing_of_each_frame(own, shared, root, height):
    """What is nearest to the frame decides its proportions."""
    macro = {"PixelMeasuresSequence": measures(*own)} if own else {}
    other = {"PixelMeasuresSequence": measures(*shared)} if shared else {}
    series = frames([position_group(0, 0, 1, **macro)], orientation_group(**other), (5, 5), PixelSpacing=root)
    levels, _ = image(series, image_width=2 * BLOCK, contrast="10/5")
    assert levels.shape == (height * BLOCK, 2 * BLOCK)


@proves(
    3,
    "Position and orientation: a frame's own group, then the shared one, then the root",
    "PS3.3 C.7.6.16.2.3-4",
)
def test_place_of_each_frame():
    """Frames are sorted by their own positions; one with another orientation is of another stack."""
    turned = position_group(
        0, 0, 2, PlaneOrientationSequence=[dataset(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])]
    )
    groups = [position_group(0, 0, z) for z in (1, 3, 2)]
    given = {
        "ImageOrientationPatient": list(make_dicom.CORONAL),
        "ImagePositionPatient": [9, 9, 9],
        "Rows": BLOCK,
        "Columns": BLOCK,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelData": b"".join(pixels([[value]]) for value in (10, 20, 30, 40)),
    }
    series = objects(enhanced([*groups, turned], orientation_group(**SPACING), **given))
    levels, report = mosaic(series, tile_width=1, tile_height=3, image_width=BLOCK, contrast="50.2/25.1")
    assert [tile.primary_position for tile in report.tiles] == [3, 2, 1]
    assert [stack.slices for stack in report.stacks] == [3, 1]
    ramp = [FORMULAS["LINEAR_EXACT"](Fraction(x), Fraction("25.1"), Fraction("50.2")) for x in (20, 30, 10)]
    assert blocks(levels) == [[level] for level in ramp]


# 4: rescale of each instance


@proves(
    4, "Auto counts modality values, with the slope and intercept of each instance", "PS3.3 C.8.9.4, C.11.1"
)
def test_pet():
    """The same counts under three slopes are three activities, and one window is made of all of them."""
    slopes = ("0.5", "2.25", "13.125")
    stored = (0, 1, 2, 3, 50, 100, 1000, 3000)
    series = objects(
        *(
            flat(stored, number=n, Modality="PT", RescaleSlope=slope, RescaleIntercept="0")
            for n, slope in enumerate(slopes, 1)
        )
    )
    values = {slope: [x * Fraction(slope) for x in stored] for slope in slopes}
    pooled = [value for some in values.values() for value in some for _ in range(BLOCK * BLOCK)]
    low, high = percentile(pooled, 2), percentile(pooled, 98)
    levels, report = mosaic(
        series, tile_width=1, tile_height=3, image_width=BLOCK * len(stored), contrast="auto"
    )
    for tile in report.tiles:
        assert tile.contrast.width == float(high - low)
        assert tile.contrast.center == float((high + low) / 2)
    descending = slopes[::-1]  # the third instance is the superior one
    assert blocks(levels) == [
        [linear_exact(x, (high + low) / 2, high - low) for x in values[slope]] for slope in descending
    ]


@proves(4, "Auto has no least width: ADC maps and SUV count in units far below 1", "our choice")
def test_small_units():
    """A slope of 1e-8 gives a window of 1e-5, which reaches from black to white."""
    stored = tuple(range(0, 4000, 500))
    levels, report = image(
        objects(flat(stored, RescaleSlope="1e-8", RescaleIntercept="0")),
        image_width=BLOCK * 8,
        contrast="auto",
    )
    assert report.tiles[0].contrast.width == pytest.approx(3500e-8, rel=1e-12)
    assert blocks(levels) == [[rounded(Fraction(255 * x, 3500)) for x in stored]]


# 5: padding

PADDED = (-2000, 0, 100, 200, 300, 400)


@proves(5, "Padding is compared as a stored value, before slope and intercept", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_stored(photometric):
    """A modality value that equals PixelPaddingValue is tissue; padding is black in both interpretations."""
    data = flat(
        PADDED,
        "<i2",
        PhotometricInterpretation=photometric,
        PixelPaddingValue=-2000,
        RescaleSlope="1",
        RescaleIntercept="-2100",
        WindowWidth="601",
        WindowCenter="-1899.5",
    )
    levels = [linear(Fraction(x - 2100), Fraction("-1899.5"), Fraction(601)) for x in PADDED]
    expected = [255 - level if photometric == "MONOCHROME1" else level for level in levels]
    assert shown(data) == [0, *expected[1:]]


@proves(5, "PixelPaddingRangeLimit may be the lower or the upper end", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize(("value", "limit"), [(-2000, 100), (100, -2000)])
def test_padding_ranges(value, limit):
    """Both ends are padding, and all between."""
    data = flat(
        PADDED,
        "<i2",
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=value,
        PixelPaddingRangeLimit=limit,
        WindowWidth="600",
        WindowCenter="100",
    )
    expected = [255 - level for level in exact(PADDED, "LINEAR", "600", "100")]
    assert shown(data) == [0, 0, 0, *expected[3:]]


@proves(5, "The VR of padding is the sign of the pixels, whatever the file wrote", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize(
    ("dtype", "vr", "written", "stored"),
    [
        ("<i2", "US", 63536, -2000),
        ("<i2", "SS", -2000, -2000),
        ("<u2", "SS", -1, 65535),
        ("<u2", "US", 65535, 65535),
    ],
)
@pytest.mark.parametrize("transfer_syntax", [make_dicom.EXPLICIT, make_dicom.IMPLICIT, make_dicom.BIG_ENDIAN])
def test_the_sign_of_padding(dtype, vr, written, stored, transfer_syntax):
    """-2000 and 63536 are the same 16 bits."""
    values = (stored, 0, 100, 200)
    data = flat(values, dtype, PhotometricInterpretation="MONOCHROME1", WindowWidth="300", WindowCenter="100")
    if transfer_syntax == make_dicom.BIG_ENDIAN:
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    make_dicom.add(data, 0x00280120, vr, written)
    levels, _ = image(objects(data, transfer_syntax=transfer_syntax), image_width=BLOCK * 4)
    assert blocks(levels) == [[0, *(255 - level for level in exact(values, "LINEAR", "300", "100")[1:])]]


@proves(5, "Padding is left out of the statistics", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize(
    "padding", [{"PixelPaddingValue": -2000}, {"PixelPaddingValue": -3000, "PixelPaddingRangeLimit": -1000}]
)
def test_padding_is_no_statistic(padding):
    """The automatic window spans what is left."""
    stored = (-2000, -2000, -2000, 0, 100, 200, 300)
    levels, report = image(objects(flat(stored, "<i2", **padding)), image_width=BLOCK * 7, contrast="auto")
    pooled = [Fraction(x) for x in stored[3:] for _ in range(BLOCK * BLOCK)]
    low, high = percentile(pooled, 2), percentile(pooled, 98)
    applied = report.tiles[0].contrast
    assert (applied.center, applied.width) == (float(low + high) / 2, float(high - low))
    ramp = [linear_exact(Fraction(x), (low + high) / 2, high - low) for x in stored[3:]]
    assert blocks(levels) == [[0, 0, 0, *ramp]]


@proves(5, "Float images have a padding value of their own", "PS3.3 C.7.6.24, C.7.6.25")
@pytest.mark.parametrize(("prefix", "dtype"), [("", "<f4"), ("Double", "<f8")])
def test_float_padding(prefix, dtype):
    """The automatic window spans what is left, and padding is black."""
    values = (-1000.0, 0.0, 0.25, 0.5, 1.0)
    data = flat((0,), Columns=BLOCK * 5, PhotometricInterpretation="MONOCHROME1", PixelData=None)
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(data, keyword)
    data.BitsAllocated = np.dtype(dtype).itemsize * 8
    filled = np.kron(np.array([values], dtype), np.ones((BLOCK, BLOCK), dtype)).astype(dtype)
    setattr(data, f"{prefix}FloatPixelData", filled.tobytes())
    setattr(data, f"{prefix}FloatPixelPaddingValue", values[0])
    levels, report = image(objects(data), image_width=BLOCK * 5, contrast="auto")
    assert report.tiles[0].contrast.width == 1.0
    assert blocks(levels) == [
        [0, 255, *(255 - rounded(Fraction(255 * x)) for x in map(Fraction, values[2:]))]
    ]


@proves(5, "Padding is not blurred into tissue by the resize", "PS3.3 C.7.5.1.1.2")
@pytest.mark.parametrize("padding", [-2000, 2000], ids=["dark", "bright"])
def test_padding_is_not_blurred(padding):
    """Tissue with padding in every other column keeps its level when it is shrunk to half its size."""
    side = 4 * BLOCK
    values = np.full((side, side), 70, "<i2")
    values[:, ::2] = padding
    data = flat(
        (0,),
        "<i2",
        Rows=side,
        Columns=side,
        PixelData=values.tobytes(),
        PixelPaddingValue=padding,
        WindowWidth="400",
        WindowCenter="40",
    )
    levels, _ = image(objects(data), image_width=side // 2)
    assert set(levels.ravel().tolist()) == {linear(Fraction(70), Fraction(40), Fraction(400))}


# 6: inversion


@proves(
    6, "MONOCHROME1 and PresentationLUTShape INVERSE are one wish, not two", "PS3.3 C.7.6.3.1.2, C.8.11.3"
)
@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", None, False),
    ],
)
@pytest.mark.parametrize("contrast", ["embedded", "400/40", "auto"])
def test_inversion(photometric, shape, inverted, contrast):
    """255 less the display value, under every contrast."""
    values = (-200, -100, 0, 40, 41, 100, 250)
    data = flat(
        values,
        "<i2",
        PhotometricInterpretation=photometric,
        PresentationLUTShape=shape,
        WindowWidth="400",
        WindowCenter="40",
    )
    levels = {
        "embedded": exact(values, "LINEAR", "400", "40"),
        "400/40": exact(values, "LINEAR_EXACT", "400", "40"),
        "auto": exact(values, "LINEAR_EXACT", "450", "25"),
    }[contrast]
    assert shown(data, contrast=contrast) == [255 - level if inverted else level for level in levels]


@proves(6, "MONOCHROME1 inverts what the VOI LUT gives", "PS3.3 C.7.6.3.1.2, C.11.2.1.1")
def test_an_inverted_lut():
    """255 less the entry."""
    entries = [(i * 37) % 256 for i in range(256)]
    data = flat(
        (0, 1, 2, 255), PhotometricInterpretation="MONOCHROME1", VOILUTSequence=[table(entries, 0, 8)]
    )
    assert shown(data) == [255 - entries[x] for x in (0, 1, 2, 255)]


# 7: proportions


@proves(7, r"Row spacing is the first value: a 2\1 spacing doubles the height", "PS3.3 10.7.1.3")
@pytest.mark.parametrize(
    ("given", "height"),
    [
        ({"PixelSpacing": [2, 1]}, 2),
        ({"PixelSpacing": [1, 2]}, 0.5),
        ({"PixelSpacing": [2, 1], "ImagerPixelSpacing": [4, 1], "PixelAspectRatio": [8, 1]}, 2),
        ({"ImagerPixelSpacing": [4, 1], "NominalScannedPixelSpacing": [3, 1], "PixelAspectRatio": [8, 1]}, 4),
        ({"NominalScannedPixelSpacing": [3, 1], "PixelAspectRatio": [8, 1]}, 3),
        ({"PixelAspectRatio": [8, 1]}, 8),
        ({"PixelAspectRatio": [4, 3]}, 4 / 3),
        ({}, 1),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [4, 1]}, 4),
        ({"PixelSpacing": [100, 1]}, 100),
        ({"PixelSpacing": [1, 50]}, 1 / 50),
    ],
)
def test_proportions(given, height):
    """PixelSpacing, then ImagerPixelSpacing, then NominalScannedPixelSpacing, then PixelAspectRatio."""
    data = flat((1, 2, 3), **{"PixelSpacing": None, **given})
    levels, _ = image(objects(data), image_width=3 * BLOCK)
    assert levels.shape == (max(1, round(BLOCK * height)), 3 * BLOCK)


@proves(7, "Proportions that no picture can have are refused, and not ignored", "PS3.3 10.7.1.3")
@pytest.mark.parametrize("spacing", [[1e6, 1], [1e30, 1], [1e300, 1e-300]])
def test_proportions_beyond_a_picture(spacing):
    """The error names the size that the picture would have."""
    data = flat((1, 2, 3))
    make_dicom.add(data, 0x00280030, "DS", [f"{value:g}" for value in spacing])
    with pytest.raises(LimitError, match=r"the picture would be 24 x [0-9]+ pixels"):
        image(objects(data), image_width=3 * BLOCK)


# 8: stored values


@proves(8, "The sign bit is HighBit, not the word's", "PS3.5 8.1.1")
@pytest.mark.parametrize(("stored", "high"), [(12, 11), (12, 15), (10, 11), (16, 15), (1, 0), (5, 9)])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("overlay", [0, 0xFFFF], ids=["clear", "overlays"])
def test_stored_bits(stored, high, signed, overlay):
    """Bits above and below the stored value, which may be overlays, do not count."""
    low = -(1 << stored - 1) if signed else 0
    values = sorted(
        {low, low + 1, low + (1 << stored) // 3, low + (1 << stored) - 2, low + (1 << stored) - 1}
    )
    values = [x for x in values if low <= x < low + (1 << stored)]
    shift = high + 1 - stored
    mask = ((1 << stored) - 1) << shift
    words = [(x << shift) & mask | overlay & ~mask & 0xFFFF for x in values]
    data = flat(
        words,
        BitsStored=stored,
        HighBit=high,
        PixelRepresentation=int(signed),
        WindowWidth=str((1 << stored) + 1),
        WindowCenter=str(low + (1 << stored - 1)),
    )
    assert shown(data) == exact(values, "LINEAR", str((1 << stored) + 1), str(low + (1 << stored - 1)))


@proves(
    8, "8-bit samples of an OW element in big endian are swapped in pairs, those of OB are not", "PS3.5 8.1.1"
)
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_big_endian_bytes(vr):
    """An OW word's first byte is its second sample."""
    values = (10, 200)
    data = flat(
        values, "u1", Rows=1, Columns=2, PixelData=bytes(values), WindowWidth="256", WindowCenter="128"
    )
    encoded = make_dicom.encode(data, make_dicom.BIG_ENDIAN)
    tag = b"\x7f\xe0\x00\x10"
    assert encoded.endswith(tag + b"OW\0\0\0\0\0\x02" + bytes(values))
    value = bytes(values if vr == "OB" else reversed(values))
    encoded = encoded[: -len(values)].replace(tag + b"OW", tag + vr.encode()) + value
    levels, _ = image({"S/0": encoded}, image_width=8 * BLOCK)
    ends = levels[:, : 2 * BLOCK], levels[:, -2 * BLOCK :]  # enlarged, an end keeps its level
    assert [set(end.ravel().tolist()) for end in ends] == [{10}, {200}]


# 10: windows as they come


@proves(10, "Of several windows the first; another by its number or its name", "PS3.3 C.11.2.1.2")
@pytest.mark.parametrize(
    ("contrast", "width", "center"),
    [("embedded", "400", "40"), ("embedded:2", "1500", "-500"), ("embedded:bone", "2000", "300")],
)
def test_several_windows(contrast, width, center):
    """Windows are alternative views."""
    data = flat(
        LEVELS,
        "<i2",
        WindowWidth=["400", "1500", "2000"],
        WindowCenter=["40", "-500", "300"],
        WindowCenterWidthExplanation=["soft", "lung", "bone"],
    )
    assert shown(data, contrast=contrast) == exact(LEVELS, "LINEAR", width, center)


@proves(10, "Centers and widths unequal in number are paired as far as they go", "PS3.3 C.11.2.1.2")
@pytest.mark.parametrize(("widths", "centers"), [(["400"], ["40", "-500"]), (["400", "1500"], ["40"])])
def test_unequal_windows(widths, centers):
    """The first pair is whole."""
    data = flat(LEVELS, "<i2", WindowWidth=widths, WindowCenter=centers)
    assert shown(data) == exact(LEVELS, "LINEAR", "400", "40")


@proves(10, "An empty second value takes nothing from the first pair", "PS3.3 C.11.2.1.2; PS3.5 6.4")
def test_half_empty_windows():
    """40 and nothing is 40."""
    data = flat(LEVELS, "<i2")
    make_dicom.add(data, 0x00281050, "DS", ["40", ""])
    make_dicom.add(data, 0x00281051, "DS", ["400", ""])
    assert shown(data) == exact(LEVELS, "LINEAR", "400", "40")


@proves(
    10, "A window of width 0 or less, or an empty one, is none: the percentiles are shown", "PS3.3 C.11.2.1.2"
)
@pytest.mark.parametrize(
    ("width", "center"),
    [("0", "0"), ("-400", "40"), ("", ""), ("400", ""), ("", "40"), (None, "40"), ("400", None)],
)
def test_no_window(width, center):
    """Real series have WW = WC = 0 in every file."""
    values = (0, 100, 200, 300, 400)
    data = flat(values, WindowWidth=width, WindowCenter=center)
    pooled = [Fraction(x) for x in values for _ in range(BLOCK * BLOCK)]
    assert (percentile(pooled, 2), percentile(pooled, 98)) == (0, 400)
    levels, report = image(objects(data), image_width=BLOCK * 5)
    assert report.tiles[0].contrast.kind == "auto"
    assert blocks(levels) == [exact(values, "LINEAR_EXACT", "400", "200")]


# 11: mosaics


@proves(11, "A mosaic of tiles is shown as the one image that it is", "PS3.3 C.7.6.1.1.2")
def test_a_mosaic_is_one_image():
    """Nothing is taken apart, and nothing doubled."""
    values = (0, 100, 200, 300)
    data = flat(
        values, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], WindowWidth="301", WindowCenter="150"
    )
    levels, report = image(objects(data), image_width=BLOCK * 4)
    assert report.slices == 1
    assert blocks(levels) == [exact(values, "LINEAR", "301", "150")]
