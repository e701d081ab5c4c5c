"""The series of a command that takes several: what their names mean, and what is told of a failure."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.here import Named, find
from dicom_series_preview.archive.local import open_cache, open_places
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.errors import PreviewError, SeriesNotFoundError
from dicom_series_preview.doors.cli.console import line_of, say
from dicom_series_preview.doors.cli.opening import damage_of, settings_of
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Job:
    """A series to work on.

    Attributes:
        shown: Its name in lines: as typed, or the folder that a prefix matched.
        named: The name as typed.
        name: The series.
    """

    shown: str
    named: Named
    name: SeriesName


class Roots:
    """The roots of several series; each is opened once.

    Args:
        options: The command's.

    Attributes:
        settings: The settings.
        running: The deadline that those of all series are parts of.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._root = options["root"]
        self.settings: Settings = settings_of(options)
        self.running = Deadline()
        self._storages: dict[tuple[str, Path | None], Storage] = {}

    def storage(self, named: Named) -> Storage:
        """Return the storage that a named series lies in."""
        place = (named.root, named.file)
        if place not in self._storages:
            self._storages[place] = named.open(self.settings, os.environ)
        return self._storages[place]

    def service(
        self, job: Job, progress: Callable[[int, int], None], *, no_cache: bool = False
    ) -> PreviewService:
        """Return the service of a series' root, for one piece of work that begins now.

        Args:
            job: The series.
            progress: Called with the headers read and in all.
            no_cache: Keep no index and use none; a cache that cannot be written is done without.
        """
        storage = self.storage(job.named)
        return PreviewService(
            storage,
            None if no_cache else open_cache(self.settings, storage, optional=True),
            self.settings.limits,
            progress,
            damaged=damage_of(job.shown),
            places=open_places(self.settings, storage),
        ).within(self.running.begin())

    def jobs(self, typed: Sequence[str], failed: Callable[[str, Exception], object]) -> list[Job]:
        """List the series that names mean, each once, in the order of the names.

        Args:
            typed: The names; a prefix means all series that it matches.
            failed: Called with a name, and why it means no series.
        """
        jobs: dict[tuple[str, str], Job] = {}
        for name in typed:
            try:
                for job in self.meant(name):
                    jobs.setdefault((job.named.root, job.name.text), job)
            except Exception as error:  # noqa: BLE001 - one name's error must not stop the others
                failed(name, error)
        return list(jobs.values())

    def meant(self, typed: str, root: str | None = None) -> list[Job]:
        """List the series that a name means: one, or all with a prefix.

        Args:
            typed: The name.
            root: Its root; None for the command's.

        Raises:
            PreviewError: No series matches, or the root cannot be listed.
        """
        named = find(typed, root or self._root, os.environ)
        name = named.name
        if not name.is_prefix:
            return [Job(typed, named, name)]
        storage = self.storage(named).within(self.running.begin().limited(self.settings.limits.seconds))
        for prefix in name.candidates():
            folders = storage.list_folders(prefix)
            if folders:
                return [Job(folder, named, SeriesName(folder)) for folder in folders]
        uids = open_places(self.settings, storage).matching(name.text)
        if uids:
            return [Job(uid, named, SeriesName(uid)) for uid in uids]
        raise SeriesNotFoundError(f"{name.text}*", storage.url, "no series begins so")


def checked_names(typed: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """Return the names of series as `SeriesName.parse` takes them, before work on any of them begins.

    Args:
        typed: The names as typed.
        options: The command's.

    Raises:
        PreviewError: A name can be no series.
    """
    return [find(name, options["root"], os.environ).text for name in typed]


def failure_line(error: Exception, *, verbose: bool) -> str:
    """Return the line of whatever ended one series, a bug of ours only by its type; with -v say its trace.

    Args:
        error: What ended it.
        verbose: The command has -v.
    """
    if verbose:
        say(*"".join(traceback.format_exception(error)).splitlines())
    if isinstance(error, PreviewError):
        return line_of(error)
    return f"failed unexpectedly: {type(error).__name__}; --verbose shows where"
