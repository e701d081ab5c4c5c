import datetime as dt

import pyarrow as pa
import pytest

from dicom_series_preview.archive.catalogue.values import converted, date_of, moment_of, time_of

DAY = dt.date(2026, 2, 28)


@pytest.mark.parametrize("text", ["20260228", "2026.02.28", " 20260228 ", "20260228\0", "2026-02-28"])
def test_dates_of_both_standards(text: str) -> None:
    """A date is written as PS3.5 says or as ACR-NEMA did, with any padding."""
    assert date_of(text) == DAY


@pytest.mark.parametrize(
    "text", ["20260230", "00000000", "2026", "202602", "2026.0228", "26.02.28", "\uff120260228", ""]
)
def test_what_is_no_date_is_null(text: str) -> None:
    """A day that no calendar has, or a part of a date, is no date."""
    assert date_of(text) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("101530", dt.time(10, 15, 30)),
        ("101530.5", dt.time(10, 15, 30, 500_000)),
        ("101530.000007", dt.time(10, 15, 30, 7)),
        ("10:15:30", dt.time(10, 15, 30)),
        ("1015", dt.time(10, 15)),
        ("10", dt.time(10)),
        ("235960", dt.time(23, 59, 59)),
        ("101530 \0", dt.time(10, 15, 30)),
    ],
)
def test_times(text: str, time: dt.time) -> None:
    """A time may end early, have colons and fractions; a leap second is the second before."""
    assert time_of(text) == time


@pytest.mark.parametrize(
    "text", ["240000", "106000", "101561", "101599", "1015300", "101530.1234567", "noon", ""]
)
def test_what_is_no_time_is_null(text: str) -> None:
    """No second beyond the leap second, no minute beyond 59, and no half digits make a time."""
    assert time_of(text) is None


@pytest.mark.parametrize(
    ("day", "clock", "offset", "moment"),
    [
        ("20260228", "101530", None, (2026, 2, 28, 10, 15, 30)),
        ("20260228", "101530", "+0130", (2026, 2, 28, 8, 45, 30)),
        ("20260228", "233000", "-0100", (2026, 3, 1, 0, 30)),
        ("2026.02.28", "101530", None, (2026, 2, 28, 10, 15, 30)),
        ("20260228101530.5", None, None, (2026, 2, 28, 10, 15, 30, 500_000)),
        ("20260228101530+0100", None, "-0500", (2026, 2, 28, 9, 15, 30)),
        ("20260228101530", None, "-0500", (2026, 2, 28, 15, 15, 30)),
        ("20260228+0100", "000000", None, (2026, 2, 27, 23)),
        ("20260228", "000000", None, (2026, 2, 28)),
        ("00010101", "000000", "+0100", (1, 1, 1)),
    ],
)
def test_moments(day: str, clock: str | None, offset: str | None, moment: tuple[int, ...]) -> None:
    """A DT's own offset comes first, then the object's; without one a clock is taken for UTC's."""
    assert moment_of(day, clock, offset) == dt.datetime(*moment, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("day", "clock"), [("2026", None), ("20260228", None), ("20260228", "noon"), (None, "101530"), ("", None)]
)
def test_half_a_moment_is_null(day: str | None, clock: str | None) -> None:
    """Without a whole date, or with a time that is none, there is no moment."""
    assert moment_of(day, clock, None) is None


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("1.5", pa.float64(), 1.5),
        (" 1.5\0", pa.float64(), 1.5),
        ("1e3", pa.float64(), 1000.0),
        (("1.5", "2.5"), pa.float64(), 1.5),
        ("1_0", pa.float64(), None),
        ("nan", pa.float64(), None),
        ("inf", pa.float64(), None),
        ("1,5", pa.float64(), None),
        ("\u0661", pa.float64(), None),
        (float("nan"), pa.float64(), None),
        ("", pa.float64(), None),
        (b"\1", pa.float64(), None),
        (10**400, pa.float64(), None),
        ("12.0", pa.int32(), 12),
        ("12.5", pa.int32(), None),
        ("99999999999999999999", pa.int64(), None),
        (2**31, pa.int32(), None),
        (-(2**31), pa.int32(), -(2**31)),
        (2**62 + 1, pa.int64(), 2**62 + 1),
        (-1, pa.uint16(), None),
        (65535, pa.uint16(), 65535),
        ("A\0", pa.utf8(), "A"),
        (("A", None, "B "), pa.utf8(), "A\\\\B"),
        (("", ""), pa.utf8(), None),
        ("", pa.utf8(), None),
        ("a\udcff", pa.utf8(), "a?"),
        (("1", "x"), pa.list_(pa.float64()), [1.0, None]),
        ("A", pa.list_(pa.utf8()), ["A"]),
        (("20260228", "20260301"), pa.date32(), DAY),
        ("1015", pa.time64("us"), dt.time(10, 15)),
        (None, pa.utf8(), None),
    ],
)
def test_a_cell_is_of_its_columns_type_or_null(value: object, kind: pa.DataType, expected: object) -> None:
    """A value becomes what its column holds, the first of several numbers; another type gives null."""
    cell = converted(value, kind)
    assert cell == expected
    assert pa.array([cell], kind).to_pylist() == [expected]
