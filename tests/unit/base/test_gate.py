import pytest

from dicom_series_preview.base.gate import Gate, OccupiedError, open_gate


def test_what_fits_passes() -> None:
    """Work passes as long as there is room in bytes and in number."""
    gate = Gate(10, 2)
    with gate.passage(5), gate.passage(5):
        for wanted in (0, 5):
            with pytest.raises(OccupiedError) as caught, gate.passage(wanted):
                pytest.fail("a third one passed")
            assert caught.value.wanted == wanted
    with gate.passage(6), pytest.raises(OccupiedError), gate.passage(5):
        pytest.fail("eleven bytes of ten")


def test_what_is_larger_than_the_room_has_it_for_itself() -> None:
    """Work that would never fit passes alone, so that nothing waits for ever."""
    gate = Gate(10, 4)
    with gate.passage(1000), pytest.raises(OccupiedError), gate.passage(1):
        pytest.fail("there was no room beside")
    with gate.passage(1), pytest.raises(OccupiedError), gate.passage(1000):
        pytest.fail("it was not alone")


def test_room_is_given_in_order() -> None:
    """Who asked first is first, and nobody who comes later overtakes those that wait."""
    gate = Gate(10, 4)
    with gate.passage(8):
        first, second = gate.ask(9), gate.ask(1)
        with pytest.raises(OccupiedError), gate.passage(1):
            pytest.fail("it overtook those that wait")
        assert not first.granted.done()
        assert not second.granted.done()
    assert first.granted.done()
    assert second.granted.done()
    gate.give_back(first)
    gate.give_back(second)
    with gate.passage(10):
        pass


def test_who_gives_up_makes_room() -> None:
    """Room that was asked for and is not waited for any more goes to the next."""
    gate = Gate(10, 4)
    with gate.passage(8):
        impatient, patient = gate.ask(9), gate.ask(2)
        impatient.granted.cancel()
        gate.give_back(impatient)
        assert patient.granted.done()


def test_work_inside_granted_room() -> None:
    """Work inside room that was granted passes, and takes more where there is more."""
    gate = Gate(10, 4)
    permit = gate.ask(4)
    with gate.held(permit):
        for wanted in (4, 6):
            with gate.passage(wanted):
                pass
        other = gate.ask(4)
        assert other.granted.done()
        with pytest.raises(OccupiedError), gate.passage(7):
            pytest.fail("another one's room")
    with pytest.raises(OccupiedError), gate.passage(5):
        pytest.fail("the room is not held here")


def test_an_error_gives_room_back() -> None:
    """Work that fails leaves its room."""
    gate = Gate(10, 1)
    with pytest.raises(ZeroDivisionError), gate.passage(10):
        raise ZeroDivisionError
    with gate.passage(10):
        pass


def test_no_gate() -> None:
    """Where nothing is bounded, everything passes."""
    with open_gate(2**60), open_gate(2**60):
        pass
