import pytest

import make_dicom as make
from dicom_series_preview.archive.catalogue.at import parse_at
from dicom_series_preview.archive.catalogue.choose import choose
from dicom_series_preview.archive.catalogue.dimensions import dimensions_of
from dicom_series_preview.base.errors import RequestError
from facts import at, private
from indexing import index_of, series


def chosen(made, *wanted):
    """The choice of slices of some data sets, and their InstanceNumbers."""
    index = index_of(series(*made))
    choice = choose(
        index.sorted_stack(0).locations, dimensions_of(index, 0), [parse_at(one) for one in wanted]
    )
    rows = index.stacks[0][choice.slices]
    return choice, [index.table["InstanceNumber"][int(row)].as_py() for row in rows]


def numbers(made, *wanted):
    """The InstanceNumbers that are chosen, first to last (the highest location comes first)."""
    return chosen(made, *wanted)[1]


ECHOES = ({"EchoTime": 4.6}, {"EchoTime": 9.2}, {"EchoTime": 13.8})
DIFFUSION = (
    {"DiffusionBValue": 0.0},
    {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [1.0, 0.0, 0.0]},
    {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0.0, 1.0, 0.0]},
)


def test_the_first_of_each_dimension_is_chosen():
    """Where nothing is asked for, each location shows the lowest value of each dimension."""
    choice, found = chosen(at(3, *ECHOES))
    assert found == [3, 2, 1]
    ((place),) = choice.places
    assert (place.text, place.which, place.asked) == ("echo time=4.6", "the first of 3", False)
    assert place.another == "echo time=9.2"


@pytest.mark.parametrize(
    "text",
    ["EchoTime=9.2", "echo time=9.2", "TE=9.2", "te = 9.23", "EffectiveEchoTime=9.2", "echo-time=9.2"],
)
def test_a_dimension_has_several_names(text):
    """A dimension goes by its name, its element's keyword and a short name; a value may lack digits."""
    assert numbers(at(3, *ECHOES), text) == [6, 5, 4]


@pytest.mark.parametrize(("text", "found"), [("b=1000", [6, 5]), ("b-value=0", [2, 1]), ("b=1001", [6, 5])])
def test_a_b_value_goes_by_b(text, found):
    """b-values go by `b`; the direction, if none is asked for, is the first of those that are left."""
    assert numbers(at(2, *DIFFUSION), text) == found


def test_a_direction_goes_by_its_number():
    """Directions are numbered from 1 in the order of their vectors; images that have none are `none`."""
    made = at(2, *DIFFUSION)
    assert numbers(made, "b=1000", "direction=1") == [6, 5]
    assert numbers(made, "direction=2") == [4, 3]
    assert numbers(made, "direction=none") == [2, 1]


def test_a_value_that_follows_from_another_is_no_choice():
    """Where one place on a dimension leaves but one on another, nothing is hidden there."""
    choice, _ = chosen(at(2, *DIFFUSION), "b=0")
    assert [(place.text, place.which) for place in choice.places] == [
        ("b-value=0", "the first of 2"),
        ("direction=none", ""),
    ]


@pytest.mark.parametrize("keyword", ["TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber"])
def test_any_order_goes_by_time(keyword):
    """The dimension that has an order goes by `time`, whatever element tells it."""
    assert numbers(at(2, *({keyword: number} for number in (1, 2, 3))), "time=3") == [6, 5]


def test_words_choose_an_image_type():
    """A word that one image type alone has chooses it, in any case."""
    types = [["ORIGINAL", "PRIMARY", *words] for words in (["M", "ND"], ["P", "ND"], ["M", "NORM"])]
    made = at(2, *({"ImageType": one} for one in types))
    assert numbers(made, "image type=p") == [4, 3]
    assert numbers(made, "ImageType=M,NORM") == [6, 5]
    with pytest.raises(RequestError, match=r"^at: image type has no 'M'; it has "):
        numbers(made, "image type=M")


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (["te=7"], "at: echo time has no '7'; it has 4.6, 9.2, 13.8 ms"),
        (["te=nan"], "at: echo time has no 'nan'; it has 4.6, 9.2, 13.8 ms"),
        (["te=x"], "at: echo time has no 'x'; it has 4.6, 9.2, 13.8 ms"),
        (["te=none"], "at: echo time has no 'none'; it has 4.6, 9.2, 13.8 ms"),
        (["b=0"], "at: 'b' is no dimension of the stack; it has echo time (4.6, 9.2, 13.8 ms)"),
        (["te=4.6", "EchoTime=9.2"], "at: gives echo time twice"),
    ],
)
def test_what_is_not_there_is_listed(wanted, line):
    """A dimension or value that the stack does not have is an error, which lists those it has."""
    with pytest.raises(RequestError) as caught:
        numbers(at(2, *ECHOES), *wanted)
    assert str(caught.value) == line


def test_a_stack_without_dimensions_has_none_to_choose_on():
    """A place asked for in a plain stack is an error."""
    with pytest.raises(RequestError, match="the stack has no dimension beside its slices"):
        numbers(at(3, {}), "time=1")


def test_places_that_no_slice_has_together_are_an_error():
    """Two places that each exist, but in no slice together, are an error."""
    with pytest.raises(RequestError) as caught:
        numbers(at(2, *DIFFUSION), "b=0", "direction=1")
    assert str(caught.value) == "at: no slice has b-value=0 and direction=1; leave one out, or choose another"


def test_the_first_value_is_one_that_most_locations_have():
    """A lower value that few locations have is not the first: the picture would lack most of the stack."""
    made = [one for one in at(4, *ECHOES) if one.EchoTime != 4.6 or one.ImagePositionPatient[2] == 0]
    choice, found = chosen(made)
    assert found == [8, 7, 6, 5]
    assert choice.places[0].which == "number 2 of 3"


def test_slices_of_one_location_run_over_their_order():
    """Slices of a single location run over time, at the first of every other dimension."""
    made = at(1, *({**echo, "TemporalPositionIdentifier": time} for time in (1, 2) for echo in ECHOES))
    choice, found = chosen(made)
    assert (choice.along.axis.name, found) == ("time", [1, 4])
    assert [place.text for place in choice.places] == ["echo time=4.6"]
    assert numbers(made, "te=9.2") == [2, 5]
    assert numbers(made, "time=2") == [4, 5, 6]
    assert numbers(made, "time=2", "te=13.8") == [6]


def test_slices_of_one_location_without_an_order_run_over_what_they_have():
    """Echoes of a single location are all chosen: nothing is mixed."""
    choice, found = chosen(at(1, *ECHOES))
    assert (choice.places, choice.along.axis.name, found) == ((), "echo time", [1, 2, 3])


def test_slices_without_a_location_are_chosen_too():
    """A slice that no dimension places belongs to every choice."""
    made = [*at(2, *ECHOES), make.image(99, ImagePositionPatient=None, EchoTime=9.2)]
    assert numbers(made) == [2, 1, 99]


def test_slices_that_nothing_tells_apart_are_all_chosen():
    """Duplicates at a location are no dimension, and none is left out."""
    made = at(3, {"InstanceNumber": 5}, {"InstanceNumber": 5})
    choice, found = chosen(made)
    assert (choice.places, len(found)) == ((), 6)


def test_private_names_choose_too():
    """A private element's own name names its dimension."""
    made = at(2, *(private(0x0019000C, "SIEMENS MR HEADER", "IS", value) for value in (0, 50)))
    assert numbers(made, "0019,0c:SIEMENS MR HEADER=50") == [4, 3]


@pytest.mark.parametrize("text", ["", "b", "=3", "b=", "b\n=3", "x" * 200 + "=1", "="])
def test_a_place_is_an_axis_and_a_value(text):
    """Anything but AXIS=VALUE is refused in one line."""
    with pytest.raises(RequestError, match=r"^at: .* is not AXIS=VALUE, such as"):
        parse_at(text)
