import datetime as dt
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

import doubles
import make_dicom
from dicom_series_preview.archive.catalogue.columns import RULES, Shape
from dicom_series_preview.archive.catalogue.snapshot import FileCache, SnapshotReader
from dicom_series_preview.archive.catalogue.table import CatalogueTable, Change
from dicom_series_preview.archive.names import index_folder
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import CatalogueBusyError, CatalogueError, StorageUnavailableError
from dicom_series_preview.doors.aws import catalogue
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.catalogue import LATER_S, SWEEP_S, FoldSummary, fold
from dicom_series_preview.doors.aws.looks import Look
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.products.batches.item import run_item
from dicom_series_preview.sources.storage.base import Fetched, Storage
from dicom_series_preview.sources.storage.local import LocalStorage
from updating import BATCH, SECRET, Closed, Killed, Sent, Setting, notification, place

UID = make_dicom.SERIES_UID
GONE = "ObjectRemoved:Delete"


class Catalogued(Setting):
    """A deployment whose catalogue follows its indices.

    Args:
        folder: Where indices and catalogue lie.
        roots: By alias, a root's URL.
    """

    def __init__(self, folder: Path, roots: dict[str, str] | None = None) -> None:
        super().__init__(roots)
        self.data = LocalStorage(folder, 4)
        self.see("s3://data", self.data)
        self.table = CatalogueTable(self.data)
        self.looks = Sent()

    def put(self, *paths: str, alias: str = "default", **elements: Any) -> None:
        """Write a slice at each path."""
        for path in paths:
            number = 1 + len(self.memory[alias].list_objects(""))
            image = make_dicom.image(number, PatientName=SECRET, **elements)
            self.memory[alias].put(path, make_dicom.encode(image))

    def fold(self, *bodies: Any, table: Any = None, time_left_s: float = 300.0) -> FoldSummary:
        """Handle messages `0`, `1` and so on."""
        texts = {str(i): body if isinstance(body, str) else json.dumps(body) for i, body in enumerate(bodies)}
        return fold(texts, self.deployment, table or self.table, lambda: time_left_s, self.looks)

    def told(self, *series: str, name: str = "ObjectCreated:Put") -> FoldSummary:
        """Handle S3's notifications of series' indices."""
        return self.fold(indices(*series, name=name))

    def fold_again(self) -> FoldSummary:
        """Handle the looks that have been sent."""
        sent, self.looks.sent = self.looks.sent, []
        return self.fold(*(look.body() for look, _ in sent))

    def rows(self) -> list[dict[str, Any]]:
        """The catalogue's rows, by series and UID."""
        rows = SnapshotReader(self.data).read().to_pylist()
        return sorted(rows, key=lambda row: (row["Series"], row["SeriesInstanceUID"]))

    def slices(self) -> dict[str, int | None]:
        """By series, how many slices its row says."""
        return {row["Series"]: row["Slices"] for row in self.rows()}

    def whole(self) -> dict[str, tuple[int, int, int]]:
        """What the row of each series says: folders, slices of the whole, and objects of its folder."""
        return {row["Series"]: (row["Folders"], row["Slices"], row["Instances"]) for row in self.rows()}

    def version(self) -> int:
        """The table's version."""
        return SnapshotReader(self.data).snapshot().version

    def places(self, uid: str = UID) -> list[str]:
        """The folders where a SeriesInstanceUID is noted to lie."""
        return SeriesPlaces(self.data, places_folder("s3://archive")).folders(uid)


def indices(*series: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """S3's notification of indices of the default root."""
    return notification(*map(place, series), bucket="data", name=name)


@pytest.fixture
def setting(tmp_path: Path) -> Catalogued:
    """A deployment of one root."""
    return Catalogued(tmp_path)


@dataclass
class Overtaken:
    """A table that others write just before we do.

    Attributes:
        inner: The table.
        others: What they do, once.
    """

    inner: CatalogueTable
    others: Callable[[], Any]
    done: bool = field(default=False)

    @property
    def storage(self) -> Storage:
        """The table's."""
        return self.inner.storage

    @property
    def kept(self) -> FileCache:
        """The table's."""
        return self.inner.kept

    @property
    def shape(self) -> Shape:
        """The table's."""
        return self.inner.shape

    def merge(self, rows: Any, series: Any, **how: Any) -> Change:
        """Write after the others."""
        if not self.done:
            self.done = True
            self.others()
        return self.inner.merge(rows, series, **how)

    def amend(self, amendments: Any) -> Change:
        """Write."""
        return self.inner.amend(amendments)


def test_an_index_becomes_a_row(setting: Catalogued) -> None:
    """The row of an index that S3 tells of says where it lies and what is in it, and its UID has a place."""
    setting.known("s/1.dcm", "s/2.dcm")
    summary = setting.told("s")
    (row,) = setting.rows()
    assert (row["Root"], row["Series"], row["SeriesInstanceUID"]) == ("s3://archive", "s", UID)
    assert (row["Slices"], row["PatientName"], row["Problem"]) == (2, SECRET, None)
    assert (row["IndexPath"], row["IndexVersion"]) == (place("s"), setting.data.get(place("s")).version)
    assert row["Fingerprint"] == setting.index().provenance.fingerprint
    assert (summary.indices, summary.added, summary.failed_messages) == (1, 1, set())
    assert (setting.places(), setting.looks.sent) == (["s"], [])


def test_many_messages_make_one_commit(setting: Catalogued) -> None:
    """Whatever tells of it, how often and in which order: each index is read once, for one commit."""
    names = [f"s{number}" for number in range(40)]
    for number, name in enumerate(names):
        setting.put(f"{name}/1.dcm", SeriesInstanceUID=f"{UID}.{number}")
    setting.update(*(notification(f"{name}/1.dcm") for name in names))
    looks = [Look(index_folder("s3://archive"), name).body() for name in names[:5]]
    summary = setting.fold(*(indices(name) for name in reversed(names)), *looks, indices(*names))
    assert (summary.indices, summary.added, summary.tries) == (40, 40, 1)
    version = setting.version()
    assert version == 1
    assert setting.told(*names).changed == 0
    assert setting.version() == version


def test_a_changed_index_changes_its_row(setting: Catalogued) -> None:
    """The row follows its index, and an old message told again brings nothing back."""
    setting.known("s/1.dcm")
    setting.told("s")
    setting.put("s/2.dcm")
    setting.update(notification("s/2.dcm"))
    assert setting.told("s").changed == 1
    assert setting.slices() == {"s": 2}
    # The first message arrives once more.
    version = setting.version()
    setting.told("s")
    assert (setting.slices(), setting.version()) == ({"s": 2}, version)


def test_each_uid_has_a_row_and_a_place(setting: Catalogued) -> None:
    """A folder of two series has two rows; that of a series which has left it goes, and so does its place."""
    other = f"{UID}.9"
    setting.put("s/1.dcm")
    setting.put("s/2.dcm", SeriesInstanceUID=other)
    setting.update(notification("s/1.dcm"))
    setting.told("s")
    assert [row["SeriesInstanceUID"] for row in setting.rows()] == [UID, other]
    assert setting.places() == setting.places(other) == ["s"]
    setting.remove("s/2.dcm")
    setting.update(notification("s/2.dcm", name=GONE))
    assert setting.told("s").removed == 1
    assert [row["SeriesInstanceUID"] for row in setting.rows()] == [UID]
    assert (setting.places(), setting.places(other)) == (["s"], [])
    assert [(look.swept, delay_s) for look, delay_s in setting.looks.sent] == [(True, SWEEP_S)]


def test_a_removed_series_takes_its_row_along(setting: Catalogued) -> None:
    """With the index go row and place; a quarter of an hour later we look once more, for the last time."""
    setting.known("s/1.dcm", "t/1.dcm")
    setting.update(notification("t/1.dcm"))
    setting.told("s", "t")
    setting.remove("s/1.dcm")
    setting.update(notification("s/1.dcm", name=GONE))
    summary = setting.told("s", name=GONE)
    assert (summary.gone, summary.removed) == (1, 1)
    assert (setting.slices(), setting.places()) == ({"t": 1}, ["t"])
    assert setting.looks.sent == [(Look(index_folder("s3://archive"), "s", swept=True), SWEEP_S)]
    version = setting.version()
    setting.fold_again()
    assert (setting.looks.sent, setting.version()) == ([], version)


def test_what_was_read_earlier_does_not_come_back(setting: Catalogued) -> None:
    """A function that read an index before another one did writes nothing over the other's rows."""
    setting.known("s/1.dcm")

    def others() -> None:
        setting.put("s/2.dcm")
        setting.update(notification("s/2.dcm"))
        setting.told("s")

    summary = setting.fold(indices("s"), table=Overtaken(setting.table, others))
    assert setting.slices() == {"s": 2}
    assert (summary.added, summary.changed) == (0, 0)


def test_a_uid_that_has_left_meanwhile_does_not_come_back(setting: Catalogued) -> None:
    """An older row of another UID of the series is not written either."""
    other = f"{UID}.9"
    setting.known("s/1.dcm")

    def others() -> None:
        setting.put("s/1.dcm", SeriesInstanceUID=other)
        setting.update(notification("s/1.dcm"))
        setting.told("s")

    setting.fold(indices("s"), table=Overtaken(setting.table, others))
    assert [row["SeriesInstanceUID"] for row in setting.rows()] == [other]


def test_a_row_that_comes_after_its_removal_is_swept(setting: Catalogued) -> None:
    """A function that read an index before it went may write its row later; the second look removes it."""
    setting.known("s/1.dcm")

    def others() -> None:
        setting.remove("s/1.dcm")
        setting.update(notification("s/1.dcm", name=GONE))
        setting.told("s", name=GONE)

    setting.fold(indices("s"), table=Overtaken(setting.table, others))
    assert (setting.slices(), setting.places()) == ({"s": 1}, ["s"])
    setting.fold_again()
    assert (setting.slices(), setting.places()) == ({}, [])


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "no readable Parquet file"), (b"PAR1 and no more", "no readable Parquet file")],
)
def test_a_damaged_index_has_a_row_that_says_so(setting: Catalogued, content: bytes, told: str) -> None:
    """A damaged index spoils neither its message nor the other rows of the batch; mended, it has its row."""
    setting.known("s/1.dcm", "t/1.dcm")
    setting.update(notification("t/1.dcm"))
    whole = setting.data.get(place("s")).data
    setting.data.put(place("s"), content)
    summary = setting.told("s", "t")
    assert (summary.problems, summary.indices, summary.failed_messages) == (1, 1, set())
    row, _ = setting.rows()
    assert told in row["Problem"]
    assert (row["SeriesInstanceUID"], row["Slices"]) == ("", None)
    setting.data.put(place("s"), whole)
    setting.told("s")
    assert [(row["Series"], row["Problem"]) for row in setting.rows()] == [("s", None), ("t", None)]


def test_an_index_in_the_wrong_place_has_a_row_that_says_so(setting: Catalogued) -> None:
    """An index that says that it is another series' is not catalogued as this one."""
    setting.known("s/1.dcm")
    setting.data.put(place("t"), setting.data.get(place("s")).data)
    assert setting.told("t").problems == 1
    assert [(row["Series"], row["Problem"]) for row in setting.rows()] == [
        ("t", "its index is of another root or name")
    ]


def without_image(setting: Catalogued) -> None:
    """Let a series have nothing to show."""
    setting.memory["default"].put("s/1.dcm", b"no DICOM")


def denied(setting: Catalogued) -> None:
    """Let nobody read a series."""
    setting.put("s/1.dcm")
    setting.see("s3://archive", Closed(setting.memory["default"]))


def too_many_objects(setting: Catalogued) -> None:
    """Let a series have more objects than the limit."""
    setting.put("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.limit(instances=2)


def too_many_frames(setting: Catalogued) -> None:
    """Let a series have more frames than the limit."""
    setting.put("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.limit(rows=2)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (without_image, "its one object is no readable DICOM instance"),
        (denied, "the storage denies access to each of its objects"),
        (too_many_objects, "more than 2 objects"),
        (too_many_frames, "more than 2 frames"),
    ],
)
def test_a_series_without_an_index_has_a_row_that_says_why(
    tmp_path: Path, broken: Callable[[Catalogued], None], told: str
) -> None:
    """Why a series cannot have an index is kept beside the indices; the row says it until that changes."""
    setting = Catalogued(tmp_path)
    broken(setting)
    setting.update(notification("s/1.dcm"))
    assert setting.kept("indices") == [f"{place('s')}.partial"]
    summary = setting.fold(notification(f"{place('s')}.partial", bucket="data"))
    (row,) = setting.rows()
    assert told in row["Problem"]
    assert (row["IndexPath"], summary.problems, setting.places()) == (None, 1, [])
    # Mended, it has a row like any other; removed, it has none.
    setting.see("s3://archive", setting.memory["default"])
    setting.limit(instances=9, rows=9)
    setting.put("s/1.dcm")
    setting.update(notification("s/1.dcm"))
    setting.told("s")
    (row,) = setting.rows()
    assert (row["Problem"], row["SeriesInstanceUID"]) == (None, UID)


def test_a_series_without_an_index_that_is_removed_has_no_row(setting: Catalogued) -> None:
    """The removal of what was kept in an index's place tells of the series as that of an index does."""
    without_image(setting)
    setting.update(notification("s/1.dcm"))
    kept = f"{place('s')}.partial"
    setting.fold(notification(kept, bucket="data"))
    setting.remove("s/1.dcm")
    setting.update(notification("s/1.dcm", name=GONE))
    assert setting.kept("indices") == []
    setting.fold(notification(kept, bucket="data", name=GONE))
    assert setting.rows() == []


def test_an_index_that_is_being_built_changes_nothing(setting: Catalogued) -> None:
    """What was read so far of a series makes no row, and takes none away."""
    setting.put("s/1.dcm", "s/2.dcm")
    # Each look at the time that is left costs half of it.
    left = itertools.chain([300.0, 300.0, 300.0, 300.0], itertools.repeat(0.0))
    setting.time_left_s = lambda: next(left)
    assert setting.update(notification("s/1.dcm")).unfinished == 1
    summary = setting.fold(notification(f"{place('s')}.partial", bucket="data"))
    assert (summary.unfinished, summary.failed_messages) == (1, set())
    assert not setting.data.list_objects("catalogue")


def test_what_there_is_no_time_for_is_looked_at_later(setting: Catalogued) -> None:
    """When the time is up the rest is queued again, and no message fails."""
    setting.known("s/1.dcm")
    summary = setting.fold(indices("s"), time_left_s=0.0)
    assert (summary.postponed, summary.failed_messages) == (1, set())
    assert setting.looks.sent == [(Look(index_folder("s3://archive"), "s"), 0)]
    setting.fold_again()
    assert setting.slices() == {"s": 1}


def test_a_commit_has_so_many_rows_and_few_more(setting: Catalogued) -> None:
    """Of more rows than fit the memory the rest is written later."""
    names = [f"s{number}" for number in range(40)]
    setting.put(*(f"{name}/1.dcm" for name in names))
    setting.update(*(notification(f"{name}/1.dcm") for name in names))
    folder = index_folder("s3://archive")
    folding = catalogue._Fold(setting.deployment, setting.table, {folder: "s3://archive"}, most_rows=1)
    seen, later = folding.read([Look(folder, name) for name in names], lambda: 300.0)
    assert (len(seen), [look.series for look in later]) == (32, names[32:])


@dataclass
class Broken:
    """A table that cannot be written.

    Attributes:
        inner: The table.
        error: What it raises.
    """

    inner: CatalogueTable
    error: Exception

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def merge(self, _rows: Any, _series: Any, **_how: Any) -> Change:
        """It cannot."""
        raise self.error


def test_a_table_that_others_keep_writing_is_tried_again(setting: Catalogued) -> None:
    """Where others keep writing, the indices are looked at again a little later, and no message fails."""
    setting.known("s/1.dcm")
    broken = Broken(setting.table, CatalogueBusyError("s3://data/catalogue", "others kept writing"))
    summary = setting.fold(indices("s"), table=broken)
    assert (summary.postponed, summary.failed_messages, setting.looks.sent[0][1]) == (1, set(), LATER_S)


def test_messages_of_a_table_that_cannot_be_written_fail(setting: Catalogued) -> None:
    """A table that is broken fails every message that it was to hold, so that a person hears of it."""
    setting.known("s/1.dcm")
    broken = Broken(setting.table, CatalogueError("s3://data/catalogue", "its log is damaged"))
    summary = setting.fold("no event", indices("s"), notification("elsewhere/x", bucket="data"), table=broken)
    assert summary.failed_messages == {"0", "1"}
    assert (summary.ignored, dict(summary.failures)) == (1, {"CatalogueError": 1})


def test_a_queue_that_takes_nothing_hands_messages_back(setting: Catalogued) -> None:
    """A removal that cannot be looked at again is told again."""
    setting.known("s/1.dcm")
    setting.told("s")
    setting.data.delete(place("s"))
    setting.looks.fails = True
    assert setting.told("s", name=GONE).failed_messages == {"0"}
    assert setting.slices() == {}


def test_a_root_that_has_left_loses_its_rows_with_its_indices(tmp_path: Path) -> None:
    """Indices of a root that is no longer served are not catalogued; removed by hand they take rows along."""
    roots = {"default": "s3://archive", "old": "s3://old"}
    setting = Catalogued(tmp_path, roots)
    setting.put("s/1.dcm", alias="old")
    setting.update(notification("s/1.dcm", bucket="old"))
    folder = index_folder("s3://old")
    event = notification(f"{folder}/s_index.parquet", bucket="data")
    setting.fold(event)
    assert [row["Root"] for row in setting.rows()] == ["s3://old"]
    left = Catalogued(tmp_path)
    left.data.delete(f"{folder}/s_index.parquet")
    assert left.fold(event).removed == 1
    assert left.rows() == []
    assert left.fold(event).ignored == 1


@pytest.mark.parametrize(
    "key",
    [
        "indices/s_index.parquet",
        f"{place('s')}.lock",
        place("a//b"),
        place("../s"),
        "renders/x",
        f"{index_folder('s3://archive')}/_index.parquet",
    ],
)
def test_other_objects_are_ignored(setting: Catalogued, key: str) -> None:
    """Only an index in the folder of a root tells of a series."""
    assert setting.fold(notification(key, bucket="data")).ignored == 1
    assert setting.fold(notification(place("s"), bucket="other")).ignored == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"look": {}}',
        '{"look": 1}',
        '{"look": {"folder": "indices/x", "series": "s"}}',
        json.dumps({"look": {"folder": index_folder("s3://archive"), "series": "../s"}}),
        json.dumps({"look": {"folder": index_folder("s3://archive"), "series": 1}}),
        json.dumps({"look": {"folder": index_folder("s3://archive"), "series": "s", "swept": 1}}),
        "[]",
        "{",
    ],
)
def test_what_is_no_message_fails_alone(setting: Catalogued, body: str) -> None:
    """A message that is neither S3's nor ours fails, and the others do not."""
    setting.known("s/1.dcm")
    assert setting.fold(body, indices("s")).failed_messages == {"0"}
    assert setting.slices() == {"s": 1}


class Withholding(doubles.Wrapper):
    """A storage that does not give one object."""

    def get(self, path: str) -> Fetched:
        """Anything else."""
        if path == place("s"):
            raise StorageUnavailableError("s3://data", "is busy")
        return super().get(path)


def test_the_storage_fails_only_the_index_that_it_withholds(setting: Catalogued) -> None:
    """An index that cannot be read now fails its own messages; the rows of the others are written."""
    setting.known("s/1.dcm", "t/1.dcm")
    setting.update(notification("t/1.dcm"))
    setting.see("s3://data", Withholding(setting.data))
    summary = setting.fold(indices("s"), indices("t"))
    assert (summary.failed, summary.failed_messages) == (1, {"0"})
    assert dict(summary.failures) == {"StorageUnavailableError": 1}
    assert setting.slices() == {"t": 1}


@pytest.fixture
def halves(setting: Catalogued) -> Catalogued:
    """A series in two folders, of two objects and one; their indices are there, and no row is."""
    setting.put("s/1.dcm", "s/2.dcm", "t/3.dcm")
    setting.update(notification("s/1.dcm"), notification("t/3.dcm"))
    return setting


def added(setting: Catalogued, path: str) -> None:
    """Let an object come, and its index be made anew."""
    setting.put(path)
    setting.update(notification(path))


def taken(setting: Catalogued, *paths: str) -> None:
    """Let objects go, and with the last one its series' index."""
    setting.remove(*paths)
    setting.update(*(notification(path, name=GONE) for path in paths))


@pytest.mark.parametrize("order", [("s", "t"), ("t", "s")])
def test_rows_of_a_series_in_two_folders_describe_it_whole(
    halves: Catalogued, order: tuple[str, str]
) -> None:
    """In whichever order its folders are told of, both rows say what the series is; no object is read."""
    for storage in halves.storages.values():
        storage.reset()
    first, second = (halves.told(series) for series in order)
    assert (first.joined, second.joined) == (0, 2)
    assert halves.whole() == {"s": (2, 3, 2), "t": (2, 3, 1)}
    version = halves.version()
    for series in (*order, *reversed(order)):
        assert halves.told(series).joined == 0
    assert (halves.whole(), halves.version()) == ({"s": (2, 3, 2), "t": (2, 3, 1)}, version)
    assert all((one.lists, one.gets, one.ranges) == (0, [], []) for one in halves.storages.values())


def test_two_folders_of_a_series_in_one_batch(halves: Catalogued) -> None:
    """Told of at once, they are one commit of rows and one that makes them fit; so are changes."""
    assert halves.told("s", "t").joined == 2
    assert halves.version() == 2
    added(halves, "t/4.dcm")
    assert halves.told("t").joined == 2
    assert halves.whole() == {"s": (2, 4, 2), "t": (2, 4, 2)}
    assert halves.looks.sent == []


@pytest.mark.parametrize("order", [("t", "u"), ("u", "t")])
def test_a_folder_that_goes_changes_the_rows_of_the_others(
    halves: Catalogued, order: tuple[str, str]
) -> None:
    """Of three folders one goes and one changes, told of in either order: the rows say what is there."""
    added(halves, "u/4.dcm")
    halves.told("s", "t", "u")
    assert halves.whole() == {"s": (3, 4, 2), "t": (3, 4, 1), "u": (3, 4, 1)}
    added(halves, "u/5.dcm")
    taken(halves, "t/3.dcm")
    for series in order:
        halves.told(series, name=GONE)
    assert halves.whole() == {"s": (2, 4, 2), "u": (2, 4, 2)}
    taken(halves, "u/4.dcm", "u/5.dcm")
    assert halves.told("u", name=GONE).joined == 1
    assert halves.whole() == {"s": (1, 2, 2)}


@dataclass
class Dying:
    """A table whose function dies when it is to make rows fit.

    Attributes:
        inner: The table.
    """

    inner: CatalogueTable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def amend(self, _amendments: Any) -> Change:
        """Die."""
        raise Killed


@pytest.mark.parametrize("name", ["ObjectCreated:Put", GONE])
def test_a_function_that_dies_between_its_commits_is_made_good(halves: Catalogued, name: str) -> None:
    """After the rows were written or removed, the same messages make those of the other folders fit."""
    halves.told("s")
    if name == GONE:
        halves.told("t")
        taken(halves, "t/3.dcm")
    with pytest.raises(Killed):
        halves.fold(indices("t", name=name), table=Dying(halves.table))
    assert {told[0] for told in halves.whole().values()} == ({2} if name == GONE else {1})
    halves.told("t", name=name)
    assert halves.whole() == ({"s": (1, 2, 2)} if name == GONE else {"s": (2, 3, 2), "t": (2, 3, 1)})


def test_two_functions_at_once_leave_whole_rows(halves: Catalogued) -> None:
    """Of two that each write a folder's rows, the later one makes the rows of both fit."""
    halves.fold(indices("s"), table=Overtaken(halves.table, lambda: halves.told("t")))
    assert halves.whole() == {"s": (2, 3, 2), "t": (2, 3, 1)}


def test_an_index_that_has_changed_since_its_row_waits_for_its_message(halves: Catalogued) -> None:
    """Rows are not joined with an index that no row tells of yet: its own message does that."""
    halves.told("s")
    added(halves, "s/4.dcm")
    summary = halves.told("t")
    assert (summary.joined, summary.failed_messages) == (0, set())
    assert halves.whole() == {"s": (1, 2, 2), "t": (1, 1, 1)}
    assert halves.told("s").joined == 2
    assert halves.whole() == {"s": (2, 4, 3), "t": (2, 4, 1)}


def test_an_index_of_another_folder_that_cannot_be_read_fails_the_message(halves: Catalogued) -> None:
    """The rows of the folder are written, and stay; the message comes again, and makes them fit."""
    halves.told("s")
    halves.see("s3://data", Withholding(halves.data))
    summary = halves.told("t")
    assert (summary.added, summary.joined, summary.failed_messages) == (1, 0, {"0"})
    assert dict(summary.failures) == {"StorageUnavailableError": 1}
    assert halves.whole() == {"s": (1, 2, 2), "t": (1, 1, 1)}
    halves.see("s3://data", halves.data)
    assert halves.told("t").joined == 2
    assert halves.whole() == {"s": (2, 3, 2), "t": (2, 3, 1)}


def test_series_that_there_is_no_time_to_join_are_looked_at_again(halves: Catalogued) -> None:
    """When the time is up after the commit, the look is sent again, and no message fails."""
    halves.told("s")
    left = itertools.chain([300.0, 300.0], itertools.repeat(10.0))
    body = json.dumps(indices("t"))
    summary = fold({"0": body}, halves.deployment, halves.table, lambda: next(left), halves.looks)
    assert (summary.added, summary.joined, summary.postponed, summary.failed_messages) == (1, 0, 1, set())
    assert halves.looks.sent == [(Look(index_folder("s3://archive"), "t"), 0)]
    assert halves.fold_again().joined == 2
    assert halves.whole() == {"s": (2, 3, 2), "t": (2, 3, 1)}


def test_rows_of_older_rules_follow_their_index(setting: Catalogued) -> None:
    """A row by older rules is made anew as soon as its index is told of, though that has not changed."""
    setting.known("s/1.dcm")
    setting.told("s")
    (row,) = setting.rows()
    older = [{**row, "Rules": RULES - 1, "Slices": 99}]
    setting.table.merge(older, {("s3://archive", "s"): row["CataloguedAt"]}, anew=True)
    assert setting.slices() == {"s": 99}
    assert setting.told("s").changed == 1
    assert setting.slices() == {"s": 1}


@pytest.mark.parametrize("seed", range(3))
def test_messages_in_any_order_leave_true_rows(setting: Catalogued, seed: int) -> None:
    """Whatever came, changed and went, and however late and often it is told, rows say what is there."""
    rng = Random(seed)
    waiting: list[str] = []
    there: dict[str, set[str]] = {"s": set(), "t": set(), "u": set()}
    for number in range(1, 17):
        series = rng.choice(list(there))
        path = f"{series}/{number}.dcm"
        if there[series] and rng.random() < 0.4:
            path = rng.choice(sorted(there[series]))
            taken(setting, path)
            there[series].remove(path)
        else:
            setting.memory["default"].put(path, make_dicom.encode(make_dicom.image(number)))
            setting.update(notification(path))
            there[series].add(path)
        waiting.append(series)
        if rng.random() < 0.4:
            told = [waiting.pop(rng.randrange(len(waiting))) for _ in range(rng.randint(1, len(waiting)))]
            table = Dying(setting.table) if rng.random() < 0.3 else setting.table
            try:
                setting.fold(indices(*told), table=table)
            except Killed:
                waiting += told
    rng.shuffle(waiting)
    for series in waiting:
        setting.told(series)
    setting.fold_again()
    left = {series: paths for series, paths in there.items() if paths}
    slices = sum(map(len, left.values()))
    assert setting.whole() == {
        series: (len(left), slices, len(paths)) for series, paths in sorted(left.items())
    }


def catalogued(setting: Catalogued, series: str) -> tuple[dict[str, Any], list[str]]:
    """The outcome of a batch's item that only catalogues, and the indices that it writes."""
    counting = doubles.CountingStorage(setting.data)
    setting.see("s3://data", counting)
    item = {"root": "default", "series": series, "catalogue": True}
    try:
        outcome = run_item(BATCH, item, batch_host(setting.deployment))
    finally:
        setting.see("s3://data", setting.data)
    return outcome, [path for path in counting.puts if path.endswith("_index.parquet")]


def test_a_batch_catalogues_what_was_there(setting: Catalogued) -> None:
    """An item for the catalogue writes the index, and no mosaic; also one that is there, so that S3 tells."""
    setting.put("s/1.dcm", "s/2.dcm")
    for source in ("built", "cache"):
        outcome, written = catalogued(setting, "s")
        assert (outcome["status"], outcome["index_source"], outcome["slices"]) == ("ok", source, 2)
        assert "picture" not in outcome
        assert written == [place("s")]
    assert setting.told("s").added == 1


@pytest.mark.parametrize("broken", [without_image, denied, too_many_objects])
def test_a_batch_lets_the_catalogue_know_of_what_has_no_index(
    setting: Catalogued, broken: Callable[[Catalogued], None]
) -> None:
    """A series that cannot have an index is handed to whoever keeps the reason."""
    broken(setting)
    outcome, written = catalogued(setting, "s")
    assert (outcome["status"], written) == ("no-preview", [])
    assert setting.queue.sent == [(Recheck("default", "s"), 0)]
    setting.update_again()
    setting.fold(notification(f"{place('s')}.partial", bucket="data"))
    assert [bool(row["Problem"]) for row in setting.rows()] == [True]


def test_rows_bear_a_time_before_their_index_was_read(setting: Catalogued) -> None:
    """A row cannot claim to be newer than what was read for it."""
    setting.known("s/1.dcm")
    before = dt.datetime.now(dt.UTC)
    setting.told("s")
    (row,) = setting.rows()
    assert before <= row["CataloguedAt"] <= dt.datetime.now(dt.UTC)
