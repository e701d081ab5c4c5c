"""Settings and limits: frozen values, read from a mapping, and only at the doors."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import OutputError, RequestError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ROOT = "s3://idc-open-data"
# The memory that a server of several requests at once should stay within.
SERVED_BYTES = 2 * 2**30
# The longest answer's body there: an index; the limit of pixels keeps pictures smaller.
SERVED_ANSWER_BYTES = 2**28
TOKEN_VARIABLE = "DICOM_SERIES_PREVIEW_TOKEN"  # noqa: S105 - the variable's name
HTTP_TOKENS_VARIABLE = "DICOM_SERIES_PREVIEW_HTTP_TOKENS"
CACHE_DIR_VARIABLE = "DICOM_SERIES_PREVIEW_CACHE_DIR"
IDENTIFIERS_VARIABLE = "DICOM_SERIES_PREVIEW_IDENTIFIERS"
HASH_KEY_VARIABLE = "DICOM_SERIES_PREVIEW_HASH_KEY"
IDENTIFIER_MODES = ("drop", "hash", "keep")
# With a shorter key, whoever guesses it tells the patients from their hashes.
_LEAST_KEY = 16
_LEAST_CHARACTERS = 8

# The most memory that a request takes, in bytes, as measured in docs/performance.md: for the program and its
# libraries, then per byte of a decoded frame, pixel of a slide's level, pixel of the picture, row of the
# index.
_PROGRAM_BYTES = 160 * 2**20
_BYTES_A_FRAME_BYTE = 14
_BYTES_A_MATRIX_PIXEL = 20
_BYTES_AN_OUTPUT_PIXEL = 40
_BYTES_A_ROW = 6 * 1024
# Until its header is read, an object of this size can have any number of frames; its index gets all the
# memory.
_FEW_FRAMES_BYTES = 4 * 2**20
_UNKNOWN_BYTES = 2**30
# An encoder has one thread, and takes up to 0.2 s a million pixels, whatever the memory.
_TIMED_PIXELS = 40_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds beyond which work is refused, or an object passed over with its reason.

    Attributes:
        instances: The most objects of one series.
        folders: The most folders below a series on a web server: each costs a request.
        header_bytes: The longest header; of a deflated object once inflated.
        inflated_bytes: The most that a deflated object may inflate to.
        frames: The most frames of one object.
        rows: The most rows of a series' index: one per frame.
        frame_bytes: The largest frame: rows x columns x samples, in decoded bytes.
        matrix_pixels: The largest level of a slide, in pixels.
        tiles: The most tiles of a picture.
        output_pixels: The largest picture, in pixels.
        seconds: The longest that one request may take, counted from its arrival.
    """

    instances: int = 200_000
    folders: int = 10_000
    header_bytes: int = 64 * 2**20
    inflated_bytes: int = 2**30
    # The largest whole slide images have some 300,000.
    frames: int = 500_000
    rows: int = 2_000_000
    frame_bytes: int = 2**30
    matrix_pixels: int = 100_000_000
    tiles: int = 10_000
    output_pixels: int = 100_000_000
    seconds: float = math.inf

    @classmethod
    def for_memory(cls, available: int) -> Limits:
        """Build limits under which the worst request takes half of this memory, in bytes.

        The other half is for the storage's requests in flight, and for the rest of the process.
        """
        most, spare = cls(), max(available // 8, available // 2 - _PROGRAM_BYTES)
        return replace(
            most,
            rows=min(most.rows, spare // _BYTES_A_ROW),
            frame_bytes=min(most.frame_bytes, spare // _BYTES_A_FRAME_BYTE),
            matrix_pixels=min(most.matrix_pixels, spare // _BYTES_A_MATRIX_PIXEL),
            output_pixels=min(_TIMED_PIXELS, spare // _BYTES_AN_OUTPUT_PIXEL),
        )


def picture_bytes(pixels: int, frame_bytes: int) -> int:
    """Estimate the memory that making a picture takes, in bytes.

    Args:
        pixels: The picture's.
        frame_bytes: Its largest frame's, decoded.
    """
    return max(pixels * _BYTES_AN_OUTPUT_PIXEL, frame_bytes * _BYTES_A_FRAME_BYTE)


def index_bytes(sizes: Sequence[int | None]) -> int:
    """Estimate the memory that making an index takes, in bytes.

    Args:
        sizes: The objects' sizes in bytes, None where the listing has none.
    """
    return sum(
        _BYTES_A_ROW if size is not None and size < _FEW_FRAMES_BYTES else _UNKNOWN_BYTES for size in sizes
    )


def text_bytes(rows: int) -> int:
    """Estimate the memory, in bytes, that writing an index of so many rows as text takes."""
    return rows * _BYTES_A_ROW


@dataclass(frozen=True, slots=True)
class Identifiers:
    """How a door shows what identifies a patient in the catalogue; see `products.catalogue.identifiers`.

    Attributes:
        mode: `drop`, `hash` or `keep`.
        key: The key of the hashes; empty in the other modes.
    """

    mode: str = "keep"
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], default: Identifiers) -> Identifiers:
        """Read the mode, and the key that hashes need.

        Raises:
            RequestError: The mode is none of the three, or the key is missing or easily guessed.
        """
        mode = environment.get(IDENTIFIERS_VARIABLE) or default.mode
        if mode not in IDENTIFIER_MODES:
            raise RequestError(
                IDENTIFIERS_VARIABLE, f"is one of {', '.join(IDENTIFIER_MODES)}, not {quoted(mode)}"
            )
        key = environment.get(HASH_KEY_VARIABLE, "") if mode == "hash" else ""
        if mode == "hash" and (len(key) < _LEAST_KEY or len(set(key)) < _LEAST_CHARACTERS):
            raise RequestError(
                HASH_KEY_VARIABLE,
                f"is needed to hash identifiers, and has at least {_LEAST_KEY} characters, "
                f"{_LEAST_CHARACTERS} of them different; make one with openssl rand -hex 32",
            )
        return cls(mode, key.encode())


@dataclass(frozen=True, slots=True)
class Settings:
    """The product's settings.

    Attributes:
        cache_dir: The folder that holds `indices/` and `renders/`; an absolute path.
        cache_bytes: The cache's largest size; the least recently used files go first.
        concurrency: The most requests in flight at once; or None: 64 at first, and for S3 up to 256 while it
            answers all.
        max_retries: How often one request is retried after 429, 5xx, a timeout or a broken connection.
        retry_timeout_s: No retry starts later than this after a request's first try.
        request_timeout_s: How long the storage may be silent; a whole answer may take ten times as long.
        limits: The bounds of work.
        follow_links: Links may lead out of a root that is a local folder.
        region: Where S3 buckets lie, or None to ask AWS.
        signed: Requests to S3 are signed if there are credentials.
        identifiers: How patients' identifiers are shown: kept on the user's own terminal; the doors of the
            HTTP API drop them by default.
    """

    cache_dir: Path
    cache_bytes: int = 2_000_000_000
    concurrency: int | None = None
    max_retries: int = 5
    retry_timeout_s: float = 60.0
    request_timeout_s: float = 30.0
    limits: Limits = Limits()
    follow_links: bool = True
    region: str | None = None
    signed: bool = True
    identifiers: Identifiers = Identifiers()

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], cache_dir: Path | None = None, defaults: Settings | None = None
    ) -> Settings:
        """Read the settings from environment variables: those in `VARIABLES`, and the cache folder's.

        Args:
            environment: Usually `os.environ`.
            cache_dir: Overrides the environment's cache folder; relative to the working folder, or below `~`.
            defaults: Used where there is no variable, except for the cache folder.

        Raises:
            RequestError: A variable holds no number, or one out of range, or what `Identifiers` refuses; or
                the cache folder is a URL.
        """
        # Path.expanduser raises for an unknown user; this keeps `~name` as a name, like a shell.
        folder = os.path.expanduser(cache_dir or default_cache_dir(environment))  # noqa: PTH111
        if _URL.match(folder):
            raise RequestError("cache_dir", "is a folder here; update, list and query also take s3://")
        base = replace(defaults or cls(Path()), cache_dir=absolute(folder))
        numbers: dict[str, Any] = {
            setting: number_of(name, environment[name], least, most)
            for name, (setting, least, most) in VARIABLES.items()
            if environment.get(name)
        }
        of_limits = {limit.name for limit in fields(Limits)}
        limits = replace(base.limits, **{name: numbers.pop(name) for name in of_limits & numbers.keys()})
        identifiers = Identifiers.from_environment(environment, base.identifiers)
        return replace(base, limits=limits, identifiers=identifiers, **numbers)


# A URL's scheme; pathlib leaves one of its slashes. One letter is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_MOST_BYTES = 10**15
_MOST_COUNT = 10**9
_DAY_S = 86_400.0
# By variable, the setting, and the least and most that make sense: far beyond, threads, retries and seconds
# end in Python's own errors.
VARIABLES: Mapping[str, tuple[str, int | float, int | float]] = {
    "DICOM_SERIES_PREVIEW_CACHE_BYTES": ("cache_bytes", 1, _MOST_BYTES),
    "DICOM_SERIES_PREVIEW_CONCURRENCY": ("concurrency", 1, 1024),
    "DICOM_SERIES_PREVIEW_RETRIES": ("max_retries", 0, 100),
    "DICOM_SERIES_PREVIEW_RETRY_SECONDS": ("retry_timeout_s", 0.0, _DAY_S),
    "DICOM_SERIES_PREVIEW_REQUEST_SECONDS": ("request_timeout_s", 0.001, _DAY_S),
    **{
        f"DICOM_SERIES_PREVIEW_MAX_{limit.name.upper()}": (
            (limit.name, 0.0, _DAY_S)
            if limit.name == "seconds"
            else (limit.name, 1, _MOST_BYTES if limit.name.endswith("_bytes") else _MOST_COUNT)
        )
        for limit in fields(Limits)
    },
}


def absolute(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute from the working folder; a symbolic link keeps its given name.

    Raises:
        OutputError: The path is relative, and the working folder is gone.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - resolve follows links
    except FileNotFoundError as error:
        raise OutputError(os.fspath(path), "the working folder is gone; change to another one") from error


def plain_digits(text: str) -> str:
    """Return a number's text, refusing spellings that only Python accepts.

    Raises:
        ValueError: The text has underscores, or digits beyond ASCII.
    """
    if not text.isascii() or "_" in text:
        raise ValueError("no plain digits")
    return text


def number_of(variable: str, text: str, least: float, most: float) -> int | float:
    """Parse a variable's value: an integer where the least one is.

    Raises:
        RequestError: The text is no number, or not from `least` to `most`.
    """
    try:
        number = type(least)(plain_digits(text))
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        kind = "a whole number" if isinstance(least, int) else "a number"
        raise RequestError(variable, f"is {kind} from {least:.16g} to {most:.16g}, not {quoted(text)}")
    return number


def default_cache_dir(environment: Mapping[str, str]) -> Path:
    """Return the cache folder: the variable's, else the platform's usual place."""
    named = environment.get(CACHE_DIR_VARIABLE)
    if named:
        return Path(named)
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "dicom-series-preview"
    if sys.platform == "win32":
        appdata = environment.get("APPDATA")
        return (Path(appdata) if appdata else home / "AppData" / "Roaming") / "dicom-series-preview" / "cache"
    xdg = environment.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else home / ".cache") / "dicom-series-preview"
