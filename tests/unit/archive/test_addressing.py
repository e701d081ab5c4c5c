import pytest

import make_dicom as make
from dicom_series_preview.archive.addressing import SeriesOpener
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.uids import SeriesPlaces, places_folder
from dicom_series_preview.base.errors import (
    AccessDeniedError,
    RequestError,
    SeriesNotFoundError,
    StorageUnavailableError,
)
from dicom_series_preview.sources.storage.memory import MemoryStorage
from doubles import Wrapper
from indexing import Setting

ONE, TWO, OTHER = "1.2.3", "1.2.4", "1.2.30"


def held(folder, uid=ONE, numbers=(1, 2)):
    """The objects of a series in a folder."""
    return {
        f"{folder}/{uid}-{i}": make.encode(make.image(i, SeriesInstanceUID=uid, SOPInstanceUID=f"{uid}.{i}"))
        for i in numbers
    }


class Archive(Setting):
    """A setting that knows places."""

    def __init__(self, objects, places=(), **options):
        super().__init__(objects, **options)
        self.places = SeriesPlaces(self.cache, places_folder(self.storage.identity))
        for uid, folder in places:
            self.places.add(uid, folder)

    def find(self, name, uid="", **options):
        """Open a series by any of its names, counting from nothing."""
        self.storage.reset()
        self.cache.reset()
        return SeriesOpener(self.opener, self.places).open(SeriesName.parse(name), uid, **options)


def files(opened):
    """The objects of an index."""
    return sorted(set(opened.index.table["FileName"].to_pylist()))


def test_a_folder_comes_first():
    """A folder with the name is the series, whatever the places say, and they are not looked at."""
    archive = Archive(held(ONE, TWO) | held("x"), [(ONE, "x")])
    opened = archive.find(ONE)
    assert (opened.name, opened.uid, files(opened)) == (ONE, "", ["1.2.4-1", "1.2.4-2"])
    assert (archive.storage.lists, archive.cache.lists) == (1, 0)


def test_a_uid_is_found_where_it_lies():
    """A SeriesInstanceUID is found in its folder, for one listing of the root and one of places more."""
    archive = Archive(held("study/x") | held("study/x", TWO), [(ONE, "study/x")])
    archive.find(ONE)
    by_folder = archive.find("study/x")
    assert (archive.storage.lists, archive.cache.lists, len(by_folder.index.table)) == (1, 0, 4)
    opened = archive.find(ONE)
    assert (archive.storage.lists, archive.storage.ranges, archive.cache.lists) == (2, [], 1)
    assert (opened.name, opened.uid, opened.source, files(opened)) == (
        *("study/x", ONE, "cache"),
        ["1.2.3-1", "1.2.3-2"],
    )


def test_a_uid_in_several_folders():
    """A series that is split over folders is shown whole, each of its folders listed once."""
    archive = Archive(held("a") | held("b/c", numbers=(3,)) | held("d", TWO), [(ONE, "a"), (ONE, "b/c")])
    opened = archive.find(ONE)
    assert (opened.name, opened.title, opened.folders) == ("", ONE, ("a", "b/c"))
    assert files(opened) == ["a/1.2.3-1", "a/1.2.3-2", "b/c/1.2.3-3"]
    assert archive.storage.lists == 3


def test_folders_in_one_another():
    """A folder inside another of the series is not read again: the outer one's index has all below it."""
    archive = Archive(held("a") | held("a/b", numbers=(3,)), [(ONE, "a"), (ONE, "a/b")])
    opened = archive.find(ONE)
    assert (opened.name, files(opened)) == ("a", ["1.2.3-1", "1.2.3-2", "b/1.2.3-3"])
    assert archive.storage.lists == 2


def test_a_folder_erased_meanwhile():
    """Of a series whose one folder is gone, what is left is shown; without any, it is not found."""
    archive = Archive(held("a") | held("b", numbers=(3,)), [(ONE, "a"), (ONE, "b"), (ONE, "never")])
    assert (archive.find(ONE).folders, archive.find(ONE).gone) == (("a", "b"), ("never",))
    archive.memory.delete("b/1.2.3-3")
    left = archive.find(ONE)
    assert (left.name, left.uid, left.gone) == ("a", "", ("b", "never"))
    for name in list(held("a")):
        archive.memory.delete(name)
    with pytest.raises(SeriesNotFoundError) as error:
        archive.find(ONE)
    assert str(error.value) == (
        "1.2.3 in memory://objects: no such series, or nothing in it, and the folders that held this "
        "SeriesInstanceUID hold it no more; dicom-series-preview update finds where it is now"
    )


def test_a_folder_that_holds_it_no_more():
    """A place whose folder now holds other series, or nothing to show, is passed over with a warning."""
    archive = Archive(held("a", TWO) | {"b/notes": b"by hand"} | held("c"), [(ONE, n) for n in "abc"])
    opened = archive.find(ONE)
    assert (opened.name, len(files(opened)), opened.gone) == ("c", 2, ("a", "b"))
    (warning,) = opened.warnings
    assert warning == (
        "2 of the 3 folders known to hold this series, a, b, hold it no more: slices may be missing; "
        "dicom-series-preview update looks where they are now"
    )
    assert archive.find("c").warnings == ()


def test_many_folders_that_are_gone():
    """The warning of folders that are gone names three, and counts the rest."""
    archive = Archive(held("c"), [(ONE, "c"), *((ONE, f"gone {i}") for i in range(9))])
    (warning,) = archive.find(ONE).warnings
    assert warning.startswith(
        "9 of the 10 folders known to hold this series, gone 0, gone 1, gone 2, and 6 more,"
    )


def test_what_is_withheld_is_an_error():
    """A series is never shown in part because the storage withholds a folder."""

    class Closed(Wrapper):
        def list_objects(self, folder, most=None):
            if folder == "b":
                raise AccessDeniedError("memory://objects/b")
            return super().list_objects(folder, most)

    archive = Archive(held("a") | held("b", numbers=(3,)), [(ONE, "a"), (ONE, "b")], wrap=Closed)
    with pytest.raises(AccessDeniedError):
        archive.find(ONE)


@pytest.mark.parametrize("name", [ONE, "9", "9*", "1.2.5*"])
def test_an_unknown_uid(name):
    """A UID in no folder of its name and with no place is one line that promises no more than is true."""
    archive = Archive(held("a"), [(TWO, "a")])
    with pytest.raises(SeriesNotFoundError) as error:
        archive.find(name)
    assert str(error.value).startswith(f"{name} in memory://objects: no s")
    assert str(error.value).endswith(
        ", and no folder is known to hold this SeriesInstanceUID; series of this root are catalogued, but "
        "not this one: another dicom-series-preview update, with the same root, finds it if it has been "
        "added since, or was left out"
    )
    assert archive.find("a").name == "a"


@pytest.mark.parametrize("name", [ONE, f"{ONE}*"])
def test_a_uid_below_a_root_that_was_never_updated(name):
    """Where no place is known at all below the root, the error says that an update has yet to look."""
    archive = Archive(held("a"))
    SeriesPlaces(archive.cache, places_folder("memory://other")).add(ONE, "a")
    with pytest.raises(SeriesNotFoundError) as error:
        archive.find(name)
    assert error.value.at_command_line.endswith(
        ", and no folder is known to hold this SeriesInstanceUID; no series of this root is catalogued yet: "
        "dicom-series-preview update, with the same --root, finds it if it is there"
    )


def test_a_limit_that_leaves_a_series_out():
    """A folder of which a limit left objects out is not said to hold a series no more."""
    archive = Archive(held("a", "1.1") | held("a") | held("b"), [(ONE, "a"), (ONE, "b")])
    assert archive.find(ONE, limit=1).gone == ()
    assert archive.find(ONE).folders == ("a", "b")
    mixed = Archive(held("a", "1.1") | held("a"), [(ONE, "a")])
    with pytest.raises(SeriesNotFoundError, match="no more objects than limit were read"):
        mixed.find(ONE, limit=1)


@pytest.mark.parametrize("name", ["a", "CT-1.2", "1.2.3x", "1.2/3", "a*", f"{'1' * 65}"])
def test_what_is_no_uid_is_not_looked_up(name):
    """A name that is no UID costs no request for places, and its error is as it was."""
    archive = Archive(held("x"))
    with pytest.raises(SeriesNotFoundError) as error:
        archive.find(name)
    assert "SeriesInstanceUID" not in str(error.value)
    assert archive.cache.lists == 0


def test_the_first_digits_of_a_uid():
    """A prefix is of folders first, else of UIDs: the first in order, and the number of matches is told."""
    places = [(TWO, "b"), (ONE, "a"), (OTHER, "c")]
    archive = Archive(held("a") | held("b", TWO) | held("c", OTHER), places)
    opened = archive.find("1.2*")
    assert (opened.name, opened.matches, opened.asked_uid) == ("a", 3, ONE)
    assert (archive.find("1.2.30*").name, archive.find("1.2.30*").matches) == ("c", 1)
    folder = Archive(held("1.2.9") | held("a"), places)
    opened = folder.find("1.2*")
    assert (opened.name, opened.matches, opened.asked_uid) == ("1.2.9", 1, "")


def test_roots_have_their_own_places():
    """A UID's place below one root is none below another, though both keep their places together."""
    archive = Archive(held("a"))
    other = SeriesPlaces(archive.cache, places_folder("memory://other"))
    other.add(ONE, "a")
    with pytest.raises(SeriesNotFoundError):
        archive.find(ONE)


class Broken(Wrapper):
    """Its listings fail."""

    def list_objects(self, folder, most=None):
        """Fail."""
        raise StorageUnavailableError(f"{self.url}/{folder} {most}", "does not answer")

    def list_folders(self, prefix):
        """Fail."""
        raise StorageUnavailableError(f"{self.url}/{prefix}", "does not answer")


def test_without_places():
    """Where places are not kept, or cannot be read and need not be, no UID is found; else it is an error."""
    setting = Setting(held("a"))
    broken = Broken(MemoryStorage(url="memory://broken"))
    for places in (None, SeriesPlaces(broken, "uids/x", optional=True)):
        for name in (ONE, f"{ONE}*"):
            with pytest.raises(SeriesNotFoundError, match="no folder is known"):
                SeriesOpener(setting.opener, places).open(SeriesName.parse(name))
    with pytest.raises(StorageUnavailableError):
        SeriesOpener(setting.opener, SeriesPlaces(broken, "uids/x")).open(SeriesName(ONE))


def test_one_series_of_a_folder_is_chosen():
    """A UID besides the folder chooses within it; one that is not there names those that are."""
    archive = Archive(held("x") | held("x", TWO, (5,)), [(ONE, "x")])
    assert (archive.find("x", TWO).uid, files(archive.find("x", TWO))) == (TWO, ["1.2.4-5"])
    assert archive.find(ONE, ONE).uid == ONE
    with pytest.raises(RequestError) as error:
        archive.find("x", OTHER)
    assert str(error.value) == (
        "series_uid: 1.2.30 is none of the series here: 1.2.3 (2 slices), 1.2.4 (1 slice)"
    )


def test_an_error_lists_few_series_and_no_other_text():
    """The error lists 20 series at most, and no header's text that is no UID."""
    objects = {k: v for i in range(25) for k, v in held("x", f"1.{i}", (1,)).items()}
    objects["x/n"] = make.encode(make.image(7, SeriesInstanceUID="1.77")).replace(b"1.77", b"JOHN")
    with pytest.raises(RequestError) as error:
        Archive(objects).find("x", OTHER)
    text = str(error.value)
    assert (text.count("slice)"), text.rpartition(", ")[2]) == (20, "and 6 more")
    assert "JOHN" not in text


def test_limit_and_refresh_reach_the_folders():
    """A limit holds for each folder, and a refresh reads every folder's headers again."""
    archive = Archive(held("a") | held("b", numbers=(3, 4)), [(ONE, "a"), (ONE, "b")])
    assert files(archive.find(ONE, limit=1)) == ["a/1.2.3-1", "b/1.2.3-3"]
    assert archive.find(ONE).headers_read == 2
    assert archive.find(ONE).headers_read == 0
    assert archive.find(ONE, refresh=True).headers_read == 4
