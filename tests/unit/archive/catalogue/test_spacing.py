import numpy as np
import pytest

from dicom_series_preview.archive.catalogue.spacing import gaps_of, is_regular, runs_of, spacing_of


def runs(*steps):
    return [(run.first, run.last, round(run.spacing_mm, 6)) for run in runs_of(np.array(steps, float))]


def gaps(*steps):
    return [(gap.after, gap.step_mm, gap.missing) for gap in gaps_of(runs_of(np.array(steps, float)))]


def test_equal_steps_are_one_run():
    """Steps within 1 % of each other are regular, and one run; of fewer than two nothing is said."""
    assert runs(3.0, 3.01, 2.99) == [(0, 3, 3.0)]
    assert is_regular(np.array([3.0, 3.01, 2.99])) is True
    assert is_regular(np.array([3.0, 3.0, 3.1])) is False
    assert is_regular(np.array([3.0])) is None
    assert runs() == []


def test_the_spacing_is_the_median_and_one_that_occurs():
    """The spacing is the median step; of an even number the smaller of the two in the middle."""
    assert spacing_of(np.array([10.5, 21.0])) == 10.5
    assert spacing_of(np.array([5.0, 3.0, 3.0])) == 3.0
    assert spacing_of(np.array([])) is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((3, 3, 6, 3, 3), [(2, 6.0, 1)]),
        ((3, 3, 3, 9, 3), [(3, 9.0, 2)]),
        ((10.5, 21), [(1, 21.0, 1)]),
        ((3, 3, 3, 6, 6, 3, 3, 3), [(3, 6.0, 1), (4, 6.0, 1)]),
        ((3, 3, 3, 6, 9, 3, 3, 3), [(3, 6.0, 1), (4, 9.0, 2)]),
        ((3, 3, 3, 4.5, 3), []),
        ((3, 3, 3, 1, 3, 3), []),
        ((), []),
        ((5,), []),
    ],
)
def test_a_gap_is_a_whole_number_of_steps(steps, expected):
    """A step in which whole slices fit is a gap; one that is merely odd is not."""
    assert gaps(*steps) == expected


def test_a_spacing_that_goes_on_is_no_gap():
    """Where a stack changes its spacing, nothing is missing."""
    assert gaps(*[7.0] * 13, 1.08, *[3.5] * 13) == []
    assert runs(*[7.0] * 13, 1.08, *[3.5] * 13) == [(0, 13, 7.0), (13, 14, 1.08), (14, 27, 3.5)]


def test_a_gap_is_measured_by_the_steps_around_it():
    """In a stack of two spacings, a gap counts the slices of the part that it lies in."""
    assert gaps(*[2.0] * 5, 4.0, *[2.0] * 4, *[8.0] * 6, 16.0, *[8.0] * 3) == [(5, 4.0, 1), (16, 16.0, 1)]
