import threading
from contextlib import ExitStack

import pytest

from dicom_series_preview.archive.room import _ROOM_BYTES, Room
from dicom_series_preview.base.errors import AbandonedError
from dicom_series_preview.sources.storage.deadline import Deadline

HANG_S = 60


def test_what_fits_goes_at_once() -> None:
    """Series of small objects are indexed at once; one that is larger than the room is, alone."""
    room = Room(Deadline())
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(room.passage(_ROOM_BYTES // 4))
        assert room.taken == _ROOM_BYTES
    assert room.taken == 0
    with room.passage(10 * _ROOM_BYTES):
        assert room.taken == 10 * _ROOM_BYTES


def test_what_does_not_fit_waits() -> None:
    """A series that does not fit is begun when another is done."""
    room, entered, events = Room(Deadline()), threading.Event(), []

    def second() -> None:
        with room.passage(1):
            events.append("second")
            entered.set()

    with room.passage(_ROOM_BYTES):
        thread = threading.Thread(target=second)
        thread.start()
        events.append("first")
    assert entered.wait(HANG_S)
    thread.join(HANG_S)
    assert events == ["first", "second"]


def test_who_waits_leaves_when_nobody_waits_for_the_indices() -> None:
    """Ctrl-C ends those too that wait for room."""
    running = Deadline()
    room, ended = Room(running), []

    def second() -> None:
        with pytest.raises(AbandonedError), room.passage(1):
            pass
        ended.append(True)

    with room.passage(_ROOM_BYTES):
        thread = threading.Thread(target=second)
        thread.start()
        running.abandon()
        thread.join(HANG_S)
    assert ended == [True]
