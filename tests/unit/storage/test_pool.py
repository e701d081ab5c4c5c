from __future__ import annotations

import threading
from itertools import islice

import pytest

from dicom_series_preview.errors import ObjectNotFoundError
from dicom_series_preview.storage.base import ByteRange, Fetched
from dicom_series_preview.storage.pool import FetchPool
from dicom_series_preview.storage.throttle import Throttle


def done(wanted: ByteRange, _abandoned: threading.Event) -> Fetched:
    """Read nothing, at once."""
    return Fetched(wanted, b"x", 1, "")


def test_results_come_as_they_are_ready() -> None:
    """A slow range does not hold back those after it."""
    release = threading.Event()

    def read(wanted: ByteRange, _abandoned: threading.Event) -> Fetched:
        if wanted.path == "slow":
            release.wait(10)
        return Fetched(wanted, b"", 0, "")

    fetched = FetchPool(Throttle(2), read).fetch([ByteRange("slow"), ByteRange("a"), ByteRange("b")])
    assert [f.range.path for f in islice(fetched, 2)] == ["a", "b"]
    release.set()
    assert next(fetched).range.path == "slow"


def test_concurrency_is_shared() -> None:
    """Several callers together have no more under way than the storage's limit."""
    lock, three = threading.Lock(), threading.Barrier(3)
    running = most = 0

    def read(wanted: ByteRange, _abandoned: threading.Event) -> Fetched:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        three.wait(10)  # nobody gets on before there are as many as may be
        with lock:
            running -= 1
        return Fetched(wanted, b"", 0, "")

    pool = FetchPool(Throttle(3), read)
    callers = [
        threading.Thread(target=lambda: list(pool.fetch([ByteRange(str(n)) for n in range(21)])))
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most == 3


def test_storage_errors_are_results_and_others_are_raised() -> None:
    """An object's error stands among the results; a mistake of ours does not pass for one."""

    def read(wanted: ByteRange, _abandoned: threading.Event) -> Fetched:
        if wanted.path == "none":
            raise ObjectNotFoundError("none")
        raise ZeroDivisionError

    pool = FetchPool(Throttle(1), read)
    (got,) = pool.fetch([ByteRange("none")])
    assert isinstance(got.error, ObjectNotFoundError)
    with pytest.raises(ZeroDivisionError):
        list(pool.fetch([ByteRange("mistake")]))


def test_closing_returns_at_once() -> None:
    """Closing waits for nothing that is under way, and tells it so."""
    told = threading.Event()

    def read(wanted: ByteRange, abandoned: threading.Event) -> Fetched:
        if wanted.path == "slow" and abandoned.wait(30):
            told.set()
        return Fetched(wanted, b"", 0, "")

    fetched = FetchPool(Throttle(2), read).fetch([ByteRange("slow"), ByteRange("a")])
    assert next(fetched).range.path == "a"
    fetched.close()
    assert told.wait(10)


def test_a_failing_iterable_ends_the_fetch() -> None:
    """What the iterable raises reaches the caller."""

    def wanted():
        yield ByteRange("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(FetchPool(Throttle(1), done).fetch(wanted()))
