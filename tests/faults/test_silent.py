"""A storage that keeps silent: who waits for it is answered in time, and nothing outlives the program."""

import itertools
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

import doors
import faulty
import synthetic
from commandline import SCRIPT
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import AbandonedError, StorageUnavailableError
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.base import ByteRange, Storage
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.web.http.api import PreviewApi
from dicom_series_preview.web.http.messages import HttpRequest
from doubles import Time
from faulty import FaultyServer, always, everything

# Nothing here takes so long, save what waits for a silent server: that is silent for ever.
HANG_S = 60.0
PATIENT = {"DICOM_SERIES_PREVIEW_REQUEST_SECONDS": "3600", "DICOM_SERIES_PREVIEW_RETRY_SECONDS": "3600"}
SERIES = synthetic.series("silent", 4, others=False, side=384)
ROOTS = {"http": "", "s3": "s3://bucket"}


def is_list(asked: faulty.Asked) -> bool:
    """A listing."""
    return asked.kind in ("LIST", "PROPFIND")


def is_get(asked: faulty.Asked) -> bool:
    """An object."""
    return asked.kind == "GET"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """A server with a series; a thread of it waits for each answer that is not given."""
    with FaultyServer() as running:
        running.objects.update({f"bucket/s/{name}": data for name, data in SERIES.objects.items()})
        yield running


def opened(server: FaultyServer, kind: str, concurrency: int | None = None) -> Storage:
    """The bucket, whose requests have an hour each."""
    settings = Settings(Path("unused"), concurrency, request_timeout_s=3600.0, retry_timeout_s=3600.0)
    return open_storage(ROOTS[kind] or f"{server.url}/bucket", settings, server.environment)


WAITS: dict[str, Callable[[Storage], object]] = {
    "list": lambda storage: storage.list_objects("s"),
    "folders": lambda storage: storage.list_folders("s"),
    "get": lambda storage: storage.get("s/1"),
    "fetch": lambda storage: list(storage.fetch([ByteRange("s/1", 0, 8), ByteRange("s/2", 0, 8)])),
}


@pytest.mark.parametrize("kind", ROOTS)
@pytest.mark.parametrize("wait", WAITS)
def test_whoever_waits_is_let_go_in_time(server: FaultyServer, kind: str, wait: str) -> None:
    """A request's time ends each wait, however long a storage may be silent, and the error blames it."""
    server.begin(always(faulty.silent, everything))
    storage = opened(server, kind).within(Deadline(0.5))
    with pytest.raises(StorageUnavailableError, match=r"did not answer within the 0\.5 s"):
        WAITS[wait](storage)


@pytest.mark.parametrize("kind", ROOTS)
@pytest.mark.parametrize("wait", WAITS)
def test_nobody_waits_any_more(server: FaultyServer, kind: str, wait: str) -> None:
    """Abandoned by another thread, a wait ends, whatever the server does."""
    deadline, asked = Deadline(), threading.Event()

    def abandon(_connection: faulty.Connection, _answer: faulty.Answer) -> None:
        asked.set()
        faulty.silent(_connection, _answer)

    server.begin(always(abandon, everything))
    storage = opened(server, kind).within(deadline)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(WAITS[wait], storage)
        assert asked.wait(HANG_S)
        deadline.abandon()
        assert isinstance(waiting.exception(HANG_S), AbandonedError)


def test_a_place_is_waited_for_no_longer() -> None:
    """Where every place is taken by what another request waits for, a request still ends with its time."""
    with FaultyServer() as server:
        server.begin(always(faulty.silent, everything))
        settings = Settings(Path("unused"), concurrency=1, request_timeout_s=3600.0)
        storage = open_storage(f"{server.url}/bucket", settings, {})
        other = Deadline()
        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(storage.within(other).get, "s/1")
            while not server.asked:
                pass
            with pytest.raises(StorageUnavailableError):
                storage.within(Deadline(0.5)).get("s/2")
            assert len(server.asked) == 1
            other.abandon()
            assert isinstance(holding.exception(HANG_S), AbandonedError)


def test_a_pause_is_no_longer_than_the_time() -> None:
    """A pause that reaches beyond the request's time is not begun: the error says what the storage said."""
    with FaultyServer() as server:
        server.begin(always(faulty.refused(503, "SlowDown", retry_after="50"), everything))
        with pytest.raises(StorageUnavailableError, match="asks for a pause of 50 s; gave up after 1 try"):
            opened(server, "http").within(Deadline(40.0)).get("s/1")
        assert len(server.asked) == 1


# --- whole requests


def request(series: str, deadline: Deadline) -> HttpRequest:
    """A request for a small mosaic."""
    query = {name: [value] for name, value in doors.OPTIONS.items()}
    return HttpRequest(series=series, query=query, deadline=deadline)


@pytest.mark.parametrize(("wanted", "spoilt"), [("listing", is_list), ("objects", is_get)])
@pytest.mark.parametrize("kind", ROOTS)
def test_a_silent_storage_is_answered_for_once(
    server: FaultyServer, kind: str, wanted: str, spoilt: Callable[[faulty.Asked], bool]
) -> None:
    """Silent at its listing or at its objects, a storage is 503 within the request's time; no claim stays."""
    assert wanted
    cache = MemoryStorage()
    service = PreviewService(opened(server, kind), IndexCache(cache), Limits(seconds=3.0), single_flight=True)
    api = PreviewApi({"default": lambda: service})
    server.begin(always(faulty.silent, spoilt))
    answer = api.picture("mosaic", request("s", Deadline()))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "did not answer within the 3 s" in json.loads(answer.body)["detail"]
    assert cache.list_objects("") == []


@pytest.mark.parametrize("kind", ROOTS)
def test_too_much_was_asked_for(server: FaultyServer, kind: str) -> None:
    """Where the storage answers all the time and the time is up before all is done, that is a limit: 413."""
    time = Time()

    def slow(connection: faulty.Connection, answer: faulty.Answer) -> None:
        time.now += 1.2
        connection.send(answer())

    # One by one, so that the clock moves once between two answers.
    service = PreviewService(opened(server, kind, concurrency=1), None, Limits(seconds=6.0))
    server.begin(always(slow, everything))
    answer = PreviewApi({"default": lambda: service}).picture("mosaic", request("s", Deadline(clock=time)))
    assert answer.status == 413
    assert "longer than the limit of 6 s" in json.loads(answer.body)["detail"]


def test_the_time_counts_from_when_a_request_came(server: FaultyServer) -> None:
    """A request that has waited to be begun has that much less."""
    time = Time()
    deadline = Deadline(clock=time)
    time.now += 2.0
    service = PreviewService(opened(server, "http"), None, Limits(seconds=1.0))
    answer = PreviewApi({"default": lambda: service}).picture("mosaic", request("s", deadline))
    assert answer.status == 413
    assert server.asked == []


def test_a_claim_is_given_back_after_the_time(server: FaultyServer) -> None:
    """Who runs out of time while it builds an index leaves no claim in a bucket: the next one builds it."""
    server.begin(always(faulty.silent, lambda asked: is_get(asked) and asked.path.startswith("bucket/s/")))
    kept = open_storage("s3://data", Settings(Path("unused")), server.environment)
    service = PreviewService(opened(server, "s3"), IndexCache(kept), Limits(seconds=3.0), single_flight=True)
    with pytest.raises(StorageUnavailableError):
        service.index(IndexRequest(SeriesName("s")))
    assert not [path for path in server.objects if path.endswith(".lock")]
    server.begin(lambda _asked: None)
    patient = PreviewService(opened(server, "s3"), IndexCache(kept), Limits(), single_flight=True)
    assert isinstance(patient.index(IndexRequest(SeriesName("s"))).index, Index)


def test_requests_count_for_themselves(server: FaultyServer) -> None:
    """What a request has cost is its own cost, and the storage's totals are those of all."""
    storage = opened(server, "http")
    one, other = storage.within(Deadline()), storage.within(Deadline())
    one.get(f"s/{SERIES.file_names[0]}")
    other.list_objects("s")
    assert (one.usage.gets, one.usage.lists) == (1, 0)
    assert (other.usage.gets, other.usage.lists) == (0, 1)
    assert (storage.usage.gets, storage.usage.lists) == (1, 1)


# --- processes


@contextmanager
def started(*arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command line in a process of its own."""
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **PATIENT, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(server: FaultyServer, count: int) -> None:
    """Return when so many requests have come."""
    pause = threading.Event()
    for _ in range(int(HANG_S * 100)):
        if len(server.asked) >= count:
            return
        pause.wait(0.01)
    pytest.fail(f"{len(server.asked)} of {count} requests came")


SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("told", SIGNALS)
@pytest.mark.parametrize("kind", ROOTS)
@pytest.mark.parametrize("spoilt", [is_list, is_get])
def test_a_command_ends_when_told(
    server: FaultyServer, kind: str, spoilt: Callable[[faulty.Asked], bool], told: signal.Signals
) -> None:
    """SIGTERM and SIGINT end a command that waits for a silent storage, in one line, as what killed it."""
    server.begin(always(faulty.silent, spoilt))
    root = ROOTS[kind] or f"{server.url}/bucket"
    with started("mosaic", "s", "s.webp", "--root", root, environment=server.environment) as process:
        wait_for(server, 1 if spoilt is is_list else 2)
        process.send_signal(told)
        _, said = process.communicate(timeout=HANG_S)
    assert said.strip() == "error: interrupted"
    assert process.returncode == -told


@contextmanager
def serving(server: FaultyServer, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve` over both kinds of root, and its address."""
    roots = ("--root", "s3://bucket", "--alias", f"http={server.url}/bucket")
    variables = {**server.environment, **environment}
    with started("serve", "--port", "0", *roots, environment=variables) as process:
        line = process.stderr.readline()
        found = re.search(r" at (http://127\.0\.0\.1:\d+)/", line)
        assert found, line
        yield process, found[1]


@pytest.mark.parametrize("told", SIGNALS)
def test_a_server_ends_when_told(server: FaultyServer, told: signal.Signals) -> None:
    """SIGTERM and SIGINT end a server that waits for silent storage by the signal, when all are answered."""
    server.begin(always(faulty.silent, everything))
    with (
        serving(server) as (process, url),
        ThreadPoolExecutor(4) as clients,
        urllib3.PoolManager(maxsize=4) as pool,
    ):
        at_start = len(server.asked)
        asked = [f"{url}/series/s/{what}?root={root}" for what, root in ASKED]
        answers = [clients.submit(pool.request, "GET", one, retries=False) for one in asked]
        wait_for(server, at_start + len(asked))
        process.send_signal(told)
        _, said = process.communicate(timeout=HANG_S)
        statuses = [answer.result(HANG_S).status for answer in answers]
    assert (process.returncode, said) == (-told, "")
    assert statuses == [503] * len(asked)


ASKED = [("mosaic", "http"), ("mosaic", "default"), ("index", "http"), ("index", "default")]


def test_what_a_client_left_stops(server: FaultyServer) -> None:
    """A client that leaves takes along what was begun for it: a listing without end is asked for no more."""
    numbers = itertools.count()

    def page(connection: faulty.Connection, answer: faulty.Answer) -> None:
        number = next(numbers)
        faulty.same_page(f"{number}/", f"{number}.dcm", f"{next(numbers)}/")(connection, answer)

    server.begin(always(page, everything))
    limits = {f"DICOM_SERIES_PREVIEW_MAX_{name}": "1000000000" for name in ("FOLDERS", "INSTANCES")}
    with serving(server, **limits) as (_process, url), urllib3.PoolManager() as pool:
        with pytest.raises(urllib3.exceptions.HTTPError):
            pool.request("GET", f"{url}/series/s/mosaic?root=http", retries=False, timeout=1.0)
        server.settle()
