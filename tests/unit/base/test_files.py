import errno
import os
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicom_series_preview.base.errors import OutputError
from dicom_series_preview.base.files import write_atomically

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def names_in(folder):
    """What is in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    """A new file appears, an old one is replaced, and nothing else is left in the folder."""
    path = tmp_path / "out.webp"
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    write_atomically(path, b"second, longer")
    assert path.read_bytes() == b"second, longer"
    assert names_in(tmp_path) == ["out.webp"]


def test_the_longest_name_is_written(tmp_path):
    """The temporary file's name does not grow with the target's."""
    path = tmp_path / ("n" * 250 + ".webp")
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_file_follows_the_umask(tmp_path, umask, mode):
    """A new file has the permissions that any program's new file has."""
    code = f"""
        import os, pathlib
        from dicom_series_preview.base.files import write_atomically
        os.umask({umask})
        write_atomically(pathlib.Path("out.webp"), b"x")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=True)
    assert stat.S_IMODE((tmp_path / "out.webp").stat().st_mode) == mode


def test_replaced_file_keeps_its_permissions(tmp_path):
    """What only its owner could read does not become readable to others by being written again."""
    path = tmp_path / "out.webp"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("exists", [True, False])
def test_link_stays_and_its_target_is_written(tmp_path, exists):
    """A symbolic link is followed: it stays a link, and the file it names is written in its own folder."""
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target.webp", tmp_path / "out.webp"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(Path("there") / "target.webp")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names_in(tmp_path) == ["out.webp", "there"]
    assert names_in(tmp_path / "there") == ["target.webp"]


def test_many_writers_never_mix(tmp_path):
    """Whoever reads while many write sees one writer's whole file, and no temporary file remains."""
    path = tmp_path / "out.webp"
    contents = [bytes([65 + writer]) * (50_000 + writer) for writer in range(8)]
    write_atomically(path, contents[0])
    with ThreadPoolExecutor(12) as pool:
        writes = [pool.submit(write_atomically, path, contents[turn % 8]) for turn in range(80)]
        reads = [pool.submit(path.read_bytes) for _ in range(80)]
        for write in writes:
            write.result()
        assert all(read.result() in contents for read in reads)
    assert names_in(tmp_path) == ["out.webp"]


def refused(path, data=b"x"):
    """The error's problem, after a look at its path and its single line."""
    with pytest.raises(OutputError) as caught:
        write_atomically(path, data)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)
    return caught.value.problem


def test_missing_folder_is_named(tmp_path):
    """A folder that does not exist is not made."""
    assert refused(tmp_path / "no" / "out.webp") == "there is no such folder"
    assert names_in(tmp_path) == []


def test_folder_is_not_replaced(tmp_path):
    """A folder of the file's name stays, empty or not."""
    (tmp_path / "out.webp").mkdir()
    assert refused(tmp_path / "out.webp") == "is a folder, not a file"
    assert names_in(tmp_path) == ["out.webp"]


def test_file_as_folder_is_refused(tmp_path):
    """A file cannot hold another."""
    (tmp_path / "file").write_bytes(b"")
    assert refused(tmp_path / "file" / "out.webp") == "a part of the path is not a folder"


def test_pipe_is_not_replaced(tmp_path):
    """A device or a pipe of the file's name, or behind its link, is left alone."""
    pipe, link = tmp_path / "pipe", tmp_path / "out.webp"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    assert "not a file" in refused(link)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names_in(tmp_path) == ["out.webp", "pipe"]


def test_circular_links_are_refused(tmp_path):
    """A link that leads to itself is an error like any other."""
    (tmp_path / "out.webp").symlink_to("out.webp")
    assert "symbolic links" in refused(tmp_path / "out.webp")


def test_name_too_long_is_refused(tmp_path):
    """A name that the file system does not take is an error like any other."""
    assert refused(tmp_path / ("n" * 300 + ".webp")) == os.strerror(errno.ENAMETOOLONG).lower()


def run_limited(tmp_path, prelude):
    """Write 100,000 bytes over an old file in a process of its own; its stderr's last line is the error's."""
    (tmp_path / "out.webp").write_bytes(b"old")
    code = textwrap.dedent(prelude) + textwrap.dedent(
        """
        import pathlib, sys
        from dicom_series_preview.base.files import write_atomically
        from dicom_series_preview.base.errors import OutputError
        try:
            write_atomically(pathlib.Path("out.webp"), b"n" * 100_000)
        except OutputError as error:
            sys.exit(str(error))
        """
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert (tmp_path / "out.webp").read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.webp"]
    assert finished.returncode == 1
    return finished.stderr.decode()


def test_file_that_grows_too_large_leaves_the_old_one(tmp_path):
    """A write that stops half way leaves the old file as it was, and no temporary file."""
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    assert run_limited(tmp_path, prelude) == "out.webp: the file is larger than is allowed here\n"


@pytest.mark.skipif(not AS_ROOT, reason="only root can become nobody")
def test_folder_without_permission_is_refused(tmp_path):
    """A folder that may not be written to is named as that, and the old file stays."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    message = run_limited(tmp_path, "import dicom_series_preview.base.files, os; os.setuid(65534)")
    assert message == "out.webp: no permission to write there\n"


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_read_only_folder_is_refused(tmp_path):
    """A folder without write permission is named as that, and the old file stays."""
    tmp_path.chmod(0o755)
    prelude = "import os; os.chmod('.', 0o555)"
    assert run_limited(tmp_path, prelude) == "out.webp: no permission to write there\n"


@pytest.mark.skipif(not AS_ROOT or sys.platform != "linux", reason="only root can mount a small file system")
def test_full_disk_leaves_the_old_file(tmp_path):
    """On a full disk the old file stays as it was, and no temporary file remains."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert run_limited(tmp_path, "") == "out.webp: no space is left on the device\n"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
