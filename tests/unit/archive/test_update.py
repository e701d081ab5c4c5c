import pytest

from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.update import UpdateOptions, update
from dicom_series_preview.base.errors import LimitError
from dicom_series_preview.base.settings import Limits

CACHED = "indices/s_index.parquet"


@pytest.mark.parametrize("parts", [[4], [2, 2]], ids=["in one part", "in two"])
def test_what_was_read_in_part_has_no_more_rows_than_the_limit(setting, parts):
    """An update keeps to the limit of rows, whether it reads objects or finds them read already."""
    setting.open()
    index = Index.from_parquet(setting.cache.get(CACHED).data)
    cache = IndexCache(setting.cache)
    cache.save_partial("s", Index(index.table.slice(0, parts[0])))
    if len(parts) > 1:
        setting.cache.put(CACHED, Index(index.table.slice(parts[0])).to_parquet())
        setting.memory.put("s/1.dcm.txt", b"a listing of another fingerprint")
    else:
        cache.forget_index("s")
    opener = SeriesIndexer(setting.storage, cache, Limits(rows=3))
    with pytest.raises(LimitError, match="more than 3 frames"):
        update(opener, "s", UpdateOptions(lambda _objects: False, lambda **_known: None))
