"""What a web server may do wrong, from a real one that does it."""

import itertools
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from dicom_series_preview.base.errors import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.base import ByteRange, Fetched, Storage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from servers import Answer, Asked, ScriptedServer

TEN = b"0123456789"
ETAG = '"v1"'
RANGE = ByteRange("s/1", 2, 5)
PART = Answer(206, {"Content-Range": "bytes 2-4/10", "ETag": ETAG}, b"234")
SHORT = Answer(206, {"Content-Range": "bytes 2-4/10", "Content-Length": "3"}, b"2")
RESET = Answer(0)


class Pauses:
    """Waits for nothing and keeps how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, abandoned: threading.Event, seconds: float) -> bool:
        """Return at once."""
        self.seconds.append(seconds)
        return abandoned.is_set()


@pytest.fixture
def pauses() -> Pauses:
    """What was waited for."""
    return Pauses()


def opened(url: str, pauses: Pauses, *, allow: bool = True, **policy: float) -> Storage:
    """The server's root, retried without waiting."""
    facts = {"max_retries": 3, "timeout_s": 60.0} | policy
    retry = RetryPolicy(**facts, wait=pauses, jitter=lambda longest: longest)
    settings = Settings(cache_dir=Path("unused"), concurrency=4)
    return open_storage(url, settings, {}, allow_cross_host_redirects=allow, retry=retry)


def fetch_one(storage: Storage, wanted: ByteRange = RANGE) -> Fetched:
    """The one result of one range."""
    (got,) = storage.fetch([wanted])
    return got


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_troubles_are_retried(status: int, pauses: Pauses) -> None:
    """429, 5xx and the like are tried again, each pause twice as long as the one before."""
    with ScriptedServer([Answer(status), Answer(status), PART]) as server:
        storage = opened(server.url, pauses)
        assert fetch_one(storage).data == b"234"
        assert (len(server.asked), storage.usage.gets, storage.usage.bytes) == (3, 3, 3)
    assert pauses.seconds == [0.2, 0.4]


@pytest.mark.parametrize("trouble", [RESET, SHORT])
def test_broken_connections_are_retried(trouble: Answer, pauses: Pauses) -> None:
    """A reset connection or a body cut short is tried again."""
    with ScriptedServer([trouble, PART]) as server:
        assert fetch_one(opened(server.url, pauses)).data == b"234"
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("trouble", "said"), [(Answer(503), "503"), (RESET, "connection"), (SHORT, "cut short")]
)
def test_retries_are_bounded_in_count(trouble: Answer, said: str, pauses: Pauses) -> None:
    """After the last retry the trouble is named."""
    with ScriptedServer([trouble]) as server:
        error = fetch_one(opened(server.url, pauses)).error
        assert isinstance(error, StorageUnavailableError)
        assert said in str(error)
        assert "4 tries" in str(error)
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("50", 50.0),
        (formatdate(0, usegmt=True), 0.0),
        *((value, 0.2) for value in ("soon", *(f"Mon, 01 Jan {'9' * n} 00:00:00 GMT" for n in (20, 5_000)))),
    ],
)
def test_retry_after(value: str, pause: float, pauses: Pauses) -> None:
    """The pause is the one that the server asks for, and ours when it makes no sense."""
    with ScriptedServer([Answer(429, {"Retry-After": value}), PART]) as server:
        assert fetch_one(opened(server.url, pauses)).data == b"234"
    assert pauses.seconds == [pause]


def test_retry_after_as_a_date(pauses: Pauses) -> None:
    """A date is a pause until then."""
    soon = formatdate(time.time() + 40, usegmt=True)
    with ScriptedServer([Answer(503, {"Retry-After": soon}), PART]) as server:
        assert fetch_one(opened(server.url, pauses)).data == b"234"
    (pause,) = pauses.seconds
    assert 0 < pause <= 40


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AccessDeniedError),
        (403, AccessDeniedError),
        (404, ObjectNotFoundError),
        (410, ObjectNotFoundError),
        (412, ObjectChangedError),
        (400, StorageError),
        (418, StorageError),
    ],
)
def test_refusals_are_final(status: int, kind: type[StorageError], pauses: Pauses) -> None:
    """What another try does not change fails at once, with its own error."""
    with ScriptedServer([Answer(status)]) as server:
        error = fetch_one(opened(server.url, pauses)).error
        assert type(error) is kind
        assert len(server.asked) == 1
    assert pauses.seconds == []


def test_nobody_listens(pauses: Pauses) -> None:
    """A server that is not there is unavailable, in one line that names it."""
    with ScriptedServer([PART]) as server:
        pass
    with pytest.raises(StorageUnavailableError, match="no connection") as raised:
        opened(server.url, pauses).get("s/1")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-2/10", "bytes 2-5/10", "bytes 2-4/4", "bytes 5-7/10", "items 2-4/10", "", "bytes 2-4/*"],
)
def test_wrong_content_range(content_range: str, pauses: Pauses) -> None:
    """Bytes whose place is not the one asked for, or not known, are never passed on."""
    with ScriptedServer([Answer(206, {"Content-Range": content_range}, b"234")]) as server:
        got = fetch_one(opened(server.url, pauses))
        assert type(got.error) is StorageError
        assert got.data == b""


def test_shorter_range_than_asked_for(pauses: Pauses) -> None:
    """A part of the range is not the range."""
    less = Answer(206, {"Content-Range": "bytes 2-3/10"}, b"23")
    with ScriptedServer([less, PART]) as server:
        assert fetch_one(opened(server.url, pauses)).data == b"234"


def test_size_follows_from_a_range_that_was_cut(pauses: Pauses) -> None:
    """Where the server keeps the size to itself, a range cut at the end tells it."""
    with ScriptedServer([Answer(206, {"Content-Range": "bytes 2-9/*"}, TEN[2:])]) as server:
        got = fetch_one(opened(server.url, pauses), ByteRange("s/1", 2, 50))
        assert (got.data, got.object_size) == (TEN[2:], 10)


def test_server_that_ignores_range(pauses: Pauses, caplog: pytest.LogCaptureFixture) -> None:
    """Of a whole object only what is needed is read, and that Range is ignored is said once."""
    large = TEN + bytes(5_000_000)
    with ScriptedServer([Answer(200, {"ETag": ETAG}, large)]) as server:
        storage = opened(server.url, pauses)
        for wanted in (RANGE, ByteRange("s/2", 2, 5)):
            got = fetch_one(storage, wanted)
            assert (got.data, got.object_size, got.version) == (b"234", len(large), ETAG)
        assert storage.usage.bytes == 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_whole_object_of_unknown_length(pauses: Pauses) -> None:
    """An answer without a length is read to its end for the size."""
    chunked = Answer(200, {"Transfer-Encoding": "chunked"}, b"a\r\n" + TEN + b"\r\n0\r\n\r\n")
    with ScriptedServer([chunked]) as server:
        got = fetch_one(opened(server.url, pauses))
        assert (got.data, got.object_size) == (b"234", 10)


def test_416_tells_the_size(pauses: Pauses) -> None:
    """A range past the end is no bytes, and the size that the server tells."""
    with ScriptedServer([Answer(416, {"Content-Range": "bytes */2"})]) as server:
        got = fetch_one(opened(server.url, pauses))
        assert (got.data, got.object_size, got.error) == (b"", 2, None)


def test_compressed_answers_are_refused(pauses: Pauses) -> None:
    """Compression is never asked for, and never taken for the object's bytes."""
    with ScriptedServer([Answer(200, {"Content-Encoding": "gzip"}, b"xx")]) as server:
        with pytest.raises(StorageError, match="compress"):
            opened(server.url, pauses).get("s/1")
        assert server.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("version", "sent", "headers", "error"),
    [
        (ETAG, ETAG, {"ETag": ETAG}, type(None)),
        (ETAG, ETAG, {"ETag": '"v2"'}, ObjectChangedError),
        (ETAG, ETAG, {"ETag": 'W/"v1"'}, type(None)),
        ('W/"v1"', None, {"ETag": '"v1"'}, type(None)),
        ('W/"v1"', None, {"ETag": 'W/"v2"'}, ObjectChangedError),
        (ETAG, ETAG, {}, type(None)),
        ("Mon, 01 Jan 2024 00:00:00 GMT", None, {"ETag": ETAG}, type(None)),
        (
            "Mon, 01 Jan 2024 00:00:00 GMT",
            None,
            {"Last-Modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
            ObjectChangedError,
        ),
        ("page 01-Jan-2024 00:00 10", None, {"ETag": ETAG}, type(None)),
    ],
)
def test_versions(
    version: str, sent: str | None, headers: dict[str, str], error: type, pauses: Pauses
) -> None:
    """If-Match carries strong tags only, and versions of one kind are compared whatever the server does."""
    with ScriptedServer([Answer(206, {**PART.headers, "ETag": "", **headers}, b"234")]) as server:
        got = fetch_one(opened(server.url, pauses), ByteRange("s/1", 2, 5, version))
        assert isinstance(got.error, error)
        assert server.asked[0].headers.get("If-Match") == sent


def redirecting(location: str, status: int = 302) -> Answer:
    """A redirect."""
    return Answer(status, {"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_on_the_host_are_followed(status: int, pauses: Pauses) -> None:
    """A redirect within the host is followed, the range with it."""
    with ScriptedServer([redirecting("/else/where", status), PART]) as server:
        assert fetch_one(opened(server.url, pauses, allow=False)).data == b"234"
        assert [asked.path for asked in server.asked] == ["/s/1", "/else/where"]
        assert server.asked[1].headers["Range"] == "bytes=2-4"


def test_redirects_to_another_host(pauses: Pauses) -> None:
    """Another host is asked only where that is allowed; a refusal does not name it."""
    with ScriptedServer([PART]) as other:
        location = f"{other.url.replace('//', '//user:pass@')}/signed?X-Amz-Signature=secret"
        with ScriptedServer([redirecting(location)]) as server:
            error = fetch_one(opened(server.url, pauses, allow=False)).error
            assert type(error) is StorageError
            assert f"127.0.0.1:{server.port}" in str(error)
            assert f"127.0.0.1:{other.port}" not in str(error)
            assert "secret" not in str(error)
            assert "pass" not in str(error)
            assert other.asked == []
        for place in ("http://{there}\\@{here}/x", "//{there}\\@{here}/x"):

            def answer(asked: Asked, place: str = place) -> Answer:
                places = {"here": asked.headers["Host"], "there": f"127.0.0.1:{other.port}"}
                return redirecting(place.format(**places))

            with ScriptedServer(answer) as server:
                assert "another host" in str(fetch_one(opened(server.url, pauses, allow=False)).error)
                assert other.asked == []
        with ScriptedServer([redirecting(f"{other.url}/elsewhere")]) as server:
            assert fetch_one(opened(server.url, pauses, allow=True)).data == b"234"


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        *((url, "to nowhere") for url in ("", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x")),
        *((url, "no URL") for url in ("http://[bad/", "http://127.0.0.1:99999/x", "http://h:abc/x")),
        *((url, "no URL") for url in ("//[::1", "http://h:-1/x")),
    ],
)
@pytest.mark.parametrize("allow", [True, False])
def test_redirects_to_nowhere(location: str, problem: str, allow: bool, pauses: Pauses) -> None:  # noqa: FBT001
    """Only http and https are redirected to, and a broken address is told as a fault of the server's."""
    with ScriptedServer([redirecting(location)]) as server:
        error = fetch_one(opened(server.url, pauses, allow=allow)).error
        assert type(error) is StorageError
        assert problem in str(error)


LONG = "9" * 5_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(206, {"Content-Range": f"bytes 2-4/{LONG}"}, b"234"),
        Answer(206, {"Content-Range": f"bytes 2-{LONG}/{LONG}"}, b"234"),
        Answer(206, {"Content-Range": f"bytes {LONG}-4/9"}, b"234"),
        Answer(416, {"Content-Range": f"bytes */{LONG}"}),
        Answer(416),
        Answer(200, {"Content-Length": LONG}, TEN),
        Answer(200, {"Content-Length": "9" * 30}, TEN),
    ],
)
def test_numbers_that_nothing_can_have(answer: Answer, pauses: Pauses) -> None:
    """A number of thousands of digits, or the size that a range is past and nobody tells, is an error."""
    with ScriptedServer([answer]) as server:
        assert type(fetch_one(opened(server.url, pauses)).error) is StorageError


@pytest.mark.parametrize("version", ['"a\nX-Evil: 1"', '"a\r\n b"', '"\u2603"', '"\0"'])
def test_versions_that_no_header_can_hold(version: str, pauses: Pauses) -> None:
    """They are not sent, and are compared all the same."""
    with ScriptedServer([PART]) as server:
        got = fetch_one(opened(server.url, pauses), ByteRange("s/1", 2, 5, version))
        assert isinstance(got.error, ObjectChangedError)
        assert "If-Match" not in server.asked[0].headers


def test_redirects_in_a_circle(pauses: Pauses) -> None:
    """Five redirects are followed, a sixth is not."""
    with ScriptedServer([redirecting("/again")]) as server:
        error = fetch_one(opened(server.url, pauses)).error
        assert "5 times" in str(error)
        assert len(server.asked) == 6


PAGE = Answer(200, {"Content-Type": "text/html"}, b'<a href="1">1</a><a href="b/">b/</a>')


@pytest.mark.parametrize("status", [400, 403, 405, 501, 200])
def test_propfind_is_tried_once(status: int, pauses: Pauses) -> None:
    """A server that does not speak WebDAV is not asked to again."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "PROPFIND":
            return Answer(status)
        return PAGE if asked.path == "/s/" else Answer(200, {"Content-Type": "text/html"})

    with ScriptedServer(answer) as server:
        storage = opened(server.url, pauses)
        for _ in range(2):
            assert [info.path for info in storage.list_objects("s")] == ["s/1"]
        assert [asked.method for asked in server.asked] == ["PROPFIND", "GET", "GET", "GET", "GET"]
        assert storage.usage.lists == 5


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AccessDeniedError), (403, AccessDeniedError), (418, StorageError)]
)
def test_listings_that_are_refused(status: int, kind: type[StorageError], pauses: Pauses) -> None:
    """A listing that the server refuses is an error, never an empty folder."""
    with ScriptedServer([Answer(status)]) as server, pytest.raises(kind):
        opened(server.url, pauses).list_objects("s")


def test_a_refused_subfolder_is_an_error(pauses: Pauses) -> None:
    """A folder that WebDAV lists and then refuses does not go missing quietly."""
    body = b'<d:multistatus xmlns:d="DAV:"><d:response><d:href>/s/b/</d:href></d:response></d:multistatus>'

    def answer(asked: Asked) -> Answer:
        return Answer(207, {}, body) if asked.path == "/s/" else Answer(403)

    with ScriptedServer(answer) as server, pytest.raises(AccessDeniedError, match="s/b"):
        opened(server.url, pauses).list_objects("s")


def test_what_is_no_directory_page(pauses: Pauses) -> None:
    """A server that answers a folder with something else than a page offers no listing."""
    answer = Answer(200, {"Content-Type": "application/json"}, b"[]")
    with ScriptedServer([answer]) as server, pytest.raises(StorageError, match="neither WebDAV nor"):
        opened(server.url, pauses).list_objects("s")


def test_folders_without_end(pauses: Pauses) -> None:
    """A circle of folders, which a link makes, is an error after a bounded number of requests."""
    page = Answer(200, {"Content-Type": "text/html"}, b'<a href="again/">again/</a>')

    def answer(asked: Asked) -> Answer:
        names = set(asked.path.strip("/").split("/"))
        return page if asked.method == "GET" and names <= {"s", "again"} else Answer(404)

    with ScriptedServer(answer) as server:
        with pytest.raises(StorageError, match="16 deep"):
            opened(server.url, pauses).list_objects("s")
        assert len(server.asked) < 20


def test_missing_root(pauses: Pauses) -> None:
    """Looking for folders in a root that is not there says so."""
    with ScriptedServer([Answer(404)]) as server, pytest.raises(ObjectNotFoundError, match="no such folder"):
        opened(server.url, pauses).list_folders("3")


@pytest.mark.parametrize("answer", [SHORT, Answer(200, {"Content-Length": "9"}, TEN[:4])])
def test_a_body_that_never_ends_is_given_up(answer: Answer) -> None:
    """A server that goes on sending a little now and then is not listened to for good."""
    hours = itertools.count(0.0, 3600.0)
    with ScriptedServer([answer]) as server:
        retry = RetryPolicy(max_retries=3, timeout_s=60.0, clock=hours.__next__)
        storage = open_storage(server.url, Settings(cache_dir=Path("unused")), {}, retry=retry)
        error = fetch_one(storage).error
        assert isinstance(error, StorageUnavailableError)
        assert error.problem == "the answer takes longer than 300 s; gave up after 1 try"


def test_of_an_object_without_a_length_only_the_range_is_kept(pauses: Pauses) -> None:
    """Where only the end tells an object's size, its bytes are counted and the range's are given."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (TEN[:3], TEN[3:8], TEN[8:], b""))
    with ScriptedServer([Answer(200, {"Transfer-Encoding": "chunked"}, chunks)]) as server:
        storage = opened(server.url, pauses)
        got = [fetch_one(storage, ByteRange("s/1", *ends)) for ends in ((2, 5), (4, 40), (7, None), (20, 30))]
        assert [(one.data, one.object_size) for one in got] == [
            (TEN[2:5], 10),
            (TEN[4:], 10),
            (TEN[7:], 10),
            (b"", 10),
        ]
        assert storage.usage.bytes == 40
