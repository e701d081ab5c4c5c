"""Who gets which password, from servers that ask for one."""

import logging
import os
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

import pytest

from dicom_series_preview.base.errors import AccessDeniedError, PreviewError, RequestError
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.base import ByteRange, Fetched
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.passwords import authorization_for
from dicom_series_preview.sources.storage.retry import RetryPolicy
from servers import Answer, Asked, ScriptedServer, dav_server

TOKEN = "eyJ0.b2s-ZW4_/~+=="
PASSWORD = "correct horse: \u00e4"
RANGE = ByteRange("s/1", 2, 5)
PART = Answer(206, {"Content-Range": "bytes 2-4/10", "ETag": '"v1"'}, b"234")
TOKENS = "DICOM_SERIES_PREVIEW_HTTP_TOKENS"


def fetch(url: str, environment: Mapping[str, str]) -> Fetched:
    """The one result of one range."""
    settings = Settings(Path("unused"), concurrency=4)
    storage = open_storage(url, settings, environment, retry=RetryPolicy(0, 0.0))
    (got,) = storage.fetch([RANGE])
    return got


def sent_to(server: ScriptedServer) -> list[str | None]:
    """The `Authorization` headers that a server got."""
    return [asked.headers.get("Authorization") for asked in server.asked]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose .netrc has a password for 127.0.0.1."""
    text = f'machine elsewhere login a password b\nmachine 127.0.0.1 login leo password "{PASSWORD}"\n'
    (tmp_path / ".netrc").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_token_goes_to_its_host_and_port() -> None:
    """A token is sent to the host and port that it names, whatever other tokens there are."""
    with ScriptedServer([PART]) as server:
        other = f"other@127.0.0.1:{server.port + 1};other@example.org"
        got = fetch(server.url, {TOKENS: f"{other};{TOKEN}@127.0.0.1:{server.port};"})
        assert got.data == b"234"
        assert sent_to(server) == [f"Bearer {TOKEN}"]
    with ScriptedServer([PART]) as server:
        # Without a port it is meant for HTTPS's.
        fetch(server.url, {TOKENS: f"{TOKEN}@127.0.0.1;{other}"})
        assert sent_to(server) == [None]


def test_a_password_of_netrc_goes_to_its_host(home: Path, tmp_path: Path) -> None:
    """The host's entry of .netrc is sent as Basic authentication; `default` is not; a token goes first."""
    for environment in ({"HOME": str(home)}, {"NETRC": str(home / ".netrc"), "HOME": "/nowhere"}):
        with ScriptedServer([PART]) as server:
            fetch(server.url, environment)
            (sent,) = sent_to(server)
            assert b64decode(sent.removeprefix("Basic ")).decode() == f"leo:{PASSWORD}"
            fetch(server.url, {**environment, TOKENS: f"{TOKEN}@127.0.0.1:{server.port}"})
            assert sent_to(server)[1] == f"Bearer {TOKEN}"
    (tmp_path / "default").write_text("machine x login a password b\ndefault login c password d\n")
    for environment in ({}, {"HOME": "/nowhere"}, {"NETRC": str(tmp_path / "default")}):
        with ScriptedServer([PART]) as server:
            fetch(server.url, environment)
            assert sent_to(server) == [None]


@pytest.mark.parametrize("kind", ["token", "password"])
def test_another_host_gets_nothing(kind: str, home: Path) -> None:
    """A redirect to another host or port takes no token and no password along; one on the host does."""
    with ScriptedServer([PART]) as other:

        def answer(asked: Asked) -> Answer:
            there = "/else/where" if asked.path == "/s/1" else f"{other.url}/stolen"
            return Answer(302, {"Location": there})

        with ScriptedServer(answer) as server:
            token = {TOKENS: f"{TOKEN}@127.0.0.1:{server.port}"}
            assert fetch(server.url, token if kind == "token" else {"HOME": str(home)}).data == b"234"
            first, second = sent_to(server)
            assert first == second is not None
    assert sent_to(other) == [None]


@pytest.mark.parametrize(
    "there", ["http://{evil}\\@{good}/x", "//{evil}\\@{good}/x", "http://{good}@{evil}/x"]
)
def test_a_host_that_looks_like_another_gets_nothing(there: str) -> None:
    """Whatever a redirect looks like, the host that is connected to is the one that is compared."""
    with ScriptedServer([PART]) as other:

        def answer(asked: Asked) -> Answer:
            places = {"evil": f"127.0.0.1:{other.port}", "good": asked.headers["Host"]}
            return Answer(302, {"Location": there.format(**places)})

        with ScriptedServer(answer) as server:
            fetch(server.url, {TOKENS: f"{TOKEN}@127.0.0.1:{server.port}"})
            assert sent_to(server) == [f"Bearer {TOKEN}"]
    assert sent_to(other) in ([], [None])


def test_who_is_refused_is_told_what_helps(caplog: pytest.LogCaptureFixture, home: Path) -> None:
    """401 is one line that names .netrc and the variable, and neither it nor the log tells a secret."""
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([Answer(401, {"WWW-Authenticate": "Bearer"})]) as server:
        for environment in ({}, {TOKENS: f"{TOKEN}@127.0.0.1:{server.port}"}, {"HOME": str(home)}):
            error = fetch(server.url, environment).error
            assert isinstance(error, AccessDeniedError)
            assert str(error) == (
                f"{server.url}/s/1: access denied (status 401); check the host's password in ~/.netrc, "
                f"or its token in {TOKENS}"
            )
    assert TOKEN not in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "value",
    ["secret", "secret@", "@host", "se cret@host", "secret@host/path", "secret\r\nX: y@host", "s@host:x"],
)
def test_a_variable_that_is_none_is_refused(value: str) -> None:
    """A variable that names no host, or no token, is refused by its name and without what it holds."""
    with pytest.raises(RequestError) as caught:
        fetch("http://127.0.0.1:9", {TOKENS: value})
    assert str(caught.value) == f"{TOKENS}: is TOKEN@HOST or TOKEN@HOST:PORT, several joined by ;"


@pytest.mark.parametrize("text", [b"machine x\npasswort geheim\n", b"machine x login \xff\xfe\n\xff", None])
def test_a_broken_netrc_is_not_quoted(
    text: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A .netrc that cannot be read is warned of without its text, and what needs none goes on."""
    path = tmp_path / ".netrc"
    path.mkdir() if text is None else path.write_bytes(text)
    with ScriptedServer([PART]) as server:
        assert fetch(server.url, {"HOME": str(tmp_path)}).data == b"234"
        assert sent_to(server) == [None]
    assert "geheim" not in caplog.text
    if text != b"machine x login \xff\xfe\n\xff":  # which another locale can read
        assert "the .netrc file is not used" in caplog.text


def test_a_folder_behind_a_password(home: Path, tmp_path: Path) -> None:
    """A WebDAV server that asks for a password is listed and read with it, and refused without."""
    folder = tmp_path / "served" / "s"
    folder.mkdir(parents=True)
    (folder / "1").write_bytes(b"0123456789")
    settings = Settings(Path("unused"), concurrency=4)
    with dav_server(folder.parent, {"leo": PASSWORD}) as url:
        storage = open_storage(url, settings, {"HOME": str(home)})
        assert [info.path for info in storage.list_objects("s")] == ["s/1"]
        assert next(iter(storage.fetch([RANGE]))).data == b"234"
        with pytest.raises(AccessDeniedError, match=r"~/\.netrc"):
            open_storage(url, settings, {}).list_objects("s")


@pytest.mark.parametrize("root", ["https://user:hush@host/x", "http://hush@host"])
def test_a_password_in_the_url_is_refused(root: str) -> None:
    """Credentials in a root's URL are refused with the ways that work, and are not told again."""
    with pytest.raises(PreviewError) as caught:
        open_storage(root, Settings(Path("unused")), {})
    assert str(caught.value) == (
        f"root: credentials do not belong in a URL; put them in ~/.netrc, or in {TOKENS}"
    )


def test_a_token_without_a_port_is_for_https_only() -> None:
    """`TOKEN@HOST` is not sent over a line that can be read: http:// wants its port named."""
    tokens = {TOKENS: f"{TOKEN}@Archive.example.org"}
    assert authorization_for("https://archive.example.org/dicom", tokens) == f"Bearer {TOKEN}"
    assert authorization_for("http://archive.example.org/dicom", tokens) is None
    assert authorization_for("https://archive.example.org:8443/dicom", tokens) is None
    assert authorization_for("http://archive.example.org:443/dicom", tokens) is None
    named = {TOKENS: f"{TOKEN}@archive.example.org:80"}
    assert authorization_for("http://archive.example.org/dicom", named) == f"Bearer {TOKEN}"


def test_the_case_of_a_host_is_no_matter(tmp_path: Path) -> None:
    """A machine of .netrc is found whatever the case that it is written in."""
    (tmp_path / ".netrc").write_text("machine LOCALHOST login leo password b\n", encoding="utf-8")
    for url in ("http://localhost/", "http://LocalHost/"):
        assert authorization_for(url, {"HOME": str(tmp_path)}) is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_no_netrc(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A pipe in the place of .netrc is not waited for, and said to be none; of none nothing is said."""
    os.mkfifo(tmp_path / "pipe")
    assert authorization_for("http://localhost/", {"NETRC": str(tmp_path / "pipe")}) is None
    assert authorization_for("http://localhost/", {"NETRC": os.devnull}) is None
    assert caplog.messages == ["the .netrc file is not used: it is no file"]
