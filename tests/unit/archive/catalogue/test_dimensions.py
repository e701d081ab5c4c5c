import pyarrow as pa
import pytest

import make_dicom as make
from dicom_series_preview.archive.catalogue.dimensions import dimensions_of, told_apart
from dicom_series_preview.archive.index.damage import DamagedIndexError
from dicom_series_preview.archive.index.index import Index
from facts import at, frame, frames, private, real_index
from indexing import index_of, series


def found(*sources):
    """The dimensions of a stack: name, element and values."""
    return [
        (one.axis.name, one.axis.keyword, one.values) for one in dimensions_of(index_of(series(*sources)), 0)
    ]


@pytest.mark.parametrize(
    ("keyword", "values", "name"),
    [
        ("EchoTime", (4.6, 9.2), "echo time"),
        ("DiffusionBValue", (0.0, 800.0), "b-value"),
        ("InversionTime", (50.0, 400.0), "inversion time"),
        ("FlipAngle", (2.0, 15.0), "flip angle"),
        ("TriggerTime", (0.0, 35.0), "trigger time"),
        ("TemporalPositionIdentifier", (1.0, 2.0), "time"),
        ("AcquisitionNumber", (3.0, 4.0), "acquisition"),
    ],
)
def test_an_element_that_varies_at_each_location_is_a_dimension(keyword, values, name):
    """Slices of one location that differ in one element run along it, and its values name them."""
    assert found(*at(3, *({keyword: value} for value in values))) == [(name, keyword, values)]


@pytest.mark.parametrize(
    ("tag", "creator", "vr", "stored", "value"),
    [
        (0x0019000C, "SIEMENS MR HEADER", "IS", 1000, 1000.0),
        (0x00430039, "GEMS_PARM_01", "IS", [1_000_000_800, 8, 0, 0], 800.0),
        (0x20010003, "Philips Imaging DD 001", "FL", 600.0, 600.0),
        (0x00650009, "Image Private Header", "FD", 1200.0, 1200.0),
    ],
)
def test_vendors_b_values_are_read(tag, creator, vr, stored, value):
    """A b-value may stand in an element of Siemens, GE (beside a flag of 1e9), Philips or United Imaging."""
    none = [0, 8, 0, 0] if isinstance(stored, list) else type(stored)(0)
    ((name, keyword, values),) = found(
        *at(2, private(tag, creator, vr, none), private(tag, creator, vr, stored))
    )
    assert (name, values) == ("b-value", (0.0, value))
    assert creator in keyword


def test_absurd_b_values_are_dropped():
    """A number that is no b-value, such as one of GE below its flag, is none; the next element decides."""
    absurd = [
        private(0x00430039, "GEMS_PARM_01", "IS", [value, 0, 0, 0]) for value in (73_741_824, 73_741_825)
    ]
    ((name, _, values),) = found(*at(2, *absurd))
    assert (name, values) == ("repetition", (1, 2))
    assert found(*at(2, {"DiffusionBValue": -5.0}, {"DiffusionBValue": 1e9}))[0][0] == "repetition"


def test_a_b_value_comes_before_the_direction():
    """Diffusion runs over b-values, then over directions; the unweighted image has none."""
    vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    weighted = [{"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": one} for one in vectors]
    assert found(*at(2, {"DiffusionBValue": 0.0}, *weighted)) == [
        ("b-value", "DiffusionBValue", (0.0, 1000.0)),
        ("direction", "DiffusionGradientOrientation", ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), None)),
    ]


def test_two_elements_that_vary_apart_are_two_dimensions():
    """Echoes that are repeated run over echo time and time."""
    variants = [
        {"EchoTime": echo, "TemporalPositionIdentifier": time} for time in (1, 2, 3) for echo in (5.0, 10.0)
    ]
    assert [(name, values) for name, _, values in found(*at(2, *variants))] == [
        ("echo time", (5.0, 10.0)),
        ("time", (1.0, 2.0, 3.0)),
    ]


def test_two_elements_that_vary_together_are_one_dimension():
    """An element that tells nothing apart that one before it does not is no dimension."""
    variants = [{"EchoTime": 5.0 * i, "FlipAngle": 10.0 * i, "AcquisitionNumber": i} for i in (1, 2, 3)]
    assert [name for name, _, _ in found(*at(2, *variants))] == ["echo time"]


def test_what_varies_from_location_to_location_is_no_dimension():
    """An element that has one value at each location tells none of its slices apart."""
    first = [make.image(i, ImagePositionPatient=[0, 0, i], EchoTime=float(i)) for i in range(1, 5)]
    second = [make.image(4 + i, ImagePositionPatient=[0, 0, i], EchoTime=float(i)) for i in range(1, 5)]
    assert [name for name, _, _ in found(*first, *second)] == ["repetition"]
    assert found(*first) == []


@pytest.mark.parametrize(
    ("types", "values"),
    [
        ((["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]), ("M", "P")),
        ((["DERIVED", "PRIMARY", "W"], ["ORIGINAL", "PRIMARY", "IP"]), ("DERIVED\\W", "ORIGINAL\\IP")),
        (
            (["ORIGINAL", "PRIMARY"], ["ORIGINAL", "PRIMARY", "P"]),
            ("ORIGINAL\\PRIMARY", "ORIGINAL\\PRIMARY\\P"),
        ),
    ],
)
def test_image_types_are_named_by_the_words_that_differ(types, values):
    """Components of a complex image are a dimension; the words that all share are left out of their names."""
    assert found(*at(2, *({"ImageType": one} for one in types))) == [("image type", "ImageType", values)]


def test_an_image_type_that_is_no_code_is_not_told():
    """Free text in ImageType, which might name someone, is no value of a dimension."""
    texts = [["ORIGINAL", "PRIMARY", text] for text in ("Doe^Jane", "Doe^John")]
    made = at(2, *((lambda one, text=text: make.add(one, 0x00080008, "CS", text)) for text in texts))
    assert [name for name, _, _ in found(*made)] == ["repetition"]


def test_ge_names_the_component():
    """GE's private element tells magnitude and phase."""
    variants = [private(0x0043002F, "GEMS_PARM_01", "SS", value) for value in (0, 1)]
    assert found(*at(2, *variants)) == [("image type", "0043,2f:GEMS_PARM_01", ("MAGNITUDE", "PHASE"))]


def test_clocks_only_rank():
    """A time of day says which slice of a location came first, and its own value names none."""
    made = at(3, {}, {})
    for i, one in enumerate(made):
        one.AcquisitionTime = f"10{i:02}00.5"
        one.InstanceNumber = 7
    assert found(*made) == [("time", "AcquisitionTime", (1, 2))]


def test_a_missing_first_time_shifts_no_rank():
    """Where clocks show which slices belong together, a location without the first time has no first."""
    made = at(4, *[{}] * 3)
    for i, one in enumerate(made):
        one.AcquisitionTime = f"1200{i // 4 * 10 + i % 4:02}"
    missing = made.pop(2)
    (time,) = dimensions_of(index_of(series(*made)), 0)
    # Display runs from the last location to the first.
    assert time.coordinates == (0, 1, 2, 1, 2, 0, 1, 2, 0, 1, 2)
    assert time.lacking == ((1,), (), ())
    # Times that follow each other evenly tell nothing: the ranks of each location count.
    for i, one in enumerate([*made[:2], missing, *made[2:]]):
        one.AcquisitionTime = f"1200{i:02}"
    (time,) = dimensions_of(index_of(series(*made)), 0)
    assert time.lacking == ((), (), (1,))


def test_gates_of_frames_in_time_are_two_dimensions():
    """A series that runs over trigger times and over time has both, if each of one has each of the other."""
    made = at(
        3,
        *(
            {"TriggerTime": 300.0 * gate, "FrameReferenceTime": 60000.0 * frame}
            for frame in range(2)
            for gate in range(4)
        ),
    )
    assert [(name, values) for name, _, values in found(*made)] == [
        ("trigger time", (0.0, 300.0, 600.0, 900.0)),
        ("time", (1, 2)),
    ]
    assert [name for name, *_ in found(*made[:-1])] == ["repetition"]


@pytest.mark.parametrize("clock", ["Acquisition", "Content"])
def test_clocks_rank_over_midnight(clock):
    """Slices before midnight come before those after it, if each has its date; else times alone count."""
    made = at(2, {}, {}, {})
    moments = ("20260101 235930", "20260101 235950", "20260101 235955", "20260102 000005", "20260102 000010")
    moments = (*moments, "20260102 000030")
    for one, moment in zip(made, moments, strict=True):
        day, time = moment.split()
        setattr(one, f"{clock}Date", day)
        setattr(one, f"{clock}Time", time)
    (time,) = dimensions_of(index_of(series(*made)), 0)
    # Display runs from the second location to the first.
    assert (time.axis.keyword, time.coordinates) == (f"{clock}Time", (0, 1, 2, 0, 1, 2))
    delattr(made[0], f"{clock}Date")
    (time,) = dimensions_of(index_of(series(*made)), 0)
    assert time.axis.keyword == f"{clock}Time"
    assert time.coordinates == (2, 0, 1, 1, 2, 0)


def test_trigger_times_that_differ_from_location_to_location_rank():
    """Numbers are values of a dimension only where they are alike at all locations."""
    made = at(2, {}, {})
    for one, time in zip(made, (0.0, 3.0, 40.0, 44.0), strict=True):
        one.TriggerTime = time
    assert found(*made) == [("trigger time", "TriggerTime", (1, 2))]


def test_times_are_ranked_within_an_echo():
    """A clock that runs on from echo to echo ranks the slices of each echo."""
    made = at(2, {"EchoTime": 5.0}, {"EchoTime": 9.0}, {"EchoTime": 5.0}, {"EchoTime": 9.0})
    for i, one in enumerate(made):
        one.AcquisitionTime = f"1000{i:02}"
    assert [(name, values) for name, _, values in found(*made)] == [
        ("echo time", (5.0, 9.0)),
        ("time", (1, 2)),
    ]
    coordinates = {
        (x, y)
        for x, y in zip(*(one.coordinates for one in dimensions_of(index_of(series(*made)), 0)), strict=True)
    }
    assert coordinates == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_few_slices_too_many_are_no_dimension():
    """A number or a clock that varies at less than half of the locations is no dimension of the stack."""
    extra = make.image(9, ImagePositionPatient=[0, 0, 3.0], AcquisitionTime="110000", AcquisitionNumber=2)
    made = [*at(5, {"AcquisitionTime": "100000", "AcquisitionNumber": 1}), extra]
    assert found(*made) == []
    others = told_apart(index_of(series(*made)), 0).others
    assert others == ("AcquisitionTime", "AcquisitionNumber", "InstanceNumber")


@pytest.mark.parametrize(
    ("keyword", "values", "name"),
    [
        ("EchoTime", (4.6, 9.2), "echo time"),
        ("DiffusionBValue", (0.0, 800.0), "b-value"),
        ("InversionTime", (50.0, 400.0), "inversion time"),
        ("FlipAngle", (2.0, 15.0), "flip angle"),
        ("ImageType", (["ORIGINAL", "M"], ["ORIGINAL", "P"]), "image type"),
        ("TemporalPositionIdentifier", (1.0, 2.0), "time"),
        ("TriggerTime", (0.0, 35.0), "trigger time"),
    ],
)
def test_an_element_with_a_meaning_is_a_dimension_at_few_locations(keyword, values, name):
    """Slices of another echo, b-value or time are not mixed with those of the first, however few they are."""
    made = at(10, *({keyword: value} for value in values))[:11]
    (one,) = dimensions_of(index_of(series(*made)), 0)
    assert (one.axis.name, sorted(one.coordinates)) == (name, [0] * 10 + [1])
    # Display runs from the last location to the first, which alone has both.
    assert one.lacking == ((), tuple(range(9)))


def test_a_value_of_its_own_at_each_location_is_no_dimension_for_a_slice_too_many():
    """Where each location has its own value, a picture of one value would show one slice."""
    made = [
        make.image(i, ImagePositionPatient=[0, 0, 3.0 * (i % 10)], EchoTime=5.0 + 0.1 * i) for i in range(11)
    ]
    assert found(*made) == []


def test_missing_slices_of_a_dimension_do_not_hide_it():
    """A dimension need not be whole: some echoes may be missing at some locations."""
    made = at(3, {"EchoTime": 20.0}, {"EchoTime": 40.0})[:5]
    assert found(*made) == [("echo time", "EchoTime", (20.0, 40.0))]


def test_nearly_equal_values_are_one():
    """Values that differ beyond six digits are one value, written differently."""
    made = at(3, {"EchoTime": 4.6}, {"EchoTime": 9.2})
    made[0].EchoTime = 4.60000001
    assert found(*made) == [("echo time", "EchoTime", (4.6, 9.2))]


def test_frames_have_their_own_elements():
    """A frame's functional groups come before the shared ones, and those before the object."""
    groups = [
        frame(
            z,
            FrameContentSequence=[make.dataset(TemporalPositionIndex=time, StackID="1")],
            MREchoSequence=[make.dataset(EffectiveEchoTime=echo)],
        )
        for z in (0.0, 3.0)
        for time in (1, 2)
        for echo in (30.0, 60.0)
    ]
    assert [(name, keyword) for name, keyword, _ in found(frames(*groups, EchoTime=1.0))] == [
        ("echo time", "EffectiveEchoTime"),
        ("time", "TemporalPositionIndex"),
    ]


def test_objects_of_frames_differ_in_their_shared_groups():
    """A b-value in the groups that an object's frames share tells the objects apart."""

    def volume(b_value, number):
        shared = make.orientation_group(MRDiffusionSequence=[make.dataset(DiffusionBValue=b_value)])
        return make.enhanced(
            [frame(z) for z in (0.0, 3.0)],
            shared,
            InstanceNumber=number,
            SOPInstanceUID=f"{make.SERIES_UID}.{number}",
        )

    assert found(volume(0.0, 1), volume(500.0, 2)) == [("b-value", "DiffusionBValue", (0.0, 500.0))]


@pytest.mark.parametrize(
    ("macro", "name", "values"),
    [
        ({"SegmentIdentificationSequence": [{"ReferencedSegmentNumber": 1}]}, "segment", (1.0, 2.0)),
        ({"FrameContentSequence": [{"StackID": "1"}]}, "stack id", (1.0, 2.0)),
    ],
)
def test_segments_and_stacks_of_frames_are_dimensions(macro, name, values):
    """Frames of several segments, or of several stacks that the object tells apart, share locations."""
    ((sequence, ((keyword, first),)),) = [(one, items[0].items()) for one, items in macro.items()]
    groups = [
        frame(z, **{sequence: [make.dataset(**{keyword: type(first)(number)})]})
        for number in (1, 2)
        for z in (0.0, 3.0)
    ]
    assert [(one, found_values) for one, _, found_values in found(frames(*groups))] == [(name, values)]


def test_frames_that_nothing_tells_apart_run_by_their_number():
    """Frames of one object at one location are in an order, if in nothing else."""
    assert found(frames(*(frame(1.0) for _ in range(4)))) == [("frame", "FrameNumber", (1, 2, 3, 4))]


def test_images_without_a_location_have_no_dimensions():
    """Ultrasound and radiographs share no location, as they have none."""
    made = [make.image(i, ImagePositionPatient=None, ImageOrientationPatient=None) for i in range(4)]
    assert found(*made) == []


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mr-dwi-siemens-enhanced-xa", [("b-value", 2), ("direction", 7)]),
        ("mr-multiecho-siemens", [("echo time", 3)]),
        ("mr-b0map-ge-2echo", [("image type", 2)]),
        ("mr-fmri-ge-4d", [("repetition", 10)]),
        ("mr-diffusion-coronal-ge", [("repetition", 4)]),
        ("mr-mosaic-siemens-4d", [("time", 6)]),
        ("ct-not-a-volume-siemens", [("acquisition", 4)]),
        ("ct-gantrytilt-ge", []),
        ("pt-wholebody-cps", []),
    ],
)
def test_dimensions_of_real_series(real_data, name, expected):
    """Real series have the dimensions that independent programs and readers of their headers gave them."""
    dimensions = dimensions_of(real_index(real_data / "series" / name), 0)
    assert [(one.axis.name, len(one.values)) for one in dimensions] == expected


@pytest.mark.real_data
def test_real_b_values_and_directions(real_data):
    """The b-value and direction of each volume are those of the table that other programs agree on."""
    lines = (real_data / "diffusion.csv").read_text().splitlines()[1:]
    expected = []
    for line in lines:
        cells = line.split(",")
        # The table's directions point along RAS, DICOM's along LPS, and either end of one is the same.
        x, y, z = (float(cell) for cell in cells[5:8])
        vector = (round(-x, 3) + 0.0, round(-y, 3) + 0.0, round(z, 3) + 0.0)
        expected.append((float(cells[4]), vector if any(vector) else None))
    index = real_index(real_data / "series" / "mr-dwi-siemens-enhanced-xa")
    b_value, direction = dimensions_of(index, 0)
    numbers = [index.table["InstanceNumber"][int(row)].as_py() for row in index.stacks[0]]
    volumes = sorted(set(zip(numbers, b_value.coordinates, direction.coordinates, strict=True)))
    given = []
    for _, b, d in volumes:
        vector = direction.values[d]
        given.append((b_value.values[b], vector and tuple(round(one, 3) + 0.0 for one in vector)))
    assert len(given) == len(expected)
    for (b, vector), (expected_b, expected_vector) in zip(given, expected, strict=True):
        assert b == expected_b
        if expected_vector is None:
            assert vector is None
        else:
            same = all(abs(p - q) < 2e-3 for p, q in zip(vector, expected_vector, strict=True))
            opposite = all(abs(p + q) < 2e-3 for p, q in zip(vector, expected_vector, strict=True))
            assert same or opposite


def test_groups_that_cannot_be_read_are_damage():
    """An index whose functional groups are no JSON is damaged, not one without dimensions."""
    groups = [frame(1.0, FrameContentSequence=[make.dataset()])] * 2
    index = index_of(series(frames(*groups)))
    at_column = index.table.schema.get_field_index("PerFrameFunctionalGroupsSequence")
    broken = pa.array(['[{"00209111": {"vr"'] * 2)
    table = index.table.set_column(at_column, index.table.schema.field(at_column), broken)
    with pytest.raises(DamagedIndexError, match="the elements of its slices cannot be read"):
        dimensions_of(Index(table), 0)
