import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import doubles
from bench import RESOURCES, ROOT, Bench, one, problem, slices
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.claims import LEASE_S
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base import errors
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.memory import MemoryStorage

PATH = "indices/S_index.parquet"
LOCK = f"{PATH}.lock"
WAIT_S = 30


class Blocked(doubles.Before):
    """Its reads wait until the test lets them go on.

    Attributes:
        reading: Set when the first read is asked for.
        go_on: To be set by the test.
    """

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner, fetch=self.wait)
        self.reading, self.go_on = threading.Event(), threading.Event()

    def wait(self, _ranges: object) -> None:
        """Wait."""
        self.reading.set()
        assert self.go_on.wait(WAIT_S)


class Raced(doubles.Before):
    """A cache in which someone else does something just before an index is written.

    Args:
        inner: The cache.
        meanwhile: What happens; each is called once, in turn.
    """

    def __init__(self, inner: MemoryStorage, *meanwhile: Callable[[], object]) -> None:
        super().__init__(inner, put=self.race)
        self.meanwhile = list(meanwhile)
        self.attempts = 0

    def race(self, path: str, _data: bytes) -> None:
        """Let the other be first."""
        self.attempts += path == PATH
        if path == PATH and self.meanwhile:
            self.meanwhile.pop(0)()


def opener(
    storage: object, cache: object, *, single_flight: bool = False, now: float = 1000
) -> SeriesIndexer:
    """An opener at a time of day."""
    return SeriesIndexer(storage, IndexCache(cache), Limits(), single_flight=single_flight, clock=lambda: now)


def files(cache: MemoryStorage) -> list[str]:
    """The objects in the kept index."""
    return sorted(Index.from_parquet(cache.get(PATH).data).table["FileName"].to_pylist())


def exists(cache: MemoryStorage, path: str) -> bool:
    """Whether something is kept at a path."""
    return path in {info.path for info in cache.list_objects("indices")}


# --- one of several builds


@pytest.mark.parametrize("second", RESOURCES)
def test_of_two_cold_requests_one_builds(second: str) -> None:
    """Two that ask at once for a series without index: one builds it, the other is told when to come back."""
    blocked = Blocked(MemoryStorage(slices(), url=ROOT))
    counting = doubles.CountingStorage(blocked)
    bench = Bench(storage=counting)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bench.get, "index")
        assert blocked.reading.wait(WAIT_S)
        refused = bench.get(second)
        blocked.go_on.set()
        built = first.result(WAIT_S)
    problem(refused, 503, "index-busy")
    assert 1 <= int(refused.headers["Retry-After"]) <= LEASE_S
    assert (built.status, built.headers["Preview-Index"]) == (200, "built")
    assert (bench.cache.puts.count(PATH), len(counting.ranges)) == (1, 4)
    assert bench.ok(second).headers["Preview-Index"] == "cache"


@pytest.mark.parametrize("second", RESOURCES)
def test_who_comes_second_waits_for_the_first(second: str) -> None:
    """Where the index is there within 3 s, all who asked for it meanwhile are answered by it."""
    blocked = Blocked(MemoryStorage(slices(), url=ROOT))
    counting = doubles.CountingStorage(blocked)
    pauses: list[float] = []
    with ThreadPoolExecutor(1) as pool:

        def wait(_abandoned: threading.Event, seconds: float) -> bool:
            pauses.append(seconds)
            if len(pauses) == 3:
                blocked.go_on.set()
                first.result(WAIT_S)
            return False

        bench = Bench(storage=counting, wait=wait)
        first = pool.submit(bench.get, "index")
        assert blocked.reading.wait(WAIT_S)
        answer = bench.ok(second)
    assert answer.headers["Preview-Index"] == "cache"
    assert (len(pauses), bench.cache.puts.count(PATH)) == (3, 1)


def test_nobody_waits_longer_than_3_s() -> None:
    """An index that takes longer is left to be asked for again, after looking for it a few times only."""
    pauses: list[float] = []

    def wait(_abandoned: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        return False

    bench = Bench(wait=wait)
    with IndexCache(bench.cache.inner).claim("S", ROOT, time.time()):
        problem(bench.get("mosaic"), 503, "index-busy")
    assert sum(pauses) == pytest.approx(3)
    assert len(pauses) <= 10
    assert (bench.storage.lists, bench.storage.ranges) == (1, [])


def test_who_has_less_time_waits_less() -> None:
    """A request does not wait beyond its deadline: it is told to come back, not that it takes too long."""
    pauses: list[float] = []
    clock = [0.0]

    def wait(_abandoned: threading.Event, seconds: float) -> bool:
        pauses.append(seconds)
        clock[0] += seconds
        return False

    bench = Bench(wait=wait)
    deadline = Deadline(1.0, clock=lambda: clock[0])
    service = bench.service(bench.storage, "indices").within(deadline)
    with (
        IndexCache(bench.cache.inner).claim("S", ROOT, time.time()),
        pytest.raises(errors.IndexBusyError),
    ):
        service.index(IndexRequest(SeriesName("S")))
    assert 0 < sum(pauses) < 1


def test_nobody_is_waited_for_who_has_left() -> None:
    """A client that leaves while another one builds ends its own waiting, at the first pause."""
    deadline = Deadline()

    def wait(_abandoned: threading.Event, _seconds: float) -> bool:
        deadline.abandon()
        return True

    bench = Bench(wait=wait)
    service = bench.service(bench.storage, "indices").within(deadline)
    with (
        IndexCache(bench.cache.inner).claim("S", ROOT, time.time()),
        pytest.raises(errors.AbandonedError),
    ):
        service.index(IndexRequest(SeriesName("S")))


def test_an_index_whose_builder_failed_is_built_by_who_waited(bench: Bench) -> None:
    """When a claim is given back and no index is there, one of those who waited builds it."""
    claim = IndexCache(bench.cache.inner).claim("S", ROOT, time.time())
    claim.__enter__()

    def wait(_abandoned: threading.Event, _seconds: float) -> bool:
        claim.__exit__(None, None, None)
        return False

    bench.wait = wait
    assert bench.ok("index").headers["Preview-Index"] == "built"


def test_other_series_are_not_kept_waiting() -> None:
    """A claim is for one series: another one is built meanwhile."""
    blocked = Blocked(MemoryStorage({**slices("S"), **slices("T")}, url=ROOT))
    bench = Bench(storage=doubles.CountingStorage(blocked))
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(bench.get, "index", series=name) for name in "ST"]
        assert blocked.reading.wait(WAIT_S)
        blocked.go_on.set()
        assert [answer.result(WAIT_S).status for answer in answers] == [200, 200]


def test_a_fresh_index_needs_no_claim() -> None:
    """A series whose index is up to date is answered while someone holds the claim."""
    memory, cache = MemoryStorage(slices()), MemoryStorage()
    opener(memory, cache).open(SeriesName("S"))
    with IndexCache(cache).claim("S", ROOT, 1000):
        assert opener(memory, cache, single_flight=True).open(SeriesName("S")).source == "cache"


def test_who_waited_for_the_claim_uses_what_was_built() -> None:
    """An index that was written between the first look and the claim is used as it is."""
    memory, cache = MemoryStorage(slices()), MemoryStorage()

    def build(path: str, _data: bytes) -> None:
        if path == LOCK:
            opener(memory, cache).open(SeriesName("S"))

    meanwhile = doubles.Before(cache, put=build)
    opened = opener(memory, meanwhile, single_flight=True).open(SeriesName("S"))
    assert (opened.source, opened.headers_read) == ("cache", 0)


# --- claims


def test_a_claim_says_how_long_it_lasts() -> None:
    """Who is turned away is told to come back soon, and no later than the claim ends."""
    memory, cache = MemoryStorage(slices()), MemoryStorage()
    with IndexCache(cache).claim("S", ROOT, 1000):
        for now, seconds in ((1000, 5), (1000 + LEASE_S - 2.5, 3), (1000 + LEASE_S - 0.1, 1)):
            with pytest.raises(errors.IndexBusyError) as caught:
                opener(memory, cache, single_flight=True, now=now).open(SeriesName("S"))
            assert caught.value.retry_after_s == seconds


def test_a_claim_is_renewed_when_half_of_it_is_over() -> None:
    """Who builds longer than a lease keeps others out, and writes no oftener than that takes."""
    cache = doubles.CountingStorage(MemoryStorage())
    with IndexCache(cache).claim("S", ROOT, 1000) as claim:
        for now in range(1000, 1000 + 3 * LEASE_S):
            claim.renew(now)
            with pytest.raises(errors.IndexBusyError), IndexCache(cache.inner).claim("S", ROOT, now + 1):
                pass
    assert len(cache.puts) == 1 + 5
    assert cache.inner.list_objects("") == []


def test_a_claim_that_was_taken_over_is_the_others() -> None:
    """Who comes back after its lease has run out is told so, and does not give back what is another's."""
    cache = MemoryStorage()
    first = IndexCache(cache).claim("S", ROOT, 1000)
    late = first.__enter__()
    with IndexCache(cache).claim("S", ROOT, 1001 + LEASE_S):
        with pytest.raises(errors.ObjectChangedError):
            late.renew(1002 + LEASE_S)
        first.__exit__(None, None, None)
        assert [info.path for info in cache.list_objects("")] == [LOCK]
    assert cache.list_objects("") == []


@pytest.mark.parametrize(
    "claim",
    [
        json.dumps({"until": 999}).encode(),
        json.dumps({"until": 1000}).encode(),
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        b'{"until": null}',
        b'{"until": NaN}',
        b'{"until": Infinity}',
        json.dumps({"until": 1001 + 2 * LEASE_S}).encode(),
    ],
)
def test_a_claim_that_cannot_hold_is_taken_over(claim: bytes) -> None:
    """A claim that has run out, or that no builder can have made, keeps nobody out; it is gone afterwards."""
    memory, cache = MemoryStorage(slices()), MemoryStorage({LOCK: claim})
    assert opener(memory, cache, single_flight=True).open(SeriesName("S")).source == "built"
    assert not exists(cache, LOCK)


def test_of_two_that_take_over_one_builds() -> None:
    """A dead builder's claim that two find at once is taken over by one of them."""
    memory, cache = MemoryStorage(slices()), MemoryStorage({LOCK: json.dumps({"until": 0}).encode()})

    class Faster(doubles.Wrapper):
        def put(self, path: str, data: bytes, **options: Any) -> str:
            if options.get("if_version"):
                self.inner.put(path, json.dumps({"until": 1050}).encode())
            return super().put(path, data, **options)

    with pytest.raises(errors.IndexBusyError):
        opener(memory, Faster(cache), single_flight=True).open(SeriesName("S"))
    assert exists(cache, LOCK)
    assert not exists(cache, PATH)


def test_a_claim_that_was_given_back_this_moment() -> None:
    """A claim that is gone when it is looked at is worth another try in a second."""
    given_back = doubles.refusing(errors.ObjectChangedError(LOCK), LOCK.__eq__)
    cache = doubles.Before(MemoryStorage(), put=given_back)
    with pytest.raises(errors.IndexBusyError) as caught:
        opener(MemoryStorage(slices()), cache, single_flight=True).open(SeriesName("S"))
    assert caught.value.retry_after_s == 1


@pytest.mark.parametrize(
    "objects", [{}, {"S/notes": b"no DICOM"}, slices()], ids=["nothing", "no DICOM", "failing storage"]
)
def test_a_claim_is_given_back(objects: dict[str, bytes]) -> None:
    """Whatever stands in the way of an index, its claim is given back."""
    memory = MemoryStorage(objects, url=ROOT)
    throttled = doubles.refusing(
        errors.StorageUnavailableError(ROOT, "throttled"), lambda _: len(objects) > 1
    )
    bench = Bench(storage=doubles.CountingStorage(doubles.Before(memory, fetch=throttled)))
    statuses = {bench.get("index").status for _ in range(2)}
    assert statuses == {{0: 404, 1: 422}.get(len(objects), 503)}
    assert not exists(bench.cache, LOCK)
    assert not exists(bench.cache, PATH)


# --- conditional writes


def test_two_updates_at_once_both_survive() -> None:
    """Of two that update one index at once, the later one sees the other's write and begins again from it."""
    memory, cache = MemoryStorage(slices(count=2)), MemoryStorage()
    opener(memory, cache).open(SeriesName("S"))
    memory.put("S/3.dcm", one(3))

    def other() -> None:
        memory.put("S/4.dcm", one(4))
        assert opener(memory, cache).open(SeriesName("S")).headers_read == 2

    counting = doubles.CountingStorage(memory)
    raced = Raced(cache, other)
    opened = opener(counting, raced).open(SeriesName("S"))
    # The second attempt finds that the other's index has it all.
    assert (opened.source, opened.headers_read, raced.attempts) == ("cache", 0, 1)
    assert [item.path for item in counting.ranges] == ["S/3.dcm"]
    assert files(cache) == ["1.dcm", "2.dcm", "3.dcm", "4.dcm"]


def test_two_updates_of_different_listings_both_survive() -> None:
    """Who lost the race adds what the winner had not seen yet, and reads nothing that the winner has read."""
    memory, cache = MemoryStorage(slices(count=2)), MemoryStorage()
    opener(memory, cache).open(SeriesName("S"))
    memory.put("S/3.dcm", one(3))

    def other() -> None:
        assert opener(memory, cache).open(SeriesName("S")).headers_read == 1
        memory.put("S/4.dcm", one(4))

    raced = Raced(cache, other)
    opened = opener(memory, raced).open(SeriesName("S"))
    assert (opened.source, opened.headers_read, raced.attempts) == ("updated", 1, 2)
    assert files(cache) == ["1.dcm", "2.dcm", "3.dcm", "4.dcm"]


def test_two_first_builds_at_once() -> None:
    """Of two that build an index without a claim, the second to write takes what the first has written."""
    memory, cache = MemoryStorage(slices()), MemoryStorage()
    raced = Raced(cache, lambda: opener(memory, cache).open(SeriesName("S")))
    assert opener(memory, raced).open(SeriesName("S")).source == "cache"
    assert raced.attempts == 1


def test_an_index_that_was_removed_meanwhile_is_written() -> None:
    """An index that is forgotten while it is updated is built again."""
    memory, cache = MemoryStorage(slices(count=1)), MemoryStorage()
    opener(memory, cache).open(SeriesName("S"))
    memory.put("S/2.dcm", one(2))
    opened = opener(memory, Raced(cache, lambda: cache.delete(PATH))).open(SeriesName("S"))
    assert opened.source == "built"
    assert files(cache) == ["1.dcm", "2.dcm"]


def test_races_end() -> None:
    """An index that others write again and again is given up after some attempts, and so is the claim."""
    memory, cache = MemoryStorage(slices(count=1)), MemoryStorage()
    numbers = iter(range(2, 1000))

    def other() -> None:
        memory.put(f"S/{(number := next(numbers))}.dcm", one(number))
        opener(memory, cache).open(SeriesName("S"))
        memory.put(f"S/{(number := next(numbers))}.dcm", one(number))

    raced = Raced(cache, *[other] * 100)
    bench = Bench(storage=doubles.CountingStorage(memory), cache=doubles.CountingStorage(raced))
    response = bench.get("index")
    problem(response, 503, "changing")
    assert int(response.headers["Retry-After"]) > 0
    assert 1 < raced.attempts <= 10
    assert not exists(cache, LOCK)
