import dataclasses
import itertools
import re
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import servers
from dicom_series_preview.base import errors
from dicom_series_preview.base.settings import DEFAULT_ROOT, Settings
from dicom_series_preview.sources.storage.base import ByteRange, Meter, Storage
from dicom_series_preview.sources.storage.connections import connection_pool
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.http_client import HttpClient, Trust
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.retry import RetryPolicy
from dicom_series_preview.sources.storage.s3_pages import MAX_PAGE_BYTES, POOR_PAGES, Lister
from dicom_series_preview.sources.storage.throttle import Throttle
from servers import Answer, Asked, ScriptedServer

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAKEY", "AWS_SECRET_ACCESS_KEY": "wordless"}
SETTINGS = Settings(cache_dir=Path("unused"), concurrency=4, request_timeout_s=5.0)
QUICK = RetryPolicy(max_retries=2, timeout_s=20.0, first_delay_s=0.001, longest_delay_s=0.002)
RANGE = ByteRange("s/1", 2, 5)
PART = Answer(
    206,
    {"Content-Range": "bytes 2-4/10", "ETag": '"v1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
    b"234",
)


def test_buckets_of_one_name_on_two_servers_are_two_roots(tmp_path: Path) -> None:
    """An S3-compatible server's bucket is another root than AWS's; a public bucket's mirror is none."""
    servers = [{}, {"AWS_ENDPOINT_URL": "http://one:9000/"}, {"AWS_ENDPOINT_URL_S3": "http://two:9000"}]
    known = KEYS | {"HOME": str(tmp_path), "AWS_REGION": "us-east-1"}
    settings = dataclasses.replace(SETTINGS, region="us-east-1")
    of = {
        root: [open_storage(root, settings, known | server, retry=None).identity for server in servers]
        for root in ("s3://bucket/x", DEFAULT_ROOT)
    }
    assert of["s3://bucket/x"] == [
        "s3://bucket/x",
        "s3://bucket/x at http://one:9000",
        "s3://bucket/x at http://two:9000",
    ]
    assert set(of[DEFAULT_ROOT]) == {DEFAULT_ROOT}


class Told(NamedTuple):
    """Variables, and the host that S3 is asked at with them."""

    environment: dict[str, str]
    host: str


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        Told({"AWS_REGION": "eu-central-1"}, "s3.eu-central-1.amazonaws.com"),
        Told({"AWS_REGION": "cn-north-1"}, "s3.cn-north-1.amazonaws.com.cn"),
        Told({"AWS_DEFAULT_REGION": "us-iso-east-1"}, "s3.us-iso-east-1.c2s.ic.gov"),
        Told({"AWS_REGION": "us-isob-east-1"}, "s3.us-isob-east-1.sc2s.sgov.gov"),
        Told({"AWS_USE_FIPS_ENDPOINT": "True"}, "s3-fips.us-east-1.amazonaws.com"),
        Told({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "s3.dualstack.us-east-1.amazonaws.com"),
        Told(
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "s3-fips.dualstack.us-east-1.amazonaws.com",
        ),
    ],
)
def test_all_goes_to_one_address(
    environment: dict[str, str], host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question for the region, reads, listings and links all go to one address, and nothing elsewhere."""
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer([Answer(502)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)  # which obstore reads itself
        variables = {"HTTPS_PROXY": proxy.url, "HOME": str(tmp_path)} | KEYS | environment
        once = dataclasses.replace(QUICK, max_retries=0)
        storage = open_storage("s3://bucket", SETTINGS, variables, retry=once)
        for ask in (storage.get, storage.list_objects, storage.list_folders):
            with pytest.raises(errors.StorageUnavailableError):
                ask("s")
        assert [(asked.method, asked.path) for asked in proxy.asked] == [("CONNECT", f"{host}:443")] * 4
        link = storage.link("s/1", 60)
    assert link is not None
    assert link.startswith(f"https://{host}/bucket/s/1?")


def opened(url: str, tmp_path: Path, retry: RetryPolicy = QUICK, **environment: str) -> Storage:
    """A bucket on a scripted server."""
    variables = {"AWS_ENDPOINT_URL": url, "HOME": str(tmp_path)} | environment
    return open_storage("s3://bucket", SETTINGS, variables, retry=retry)


def error(code: str) -> bytes:
    """S3's error document."""
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


PASSING = [
    Answer(408),
    Answer(429),
    Answer(500),
    Answer(503, {}, error("SlowDown")),
    Answer(400, {}, error("RequestTimeout")),
]


@pytest.mark.parametrize("trouble", [*PASSING, Answer(0)])
def test_passing_troubles_are_retried(trouble: Answer, tmp_path: Path) -> None:
    """429, 5xx, timeouts and broken connections are tried again, and every try is counted."""
    with ScriptedServer([trouble, trouble, PART]) as server:
        storage = opened(server.url, tmp_path)
        (got,) = storage.fetch([RANGE])
        assert (got.data, got.object_size, got.version) == (b"234", 10, '"v1"')
        assert (len(server.asked), storage.usage.gets) == (3, 3)


def test_retries_are_bounded(tmp_path: Path) -> None:
    """After the last retry the status is named, in one line without the server's answer and addresses."""
    body = b"<Error><Code>SlowDown</Code><Message>secret\n</Message></Error>"
    with ScriptedServer([Answer(503, {}, body)]) as server:
        (got,) = opened(server.url, tmp_path).fetch([RANGE])
        assert isinstance(got.error, errors.StorageUnavailableError)
        assert got.error.url == "s3://bucket/s/1"
        for said in ("503", "SlowDown", "3 tries"):
            assert said in got.error.problem
        for unsaid in ("secret", "http:", "\n", "Generic", "<"):
            assert unsaid not in str(got.error)
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AccessDeniedError),
        (403, errors.AccessDeniedError),
        (404, errors.ObjectNotFoundError),
        (412, errors.ObjectChangedError),
    ],
)
def test_refusals_are_final(status: int, kind: type[errors.StorageError], tmp_path: Path) -> None:
    """What another try does not change fails at once, with its own error."""
    with ScriptedServer([Answer(status, {}, b"<Error><Code>Why</Code><Key>AKIAKEY</Key></Error>")]) as server:
        (got,) = opened(server.url, tmp_path, **KEYS).fetch([RANGE])
        assert type(got.error) is kind
        assert len(server.asked) == 1
        assert "AKIAKEY" not in str(got.error)
        assert "\n" not in str(got.error)


def test_short_bodies_are_retried(tmp_path: Path) -> None:
    """A body that was cut off is asked for again; a shorter range than was asked for is never passed on."""
    cut = Answer(206, PART.headers | {"Content-Length": "3"}, b"2")
    with ScriptedServer([cut, PART]) as server:
        (got,) = opened(server.url, tmp_path).fetch([RANGE])
        assert got.data == b"234"
        assert len(server.asked) == 2
    with ScriptedServer([cut]) as server:
        (got,) = opened(server.url, tmp_path).fetch([RANGE])
        assert isinstance(got.error, errors.StorageUnavailableError)
        assert "connection broke; gave up after 3 tries" in got.error.problem
        assert len(server.asked) == 3
    less = Answer(206, PART.headers | {"Content-Range": "bytes 2-3/10"}, b"23")
    whole = Answer(200, {**PART.headers, "Content-Range": ""}, b"0123456789")
    with ScriptedServer(lambda asked: less if "range" in asked.headers else whole) as server:
        (got,) = opened(server.url, tmp_path).fetch([RANGE])
        assert isinstance(got.error, errors.StorageUnavailableError)
        assert got.data == b""


def test_server_that_ignores_if_match(tmp_path: Path) -> None:
    """Another version's bytes are refused even where the server does not check."""
    with ScriptedServer([PART]) as server:
        (got,) = opened(server.url, tmp_path).fetch([dataclasses.replace(RANGE, version='"v0"')])
        assert isinstance(got.error, errors.ObjectChangedError)
        assert server.asked[0].headers["if-match"] == '"v0"'


def test_one_request_for_one_object(tmp_path: Path) -> None:
    """Size and version come with the bytes: no HEAD, and no range for a whole object."""
    whole = Answer(200, {"ETag": '"v1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, b"0123456789")
    with ScriptedServer([whole]) as server:
        got = opened(server.url, tmp_path).get("s/1")
        assert (got.data, got.object_size, got.version) == (b"0123456789", 10, '"v1"')
        assert [asked.method for asked in server.asked] == ["GET"]
        assert "range" not in {name.lower() for name in server.asked[0].headers}


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "ExpiredToken", "have expired"),
        (403, "ExpiredToken", "have expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "InvalidAccessKeyId", "not accepted"),
        (403, "SignatureDoesNotMatch", "not accepted"),
    ],
)
def test_credentials_that_fail_say_what_to_do(status: int, code: str, said: str, tmp_path: Path) -> None:
    """Refused credentials are told apart from a refused object: at once, and what helps is named."""
    with ScriptedServer([Answer(status, {}, error(code))]) as server:
        storage = opened(server.url, tmp_path, **KEYS)
        (got,) = storage.fetch([RANGE])
        with pytest.raises(errors.CredentialsError) as raised:
            storage.list_objects("s")
        for failed in (got.error, raised.value):
            assert isinstance(failed, errors.CredentialsError)
            assert said in str(failed)
            assert code in str(failed)
            assert "\n" not in str(failed)
        assert len(server.asked) == 2


def test_credentials_that_cannot_be_had(tmp_path: Path) -> None:
    """Where a profile's keys go missing while the process runs, the error names it."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = D\naws_secret_access_key = d\n")
    with ScriptedServer([PART]) as server:
        storage = opened(server.url, tmp_path, AWS_SHARED_CREDENTIALS_FILE=str(credentials))
        credentials.write_text("")
        (got,) = storage.fetch([RANGE])
    assert isinstance(got.error, errors.CredentialsError)
    assert "the AWS credentials cannot be had" in got.error.problem
    assert "Unable to locate credentials" in got.error.problem


def listing(keys: Sequence[str], token: str = "", folders: Sequence[str] = ()) -> bytes:
    """A page of a listing."""
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;v&quot;</ETag><Size>3</Size></Contents>"
        for key in keys
    )
    rows += "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
    return f"<ListBucketResult>{more if token else ''}{rows}</ListBucketResult>".encode()


def test_a_broken_listing_goes_on(tmp_path: Path) -> None:
    """A page that breaks off is asked for again, and no other; every try is counted."""
    cut = Answer(200, {"Content-Length": "1000"}, b"<ListBucketResult>")
    first, second = [f"s/{number:04}" for number in range(1000)], ["s/1000", "s/1001"]
    answers = [Answer(503), Answer(200, {}, listing(first, "next")), cut, Answer(200, {}, listing(second))]
    with ScriptedServer(answers) as server:
        storage = opened(server.url, tmp_path)
        assert [info.path for info in storage.list_objects("s")] == first + second
        paths = [asked.path for asked in server.asked]
    assert ["continuation-token=next" in path for path in paths] == [False, False, True, True]
    assert len(paths) == storage.usage.lists == 4


def test_a_page_has_bounds(tmp_path: Path) -> None:
    """A page longer than any of S3's is an error of the server's, of which no more is read."""
    answers = [Answer(200, {}, b"<ListBucketResult>" + b" " * 4 * MAX_PAGE_BYTES)]
    with ScriptedServer(answers) as server:
        storage = opened(server.url, tmp_path)
        tracemalloc.start()
        try:
            for listing in (storage.list_objects, storage.list_folders):
                with pytest.raises(errors.StorageError, match=f"more than {MAX_PAGE_BYTES} bytes"):
                    listing("s")
            assert tracemalloc.get_traced_memory()[1] < 4 * MAX_PAGE_BYTES
        finally:
            tracemalloc.stop()
        assert len(server.asked) == 2


def pages(*several: Sequence[str]) -> Callable[[Asked], Answer]:
    """Pages of a listing, and then no more."""

    def answer(asked: Asked) -> Answer:
        found = re.search(r"continuation-token=t(\d+)", asked.path)
        number = int(found[1]) if found else 0
        token = f"t{number + 1}" if number + 1 < len(several) else ""
        return Answer(200, {}, listing(several[number], token))

    return answer


@pytest.mark.parametrize(
    "several",
    [
        [["s/1"], *[[]] * 300, ["s/2", "s/3"], *[[]] * 300, ["s/4"]],
        [[f"s/{number}"] for number in range(500)],
    ],
    ids=["nothing", "one key each"],
)
def test_pages_may_have_little_on_them(several: list[list[str]], tmp_path: Path) -> None:
    """Where most is deleted, S3 gives pages with little or nothing on them; the listing is whole."""
    with ScriptedServer(pages(*several)) as server:
        found = opened(server.url, tmp_path).list_objects("s")
        assert [info.path for info in found] == sorted(itertools.chain(*several))
        assert len(server.asked) == len(several)


def endless(page: Callable[[int], bytes]) -> Callable[[Asked], Answer]:
    """A listing without end, page by page."""
    numbers = itertools.count()
    return lambda _asked: Answer(200, {}, page(next(numbers)))


def listed(answer: Callable[[Asked], Answer], error: type[Exception], match: str, most_pages: int) -> int:
    """How many pages are asked for of a listing that ends in an error."""
    with ScriptedServer(answer) as server, connection_pool(server.url, {}, 1) as pool:
        trust = Trust(server.url, None, allow_cross_host_redirects=False)
        client = HttpClient(pool, QUICK, Throttle(1), 5.0, trust)
        lister = Lister(client, f"{server.url}/bucket", "us-east-1", lambda: None, most_pages=most_pages)
        with pytest.raises(error, match=match) as raised:
            list(lister.pages("s3://bucket", Meter(), {"prefix": ""}, Deadline()))
        assert type(raised.value) is error
        return len(server.asked)


@pytest.mark.parametrize(
    "keys",
    [lambda _n: [], lambda n: [f"s/{n}"], lambda n: [f"s/{n}/"]],
    ids=["empty", "one key", "one marker"],
)
def test_a_listing_without_end(keys: Callable[[int], list[str]]) -> None:
    """Pages with hardly anything on them that never end are an error of the server's, after a thousand."""
    answer = endless(lambda number: listing(keys(number), f"t{number}"))
    assert listed(answer, errors.StorageError, "has no end", 2 * POOR_PAGES) == POOR_PAGES


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        (lambda number: listing([f"s/{number}"], "t"), 2),
        (lambda number: listing([f"s/{number}"], f"t{number % 3}"), 4),
        (lambda number: listing(["s/1", "s/2"], f"t{number}"), 2),
        (lambda number: listing([], f"t{number}", ["a/", "b/"]), 2),
    ],
    ids=["to the same page", "to an earlier page", "keys come again", "folders come again"],
)
def test_a_listing_in_circles(page: Callable[[int], bytes], asked: int) -> None:
    """A server whose pages come again, or that tells to go on where the listing has been, is left at once."""
    assert listed(endless(page), errors.StorageError, "repeats a page", POOR_PAGES) == asked


def test_full_pages_without_end() -> None:
    """Pages that are full have an end too, also where nobody says how many objects are enough."""
    answer = endless(lambda number: listing([f"s/{number}-{i}" for i in range(100)], f"t{number}"))
    assert listed(answer, errors.LimitError, "more than 7 pages", 7) == 7


ENTITY = (
    '<!DOCTYPE l [<!ENTITY a "aa">]>'
    "<ListBucketResult><Contents><Key>s/&a;</Key><Size>5</Size></Contents></ListBucketResult>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no XML",
        b"<html></html>",
        b"<ListBucketResult>",
        b"<ListBucketResult><Contents><Key>s/1</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>s/1</Key><Size>-5</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>s/1</Key><Size>"
        + b"9" * 30
        + b"</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Size>5</Size></Contents></ListBucketResult>",
        ENTITY.encode(),
        ENTITY.encode("utf-16"),
        ENTITY.encode("utf-16-le"),
        b"<ListBucketResult>" + b"<a>" * 300_000,
        b"<ListBucketResult>" + b"<a/>" * 300_000 + b"</ListBucketResult>",
        b"<ListBucketResult " + b"".join(b'a%d="" ' % i for i in range(300_000)) + b"/>",
    ],
)
def test_what_is_no_page(body: bytes, tmp_path: Path) -> None:
    """An answer that is no page of a listing is an error of the server's, in one line, and asked for once."""
    with ScriptedServer([Answer(200, {}, body)]) as server:
        with pytest.raises(errors.StorageError, match="the server's listing") as raised:
            opened(server.url, tmp_path).list_objects("s")
        assert "\n" not in str(raised.value)
        assert "http:" not in str(raised.value)
        assert len(server.asked) == 1


def test_a_comment_in_a_page(tmp_path: Path) -> None:
    """A page may hold a comment, as any XML."""
    body = listing(["s/1"]).replace(b"<Contents>", b"<!-- one --><Contents>")
    with ScriptedServer([Answer(200, {}, body)]) as server:
        assert [info.path for info in opened(server.url, tmp_path).list_objects("s")] == ["s/1"]


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ServiceUnavailable"])
def test_an_error_after_the_status(code: str, tmp_path: Path) -> None:
    """S3 may notice trouble when it has answered 200: the page is asked for again, so often and no more."""
    trouble = Answer(200, {}, error(code))
    with ScriptedServer([trouble, trouble, Answer(200, {}, listing(["s/1"]))]) as server:
        assert [info.path for info in opened(server.url, tmp_path).list_objects("s")] == ["s/1"]
        assert len(server.asked) == 3
    with ScriptedServer([trouble]) as server:
        with pytest.raises(errors.StorageUnavailableError, match=f"{code}; gave up after 3 tries"):
            opened(server.url, tmp_path).list_objects("s")
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDenied", errors.AccessDeniedError),
        ("ExpiredToken", errors.CredentialsError),
        ("Odd", errors.StorageError),
    ],
)
def test_a_refusal_after_the_status(code: str, kind: type[errors.StorageError], tmp_path: Path) -> None:
    """An error that another try does not change is told at once, also where the status was 200."""
    with ScriptedServer([Answer(200, {}, error(code))]) as server:
        with pytest.raises(errors.StorageError, match=code) as raised:
            opened(server.url, tmp_path).list_objects("s")
        assert type(raised.value) is kind
        assert len(server.asked) == 1


def test_keys_may_hold_anything(tmp_path: Path) -> None:
    """Keys come encoded where the server says so, for XML cannot hold all of them; else as they are."""
    names = {"s/a b": "s/a+b", "s/a+b": "s/a%2Bb", "s/a\nb": "s/a%0Ab", "s/ä": "s/%C3%A4"}
    body = listing(list(names.values())).replace(
        b"<Contents>", b"<EncodingType>url</EncodingType><Contents>", 1
    )
    for answer, expected in ((body, sorted(names)), (listing(["s/a+b", "s/a%2Bb"]), ["s/a%2Bb", "s/a+b"])):
        with ScriptedServer([Answer(200, {}, answer)]) as server:
            assert [info.path for info in opened(server.url, tmp_path).list_objects("s")] == expected
            assert "encoding-type=url" in server.asked[0].path


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", errors.AccessDeniedError),
        (301, "PermanentRedirect", errors.StorageError),
        (400, "ExpiredToken", errors.CredentialsError),
        (403, "RequestTimeTooSkewed", errors.CredentialsError),
        (404, "NoSuchBucket", errors.ObjectNotFoundError),
        (503, "SlowDown", errors.StorageUnavailableError),
        (400, "Strange", errors.StorageError),
    ],
)
def test_refused_listings(status: int, code: str, kind: type[errors.StorageError], tmp_path: Path) -> None:
    """A refused listing has its own error, in one line."""
    with ScriptedServer([Answer(status, {}, error(code))]) as server:
        storage = opened(server.url, tmp_path)
        for listing in (storage.list_objects, storage.list_folders):
            with pytest.raises(errors.StorageError) as raised:
                listing("s")
            assert type(raised.value) is kind
            assert code in str(raised.value) or kind is errors.ObjectNotFoundError
            assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "told"), [("InvalidObjectState", "Glacier.*restore"), ("AccessDenied", "requesters pay")]
)
def test_objects_that_are_there_and_cannot_be_read(code: str, told: str, tmp_path: Path) -> None:
    """An archived object says that it has to be restored; where requesters pay, S3 says no more than no."""
    with ScriptedServer([Answer(403, {}, error(code))]) as server:
        storage = opened(server.url, tmp_path)
        with pytest.raises(errors.AccessDeniedError, match=told) as raised:
            storage.get("s/1")
        assert "s/1" in str(raised.value)
        assert len(server.asked) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    """A server that is not there is unavailable, for reading and listing."""
    with ScriptedServer([PART]) as server:
        pass
    storage = opened(server.url, tmp_path, dataclasses.replace(QUICK, max_retries=0))
    with pytest.raises(errors.StorageUnavailableError):
        storage.get("s/1")
    for listing in (storage.list_objects, storage.list_folders):
        with pytest.raises(errors.StorageUnavailableError):
            listing("s")


def test_profile_signs(moto: servers.Moto, tmp_path: Path) -> None:
    """A profile's keys sign objects' requests and listings."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[mine]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    client = moto.client("s3")
    client.create_bucket(Bucket="with-profile")
    client.put_object(Bucket="with-profile", Key="s/1", Body=b"private")
    client.close()
    environment = {
        "AWS_ENDPOINT_URL": moto.endpoint,
        "AWS_PROFILE": "mine",
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "HOME": str(tmp_path),
    }
    storage = open_storage("s3://with-profile", SETTINGS, environment)
    assert storage.get("s/1").data == b"private"
    assert storage.list_folders("") == ["s"]


def test_requests_are_signed(tmp_path: Path) -> None:
    """With keys each request carries a signature, without none does."""
    with ScriptedServer([PART]) as server:
        list(opened(server.url, tmp_path, **KEYS).fetch([RANGE]))
        list(opened(server.url, tmp_path).fetch([RANGE]))
        signed, unsigned = ({name.lower() for name in asked.headers} for asked in server.asked)
    assert "authorization" in signed
    assert "authorization" not in unsigned


def test_missing_ca_bundle(tmp_path: Path) -> None:
    """Certificate authorities that are not there are named when the root is opened."""
    with pytest.raises(errors.StorageError, match="none"):
        opened("https://127.0.0.1:1", tmp_path, AWS_CA_BUNDLE=str(tmp_path / "none.pem"))


def answers_listing(asked: Asked) -> Answer:
    """Two pages of folders."""
    second = "continuation-token=next" in asked.path
    return Answer(200, {}, listing([], "" if second else "next", ["b/" if second else "a/"]))


def test_all_pages_of_folders(tmp_path: Path) -> None:
    """Folders are listed to the last page, each page counted."""
    with ScriptedServer(answers_listing) as server:
        storage = opened(server.url, tmp_path)
        assert storage.list_folders("") == ["a", "b"]
        assert storage.usage.lists == 2


@pytest.mark.parametrize("key", ["elsewhere/x", "s2/x"])
@pytest.mark.parametrize("beside", ["s/1", "s/a//b"])
def test_keys_from_elsewhere(key: str, beside: str, tmp_path: Path) -> None:
    """A listing with a key outside of what is listed is an error, whatever is beside it."""
    with (
        ScriptedServer([Answer(200, {}, listing([beside, key]))]) as server,
        pytest.raises(errors.StorageError, match="elsewhere"),
    ):
        opened(server.url, tmp_path).list_objects("s")


def test_folders_from_elsewhere(tmp_path: Path) -> None:
    """So is a listing of folders."""
    with (
        ScriptedServer(answers_listing) as server,
        pytest.raises(errors.StorageError, match="elsewhere"),
    ):
        opened(server.url, tmp_path).list_folders("a")


def test_a_page_that_does_not_tell_the_next(tmp_path: Path) -> None:
    """It is an error of the server's."""
    body = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    with (
        ScriptedServer([Answer(200, {}, body)]) as server,
        pytest.raises(errors.StorageError, match="next page"),
    ):
        opened(server.url, tmp_path).list_folders("")
