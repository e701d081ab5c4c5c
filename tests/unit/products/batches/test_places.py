import pytest

from batching import ID, SECRET, Setting
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.products.batches.item import give_up, run_item
from dicom_series_preview.products.batches.prepare import prepare
from dicom_series_preview.products.batches.summary import summarise


@pytest.mark.parametrize("identifier", ["", "x", "../x", ID.upper(), ID + "/x", ID[:-1]])
def test_an_identifier_that_is_none(identifier: str) -> None:
    """What is no identifier never becomes part of a path."""
    setting = Setting()
    for use in (prepare, lambda batch, host: summarise(batch, host.data)):
        with pytest.raises(RequestError, match="batch"):
            use(identifier, setting.host)
    with pytest.raises(RequestError, match="batch"):
        run_item(identifier, {}, setting.host)
    with pytest.raises(RequestError, match="batch"):
        give_up(identifier, {"series": "a"}, "States.Timeout", setting.host)


def test_a_name_is_never_a_path() -> None:
    """Outcomes and mosaics lie under digests, whatever a series is called."""
    setting = Setting({})
    for name in ("../../x", "a\x00b", "ä" * 500, SECRET):
        assert setting.run(name)["status"] == "no-preview"
    paths = [info.path for info in setting.data.list_objects("")]
    assert len(paths) == 4
    assert all(path.startswith(f"batches/{ID}/outcomes/") and path.isascii() for path in paths)
    assert SECRET not in "".join(paths)
