"""Real servers on 127.0.0.1 for tests: each a context manager that gives its address when it answers."""

import http.server
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import boto3
import urllib3
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

START_TIMEOUT_S = 60.0
NGINX_MODULES = (
    Path("/usr/lib/nginx/modules"),
    Path("/usr/lib64/nginx/modules"),
    Path("/usr/local/libexec/nginx"),
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_answers(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when something answers HTTP at `url`, whatever its status."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with urllib3.PoolManager() as pool:
        while True:
            try:
                pool.request("GET", url, retries=False, timeout=5.0)
            except urllib3.exceptions.HTTPError:
                if process is not None and process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended with status {process.returncode}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def running(command: list[str], url: str, log: Path) -> Iterator[None]:
    """Run a server process while the context lasts; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until_answers(url, process)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Moto:
    """A moto server.

    Attributes:
        endpoint: Its address.
        environment: The variables with which a client signs its requests to it.
    """

    endpoint: str
    environment: dict[str, str]

    def client(self, service: str):
        """A boto3 client of one of its services; close it."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def configure(self, settings: dict[str, dict[str, bool]]) -> None:
        """Set what its services do."""
        with urllib3.PoolManager() as pool:
            answer = pool.request("POST", f"{self.endpoint}/moto-api/config", json=settings)
            assert answer.status < 300, answer.data


# moto looks whether a write's condition holds and then writes; S3 does both at once.
_MOTO = """
import threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication as Application
from moto.server import main

answer, writing = Application.__call__, threading.Lock()

def one_write_at_a_time(application, environ, start_response):
    if environ["REQUEST_METHOD"] != "PUT":
        return answer(application, environ, start_response)
    with writing:
        return answer(application, environ, start_response)

Application.__call__ = one_write_at_a_time
main()
"""


@contextmanager
def moto_server() -> Iterator[Moto]:
    """An S3 (and more) server: moto, in a process of its own."""
    endpoint = f"http://127.0.0.1:{(port := free_port())}"
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    command = [sys.executable, "-c", _MOTO, "-H", "127.0.0.1", "-p", str(port)]
    ready = f"{endpoint}/moto-api/data.json"
    with tempfile.TemporaryDirectory() as scratch, running(command, ready, Path(scratch) / "log"):
        yield Moto(endpoint, environment)


@contextmanager
def dav_server(folder: Path, passwords: dict[str, str] | None = None) -> Iterator[str]:
    """A WebDAV server with ranges: wsgidav on cheroot; with passwords by user, for those alone."""
    users = {user: {"password": password} for user, password in (passwords or {}).items()}
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(folder)},
            "simple_dc": {"user_mapping": {"*": users or True}},
            "http_authenticator": {"accept_digest": False, "default_to_digest": False},
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=8)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.bind_addr[1]}"
    finally:
        server.stop()
        thread.join(10)


def nginx_missing(*, webdav: bool) -> str:
    """Why nginx cannot serve here; empty when it can."""
    if shutil.which("nginx") is None:
        return "nginx is not on PATH (apt-get install nginx-light)"
    if webdav and _dav_module() is None:
        return "nginx has no dav-ext module (apt-get install libnginx-mod-http-dav-ext)"
    return ""


def _dav_module() -> Path | None:
    found = (folder / "ngx_http_dav_ext_module.so" for folder in NGINX_MODULES)
    return next((path for path in found if path.exists()), None)


@contextmanager
def nginx_server(folder: Path, *, webdav: bool) -> Iterator[str]:
    """nginx: with dav-ext's PROPFIND, or with directory pages only."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        configuration = Path(scratch) / "nginx.conf"
        temporary = "\n".join(
            f"{kind}_temp_path {scratch}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration.write_text(
            f"""
            {f"load_module {_dav_module()};" if webdav else ""}
            {"user root root;" if os.geteuid() == 0 else ""}
            daemon off;
            worker_processes 1;
            pid {scratch}/pid;
            error_log {scratch}/error.log;
            events {{ worker_connections 512; }}
            http {{
                access_log off;
                {temporary}
                server {{
                    listen 127.0.0.1:{port};
                    root "{folder}";
                    autoindex on;
                    {"dav_ext_methods PROPFIND OPTIONS;" if webdav else ""}
                }}
            }}
            """,
            encoding="utf-8",
        )
        address = f"http://127.0.0.1:{port}"
        command = ["nginx", "-p", scratch, "-c", str(configuration), "-e", f"{scratch}/error.log"]
        with running(command, address, Path(scratch) / "log"):
            yield address


@contextmanager
def python_server(folder: Path) -> Iterator[str]:
    """`python -m http.server`: neither ranges nor WebDAV."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(folder),
    ]
    with tempfile.TemporaryDirectory() as scratch, running(command, address, Path(scratch) / "log"):
        yield address


@dataclass(frozen=True)
class Answer:
    """What a scripted server sends.

    Attributes:
        status: The status; 0 closes the connection without a word.
        headers: Its headers; Content-Length is added unless it or Transfer-Encoding is there.
        body: What is sent, which may be less than Content-Length promises.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Asked:
    """A request that a scripted server got."""

    method: str
    path: str
    headers: dict[str, str]


class _ManyServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # a burst of connections is not refused by the kernel

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that have left."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ServerInThreads:
    """A web server in threads of this process, for as long as its context lasts; `answer` gives its answers.

    Attributes:
        port: Where it listens.
        url: Its address.
        connections: How many connections were opened.
    """

    def __init__(self) -> None:
        self._server = _ManyServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a request, whose body was read, by the handler's methods."""
        raise NotImplementedError

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        server, lock = self, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet: head and body apart wait for each other

            def setup(self) -> None:
                with lock:
                    server.connections += 1
                super().setup()

            def answer(self) -> None:
                server.answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

            do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815
            do_DELETE = do_PROPFIND = do_CONNECT = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def send(
    handler: http.server.BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    """Send an answer; HEAD gets no body."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


class ScriptedServer(ServerInThreads):
    """A server that answers as a test says.

    Args:
        answers: Given in turn, the last one forever; or a function from the request to its answer.
    """

    def __init__(self, answers: list[Answer] | Callable[[Asked], Answer]) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self._answers = answers
        self._lock = threading.Lock()

    def _answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            if callable(self._answers):
                return self._answers(asked)
            return self._answers[min(len(self.asked), len(self._answers)) - 1]

    def answer(self, handler: http.server.BaseHTTPRequestHandler, _body: bytes) -> None:
        """The next answer, after which the connection ends."""
        answer = self._answer(Asked(handler.command, handler.path, dict(handler.headers)))
        handler.close_connection = True
        if answer.status:
            headers = {"Connection": "close", **answer.headers}
            if "Transfer-Encoding" not in headers:
                headers.setdefault("Content-Length", str(len(answer.body)))
            send(handler, answer.status, headers, answer.body)
