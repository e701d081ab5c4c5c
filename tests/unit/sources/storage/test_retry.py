import threading

import pytest

from dicom_series_preview.base.errors import StorageUnavailableError
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.retry import RetryPolicy, full_jitter
from dicom_series_preview.sources.storage.throttle import Throttle
from dicom_series_preview.sources.storage.transient import TransientError


def failing() -> None:
    """Fail in a way that may pass."""
    raise TransientError("trouble")


def test_jitter_is_full() -> None:
    """A pause lies anywhere between nothing and its bound."""
    drawn = [full_jitter(8.0) for _ in range(500)]
    assert 0 <= min(drawn) < 1
    assert 7 < max(drawn) <= 8


def test_pauses_double_up_to_a_cap() -> None:
    """Each pause's bound is twice the one before, and never above the longest."""
    pauses: list[float] = []
    policy = RetryPolicy(
        max_retries=6,
        timeout_s=1000.0,
        first_delay_s=1.0,
        longest_delay_s=10.0,
        wait=lambda _abandoned, seconds: bool(pauses.append(seconds)),
        jitter=lambda longest: longest,
    )
    with pytest.raises(StorageUnavailableError, match="7 tries"):
        policy.run("u", Deadline(), failing, Throttle(1))
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_time_runs_out() -> None:
    """A retry that would start too late is not waited for."""
    now = 0.0

    def wait(_abandoned: threading.Event, seconds: float) -> bool:
        nonlocal now
        now += seconds
        return False

    policy = RetryPolicy(
        100, 10.0, first_delay_s=3.0, wait=wait, clock=lambda: now, jitter=lambda longest: longest
    )
    with pytest.raises(StorageUnavailableError, match="3 tries"):
        policy.run("u", Deadline(), failing, Throttle(1))
    assert now == 9.0


def test_nobody_waits_any_more() -> None:
    """Once abandoned, what fails is not tried again."""
    abandoned = Deadline()
    abandoned.abandon()
    with pytest.raises(StorageUnavailableError, match="1 try"):
        RetryPolicy(5, 60.0).run("u", abandoned, failing, Throttle(1))


def test_other_errors_pass() -> None:
    """Only what may pass is tried again."""
    with pytest.raises(ZeroDivisionError):
        RetryPolicy(5, 60.0).run("u", Deadline(), lambda: 1 // 0, Throttle(1))


def test_an_answer_is_heard_when_it_comes() -> None:
    """The storage has not been silent for as long as its answer waits for whoever reads it."""
    now = 0.0

    def answer() -> str:
        nonlocal now
        now += 3.0
        return "answer"

    deadline = Deadline(5.0, clock=lambda: now)
    assert RetryPolicy(0, 60.0).run("u", deadline.part(), answer, Throttle(1)) == "answer"
    now += 1.2
    assert deadline.silent_s(0.0) == pytest.approx(1.2)
    with pytest.raises(StorageUnavailableError):
        RetryPolicy(0, 60.0).run("u", deadline.part(), failing, Throttle(1))
    assert deadline.silent_s(0.0) == pytest.approx(1.2)


def test_a_pause_that_is_asked_for_is_kept_whole() -> None:
    """A server's pause is neither shortened nor waited for where the time does not allow it."""
    pauses: list[float] = []

    def asking_for(seconds: float) -> None:
        raise TransientError("busy", seconds)

    def run(seconds: float) -> None:
        policy = RetryPolicy(
            1, 60.0, longest_delay_s=1.0, wait=lambda _event, pause: bool(pauses.append(pause))
        )
        policy.run("u", Deadline(), lambda: asking_for(seconds), Throttle(1))

    with pytest.raises(StorageUnavailableError, match="2 tries"):
        run(30.0)
    with pytest.raises(StorageUnavailableError, match="1 try"):
        run(61.0)
    assert pauses == [30.0]


def test_waiting_for_a_place_takes_none_of_the_time() -> None:
    """A request's time begins with its first try, and its pauses leave the place to others."""
    now = 0.0
    throttle = Throttle(1)

    def wait(abandoned: threading.Event, seconds: float) -> bool:
        nonlocal now
        now += seconds
        assert not abandoned.is_set()
        with throttle.slot(Deadline()):
            return False

    def clock() -> float:
        nonlocal now
        now += 100.0 if now == 0.0 else 0.0
        return now

    policy = RetryPolicy(1, 1.0, wait=wait, clock=clock, jitter=lambda _longest: 0.5)
    with pytest.raises(StorageUnavailableError, match="2 tries"):
        policy.run("u", Deadline(), failing, throttle)
