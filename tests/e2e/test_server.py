import hmac
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

import gateway
import planted
import searched
import servers
import synthetic
from commandline import BUCKET, SCRIPT, PutSeries
from dicom_series_preview.base.discreet import digest_of
from doors import WAIT_S, ended, get, served
from http_contract import CatalogueContract, Door, HttpContract, door_at, odd_series, problem

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
def s3(moto: servers.Moto, bucket: PutSeries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on an S3 server, signed."""
    for series in (synthetic.series(), odd_series()):
        bucket(f"served/{series.name}", series.objects)
    roots = ("--root", f"s3://{BUCKET}/served", "--alias", f"empty=s3://{BUCKET}/none")
    cache = tmp_path_factory.mktemp("cache")
    root = f"s3://{BUCKET}/served"
    identity = f"{root} at {moto.endpoint}"
    searched.catalogue(root, searched.storage_of(cache), *CATALOGUED, identity=identity)
    with served(*roots, "--cache-dir", cache, environment=moto.environment) as (address, _):
        yield address


@pytest.fixture(params=["local", "s3"])
def address(request: pytest.FixtureRequest) -> str:
    """The address of a server, on each kind of root."""
    return request.getfixturevalue(request.param)


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


def test_no_catalogue_yet(root: Path, tmp_path: Path) -> None:
    """Without a catalogue the answer says what makes one, and a series is told by its index alone."""
    with served("--root", root, "--cache-dir", tmp_path) as (address, _):
        detail = problem(door_at(address)("/series"), 404, "no-catalogue")["detail"]
        assert detail == "there is no catalogue yet; `dicom-series-preview update --root FOLDER` makes one"
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


# --- starting and ending


def test_quiet(root: Path, tmp_path: Path) -> None:
    """Answers and problems leave no trace on the terminal, and an interrupt ends the server in order."""
    with served("--root", root, "--cache-dir", tmp_path) as (address, process):
        for path in ("health", "none", f"series/{SERIES}/image", f"series/{SERIES}/mosaic"):
            get(f"{address}/{path}")
        assert ended(process) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    "options",
    [
        ["--root", "ftp://x"],
        ["--root", "/dev/null"],
        ["--root", ".", "--alias", "other=/dev/null"],
        ["--port", "x"],
        ["--port", "70000"],
        ["--cache-dir", "/dev/null/x"],
        ["surplus"],
        # An alias is a name of its own and a root; its name is a part of URLs.
        *(["--alias", text] for text in ("x", "=/data", "x=", "../x=/data", "a/b=/data", "A=/data")),
        *(["--alias", text] for text in ("default=/data", "a b=/data", ".=/d")),
        # Nobody could send these.
        *(["--token", text] for text in ("two words", "Schlüssel", "")),
        *(["--allow-host", text] for text in ("http://x", "x:80", "1.2.3.4:80", "", "*")),
    ],
)
def test_what_cannot_be_served(command: Callable[..., Any], options: list[str]) -> None:
    """A server that cannot be started says why in one line, without a token, and ends with status 1."""
    outcome = command("serve", *options)
    assert (outcome.status, outcome.stdout) == (1, "")
    (line,) = outcome.lines
    assert line.startswith("error: ")
    if options[0] in ("--alias", "--token", "--allow-host"):
        assert line.startswith(f"error: {options[0]}: ")
        assert options[0] != "--token" or not options[1] or options[1] not in line


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
