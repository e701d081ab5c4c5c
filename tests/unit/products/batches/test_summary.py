import io

import pyarrow.parquet as pq
import pytest

from batching import ID, Setting
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.batches.documents import keep_request, read_summary
from dicom_series_preview.products.batches.item import give_up
from dicom_series_preview.products.batches.prepare import prepare
from dicom_series_preview.products.batches.summary import summarise


def test_summary_of_a_whole_batch() -> None:
    """What was done, cannot be, failed and of what, and what has no outcome, all in one Parquet file."""
    setting = Setting()
    setting.prepare({"series": ["a", "b", "none", "never-tried", "died"]})
    for name in ("a", "b", "none"):
        setting.run(name)
    give_up(ID, {"root": "default", "series": "died"}, "Runtime.ExitError", setting.host)
    summary = summarise(ID, setting.host.data)
    counts = (summary.items, summary.ok, summary.no_preview, summary.failed, summary.missing)
    assert counts == (5, 2, 1, 1, 1)
    assert summary.reasons == {"Runtime.ExitError": 1, "SeriesNotFoundError": 1}
    assert summary.error is None
    outcomes = setting.outcomes()
    assert summary.requests == sum(outcomes[name]["requests"] for name in "ab")
    assert summary.bytes == sum(outcomes[name]["bytes"] for name in "ab") > 0
    assert summary.milliseconds == sum(outcomes[name]["milliseconds"] for name in "ab")
    rows = pq.read_table(io.BytesIO(setting.data.get(summary.outcomes).data)).to_pylist()
    told = {row["series"]: (row["status"], row["error"], row["reason"], row["slices"]) for row in rows}
    assert told == {
        "a": ("ok", None, None, 2),
        "b": ("ok", None, None, 2),
        "none": ("no-preview", "SeriesNotFoundError", outcomes["none"]["reason"], None),
        "never-tried": ("missing", None, "no outcome was written", None),
        "died": ("failed", "Runtime.ExitError", outcomes["died"]["reason"], None),
    }
    assert read_summary(ID, setting.host.data) == setting.kept("summary.json")


@pytest.mark.parametrize(
    ("failed", "missing", "tolerated", "error"),
    [
        (0, 0, 0, None),
        (1, 0, 10, None),
        (0, 1, 10, None),
        (1, 1, 10, "TooManyFailed"),
        (2, 0, 19.9, "TooManyFailed"),
        (2, 0, 20, None),
        (1, 0, 0, "TooManyFailed"),
        (5, 5, 100, None),
    ],
)
def test_too_many_failures_fail_the_batch(
    failed: int, missing: int, tolerated: float, error: str | None
) -> None:
    """Failed and missing series beyond what is tolerated fail a batch; those without a preview never do."""
    setting = Setting({})
    names = [f"s{number}" for number in range(10)]
    setting.prepare({"series": names})
    for number, name in enumerate(names[missing:]):
        if number < failed:
            give_up(ID, {"root": "default", "series": name}, "States.Timeout", setting.host)
        else:
            setting.run(name)
    summary = summarise(ID, setting.host.data, tolerated_percent=tolerated)
    assert (summary.failed, summary.missing) == (failed, missing)
    assert (summary.error or {"error": None})["error"] == error
    if summary.error is not None:
        assert f"{failed + missing} of 10 series" in summary.error["reason"]


def test_a_summary_can_be_made_again() -> None:
    """A summary that is retried comes to the same."""
    setting = Setting()
    setting.prepare({"series": ["a"]})
    setting.run("a")
    assert summarise(ID, setting.host.data) == summarise(ID, setting.host.data)


def test_summary_of_a_batch_that_never_had_items() -> None:
    """A batch whose first step failed has a summary that says so, and why."""
    setting = Setting()
    keep_request(ID, {"prefix": "z"}, setting.host.data)
    with pytest.raises(RequestError):
        prepare(ID, setting.host)
    summary = summarise(ID, setting.host.data, "RequestError")
    assert summary.error == {"error": "RequestError", "reason": "body: the batch names no series"}
    assert (summary.items, summary.ok, summary.missing) == (0, 0, 0)
    assert pq.read_table(io.BytesIO(setting.data.get(summary.outcomes).data)).num_rows == 0
    died = summarise(ID, setting.host.data, "Sandbox.Timedout").error
    assert died == {"error": "Sandbox.Timedout", "reason": "a step of the batch ended with Sandbox.Timedout"}
