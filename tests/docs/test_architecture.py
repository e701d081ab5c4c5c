"""docs/architecture.md tells the code as it is."""

import re
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import dicom_series_preview
from dicom_sample import write_sample
from dicom_series_preview.__main__ import main

PROJECT = Path(__file__).parents[2]
PACKAGE = Path(dicom_series_preview.__file__).parent
PAGE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\| ([0-9]+) \| `([a-z0-9_/]+\.py)` `(_?[a-z_]+)` \|", re.MULTILINE)


def test_the_picture_and_the_table_are_drawn_from_the_code() -> None:
    """The picture and the table of rooms are those of the package as it is."""
    check = [sys.executable, "tests/docs/architecture.py", "--check"]
    done = subprocess.run(check, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_walk_is_the_one_that_a_warm_mosaic_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warm mosaic calls the functions that the page lists, in its order, and there are at most 25."""
    first, *steps = [(name, function) for _, name, function in STEP.findall(PAGE)]
    assert 20 <= len(steps) < 25
    # It ends the process, and so is not called here.
    (script,) = [one for one in entry_points(group="console_scripts") if one.name == "dicom-series-preview"]
    assert script.value == "dicom_series_preview.__main__:run"
    assert first == ("__main__.py", "run")
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    series = write_sample(tmp_path, slices=3)
    arguments = ["mosaic", str(series), str(tmp_path / "a.webp")]
    assert main(arguments) == 0
    called: list[tuple[str, str]] = []

    def note(frame: Any, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            place = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix()
            called.append((place, frame.f_code.co_name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        assert main(arguments) == 0
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    missing = [step for step in steps if step not in called]
    assert not missing
    at = [called.index(step) for step in steps]
    assert at == sorted(at), [step for step, _ in sorted(zip(steps, at, strict=True), key=lambda one: one[1])]


def test_every_file_of_the_page_is_there() -> None:
    """Each module that the page names is one of the package or of the repository."""
    names = set(re.findall(r"`([a-z0-9_]+(?:/[a-z0-9_]+)+\.(?:py|yaml))`", PAGE))
    assert len(names) > 20
    assert not [name for name in names if not (PACKAGE / name).exists() and not (PROJECT / name).exists()]
