import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pytest

from dicom_series_preview.base.errors import ObjectNotFoundError, StorageUnavailableError
from dicom_series_preview.sources.storage.base import ByteRange, Fetched
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.pool import FetchPool
from dicom_series_preview.sources.storage.throttle import Throttle


def fetch(
    pool: FetchPool,
    read: Callable[[ByteRange, Deadline], Fetched],
    paths: Iterable[str],
    deadline: Deadline | None = None,
) -> Iterator[Fetched]:
    """Fetch whole objects."""
    return pool.fetch((ByteRange(path) for path in paths), read, deadline or Deadline())


def done(wanted: ByteRange, _deadline: Deadline) -> Fetched:
    """Read nothing, at once."""
    return Fetched(wanted, b"x", 1, "")


def test_results_come_as_they_are_ready() -> None:
    """A slow range does not hold back those after it."""
    release = threading.Event()

    def read(wanted: ByteRange, _deadline: Deadline) -> Fetched:
        if wanted.path == "slow":
            release.wait(10)
        return Fetched(wanted, b"", 0, "")

    fetched = fetch(FetchPool(Throttle(2), "memory://"), read, ["slow", "a", "b"])
    assert [f.range.path for f in islice(fetched, 2)] == ["a", "b"]
    release.set()
    assert next(fetched).range.path == "slow"


def test_concurrency_is_shared() -> None:
    """Several callers together have no more under way than the storage's limit."""
    lock, three = threading.Lock(), threading.Barrier(3)
    running = most = 0

    def read(wanted: ByteRange, _deadline: Deadline) -> Fetched:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        three.wait(10)  # nobody gets on before there are as many as may be
        with lock:
            running -= 1
        return Fetched(wanted, b"", 0, "")

    pool = FetchPool(Throttle(3), "memory://")
    callers = [
        threading.Thread(target=lambda: list(fetch(pool, read, map(str, range(21))))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == 3


def test_storage_errors_are_results_and_others_are_raised() -> None:
    """An object's error stands among the results; a mistake of ours does not pass for one."""

    def read(wanted: ByteRange, _deadline: Deadline) -> Fetched:
        if wanted.path == "none":
            raise ObjectNotFoundError("none")
        raise ZeroDivisionError

    pool = FetchPool(Throttle(1), "memory://")
    (got,) = fetch(pool, read, ["none"])
    assert isinstance(got.error, ObjectNotFoundError)
    with pytest.raises(ZeroDivisionError):
        list(fetch(pool, read, ["mistake"]))


def test_closing_returns_at_once() -> None:
    """Closing waits for nothing that is under way, and tells it so."""
    told = threading.Event()

    def read(wanted: ByteRange, deadline: Deadline) -> Fetched:
        if wanted.path == "slow" and deadline.abandoned.wait(30):
            told.set()
        return Fetched(wanted, b"", 0, "")

    fetched = fetch(FetchPool(Throttle(2), "memory://"), read, ["slow", "a"])
    assert next(fetched).range.path == "a"
    fetched.close()
    assert told.wait(10)


def test_patience_ends() -> None:
    """What gives nothing for too long is left, where there is no other end to the waiting."""
    released = threading.Event()
    pool = FetchPool(Throttle(1), "memory://")
    with pytest.raises(StorageUnavailableError, match=r"gave nothing for 0\.01 s"):
        pool.run(lambda _part: released.wait(30), Deadline(), patience_s=0.01)
    released.set()


def test_who_leaves_cancels_what_has_not_begun() -> None:
    """What waits in line for a thread when nobody waits for it any more is never done."""
    released, done = threading.Event(), []
    pool = FetchPool(Throttle(1), "memory://")
    busy = pool.begin(lambda _part: released.wait(30), Deadline())
    with pytest.raises(StorageUnavailableError):
        pool.run(lambda _part: done.append("never"), Deadline(0.01))
    released.set()
    assert busy.result(30)
    pool.run(lambda _part: done.append("after"), Deadline())
    assert done == ["after"]


def test_a_failing_iterable_ends_the_fetch() -> None:
    """What the iterable raises reaches the caller."""

    def wanted() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(fetch(FetchPool(Throttle(1), "memory://"), done, wanted()))
