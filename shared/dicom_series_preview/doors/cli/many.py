"""Open many series, named by their names, paths or prefixes, below several roots."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.here import Named, find
from dicom_series_preview.archive.local import open_cache, open_output, open_places
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.room import Room
from dicom_series_preview.base.errors import SeriesNotFoundError
from dicom_series_preview.doors.cli.opening import damage_of, output_folder, settings_of
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.sources.storage.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dicom_series_preview.base.settings import Settings
    from dicom_series_preview.sources.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Job:
    """One of several series.

    Attributes:
        shown: Its name in lines: as typed, or the folder that a prefix matched.
        named: The name as typed.
        name: The series.
    """

    shown: str
    named: Named
    name: SeriesName


class ManySeries:
    """Several series below several roots, each of which is opened once.

    Args:
        options: The command's.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.settings: Settings = settings_of(options)
        self._output: Path | None = output_folder(options)
        self._storages: dict[tuple[str, Path | None], Storage] = {}
        self.running = Deadline()
        self._room = Room(self.running)

    def jobs(self, typed: str, root: str | None = None) -> list[Job]:
        """List the series that a name means: one, or all with a prefix.

        Args:
            typed: The name.
            root: Its root; None for the command's.

        Raises:
            PreviewError: No series matches, or the root cannot be listed.
        """
        named = find(typed, root or self._options["root"], os.environ)
        name = named.name
        if not name.is_prefix:
            return [Job(typed, named, name)]
        storage = self._storage(named).within(self.running.begin().limited(self.settings.limits.seconds))
        for prefix in name.candidates():
            folders = storage.list_folders(prefix)
            if folders:
                return [Job(folder, named, SeriesName(folder)) for folder in folders]
        uids = open_places(self.settings, storage).matching(name.text)
        if uids:
            return [Job(uid, named, SeriesName(uid)) for uid in uids]
        raise SeriesNotFoundError(f"{name.text}*", storage.url, "no series begins so")

    def service(self, job: Job, progress: Any, *, optional: bool = False) -> PreviewService:  # noqa: ANN401 - a part
        """Return the service of a series' root, for one piece of work that begins now.

        Args:
            job: The series.
            progress: Called with the headers read and in all.
            optional: Go on without a cache that cannot be written.
        """
        storage = self._storage(job.named)
        cache = None
        if self._output:
            cache = open_output(self._output, self.settings)
        elif not self._options.get("no_cache"):
            cache = open_cache(self.settings, storage, optional=optional)
        return PreviewService(
            storage,
            cache,
            self.settings.limits,
            progress,
            gate=self._room.passage,
            damaged=damage_of(job.shown),
            places=open_places(self.settings, storage),
        ).within(self.running.begin())

    def _storage(self, named: Named) -> Storage:
        place = (named.root, named.file)
        if place not in self._storages:
            self._storages[place] = named.open(self.settings, os.environ)
        return self._storages[place]
