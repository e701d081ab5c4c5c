"""Read a CloudFormation template, and evaluate its intrinsic functions."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

NO_VALUE = object()
"""What AWS::NoValue takes away."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Sub x` is {"Fn::Sub": "x"}."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def load(path: Path) -> dict[str, Any]:
    """A template, its intrinsic functions in long form."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader


class Evaluator:
    """A template's values under parameters: what CloudFormation would make of them.

    Names of resources stand for what Ref gives, `Name.Attribute` for what GetAtt gives.
    """

    def __init__(self, template: dict[str, Any], **parameters: str) -> None:
        self._template = template
        defaults = {name: str(entry.get("Default", "")) for name, entry in template["Parameters"].items()}
        self._values: dict[str, Any] = {
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": "eu-central-1",
            "AWS::AccountId": "123456789012",
            "AWS::StackName": "stack",
            "AWS::URLSuffix": "amazonaws.com",
            **defaults,
            **parameters,
        }
        for name, entry in template["Parameters"].items():
            if entry["Type"] == "CommaDelimitedList":
                self._values[name] = self._values[name].split(",")

    def __getitem__(self, name: str) -> Any:
        """A parameter's value."""
        return self._values[name]

    def value(self, node: Any) -> Any:
        """A node with every intrinsic function evaluated."""
        if isinstance(node, list):
            items = [self.value(item) for item in node]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (name, argument), *_ = node.items()
            if name == "Ref" or name.startswith("Fn::"):
                return getattr(self, f"_{name.removeprefix('Fn::').lower()}")(argument)
        values = {key: self.value(entry) for key, entry in node.items()}
        return {key: entry for key, entry in values.items() if entry is not NO_VALUE}

    def condition(self, node: Any) -> bool:
        """Whether a condition holds, by name or as an expression."""
        return self.value(self._template["Conditions"][node] if isinstance(node, str) else node)

    def _ref(self, name: str) -> Any:
        return self._values.get(name, name)

    def _getatt(self, path: list[str]) -> str:
        return ".".join(path)

    def _if(self, argument: list[Any]) -> Any:
        return self.value(argument[1] if self.condition(argument[0]) else argument[2])

    def _not(self, argument: list[Any]) -> bool:
        return not self.value(argument[0])

    def _or(self, argument: list[Any]) -> bool:
        return any(self.value(item) for item in argument)

    def _contains(self, argument: list[Any]) -> bool:
        return self.value(argument[1]) in self.value(argument[0])

    def _equals(self, argument: list[Any]) -> bool:
        left, right = (str(self.value(item)) for item in argument)
        return left == right

    def _join(self, argument: list[Any]) -> str:
        return argument[0].join(self.value(argument[1]))

    def _split(self, argument: list[Any]) -> list[str]:
        return self.value(argument[1]).split(argument[0])

    def _select(self, argument: list[Any]) -> Any:
        return self.value(argument[1])[int(argument[0])]

    def _findinmap(self, argument: list[Any]) -> Any:
        found = self._template["Mappings"]
        for key in argument:
            found = found[self.value(key)]
        return found

    def _sub(self, argument: Any) -> str:
        text, names = argument if isinstance(argument, list) else (argument, {})
        own = {name: self.value(node) for name, node in names.items()}
        return re.sub(r"\$\{([^}]+)\}", lambda match: str(own.get(match[1], self._ref(match[1]))), text)


@dataclass(frozen=True)
class Stack:
    """What a template makes under parameters.

    Attributes:
        given: The parameters' values.
        resources: By logical name, what is made: every intrinsic function evaluated, and functions with what
            Globals gives them.
        outputs: By name, their values.
        accepted: Whether every rule of the template lets the parameters pass.
    """

    given: Evaluator
    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]
    accepted: bool

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a type, by logical name: their properties."""
        return {name: entry["Properties"] for name, entry in self.resources.items() if entry["Type"] == kind}


def resolve(template: dict[str, Any], **parameters: str) -> Stack:
    """Make a stack of a template."""
    given = Evaluator(template, **parameters)
    shared = template.get("Globals", {}).get("Function", {})
    resources = {}
    for name, entry in template["Resources"].items():
        if "Condition" in entry and not given.condition(entry["Condition"]):
            continue
        if entry["Type"] == "AWS::Serverless::Function":
            entry = {**entry, "Properties": _merged(shared, entry["Properties"])}  # noqa: PLW2901
        resources[name] = given.value(entry)
    outputs = {name: given.value(entry["Value"]) for name, entry in template["Outputs"].items()}
    accepted = all(
        given.value(assertion["Assert"])
        for rule in template["Rules"].values()
        if given.value(rule.get("RuleCondition", True))
        for assertion in rule["Assertions"]
    )
    return Stack(given, resources, outputs, accepted)


def _merged(shared: Any, own: Any) -> Any:
    """SAM's Globals: mappings are joined, lists are put together, what else a function has is its own."""
    if isinstance(shared, dict) and isinstance(own, dict) and not _is_intrinsic(own):
        return {
            name: _merged(shared.get(name), own.get(name, shared.get(name))) for name in {**shared, **own}
        }
    if isinstance(shared, list) and isinstance(own, list) and own is not shared:
        return shared + own
    return own


def _is_intrinsic(node: dict[str, Any]) -> bool:
    return len(node) == 1 and next(iter(node)).startswith(("Fn::", "Ref"))
