"""The documented ways to call a deployment signed, run against its functions behind a gateway that checks."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

import archive
import gateway
from lambdas import Functions, Invoked

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "examples" / "signed.py"
PAGES = ("README.md", "docs/http-api.md")
KEYS = {"caller": "secret of the caller"}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "caller",
    "AWS_SECRET_ACCESS_KEY": KEYS["caller"],
    "AWS_SESSION_TOKEN": "token+of/a=session",
    "AWS_REGION": gateway.REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
ROUTES = {
    "GET /series/{series}/mosaic": "mosaic",
    "GET /series/{series}/image": "image",
    "GET /series/{series}/index": "index",
    "POST /batches": "batch_api",
    "GET /batches/{id}": "batch_api",
    "DELETE /batches/{id}": "batch_api",
}


@pytest.fixture
def api(functions: Functions) -> Iterator[str]:
    """The URL of the HTTP API, which lets only signed requests in."""
    invoked = {name: Invoked(functions[name]) for name in set(ROUTES.values())}
    routes = [gateway.Route(key, invoked[name], "AWS_IAM") for key, name in ROUTES.items()]
    with gateway.HttpServer(gateway.Gateway(routes, KEYS).answer) as server:
        yield server.url


def lines(page: str) -> list[str]:
    """Every command of a page that calls the example, in its order, continued lines joined."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    joined = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in joined if line.startswith("python examples/signed.py")]


@contextmanager
def place(folder: Path) -> Iterator[Path]:
    """A folder in which the documented lines can be typed."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    shutil.copytree(SCRIPT.parent, folder / "examples")
    yield folder


def typed(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in a shell."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**ENVIRONMENT, "HOME": str(folder), "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment | variables, capture_output=True, check=False
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_signed_line_of_the_docs_is_answered(
    page: str, api: str, provided: archive.Archive, tmp_path: Path
) -> None:
    """Each signed call that a page shows works as it is typed, on a prefix and a window too."""
    assert len(lines(page)) >= 4
    wanted = f"series\n{archive.SERIES}\n".encode()
    provided.put({"manifests/series.csv": wanted}, archive.DATA)
    provided.put({"manifests/wanted.csv": wanted})
    batch = ""
    with place(tmp_path / "here") as folder:
        (folder / "bin" / "uuidgen").write_text(f"#!/bin/sh\necho {uuid.uuid4()}\n")
        (folder / "bin" / "uuidgen").chmod(0o755)
        for line in lines(page):
            # A key of its own: a batch of an earlier test has the page's.
            key = line.replace("Idempotency-Key: monday", f"Idempotency-Key: {uuid.uuid4()}")
            variables = {"API": api, "API_URL": api, "SERIES": archive.SERIES, "DATA_BUCKET": archive.DATA}
            done = typed(key, folder, **variables, ID=batch, BATCH=batch)
            assert (done.returncode, done.stderr) == (0, b""), (line, done)
            if "-d " in line:
                batch = json.loads(done.stdout)["batch"]
        assert batch
        for picture in folder.glob("*.webp"):
            assert Image.open(io.BytesIO(picture.read_bytes())).format == "WEBP"


def test_the_pages_invocation_prints_the_index(functions: Functions, tmp_path: Path) -> None:
    """The deployment page's call of a function by boto3 runs as it stands, with the names filled in."""
    text = (PROJECT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (code,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        if "boto3" in block
    )
    code = code.replace('function = "..."', 'function = "index"').replace("SERIES", archive.SERIES)
    answer = gateway.lambda_api({"index": Invoked(functions["index"])})
    with gateway.HttpServer(answer) as server, place(tmp_path / "here") as folder:
        (folder / "code.py").write_text(code)
        variables = {"AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": gateway.REGION}
        done = typed("python code.py", folder, **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["slices"] > 1


def test_a_link_is_followed_without_a_signature(tmp_path: Path) -> None:
    """A link in the answer is fetched with neither signature, session token nor the caller's headers."""
    asked: list[gateway.Asked] = []

    def store(request: gateway.Asked) -> gateway.Answer:
        asked.append(request)
        return gateway.Answer(200, body=b"a large picture")

    with gateway.HttpServer(store) as s3, place(tmp_path / "here") as folder:
        link = f"{s3.url}/kept?X-Amz-Signature=0&X-Amz-Security-Token=a%2Bb"
        with gateway.HttpServer(lambda _: gateway.Answer(303, {"location": link})) as api:
            done = typed(
                f"python examples/signed.py -H 'Accept: image/webp' {api.url}/series/s/mosaic", folder
            )
    assert (done.returncode, done.stdout) == (0, b"a large picture")
    (request,) = asked
    assert request.target == link.removeprefix(s3.url)
    assert not [name for name in request.headers if name == "authorization" or name.startswith("x-amz")]
    assert request.headers.get("accept") != "image/webp"


def test_what_is_refused_is_told(api: str, tmp_path: Path) -> None:
    """A refusal's text goes to standard output, its status to standard error, and nothing into the file."""
    url = f"{api}/series/{archive.SERIES}/mosaic?tile_width=0"
    with place(tmp_path / "here") as folder:
        done = typed(f"python examples/signed.py -o a.webp '{url}'", folder)
        assert (done.returncode, done.stderr) == (1, b"signed.py: status 400\n")
        assert json.loads(done.stdout)["status"] == 400
        assert not (folder / "a.webp").exists()
        done = typed(f"python examples/signed.py '{url}'", folder, AWS_SECRET_ACCESS_KEY="another")
        assert (done.returncode, done.stderr) == (1, b"signed.py: status 403\n")
        done = typed(f"env -u AWS_ACCESS_KEY_ID python examples/signed.py '{url}'", folder)
        assert done.returncode == 1
        assert b"there are no AWS credentials" in done.stderr


def test_a_query_is_signed_in_one_spelling_only(api: str) -> None:
    """The gateway of these tests is as strict as AWS: a raw `/` or `*` signed as it is opens nothing."""
    query = "contrast=1500/-500"
    request = gateway.AWSRequest("GET", f"{api}/series/{archive.SERIES}/mosaic?{query}")
    keys = gateway.Credentials("caller", KEYS["caller"])
    gateway.SigV4Auth(keys, "execute-api", gateway.REGION).add_auth(request)
    assert gateway.fetch(request.url, headers=dict(request.headers.items())).status == 403
