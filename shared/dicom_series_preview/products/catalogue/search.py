"""Read a search of the catalogue from a query's parameters, and bind it as expressions.

Nothing of a query becomes a program: each value is a literal of an expression on one column.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from dicom_series_preview.archive.catalogue.snapshot import Filter
from dicom_series_preview.archive.catalogue.values import date_of
from dicom_series_preview.base.errors import CombinedRequestError, RequestError, cut, quoted
from dicom_series_preview.base.settings import IDENTIFIERS_VARIABLE, plain_digits

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
DEFAULT_LIMIT = 100
MOST_ROWS = 1000
DEFAULT_SORT = "-StudyDate"
FORMATS = ("json", "csv", "parquet")
# A pattern costs each text it is compared with its own length, at worst: RE2 never takes more.
_LONGEST_TEXT = 256
_MOST_TEXTS = 100
_MOST_PATTERNS = 10
_MOST_STARS = 8
_DAY = r"\d{8}|\d{4}-\d{2}-\d{2}"
_RANGE = re.compile(rf"({_DAY})?(-)?({_DAY})?")
_SEARCHED = (
    *("Series", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "BodyPartExamined", "StudyDescription"),
    *("SeriesDescription", "ProtocolName", "Manufacturer", "ManufacturerModelName", "PatientID"),
    *("PatientName", "AccessionNumber"),
)
_UIDS = {"SeriesInstanceUID", "StudyInstanceUID"}
_NO_LETTER = re.compile(r"[0-9.*?]+")
_PATIENTS = ("PatientID", "PatientName", "AccessionNumber")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a search.

    Attributes:
        name: Its name.
        description: Its meaning, in one sentence.
        column: The column whose text it compares, or empty.
        choices: The only values, or none if others are allowed too.
        default: Its default, or empty.
        example: A value, or empty.
        bounds: The least and greatest number, or None.
    """

    name: str
    description: str
    column: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    example: str = ""
    bounds: tuple[int, int] | None = None


_TEXT = "; `*` and `?` stand for any text and any character, a comma separates several"
PARAMETERS = (
    Parameter("modality", f"Modality, such as CT{_TEXT}.", "Modality", example="CT,MR"),
    Parameter("body_part", f"BodyPartExamined{_TEXT}.", "BodyPartExamined", example="CHEST"),
    Parameter("description", f"SeriesDescription{_TEXT}.", "SeriesDescription", example="*thorax*"),
    Parameter("study", f"StudyInstanceUID{_TEXT}.", "StudyInstanceUID", example="1.2.840.99.7"),
    Parameter(
        "patient", f"PatientID, or its hash{_TEXT}; refused where identifiers are dropped.", "PatientID"
    ),
    Parameter(
        "accession",
        f"AccessionNumber, or its hash{_TEXT}; refused where identifiers are dropped.",
        "AccessionNumber",
    ),
    Parameter("date", "StudyDate, or a range of it, open at either end.", example="20260101-20260131"),
    Parameter("from", "The first StudyDate; with `to` the same as `date`.", example="2026-01-01"),
    Parameter("to", "The last StudyDate.", example="2026-01-31"),
    Parameter("q", "Words that all occur in a description, UID, folder, modality, body part or device."),
    Parameter("root", "Aliases of storage roots of this deployment, separated by commas; all by default."),
    Parameter(
        "problem", "`true`: series without an index; `false`: those with one.", choices=("true", "false")
    ),
    Parameter(
        "sort",
        "A column to sort by, with `-` in descending order; rows without a value come last.",
        default=DEFAULT_SORT,
    ),
    Parameter("limit", "The most rows of an answer.", default=str(DEFAULT_LIMIT), bounds=(1, MOST_ROWS)),
    Parameter("cursor", "`next` of the page before, with the same other parameters."),
    Parameter("format", "The form of the answer.", choices=FORMATS, default=FORMATS[0]),
)
"""All parameters of a search, in the order of the documentation."""

OF_A_STUDY = tuple(
    replace(one, default="SeriesNumber") if one.name == "sort" else one
    for one in PARAMETERS
    if one.name in {"root", "sort", "limit", "cursor", "format"}
)
"""Those that the series of one study take."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search of the catalogue.

    Attributes:
        conditions: Expressions on one column each: of each group at least one must hold.
        sort: The column to sort by.
        descending: In descending order.
        limit: The most rows.
        cursor: Where the page before has ended, or empty.
        form: One of `FORMATS`.
        identity: A digest of all that decides which rows come in which order.
    """

    conditions: tuple[tuple[Filter, ...], ...] = field(repr=False)
    sort: str
    descending: bool
    limit: int
    cursor: str
    form: str
    identity: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the conditions name."""
        return tuple(dict.fromkeys(one.columns[0] for group in self.conditions for one in group))


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a door has to search.

    Attributes:
        schema: The columns that it shows.
        aliases: The aliases of its roots, and the one that the rows of each show.
        mode: How it shows identifiers.
    """

    schema: pa.Schema
    aliases: Mapping[str, str]
    mode: str


def search_of(
    query: Mapping[str, Sequence[str]],
    shelf: Shelf,
    table: Sequence[Parameter] = PARAMETERS,
    *,
    study: str = "",
) -> Search:
    """Read a search.

    Args:
        query: The values given for each parameter, by name.
        shelf: What there is to search.
        table: The parameters that may be given.
        study: Only this study's series, by default sorted by SeriesNumber.

    Raises:
        RequestError: A parameter is unknown or wrong, or several are (`CombinedRequestError`).
    """
    reading = _Reading(query, shelf)
    for name in query:
        reading.attempt(partial(_check_name, name, table))
    groups = [reading.attempt(reading.roots)]
    groups += [reading.attempt(partial(reading.text, one)) for one in table if one.column]
    if study:
        groups.append((Filter(pc.field("StudyInstanceUID") == study, ("StudyInstanceUID",)),))
    groups.append(reading.attempt(reading.dates))
    groups.append(reading.attempt(reading.problem))
    words = reading.attempt(reading.words) or ()
    sort, descending = reading.attempt(lambda: reading.sort("SeriesNumber" if study else DEFAULT_SORT)) or (
        "",
        False,
    )
    limit = reading.attempt(reading.limit) or DEFAULT_LIMIT
    form = reading.attempt(reading.form) or FORMATS[0]
    cursor = reading.attempt(lambda: reading.one("cursor")) or ""
    reading.finish()
    parts = sorted((name, tuple(query[name])) for name in query if name not in {"cursor", "limit", "format"})
    told = repr((parts, study, sort, descending, sorted(shelf.aliases), shelf.mode))
    return Search(
        (*(group for group in groups if group), *words),
        sort,
        descending,
        limit,
        cursor,
        form,
        hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16],
    )


def exactly(shelf: Shelf, alias: str, **texts: Sequence[str]) -> Search:
    """Return the search for rows of one root with one of these texts each, at most a page of them.

    Args:
        shelf: What there is to search.
        alias: The root's.
        **texts: The texts by column.
    """
    wanted = {"Root": [shelf.aliases[alias]], **texts}
    conditions = tuple(
        (Filter(pc.field(name).isin(pa.array(each, pa.utf8())), (name,)),) for name, each in wanted.items()
    )
    return Search(conditions, "SeriesInstanceUID", False, MOST_ROWS, "", FORMATS[0], "")  # noqa: FBT003 - ascending


class _Reading:
    """Reads one query, and gathers all errors.

    Args:
        query: The values of each parameter.
        shelf: What there is to search.
    """

    def __init__(self, query: Mapping[str, Sequence[str]], shelf: Shelf) -> None:
        self._query = query
        self._shelf = shelf
        self._problems: list[RequestError] = []

    def attempt(self, read: Callable[[], T]) -> T | None:
        """Return what is read; None where it is wrong, which `finish` raises."""
        try:
            return read()
        except RequestError as error:
            self._problems.append(error)
            return None

    def finish(self) -> None:
        """Raise the errors.

        Raises:
            RequestError: There is an error, or several (`CombinedRequestError`).
        """
        if len(self._problems) == 1:
            raise self._problems[0]
        if self._problems:
            raise CombinedRequestError(tuple(self._problems))

    def one(self, name: str) -> str:
        """Return the only value of a parameter, or nothing."""
        values = self._query.get(name, ())
        if len(values) > 1:
            raise RequestError(name, "is given more than once")
        return values[0] if values else ""

    def several(self, name: str) -> list[str]:
        """Return the values of a parameter, which commas separate, too."""
        values = [part for value in self._query.get(name, ()) for part in value.split(",") if part]
        if len(values) > _MOST_TEXTS or any(len(value) > _LONGEST_TEXT for value in values):
            raise RequestError(name, f"has at most {_MOST_TEXTS} values of {_LONGEST_TEXT} characters")
        for value in values:
            check_text(name, value)
        _check_patterns(name, [value for value in values if _is_pattern(value)])
        return values

    def text(self, parameter: Parameter) -> tuple[Filter, ...]:
        """Return the condition of a text."""
        values = self.several(parameter.name)
        if not values:
            return ()
        if parameter.column not in self._shelf.schema.names:
            raise RequestError(parameter.name, self._why_hidden(parameter.column))
        return (_equals_one(parameter.column, values),)

    def _why_hidden(self, column: str) -> str:
        if self._shelf.mode == "drop":
            return (
                f"cannot be searched or sorted by: {column} is dropped here; "
                f"{IDENTIFIERS_VARIABLE}=hash shows hashes of it"
            )
        return f"cannot be searched or sorted by: the catalogue does not show {column}"

    def roots(self) -> tuple[Filter, ...]:
        """Return the condition that rows are of the roots asked for: of all that are served, by default."""
        asked = self.several("root") or list(self._shelf.aliases)
        if not set(asked) <= set(self._shelf.aliases):
            names = ", ".join(sorted(self._shelf.aliases))
            raise RequestError("root", f"is one alias of this deployment, or several: {names}")
        shown = sorted({self._shelf.aliases[alias] for alias in asked})
        return (Filter(pc.field("Root").isin(pa.array(shown, pa.utf8())), ("Root",)),)

    def dates(self) -> tuple[Filter, ...]:
        """Return the condition of the study's date."""
        between, first, last = (self.one(name) for name in ("date", "from", "to"))
        if between:
            if first or last:
                raise RequestError("date", "excludes `from` and `to`; give either")
            found = _RANGE.fullmatch(between)
            if found is None or not (found[1] or found[3]) or (found[1] and found[3] and not found[2]):
                raise RequestError("date", f"is 20260131 or 20260101-20260131, not {quoted(between)}")
            first, last = found[1] or "", found[3] or ("" if found[2] else found[1])
            names = ("date", "date")
        else:
            names = ("from", "to")
        low, high = _day(names[0], first), _day(names[1], last)
        if low and high and low > high:
            raise RequestError(names[0], "begins after its end")
        expression = None
        if low:
            expression = pc.field("StudyDate") >= pa.scalar(low, pa.date32())
        if high:
            before = pc.field("StudyDate") <= pa.scalar(high, pa.date32())
            expression = before if expression is None else expression & before
        return () if expression is None else (Filter(expression, ("StudyDate",)),)

    def problem(self) -> tuple[Filter, ...]:
        """Return the condition that there is a problem, or none."""
        value = self._choice("problem", ("true", "false"))
        column = pc.field("Problem")
        if not value:
            return ()
        return (Filter(column.is_valid() if value == "true" else column.is_null(), ("Problem",)),)

    def words(self) -> tuple[tuple[Filter, ...], ...]:
        """Return a condition for each word: one of the columns has it."""
        words = " ".join(self._query.get("q", ())).split()
        if any(len(word) > _LONGEST_TEXT for word in words):
            raise RequestError("q", f"has words of at most {_LONGEST_TEXT} characters")
        for word in words:
            check_text("q", word)
        _check_patterns("q", words)
        # A hash is found by its own parameter: here its digits would be found by chance.
        hidden = () if self._shelf.mode == "keep" else _PATIENTS
        names = [name for name in _SEARCHED if name in self._shelf.schema.names and name not in hidden]
        return tuple(
            tuple(_contains(name, word) for name in names if name not in _UIDS or _NO_LETTER.fullmatch(word))
            for word in words
        )

    def sort(self, default: str) -> tuple[str, bool]:
        """Return the column to sort by, and True for descending order."""
        given = self.one("sort") or default
        name, descending = given.removeprefix("-"), given.startswith("-")
        schema = self._shelf.schema
        if name in schema.names and not pa.types.is_list(schema.field(name).type):
            return name, descending
        if given == default:  # a table of another program's
            return "Series", False
        if name in schema.names:
            raise RequestError("sort", f"cannot sort by {name}, which holds lists")
        if name in _ALL_HIDDEN:
            raise RequestError("sort", self._why_hidden(name))
        raise RequestError("sort", f"{quoted(name)} is no column{_nearest(name, schema.names)}")

    def limit(self) -> int:
        """Return the most rows."""
        text = self.one("limit")
        try:
            number = int(plain_digits(text)) if text else DEFAULT_LIMIT
        except ValueError:
            number = 0
        if not 1 <= number <= MOST_ROWS:
            raise RequestError("limit", f"is a whole number from 1 to {MOST_ROWS}, not {quoted(text)}")
        return number

    def form(self) -> str:
        """Return the form of the answer."""
        return self._choice("format", FORMATS) or FORMATS[0]

    def _choice(self, name: str, choices: Sequence[str]) -> str:
        value = self.one(name)
        if value and value not in choices:
            raise RequestError(name, f"is one of {', '.join(choices)}, not {quoted(value)}")
        return value


_ALL_HIDDEN = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID")


def check_text(name: str, value: str) -> None:
    """Refuse what no text of a table holds.

    Args:
        name: The parameter's name.
        value: Its value.

    Raises:
        RequestError: The value has half a character (a lone surrogate).
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RequestError(name, "is no Unicode text") from error


def _check_name(name: str, table: Sequence[Parameter]) -> None:
    names = [one.name for one in table]
    if name not in names:
        raise RequestError(cut(name), f"is not an option here{_nearest(name, names)}")


def _nearest(name: str, names: Sequence[str]) -> str:
    """Return the question for the name that was probably meant; nothing where none is near."""
    by_lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name[:_LONGEST_TEXT].lower(), by_lower, 1)
    return f"; did you mean {by_lower[near[0]]}?" if near else f"; there are {', '.join(names)}"


def _day(name: str, text: str) -> dt.date | None:
    """Return a day; None for no text."""
    day = date_of(text) if re.fullmatch(_DAY, text) else None
    if text and day is None:
        raise RequestError(name, f"{quoted(text)} is no date; give 20260131 or 2026-01-31")
    return day


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def _check_patterns(name: str, patterns: Sequence[str]) -> None:
    if len(patterns) > _MOST_PATTERNS:
        raise RequestError(name, f"has at most {_MOST_PATTERNS} words or patterns")
    if any(pattern.count("*") > _MOST_STARS for pattern in patterns):
        raise RequestError(name, f"has at most {_MOST_STARS} `*` in a pattern")


def _equals_one(column: str, values: Sequence[str]) -> Filter:
    """Return the condition that a column equals one of several texts, or fits one of several patterns."""
    plain = pc.utf8_lower(pa.array([value for value in values if not _is_pattern(value)], pa.utf8()))
    patterns = "|".join(_pattern(value) for value in values if _is_pattern(value))
    expression = pc.utf8_lower(pc.field(column)).isin(plain)
    if patterns:
        expression |= pc.match_substring_regex(pc.field(column), f"^(?:{patterns})$", ignore_case=True)
    return Filter(expression, (column,))


def _pattern(text: str) -> str:
    """Return a text with `*` and `?` as a regular expression of RE2."""
    parts = {"*": "(?s:.*)", "?": "(?s:.)"}
    return "".join(parts.get(character) or re.escape(character) for character in text)


def _contains(column: str, word: str) -> Filter:
    """Return the condition that a word occurs in a column."""
    if _NO_LETTER.fullmatch(word) and not _is_pattern(word):
        return Filter(pc.match_substring(pc.field(column), word), (column,))
    expression = pc.match_substring_regex(pc.field(column), _pattern(word), ignore_case=True)
    return Filter(expression, (column,))
