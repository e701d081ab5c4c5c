"""What a command works on: its series' root, opened while the rest is loaded, and the service."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dicom_series_preview.archive.here import Named
    from dicom_series_preview.products.pictures.service import PreviewService
    from dicom_series_preview.sources.storage.base import Storage
    from dicom_series_preview.sources.storage.deadline import Deadline

_LOGGER = logging.getLogger("dicom_series_preview")
# Options of this door; all others make up the request.
_OF_THE_DOOR = {"root", "cache_dir", "no_cache", "report", "verbose", "quiet", "as_json"}
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Opened:
    """A root, and where its indices are kept.

    Attributes:
        named: The series as it was typed.
        storage: The root.
        settings: The settings, the cache folder among them.
        output: The one folder of `build-index --output`, or None.
        cached: Indices are kept in the cache.
        deadline: Of the command; it began when the root was to be opened.
    """

    named: Named
    storage: Storage
    settings: Settings
    output: Path | None
    cached: bool
    deadline: Deadline


def given(options: Mapping[str, Any]) -> dict[str, list[str]]:
    """The options that make up a request, as lists of strings; those of this door are left out."""
    found = {}
    for name, value in options.items():
        if name not in _OF_THE_DOOR and value is not None and value != ():
            found[name] = list(value) if isinstance(value, tuple) else [value]
    return found


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings: the environment's, and the cache folder that is named.

    Raises:
        RequestError: A cache folder is named, and none is to be used.
    """
    cache_dir = options.get("cache_dir")
    if cache_dir and options.get("no_cache"):
        raise RequestError("cache_dir", "and `no_cache` exclude each other; give one")
    return Settings.from_environment(os.environ, Path(cache_dir) if cache_dir else None)


def output_folder(options: Mapping[str, Any]) -> Path | None:
    """The folder of `build-index --output`, or None."""
    return absolute(options["output"]) if options.get("output") else None


def begin(series: str, options: Mapping[str, Any]) -> Future[Opened]:
    """Open the root that a series lies in; its listing is on the way while the rest of the program is loaded.

    What is wrong with either is raised by the result, as all that is wrong with a request is said together.
    """
    from dicom_series_preview.archive.here import find  # noqa: PLC0415 - loads obstore
    from dicom_series_preview.sources.storage.deadline import Deadline  # noqa: PLC0415

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
    """Begin to list the series, unless something else has to be asked for first."""
    from dicom_series_preview.archive.names import index_folder, index_path  # noqa: PLC0415 - loads obstore

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
    """The request for a series as it was found.

    Args:
        opening: The series' root.
        series: As it was typed.
        make: `from_strings` of the request's kind.
        *arguments: What that takes after the series.

    Raises:
        PreviewError: Something is wrong with it.
    """
    error = opening.exception()
    if error is not None and not isinstance(error, RequestError):
        raise error
    return make(series if error is not None else opening.result().named.text, *arguments)


def service_of(
    opening: Future[Opened], typed: str, progress: Callable[[int, int], None], *, must_keep: bool = False
) -> PreviewService:
    """The service for a root; who asks for an index's path must have it kept.

    Args:
        opening: The root.
        typed: The series as it was typed.
        progress: Called with headers read and headers to read.
        must_keep: It is an error where an index cannot be kept.
    """
    from dicom_series_preview.archive.local import open_cache, open_output  # noqa: PLC0415 - loads numpy and pyarrow
    from dicom_series_preview.products.pictures.service import PreviewService  # noqa: PLC0415

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
        opened.storage, cache, opened.settings.limits, progress, damaged=damage_of(typed)
    )
    return service.within(opened.deadline)


def damage_of(typed: str) -> Callable[[str, str], None]:
    """Says that a kept index is damaged, by the name that its series was typed by."""

    def told(_series: str, reason: str) -> None:
        say(f"warning: the index kept of {typed} cannot be used, and another one is built: {reason}")

    return told
