import numpy as np
import pytest

import make_dicom as make
from dicom_series_preview.archive.addressing import SeriesOpener
from dicom_series_preview.archive.index.held import held_series
from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.one_series import only, outermost
from dicom_series_preview.base.errors import LimitError
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.sources.headers.locations import FrameLocation
from indexing import Setting, table_of

ONE, TWO = "1.2.3", "1.2.4"


def held(uid=ONE, numbers=(1, 2, 3), folder="s", **elements):
    """The objects of a series in a folder."""
    return {
        f"{folder}/{uid}-{i}": make.encode(
            make.image(i, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{i}", **elements)
        )
        for i in numbers
    }


def opened(objects, *folders, uid=ONE, limits=None, limit=None):
    """One series of some folders; and its setting."""
    setting = Setting(objects, limits=limits)
    parts = [setting.open(folder, limit=limit) for folder in folders]
    return only(uid, parts, setting.opener.limits.rows), setting


def files(series):
    """The objects of an index, in its order."""
    return list(dict.fromkeys(series.index.table["FileName"].to_pylist()))


def test_a_folder_of_one_series_is_used_as_it_is():
    """The index of a folder that holds one series alone is that series', with its version in the cache."""
    setting = Setting(held())
    part = setting.open("s")
    assert only(ONE, [part], 10) is part
    assert part.kept_version


def test_one_series_of_a_folder():
    """Of a folder with several series, one is as if it lay there alone."""
    mixed, _ = opened(held() | held(TWO, range(1, 6), SliceThickness=3), "s")
    alone, _ = opened(held(), "s")
    assert (mixed.name, mixed.folders, mixed.uid, mixed.kept_version) == ("s", ("s",), ONE, "")
    assert mixed.index.table.equals(alone.index.table)
    assert mixed.index.provenance.series_instance_uids == 1


@pytest.mark.parametrize(
    ("folders", "parent"),
    [
        (("x/a", "x/b"), "x"),
        (("x/y/a", "x/b"), "x"),
        (("a", "b"), ""),
        (("ab", "ac"), ""),
        (("x/ab", "x/ac/d"), "x"),
    ],
)
def test_a_series_in_two_folders(folders, parent):
    """A series in two folders is in the order of its slices; names begin at the folder around them."""
    objects = held(numbers=(1, 3), folder=folders[0]) | held(numbers=(2, 4), folder=folders[1])
    series, _ = opened(objects, *folders)
    alone, _ = opened(held(numbers=range(1, 5)), "s")
    assert (series.name, series.folders, series.title) == (parent, folders, ONE)
    paths = [f"{parent}/{name}" if parent else name for name in files(series)]
    assert sorted(paths) == sorted(objects)
    uids = [index.index.table["SOPInstanceUID"].to_pylist() for index in (series, alone)]
    assert uids[0] == uids[1]
    assert series.index.provenance.series == parent
    Index.from_parquet(series.index.to_parquet())  # no damage


def test_folders_in_one_another_are_one():
    """Of folders inside another, the outer one's index has all; names that only begin alike are others."""
    assert outermost(["a", "a/b", "a/b/c", "ab", "ab/c", "b/a"]) == ["a", "ab", "b/a"]


def test_no_folder_holds_it():
    """Folders without the series hold none."""
    assert opened(held(), "s", uid=TWO)[0] is None
    assert only(ONE, [], 10) is None


def test_padded_uids_are_the_same():
    """NUL and spaces around a UID are no part of it."""
    objects = held(numbers=(1,)) | held(TWO)
    for i, padded in enumerate((b"1.2.3\0", b"1.2.3 ", b" 1.2.3"), 2):
        data = make.encode(make.image(i, SeriesInstanceUID=ONE, SOPInstanceUID=f"9.{i}"))
        assert data.count(b"1.2.3\0") == 1
        objects[f"s/{i}"] = data.replace(b"1.2.3\0", padded)
    assert len(files(opened(objects, "s")[0])) == 4


def test_objects_without_a_uid_are_of_no_series():
    """Objects without SeriesInstanceUID are left out, even of a folder with one series besides."""
    objects = held()
    objects["s/none"] = make.encode(make.image(9, SeriesInstanceUID=""))
    series, _ = opened(objects, "s")
    assert len(files(series)) == 3
    empty = [one for one in held_series(Setting(objects).open("s").index) if not one.series_instance_uid]
    assert [one.slices for one in empty] == [1]


def test_identical_copies_are_shown_once():
    """Identical copies in two folders are shown once and told as duplicates; different ones are all shown."""
    objects = held(folder="a") | held(folder="b")
    series, _ = opened(objects, "a", "b")
    assert (len(files(series)), len(series.index.provenance.duplicates)) == (3, 3)
    assert {(one.name, one.of) for one in series.index.provenance.duplicates} >= {("b/1.2.3-1", "a/1.2.3-1")}
    differ, _ = opened(held(folder="a") | held(folder="b", SliceThickness=7), "a", "b")
    assert len(files(differ)) == 6
    assert differ.index.provenance.warnings == (
        "6 objects share a SOPInstanceUID with another and differ from it: all are shown",
    )


def test_copies_within_a_folder_stay_told():
    """Copies that a folder's index knows as duplicates are the series' duplicates, and others' are not."""
    objects = held() | held(TWO)
    objects |= {f"{name}-copy": data for name, data in objects.items()}
    series, _ = opened(objects, "s")
    assert len(series.index.provenance.duplicates) == 3
    assert all(ONE in one.name and ONE in one.of for one in series.index.provenance.duplicates)


def test_what_cannot_be_read_stays_told():
    """Objects that could not be read can be of any series: they are told, by names from the folder around."""
    objects = held(folder="x/a") | held(folder="x/b", numbers=(7,)) | {"x/b/notes": b"by hand", "x/c/n": b"-"}
    series, _ = opened(objects, "x/a", "x/b")
    assert [one.name for one in series.index.provenance.skipped] == ["b/notes"]
    assert series.index.provenance.listed == 5


def test_the_fingerprint_changes_with_each_folder():
    """The fingerprint is another as soon as any folder's listing is, and for another series of them."""
    objects = held(folder="a") | held(TWO, folder="a") | held(folder="b", numbers=(8,))
    prints = [opened(objects, "a", "b")[0].index.provenance.fingerprint]
    prints.append(opened(objects, "a", "b", uid=TWO)[0].index.provenance.fingerprint)
    changed = (objects | change for change in ({"a/x.txt": b"-"}, {"b/x.txt": b"-"}))
    prints += [opened(now, "a", "b")[0].index.provenance.fingerprint for now in changed]
    assert len(set(prints)) == 4


def test_too_many_frames_in_all():
    """A series of several folders has no more frames than an index may have."""
    objects = held(folder="a") | held(folder="b", numbers=(8, 9))
    with pytest.raises(LimitError, match="more than 4 frames"):
        opened(objects, "a", "b", limits=Limits(rows=4))
    assert opened(objects, "a", "b", limits=Limits(rows=5))[0]


def test_a_limited_index_says_so():
    """An index of folders that were read in part says so."""
    objects = held(folder="a") | held(folder="b", numbers=(8, 9))
    series, _ = opened(objects, "a", "b", limit=1)
    assert (series.index.provenance.limit, len(files(series))) == (1, 2)


def test_places_of_frames_are_kept_by_folder():
    """Places of frames found later are saved in each folder's index, and no folder's index is replaced."""
    objects = held(folder="a") | held(TWO, folder="a") | held(folder="b", numbers=(8,))
    series, setting = opened(objects, "a", "b")
    setting.opener.keep_locations(
        series, {"a/1.2.3-1": [FrameLocation(1, 2)], "b/1.2.3-8": [FrameLocation(3, 4)]}
    )
    for folder, name, place in (("a", "1.2.3-1", (1, 2)), ("b", "1.2.3-8", (3, 4))):
        again = setting.open(folder)
        assert (again.source, len(files(again))) == ("cache", 6 if folder == "a" else 1)
        row = again.index.table["FileName"].to_pylist().index(name)
        assert (
            again.index.table["FrameOffset"][row].as_py(),
            again.index.table["FrameLength"][row].as_py(),
        ) == place


def test_an_update_of_one_folder_counts():
    """What was read now, and of which folders, is the sum of the folders'."""
    setting = Setting(held(folder="a") | held(folder="b", numbers=(8,)))
    setting.open("a")
    series = only(ONE, [setting.open("a"), setting.open("b")], 10)
    assert (series.source, series.headers_read) == ("built", 1)
    assert only(ONE, [setting.open("a"), setting.open("b")], 10).source == "cache"


def test_frames_of_every_kind_stay_whole():
    """Enhanced objects, Siemens mosaics and a slide's tiles of a series are as they are alone."""
    values = np.arange(4 * 4 * 4, dtype="<u2").reshape(4, 4, 4)
    kinds = {
        "enhanced": make.enhanced([make.position_group(0, 0, z) for z in (7, 8)], make.orientation_group()),
        "mosaic": make.mosaic(values),
        "slide": make.level(np.zeros((1, 8, 8, 3), "u1"), (4, 4)),
        "report": make.report(3),
    }
    for kind, source in kinds.items():
        source.SeriesInstanceUID = ONE
        own = {f"s/{kind}": make.encode(source)}
        alone, _ = opened(own, "s")
        mixed, _ = opened(own | held(TWO), "s")
        assert mixed.index.table.equals(alone.index.table), kind


def test_the_series_of_an_index_are_described():
    """Each series is told with number, description, slices and stacks, the largest first, reports last."""
    sources = [
        *(make.image(i, SeriesInstanceUID=ONE, SeriesNumber=7, SeriesDescription="small") for i in (1, 2)),
        *(make.image(i, SeriesInstanceUID=TWO, SeriesNumber=8) for i in (3, 4, 5)),
        make.report(9, SeriesDescription=" dose "),
    ]
    sources[-1].SeriesInstanceUID = "1.2.5"
    found = held_series(Index(table_of(*sources)))
    told = [(o.series_instance_uid, o.series_number, o.description, o.slices, o.stacks) for o in found]
    assert told == [(TWO, 8, "", 3, (0,)), (ONE, 7, "small", 2, (1,)), ("1.2.5", None, "dose", 0, ())]


def test_one_series_within_a_named_folder():
    """A folder may be named with one of its series."""
    setting = Setting(held() | held(TWO, (5, 6)))
    series = SeriesOpener(setting.opener).open(SeriesName("s"), TWO)
    assert (series.uid, len(files(series))) == (TWO, 2)
