"""The state machine of batches: its structure, which no linter checks, and its ways through, on moto.

moto takes failures for successes: tests/unit/doors/aws/test_batch_states.py simulates what becomes of them.
"""

import ast
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda.models import LambdaBackend

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "functions" / "batch.asl.json").read_text(encoding="utf-8")
MACHINE: dict[str, Any] = json.loads(TEXT)
STATES = MACHINE["States"]
ITEMS = STATES["Items"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
VOLUMES = STATES["Volumes"]
CHILD: dict[str, Any] = ITEMS["ItemProcessor"]["States"]
CONVERTING: dict[str, Any] = VOLUMES["ItemProcessor"]["States"]
TASKS |= CHILD | CONVERTING
ACCOUNT = "123456789012"
FILLED = {
    "LambdaInvoke": "arn:aws:states:::lambda:invoke",
    "S3GetObject": "arn:aws:states:::s3:getObject",
    "S3PutObject": "arn:aws:states:::s3:putObject",
    "PrepareFunction": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:prepare",
    "ItemFunction": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:item",
    "ConvertFunction": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:convert",
    "SummaryFunction": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:summary",
    "DataBucket": "data",
    "MaxConcurrency": "2",
    "ToleratedFailurePercentage": "10",
}


def next_states(state: dict[str, Any]) -> set[str]:
    """The states that may follow."""
    named = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return {entry["Next"] for entry in named if "Next" in entry} | (
        {state["Default"]} if "Default" in state else set()
    )


def test_every_state_is_reached_and_ends() -> None:
    """From the start every state is reached, and all that are named exist; none but the last ones stop."""
    reached, waiting = set(), [MACHINE["StartAt"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += next_states(STATES[name])
    assert reached == set(STATES)
    # Names are unique in the whole machine.
    assert not set(STATES) & (set(CHILD) | set(CONVERTING))
    assert not set(CHILD) & set(CONVERTING)
    for name, state in STATES.items():
        assert bool(next_states(state)) is (state["Type"] not in ("Succeed", "Fail")), name


def test_what_is_substituted_is_what_the_template_fills_in() -> None:
    """No placeholder is left, and none is filled in vain."""
    template = (PROJECT / "template.yaml").read_text(encoding="utf-8")
    block = re.search(r"DefinitionSubstitutions:\n((?: {8}\w+: .*\n)+)", template)[1]
    assert (
        set(re.findall(r"\$\{(\w+)\}", TEXT))
        == set(re.findall(r"^ {8}(\w+):", block, re.MULTILINE))
        == set(FILLED)
    )


def test_a_batch_that_converts_differs_in_its_function_alone() -> None:
    """Its map is that of previews, with another function, which is not tried again after it has died."""
    own = {"Comment", "Label", "ItemProcessor"}
    assert {name: value for name, value in VOLUMES.items() if name not in own} == {
        name: value for name, value in ITEMS.items() if name not in own
    }
    assert VOLUMES["ItemProcessor"]["ProcessorConfig"] == ITEMS["ItemProcessor"]["ProcessorConfig"]
    assert VOLUMES["ItemProcessor"]["StartAt"] == "Convert"
    convert, item = CONVERTING["Convert"], CHILD["Item"]
    assert convert["Parameters"] == {"FunctionName": "${ConvertFunction}", "Payload.$": "$"}
    assert convert["Retry"] == item["Retry"][:1]
    own = {"Comment", "Parameters", "Retry", "Catch"}
    assert {name: value for name, value in convert.items() if name not in own} == {
        name: value for name, value in item.items() if name not in own
    }
    assert convert["Catch"] == [{**item["Catch"][0], "Next": "GiveUpVolumes"}]
    assert CONVERTING["GiveUpVolumes"] == CHILD["GiveUp"]


def test_the_map_is_distributed_and_bounded() -> None:
    """Items come from S3 and results go there, so many at once, and so many may fail."""
    assert ITEMS["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
    assert ITEMS["ItemReader"]["Resource"] == "${S3GetObject}"
    assert ITEMS["ItemReader"]["ReaderConfig"] == {"InputType": "JSON"}
    assert ITEMS["MaxConcurrencyPath"] == "$.limits.max_concurrency"
    assert ITEMS["ToleratedFailurePercentagePath"] == "$.limits.tolerated_failure_percentage"
    assert ITEMS["ResultWriter"]["Resource"] == "${S3PutObject}"
    assert "batches/{}/results" in ITEMS["ResultWriter"]["Parameters"]["Prefix.$"]
    assert ITEMS["ItemProcessor"]["StartAt"] == "Item"
    assert [state["End"] for state in CHILD.values()] == [True, True]


def test_a_child_gives_up_and_does_not_fail() -> None:
    """Whatever a series' last try ends with leads to its outcome, which the same function writes."""
    catcher = {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "GiveUp"}
    assert CHILD["Item"]["Catch"] == [catcher]
    assert CHILD["GiveUp"]["Parameters"] == CHILD["Item"]["Parameters"]
    assert "Catch" not in CHILD["GiveUp"]


def parsed(module: str) -> ast.Module:
    """A module of the package, which need not be installed here."""
    return ast.parse((PROJECT / "shared" / "dicom_series_preview" / module).read_text(encoding="utf-8"))


def names_in(module: str, variable: str) -> set[str]:
    """The names in a tuple of a module."""
    (value,) = (
        node.value
        for node in parsed(module).body
        if isinstance(node, ast.Assign) and node.targets[0].id == variable
    )
    return {entry.id for entry in value.elts}


@pytest.mark.parametrize("name", TASKS)
def test_passing_faults_are_retried_and_others_are_not(name: str) -> None:
    """Each step retries with backoff and full jitter what may pass, and nothing that is the data's fault."""
    ours = {node.name for node in parsed("base/errors.py").body if isinstance(node, ast.ClassDef)}
    retried = set()
    for retrier in TASKS[name]["Retry"]:
        assert retrier["BackoffRate"] > 1
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["MaxDelaySeconds"]
        assert retrier["MaxAttempts"] >= 1
        retried |= set(retrier["ErrorEquals"])
    assert "Lambda.TooManyRequestsException" in retried
    assert retried & ours == names_in("products/batches/outcomes.py", "RETRIED")
    assert not retried & {"States.ALL", "States.TaskFailed", "Lambda.Unknown.All"}
    assert {error for error in retried if "." not in error} <= ours
    assert TASKS[name]["TimeoutSeconds"] <= 900


@pytest.mark.parametrize("name", ["Prepare", "Items"])
def test_a_failed_step_is_summed_up(name: str) -> None:
    """Whatever fails before the summary leads to it."""
    assert STATES[name]["Catch"] == [
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Summary"}
    ]


class Machine:
    """The machine on moto, with functions of the test's own."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[[Any], Any]] = {}
        self.called: list[tuple[str, Any]] = []
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.s3.create_bucket(Bucket="data")
        self._states = boto3.client("stepfunctions", region_name="us-east-1")
        definition = re.sub(r"\$\{(\w+)\}", lambda match: FILLED[match[1]], TEXT)
        self._machine = self._states.create_state_machine(
            name="machine", definition=definition, roleArn=f"arn:aws:iam::{ACCOUNT}:role/any"
        )["stateMachineArn"]

    def invoke(self, function_name: str, body: str, headers: dict[str, str]) -> bytes:
        """Answer in Lambda's place."""
        name, payload = function_name.rsplit(":", 1)[1], json.loads(body)
        self.called.append((name, payload))
        try:
            answer = self.functions[name](payload)
        except ValueError as error:
            headers["x-amz-function-error"] = "Unhandled"
            answer = {"errorType": type(error).__name__, "errorMessage": ""}
        return json.dumps(answer).encode()

    def run(self) -> dict[str, Any]:
        """Run a batch to its end."""
        execution = self._states.start_execution(
            stateMachineArn=self._machine, name="b1", input=json.dumps({"batch": "b1"})
        )["executionArn"]
        for _ in range(600):
            answer = self._states.describe_execution(executionArn=execution)
            if answer["status"] != "RUNNING":
                return answer
            time.sleep(0.05)
        raise TimeoutError("the batch does not end")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine whose functions say that the batch has three series."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        made = Machine()
        # moto would start a container. It gives the backend, the name, a qualifier, the body and headers,
        # those of the request and those of the answer.
        monkeypatch.setattr(LambdaBackend, "invoke", lambda *given: made.invoke(given[1], given[3], given[5]))
        made.s3.put_object(
            Bucket="data", Key="batches/b1/items.json", Body=b'[{"s": "x"}, {"s": "y"}, {"s": "z"}]'
        )
        made.functions = {
            "prepare": lambda _: {"key": "batches/b1/items.json", "count": 3, "kind": "preview"},
            "item": lambda payload: {"done": payload["item"]["s"]},
            "summary": lambda _: {"ok": 3, "error": None},
        }
        yield made


def names(machine: Machine) -> list[str]:
    """The functions that were called, in order."""
    return [name for name, _ in machine.called]


def test_a_batch_goes_through(machine: Machine) -> None:
    """Prepare gets the batch, each series its item, and the summary where the results lie."""
    answer = machine.run()
    assert (answer["status"], json.loads(answer["output"])) == (
        "SUCCEEDED",
        {"summary": {"ok": 3, "error": None}},
    )
    assert machine.called[0] == ("prepare", {"batch": "b1"})
    items = [payload for name, payload in machine.called if name == "item"]
    assert sorted(items, key=lambda payload: payload["number"]) == [
        {"batch": "b1", "number": number, "item": {"s": s}} for number, s in enumerate("xyz")
    ]
    name, summed = machine.called[-1]
    assert name == "summary"
    assert summed["map"]["ResultWriterDetails"]["Key"].startswith("batches/b1/results/")
    assert "error" not in summed


def test_a_batch_that_converts_has_a_function_of_its_own(machine: Machine) -> None:
    """What the first step says decides which function gets the series."""
    machine.functions["prepare"] = lambda _: {"key": "batches/b1/items.json", "count": 3, "kind": "convert"}
    machine.functions["convert"] = machine.functions["item"]
    assert machine.run()["status"] == "SUCCEEDED"
    assert sorted(names(machine)) == ["convert"] * 3 + ["prepare", "summary"]


def test_a_batch_without_series_is_summed_up(machine: Machine) -> None:
    """No series: no map, a summary, success."""
    machine.functions["prepare"] = lambda _: {"key": "batches/b1/items.json", "count": 0, "kind": "preview"}
    assert machine.run()["status"] == "SUCCEEDED"
    assert names(machine) == ["prepare", "summary"]


def test_a_failed_batch_is_summed_up_and_fails(machine: Machine) -> None:
    """A list that cannot be read: the summary hears why, and the execution fails with what it says."""
    machine.functions["prepare"] = lambda _: {"key": "batches/b1/missing.json", "count": 3, "kind": "preview"}
    machine.functions["summary"] = lambda given: {"error": given["error"]["Error"]}
    answer = machine.run()
    assert names(machine) == ["prepare", "summary"]
    assert machine.called[-1][1]["error"]["Cause"]
    assert (answer["status"], answer["error"]) == ("FAILED", machine.called[-1][1]["error"]["Error"])


def test_a_batch_that_its_summary_fails(machine: Machine) -> None:
    """When too many series have failed, after all were tried, the summary says so and the execution fails."""
    machine.functions["summary"] = lambda _: {"error": "TooManyFailed"}
    answer = machine.run()
    assert names(machine).count("item") == 3
    assert (answer["status"], answer["error"]) == ("FAILED", "TooManyFailed")


def test_a_series_whose_function_dies_is_given_up(machine: Machine) -> None:
    """The function hears of the error by which its last try ended, and the batch goes on."""

    def item(payload: Any) -> Any:
        if payload["item"]["s"] == "y" and "error" not in payload:
            raise ValueError
        return payload

    machine.functions["item"] = item
    assert machine.run()["status"] == "SUCCEEDED"
    (given_up,) = [payload for name, payload in machine.called if name == "item" and "error" in payload]
    assert (given_up["item"], given_up["batch"]) == ({"s": "y"}, "b1")
    assert given_up["error"]["Error"] == "ValueError"
