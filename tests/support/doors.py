"""The product's doors, asked for one mosaic each, and what comes of it in one shape."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

import urllib3

import gateway
import lambdas
import planted
from commandline import SCRIPT
from dicom_series_preview.__main__ import main

WAIT_S = 60
OPTIONS = {"tile_width": "2", "tile_height": "2", "image_width": "64"}


@dataclass(frozen=True)
class Answer:
    """What a door answers.

    Attributes:
        status: 200, or the problem's; of the command line 200 or 1.
        picture: The picture, or no bytes.
        said: The error's text, or the warnings' as far as the door tells them.
        failed: Tiles that could not be shown.
        skipped: Objects that were skipped, as far as the door tells them.
    """

    status: int
    picture: bytes = field(repr=False)
    said: str
    failed: int


class Door(Protocol):
    """Asks for a mosaic of a series below a root: `s3` or `http`."""

    def __call__(self, root: str, series: str) -> Answer:
        """The mosaic, or why there is none."""


def command_line(roots: Mapping[str, str], folder: Path, capture: Callable[[], tuple[str, str]]) -> Door:
    """The command line, in this process; its environment is the process's.

    Args:
        roots: The roots' URLs.
        folder: Where pictures are written.
        capture: What was printed since it was called last.
    """

    def ask(root: str, series: str) -> Answer:
        picture = folder / f"{series}.webp"
        picture.unlink(missing_ok=True)
        options = [text for name, value in OPTIONS.items() for text in (f"--{name.replace('_', '-')}", value)]
        capture()
        status = main(["mosaic", series, str(picture), "--root", roots[root], *options])
        said = capture()[1]
        # Whole or not at all, and nothing beside it.
        assert [path.name for path in folder.iterdir()] == ([picture.name] if status == 0 else [])
        lines = said.splitlines()
        if status:
            (line,) = [line for line in lines if not line.startswith("warning: ")]
            assert line.startswith("error: ")
            return Answer(status, b"", line, 0)
        warnings = [line for line in lines if line.startswith("warning: ")]
        failed = sum("cannot be shown" in line for line in warnings)
        data = picture.read_bytes()
        picture.unlink()
        return Answer(200, data, said, failed)

    return ask


@contextmanager
def served(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The server's address and process, while the context lasts."""
    process = subprocess.Popen(
        [SCRIPT, "serve", "--port", "0", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        line = process.stderr.readline()
        found = re.search(r" at (http://127\.0\.0\.1:\d+)/", line)
        assert found, line + process.stderr.read()
        yield found[1], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        planted.check("the server's log", process.communicate(timeout=WAIT_S)[1] or "")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Interrupt a server: its status, and what it wrote after its address."""
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=WAIT_S)
    return process.returncode, stdout, stderr


def get(url: str, **headers: str) -> urllib3.BaseHTTPResponse:
    """Ask, once."""
    return urllib3.request("GET", url, headers=headers, retries=False, timeout=WAIT_S)


@contextmanager
def local_server(roots: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[Door]:
    """`dicom-series-preview serve`, in a process of its own."""
    arguments = ("--root", roots["s3"], "--alias", f"http={roots['http']}")
    with served(*arguments, environment=environment) as (address, _):
        yield lambda root, series: _answer(gateway.fetch(address + _target(root, series)))


@contextmanager
def function(roots: Mapping[str, str], environment: Mapping[str, str], log: Path) -> Iterator[Door]:
    """The Lambda function of mosaics, in a process of its own behind API Gateway."""
    set_up = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        **environment,
        "PREVIEW_ROOTS": json.dumps({"default": roots["s3"], "http": roots["http"]}),
        "PREVIEW_DATA": "s3://data",
        "POWERTOOLS_SERVICE_NAME": "previews",
        "POWERTOOLS_METRICS_NAMESPACE": "DicomSeriesPreview",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
    }
    with lambdas.started("mosaic", set_up, log) as run:
        route = gateway.Route("GET /series/{series}/mosaic", lambdas.Invoked(run), "NONE")
        api = gateway.Gateway([route], {})

        def ask(root: str, series: str) -> Answer:
            return _answer(api.answer(gateway.Asked("GET", _target(root, series), {}, b"")))

        yield ask


def _target(root: str, series: str) -> str:
    return f"/series/{series}/mosaic?{urlencode({**OPTIONS, **({} if root == 's3' else {'root': root})})}"


def _answer(got: gateway.Answer) -> Answer:
    if got.status != 200:
        assert got.headers["content-type"] == "application/problem+json"
        problem = got.json()
        assert problem["status"] == got.status
        assert (got.status == 503) == ("retry-after" in got.headers)
        return Answer(got.status, b"", problem["detail"], 0)
    failed = int(got.headers.get("preview-failed-tiles", "0"))
    # A picture that lacks a slice is nobody's to keep.
    assert ("etag" in got.headers) == (not failed)
    return Answer(200, got.body, "", failed)
