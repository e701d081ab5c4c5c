"""Read dates, times of day and moments (DA, TM and DT, PS3.5 6.2) as numbers."""

from __future__ import annotations

import datetime as dt
import math

SECONDS_A_DAY = 86400.0


def seconds_of(text: str, vr: str) -> float:
    """Return the seconds since midnight of a TM or DT; NaN where it is neither.

    Args:
        text: The value as stored.
        vr: `TM` or `DT`. An offset from UTC does not count.
    """
    digits, _, fraction = _local(text).partition(".")
    digits = digits.replace(":", "").strip()
    if not _is_number(digits):
        return math.nan
    time = (digits[8:] if vr == "DT" else digits).ljust(6, "0")
    seconds = int(time[:2]) * 3600 + int(time[2:4]) * 60 + int(time[4:6])
    return seconds + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)


def day_of(text: str) -> float:
    """Return the day of a DA or DT, counted from some day in the past; NaN where it has none.

    Args:
        text: The value as stored. A DT's missing month or day is the first.
    """
    local = _local(text).strip(" \0")
    # ACR-NEMA wrote 2026.01.31.
    date = local.replace(".", "") if local[4:5] == "." else local.partition(".")[0]
    if not _is_number(date) or len(date) < 4:
        return math.nan
    whole = date[:8] + "00010101"[len(date[:8]) :]
    try:
        return float(dt.date(int(whole[:4]), int(whole[4:6]), int(whole[6:])).toordinal())
    except ValueError:
        return math.nan


def _local(text: str) -> str:
    """Return a DT without its offset from UTC."""
    return text.partition("&")[0].partition("+")[0].partition("-")[0]


def _is_number(digits: str) -> bool:
    return digits.isascii() and digits.isdigit()
