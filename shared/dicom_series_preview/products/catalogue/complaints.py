"""Say in one line why a question in SQL has no answer: DataFusion's complaint, in the words of the catalogue.

A complaint can quote a cell, which is a value of a header: of what it quotes, only the question's own text
is repeated.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from dicom_series_preview.base.settings import IDENTIFIERS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_NOISE = re.compile(r"^(?:(?:\w+ error|Error during planning|This feature is not implemented): )+")
_INSIDE = re.compile(r"datafusion\.(?:public\.)?")
_LISTED = re.compile(r" Valid fields are .*")
_CAST = re.compile(r"Cannot cast string '(.*)' to value of (\w+)", re.DOTALL)
_QUOTE = re.compile(r"['\"]")
_LONGEST = 300
# Of these a question is the cause; of all others, the table can be.
_OF_THE_QUESTION = (
    *("SQL error", "Schema error", "Error during planning", "This feature is not implemented"),
    *("type_coercion", "Optimizer rule"),
)
_TYPES = {
    "text": ("Utf8View", "LargeUtf8", "Utf8", "String"),
    "a number": tuple(f"{kind}{bits}" for kind in ("Int", "UInt", "Float") for bits in (8, 16, 32, 64)),
    "a date": ("Date32", "Date64"),
    "a yes or no": ("Boolean",),
}
_WORDS = {kind: word for word, kinds in _TYPES.items() for kind in kinds}
_KIND = re.compile(
    r"List\([^()]*\)|(?:Timestamp|Decimal128|Time64|Dictionary)\([^()]*\)|\b(?:" + "|".join(_WORDS) + r")\b"
)
_EXAMPLES = {"a date": "a date such as '2026-01-31'", "a yes or no": "true or false"}


def is_of_the_question(complaint: str) -> bool:
    """Return True where the question alone is wrong, and no file of the table can be the cause."""
    return complaint.startswith(_OF_THE_QUESTION)


def told(complaint: str, question: str, columns: Iterable[str], hidden: Collection[str], lines: int) -> str:
    """Return why a question has no answer, in one line.

    Args:
        complaint: DataFusion's complaint.
        question: The question.
        columns: The tables' columns.
        hidden: The columns that are not shown.
        lines: The lines of the question that its author has written; what stands after them is ours.
    """
    cause = complaint.strip().split("\ncaused by\n")[-1].strip()
    if "regex parse error" in cause:
        return "holds a wrong regular expression"
    if found := _CAST.search(cause):
        return _is_no(found[1] if found[1] in question else None, _kind(found[2]))
    line = _LISTED.sub("", _INSIDE.sub("", _NOISE.sub("", cause.partition("\n")[0])))
    for pattern, say in _SAYINGS:
        if found := pattern.search(line):
            return say(found)
    if not is_of_the_question(complaint):
        line = _QUOTE.split(line)[0].rstrip(" (:")
    elif found := _NO_FIELD.search(line):
        return _no_column(found[1], list(columns), hidden)
    elif found := _NO_SQL.search(line):
        return _no_sql(found, lines)
    line = _kind(line)
    return f"cannot be answered: {line if len(line) <= _LONGEST else f'{line[:_LONGEST]}...'}"


def _word(found: re.Match[str]) -> str:
    """Return what a type is called."""
    if found[0].startswith("List"):
        return "a list"
    return _WORDS.get(found[0], "a time" if found[0].startswith("Time") else "a number")


def _kind(text: str) -> str:
    return _KIND.sub(_word, text)


def _is_no(text: str | None, kind: str) -> str:
    """Say that a text of the question, or of a cell, is not what it is compared with."""
    return (
        f"a text in the rows is not {kind}"
        if text is None
        else f"'{text}' is not {_EXAMPLES.get(kind, kind)}"
    )


_NO_FIELD = re.compile(r"No field named (.+?)\.?(?: Did you mean .*)?$")
_NO_SQL = re.compile(
    r"(?:Parser|Tokenizer)Error\(\"(.*?)(?: at Line: (\d+), Column: (\d+))?\.?\"\)", re.DOTALL
)
_SAYINGS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"common argument type for comparison operation (.+) ([=<>!~]+|[A-Z ]+) (.+)$"),
        lambda found: f"{_kind(found[1])} cannot be compared with {_kind(found[3])}",
    ),
    (
        re.compile(r"Cannot coerce arithmetic expression (.+) (\S+) (.+) to valid types"),
        lambda found: f"{_kind(found[1])} {found[2]} {_kind(found[3])} cannot be calculated",
    ),
    (
        re.compile(r"common type to coerce (.+) and (.+) in (.+) expression"),
        lambda found: f"{found[3]} cannot compare {_kind(found[1])} with {_kind(found[2])}",
    ),
    (
        re.compile(r"non-boolean predicate '(.+)' returning (.+)$"),
        lambda found: f"{found[1].removeprefix('series.')} is {_kind(found[2])}, no condition; compare it",
    ),
    (
        re.compile(r"Function '(\w+)' (?:failed to match|expects|requires)"),
        lambda found: f"the function {found[1]} cannot take these values",
    ),
    (
        re.compile(r"Invalid function '(\w+)'"),
        lambda found: f"there is no function {found[1]}",
    ),
    (
        re.compile(r"table '(.+?)' not found"),
        lambda found: f"there is no table '{found[1]}'; there are series and slices",
    ),
    (
        re.compile(r"column \"(.+?)\" must appear in the GROUP BY"),
        lambda found: f"{found[1]} stands neither in GROUP BY nor in a function such as max",
    ),
    (re.compile(r"supports a single SQL statement"), lambda _found: "holds several statements; ask one"),
    (
        re.compile(r"Error evaluating filter predicate: ArrowError\(Pars"),
        lambda _found: "a text in the rows cannot be read as this needs it",
    ),
    (re.compile(r"Divide ?By ?Zero", re.IGNORECASE), lambda _found: "divides by zero"),
)


def _no_column(written: str, columns: list[str], hidden: Collection[str]) -> str:
    """Say that there is no such column, and what may have been meant."""
    name = written.replace('"', "")
    bare = name.rpartition(".")[2].lower()
    unseen = {one.lower(): one for one in hidden}
    if bare in unseen:
        return hidden_column(unseen[bare])
    names = {one.lower(): one for one in columns}
    near = difflib.get_close_matches(bare, names, 1)
    if near:
        return f"there is no column {name}; did you mean {names[near[0]]}?"
    hint = "" if "." in name else f"; text stands in single quotes: '{name}'"
    return f"there is no column {name}{hint}"


def hidden_column(name: str) -> str:
    """Say that a column is not shown."""
    return f"{name} is not shown: {IDENTIFIERS_VARIABLE} hides it"


def _no_sql(found: re.Match[str], lines: int) -> str:
    """Say what is expected where."""
    wrong = re.fullmatch(r"Expected: (.+), found: (.+)", found[1])
    if wrong is None:
        return f"is no SQL: {found[1][:1].lower()}{found[1][1:]}"
    if wrong[2] == "EOF" or int(found[2] or 0) > lines:
        return f"is no SQL: {wrong[1]} is missing at its end"
    return f"is no SQL: {wrong[2]} stands where {wrong[1]} is expected"
