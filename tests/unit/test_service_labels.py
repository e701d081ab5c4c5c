"""Labels on tiles: what they say, where they are, and what they leave alone."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import make_dicom
from conformance.flat import objects
from dicom_series_preview.requests import ContrastRequest, MosaicRequest
from dicom_series_preview.service import PreviewService, Report
from dicom_series_preview.service.labels import Label
from dicom_series_preview.settings import Limits
from dicom_series_preview.storage import LocalStorage, MemoryStorage
from planted import OF_PATIENTS

if TYPE_CHECKING:
    from pathlib import Path

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
    rendered = PreviewService(MemoryStorage(series), None, Limits()).mosaic(request)
    with Image.open(BytesIO(rendered.data)) as picture:
        return np.asarray(picture).astype(int), rendered.report


def label(*, names: tuple[str, ...] = ("",), **elements: Any) -> list[Label]:
    """The labels of a series of one slice, under several contrasts where they are named."""
    service = PreviewService(MemoryStorage(objects(slice_of(**elements))), None, Limits())
    options = {"contrast": list(names), "labels": ["true"], "position": ["0"]}
    plan = service.plan(ContrastRequest.from_strings("S", "a.jpg", options))
    (item,) = plan.slices
    orientation = plan.index.patient_orientation(item) if item.image_orientation_patient is None else "L\\P"
    return [Label.of(item, orientation, name) for name in names]


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


def test_labels_are_off_by_default_and_part_of_the_picture_s_identity() -> None:
    """A picture with labels is another one than the picture without."""
    series = objects(slice_of())
    assert not written(mosaic(series)[0], int(mosaic(series)[0][0, 0])).any()
    service = PreviewService(MemoryStorage(series), None, Limits())
    identities = {
        service.plan(MosaicRequest.from_strings("S", "a.jpg", {"labels": [text]})).identity
        for text in ("true", "false")
    }
    assert len(identities) == 2


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
    assert label(names=("auto",), **elements)[0].lines == (*lines, "auto")


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
    rendered = service.contrast_mosaic(ContrastRequest.from_strings("S", "a.jpg", options))
    with Image.open(BytesIO(rendered.data)) as picture:
        corners = [np.asarray(picture.crop((128 * i, 0, 128 * i + 60, 40))).astype(int) for i in range(3)]
    second_lines = [corner[18:34] - np.median(corner) for corner in corners]
    assert all(np.abs(line).max() > 60 for line in second_lines)
    assert not np.array_equal(np.abs(second_lines[0]) > 60, np.abs(second_lines[1]) > 60)


@pytest.mark.parametrize(
    ("written_as", "edges"),
    [
        (["L", "P"], ("L", "P")),
        (["LA", "FP"], ("LA", "FP")),
        (["L"], ("", "")),
        ([OF_PATIENTS[0], "P"], ("", "")),
        (["LE", "CR"], ("", "")),  # of an animal
        (None, ("", "")),
    ],
)
def test_patient_orientation_stands_in_for_image_orientation(
    written_as: list[str] | None, edges: tuple[str, str]
) -> None:
    """Only as letters of L R A P H F: what else a header holds there is not drawn."""
    data = slice_of(ImageOrientationPatient=None)
    if written_as:
        make_dicom.add(data, 0x00200020, "CS", written_as)
    service = PreviewService(MemoryStorage(objects(data)), None, Limits())
    plan = service.plan(MosaicRequest.from_strings("S", "a.jpg", {"labels": ["true"]}))
    (item,) = plan.slices
    made = Label.of(item, plan.index.patient_orientation(item))
    assert (made.right, made.bottom) == edges


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
        made = service.mosaic(MosaicRequest.from_strings(series, "a.jpg", options))
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
