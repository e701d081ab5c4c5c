import os
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

import make_dicom
from dicom_series_preview.base.errors import RequestError
from dicom_series_preview.base.settings import (
    CACHE_DIR_VARIABLE,
    HASH_KEY_VARIABLE,
    IDENTIFIERS_VARIABLE,
    VARIABLES,
    Identifiers,
    Limits,
    Settings,
    default_cache_dir,
)
from dicom_series_preview.web.http.local import open_api
from dicom_series_preview.web.http.messages import HttpRequest

on_linux = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the place is the platform's")


def test_variable_names_the_cache() -> None:
    """The variable goes before the platform's place."""
    assert default_cache_dir({CACHE_DIR_VARIABLE: "/kept", "XDG_CACHE_HOME": "/xdg"}) == Path("/kept")


@on_linux
def test_platform_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, indices are kept in XDG_CACHE_HOME, else in ~/.cache."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache_dir({"XDG_CACHE_HOME": "/xdg"}) == Path("/xdg/dicom-series-preview")
    assert default_cache_dir({}) == Path("/home/someone/.cache/dicom-series-preview")
    assert default_cache_dir({CACHE_DIR_VARIABLE: ""}) == Path("/home/someone/.cache/dicom-series-preview")


def test_given_folder_goes_first() -> None:
    """A folder that is given goes before the variable."""
    assert Settings.from_environment({CACHE_DIR_VARIABLE: "/kept"}, Path("/given")).cache_dir == Path(
        "/given"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("relative", "work/relative"),
        ("../beside", "beside"),
        ("a/../b", "work/b"),
        (".", "work"),
        ("~/kept", "home/kept"),
        ("~nobody-has-this-name/kept", "work/~nobody-has-this-name/kept"),
    ],
)
def test_cache_is_an_absolute_path(
    given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative cache folder is taken from the working folder, `~` is home, and `..` is allowed."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings.from_environment({}, Path(given)).cache_dir == tmp_path / expected
    assert Settings.from_environment({CACHE_DIR_VARIABLE: given}).cache_dir == tmp_path / expected


def test_settings_are_frozen() -> None:
    """Settings do not change once they are read."""
    settings = Settings.from_environment({})
    assert settings.concurrency is None
    with pytest.raises(FrozenInstanceError):
        settings.concurrency = 1  # type: ignore[misc]


def test_variables() -> None:
    """A variable wins over what a door sets, which wins over the product's own; an empty one says nothing."""
    door = Settings(Path("/any"), max_retries=2, request_timeout_s=8.0, limits=Limits(frames=10, seconds=20))
    environment = {
        "DICOM_SERIES_PREVIEW_RETRIES": "0",
        "DICOM_SERIES_PREVIEW_REQUEST_SECONDS": "",
        "DICOM_SERIES_PREVIEW_MAX_FRAMES": "20",
        CACHE_DIR_VARIABLE: "/kept",
    }
    assert Settings.from_environment(environment, None, door) == replace(
        door, cache_dir=Path("/kept"), max_retries=0, limits=Limits(frames=20, seconds=20)
    )
    assert Settings.from_environment({CACHE_DIR_VARIABLE: "/kept"}) == Settings(Path("/kept"))


def test_identifiers() -> None:
    """How identifiers are shown is what the variable says, else the door's way; a terminal shows them."""
    key = "a key that is long enough"
    door = Settings(Path("/any"), identifiers=Identifiers("drop"))
    assert Settings.from_environment({}).identifiers == Identifiers("keep")
    assert Settings.from_environment({IDENTIFIERS_VARIABLE: ""}, None, door).identifiers.mode == "drop"
    assert Settings.from_environment({IDENTIFIERS_VARIABLE: "keep"}, None, door).identifiers.mode == "keep"
    hashed = Settings.from_environment({IDENTIFIERS_VARIABLE: "hash", HASH_KEY_VARIABLE: key}, None, door)
    assert hashed.identifiers == Identifiers("hash", key.encode())
    assert key not in repr(hashed)
    assert Settings.from_environment({HASH_KEY_VARIABLE: key}, None, door).identifiers.key == b""


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({IDENTIFIERS_VARIABLE: "show"}, IDENTIFIERS_VARIABLE),
        ({IDENTIFIERS_VARIABLE: "hash"}, HASH_KEY_VARIABLE),
        ({IDENTIFIERS_VARIABLE: "hash", HASH_KEY_VARIABLE: "too short"}, HASH_KEY_VARIABLE),
        ({IDENTIFIERS_VARIABLE: "hash", HASH_KEY_VARIABLE: " " * 17}, HASH_KEY_VARIABLE),
        ({IDENTIFIERS_VARIABLE: "hash", HASH_KEY_VARIABLE: "abcdefg" * 9}, HASH_KEY_VARIABLE),
    ],
)
def test_identifiers_that_cannot_be_shown_so(environment: dict[str, str], named: str) -> None:
    """Another mode, and hashes without a key that is hard to guess, are refused by the variable's name."""
    with pytest.raises(RequestError) as refused:
        Settings.from_environment(environment)
    assert refused.value.parameter == named
    assert "too short" not in str(refused.value)


def test_every_limit_has_a_variable() -> None:
    """What the product refuses can be set from outside, all of it."""
    for field in fields(Limits):
        environment = {f"DICOM_SERIES_PREVIEW_MAX_{field.name.upper()}": "7"}
        assert getattr(Settings.from_environment(environment).limits, field.name) == 7


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "-inf", "1" + 27 * "0", "1e400", 5000 * "9"])
def test_a_number_that_cannot_be_is_refused(variable: str, text: str) -> None:
    """A setting that is no number, or one beyond all reason, is refused in a short line with its range."""
    _, least, most = VARIABLES[variable]
    with pytest.raises(RequestError) as refused:
        Settings.from_environment({variable: text})
    assert refused.value.parameter == variable
    assert str(refused.value).startswith(f"{variable}: is a")
    assert f" number from {least:.15g} to {most:.16g}, not '" in str(refused.value)
    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_greatest_number_works(variable: str, tmp_path: Path) -> None:
    """With the most that a setting may be, a series is indexed and shown."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1.dcm").write_bytes(make_dicom.encode(make_dicom.image(1)))
    most = VARIABLES[variable][2]
    settings = Settings.from_environment({variable: str(most)}, tmp_path / "cache")
    api = open_api({"default": str(tmp_path)}, settings, os.environ)
    assert api.picture("mosaic", HttpRequest("s")).status == 200
