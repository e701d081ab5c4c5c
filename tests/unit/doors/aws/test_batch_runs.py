import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

import doubles
import servers
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.batch_runs import STARTING_S, BatchRuns, batch_of_key
from dicom_series_preview.doors.aws.environment import Deployment
from dicom_series_preview.sources.storage.memory import MemoryStorage

MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:previews"
EXECUTIONS = "arn:aws:states:eu-central-1:123456789012:execution:previews:"
STARTED = datetime(2026, 3, 12, 10, tzinfo=UTC)
ENDED = datetime(2026, 3, 12, 11, tzinfo=UTC)
SERIES = {"series": ["a", "b"]}


class States:
    """Step Functions as its API is described: executions by name, each started once.

    Attributes:
        executions: By name, status and input.
        counts: Of every map run.
        hidden: Names that are not told of yet.
    """

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Any]] = {}
        self.counts: dict[str, int] | None = None
        self.hidden: set[str] = set()

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002, N803
        """StartExecution: the same name and input start nothing while it runs."""
        assert stateMachineArn == MACHINE
        known = self.executions.get(name)
        if known is not None and (known["status"] != "RUNNING" or known["input"] != input):
            raise _error("ExecutionAlreadyExists", "StartExecution")
        self.executions.setdefault(name, {"status": "RUNNING", "input": input})

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        """DescribeExecution."""
        name = executionArn.removeprefix(EXECUTIONS)
        if name not in self.executions or name in self.hidden:
            raise _error("ExecutionDoesNotExist", "DescribeExecution")
        execution = self.executions[name]
        ended = {} if execution["status"] == "RUNNING" else {"stopDate": ENDED}
        return {"executionArn": executionArn, "startDate": STARTED, **execution, **ended}

    def stop_execution(self, *, executionArn: str, error: str, cause: str) -> None:  # noqa: N803
        """StopExecution."""
        assert cause == "DELETE /batches/{id}"
        self.end(executionArn.removeprefix(EXECUTIONS), "ABORTED", error=error)

    def list_map_runs(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        """ListMapRuns."""
        assert executionArn.startswith(EXECUTIONS)
        return {"mapRuns": [] if self.counts is None else [{"mapRunArn": "run"}]}

    def describe_map_run(self, *, mapRunArn: str) -> dict[str, Any]:  # noqa: N803
        """DescribeMapRun."""
        assert mapRunArn == "run"
        names = ("total", "pending", "running", "succeeded", "failed", "timedOut", "aborted")
        return {"itemCounts": {**dict.fromkeys(names, 0), **self.counts}}

    def end(self, name: str, status: str = "SUCCEEDED", **more: str) -> None:
        """Let an execution come to its end."""
        self.executions[name] |= {"status": status, **more}


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, operation)


class Setting:
    """The batches of a deployment over storages of the test's own."""

    def __init__(self, batches_at_once: int = 3) -> None:
        self.now = 1000.0
        self.states = States()
        self.data = MemoryStorage(url="s3://data")
        opened = {"s3://data": self.data, "s3://lists": MemoryStorage(url="s3://lists")}
        self.deployment = Deployment({"default": "s3://archive"}, "s3://data", 1, {}, opened)
        self.runs = BatchRuns(
            batch_host(self.deployment), MACHINE, self.states, batches_at_once, lambda: self.now
        )

    def start(self, document: Any = SERIES, key: str | None = None) -> tuple[int, dict[str, Any]]:
        """POST a batch."""
        return answered(self.runs.start(document, key))

    def status(self, batch: str) -> dict[str, Any]:
        """GET a batch."""
        code, document = answered(self.runs.status(batch))
        assert code == 200
        return document

    def cancel(self, batch: str) -> tuple[int, dict[str, Any]]:
        """DELETE a batch."""
        return answered(self.runs.cancel(batch))

    def keep(self, path: str, document: Any) -> None:
        """Write a JSON document of the data bucket."""
        self.data.put(path, json.dumps(document).encode())


@pytest.fixture
def setting() -> Setting:
    """A deployment without a batch."""
    return Setting()


def answered(response: Any) -> tuple[int, dict[str, Any]]:
    """An answer's status and document; nothing of a batch may be cached."""
    assert response.headers["Cache-Control"] == "no-store"
    return response.status, json.loads(response.body)


# --- the key


def test_with_a_key_a_batch_is_started_once(setting: Setting) -> None:
    """The same key and request come to the same batch, whether it runs or has ended, and are started once."""
    code, first = setting.start(key="mine")
    assert (code, first["status"]) == (202, "RUNNING")
    again = {"series": ["a", "b"]}
    assert setting.start(again, key="mine") == (200, first)
    setting.states.end(first["batch"])
    assert setting.start(again, key="mine") == (200, {**first, "status": "SUCCEEDED"})
    assert list(setting.states.executions) == [first["batch"]]


def test_without_a_key_each_is_a_batch_of_its_own(setting: Setting) -> None:
    """Who gives no key starts a batch each time."""
    assert len({setting.start()[1]["batch"] for _ in range(3)}) == 3


def test_a_key_is_of_one_request(setting: Setting) -> None:
    """Another request under the same key is refused with 422, and starts nothing."""
    setting.start(key="mine")
    code, problem = setting.start({"series": ["c"]}, key="mine")
    assert (code, problem["type"].rpartition(":")[2]) == (422, "idempotency-key-reused")
    assert len(setting.states.executions) == 1
    assert setting.start({"series": ["c"]}, key="other")[0] == 202


def test_a_key_outlives_the_request_that_was_kept(setting: Setting) -> None:
    """A key comes to its batch for as long as Step Functions knows it, also when the request has expired."""
    _, first = setting.start(key="mine")
    setting.states.end(first["batch"])
    setting.data.delete(f"batches/{first['batch']}/request.json")
    assert setting.start(key="mine") == (200, {**first, "status": "SUCCEEDED"})
    assert setting.start({"series": ["c"]}, key="mine")[0] == 422


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_none(key: str) -> None:
    """A key has 1 to 255 characters."""
    with pytest.raises(RequestError) as caught:
        Setting().start(key=key)
    assert caught.value.parameter == "idempotency_key"


def test_a_start_that_died_half_way_goes_on(setting: Setting) -> None:
    """Whoever died between keeping a request and starting it, the same key starts it after all, once."""
    setting.keep(f"batches/{batch_of_key('mine')}/request.json", SERIES)
    assert setting.start(key="mine")[0] == 202
    assert setting.start(key="mine")[0] == 200
    assert list(setting.states.executions) == [batch_of_key("mine")]


def raced(setting: Setting, end: str, happens: Callable[[], object]) -> None:
    """Let something happen before the first write to a path that ends so."""
    waiting = [happens]

    def race(path: str, _data: bytes) -> None:
        if path.endswith(end) and waiting:
            waiting.pop()()

    setting.deployment._opened["s3://data"] = doubles.Before(setting.data, put=race)


@pytest.mark.parametrize(("other", "code"), [(SERIES, 202), ({"series": ["c"]}, 422)])
def test_two_with_one_key_at_once(setting: Setting, other: Any, code: int) -> None:
    """Of two sent with one key at one moment comes one batch; if they differ, the second is refused."""
    raced(setting, "/request.json", lambda: setting.start(other, key="mine"))
    assert setting.start(key="mine")[0] == code
    assert list(setting.states.executions) == [batch_of_key("mine")]
    assert setting.start(other, key="mine")[0] == 200


# --- how many at once


def refused(answer: tuple[int, dict[str, Any]]) -> bool:
    """Whether an answer says that too many run."""
    code, document = answer
    return code == 429 and document["type"].endswith(":too-many-batches")


def test_no_more_than_may_run_at_once() -> None:
    """One more batch than may run is refused until one has ended, and leaves nothing behind."""
    setting = Setting(batches_at_once=2)
    first, _ = (setting.start()[1]["batch"] for _ in range(2))
    before = setting.data.list_objects("")
    assert refused(setting.start())
    assert refused(setting.start(key="mine"))
    assert setting.data.list_objects("") == before
    setting.states.end(first, "FAILED")
    assert setting.start(key="mine")[0] == 202
    assert refused(setting.start())


def test_a_batch_that_is_asked_for_again_takes_no_second_place() -> None:
    """A key that is given again is answered though every place is taken."""
    setting = Setting(batches_at_once=1)
    setting.start(key="mine")
    assert setting.start(key="mine")[0] == 200


def test_a_place_outlives_no_death() -> None:
    """A place whose batch was never started, because its starter died, is free again after a minute."""
    setting = Setting(batches_at_once=1)
    batch = setting.start()[1]["batch"]
    # Step Functions tells of a new execution after a moment only.
    setting.states.hidden.add(batch)
    assert refused(setting.start())
    setting.now += STARTING_S
    assert setting.start()[0] == 202


def test_of_two_that_want_the_last_place_one_gets_it() -> None:
    """The number that run at once is kept when two are started at the same moment."""
    setting = Setting(batches_at_once=1)
    raced(setting, "running/0.json", setting.start)
    assert refused(setting.start())
    assert len(setting.states.executions) == 1


def test_many_at_once_on_s3(moto: servers.Moto) -> None:
    """Of twenty that are sent at the same moment, S3's conditional writes let through as many as may run."""
    s3 = moto.client("s3")
    s3.create_bucket(Bucket="places")
    s3.close()
    states = States()
    deployment = Deployment(
        {"default": "s3://places/none"}, "s3://places", environment=moto.environment, batches_at_once=3
    )
    runs = BatchRuns(batch_host(deployment), MACHINE, states, 3)
    with ThreadPoolExecutor(20) as pool:
        codes = [one.status for one in pool.map(lambda _: runs.start(SERIES), range(20))]
    assert sorted(codes) == [202] * 3 + [429] * 17
    assert len(states.executions) == 3


# --- how it stands


def test_progress(setting: Setting) -> None:
    """How far a batch has come is what its map run says, and what its outcomes are so far."""
    batch = setting.start()[1]["batch"]
    assert setting.status(batch) == {
        "batch": batch,
        "status": "RUNNING",
        "started": "2026-03-12T10:00:00+00:00",
        "ended": None,
        "progress": None,
        "outcomes": {
            **dict.fromkeys(("ok", "no_preview", "failed", "made", "exists", "refused", "volumes"), 0),
            "reasons": {},
            "refusals": {},
        },
        "error": None,
        "summary": None,
        "links": None,
    }
    setting.states.counts = {
        "total": 10,
        "pending": 4,
        "running": 2,
        "succeeded": 2,
        "failed": 1,
        "timedOut": 1,
    }
    setting.keep(f"batches/{batch}/outcomes/aa/1.json", {"series": "a", "status": "ok"})
    denied = {"series": "b", "status": "no-preview", "error": "AccessDeniedError"}
    setting.keep(f"batches/{batch}/outcomes/bb/2.json", denied)
    status = setting.status(batch)
    counts = {"series": 10, "waiting": 4, "running": 2, "done": 2, "lost": 2, "cancelled": 0}
    assert status["progress"] == counts
    outcomes = {name: count for name, count in status["outcomes"].items() if count}
    assert outcomes == {"ok": 1, "no_preview": 1, "reasons": {"AccessDeniedError": 1}}


def test_the_end(setting: Setting) -> None:
    """A batch that has ended shows its summary instead of counts."""
    batch = setting.start()[1]["batch"]
    summary = {"batch": batch, "ok": 2, "error": None}
    setting.keep(f"batches/{batch}/summary.json", summary)
    setting.states.end(batch)
    status = setting.status(batch)
    assert (status["status"], status["ended"]) == ("SUCCEEDED", "2026-03-12T11:00:00+00:00")
    assert (status["summary"], status["outcomes"], status["error"]) == (summary, None, None)


@pytest.mark.parametrize(
    ("ended", "summary", "error"),
    [
        (
            {"status": "FAILED", "error": "RequestError"},
            {"error": {"error": "RequestError", "reason": "manifest: cannot be read: not found"}},
            "manifest: cannot be read: not found",
        ),
        ({"status": "FAILED", "error": "Sandbox.Timedout"}, None, "ended with Sandbox.Timedout"),
        ({"status": "FAILED", "error": "X"}, {"error": None}, "ended with X"),
        ({"status": "TIMED_OUT"}, None, "ended with TIMED_OUT"),
        ({"status": "ABORTED"}, None, "cancelled"),
    ],
)
def test_why_a_batch_did_not_succeed(
    setting: Setting, ended: dict[str, str], summary: Any, error: str
) -> None:
    """Whatever ended a batch, who asks is told why."""
    batch = setting.start()[1]["batch"]
    setting.states.end(batch, **ended)
    if summary is not None:
        setting.keep(f"batches/{batch}/summary.json", summary)
    assert error in setting.status(batch)["error"]["reason"]


def test_no_such_batch() -> None:
    """A batch that never was is a 404, and what is no identifier is refused."""
    runs = Setting().runs
    for use in (runs.status, runs.cancel):
        assert answered(use("0b5a1c2e-7a1d-4c59-9a10-2f6f5c0d9e01"))[0] == 404
        with pytest.raises(RequestError, match="batch"):
            use("today")


# --- cancelling


def test_cancel() -> None:
    """A cancelled batch stops, keeps its outcomes and frees its place, and a rerun goes on from there."""
    setting = Setting(batches_at_once=1)
    batch = setting.start()[1]["batch"]
    setting.keep(f"batches/{batch}/outcomes/aa/1.json", {"series": "a", "status": "ok"})
    code, document = setting.cancel(batch)
    assert (code, document["batch"], document["status"]) == (202, batch, "ABORTED")
    status = setting.status(batch)
    assert (status["status"], status["outcomes"]["ok"]) == ("ABORTED", 1)
    assert status["error"]["error"] == "BatchCancelled"
    assert setting.start({"rerun": batch})[0] == 202


def test_cancel_what_has_ended(setting: Setting) -> None:
    """A batch that has ended stays as it is, however often it is cancelled."""
    batch = setting.start()[1]["batch"]
    setting.states.end(batch)
    assert setting.cancel(batch)[0] == 200
    assert setting.status(batch)["status"] == "SUCCEEDED"


def test_a_batch_that_runs_is_not_done_again(setting: Setting) -> None:
    """A rerun waits for the end of what it is to go on from."""
    batch = setting.start()[1]["batch"]
    code, problem = setting.start({"rerun": batch})
    assert (code, problem["type"].rpartition(":")[2]) == (409, "batch-running")
    setting.states.end(batch)
    assert setting.start({"rerun": batch})[0] == 202


@pytest.mark.parametrize("document", [{"series": []}, {"manifest": "s3://lists/none.csv"}])
def test_what_is_refused_leaves_nothing_behind(setting: Setting, document: Any) -> None:
    """Nothing is written or started of a request that is wrong, or whose manifest cannot be read."""
    with pytest.raises(RequestError):
        setting.start(document, key="mine")
    assert setting.data.list_objects("") == []
    assert setting.states.executions == {}
