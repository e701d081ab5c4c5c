"""Open a series by what it is called: its folder, else its SeriesInstanceUID, and one UID within a folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dicom_series_preview.archive.cache import excused
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.archive.uids import is_uid
from dicom_series_preview.base.errors import NoImageError, RequestError, SeriesNotFoundError, counted, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dicom_series_preview.archive.open import SeriesIndexer
    from dicom_series_preview.archive.opened import OpenedSeries
    from dicom_series_preview.archive.uids import SeriesPlaces

# So many series of a folder are listed in an error.
_LISTED = 20
_NO_PLACE = "and no folder is known to hold this SeriesInstanceUID"
_NEVER_UPDATED = (
    "; no series of this root is catalogued yet: dicom-series-preview update, with the same `root`, "
    "finds it if it is there"
)
_UPDATED = (
    "; series of this root are catalogued, but not this one: another dicom-series-preview update, with the "
    "same `root`, finds it if it has been added since, or was left out"
)
_LIMITED = "and of its folders no more objects than `limit` were read, which are of other series"
_LEFT = (
    "and the folders that held this SeriesInstanceUID hold it no more; dicom-series-preview update finds "
    "where it is now"
)


@dataclass(frozen=True, slots=True)
class SeriesOpener:
    """Opens series by their folders and by their SeriesInstanceUIDs.

    Attributes:
        indexer: Opens folders.
        places: Knows in which folders a SeriesInstanceUID lies; or None.
    """

    indexer: SeriesIndexer
    places: SeriesPlaces | None = None

    def open(
        self, name: SeriesName, uid: str = "", *, limit: int | None = None, refresh: bool = False
    ) -> OpenedSeries:
        """Open a series with its index.

        Args:
            name: Its folder; else, where no folder has this name, its SeriesInstanceUID, or the first
                characters of one.
            uid: The one SeriesInstanceUID to show of what is found; empty for all.
            limit: The most objects to read of each folder, or None.
            refresh: See `SeriesIndexer.open`.

        Raises:
            SeriesNotFoundError: The series does not exist.
            RequestError: It does not hold the one SeriesInstanceUID.
            PreviewError: See `SeriesIndexer.open`.
        """
        open_folder = partial(self.indexer.open, limit=limit, refresh=refresh)
        try:
            opened = open_folder(name)
        except SeriesNotFoundError as error:
            if not is_uid(name.text):
                raise
            opened = self._of_places(name, open_folder, error)
        if uid in ("", opened.uid):
            return opened
        chosen = self._only(uid, [opened], open_folder)
        if chosen is None:
            raise RequestError("series_uid", _none_of(uid, opened))
        return chosen

    def _of_places(
        self,
        name: SeriesName,
        open_folder: Callable[..., OpenedSeries],
        unknown: SeriesNotFoundError,
    ) -> OpenedSeries:
        """Open the series that a SeriesInstanceUID names, from the folders that hold it.

        Raises:
            SeriesNotFoundError: None holds it.
        """
        from dicom_series_preview.archive.one_series import outermost  # noqa: PLC0415 - as in `_only`

        uid, matches = self._uid(name)
        folders = outermost(self._folders(uid)) if uid else []
        parts = []
        for folder in folders:
            # Folders that are gone, or hold nothing, hold no more of it.
            with suppress(SeriesNotFoundError, NoImageError):
                parts.append(open_folder(SeriesName(folder)))
        found = self._only(uid, parts, open_folder)
        # What was not read of them can be of it.
        limited = {part.name for part in parts if part.index.provenance.limit is not None}
        if found is None:
            told = _LIMITED if limited else _LEFT if folders else self._no_place()
            problem = f"{unknown.problem}, {told}"
            raise SeriesNotFoundError(unknown.series, unknown.root, problem) from None
        gone = tuple(folder for folder in folders if folder not in {*found.folders, *limited})
        return replace(found, matches=matches, asked_uid=uid, gone=gone)

    def _no_place(self) -> str:
        """Say that no place is known of a SeriesInstanceUID, and whether an update can help."""
        if self.places is not None:
            with excused(self.places.storage, optional=self.places.optional):
                return _NO_PLACE + (_UPDATED if self.places.has_any() else _NEVER_UPDATED)
        return _NO_PLACE

    def _uid(self, name: SeriesName) -> tuple[str, int]:
        """Return the SeriesInstanceUID that is meant, and the number that begin so; empty if none does."""
        if not name.is_prefix:
            return name.text, 1
        if self.places is not None:
            with excused(self.places.storage, optional=self.places.optional):
                uids = self.places.matching(name.text)
                return (uids[0], len(uids)) if uids else ("", 0)
        return "", 0

    def _folders(self, uid: str) -> list[str]:
        if self.places is not None:
            with excused(self.places.storage, optional=self.places.optional):
                return self.places.folders(uid)
        return []

    def _only(
        self, uid: str, parts: Sequence[OpenedSeries], open_folder: Callable[..., OpenedSeries]
    ) -> OpenedSeries | None:
        """Return one SeriesInstanceUID of opened folders; read those again whose index is damaged."""
        from dicom_series_preview.archive.index.damage import DamagedIndexError, damage_told  # noqa: PLC0415 - for few requests
        from dicom_series_preview.archive.one_series import only  # noqa: PLC0415 - likewise

        indexer = self.indexer
        try:
            # Showing slices checks their cells one by one; this takes whole rows.
            with damage_told("its content"):
                return only(uid, parts, indexer.limits.rows, indexer.gate)
        except DamagedIndexError as error:
            for part in parts:
                indexer.damaged(part.name, str(error))
        parts = [open_folder(SeriesName(part.name), refresh=True) for part in parts]
        return only(uid, parts, indexer.limits.rows, indexer.gate)


def _none_of(uid: str, opened: OpenedSeries) -> str:
    """Say which series there are instead of one that is not there; only UIDs and numbers of slices."""
    from dicom_series_preview.archive.index.held import held_series  # noqa: PLC0415 - for an error

    held = [
        # Anything can stand there.
        (one.series_instance_uid if is_uid(one.series_instance_uid) else "one without a UID", one.slices)
        for one in held_series(opened.index)
    ]
    told = [f"{name} ({counted(slices, 'slice')})" for name, slices in held[:_LISTED]]
    more = [f"and {len(held) - _LISTED} more"] if len(held) > _LISTED else []
    return f"{uid if is_uid(uid) else quoted(uid)} is none of the series here: {', '.join([*told, *more])}"
