"""What a cold start costs: how it compares with a warm function, and what it imports."""

import json
import sys
import time
from contextlib import contextmanager

import pytest

from built import BUILT, PROJECT

# isort: split

from collections.abc import Iterator
from pathlib import Path

import runtime
import stack as stacks
import synthetic
from stack import Stack

pytestmark = pytest.mark.aws

SERIES = "0c01d000-0000-4000-8000-000000000000"
RUNS = 7
# The required rule: at most so many times as long as a warm request, and so much longer.
FACTOR, ALLOWANCE_S = 2, 0.4
# The best of several runs, until one of them keeps the rule: a busy machine proves nothing.
ATTEMPTS = 3

# Asked for its modules, it tells them; otherwise it is the function.
PROBE = """
import sys

before = set(sys.modules)
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location("function", {function!r})
function = module_from_spec(spec)
spec.loader.exec_module(function)


def handler(event, context):
    if event == "modules":
        return sorted(set(sys.modules) - before)
    return function.handler(event, context)
"""
# What a mosaic whose index is there can do without; each costs a cold start some of its milliseconds.
# It lists the series, for which it needs urllib3.
NEEDLESS = {
    "boto3": 160,
    "botocore.session": 100,
    "requests": 60,
    "pandas": 300,
    "click": 20,
    "rich": 60,
    "uvicorn": 60,
    "pydantic": 80,
    "aws_xray_sdk": 60,
    "pydicom": 60,
    "pyarrow.compute": 28,
    "PIL.TiffImagePlugin": 30,
    "aws_lambda_powertools.utilities.batch": 10,
    "aws_lambda_powertools.utilities.parameters": 10,
    "defusedxml": 5,
    "gdcm": 50,
    "imagecodecs": 10,
    "numpy.random": 10,
    "numpy.f2py": 5,
    "pyarrow.dataset": 20,
    "unittest": 10,
    "dicom_series_preview.doors.python": 1,
    "dicom_series_preview.doors.cli.commands": 20,
    "dicom_sample": 10,
    "dicom_series_preview.doors.server": 10,
    "dicom_series_preview.sources.storage.http": 50,
    "dicom_series_preview.products.batches": 5,
    "dicom_series_preview.doors.aws.batch_door": 160,
    "dicom_series_preview.doors.aws.sqs_door": 5,
    "dicom_series_preview.web.http.openapi": 2,
    "dicom_series_preview.pixels.codecs.encapsulated": 4,
    "dicom_series_preview.sources.headers.scan": 2,
    "dicom_series_preview.base.arrangement": 1,
    "dicom_series_preview.archive.slide_tiles": 1,
}


@pytest.fixture(scope="module")
def stack(layers: list[Path]) -> Iterator[Stack]:
    """The deployment, with a series of full-sized slices whose index is there."""
    assert layers
    with stacks.deployed(BUILT) as running:
        s3 = running.s3.client()
        for name, data in synthetic.series(SERIES, 60, side=512, others=False).objects.items():
            s3.put_object(Bucket=stacks.DICOM_BUCKET, Key=f"{SERIES}/{name}", Body=data)
        assert running.get(f"/series/{SERIES}/index").status == 200
        yield running


def seconds(stack: Stack, quality: int) -> float:
    """How long a 6 x 6 mosaic takes; one of another quality has not been made yet.

    What the function waited for a processor that other processes had is left out.
    """
    function = stack.functions["MosaicFunction"]
    started, waited = time.perf_counter(), function.kept_waiting_s()
    answer = stack.get(f"/series/{SERIES}/mosaic", {"quality": quality})
    taken = time.perf_counter() - started - (function.kept_waiting_s() - waited)
    assert (answer.status, answer.headers["preview-render"]) == (200, "made"), answer.body
    assert answer.headers["preview-index"] == "cache"
    return taken


def test_a_cold_request_is_little_slower_than_a_warm_one(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the process's start to the answer: at most twice the warm time and 400 ms."""
    qualities = iter(range(100))
    function = stack.functions["MosaicFunction"]
    for attempt in range(1, ATTEMPTS + 1):
        cold, warm = [], []
        for _ in range(RUNS if attempt == 1 else 2):
            function.restart()
            cold.append(seconds(stack, next(qualities)))
            warm += [seconds(stack, next(qualities)) for _ in range(3)]
        limit = FACTOR * min(warm) + ALLOWANCE_S
        with capsys.disabled():
            figures = {"cold": min(cold), "warm": min(warm), "limit": limit}
            told = ", ".join(f"{name} {figure * 1000:.0f} ms" for name, figure in figures.items())
            sys.stdout.write(f"\n{told}\n")
        if min(cold) <= limit:
            return
    assert min(cold) <= limit


@contextmanager
def probe(stack: Stack, folder: Path, **environment: str) -> Iterator[runtime.Sandbox]:
    """A mosaic's function that tells what it has imported, beyond Lambda's own."""
    function = stack.functions["MosaicFunction"]
    (folder / "app.py").write_text(PROBE.format(function=str(function.folder / "app.py")), encoding="utf-8")
    variables = {
        **function.environment,
        "PYTHONPATH": stack.artefacts.python_path("MosaicFunction", folder),
        **environment,
    }
    command = [sys.executable, "-S", "-s", "-m", "awslambdaric", "app.handler"]
    sandbox = runtime.Sandbox(command, folder, variables, folder / "log")
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture(scope="module")
def imported(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules that a mosaic's function has imported after its first answer."""
    event = json.loads((PROJECT / "events" / "mosaic-200.json").read_text(encoding="utf-8"))
    event["pathParameters"]["series"] = SERIES
    event["rawPath"] = event["requestContext"]["http"]["path"] = f"/series/{SERIES}/mosaic"
    event["rawQueryString"] = "quality=99"
    with probe(stack, tmp_path_factory.mktemp("probe")) as sandbox:
        answer = sandbox.invoke(event).document()
        assert answer["statusCode"] == 200, answer
        return set(sandbox.invoke("modules").document())


@pytest.mark.parametrize("module", NEEDLESS)
def test_a_mosaic_does_without(imported: set[str], module: str) -> None:
    """A function that shows what is indexed imports nothing that only others need."""
    assert not [name for name in imported if name == module or name.startswith(f"{module}.")]


def test_the_import_budget(imported: set[str]) -> None:
    """The product's own modules and its packages' are few enough to be read from a cold disk."""
    assert {"numpy", "pyarrow.parquet", "PIL.Image", "obstore"} <= imported
    assert len(imported) < 600


def test_starting_asks_nobody(stack: Stack, tmp_path: Path) -> None:
    """The deployment's buckets lie in its region: S3 is not asked where, which a private network hides."""
    with probe(stack, tmp_path, AWS_ENDPOINT_URL="", AWS_ENDPOINT_URL_S3="") as sandbox:
        modules = sandbox.invoke("modules").document()
    assert "dicom_series_preview.sources.storage.s3" in modules
    assert not {"urllib3", "dicom_series_preview.sources.storage.connections"} & set(modules)
