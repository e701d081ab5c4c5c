from dataclasses import replace

import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.archive.cache import IndexCache
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.base.errors import AccessDeniedError, LimitError, NoImageError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.pixels.frames import FetchOptions, fetch_frames
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.prefetched import Prefetched
from doubles import BareListingStorage, ChangingStorage, CountingStorage, FailingStorage, Wrapper
from indexing import Setting, objects


def files(opened):
    """The objects in an index."""
    return sorted(set(opened.index.table["FileName"].to_pylist()))


def fresh_table(setting):
    """The table of an index built from nothing."""
    return SeriesIndexer(setting.memory, None, Limits()).open(SeriesName("s")).index.table


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


@pytest.mark.parametrize(
    ("path", "data", "listed"),
    [("s/2.dcm", make.encode(make.image(2, KVP=90)), 4), ("s/9.dcm", make.encode(make.image(9)), 5)],
    ids=["changed", "new"],
)
def test_only_a_changed_or_new_object_is_read(setting, path, data, listed):
    """Of a series with one changed object that one is read again.

    Of a series with one object more that one is read.
    """
    setting.open()
    setting.memory.put(path, data)
    opened = setting.open()
    assert (opened.source, opened.headers_read) == ("updated", 1)
    assert setting.names() == [path]
    assert opened.index.table.equals(fresh_table(setting))
    assert opened.index.provenance.listed == listed
    assert setting.open().source == "cache"


def test_a_deleted_object_leaves_the_index(setting):
    """An object that is gone leaves the index, and no header is read for it."""

    class Without(Wrapper):
        def list_objects(self, folder, most=None):
            return [info for info in super().list_objects(folder, most) if info.path != "s/3.dcm"]

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


def test_a_series_whose_objects_are_all_withheld_is_not_one_without_images():
    """Where the storage withholds every object, its reason is the error: nothing is known of the series."""
    denied = {path: AccessDeniedError(path, "no") for path in objects(2)}
    setting = Setting(objects(2), wrap=lambda storage: FailingStorage(storage, denied))
    with pytest.raises(AccessDeniedError, match="no"):
        setting.open()


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
