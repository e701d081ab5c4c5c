from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.archive.index.collect import is_read_whole
from dicom_series_preview.archive.index.read import Index
from dicom_series_preview.archive.index.schema import SCHEMA_VERSION
from dicom_series_preview.archive.names import SeriesName, index_folder
from dicom_series_preview.archive.open import IndexCache, SeriesIndexer, UpdateOptions
from dicom_series_preview.base.discreet import digest_of
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    LimitError,
    NoImageError,
    SeriesNameError,
    SeriesNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import FetchOptions, fetch_frames
from dicom_series_preview.sources.headers.header import FrameLocation
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.prefetched import Prefetched
from doubles import (
    BareListingStorage,
    ChangingStorage,
    CountingStorage,
    FailingStorage,
    UntouchableStorage,
    Wrapper,
)

UUID = "389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42"
PLAIN = UUID.replace("-", "")
UID = "1.2.840.113619.2.55.3"
CACHED = "indices/s_index.parquet"


def objects(count=4, folder="s"):
    """A series of some slices."""
    return {f"{folder}/{i}.dcm": make.encode(make.image(i)) for i in range(1, count + 1)}


class Setting:
    """A counted storage with a series, a cache, and an opener of both."""

    def __init__(self, held=None, *, cache=True, limits=None, wrap=lambda storage: storage, **options):
        self.memory = MemoryStorage(objects() if held is None else held, **options)
        self.storage = CountingStorage(wrap(self.memory))
        self.cache = CountingStorage(MemoryStorage(url="memory://cache"))
        self.opener = SeriesIndexer(
            self.storage, IndexCache(self.cache) if cache else None, limits or Limits()
        )

    def open(self, name="s", **options):
        """Open a series, counting from nothing."""
        self.storage.reset()
        self.cache.reset()
        return self.opener.open(SeriesName.parse(name), **options)

    def names(self):
        """The objects that were asked for, each once."""
        return sorted({r.path for r in self.storage.ranges})


def files(opened):
    """The objects in an index."""
    return sorted(set(opened.index.table["FileName"].to_pylist()))


def fresh_table(setting):
    """The table of an index built from nothing."""
    return SeriesIndexer(setting.memory, None, Limits()).open(SeriesName("s")).index.table


# --- names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UUID, SeriesName(UUID)),
        (PLAIN, SeriesName(PLAIN)),
        (UID, SeriesName(UID)),
        ("any folder name", SeriesName("any folder name")),
        ("patient/study/series", SeriesName("patient/study/series")),
        ("389*", SeriesName("389", None, is_prefix=True)),
        ("a/b*", SeriesName("a/b", None, is_prefix=True)),
        (f"s3://bucket/{UUID}", SeriesName(UUID, "s3://bucket")),
        ("s3://bucket/a/b/389*", SeriesName("389", "s3://bucket/a/b", is_prefix=True)),
        (f"https://host:8042/dicom/{UID}/", SeriesName(UID, "https://host:8042/dicom")),
        ("http://host/a%20b", SeriesName("a b", "http://host")),
        (f"file:///data/{UID}", SeriesName(UID, "file:///data")),
        (f"/data/{UID}", SeriesName(UID, "/data")),
        ("/data/CT 1", SeriesName("CT 1", "/data")),
    ],
)
def test_names(text, expected):
    """A series is a UUID, UID, folder or prefix, alone or as the last part of a URL or path."""
    assert SeriesName.parse(text) == expected


REFUSED = [
    "",
    "*",
    "a*b",
    "a**",
    "..",
    "../a",
    "a/../b",
    "a//b",
    "a/",
    "./a",
    "a\0b",
    "a\nb",
    "\x7f",
    "a\x1b[0m",
    "/",
    "s3://bucket",
    "s3://bucket/../a",
    "s3://bucket/a\nb",
    "http://host/%2e%2e",
    "http://host/a%0ab",
    "http://host/a%00b",
    "http://host/a%2f..%2fb",
    "file:///",
    "a" * 901,
    "a" * 901 + "*",
    "\u00e4" * 451,
    "\udc80" * 301,
    "s3://bucket/" + "a" * 901,
    "a" * 5000,
    "/data/../a",
    "/data/*",
]


@pytest.mark.parametrize("text", REFUSED)
def test_names_that_cannot_be_are_refused_before_storage_is_touched(text):
    """A name with `..`, a control character or an empty part never reaches a storage."""
    untouchable = UntouchableStorage()
    with pytest.raises(SeriesNameError) as refused:
        SeriesIndexer(untouchable, IndexCache(untouchable), Limits()).open(SeriesName.parse(text))
    assert refused.value.parameter == "series"
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_name_may_have_as_many_bytes_as_leave_room_in_a_key():
    """A name of 900 bytes is one; of that length, all that is kept of it has a key that S3 takes."""
    longest = "\u00e4" * 450
    assert SeriesName.parse(longest).text == longest
    assert len(IndexCache(MemoryStorage(), index_folder("s3://bucket")).path(longest).encode()) < 1024 - len(
        ".lock"
    )
    with pytest.raises(SeriesNameError, match="has 901 bytes as UTF-8; the limit is 900"):
        SeriesName.parse("a" * 901)


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


def test_a_first_opening_builds_and_keeps():
    """The first opening lists once, reads each header once, and keeps the index in its place."""
    setting = Setting()
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


def test_objects_passed_over_or_failed_are_counted_and_named():
    """Every object that is not in the index is named in it with its reason."""
    held = objects(1) | {"s/DICOMDIR": b"x", "s/notes.txt": b"x", "s/bad": b"<html></html>", "s/empty": b""}
    setting = Setting(held)
    skipped = {s.name: s.reason for s in setting.open().index.provenance.skipped}
    assert skipped.keys() == {"DICOMDIR", "notes.txt", "bad", "empty"}
    assert "passed over" in skipped["DICOMDIR"]
    assert "not DICOM" in skipped["bad"]
    assert setting.names() == ["s/1.dcm", "s/bad", "s/empty"]


def test_a_series_of_nothing_readable_says_why():
    """A series without one DICOM object is an error that says why."""
    with pytest.raises(NoImageError, match=r"2 objects.*not DICOM: text"):
        Setting({"s/a": b"<html></html>", "s/b": b"<html></html>"}).open()
    with pytest.raises(NoImageError, match=r"a\.txt: passed over"):
        Setting({"s/a.txt": b"x", "s/b": b""}).open()


def test_reports_alone_are_a_series():
    """A series without an image has an index."""
    opened = Setting({"s/a": make.encode(make.report())}).open()
    assert opened.index.stacks == {}
    assert opened.index.table.num_rows == 1


def test_too_many_objects_are_refused_before_any_is_read():
    """A series of more objects than the limit is refused with both numbers."""
    setting = Setting(limits=Limits(instances=3))
    with pytest.raises(LimitError, match="more than 3 objects, the limit"):
        setting.open()
    assert setting.storage.ranges == []


def test_the_index_is_the_same_in_whatever_order_answers_come():
    """Answers come in any order, and the index does not depend on it."""
    held = objects(30) | {f"s/x{i}": b"text" for i in range(9)}
    tables = [Setting(held, cache=False, concurrency=n).open().index.table for n in (1, 16)]
    assert tables[0].equals(tables[1])
    assert tables[0].schema.metadata == tables[1].schema.metadata


def test_progress_is_told():
    """Progress runs from 0 to the number of headers to read."""
    told = []
    memory = MemoryStorage(objects(3))
    SeriesIndexer(memory, None, Limits(), lambda done, of: told.append((done, of))).open(SeriesName("s"))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


# --- freshness


def test_an_unchanged_series_costs_one_listing():
    """An index whose series is unchanged costs one listing and no header."""
    setting = Setting()
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


def test_only_a_changed_object_is_read():
    """Of a series with one changed object that one is read again."""
    setting = Setting()
    setting.open()
    setting.memory.put("s/2.dcm", make.encode(make.image(2, KVP=90)))
    opened = setting.open()
    assert (opened.source, opened.headers_read) == ("updated", 1)
    assert setting.names() == ["s/2.dcm"]
    assert opened.index.table.equals(fresh_table(setting))
    assert setting.open().source == "cache"


def test_only_a_new_object_is_read():
    """Of a series with one object more that one is read."""
    setting = Setting()
    setting.open()
    setting.memory.put("s/9.dcm", make.encode(make.image(9)))
    opened = setting.open()
    assert (opened.source, opened.headers_read) == ("updated", 1)
    assert setting.names() == ["s/9.dcm"]
    assert opened.index.table.equals(fresh_table(setting))
    assert opened.index.provenance.listed == 5


def test_a_deleted_object_leaves_the_index():
    """An object that is gone leaves the index, and no header is read for it."""
    setting = Setting()
    setting.open()

    class Without(Wrapper):
        def list_objects(self, folder, most=None):
            return [info for info in super().list_objects(folder, most) if info.path != "s/3.dcm"]

    setting = Setting()
    setting.open()
    counting = CountingStorage(Without(setting.memory))
    opened = SeriesIndexer(counting, IndexCache(setting.cache), Limits()).open(SeriesName("s"))
    assert (opened.source, opened.headers_read, counting.ranges) == ("updated", 0, [])
    assert files(opened) == ["1.dcm", "2.dcm", "4.dcm"]


def test_a_skipped_object_is_not_read_again_before_it_changes():
    """An object that is no DICOM is read once, and again when it has changed."""
    setting = Setting(objects() | {"s/bad": b"<html></html>"})
    setting.open()
    setting.memory.put("s/9.dcm", make.encode(make.image(9)))
    assert setting.open().headers_read == 1
    assert setting.names() == ["s/9.dcm"]
    setting.memory.put("s/bad", make.encode(make.image(10)))
    opened = setting.open()
    assert setting.names() == ["s/bad"]
    assert opened.index.provenance.skipped == ()


def test_a_listing_without_versions_vouches_for_nothing():
    """Where a changed listing gives no versions every header is read again."""
    setting = Setting(wrap=BareListingStorage)
    setting.open()
    assert setting.open().source == "cache"
    setting.memory.put("s/9.dcm", make.encode(make.image(9)))
    assert setting.open().headers_read == 5


def slice_of(number):
    """An object that is the same each time."""
    return make.encode(make.image(number))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"s/9.dcm": slice_of(2)}, id="a duplicate comes behind"),
        pytest.param({"s/0.dcm": slice_of(2)}, id="a duplicate comes in front"),
        pytest.param({"s/9.dcm": slice_of(2), "s/2.dcm": None}, id="an object gets another name"),
        pytest.param({"s/5a.dcm": None}, id="a duplicate goes"),
        pytest.param({"s/1.dcm": None}, id="the first goes, the duplicate stays"),
        pytest.param({"s/1.dcm": None, "s/5a.dcm": None}, id="the first and a duplicate go"),
        pytest.param({"s/1.dcm": None, "s/5a.dcm": None, "s/5b.dcm": None}, id="all of them go"),
        pytest.param({"s/1.dcm": make.encode(make.image(1, KVP=90))}, id="the first is another now"),
        pytest.param({"s/5a.dcm": make.encode(make.image(1, KVP=90))}, id="a duplicate is none any more"),
        pytest.param({"s/2.dcm": slice_of(1)}, id="an image becomes a duplicate"),
    ],
)
def test_duplicates_that_come_and_go(change):
    """However duplicates come and go, an updated index is as one built anew, and no header is read twice."""
    setting = Setting({**objects(), "s/5a.dcm": slice_of(1), "s/5b.dcm": slice_of(1)})
    assert setting.open().headers_read == 6
    for path, data in change.items():
        if data is None:
            setting.memory.delete(path)
        else:
            setting.memory.put(path, data)
    opened = setting.open()
    assert opened.headers_read == sum(data is not None for data in change.values())
    fresh = SeriesIndexer(setting.memory, None, Limits()).open(SeriesName("s")).index
    assert opened.index.table.equals(fresh.table)
    assert opened.index.provenance == fresh.provenance
    again = setting.open()
    assert (again.source, again.headers_read) == ("cache", 0)
    assert again.index.provenance == fresh.provenance


# --- the log


PLANTED = "Mustermann-Erika"


class Unwritable(Wrapper):
    """Its claims cannot be given back."""

    def delete(self, path):
        """Refused for a claim, with the path."""
        if path.endswith(".lock"):
            raise StorageError(f"{self.url}/{path}", "cannot be removed")
        super().delete(path)


def test_no_log_names_a_series(caplog):
    """No line of the log names a series' folder, which may bear a patient's name, or its root."""
    held = objects(folder=PLANTED)
    setting = Setting(held, url="s3://planted-bucket")
    path = f"indices/{PLANTED}_index.parquet"
    opener = SeriesIndexer(
        setting.storage, IndexCache(Unwritable(setting.cache)), Limits(), single_flight=True
    )
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
    said = [record.getMessage() for record in caplog.records if record.name.endswith(".archive.open")]
    kinds = ["is built anew", "claim stays", "another root", "prefix matches", "are not kept"]
    assert all(any(kind in text for text in said) for kind in kinds), said
    assert not [text for text in said if PLANTED in text or "planted-bucket" in text]
    # The same digest each time: an operator sees that two lines are of one series.
    assert {digest_of(PLANTED) in text for text in said if " series " in text} == {True}


def test_an_object_replaced_while_it_is_read_is_found_later():
    """An object that is replaced after the listing is not taken for what the listing shows."""
    new = make.encode(make.image(1, KVP=90))
    setting = Setting(
        wrap=lambda m: ChangingStorage(m, {"s/1.dcm": lambda inner: inner.put("s/2.dcm", new)}), concurrency=1
    )
    setting.open()
    setting.open()
    assert setting.open().source == "cache"
    assert setting.opener.open(SeriesName("s")).index.table.equals(fresh_table(setting))


def of_another_schema(data):
    """The index as another version of the product would have written it."""
    table = Index.from_parquet(data).table
    metadata = dict(table.schema.metadata)
    document = json.loads(metadata[b"dicom_series_preview"])
    metadata[b"dicom_series_preview"] = json.dumps(
        {**document, "schema_version": SCHEMA_VERSION + 1}
    ).encode()
    return Index(table.replace_schema_metadata(metadata)).to_parquet()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _data: b"",
        lambda data: data[:-10],
        lambda data: data[: len(data) // 2],
        lambda _data: b"no Parquet at all",
        lambda data: data[:200] + bytes(100) + data[300:],
        of_another_schema,
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


def test_an_index_of_more_rows_than_the_limit_is_not_read():
    """It was built with a greater limit, or by another hand; the limit holds for it too."""
    setting = Setting()
    setting.open()
    opener = SeriesIndexer(setting.storage, IndexCache(setting.cache), Limits(rows=3))
    with pytest.raises(LimitError, match="more than 3 frames"):
        opener.open(SeriesName("s"))


@pytest.mark.parametrize("parts", [[4], [2, 2]], ids=["in one part", "in two"])
def test_what_was_read_in_part_has_no_more_rows_than_the_limit(parts):
    """An update keeps to the limit of rows, whether it reads objects or finds them read already."""
    setting = Setting()
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
        opener.update("s", UpdateOptions(lambda _objects: False, lambda **_known: None))


def test_an_index_of_another_root_is_built_anew():
    """A cached index of the same series in another root is rebuilt."""
    setting = Setting()
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


# --- limits


def test_a_limited_index_says_so_and_never_passes_for_a_whole_one():
    """A limited index answers its own limit only; a whole one is made of it without reading twice."""
    setting = Setting()
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


def test_a_whole_index_answers_a_limit():
    """A whole index is good for any limit."""
    setting = Setting()
    setting.open()
    opened = setting.open(limit=2)
    assert (opened.source, setting.storage.ranges) == ("cache", [])


def test_a_limit_that_is_not_reached_is_none():
    """A limit that the series does not reach makes a whole index."""
    assert Setting().open(limit=100).index.provenance.limit is None


# --- failures


def test_a_failing_storage_leaves_the_cache_as_it_was():
    """Nothing is kept of a build that fails."""
    setting = Setting()
    setting.open()
    before = setting.cache.get(CACHED).data
    setting.memory.put("s/9.dcm", make.encode(make.image(9)))
    failing = FailingStorage(setting.memory, {"s/9.dcm": StorageUnavailableError("memory://x", "throttled")})
    with pytest.raises(StorageUnavailableError):
        SeriesIndexer(failing, IndexCache(setting.cache), Limits()).open(SeriesName("s"))
    assert setting.cache.get(CACHED).data == before


def test_an_index_is_written_once_and_whole():
    """What appears in the cache is one write of a whole file."""
    setting = Setting()
    setting.open()
    assert setting.cache.puts == [CACHED]
    Index.from_parquet(setting.cache.get(CACHED).data)


def test_a_cache_that_cannot_be_read_is_an_error():
    """A cache that fails is an error, not a reason to read everything again."""

    class Failing(Wrapper):
        def get(self, path):
            raise AccessDeniedError(f"{self.url}/{path}")

    opener = SeriesIndexer(MemoryStorage(objects()), IndexCache(Failing(MemoryStorage())), Limits())
    with pytest.raises(StorageError):
        opener.open(SeriesName("s"))


def test_the_fingerprint_stands_in_the_file():
    """The file's metadata hold the fingerprint of the listing that it was built from."""
    setting = Setting()
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


def test_a_series_whose_objects_are_all_withheld_is_not_one_without_images():
    """Where the storage withholds every object, its reason is the error: nothing is known of the series."""
    denied = {path: AccessDeniedError(path, "no") for path in objects(2)}
    setting = Setting(objects(2), wrap=lambda storage: FailingStorage(storage, denied))
    with pytest.raises(AccessDeniedError, match="no"):
        setting.open()


# --- what comes with the headers


def frames_of(opened, storage):
    """The bytes of all frames, by row."""
    slices = opened.index.slices(range(opened.index.table.num_rows))
    return {
        f.slice.row: f.data
        for f in fetch_frames(storage, opened.name, slices, FetchOptions(opened.prefetched))
    }


def opened_for(held, frames):
    """A counted storage, and its series opened for some frames."""
    storage = CountingStorage(MemoryStorage(held))
    return storage, SeriesIndexer(storage, None, Limits(), next_frames=frames).open(SeriesName("s"))


@pytest.mark.parametrize("syntax", [make.EXPLICIT, make.DEFLATED])
def test_small_objects_are_read_once(syntax):
    """Frames that came with the headers are not asked for again, and are the same bytes."""
    held = {f"s/{i}": make.encode(make.image(i), syntax) for i in range(3)}
    storage, opened = opened_for(held, 3)
    frames = frames_of(opened, storage)
    assert len(storage.ranges) == 3
    assert frames == frames_of(replace(opened, prefetched=Prefetched()), MemoryStorage(held))


def test_a_deflated_object_is_fetched_once():
    """A deflated object, which only its whole can tell the header of, is not fetched again for its frames."""
    pixels = np.random.default_rng(3).integers(0, 256, 2 * 640 * 640, dtype=np.uint8).tobytes()
    held = {"s/1": make.encode(make.image(1, Rows=640, Columns=640, PixelData=pixels), make.DEFLATED)}
    storage, opened = opened_for(held, 1)
    assert frames_of(opened, storage) == {0: pixels}
    assert storage.received == len(held["s/1"])


@pytest.mark.parametrize(
    ("sizes", "frames", "whole"),
    [
        ([200_000] * 4, 36, True),
        ([300_000] * 4, 36, False),
        ([30_000] * 70, 36, True),
        ([30_000] * 72, 36, False),
        ([1_000, 200_000], 1, True),
        ([250_000] * 140, 200, False),
        ([200_000, None], 36, False),
        ([200_000] * 4, 0, False),
        ([], 1, False),
    ],
)
def test_when_objects_are_read_whole(sizes, frames, whole):
    """Objects are read whole where all are small, a megabyte is not shown at most, and they can be kept."""
    assert is_read_whole(sizes, frames) == whole
