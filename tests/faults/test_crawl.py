"""Servers that list without end: each is left after few requests, with one line that says what was seen."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import doors
import faulty
from dicom_series_preview.base.errors import LimitError, StorageError
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.sources.storage.base import Storage
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.open import open_storage
from doubles import Time
from faulty import FaultyServer, always, everything

MOST_REQUESTS = 200
SAME = "answers every path with the same page"
ELSEWHERE = "sends on to another page"
LINKS = ("a/", "b/", "c/", "about.html")


def but_for(path: str, fault: faulty.Fault, there: faulty.Fault) -> faulty.Plan:
    """One path is answered, and everything else another way."""
    return lambda asked: there if asked.path == path else fault


SITES: dict[str, tuple[Callable[[], faulty.Plan], str]] = {
    "soft 404": (lambda: always(faulty.same_page(*LINKS), everything), SAME),
    "hundreds of links": (lambda: always(faulty.same_page(*(f"{n}/" for n in range(500))), everything), SAME),
    "single-page application": (lambda: always(faulty.same_page("/app.js", "/style.css"), everything), SAME),
    "empty page": (lambda: always(faulty.same_page(), everything), SAME),
    "redirect to the start": (lambda: but_for("", faulty.moved("/"), faulty.same_page(*LINKS)), ELSEWHERE),
    "redirect to sign in": (
        lambda: but_for("login", faulty.moved("/login?next=there"), faulty.same_page("reset/", "join/")),
        ELSEWHERE,
    ),
    "a page with a nonce": (lambda: always(faulty.page_with_a_nonce(*LINKS), everything), SAME),
    "new names for ever": (lambda: always(faulty.page_of_new_names(2), everything), SAME),
}


@pytest.fixture(scope="module")
def site() -> Iterator[FaultyServer]:
    """A web server without WebDAV."""
    with FaultyServer(webdav=False) as server:
        yield server


@pytest.fixture(scope="module")
def served(site: FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[doors.Door]:
    """The local server, whose roots lie on the site."""
    cache = {"DICOM_SERIES_PREVIEW_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    with doors.local_server({"s3": f"{site.url}/deep/down", "http": site.url}, cache) as door:
        yield door


@pytest.fixture
def door(request: pytest.FixtureRequest, site: FaultyServer, tmp_path: Path) -> doors.Door:
    """A door by its name."""
    if request.param == "served":
        return request.getfixturevalue("served")
    capture = request.getfixturevalue("capsys").readouterr
    folder = tmp_path / "pictures"
    folder.mkdir()
    return doors.command_line({"s3": f"{site.url}/deep/down", "http": site.url}, folder, capture)


@pytest.mark.parametrize("door", ["command line", "served"], indirect=True)
@pytest.mark.parametrize("series", ["1.2.3", "38902e14-b11f-4548-910e-771ee757dc82"])
@pytest.mark.parametrize("name", SITES)
def test_a_site_that_is_no_archive(door: doors.Door, name: str, series: str, site: FaultyServer) -> None:
    """A site that answers every path is left after few requests, and the error says what was seen."""
    plan, said = SITES[name]
    for root in ("http", "s3"):
        site.begin(plan())
        answer = door(root, series)
        assert said in answer.said
        assert answer.status in (1, 502)
        assert len(site.asked) <= MOST_REQUESTS


@pytest.mark.parametrize("door", ["command line"], indirect=True)
@pytest.mark.parametrize("name", ["empty page", "single-page application"])
def test_a_site_without_folders(door: doors.Door, name: str, site: FaultyServer) -> None:
    """Where a series is looked for by its beginning, the error is the same."""
    plan, said = SITES[name]
    site.begin(plan())
    assert said in door("http", "389*").said


def test_webdav_of_everything() -> None:
    """So is a site that has the same folders in every folder by WebDAV."""
    with FaultyServer() as server:
        server.begin(always(faulty.folders_everywhere("a", "b"), everything))
        with pytest.raises(StorageError, match=SAME):
            archive(server).list_objects("s")
        assert len(server.asked) <= MOST_REQUESTS


# --- archives that look like such sites


def listed(storage: Storage, folder: str) -> list[str]:
    """The paths below a folder."""
    return [info.path for info in storage.list_objects(folder)]


def archive(server: FaultyServer, **limits: float) -> Storage:
    """The server as a root."""
    return open_storage(server.url, Settings(Path("unused"), limits=Limits(**limits)), {})


@pytest.mark.parametrize("webdav", [True, False])
def test_folders_that_hold_the_same_names(*, webdav: bool) -> None:
    """Pages without titles are the same byte for byte where folders hold the same names, at any depth."""
    paths = [f"s/{a}/{b}/{c}/{d}" for a, b, c, d in itertools.product(("x", "y"), repeat=4)]
    with FaultyServer(webdav=webdav) as server:
        server.objects.update(dict.fromkeys(paths, b"0123456789"))
        assert listed(archive(server), "s") == paths
        folders = 1 + 2 + 4 + 8
        # One more to find out that WebDAV is not spoken, one for a folder that is not there.
        assert len(server.asked) <= folders + 2


def test_a_site_that_invents_what_is_not_there() -> None:
    """A site whose page for unknown paths is another one than its folders' is listed."""
    paths = [f"s/{a}/{b}/1" for a in range(3) for b in range(3)]
    with FaultyServer(webdav=False) as server:
        server.objects.update(dict.fromkeys(paths, b"0123456789"))
        page = faulty.same_page("news/", "about/")
        server.begin(lambda asked: page if "no-such-folder" in asked.path else None)
        assert listed(archive(server), "s") == paths
        assert any("no-such-folder" in asked.path for asked in server.asked)


# --- bounds that hold whatever a server says


@pytest.mark.parametrize("folders", [2, 50])
def test_breadth_is_bounded(folders: int) -> None:
    """More folders than the limit are refused when they are seen, not when they have been asked for."""
    numbers = itertools.count()

    def page(connection: faulty.Connection, answer: faulty.Answer) -> None:
        names = [f"{next(numbers)}/" for _ in range(folders)]
        faulty.same_page(*names, f"{next(numbers)}.dcm")(connection, answer)

    with FaultyServer(webdav=False) as server:
        server.begin(always(page, everything))
        with pytest.raises(LimitError, match="s has more than 100 folders below it, the limit"):
            archive(server, folders=100).list_objects("s")
        assert len(server.asked) <= MOST_REQUESTS


def slow(time: Time, seconds: float, fault: faulty.Fault) -> faulty.Fault:
    """An answer that takes a while."""

    def answer_late(connection: faulty.Connection, answer: faulty.Answer) -> None:
        time.now += seconds
        fault(connection, answer)

    return answer_late


@pytest.mark.parametrize("root", ["", "s3://bucket"])
def test_a_listing_ends_with_the_request(root: str) -> None:
    """A listing whose every page brings something new ends with the time there is: too much was asked for."""
    numbers, time = itertools.count(), Time()

    def page(connection: faulty.Connection, answer: faulty.Answer) -> None:
        number = next(numbers)
        faulty.same_page(f"{number}/", f"{number}.dcm")(connection, answer)

    fault = (
        page if not root else faulty.pages_without_end(lambda: [f"s/{next(numbers):09}" for _ in range(1000)])
    )
    with FaultyServer(webdav=False) as server:
        server.begin(always(slow(time, 0.5, fault), everything))
        storage = open_storage(root or server.url, Settings(Path("unused")), server.environment)
        with pytest.raises(LimitError, match="longer than the limit of 5 s"):
            storage.within(Deadline(5.0, clock=time)).list_objects("s")
        assert len(server.asked) <= 12


def test_markers_without_end() -> None:
    """Markers of folders, of which there may be more than objects, are not listed for ever."""
    numbers = itertools.count()
    with FaultyServer() as server:
        keys = faulty.pages_without_end(lambda: [f"s/{next(numbers):09}" for _ in range(1000)], size=0)
        server.begin(always(keys, everything))
        bucket = open_storage("s3://bucket", Settings(Path("unused")), server.environment)
        with pytest.raises(LimitError, match="most of them empty"):
            bucket.list_objects("s", 10)
        assert len(server.asked) <= 20
