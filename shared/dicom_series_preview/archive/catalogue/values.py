"""Convert the values of DICOM elements to a column's type; None where a value is not of it."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

# PS3.5 6.2: DA, with the ACR-NEMA form; TM, with its old colons; the offset of DT.
_DATE = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})", re.ASCII)
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_PADDING = " \0"
_LEAP_SECOND = 60


def date_of(value: Any) -> dt.date | None:  # noqa: ANN401 - an element's
    """Convert a DA; None where it is none."""
    found = _DATE.fullmatch(str(value).strip(_PADDING))
    try:
        return dt.date(int(found[1]), int(found[3]), int(found[4])) if found else None
    except ValueError:
        return None


def time_of(value: Any) -> dt.time | None:  # noqa: ANN401 - an element's
    """Convert a TM; None where it is none. A leap second counts as the second before."""
    found = _TIME.fullmatch(str(value).strip(_PADDING))
    if not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    try:
        seconds = 59 if seconds == _LEAP_SECOND else seconds
        return dt.time(hours, minutes, seconds, int((found[4] or "").ljust(6, "0")))
    except ValueError:
        return None


def moment_of(day: Any, clock: Any, offset: Any) -> dt.datetime | None:  # noqa: ANN401 - elements'
    """Join a date, a time of day and an offset from UTC; the clock counts as UTC's without an offset.

    Args:
        day: A DA, or a DT.
        clock: A TM, where `day` is a DA.
        offset: TimezoneOffsetFromUTC (0008,0201).

    Returns:
        The moment; None where the day is no whole date, or there is no time of day.
    """
    text = str("" if day is None else day).strip(_PADDING)
    found = _DATE.match(text)
    if found is None:
        return None
    rest = text[found.end() :]
    # A DT's own offset comes before that of the object (PS3.3 C.12.1.1.8).
    own = _OFFSET.search(rest)
    shift = own or _OFFSET.fullmatch(str("" if offset is None else offset).strip(_PADDING))
    date = date_of(found[0])
    time = time_of((rest[: own.start()] if own else rest) or clock or "")
    if date is None or time is None:
        return None
    moment = dt.datetime.combine(date, time, dt.UTC)
    if shift is None:
        return moment
    hours = dt.timedelta(hours=int(shift[2]), minutes=int(shift[3]))
    try:
        return moment - hours if shift[1] == "+" else moment + hours
    except OverflowError:
        return moment


def _text(value: Any) -> str | None:  # noqa: ANN401 - an element's
    parts = value if isinstance(value, tuple | list) else (value,)
    texts = ["" if part is None else str(part).strip(_PADDING) for part in parts]
    # Half a character, which only a damaged header has, stands in no table.
    return "\\".join(texts).encode(errors="replace").decode() if any(texts) else None


def _real(value: Any) -> float | None:  # noqa: ANN401 - an element's
    one = _first(value)
    if isinstance(one, str) and not _NUMBER.fullmatch(one.strip(_PADDING)):
        return None
    try:
        number = float(one.strip(_PADDING) if isinstance(one, str) else one)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:  # noqa: ANN401 - an element's
    one = _first(value)
    if isinstance(one, int):
        return one
    number = _real(one)
    return int(number) if number is not None and number.is_integer() else None


def _first(value: Any) -> Any:  # noqa: ANN401 - an element's
    return value[0] if isinstance(value, tuple | list) and value else value


def _list(one: Callable[[Any], Any], value: Any) -> list[Any] | None:  # noqa: ANN401 - an element's
    parts = value if isinstance(value, tuple | list) else (value,)
    return [one(part) for part in parts]


def _fits(number: int, kind: pa.DataType) -> bool:
    if pa.types.is_unsigned_integer(kind):
        return bool(0 <= number < 2**kind.bit_width)
    return bool(-(2 ** (kind.bit_width - 1)) <= number < 2 ** (kind.bit_width - 1))


def converted(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - of the type
    """Convert an element's value to a column's type.

    Args:
        value: A value, several as a tuple, or None.
        kind: The column's type.

    Returns:
        The value, the first of several where the type holds one number; None where it is not of the type.
    """
    if value is None:
        return None
    if pa.types.is_list(kind):
        return _list(lambda part: converted(part, kind.value_type), value)
    if pa.types.is_date(kind):
        return date_of(_first(value))
    if pa.types.is_time(kind):
        return time_of(_first(value))
    if pa.types.is_integer(kind):
        number = _integer(value)
        return number if number is not None and _fits(number, kind) else None
    return _real(value) if pa.types.is_floating(kind) else _text(value)
