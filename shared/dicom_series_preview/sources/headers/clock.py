"""Read times of day and moments (TM and DT, PS3.5 6.2) as seconds."""

from __future__ import annotations

import math


def seconds_of(text: str, vr: str) -> float:
    """Convert a TM or DT to seconds; NaN where it is neither.

    Args:
        text: The value as stored.
        vr: `TM` or `DT`. A DT's months count 31 days, which keeps the order.
    """
    digits, _, fraction = text.partition("&")[0].partition("+")[0].partition("-")[0].partition(".")
    digits = digits.replace(":", "").strip()
    if not (digits.isascii() and digits.isdigit()):
        return math.nan
    days = 0
    if vr == "DT":
        date, digits = digits[:8].ljust(8, "0"), digits[8:]
        days = (int(date[:4]) * 12 + int(date[4:6])) * 31 + int(date[6:])
    time = digits.ljust(6, "0")
    seconds = int(time[:2]) * 3600 + int(time[2:4]) * 60 + int(time[4:6])
    return days * 86400.0 + seconds + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)
