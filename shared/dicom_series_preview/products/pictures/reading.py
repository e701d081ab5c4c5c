"""Read options by their table, from strings or Python's values, and collect all errors."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from dicom_series_preview.base.errors import CombinedRequestError, RequestError, cut, quoted
from dicom_series_preview.base.settings import plain_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.products.pictures.options import Option

T = TypeVar("T")


@dataclass(slots=True)
class Reader:
    """Reads options one by one, and collects the errors so that all are reported at once.

    Attributes:
        table: The table of options.
        given: The given values by name.
        read_one: Reads an option's value; raises RequestError if it is invalid.
        named: The given names.
        read: The names read.
        problems: The errors so far.
    """

    table: Mapping[str, Option]
    given: Mapping[str, Sequence[Any]]
    read_one: Callable[[Option, Any], Any]
    named: set[str] = field(init=False)
    read: set[str] = field(default_factory=set)
    problems: list[RequestError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.named = {name for name, values in self.given.items() if values}

    @classmethod
    def of_strings(cls, table: Sequence[Option], options: Mapping[str, Sequence[str]]) -> Reader:
        """Read options from strings.

        Args:
            table: The table of options.
            options: The texts given for each, by name.
        """
        return cls({option.name: option for option in table}, options, from_text)

    @classmethod
    def of_values(cls, table: Sequence[Option], options: Mapping[str, Any]) -> Reader:
        """Read options from Python's values; None counts as missing.

        Args:
            table: The table of options.
            options: The value of each, by keyword; for a repeated one a sequence.
        """
        names = {option.keyword: option for option in table}
        given = {}
        for keyword, value in options.items():
            option = names[keyword]
            if value is not None:
                # A text alone is one value, not one for each letter.
                several = option.repeated and not isinstance(value, str)
                given[option.name] = list(value) if several else [value]
        return cls({option.name: option for option in table}, given, from_value)

    def problem(self, error: RequestError) -> None:
        """Note an error."""
        self.problems.append(error)

    def finish(self) -> None:
        """Raise the errors, including one for unknown options.

        Raises:
            RequestError: There is an error, or several (`CombinedRequestError`).
        """
        for name in [name for name in self.table if name not in self.read]:
            self.value(name)
        for name in sorted(self.named - self.read):
            self.problem(RequestError(cut(name), "is not an option here"))
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise CombinedRequestError(tuple(self.problems))

    def called(self, name: str) -> str:
        """Return an option's name as its caller writes it."""
        return self.table[name].keyword if self.read_one is from_value else name

    def raw(self, name: str) -> Any:  # noqa: ANN401 - a text, or what Python was given
        """Return an option's one value as given, or None."""
        self.read.add(name)
        values = self.given.get(name) or ()
        if len(values) > 1:
            self.problem(RequestError(name, "is given more than once"))
        return values[0] if values else None

    def value(self, name: str) -> Any:  # noqa: ANN401 - of the option's type
        """Return an option's value, or its default if it is missing or wrong."""
        option, raw = self.table[name], self.raw(name)
        if raw is None:
            return option.default
        return self.tried(lambda: self._chosen(option, self.read_one(option, raw)), option.default)

    def _chosen(self, option: Option, value: T) -> T:
        """Return a value, checked against the option's choices."""
        if option.choices and value not in option.choices:
            names = ", ".join(map(str, option.choices))
            raise RequestError(self.called(option.name), f"{quoted(str(value))} is none of {names}")
        return value

    def tried(self, read: Callable[[], T], otherwise: T) -> T:
        """Return the result of reading, or `otherwise` after noting an error."""
        try:
            return read()
        except RequestError as error:
            self.problem(error)
            return otherwise


def from_text(option: Option, text: str) -> Any:  # noqa: ANN401 - of the option's type
    """Parse an option's value.

    Raises:
        RequestError: The text is no such value.
    """
    if option.type is bool:
        if text.lower() not in ("true", "false"):
            raise RequestError(option.name, f"{quoted(text)} is neither true nor false")
        return text.lower() == "true"
    if option.type is int:
        return _bounded(option, _converted(lambda: int(plain_digits(text)), option, text), text.strip())
    if option.type is float:
        return _bounded(option, _converted(lambda: float(plain_digits(text)), option, text), text)
    return text


def from_value(option: Option, value: Any) -> Any:  # noqa: ANN401 - what Python was given
    """Check an option's value from Python: a number must be a number, not its text.

    Raises:
        RequestError: The value has another type, or is out of range.
    """
    text = str(value)
    if option.type is bool:
        if not _is_truth(value):
            raise RequestError(option.keyword, f"{quoted(text)} is neither True nor False")
        return bool(value)
    if option.type is str:
        if not isinstance(value, str):
            raise RequestError(option.keyword, f"{quoted(text)} is no text")
        return value
    # True is 1 to Python, but no number to anyone else.
    if isinstance(value, str) or _is_truth(value):
        raise RequestError(option.keyword, f"{quoted(text)} is no {_KINDS[option.type]}")
    convert = operator.index if option.type is int else float
    return _bounded(option, _converted(lambda: convert(value), option, text), text)


def _is_truth(value: Any) -> bool:  # noqa: ANN401 - what Python was given
    """Return True for True and False, NumPy's too."""
    return not isinstance(value, str) and str(value) in ("True", "False")


_KINDS = {int: "whole number", float: "number"}


def _converted(convert: Callable[[], T], option: Option, text: str) -> T:
    """Convert a text to a number.

    Raises:
        RequestError: The text is no number.
    """
    try:
        return convert()
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(option.name, f"{quoted(text)} is no {_KINDS[option.type]}") from error


def _bounded(option: Option, number: float, text: str) -> float:
    """Return a number, checked against the option's bounds.

    Raises:
        RequestError: The number is out of bounds.
    """
    low, high = option.low, option.greatest
    is_finite = isinstance(number, int) or math.isfinite(number)
    if is_finite and (low is None or low <= number) and (high is None or number <= high):
        return number
    span = f"{low} or more" if high is None else f"{low} to {high}"
    raise RequestError(option.name, f"{cut(text)} is out of range; give {span}")
