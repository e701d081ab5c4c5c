import errno
import itertools
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_series_preview.base import errors
from dicom_series_preview.sources.storage.base import ByteRange
from dicom_series_preview.sources.storage.disk import file_error
from dicom_series_preview.sources.storage.local import LocalStorage

NOBODY = 65534


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """An empty folder."""
    return LocalStorage(tmp_path, 4)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of the running user, who is not root while the test runs: root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)
            for path in Path(name).rglob("*"):
                path.chmod(0o700)


def paths(storage: LocalStorage, folder: str = "") -> list[str]:
    """The listed paths."""
    return [info.path for info in storage.list_objects(folder)]


@pytest.mark.parametrize("is_file", [False, True])
def test_missing_root(tmp_path: Path, *, is_file: bool) -> None:
    """A root that is not there, or is a file, is said to be missing, when it is first listed."""
    if is_file:
        (tmp_path / "none").write_bytes(b"file")
    storage = LocalStorage(tmp_path / "none", 4)
    listings = [(storage.list_objects, "s"), (storage.list_folders, "s"), (storage.list_objects, "")]
    for listing, name in listings:
        with pytest.raises(errors.ObjectNotFoundError, match="no such folder") as raised:
            listing(name)
        assert raised.value.url == str(tmp_path / "none")


def test_a_file_is_no_folder(storage: LocalStorage, tmp_path: Path) -> None:
    """A folder's name that is a file's has no objects, and a folder is no object."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1").write_bytes(b"x")
    assert paths(storage, "s/1") == []
    assert paths(storage, "s/1/deeper") == []
    with pytest.raises(errors.ObjectNotFoundError, match="not a file"):
        storage.get("s")


def test_names_that_are_no_utf8(storage: LocalStorage, tmp_path: Path) -> None:
    """A name in another encoding is listed with its bytes escaped, and read by that name."""
    folder = os.fsencode(tmp_path) + b"/Sch\xe4del"
    Path(os.fsdecode(folder)).mkdir()
    Path(os.fsdecode(folder + b"/Sch\xe4del 1")).write_bytes(b"x")
    assert paths(storage) == ["Sch\\xe4del/Sch\\xe4del 1"]
    assert storage.list_folders("Sch") == ["Sch\\xe4del"]
    assert storage.get("Sch\\xe4del/Sch\\xe4del 1").data == b"x"


def test_names_with_control_characters_and_backslashes(storage: LocalStorage, tmp_path: Path) -> None:
    """Any name the file system takes is listed and read."""
    for name in ("new\nline", "back\\slash", "\\xe4", " "):
        (tmp_path / name).write_bytes(name.encode())
        assert storage.get(name).data == name.encode()
    assert len(paths(storage)) == 4


def test_links(storage: LocalStorage, tmp_path: Path) -> None:
    """Links are followed, circles are not, and a dangling link is listed and not found."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1").write_bytes(b"x")
    (tmp_path / "s" / "same").symlink_to("1")
    (tmp_path / "s" / "circle").symlink_to(".")
    (tmp_path / "s" / "up").symlink_to("..")
    (tmp_path / "s" / "self").symlink_to("self")
    (tmp_path / "s" / "dangling").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to("s")
    assert paths(storage, "linked") == ["linked/1", "linked/dangling", "linked/same", "linked/self"]
    sizes = {info.path: info.size for info in storage.list_objects("s")}
    assert (sizes["s/1"], sizes["s/same"], sizes["s/dangling"], sizes["s/self"]) == (1, 1, None, None)
    assert storage.get("s/same").data == b"x"
    with pytest.raises(errors.ObjectNotFoundError):
        storage.get("s/dangling")
    assert storage.list_folders("linked") == ["linked"]


def test_a_link_to_itself_hides_no_folder(storage: LocalStorage, tmp_path: Path) -> None:
    """Folders are listed beside links that lead nowhere or round in a circle."""
    (tmp_path / "s1").mkdir()
    (tmp_path / "s2").symlink_to("s2")
    (tmp_path / "s3").symlink_to("nowhere")
    (tmp_path / "s4").symlink_to("s1")
    assert storage.list_folders("s") == ["s1", "s4"]


def test_folders_without_numbers(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where listings tell no numbers of files, as on Windows, all is listed and no circle followed."""
    (tmp_path / "s" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "s" / "a" / "b" / "c" / "1").write_bytes(b"x")
    (tmp_path / "s" / "a" / "b" / "up").symlink_to(tmp_path / "s")

    class Entry:
        """An entry of a folder as Windows gives it: its status has neither a number nor a device."""

        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path, self._entry = entry.name, entry.path, entry

        def stat(self) -> SimpleNamespace:
            found = self._entry.stat()
            told = {name: getattr(found, name) for name in ("st_mode", "st_size", "st_mtime_ns")}
            return SimpleNamespace(**told, st_ino=0, st_dev=0)

        def is_symlink(self) -> bool:
            return self._entry.is_symlink()

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: nullcontext([Entry(entry) for entry in scan(path)]))
    assert paths(storage, "s") == ["s/a/b/c/1"]


@pytest.mark.parametrize(
    "reason",
    # 45 is ENOTSUP on macOS.
    [45, errno.ENOTSUP, errno.EINVAL, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EXDEV],
)
def test_file_systems_without_hard_links(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """However a file system refuses hard links, a new object is written whole, and over none."""

    def refuse(source: object, target: object) -> None:
        raise OSError(reason, os.strerror(reason), source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    version = storage.put("1", b"new", if_version="")
    assert (storage.get("1").data, storage.get("1").version) == (b"new", version)
    with pytest.raises(errors.ObjectChangedError):
        storage.put("1", b"other", if_version="")
    assert storage.get("1").data == b"new"
    assert os.listdir(tmp_path) == ["1"]  # noqa: PTH208  the names alone


def test_pipes_are_no_objects(storage: LocalStorage, tmp_path: Path) -> None:
    """A pipe is neither listed nor waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert paths(storage) == []
    with pytest.raises(errors.ObjectNotFoundError):
        storage.get("pipe")


def test_unreadable_file(unprivileged: Path) -> None:
    """A file without permission is denied by its name."""
    (unprivileged / "1").write_bytes(b"x")
    (unprivileged / "1").chmod(0)
    with pytest.raises(errors.AccessDeniedError, match="permission"):
        LocalStorage(unprivileged, 1).get("1")


def test_unreadable_folder(unprivileged: Path) -> None:
    """A subfolder that cannot be listed is an error, not a shorter listing."""
    (unprivileged / "s" / "closed").mkdir(parents=True)
    (unprivileged / "s" / "closed").chmod(0)
    with pytest.raises(errors.AccessDeniedError) as raised:
        LocalStorage(unprivileged, 1).list_objects("s")
    assert raised.value.url.endswith("s/closed")


def test_unwritable_folder(unprivileged: Path) -> None:
    """A folder without permission takes no object, and the error names the object."""
    (unprivileged / "s").mkdir()
    (unprivileged / "s").chmod(0o500)
    with pytest.raises(errors.AccessDeniedError) as raised:
        LocalStorage(unprivileged, 1).put("s/new", b"x")
    assert raised.value.url.endswith("s/new")


def test_failed_writes_leave_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    """A write that fails half-way leaves the old object and no temporary file."""
    storage.put("1", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(errors.StorageError, match="File too large") as raised:
            storage.put("1", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.url == str(tmp_path / "1")
    assert os.listdir(tmp_path) == ["1"]  # noqa: PTH208  the names alone
    assert storage.get("1").data == b"old"


def test_full_disk() -> None:
    """A full disk is said to be one."""
    error = file_error(Path("/x"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert type(error) is errors.StorageError
    assert "free some space" in str(error)


def test_temporary_files_are_not_listed(storage: LocalStorage, tmp_path: Path) -> None:
    """What another process is still writing is no object."""
    (tmp_path / f".dicom-series-preview-{'0' * 32}.part").write_bytes(b"x")
    assert paths(storage) == []


def test_two_writes_within_a_tick(storage: LocalStorage) -> None:
    """Writes of the same size are different versions however fast they follow."""
    versions = [storage.put("1", b"abc") for _ in range(200)]
    assert all(a != b for a, b in itertools.pairwise(versions))
    assert storage.list_objects("")[0].version == versions[-1]


def test_modes_follow_the_umask(storage: LocalStorage, tmp_path: Path) -> None:
    """A written file is as readable as any other of the user's."""
    storage.put("1", b"x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o666 & ~umask


def test_versions_are_checked_before_reading(storage: LocalStorage, tmp_path: Path) -> None:
    """A changed file gives no bytes."""
    version = storage.put("1", b"abc")
    (tmp_path / "1").write_bytes(b"changed")
    (got,) = storage.fetch([ByteRange("1", 0, 1, version)])
    assert isinstance(got.error, errors.ObjectChangedError)
    assert storage.usage.bytes == 0
