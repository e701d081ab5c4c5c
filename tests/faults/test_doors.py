"""Each fault, over each storage, through each door: the same picture, a marked tile, or one clear error."""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import doors
import faulty
import synthetic
from faulty import always, first_times, refused

RETRIES = 2
SETTINGS = {
    "DICOM_SERIES_PREVIEW_RETRIES": str(RETRIES),
    "DICOM_SERIES_PREVIEW_RETRY_SECONDS": "60",
    # Only what never answers is given up: everything else is answered by a process on this machine.
    "DICOM_SERIES_PREVIEW_REQUEST_SECONDS": "1.5",
}
BUCKET = "bucket"
SLICES = 4
# So large that headers are read without their frames.
SIDE = 384
SYNTHETIC = synthetic.series("faults", SLICES, others=False, side=SIDE)
NUMBERS = itertools.count()


def is_list(asked: faulty.Asked) -> bool:
    """A listing of the series."""
    return asked.kind == "LIST" and asked.path.startswith(BUCKET)


def is_second_page(asked: faulty.Asked) -> bool:
    """A page of S3's listing that is not the first."""
    return is_list(asked) and bool(asked.token)


def is_header(asked: faulty.Asked) -> bool:
    """The beginning of an object of the series."""
    return asked.kind == "GET" and asked.path.startswith(BUCKET) and not asked.later


def is_pixels(asked: faulty.Asked) -> bool:
    """The pixels of a slice."""
    return asked.kind == "GET" and asked.path.startswith(BUCKET) and asked.later


def of_one(wanted: Callable[[faulty.Asked], bool]) -> Callable[[faulty.Asked], bool]:
    """The same, of one object only."""
    return lambda asked: wanted(asked) and asked.path.endswith(ONE)


ONE = SYNTHETIC.file_names[1]


@dataclass(frozen=True)
class Case:
    """A fault and what comes of it.

    Attributes:
        plan: Which answers are spoilt.
        s3: The outcome over S3: `same`, `tile`, or the status and a part of the error.
        http: The outcome over a web server; empty where there is no such thing.
    """

    plan: faulty.Plan
    s3: str
    http: str


def passing(fault: faulty.Fault, wanted: Callable[[faulty.Asked], bool], times: int = 1) -> Case:
    """A fault that passes before the retries are used up."""
    return Case(first_times(times, fault, wanted), "same", "same")


def lasting(
    fault: faulty.Fault, wanted: Callable[[faulty.Asked], bool], s3: str, http: str | None = None
) -> Case:
    """A fault that stays."""
    return Case(always(fault, wanted), s3, s3 if http is None else http)


EXPIRED = refused(400, "ExpiredToken")
SKEWED = refused(403, "RequestTimeTooSkewed")
DENIED = refused(403, "AccessDenied")
BUSY = refused(503, "SlowDown")
CASES = {
    "503 headers": passing(BUSY, is_header),
    "503 pixels": passing(BUSY, is_pixels, RETRIES),
    "503 listing": passing(BUSY, is_list),
    "500 pixels": passing(refused(500, "InternalError"), is_pixels),
    "429 headers": passing(refused(429), is_header),
    "429 that says when": passing(refused(429, retry_after="0"), is_pixels),
    "503 that says when": passing(refused(503, "SlowDown", retry_after="0"), is_header),
    "503 second page": passing(BUSY, is_second_page),
    "cut short headers": passing(faulty.cut_short, is_header),
    "cut short pixels": passing(faulty.cut_short, is_pixels),
    # obstore wants a length, which S3 always gives.
    "cut chunks pixels": Case(first_times(1, faulty.cut_chunks, is_pixels), "503 Content-Length", "same"),
    "cut short listing": passing(faulty.cut_short, is_list),
    "cut chunks listing": passing(faulty.cut_chunks, is_list),
    "reset listing": passing(faulty.reset_at_once, is_list),
    "reset headers": passing(faulty.reset_at_once, is_header),
    "reset pixels": passing(faulty.reset_at_once, is_pixels),
    "reset after headers": passing(faulty.reset_after_headers, is_pixels),
    "reset in the body": passing(faulty.reset_in_body, is_pixels),
    "shorter range": Case(first_times(1, faulty.shorter_range, is_pixels), "503 ", "same"),
    "silent once": Case(first_times(1, faulty.silent, of_one(is_pixels)), "same", "same"),
    "silent in the body once": Case(first_times(1, faulty.silent_in_body, of_one(is_header)), "same", "same"),
    "503 for good, a header": lasting(BUSY, of_one(is_header), "503 503"),
    "503 for good, pixels": lasting(BUSY, of_one(is_pixels), "503 503"),
    "503 for good, listing": lasting(BUSY, is_list, "503 503"),
    "503 for good, second page": lasting(BUSY, is_second_page, "503 503", ""),
    "403 second page": lasting(DENIED, is_second_page, "403 access denied", ""),
    "cut short for good": lasting(faulty.cut_short, of_one(is_pixels), "503 "),
    "reset for good": lasting(faulty.reset_at_once, of_one(is_pixels), "503 "),
    "other range": lasting(faulty.other_range, of_one(is_pixels), "503 ", "tile"),
    "416": lasting(faulty.no_such_range, of_one(is_pixels), "tile"),
    "whole object": lasting(faulty.whole_object, of_one(is_pixels), "503 ", "same"),
    "403 one object": lasting(DENIED, of_one(is_pixels), "tile"),
    "403 all objects": lasting(DENIED, is_header, "403 access denied"),
    "403 listing": lasting(DENIED, is_list, "403 access denied"),
    "expired at the listing": lasting(EXPIRED, is_list, "403 ExpiredToken", ""),
    "expired at a header": lasting(EXPIRED, of_one(is_header), "403 ExpiredToken", ""),
    "expired at pixels": lasting(EXPIRED, of_one(is_pixels), "403 ExpiredToken", ""),
    "clock at the listing": lasting(SKEWED, is_list, "403 clock", ""),
    "clock at a header": lasting(SKEWED, of_one(is_header), "403 clock", ""),
    "clock at pixels": lasting(SKEWED, of_one(is_pixels), "403 clock", ""),
}


@pytest.fixture(scope="module")
def server() -> Iterator[faulty.FaultyServer]:
    """The server that fails; its listings have several pages."""
    with faulty.FaultyServer(page_objects=3) as running:
        yield running


def roots_of(server: faulty.FaultyServer) -> dict[str, str]:
    """The one folder of series, as each storage sees it."""
    return {"s3": f"s3://{BUCKET}", "http": f"{server.url}/{BUCKET}"}


@pytest.fixture(scope="module")
def served(server: faulty.FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[doors.Door]:
    """The local server."""
    cache = {"DICOM_SERIES_PREVIEW_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    with doors.local_server(roots_of(server), {**SETTINGS, **server.environment, **cache}) as door:
        yield door


@pytest.fixture(scope="module")
def deployed(server: faulty.FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[doors.Door]:
    """The Lambda function; it keeps indices and pictures on the same server, where nothing fails."""
    log = tmp_path_factory.mktemp("function") / "log"
    with doors.function(roots_of(server), {**SETTINGS, **server.environment}, log) as door:
        yield door


@pytest.fixture
def door(
    request: pytest.FixtureRequest,
    server: faulty.FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> doors.Door:
    """A door by its name."""
    if request.param != "command line":
        return request.getfixturevalue(request.param)
    for name, value in {**SETTINGS, **server.environment}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "pictures"
    folder.mkdir()
    return doors.command_line(roots_of(server), folder, capsys.readouterr)


def fresh_series(server: faulty.FaultyServer) -> str:
    """A series that no door has seen; the same slices each time."""
    name = f"series-{next(NUMBERS)}"
    objects = SYNTHETIC.objects
    server.begin(lambda _asked: None)
    server.objects.update({f"{BUCKET}/{name}/{file}": data for file, data in objects.items()})
    return name


@pytest.fixture(scope="module")
def truths(server: faulty.FaultyServer, served: doors.Door) -> dict[str, bytes]:
    """By root, the picture when nothing fails."""
    answers = {root: served(root, fresh_series(server)) for root in ("s3", "http")}
    assert [answer.status for answer in answers.values()] == [200, 200]
    return {root: answer.picture for root, answer in answers.items()}


DOORS = ("command line", "served", "deployed")
ROWS = [
    pytest.param(door, root, name, id=f"{door}-{root}-{name}")
    for door in DOORS
    for root in ("s3", "http")
    for name, case in CASES.items()
    if getattr(case, root)
]


@pytest.mark.parametrize(("door", "root", "name"), ROWS, indirect=["door"])
def test_fault(
    door: doors.Door, root: str, name: str, server: faulty.FaultyServer, truths: dict[str, bytes]
) -> None:
    """What passes changes nothing; what stays is a marked tile or one error; tries are bounded."""
    case, series = CASES[name], fresh_series(server)
    server.begin(case.plan)
    answer = door(root, series)
    tries = {asked: count for asked, count in server.tries().items() if asked.path.startswith(BUCKET)}
    expected = getattr(case, root)
    if expected == "same":
        assert (answer.status, answer.failed) == (200, 0), answer.said
        assert answer.picture == truths[root]
    elif expected == "tile":
        assert (answer.status, answer.failed) == (200, 1), answer.said
        assert answer.picture != truths[root]
    else:
        status, _, said = expected.partition(" ")
        assert answer.status == (int(status) if answer.status != 1 else 1)
        assert said in answer.said
        assert "\n" not in answer.said
    for asked, count in tries.items():
        # A page of a listing may fail in the middle of the listing, and again when it is gone on with.
        assert count <= (RETRIES + 1) * (2 if asked.token else 1), asked
    server.begin(lambda _asked: None)
    assert door(root, series).picture == truths[root]


# --- series that change while they are looked at


def another(data: bytes, mask: int = 0x3F) -> bytes:
    """Another version of an object: the same header, every pixel another."""
    pixels = SIDE * SIDE * 2
    return data[:-pixels] + bytes(byte ^ mask for byte in data[-pixels:])


def before_pixels(change: Callable[[], object], times: int = 1) -> faulty.Plan:
    """Something happens when pixels are asked for, before they are answered."""
    left = [change] * times
    lock = threading.Lock()

    def plan(asked: faulty.Asked) -> None:
        with lock:
            if is_pixels(asked) and left:
                left.pop()()

    return plan


BOTH = [pytest.param(door, root, id=f"{door}-{root}") for door in DOORS for root in ("s3", "http")]


@pytest.mark.parametrize(("door", "root"), BOTH, indirect=["door"])
def test_replaced_in_between(
    door: doors.Door, root: str, server: faulty.FaultyServer, truths: dict[str, bytes]
) -> None:
    """When objects are replaced after they were indexed, the picture is of the new ones, all of it."""
    replaced, other = fresh_series(server), fresh_series(server)
    for name in SYNTHETIC.file_names[:2]:
        path = f"{BUCKET}/{other}/{name}"
        server.objects[path] = another(server.objects[path])
    expected = door(root, other).picture

    def replace_two() -> None:
        server.objects.update(
            {
                path.replace(other, replaced): data
                for path, data in server.objects.items()
                if path.startswith(f"{BUCKET}/{other}/")
            }
        )

    server.begin(before_pixels(replace_two))
    answer = door(root, replaced)
    assert (answer.status, answer.failed) == (200, 0), answer.said
    assert answer.picture == expected != truths[root]


@pytest.mark.parametrize(("door", "root"), BOTH, indirect=["door"])
def test_replaced_again_and_again(door: doors.Door, root: str, server: faulty.FaultyServer) -> None:
    """A series that changes whenever it is looked at is given up, after a few times, as changing."""
    series = fresh_series(server)
    path = f"{BUCKET}/{series}/{ONE}"
    original, masks = server.objects[path], itertools.count(1)

    def replace_one() -> None:
        server.objects[path] = another(original, next(masks))

    server.begin(before_pixels(replace_one, times=60))
    answer = door(root, series)
    assert (answer.status, "chang" in answer.said) in ((503, True), (1, True)), answer.said
    tries = [count for asked, count in server.tries().items() if asked.path.startswith(BUCKET)]
    # It is read three times, and an object that changes while its header is read is begun twice more.
    assert max(tries) <= 9


@pytest.mark.parametrize(("door", "root"), BOTH, indirect=["door"])
def test_deleted_in_between(
    door: doors.Door, root: str, server: faulty.FaultyServer, truths: dict[str, bytes]
) -> None:
    """An object that is gone since it was indexed has the series read anew; the picture is of the others."""
    series = fresh_series(server)
    path = f"{BUCKET}/{series}/{ONE}"
    server.begin(before_pixels(lambda: server.objects.pop(path)))
    answer = door(root, series)
    assert (answer.status, answer.failed) == (200, 0), answer.said
    server.begin(lambda _asked: None)
    again = door(root, series)
    assert (again.status, again.failed) == (200, 0)
    assert again.picture == answer.picture != truths[root]


# --- where indices and pictures are kept fails


def is_kept(kind: str) -> Callable[[faulty.Asked], bool]:
    """A request to where indices and pictures are kept."""
    return lambda asked: asked.kind == kind and asked.path.startswith("data/")


KEPT = {
    "503 once": first_times(1, BUSY, lambda asked: asked.path.startswith("data/")),
    "answers to writes are lost": first_times(1, faulty.reset_at_once, is_kept("PUT")),
    "answers to deletions are lost": first_times(1, faulty.reset_at_once, is_kept("DELETE")),
    "reads are cut short": first_times(1, faulty.cut_short, is_kept("GET")),
}


@pytest.mark.parametrize("name", KEPT)
def test_keeping_fails_once(
    deployed: doors.Door, name: str, server: faulty.FaultyServer, truths: dict[str, bytes]
) -> None:
    """What fails once where indices and pictures are kept changes nothing, also of those that are there."""
    series = fresh_series(server)
    for _ in range(2):
        server.begin(KEPT[name])
        answer = deployed("s3", series)
        assert (answer.status, answer.failed) == (200, 0), answer.said
        assert answer.picture == truths["s3"]
    assert not [path for path in server.objects if series in path and path.endswith(".lock")]


@pytest.mark.parametrize("kind", ["GET", "PUT"])
def test_keeping_fails_for_good(
    deployed: doors.Door, kind: str, server: faulty.FaultyServer, truths: dict[str, bytes]
) -> None:
    """Without a place for indices there is one error; nothing is kept by halves, and later all is well."""
    series = fresh_series(server)
    server.begin(always(BUSY, is_kept(kind)))
    answer = deployed("s3", series)
    assert answer.status == 503
    assert max(server.tries().values()) <= RETRIES + 1
    server.begin(lambda _asked: None)
    assert deployed("s3", series).picture == truths["s3"]
