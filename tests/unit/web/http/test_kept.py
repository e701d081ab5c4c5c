"""Pictures that are kept in the local cache, and what becomes of them there."""

import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import make_dicom
from bench import slices
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest, HttpResponse


def asked(tmp_path: Path, image_format: str = "webp", name: str = "S") -> HttpResponse:
    """A picture as a server with a local cache answers it."""
    settings = Settings.from_environment(os.environ, tmp_path / "cache")
    api = open_api({"default": str(tmp_path / "data")}, settings, os.environ)
    return api.picture("mosaic", HttpRequest(name, {"format": [image_format]}))


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


def resealed(trailer: bytes) -> Callable[[Path], object]:
    """Let something else follow a picture that is whole."""

    def reseal(path: Path) -> None:
        whole = path.read_bytes()
        length = int.from_bytes(whole[-12:-8], "big")
        assert whole.endswith(b"\0preview")
        sealed = trailer + len(trailer).to_bytes(4, "big") + b"\0preview"
        path.write_bytes(whole[: len(whole) - 12 - length] + sealed)

    return reseal


def exchanged(path: Path) -> None:
    """Let another series' picture take a file's place."""
    for file in (path.parents[3] / "data" / "S").iterdir():
        other = path.parents[3] / "data" / "Other" / file.name
        other.parent.mkdir(exist_ok=True)
        # Of another level.
        other.write_bytes(file.read_bytes()[:-24] + bytes(24))
    asked(path.parents[3], path.suffix.strip(".").replace("jpg", "jpeg"), "Other")
    (of_other,) = (one for one in path.parents[1].rglob(f"*{path.suffix}") if one.parent != path.parent)
    path.write_bytes(of_other.read_bytes())


def swollen(path: Path) -> None:
    """Let a file be larger than any picture, on a disk that it takes no room of."""
    os.truncate(path, 2**29)


TRAILERS = [
    *(b"[1]", b"null", b"5", b'"x"', b"[" * 100_000, b"{}", b"9" * 5000, b"not JSON"),
    *(
        b'{"preview-warnings": %s}' % value
        for value in (b'["x"]', b"NaN", b'"1\\r\\nX: 1"', b'"\\ud800"', b"5")
    ),
]
DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "emptied": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_bytes(b"root:x:0:0:" * 40),
    "link": linked,
    "another series": exchanged,
    "larger than any": swollen,
    **{f"trailer {trailer[:32].decode()}": resealed(trailer) for trailer in TRAILERS},
}


@pytest.mark.parametrize("image_format", ["webp", "jpeg", "png"])
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


def test_warnings_are_kept_on_a_disk(tmp_path: Path) -> None:
    """What is kept in a folder tells its warnings too, and its picture is the one that was made."""
    upside_down = make_dicom.image(9, PatientID="PID-2", SOPInstanceUID=f"{make_dicom.SERIES_UID}.99")
    (tmp_path / "data" / "S" / "9.dcm").write_bytes(make_dicom.encode(upside_down))
    answers = [asked(tmp_path, "png") for _ in range(2)]
    assert [one.headers["Preview-Render"] for one in answers] == ["made", "kept"]
    assert len({(one.headers["Preview-Warnings"], one.body) for one in answers}) == 1


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_cache_that_cannot_be_written(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Pictures are made without it, one warning is logged, and that names no series."""

    def refuse(*_: object) -> str:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with caplog.at_level(logging.WARNING, "dicom_series_preview"):
        answers = [asked(tmp_path) for _ in range(2)]
    assert [(one.status, one.headers["Preview-Render"]) for one in answers] == [(200, "made")] * 2
    (warning,) = caplog.messages
    assert warning.startswith("the cache cannot be used, and nothing is kept: ")
    assert str(tmp_path) not in warning


def test_a_folder_in_a_picture_s_place(tmp_path: Path) -> None:
    """What cannot be written over is left, and the picture made each time."""
    made = asked(tmp_path)
    (path,) = (path for path in (tmp_path / "cache" / "renders").rglob("*") if path.is_file())
    path.unlink()
    path.mkdir()
    again = asked(tmp_path)
    assert (again.status, again.body) == (200, made.body)
    assert path.is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_in_an_index_s_place(tmp_path: Path) -> None:
    """A link out of the cache is not read, and what it leads to stays as it is."""
    made = asked(tmp_path)
    (path,) = (tmp_path / "cache" / "indices").rglob("*.parquet")
    path.unlink()
    (tmp_path / "mine").write_bytes(b"mine")
    path.symlink_to(tmp_path / "mine")
    assert asked(tmp_path).body == made.body
    assert (tmp_path / "mine").read_bytes() == b"mine"
