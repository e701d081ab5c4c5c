"""What can be set from outside: frozen, built from a mapping, read only at the doors."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.base.errors import OutputError, RequestError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ROOT = "s3://idc-open-data"
# What a server of several requests at once is meant to keep to.
SERVED_BYTES = 2 * 2**30
# The longest body of an answer there: an index; pictures end before that, by their limit of pixels.
SERVED_ANSWER_BYTES = 2**28
TOKEN_VARIABLE = "DICOM_SERIES_PREVIEW_TOKEN"  # noqa: S105 - the variable's name
HTTP_TOKENS_VARIABLE = "DICOM_SERIES_PREVIEW_HTTP_TOKENS"
CACHE_DIR_VARIABLE = "DICOM_SERIES_PREVIEW_CACHE_DIR"

# What a request takes of the memory at most, in bytes; measured, see docs/performance.md. The program and its
# libraries, then for each byte of a decoded frame, pixel of a slide's level, pixel of the picture, row of the
# index.
_PROGRAM_BYTES = 160 * 2**20
_BYTES_A_FRAME_BYTE = 14
_BYTES_A_MATRIX_PIXEL = 20
_BYTES_AN_OUTPUT_PIXEL = 40
_BYTES_A_ROW = 6 * 1024
# Until its header is read, an object of this size may have frames without end; an index of such has the
# memory for itself.
_FEW_FRAMES_BYTES = 4 * 2**20
_UNKNOWN_BYTES = 2**30
# An encoder has one thread, and takes up to 0.2 s a million pixels, whatever the memory.
_TIMED_PIXELS = 40_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused, or passed over with its reason, rather than tried.

    Attributes:
        instances: The most objects of one series.
        folders: The most folders below a series on a web server: each takes a request.
        header_bytes: The longest header that is read; of a deflated object when inflated.
        inflated_bytes: The most that a deflated object may inflate to.
        frames: The most frames of one object.
        rows: The most rows of a series' index: one a frame.
        frame_bytes: The largest frame that is decoded: rows x columns x samples, in decoded bytes.
        matrix_pixels: The largest level of a slide that is put together, in pixels.
        tiles: The most tiles of a picture.
        output_pixels: The largest picture, in pixels.
        seconds: The longest that one request may take, counted from when it came.
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
        """Limits under which the worst request takes half of a memory, of so many bytes.

        The other half is for what the storage has under way, and for what else the process does.
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
    """About how much memory a picture takes while it is made.

    Args:
        pixels: Of the picture.
        frame_bytes: Of the largest frame in it, decoded.
    """
    return max(pixels * _BYTES_AN_OUTPUT_PIXEL, frame_bytes * _BYTES_A_FRAME_BYTE)


def index_bytes(sizes: Sequence[int | None]) -> int:
    """About how much memory an index takes while it is made.

    Args:
        sizes: The objects' sizes in bytes, None where the listing does not tell.
    """
    return sum(
        _BYTES_A_ROW if size is not None and size < _FEW_FRAMES_BYTES else _UNKNOWN_BYTES for size in sizes
    )


def text_bytes(rows: int) -> int:
    """About how much memory an index of so many rows takes while it is written as text."""
    return rows * _BYTES_A_ROW


@dataclass(frozen=True, slots=True)
class Settings:
    """The product's settings.

    Attributes:
        cache_dir: The folder that holds `indices/` and `renders/`; an absolute path.
        cache_bytes: How large what is kept there may become; what is used longest ago goes first.
        concurrency: Requests in flight at once, never more; or None: 64 to begin with, and of S3 up to 256
            while it answers them all.
        max_retries: How often one request is tried again after 429, 5xx, a timeout or a broken connection.
        retry_timeout_s: No retry starts later than this after a request's first try.
        request_timeout_s: How long the storage may be silent; ten times as long may an answer take.
        limits: What is refused.
        follow_links: Whether links may lead out of a root that is a local folder.
        region: Where S3 buckets lie, or None to ask AWS.
        signed: Whether requests to S3 are signed where there are credentials.
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

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], cache_dir: Path | None = None, defaults: Settings | None = None
    ) -> Settings:
        """Read the settings from environment variables: those of `VARIABLES`, and the cache folder's.

        Args:
            environment: Usually `os.environ`.
            cache_dir: Overrides the environment's cache folder; relative to the working folder, or below `~`.
            defaults: What holds where there is no variable, the cache folder aside.

        Raises:
            RequestError: A variable holds no number, or one that cannot be.
        """
        # Path.expanduser raises where there is no such user; a shell takes `~name` for a name then, as this.
        folder = os.path.expanduser(cache_dir or default_cache_dir(environment))  # noqa: PTH111
        base = replace(defaults or cls(Path()), cache_dir=absolute(folder))
        numbers: dict[str, Any] = {
            field: number_of(name, environment[name], least, most)
            for name, (field, least, most) in VARIABLES.items()
            if environment.get(name)
        }
        of_limits = {field.name for field in fields(Limits)}
        limits = replace(base.limits, **{name: numbers.pop(name) for name in of_limits & numbers.keys()})
        return replace(base, limits=limits, **numbers)


_MOST_BYTES = 10**15
_MOST_COUNT = 10**9
_DAY_S = 86_400.0
# By variable, what it sets, and the least and the most that make sense: far beyond, threads, retries and
# seconds end in errors of Python's own.
VARIABLES: Mapping[str, tuple[str, int | float, int | float]] = {
    "DICOM_SERIES_PREVIEW_CACHE_BYTES": ("cache_bytes", 1, _MOST_BYTES),
    "DICOM_SERIES_PREVIEW_CONCURRENCY": ("concurrency", 1, 1024),
    "DICOM_SERIES_PREVIEW_RETRIES": ("max_retries", 0, 100),
    "DICOM_SERIES_PREVIEW_RETRY_SECONDS": ("retry_timeout_s", 0.0, _DAY_S),
    "DICOM_SERIES_PREVIEW_REQUEST_SECONDS": ("request_timeout_s", 0.001, _DAY_S),
    **{
        f"DICOM_SERIES_PREVIEW_MAX_{field.name.upper()}": (
            (field.name, 0.0, _DAY_S)
            if field.name == "seconds"
            else (field.name, 1, _MOST_BYTES if field.name.endswith("_bytes") else _MOST_COUNT)
        )
        for field in fields(Limits)
    },
}


def absolute(path: str | os.PathLike[str]) -> Path:
    """A path from the working folder on; one that is a symbolic link keeps the name it was given.

    Raises:
        OutputError: It is relative, and the working folder is gone.
    """
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100 - resolve follows links
    except FileNotFoundError as error:
        raise OutputError(os.fspath(path), "the working folder is gone; change to another one") from error


def plain_digits(text: str) -> str:
    """A number as others than Python write it.

    Raises:
        ValueError: It has underscores, or other digits than ASCII's.
    """
    if not text.isascii() or "_" in text:
        raise ValueError("no plain digits")
    return text


def number_of(variable: str, text: str, least: float, most: float) -> int | float:
    """A variable's value: whole where the least one is.

    Raises:
        RequestError: It is no number, or not from `least` to `most`.
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
    """The cache folder: the variable's, else the platform's usual place."""
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
