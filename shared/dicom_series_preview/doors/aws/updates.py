"""S3 events -> indices that are up to date.

An event only says which series to look at; what has changed is seen by listing it. So events may come
twice, late, in any order or ten thousand at a time: each touched series is updated once a batch, to what is
there now, and by one function at a time. What cannot be done now (another function is at it, or time is up)
is asked for again by a message of our own, a `Recheck`, and what brought it here is done.
`docs/decisions/0016-one-updater-a-series.md` says what happens where a function dies.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dicom_series_preview.archive.open import SeriesIndexer
from dicom_series_preview.archive.update import Updated, UpdateOptions, update
from dicom_series_preview.base.discreet import told
from dicom_series_preview.base.errors import IndexBusyError, LimitError, PreviewError
from dicom_series_preview.doors.aws.erasure import Erasure
from dicom_series_preview.doors.aws.queue_messages import is_series, touched_by
from dicom_series_preview.doors.aws.rechecks import Recheck
from dicom_series_preview.products.batches.places import mosaics_folder
from dicom_series_preview.web.http.renders import Renders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.doors.aws.rechecks import Queue, Recheck

_LOGGER = logging.getLogger(__name__)

# Series at once: while one waits for the storage, or is slow to read, others go on.
_AT_ONCE = 4
# Pictures of a series, of which there may be thousands.
_REMOVED_AT_ONCE = 16
# What is left for the object that is being read when time is up, and for keeping what has been read; no more
# than half of what a function has.
RESERVE_S = 45.0
_KEEPING_S_AN_OBJECT = 0.0005
# The longest that the headers of one series may take, all updates together.
SERIES_S = 900.0
# When to look again at a series that another function is at, or that takes long.
LATER_S = 15
# Longer than a request or a batch's item that was under way may take to keep a picture: SQS's longest delay.
SWEEP_S = 900
_GIVEN_UP = f"not read: the headers of this series take longer than {SERIES_S:g} s"


@dataclass(slots=True)
class UpdateSummary:
    """The result of a batch of events.

    Attributes:
        failed_messages: Messages to be tried again.
        updated: Series whose index was built or updated.
        unchanged: Series whose index was up to date.
        removed: Series that are gone, and their indices with them.
        without_image: Series of which no object is a readable DICOM instance.
        refused: Series that have too many objects, or of which none may be read: no other try mends that.
        failed: Series that could not be updated, and may be another time.
        busy: Series that someone else was updating; they are looked at again.
        unfinished: Series that take longer than there was time; they go on later.
        postponed: Series that there was no time for.
        erased: Pictures that were removed.
        ignored: Objects that belong to no root or no series, or to one that nobody can ask for by its name.
        failures: By kind of error, how many series failed so, or were refused.
    """

    failed_messages: set[str] = field(default_factory=set)
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
    failures: Counter[str] = field(default_factory=Counter)

    def response(self) -> dict[str, Any]:
        """The partial batch response that SQS expects."""
        return {
            "batchItemFailures": [{"itemIdentifier": message} for message in sorted(self.failed_messages)]
        }


def update_indices(
    messages: Mapping[str, str],
    deployment: Deployment,
    time_left_s: Callable[[], float],
    queue: Queue,
) -> UpdateSummary:
    """Bring the index of every series that the messages touch up to date, each once.

    Args:
        messages: By message identifier, the message's body.
        deployment: Where the roots and indices are.
        time_left_s: How long this may still take.
        queue: Where a series that is to be looked at again is told to.

    Returns:
        What was done; the messages of a series that another try may mend are to be tried again.
    """
    summary = UpdateSummary()
    works: dict[tuple[str, str], Recheck] = {}
    messages_of: dict[tuple[str, str], set[str]] = {}
    for identifier, body in messages.items():
        try:
            for found in touched_by(body, deployment):
                summary.ignored += not found
                for recheck in found:
                    place = recheck.root, recheck.series
                    works[place] = works[place].with_(recheck) if place in works else recheck
                    messages_of.setdefault(place, set()).add(identifier)
        except (ValueError, RecursionError) as error:
            _LOGGER.error("a message is no S3 event and goes to the dead-letter queue: %s", told(error))  # noqa: TRY400
            summary.failed_messages.add(identifier)
    again: list[tuple[Recheck, int]] = []
    # Those that are known to take long come last.
    ordered = sorted(works.values(), key=lambda work: work.seconds)
    reserve_s = min(RESERVE_S, time_left_s() / 2)

    def left_s() -> float:
        return time_left_s() - reserve_s

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="series") as pool:
        for outcome in pool.map(lambda work: _update(work, deployment, left_s, queue), ordered):
            outcome.count(summary)
            again += outcome.again
            if outcome.is_handed_back:
                summary.failed_messages |= messages_of[outcome.work.root, outcome.work.series]
    for recheck in queue.send(again) if again else ():
        summary.failed_messages |= messages_of[recheck.root, recheck.series]
    return summary


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of one series.

    Attributes:
        work: What was to be done.
        result: The number of the summary that counts it, or empty where none does.
        again: What is to be looked at again, and after how many seconds.
        error: The kind of error that stood in the way, or empty.
        erased: Pictures that were removed.
    """

    work: Recheck
    result: str
    again: tuple[tuple[Recheck, int], ...] = ()
    error: str = ""
    erased: int = 0

    @property
    def is_handed_back(self) -> bool:
        """Its messages are to be tried again."""
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
    """Update one series, whatever comes of it, in the time that is left for reading."""
    if left_s() <= 0:
        return _Outcome(work, "postponed", ((work, 0),))
    try:
        return _updated(work, deployment, left_s, queue)
    except IndexBusyError:
        return _Outcome(work, "busy", ((work, LATER_S),))
    except PreviewError as error:
        _LOGGER.warning("an index cannot be updated: %s", type(error).__name__)
        return _Outcome(work, "failed", error=type(error).__name__)
    except Exception as error:  # noqa: BLE001 - one series must not take the others along
        # A mistake of ours. The log says where; its text may hold a header's values, and is told to nobody.
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
        # What is kept of a folder where no series lies is made anew when it is asked for.
        options = UpdateOptions(
            stop, erasure.vanished, erasure.look_around, gives_up, reads=erasure.is_series
        )
        updated = update(indexer, work.series, options)
        result = _RESULTS[updated] if erasure.is_series else ""
        error = "AccessDeniedError" if updated is Updated.DENIED else ""
    except LimitError as limit:
        # No other try mends that; what has gone has gone, and is swept.
        updated, result, error = Updated.UNCHANGED, "refused", type(limit).__name__
    erasure.end()
    again = [(recheck, SWEEP_S) for recheck in erasure.later]
    if updated is Updated.UNFINISHED:
        spent = work.seconds + begun_s - left_s()
        again.append((replace(work, removed=False, swept=False, around=False, seconds=spent), LATER_S))
    return _Outcome(work, result, tuple(again), error, len(erasure.erased))


def _erase_pictures(root: str, series: str, deployment: Deployment) -> list[str]:
    """Remove every picture that was kept of a series, and return where they lay."""
    data = deployment.storage(deployment.data)
    folders = Renders(data).folder_of(root, series), mosaics_folder(root, series)
    paths = [info.path for folder in folders for info in data.list_objects(folder)]
    with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
        list(pool.map(data.delete, paths))
    return paths
