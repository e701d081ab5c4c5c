"""What the end-to-end tests may use: the command line, and a series on every kind of storage."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import counting
import servers
import synthetic
from commandline import BUCKET, Outcome, PutSeries, Reports, Run, clean_environment, command

__all__ = ["clean_environment", "command"]


@pytest.fixture
def succeed(command: Run) -> Run:
    """Runs a command line that must succeed."""

    def run(*arguments: object) -> Outcome:
        outcome = command(*arguments)
        assert outcome.status == 0, outcome.stderr
        return outcome

    return run


@pytest.fixture
def report_of(succeed: Run, tmp_path: Path) -> Reports:
    """Runs a command that writes a picture, and reads its report."""

    def run(*arguments: object) -> dict[str, Any]:
        path = tmp_path / "report.json"
        succeed(*arguments, "--report", path)
        return json.loads(path.read_text(encoding="utf-8"))

    return run


@pytest.fixture(scope="session")
def local_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder with the main series."""
    root = tmp_path_factory.mktemp("local")
    synthetic.series().write(root)
    return root


@pytest.fixture(scope="session")
def bucket(moto: servers.Moto) -> PutSeries:
    """Puts a folder of objects into the bucket `previews`."""
    client = moto.client("s3")
    client.create_bucket(Bucket=BUCKET)

    def put(folder: str, objects: dict[str, bytes]) -> None:
        def one(item: tuple[str, bytes]) -> None:
            client.put_object(Bucket=BUCKET, Key=f"{folder}/{item[0]}", Body=item[1])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, objects.items()))

    return put


@pytest.fixture(scope="session")
def proxy(moto: servers.Moto) -> Iterator[counting.CountingProxy]:
    """A counting proxy before the S3 server."""
    with counting.CountingProxy(moto.endpoint) as running:
        yield running


@pytest.fixture
def signed(moto: servers.Moto, monkeypatch: pytest.MonkeyPatch) -> servers.Moto:
    """The environment of a client that signs its requests to the S3 server."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    return moto


@pytest.fixture
def counted(
    signed: servers.Moto, proxy: counting.CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> counting.CountingProxy:
    """The environment of a client whose requests to the S3 server are counted, from here on."""
    assert signed.endpoint
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    proxy.clear()
    return proxy
