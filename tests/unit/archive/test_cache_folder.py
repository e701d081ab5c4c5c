import subprocess
import sys
from itertools import count
from pathlib import Path

from cached_files import HOUR, NOW, aged, drawn, paths, picture, ticking
from dicom_series_preview.archive.cache_files import cache_files
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.sources.storage.local import LocalStorage


def room(folder: Path) -> int:
    """What they take."""
    return sum(file.room for file in cache_files(folder))


def filled(folder: Path, pictures: int) -> None:
    """Write pictures of a block each, as an earlier version did."""
    for number in range(pictures):
        (folder / picture(number)).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture(number)).write_bytes(drawn())


def test_a_cache_does_not_outgrow_its_room(tmp_path: Path) -> None:
    """However much is written, no more stays than there is room for, and what was written last is there."""
    cache = CacheFolder(tmp_path, 4, 100_000)
    for number in range(60):
        cache.put(picture(number), drawn(6000))
        assert room(tmp_path) <= 100_000
        assert picture(number) in paths(tmp_path)
    assert len(paths(tmp_path)) >= 10


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    """A file that was read stays longer than one that was written after it."""
    cache = CacheFolder(tmp_path, 4, 40_000, ticking())
    for number in range(9):
        cache.put(picture(number), drawn(4000))
        aged(tmp_path / picture(number), number * HOUR)
    for number in (0, 3):
        cache.get(picture(number))
    cache.put(picture(9), drawn(4000))
    assert paths(tmp_path) == {picture(number) for number in (0, 3, 4, 5, 6, 7, 8, 9)}


def test_a_use_does_not_change_a_files_version(tmp_path: Path) -> None:
    """Who has read a file may write over it, however often others have read it meanwhile."""
    cache = CacheFolder(tmp_path, 4, 10**6, ticking())
    version = cache.put(picture(0), b"one")
    assert {cache.get(picture(0)).version for _ in range(3)} == {version}
    cache.put(picture(0), b"two", if_version=version)


def test_files_are_not_looked_through_at_every_write(tmp_path: Path) -> None:
    """Room is made once for as much as a tenth of it, not at each write; only then is the clock looked at."""
    looks = count()
    cache = CacheFolder(tmp_path, 4, 4096 * 300, lambda: NOW + next(looks))
    filled(tmp_path, 250)
    for number in range(250, 400):
        cache.put(picture(number), drawn())
    # At the first write, and at the 301st file, the 332nd, the 363rd and the 394th.
    assert next(looks) == 1 + 4
    assert len(paths(tmp_path)) <= 300


def test_a_small_cache_has_no_ledger(tmp_path: Path) -> None:
    """Where a few files are kept there are no others, and they keep to the room nevertheless."""
    cache = CacheFolder(tmp_path, 4, 4096 * 5)
    for number in range(20):
        cache.put(picture(number), drawn())
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) <= 5


def test_a_file_that_is_larger_than_the_room_is_kept_alone(tmp_path: Path) -> None:
    """What was written just now stays, for who asked for it is about to read it."""
    cache = CacheFolder(tmp_path, 4, 10_000)
    for number in range(3):
        cache.put(picture(number), drawn(50_000))
        assert paths(tmp_path) == {picture(number)}


def test_a_cache_of_an_earlier_version_is_brought_down_to_its_room(tmp_path: Path) -> None:
    """What was kept before there was a limit counts."""
    filled(tmp_path, 200)
    CacheFolder(tmp_path, 4, 150 * 4096).put(picture(200), drawn())
    assert len(paths(tmp_path)) == 135


def test_files_that_others_removed_leave_room(tmp_path: Path) -> None:
    """What is gone does not count: its room is found when the cache seems full."""
    filled(tmp_path, 198)
    cache = CacheFolder(tmp_path, 4, 200 * 4096)
    cache.put(picture(198), drawn())
    for number in range(150):
        (tmp_path / picture(number)).unlink()
    for number in range(199, 219):
        cache.put(picture(number), drawn())
    assert paths(tmp_path) == {picture(number) for number in range(150, 219)}


WRITER = """
import sys
from contextlib import suppress
from pathlib import Path
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.base.errors import ObjectNotFoundError
cache = CacheFolder(Path(sys.argv[1]), 4, 160 * 4096)
for number in range(40):
    digest = f"{int(sys.argv[2]) * 1000 + number:040x}"
    cache.put(f"renders/{digest[-32:]}/{digest}.webp", b"RIFF....WEBPVP8 ".ljust(4000))
    with suppress(ObjectNotFoundError):  # the others may have filled the room meanwhile
        cache.get(f"renders/{digest[-32:]}/{digest}.webp")
"""


def test_several_processes_share_the_room(tmp_path: Path) -> None:
    """Processes that write, read and make room at once do not disturb each other, and keep to the room."""
    filled(tmp_path, 150)
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(writer)]) for writer in range(4)
    ]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    CacheFolder(tmp_path, 4, 160 * 4096).put(picture(0), drawn())
    # Each of them may have been about to write the file that makes it too much.
    assert 140 < len(paths(tmp_path)) <= 160 + 4


def test_a_cache_whose_room_cannot_be_looked_after_is_used(tmp_path: Path) -> None:
    """Where no ledger can be written, files are kept and read nevertheless."""
    (tmp_path / ".dicom-series-preview-cache").mkdir()
    cache = CacheFolder(tmp_path, 4, 10_000)
    for number in range(5):
        cache.put(picture(number), drawn())
        assert cache.get(picture(number)).data == drawn()


def test_a_folder_that_is_removed_while_empty_is_made_again(tmp_path: Path) -> None:
    """Who writes into a folder that another process removes at that moment, for it was empty, succeeds."""
    folder, removed = tmp_path / "a", []

    def remove_once(event: str, arguments: tuple[object, ...]) -> None:
        # Audit hooks stay as long as the process: this one does nothing once it has.
        if event == "open" and not removed and str(arguments[0]).startswith(f"{folder}/.dicom"):
            removed.append(folder)
            folder.rmdir()

    sys.addaudithook(remove_once)
    LocalStorage(tmp_path, 4).put("a/b", b"x")
    assert removed
    assert (folder / "b").read_bytes() == b"x"


def test_attributes_are_kept_with_a_file(tmp_path: Path) -> None:
    """What is kept with an object comes back with it; its bytes are as they were, whatever they end with."""
    folder = CacheFolder(tmp_path, 2, 10**6)
    given = {"Content-Type": "image/webp", "preview-warnings": "2"}
    for data in (b"", b"abc", b"abc" + b"\0preview"):
        folder.put("renders/x", data, attributes=given)
        fetched = folder.get("renders/x")
        assert (fetched.data, fetched.attributes) == (data, {"preview-warnings": "2"})
    folder.put("renders/x", b"abc", attributes={"Content-Type": "image/webp"})
    assert (tmp_path / "renders" / "x").read_bytes() == b"abc"
    for data in (b"\0preview", b"\xff\xff\xff\xff\0preview", b"not JSON\0\0\0\x08\0preview"):
        folder.put("renders/x", data)
        assert (folder.get("renders/x").data, folder.get("renders/x").attributes) == (data, {})
