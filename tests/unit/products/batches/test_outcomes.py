import doubles
from batching import ID, Setting
from dicom_series_preview.products.batches.outcomes import Counts, counts_so_far


def test_counts_so_far(setting: Setting) -> None:
    """While a batch runs, its outcomes are counted as far as that is cheap."""
    assert counts_so_far(ID, setting.host.data) == Counts(0, 0, 0, {})
    setting.run("a")
    setting.run("none")
    assert counts_so_far(ID, setting.host.data) == Counts(1, 1, 0, {"SeriesNotFoundError": 1})
    for number in range(1000):
        setting.keep(f"outcomes/zz/{number}.json", {})
    counted = doubles.CountingStorage(setting.data)
    setting.deployment._opened["s3://data"] = counted
    assert counts_so_far(ID, setting.host.data) is None
    assert len(counted.ranges) == 0
