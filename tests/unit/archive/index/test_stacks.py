import numpy as np

import make_dicom as make
from indexing import index_of, series


def test_positions_of_a_stack_are_exact():
    """Positions are chosen among in full precision, though PrimaryPosition is a Float32."""
    exact = -1234.567890123
    index = index_of(series(make.image(1, ImagePositionPatient=[0.0, 0.0, exact])))
    assert index.sorted_stack(0).positions.tolist() == [exact]


def test_positions_without_positions():
    """A stack without positions has SliceLocation as its positions, one without both has none."""
    sources = [make.image(i, ImagePositionPatient=None, SliceLocation=i / 2) for i in (1, 2)]
    assert index_of(series(*sources)).sorted_stack(0).positions.tolist() == [1.0, 0.5]
    sources = [make.image(i, ImagePositionPatient=None) for i in (1, 2)]
    assert np.isnan(index_of(series(*sources)).sorted_stack(0).positions).all()


def test_times_of_a_stack():
    """What varies in time within a stack can be chosen by."""
    index = index_of(series(*(make.image(1, TriggerTime=t, SOPInstanceUID=f"1.{t}") for t in (30, 10, 20))))
    assert index.sorted_stack(0).times[0].tolist() == [10, 20, 30]
