import copy
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import archive
import lambdas
import servers
from dicom_series_preview.base.discreet import digest_of
from lambdas import Functions, event

NEVER: dict[str, Any] = {"root": "default", "mosaic": {}}


def folder_of(name: str) -> str:
    """The folder of the batch that an event speaks of."""
    return f"batches/{event(name)['batch']}"


def kept(provided: archive.Archive, path: str) -> Any:
    """A JSON document in the data bucket."""
    data = provided.kept(path)
    assert data is not None, path
    return json.loads(data)


# --- starting a batch


@pytest.fixture
def states(moto: servers.Moto) -> Iterator[Any]:
    """A client of Step Functions."""
    client = moto.client("stepfunctions")
    yield client
    client.close()


def execution(batch: str) -> str:
    """The ARN of a batch's execution."""
    return f"{archive.MACHINE.replace('stateMachine', 'execution')}:{batch}"


def started(states: Any, batch: str) -> str:
    """Start a batch's execution, of which nothing is kept."""
    states.start_execution(stateMachineArn=archive.MACHINE, name=batch, input="{}")
    return batch


def problem(answer: dict[str, Any]) -> tuple[int, str]:
    """The status and kind of a problem."""
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    return answer["statusCode"], json.loads(answer["body"])["type"].rpartition(":")[2]


@pytest.mark.parametrize("name", ["batch-post-202", "batch-post-202-encoded-body"])
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
    """With an idempotency key a request starts one batch, however often it comes; another request none."""
    first = functions["batch_api"]("batch-post-202-key").answer
    again = functions["batch_api"]("batch-post-202-key").answer
    assert (first["statusCode"], again["statusCode"]) == (202, 200)
    assert first["body"] == again["body"]
    other = functions["batch_api"]("batch-post-422-key-reused").answer
    assert problem(other) == (422, "idempotency-key-reused")
    states.stop_execution(executionArn=execution(json.loads(first["body"])["batch"]))


def test_start_with_a_manifest_that_is_not_there(functions: Functions, provided: archive.Archive) -> None:
    """A manifest that cannot be read is told at once, and nothing is kept of the request."""
    before = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"]
    answer = functions["batch_api"]("batch-post-400-manifest").answer
    assert wrong(answer) == ["manifest"]
    assert "cannot be read: not found" in answer["body"]
    assert provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"] == before


def test_start_what_still_runs(functions: Functions, provided: archive.Archive, states: Any) -> None:
    """A batch is done again when it has ended."""
    earlier = json.loads(event("batch-post-409-running")["body"])["rerun"]
    provided.keep(f"batches/{earlier}/request.json", {"series": ["a"]})
    started(states, earlier)
    assert problem(functions["batch_api"]("batch-post-409-running").answer) == (409, "batch-running")
    states.stop_execution(executionArn=execution(earlier))


def test_start_too_many(
    environment: dict[str, str], provided: archive.Archive, states: Any, tmp_path: Path
) -> None:
    """As many batches as the deployment allows run at once; the next has to wait, and is told so."""
    batch = started(states, str(uuid.uuid4()))
    provided.keep("batches/running/0.json", {"batch": batch, "at": 0})
    with lambdas.started(
        "batch_api", {**environment, "PREVIEW_BATCHES_AT_ONCE": "1"}, tmp_path / "log"
    ) as function:
        answer = function("batch-post-429-too-many").answer
        assert problem(answer) == (429, "too-many-batches")
        assert int(answer["headers"]["Retry-After"]) > 0
        states.stop_execution(executionArn=execution(batch))
        answer = function("batch-post-429-too-many").answer
        assert answer["statusCode"] == 202
    states.stop_execution(executionArn=execution(json.loads(answer["body"])["batch"]))


def test_start_without_step_functions(
    environment: dict[str, str], provided: archive.Archive, tmp_path: Path
) -> None:
    """Where no batch can be started now, the answer says when to ask again."""
    assert provided.machine in environment["PREVIEW_BATCH_STATE_MACHINE"]
    gone = {**environment, "PREVIEW_BATCH_STATE_MACHINE": f"{provided.machine}-gone"}
    with lambdas.started("batch_api", gone, tmp_path / "log") as function:
        answer = function("batch-post-202").answer
    assert problem(answer) == (503, "batches-unavailable")
    assert int(answer["headers"]["Retry-After"]) > 0


def wrong(answer: dict[str, Any]) -> list[str]:
    """The parameters that a problem names."""
    assert answer["statusCode"] == 400
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    return sorted(one["parameter"] for one in json.loads(answer["body"])["errors"])


def test_start_what_is_wrong(functions: Functions, provided: archive.Archive) -> None:
    """Everything that is wrong with a request is named, and nothing is kept of it."""
    before = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"]
    assert wrong(functions["batch_api"]("batch-post-400-all-wrong").answer) == [
        *("body", "contrast", "prefix", "priority", "root", "series", "tile_width")
    ]
    assert wrong(functions["batch_api"]("batch-post-400-not-json").answer) == ["body"]
    assert provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"] == before


# --- how a batch stands


def test_status(functions: Functions, provided: archive.Archive, states: Any) -> None:
    """A batch tells its execution's status, and its summary once there is one."""
    batch = started(states, event("batch-get-200")["pathParameters"]["id"])
    states.stop_execution(executionArn=execution(batch))
    provided.keep(f"batches/{batch}/summary.json", {"batch": batch, "ok": 3, "error": None})
    answer = functions["batch_api"]("batch-get-200").answer
    assert answer["statusCode"] == 200
    assert answer["headers"]["Cache-Control"] == "no-store"
    document = json.loads(answer["body"])
    assert (document["batch"], document["status"], document["summary"]["ok"]) == (batch, "ABORTED", 3)
    assert document["ended"] >= document["started"]


def test_cancel(functions: Functions, states: Any) -> None:
    """A batch is stopped once, and one that has ended stays as it is."""
    batch = started(states, event("batch-delete-202")["pathParameters"]["id"])
    answer = functions["batch_api"]("batch-delete-202").answer
    assert (answer["statusCode"], json.loads(answer["body"])["status"]) == (202, "ABORTED")
    assert states.describe_execution(executionArn=execution(batch))["status"] == "ABORTED"
    assert functions["batch_api"]("batch-delete-202").answer["statusCode"] == 200
    assert problem(functions["batch_api"]("batch-delete-404").answer) == (404, "no-such-batch")


def test_no_such_batch(functions: Functions) -> None:
    """A batch that never was is a 404, and what is no identifier a 400."""
    assert problem(functions["batch_api"]("batch-get-404").answer) == (404, "no-such-batch")
    assert wrong(functions["batch_api"]("batch-get-400").answer) == ["batch"]


# --- prepare


def prepare(
    functions: Functions, provided: archive.Archive, name: str, request: dict[str, Any]
) -> list[dict[str, Any]]:
    """Prepare a batch of a request; its items."""
    path = f"{folder_of(name)}/items.json"
    provided.keep(f"{folder_of(name)}/request.json", request)
    answer = functions["batch_prepare"](name).answer
    items = kept(provided, path)
    assert answer == {"key": path, "count": len(items)}
    return items


def test_prepare_inline(functions: Functions, provided: archive.Archive) -> None:
    """Series that are named one by one are items once each, with the batch's root and options."""
    items = prepare(
        functions,
        provided,
        "batch-prepare-inline",
        {"series": ["b", "a", "b"], "root": "other", "mosaic": {"tile_width": 3, "contrast": "lung"}},
    )
    mosaic = {"tile_width": ["3"], "contrast": ["lung"]}
    assert items == [{"root": "other", "series": name, "mosaic": mosaic} for name in ("b", "a")]


@pytest.mark.parametrize(
    ("name", "text", "series"),
    [
        (
            "batch-prepare-manifest-csv",
            '\ufeffpatient,series\r\n1,a\r\n\r\n2,"b, c"\r\n3,\r\n4,a\r\n',
            ["a", "b, c"],
        ),
        ("batch-prepare-manifest-json", '\ufeff["a", {"series": "b", "size": 3}, "a"]', ["a", "b"]),
    ],
    ids=["csv", "json"],
)
def test_prepare_manifest(
    functions: Functions, provided: archive.Archive, name: str, text: str, series: list[str]
) -> None:
    """A CSV may come with a byte order mark, other columns and empty lines, and its names with commas.

    A JSON array names series as text or as objects with `series`.
    """
    path = "manifests/wanted.JSON" if name.endswith("json") else "manifests/wanted.csv"
    provided.put({path: text.encode()})
    request = {"manifest": f"s3://{archive.BUCKET}/{path}"}
    items = prepare(functions, provided, name, request)
    assert [item["series"] for item in items] == series


def test_prepare_prefix(functions: Functions, provided: archive.Archive) -> None:
    """A prefix names all series that begin so."""
    provided.put(archive.slices("group-1", 1) | archive.slices("group-2", 1))
    items = prepare(functions, provided, "batch-prepare-prefix", {"prefix": "group-"})
    assert [item["series"] for item in items] == ["group-1", "group-2"]


def test_prepare_rerun(functions: Functions, provided: archive.Archive) -> None:
    """Again is done only what may come to something else, failed or missing, as it was asked for."""
    earlier = f"{archive.BATCH}40"
    items = [{"root": "other", "series": name, "mosaic": {"stack": ["1"]}} for name in "abcd"]
    provided.keep(f"batches/{earlier}/items.json", items)
    provided.keep(f"batches/{earlier}/outcomes/aa/1.json", {"series": "a", "status": "ok"})
    none = {"series": "b", "status": "no-preview", "error": "NoImageError"}
    provided.keep(f"batches/{earlier}/outcomes/bb/2.json", none)
    died = {"series": "c", "status": "failed", "error": "Sandbox.Timedout"}
    provided.keep(f"batches/{earlier}/outcomes/cc/3.json", died)
    assert prepare(functions, provided, "batch-prepare-rerun", {"rerun": earlier}) == items[2:]


def test_prepare_failed(functions: Functions, provided: archive.Archive) -> None:
    """A manifest that is not there fails the step with its type; the reason is kept for the summary."""
    folder = folder_of("batch-prepare-failed")
    manifest = f"s3://{archive.BUCKET}/manifests/of-somebody.csv"
    provided.keep(f"{folder}/request.json", {"manifest": manifest})
    outcome = functions["batch_prepare"]("batch-prepare-failed")
    assert outcome.document == {"error": "RequestError", "message": "RequestError"}
    assert "of-somebody" not in outcome.said
    assert kept(provided, f"{folder}/failure.json")["reason"] == "manifest: cannot be read: not found"


# --- items


def outcomes(provided: archive.Archive, name: str) -> dict[str, dict[str, Any]]:
    """The outcomes that a batch's items have written, by series."""
    found = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix=f"{folder_of(name)}/outcomes/")
    documents = [kept(provided, entry["Key"]) for entry in found.get("Contents", [])]
    return {document["series"]: document for document in documents}


def told(document: dict[str, Any]) -> dict[str, str]:
    """What an execution's history has of an outcome: its status, and no name."""
    return {"series": digest_of(document["series"]), "status": document["status"]}


def test_item_ok(functions: Functions, provided: archive.Archive) -> None:
    """An item's mosaic is written, and its outcome says where and what it took."""
    outcome = functions["batch_item"]("batch-item-ok")
    document = outcomes(provided, "batch-item-ok")[archive.SERIES]
    assert outcome.answer == told(document)
    assert (document["status"], document["root"], document["slices"]) == ("ok", "default", 40)
    with Image.open(io.BytesIO(provided.kept(document["picture"]))) as image:
        assert (image.format, image.size) == ("WEBP", (384, 384))
    assert archive.SERIES not in document["picture"]
    metrics = outcome.metrics
    assert (metrics["SeriesDone"], metrics["StorageRequests"]) == (1, document["requests"])
    assert metrics["StorageBytes"] == document["bytes"] > 0


def test_item_without_a_preview(functions: Functions, provided: archive.Archive) -> None:
    """A series that cannot have a preview is an outcome like another: its step succeeds, and counts it."""
    outcome = functions["batch_item"]("batch-item-no-preview")
    series = event("batch-item-no-preview")["item"]["series"]
    written = outcomes(provided, "batch-item-no-preview")[series]
    assert outcome.answer == told(written)
    assert (written["status"], written["error"]) == ("no-preview", "SeriesNotFoundError")
    assert "no such series" in written["reason"]
    assert "picture" not in written
    assert outcome.metrics["SeriesWithoutPreview"] == 1
    assert series not in outcome.said


def test_item_transient(functions: Functions, provided: archive.Archive) -> None:
    """What may pass is written too, and raised by the type that the map's retries go by, without a name."""
    provided.claim("being-indexed")
    outcome = functions["batch_item"]("batch-item-transient")
    assert outcome.document == {"error": "IndexBusyError", "message": "IndexBusyError"}
    written = outcomes(provided, "batch-item-transient")["being-indexed"]
    assert (written["status"], written["error"]) == ("failed", "IndexBusyError")
    assert outcome.metrics["FailedIndexBusyError"] == 1
    assert "being-indexed" not in outcome.said


def test_item_given_up(functions: Functions, provided: archive.Archive) -> None:
    """After the last try of a series whose function has died its outcome says how it died."""
    outcome = functions["batch_item"]("batch-item-gave-up")
    series = event("batch-item-gave-up")["item"]["series"]
    written = outcomes(provided, "batch-item-gave-up")[series]
    assert outcome.answer == told(written)
    assert (written["status"], written["error"]) == ("failed", "Sandbox.Timedout")
    assert outcome.metrics["SeriesFailed"] == 1
    assert series not in outcome.said


def test_an_item_that_is_tried_again(functions: Functions, provided: archive.Archive) -> None:
    """The outcome of the last try is the one that stays."""
    again = copy.deepcopy(event("batch-item-ok"))
    again["item"]["series"] = "tried-again"
    assert functions["batch_item"](again).answer["status"] == "no-preview"
    provided.put(archive.slices("tried-again"))
    assert functions["batch_item"](again).answer["status"] == "ok"
    assert outcomes(provided, "batch-item-ok")["tried-again"]["status"] == "ok"


# --- summary


def finished(provided: archive.Archive, name: str, statuses: str) -> str:
    """A batch of series that came to what the letters of their statuses say; its folder."""
    folder = folder_of(name)
    provided.keep(f"{folder}/items.json", [{**NEVER, "series": f"s{i}"} for i in range(len(statuses))])
    for i, letter in enumerate(statuses):
        done = {"requests": 5, "bytes": 700, "milliseconds": 30, "slices": 4, "picture": "p.webp"}
        outcome = {
            "k": {"status": "ok", **done},
            "n": {"status": "no-preview", "error": "NoImageError", "reason": "none"},
            "f": {"status": "failed", "error": "Sandbox.Timedout", "reason": "died"},
        }.get(letter)
        if outcome is not None:
            provided.keep(f"{folder}/outcomes/aa/{i}.json", {"series": f"s{i}", "root": "default", **outcome})
    return folder


def test_summary(functions: Functions, provided: archive.Archive) -> None:
    """The summary counts what was done, what cannot be, what failed and why, and what has no outcome."""
    folder = finished(provided, "batch-summary-done", "kkkkkkkknnf" + "k" * 10 + "-")
    answer = functions["batch_summary"]("batch-summary-done").answer
    batch = event("batch-summary-done")["batch"]
    counts = {"items": 22, "ok": 18, "no_preview": 2, "failed": 1, "missing": 1}
    assert answer == {"batch": batch, **counts, "error": None}
    assert kept(provided, f"{folder}/summary.json") == {
        "batch": batch,
        **counts,
        "reasons": {"NoImageError": 2, "Sandbox.Timedout": 1},
        "requests": 90,
        "bytes": 12600,
        "milliseconds": 540,
        "error": None,
        "outcomes": f"{folder}/outcomes.parquet",
    }
    rows = pq.read_table(io.BytesIO(provided.kept(f"{folder}/outcomes.parquet"))).to_pylist()
    told = {row["series"]: (row["status"], row["error"], row["reason"], row["slices"]) for row in rows}
    assert told["s0"] == ("ok", None, None, 4)
    assert told["s8"] == ("no-preview", "NoImageError", "none", None)
    assert told["s10"] == ("failed", "Sandbox.Timedout", "died", None)
    assert told["s21"] == ("missing", None, "no outcome was written", None)


def test_summary_of_too_many_failures(functions: Functions, provided: archive.Archive) -> None:
    """More failures than are tolerated fail the batch; the machine hears the kind, the summary tells more."""
    folder = finished(provided, "batch-summary-too-many-failed", "knf")
    answer = functions["batch_summary"]("batch-summary-too-many-failed").answer
    assert (answer["error"], answer["failed"]) == ("TooManyFailed", 1)
    assert "1 of 3 series" in kept(provided, f"{folder}/summary.json")["error"]["reason"]


def test_summary_of_a_batch_that_failed(functions: Functions, provided: archive.Archive) -> None:
    """A batch that failed before it had items says so, and why, in its summary."""
    folder = folder_of("batch-summary-error")
    told = {"error": "RequestError", "reason": "manifest: names no series"}
    provided.keep(f"{folder}/failure.json", told)
    answer = functions["batch_summary"]("batch-summary-error").answer
    assert (answer["error"], answer["items"], answer["missing"]) == ("RequestError", 0, 0)
    summary = kept(provided, f"{folder}/summary.json")
    assert summary["error"] == told
    assert pq.read_table(io.BytesIO(provided.kept(summary["outcomes"]))).num_rows == 0
