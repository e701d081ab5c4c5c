"""S3 events -> indices that are up to date.

An event only says which series to look at; what has changed is seen by listing it. So events may come
twice, late, in any order or ten thousand at a time: each touched series is updated once a batch, to what is
there now, and by one function at a time. What cannot be done now (another function is at it, or time is up)
is asked for again by a message of our own, a `Recheck`, and what brought it here is done.
`docs/decisions/0016-one-updater-a-series.md` says what happens where a function dies.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from dicom_series_preview.archive.open import SeriesIndexer, Updated, UpdateOptions
from dicom_series_preview.base.discreet import told
from dicom_series_preview.base.errors import IndexBusyError, LimitError, PreviewError
from dicom_series_preview.doors.aws.rechecks import Recheck, is_no_series, send_all
from dicom_series_preview.products.batches.places import mosaics_folder
from dicom_series_preview.sources.storage.roots import parse_root
from dicom_series_preview.web.http.api import Renders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dicom_series_preview.doors.aws.environment import Deployment
    from dicom_series_preview.doors.aws.rechecks import Queue

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
_REMOVALS = ("Object Deleted", "ObjectRemoved", "LifecycleExpiration")
_GIVEN_UP = f"not read: the headers of this series take longer than {SERIES_S:g} s"


@dataclass(frozen=True, slots=True)
class TouchedObject:
    """An object that an event speaks of.

    Attributes:
        bucket: Its bucket.
        key: Its key, decoded.
        removed: The event says that it was removed.
    """

    bucket: str
    key: str
    removed: bool = False


@dataclass(slots=True)
class UpdateSummary:
    """What a batch of events did.

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


def touched_by(body: str, deployment: Deployment) -> Iterator[list[Recheck]]:
    """For each object that a message speaks of the series it belongs to; none where it belongs to none.

    Raises:
        ValueError: The message is no S3 event and none of ours, from here on.
    """
    document = json.loads(body)
    if isinstance(document, dict) and "recheck" in document:
        recheck = Recheck.from_document(document["recheck"])
        # A root that has gone from the deployment since has no indices to look after.
        yield _with_those_above(recheck, deployment) if recheck.root in deployment.roots else []
        return
    for touched in touched_objects(document):
        # Which version was removed, and whether someone has seen it, only what is kept and listed tells.
        places = list(series_of(touched, deployment))
        if touched.removed:
            roots = {alias for alias, _ in places}
            # An object above where series lie is of no series.
            places += [place for place in above_series(touched, deployment) if place[0] not in roots]
        yield [Recheck(*place, around=touched.removed) for place in places]


def _with_those_above(recheck: Recheck, deployment: Deployment) -> list[Recheck]:
    """A recheck and, where objects of a series are gone, the folders above it: they have lost them too."""
    if not recheck.removed or recheck.swept or not _is_series(recheck.series, deployment):
        return [recheck]
    above = _above(recheck.series)
    return [recheck, *(Recheck(recheck.root, folder, removed=True) for folder in above)]


def _above(series: str) -> list[str]:
    """The folders that a series lies in."""
    parts = series.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _is_series(folder: str, deployment: Deployment) -> bool:
    """Whether a folder lies where series do."""
    return folder.count("/") + 1 == deployment.series_depth


def touched_objects(document: Any) -> Iterator[TouchedObject]:  # noqa: ANN401 - JSON
    """The objects that a message speaks of: an S3 notification, or S3's event on EventBridge.

    Raises:
        ValueError: The message is neither.
    """
    try:
        if document.get("Event") == "s3:TestEvent":
            return
        if "detail" in document:
            detail = document["detail"]
            kind = document.get("detail-type", "")
            yield _touched(detail["bucket"]["name"], detail["object"]["key"], kind)
            return
        for record in document["Records"]:
            bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
            yield _touched(bucket, key, record.get("eventName", ""))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("the message is no S3 event") from error


def _touched(bucket: object, key: object, kind: object) -> TouchedObject:
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise TypeError("a bucket and a key are text")
    # EventBridge says `Object Deleted`, a notification `ObjectRemoved:...` or `LifecycleExpiration:...`.
    return TouchedObject(bucket, key, str(kind).startswith(_REMOVALS))


def series_of(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """The series that an object belongs to, each with its root's alias; several where roots overlap."""
    for alias, folders in _folders_of(touched, deployment):
        if len(folders) == deployment.series_depth:
            yield alias, "/".join(folders)


def above_series(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """The folders above where series lie that an object lies in too: who asks for one is shown it."""
    for alias, folders in _folders_of(touched, deployment):
        if len(folders) < deployment.series_depth:
            yield alias, "/".join(folders)


def _folders_of(touched: TouchedObject, deployment: Deployment) -> Iterator[tuple[str, list[str]]]:
    """Every folder that an object lies in, below each root that it lies in."""
    for alias, url in deployment.roots.items():
        root = parse_root(url, deployment.environment)
        prefix = f"{root.prefix}/" if root.prefix else ""
        if root.kind != "s3" or root.place != touched.bucket or not touched.key.startswith(prefix):
            continue
        parts = touched.key.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            if not is_no_series(parts[:depth]):
                yield alias, parts[:depth]


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
    """What came of a series.

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
    opener = SeriesIndexer(service.storage, service.cache, service.limits)
    # What is kept of a folder elsewhere is made anew when it is asked for.
    is_series = _is_series(work.series, deployment)
    begun_s = left_s()
    erasure = _Erasure(work, opener, deployment, queue, is_series)

    def stop(objects: int) -> bool:
        return left_s() < objects * _KEEPING_S_AN_OBJECT

    erasure.begin()
    gives_up = _GIVEN_UP if work.seconds >= SERIES_S else ""
    try:
        options = UpdateOptions(stop, erasure.vanished, erasure.look_around, gives_up, reads=is_series)
        updated = opener.update(work.series, options)
        result = _RESULTS[updated] if is_series else ""
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


@dataclass(slots=True)
class _Erasure:
    """What is done about objects of a folder that are gone: to its pictures, and to the folders around it.

    Attributes:
        work: What was to be done.
        opener: Opens the folders of its root.
        deployment: Where the pictures are.
        queue: Where the folders around it are told to.
        is_series: The folder lies where series do.
        erased: Where the pictures lay that were removed.
        later: What is to be looked at again when no request that is under way now can keep anything any more.
    """

    work: Recheck
    opener: SeriesIndexer
    deployment: Deployment
    queue: Queue
    is_series: bool
    erased: list[str] = field(default_factory=list)
    later: list[Recheck] = field(default_factory=list)
    _looked: bool = False

    def begin(self) -> None:
        """Do what was asked for, whatever the index says."""
        if self.work.removed and self.work.swept:
            self._erase()
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
            self._tell([*([] if told else _above(self.work.series)), *self._below()], removed=True)
        self._erase()

    def look_around(self) -> None:
        """Have what is kept of the folders above and below a series compared with what is there.

        Where a series has no index yet, nothing else tells of an object that is another one than they know.
        """
        cache = self.opener.cache
        if self._looked or self.later or not self.is_series or cache is None:
            return
        self._looked = True
        # Those above that were told of a removal are swept as well.
        above = [] if self.work.removed else _above(self.work.series)
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
        return [] if self.opener.cache is None else self.opener.cache.kept_below(self.work.series)

    def _erase(self) -> None:
        self.erased += _erase_pictures(self.opener.storage.url, self.work.series, self.deployment)


def _erase_pictures(root: str, series: str, deployment: Deployment) -> list[str]:
    """Remove every picture that was kept of a series, and return where they lay."""
    data = deployment.storage(deployment.data)
    folders = Renders(data).folder_of(root, series), mosaics_folder(root, series)
    paths = [info.path for folder in folders for info in data.list_objects(folder)]
    with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
        list(pool.map(data.delete, paths))
    return paths
