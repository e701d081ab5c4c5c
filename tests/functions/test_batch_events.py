from __future__ import annotations

import copy
import io
import json
import uuid
from typing import TYPE_CHECKING, Any

import archive
import pyarrow.parquet as pq
import pytest
from lambdas import event
from PIL import Image

if TYPE_CHECKING:
    from lambdas import Function

    import servers

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


@pytest.mark.parametrize("name", ["batch-post-202", "batch-post-202-encoded-body"])
def test_start(
    functions: dict[str, Function], provided: archive.Archive, moto: servers.Moto, name: str
) -> None:
    """A batch is answered with where to ask for it; its request is kept, and an execution knows its ID."""
    answer = functions["batch_api"](name).answer
    document = json.loads(answer["body"])
    batch = document["batch"]
    assert answer["statusCode"] == 202
    assert answer["headers"]["Location"] == document["location"] == f"/batches/{uuid.UUID(batch)}"
    assert kept(provided, f"batches/{batch}/request.json")
    states = moto.client("stepfunctions")
    execution = states.describe_execution(
        executionArn=f"{archive.MACHINE.replace('stateMachine', 'execution')}:{batch}"
    )
    states.close()
    assert json.loads(execution["input"]) == {"batch": batch}
    asked = copy.deepcopy(event("batch-get-200"))
    asked["rawPath"] = asked["requestContext"]["http"]["path"] = document["location"]
    status = json.loads(functions["batch_api"](asked).answer["body"])
    assert status == {"batch": batch, "status": "RUNNING", "summary": None}


def wrong(answer: dict[str, Any]) -> list[str]:
    """The parameters that a problem names."""
    assert answer["statusCode"] == 400
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    return sorted(one["parameter"] for one in json.loads(answer["body"])["errors"])


def test_start_what_is_wrong(functions: dict[str, Function], provided: archive.Archive) -> None:
    """Everything that is wrong with a request is named, and nothing is kept of it."""
    before = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"]
    assert wrong(functions["batch_api"]("batch-post-400-all-wrong").answer) == [
        *("body", "contrast", "prefix", "priority", "root", "series", "tile_width")
    ]
    assert wrong(functions["batch_api"]("batch-post-400-not-json").answer) == ["body"]
    assert provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix="batches/")["KeyCount"] == before


# --- how a batch stands


def test_status(functions: dict[str, Function], provided: archive.Archive, moto: servers.Moto) -> None:
    """A batch tells its execution's status, and its summary once there is one."""
    batch = event("batch-get-200")["pathParameters"]["id"]
    states = moto.client("stepfunctions")
    states.start_execution(stateMachineArn=archive.MACHINE, name=batch, input="{}")
    states.stop_execution(executionArn=f"{archive.MACHINE.replace('stateMachine', 'execution')}:{batch}")
    states.close()
    provided.keep(f"batches/{batch}/summary.json", {"batch": batch, "ok": 3})
    answer = functions["batch_api"]("batch-get-200").answer
    assert answer["statusCode"] == 200
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert json.loads(answer["body"]) == {
        "batch": batch,
        "status": "ABORTED",
        "summary": {"batch": batch, "ok": 3},
    }


def test_no_such_batch(functions: dict[str, Function]) -> None:
    """A batch that never was is a 404, and what is no identifier a 400."""
    answer = functions["batch_api"]("batch-get-404").answer
    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (
        404,
        "urn:dicom-series-preview:problem:no-such-batch",
    )
    assert wrong(functions["batch_api"]("batch-get-400").answer) == ["batch"]


# --- prepare


def prepare(
    functions: dict[str, Function], provided: archive.Archive, name: str, request: dict[str, Any]
) -> list[dict[str, Any]]:
    """Prepare a batch of a request; its items."""
    path = f"{folder_of(name)}/items.json"
    provided.keep(f"{folder_of(name)}/request.json", request)
    answer = functions["batch_prepare"](name).answer
    items = kept(provided, path)
    assert answer == {"key": path, "count": len(items)}
    return items


def test_prepare_inline(functions: dict[str, Function], provided: archive.Archive) -> None:
    """Series that are named one by one are items once each, with the batch's root and options."""
    items = prepare(
        functions,
        provided,
        "batch-prepare-inline",
        {"series": ["b", "a", "b"], "root": "other", "mosaic": {"tile_width": 3, "contrast": "lung"}},
    )
    mosaic = {"tile_width": ["3"], "contrast": ["lung"]}
    assert items == [{"root": "other", "series": name, "mosaic": mosaic} for name in ("b", "a")]


def test_prepare_manifest_csv(functions: dict[str, Function], provided: archive.Archive) -> None:
    """A CSV may come with a byte order mark, other columns and empty lines, and its names with commas."""
    text = '\ufeffpatient,series\r\n1,a\r\n\r\n2,"b, c"\r\n3,\r\n4,a\r\n'
    provided.put({"manifests/wanted.csv": text.encode()})
    items = prepare(
        functions,
        provided,
        "batch-prepare-manifest-csv",
        {"manifest": f"s3://{archive.BUCKET}/manifests/wanted.csv"},
    )
    assert [item["series"] for item in items] == ["a", "b, c"]


def test_prepare_manifest_json(functions: dict[str, Function], provided: archive.Archive) -> None:
    """A JSON array names series as text or as objects with `series`."""
    provided.put({"manifests/wanted.JSON": b'\xef\xbb\xbf["a", {"series": "b", "size": 3}, "a"]'})
    items = prepare(
        functions,
        provided,
        "batch-prepare-manifest-json",
        {"manifest": f"s3://{archive.BUCKET}/manifests/wanted.JSON"},
    )
    assert [item["series"] for item in items] == ["a", "b"]


def test_prepare_prefix(functions: dict[str, Function], provided: archive.Archive) -> None:
    """A prefix names all series that begin so."""
    provided.put(archive.slices("group-1", 1) | archive.slices("group-2", 1))
    items = prepare(functions, provided, "batch-prepare-prefix", {"prefix": "group-"})
    assert [item["series"] for item in items] == ["group-1", "group-2"]


def test_prepare_rerun(functions: dict[str, Function], provided: archive.Archive) -> None:
    """Again is done only what did not succeed, failed or missing, as it was asked for."""
    earlier = f"{archive.BATCH}40"
    items = [{"root": "other", "series": name, "mosaic": {"stack": ["1"]}} for name in "abc"]
    provided.keep(f"batches/{earlier}/items.json", items)
    provided.keep(f"batches/{earlier}/outcomes/aa/1.json", {"series": "a", "status": "ok"})
    provided.keep(
        f"batches/{earlier}/outcomes/bb/2.json", {"series": "b", "status": "failed", "error": "NoImageError"}
    )
    assert prepare(functions, provided, "batch-prepare-rerun", {"rerun": earlier}) == items[1:]


def test_prepare_failed(functions: dict[str, Function], provided: archive.Archive) -> None:
    """A manifest that is not there fails the step with its type, and with no name of it in Lambda's log."""
    provided.keep(
        f"{folder_of('batch-prepare-failed')}/request.json",
        {"manifest": f"s3://{archive.BUCKET}/manifests/of-somebody.csv"},
    )
    outcome = functions["batch_prepare"]("batch-prepare-failed")
    assert outcome.document == {"error": "ObjectNotFoundError", "message": "ObjectNotFoundError"}


# --- items


def outcomes(provided: archive.Archive, name: str) -> dict[str, dict[str, Any]]:
    """The outcomes that a batch's items have written, by series."""
    found = provided.s3.list_objects_v2(Bucket=archive.DATA, Prefix=f"{folder_of(name)}/outcomes/")
    documents = [kept(provided, entry["Key"]) for entry in found.get("Contents", [])]
    return {document["series"]: document for document in documents}


def test_item_ok(functions: dict[str, Function], provided: archive.Archive) -> None:
    """An item's mosaic is written, and its outcome says where and what it took."""
    outcome = functions["batch_item"]("batch-item-ok")
    document = outcome.answer
    assert document == outcomes(provided, "batch-item-ok")[archive.SERIES]
    assert (document["status"], document["root"], document["slices"]) == ("ok", "default", 40)
    with Image.open(io.BytesIO(provided.kept(document["picture"]))) as image:
        assert (image.format, image.size) == ("WEBP", (384, 384))
    assert archive.SERIES not in document["picture"]
    metrics = outcome.metrics
    assert (metrics["SeriesDone"], metrics["StorageRequests"]) == (1, document["requests"])
    assert metrics["StorageBytes"] == document["bytes"] > 0


@pytest.mark.parametrize(
    ("name", "error"),
    [("batch-item-failed", "SeriesNotFoundError"), ("batch-item-transient", "IndexBusyError")],
)
def test_item_failed(
    functions: dict[str, Function], provided: archive.Archive, name: str, error: str
) -> None:
    """A failed item writes why, and raises what the map's retries go by and Lambda's log may hold."""
    provided.claim("being-indexed")
    outcome = functions["batch_item"](name)
    series = event(name)["item"]["series"]
    assert outcome.document == {"error": error, "message": error}
    written = outcomes(provided, name)[series]
    assert (written["status"], written["error"]) == ("failed", error)
    assert written["reason"]
    assert "picture" not in written
    assert outcome.metrics[f"Failed{error}"] == 1
    assert series not in outcome.said


def test_an_item_that_is_tried_again(functions: dict[str, Function], provided: archive.Archive) -> None:
    """The outcome of the last try is the one that stays."""
    again = copy.deepcopy(event("batch-item-ok"))
    again["item"]["series"] = "tried-again"
    assert functions["batch_item"](again).document["error"] == "SeriesNotFoundError"
    provided.put(archive.slices("tried-again"))
    assert functions["batch_item"](again).answer["status"] == "ok"
    assert outcomes(provided, "batch-item-ok")["tried-again"]["status"] == "ok"


# --- summary


def test_summary(functions: dict[str, Function], provided: archive.Archive) -> None:
    """The summary counts what was done, what failed and why, and what has no outcome."""
    folder = folder_of("batch-summary-done")
    done = {"requests": 5, "bytes": 700, "milliseconds": 30, "slices": 4, "picture": "p.webp"}
    provided.keep(f"{folder}/items.json", [{**NEVER, "series": name} for name in ("a", "b", "c")])
    provided.keep(f"{folder}/outcomes/aa/1.json", {"series": "a", "root": "default", "status": "ok", **done})
    failure = {
        "series": "b",
        "root": "default",
        "status": "failed",
        "error": "NoImageError",
        "reason": "none",
    }
    provided.keep(f"{folder}/outcomes/bb/2.json", failure)
    summary = functions["batch_summary"]("batch-summary-done").answer
    assert summary == kept(provided, f"{folder}/summary.json")
    assert summary == {
        "batch": event("batch-summary-done")["batch"],
        "items": 3,
        "ok": 1,
        "failed": 1,
        "missing": 1,
        "reasons": {"NoImageError": 1},
        "requests": 5,
        "bytes": 700,
        "milliseconds": 30,
        "error": None,
        "outcomes": f"{folder}/outcomes.parquet",
    }
    rows = pq.read_table(io.BytesIO(provided.kept(summary["outcomes"]))).to_pylist()
    assert [(row["series"], row["status"], row["error"]) for row in rows] == [
        ("a", "ok", None),
        ("b", "failed", "NoImageError"),
        ("c", "missing", None),
    ]
    assert (rows[0]["slices"], rows[1]["reason"], rows[2]["root"]) == (4, "none", "default")


def test_summary_of_a_batch_that_failed(functions: dict[str, Function], provided: archive.Archive) -> None:
    """A batch that failed before it had items says so in its summary."""
    summary = functions["batch_summary"]("batch-summary-error").answer
    assert (summary["error"], summary["items"], summary["missing"]) == ("RequestError", 0, 0)
    assert pq.read_table(io.BytesIO(provided.kept(summary["outcomes"]))).num_rows == 0
