from __future__ import annotations

import math

import pytest

from dicom_series_preview.base.geometry import patient_orientation, unusual_orientation
from make_dicom import AXIAL


@pytest.mark.parametrize(
    ("cosines", "letters"),
    [
        (AXIAL, "L\\P"),
        ((1, 0, 0, 0, 0, -1), "L\\F"),
        ((0, 1, 0, 0, 0, -1), "P\\F"),
        ((-1, 0, 0, 0, -1, 0), "R\\A"),
        ((0, -1, 0, 0, 0, 1), "A\\H"),
        ((1, 0, 0, 0, 0.9, -0.43), "L\\PF"),
        ((0.6, -0.8, 0, 0.12, 0.09, -0.99), "AL\\FLP"),
        ((0.9999, 0.01, 0, -0.01, 0.9999, 0), "L\\P"),
        ((1, 0, 0, 1, 0, 0), ""),
        ((0, 0, 0, 0, 0, 0), ""),
        ((math.nan, 0, 0, 0, 1, 0), ""),
    ],
)
def test_where_rows_and_columns_lead(cosines, letters):
    """Letters name the ends of the axes in order of dominance, as PatientOrientation does."""
    assert patient_orientation(cosines) == letters


@pytest.mark.parametrize(
    "cosines",
    [
        AXIAL,
        (1, 0, 0, 0, 0.93, -0.37),
        (1, 0, 0, 0, 0, -1),
        (0, 1, 0, 0, 0, -1),
        (0, -1, 0, 0, 0, -1),
        (-0.7, 0.7, 0, 0, 0, -1),
        (0, 0, 0, 0, 0, 0),
    ],
)
def test_usual_orientations_are_not_worth_a_word(cosines):
    """Front on top and right on the left, heads up, gantry tilt, and what lies between the axes."""
    assert unusual_orientation(cosines) == ""


@pytest.mark.parametrize(
    ("cosines", "plane", "found", "usual"),
    [
        (
            (1, 0, 0, 0, -1, 0),
            "axial",
            "right on the left and back on top",
            "right on the left and front on top",
        ),
        (
            (-1, 0, 0, 0, 1, 0),
            "axial",
            "left on the left and front on top",
            "right on the left and front on top",
        ),
        (
            (-1, 0, 0, 0, -1, 0),
            "axial",
            "left on the left and back on top",
            "right on the left and front on top",
        ),
        (
            (0, 1, 0, 1, 0, 0),
            "axial",
            "front on the left and right on top",
            "right on the left and front on top",
        ),
        (
            (-1, 0, 0, 0, 0, -1),
            "coronal",
            "left on the left and head on top",
            "right on the left and head on top",
        ),
        ((0, 1, 0, 0, 0, 1), "sagittal", "front on the left and feet on top", "head on top"),
    ],
)
def test_unusual_orientations_are_told(cosines, plane, found, usual):
    """What is mirrored, upside down or turned is named by its left and upper edge."""
    expected = f"{plane} slices are shown as stored, with the patient's {found}, not with the {usual}"
    assert unusual_orientation(cosines) == expected
