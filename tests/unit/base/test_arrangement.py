from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_series_preview.base.arrangement import Slices, arrange
from dicom_series_preview.base.geometry import patient_orientation, unusual_orientation
from make_dicom import AXIAL, CORONAL, SAGITTAL

NAN = math.nan
NO_POSITION = (NAN, NAN, NAN)
NO_ORIENTATION = (NAN,) * 6
TIMES = ("trigger_time", "temporal_position", "acquisition_time", "content_time", "creation_time")


def one(name, position=NO_POSITION, orientation=AXIAL, **facts):
    """What is known of one slice."""
    return {
        "series": "1.2",
        "uid": "",
        "size": (512, 512, 1),
        "localizer": False,
        "aside": False,
        "focal_plane": NAN,
        "slice_location": NAN,
        "acquisition_number": NAN,
        "instance_number": NAN,
        "frame_number": 1,
        **dict.fromkeys(TIMES, NAN),
        "days": (NAN, NAN, NAN),
        **facts,
        "name": name,
        "position": position,
        "orientation": orientation,
    }


def slices_of(slices):
    """Many slices as arrays."""
    return Slices(
        series_instance_uid=[s["series"] for s in slices],
        sop_instance_uid=[s["uid"] for s in slices],
        size=np.array([s["size"] for s in slices], np.int64).reshape(-1, 3),
        localizer=np.array([s["localizer"] for s in slices], bool),
        aside=np.array([s["aside"] for s in slices], bool),
        orientation=np.array([s["orientation"] for s in slices], float).reshape(-1, 6),
        position=np.array([s["position"] for s in slices], float).reshape(-1, 3),
        slice_location=np.array([s["slice_location"] for s in slices], float),
        acquisition_number=np.array([s["acquisition_number"] for s in slices], float),
        instance_number=np.array([s["instance_number"] for s in slices], float),
        times=np.array([[s[time] for time in TIMES] for s in slices], float).reshape(-1, 5),
        days=np.array([s["days"] for s in slices], float).reshape(-1, 3),
        file_name=[s["name"] for s in slices],
        frame_number=np.array([s["frame_number"] for s in slices], np.int64),
        focal_plane=np.array([s["focal_plane"] for s in slices], float),
    )


def arranged(slices):
    """Names in display order, and the arrangement."""
    arrangement = arrange(slices_of(slices))
    return [slices[i]["name"] for i in arrangement.order], arrangement


def order(*slices):
    """Names in display order, joined."""
    return "".join(arranged(slices)[0])


def stacks(*slices):
    """By stack number, the names of its slices in display order, joined."""
    names, arrangement = arranged(slices)
    found = {}
    for name, number in zip(names, arrangement.stack.tolist(), strict=True):
        found[number] = found.get(number, "") + name
    return found


# --- direction


@pytest.mark.parametrize(
    ("orientation", "first", "last", "axis"),
    [
        (AXIAL, (0, 0, 10), (0, 0, -10), "Z"),
        (CORONAL, (0, 10, 0), (0, -10, 0), "Y"),
        (SAGITTAL, (-10, 0, 0), (10, 0, 0), "X"),
    ],
    ids=["axial", "coronal", "sagittal"],
)
@pytest.mark.parametrize("flip", ["not", "rows", "columns", "swapped"])
def test_display_order(orientation, first, last, axis, flip):
    """Axial runs from superior, coronal from posterior, sagittal from right, wherever the normal points."""
    rows, columns = orientation[:3], orientation[3:]
    if flip == "rows":
        rows = tuple(-c for c in rows)
    elif flip == "columns":
        columns = tuple(-c for c in columns)
    elif flip == "swapped":
        rows, columns = columns, rows
    middle = tuple((a + b) / 2 for a, b in zip(first, last, strict=True))
    names, arrangement = arranged(
        [one("c", last, rows + columns), one("a", first, rows + columns), one("b", middle, rows + columns)]
    )
    assert names == ["a", "b", "c"]
    assert list(arrangement.axis) == [axis] * 3
    number = "XYZ".index(axis)
    assert arrangement.primary_position.tolist() == [first[number], middle[number], last[number]]
    assert arrangement.location.tolist() == [0, 1, 2]


def oblique(degrees):
    """Axial slices tilted towards coronal."""
    angle = math.radians(degrees)
    return (1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle))


@pytest.mark.parametrize(
    ("degrees", "axis"), [(10, "Z"), (44, "Z"), (46, "Y"), (80, "Y"), (-44, "Z"), (-46, "Y")]
)
def test_an_oblique_stack_runs_along_the_axis_its_normal_is_closest_to(degrees, axis):
    """An oblique stack is ordered along its normal, in the direction of the closest axis."""
    cosines = oblique(degrees)
    normal = np.cross(cosines[:3], cosines[3:])
    slices = [one(str(i), tuple(normal * i), cosines) for i in range(5)]
    names, arrangement = arranged(slices)
    number = "XYZ".index(axis)
    coordinates = arrangement.primary_position
    assert set(arrangement.axis) == {axis}
    assert (np.diff(coordinates) < 0).all()
    assert coordinates.tolist() == [slices[int(name)]["position"][number] for name in names]


def test_gantry_tilt_orders_by_the_normal():
    """With a tilted gantry, whose step is not along the normal, slices still lie by the normal."""
    cosines = oblique(20)
    slices = [one(str(i), (0.0, 0.0, -float(i)), cosines) for i in range(6)]
    assert "".join(arranged(slices[::-1])[0]) == "012345"
    assert arranged(slices)[1].location.tolist() == list(range(6))


def test_in_plane_shift_is_no_place():
    """A position that differs within the slice's own plane does not order slices."""
    assert order(one("a", (50, 0, 3), instance_number=2), one("b", (-50, 9, 3), instance_number=1)) == "ba"


# --- locations


def test_closer_than_a_hundredth_millimetre_is_one_location():
    """Positions closer than 0.01 mm are one location, where InstanceNumber decides."""
    _, arrangement = arranged(
        [
            one("a", (0, 0, 5.0), instance_number=3),
            one("b", (0, 0, 5.009), instance_number=1),
            one("c", (0, 0, 5.02), instance_number=2),
        ]
    )
    assert arrangement.location.tolist() == [0, 1, 1]
    assert arrangement.order.tolist() == [2, 1, 0]


@pytest.mark.parametrize("time", TIMES)
def test_ties_go_by_instance_number_then_time(time):
    """Slices of one location lie by InstanceNumber, then by time, then by name."""
    slices = [
        one("d", (0, 0, 1), **{time: 5.0}),
        one("c", (0, 0, 1), **{time: 5.0}),
        one("b", (0, 0, 1), instance_number=2, **{time: 1.0}),
        one("a", (0, 0, 1), instance_number=1, **{time: 9.0}),
        one("e", (0, 0, 1), **{time: 4.0}),
    ]
    assert order(*slices) == "abecd"


def test_slices_that_nothing_orders_lie_by_their_uid():
    """SOPInstanceUID orders before the name, by the numbers of its components: copies have other names."""
    slices = [
        one("a", (0, 0, 1), uid="1.10"),
        one("b", (0, 0, 1), uid="1.9"),
        one("c", (0, 0, 1), uid="1.9.1"),
    ]
    assert order(*slices) == "bca"
    stacked = [one("a", uid="1.3"), one("b", orientation=CORONAL, uid="1.2")]
    assert stacks(*stacked) == {0: "b", 1: "a"}


def test_acquisition_time_comes_before_content_and_creation_time():
    """Acquisition time counts more than content time, and that more than creation time."""
    slices = [
        one("c", (0, 0, 1), acquisition_time=2, content_time=1, creation_time=1),
        one("b", (0, 0, 1), acquisition_time=1, content_time=2, creation_time=1),
        one("a", (0, 0, 1), acquisition_time=1, content_time=1, creation_time=3),
    ]
    assert order(*slices) == "abc"


@pytest.mark.parametrize("clock", range(3))
def test_clocks_run_on_over_midnight(clock):
    """A clock orders slices by date and time: one a second after midnight comes after one a second before."""

    def at(name, day, seconds):
        days = [NAN, NAN, NAN]
        days[clock] = day
        return one(name, (0, 0, 1), **{TIMES[2 + clock]: seconds}, days=days)

    names, arrangement = arranged([at("c", 8, 2), at("b", 8, 1), at("a", 7, 86399)])
    assert names == ["a", "b", "c"]
    assert arrangement.time.tolist() == [86399, 86401, 86402]
    # Where the day of one is unknown, times of day count for all.
    names, arrangement = arranged([at("c", NAN, 2), at("b", 8, 1), at("a", 7, 86399)])
    assert names == ["b", "c", "a"]
    assert arrangement.time.tolist() == [1, 2, 86399]
    # A slice without a time has no day that counts.
    names, _ = arranged([at("c", 1, NAN), at("b", 8, 1), at("a", 7, 86399)])
    assert names == ["a", "b", "c"]


def test_of_equal_stacks_the_first_by_date_and_time_is_the_main_one():
    """Among stacks of one size the first acquired is the main one, also over midnight."""
    early = [one(name, (0, 0, z), acquisition_time=86399, days=(7, NAN, NAN)) for z, name in enumerate("ab")]
    late = [
        one(name, (z, 0, 0), SAGITTAL, acquisition_time=1, days=(8, NAN, NAN)) for z, name in enumerate("cd")
    ]
    assert stacks(*late, *early) == {0: "ba", 1: "cd"}


def test_frames_of_one_object_keep_their_order():
    """Frames that nothing else tells apart lie by frame number."""
    slices = [one("x", (0, 0, 1), frame_number=number) for number in (3, 1, 2)]
    assert arranged(slices)[1].order.tolist() == [1, 2, 0]


def test_time_is_the_first_that_varies():
    """What tells slices apart in time is the first of the times that varies in the stack."""
    slices = [one(str(i), (0, 0, 1), trigger_time=7, acquisition_time=10 - i) for i in range(3)]
    names, arrangement = arranged(slices)
    assert names == ["2", "1", "0"]
    assert arrangement.time.tolist() == [8, 9, 10]
    assert np.isnan(arranged([one("a", trigger_time=7), one("b", trigger_time=7)])[1].time).all()


# --- what is missing


@pytest.mark.parametrize(
    ("positions", "axis"),
    [
        ([(0, 0, 9), (0, 1, 0), (0, 2, -9)], "Z"),
        ([(0, 9, 0), (1, 0, 0), (2, -9, 1)], "Y"),
        ([(-9, 0, 0), (0, 1, 0), (9, 2, 0)], "X"),
    ],
)
def test_without_orientation_positions_tell_the_axis(positions, axis):
    """Without orientation slices lie along the axis on which positions spread most."""
    slices = [one(name, p, NO_ORIENTATION) for name, p in zip("abc", positions, strict=True)]
    names, arrangement = arranged(slices[::-1])
    assert "".join(names) == "abc"
    assert set(arrangement.axis) == {axis}


def test_an_orientation_that_spans_no_plane_is_none():
    """Cosines that are parallel, or zero, name no normal: the positions' spread decides."""
    for cosines in ((1, 0, 0, 1, 0, 0), (0,) * 6):
        slices = [one("a", (-1, 0, 0), cosines), one("b", (4, 0, 0), cosines)]
        assert set(arranged(slices)[1].axis) == {"X"}
        assert order(*slices) == "ab"


def test_slices_without_position_go_last_with_a_note():
    """Millimetres and numbers are never mixed: slices without a position follow, and the notes say so."""
    names, arrangement = arranged(
        [
            one("d", instance_number=2),
            one("b", (0, 0, 1), instance_number=9),
            one("c", instance_number=1, slice_location=500.0),
            one("a", (0, 0, 2), instance_number=8),
        ]
    )
    assert names == ["a", "b", "c", "d"]
    assert arrangement.location.tolist() == [0, 1, -1, -1]
    assert arrangement.primary_position.tolist()[:2] == [2, 1]
    assert np.isnan(arrangement.primary_position[2:]).all()
    assert arrangement.notes == (
        "stack 0: 2 of 4 slices have no position and come after those that have one",
    )


def test_without_positions_slice_location_counts():
    """Without any position slices lie by SliceLocation, as Z, from superior."""
    names, arrangement = arranged([one("b", slice_location=-5.0), one("a", slice_location=7.0), one("c")])
    assert names == ["a", "b", "c"]
    assert set(arrangement.axis) == {"Z"}
    assert arrangement.primary_position.tolist()[:2] == [7, -5]


@pytest.mark.parametrize(
    ("orientation", "axis", "first"),
    [(CORONAL, "Y", 7.0), (SAGITTAL, "X", -5.0), (AXIAL, "Z", 7.0), ((NAN,) * 6, "Z", 7.0)],
)
def test_slice_location_lies_on_the_axis_of_the_orientation(orientation, axis, first):
    """SliceLocation is a coordinate on the axis that the normal follows: posterior first, or right."""
    slices = [one(str(loc), orientation=orientation, slice_location=loc) for loc in (-5.0, 7.0)]
    _, arrangement = arranged(slices)
    assert arrangement.axis == [axis] * 2
    assert arrangement.primary_position.tolist()[0] == first


def test_slice_location_lies_where_there_are_positions():
    """SliceLocation counts nothing where there is a position."""
    assert order(one("b", (0, 0, 1), slice_location=9.0), one("a", (0, 0, 2), slice_location=1.0)) == "ab"


def test_without_any_place_instance_number_counts():
    """Without position and location slices lie by InstanceNumber, as I; those without one come last."""
    names, arrangement = arranged(
        [one("d"), one("b", instance_number=7), one("a", instance_number=-1), one("c", instance_number=30)]
    )
    assert "".join(names) == "abcd"
    assert set(arrangement.axis) == {"I"}
    assert arrangement.primary_position.tolist()[:3] == [-1, 7, 30]
    assert arrangement.location.tolist() == [-1] * 4
    assert arrangement.notes == ()


# --- stacks


def many(letter, count, orientation=AXIAL, **facts):
    """Slices of one kind."""
    return [one(f"{letter}", (0, 0, -i), orientation, instance_number=i, **facts) for i in range(count)]


@pytest.mark.parametrize(
    "other",
    [
        {"series": "1.3"},
        {"size": (512, 256, 1)},
        {"size": (512, 512, 3)},
        {"orientation": CORONAL},
        {"orientation": (1.0, 0.0, 0.0, 0.0, 0.998, 0.06)},
        {"orientation": NO_ORIENTATION},
        {"localizer": True},
    ],
    ids=["series", "columns", "samples", "coronal", "3 degrees", "none", "localizer"],
)
def test_what_belongs_in_one_pile(other):
    """One stack has one series, orientation, size and kind; the largest is stack 0."""
    assert stacks(*many("b", 2, **other), *many("a", 3)) == {0: "aaa", 1: "bb"}


def test_orientations_within_a_thousandth_are_one():
    """Cosines within 1e-3 are one orientation."""
    close = (1.0, 0.0005, 0.0, 0.0, 1.0, -0.0009)
    assert stacks(*many("a", 3), *many("b", 1, close)).keys() == {0}


def test_an_infinite_orientation_is_none():
    """Cosines that are no numbers tell no orientation: such slices are a stack, and come to an end."""
    endless = (math.inf, 0.0, 0.0, 0.0, -math.inf, 0.0)
    found = stacks(*many("a", 3), *many("b", 2, endless), *many("c", 2, NO_ORIENTATION))
    assert sorted(map(len, found.values())) == [3, 4]


@pytest.mark.parametrize(
    "cosines",
    [
        (1, 0, 0, 1e20, 0, 0),
        (1e40,) * 6,
        (1e99,) * 6,
        (1e308,) * 6,
        (2, 0, 0, 0, 2, 0),
        (1, 0, 0, 0.5, 0.8, 0),
    ],
)
def test_an_orientation_of_no_unit_vectors_is_none(cosines):
    """Cosines that are not those of two perpendicular unit vectors tell no orientation."""
    found = stacks(*many("a", 3), *many("b", 2, cosines), *many("c", 2, NO_ORIENTATION))
    assert sorted(map(len, found.values())) == [3, 4]
    assert patient_orientation(cosines) == unusual_orientation(cosines) == ""


def test_an_orientation_that_lost_digits_is_one():
    """Cosines that are nearly those of unit vectors are used, and their normal has length 1."""
    short = (0.98, 0.005, 0.0, 0.0, 0.97, 0.02)
    placed = [one(name, (0, 0, z), short) for name, z in (("a", 10.0), ("b", 9.995), ("c", -10.0))]
    names, arrangement = arranged(placed)
    assert ("".join(names), arrangement.location.tolist()) == ("abc", [0, 0, 1])
    assert patient_orientation(short) == "L\\P"


@given(
    st.lists(
        st.tuples(*(st.sampled_from((x, x + 4e-4, x + 8e-4, x + 1.2e-3, NAN)) for x in AXIAL)), max_size=20
    )
)
@settings(deadline=None, derandomize=True)
def test_orientations_are_split_one_after_the_other(orientations):
    """Each stack is what is within a thousandth of the first slice, by name, that is in none before it."""
    rest = [(f"{i:02}", np.array(cosines)) for i, cosines in enumerate(orientations)]
    expected = set()
    while rest:
        first = rest[0][1]
        is_alike = [
            np.isnan(each).any() if np.isnan(first).any() else (np.abs(each - first) <= 1e-3).all()
            for _, each in rest
        ]
        expected.add("".join(name for (name, _), alike in zip(rest, is_alike, strict=True) if alike))
        rest = [item for item, alike in zip(rest, is_alike, strict=True) if not alike]
    slices = [one(f"{i:02}", orientation=cosines) for i, cosines in enumerate(orientations)]
    assert set(stacks(*slices).values()) == expected


def test_localizers_are_never_the_main_stack():
    """Stack 0 is the largest that is no localizer, however many localizers there are."""
    found = stacks(
        *many("l", 9, CORONAL, localizer=True), *many("m", 3, SAGITTAL, localizer=True), *many("a", 1)
    )
    assert found == {0: "a", 1: "l" * 9, 2: "mmm"}


def test_localizers_alone_are_shown():
    """A series of nothing but localizers has them as its main stack."""
    assert stacks(*many("l", 2, localizer=True)) == {0: "ll"}


@pytest.mark.parametrize("fact", ["acquisition_time", "acquisition_number"])
def test_of_equal_stacks_the_first_acquired_leads(fact):
    """Of stacks of one size the one that was acquired first is the main one."""
    assert stacks(*many("b", 2, CORONAL, **{fact: 9}), *many("a", 2, **{fact: 3})) == {0: "aa", 1: "bb"}
    assert stacks(*many("a", 2, **{fact: 9}), *many("b", 2, CORONAL, **{fact: 3})) == {0: "bb", 1: "aa"}


def test_objects_without_an_image_are_in_no_stack():
    """Objects without an image come last, by name, in no stack."""
    names, arrangement = arranged(
        [one("z", size=(0, 0, 1)), one("a", (0, 0, 1)), one("y", size=(0, 0, 1), frame_number=0)]
    )
    assert names == ["a", "y", "z"]
    assert arrangement.stack.tolist() == [0, -1, -1]


def test_nothing_is_nothing():
    """No slices make no stack."""
    assert arrange(slices_of([])).order.tolist() == []


# --- the order of the input


COORDINATES = st.sampled_from([0.0, 0.004, 0.008, 0.012, 1.0, 2.5, NAN])
NUMBERS = st.sampled_from([1.0, 2.0, NAN])
ORIENTATIONS = st.one_of(
    st.sampled_from([AXIAL, CORONAL, NO_ORIENTATION, oblique(45)]),
    # A chain of orientations, each within the tolerance of the next and not of the one after that.
    st.integers(0, 4).map(lambda i: (1.0, 0.0, 0.0, 0.0, 1.0, i * 0.0006)),
)
FACTS = st.fixed_dictionaries(
    {
        "position": st.one_of(st.just(NO_POSITION), st.tuples(st.just(0.0), COORDINATES, COORDINATES)),
        "orientation": ORIENTATIONS,
        "instance_number": NUMBERS,
        "slice_location": NUMBERS,
        "acquisition_time": NUMBERS,
        "localizer": st.booleans(),
        "size": st.sampled_from([(4, 4, 1), (4, 8, 1), (0, 0, 1)]),
    }
)


@given(st.lists(FACTS, min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_the_order_of_the_input_changes_nothing(facts, random):
    """Slices lie where they lie, in whatever order their headers came."""
    slices = [one(f"{i // 2:02}", frame_number=i, **fact) for i, fact in enumerate(facts)]
    shuffled = slices.copy()
    random.shuffle(shuffled)

    def told(of):
        arrangement = arrange(slices_of(of))
        rows = [of[i]["frame_number"] for i in arrangement.order]
        return (
            rows,
            arrangement.stack.tolist(),
            arrangement.location.tolist(),
            list(arrangement.axis),
            arrangement.notes,
            str(arrangement.primary_position.tolist()),
            str(arrangement.time.tolist()),
        )

    assert told(slices) == told(shuffled)


@given(st.lists(FACTS, max_size=12))
@settings(deadline=None)
def test_every_slice_is_there_once(facts):
    """No slice is lost or doubled, stacks follow each other, and locations only grow within one."""
    slices = [one(f"{i}", **fact) for i, fact in enumerate(facts)]
    arrangement = arrange(slices_of(slices))
    assert sorted(arrangement.order.tolist()) == list(range(len(slices)))
    stack = [s for s in arrangement.stack.tolist() if s >= 0]
    assert stack == sorted(stack)
    for number in set(stack):
        places = arrangement.location[arrangement.stack == number]
        known = places[places >= 0]
        assert (places[: len(known)] == known).all()
        assert (np.diff(known) >= 0).all()
