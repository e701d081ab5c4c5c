"""Headers whose numbers are finite, and beyond all reason."""

import itertools
import random
from contextlib import suppress
from typing import Any

import pytest

import make_dicom
from dicom_series_preview.base.errors import LimitError, PreviewError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService, Rendered
from dicom_series_preview.sources.storage.memory import MemoryStorage

# The elements that tell where a slice lies, when it was taken and how large its pixels are: tag and values.
PLACES = {
    0x00200037: 6,  # ImageOrientationPatient
    0x00200032: 3,  # ImagePositionPatient
    0x00201041: 1,  # SliceLocation
    0x00280030: 2,  # PixelSpacing
    0x00180050: 1,  # SliceThickness
    0x00180088: 1,  # SpacingBetweenSlices
    0x00181060: 1,  # TriggerTime
    0x00200012: 1,  # AcquisitionNumber
    0x00200013: 1,  # InstanceNumber
    0x3004000C: 1,  # GridFrameOffsetVector
}
EXTREMES = ("1e20", "-1e40", "1e99", "1e300", "-1.7e308", "1.7e308", "1e-300", "5e-324", "0", "-0", "7")


def shown(*values: dict[int, str], **options: str) -> Rendered:
    """A mosaic of slices, each with elements of its own as text."""
    objects = {}
    for number, elements in enumerate(values, 1):
        whole = make_dicom.image(number)
        for tag in elements:
            if tag in whole:
                del whole[tag]
        extra = b"".join(make_dicom.element(tag, "DS", _even(text)) for tag, text in sorted(elements.items()))
        data = make_dicom.encode(whole)
        # Elements come in the order of their tags; a reader need not mind, and ours does not.
        at = data.index(make_dicom.element(0x00280002, "US", b"\1\0"))
        objects[f"S/{number}"] = data[:at] + extra + data[at:]
    given = {"quality": ["100"]} | {name: [value] for name, value in options.items()}
    request = MosaicRequest.from_strings("S", "a.jpg", given)
    return PreviewService(MemoryStorage(objects), None, Limits()).render(request)


def _even(text: str) -> bytes:
    return (text + " " * (len(text) % 2)).encode()


def test_a_position_that_is_none_is_told() -> None:
    """A slice that lies farther away than any patient comes after the others, with a warning."""
    report = shown({0x00200032: "0\\0\\9.9e99"}, {}, {}).report
    assert [tile.file_name for tile in report.tiles] == ["3", "2", "1"]
    assert "ImagePositionPatient is farther away than any patient: the slice is not placed by it" in (
        report.warnings
    )


def _trials() -> list[tuple[dict[int, str], ...]]:
    chance = random.Random(1)
    each: list[Any] = [
        ({tag: "\\".join([text] * count)},) * 3 for tag, count in PLACES.items() for text in EXTREMES
    ]
    for _ in range(150):
        tags = chance.sample(list(PLACES), 3)
        each.append(
            tuple(
                {tag: "\\".join(chance.choices(EXTREMES, k=PLACES[tag])) for tag in tags}
                for _ in itertools.repeat(None, 3)
            )
        )
    return each


def test_no_number_is_beyond_bearing() -> None:
    """Whatever finite numbers a header holds: a picture comes of it, or an error of the product's."""
    for values in _trials():
        with suppress(PreviewError):
            assert shown(*values, labels="true", image_width="300").data


@pytest.mark.parametrize("text", ["1e-300\\3e38", "1e-160\\1e160", "1e-320\\1", "1e-30\\1e30", "1\\1001"])
def test_pixels_that_no_picture_shows(text: str) -> None:
    """Pixels a thousand times as wide as high are refused in a line; on another slice they are told."""
    with pytest.raises(LimitError, match="its pixels are more than 1000 times as wide as high"):
        shown({0x00280030: text}, {0x00280030: text})
    warnings = shown({0x00280030: text}, {}).report.warnings
    assert "PixelSpacing says that pixels are more than 1000 times as long one way as the other" in warnings


def test_more_pixels_than_an_object_can_hold() -> None:
    """An object whose header describes more bytes than 64 bits count is broken, and the others are shown."""
    huge = {"Rows": 3, "BitsAllocated": 32767, "SamplesPerPixel": 32767, "NumberOfFrames": 2147483647}
    objects = {
        "S/1": make_dicom.encode(make_dicom.image(1)),
        "S/2": make_dicom.encode(make_dicom.image(2, Columns=32767, **huge)),
    }
    request = MosaicRequest.from_strings("S", "a.jpg", {})
    report = PreviewService(MemoryStorage(objects), None, Limits()).render(request).report
    (skipped,) = report.skipped
    assert skipped.reason == "broken: its elements describe more pixels than any object can hold"
    assert len(report.tiles) == 1
