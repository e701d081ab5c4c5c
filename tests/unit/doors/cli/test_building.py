import threading
from contextlib import ExitStack
from typing import NoReturn

import pytest

from dicom_series_preview.archive.here import find
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import AbandonedError, NoImageError
from dicom_series_preview.doors.cli.building import _ROOM_BYTES, _build_all, _Job, _Room, _Told
from dicom_series_preview.doors.cli.console import Progress
from dicom_series_preview.sources.storage.deadline import Deadline

HANG_S = 60


def test_what_fits_goes_at_once() -> None:
    """Series of small objects are indexed at once; one that is larger than the room is, alone."""
    room = _Room(Deadline())
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(room.passage(_ROOM_BYTES // 4))
        assert room.taken == _ROOM_BYTES
    assert room.taken == 0
    with room.passage(10 * _ROOM_BYTES):
        assert room.taken == 10 * _ROOM_BYTES


def test_what_does_not_fit_waits() -> None:
    """A series that does not fit is begun when another is done."""
    room, entered, events = _Room(Deadline()), threading.Event(), []

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
    room, ended = _Room(running), []

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


class Failing:
    """Builds no index: each series fails in its own way."""

    running = Deadline()

    def build(self, job: _Job, *_: object) -> NoReturn:
        """One mistake of ours, one error of the product's."""
        raise IndexError("DOE^JOHN") if job.shown == "a" else NoImageError(job.shown, "root", "no image")


@pytest.mark.parametrize("verbose", [False, True])
def test_one_series_mistake_is_not_the_others(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001
    """Whatever ends one series, each has its line; that of a mistake of ours says its type, -v its trace."""
    named = find("a", "root", {})
    told = _Told({"verbose": verbose, "quiet": True, "as_json": False})
    jobs = [_Job(name, named, SeriesName(name)) for name in "ab"]
    _build_all(Failing(), jobs, None, Progress(quiet=True), told)  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    failed = sorted(line for line in lines if line.startswith("failed"))
    assert failed[0] == "failed   a: failed unexpectedly: IndexError; --verbose shows where"
    assert failed[1].startswith("failed   b: ")
    assert told.failures == 2
    assert any("Traceback" in line for line in lines) is verbose
