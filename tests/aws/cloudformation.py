"""Read a CloudFormation template, and evaluate its intrinsic functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

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
