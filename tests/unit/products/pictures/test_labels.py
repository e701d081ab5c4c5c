"""Labels on tiles: what they say, where they are, and what they leave alone."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import make_dicom
from conformance.flat import objects
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.labels import Label
from dicom_series_preview.products.pictures.report import Report
from dicom_series_preview.products.pictures.requests import ContrastRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from planted import OF_PATIENTS

SIDE = 64
GREY, BLACK, WHITE = 2048, 0, 4095


def slice_of(level: int = GREY, number: int = 1, side: int = SIDE, **elements: Any) -> Any:
    """A slice of one level."""
    given = {
        "Rows": side,
        "Columns": side,
        "PixelSpacing": [1.0, 1.0],
        "RescaleIntercept": 0.0,
        "WindowWidth": "4096",
        "WindowCenter": "2048",
        "PixelData": np.full((side, side), level, "<u2").tobytes(),
        **elements,
    }
    return make_dicom.image(number, **given)


def mosaic(series: dict[str, bytes], **options: Any) -> tuple[np.ndarray, Report]:
    """A mosaic's levels, and its report."""
    given = {"quality": ["100"]} | {name: [str(value)] for name, value in options.items()}
    request = MosaicRequest.from_strings("S", "a.jpg", given)
    rendered = PreviewService(MemoryStorage(series), None, Limits()).render(request)
    with Image.open(BytesIO(rendered.data)) as picture:
        return np.asarray(picture).astype(int), rendered.report


def siemens_mosaic(images: int) -> Any:
    """A Siemens mosaic of so many slices; of 0 it does not say how many they are."""
    if not images:
        return slice_of(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    return make_dicom.mosaic(np.full((images, SIDE, SIDE), GREY, "<u2"))


def tile_labels(series: dict[str, bytes], **options: Any) -> list[Label]:
    """The labels of a mosaic's tiles."""
    given = {"labels": ["true"]} | {name: [str(value)] for name, value in options.items()}
    service = PreviewService(MemoryStorage(series), None, Limits())
    return service.plan(MosaicRequest.from_strings("S", "a.jpg", given)).labels


def written(picture: np.ndarray, level: int) -> np.ndarray:
    """Where something is written on a picture of one level."""
    return np.abs(picture - level) > 40


def parts(marks: np.ndarray) -> dict[str, bool]:
    """What is written at a tile's corner and the middles of its edges."""
    height, width = marks.shape
    third, across, half = height // 3, width // 3, width // 2
    return {
        "corner": bool(marks[:third, :across].any()),
        "left": bool(marks[third:-third, :across].any()),
        "right": bool(marks[third:-third, -across:].any()),
        "top": bool(marks[:third, half - 4 : half + 4].any()),
        "bottom": bool(marks[-third:, half - 10 : half + 10].any()),
        "inside": bool(marks[third:-third, across:-across].any()),
        "other corners": bool(marks[-third:, :across].any() or marks[-third:, -across:].any()),
    }


@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("level", [BLACK, GREY, WHITE])
def test_labels_are_at_the_corner_and_the_edges(level: int, width: int) -> None:
    """On black, grey and white alike: the picture between them is as it is."""
    series = objects(slice_of(level))
    plain, _ = mosaic(series, image_width=width, contrast="4096/2048")
    shown, report = mosaic(series, image_width=width, contrast="4096/2048", labels="true")
    assert shown.shape == plain.shape
    marks = written(shown, int(plain[0, 0]))
    found = parts(marks)
    expected = {"corner": True, "left": True, "right": True, "bottom": True}
    assert found == {"inside": False, "other corners": False, "top": found["top"], **expected}
    assert found["top"] or width == 64  # beside the position there is no room
    ink = shown[marks]
    assert (ink.max() > 220) if level < WHITE else (ink.min() < 60)
    assert report.warnings == ()


def test_every_tile_has_its_own_label() -> None:
    """Two slices, two positions; what lies beyond the last slice stays black."""
    series = objects(slice_of(number=1), slice_of(number=2))
    shown, _ = mosaic(series, labels="true", tile_width=3, tile_height=1)
    first, second, rest = shown[:, :128], shown[:, 128:256], shown[:, 256:]
    assert np.abs(first - second).max() > 100
    assert parts(written(second, 128))["corner"]
    assert rest.max() < 16


def test_labels_are_off_by_default() -> None:
    """Nothing is written on a picture that was asked for without them."""
    picture, _ = mosaic(objects(slice_of()))
    assert not written(picture, int(picture[0, 0])).any()


def test_tiles_that_are_too_small_have_none() -> None:
    """And the picture says so, with what helps."""
    series = objects(slice_of())
    shown, report = mosaic(series, labels="true", image_width=63)
    assert np.array_equal(shown, mosaic(series, image_width=63)[0])
    (warning,) = report.warnings
    assert "63 x 63 pixels are too small for labels" in warning
    assert "64 or more" in warning


@pytest.mark.parametrize(
    ("elements", "lines"),
    [
        ({}, ("1.0 mm",)),
        ({"ImagePositionPatient": [0, 0, -12.34]}, ("-12.3 mm",)),
        ({"ImagePositionPatient": [0, 0, -0.04]}, ("0.0 mm",)),
        ({"ImagePositionPatient": None, "ImageOrientationPatient": None, "InstanceNumber": 7}, ("#7",)),
        (
            {"ImagePositionPatient": None, "ImageOrientationPatient": None, "InstanceNumber": 20240101},
            ("#20240101",),
        ),
        ({"ImagePositionPatient": [0, 0, 9.9e99], "InstanceNumber": None}, ()),
    ],
)
def test_the_position_is_in_mm_or_a_number(elements: dict[str, Any], lines: tuple[str, ...]) -> None:
    """InstanceNumber stands where there is no position."""
    service = PreviewService(MemoryStorage(objects(slice_of(**elements))), None, Limits())
    options = {"contrast": ["auto"], "labels": ["true"], "position": ["0"]}
    (label,) = service.plan(ContrastRequest.from_strings("S", "a.jpg", options)).labels
    assert label.lines == (*lines, "auto")


@pytest.mark.parametrize(
    ("instances", "places"),
    [
        ((7,), ["#1", "#2", "#3"]),
        ((5, 6), ["#5.1", "#5.2", "#5.3", "#6.1", "#6.2", "#6.3"]),
        ((None,), ["#1", "#2", "#3"]),
    ],
)
def test_frames_without_a_position_have_numbers_of_their_own(
    instances: tuple[int | None, ...], places: list[str]
) -> None:
    """The frame's, behind the instance's where frames of several objects stand side by side."""
    frame = np.full((SIDE, SIDE), GREY, "<u2").tobytes()
    without = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "NumberOfFrames": 3}
    data = [
        slice_of(number=i, **{**without, "InstanceNumber": number, "PixelData": 3 * frame})
        for i, number in enumerate(instances, 1)
    ]
    assert [label.lines for label in tile_labels(objects(*data))] == [(place,) for place in places]


def test_an_instance_number_is_told_whole() -> None:
    """Where slices have no place, reports tell InstanceNumbers, to the last digit."""
    nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    _, report = mosaic(objects(*(slice_of(number=2**24 + 1 + i, **nowhere) for i in range(3))))
    numbers = [2**24 + 1 + i for i in range(3)]
    assert [tile.primary_position for tile in report.tiles] == numbers
    assert (report.stacks[0].first_position, report.stacks[0].last_position) == (numbers[0], numbers[-1])


def test_a_contrast_mosaic_names_the_contrasts() -> None:
    """As they were asked for, and never by a header's text."""
    service = PreviewService(MemoryStorage(objects(slice_of())), None, Limits())
    options = {"contrast": ["lung", "1500/-500", "embedded"], "labels": ["true"], "quality": ["100"]}
    rendered = service.render(ContrastRequest.from_strings("S", "a.jpg", options))
    with Image.open(BytesIO(rendered.data)) as picture:
        corners = [np.asarray(picture.crop((128 * i, 0, 128 * i + 60, 40))).astype(int) for i in range(3)]
    second_lines = [corner[18:34] - np.median(corner) for corner in corners]
    assert all(np.abs(line).max() > 60 for line in second_lines)
    assert not np.array_equal(np.abs(second_lines[0]) > 60, np.abs(second_lines[1]) > 60)


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
def test_no_label_names_a_contrast_that_colour_does_not_have(photometric: str) -> None:
    """Tiles of colour are alike under every contrast, their labels too."""
    colours = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": photometric}
    samples = 3 if photometric == "RGB" else 1
    if samples == 1:
        for name in ("Red", "Green", "Blue"):
            colours[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
            colours[f"{name}PaletteColorLookupTableData"] = bytes(range(256))
    else:
        colours |= {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    coloured = slice_of(**colours, PixelData=bytes([90]) * SIDE * SIDE * samples)
    service = PreviewService(MemoryStorage(objects(coloured)), None, Limits())
    options = {"contrast": ["lung", "80/40"], "labels": ["true"]}
    rendered = service.render(ContrastRequest.from_strings("S", "a.png", options))
    with Image.open(BytesIO(rendered.data)) as picture:
        first, second = np.split(np.asarray(picture), 2, axis=1)
    assert np.array_equal(first, second)
    assert np.ptp(first)
    (warning,) = rendered.report.warnings
    assert warning == "contrasts have no effect on colour; it is shown as it is"


@pytest.mark.parametrize(
    ("written_as", "edges"),
    [
        (["L", "P"], ("L", "P")),
        (["LA", "FP"], ("LA", "FP")),
        (["L"], ("", "")),
        ([OF_PATIENTS[0], "P"], ("", "")),
        (["LE", "CR"], ("", "")),  # of an animal
        (["L", "R"], ("", "")),  # along one line
        (["H", "F"], ("", "")),
        (["L", "L"], ("", "")),
        (["LA", "L"], ("", "")),
        (["LR", "F"], ("", "")),  # both ways
        (["A", "PA"], ("", "")),
        (["LA", "RA"], ("LA", "RA")),  # both halfway
        (["LAF", "FR"], ("LAF", "FR")),
        (["A", "FR"], ("A", "FR")),
        (None, ("", "")),
    ],
)
def test_patient_orientation_stands_in_for_image_orientation(
    written_as: list[str] | None, edges: tuple[str, str]
) -> None:
    """Only as letters of L R A P H F at right angles, in the label and in the report: nothing else there."""
    data = slice_of(ImageOrientationPatient=None)
    if written_as:
        make_dicom.add(data, 0x00200020, "CS", written_as)
    series = objects(data)
    (made,) = tile_labels(series)
    assert (made.right, made.bottom) == edges
    _, report = mosaic(series)
    assert report.tiles[0].patient_orientation == ("\\".join(edges) if any(edges) else "")


@pytest.mark.parametrize("count", [1, 2])
def test_an_animal_on_four_legs_has_no_letters(count: int) -> None:
    """Its axes and its letters are others (PS3.3 C.7.6.1.1.1, C.7.6.2.1.1): R is rostral there."""
    data = [
        slice_of(number=n, ImageOrientationPatient=[1, 0, 0, 0, -1, 0], AnatomicalOrientationType="QUADRUPED")
        for n in range(1, count + 1)
    ]
    data += [slice_of(number=9, ImageOrientationPatient=None, AnatomicalOrientationType="QUADRUPED")]
    make_dicom.add(data[-1], 0x00200020, "CS", ["R", "F"])
    series = objects(*data)
    for stack in ("0", "1"):
        assert {(made.right, made.bottom) for made in tile_labels(series, stack=stack)} == {("", "")}
        _, report = mosaic(series, stack=stack)
        assert {tile.patient_orientation for tile in report.tiles} == {""}
        assert report.warnings == ()


@pytest.mark.parametrize(("images", "places"), [(4, "#1"), (0, "#1"), (1, "1.0 mm")])
def test_a_whole_mosaic_of_slices_has_no_position(images: int, places: str) -> None:
    """Its slices lie at many places; only taken apart they have positions of their own."""
    data = siemens_mosaic(images)
    assert [made.lines for made in tile_labels(objects(data))] == [(places,)]


def test_a_mosaic_taken_apart_has_positions() -> None:
    """Each slice its own."""
    made = tile_labels(objects(siemens_mosaic(4)), untile="true")
    assert len({label.lines for label in made}) == 4
    assert all(label.lines[0].endswith(" mm") for label in made)


def test_patient_orientation_that_varies_is_each_slices_own() -> None:
    """Of an index's column as of its constants."""
    data = [slice_of(number=n, ImageOrientationPatient=None) for n in (1, 2)]
    for one, letters in zip(data, (["L", "P"], ["A", "F"]), strict=True):
        make_dicom.add(one, 0x00200020, "CS", letters)
    service = PreviewService(MemoryStorage(objects(*data)), None, Limits())
    plan = service.plan(MosaicRequest.from_strings("S", "a.jpg", {"labels": ["true"]}))
    assert sorted(plan.index.patient_orientation(item) for item in plan.slices) == ["A\\F", "L\\P"]


@pytest.mark.real_data
@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("series", ["ct-gantrytilt-ge", "mr-rgb-j2k-generic"])
def test_labels_on_real_series(real_data: Path, series: str, width: int) -> None:
    """Letters are where they belong, in grey and in colour, and the rest of the picture is the picture."""
    service = PreviewService(LocalStorage(real_data / "series", 4), None, Limits())

    def rendered(labels: str) -> tuple[np.ndarray, Report]:
        options = {"quality": ["100"], "image_width": [str(width)], "tile_width": ["2"], "labels": [labels]}
        made = service.render(MosaicRequest.from_strings(series, "a.jpg", options))
        with Image.open(BytesIO(made.data)) as picture:
            return np.asarray(picture.convert("L")).astype(int), made.report

    (plain, _), (shown, report) = rendered("false"), rendered("true")
    changed = np.abs(shown - plain) > 60
    for tile in report.tiles:
        top, left = tile.row * report.tile_height, tile.column * report.tile_width
        found = parts(changed[top : top + report.tile_height, left : left + report.tile_width])
        assert all(found[name] for name in ("corner", "left", "right", "bottom"))
        assert not found["inside"]
        assert not found["other corners"]
