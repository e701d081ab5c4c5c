"""Batches from end to end: the definition of their state machine, simulated, over the real steps."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import doubles
import make_dicom
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import AccessDeniedError, StorageUnavailableError
from dicom_series_preview.doors.aws.batch_door import item_handler, prepare_handler, summary_handler
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.products.batches.documents import keep_request, read_summary
from dicom_series_preview.products.batches.outcomes import read_outcomes
from dicom_series_preview.sources.storage.memory import MemoryStorage
from states import Execution, LambdaError, Machine

DEFINITION = (Path(__file__).parents[4] / "functions" / "batch.asl.json").read_text(encoding="utf-8")
FIRST, SECOND = (f"0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e0{number}" for number in (1, 2))
SECRET = "Zwiebelfisch^Leonora"
GOOD = [f"good-{number}" for number in range(8)]
FILLED = {
    "LambdaInvoke": "arn:aws:states:::lambda:invoke",
    "S3GetObject": "arn:aws:states:::s3:getObject",
    "S3PutObject": "arn:aws:states:::s3:putObject",
    "PrepareFunction": "arn:aws:lambda:us-east-1:123456789012:function:prepare",
    "ItemFunction": "arn:aws:lambda:us-east-1:123456789012:function:item",
    "ConvertFunction": "arn:aws:lambda:us-east-1:123456789012:function:convert",
    "SummaryFunction": "arn:aws:lambda:us-east-1:123456789012:function:summary",
    "DataBucket": "data",
    "MaxConcurrency": "20",
}


class Context:
    """What the steps read of Lambda's context."""

    function_name = "step"

    def get_remaining_time_in_millis(self) -> int:
        """As at the beginning of a step."""
        return 900_000


@dataclass
class Deaths:
    """How a function dies: of which series, how, and how often at most.

    Attributes:
        series: By series, the name that Step Functions gives to its function's death.
        times: How often each dies still.
    """

    series: dict[str, str] = field(default_factory=dict)
    times: float = float("inf")

    def __call__(self, handler: Callable[[Any, Any], Any], event: Any) -> Any:
        """Die, or answer an event."""
        name = event["item"]["series"]
        # Who has to give a series up lives.
        if name in self.series and self.times > 0 and "error" not in event:
            self.times -= 1
            raise LambdaError(self.series[name])
        return handler(event, Context())


class Setting:
    """A deployment and its machine."""

    def __init__(self, tolerated: str = "10") -> None:
        objects = {f"{name}/1.dcm": make_dicom.encode(make_dicom.image(1)) for name in [*GOOD, "late"]}
        film = make_dicom.image(1, PatientName=SECRET, PixelData=make_dicom.encapsulate([[b"no film!"]]))
        objects |= {
            "notes/x.dcm": b"no DICOM",
            "report/1.dcm": make_dicom.encode(make_dicom.report(1)),
            "film/1.dcm": make_dicom.encode(film, "1.2.840.10008.1.2.4.100"),
        }
        # Series that cannot be listed.
        self.unavailable = frozenset[str]()
        down = doubles.refusing(
            StorageUnavailableError("s3://archive", "status 503 SlowDown"),
            lambda folder: folder in self.unavailable,
        )
        root = doubles.Before(MemoryStorage(objects, url="s3://archive"), list_objects=down)
        self.data = MemoryStorage(url="s3://data")
        lists = MemoryStorage(url="s3://lists")
        opened = {"s3://archive": root, "s3://data": self.data, "s3://lists": lists}
        self.deployment = Deployment({"default": "s3://archive"}, "s3://data", 1, {}, opened)
        self.deaths = Deaths()
        names = {**FILLED, "ToleratedFailurePercentage": tolerated}
        prepare, item, summary = (
            make(self.deployment) for make in (prepare_handler, item_handler, summary_handler)
        )
        self.machine = Machine(
            json.loads(re.sub(r"\$\{(\w+)\}", lambda match: names[match[1]], DEFINITION)),
            {
                "prepare": lambda event: prepare(event, Context()),
                "item": lambda event: self.deaths(item, event),
                "summary": lambda event: summary(event, Context()),
            },
            self._read,
        )

    def _read(self, bucket: str, key: str) -> bytes:
        assert bucket == "data"
        return self.data.get(key).data

    def run(self, document: dict[str, Any], identifier: str = FIRST) -> Execution:
        """Run a batch to its end."""
        keep_request(identifier, document, self.deployment.storage("s3://data"))
        return self.machine.run({"batch": identifier})

    def summary(self, identifier: str = FIRST) -> dict[str, Any]:
        """The counts of a batch's summary, and its error."""
        summary = read_summary(identifier, self.deployment.storage("s3://data"))
        assert summary is not None
        names = ("items", "ok", "no_preview", "failed", "missing", "reasons", "error")
        return {name: summary[name] for name in names}


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """One of whose series up to a tenth may fail."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "DicomSeriesPreview")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "previews")
    return Setting()


def test_a_batch_in_which_every_fifth_series_has_no_image_succeeds(setting: Setting) -> None:
    """Series without a preview are outcomes: no child fails, none is tried again, the batch succeeds."""
    ended = setting.run({"series": [*GOOD, "notes", "report"]})
    assert (ended.status, ended.error) == ("SUCCEEDED", None)
    assert {child.status for child in ended.children} == {"SUCCEEDED"}
    assert all(child.tries == {"Item": 1} for child in ended.children)
    assert setting.summary() == {
        "items": 10,
        "ok": 8,
        "no_preview": 2,
        "failed": 0,
        "missing": 0,
        "reasons": {"NoImageError": 2},
        "error": None,
    }
    assert ended.output["summary"]["no_preview"] == 2


def test_a_batch_of_nothing_but_series_without_a_preview_succeeds(setting: Setting) -> None:
    """Not found, not decodable, without an image, unreadable names: the batch is done, and says so."""
    names = ["notes", "report", "film", "nowhere", "../x"]
    # A request that names the last one is refused; a manifest may hold anything.
    setting.deployment.storage("s3://lists").put("m.json", json.dumps(names).encode())
    ended = setting.run({"manifest": "s3://lists/m.json"})
    assert (ended.status, setting.summary()["no_preview"]) == ("SUCCEEDED", len(names))


def test_what_a_retry_mends_is_done(setting: Setting) -> None:
    """A function that dies once, or storage that comes back, costs a retry and nothing else."""
    setting.deaths = Deaths({"late": "Runtime.ExitError"}, times=1)
    ended = setting.run({"series": ["late"]})
    (child,) = ended.children
    assert (ended.status, child.tries, setting.summary()["ok"]) == ("SUCCEEDED", {"Item": 2}, 1)


@pytest.mark.parametrize(
    ("death", "tries"),
    [
        ("Sandbox.Timedout", 2),
        ("Runtime.ExitError", 2),
        ("States.Timeout", 2),
        ("Lambda.TooManyRequestsException", 7),
        ("States.Permissions", 1),
        ("ValueError", 1),
    ],
)
def test_whatever_a_function_dies_of_becomes_an_outcome(setting: Setting, death: str, tries: int) -> None:
    """After its last retry a series has failed, and its child, the map and the batch have not."""
    setting.deaths = Deaths({"late": death})
    ended = setting.run({"series": [*GOOD, "notes", "late"]})
    assert (ended.status, setting.summary()["failed"]) == ("SUCCEEDED", 1)
    assert ended.children[-1].status == "SUCCEEDED"
    assert ended.children[-1].tries == {"Item": tries, "GiveUp": 1}
    assert ended.children[-1].output == {"series": digest_of("late"), "status": "failed"}
    assert setting.summary()["reasons"] == {death: 1, "NoImageError": 1}


def test_storage_that_stays_away_fails_its_series_with_the_reason(setting: Setting) -> None:
    """What is raised names no series; the outcome that is kept says what the storage said."""
    setting.unavailable = frozenset({"late"})
    ended = setting.run({"series": [*GOOD, "late"]})
    assert setting.summary()["reasons"] == {"StorageUnavailableError": 1}
    assert ended.children[-1].tries == {"Item": 7, "GiveUp": 1}
    late = read_outcomes(FIRST, setting.data)[-1]
    assert late["reason"] == "status 503 SlowDown"
    assert ended.status == "FAILED"
    assert ended.error == "TooManyFailed"
    assert "1 of 9 series" in setting.summary()["error"]["reason"]


def test_more_failures_than_are_tolerated_fail_the_batch_after_all_was_tried(setting: Setting) -> None:
    """A batch fails of series that failed, not before every series has had its turn; a rerun does them."""
    setting.unavailable = frozenset(GOOD[:2])
    ended = setting.run({"series": [*GOOD, "notes", "late"]})
    assert (ended.status, ended.error, len(ended.children)) == ("FAILED", "TooManyFailed", 10)
    assert setting.summary()["ok"] == 7
    setting.unavailable = frozenset()
    again = setting.run({"rerun": FIRST}, SECOND)
    assert (again.status, len(again.children)) == ("SUCCEEDED", 2)
    assert setting.summary(SECOND)["ok"] == 2


def test_a_rerun_finishes(setting: Setting) -> None:
    """A rerun of what is done has nothing to do and succeeds; asked to, it tries those without a preview."""
    setting.run({"series": [*GOOD, "notes", "report"]})
    ended = setting.run({"rerun": FIRST}, SECOND)
    assert (ended.status, ended.children, setting.summary(SECOND)["items"]) == ("SUCCEEDED", [], 0)
    third = FIRST[:-1] + "3"
    ended = setting.run({"rerun": FIRST, "no_preview": True}, third)
    assert (ended.status, len(ended.children), setting.summary(third)["no_preview"]) == ("SUCCEEDED", 2, 2)


def unwritable(setting: Setting, wanted: Callable[[bytes], bool] = lambda _data: True) -> None:
    """Let the data bucket refuse outcomes."""

    def refuse(path: str, data: bytes) -> None:
        if "/outcomes/" in path and wanted(data):
            raise AccessDeniedError(f"s3://data/{path}")

    setting.deployment._opened["s3://data"] = doubles.Before(setting.data, put=refuse)


def test_where_no_outcome_can_be_written_the_map_stops(setting: Setting) -> None:
    """A batch whose children cannot even say that they failed ends at the threshold, and fails."""
    unwritable(setting)
    ended = setting.run({"series": [*GOOD, "notes", "report"]})
    assert (ended.status, ended.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    # More than a tenth of ten have failed when two have.
    assert [child.status for child in ended.children] == ["FAILED", "FAILED"]
    assert setting.summary()["missing"] == 10
    assert "States.ExceedToleratedFailureThreshold" in setting.summary()["error"]["reason"]


def test_children_that_fail_within_the_tolerance_are_missing(setting: Setting) -> None:
    """A child whose outcome could not be written is counted as missing, and the batch goes on."""
    unwritable(setting, lambda data: b'"late"' in data)
    ended = setting.run({"series": [*GOOD, "notes", "late"]})
    assert ended.status == "SUCCEEDED"
    assert [child.status for child in ended.children].count("FAILED") == 1
    assert setting.summary()["missing"] == 1


@pytest.mark.parametrize(
    ("document", "error", "reason"),
    [
        ({"manifest": "s3://lists/gone.csv"}, "RequestError", "manifest: cannot be read: not found"),
        ({"prefix": "nothing-begins-so"}, "RequestError", "names no series"),
        ({"rerun": SECOND}, "RequestError", "no such batch"),
    ],
)
def test_a_batch_that_cannot_begin_fails_and_says_why(
    setting: Setting, document: dict[str, Any], error: str, reason: str
) -> None:
    """A batch without series to begin with fails; its summary has the reason, the machine only the kind."""
    ended = setting.run(document)
    assert (ended.status, ended.error, ended.children) == ("FAILED", error, [])
    assert ended.tries == {"Limits": 1, "Prepare": 1, "Summary": 1}
    assert setting.summary()["error"]["error"] == error
    assert reason in setting.summary()["error"]["reason"]


def test_what_is_raised_names_no_folder(setting: Setting) -> None:
    """What Step Functions hears of a failure, and keeps in its history, is its kind and nothing else."""
    setting.unavailable = frozenset({SECRET})
    ended = setting.run({"series": [SECRET]})
    assert ended.children[0].output == {"series": digest_of(SECRET), "status": "failed"}
    told: list[Any] = []
    give_up = setting.machine.functions["item"]
    setting.machine.functions = {
        **setting.machine.functions,
        "item": lambda event: told.append(event.get("error")) or give_up(event),
    }
    setting.run({"series": [SECRET]}, SECOND)
    errors = [error for error in told if error is not None]
    assert errors
    assert SECRET not in json.dumps(errors)
    assert json.loads(errors[0]["Cause"])["errorMessage"] == "StorageUnavailableError"


def test_a_summary_that_dies_fails_the_batch(setting: Setting) -> None:
    """A batch without a summary has not succeeded."""

    def died(_event: Any) -> Any:
        raise LambdaError("Runtime.ExitError")

    setting.machine.functions = {**setting.machine.functions, "summary": died}
    ended = setting.run({"series": GOOD})
    assert (ended.status, ended.error, ended.tries["Summary"]) == ("FAILED", "Runtime.ExitError", 2)


def test_retries_wait_longer_each_time_and_not_for_ever(setting: Setting) -> None:
    """Waits double from two seconds, and none is longer than two minutes."""
    setting.unavailable = frozenset({"late"})
    (child,) = setting.run({"series": ["late"]}).children
    assert child.waits == [2, 4, 8, 16, 32, 64]
