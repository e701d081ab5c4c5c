import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage import s3
from dicom_series_preview.sources.storage.base import ByteRange, Storage
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from dicom_series_preview.sources.storage.throttle import CONCURRENCY, Throttle
from dicom_series_preview.sources.storage.transient import ThrottledError, TransientError
from faulty import Busy, FaultyServer
from servers import Answer, Asked, ScriptedServer

NEVER = Deadline()
SETTINGS = Settings(cache_dir=Path("unused"))
COUNT = 400


def refuse(throttle: Throttle) -> None:
    """A request that is throttled."""
    with pytest.raises(ThrottledError), throttle.slot(NEVER):
        raise ThrottledError("status 503")


def answer(throttle: Throttle, times: int) -> None:
    """Requests that are answered, one after the other."""
    for _ in range(times):
        with throttle.slot(NEVER):
            pass


def test_refusals_halve_down_to_one() -> None:
    """Each refusal halves the slots, down to one."""
    throttle = Throttle(64)
    limits = []
    for _ in range(8):
        refuse(throttle)
        limits.append(throttle.limit)
    assert limits == [32, 16, 8, 4, 2, 1, 1, 1]


def test_a_burst_of_refusals_halves_once() -> None:
    """Of requests that were sent before a cut, no other cuts again."""
    throttle = Throttle(8)
    all_sent, told = threading.Barrier(9), threading.Event()

    def request() -> None:
        with suppress(ThrottledError), throttle.slot(NEVER):
            all_sent.wait(10)
            told.wait(10)
            raise ThrottledError("status 503")

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_sent.wait(10)
    told.set()
    for thread in threads:
        thread.join()
    assert throttle.limit == 4


def test_answers_add_a_place_at_a_time() -> None:
    """As many answers as there are slots, and at least 16, give one more; never more than at first."""
    throttle = Throttle(64)
    refuse(throttle)
    answer(throttle, 34)
    assert throttle.limit == 33
    for _ in range(5):
        refuse(throttle)
    assert throttle.limit == 1
    answer(throttle, 15)
    assert throttle.limit == 1
    answer(throttle, 2)
    assert throttle.limit == 2
    answer(throttle, 10_000)
    assert throttle.limit == 64


def in_flight(throttle: Throttle, count: int, error: Exception | None = None) -> None:
    """Requests that are all sent before the first one is answered, or refused."""
    with ExitStack() as answers:
        for _ in range(count):
            answers.enter_context(suppress(ThrottledError))
            answers.enter_context(throttle.slot(NEVER))
        if error is not None:
            raise error


def test_places_double_while_all_is_answered() -> None:
    """Each answer makes a slot, up to twice as many as were taken, and never more than the most."""
    throttle = Throttle(4, 20)
    limits = []
    for _ in range(4):
        in_flight(throttle, throttle.limit)
        limits.append(throttle.limit)
    assert limits == [8, 16, 20, 20]


def test_places_that_nobody_wants_are_not_made() -> None:
    """However many answers come, there are no more than twice the slots that were ever taken."""
    throttle = Throttle(4, 1000)
    answer(throttle, 100)
    assert throttle.limit == 4
    in_flight(throttle, 3)
    answer(throttle, 100)
    assert throttle.limit == 6


def test_a_refusal_ends_the_doubling() -> None:
    """What a storage has refused once is come back to a slot at a time."""
    throttle = Throttle(16, 64)
    in_flight(throttle, 16)
    in_flight(throttle, 32, ThrottledError("status 503"))
    refused = throttle.limit
    assert refused <= 17
    in_flight(throttle, refused)
    assert throttle.limit == refused + 1
    answer(throttle, 10_000)
    assert throttle.limit == 64


@pytest.mark.parametrize(("concurrency", "first", "most"), [(None, 64, 256), (8, 8, 8), (1000, 1000, 1000)])
def test_what_is_set_is_never_passed(concurrency: int | None, first: int, most: int) -> None:
    """A number that is given holds for every storage; else S3 is asked for more while it bears it."""
    settings = Settings(Path("unused"), concurrency=concurrency)
    of_s3 = Throttle.from_settings(settings, s3.CONCURRENCY)
    assert (of_s3.first, of_s3.most) == (first, most)
    of_another = Throttle.from_settings(settings)
    assert (of_another.first, of_another.most) == (first, first)


def test_other_troubles_tell_nothing() -> None:
    """A broken connection or a missing object changes no limit."""
    throttle = Throttle(64)
    for error in (TransientError("broken"), FileNotFoundError()):
        with pytest.raises(type(error)), throttle.slot(NEVER):
            raise error
    assert throttle.limit == 64


def test_no_more_than_the_places() -> None:
    """However many want one, no more hold a slot than there are, and all get one."""
    throttle = Throttle(4)
    refuse(throttle)
    lock, running, most = threading.Lock(), 0, 0
    pair = threading.Barrier(2)

    def request() -> None:
        nonlocal running, most
        with throttle.slot(NEVER):
            with lock:
                running += 1
                most = max(most, running)
            pair.wait(10)  # nobody gets on who is alone
            with lock:
                running -= 1

    threads = [threading.Thread(target=request) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 2


def test_the_abandoned_leave_their_places() -> None:
    """Who waits for nothing any more takes no slot, and holds nobody back."""
    throttle = Throttle(1)
    abandoned = Deadline()
    outcomes: list[str] = []

    def request(deadline: Deadline, name: str) -> None:
        try:
            with throttle.slot(deadline):
                outcomes.append(name)
        except TransientError:
            outcomes.append("left")

    with throttle.slot(NEVER):
        threads = [threading.Thread(target=request, args=(abandoned, "never")) for _ in range(5)]
        threads.append(threading.Thread(target=request, args=(NEVER, "served")))
        for thread in threads:
            thread.start()
        abandoned.abandon()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["left"] * 5 + ["served"]


def over_http(url: str, retry: RetryPolicy) -> Storage:
    """A web server's folder."""
    return open_storage(f"{url}/bucket", SETTINGS, {}, retry=retry)


def over_s3(url: str, retry: RetryPolicy) -> Storage:
    """A bucket."""
    variables = {"AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    return open_storage("s3://bucket", SETTINGS, variables, retry=retry)


@pytest.mark.parametrize("opened", [over_http, over_s3])
@pytest.mark.parametrize("slots", [2, 8, 24])
def test_a_throttling_server_is_asked_for_less(
    opened: Callable[[str, RetryPolicy], Storage], slots: int
) -> None:
    """Every object comes, none is asked for too often, and few requests are refused after the first burst."""
    objects = {f"bucket/s/{number}": b"%8d" % number for number in range(COUNT)}
    retry = RetryPolicy(max_retries=SETTINGS.max_retries, timeout_s=SETTINGS.retry_timeout_s)
    busy = Busy(slots, hold_s=0.005)
    with FaultyServer() as server:
        server.objects, server.plan = objects, busy
        storage = opened(server.url, retry)
        got = {f.range.path: f for f in storage.fetch(ByteRange(f"s/{n}", 0, 8) for n in range(COUNT))}
    assert [fetched.error for fetched in got.values()] == [None] * COUNT
    assert {f"bucket/{path}": fetched.data for path, fetched in got.items()} == objects
    tries = server.tries()
    assert max(tries.values()) <= SETTINGS.max_retries + 1
    assert tries.total() == storage.usage.gets
    # The first burst, then what it takes to find the number, and one now and then that asks for more.
    assert busy.refused <= 2 * CONCURRENCY + COUNT // 8


def test_connections_are_kept() -> None:
    """Requests share connections: no more are opened than some that wait while one is given back."""
    objects = {f"bucket/s/{number}": bytes(8) for number in range(COUNT)}
    for opened in (over_http, over_s3):
        with FaultyServer() as server:
            server.objects, server.plan = objects, Busy(COUNT)
            storage = opened(server.url, RetryPolicy(0, 60.0))
            for _ in range(3):
                got = storage.fetch(ByteRange(f"s/{n}", 0, 8) for n in range(COUNT))
                assert all(fetched.error is None for fetched in got)
        assert server.tries().total() == 3 * COUNT
        assert server.connections <= 2 * s3.CONCURRENCY


def test_refused_requests_keep_the_pause_that_is_asked_for() -> None:
    """Nobody who was told to wait asks again before."""
    pauses: list[float] = []
    refused: set[str] = set()

    def wait(abandoned: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        return abandoned.is_set()

    def refuse_once(asked: Asked) -> Answer:
        if asked.path in refused:
            return Answer(206, {"Content-Range": "bytes 0-7/8"}, bytes(8))
        refused.add(asked.path)
        return Answer(503, {"Retry-After": "7"})

    with ScriptedServer(refuse_once) as server:
        storage = over_http(server.url, RetryPolicy(1, 600.0, wait=wait))
        assert all(f.error is None for f in storage.fetch(ByteRange(f"s/{n}", 0, 8) for n in range(80)))
    assert pauses == [7.0] * 80
