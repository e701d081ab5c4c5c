import gc

import pytest

from dicom_series_preview.base.errors import AbandonedError, LimitError, StorageUnavailableError
from dicom_series_preview.sources.storage.deadline import Deadline
from doubles import Time


@pytest.fixture
def time() -> Time:
    """A clock."""
    return Time()


def test_a_deadline_ends(time: Time) -> None:
    """Until it is over there is time left; from then on going on is refused."""
    deadline = Deadline(5.0, clock=time)
    time.now += 4.5
    deadline.check()
    assert (deadline.left_s, deadline.is_over) == (0.5, False)
    time.now += 0.5
    assert (deadline.left_s, deadline.is_over) == (0.0, True)
    with pytest.raises(LimitError, match="takes longer than the limit of 5 s"):
        deadline.check()


def test_without_a_limit_it_ends_when_abandoned(time: Time) -> None:
    """What has no limit of time still ends when nobody waits."""
    deadline = Deadline(clock=time)
    time.now = 1e12
    deadline.check()
    deadline.abandon()
    with pytest.raises(AbandonedError):
        deadline.check()


def test_parts_end_with_the_whole(time: Time) -> None:
    """A part is over when the whole is; what ends a part does not end the whole."""
    told: list[str] = []
    whole = Deadline(5.0, clock=time)
    part, other = whole.part(lambda: told.append("part")), whole.part(lambda: told.append("other"))
    part.abandon()
    assert (part.is_over, other.is_over, whole.is_over) == (True, False, False)
    below = other.part(lambda: told.append("below"))
    whole.abandon()
    assert other.is_over
    assert below.is_over
    assert set(told) == {"part", "other", "below"}
    assert whole.part().is_over


def test_a_limit_counts_from_the_beginning(time: Time) -> None:
    """A limit that is learned later counts from when the request came; the stricter one holds."""
    came = Deadline(clock=time)
    time.now += 2.0
    limited = came.limited(5.0)
    assert limited.left_s == 3.0
    assert limited.limited(60.0).left_s == 3.0
    assert came.begin().limited(5.0).left_s == 5.0
    assert limited.begin().limited(5.0).left_s == 3.0


def test_requests_hear_for_themselves(time: Time) -> None:
    """What the storage answers to one request does not tell that it answers another."""
    server = Deadline(clock=time)
    one, other = server.begin().limited(8.0), server.begin().limited(8.0)
    time.now += 8.0
    one.heard()
    assert type(one.late("s3://bucket", 0.0)) is LimitError
    assert type(other.late("s3://bucket", 0.0)) is StorageUnavailableError


def test_all_are_abandoned_before_one_is_told() -> None:
    """What one part's end brings about is seen by the others as of a request that nobody waits for."""
    whole = Deadline()
    seen: list[bool] = []
    parts: list[Deadline] = []
    for _ in range(3):
        parts.append(whole.part(lambda: seen.append(all(part.is_over for part in parts))))
        parts.append(parts[-1].part(lambda: seen.append(all(part.is_over for part in parts))))
    whole.abandon()
    assert seen == [True] * 6


def test_finished_parts_are_forgotten() -> None:
    """A deadline that goes on for days holds no request that is done."""
    whole = Deadline()
    for _ in range(100):
        whole.begin().part()
    gc.collect()
    assert len(whole._below) == 0


@pytest.mark.parametrize(
    ("limit_s", "silent_s", "error"),
    [
        (300.0, 4.9, LimitError),
        (300.0, 5.0, StorageUnavailableError),
        (4.0, 0.9, LimitError),
        (4.0, 1.0, StorageUnavailableError),
        (0.0, 0.0, StorageUnavailableError),
    ],
)
def test_whose_fault_it_is(time: Time, limit_s: float, silent_s: float, error: type) -> None:
    """Silence of five seconds, or a quarter of the time, is the storage's fault; else too much was asked."""
    whole = Deadline(limit_s, clock=time)
    part = whole.part()
    since = part.now
    time.now += max(0.0, limit_s - silent_s)
    part.heard()
    time.now += silent_s
    assert type(part.late("s3://bucket", since)) is error
    # What is heard for a part is heard for the whole, and for its other parts.
    assert type(whole.late("s3://bucket", since)) is error
    assert type(whole.part().late("s3://bucket", since)) is error
    whole.abandon()
    assert type(part.late("s3://bucket", since)) is AbandonedError
