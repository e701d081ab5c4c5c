"""One local file as a storage root, with one series that has the file's name and holds it alone."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from dicom_series_preview.sources.storage.base import ObjectInfo
from dicom_series_preview.sources.storage.disk import file_version, listed_name
from dicom_series_preview.sources.storage.local import LocalStorage

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_series_preview.sources.storage.deadline import Deadline


class OneFile(LocalStorage):
    """The folder of a file, with one series: its name is the file's.

    No folder beside it has that name, so its index replaces no other.

    Args:
        file: Its absolute path.
        concurrency: Ranges read at once.
    """

    def __init__(self, file: Path, concurrency: int) -> None:
        super().__init__(file.parent, concurrency)
        self._file = file
        self._series = listed_name(file.name)

    def list_folders(self, prefix: str) -> list[str]:
        """See `Storage.list_folders`."""
        return [self._series] if self._series.startswith(prefix) else []

    def _listed(self, folder: str, most: int | None, deadline: Deadline) -> list[ObjectInfo]:
        if folder != self._series or not self._file.is_file():
            return super()._listed(folder, most, deadline)
        self._meter.count(lists=1)
        status = os.stat(self._file)  # noqa: PTH116 - text, as in listings
        if not stat.S_ISREG(status.st_mode):
            return []
        name = f"{folder}/{folder}"
        return [ObjectInfo(name, status.st_size, file_version(status), status.st_mtime_ns / 1e9)]

    def _path(self, path: str) -> Path:
        return self._file if path == f"{self._series}/{self._series}" else super()._path(path)
