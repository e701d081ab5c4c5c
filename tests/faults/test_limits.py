"""What is too large or takes too long: refused early, in one line, with 413 where it is the whole request."""

import json
import os
from pathlib import Path

import pytest

import make_dicom as make
from commandline import Run
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest

SERIES = "1.2.3"
LIMITS = {
    "INSTANCES": ("2", 413, "has more than 2 objects, the limit"),
    "HEADER_BYTES": ("300", 422, "its header is longer than the limit of 300 bytes"),
    "INFLATED_BYTES": ("100", 422, "its deflated data set inflates to more than 100 bytes"),
    "FRAMES": ("1", 422, "2 frames, more than the limit of 1"),
    "FRAME_BYTES": ("47", 415, "the frame has 48 bytes, more than the limit of 47"),
    "OUTPUT_PIXELS": ("1000", 413, "more than 1000 in all"),
    "SECONDS": ("0", 413, "takes longer than the limit of 0 s"),
}


def objects_for(limit: str) -> dict[str, bytes]:
    """Three instances, each of which the limit's value is too little for."""
    made = {f"{i}.dcm": make.image(i) for i in (1, 2, 3)}
    if limit == "INFLATED_BYTES":
        return {name: make.encode(image, make.DEFLATED) for name, image in made.items()}
    if limit == "FRAMES":
        groups = [make.position_group(0, 0, z) for z in range(2)]
        return {name: make.encode(make.enhanced(groups, make.orientation_group())) for name in made}
    return {name: make.encode(image) for name, image in made.items()}


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a series that a limit refuses, which the environment sets."""
    limit = request.param
    monkeypatch.setenv(f"DICOM_SERIES_PREVIEW_MAX_{limit}", LIMITS[limit][0])
    folder = tmp_path / "root" / SERIES
    folder.mkdir(parents=True)
    for name, data in objects_for(limit).items():
        (folder / name).write_bytes(data)
    return folder.parent


@pytest.mark.parametrize(("root", "limit"), [(limit, limit) for limit in LIMITS], indirect=["root"])
def test_command_line(root: Path, limit: str, command: Run) -> None:
    """Each limit is set by its variable, and what it refuses is one line and no picture."""
    outcome = command("mosaic", SERIES, "a.webp", "--root", root)
    (line,) = outcome.stderr.splitlines()
    assert (outcome.status, outcome.stdout, list(Path().iterdir())) == (1, "", [])
    assert line.startswith("error: ")
    assert LIMITS[limit][2] in line


@pytest.mark.parametrize(("root", "limit"), [(limit, limit) for limit in LIMITS], indirect=["root"])
def test_http(root: Path, limit: str) -> None:
    """Over HTTP it is a problem: 413 for all of a request, else that of a series with nothing to show."""
    api = open_api({"default": str(root)}, Settings.from_environment(os.environ), os.environ)
    answer = api.picture("mosaic", HttpRequest(SERIES))
    assert answer.status == LIMITS[limit][1]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert LIMITS[limit][2] in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("root", ["SECONDS"], indirect=True)
def test_index_takes_too_long(root: Path) -> None:
    """An index is given up like a picture when the time is up, and nothing is kept of it."""
    settings = Settings.from_environment(os.environ)
    answer = open_api({"default": str(root)}, settings, os.environ).index(HttpRequest(SERIES))
    assert answer.status == 413
    assert [path.name for path in settings.cache_dir.rglob("*") if path.is_file()] == []


def test_largest_that_is_allowed(tmp_path: Path, command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A series that just reaches every limit is shown."""
    for limit, value in {"INSTANCES": 3, "FRAMES": 1, "FRAME_BYTES": 48}.items():
        monkeypatch.setenv(f"DICOM_SERIES_PREVIEW_MAX_{limit}", str(value))
    folder = tmp_path / "root" / SERIES
    folder.mkdir(parents=True)
    for name, data in objects_for("").items():
        (folder / name).write_bytes(data)
    outcome = command("mosaic", SERIES, "a.webp", "--root", folder.parent)
    assert outcome.status == 0, outcome.stderr
    assert "3 of 3 slices" in outcome.stderr
