"""Erase the pictures of a series whose objects are gone, and report it to the folders around it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dicom_series_preview.doors.aws.queue_messages import folders_above
from dicom_series_preview.doors.aws.rechecks import Recheck, send_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.archive.open import SeriesIndexer
    from dicom_series_preview.doors.aws.rechecks import Queue


@dataclass(slots=True)
class Erasure:
    """Erases the pictures of a folder whose objects are gone, and reports it to the folders around it.

    Attributes:
        work: The recheck to do.
        indexer: Opens the folders of its root.
        erase: Removes every picture of the folder, and returns their paths.
        queue: Gets the rechecks of the folders around it.
        is_series: The folder lies where series do.
        erased: The paths of the removed pictures.
        later: The rechecks for the time when no request now under way can store anything any more.
    """

    work: Recheck
    indexer: SeriesIndexer
    erase: Callable[[], list[str]]
    queue: Queue
    is_series: bool
    erased: list[str] = field(default_factory=list)
    later: list[Recheck] = field(default_factory=list)
    _looked: bool = False

    def begin(self) -> None:
        """Do the recheck's own work, whatever the index says."""
        if self.work.removed and self.work.swept:
            self.erased += self.erase()
        elif self.work.removed:
            self._erase_once()

    def vanished(self, *, known: bool) -> None:
        """Erase the pictures; see `UpdateOptions.vanished`."""
        # A sweep erases, and later sweeps, whatever it finds to have vanished since. A folder that the cache
        # does not know leaves nothing to compare.
        if known or (self.is_series and not self.work.swept):
            self._erase_once()

    def _erase_once(self) -> None:
        if self.later:
            return
        self.later.append(replace(self.work, removed=True, swept=True, around=False))
        if self.is_series:
            # A report of vanished objects went to the folders above as well.
            told = self.work.removed and not self.work.swept
            self._send([*([] if told else folders_above(self.work.series)), *self._below()], removed=True)
        self.erased += self.erase()

    def look_around(self) -> None:
        """Queue rechecks of the stored folders above and below a series.

        While a series has no index, nothing else detects an object that was replaced.
        """
        cache = self.indexer.cache
        if self._looked or self.later or not self.is_series or cache is None:
            return
        self._looked = True
        # Folders above that know of a removal are swept as well.
        above = [] if self.work.removed else folders_above(self.work.series)
        self._send([*filter(cache.is_kept, above), *self._below()], removed=False)

    def end(self) -> None:
        """Check the folders around a series, and later everything that current requests have stored."""
        if self.work.swept or self.work.around:
            self.look_around()
        if not self.later and self.work.around and not self.work.swept:
            self.later.append(replace(self.work, swept=True))

    def _send(self, folders: Sequence[str], *, removed: bool) -> None:
        send_all(self.queue, [(Recheck(self.work.root, folder, removed), 0) for folder in folders])

    def _below(self) -> list[str]:
        return [] if self.indexer.cache is None else self.indexer.cache.kept_below(self.work.series)
