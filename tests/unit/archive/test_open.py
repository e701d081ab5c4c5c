from dataclasses import replace

import pytest

import make_dicom as make
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import SeriesNotFoundError, StorageError, StorageUnavailableError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.locations import FrameLocation
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import Before, FailingStorage, refusing
from indexing import Setting, objects

UUID = "389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42"
PLAIN = UUID.replace("-", "")
CACHED = "indices/s_index.parquet"


def files(opened):
    """The objects in an index."""
    return sorted(set(opened.index.table["FileName"].to_pylist()))


@pytest.mark.parametrize(
    ("asked", "there"), [(UUID, PLAIN), (PLAIN, UUID), (UUID.upper(), UUID), (PLAIN.upper(), UUID)]
)
def test_a_uuid_is_found_in_its_other_spelling(asked, there):
    """A UUID is found with or without hyphens, in capitals or not."""
    assert Setting(objects(folder=there)).open(asked).name == there


def test_a_uuid_is_taken_as_given_first():
    """Where both spellings exist the one that was given is meant."""
    held = objects(1, UUID) | objects(2, PLAIN)
    assert Setting(held).open(PLAIN).name == PLAIN
    assert Setting(held).open(UUID).name == UUID


@pytest.mark.parametrize(
    "prefix", ["389*", "389b1f00*", "389b1f00-5a*", "389b1f005a*", f"{UUID}*", f"{PLAIN}*"]
)
@pytest.mark.parametrize("there", [UUID, PLAIN])
def test_a_prefix_finds_a_uuid_in_either_spelling(prefix, there):
    """A prefix of a UUID finds it with or without hyphens."""
    assert Setting(objects(1, there)).open(prefix).name == there


def test_a_prefix_is_the_first_match_and_says_how_many():
    """A prefix means the first match in lexical order, and the number of matches is told."""
    held = objects(1, "389b") | objects(1, "389a") | objects(1, "389c") | objects(1, "38")
    opened = Setting(held).open("389*")
    assert (opened.name, opened.matches) == ("389a", 3)
    assert Setting(held).open("389a").matches == 1


def test_a_prefix_without_match_is_no_series():
    """A prefix that nothing begins with is an error that names it."""
    with pytest.raises(SeriesNotFoundError, match=r"9\*"):
        Setting().open("9*")


def test_an_unknown_series_is_an_error():
    """A series that is not there is an error that names it and the root."""
    with pytest.raises(SeriesNotFoundError) as error:
        Setting().open("t")
    assert (error.value.series, error.value.root) == ("t", "memory://objects")


def test_a_series_is_a_folder_and_not_a_beginning():
    """Objects of a folder whose name only begins like the series' are not the series'."""
    held = objects(2, "s") | objects(1, "s2") | {"s.dcm": b"text"}
    assert len(files(Setting(held).open("s"))) == 2


def test_objects_lie_at_any_depth():
    """Any object below the folder belongs to the series, by its path."""
    held = {"s/a/b/1": make.encode(make.image(1)), "s/2": make.encode(make.image(2))}
    assert files(Setting(held).open()) == ["2", "a/b/1"]


# --- building


def test_a_first_opening_builds_and_keeps(setting):
    """The first opening lists once, reads each header once, and keeps the index in its place."""
    opened = setting.open()
    assert (opened.source, opened.headers_read) == ("built", 4)
    assert (setting.storage.lists, len(setting.storage.ranges)) == (1, 4)
    assert setting.cache.puts == [CACHED]
    kept = Index.from_parquet(setting.cache.get(CACHED).data)
    assert kept.table.equals(opened.index.table)
    assert kept.provenance.series == "s"
    assert kept.provenance.root == "memory://objects"
    assert kept.provenance.limit is None
    assert kept.provenance.listed == 4


def test_without_a_cache_an_index_is_built_each_time():
    """Without a cache nothing is kept."""
    setting = Setting(cache=False)
    assert setting.open().source == setting.open().source == "built"


# --- freshness


def test_an_unchanged_series_costs_one_listing(setting):
    """An index whose series is unchanged costs one listing and no header."""
    first = setting.open()
    again = setting.open()
    assert (again.source, again.headers_read) == ("cache", 0)
    assert (setting.storage.lists, setting.storage.ranges, setting.storage.gets) == (1, [], [])
    assert setting.cache.puts == []
    assert again.index.table.equals(first.index.table)


def test_an_immutable_root_costs_nothing():
    """The index of an immutable root is used without a listing."""
    setting = Setting(immutable=True)
    setting.open()
    assert setting.open().source == "cache"
    assert (setting.storage.lists, setting.storage.ranges) == (0, [])


@pytest.mark.parametrize("immutable", [True, False])
def test_refresh_reads_everything_anew(immutable):
    """A refresh lists also an immutable root, and reads every header."""
    setting = Setting(immutable=immutable)
    setting.open()
    again = setting.open(refresh=True)
    assert (again.source, again.headers_read) == ("built", 4)
    assert (setting.storage.lists, len(setting.storage.ranges)) == (1, 4)


# --- the log


PLANTED = "Mustermann-Erika"


def test_no_log_names_a_series(caplog):
    """No line of the log names a series' folder, which may bear a patient's name, or its root."""
    held = objects(folder=PLANTED)
    setting = Setting(held, url="s3://planted-bucket")
    path = f"indices/{PLANTED}_index.parquet"
    stays = StorageError(f"{setting.cache.url}/{path}.lock", "cannot be removed")
    cache = Before(setting.cache, delete=refusing(stays, f"{path}.lock".__eq__))
    opener = SeriesIndexer(setting.storage, IndexCache(cache), Limits(), single_flight=True)
    caplog.set_level("DEBUG")
    setting.cache.put(path, b"no Parquet")
    opener.open(SeriesName(PLANTED))  # damaged; and its claim stays
    setting.cache.delete(f"{path}.lock")
    elsewhere = SeriesIndexer(
        MemoryStorage(held, url="s3://planted-bucket/b"), IndexCache(setting.cache), Limits()
    )
    opened = elsewhere.open(SeriesName(PLANTED))  # of another root
    elsewhere.open(SeriesName("Muster", is_prefix=True))
    located = {"1.dcm": [FrameLocation(1, 2)]}
    elsewhere.keep_locations(replace(opened, kept_version="gone"), located)
    said = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("dicom_series_preview.archive.")
    ]
    kinds = ["is built anew", "claim stays", "another root", "prefix matches", "are not kept"]
    assert all(any(kind in text for text in said) for kind in kinds), said
    assert not [text for text in said if PLANTED in text or "planted-bucket" in text]
    # The same digest each time: an operator sees that two lines are of one series.
    assert {digest_of(PLANTED) in text for text in said if " series " in text} == {True}


# --- limits


def test_a_limited_index_says_so_and_never_passes_for_a_whole_one(setting):
    """A limited index answers its own limit only; a whole one is made of it without reading twice."""
    limited = setting.open(limit=2)
    assert limited.index.provenance.limit == 2
    assert files(limited) == ["1.dcm", "2.dcm"]
    assert len(setting.storage.ranges) == 2
    assert setting.open(limit=2).source == "cache"
    whole = setting.open()
    assert setting.names() == ["s/3.dcm", "s/4.dcm"]
    assert whole.index.provenance.limit is None
    assert files(whole) == ["1.dcm", "2.dcm", "3.dcm", "4.dcm"]


@pytest.mark.parametrize("immutable", [True, False])
def test_a_limited_index_of_an_immutable_root_is_no_whole_one(immutable):
    """An immutable root does not make a limited index a whole one."""
    setting = Setting(immutable=immutable)
    setting.open(limit=1)
    assert len(files(setting.open())) == 4
    assert len(files(setting.open(limit=1))) == 4


def test_a_whole_index_answers_a_limit(setting):
    """A whole index is good for any limit."""
    setting.open()
    opened = setting.open(limit=2)
    assert (opened.source, setting.storage.ranges) == ("cache", [])


def test_a_limit_that_is_not_reached_is_none():
    """A limit that the series does not reach makes a whole index."""
    assert Setting().open(limit=100).index.provenance.limit is None


# --- failures


def test_a_failing_storage_leaves_the_cache_as_it_was(setting):
    """Nothing is kept of a build that fails."""
    setting.open()
    before = setting.cache.get(CACHED).data
    setting.memory.put("s/9.dcm", make.encode(make.image(9)))
    failing = FailingStorage(setting.memory, {"s/9.dcm": StorageUnavailableError("memory://x", "throttled")})
    with pytest.raises(StorageUnavailableError):
        SeriesIndexer(failing, IndexCache(setting.cache), Limits()).open(SeriesName("s"))
    assert setting.cache.get(CACHED).data == before
