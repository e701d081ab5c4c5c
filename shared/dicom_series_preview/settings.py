"""What can be set from outside: frozen, built from a mapping, read only at the doors."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ROOT = "s3://idc-open-data"
CACHE_DIR_VARIABLE = "DICOM_SERIES_PREVIEW_CACHE_DIR"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused, or passed over with its reason, rather than tried.

    Attributes:
        header_bytes: The longest header that is read.
        frame_bytes: The largest frame that is decoded, in decoded bytes.
        output_pixels: The largest picture, in pixels.
        instances: The most objects of one series.
        matrix_pixels: The largest level of a slide that is put together, in pixels.
    """

    header_bytes: int = 64 * 2**20
    frame_bytes: int = 2**30
    output_pixels: int = 100_000_000
    instances: int = 200_000
    matrix_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The product's settings.

    Attributes:
        cache_dir: The folder that holds `indices/`; an absolute path.
        concurrency: Requests in flight at once.
        max_retries: How often one request is tried again after 429, 5xx, a timeout or a broken connection.
        retry_timeout_s: No retry starts later than this after a request's first try.
        request_timeout_s: The longest one request may take.
        limits: What is refused.
        region: Where S3 buckets lie, or None to ask AWS.
    """

    cache_dir: Path
    concurrency: int = 64
    max_retries: int = 5
    retry_timeout_s: float = 60.0
    request_timeout_s: float = 30.0
    limits: Limits = Limits()
    region: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], cache_dir: Path | None = None) -> Settings:
        """Read the settings from environment variables.

        Args:
            environment: Usually `os.environ`.
            cache_dir: Overrides the environment's cache folder; relative to the working folder, or below `~`.
        """
        # Path.expanduser raises where there is no such user; a shell takes `~name` for a name then, as this.
        folder = os.path.expanduser(cache_dir or default_cache_dir(environment))  # noqa: PTH111
        # abspath, not resolve: a cache that is a symbolic link keeps the name it was given.
        return cls(cache_dir=Path(os.path.abspath(folder)))  # noqa: PTH100


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
