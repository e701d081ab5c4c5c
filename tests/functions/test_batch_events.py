"""What each event of batches comes to at its function; what batches do is told beside their modules."""

import copy
import io
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import archive
import lambdas
import servers
from dicom_series_preview.base.discreet import digest_of
from lambdas import Functions, event

RUNNING = json.loads(event("batch-post-409-running")["body"])["rerun"]
EARLIER = f"{archive.BATCH}40"


def folder_of(name: str) -> str:
    """The folder of the batch that an event speaks of."""
    return f"batches/{event(name)['batch']}"


def kept(provided: archive.Archive, path: str) -> Any:
    """A JSON document in the data bucket."""
    data = provided.kept(path)
    assert data is not None, path
    return json.loads(data)


def problem(answer: dict[str, Any]) -> tuple[int, str, set[str]]:
    """The status and kind of a problem, and the parameters that it names."""
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    document = json.loads(answer["body"])
    wrong = {one["parameter"] for one in document.get("errors", [])}
    return answer["statusCode"], document["type"].rpartition(":")[2], wrong


# --- the API


@pytest.fixture
def states(moto: servers.Moto) -> Iterator[Any]:
    """A client of Step Functions."""
    client = moto.client("stepfunctions")
    yield client
    client.close()


def execution(batch: str) -> str:
    """The ARN of a batch's execution."""
    return f"{archive.MACHINE.replace('stateMachine', 'execution')}:{batch}"


@contextmanager
def running(states: Any, batch: str) -> Iterator[None]:
    """A batch's execution, of which nothing is kept, runs while the context lasts."""
    states.start_execution(stateMachineArn=archive.MACHINE, name=batch, input="{}")
    yield
    states.stop_execution(executionArn=execution(batch))


@pytest.mark.parametrize("name", ["batch-post-202", "batch-post-202-encoded-body", "batch-post-202-convert"])
def test_start(functions: Functions, provided: archive.Archive, states: Any, name: str) -> None:
    """A batch is answered with where to ask for it; its request is kept, and an execution knows its ID."""
    answer = functions["batch_api"](name).answer
    document = json.loads(answer["body"])
    batch = document["batch"]
    assert answer["statusCode"] == 202
    assert answer["headers"]["Location"] == document["location"] == f"/batches/{uuid.UUID(batch)}"
    assert kept(provided, f"batches/{batch}/request.json")
    assert json.loads(states.describe_execution(executionArn=execution(batch))["input"])["batch"] == batch
    asked = copy.deepcopy(event("batch-get-200"))
    asked["rawPath"] = asked["requestContext"]["http"]["path"] = document["location"]
    status = json.loads(functions["batch_api"](asked).answer["body"])
    assert (status["batch"], status["status"], status["summary"]) == (batch, "RUNNING", None)
    states.stop_execution(executionArn=execution(batch))


def test_start_once(functions: Functions, states: Any) -> None:
    """The header Idempotency-Key is a batch's key: its request starts one batch, another request none."""
    first = functions["batch_api"]("batch-post-202-key").answer
    again = functions["batch_api"]("batch-post-202-key").answer
    assert (first["statusCode"], again["statusCode"]) == (202, 200)
    assert first["body"] == again["body"]
    other = functions["batch_api"]("batch-post-422-key-reused").answer
    assert problem(other) == (422, "idempotency-key-reused", set())
    states.stop_execution(executionArn=execution(json.loads(first["body"])["batch"]))


ALL_WRONG = {"body", "contrast", "prefix", "priority", "root", "series", "tile_width"}
PROBLEMS = {
    "batch-post-400-all-wrong": (400, "bad-parameter", ALL_WRONG),
    "batch-post-400-not-json": (400, "bad-parameter", {"body"}),
    "batch-post-400-manifest": (400, "bad-parameter", {"manifest"}),
    "batch-post-409-running": (409, "batch-running", set()),
    "batch-get-400": (400, "bad-parameter", {"batch"}),
    "batch-get-404": (404, "no-such-batch", set()),
    "batch-delete-404": (404, "no-such-batch", set()),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems(functions: Functions, provided: archive.Archive, states: Any, name: str) -> None:
    """A request that cannot be done is a problem, which names all that is wrong; nothing is kept of it."""
    provided.keep(f"batches/{RUNNING}/request.json", {"series": ["a"]})
    before = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"]
    with running(states, RUNNING if name.endswith("running") else str(uuid.uuid4())):
        assert problem(functions["batch_api"](name).answer) == PROBLEMS[name]
    assert provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"] == before


@pytest.mark.parametrize(
    ("name", "variables", "expected"),
    [
        ("batch-post-429-too-many", {"PREVIEW_BATCHES_AT_ONCE": "1"}, (429, "too-many-batches", set())),
        (
            "batch-post-202",
            {"PREVIEW_BATCH_STATE_MACHINE": f"{archive.MACHINE}-gone"},
            (503, "batches-unavailable", set()),
        ),
    ],
    ids=["as many run as may", "Step Functions does not answer"],
)
def test_not_now(
    *,
    environment: dict[str, str],
    provided: archive.Archive,
    states: Any,
    tmp_path: Path,
    name: str,
    variables: dict[str, str],
    expected: tuple[int, str, set[str]],
) -> None:
    """Where no batch can be started now, the answer says when to ask again."""
    assert set(variables) <= set(environment)
    batch = str(uuid.uuid4())
    provided.keep("batches/running/0.json", {"batch": batch, "at": 0})
    started = lambdas.started("batch_api", environment | variables, tmp_path / "log")
    with started as function, running(states, batch):
        answer = function(name).answer
    assert problem(answer) == expected
    assert int(answer["headers"]["Retry-After"]) > 0


def test_status(functions: Functions, provided: archive.Archive, states: Any) -> None:
    """A batch tells its execution's status, and its summary once there is one."""
    batch = event("batch-get-200")["pathParameters"]["id"]
    with running(states, batch):
        pass
    provided.keep(f"batches/{batch}/summary.json", {"batch": batch, "ok": 3, "error": None})
    answer = functions["batch_api"]("batch-get-200").answer
    assert answer["statusCode"] == 200
    assert answer["headers"]["Cache-Control"] == "no-store"
    document = json.loads(answer["body"])
    assert (document["batch"], document["status"], document["summary"]["ok"]) == (batch, "ABORTED", 3)
    assert document["ended"] >= document["started"]


def test_cancel(functions: Functions, states: Any) -> None:
    """A batch is stopped once, and one that has ended stays as it is."""
    batch = event("batch-delete-202")["pathParameters"]["id"]
    states.start_execution(stateMachineArn=archive.MACHINE, name=batch, input="{}")
    answer = functions["batch_api"]("batch-delete-202").answer
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (202, "ABORTED")
    assert states.describe_execution(executionArn=execution(batch))["status"] == "ABORTED"
    assert functions["batch_api"]("batch-delete-202").answer["statusCode"] == 200


# --- the steps

REQUESTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "batch-prepare-inline": ({"series": ["b", "a", "b"]}, ["b", "a"]),
    "batch-prepare-manifest-csv": ({"manifest": f"s3://{archive.BUCKET}/lists/x.csv"}, ["a", "b, c"]),
    "batch-prepare-manifest-json": ({"manifest": f"s3://{archive.BUCKET}/lists/x.json"}, ["a", "b"]),
    "batch-prepare-prefix": ({"prefix": "group-"}, ["group-1", "group-2"]),
    "batch-prepare-rerun": ({"rerun": EARLIER}, ["a", "b"]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_prepare(functions: Functions, provided: archive.Archive, name: str) -> None:
    """However a request names its series, the first step writes an item of each, and says where they are."""
    provided.put(archive.slices("group-1", 1) | archive.slices("group-2", 1))
    provided.put({"lists/x.csv": b'series\na\n"b, c"\n', "lists/x.json": b'["a", "b"]'})
    provided.keep(f"batches/{EARLIER}/items.json", [{"root": "default", "series": one} for one in "ab"])
    request, series = REQUESTS[name]
    path = f"{folder_of(name)}/items.json"
    provided.keep(f"{folder_of(name)}/request.json", request)
    assert functions["batch_prepare"](name).answer == {"key": path, "count": 2, "kind": "preview"}
    assert [item["series"] for item in kept(provided, path)] == series


def test_prepare_failed(functions: Functions, provided: archive.Archive) -> None:
    """A manifest that is not there fails the step with its type; the reason is kept for the summary."""
    folder = folder_of("batch-prepare-failed")
    manifest = f"s3://{archive.BUCKET}/manifests/of-somebody.csv"
    provided.keep(f"{folder}/request.json", {"manifest": manifest})
    outcome = functions["batch_prepare"]("batch-prepare-failed")
    assert outcome.document == {"error": "RequestError", "message": "RequestError"}
    assert "of-somebody" not in outcome.said
    assert kept(provided, f"{folder}/failure.json")["reason"] == "manifest: cannot be read: not found"


ITEMS: dict[str, tuple[str, str | None, str]] = {
    "batch-item-ok": ("ok", None, "SeriesDone"),
    "batch-item-no-preview": ("no-preview", "SeriesNotFoundError", "SeriesWithoutPreview"),
    "batch-item-transient": ("failed", "IndexBusyError", "FailedIndexBusyError"),
    "batch-item-gave-up": ("failed", "Sandbox.Timedout", "SeriesFailed"),
}


@pytest.mark.parametrize("name", ITEMS)
def test_item(functions: Functions, provided: archive.Archive, name: str) -> None:
    """An outcome is written and counted; the machine hears a status, or a type to retry by, and no name."""
    provided.claim("being-indexed")
    status, error, metric = ITEMS[name]
    series = event(name)["item"]["series"]
    outcome = functions["batch_item"](name)
    paths = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix=f"{folder_of(name)}/outcomes/")[
        "Contents"
    ]
    written = [one for one in (kept(provided, entry["Key"]) for entry in paths) if one["series"] == series]
    assert [(one["status"], one.get("error")) for one in written] == [(status, error)]
    told = {"error": error, "message": error} if metric.startswith("Failed") else None
    assert outcome.document == (told or {"answer": {"series": digest_of(series), "status": status}})
    assert outcome.metrics[metric] == 1
    assert series not in outcome.said
    if status == "ok":
        costs = outcome.metrics["StorageRequests"], outcome.metrics["StorageBytes"]
        assert costs == (written[0]["requests"], written[0]["bytes"]) > (0, 0)
        with Image.open(io.BytesIO(provided.kept(written[0]["picture"]))) as image:
            assert (image.format, image.size) == ("WEBP", (384, 384))


CONVERSIONS: dict[str, tuple[str, str, str]] = {
    "batch-convert-made": ("made", "", "SeriesConverted"),
    "batch-convert-refused": ("refused", "not_found", "SeriesWithoutVolume"),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_convert(functions: Functions, provided: archive.Archive, name: str) -> None:
    """A series' volumes lie in the data bucket with their receipts, and are counted; no name is told."""
    status, code, metric = CONVERSIONS[name]
    series = event(name)["item"]["series"]
    outcome = functions["batch_convert"](name)
    assert outcome.document == {"answer": {"series": digest_of(series), "status": status}}
    assert outcome.metrics[metric] == 1
    assert series not in outcome.said
    (entry,) = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix=f"{folder_of(name)}/outcomes/")[
        "Contents"
    ]
    (volume,) = kept(provided, entry["Key"])["volumes"]
    assert (volume["status"], volume["code"]) == (status, code)
    if status == "made":
        receipt = kept(provided, f"{volume['output']}.receipt.json")
        assert receipt["volume"]["sha256"] == volume["sha256"]
        assert provided.kept(volume["output"]).startswith(b"\x1f\x8b")


def test_summary_of_volumes(functions: Functions, provided: archive.Archive) -> None:
    """A batch that converted counts series by what became of them, and the refused parts by code."""
    name = "batch-summary-converted"
    parts = {
        "made": [{"status": "made", "code": ""}, {"status": "refused", "code": "single_location"}],
        "exists": [{"status": "exists", "code": ""}],
        "refused": [{"status": "refused", "code": "too_large_here"}],
    }
    provided.keep(
        f"{folder_of(name)}/items.json", [{"root": "default", "series": one, "convert": {}} for one in parts]
    )
    for one, volumes in parts.items():
        outcome = {"series": one, "root": "default", "status": one, "volumes": volumes}
        provided.keep(f"{folder_of(name)}/outcomes/aa/{one}.json", outcome)
    counts = {"items": 3, "made": 1, "exists": 1, "refused": 1, "failed": 0, "missing": 0}
    assert functions["batch_summary"](name).answer == {"batch": event(name)["batch"], **counts, "error": None}
    summary = kept(provided, f"{folder_of(name)}/summary.json")
    assert (summary["volumes"], summary["refusals"]) == (2, {"single_location": 1, "too_large_here": 1})
    assert provided.kept(summary["too_large_here"]) == b"series_dir\nrefused\n"


SUMMED_UP: dict[str, tuple[str, str | None]] = {
    "batch-summary-done": ("ok ok ok ok ok ok ok ok ok no-preview failed", None),
    "batch-summary-too-many-failed": ("ok no-preview failed", "TooManyFailed"),
    "batch-summary-error": ("", "RequestError"),
}


@pytest.mark.parametrize("name", SUMMED_UP)
def test_summary(functions: Functions, provided: archive.Archive, name: str) -> None:
    """The last step counts outcomes and answers the kind of the batch's error; its summary says why."""
    statuses, error = SUMMED_UP[name][0].split(), SUMMED_UP[name][1]
    series = [f"s{i}" for i in range(len(statuses))]
    why = {"error": "RequestError", "reason": "manifest: names no series"}
    documents = {
        "items.json": [{"root": "default", "series": one} for one in series],
        "failure.json": why,
        **{
            f"outcomes/aa/{one}.json": {"series": one, "status": status, "error": "E"}
            for one, status in zip(series, statuses, strict=True)
        },
    }
    for path, document in documents.items():
        provided.keep(f"{folder_of(name)}/{path}", document)
    answer = functions["batch_summary"](name).answer
    counts = {status.replace("-", "_"): statuses.count(status) for status in ("ok", "no-preview", "failed")}
    expected = {"batch": event(name)["batch"], "items": len(series), **counts, "missing": 0, "error": error}
    assert answer == expected
    summary = kept(provided, f"{folder_of(name)}/summary.json")
    assert (
        summary["error"] == why if error == "RequestError" else (summary["error"] or {}).get("error") == error
    )
    assert provided.kept(summary["outcomes"]).startswith(b"PAR1")
