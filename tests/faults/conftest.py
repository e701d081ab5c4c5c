"""What the tests of failures may use: an environment of their own, and the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parents[1] / "functions"))

from commandline import Outcome

from dicom_series_preview import cli

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No test sees the user's credentials, settings, cache or home; each works in a folder of its own."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "DICOM_SERIES_PREVIEW_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run
