"""Command lines in an environment of their own, what they come to, and where tests keep their objects."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dicom_series_preview.__main__ import main

BUCKET = "previews"
SCRIPT = str(Path(sys.executable).with_name("dicom-series-preview"))


# The fixtures that run a command line, that read the report of a picture, and that write a series' objects.
Run = Callable[..., "Outcome"]
Reports = Callable[..., dict[str, Any]]
PutSeries = Callable[[str, dict[str, bytes]], None]


@dataclass(frozen=True)
class Outcome:
    """What a command line came to.

    Attributes:
        status: The exit status.
        stdout: What went to standard output.
        stderr: What went to standard error.
    """

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of stderr."""
        return self.stderr.splitlines()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No test sees the user's credentials, settings, cache or home; each works in a folder of its own."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "DICOM_SERIES_PREVIEW_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DICOM_SERIES_PREVIEW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run
