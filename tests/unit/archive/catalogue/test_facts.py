import csv
import json
import math

import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.archive.catalogue.facts import facts_document, facts_of
from dicom_series_preview.archive.siemens import untiled
from facts import at, facts, frame, frames, real_index
from indexing import index_of, series


def placed(*heights, **elements):
    """Axial slices at some heights."""
    return [make.image(i, ImagePositionPatient=[0, 0, z], **elements) for i, z in enumerate(heights, 1)]


def test_a_plain_stack():
    """Plane, spacing, extent and counts of a stack that lies as usual."""
    found = facts(*placed(0.0, 2.5, 5.0, 7.5))
    assert (found.slices, found.locations, found.plane, found.shape) == (4, 4, "axial", "slice")
    assert (found.spacing_mm, found.is_regular, found.extent_mm) == (2.5, True, 7.5)
    assert (found.obliquity_deg, found.tilt_deg, found.missing, found.duplicates) == (0.0, 0.0, 0, 0)


@pytest.mark.parametrize(
    ("cosines", "plane"), [(make.CORONAL, "coronal"), (make.SAGITTAL, "sagittal"), (make.AXIAL, "axial")]
)
def test_the_plane_is_told(cosines, plane):
    """The plane is the one whose normal the slices follow."""
    assert facts(make.image(1, ImageOrientationPatient=list(cosines))).plane == plane


def test_missing_slices_are_counted():
    """A step of several spacings is a gap of so many slices, after the location before it."""
    found = facts(*placed(0, 3, 6, 15, 18))
    # Display runs from the head down.
    assert [(gap.after, gap.step_mm, gap.missing) for gap in found.gaps] == [(1, 9.0, 2)]
    assert (found.missing, found.is_regular, found.spacing_mm) == (2, False, 3.0)


def test_duplicates_are_slices_that_nothing_tells_apart():
    """A slice at a location and with values that another has is a duplicate, and its location is named."""
    found = facts(
        *placed(0, 3, 6, 9, 12), make.image(2, ImagePositionPatient=[0, 0, 3.0], SOPInstanceUID="1.9")
    )
    assert (found.duplicates, found.duplicated, found.shape, found.locations) == (1, (3,), "slice", 5)


def test_slices_that_a_dimension_lacks_are_counted():
    """Where a location has no slice of some echo, it is absent."""
    assert facts(*at(3, {"EchoTime": 20.0}, {"EchoTime": 40.0})[:5]).absent == 1
    assert facts(*at(3, {"EchoTime": 20.0}, {"EchoTime": 40.0})).absent == 0


def test_the_tilt_of_a_gantry():
    """Slices that are turned about x, while the table moves along z, are tilted by that angle."""
    angle = math.radians(20)
    cosines = [1, 0, 0, 0, math.cos(angle), math.sin(angle)]
    found = facts(*placed(0, 5, 10, ImageOrientationPatient=cosines))
    assert found.tilt_deg == pytest.approx(20)
    assert found.obliquity_deg == pytest.approx(20)
    assert found.spacing_mm == pytest.approx(5 * math.cos(angle))


def test_an_oblique_stack_is_not_tilted():
    """Slices that follow their own normal have no tilt, however oblique they are."""
    angle = math.radians(30)
    cosines = [1, 0, 0, 0, math.cos(angle), math.sin(angle)]
    normal = np.cross(cosines[:3], cosines[3:])
    made = [
        make.image(i, ImagePositionPatient=list(4.0 * i * normal), ImageOrientationPatient=cosines)
        for i in range(1, 4)
    ]
    found = facts(*made)
    assert (found.tilt_deg, found.obliquity_deg) == (pytest.approx(0, abs=1e-4), pytest.approx(30))
    assert found.spacing_mm == pytest.approx(4)


def test_an_image_without_geometry_has_no_geometry():
    """A radiograph, an ultrasound clip and a photograph have no geometry, and no duplicates."""
    made = [make.image(i, ImagePositionPatient=None, ImageOrientationPatient=None) for i in range(3)]
    found = facts(*made)
    assert (found.slices, found.locations, found.without_location, found.shape) == (3, 0, 3, "image")
    assert (found.plane, found.duplicates, found.gaps, found.runs) == ("", 0, (), ())
    values = (found.obliquity_deg, found.tilt_deg, found.spacing_mm, found.is_regular, found.extent_mm)
    assert values == (None,) * 5


def test_slice_locations_place_slices_without_positions():
    """Without positions, the spacing is that of SliceLocation, and there is no tilt."""
    made = [
        make.image(i, ImagePositionPatient=None, ImageOrientationPatient=None, SliceLocation=4.0 * i)
        for i in range(4)
    ]
    found = facts(*made)
    assert (found.spacing_mm, found.extent_mm, found.tilt_deg, found.plane) == (4.0, 12.0, None, "")


def test_slices_without_a_place_are_counted_apart():
    """A slice without a position belongs to no location, and disturbs no measure."""
    found = facts(*placed(0, 3, 6), make.image(9, ImagePositionPatient=None))
    assert (found.slices, found.locations, found.without_location) == (4, 3, 1)
    assert (found.spacing_mm, found.is_regular, found.duplicates) == (3.0, True, 0)


def test_frames_of_one_object_are_measured():
    """An enhanced object is measured by its frames."""
    found = facts(frames(*(frame(2.0 * i) for i in range(5))))
    assert (found.slices, found.spacing_mm, found.is_regular) == (5, 2.0, True)


def test_a_mosaic_is_one_location_until_it_is_taken_apart():
    """Siemens mosaics of several times are images of one place; taken apart, slices by times."""
    made = [
        make.mosaic(
            np.zeros((4, 8, 8), np.uint16),
            number,
            ImagePositionPatient=[0, 0, 0],
            AcquisitionTime=f"10000{number}",
        )
        for number in (1, 2, 3)
    ]
    index = index_of(series(*made))
    whole, apart = facts_of(index, 0), facts_of(untiled(index)[0], 0)
    assert (whole.slices, whole.locations, whole.shape) == (3, 1, "slice x time")
    assert (apart.slices, apart.locations, apart.shape, apart.spacing_mm) == (12, 4, "slice x time", 3.0)


def test_a_slide_has_no_place_in_a_patient():
    """A level of a slide is measured without an error, and has no spacing."""
    found = facts(make.level(np.zeros((1, 2, 8, 8), np.uint8), (4, 4)))
    assert (found.slices, found.plane, found.spacing_mm, found.extent_mm) == (2, "", None, None)


def test_the_document_is_json():
    """The document of any stack is JSON, with units in its names and no value that JSON lacks."""
    vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    variants = [{"DiffusionBValue": 500.0, "DiffusionGradientOrientation": one} for one in vectors]
    made = at(3, {"DiffusionBValue": 0.0}, *variants)
    document = json.loads(json.dumps(facts_document(index_of(series(*made)), 0), allow_nan=False))
    assert document["shape"] == "slice x b-value x direction"
    assert document["dimensions"][0] == {
        "name": "b-value",
        "element": "DiffusionBValue",
        "unit": "s/mm2",
        "values": [0.0, 500.0],
        "is_rank": False,
        "lacking_locations": [[], []],
    }
    assert document["dimensions"][1]["values"] == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], None]
    assert document["spacings"] == [{"from_location": 0, "to_location": 2, "spacing_mm": 3.0, "steps": 2}]


def test_the_document_tells_ranks_from_values():
    """Places that an element only orders have no unit, and are said to be ranks."""
    made = at(2, {}, {})
    for one, time in zip(made, (0.0, 3.0, 40.0, 44.0), strict=True):
        one.TriggerTime = time
    (one,) = facts_document(index_of(series(*made[:3])), 0)["dimensions"]
    assert (one["unit"], one["is_rank"], one["values"]) == ("", True, [1, 2])
    # Display runs from the second location to the first, which alone has a second slice.
    assert one["lacking_locations"] == [[], [0]]


def test_facts_need_no_search_where_no_location_is_shared():
    """A stack of one slice a location has no dimensions, whatever varies in it."""
    made = placed(0, 3, 6)
    for i, one in enumerate(made):
        one.EchoTime = float(i)
    assert facts(*made).dimensions == ()


@pytest.mark.real_data
def test_facts_of_real_volumes(real_data):
    """Slices, times and tilt of real series are those that independent programs found; gaps too."""
    rows = list(csv.DictReader((real_data / "volumes.csv").read_text().splitlines()))
    for row in rows:
        if row["part"] not in ("stack 0", "stack 1") or row["expected"] != "convert":
            continue
        index = real_index(real_data / "series" / row["series"])
        name = row["series"]
        if name == "mr-mosaic-siemens-4d":
            index = untiled(index)[0]
        found = facts_of(index, int(row["part"][-1]))
        sizes = [int(size) for size in row["native_dims"].split()]
        times = int(row["time_axis"] or 1)
        assert found.locations == sizes[2], name
        assert found.slices == sizes[2] * times, name
        assert found.tilt_deg == pytest.approx(float(row["tilt_deg"]), abs=0.05), name
        assert (found.missing, found.duplicates, found.absent) == (0, 0, 0), name


@pytest.mark.real_data
def test_facts_of_a_tilted_stack_with_two_spacings(real_data):
    """The real stack of a tilted gantry has 14 slices of 7 mm and 14 of 4 mm, and none is missing."""
    found = facts_of(real_index(real_data / "series" / "ct-gantrytilt-ge"), 0)
    assert [(run.first, run.last, round(run.spacing_mm, 2)) for run in found.runs] == [
        (0, 13, 7.0),
        (13, 14, 1.08),
        (14, 27, 4.0),
    ]
    assert (found.tilt_deg, found.is_regular, found.missing) == (pytest.approx(18.5, abs=1e-3), False, 0)


@pytest.mark.real_data
def test_facts_of_a_stack_with_a_gap(real_data):
    """The real multi-echo stack lacks a slice between its first two locations, and two of its echoes."""
    found = facts_of(real_index(real_data / "series" / "mr-multiecho-siemens"), 0)
    assert [(gap.after, round(gap.step_mm, 1), gap.missing) for gap in found.gaps] == [(0, 21.0, 1)]
    assert (round(found.spacing_mm, 2), found.absent, found.slices) == (10.5, 2, 7)


@pytest.mark.real_data
def test_no_real_file_has_facts_that_fail(real_data):
    """Facts of every stack of every real file are told without an error, broken files included."""
    folders = [*(real_data / "series").iterdir(), *(real_data / "single").iterdir(), real_data / "malformed"]
    count = 0
    for folder in folders:
        index = real_index(folder)
        for number in index.stacks:
            json.dumps(facts_document(index, number), allow_nan=False)
            count += 1
    assert count > 140
