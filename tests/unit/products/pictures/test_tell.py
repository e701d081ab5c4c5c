import json

import numpy as np
import pytest

import doubles
import make_dicom
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    NoImageError,
    StorageUnavailableError,
)
from rendering import SECRET, SIDE, Bench, files, greys, pixels, ramp, uniform


def failing(bench: Bench, *names: str, error: type = AccessDeniedError) -> None:
    """From here on, some objects cannot be had."""
    errors = {f"S/{name}": error(f"memory://objects/S/{name}", "no") for name in names}
    bench.storage = doubles.FailingStorage(bench.storage, errors)


def test_failing_slice_becomes_a_marked_tile() -> None:
    """A slice that cannot be had is a marked tile and a warning; the others are as ever."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "2.dcm")
    rendered = bench.mosaic(tile_width=3, tile_height=1, contrast="1/0")
    shown, marked, last = np.split(pixels(rendered), 3, axis=1)
    assert last.min() > 250
    assert shown.max() == shown.min()
    assert (marked[0] > 90).all()
    assert (np.diag(marked) > 90).all()
    assert 30 < marked[8, 3] < 70
    tile = rendered.report.tiles[1]
    assert (tile.error, tile.contrast) == ("no", None)
    assert rendered.report.warnings == ("2.dcm cannot be shown: no",)
    assert "2 of 3 slices" in rendered.report.summary()


def test_failing_slice_is_warned_of_once_in_a_contrast_mosaic() -> None:
    """A slice that fails is one warning, however many columns show it."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "1.dcm")
    report = bench.contrasts("lung", "bone", "auto").report
    assert report.warnings == ("1.dcm cannot be shown: no",)
    assert [tile.error for tile in report.tiles] == [None, None, None, "no", "no", "no"]


def test_failing_slice_stays_out_of_the_statistics() -> None:
    """What cannot be shown does not decide the automatic window."""
    bench = Bench(ramp(5))
    bench.mosaic()
    failing(bench, "1.dcm", "2.dcm")
    rendered = bench.mosaic(tile_width=5, tile_height=1, contrast="auto")
    assert greys(rendered)[:3] == pytest.approx([0, 128, 255], abs=2)


def test_no_tile_left_is_an_error() -> None:
    """Only when no slice is left to show, there is no picture; the reason is the first slice's."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "1.dcm", "2.dcm", "3.dcm")
    with pytest.raises(AccessDeniedError, match=r"3\.dcm: no"):
        bench.mosaic()


def test_storage_that_is_down_is_an_error() -> None:
    """Storage that fails beyond every retry is no marked tile: the picture would be of an outage."""
    bench = Bench(ramp(3))
    bench.mosaic()
    failing(bench, "2.dcm", error=StorageUnavailableError)
    with pytest.raises(StorageUnavailableError):
        bench.mosaic()


def test_cut_pixels_name_their_object() -> None:
    """Pixels that are cut off are a warning with the object's name and nothing of the patient."""
    objects = ramp(3)
    objects["S/2.dcm"] = objects["S/2.dcm"][:-40]
    report = Bench(objects).mosaic().report
    (warning,) = report.warnings
    assert warning.startswith("2.dcm cannot be shown: ")
    assert SECRET not in report.to_json()


def test_frame_that_fails_is_named() -> None:
    """Of an object with several frames, the one that fails is named."""
    groups = [make_dicom.position_group(0, 0, float(-n)) for n in range(3)]
    shared = make_dicom.orientation_group(
        PixelMeasuresSequence=[make_dicom.dataset(PixelSpacing=[1.0, 1.0], SliceThickness=1)]
    )
    encoded = make_dicom.encode(make_dicom.enhanced(groups, shared))
    report = Bench({"S/1.dcm": encoded[:-20]}).mosaic().report
    assert [tile.error is None for tile in report.tiles] == [True, True, False]
    assert [tile.frame_number for tile in report.tiles] == [1, 2, 3]
    assert report.warnings[0].startswith("1.dcm, frame 3 cannot be shown: ")


def test_series_without_an_image() -> None:
    """A series of objects without pixels is said as such."""
    bench = Bench(files(make_dicom.report(1), make_dicom.report(2)))
    with pytest.raises(NoImageError, match="none of its 2 objects has an image"):
        bench.mosaic()
    with pytest.raises(NoImageError, match="its one object has no image"):
        Bench(files(make_dicom.report(1))).mosaic()


def test_report_is_json_with_all_that_is_asked_of_it() -> None:
    """The report names tiles, skipped objects with reasons, and requests, bytes and milliseconds by phase."""
    objects = {**ramp(3), "S/a.txt": b"text", "S/b": b"no DICOM"}
    bench = Bench(objects)
    report = bench.mosaic(tile_width=2, tile_height=1, contrast="lung").report
    document = json.loads(report.to_json())
    assert document["report_schema"] == 2
    assert document["root"] == "memory://objects"
    assert (document["series"], document["stack"], document["slices"]) == ("S", 0, 3)
    first = document["tiles"][0]
    assert first["sop_instance_uid"] == f"{make_dicom.SERIES_UID}.3"
    assert (first["frame_number"], first["axis"], first["primary_position"]) == (1, "Z", 3.0)
    applied = {"kind": "preset", "name": "ct-lung", "function": "LINEAR_EXACT"}
    assert first["contrast"] == {**applied, "center": -500.0, "width": 1500.0}
    assert [tile["position"] for tile in document["tiles"]] == [0.0, 1.0]
    assert {item["name"] for item in document["skipped"]} == {"a.txt", "b"}
    assert all(item["reason"] for item in document["skipped"])
    cost = document["cost"]
    assert (cost["list_requests"], cost["get_requests"]) == (1, 4)  # three slices, and what is no DICOM
    assert cost["bytes"] == bench.storage.received
    assert set(cost["milliseconds"]) == {"index", "pixels", "render", "encode", "total"}
    assert SECRET not in report.to_json()


def test_slices_without_a_place_have_no_position() -> None:
    """Slices without a position come last, without a number for it, and the report notes it."""
    lost = uniform(7, 0, ImagePositionPatient=None)
    report = Bench({**ramp(3), **files(lost)}).mosaic().report
    assert report.tiles[-1].file_name == "7.dcm"
    assert report.tiles[-1].position is None
    assert report.notes


def test_summary_is_one_line() -> None:
    """The summary says size, slices, requests and bytes in one line."""
    text = Bench(ramp(3)).mosaic(tile_width=2).report.summary()
    assert text.startswith("32 x 32, 3 of 3 slices, index built; 1 LIST and 3 GET, ")
    assert "\n" not in text


def test_prefix_says_how_many_it_matched() -> None:
    """Of the series that a prefix matches the first is shown, and how many there are is in the report."""
    objects = {f"{name}/1.dcm": make_dicom.encode(uniform(1, 0)) for name in ("Sb", "Sa", "T")}
    report = Bench(objects).mosaic(series="S*").report
    assert (report.series, report.matches) == ("Sa", 2)
    assert "Sa (the first of 2)" in report.summary()


def test_without_a_window_what_is_shown_decides() -> None:
    """CT of a head is shown as a brain, by itself and among others, and the report names the window."""
    head = files(*(uniform(i, 20 * i, BodyPartExamined="HEAD") for i in range(5)))
    rendered = Bench(head).mosaic(tile_width=5, tile_height=1)
    assert greys(rendered) == pytest.approx([255, 191, 128, 64, 0], abs=1)
    contrast = rendered.report.tiles[0].contrast
    assert (contrast.kind, contrast.name, contrast.width, contrast.center) == ("default", "ct-brain", 80, 40)
    assert rendered.report.warnings == ()
    assert Bench(head).mosaic(contrast="auto").report.tiles[0].contrast.kind == "auto"


def test_slices_of_uptake_are_pooled() -> None:
    """Tiles of a PET compare: the coldest slice is dark beside the hottest, whatever its own rescale."""
    given = {"Modality": "PT", "RescaleIntercept": 0.0}
    slopes = {1: 4.0, 2: 2.0, 3: 1.0}
    pet = files(*(uniform(i, 76, RescaleSlope=slope, **given) for i, slope in slopes.items()))
    rendered = Bench(pet).mosaic(tile_width=3, tile_height=1)
    assert greys(rendered) == pytest.approx([64, 128, 255], abs=1)
    assert {tile.contrast.name for tile in rendered.report.tiles} == {"uptake"}
    assert {tile.contrast.width for tile in rendered.report.tiles} == {4400.0}


def test_pictures_lie_as_they_are_stored_and_say_how() -> None:
    """A slice that is stored upside down stays so; the report names its directions and warns once."""
    halves = np.repeat(np.array([1024, 1424], "<u2"), SIDE * SIDE // 2).tobytes()
    usual = files(*(uniform(i, 0, PixelData=halves) for i in (1, 2)))
    flipped = [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
    turned = files(*(uniform(i, 0, PixelData=halves, ImageOrientationPatient=flipped) for i in (1, 2)))
    pictures = [
        Bench(objects).mosaic(tile_width=2, tile_height=1, contrast="400/200") for objects in (usual, turned)
    ]
    assert pictures[0].data == pictures[1].data
    reports = [picture.report for picture in pictures]
    assert [{tile.patient_orientation for tile in report.tiles} for report in reports] == [{"L\\P"}, {"L\\A"}]
    assert reports[0].warnings == ()
    (warning,) = reports[1].warnings
    assert warning.startswith(
        "axial slices are shown as stored, with the patient's right on the left and back on"
    )


def test_images_without_an_orientation_have_no_letters() -> None:
    """A projection has no plane in the patient, and says nothing of it."""
    report = Bench(files(uniform(1, 0, ImageOrientationPatient=None))).image(0).report
    assert (report.tiles[0].patient_orientation, report.warnings) == ("", ())
