"""Open a command's series while the rest is loaded, and build its service."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dicom_series_preview.base.errors import PreviewError, RequestError
from dicom_series_preview.base.settings import Settings, absolute
from dicom_series_preview.doors.cli.console import say
from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.here import Named
    from dicom_series_preview.products.pictures.service import PreviewService
    from dicom_series_preview.sources.storage.base import Storage

_LOGGER = logging.getLogger("dicom_series_preview")
# This door's own options; all others belong to the request.
_OF_THE_DOOR = {"root", "cache_dir", "no_cache", "report", "verbose", "quiet", "as_json"}
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Opened:
    """A root, and the place of its indices.

    Attributes:
        named: The series as typed.
        storage: The root.
        settings: The settings, including the cache folder.
        output: The one folder of `build-index --output`, or None.
        cached: The cache stores indices.
        deadline: The command's deadline; it began before the root was opened.
    """

    named: Named
    storage: Storage
    settings: Settings
    output: Path | None
    cached: bool
    deadline: Deadline


def given(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the request's options as lists of strings, without this door's own."""
    found = {}
    for name, value in options.items():
        if name not in _OF_THE_DOOR and value is not None and value != ():
            found[name] = list(value) if isinstance(value, tuple) else [value]
    return found


def settings_of(options: Mapping[str, Any]) -> Settings:
    """Read the settings from the environment, with the given cache folder.

    Raises:
        RequestError: The options give a cache folder, but also disable the cache.
    """
    cache_dir = options.get("cache_dir")
    if cache_dir and options.get("no_cache"):
        raise RequestError("cache_dir", "and `no_cache` exclude each other; give one")
    return Settings.from_environment(os.environ, Path(cache_dir) if cache_dir else None)


def output_folder(options: Mapping[str, Any]) -> Path | None:
    """Return the folder of `build-index --output`, or None."""
    return absolute(options["output"]) if options.get("output") else None


def begin(series: str, options: Mapping[str, Any]) -> Future[Opened]:
    """Open a series' root in a thread, and begin its listing, while the rest of the program loads.

    The result raises their errors, so that all errors of a request are reported together.
    """
    from dicom_series_preview.archive.here import find  # noqa: PLC0415 - loads the storages

    opening: Future[Opened] = Future()
    came = Deadline()
    try:
        named = find(series, options["root"], os.environ)
        settings = settings_of(options)
        storage = named.open(settings, os.environ)
        output = output_folder(options)
        opened = Opened(named, storage, settings, output, not (output or options.get("no_cache")), came)
        _list_ahead(opened)
        opening.set_result(opened)
    except PreviewError as error:
        opening.set_exception(error)
    return opening


def _list_ahead(opened: Opened) -> None:
    """Begin to list the series, unless something else must be requested first."""
    from dicom_series_preview.archive.names import index_folder, index_path  # noqa: PLC0415 - 2 ms that --help spares

    name, storage, settings = opened.named.name, opened.storage, opened.settings
    place = opened.output or settings.cache_dir
    below = index_folder(storage.identity) if opened.cached else ""
    folders = name.candidates()
    kept = [place / index_path(folder, below) for folder in folders] if opened.output or opened.cached else []
    # Path.is_file raises where the name is too long.
    if not (name.is_prefix or (storage.immutable and any(map(os.path.isfile, kept)))):
        ahead = storage.within(opened.deadline.limited(settings.limits.seconds))
        ahead.list_ahead(folders[0], settings.limits.instances)


def request(
    opening: Future[Opened],
    series: str,
    make: Callable[..., R],
    *arguments: str | Mapping[str, Sequence[str]],
) -> R:
    """Build the request for a series that was found.

    Args:
        opening: The series' root.
        series: The series as typed.
        make: `from_strings` of the request's class.
        *arguments: Its arguments after the series.

    Raises:
        PreviewError: The root or an option is wrong.
    """
    error = opening.exception()
    if error is not None and not isinstance(error, RequestError):
        raise error
    return make(series if error is not None else opening.result().named.text, *arguments)


def service_of(
    opening: Future[Opened], typed: str, progress: Callable[[int, int], None], *, must_keep: bool = False
) -> PreviewService:
    """Build the service for a root.

    Args:
        opening: The root.
        typed: The series as typed.
        progress: Called with the headers read and in all.
        must_keep: Fail if an index cannot be cached, as its path is the command's result.
    """
    from dicom_series_preview.archive.local import open_cache, open_output, open_places  # noqa: PLC0415 - loads numpy and pyarrow
    from dicom_series_preview.products.pictures.service import PreviewService  # noqa: PLC0415 - likewise

    opened = opening.result()
    cache = None
    if opened.output:
        cache = open_output(opened.output, opened.settings)
    elif opened.cached:
        cache = open_cache(opened.settings, opened.storage, optional=not must_keep)
    if _LOGGER.isEnabledFor(logging.INFO):
        kept = "no index is kept" if cache is None else f"indices are kept in {cache.storage.url}"
        say(f"info: {typed} lies in {opened.storage.url}; {kept}")
    service = PreviewService(
        opened.storage,
        cache,
        opened.settings.limits,
        progress,
        damaged=damage_of(typed),
        places=open_places(opened.settings, opened.storage),
    )
    return service.within(opened.deadline)


def damage_of(typed: str) -> Callable[[str, str], None]:
    """Return a function that reports a damaged cached index, by its series' name as typed."""

    def told(_series: str, reason: str) -> None:
        say(f"warning: the index kept of {typed} cannot be used, and another one is built: {reason}")

    return told
