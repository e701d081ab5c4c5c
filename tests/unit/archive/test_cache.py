import json

import pytest

import make_dicom as make
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.index.schema import SCHEMA_VERSION
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import AccessDeniedError, LimitError, StorageError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import Before, CountingStorage, refusing
from indexing import Setting, objects, of_version

CACHED = "indices/s_index.parquet"


def files(opened):
    """The objects in an index."""
    return sorted(set(opened.index.table["FileName"].to_pylist()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda _data: b"",
        lambda data: data[:-10],
        lambda data: data[: len(data) // 2],
        lambda _data: b"no Parquet at all",
        lambda data: data[:200] + bytes(100) + data[300:],
        lambda data: of_version(data, SCHEMA_VERSION + 1),
    ],
    ids=["empty", "no end", "half", "other", "hole", "schema"],
)
@pytest.mark.parametrize("immutable", [True, False])
def test_a_damaged_index_is_built_anew(damage, immutable):
    """A cached file that is damaged, or of another schema, is rebuilt."""
    setting = Setting(immutable=immutable)
    setting.open()
    setting.cache.put(CACHED, damage(setting.cache.get(CACHED).data))
    opened = setting.open()
    assert (opened.source, opened.headers_read) == ("built", 4)
    assert setting.open().source == "cache"


def test_an_index_of_more_rows_than_the_limit_is_not_read(setting):
    """It was built with a greater limit, or by another hand; the limit holds for it too."""
    setting.open()
    opener = SeriesIndexer(setting.storage, IndexCache(setting.cache), Limits(rows=3))
    with pytest.raises(LimitError, match="more than 3 frames"):
        opener.open(SeriesName("s"))


def test_an_index_of_another_root_is_built_anew(setting):
    """A cached index of the same series in another root is rebuilt."""
    setting.open()
    other = CountingStorage(MemoryStorage(objects(2), url="memory://other", immutable=True))
    opened = SeriesIndexer(other, IndexCache(setting.cache), Limits()).open(SeriesName("s"))
    assert (opened.source, files(opened)) == ("built", ["1.dcm", "2.dcm"])


def test_an_index_of_another_series_is_not_used():
    """A cached file under the series' name that describes another series is rebuilt."""
    setting = Setting(objects() | objects(2, "t"))
    setting.open("t")
    setting.cache.put(CACHED, setting.cache.get("indices/t_index.parquet").data)
    assert files(setting.open("s")) == ["1.dcm", "2.dcm", "3.dcm", "4.dcm"]


def test_an_index_is_written_once_and_whole(setting):
    """What appears in the cache is one write of a whole file."""
    setting.open()
    assert setting.cache.puts == [CACHED]
    Index.from_parquet(setting.cache.get(CACHED).data)


def test_a_cache_that_cannot_be_read_is_an_error():
    """A cache that fails is an error, not a reason to read everything again."""
    failing = Before(MemoryStorage(), get=refusing(AccessDeniedError("memory://cache")))
    opener = SeriesIndexer(MemoryStorage(objects()), IndexCache(failing), Limits())
    with pytest.raises(StorageError):
        opener.open(SeriesName("s"))


def test_the_fingerprint_stands_in_the_file(setting):
    """The file's metadata hold the fingerprint of the listing that it was built from."""
    opened = setting.open()
    document = json.loads(opened.index.table.schema.metadata[b"dicom_series_preview"])
    assert document["fingerprint"] == opened.index.provenance.fingerprint
    setting.memory.put("s/1.dcm", make.encode(make.image(1)))
    assert setting.open().index.provenance.fingerprint != document["fingerprint"]


def test_the_caches_folder_may_be_its_root():
    """A cache without a folder of its own keeps its files at its root."""
    cache = MemoryStorage()
    assert IndexCache(cache, "").path("s") == "s_index.parquet"
    opener = SeriesIndexer(MemoryStorage(objects()), IndexCache(cache, ""), Limits())
    opener.open(SeriesName("s"))
    assert [info.path for info in cache.list_objects("")] == ["s_index.parquet"]
