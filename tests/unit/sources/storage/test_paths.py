"""Names on Windows are told by pure paths, wherever the tests run."""

import ntpath
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_series_preview.archive.names import SeriesName, index_path
from dicom_series_preview.base.errors import SeriesNameError
from dicom_series_preview.sources.storage.paths import file_below, path_of_file_url
from dicom_series_preview.sources.storage.roots import is_full_name, split_root

ROOT = PureWindowsPath(r"D:\archive\ct")
TRICKY = st.sampled_from([*"ab.: \\*?", "..", "C:", "CON", "nul", "COM1", "\u00b2", "$"])
PARTS = st.lists(TRICKY, min_size=1).map("".join).filter(lambda part: part not in {".", ".."})


@given(st.lists(PARTS, min_size=1, max_size=4).map("/".join))
def test_nothing_leaves_a_folder_on_windows(path: str) -> None:
    """Whatever an object is called, its file lies below the root, by names that Windows takes as they are."""
    found = file_below(ROOT, path)
    assert found.parts[: len(ROOT.parts)] == ROOT.parts
    assert ntpath.normpath(found) == str(found)
    names = found.parts[len(ROOT.parts) :]
    assert len(names) == path.count("/") + 1
    for name in names:
        assert not set(name) & set('<>:"|?*\\')
        assert not name.endswith((".", " "))
        assert not PureWindowsPath(name).drive
        stem = name.partition(".")[0].rstrip(" ").upper()
        assert stem not in {"CON", "PRN", "AUX", "NUL", "COM1", "COM\u00b2", "LPT1"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("1.2.840/1.dcm", r"1.2.840\1.dcm"),
        ("Sch\u00e4del 1/ä b+c", "Sch\u00e4del 1\\ä b+c"),
        (r"..\..\x", "..%5C..%5Cx"),
        (r"C:\x", "C%3A%5Cx"),
        (r"\\host\share\x", "%5C%5Chost%5Cshare%5Cx"),
        ("a:b", "a%3Ab"),
        ("x. /y.", r"x.%20\y%2E"),
        ("CON/nul.txt/Com1 .x/console", r"%43ON\%6Eul.txt\%43om1 .x\console"),
        ("CON_index.parquet", "CON_index.parquet"),
    ],
)
def test_names_that_windows_does_not_take_are_escaped(path: str, name: str) -> None:
    """What is a name there stays as it is, everything else is percent-escaped; on POSIX nothing is."""
    assert file_below(ROOT, path) == ROOT / name
    assert str(file_below(PurePosixPath("/data"), path)) == f"/data/{path}"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///C:/data%20x/ct", r"C:\data x\ct"),
        ("file://host/share/ct", r"\\host\share\ct"),
        ("file:///data", r"\data"),
    ],
)
def test_file_urls_of_windows(url: str, path: str) -> None:
    """A drive stands behind a slash that is the URL's own, and a host before the share."""
    assert path_of_file_url(url, PureWindowsPath) == PureWindowsPath(path)


@pytest.mark.parametrize(
    ("text", "root", "name"),
    [
        (r"C:\data\389*", "C:\\data", "389*"),
        ("C:/data/x", "C:\\data", "x"),
        ("C:/x", "C:\\", "x"),
        (r"\\host\share\x", "\\\\host\\share\\", "x"),
        ("//host/share/a/x/", "\\\\host\\share\\a", "x"),
        (r"\data\x", "\\data", "x"),
        (r"~\data\x", "~\\data", "x"),
        ("s3://bucket/a/x", "s3://bucket/a", "x"),
    ],
)
def test_full_names_on_windows(text: str, root: str, name: str) -> None:
    """There, a path with a drive or a share brings its own root; elsewhere it is a name like any other."""
    assert is_full_name(text, PureWindowsPath)
    assert split_root(text, PureWindowsPath) == (root, name)
    asked = SeriesName.parse(text, PureWindowsPath)
    assert (asked.root, asked.text) == (root, name.removesuffix("*"))
    if "/" not in text and not text.startswith("~"):
        assert SeriesName.parse(text, PurePosixPath).root is None


@pytest.mark.parametrize(
    "text",
    [r"..\..\x", r"sub\x", "..\\", r"C:\data\..\x", "C:\\", "C:/", r"\\host\share", "C:/data/..", r"a/b\c"],
)
def test_names_that_cannot_be_on_windows(text: str) -> None:
    """Backslashes lead nowhere below a root, and a drive or share alone names no series."""
    with pytest.raises(SeriesNameError):
        SeriesName.parse(text, PureWindowsPath)


@pytest.mark.parametrize("text", ["1.2.3", "389*", "a/b", "a:b", "C:x"])
def test_short_names_on_windows(text: str) -> None:
    """Other names are below the root."""
    assert SeriesName.parse(text, PureWindowsPath).root is None


def test_indices_where_capitals_do_not_count() -> None:
    """Series whose names differ only in capitals or in how letters are composed have indices of their own."""
    names = ["CT", "ct", "Ct", "Sch\u00e4del", "Scha\u0308del", "sch\u00e4del", "scha\u0308del", "ss", "ß"]
    paths = [index_path(name, "indices", folds=True) for name in names]
    assert len({path.casefold() for path in paths}) == len(names)
    assert index_path("ct", "indices", folds=True) == "indices/ct_index.parquet"
    uuid = "38902e14-b11f-4548-910e-771ee757dc82"
    assert index_path(uuid, "indices", folds=True) == f"indices/{uuid}_index.parquet"
    assert index_path("CT", "indices", folds=False) == "indices/CT_index.parquet"
