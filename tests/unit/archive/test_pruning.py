import json
from pathlib import Path

from cached_files import DAY, HOUR, NOW, aged, drawn, paths, picture, ticking
from dicom_series_preview.archive.cache_files import CacheFile, cache_files
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.pruning import Stays, _remove, prune
from dicom_series_preview.sources.storage.local import LocalStorage

NOTHING_STAYS = Stays(0, 0)


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
