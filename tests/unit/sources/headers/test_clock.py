import math

import pytest

from dicom_series_preview.sources.headers.clock import day_of, seconds_of


@pytest.mark.parametrize(
    ("text", "vr", "seconds"),
    [
        ("101530", "TM", 36930.0),
        ("10:15:30", "TM", 36930.0),
        ("1015", "TM", 36900.0),
        ("101530.25", "TM", 36930.25),
        ("20240102101530.5+0100", "DT", 36930.5),
        ("2024", "DT", 0.0),
    ],
)
def test_times_are_seconds(text, vr, seconds):
    """A TM and a DT count from midnight; parts that are left out are 0."""
    assert seconds_of(text, vr) == seconds


@pytest.mark.parametrize("text", ["", "noon", "1O1530", "\u0661\u0662"])
def test_what_is_no_time_is_nan(text):
    """A text that is no time has no seconds."""
    assert math.isnan(seconds_of(text, "TM"))


@pytest.mark.parametrize(
    ("text", "later", "days"),
    [
        ("20240229", "20240301", 1),
        ("2023.12.31", "20240101", 1),
        ("20240228235959.5+0100", "20240301000000&", 2),
        ("2024", "20240102", 1),
        ("202402", "20240202", 1),
    ],
)
def test_days_count_as_in_the_calendar(text, later, days):
    """A DA and a DT have a day; a month or day that is left out is the first."""
    assert day_of(later) - day_of(text) == days


@pytest.mark.parametrize(
    "text", ["", "today", "20240231", "20241301", "00000101", "\u0661\u0662\u0663\u0664", "."]
)
def test_what_is_no_date_has_no_day(text):
    """A text that is no date of the calendar has no day."""
    assert math.isnan(day_of(text))
