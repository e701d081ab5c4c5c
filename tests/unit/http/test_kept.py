"""Pictures that are kept in the local cache, and what becomes of them there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from bench import slices

from dicom_series_preview.api import open_api
from dicom_series_preview.http import HttpRequest, HttpResponse
from dicom_series_preview.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def asked(tmp_path: Path, image_format: str = "webp") -> HttpResponse:
    """A picture as a server with a local cache answers it."""
    settings = Settings.from_environment(os.environ, tmp_path / "cache")
    api = open_api({"default": str(tmp_path / "data")}, settings)
    return api.picture("mosaic", HttpRequest("S", {"format": [image_format]}))


@pytest.fixture(autouse=True)
def series(tmp_path: Path) -> None:
    """A series on the disk."""
    for path, data in slices().items():
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).write_bytes(data)


def linked(path: Path) -> None:
    """Let a link out of the cache take a file's place, to a picture that is whole."""
    outside = path.parents[3] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "emptied": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_bytes(b"root:x:0:0:" * 40),
    "link": linked,
}


@pytest.mark.parametrize("image_format", ["webp", "jpeg"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_damaged_picture_is_made_anew(damage: str, image_format: str, tmp_path: Path) -> None:
    """What is no whole picture in the cache is not answered, and the next time a whole one is there."""
    made = asked(tmp_path, image_format)
    assert made.headers["Preview-Render"] == "made"
    (path,) = (path for path in (tmp_path / "cache" / "renders").rglob("*") if path.is_file())
    DAMAGES[damage](path)
    again = [asked(tmp_path, image_format) for _ in range(2)]
    assert [(one.status, one.headers["Preview-Render"]) for one in again] == [(200, "made"), (200, "kept")]
    assert {one.body for one in again} == {made.body}
    assert not path.is_symlink()
