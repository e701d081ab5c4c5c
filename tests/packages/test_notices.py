"""What a dependency layer says of the work of others."""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "layers" / "notices.py"


def collected(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script on a folder."""
    return subprocess.run(
        [sys.executable, SCRIPT, folder], capture_output=True, text=True, encoding="utf-8", check=False
    )


def install(folder: Path, *names: str) -> None:
    """Put the metadata of installed packages into a folder, as pip --target does."""
    for name in names:
        for file in distribution(name).files or ():
            if ".dist-info" in file.parts[0]:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.locate().read_bytes())


@pytest.mark.parametrize("name", ["defusedxml", "numpy", "pillow", "pyarrow", "pydicom", "urllib3"])
def test_each_licence_is_there_whole(name: str, tmp_path: Path) -> None:
    """The licence files of a wheel stand in the notices, word for word."""
    install(tmp_path, name)
    done = collected(tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "THIRD_PARTY_NOTICES.txt").read_text(encoding="utf-8")
    assert distribution(name).version in text.splitlines()[1]
    licences = [path for path in tmp_path.rglob("*") if path.name.upper().startswith(("LICENSE", "NOTICE"))]
    files = [path for path in licences if path.is_file()]
    assert files
    for path in files:
        assert path.read_text(encoding="utf-8", errors="replace").strip() in text


def test_a_wheel_without_a_licence_text_gets_it_from_here(tmp_path: Path) -> None:
    """The wheel of obstore has no licence file: its text is ours to bring, with what is linked into it."""
    install(tmp_path, "obstore")
    assert collected(tmp_path).returncode == 0
    text = (tmp_path / "THIRD_PARTY_NOTICES.txt").read_text(encoding="utf-8")
    assert "Development Seed" in text
    assert "Permission is hereby granted" in text
    assert "object_store" in text.partition("It contains, under these licences:")[2]


def test_a_licence_that_is_nowhere_fails_the_build(tmp_path: Path) -> None:
    """A package without a text, of which none is kept here, ends the build in one line that names it."""
    folder = tmp_path / "nameless-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: nameless\nVersion: 1\nLicense: MIT\n")
    done = collected(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "layers: nameless brings no licence text; put it into licences/nameless.txt\n"
