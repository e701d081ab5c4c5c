"""Update the indices of the series that S3 events touch.

An event only says which series to look at; listing it shows what has changed. So events may arrive twice,
late, in any order or ten thousand at a time: each touched series is updated once per batch, to what is there
now, and by one function at a time. Work that cannot be done now (another function is doing it, or time is up)
is queued again as our own message, a `Recheck`, and the message that brought it is done.
`docs/decisions/0016-one-updater-a-series.md` says what happens if a function dies.
"""

from __future__ import annotations

import logging
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.update import Updated, UpdateOptions, update
from dicom_series_preview.base.errors import IndexBusyError, LimitError, PreviewError
from dicom_series_preview.doors.aws.erasure import Erasure
from dicom_series_preview.doors.aws.message_batches import BatchSummary, joined
from dicom_series_preview.doors.aws.queue_messages import is_series, touched_by
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.products.batches.places import (
    marked_mosaic,
    marked_volumes,
    mosaics_folder,
    volumes_folder,
)
from dicom_series_preview.web.http.renders import Renders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.doors.aws.rechecks import Queue, Recheck

_LOGGER = logging.getLogger(__name__)

# Series to update at once: while one waits for the storage, or is slow to read, others continue.
_AT_ONCE = 4
# A series can have thousands of pictures.
_REMOVED_AT_ONCE = 16
# The time reserved for the object being read when time is up, and for saving what was read; at most half of a
# function's time.
RESERVE_S = 45.0
_KEEPING_S_AN_OBJECT = 0.0005
# The longest time for the headers of one series, over all updates.
SERIES_S = 900.0
# The delay before a recheck of a series that another function is updating, or that takes long.
LATER_S = 15
# Longer than a running request or batch item can take to store a picture: SQS's longest delay.
SWEEP_S = 900
_GIVEN_UP = f"not read: the headers of this series take longer than {SERIES_S:g} s"


@dataclass(slots=True)
class UpdateSummary(BatchSummary):
    """The result of a batch of events.

    Attributes:
        updated: Series whose index was built or updated.
        unchanged: Series whose index was up to date.
        removed: Series that are gone, and their indices with them.
        without_image: Series without any readable DICOM instance.
        refused: Series with too many objects, or with none that may be read: a retry does not help.
        failed: Series that could not be updated, but might be another time.
        busy: Series that someone else was updating; they are rechecked.
        unfinished: Series that take longer than the available time; they continue later.
        postponed: Series that there was no time for.
        erased: Removed pictures.
        ignored: Objects of no root or no series, or of one that nobody can request by name.
    """

    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    without_image: int = 0
    refused: int = 0
    failed: int = 0
    busy: int = 0
    unfinished: int = 0
    postponed: int = 0
    erased: int = 0
    ignored: int = 0


def update_indices(
    messages: Mapping[str, str],
    deployment: Deployment,
    time_left_s: Callable[[], float],
    queue: Queue,
) -> UpdateSummary:
    """Update the index of every series that the messages touch, each once.

    Args:
        messages: The messages' bodies, by identifier.
        deployment: Has the roots and indices.
        time_left_s: Returns the seconds left for this.
        queue: Gets the series to recheck.

    Returns:
        The summary; it names the messages of a series for which a retry can help.
    """
    summary = UpdateSummary()
    asked = joined(messages, lambda body: touched_by(body, deployment))
    summary.ignored, summary.failed_messages = asked.ignored, asked.failed
    again: list[tuple[Recheck, int]] = []
    # Series known to take long come last.
    ordered = sorted(asked.works.values(), key=lambda work: work.seconds)
    reserve_s = min(RESERVE_S, time_left_s() / 2)

    def left_s() -> float:
        return time_left_s() - reserve_s

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="series") as pool:
        for outcome in pool.map(lambda work: _update(work, deployment, left_s, queue), ordered):
            outcome.count(summary)
            again += outcome.again
            if outcome.is_handed_back:
                summary.failed_messages |= asked.messages_of[outcome.work.place]
    for recheck in queue.send(again) if again else ():
        summary.failed_messages |= asked.messages_of[recheck.place]
    return summary


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of one series.

    Attributes:
        work: The recheck.
        result: The summary's field that counts it, or empty.
        again: The rechecks to queue, with their delays in seconds.
        error: The kind of the error, or empty.
        erased: Removed pictures.
    """

    work: Recheck
    result: str
    again: tuple[tuple[Recheck, int], ...] = ()
    error: str = ""
    erased: int = 0

    @property
    def is_handed_back(self) -> bool:
        """True where its messages are to be retried."""
        return self.result == "failed"

    def count(self, summary: UpdateSummary) -> None:
        """Add it to a summary."""
        if self.result:
            setattr(summary, self.result, getattr(summary, self.result) + 1)
        summary.erased += self.erased
        if self.error:
            summary.failures[self.error] += 1


_RESULTS = {
    Updated.UPDATED: "updated",
    Updated.UNCHANGED: "unchanged",
    Updated.UNFINISHED: "unfinished",
    Updated.REMOVED: "removed",
    Updated.WITHOUT_IMAGE: "without_image",
    Updated.DENIED: "refused",
}


def _update(work: Recheck, deployment: Deployment, left_s: Callable[[], float], queue: Queue) -> _Outcome:
    """Update one series in the time left for reading; never raise."""
    if left_s() <= 0:
        return _Outcome(work, "postponed", ((work, 0),))
    try:
        return _updated(work, deployment, left_s, queue)
    except IndexBusyError:
        return _Outcome(work, "busy", ((work, LATER_S),))
    except PreviewError as error:
        _LOGGER.warning("an index cannot be updated: %s", type(error).__name__)
        return _Outcome(work, "failed", error=type(error).__name__)
    except Exception as error:  # noqa: BLE001 - one series must not fail the others
        # Our bug. The log says where; its text can hold header values, so nobody gets it.
        places = "".join(traceback.format_tb(error.__traceback__))
        _LOGGER.error("an update failed unexpectedly: %s\n%s", type(error).__name__, places)  # noqa: TRY400
        return _Outcome(work, "failed", error=type(error).__name__)


def _updated(work: Recheck, deployment: Deployment, left_s: Callable[[], float], queue: Queue) -> _Outcome:
    service = deployment.service(work.root)
    indexer = SeriesIndexer(service.storage, service.cache, service.limits)
    begun_s = left_s()
    erase = partial(_erase_pictures, service.storage.url, work.series, deployment)
    erasure = Erasure(work, indexer, erase, queue, is_series(work.series, deployment))

    def stop(objects: int) -> bool:
        return left_s() < objects * _KEEPING_S_AN_OBJECT

    erasure.begin()
    gives_up = _GIVEN_UP if work.seconds >= SERIES_S else ""
    try:
        # The index of a folder without the level of a series is rebuilt on request.
        options = UpdateOptions(
            stop, erasure.vanished, erasure.look_around, gives_up, reads=erasure.is_series
        )
        updated = update(indexer, work.series, options)
        result = _RESULTS[updated] if erasure.is_series else ""
        error = "AccessDeniedError" if updated is Updated.DENIED else ""
    except LimitError as limit:
        # A retry does not help; vanished objects are still swept.
        updated, result, error = Updated.UNCHANGED, "refused", type(limit).__name__
    erasure.end()
    again = [(recheck, SWEEP_S) for recheck in erasure.later]
    if updated is Updated.UNFINISHED:
        spent = work.seconds + begun_s - left_s()
        again.append((replace(work, removed=False, swept=False, around=False, seconds=spent), LATER_S))
    return _Outcome(work, result, tuple(again), error, len(erasure.erased))


def _erase_pictures(root: str, series: str, deployment: Deployment) -> list[str]:
    """Remove every stored picture and volume of a series, and return their paths."""
    data = deployment.storage(deployment.data)
    own_volumes, _ = volumes_folder(root, [series], "")
    folders = Renders(data).folder_of(root, series), mosaics_folder(root, series), own_volumes
    paths = [info.path for folder in folders for info in data.list_objects(folder)]
    # What is of several folders goes with each; the mark of it goes last, so that a retry finds it.
    marked = [mosaic for path in paths if (mosaic := marked_mosaic(path)) is not None]
    marked += [
        info.path
        for path in paths
        if (folder := marked_volumes(path)) is not None
        for info in data.list_objects(folder)
    ]
    with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
        list(pool.map(data.delete, marked))
        list(pool.map(data.delete, paths))
    return [*marked, *paths]
