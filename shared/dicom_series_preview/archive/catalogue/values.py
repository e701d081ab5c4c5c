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
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(?:\.(\d{1,6}))?)?)?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


def date_of(value: Any) -> dt.date | None:  # noqa: ANN401 - an element's
    """Convert a DA; None where it is none."""
    found = _DATE.fullmatch(str(value).strip())
    try:
        return dt.date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def time_of(value: Any) -> dt.time | None:  # noqa: ANN401 - an element's
    """Convert a TM; None where it is none. A leap second counts as the second before."""
    found = _TIME.fullmatch(str(value).strip())
    if not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    try:
        return dt.time(hours, minutes, min(seconds, 59), int((found[4] or "").ljust(6, "0")))
    except ValueError:
        return None


def moment_of(day: Any, clock: Any, offset: Any) -> dt.datetime | None:  # noqa: ANN401 - elements'
    """Join a date, a time of day and an offset from UTC; the clock counts as UTC's without an offset.

    Args:
        day: A DA, or a DT.
        clock: A TM, where `day` is a DA.
        offset: TimezoneOffsetFromUTC (0008,0201).
    """
    text = str(day or "").strip()
    found = _OFFSET.search(text) or _OFFSET.fullmatch(str(offset or "").strip())
    text = _OFFSET.sub("", text)
    date = date_of(text[:8])
    time = time_of(text[8:] or clock or "000000")
    if date is None or time is None:
        return None
    moment = dt.datetime.combine(date, time, dt.UTC)
    if found is None:
        return moment
    shift = dt.timedelta(hours=int(found[2]), minutes=int(found[3]))
    try:
        return moment - shift if found[1] == "+" else moment + shift
    except OverflowError:
        return moment


def _text(value: Any) -> str | None:  # noqa: ANN401 - an element's
    parts = value if isinstance(value, tuple | list) else (value,)
    return "\\".join("" if part is None else str(part).strip(" \0") for part in parts) or None


def _real(value: Any) -> float | None:  # noqa: ANN401 - an element's
    try:
        number = float(_first(value))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:  # noqa: ANN401 - an element's
    number = _real(value)
    return int(number) if number is not None and number.is_integer() and abs(number) < 2**63 else None


def _first(value: Any) -> Any:  # noqa: ANN401 - an element's
    return value[0] if isinstance(value, tuple | list) and value else value


def _list(one: Callable[[Any], Any], value: Any) -> list[Any] | None:  # noqa: ANN401 - an element's
    parts = value if isinstance(value, tuple | list) else (value,)
    return [one(part) for part in parts]


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
        return number if number is not None and abs(number) < 2 ** (kind.bit_width - 1) else None
    return _real(value) if pa.types.is_floating(kind) else _text(value)
