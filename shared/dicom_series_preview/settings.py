"""What can be set from outside: frozen, built from a mapping, read only at the doors."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_series_preview.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ROOT = "s3://idc-open-data"
CACHE_DIR_VARIABLE = "DICOM_SERIES_PREVIEW_CACHE_DIR"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused, or passed over with its reason, rather than tried.

    Attributes:
        instances: The most objects of one series.
        header_bytes: The longest header that is read; of a deflated object when inflated.
        inflated_bytes: The most that a deflated object may inflate to.
        frames: The most frames of one object. Each is a row of the index.
        frame_bytes: The largest frame that is decoded: rows x columns x samples, in decoded bytes.
        matrix_pixels: The largest level of a slide that is put together, in pixels.
        output_pixels: The largest picture, in pixels.
        seconds: The longest that one request may take; checked whenever something of it has been done.
    """

    instances: int = 200_000
    header_bytes: int = 64 * 2**20
    inflated_bytes: int = 2**30
    # The largest whole slide images have some 300,000.
    frames: int = 500_000
    frame_bytes: int = 2**30
    matrix_pixels: int = 100_000_000
    output_pixels: int = 100_000_000
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Settings:
    """The product's settings.

    Attributes:
        cache_dir: The folder that holds `indices/`; an absolute path.
        concurrency: Requests in flight at once, never more; or None: 64 to begin with, and of S3 up to 256
            while it answers them all.
        max_retries: How often one request is tried again after 429, 5xx, a timeout or a broken connection.
        retry_timeout_s: No retry starts later than this after a request's first try.
        request_timeout_s: The longest one request may take.
        limits: What is refused.
        region: Where S3 buckets lie, or None to ask AWS.
        signed: Whether requests to S3 are signed where there are credentials.
    """

    cache_dir: Path
    concurrency: int | None = None
    max_retries: int = 5
    retry_timeout_s: float = 60.0
    request_timeout_s: float = 30.0
    limits: Limits = Limits()
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
        # abspath, not resolve: a cache that is a symbolic link keeps the name it was given.
        base = replace(defaults or cls(Path()), cache_dir=Path(os.path.abspath(folder)))  # noqa: PTH100
        numbers: dict[str, Any] = {
            field: _number(name, environment[name], least)
            for name, (field, least) in VARIABLES.items()
            if environment.get(name)
        }
        of_limits = {field.name for field in fields(Limits)}
        limits = replace(base.limits, **{name: numbers.pop(name) for name in of_limits & numbers.keys()})
        return replace(base, limits=limits, **numbers)


# By variable, what it sets, and the least that makes sense.
VARIABLES: Mapping[str, tuple[str, int | float]] = {
    "DICOM_SERIES_PREVIEW_CONCURRENCY": ("concurrency", 1),
    "DICOM_SERIES_PREVIEW_RETRIES": ("max_retries", 0),
    "DICOM_SERIES_PREVIEW_RETRY_SECONDS": ("retry_timeout_s", 0.0),
    "DICOM_SERIES_PREVIEW_REQUEST_SECONDS": ("request_timeout_s", 0.001),
    **{
        f"DICOM_SERIES_PREVIEW_MAX_{field.name.upper()}": (field.name, 0.0 if field.name == "seconds" else 1)
        for field in fields(Limits)
    },
}


def _number(variable: str, text: str, least: float) -> float:
    """A variable's value: whole where the least one is."""
    try:
        number = type(least)(text)
    except ValueError:
        number = math.nan
    if not number >= least:
        kind = "a whole number" if isinstance(least, int) else "a number"
        raise RequestError(variable, f"is {kind} from {least} on, not {text!r}")
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
