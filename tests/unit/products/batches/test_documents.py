from batching import ID, Setting
from dicom_series_preview.products.batches.documents import keep_request, read_request, read_summary


def test_a_request_is_kept_once() -> None:
    """A batch's request is written once and never over another."""
    setting = Setting()
    assert read_request(ID, setting.host.data) is None
    assert keep_request(ID, {"series": ["a"]}, setting.host.data) == {"series": ["a"]}
    assert keep_request(ID, {"series": ["b"]}, setting.host.data) == {"series": ["a"]}
    assert setting.kept("request.json") == read_request(ID, setting.host.data) == {"series": ["a"]}


def test_no_summary_yet() -> None:
    """A batch that is on its way has none."""
    assert read_summary(ID, Setting().host.data) is None
