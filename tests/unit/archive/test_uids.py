import sys
from contextlib import closing
from pathlib import Path, PureWindowsPath

import pytest

from cached_files import DAY, NOW, aged, drawn, paths, picture
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.pruning import LEDGER, Stays, prune
from dicom_series_preview.archive.uids import (
    MOST_FOLDERS,
    SeriesPlaces,
    is_uid,
    place_name,
    places_folder,
)
from dicom_series_preview.base.errors import LimitError, SeriesNameError
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.local import LocalStorage
from dicom_series_preview.sources.storage.memory import MemoryStorage
from dicom_series_preview.sources.storage.open import open_storage
from dicom_series_preview.sources.storage.paths import file_below
from doubles import CountingStorage
from servers import Moto

UID = "1.2.840.113619.2.5"
FOLDER = places_folder("s3://bucket")
LONG = "/".join(["PATIENT 4711", "ü" * 60, *("9" * 64 for _ in range(10))])
NAMES = [
    *("CT", "ct", "Ct", "a", "a/b", "a/b/c", ".hidden", "x.", "con", "NUL.1", "~", "=2f", "=", "%2F", "a b"),
    *(
        "Schädel [red]",
        "Scha\u0308del [red]",
        "日本",
        "a\\b",
        "a:b",
        'a*?"<>|',
        "\u2028",
        "+&#;",
        LONG,
        LONG.upper(),
    ),
]


def test_whether_there_are_any_places() -> None:
    """Whether a root has any place is told by one listing that reads no more than it needs."""
    storage = CountingStorage(MemoryStorage())
    kept = places(storage)
    assert not kept.has_any()
    places(storage, "s3://other").add(UID, "a")
    assert not kept.has_any()
    kept.add(UID, "a")
    storage.reset()
    assert kept.has_any()
    assert (storage.lists, len(storage.gets)) == (1, 0)


def places(storage=None, root="s3://bucket"):
    """The places of a root, in memory unless a storage is given."""
    return SeriesPlaces(storage or MemoryStorage(), places_folder(root))


@pytest.mark.parametrize("kind", ["memory", "disk", "cache"])
def test_a_folder_is_found_by_its_uid(kind: str, tmp_path: Path) -> None:
    """Every folder's name comes back, whatever a disk or a key makes of such a name."""
    stores = {
        "memory": MemoryStorage(),
        "disk": LocalStorage(tmp_path, 4),
        "cache": CacheFolder(tmp_path, 4, 10**9),
    }
    kept = places(stores[kind])
    for name in NAMES:
        kept.add(UID, name)
    assert kept.folders(UID) == sorted(NAMES)
    assert kept.folders("1.2") == kept.folders(f"{UID}.1") == []


def test_a_folder_is_found_by_its_uid_on_s3(moto: Moto) -> None:
    """On S3, too, every folder's name comes back, by one LIST where no name is very long."""
    with closing(moto.client("s3")) as client:
        client.create_bucket(Bucket="places-of-series")
    storage = open_storage("s3://places-of-series", Settings(Path("/nowhere")), moto.environment)
    kept = places(storage)
    for name in NAMES:
        kept.add(UID, name)
    assert kept.folders(UID) == sorted(NAMES)
    for name in (LONG, LONG.upper()):
        kept.remove(UID, name)
    before = storage.usage
    assert kept.folders(UID) == sorted(set(NAMES) - {LONG, LONG.upper()})
    assert (storage.usage.lists - before.lists, storage.usage.gets - before.gets) == (1, 0)
    assert kept.matching("1.2") == [UID]


def test_names_are_told_apart_where_case_is_not() -> None:
    """No two folders have one name on a disk that ignores case, none is a device, hidden or too long."""
    names = [place_name(name) for name in NAMES]
    assert len({name.casefold() for name in names}) == len(NAMES)
    assert all(name.isascii() and len(name) <= 200 and name[0] != "." for name in names)
    assert all(file_below(PureWindowsPath("c:/x"), name).name == name for name in names)


def test_a_key_is_never_too_long() -> None:
    """The key of any folder's place leaves room for a long prefix within S3's 1,024 bytes."""
    assert len(f"{FOLDER}/{'1' * 64}/{place_name(900 * 'X')}") < 400


def test_a_place_that_is_gone_is_not_found() -> None:
    """A removed place is found no more, and removing it again is no error."""
    kept = places()
    kept.add(UID, "a")
    kept.add(UID, "b")
    kept.add(UID, "b")
    kept.remove(UID, "a")
    kept.remove(UID, "a")
    assert kept.folders(UID) == ["b"]


def test_roots_do_not_share_places() -> None:
    """A folder of one root is no place below another."""
    storage = MemoryStorage()
    places(storage).add(UID, "a")
    assert places(storage, "s3://other").folders(UID) == []


@pytest.mark.parametrize(
    "text", ["", ".", "..", "1/2", "1.2\0", "1.2 ", "1.2a", "1" * 65, "CT", "1.2*", "1.\u0662"]
)
def test_what_is_no_uid_has_no_place(text: str) -> None:
    """What has other than 1 to 64 digits and dots is looked up nowhere, and never written."""
    storage = CountingStorage(MemoryStorage())
    kept = places(storage)
    assert not is_uid(text)
    assert kept.folders(text) == kept.matching(text) == []
    assert storage.lists == 0
    with pytest.raises(SeriesNameError) as error:
        kept.add(text, "a")
    assert "this one has no place" in str(error.value)


@pytest.mark.parametrize("series", ["", "/", "a//b", "../x", "a/."])
def test_a_place_is_a_folder_below_the_root(series: str) -> None:
    """The root itself, and what leads out of it, is no place."""
    with pytest.raises(SeriesNameError):
        places().add(UID, series)


def test_what_others_put_there_is_no_place(tmp_path: Path) -> None:
    """Objects that were not written as places are passed over."""
    storage = LocalStorage(tmp_path, 4)
    kept = places(storage)
    kept.add(UID, "a")
    for name in ("notes.txt~", "B", "=zz", "=ff", "=2e=2e", "=2e=2e=2fx", "~", f"~{'0' * 64}", "x/y"):
        storage.put(f"{FOLDER}/{UID}/{name}", b"mine")
    assert kept.folders(UID) == ["a"]


def test_too_many_folders() -> None:
    """A UID of more folders than can be listed each is refused with the limit."""
    kept = places()
    for number in range(MOST_FOLDERS):
        kept.add(UID, f"{number}")
    assert len(kept.folders(UID)) == MOST_FOLDERS
    kept.add(UID, "x")
    with pytest.raises(LimitError, match="more than 256 folders"):
        kept.folders(UID)


def test_the_first_digits_of_a_uid() -> None:
    """The UIDs that begin with some digits are found, in order."""
    kept = places()
    for uid in ("1.2.3", "1.2.30", "1.3", "2.1.2.3"):
        kept.add(uid, "a")
    assert kept.matching("1.2.3") == ["1.2.3", "1.2.30"]
    assert kept.matching("9") == []


def test_no_cache_has_no_places(tmp_path: Path) -> None:
    """Where there is no cache folder, there is no place."""
    kept = places(LocalStorage(tmp_path / "none", 4))
    assert kept.folders(UID) == kept.matching("1") == []
    assert not (tmp_path / "none").exists()


def test_places_take_no_room(tmp_path: Path) -> None:
    """Places neither count as room nor are pruned, by size or by age; clearing the cache removes them."""
    cache = CacheFolder(tmp_path, 4, 8192)
    kept = places(cache)
    for number in range(5):
        kept.add(UID, f"PATIENT/{number}")
    (tmp_path / LEDGER).touch()
    cache.put(picture(0), drawn())
    kept.add(UID, LONG)
    assert (tmp_path / LEDGER).stat().st_size == 1
    for path in tmp_path.rglob("*"):
        if path.is_file():
            aged(path, NOW - 9 * DAY)
    pruned = prune(tmp_path, Stays(0, 0, since_ns=NOW), NOW)
    assert (pruned.removed, pruned.left, pruned.room) == (1, 0, 0)
    assert len(kept.folders(UID)) == len(paths(tmp_path)) == 6
    (tmp_path / FOLDER / UID / "mine").write_bytes(b"a note")
    assert prune(tmp_path, Stays(0, 0, places=False), NOW).removed == 6
    assert [path.name for path in (tmp_path / "uids").rglob("*") if path.is_file()] == ["mine"]


@pytest.mark.skipif(sys.platform == "win32", reason="names are bytes on POSIX")
def test_a_name_with_half_a_character() -> None:
    """A folder's name with half a surrogate pair is escaped, not an error."""
    assert place_name("a\ud800") == "a=ed=a0=80"
