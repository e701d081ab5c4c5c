"""Erase the pictures of a series whose objects are gone, and tell the folders around it."""

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
    """Erases the pictures of a folder whose objects are gone, and tells the folders around it.

    Attributes:
        work: What was to be done.
        indexer: Opens the folders of its root.
        erase: Removes every picture of the folder, and returns where they lay.
        queue: Where the folders around it are told to.
        is_series: The folder lies where series do.
        erased: Where the pictures lay that were removed.
        later: What is to be looked at again when no request that is under way now can keep anything any more.
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
        """Do what was asked for, whatever the index says."""
        if self.work.removed and self.work.swept:
            self.erased += self.erase()
        elif self.work.removed:
            self._gone()

    def vanished(self, *, known: bool) -> None:
        """See `UpdateOptions.vanished`."""
        # What a sweep finds to have gone since it was told of is erased, and swept, in its turn. Of a folder
        # that nothing is kept of there is nothing to compare.
        if known or (self.is_series and not self.work.swept):
            self._gone()

    def _gone(self) -> None:
        if self.later:
            return
        self.later.append(replace(self.work, removed=True, swept=True, around=False))
        if self.is_series:
            # Where it was told that objects have gone, the folders above were told as well.
            told = self.work.removed and not self.work.swept
            self._tell([*([] if told else folders_above(self.work.series)), *self._below()], removed=True)
        self.erased += self.erase()

    def look_around(self) -> None:
        """Have what is kept of the folders above and below a series compared with what is there.

        Where a series has no index yet, nothing else tells of an object that is another one than they know.
        """
        cache = self.indexer.cache
        if self._looked or self.later or not self.is_series or cache is None:
            return
        self._looked = True
        # Those above that were told of a removal are swept as well.
        above = [] if self.work.removed else folders_above(self.work.series)
        self._tell([*filter(cache.is_kept, above), *self._below()], removed=False)

    def end(self) -> None:
        """See what is kept around a series, and later what requests that are under way have kept."""
        if self.work.swept or self.work.around:
            self.look_around()
        if not self.later and self.work.around and not self.work.swept:
            self.later.append(replace(self.work, swept=True))

    def _tell(self, folders: Sequence[str], *, removed: bool) -> None:
        send_all(self.queue, [(Recheck(self.work.root, folder, removed), 0) for folder in folders])

    def _below(self) -> list[str]:
        return [] if self.indexer.cache is None else self.indexer.cache.kept_below(self.work.series)
