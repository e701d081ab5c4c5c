"""What is said of made series."""

import json

import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.products.explain.lines import lines_of
from explaining import explained_objects, lines
from facts import at
from indexing import series

AUTO = "auto, the 2nd to 98th percentile of the slices shown"


def said(word, *sources):
    """The lines that begin with a word, without it."""
    found = [line.strip() for line in lines(*sources)]
    return [line.removeprefix(f"{word}: ") for line in found if line.startswith(f"{word}: ")]


def placed(*heights, **elements):
    return [make.image(i, ImagePositionPatient=[0, 0, z], **elements) for i, z in enumerate(heights, 1)]


def plain(**elements):
    """Radiographs: images without any geometry."""
    none = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    return [make.image(i, **none, **elements) for i in (2, 1)]


@pytest.mark.parametrize(
    ("sources", "line"),
    [
        (
            placed(0, 3),
            (
                "by ImagePositionPatient along the normal of ImageOrientationPatient, superior to inferior "
                "(z 3.00 to 0.00 mm)"
            ),
        ),
        (
            placed(0, 3, ImageOrientationPatient=None),
            (
                "by ImagePositionPatient along the axis on which it varies most (there is no "
                "ImageOrientationPatient), superior to inferior (z 3.00 to 0.00 mm)"
            ),
        ),
        (
            [make.image(i, ImagePositionPatient=None, SliceLocation=4.0 * i) for i in range(2)],
            "by SliceLocation (there is no ImagePositionPatient), superior to inferior (z 4.00 to 0.00 mm)",
        ),
        (plain(), "by InstanceNumber"),
        (
            [make.image(7, ImagePositionPatient=None, SOPInstanceUID=f"1.{i}") for i in (1, 2)],
            "by SOPInstanceUID",
        ),
        (placed(5, 5), "all at one location, by InstanceNumber"),
        (
            [make.enhanced([make.position_group(0, 0, 1)] * 3, make.orientation_group())],
            "all at one location, by FrameNumber",
        ),
        (
            [make.level(np.zeros((1, 2, 8, 8), np.uint8), (4, 4))],
            "by focal plane",
        ),
    ],
)
def test_what_decided_the_order(sources, line):
    """The line on the order names the element that decided it."""
    assert said("Order", *sources) == [line]


def test_what_decided_at_one_location():
    """Slices of one location come by InstanceNumber, and by their times where it is one for all."""
    assert said("At one location", *at(2, {"EchoTime": 1.0}, {"EchoTime": 2.0})) == ["by InstanceNumber"]
    made = at(2, {"AcquisitionTime": "100000"}, {"AcquisitionTime": "100001"})
    for one in made:
        one.InstanceNumber = 1
    assert said("At one location", *made) == ["by AcquisitionTime"]


@pytest.mark.parametrize(
    ("elements", "line"),
    [
        (
            {"WindowCenter": 40, "WindowWidth": 400},
            "embedded, by WindowCenter and WindowWidth: center 40, width 400, LINEAR",
        ),
        (
            {"WindowCenter": [40, 50], "WindowWidth": [400, 500], "VOILUTFunction": "SIGMOID"},
            "embedded, by WindowCenter and WindowWidth: center 40, width 400, SIGMOID, the first of 2 views",
        ),
        (
            {"BodyPartExamined": "HEAD"},
            (
                "ct-brain (80/40), by BodyPartExamined, as the file has no window and these are Hounsfield "
                "units; auto where it would show nothing"
            ),
        ),
        (
            {"WindowCenter": 40, "WindowWidth": 0, "Modality": "MR"},
            f"{AUTO}, as the file's window has no positive width",
        ),
        (
            {"Modality": "PT"},
            "0 to the 99.5th percentile of the slices shown, by Modality, as the file has no window",
        ),
        (
            {"Modality": "RTDOSE"},
            "0 to the highest value, by Modality, as the file has no window",
        ),
        (
            {"Modality": "MR", "PhotometricInterpretation": "MONOCHROME1"},
            (
                f"{AUTO}, as the file has no window; inverted by "
                "PhotometricInterpretation: high values are dark"
            ),
        ),
        (
            {"Modality": "DX", "PresentationLUTShape": "INVERSE"},
            (f"{AUTO}, as the file has no window; inverted by PresentationLUTShape: high values are dark"),
        ),
    ],
)
def test_what_decided_the_window(elements, line):
    """The line on windows names the rule and the elements that decide where no contrast is asked for."""
    assert said("Window", make.image(1, **elements)) == [line]


def test_colour_has_no_window():
    """Colour is shown as it is."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    made = make.image(1, **colour, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(72))
    assert said("Window", made) == ["none, as the image is in colour"]


def test_windows_that_differ_have_a_line_each():
    """Slices with and without a window are told apart, with their numbers."""
    made = placed(0, 3, 6, Modality="MR")
    made[0].WindowCenter, made[0].WindowWidth = 40, 400
    assert [line.strip() for line in lines(*made) if "Window" in line] == [
        f"Window (2 slices): {AUTO}, as the file has no window",
        "Window (1 slice): embedded, by WindowCenter and WindowWidth: center 40, width 400, LINEAR",
    ]


@pytest.mark.parametrize(
    ("other", "elements", "told"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "SeriesInstanceUID", "another SeriesInstanceUID"),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            "ImageType",
            "ImageType names a localizer",
        ),
        ({"Rows": 2, "Columns": 12}, "Rows, Columns", "12 x 2 pixels, not 6 x 4"),
        (
            {"ImageOrientationPatient": list(make.CORONAL)},
            "ImageOrientationPatient",
            "ImageOrientationPatient: coronal instead of axial",
        ),
        (
            {"ImageOrientationPatient": None},
            "ImageOrientationPatient",
            "ImageOrientationPatient: none instead of axial",
        ),
    ],
)
def test_what_split_the_series(other, elements, told):
    """The element that sets a stack apart from the main one is named."""
    made = [*placed(0, 3, 6), make.image(9, **other)]
    assert said("Apart from stack 0", *made) == [told]
    (grouped,) = said("Grouped", *made)
    assert grouped.startswith(f"split by {elements}; stack 0 is the main one")


def test_what_was_left_out():
    """Skipped objects are told with their reasons, duplicates with what they are the same as."""
    objects = {
        **series(*placed(0, 3)),
        "a.txt": b"",
        "bad": b"this is no DICOM, but text that goes on for a while " * 9,
        "report": make.encode(make.report(9)),
        "twin": make.encode(placed(0)[0]),
    }
    found = list(lines_of(explained_objects(objects)))
    assert found[-4:] == [
        "Skipped: 1 object: passed over: its name is no instance's: a.txt",
        "Skipped: 1 object: not DICOM: text: bad",
        "Skipped: 1 object: has no image: report",
        "Duplicates: 1 object, shown once: twin (same as 000.dcm)",
    ]


def test_gaps_and_slices_too_many():
    """Gaps are told with their ends, and slices that nothing tells apart with their location."""
    made = [*placed(0, 3, 12, 15), make.image(1, ImagePositionPatient=[0, 0, 15], SOPInstanceUID="1.9")]
    made[-1].InstanceNumber = made[3].InstanceNumber
    assert said("Gap", *made) == [
        "2 slices are missing between locations 1 and 2 (z 12.00 and 3.00 mm): 9.00 mm"
    ]
    assert said("Several at location 0", *made) == [
        "1 slice too many, alike in all elements that can be a dimension"
    ]


def test_slices_too_many_that_differ_are_not_called_alike():
    """Slices at a few locations that only a number or a clock tells apart are no dimension, but not alike."""
    made = [
        *placed(0, 3, 6, 9, 12, AcquisitionNumber=1),
        *placed(9, AcquisitionNumber=2, SOPInstanceUID="1.9"),
    ]
    made[-1].InstanceNumber = 6
    assert said("Several at location 1", *made) == [
        (
            "1 slice too many, told apart by AcquisitionNumber, InstanceNumber alone, "
            "at too few locations for a dimension"
        )
    ]


def test_values_that_some_locations_lack_are_told_with_those():
    """A dimension of a few locations says where its other value is missing."""
    made = at(10, {"EchoTime": 10.0}, {"EchoTime": 80.0})
    made = [*made[:10], *made[13:17]]
    assert said("Dimension", *made) == ["echo time, 2 values: 10, 80 ms"]
    assert said("Not everywhere", *made) == ["echo time=80 is missing at 6 of 10 locations: 0 to 2, 7 to 9"]
    assert not said("Several at location", *made)


def test_ranks_are_no_milliseconds():
    """Trigger times that differ from location to location only order: their places have no unit."""
    made = at(2, *[{}] * 3)
    for i, one in enumerate(made):
        one.TriggerTime = 40.0 * (i // 2) + i
    assert said("Dimension", *made) == ["trigger time, 3 places in time, by TriggerTime: 1 to 3"]
    alike = at(2, *({"TriggerTime": 40.0 * phase} for phase in range(3)))
    assert said("Dimension", *alike) == ["trigger time, 3 values: 0, 40, 80 ms"]


def test_many_spacings_are_summed_up():
    """Steps that all differ are told by the least, the greatest and the median."""
    heights = np.cumsum([0, 3, 3.1, 3, 3.1, 3, 3.1, 3, 3.1]).tolist()
    (line,) = said("Spacing", *placed(*heights))
    assert line == "irregular: steps of 3.00 to 3.10 mm, 3.00 mm the median; from first to last 24.40 mm"


def test_remarks_are_counted():
    """A remark that not all slices have says how many do."""
    made = placed(0, 3, 6)
    made[0].RescaleSlope = 0
    assert said("Remark", *made) == ["RescaleSlope is 0: 1 is used (1 slice)"]


def test_a_series_without_an_image():
    """A folder of reports is explained: it has no stack."""
    found = lines(make.report(1), make.report(2))
    assert found[1:] == [
        "  2 objects, 0 stacks",
        "  Grouped: into no stack, as no object has an image",
        "Skipped: 2 objects: has no image: 000.dcm, 001.dcm",
    ]


def test_many_stacks_are_cut_short():
    """Of more than twelve stacks the rest is counted; the document has all."""
    made = [make.image(i, Rows=i, Columns=24 // i, PixelData=bytes(48)) for i in (1, 2, 3, 4, 6, 8, 12, 24)]
    made += [make.image(i, Rows=i, Columns=1, PixelData=bytes(2 * i)) for i in range(30, 38)]
    explanation = explained_objects(series(*made))
    assert "... and 4 more stacks; --json explains all" in lines_of(explanation)
    assert len(explanation.document()["stacks"]) == 16


def test_no_name_is_told():
    """The plain lines hold no patient's name, and no other free text of a header."""
    secret = "SECRET"
    made = placed(
        0, 3, PatientName=secret, PatientID=secret, SeriesDescription=secret, StudyDescription=secret
    )
    assert secret not in "\n".join(lines(*made))


def test_the_document_is_json():
    """The document of a series with dimensions is JSON without numbers that JSON lacks."""
    made = at(2, {"EchoTime": 1.0, "TemporalPositionIdentifier": 1}, {"EchoTime": 2.0}, {"EchoTime": 3.0})
    document = json.loads(json.dumps(explained_objects(series(*made)).document(), allow_nan=False))
    (stack,) = document["stacks"]
    assert document["explanation_schema"] == 1
    assert stack["order"] == {
        "elements": ["ImagePositionPatient", "ImageOrientationPatient"],
        "direction": "superior to inferior",
        "at_one_location": ["InstanceNumber"],
    }
    assert (stack["at"], stack["runs_along"]) == (["echo time=1"], None)
    assert stack["facts"]["dimensions"][0]["values"] == [1.0, 2.0, 3.0]
    assert stack["windows"][0]["rule"] == "ct-soft-tissue"
