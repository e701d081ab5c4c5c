"""The server among clients and storages that mean it harm, or are ill: real sockets, a real process."""

import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn

import synthetic
from dicom_series_preview.doors.server.connections import Connections, protocol
from doors import WAIT_S, ended, get, served

SERIES = synthetic.SERIES
HALF = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Half: "
HALF_OPEN = 1100


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a series."""
    folder = tmp_path_factory.mktemp("serving")
    synthetic.series(count=8).write(folder)
    return folder


def connect(address: str) -> socket.socket:
    """A connection to a server."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), WAIT_S)


# --- connections


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of open files")
def test_half_requests_do_not_stop_it(root: Path, tmp_path: Path) -> None:
    """1,100 clients that send half a request, more than a process may have files open, stop nobody else."""
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        try:
            address, process = stack.enter_context(served("--root", root, "--cache-dir", tmp_path))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if hard < 2 * HALF_OPEN:
            pytest.skip("this process may not have so many connections")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * HALF_OPEN), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(HALF_OPEN):
            connection = stack.enter_context(connect(address))
            connection.sendall(HALF)
        assert get(f"{address}/health").status == 200
        assert get(f"{address}/series/{SERIES}/mosaic").status == 200
        assert ended(process) == (-signal.SIGINT, "", "")


@contextmanager
def running(connections: Connections, app: Any) -> Iterator[str]:
    """A server of an application in this process, with its connections' limits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Its configuration of the log would outlast it.
        config = uvicorn.Config(app, http=protocol(connections), ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(WAIT_S)


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers ten megabytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10000000")]})
    await send({"type": "http.response.body", "body": b"x" * 10_000_000})


def closed(connection: socket.socket) -> bool:
    """Whether a server has ended a connection, once it has."""
    try:
        while connection.recv(2**20):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET", HALF, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
)
def test_a_request_that_does_not_come(sent: bytes) -> None:
    """A connection ends that sends nothing, half a request, or half of its second one."""
    with running(Connections(request_s=0.05), hello) as address, connect(address) as connection:
        connection.sendall(sent)
        assert closed(connection)


def test_bytes_that_trickle_prolong_nothing() -> None:
    """A request has one time limit, which a header a moment does not begin anew."""
    with running(Connections(request_s=0.2), hello) as address, connect(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever of them the end meets
            while True:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.01)


def test_an_answer_that_is_not_taken() -> None:
    """A client that asks and does not read is given up, and what was to be sent goes with it."""
    connections = Connections(answer_s=0.05)
    with running(connections, hello) as address, connect(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not connections.total:
            time.sleep(0.01)
        while connections.total:
            time.sleep(0.01)


def test_a_new_connection_ends_the_oldest_that_waits() -> None:
    """Where there are as many connections as there may be, the one that waited longest goes for a new one."""
    with running(Connections(3, request_s=WAIT_S), hello) as address, ExitStack() as stack:
        waiting = [stack.enter_context(connect(address)) for _ in range(3)]
        waiting[0].sendall(HALF)
        assert len(get(f"{address}/").data) == 10_000_000
        assert closed(waiting[0])


# --- hosts and tokens


def test_hosts(root: Path, tmp_path: Path) -> None:
    """A name that is not this server's is refused before anything is done, unless it was allowed."""
    arguments = ("--root", root, "--cache-dir", tmp_path, "--allow-host", "preview.example.org")
    with served(*arguments) as (address, _):
        for path in ("/health", "/openapi.json", f"/series/{SERIES}/mosaic", "/none"):
            refused = get(address + path, Host="attacker.example:8080")
            assert (refused.status, json.loads(refused.data)["status"]) == (421, 421)
        assert not list(tmp_path.rglob("*.parquet"))
        for host in ("localhost", "preview.example.org:443", "[::1]:9"):
            assert get(f"{address}/health", Host=host).status == 200
        with connect(address) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 421 ")


def test_token(root: Path, tmp_path: Path) -> None:
    """A token of the environment is asked for on every path, and told to nobody."""
    environment = {"DICOM_SERIES_PREVIEW_TOKEN": "Zwiebelfisch-1"}
    with served("--root", root, "--cache-dir", tmp_path, environment=environment) as (address, process):
        for path in ("/health", f"/series/{SERIES}/index", "/none"):
            refused = get(address + path)
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        allowed = {"Authorization": "Bearer Zwiebelfisch-1"}
        assert get(f"{address}/health", **allowed).status == 200
        assert get(f"{address}/series/{SERIES}/mosaic", **allowed).status == 200
        assert ended(process) == (-signal.SIGINT, "", "")


# --- storages that are silent


class Silent:
    """A server that takes connections and never answers."""

    def __enter__(self) -> Self:
        """Begin."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        # By its name: `served` finds the server by its address.
        self.url = f"http://localhost:{self._listener.getsockname()[1]}"
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._listener.close()


def test_a_silent_root_holds_up_no_other(root: Path, tmp_path: Path) -> None:
    """While sixty requests wait for a root that is silent, another root and /health are answered."""
    environment = {
        "DICOM_SERIES_PREVIEW_REQUEST_SECONDS": str(10 * WAIT_S),
        "DICOM_SERIES_PREVIEW_RETRIES": "0",
    }
    with Silent() as silent, ExitStack() as stack:
        arguments = ("--root", root, "--cache-dir", tmp_path, "--alias", f"silent={silent.url}/dicom")
        address, process = stack.enter_context(served(*arguments, environment=environment))
        stack.callback(process.kill)
        picture = f"{address}/series/{SERIES}/mosaic"
        assert get(picture).headers["Preview-Render"] == "made"
        waiting = [stack.enter_context(connect(address)) for _ in range(60)]
        for connection in waiting:
            connection.sendall(b"GET /series/S/mosaic?root=silent HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert get(f"{address}/health").status == 200
        assert get(picture).headers["Preview-Render"] == "kept"
        assert get(f"{picture}?tile_width=2").headers["Preview-Render"] == "made"
        with ThreadPoolExecutor(8) as pool:
            asked = [f"{picture}?tile_width=2&quality={quality}" for quality in range(16)]
            assert [answer.status for answer in pool.map(get, asked)] == [200] * 16
        for connection in waiting:
            connection.setblocking(False)  # noqa: FBT003 - positional in the library
            with pytest.raises(BlockingIOError):
                connection.recv(1)


# --- links that lead out


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_out_of_the_root(root: Path, tmp_path: Path) -> None:
    """The server refuses what a link leads to outside a root, also as a part of a series, unless allowed."""
    linked = tmp_path / "root"
    (linked / "inside").mkdir(parents=True)
    (linked / "out").symlink_to(root / SERIES)
    files = sorted((root / SERIES).glob("*.dcm"))
    for file in files[:-2]:
        (linked / "inside" / file.name).write_bytes(file.read_bytes())
    (linked / "inside" / "away.dcm").symlink_to(files[-1])
    (linked / "inside" / "folder").symlink_to(root / SERIES)
    (linked / "again").symlink_to(linked / "inside")
    cache = tmp_path / "c"
    with served("--root", linked, "--cache-dir", cache) as (address, _):
        refused = get(f"{address}/series/out/index")
        assert (refused.status, json.loads(refused.data)["detail"]) == (
            403,
            "a link leads out of the root; serve --follow-links allows it",
        )
        assert get(f"{address}/series/out%2Fx*/index").status == 403
        for name in ("inside", "again"):
            summary = json.loads(get(f"{address}/series/{name}/index").data)
            skipped = {item["name"]: item["reason"] for item in summary["skipped"]}
            assert {"away.dcm", "folder"} <= set(skipped)
            assert "a link leads out of the root" in skipped["away.dcm"]
    with served("--root", linked, "--cache-dir", cache, "--follow-links") as (address, _):
        assert get(f"{address}/series/out/index").status == 200
