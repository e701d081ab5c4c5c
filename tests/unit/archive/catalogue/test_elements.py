import json

import make_dicom as make
from dicom_series_preview.archive.catalogue.axes import AXES
from dicom_series_preview.archive.catalogue.elements import Elements
from facts import at, frame, frames
from indexing import index_of, series


def values(name, *sources):
    """The values of the element of an axis in the rows of the main stack."""
    index = index_of(series(*sources))
    (element,) = (axis.element for axis in AXES if axis.keyword == name)
    return Elements(index, index.stacks[0].tolist()).values(element)


def test_what_all_objects_share_tells_nothing():
    """An element with one value in all objects has no values to compare, nor has one that none has."""
    assert values("EchoTime", *at(3, {"EchoTime": 5.0})) is None
    assert values("EchoTime", *at(3, {})) is None


def test_a_slice_without_the_element_has_none():
    """A slice without an element that others have has None."""
    assert values("EchoTime", *at(1, {"EchoTime": 5.0}, {})) == [5.0, None]


def test_a_number_that_is_none_is_missing():
    """NaN, infinity and text are no numbers."""
    made = at(
        1, {"DiffusionBValue": 5.0}, {"DiffusionBValue": float("nan")}, {"DiffusionBValue": float("inf")}
    )
    assert values("DiffusionBValue", *made) == [5.0, None, None]


def test_a_frame_comes_before_its_object():
    """A frame's own group wins, then the group that frames share, then the object's element."""
    own = frame(0.0, MRTimingAndRelatedParametersSequence=[make.dataset(FlipAngle=30.0)])
    shared = make.orientation_group(MRTimingAndRelatedParametersSequence=[make.dataset(FlipAngle=20.0)])
    made = make.enhanced([own, frame(-3.0)], shared, FlipAngle=10.0)
    assert values("FlipAngle", made) == [30.0, 20.0]


def test_texts_that_look_like_elements_are_texts():
    """A comment that has the text of an element in it is a comment."""
    fake = json.dumps({"00209111": {"vr": "SQ", "Value": [{"00209128": {"vr": "UL", "Value": [9]}}]}})
    groups = [
        frame(0.0, FrameContentSequence=[make.dataset(FrameComments=fake, TemporalPositionIndex=number)])
        for number in (1, 2)
    ]
    assert values("TemporalPositionIndex", frames(*groups)) == [1.0, 2.0]
