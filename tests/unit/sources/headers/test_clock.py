import math

import pytest

from dicom_series_preview.sources.headers.clock import seconds_of


@pytest.mark.parametrize(
    ("text", "vr", "seconds"),
    [
        ("101530", "TM", 36930.0),
        ("10:15:30", "TM", 36930.0),
        ("1015", "TM", 36900.0),
        ("101530.25", "TM", 36930.25),
        ("20240102101530.5+0100", "DT", ((2024 * 12 + 1) * 31 + 2) * 86400 + 36930.5),
        ("2024", "DT", (2024 * 12) * 31 * 86400.0),
    ],
)
def test_times_are_seconds(text, vr, seconds):
    """A TM counts from midnight, a DT in months of 31 days; parts that are left out are 0."""
    assert seconds_of(text, vr) == seconds


@pytest.mark.parametrize("text", ["", "noon", "1O1530", "\u0661\u0662"])
def test_what_is_no_time_is_nan(text):
    """A text that is no time has no seconds."""
    assert math.isnan(seconds_of(text, "TM"))


def test_months_keep_their_order():
    """The last second of a month comes before the first of the next."""
    assert seconds_of("20240229235959", "DT") < seconds_of("20240301000000", "DT")
