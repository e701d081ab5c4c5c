"""What a test proves: the item of the list of known mistakes, the rule, and the part of the standard."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Test = TypeVar("Test", bound="Callable[..., object]")


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A rule of the standard.

    Attributes:
        item: Number of the chapter that it stands in; see `conformance.page`.
        text: What is right, in one line.
        standard: The part of the standard that says so.
    """

    item: int
    text: str
    standard: str


def proves(item: int, text: str, standard: str) -> Callable[[Test], Test]:
    """Say of a test which rule it proves."""

    def mark(test: Test) -> Test:
        test.rule = Rule(item, text, standard)  # type: ignore[attr-defined]
        return test

    return mark
