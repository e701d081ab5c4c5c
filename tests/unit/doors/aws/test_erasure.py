import json
import random
import re
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import doubles
import make_dicom
from dicom_series_preview.archive.names import index_folder, index_path
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import StorageUnavailableError
from dicom_series_preview.doors.aws.batch_host import batch_host
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.doors.aws.updates import SWEEP_S
from dicom_series_preview.products.batches.item import run_item
from dicom_series_preview.products.batches.places import mosaics_folder, volumes_folder
from dicom_series_preview.web.http.messages import HttpRequest
from indexing import of_version
from updating import SECRET, Closed, Killed, Pictures, Sent, Setting, bridged, notification, place


def test_the_names_of_pictures_tell_nothing() -> None:
    """A picture lies below a digest: neither its series nor its root is in its name."""
    pictures = Pictures.of(Pictures(Setting()).setting.kept())
    assert len(pictures) == 4
    batch = "00000000-0000-0000-0000-000000000000"
    patterns = (r"renders/[0-9a-f]{32}/[0-9a-f]{40}\.webp", rf"batches/mosaics/[0-9a-f]{{32}}/{batch}\.webp")
    assert [sum(bool(re.fullmatch(pattern, path)) for path in pictures) for pattern in patterns] == [2, 2]


@pytest.mark.parametrize("event", [notification, bridged])
def test_a_series_that_is_removed_takes_all_of_its_pictures_along(
    pictures: Pictures, setting: Setting, event: Any
) -> None:
    """Index, what was read, claim, pictures and mosaics go within the event; other series keep theirs."""
    setting.remove("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.data.put(place("s") + ".partial", b"what was read")
    summary = setting.update(event("s/3.dcm"))
    assert (summary.removed, summary.erased) == (1, 2)
    left = [path for path in setting.kept() if "outcomes" not in path]
    assert Pictures.of(left) == pictures.of_t
    assert [path for path in left if path.startswith("indices/")] == [place("t")]


def placed(setting: Setting, *folders: str) -> None:
    """Let folders be known to hold the series of the test's objects."""
    for folder in folders:
        SeriesPlaces(setting.data, places_folder("s3://archive")).add(make_dicom.SERIES_UID, folder)


@pytest.mark.parametrize("gone", ["s", "t"])
def test_volumes_go_with_each_folder_that_they_are_of(gone: str) -> None:
    """A series' volumes go with its objects, also those of a series that lies in several folders."""
    setting = Setting()
    setting.put("s/1.dcm", "t/2.dcm", "other/1.dcm")
    alone, none = volumes_folder("s3://archive", [gone], "")
    shared, marks = volumes_folder("s3://archive", ["s", "t"], make_dicom.SERIES_UID)
    other, _ = volumes_folder("s3://archive", ["other"], "")
    assert (none, len(marks)) == ([], 2)
    for folder in (alone, shared, other):
        setting.data.put(f"{folder}/a.zarr/zarr.json", b"{}")
        setting.data.put(f"{folder}/a.zarr/receipt.json", b"{}")
    for mark in marks:
        setting.data.put(mark, b"")
    setting.update(notification(f"{gone}/1.dcm"), notification(f"{gone}/2.dcm"))
    assert len([path for path in setting.kept() if path.startswith("volumes/")]) == 8
    setting.remove("s/1.dcm" if gone == "s" else "t/2.dcm")
    setting.update(notification("s/1.dcm" if gone == "s" else "t/2.dcm"))
    left = [path for path in setting.kept() if path.startswith("volumes/")]
    (mark,) = [one for one in marks if not one.startswith(f"{alone}/")]
    assert left == sorted([mark, f"{other}/a.zarr/receipt.json", f"{other}/a.zarr/zarr.json"])


@pytest.mark.parametrize("gone", ["s", "t", "u"])
def test_a_picture_of_several_folders_goes_with_each(gone: str) -> None:
    """A batch's mosaic of several folders goes with any of them; no other picture of it is kept."""
    setting = Setting()
    setting.put("s/1.dcm", "t/2.dcm", "u/3.dcm", "v/4.dcm")
    placed(setting, "s", "t", "u")
    picture = setting.batch(make_dicom.SERIES_UID)["picture"]
    assert setting.deployment.api().picture("mosaic", HttpRequest(make_dicom.SERIES_UID)).status == 200
    other = setting.batch("v")["picture"]
    assert Pictures.of(setting.kept()) == sorted([picture, other])
    name = f"{gone}/{'stu'.index(gone) + 1}.dcm"
    setting.remove(name)
    setting.update(notification(name, name="ObjectRemoved:Delete"))
    assert Pictures.of(setting.kept()) == [other]
    setting.update_at_once()
    assert Pictures.of(setting.kept()) == [other]


def test_series_of_one_folder_have_a_mosaic_each() -> None:
    """Mosaics of several series of one folder do not replace each other, and all go with the folder."""
    setting = Setting()
    setting.put("s/1.dcm", "s/2.dcm")
    other = make_dicom.encode(make_dicom.image(3, SeriesInstanceUID="1.9", SOPInstanceUID="1.9.3"))
    setting.memory["default"].put("s/3.dcm", other)
    places = SeriesPlaces(setting.data, places_folder("s3://archive"))
    for uid in (make_dicom.SERIES_UID, "1.9"):
        places.add(uid, "s")
    names = (make_dicom.SERIES_UID, "1.9", "s")
    paths = {setting.batch(name)["picture"] for name in names}
    request = HttpRequest("1.9", {"position": ["0"]})
    assert setting.deployment.api().picture("image", request).headers["Preview-Render"] == "made"
    assert setting.deployment.api().picture("image", request).headers["Preview-Render"] == "kept"
    assert len(paths) == len(Pictures.of(setting.kept())) - 1 == 3
    setting.remove("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.update(notification("s/3.dcm", name="ObjectRemoved:Delete"))
    assert Pictures.of(setting.kept()) == []


@pytest.mark.parametrize(("depth", "asked"), [(2, "doe"), (1, "doe/s"), (3, "doe"), (3, "doe/s")])
def test_a_folder_at_another_depth_is_erased_as_well(depth: int, asked: str) -> None:
    """What was made of a folder above or below a series goes when an object in it goes."""
    setting = Setting(depth=depth)
    setting.put("doe/s/1.dcm", "doe/s/2.dcm")
    setting.batch(asked)
    assert setting.kept("indices")
    assert setting.kept("batches/mosaics")
    setting.remove("doe/s/1.dcm", "doe/s/2.dcm")
    setting.update(notification("doe/s/1.dcm", "doe/s/2.dcm", name="ObjectRemoved:Delete"))
    setting.update_at_once()
    assert setting.kept("indices") == setting.kept("batches/mosaics") == []


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize(
    ("depth", "asked"), [(2, "doe"), (1, "doe/s"), (2, "doe/s/a"), (3, "doe"), (3, "doe/s")]
)
def test_an_object_that_is_another_one_erases_folders_at_other_depths(
    depth: int,
    asked: str,
    reads: bool,  # noqa: FBT001
) -> None:
    """What was made of a folder above or below a series goes when one of its objects is overwritten.

    A reader of the series may have seen it before its event came.
    """
    setting = Setting(depth=depth)
    setting.known("doe/s/a/1.dcm", "doe/s/a/2.dcm")
    series = "/".join(["doe", "s", "a"][:depth])
    setting.batch(asked)
    assert setting.kept("batches/mosaics")
    setting.put("doe/s/a/1.dcm")
    if reads:
        setting.deployment.api().index(HttpRequest(series))
    setting.update(notification("doe/s/a/1.dcm"))
    setting.update_at_once()
    assert (setting.kept("indices"), setting.kept("batches/mosaics")) == ([place(series)], [])
    assert {series, asked} <= {recheck.series for recheck, _ in setting.queue.sent if recheck.swept}
    # What a request that was under way keeps after that goes with the sweep.
    late = f"{mosaics_folder('s3://archive', asked)}/late.webp"
    setting.data.put(late, b"a picture")
    setting.update_again()
    setting.update_at_once()
    assert (setting.kept("batches/mosaics"), setting.queue.sent) == ([], [])


@pytest.mark.parametrize("overwritten", [False, True])
@pytest.mark.parametrize(
    ("depth", "asked"), [(2, "doe"), (1, "doe/s"), (1, "doe/s/a"), (2, "doe/s/a"), (3, "doe"), (3, "doe/s")]
)
def test_the_first_event_of_a_series_compares_what_was_made_around_it(
    depth: int,
    asked: str,
    overwritten: bool,  # noqa: FBT001
) -> None:
    """What was made of a folder above or below it goes if an object is another one, and stays if not."""
    setting = Setting(depth=depth)
    setting.put("doe/s/a/1.dcm", "doe/s/a/2.dcm")
    setting.batch(asked)
    made = [*setting.kept("indices"), *setting.kept("batches/mosaics")]
    assert len(made) == 2
    if overwritten:
        setting.known("doe/s/a/1.dcm")
    setting.update_at_once()
    assert [path for path in made if path in setting.kept()] == ([] if overwritten else made)
    swept = [(Recheck("default", asked, removed=True, swept=True), SWEEP_S)]
    assert setting.queue.sent == (swept if overwritten else [])


def test_a_folder_that_is_read_anew_keeps_its_index() -> None:
    """What a reader of a folder above a series says erases its pictures, not its new index."""
    setting = Setting(depth=2)
    setting.put("doe/s/1.dcm")
    setting.deployment.api().index(HttpRequest("doe"))
    setting.put("doe/s/1.dcm")
    request = HttpRequest("doe", {"position": ["0"]})
    assert setting.deployment.api().picture("image", request).headers["Preview-Index"] == "updated"
    assert setting.queue.sent == [(Recheck("default", "doe", removed=True), 0)]
    for _ in range(2):
        assert setting.update_again().erased <= 1
    assert setting.kept() == [place("doe")]


def test_what_requests_under_way_have_kept_goes_a_quarter_of_an_hour_later(
    pictures: Pictures, setting: Setting
) -> None:
    """A picture that was being made while its series went is swept once nobody can be making it any more."""
    late = {path: setting.data.get(path).data for path in Pictures.of(setting.kept())}
    setting.remove("s/1.dcm", "s/2.dcm", "s/3.dcm")
    setting.update(notification("s/1.dcm"))
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    for path, data in late.items():
        setting.data.put(path, data)
    summary = setting.update_again()
    assert (summary.removed, summary.erased, setting.queue.sent) == (1, 2, [])
    assert Pictures.of(setting.kept()) == pictures.of_t


def test_what_a_sweep_finds_to_have_gone_is_swept_in_its_turn(pictures: Pictures, setting: Setting) -> None:
    """Nothing tells later of an object that is another one by then: its event finds the index right."""
    setting.remove("s/1.dcm")
    setting.update(notification("s/1.dcm", name="ObjectRemoved:Delete"))
    pictures.render("s")
    late = Pictures.of(setting.kept())[-1]
    setting.put("s/2.dcm")
    assert setting.update_again().updated == 1
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    setting.data.put(late, b"kept by a request that had begun before")
    assert (setting.update_again().unchanged, setting.queue.sent) == (1, [])
    assert Pictures.of(setting.kept()) == pictures.of_t


@pytest.mark.parametrize("change", ["removed", "changed"])
@pytest.mark.parametrize("overdue", [False, True])
@pytest.mark.parametrize("asked", ["s/sub", "s/sub/deeper"])
def test_what_a_request_under_way_keeps_of_a_folder_below_a_series_goes(
    setting: Setting,
    asked: str,
    overdue: bool,  # noqa: FBT001
    change: str,
) -> None:
    """It has read the folder's headers when the event comes; whether or not its claim still holds."""
    keys = [f"{asked}/1.dcm", f"{asked}/2.dcm"]
    setting.put("s/0.dcm", *keys)
    setting.update(notification("s/0.dcm"))

    def meanwhile(path: str, _data: bytes) -> None:
        if path.endswith(".parquet"):
            setting.see("s3://data", setting.data)
            if overdue:
                setting.data.put(f"{path}.lock", json.dumps({"until": time.time() - 1}).encode())
            (setting.remove if change == "removed" else setting.put)(*keys)
            name = "ObjectRemoved:Delete" if change == "removed" else "ObjectCreated:Put"
            assert setting.update(notification(*keys, name=name)).updated == 1
            setting.update_at_once()

    setting.see("s3://data", doubles.Before(setting.data, put=meanwhile))
    answer = setting.deployment.api().picture("image", HttpRequest(asked, {"position": ["0"]}))
    assert (answer.status, len(setting.kept("renders"))) == (200, 1)
    assert place(asked) in setting.kept()
    while setting.queue.sent:
        setting.update_again()
    assert setting.kept() == [place("s")]


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_an_object_that_goes_takes_the_pictures_of_its_series_along(
    pictures: Pictures, setting: Setting, change: str
) -> None:
    """They may show it: when one is removed, or is another one than it was, whatever the event says."""
    if change == "removed":
        setting.remove("s/2.dcm")
    else:
        setting.put("s/2.dcm")
    summary = setting.update(notification("s/2.dcm"))
    assert (summary.updated, summary.erased) == (1, 2)
    assert Pictures.of(setting.kept()) == pictures.of_t


@pytest.mark.usefixtures("pictures")
def test_a_removal_that_a_reader_saw_first_is_still_told(setting: Setting) -> None:
    """By the reader: the event finds that the index does not know the object any more, and erases nothing."""
    setting.remove("s/2.dcm")
    setting.deployment.api().index(HttpRequest("s"))
    told, setting.queue.sent = setting.queue.sent, []
    summary = setting.update(bridged("s/2.dcm", kind="Object Deleted"))
    assert (summary.unchanged, summary.erased) == (1, 0)
    setting.queue.sent = told
    summary = setting.update_again()
    assert (summary.unchanged, summary.erased) == (1, 2)


@pytest.mark.parametrize(
    "event",
    [
        {**bridged("doe/s/1.dcm", kind="Object Deleted"), "version": "old"},
        notification("doe/s/1.dcm", name="ObjectRemoved:Delete"),
        notification("doe/s/1.dcm", name="LifecycleExpiration:Delete"),
    ],
)
@pytest.mark.parametrize("asked", ["doe", "doe/s", "doe/s/sub"])
def test_an_old_version_that_goes_takes_no_picture_along(asked: str, event: dict[str, Any]) -> None:
    """Where what is listed is what the index knows, nothing has gone: not of it, nor above or below it."""
    setting = Setting(depth=2)
    setting.known("doe/s/1.dcm", "doe/s/2.dcm", "doe/s/sub/3.dcm")
    setting.batch(asked)
    kept = setting.kept()
    summary = setting.update(event, event)
    assert (summary.unchanged, summary.erased) == (1, 0)
    setting.update_at_once()
    assert setting.queue.sent == [(Recheck("default", "doe/s", around=True, swept=True), SWEEP_S)]
    setting.update_again()
    setting.update_at_once()
    assert (setting.kept(), setting.queue.sent) == (kept, [])


@pytest.mark.parametrize("asked", ["doe", "doe/s", "doe/s/sub"])
def test_a_request_that_saw_what_came_and_went_keeps_nothing_of_it(asked: str) -> None:
    """The index never knew the object when its events came; a look a quarter of an hour later finds it."""
    setting = Setting(depth=2)
    setting.known("doe/s/1.dcm", "doe/s/sub/2.dcm")
    setting.deployment.api().index(HttpRequest(asked))
    setting.put("doe/s/sub/3.dcm")

    def meanwhile(path: str, _data: bytes) -> None:
        if path.endswith(".parquet"):
            setting.see("s3://data", setting.data)
            # The request's claim has run out: else the event waits for it.
            setting.data.put(f"{path}.lock", json.dumps({"until": time.time() - 1}).encode())
            setting.remove("doe/s/sub/3.dcm")
            names = "ObjectCreated:Put", "ObjectRemoved:Delete"
            events = [notification("doe/s/sub/3.dcm", name=name) for name in names]
            assert setting.update(*events).unchanged == 1
            setting.update_at_once()

    setting.see("s3://data", doubles.Before(setting.data, put=meanwhile))
    assert setting.deployment.api().index(HttpRequest(asked)).status == 200
    assert len(setting.index(asked).table) == len(setting.memory["default"].list_objects(asked)) + 1
    while setting.queue.sent:
        setting.update_again()
    assert setting.indices() == {"indices/doe/s": ["1.dcm", "sub/2.dcm"]}


def test_an_object_above_where_series_lie_takes_what_shows_it_along() -> None:
    """It is of no series; the folder that it lies in is compared with what is there."""
    setting = Setting(depth=2)
    setting.put("doe/1.dcm", "doe/2.dcm")
    setting.batch("doe")
    for gone in (False, True):
        if gone:
            setting.remove("doe/1.dcm")
        summary = setting.update(notification("doe/1.dcm", name="ObjectRemoved:Delete"))
        assert (summary.ignored, summary.erased) == (0, gone)
        assert setting.queue.sent.pop() == (
            Recheck("default", "doe", removed=gone, around=not gone, swept=True),
            SWEEP_S,
        )
    assert setting.kept("indices") == setting.kept("batches/mosaics") == []


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.usefixtures("pictures")
def test_an_object_that_comes_leaves_pictures_alone(setting: Setting, reads: bool) -> None:  # noqa: FBT001
    """They show nothing that is gone, whether its event or a reader tells of it first."""
    setting.put("s/4.dcm")
    if reads:
        assert setting.deployment.api().index(HttpRequest("s")).headers["Preview-Index"] == "updated"
    summary = setting.update(notification("s/4.dcm"))
    assert (summary.updated + summary.unchanged, summary.erased, setting.queue.sent) == (1, 0, [])


def asked_of_data(setting: Setting) -> list[str]:
    """What the data bucket is asked for from now on."""
    asked: list[str] = []
    named = {"list_objects": "list", "get": "get", "put": "put"}
    calls = {name: lambda *_given, kind=kind: asked.append(kind) for name, kind in named.items()}
    setting.see("s3://data", doubles.Before(setting.data, **calls))
    return asked


@pytest.mark.parametrize(("depth", "above"), [(1, 0), (2, 1), (3, 2)])
def test_a_first_upload_costs_one_listing_more(depth: int, above: int) -> None:
    """What is kept below is listed, and three keys of each folder above are asked for, once a series."""
    setting = Setting(depth=depth)
    series = "/".join(["doe", "s", "a"][:depth])
    setting.put(*(f"{series}/{number}.dcm" for number in range(20)))
    asked = asked_of_data(setting)
    for number in (0, 10):
        setting.update(*(notification(f"{series}/{number + i}.dcm") for i in range(10)))
    first, again = ["put", "get", "get", *["get"] * 3 * above, "list", "put"], ["put", "get", "get"]
    assert (asked, setting.queue.sent) == ([*first, *again], [])


@pytest.mark.parametrize("change", ["removed", "changed", "old version"])
def test_what_goes_costs_a_few_listings(setting: Setting, change: str) -> None:
    """Of what is kept below, pictures, mosaics and volumes, and by the sweep; no more for an old version."""
    setting.known("s/1.dcm", "s/2.dcm")
    if change == "removed":
        setting.remove("s/2.dcm")
    elif change == "changed":
        setting.put("s/2.dcm")
    asked = asked_of_data(setting)
    setting.update(notification("s/2.dcm", name=f"Object{'Created' if change == 'changed' else 'Removed'}:"))
    first, _ = Counter(asked), asked.clear()
    assert setting.storages["default"].lists == 1
    setting.update_again()
    assert setting.storages["default"].lists == 1
    if change == "old version":
        assert first == Counter(asked) == Counter(put=1, get=2, list=1)
    else:
        assert (first, Counter(asked)) == (Counter(put=2, get=2, list=4), Counter(put=1, get=2, list=4))
    assert setting.queue.sent == []


@pytest.mark.parametrize(("again", "requests"), [(False, 4), (True, 3)])
def test_an_ordinary_event_costs_no_more(again: bool, requests: int) -> None:  # noqa: FBT001
    """The data bucket is asked for the claim, what is kept, what was read in part, and a new index.

    Where nothing has gone, nothing is looked for that shows it, at the series or above and below it.
    """
    setting = Setting(depth=2)
    setting.put("doe/s/1.dcm")
    setting.deployment.api().index(HttpRequest("doe"))
    setting.update(notification("doe/s/1.dcm"))
    if not again:
        setting.put("doe/s/2.dcm")
    asked = asked_of_data(setting)
    summary = setting.update(notification("doe/s/1.dcm"), notification("doe/s/2.dcm"))
    assert (summary.updated, summary.unchanged) == ((0, 1) if again else (1, 0))
    assert asked == ["put", "get", "get", "put"][:requests]
    assert setting.storages["default"].lists == 1


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_a_reader_that_sees_first_what_has_gone_says_so(
    pictures: Pictures, setting: Setting, change: str
) -> None:
    """Its index forgets what is gone, so the pictures go by its message, whichever of both comes first."""
    if change == "removed":
        setting.remove("s/2.dcm")
    else:
        setting.put("s/2.dcm")
    setting.deployment.api().index(HttpRequest("s"))
    assert setting.queue.sent == [(Recheck("default", "s", removed=True), 0)]
    assert setting.update(notification("s/2.dcm")).unchanged == 1
    assert len(Pictures.of(setting.kept())) == 4
    summary = setting.update_again()
    assert (summary.unchanged, summary.erased) == (1, 2)
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    assert Pictures.of(setting.kept()) == pictures.of_t


def test_a_message_that_comes_before_its_reader_is_done(pictures: Pictures, setting: Setting) -> None:
    """It finds the reader's claim and comes again; what was kept meanwhile goes then, and is swept later."""
    setting.put("s/2.dcm")

    class Quick(Sent):
        def send(self, rechecks: Any) -> list[Recheck]:
            (recheck,) = [recheck for recheck, _ in rechecks]
            summary = setting.update(recheck.body())
            assert (summary.busy, summary.erased) == (1, 0)
            return []

    setting.deployment = replace(setting.deployment, queue=Quick())
    pictures.render("s")
    ((recheck, _),) = setting.queue.sent
    assert recheck == Recheck("default", "s", removed=True)
    late = Pictures.of(setting.kept())
    summary = setting.update_again()
    assert (summary.unchanged, summary.erased) == (1, len(late) - len(pictures.of_t))
    setting.data.put(late[0], b"kept by a request that had begun before")
    assert setting.update_again().erased == 1
    assert (Pictures.of(setting.kept()), setting.queue.sent) == (pictures.of_t, [])


def test_a_reader_that_dies_leaves_what_has_gone_to_be_found() -> None:
    """Between its message and its index: the event, or the message, finds in the index what is gone."""
    for told in (True, False):
        pictures = Pictures(Setting())
        setting = pictures.setting
        setting.put("s/2.dcm")
        dies = doubles.refusing(Killed(), lambda path: path.endswith(".parquet"))
        setting.see("s3://data", doubles.Before(setting.data, put=dies))
        with pytest.raises(Killed):
            setting.deployment.api().index(HttpRequest("s"))
        setting.see("s3://data", setting.data)
        summary = setting.update_again() if told else setting.update(notification("s/2.dcm"))
        assert (summary.updated, summary.erased) == (1, 2)
        assert Pictures.of(setting.kept()) == pictures.of_t


@pytest.mark.usefixtures("pictures")
def test_a_reader_whose_message_is_not_taken_forgets_nothing(setting: Setting) -> None:
    """Its request is told to come again, and the index still knows what is gone."""
    setting.put("s/2.dcm")
    setting.queue.fails = True
    before = setting.data.get(place("s")).data
    answer = setting.deployment.api().index(HttpRequest("s"))
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    assert setting.data.get(place("s")).data == before
    assert not [path for path in setting.kept() if path.endswith(".lock")]


def test_an_index_of_fewer_objects_takes_none_of_their_pictures_along(
    pictures: Pictures, setting: Setting
) -> None:
    """A limited index that takes the place of a whole one forgets objects, whose pictures go before that."""
    setting.put("s/4.dcm")
    assert setting.deployment.api().index(HttpRequest("s", {"limit": ["1"]})).status == 200
    setting.known("s/3.dcm")
    setting.update_again()
    assert Pictures.of(setting.kept()) == pictures.of_t


@pytest.mark.parametrize("change", ["removed", "changed"])
@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("damage", [b"", b"no index", b"older"])
@pytest.mark.parametrize("alias", ["default", "other"])
def test_an_index_that_cannot_be_read_may_have_known_what_is_gone(
    alias: str,
    damage: bytes,
    reads: bool,  # noqa: FBT001
    change: str,
) -> None:
    """Where a kept index is damaged, or an earlier version wrote it, the pictures of its series go."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.put("s/1.dcm", "s/2.dcm", alias=alias)
    asked = {"root": [alias], "position": ["0"]}
    assert setting.deployment.api().picture("image", HttpRequest("s", asked)).status == 200
    item = {"root": alias, "series": "s", "mosaic": {}}
    run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
    pictures = Pictures.of(setting.kept())
    assert len(pictures) == 2
    path = index_path("s", index_folder(setting.deployment.roots[alias]))
    setting.data.put(path, of_version(setting.data.get(path).data, 1) if damage == b"older" else damage)
    if change == "removed":
        setting.memory[alias].delete("s/2.dcm")
    else:
        setting.put("s/2.dcm", alias=alias)
    if reads:
        assert setting.deployment.api().index(HttpRequest("s", {"root": [alias]})).status == 200
    else:
        assert setting.update(Recheck(alias, "s").body()).erased == 2
    setting.update_again()
    assert not set(pictures) & set(setting.kept())
    assert [(recheck.swept, delay) for recheck, delay in setting.queue.sent] == [(True, SWEEP_S)] * reads
    assert path in setting.kept()


@pytest.mark.parametrize("reads", [False, True])
def test_what_was_read_and_cannot_be_read_again_goes_with_its_series(setting: Setting, reads: bool) -> None:  # noqa: FBT001
    """What is kept of a series that has gone goes, whether or not it can be read."""
    setting.data.put(f"{place('s')}.partial", b"what an earlier version has read")
    setting.data.put(f"{mosaics_folder('s3://archive', 's')}/1.webp", b"a picture")
    if reads:
        assert setting.deployment.api().index(HttpRequest("s")).status == 404
    else:
        setting.update(notification("s/1.dcm"))
    setting.update_again()
    assert setting.kept() == []


@pytest.mark.parametrize("refusal", ["LimitError", "AccessDeniedError"])
def test_a_series_that_is_refused_keeps_nothing_of_what_has_gone(
    pictures: Pictures, setting: Setting, refusal: str
) -> None:
    """Where no index can take the place of one that knows what is gone, it goes, and is swept later."""
    setting.remove("s/2.dcm")
    if refusal == "LimitError":
        settings = setting.deployment.settings
        limits = replace(settings.limits, instances=3)
        setting.deployment = replace(setting.deployment, settings=replace(settings, limits=limits))
        setting.put("s/4.dcm", "s/5.dcm")
    else:
        setting.remove("s/1.dcm", "s/3.dcm")
        setting.put("s/4.dcm")
        setting.see("s3://archive", Closed(setting.memory["default"]))
    summary = setting.update(notification("s/2.dcm", name="ObjectRemoved:Delete"))
    assert (summary.refused, summary.erased, dict(summary.failures)) == (1, 2, {refusal: 1})
    assert summary.response() == {"batchItemFailures": []}
    assert setting.indices() == {"indices/t": ["1.dcm"]}
    assert Pictures.of(setting.kept()) == pictures.of_t
    assert setting.queue.sent == [(Recheck("default", "s", removed=True, swept=True), SWEEP_S)]
    assert (setting.update_again().refused, setting.queue.sent) == (1, [])


@pytest.mark.parametrize("left", [[], ["s/notes.txt"], ["s/2.dcm"]])
def test_what_has_gone_below_another_root_goes_when_it_is_asked_for(left: list[str]) -> None:
    """No event tells of roots elsewhere: who asks for a series that has lost objects has them erased."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.put("s/1.dcm", "s/2.dcm", "t/1.dcm", alias="other")
    for series in ("s", "t"):
        item = {"root": "other", "series": series, "mosaic": {}}
        run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(setting.deployment))
        request = HttpRequest(series, {"root": ["other"], "position": ["0"]})
        assert setting.deployment.api().picture("image", request).status == 200
        if series == "s":
            of_s = set(setting.kept("indices") + Pictures.of(setting.kept()))
    for path in {"s/1.dcm", "s/2.dcm"} - set(left):
        setting.memory["other"].delete(path)
    if left == ["s/notes.txt"]:
        setting.memory["other"].put("s/notes.txt", b"no DICOM")
    status = (
        setting.deployment.api()
        .picture("image", HttpRequest("s", {"root": ["other"], "position": ["0"]}))
        .status
    )
    assert status == {0: 404, 1: 422 if left == ["s/notes.txt"] else 200}[len(left)]
    setting.update_again()
    kept = {path for path in setting.kept() if "outcomes" not in path and not path.endswith(".partial")}
    assert kept & of_s == (
        {path for path in of_s if path.startswith("indices")} if left == ["s/2.dcm"] else set()
    )
    assert len(kept - of_s) == 3
    assert [(recheck.series, recheck.swept) for recheck, _ in setting.queue.sent] == [("s", True)]


def test_a_series_that_was_never_there_is_told_to_nobody(setting: Setting) -> None:
    """A name that nothing is kept of takes no message."""
    assert setting.deployment.api().index(HttpRequest("no-such-series")).status == 404
    assert setting.queue.sent == []


def test_what_was_read_of_a_series_that_has_gone_goes_as_well() -> None:
    """Where there was no image, and so no index, what is kept of the objects goes when they are asked for."""
    setting = Setting({"default": "s3://archive", "other": "s3://other"})
    setting.memory["other"].put("s/notes", b"no DICOM")
    setting.update(Recheck("other", "s").body())
    assert [path.rpartition(".")[2] for path in setting.kept()] == ["partial"]
    setting.memory["other"].delete("s/notes")
    assert setting.deployment.api().index(HttpRequest("s", {"root": ["other"]})).status == 404
    assert setting.update_again().removed == 1
    assert setting.kept() == []


@pytest.mark.usefixtures("pictures")
def test_pictures_go_before_the_index_forgets(setting: Setting) -> None:
    """Where they cannot be removed, the index still knows what is gone, so that the next try removes them."""
    setting.remove("s/2.dcm")
    throttled = StorageUnavailableError("s3://data", "throttled")
    stuck = doubles.refusing(throttled, lambda path: path.endswith(".webp"))
    setting.see("s3://data", doubles.Before(setting.data, delete=stuck))
    assert setting.update(notification("s/2.dcm")).failed == 1
    setting.see("s3://data", setting.data)
    summary = setting.update(notification("s/2.dcm"))
    assert (summary.updated, summary.erased) == (1, 2)


class Disorder:
    """Uploads, removals, requests, batches, events and rechecks in any order.

    Attributes:
        shown: Of each picture, its root's alias and the objects that it was made of.
    """

    FOLDERS = ("p/s", "p", "p/s/x")
    KEYS = ("p/s/1.dcm", "p/s/2.dcm", "p/s/x/3.dcm")

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.setting = Setting({"default": "s3://archive", "other": "s3://other"}, depth=2)
        self.pending: list[dict[str, Any]] = []
        self.written = 0
        self.shown: dict[str, tuple[str, set[tuple[str, str]]]] = {}

    def objects(self, alias: str, folder: str = "") -> set[tuple[str, str]]:
        """What there is now."""
        return {(info.path, info.version) for info in self.setting.memory[alias].list_objects(folder)}

    def change(self) -> None:
        """An object comes, is overwritten or goes; of one root it is told, some time."""
        alias, key = self.chance.choice(["default", "other"]), self.chance.choice(self.KEYS)
        name = self.chance.choice(["ObjectRemoved:Delete", "ObjectCreated:Put", "ObjectCreated:Put"])
        if name == "ObjectRemoved:Delete":
            self.setting.memory[alias].delete(key)
        else:
            # No two of them are the same image, of which one would not be shown.
            self.written += 1
            data = make_dicom.encode(make_dicom.image(self.written, PatientName=SECRET))
            self.setting.memory[alias].put(key, data)
        if alias == "default":
            self.pending.append(notification(key, name=name))

    def ask(self) -> None:
        """Somebody asks for a picture of a folder."""
        alias, folder = self.chance.choice(["default", "other"]), self.chance.choice(self.FOLDERS)
        before = set(self.setting.kept("renders"))
        self.setting.deployment.api().picture("mosaic", HttpRequest(folder, {"root": [alias]}))
        for path in set(self.setting.kept("renders")) - before:
            self.shown[path] = alias, self.objects(alias, folder)

    def batch(self) -> None:
        """A batch makes a mosaic of a folder, in the place of the one that it made before."""
        alias, folder = self.chance.choice(["default", "other"]), self.chance.choice(self.FOLDERS)
        item = {"root": alias, "series": folder, "mosaic": {}}
        outcome = run_item("389b1f00-5a3e-4c9d-8f21-6d0c5e7a9b42", item, batch_host(self.setting.deployment))
        if "picture" in outcome:
            self.shown[outcome["picture"]] = alias, self.objects(alias, folder)

    def hear(self) -> None:
        """Events come, and come again."""
        self.chance.shuffle(self.pending)
        self.setting.update(*self.pending[:2])
        del self.pending[: self.chance.randrange(2)]

    def end(self) -> None:
        """All events come, and somebody asks for what no event tells of, or none for sure.

        Of folders above and below a series none does where an object is another one before its first event.
        """
        self.setting.update(*self.pending)
        asked = [("default", "p"), ("default", "p/s/x"), *(("other", folder) for folder in self.FOLDERS)]
        for alias, folder in asked:
            self.setting.deployment.api().index(HttpRequest(folder, {"root": [alias]}))
        while self.setting.queue.sent:
            self.setting.update_again()


@pytest.mark.parametrize("seed", range(8))
def test_no_picture_outlives_what_it_shows_whoever_comes_first(seed: int) -> None:
    """In whatever order things happen, no picture is left of an object that has gone or is another one."""
    disorder = Disorder(seed)
    for _ in range(60):
        happens = disorder.change, disorder.ask, disorder.batch, disorder.hear, disorder.setting.update_again
        disorder.chance.choice(happens)()
    disorder.end()
    left = [disorder.shown[path] for path in Pictures.of(disorder.setting.kept())]
    assert [(alias, made) for alias, made in left if not made <= disorder.objects(alias)] == []
