import hmac
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import urllib3
from PIL import Image

import counting
import gateway
import planted
import searched
import servers
import synthetic
from commandline import BUCKET, SCRIPT, PutSeries
from dicom_series_preview.base.discreet import digest_of
from doors import WAIT_S, ended, get, served
from http_contract import ODD, CatalogueContract, Door, HttpContract, door_at, odd_series, problem

SERIES = synthetic.SERIES
CATALOGUED = (synthetic.series(), odd_series())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the main series, and one with an odd name two folders deep."""
    folder = tmp_path_factory.mktemp("served")
    synthetic.series().write(folder)
    odd_series().write(folder)
    return folder


@pytest.fixture(scope="module")
def local(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a local folder, with a second root that is empty."""
    cache, empty = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("empty")
    searched.catalogue(root.as_uri(), searched.storage_of(cache), *CATALOGUED)
    with served("--root", root, "--cache-dir", cache, "--alias", f"empty={empty}") as (address, _):
        yield address


@pytest.fixture(scope="module")
def s3(
    moto: servers.Moto, bucket: PutSeries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, counting.CountingProxy]]:
    """A server on an S3 server, signed, and a proxy that counts its requests."""
    for series in (synthetic.series(), odd_series()):
        bucket(f"served/{series.name}", series.objects)
    cache = tmp_path_factory.mktemp("cache")
    searched.catalogue(f"s3://{BUCKET}/served", searched.storage_of(cache), *CATALOGUED)
    with counting.CountingProxy(moto.endpoint) as proxy:
        environment = {**moto.environment, "AWS_ENDPOINT_URL": proxy.url}
        roots = ("--root", f"s3://{BUCKET}/served", "--alias", f"empty=s3://{BUCKET}/none")
        with served(*roots, "--cache-dir", cache, environment=environment) as (address, _):
            yield address, proxy


@pytest.fixture(params=["local", "s3"])
def address(request: pytest.FixtureRequest) -> str:
    """The address of a server, on each kind of root."""
    value = request.getfixturevalue(request.param)
    return value if isinstance(value, str) else value[0]


class TestHttp(HttpContract, CatalogueContract):
    """The server keeps the rules of the HTTP API, on each kind of root."""

    @pytest.fixture
    def door(self, address: str, root: Path) -> Door:
        """The server; no answer tells where its root lies."""

        def ask(target: str, method: str = "GET", **headers: str) -> gateway.Answer:
            answer = door_at(address)(target, method, **headers)
            told = answer.body + str(answer.headers).encode()
            assert not [secret for secret in (str(root), f"{BUCKET}/served") if secret.encode() in told]
            return answer

        return ask


def test_health_and_description(address: str) -> None:
    """The server says over which aliases it is, and what it answers."""
    assert json.loads(get(f"{address}/health").data)["roots"] == ["default", "empty"]
    assert json.loads(get(f"{address}/openapi.json").data)["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (f"/series/{SERIES}/mosaic?root=empty", "no-such-series"),
        (f"/series/{SERIES}?root=empty", "no-such-series"),
        ("/nowhere", "no-such-resource"),
        ("/batches", "no-such-resource"),
    ],
)
def test_what_is_not_there(address: str, target: str, kind: str) -> None:
    """A series that another root has, and a path that leads nowhere, are problems."""
    problem(door_at(address)(target), 404, kind)


def test_no_catalogue_yet(root: Path, tmp_path: Path) -> None:
    """Without a catalogue the answer says what makes one, and a series is told by its index alone."""
    with served("--root", root, "--cache-dir", tmp_path) as (address, _):
        detail = problem(door_at(address)("/series"), 404, "no-catalogue")["detail"]
        assert detail == "there is no catalogue yet; `dicom-series-preview update` makes one"
        document = json.loads(get(f"{address}/series/{SERIES}").data)
    assert (document["rows"], document["stacks"][0]["facts"]["slices"]) == ([], synthetic.SLICES)


def test_identifiers(root: Path, tmp_path: Path) -> None:
    """`--identifiers` wins over the environment; hashes are searched by, as kept values are."""
    searched.catalogue(root.as_uri(), searched.storage_of(tmp_path), *CATALOGUED)
    environment = {
        "DICOM_SERIES_PREVIEW_IDENTIFIERS": "hash",
        "DICOM_SERIES_PREVIEW_HASH_KEY": searched.KEY.decode(),
    }
    arguments = ("--root", root, "--cache-dir", tmp_path)
    hashed = hmac.new(searched.KEY, planted.PATIENT["PatientID"].encode(), "sha256").hexdigest()[:16]
    for more, patient in (((), hashed), (("--identifiers", "keep"), planted.PATIENT["PatientID"])):
        with served(*arguments, *more, environment=environment) as (address, _):
            document = json.loads(get(f"{address}/series?patient={patient}").data)
            assert document["total"] == 2
            assert {one["PatientID"] for one in document["series"]} == {patient}
            assert ("PatientName" in document["series"][0]) == bool(more)


@pytest.mark.parametrize("key", ["", "short"])
def test_hashes_need_a_key(root: Path, key: str) -> None:
    """Without a key that nobody guesses, a server that should hash does not start, and says so."""
    done = subprocess.run(
        [SCRIPT, "serve", "--root", root, "--identifiers", "hash"],
        capture_output=True,
        text=True,
        env={**os.environ, "DICOM_SERIES_PREVIEW_HASH_KEY": key},
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: DICOM_SERIES_PREVIEW_HASH_KEY: is needed to hash identifiers")
    assert done.stderr.count("\n") == 1


def test_a_request_that_is_too_long(address: str) -> None:
    """A query of megabytes is refused before it is read to its end, and the server goes on."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), WAIT_S) as connection:
        connection.settimeout(WAIT_S)
        try:
            connection.sendall(b"GET /health?" + b"x" * 10_000_000)
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert get(f"{address}/health").status == 200


def all_at_once(address: str, paths: list[str]) -> list[tuple[http.client.HTTPResponse, bytes]]:
    """The answers to requests that are all sent, each on a connection of its own, before one is read."""
    connections = [http.client.HTTPConnection(address.removeprefix("http://"), timeout=WAIT_S) for _ in paths]
    try:
        for connection in connections:
            connection.connect()
        for connection, path in zip(connections, paths, strict=True):
            connection.request("GET", path)
        return [(answer, answer.read()) for answer in (each.getresponse() for each in connections)]
    finally:
        for connection in connections:
            connection.close()


def test_many_at_once(local: str) -> None:
    """Each of three hundred requests at once is answered with the series, size and format it asked for."""
    series = [quote(SERIES, safe=""), quote(ODD, safe="")]
    formats = ["webp", "jpeg"]
    pictures = [
        f"/series/{series[i % 2]}/image?position=0&image_width={16 + i // 2}&format={formats[i // 2 % 2]}"
        for i in range(270)
    ]
    indices = [f"/series/{series[i % 2]}/index" for i in range(10)]
    missing = [f"/series/none/index?x={i}" for i in range(10)]
    for path in indices[:2]:
        assert get(local + path).status == 200
    answers = all_at_once(local, pictures + indices + missing + ["/health"] * 10)
    assert [answer.status for answer, _ in answers] == [200] * 280 + [400] * 10 + [200] * 10
    for i, (answer, body) in enumerate(answers[:270]):
        with Image.open(io.BytesIO(body)) as image:
            got = (unquote(answer.headers["Preview-Series"]), image.size, image.format.lower())
        assert got == ((SERIES, ODD)[i % 2], (16 + i // 2, 16 + i // 2), formats[i // 2 % 2])
    for i, (_, body) in enumerate(answers[270:280]):
        assert json.loads(body)["series"] == (SERIES, ODD)[i % 2]


def test_a_kept_picture_costs_one_listing(s3: tuple[str, counting.CountingProxy]) -> None:
    """A picture that was asked for before costs S3 one listing, and the same for one that has not changed."""
    address, proxy = s3
    url = f"{address}/series/{SERIES}/mosaic?tile_width=4"
    first = get(url)
    proxy.clear()
    again = get(url)
    assert again.data == first.data
    assert proxy.kinds() == {"LIST": 1}
    assert again.headers["Preview-Requests"] == "list=1, get=0"
    assert get(url, **{"If-None-Match": first.headers["ETag"]}).status == 304
    assert proxy.kinds() == {"LIST": 2}


def test_a_change_is_seen(tmp_path: Path) -> None:
    """A slice that comes into a series changes the next answer, for which clients are told to ask again."""
    series = synthetic.series("growing", 5, others=False)
    folder = series.write(tmp_path)
    last = folder / series.file_names[4]
    last.unlink()
    with served("--root", tmp_path, "--cache-dir", tmp_path / "c") as (address, _):
        url = f"{address}/series/growing/mosaic"
        first = get(url)
        assert (first.headers["Cache-Control"], first.headers["Preview-Slices"]) == (
            "private, no-cache",
            "4/4",
        )
        last.write_bytes(series.objects[last.name])
        again = get(url, **{"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.headers["Preview-Slices"]) == (200, "5/5")
        assert again.headers["Preview-Index"] == "updated"


# --- starting and ending


def test_interrupted(root: Path, tmp_path: Path) -> None:
    """An interrupt ends the server in order: status 0, and nothing more is said."""
    with served("--root", root, "--cache-dir", tmp_path) as (address, process):
        assert get(f"{address}/health").status == 200
        assert ended(process) == (-signal.SIGINT, "", "")


def test_quiet(root: Path, tmp_path: Path) -> None:
    """Answers and problems leave no trace on the terminal."""
    with served("--root", root, "--cache-dir", tmp_path) as (address, process):
        for path in ("health", "none", f"series/{SERIES}/image", f"series/{SERIES}/mosaic"):
            get(f"{address}/{path}")
        assert ended(process) == (-signal.SIGINT, "", "")


def test_a_port_that_is_taken(root: Path, tmp_path: Path) -> None:
    """A port that something listens on is one line of error, and status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [SCRIPT, "serve", "--root", root, "--cache-dir", tmp_path, "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    "options",
    [
        ["--root", "ftp://x"],
        ["--alias", "x"],
        ["--alias", "default=/data"],
        ["--port", "x"],
        ["--port", "70000"],
        ["--cache-dir", "/dev/null/x"],
        ["--root", "/dev/null"],
        ["--root", ".", "--alias", "other=/dev/null"],
        ["surplus"],
    ],
)
def test_what_cannot_be_served(command: Callable[..., Any], options: list[str]) -> None:
    """A server that cannot be started says why in one line, and ends with status 1."""
    outcome = command("serve", *options)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("error: ")


def test_an_access_log_with_v(root: Path, tmp_path: Path) -> None:
    """With -v each answer is a line that calls the series by a digest; without it there are none."""
    for options, lines in ((("-v",), 1), ((), 0)):
        arguments = ("--root", root, "--cache-dir", tmp_path / "cache", *options)
        with served(*arguments) as (url, process):
            assert urllib3.request("GET", f"{url}/series/{SERIES}/mosaic?tile_width=2").status == 200
            status, stdout, stderr = ended(process)
        assert (status, stdout) == (-signal.SIGINT, "")
        digest = digest_of(SERIES)
        found = re.findall(
            rf"^info: GET mosaic of series {digest}: 200, \d+ bytes, \d+ ms, .*$", stderr, re.MULTILINE
        )
        assert len(found) == lines
        assert SERIES not in stderr
