import os
import sys
from pathlib import Path

import pytest

from dicom_series_preview.archive.here import find
from dicom_series_preview.base.errors import OutputError, SeriesNameError
from dicom_series_preview.base.settings import DEFAULT_ROOT, Settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a series in a folder, and one right in it."""
    (tmp_path / "data" / "CT").mkdir(parents=True)
    (tmp_path / "data" / "CT" / "1.dcm").write_bytes(b"one")
    (tmp_path / "MR").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "root", "series", "below"),
    [
        ("./MR", None, "MR", "."),
        ("MR/", None, "MR", "."),
        ("./MR/", "/elsewhere", "MR", "."),
        ("MR//", None, "MR", "."),
        ("data/CT/", None, "CT", "data"),
        ("data/CT", None, "CT", "data"),
        ("./none", None, "none", "."),
        ("./data/C*", None, "C", "data"),
        # A mistake in a local name is looked for here alone.
        ("data/none", None, "none", "data"),
        ("data/C*", None, "C", "data"),
        ("data/none*", None, "none", "data"),
        ("data/none/deeper", None, "deeper", "data/none"),
        ("de\u0301/none", None, "none", "de\u0301"),
        ("d\u00e9/none", None, "none", "d\u00e9"),
        # What goes up is a path.
        ("../up", None, "up", ".."),
        ("./../up", None, "up", ".."),
        ("../u*", None, "u", ".."),
        ("data/../MR", None, "MR", "."),
        ("data/CT/..", None, "data", "."),
        ("{here}/data/../MR", None, "MR", "."),
    ],
)
def test_paths(text: str, root: str | None, series: str, below: str, here: Path) -> None:
    """A path's last part is the series, and the rest its root, whatever root is named."""
    (here / "de\u0301").mkdir(exist_ok=True)
    named = find(text.format(here=here), root, {})
    assert (named.name.text, Path(named.root), named.file) == (series, (here / below).resolve(), None)


@pytest.mark.parametrize("text", ["./a*b", "a*b/", "./data*", "{here}/data*", "{here}/a*b/"])
def test_a_folder_with_a_star_in_its_name(text: str, here: Path) -> None:
    """A path of a folder that is there is that folder, whatever stars are in its name."""
    for name in ("a*b", "data*"):
        (here / name).mkdir()
        (here / name / "1").write_bytes(b"1")
    named = find(text.format(here=here), None, {})
    name = text.strip("/").rpartition("/")[2]
    assert (named.name.text, named.name.is_prefix, named.file) == (name, False, None)
    (info,) = named.open(Settings(here / "cache"), {}).list_objects(name)
    assert info.path == f"{name}/1"


def test_the_working_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` is the working folder itself."""
    monkeypatch.chdir(here / "MR")
    named = find(".", None, {})
    assert (named.name.text, named.root) == ("MR", str(here))


@pytest.mark.parametrize(
    ("text", "root"),
    [("MR", None), ("MR", "/r"), ("data/CT", "/r"), ("none/data", None), ("1.dcm", None), ("38*", None)],
)
def test_names_below_a_root(text: str, root: str | None, here: Path) -> None:
    """What is no path is a name below the root that is named, or the default one."""
    assert here
    named = find(text, root, {})
    assert (named.root, named.file) == (DEFAULT_ROOT if root is None else root, None)
    assert named.name.root is None


@pytest.mark.parametrize(("text", "root"), [("MR", None), ("data", None)])
def test_a_folder_that_is_here_is_a_hint(text: str, root: str | None, here: Path) -> None:
    """Without a root, a name that is also a folder here comes with a hint; with one it does not."""
    assert here
    assert find(text, root, {}).hint == f"a folder {text} lies here: ./{text} names it"
    for other in (find(text, "/r", {}), find(f"./{text}", None, {}), find("nothing", None, {})):
        assert other.hint == ""


@pytest.mark.parametrize("text", ["..", "../MR", "./../MR", "data/../MR", "data/CT/.."])
def test_no_name_goes_up_below_a_root(text: str, here: Path) -> None:
    """`..` is a part of no name below a root that is named, though the folder is there."""
    assert here
    with pytest.raises(SeriesNameError, match=r"\.\."):
        find(text, "/r", {})


@pytest.mark.parametrize(
    "text", ["data/CT/1.dcm", "./data/CT/1.dcm", "{here}/data/CT/1.dcm", "file://{here}/data/CT/1.dcm"]
)
def test_one_file(text: str, here: Path) -> None:
    """A file is a series of its own, that holds it alone."""
    named = find(text.format(here=here), None, {})
    assert named.file == here / "data" / "CT" / "1.dcm"
    storage = named.open(Settings(here / "cache"), {})
    (info,) = storage.list_objects("1.dcm")
    assert (info.path, info.size) == ("1.dcm/1.dcm", 3)
    fetched = storage.get(info.path)
    assert (fetched.data, fetched.version) == (b"one", info.version)
    assert storage.list_folders("1") == ["1.dcm"]
    assert storage.list_folders("2") == []
    assert storage.list_objects("other") == []
    (here / "data" / "CT" / "1.dcm").unlink()
    assert storage.list_objects("1.dcm") == []


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_names_that_are_no_text(here: Path) -> None:
    """A name of bytes that are no UTF-8 is told as listings have it, and its objects are read."""
    odd = os.fsdecode(b"b\xff")
    (here / odd).mkdir()
    (here / odd / "1").write_bytes(b"1")
    for text, root in ((odd, "."), (f"./{odd}", None), (f"{here}/{odd}/", None)):
        named = find(text, root, {})
        assert named.name.text == r"b\xff"
        (info,) = named.open(Settings(here / "cache"), {}).list_objects(named.name.text)
        assert info.path == r"b\xff/1"


def test_a_working_folder_that_is_gone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path from a working folder that is gone is an error in one line."""
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(OutputError, match="the working folder is gone"):
        find("./x", None, {})
    monkeypatch.chdir(here)
