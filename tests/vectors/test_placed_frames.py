"""Order and places of frames that offsets tell: whole objects, listing to index."""

import numpy as np
import pytest

import make_dicom
from conformance.flat import BLOCK, blocks, flat, mosaic, objects
from conformance.rules import proves
from indexing import index_of

RT_DOSE, NUCLEAR = "1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.20"
AXIAL, UPSIDE_DOWN = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, -1, 0]
CORONAL, SAGITTAL = [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


def frames(count, **elements):
    """An object whose frames are of levels 0, 50, 100, ... each."""
    levels = np.arange(count, dtype=np.uint8)[:, np.newaxis, np.newaxis] * 50
    octets = np.broadcast_to(levels, (count, BLOCK, BLOCK)).tobytes()
    given = {"Modality": "OT", "NumberOfFrames": count, "PixelData": octets}
    return flat((0,), "u1", **{**given, "WindowWidth": "256", "WindowCenter": "128", **elements})


def found(data):
    """The numbers and coordinates of frames in display order, and the levels that a mosaic of them shows."""
    series = objects(data)
    index = index_of({name.removeprefix("S/"): octets for name, octets in series.items()})
    # The header stays what it is.
    assert index.header(0).get("ImagePositionPatient") == data.get("ImagePositionPatient")
    cells = index.table.select(["FrameNumber", "PrimaryPosition"]).to_pydict()
    levels, _ = mosaic(series, tile_width=data.NumberOfFrames, tile_height=1, image_width=BLOCK)
    assert blocks(levels) == [[50 * (number - 1) for number in cells["FrameNumber"]]]
    axis = set(index.table["PrimaryAxis"].to_pylist())
    return cells["FrameNumber"], cells["PrimaryPosition"], axis


@proves(12, "GridFrameOffsetVector places the frames of RT dose, by distance or by z", "PS3.3 C.8.8.3.2")
@pytest.mark.parametrize(
    ("orientation", "offsets", "numbers", "positions"),
    [
        (AXIAL, [0, 5, 10], [3, 2, 1], [-90, -95, -100]),
        (AXIAL, [0, -5, -10], [1, 2, 3], [-100, -105, -110]),
        (AXIAL, [-100, -92, -96], [2, 3, 1], [-92, -96, -100]),
        (AXIAL, [-100.001, -95.001, -90.001], [3, 2, 1], [-90, -95, -100]),
        (UPSIDE_DOWN, [0, 5, 10], [1, 2, 3], [-100, -105, -110]),
        (UPSIDE_DOWN, [-100, -95, -90], [3, 2, 1], [-90, -95, -100]),
    ],
)
def test_rt_dose(orientation, offsets, numbers, positions):
    """Superior comes first, whichever way the frames go."""
    data = frames(
        3,
        SOPClassUID=RT_DOSE,
        ImagePositionPatient=[10, 20, -100],
        ImageOrientationPatient=orientation,
        GridFrameOffsetVector=offsets,
    )
    assert found(data) == (numbers, positions, {"Z"})


@proves(
    12,
    "The slices of reconstructed nuclear medicine lie along the detector's normal",
    "PS3.3 C.8.4.9, C.8.4.11",
)
@pytest.mark.parametrize(
    "written", [("RECON TOMO", "SpacingBetweenSlices"), ("RECON GATED TOMO", "SliceThickness")]
)
@pytest.mark.parametrize(
    ("orientation", "spacing", "vector", "expected"),
    [
        (AXIAL, 4, [1, 2, 3], ([3, 2, 1], [108, 104, 100], {"Z"})),
        (AXIAL, -4, [1, 2, 3], ([1, 2, 3], [100, 96, 92], {"Z"})),
        (AXIAL, 4, [3, 1, 2], ([1, 3, 2], [108, 104, 100], {"Z"})),
        (AXIAL, 4, None, ([3, 2, 1], [108, 104, 100], {"Z"})),
        (CORONAL, 4, [1, 2, 3], ([3, 2, 1], [28, 24, 20], {"Y"})),
        (SAGITTAL, 4, [1, 2, 3], ([3, 2, 1], [2, 6, 10], {"X"})),
    ],
)
def test_reconstructed_nuclear_medicine(orientation, spacing, vector, expected, written):
    """The first slice lies at the detector's position, the others at the spacing between slices."""
    detector = make_dicom.dataset(ImagePositionPatient=[10, 20, 100], ImageOrientationPatient=orientation)
    data = frames(
        3,
        SOPClassUID=NUCLEAR,
        ImageType=["ORIGINAL", "PRIMARY", written[0], "EMISSION"],
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        **{written[1]: spacing},
        SliceVector=vector,
        DetectorInformationSequence=[detector],
    )
    assert found(data) == expected


@pytest.mark.parametrize("offsets", [[0, 5], [0, 5, 10, 15], []])
def test_offsets_of_another_number_than_frames_place_nothing(offsets):
    """Frames stay in their order where not each of them has an offset."""
    data = frames(
        3, ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=AXIAL, GridFrameOffsetVector=offsets
    )
    assert found(data)[0] == [1, 2, 3]


def test_offsets_that_begin_elsewhere_are_distances_with_a_warning():
    """They begin with neither 0 nor the position's z: the distances between planes hold."""
    data = frames(
        3, ImagePositionPatient=[0, 0, -100], ImageOrientationPatient=AXIAL, GridFrameOffsetVector=[7, 12, 17]
    )
    assert found(data) == ([3, 2, 1], [-90, -95, -100], {"Z"})
    _, report = mosaic(objects(data))
    assert any("begins neither with 0 nor with the position" in warning for warning in report.warnings)
