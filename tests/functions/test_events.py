import ast
import json
import re
from pathlib import Path

import pytest

import archive
import planted
import synthetic
from lambdas import EVENTS, PROJECT, event, started

NAMES = sorted(path.stem for path in EVENTS.glob("*.json"))
DOCUMENT = (PROJECT / "docs" / "http-api.md").read_text(encoding="utf-8")
FUNCTIONS = sorted(path.parent.name for path in (PROJECT / "functions").glob("*/app.py"))


def test_every_event_is_used() -> None:
    """Each event stands in a test of its outcome."""
    texts = {
        node.value
        for path in Path(__file__).parent.glob("test_*_events.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(NAMES) - texts == set()


def test_every_event_is_documented_and_no_other() -> None:
    """The document of the API names every event, each in its table, and none that is not there."""
    assert sorted(re.findall(r"^\| `events/([\w-]+)\.json` \|", DOCUMENT, re.MULTILINE)) == NAMES
    assert set(re.findall(r"events/([\w-]+)\.json", DOCUMENT)) <= set(NAMES)


def test_events_are_neutral() -> None:
    """No event names a patient, and all that they name is example data."""
    for name in NAMES:
        text = (EVENTS / f"{name}.json").read_text(encoding="utf-8")
        assert not [secret for secret in synthetic.SECRETS if secret in text]
        assert set(re.findall(r":(\d{12}):", text)) <= {"123456789012"}


def function_of(name: str) -> str:
    """The function that an event is for."""
    first, _, rest = name.partition("-")
    if first == "batch":
        step = rest.partition("-")[0]
        return f"batch_{step}" if step in ("prepare", "item", "convert", "summary") else "batch_api"
    if name == "catalogue-maintenance":
        return "catalogue_maintenance"
    return {
        "catalogue": "catalogue_fold",
        "updates": "index_updates",
        "contrast": "contrast_mosaic",
        "health": "index",
        "openapi": "index",
    }.get(first, first)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_logs(function: str, environment: dict[str, str], tmp_path: Path) -> None:
    """A new process counts its cold start once; every line is JSON, and tells of no patient or series."""
    names = [name for name in NAMES if function_of(name) == function]
    assert names
    with started(function, environment, tmp_path / "log") as run:
        outcomes = {name: run(name) for name in names}
    lines = [line for outcome in outcomes.values() for line in outcome.lines]
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert lines
    planted.check("the log", text)
    assert all("_aws" in line or {"level", "message", "service"} <= set(line) for line in lines)
    counted = [name for outcome in outcomes.values() for name in outcome.metrics]
    # Those of batches that only pass something on have no metrics of their own: Step Functions counts them.
    assert counted.count("ColdStart") == (function not in ("batch_api", "batch_prepare", "batch_summary"))
    for outcome in outcomes.values():
        answered = json.dumps({k: v for k, v in outcome.document.items() if k != "answer"})
        planted.check("an error", answered)


ODD: dict[str, dict[str, object]] = {
    "mosaic": {"pathParameters": {"series": planted.FOLDERS[0]}},
    "image": {"rawPath": "/series/Mustermann-Erika/image", "requestContext": {}},
    "contrast_mosaic": {"requestContext": "Zwiebelfisch"},
    "index": {"version": "2.0", "requestContext": {"http": "planted-bucket"}},
    "batch_api": {"requestContext": {"http": {"Mustermann-Erika": 1}}},
    "batch_prepare": {"Mustermann-Erika": "planted-bucket"},
    "batch_item": {"batch": archive.BATCH + "99", "item": {"series": {"Zwiebelfisch": 1}, "root": []}},
    "batch_convert": {"batch": archive.BATCH + "99", "item": {"series": "Zwiebelfisch", "convert": 7}},
    "batch_summary": {"batch": archive.BATCH + "99", "error": {"Cause": "planted-bucket"}},
    "series": {"routeKey": "GET /series/{series}", "pathParameters": {"series": ["Mustermann-Erika"]}},
    "index_updates": {"Records": [{"messageId": "m", "Mustermann-Erika": "planted-bucket"}]},
    "catalogue_fold": {"Records": [{"messageId": "m", "Mustermann-Erika": "planted-bucket"}]},
}


def test_every_function_is_given_something_odd() -> None:
    """All but the one that reads nothing of its event."""
    assert sorted([*ODD, "catalogue_maintenance"]) == FUNCTIONS


@pytest.mark.parametrize("function", ODD)
def test_what_nobody_expected(function: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Whatever an event holds, log and callers learn of a mistake its type and places alone."""
    with started(function, environment, tmp_path / "log") as run:
        outcome = run(ODD[function])
    assert outcome.document["error"] == outcome.document["message"]
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert "failed unexpectedly" in text
    assert "Traceback" not in text
    planted.check("the log", text)


def test_metrics_of_a_picture(environment: dict[str, str], provided: archive.Archive, tmp_path: Path) -> None:
    """Requests, bytes, and whether index and picture were there already, are counted by resource."""
    provided.put(archive.slices("counted", 4))
    asked = event("image-200")
    asked["pathParameters"]["series"] = "counted"
    with started("image", environment, tmp_path / "log") as run:
        cold, warm = run(asked), run(asked)
    (metrics,) = [line for line in cold.lines if "StorageRequests" in line]
    assert metrics["resource"] == "image"
    # One listing, and four small slices, whose frames come with their headers.
    assert (cold.metrics["StorageRequests"], cold.metrics["Status2xx"]) == (5, 1)
    assert cold.metrics["StorageBytes"] > 0
    assert (cold.metrics["IndexHits"], cold.metrics["RenderHits"]) == (0, 0)
    assert (warm.metrics["StorageRequests"], warm.metrics["StorageBytes"]) == (1, 0)
    assert (warm.metrics["IndexHits"], warm.metrics["RenderHits"]) == (1, 1)
    (line,) = [line for line in cold.lines if line.get("message") == "answered"]
    assert (line["resource"], line["status"], line["index"], line["render"]) == (
        "image",
        200,
        "built",
        "made",
    )
    assert line["request_id"] == "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    assert "counted" not in cold.said


def test_a_function_without_its_environment_says_which_variable(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A function that lacks a variable fails when it starts, and names it."""
    without = {name: value for name, value in environment.items() if name != "PREVIEW_DATA"}
    log = tmp_path / "log"
    with pytest.raises((AssertionError, BrokenPipeError)), started("image", without, log) as run:
        run("image-200")
    assert "PREVIEW_DATA: is not set" in log.read_text(encoding="utf-8").replace(
        "PREVIEW-DATA", "PREVIEW_DATA"
    )
