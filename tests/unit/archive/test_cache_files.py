import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cached_files import DAY, NOW, aged, drawn, index, paths, picture
from dicom_series_preview.archive.cache_files import cache_files
from dicom_series_preview.archive.cache_folder import CacheFolder
from dicom_series_preview.archive.pruning import Stays, prune
from dicom_series_preview.sources.storage.local import LocalStorage

NOTHING_STAYS = Stays(0, 0)


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
