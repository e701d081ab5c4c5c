from fractions import Fraction
from itertools import pairwise
from math import floor, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.selection import (
    SortedStack,
    at_position,
    in_range,
    normalised_positions,
    spread,
)

NAN = float("nan")


def stack_of(positions, *, locations=None, times=(), instance_numbers=None):
    """A stack whose slices share a location where their positions are equal."""
    if locations is None:
        seen = list(dict.fromkeys(p for p in positions if not isnan(p)))
        locations = [-1 if isnan(p) else seen.index(p) for p in positions]
    return SortedStack(
        positions=np.array(positions, float),
        locations=np.array(locations, np.int64),
        times=tuple(np.array(candidate, float) for candidate in times),
        instance_numbers=np.array(instance_numbers or [NAN] * len(positions), float),
    )


def evenly(count):
    """A stack of slices 1 mm apart."""
    return stack_of([100.0 - index for index in range(count)])


# --- at_position


@pytest.mark.parametrize(
    ("position", "index"), [(0.0, 0), (0.04, 0), (0.06, 1), (0.35, 3), (0.36, 4), (0.5, 5), (1.0, 10)]
)
def test_position_is_nearest_of_even_slices(position, index):
    """A position shows the slice nearest to first + p * (last - first)."""
    assert at_position(evenly(11), position) == index


def test_position_counts_millimetres_not_slices():
    """Unevenly spaced slices are chosen by where they lie, not by how many there are."""
    stack = stack_of([0.0, 1.0, 2.0, 3.0, 100.0])
    assert [at_position(stack, p) for p in (0.0, 0.02, 0.5, 0.52, 1.0)] == [0, 2, 3, 4, 4]


@pytest.mark.parametrize("step", [1.0, -1.0, 0.1, -0.3, 0.7])
def test_tie_goes_to_the_lower_index(step):
    """Halfway between two slices is the lower index, also where floats lean the other way."""
    for count in range(2, 60, 2):
        stack = stack_of([-31.7 + step * index for index in range(count)])
        assert at_position(stack, 0.5) == count // 2 - 1


def test_shared_location_goes_to_the_lower_index():
    """Of the slices at one location the first is shown, at the end of the stack too."""
    stack = stack_of([10.0, 10.0, 5.0, 5.0, 0.0, 0.0])
    assert [at_position(stack, p) for p in (0.0, 0.5, 1.0)] == [0, 2, 4]


def test_locations_decide_what_is_shared():
    """Slices a few micrometres apart are one location, whichever of them is nearer."""
    stack = stack_of([10.0, 9.995, 5.0, 4.995, 0.0, -0.004], locations=[0, 0, 1, 1, 2, 2])
    assert [at_position(stack, p) for p in (0.0, 0.001, 0.5, 0.6, 1.0)] == [0, 0, 2, 2, 4]


def test_slices_without_position_are_never_nearest():
    """A position runs over the slices that have one; those without come by offset only."""
    stack = stack_of([2.0, 1.0, 0.0, NAN, NAN])
    assert [at_position(stack, p) for p in (0.0, 0.5, 1.0)] == [0, 1, 2]
    assert at_position(stack, 1.0, 2) == 4


def test_one_location_runs_over_time():
    """Slices at one location are chosen by the first candidate time that varies."""
    stack = stack_of(
        [7.0] * 4,
        times=([NAN] * 4, [1.0] * 4, [0.0, 10.0, 20.0, 100.0], [9.0, 3.0, 2.0, 1.0]),
        instance_numbers=[4, 3, 2, 1],
    )
    assert [at_position(stack, p) for p in (0.0, 0.14, 0.16, 0.5, 0.6, 0.61, 1.0)] == [0, 1, 2, 2, 2, 3, 3]


def test_time_runs_from_the_earliest_to_the_latest():
    """The scale of time does not care in which order the slices are shown."""
    stack = stack_of([7.0] * 4, times=([30.0, 10.0, 40.0, 20.0],))
    assert [at_position(stack, p) for p in (0.0, 1 / 3, 2 / 3, 1.0)] == [1, 3, 0, 2]
    assert at_position(stack, 0.5) == 0


def test_slices_without_time_are_never_nearest_in_time():
    """Where some slices lack the time that varies, a position runs over those that have it."""
    stack = stack_of([7.0] * 3, times=([NAN, 1.0, 2.0],))
    assert [at_position(stack, p) for p in (0.0, 1.0)] == [1, 2]


def test_one_location_without_time_runs_over_instance_numbers():
    """Where no time varies, the instance number is the scale."""
    stack = stack_of([7.0] * 3, times=([5.0] * 3, [NAN] * 3), instance_numbers=[1, 2, 101])
    assert [at_position(stack, p) for p in (0.0, 0.5, 0.51, 1.0)] == [0, 1, 2, 2]


def test_one_location_of_nothing_that_varies_runs_over_the_index():
    """Where neither place, time nor number varies, the index is the scale, ties to the lower."""
    stack = stack_of([7.0] * 4, instance_numbers=[1, 1, 1, 1])
    assert [at_position(stack, p) for p in (0.0, 0.5, 0.6, 1.0)] == [0, 1, 2, 3]


def test_no_positions_run_over_the_index():
    """Without any position the index is the scale, whatever the times say."""
    stack = stack_of([NAN] * 5, times=([0.0, 0.0, 0.0, 0.0, 9.0],), instance_numbers=[1, 2, 3, 4, 1000])
    assert [at_position(stack, p) for p in (0.0, 0.5, 1.0)] == [0, 2, 4]


def test_a_lone_position_is_no_scale():
    """One slice with a position among many without: all of them run over the index."""
    stack = stack_of([3.0, NAN, NAN, NAN, NAN])
    assert [at_position(stack, p) for p in (0.0, 0.5, 1.0)] == [0, 2, 4]


def test_locations_without_extent_run_over_the_index():
    """Locations that do not differ on the primary axis cannot be told apart on it."""
    stack = stack_of([3.0, 3.0, 3.0], locations=[0, 1, 2], times=([9.0, 0.0, 1.0],))
    assert [at_position(stack, p) for p in (0.0, 0.5, 1.0)] == [0, 1, 2]


@pytest.mark.parametrize("position", [0.0, 0.3, 1.0])
def test_a_single_slice_is_at_every_position(position):
    """A stack of one slice shows it."""
    assert at_position(stack_of([NAN]), position) == 0
    assert at_position(stack_of([12.5]), position) == 0


@pytest.mark.parametrize(("offset", "index"), [(-5, 0), (-1, 4), (0, 5), (1, 6), (5, 10)])
def test_offset_moves_in_display_order(offset, index):
    """An offset counts slices from the chosen one."""
    assert at_position(evenly(11), 0.5, offset) == index


@pytest.mark.parametrize("offset", [-6, 6, 10**30])
def test_offset_past_an_end_names_the_valid_ones(offset):
    """An offset past an end is refused with the offsets that are possible."""
    with pytest.raises(RequestError, match="it can be -5 to 5") as caught:
        at_position(evenly(11), 0.5, offset)
    assert caught.value.parameter == "slice_offset"


@given(
    steps=st.lists(st.integers(1, 500), min_size=1, max_size=40),
    descending=st.booleans(),
    thousandths=st.integers(0, 1000),
)
def test_position_agrees_with_exact_arithmetic(steps, descending, thousandths):
    """For any spacing in tenths of a millimetre the choice is that of exact fractions."""
    tenths = [1234]
    for step in steps:
        tenths.append(tenths[-1] + (-step if descending else step))
    target = tenths[0] + Fraction(thousandths, 1000) * (tenths[-1] - tenths[0])
    expected = min(range(len(tenths)), key=lambda index: (abs(tenths[index] - target), index))
    assert at_position(stack_of([value / 10 for value in tenths]), thousandths / 1000) == expected


# --- in_range


def test_range_holds_both_ends():
    """A range takes the slices in it, those on its ends included, in spite of float rounding."""
    assert in_range(evenly(11), 0.3, 0.6).tolist() == [3, 4, 5, 6]
    assert in_range(stack_of([0.1 * index for index in range(11)]), 0.3, 0.7).tolist() == [3, 4, 5, 6, 7]
    assert in_range(evenly(11), 0.31, 0.59).tolist() == [4, 5]


def test_range_of_a_printed_position_finds_its_slice():
    """A position printed with six decimals names the slice that it was printed for."""
    stack = evenly(8)
    for index, position in enumerate(normalised_positions(stack)):
        printed = float(f"{position:.6f}")
        assert in_range(stack, printed, printed).tolist() == [index]


def test_range_takes_every_slice_of_a_location():
    """Slices that share a location are in a range together or not at all."""
    stack = stack_of([10.0, 9.995, 5.0, 4.995, 0.0, -0.004], locations=[0, 0, 1, 1, 2, 2])
    assert in_range(stack, 0.5, 0.5).tolist() == [2, 3]
    assert in_range(stack, 0.0, 0.4).tolist() == [0, 1]


def test_whole_range_is_everything():
    """0 to 1 is every slice, also those without a position; anything less leaves those out."""
    stack = stack_of([2.0, 1.0, 0.0, NAN])
    assert in_range(stack).tolist() == [0, 1, 2, 3]
    assert in_range(stack, 0.0, 1.0).dtype == np.int64
    assert in_range(stack, 0.1, 1.0).tolist() == [1, 2]
    assert in_range(stack, 0.1, 1.0).dtype == np.int64


def test_range_is_on_the_scale_of_positions():
    """A range runs over time and index where a position does."""
    over_time = stack_of([7.0] * 4, times=([0.0, 10.0, 20.0, 100.0],))
    assert in_range(over_time, 0.0, 0.5).tolist() == [0, 1, 2]
    assert in_range(stack_of([NAN] * 5), 0.5, 1.0).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("start", "end", "nearest"),
    [
        (0.41, 0.45, "slice 4 of 0..10, at 0.400000"),
        (0.46, 0.49, "slice 5 of 0..10, at 0.500000"),
        (0.44, 0.46, "slice 4 of 0..10, at 0.400000"),
    ],
)
def test_empty_range_names_the_nearest_slice(start, end, nearest):
    """A range between two slices is an error that names the nearest, or the lower, and where it is."""
    with pytest.raises(RequestError, match=nearest):
        in_range(evenly(11), start, end)


@pytest.mark.parametrize(
    ("choose", "given", "parameter", "problem"),
    [
        *((at_position, (value,), "position", "0 to 1") for value in (-0.01, 1.01, NAN, np.inf, -np.inf)),
        *((in_range, (value, 1), "start", "0 to 1") for value in (-0.1, NAN)),
        *((in_range, (0, value), "end", "0 to 1") for value in (1.1, NAN)),
        (in_range, (0.6, 0.5), "start", r"0\.6 is greater than end, 0\.5"),
    ],
)
def test_what_is_outside_or_in_reverse_is_refused(choose, given, parameter, problem):
    """A position or bound that is no number from 0 to 1, or a start greater than the end, is named."""
    with pytest.raises(RequestError, match=problem) as caught:
        choose(evenly(3), *given)
    assert caught.value.parameter == parameter


@given(st.integers(1, 50), st.integers(0, 100), st.integers(0, 100))
def test_range_agrees_with_exact_arithmetic(count, one, other):
    """For even slices and bounds in hundredths the choice is that of exact fractions."""
    start, end = sorted((one, other))
    places = [Fraction(index, max(count - 1, 1)) for index in range(count)]
    expected = [i for i, place in enumerate(places) if Fraction(start, 100) <= place <= Fraction(end, 100)]
    stack = stack_of([-0.3 * index for index in range(count)])
    if (start, end) == (0, 100):
        assert in_range(stack, 0, 1).tolist() == list(range(count))
    elif expected:
        assert in_range(stack, start / 100, end / 100).tolist() == expected
    else:
        with pytest.raises(RequestError):
            in_range(stack, start / 100, end / 100)


# --- normalised_positions


def test_normalised_positions_say_which_slices_have_none():
    """Slices that the scale cannot place have no normalised position."""
    normalised = normalised_positions(stack_of([4.0, 3.0, 0.0, NAN]))
    assert normalised[:3].tolist() == [0.0, 0.25, 1.0]
    assert np.isnan(normalised[3])


# --- SortedStack


def test_stack_needs_a_slice_and_a_value_for_each():
    """An empty stack, or arrays of different lengths, are the programmer's mistake."""
    with pytest.raises(ValueError, match="at least one slice"):
        stack_of([])
    with pytest.raises(ValueError, match="a value for each"):
        stack_of([1.0, 2.0], times=([1.0],))


# --- spread


def test_spread_rounds_as_documented_for_every_size():
    """For up to 300 slices: round half up, ascending, none twice, first and last always."""
    for count in range(2, 301):
        for tiles in range(2, count + 1):
            chosen = spread(count, tiles)
            assert len(chosen) == tiles
            assert chosen[0] == 0
            assert chosen[-1] == count - 1
            assert all(a < b for a, b in pairwise(chosen))


@given(st.integers(2, 5000), st.integers(2, 5000))
def test_spread_agrees_with_exact_fractions(count, tiles):
    """Each tile shows round(i * (n - 1) / (k - 1)), a half rounded up."""
    if tiles <= count:
        exact = [Fraction(i * (count - 1), tiles - 1) for i in range(tiles)]
        assert spread(count, tiles) == [floor(value + Fraction(1, 2)) for value in exact]


def test_spread_rounds_a_half_up():
    """A half goes up on even and odd numbers alike, unlike banker's rounding."""
    assert spread(6, 3) == [0, 3, 5]
    assert spread(4, 3) == [0, 2, 3]


@pytest.mark.parametrize(("count", "middle"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (50, 24), (51, 25)])
def test_one_tile_is_the_middle(count, middle):
    """One tile shows what position 0.5 shows: the middle, of two the lower."""
    assert spread(count, 1) == [middle]
    assert at_position(evenly(count), 0.5) == middle


@pytest.mark.parametrize(("count", "tiles"), [(0, 4), (1, 4), (3, 4), (4, 4)])
def test_fewer_slices_than_tiles_come_once_each(count, tiles):
    """Slices are never repeated to fill tiles."""
    assert spread(count, tiles) == list(range(count))


@pytest.mark.parametrize(("count", "tiles"), [(-1, 4), (4, 0), (4, -1)])
def test_spread_over_nothing_is_a_mistake(count, tiles):
    """A negative count or no tile is the programmer's mistake."""
    with pytest.raises(ValueError, match="cannot spread"):
        spread(count, tiles)
