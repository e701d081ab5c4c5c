"""Step Functions, as far as functions/batch.asl.json needs it, by the specification of the States Language.

Other stand-ins take a Distributed Map whose children fail for a success. This one keeps the rule of
ToleratedFailurePercentage, retries without waiting, and refuses every field that it does not know, so that
nothing of a definition is passed over in silence. https://states-language.net and the developer guide's
"Setting failure thresholds for Distributed Map states" say what it does.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_COMMON = {"Type", "Comment", "Next", "End"}
_FIELDS = {
    "Pass": {"Parameters", "ResultPath"},
    "Task": {
        *("Resource", "TimeoutSeconds", "Parameters", "ResultSelector", "ResultPath", "OutputPath"),
        *("Retry", "Catch"),
    },
    "Choice": {"Choices", "Default"},
    "Map": {
        *("Label", "ItemReader", "ItemSelector", "MaxConcurrencyPath", "ToleratedFailurePercentagePath"),
        *("ItemProcessor", "ResultWriter", "ResultPath", "Catch"),
    },
    "Fail": {"Error", "ErrorPath", "Cause", "CausePath"},
    "Succeed": {"OutputPath"},
}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "NumericEquals": lambda value, wanted: value == wanted,
    "StringEquals": lambda value, wanted: value == wanted,
    "IsNull": lambda value, wanted: (value is None) is wanted,
}


class LambdaError(Exception):
    """A function's death, by the name that Step Functions gives it: Sandbox.Timedout, Runtime.ExitError."""


class _StateError(Exception):
    """An error by its name, with its cause."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(name, cause)
        self.name, self.cause = name, cause


@dataclass
class Execution:
    """An execution that has ended.

    Attributes:
        context: What `$$` leads to.
        status: `SUCCEEDED` or `FAILED`.
        output: What came out; None where it failed.
        error: The error's name; None where it succeeded.
        children: The executions of its map, in order; fewer than there are items where the map was stopped.
        tries: How often each state was tried.
        waits: The longest wait before each retry, in seconds.
    """

    context: Mapping[str, Any] = field(repr=False)
    status: str = "RUNNING"
    output: Any = None
    error: str | None = None
    children: list["Execution"] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)


@dataclass
class Machine:
    """A state machine.

    Attributes:
        definition: Its definition, with every name filled in.
        functions: By the last part of their ARN, its Lambda functions.
        read: An S3 object's bytes, by bucket and key; raises LookupError where there is none.
    """

    definition: Mapping[str, Any]
    functions: Mapping[str, Callable[[Any], Any]]
    read: Callable[[str, str], bytes]

    def run(self, given: Any) -> Execution:
        """Run an execution to its end."""
        return self._run(self.definition, given)

    def _run(self, machine: Mapping[str, Any], given: Any) -> Execution:
        execution = Execution({"Execution": {"Input": given}})
        name, value = machine["StartAt"], _json(given)
        while True:
            state = machine["States"][name]
            unknown = set(state) - _COMMON - _FIELDS[state["Type"]]
            assert not unknown, f"{name}: {unknown} are not simulated"
            try:
                value, name = self._step(name, state, value, execution)
            except _StateError as error:
                execution.status, execution.error = "FAILED", error.name
                return execution
            if name is None:
                execution.status, execution.output = "SUCCEEDED", value
                return execution

    def _step(
        self, name: str, state: Mapping[str, Any], value: Any, execution: Execution
    ) -> tuple[Any, str | None]:
        """What comes out of a state, and the next one."""
        context = execution.context
        if state["Type"] == "Succeed":
            return _at(state.get("OutputPath", "$"), value, context), None
        if state["Type"] == "Fail":
            error = _at(state["ErrorPath"], value, context) if "ErrorPath" in state else state["Error"]
            raise _StateError(error, "")
        if state["Type"] == "Choice":
            return value, _chosen(state, value, context)
        try:
            result = self._tried(name, state, value, execution)
        except _StateError as error:
            catchers = [one for one in state.get("Catch", []) if _matches(error.name, one["ErrorEquals"])]
            if not catchers:
                raise
            told = {"Error": error.name, "Cause": error.cause}
            return _put(catchers[0].get("ResultPath", "$"), value, told), catchers[0]["Next"]
        if "ResultSelector" in state:
            result = _filled(state["ResultSelector"], result, context)
        out = _put(state.get("ResultPath", "$"), value, result)
        assert state.get("End") is True or "Next" in state, name
        return _at(state.get("OutputPath", "$"), out, context), state.get("Next")

    def _tried(self, name: str, state: Mapping[str, Any], value: Any, execution: Execution) -> Any:
        """The result of a state, after as many retries as it has."""
        left = [retrier["MaxAttempts"] for retrier in state.get("Retry", [])]
        while True:
            execution.tries[name] = execution.tries.get(name, 0) + 1
            try:
                return self._result(state, value, execution)
            except _StateError as error:
                fitting = [
                    number
                    for number, retrier in enumerate(state.get("Retry", []))
                    if _matches(error.name, retrier["ErrorEquals"])
                ]
                if not fitting or not left[fitting[0]]:
                    raise
                retrier = state["Retry"][fitting[0]]
                growth = retrier["BackoffRate"] ** (retrier["MaxAttempts"] - left[fitting[0]])
                execution.waits.append(min(retrier["IntervalSeconds"] * growth, retrier["MaxDelaySeconds"]))
                left[fitting[0]] -= 1

    def _result(self, state: Mapping[str, Any], value: Any, execution: Execution) -> Any:
        """The result of one try."""
        if state["Type"] == "Map":
            return self._map(state, value, execution)
        taken = _filled(state["Parameters"], value, execution.context)
        return taken if state["Type"] == "Pass" else self._invoke(state, taken)

    def _invoke(self, state: Mapping[str, Any], taken: Mapping[str, Any]) -> Any:
        assert state["Resource"] == "arn:aws:states:::lambda:invoke", state["Resource"]
        function = self.functions[taken["FunctionName"].rpartition(":")[2]]
        try:
            return {"Payload": _json(function(_json(taken["Payload"]))), "StatusCode": 200}
        except LambdaError as error:
            raise _StateError(str(error), "") from error
        except Exception as error:
            name = type(error).__name__
            cause = json.dumps({"errorMessage": str(error), "errorType": name})
            raise _StateError(name, cause) from error

    def _map(self, state: Mapping[str, Any], value: Any, execution: Execution) -> Any:
        """A Distributed Map, its children one after the other."""
        context = execution.context
        processor = state["ItemProcessor"]
        assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        assert _at(state["MaxConcurrencyPath"], value, context) >= 1
        tolerated = _at(state["ToleratedFailurePercentagePath"], value, context)
        items = self._items(state["ItemReader"], value, context)
        failed = 0
        for index, item in enumerate(items):
            inside = {**context, "Map": {"Item": {"Index": index, "Value": item}}}
            given = _filled(state["ItemSelector"], value, inside)
            child = self._run(processor, given)
            execution.children.append(child)
            failed += child.status == "FAILED"
            # The threshold is looked at while the map runs, and counts against all items.
            if failed * 100 > tolerated * len(items):
                raise _StateError("States.ExceedToleratedFailureThreshold", "")
        written = _filled(state["ResultWriter"]["Parameters"], value, context)
        return {
            "MapRunArn": "arn:aws:states:us-east-1:123456789012:mapRun:machine/Items:run",
            "ResultWriterDetails": {
                "Bucket": written["Bucket"],
                "Key": f"{written['Prefix']}/run/manifest.json",
            },
        }

    def _items(self, reader: Mapping[str, Any], value: Any, context: dict[str, Any]) -> list[Any]:
        assert reader["Resource"] == "arn:aws:states:::s3:getObject", reader["Resource"]
        assert reader["ReaderConfig"] == {"InputType": "JSON"}
        place = _filled(reader["Parameters"], value, context)
        try:
            items = json.loads(self.read(place["Bucket"], place["Key"]))
        except LookupError as error:
            raise _StateError("States.ItemReaderFailed", "") from error
        assert isinstance(items, list)
        return items


def _json(value: Any) -> Any:
    """What is left of a value on its way through JSON."""
    return json.loads(json.dumps(value))


def _chosen(state: Mapping[str, Any], value: Any, context: Mapping[str, Any]) -> str:
    """The state that a choice goes on to."""
    for choice in state["Choices"]:
        (test,) = set(choice) - {"Variable", "Next"}
        if _TESTS[test](_at(choice["Variable"], value, context), choice[test]):
            return choice["Next"]
    return state["Default"]


def _matches(error: str, names: list[str]) -> bool:
    return error in names or "States.ALL" in names


def _at(path: str, value: Any, context: Mapping[str, Any]) -> Any:
    """What a reference path leads to."""
    found = context if path.startswith("$$") else value
    for part in path.lstrip("$").split(".")[1:]:
        if not isinstance(found, dict) or part not in found:
            raise _StateError("States.Runtime", path)
        found = found[part]
    return copy.deepcopy(found)


def _put(path: str, value: Any, result: Any) -> Any:
    """The value with a result at a reference path of one step."""
    if path == "$":
        return result
    (_, name) = path.split(".")
    return {**value, name: result}


def _filled(template: Any, value: Any, context: Mapping[str, Any]) -> Any:
    """A payload template with what its paths and intrinsic functions give."""
    if isinstance(template, list):
        return [_filled(entry, value, context) for entry in template]
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): _evaluated(entry, value, context)
        if name.endswith(".$")
        else _filled(entry, value, context)
        for name, entry in template.items()
    }


def _evaluated(expression: str, value: Any, context: Mapping[str, Any]) -> Any:
    if expression.startswith("$"):
        return _at(expression, value, context)
    name, given = re.fullmatch(r"States\.(\w+)\((.*)\)", expression).groups()
    arguments = [
        argument[1:-1] if argument.startswith("'") else _at(argument, value, context)
        for argument in re.split(r",\s*(?=[$'])", given)
    ]
    if name == "StringToJson":
        return json.loads(arguments[0])
    assert name == "Format", name
    text, *values = arguments
    return text.replace("{}", "%s") % tuple(values)
