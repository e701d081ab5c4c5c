from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import make_dicom
from dicom_series_preview.archive.cache_files import CacheFile, cache_files
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.pruning import Stays, _remove, prune
from dicom_series_preview.sources.storage.local import LocalStorage
from indexing import index_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR, DAY = 3600 * 10**9, 86400 * 10**9
# Later than any file of these tests is written.
NOW = 4_000_000_000 * 10**9


def picture(number: int) -> str:
    """The path of a picture."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()[:40]
    return f"renders/{digest[:32]}/{digest}.webp"


def drawn(size: int = 16) -> bytes:
    """What begins as a picture does."""
    return b"RIFF\x08\x00\x00\x00WEBPVP8 ".ljust(size, b"\0")


def index() -> bytes:
    """An index."""
    return index_of({"1.dcm": make_dicom.encode(make_dicom.image(1))}).to_parquet()


def ticking(start: int = NOW) -> Callable[[], int]:
    """A clock that is a second later each time it is looked at."""
    seconds = count()
    return lambda: start + next(seconds) * 10**9


def paths(folder: Path) -> set[str]:
    """The files of a cache that are ours."""
    return {file.path for file in cache_files(folder)}


def room(folder: Path) -> int:
    """What they take."""
    return sum(file.room for file in cache_files(folder))


def aged(path: Path, used_ns: int) -> None:
    """Let a file have been written and used at a time."""
    os.utime(path, ns=(used_ns, used_ns))


def filled(folder: Path, pictures: int) -> None:
    """Write pictures of a block each, as an earlier version did."""
    for number in range(pictures):
        (folder / picture(number)).parent.mkdir(parents=True, exist_ok=True)
        (folder / picture(number)).write_bytes(drawn())


NOTHING_STAYS = Stays(0, 0)


# --- the room


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


# --- whose files


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Other files and folders below the cache folder are neither counted nor removed."""
    others = {
        "notes.txt": b"mine",
        "indices/notes_index.parquet": b"PAR1 of mine PAR1",
        "indices/mine_index.parquet.lock": b"[1]",
        "indices/other_index.parquet.lock": b"no JSON",
        "indices/ct/1.dcm": b"mine",
        "renders/holiday.webp": b"mine",
        f"renders/2024/{'a' * 39}g.webp": b"mine",
        f"renders/summer/{'a' * 40}.webp": b"mine",
        f"{'a' * 40}.webp": b"mine",
        f"archive/{picture(1)}": b"mine",
    }
    for path, data in others.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
        aged(tmp_path / path, DAY)
    (tmp_path / "indices" / "empty").mkdir()
    ours = {"indices/S_index.parquet": index(), picture(0): drawn()}
    for path, data in ours.items():
        LocalStorage(tmp_path, 4).put(path, data)
    assert paths(tmp_path) == set(ours)
    assert prune(tmp_path, NOTHING_STAYS, NOW).removed == 2
    assert not paths(tmp_path)
    assert {path: (tmp_path / path).read_bytes() for path in others} == others
    assert (tmp_path / "indices" / "empty").is_dir()


def test_what_only_seems_ours_stays(tmp_path: Path) -> None:
    """A name like ours is not enough, nor is a word of ours in a file: neither pruning nor room take it."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"dicom_series_preview_notes": ["mine"]}), sink)
    marked = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"dicom_series_preview": "mine"}), marked)
    digest = "0123456789abcdef" * 4
    others = {
        f"renders/2024/{digest[:32]}.jpg": b"my text",
        f"renders/2024/{digest[:40]}.webp": drawn(),
        f"renders/20241101/{digest}.webp": b"my text",
        f"renders/{digest[:32]}/{digest[:40]}.webp": b"my text, longer than a start",
        f"renders/{digest[:32]}/{digest[:40]}.jpg": drawn(),
        f"renders/{digest[:32]}/{digest[:32]}/{digest[:40]}.webp": drawn(),
        f"indices/{digest[:32]}/my_index.parquet": b"my text",
        "indices/user_index.parquet": sink.getvalue().to_pybytes(),
        "indices/marked_index.parquet": marked.getvalue().to_pybytes(),
        "indices/x_index.parquet.lock": b'{"until": 1}',
        "indices/y_index.parquet.lock": b'{"until": "my own lock"}',
        "indices/z_index.parquet.lock": b'{"until": 1, "holder": "me"}',
    }
    for path, data in others.items():
        LocalStorage(tmp_path, 4).put(path, data)
        aged(tmp_path / path, DAY)
    assert paths(tmp_path) == set()
    assert prune(tmp_path, NOTHING_STAYS, NOW).removed == 0
    CacheFolder(tmp_path, 4, 1).put(picture(0), drawn())
    assert {path: (tmp_path / path).read_bytes() for path in others} == others


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_not_followed(tmp_path: Path) -> None:
    """What lies behind a link is neither counted nor removed, and neither is the link."""
    cache, other = tmp_path / "cache", tmp_path / "other"
    LocalStorage(other, 4).put(picture(0), drawn())
    LocalStorage(other, 4).put("indices/S_index.parquet", index())
    (cache / "indices").mkdir(parents=True)
    (cache / "indices" / "more").symlink_to(other / "indices")
    (cache / "indices" / "T_index.parquet").symlink_to(other / "indices" / "S_index.parquet")
    (cache / "renders").symlink_to(other / "renders")
    assert paths(cache) == set()
    prune(cache, NOTHING_STAYS, NOW)
    assert len(paths(other)) == 2
    assert sorted(path.name for path in (cache / "indices").iterdir()) == ["T_index.parquet", "more"]


def test_an_index_is_told_by_its_footer(tmp_path: Path) -> None:
    """An index is ours by its footer, wherever it lies."""
    for path, data in {
        "indices/S_index.parquet": index(),
        "indices/a/b_index.parquet": index(),
        f"indices/{'0' * 32}/S_index.parquet": index(),
        f"indices/{'0' * 32}/T_index.parquet": b"damaged",
        "indices/T_index.parquet": b"damaged",
        "indices/U_index.parquet": b"",
    }.items():
        LocalStorage(tmp_path, 4).put(path, data)
    ours = {"indices/S_index.parquet", "indices/a/b_index.parquet", f"indices/{'0' * 32}/S_index.parquet"}
    assert paths(tmp_path) == ours


def test_to_look_at_a_file_is_no_use_of_it(tmp_path: Path) -> None:
    """Listing a cache leaves when its files were used as it was."""
    LocalStorage(tmp_path, 4).put("indices/S_index.parquet", index())
    aged(tmp_path / "indices" / "S_index.parquet", DAY)
    assert [file.used_ns for _ in range(2) for file in cache_files(tmp_path)] == [DAY, DAY]


# --- what is left behind


def test_leftovers_of_the_dead_go(tmp_path: Path) -> None:
    """Claims and half-written files go once whoever made them must have died, and stay before."""
    claim = json.dumps({"until": 1, "holder": "0" * 32}).encode()
    ages = {
        "indices/old_index.parquet.lock": (claim, 2 * HOUR),
        "indices/new_index.parquet.lock": (claim, HOUR // 2),
        f"indices/.dicom-series-preview-{'0' * 32}.part": (b"half", 2 * DAY),
        f"indices/.dicom-series-preview-{'1' * 32}.part": (b"half", DAY // 2),
        f"renders/{'a' * 32}/.dicom-series-preview-{'2' * 32}.part": (b"half", 2 * DAY),
    }
    for path, (data, age) in ages.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
        aged(tmp_path / path, NOW - age)
    assert prune(tmp_path, Stays(10**9, 10**9), NOW).removed == 3
    stay = {"indices/new_index.parquet.lock", f"indices/.dicom-series-preview-{'1' * 32}.part"}
    assert paths(tmp_path) == stay
    assert not (tmp_path / "renders").exists()
    prune(tmp_path, NOTHING_STAYS, NOW)
    assert paths(tmp_path) == stay


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    """By age, what was used since then stays, however little room there is taken."""
    for number in range(5):
        LocalStorage(tmp_path, 4).put(picture(number), drawn(100))
        aged(tmp_path / picture(number), NOW - number * DAY)
    pruned = prune(tmp_path, Stays(10**9, 10**9, since_ns=NOW - 2 * DAY), NOW)
    assert (pruned.removed, pruned.freed, pruned.left, pruned.room) == (2, 2 * 4096, 3, 3 * 4096)
    assert paths(tmp_path) == {picture(number) for number in range(3)}


def test_what_is_used_meanwhile_stays(tmp_path: Path) -> None:
    """A file that someone has used or written since it was looked at is not removed."""
    cache = CacheFolder(tmp_path, 4, 10**6, ticking())
    cache.put(picture(0), drawn())
    (seen,) = cache_files(tmp_path)
    cache.get(picture(0))
    assert not _remove(tmp_path, seen)
    assert (tmp_path / picture(0)).is_file()
    assert _remove(tmp_path, CacheFile(picture(1), "picture", 1, 1))  # gone meanwhile


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
